"The check that tells which notebook's code is newer than its outputs."
import json, subprocess, sys

import pytest
from nbread import ROOT

sys.path.insert(0, str(ROOT/'tools'))
import stale


def write(folder, name, *cells):
    cells = [dict(cell_type='code', metadata={}, outputs=[], execution_count=None, source=s) for s in cells]
    (folder/name).write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)), encoding='utf-8')
    return folder/name


def test_what_counts_as_a_change(tmp_path):
    a, b = write(tmp_path, '00_a.ipynb', 'x = 1', '%time x'), write(tmp_path, '01_b.ipynb', 'y = 2')
    assert stale.stale(tmp_path) == ['00_a.ipynb', '01_b.ipynb'], 'never recorded'
    stale.record([a, b], tmp_path)
    assert stale.stale(tmp_path) == []
    write(tmp_path, '00_a.ipynb', '#| slow\n# one\nx  =  1', '%time   x')
    assert stale.stale(tmp_path) == [], 'comment lines and layout make no new outputs'
    for cells in (['x = 2', '%time x'], ['x = 1'], ['%time x', 'x = 1'], ['x = 1', '%time y'], ['x = 1', '%time x', 'x']):
        write(tmp_path, '00_a.ipynb', *cells)
        assert stale.stale(tmp_path) == ['00_a.ipynb'], cells
    write(tmp_path, '02_c.ipynb', 'z = 3')
    assert stale.stale(tmp_path) == ['00_a.ipynb', '02_c.ipynb']


def test_a_notebook_that_is_gone_is_forgotten(tmp_path):
    a, b = write(tmp_path, '00_a.ipynb', 'x = 1'), write(tmp_path, '01_b.ipynb', 'y = 2')
    stale.record([a, b], tmp_path)
    a.unlink()
    stale.record([b], tmp_path)
    assert list(json.loads((tmp_path/'.outputs.json').read_text())) == ['01_b.ipynb'] and stale.stale(tmp_path) == []


def test_run_stores_outputs_and_records(tmp_path):
    pytest.importorskip('nbconvert')
    a = write(tmp_path, '00_a.ipynb', '1 + 1')
    stale.run([a], tmp_path)
    assert stale.stale(tmp_path) == []
    assert json.loads(a.read_text())['cells'][0]['outputs'][0]['data']['text/plain'] in ('2', ['2'])


def test_run_does_not_record_an_error(tmp_path):
    pytest.importorskip('nbconvert')
    a = write(tmp_path, '00_a.ipynb', '1/0')
    with pytest.raises(subprocess.CalledProcessError): stale.run([a], tmp_path)
    assert stale.stale(tmp_path) == ['00_a.ipynb']
