"What every notebook must be: run without errors, clean, and a lesson in the form that readers know from the others."
import copy, re, subprocess
from collections import Counter
from fnmatch import fnmatch

import pytest
from nbdev.clean import clean_nb
from nbread import LIB, NBS, ROOT, mylib_imports


def test_there_are_lessons(nbs):
    assert nbs and nbs[0].stem == '00_core'
    twice = [n for n, k in Counter(o.number for o in nbs).items() if k > 1]
    assert not twice, f'two notebooks on one floor: {twice}'
    strangers = sorted({p.stem for p in NBS.rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts} - {o.stem for o in nbs} - {'index'})
    assert not strangers, f'notebooks without a number (NN_name.ipynb): {strangers}'


def test_no_error_outputs(nb):
    bad = [(c.index, o['ename']) for c in nb.code for o in c.outputs if o['output_type'] == 'error']
    assert not bad, f'stored errors (cell, type): {bad}; run `make refresh`'


def test_clean(nb):
    cleaned = copy.deepcopy(nb.json)
    clean_nb(cleaned)
    parts = {k: cleaned[k] == nb.json[k] for k in nb.json if k != 'cells'}
    parts |= {f'cell {i}': a == b for i, (a, b) in enumerate(zip(cleaned['cells'], nb.json['cells'], strict=True))}
    bad = [k for k, same in parts.items() if not same]
    assert cleaned == nb.json, f'not clean: {bad}; run `nbdev-clean`'
    left = [i for i, c in enumerate(nb.json['cells']) if c.get('execution_count') is not None or c['metadata'].get('execution')]
    assert not left, f'execution metadata in cells {left}'


def test_title(lesson):
    assert lesson.headline, f'the first cell must be "# Title", an empty line, "> one line"; it is {lesson.cells[0].source!r}'


def test_header(lesson):
    missing = [o for o in ('**Before this:**', '**Takes:**', '**Paper:**') if o not in lesson.header]
    assert not missing, f'the first markdown cell after the title lacks {missing}'


def test_module_name(nb):
    exports = any({'export', 'exports', 'exporti'} & set(c.marks) for c in nb.code)
    expected = nb.module if nb.is_lesson else nb.stem.partition('_')[2]
    if expected is None: assert not exports and nb.default_exp is None, f'{nb} is a notebook of experiments and exports nothing'
    else: assert (nb.default_exp, exports) == (expected, True), f'#| default_exp {nb.default_exp}, expected {expected}; exported cells: {exports}'


def test_figures(lesson):
    assert any(c.images for c in lesson.code), 'no figure'
    silent = [c.index for c in lesson.code if c.images and not re.fullmatch(r'''(["']).{20,}\1''', c.marks.get('fig-alt', ''))]
    assert not silent, f'cells {silent} show a picture and do not begin with #| fig-alt: "what it shows"'


def test_sections(lesson):
    headings = re.findall(r'^## .*$', lesson.prose, flags=re.M)
    missing = [o for o in ('## In the wild', '## Exercises') if headings.count(o) != 1]
    assert not missing, f'expected once each: {missing}; the headings are {headings}'


def test_directives_open_their_cells(nb):
    late = [(c.index, l) for c in nb.code for l in c.source.splitlines()[len(c.marks):] if re.match(r'#\s*\|', l)]
    assert not late, f'directives below code, where nbdev and the workbook do not see them: {late}'


def test_exercises_are_whole(lesson):
    exs = lesson.exercises
    assert len(exs) >= 3, f'{len(exs)} exercises; a lesson has three or more'
    names, expected = [e.name for e in exs], [f'{lesson.number}.{chr(65 + i)}' for i in range(len(exs))]
    assert names == expected, f'exercises {names}, expected {expected}'
    missing = [(e.name, part) for e in exs for part in ('hint', 'solution', 'blank', 'check') if not getattr(e, part)]
    assert not missing, f'not found: {missing}'


def test_imports(lesson):
    mixed = [c.index for c in lesson.code if set(mylib_imports(c.tree)) and not c.import_only]
    assert not mixed, f'cells {mixed} import from mylib and do other things too; imports have cells of their own'
    starred = [c.index for c in lesson.code if any(s.endswith('import *') for s in c.source.splitlines() if re.match(r'\s*from ', s))]
    assert not starred, f'import * in cells {starred}; lessons import by name'


def test_prose_has_no_em_dash(lesson):
    prose = {c.index: re.sub(r'^```.*?^```', '', c.source, flags=re.S | re.M) for c in lesson.markdown}
    prose |= {c.index: c.marks.get('fig-alt', '') for c in lesson.code}
    bad = [i for i, s in prose.items() if '\N{EM DASH}' in s]
    assert not bad, f'em-dashes in cells {bad}'


def tracked():
    "Files that git tracks or would track; without git, all files outside of build folders."
    try: out = subprocess.run(['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], cwd=ROOT, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        skip = ('.git', '.venv*', '__pycache__', '*.egg-info', 'build', 'dist', '.*_cache', '.hypothesis', '.ipynb_checkpoints', '_proc')
        return [p for p in ROOT.rglob('*') if p.is_file() and not any(fnmatch(o, s) for o in p.relative_to(ROOT).parts for s in skip)]
    return [p for n in out.decode().split('\0') if n and (p := ROOT/n).is_file()]


# Written in pieces, so that this file does not trip over itself.
PRIVATE = re.compile(r'(?<![\w.~-])/(?:' + r'work|tmp/w|root|Users/\w+|home/\w+' + r')/|[A-Z]:\\Users\\')
REGISTRY = re.compile('|'.join([r'pypi\.' + 'org', 'python' + r'hosted\.org', r'download\.pytorch\.' + 'org', 'conda' + r'\.org', 'index' + '[-_]url',
                                'find' + '[-_]links', 'trusted' + '[-_]host', r'https?://[^\s"\'<>]*/simple\b']), flags=re.I)


def leaks(text):
    "What a file must not contain: paths of somebody's machine, hosts of a package registry."
    return sorted({m[0] for o in (PRIVATE, REGISTRY) for m in o.finditer(text)})


def test_no_private_paths_or_registries():
    bad = {}
    for p in tracked():
        raw = p.read_bytes()
        if b'\0' in raw[:8192]: continue
        if found := leaks(raw.decode('utf-8', errors='replace')): bad[str(p.relative_to(ROOT))] = found
    assert not bad, bad


@pytest.mark.parametrize('text', ['see /wo' 'rk/x', 'in "/ro' 'ot/.cache"', '/home/' 'me/nbs', 'pip install --index' '-url x', 'https://host.example/a/sim' 'ple/torch', 'files.python' 'hosted.org'])
def test_leaks_are_seen(text): assert leaks(text)


@pytest.mark.parametrize('text', ['a frame/work/like', '/usr/share/datasets', 'https://arxiv.org/abs/1708.07747', 'a simple/plain loop'])
def test_no_false_alarms(text): assert not leaks(text)


def test_embedded_data_is_small():
    size = sum(p.stat().st_size for p in (LIB/'data').rglob('*') if p.is_file())/2**20
    assert 0 < size <= 12, f'mylib/data holds {size:.1f} MB; 12 at most'
