"The number is the floor: a lesson imports only from the modules of lower-numbered lessons."
import ast, json

import pytest
from nbread import LIB, Notebook, mylib_imports, notebooks


def violations(nb, below):
    "What `nb` imports from the package although it may not; `below` are the modules of the floors underneath."
    bad = []
    for c in nb.code:
        for name in mylib_imports(c.tree):
            module = name.partition('.')[2].split('.')[0]
            if not module or module == 'all': bad.append(f'cell {c.index}: imports {name}; name the module of a lower lesson')
            elif module not in below: bad.append(f'cell {c.index}: imports {name}, which is not on a lower floor')
    return bad


def check(nbs):
    "Violations of all lessons among `nbs`, which are sorted by floor."
    below, bad = set(), {}
    for nb in nbs:
        if not nb.is_lesson: continue
        if found := violations(nb, below): bad[nb.stem] = found
        if nb.default_exp: below.add(nb.default_exp)
    return bad


def test_floors(nbs):
    bad = check(nbs)
    assert not bad, bad


def test_every_module_has_a_notebook(nbs):
    orphans = {p.stem for p in LIB.rglob('*.py') if p.parent.name != 'exercises'} - {nb.default_exp for nb in nbs} - {'__init__', '_modidx'}
    assert not orphans, f'modules without a notebook (nbdev-export never deletes): {sorted(orphans)}'


def test_module_docstring(lesson):
    if lesson.default_exp is None: return
    doc = ast.get_docstring(ast.parse((LIB/f'{lesson.default_exp}.py').read_text(encoding='utf-8')))
    assert lesson.headline and (doc or '').strip() == lesson.headline[1], f'docstring {doc!r}, the > line of {lesson} differs; run `make export`'


# The checker can fail.

def write(folder, stem, *cells):
    cells = [dict(cell_type='code', source=s, metadata={}, outputs=[]) for s in (f'#| default_exp {stem.split("_")[1]}', *cells)]
    (folder/f'{stem}.ipynb').write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)), encoding='utf-8')
    return Notebook(folder/f'{stem}.ipynb')


@pytest.mark.parametrize('source', [
    'from mylib.up import f', 'import mylib.up as m', '#| export\ndef f():\n    from mylib.up import g\n    return g', 'from mylib.mid import own', 'from .up import f',
    'from mylib import up', 'import mylib', 'import mylib.all', 'from mylib.all import *', 'from mylib.nowhere import f', 'm = importlib.import_module("mylib.up")',
    '%matplotlib inline\nif True:\n    %time x = 1\n    from mylib.up import f'])
def test_a_wrong_import_is_seen(tmp_path, source):
    write(tmp_path, '02_low'), write(tmp_path, '03_up'), write(tmp_path, '02a_mid', source)
    assert list(check(notebooks(tmp_path))) == ['02a_mid']


def test_a_right_import_passes(tmp_path):
    write(tmp_path, '02_low', 'import torch, mylibrary'), write(tmp_path, '02a_mid', 'from mylib.low import f')
    write(tmp_path, '02b_next', 'from mylib.mid import f'), write(tmp_path, '10_ten', 'import mylib.low, mylib.next'), write(tmp_path, '99_all', 'from mylib.ten import *')
    assert [nb.stem for nb in notebooks(tmp_path)] == ['02_low', '02a_mid', '02b_next', '10_ten', '99_all']
    assert check(notebooks(tmp_path)) == {}
