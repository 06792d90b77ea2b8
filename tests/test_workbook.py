"""The workbook: every check can fail, nothing that an answer does costs anything, and it is the learner's code that runs.

`pytest tests/test_workbook.py -k 03_losses` tests the entries of one lesson."""
import csv, json, os, re, runpy, shutil, subprocess, sys
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from nbread import LIB

from mylib import workbook
from mylib.workbook import Workbook, blank, check_exercises, main, reset, run_jobs, run_lesson, status, update
from mylib.judge import Entry, call, case, entries, expected, judge

# Lessons whose exercises have no entries yet: hints, cases and wrong answers are still to be written. This list may only become shorter.
OPEN = []

COURSE = {p.stem: workbook._exercises(workbook._course(p.stem)) for p in workbook.lessons().values()}
DONE = [s for s in COURSE if s not in OPEN and COURSE[s]]


@pytest.fixture(scope='session')
def folder(tmp_path_factory): return Workbook.new(tmp_path_factory.mktemp('workbook')/'course').folder


@pytest.fixture
def small(tmp_path): return Workbook.new(tmp_path/'small', ['03'])


def write(wb, name, source):
    stem = workbook._lesson(name).stem
    nb = wb.nb(stem)
    next(c for c in nb.cells if c.cell_type == 'code' and c.directives.get('exercise') == name).set_source(source)
    workbook.write_nb(nb, wb.path(stem))


def fill(wb, stem):
    for name, source in COURSE[stem].items(): write(wb, name, source)


# Every check can fail.

def wrong_answers(stem):
    "Exercise -> list of (source, words that the report must hold)."
    listed = runpy.run_path(str(Path(__file__).parent/'answers'/f'{stem}.py'))['WRONG']
    res = {}
    for name, rows in listed.items():
        for old, new, words in rows:
            reference = COURSE[stem][name]
            assert old is None or old in reference, f'{name}: {old!r} is not in the reference'
            res.setdefault(name, []).append((new if old is None else reference.replace(old, new), words))
    return res


@lru_cache
def judged(stem, folder):
    "Each exercise's results: of the blank, of the reference, of the wrong answers. One process for all."
    wrong = wrong_answers(stem)
    jobs = [dict(name=n, source=s) for n, ref in COURSE[stem].items() for s in [blank(ref, n), ref, *(a for a, _ in wrong.get(n, []))]]
    results = iter(run_jobs(folder, jobs))
    return {n: [next(results) for _ in range(2 + len(wrong.get(n, [])))] for n in COURSE[stem]}


@pytest.mark.parametrize('stem', DONE)
def test_entries_are_whole(stem):
    assert set(entries(stem)) == set(COURSE[stem])
    for e in entries(stem).values(): assert all(len(h) > 20 for h in e.hints) and len(e.why) > 40 and 1 <= e.minutes <= 120


@pytest.mark.parametrize('stem,name', [(s, n) for s in DONE for n in COURSE[s]])
def test_check(stem, name, folder):
    empty, reference, *wrong = judged(stem, folder)[name]
    assert empty.status == 'blank', empty.text
    assert reference.status == 'pass', reference.text
    words = [w for _, w in wrong_answers(stem).get(name, [])]
    assert len(words) >= 2, 'two wrong answers at least'
    for r, w in zip(wrong, words, strict=True): assert r.status == 'fail' and w in r.text, f'expected {w!r} in:\n{r.text}'


def test_open_lessons_are_open(): assert all(not entries(s) for s in OPEN), 'a lesson that has entries is not open any more: take it off the list'
def test_open_lessons_exist(): assert set(OPEN) <= set(COURSE)


# Nothing that an answer does costs anything.

def test_hostile_answers(folder, tmp_path):
    precious = tmp_path/'precious.txt'
    precious.write_text('mine')
    start = "import ctypes, os, pathlib, shutil, subprocess, sys\ndef logsumexp(x, dim=-1):\n    "
    cases = {
        'while True: pass': ('Is there a loop that does not end?', 'at line 3 of cell 03.1'),
        'os._exit(0)': ('ended the whole process with code 0',),
        'ctypes.string_at(0)': ('ended the whole process',),
        'while True: print("spam")': ('Is there a print in a loop', 'spam'),
        'os.remove("03_losses.ipynb")': ('deleted or changed nbs/03_losses.ipynb', 'your files are as they were'),
        f'os.remove({str(precious)!r})': ('PermissionError', 'os.remove'),
        f'open({str(precious)!r}, "w")': ('PermissionError', 'writing'),
        f'shutil.rmtree({str(tmp_path)!r})': ('PermissionError', 'shutil.rmtree'),
        f'os.rename({str(precious)!r}, "here")': ('PermissionError', 'os.rename'),
        f'os.system("rm -rf {tmp_path}")': ('PermissionError', 'os.system'),
        f'subprocess.run(["rm", "-rf", {str(tmp_path)!r}])': ('PermissionError', 'subprocess.Popen'),
        'sys.exit()': ('SystemExit',),
        'return logsumexp(x, dim)': ('RecursionError',),
        'return = 3': ('SyntaxError', 'line 3 of cell 03.1'),
    }
    if sys.platform == 'linux': cases['return bytearray(6*2**30)'] = ('MemoryError',) # which this machine may well have
    jobs = [dict(name='03.1', source=start + c) for c in cases] + [dict(name='03.1', source=COURSE['03_losses']['03.1'])]
    *results, last = run_jobs(folder, jobs, seconds=2)
    for (code, words), r in zip(cases.items(), results, strict=True):
        assert r.status == 'fail' and all(w in r.text for w in words), f'{code}:\n{r.text}'
    assert last.status == 'pass', last.text
    assert precious.read_text() == 'mine' and (folder/'nbs'/'03_losses.ipynb').exists()


def test_the_judge_on_small_things():
    def verdict(answer, reference, *cases):
        e = Entry('0.0', 1, 1, ('', '', ''), '', lambda: list(cases), 20)
        return judge(e, expected(e, SimpleNamespace(f=reference)), lambda: SimpleNamespace(f=answer))
    def raises(*args): return lambda *xs: exec('raise NotImplementedError(*args)', dict(args=args))
    one = call('f', torch.ones(2))
    assert [verdict(raises(*a), torch.sum, one).status for a in ((), ('exercise 0.0',), ('max_unpool on a quantum computer',))] == ['blank', 'blank', 'fail']
    added = verdict(lambda *xs: sum(xs) + 1, lambda *xs: sum(xs), call('f', 1, 2, 3)).text
    assert all(f'xs[{i}] ' in added for i in range(3)) and 'argument' not in added
    def leave_on(m):
        torch.autocast('cpu', torch.bfloat16).__enter__()
        torch.set_grad_enabled(False)
        return m.f(torch.ones(2))
    def product(m): return str((torch.ones(2, 2, requires_grad=True) @ torch.ones(2, 2)).requires_grad), str((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
    try: assert verdict(torch.sum, torch.sum, case('leaves autocast on', leave_on), case('and is not felt here', product)).status == 'pass' and product(None)[1] == 'torch.float32'
    finally: torch.set_grad_enabled(True); torch.set_autocast_enabled('cpu', False)


# The folder.

def test_new_refuses_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path/'full').mkdir()
    (tmp_path/'full'/'diary.txt').write_text('mine')
    with pytest.raises(SystemExit, match='is not empty'): main(['new', str(tmp_path/'full')])
    with pytest.raises(SystemExit, match="no lesson '77'"): main(['new', str(tmp_path/'x'), '--lessons', '77'])
    monkeypatch.setattr(workbook, '_issue', lambda stem: 1/0)
    with pytest.raises(ZeroDivisionError): Workbook.new(tmp_path/'half', ['03'])
    assert [p.name for p in tmp_path.iterdir()] == ['full'] and [p.name for p in (tmp_path/'full').iterdir()] == ['diary.txt']


def test_everything_is_in_place_and_the_bodies_are_gone(folder):
    wb = Workbook(folder)
    for stem in wb.stems:
        mine, course = wb.nb(stem), workbook._course(stem)
        for name, source in workbook._exercises(mine).items():
            assert 'raise NotImplementedError' in source and workbook._names(source) == workbook._names(COURSE[stem][name])
        kept = {c.id: c.source for c in mine.cells}
        assert all(kept[c.id] == c.source for c in course.cells if not (c.cell_type == 'code' and 'exercise' in c.directives))
        assert len(mine.cells) == len(course.cells) + len(COURSE[stem]) + 2
        ids = [c.id for c in mine.cells]
        assert len(ids) == len(set(ids))
    assert not list((folder/'mylib').glob('[a-z]*.py'))
    assert {marks.strip('○') for _, marks, *_ in status(wb)} == {''}


def test_missing_cells_and_names_are_told(small):
    nb = small.nb('03_losses')
    nb.cells = [c for c in nb.cells if 'exercise: 03.2' not in c.source]
    workbook.write_nb(nb, small.path('03_losses'))
    assert 'its cell is missing' in check_exercises(small, '03_losses', ['03.2'])[0].text
    with pytest.raises(SystemExit, match='no exercise 03.9'): main(['check', '03.9', '--dir', str(small.folder)])
    with pytest.raises(SystemExit, match='03.A is checked in its notebook'): main(['check', '03.A', '--dir', str(small.folder)])
    with pytest.raises(SystemExit, match='no exercise 09a.1; it has none'): main(['reset', '09a.1', '--dir', str(small.folder)])
    with pytest.raises(SystemExit, match='is no workbook'): main(['status', '--dir', str(small.folder/'nbs')])
    assert update(small) == ['03_losses is new']
    assert '03.2' in workbook._exercises(small.nb('03_losses'))


def test_a_broken_module_below_is_named(tmp_path):
    folder = Workbook.new(tmp_path/'course', ['04']).folder
    (folder/'mylib'/'core.py').write_text('x = 1\ny = 1/0\n', encoding='utf-8')
    r, = run_jobs(folder, [dict(name='04.1', source=COURSE['04_learner']['04.1'])])
    assert r.status == 'fail' and 'ZeroDivisionError' in r.text and 'from mylib.core import' in r.text, r.text


def test_helpers_in_other_cells_are_kept(small):
    "An exercise may use what the learner defined in the cell of another, and is not blamed for the other's mistakes."
    ref = COURSE['03_losses']
    write(small, '03.1', '#| export\n#| exercise: 03.1\ndef logsumexp(x, dim=-1): return x\ndef _refuse(a, b): _door(a, b)\n')
    write(small, '03.4', ref['03.4'].replace('_door(', '_refuse('))
    wrong, right = check_exercises(small, '03_losses', ['03.1', '03.4'])
    assert (wrong.status, right.status) == ('fail', 'pass'), right.text


def test_reset_keeps_a_copy(small):
    write(small, '03.6', COURSE['03_losses']['03.6'])
    assert check_exercises(small, '03_losses', ['03.6'])[0].status == 'pass'
    assert status(small)[0][1] == '○○○○○✓'
    reset(small, '03.6')
    assert status(small)[0][1] == '○○○○○○'
    old, = (small.folder/'.workbook').rglob('03_losses.ipynb')
    assert workbook._exercises(workbook.read_nb(old))['03.6'] == COURSE['03_losses']['03.6']


def test_diff_and_solution(small, capsys):
    main(['diff', '03.6', '--dir', str(small.folder)])
    out = capsys.readouterr().out
    assert "-    raise NotImplementedError('exercise 03.6')" in out and '+    return F.mse_loss' in out
    workbook.solution('03.6')
    out = capsys.readouterr().out
    assert 'return F.mse_loss' in out and entries('03_losses')['03.6'].why in out and '#|' not in out
    for k in (1, 2, 3, 3): workbook.hint('03.6'); assert entries('03_losses')['03.6'].hints[k - 1] in capsys.readouterr().out


def test_grade(small, tmp_path):
    write(small, '03.6', COURSE['03_losses']['03.6'])
    write(small, '03.4', COURSE['03_losses']['03.4'].replace('argmax(1)', 'argmax(0)'))
    main(['grade', str(small.folder), str(tmp_path/'nobody'), '--out', str(tmp_path/'marks.csv')])
    with open(tmp_path/'marks.csv', encoding='utf-8', newline='') as f: rows = {r['exercise']: r for r in csv.DictReader(f)}
    assert [rows[f'03.{k}']['result'] for k in range(1, 7)] == ['blank', 'blank', 'blank', 'fail', 'blank', 'pass']
    assert rows['']['result'] == 'error' and 'no workbook' in rows['']['message'] and rows['03.4']['message']
    assert not Workbook(small.folder).state['passed']


# Update.

def test_update_keeps_the_learners_work(small, tmp_path, monkeypatch):
    stem, answer = '03_losses', COURSE['03_losses']['03.6']
    write(small, '03.6', answer)
    nb = small.nb(stem)
    keys = workbook._keys(nb)
    at = keys.index('03.A')
    nb.cells[at].set_source('def bce_with_logits(logits, targets): return 42')
    edited = next(i for i, c in enumerate(nb.cells) if c.source.startswith('softmax(torch.tensor([[100.'))
    nb.cells[edited].set_source('softmax(torch.tensor([[99., 0., 0.]]))')
    own = workbook.dict2nb(cells=[workbook._cell('my_notes = "keep"', 'mine-1')], metadata={}).cells[0]
    nb.cells.insert(keys.index('03.2') + 1, own)
    workbook.write_nb(nb, small.path(stem))

    course = tmp_path/'course'
    course.mkdir()
    raw = json.loads((workbook._notebooks()/f'{stem}.ipynb').read_text(encoding='utf-8'))
    for c in raw['cells']: c['source'] = ''.join(c['source'])
    find = lambda text: next(c for c in raw['cells'] if text in c['source'])
    find('## What the number means')['source'] += '\n\nA new sentence.'
    find('#| exercise: 03.6')['source'] = find('#| exercise: 03.6')['source'].replace("reduction:str='mean'", "reduction:str='mean', weight=None") # touched by both
    find('#| exercise: 03.1')['source'] += '\n# new in the course\n'
    raw['cells'] = [c for c in raw['cells'] if '#| exercise: 03.5' not in c['source']]
    raw['cells'].insert(8, workbook._cell('brand_new = 1', 'brandnew'))
    (course/f'{stem}.ipynb').write_text(json.dumps(raw), encoding='utf-8')
    monkeypatch.setattr(workbook, '_notebooks', lambda: course)
    for f in (workbook.lessons, workbook._course): f.cache_clear()
    try:
        said, = update(small)
        nb = small.nb(stem)
        cells = [c.source for c in nb.cells]
        ex = workbook._exercises(nb)
        assert ex['03.6'] == answer and '03.6' in said
        assert '# new in the course' in ex['03.1'] and 'raise NotImplementedError' in ex['03.1'] and '03.5' not in ex
        assert 'def bce_with_logits(logits, targets): return 42' in cells and 'softmax(torch.tensor([[99., 0., 0.]]))' in cells and 'brand_new = 1' in cells
        assert 'exercise: 03.2' in cells[cells.index('my_notes = "keep"') - 1]
        assert any('A new sentence.' in c for c in cells)
        assert update(small) == []
        shutil.copy(course/f'{stem}.ipynb', course/'03z_more.ipynb')
        for f in (workbook.lessons, workbook._course): f.cache_clear()
        assert update(small) == [] # made with --lessons 03
        small.state['only'] = None
        assert update(small) == ['03z_more is new'] and small.path('03z_more').exists()
    finally:
        monkeypatch.undo()
        for f in (workbook.lessons, workbook._course): f.cache_clear()


# It is the learner's code that runs.

def paths(folder, *modules):
    "Where a notebook of the workbook gets its modules from."
    code = f'import sys, importlib; sys.path.insert(0, ".."); print(*(importlib.import_module("mylib." + m).__file__ for m in {modules!r}), sep="\\n")'
    run = subprocess.run([sys.executable, '-B', '-c', code], cwd=folder/'nbs', capture_output=True, text=True, check=True)
    return [Path(p).resolve() for p in run.stdout.splitlines()]


@pytest.fixture(scope='session')
def filled(tmp_path_factory):
    "A workbook in which all exercises are the reference's and all modules are its own."
    wb = Workbook.new(tmp_path_factory.mktemp('filled')/'course')
    for stem in wb.stems:
        fill(wb, stem)
        if workbook._module(workbook._course(stem)): workbook._export(wb.folder, stem)
    return wb


def test_no_reference_module_is_left(filled):
    modules = [m for s in filled.stems if (m := workbook._module(workbook._course(s)))]
    assert len(modules) > 25
    assert paths(filled.folder, *modules) == [filled.folder/'mylib'/f'{m}.py' for m in modules]


def test_later_lessons_run_on_the_learners_code(filled):
    "Softmax twice, planted in the loss of lesson 03, and the first training of lesson 04 fails; without it, it passes."
    file = filled.folder/'mylib'/'losses.py'
    right = file.read_text(encoding='utf-8')
    wrong = right.replace('F.cross_entropy(logits, targets, ignore_index=ignore_index', 'F.cross_entropy(logits.softmax(1), targets, ignore_index=ignore_index')
    assert wrong != right
    nb = filled.nb('04_learner')
    stop = next(i for i, c in enumerate(nb.cells) if '## The optimizer leaves the loop' in c.source) # the first training is enough
    nb.cells = [c for i, c in enumerate(nb.cells) if i < stop]
    whole = filled.path('04_learner').read_bytes()
    workbook.write_nb(nb, filled.path('04_learner'))
    try:
        file.write_text(wrong, encoding='utf-8')
        failed, = run_jobs(filled.folder, [dict(run='04_learner')])
        file.write_text(right, encoding='utf-8')
        passed, = run_jobs(filled.folder, [dict(run='04_learner')])
    finally:
        file.write_text(right, encoding='utf-8')
        filled.path('04_learner').write_bytes(whole)
    assert failed.status == 'fail' and 'AssertionError' in failed.text and 'reference[-1]' in failed.text, failed.text
    assert passed.status == 'pass', passed.text


@pytest.mark.skipif('MYLIB_WALK' not in os.environ, reason='MYLIB_WALK=04 executes the filled lessons up to that one (minutes), MYLIB_WALK=19 all')
def test_a_filled_workbook_passes_lesson_by_lesson(tmp_path):
    wb = Workbook.new(tmp_path/'course')
    for stem in wb.stems:
        if stem.split('_')[0] > os.environ['MYLIB_WALK']: break
        fill(wb, stem)
        r = run_lesson(wb, stem)
        assert r.status == 'pass', r.text
        if m := workbook._module(workbook._course(stem)): assert paths(wb.folder, m) == [wb.folder/'mylib'/f'{m}.py'] and wb.owner(m) == 'own'


def in_jupyter(folder, *sources):
    "Outputs of cells executed in a kernel in the folder's `nbs`, as text."
    import nbformat
    from nbclient import NotebookClient
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'}
    NotebookClient(nb, timeout=120, resources={'metadata': {'path': str(folder/'nbs')}}).execute(env=env)
    return [''.join(o.get('text', '') or o.get('data', {}).get('text/markdown', '') for o in c.outputs) for c in nb.cells]


def test_in_a_notebook(small):
    "What was run counts, not what is saved; the notebook lives through a crash; a lesson wants to be saved first."
    ref, setup = COURSE['03_losses'], next(c.source for c in small.nb('03_losses').cells if c.id == 'workbook-setup')
    wrong = ref['03.6'].replace('F.mse_loss(preds, targets, reduction=reduction)', '(preds - targets).square().mean()')
    crash = ref['03.1'].replace('m = x.detach()', 'import os; os._exit(1)\n    m = x.detach()')
    out = in_jupyter(small.folder, setup, 'import torch, torch.nn.functional as F', "check('03.6')", wrong, "check('03.6')", ref['03.6'], "check('03.6')",
                     crash, "check('03.1')", "hint('03.1')\nhint('03.1')", "solution('03.1')", "check('03')", "check('03.9')", "hint('03.A')")
    assert '○ 03.6' in out[2] and "✗ 03.6  reduction='sum' adds them" in out[4] and 'expected' in out[4] and '✓ 03.6' in out[6]
    assert 'ended the whole process with code 1' in out[8] and 'Hint 1 of 3' in out[9] and 'Hint 2 of 3' in out[9] and 'x.detach().amax' in out[10]
    assert 'save the notebook' in out[11] and '03.6' in out[11] and 'no exercise 03.9' in out[12] and 'folded above it' in out[13]


def test_a_kernel_with_an_old_module_is_told(small):
    fill(small, '03_losses')
    workbook._export(small.folder, '03_losses')
    out = in_jupyter(small.folder, next(c.source for c in small.nb('03_losses').cells if c.id == 'workbook-setup') + '\nimport mylib.losses, pathlib, time',
                     'time.sleep(1.1); pathlib.Path(mylib.losses.__file__).touch(); check("03.6")')
    assert 'This kernel still holds the former mylib.losses' in out[1]


def test_a_lesson_that_passes_takes_its_place(small):
    assert paths(small.folder, 'losses', 'core') == [LIB/'losses.py', LIB/'core.py']
    fill(small, '03_losses')
    nb = small.nb('03_losses') # the definitions, the imports and one check are enough
    nb.cells = [c for c in nb.cells if c.cell_type == 'markdown' or {'default_exp', 'export'} & set(c.directives) or re.match('(import|from) ', c.source) or 'accuracy_score(t, x' in c.source]
    workbook.write_nb(nb, small.path('03_losses'))
    assert small.owner('losses') == 'reference'
    r = run_lesson(small, '03_losses')
    assert r.status == 'pass' and small.owner('losses') == 'own', r.text
    assert paths(small.folder, 'losses', 'core', 'learner') == [small.folder/'mylib'/'losses.py', LIB/'core.py', LIB/'learner.py']
    with open(small.folder/'mylib'/'losses.py', 'a') as f: f.write('\n')
    assert small.owner('losses') == 'changed'
    write(small, '03.4', COURSE['03_losses']['03.4'].replace('argmax(1)', 'argmin(1)'))
    before = (small.folder/'mylib'/'losses.py').read_bytes()
    r = run_lesson(small, '03_losses')
    assert r.status == 'fail' and 'AssertionError' in r.text, r.text
    assert (small.folder/'mylib'/'losses.py').read_bytes() == before
