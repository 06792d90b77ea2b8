"""Every exercise's check says 'not done' to the blank cell, accepts the solution, and refuses wrong answers.

The cells run in a namespace of their own: the lesson's import statements and the names of its exported module, as in the workbook."""
import ast, importlib, io, json, linecache, random, re, sys, types
from contextlib import contextmanager, redirect_stdout

import numpy as np
import pytest
import torch
from nbread import Notebook


def wrong_answers(source):
    """Two wrong answers made from a solution, keeping its names, signatures and decorators: every function and method returns its first
    argument, or returns None. Generators and context managers yield instead. Constructors stay in the first and are emptied in the second;
    where a class has nothing else, the first makes the constructor's lambdas return their first argument, or else empties it too.
    A solution that defines no function has its values replaced by None, and by 0."""
    for how in ('first argument', 'None'):
        tree = ast.parse(source)
        if defines(tree): tree.body = [gut(o, how) for o in tree.body]
        else:
            for o in tree.body:
                if isinstance(o, (ast.Assign, ast.AnnAssign)): o.value = ast.Constant(None if how == 'None' else 0)
        yield how, ast.unparse(ast.fix_missing_locations(tree))


def defines(tree):
    return any(isinstance(o, (ast.FunctionDef, ast.ClassDef)) or isinstance(getattr(o, 'value', None), ast.Lambda) for o in tree.body)


def gut(o, how, method=False):
    "Definition `o` (function, class, or lambda that gets a name) without its insides."
    if isinstance(o, ast.ClassDef):
        alone = not any(isinstance(m, ast.FunctionDef) and m.name != '__init__' for m in o.body)
        o.body = [gut(m, 'constructor' if alone and how != 'None' else how, method=True) for m in o.body]
    elif isinstance(o, ast.FunctionDef):
        inner = [n for n in ast.walk(o) if isinstance(n, ast.Lambda)]
        if how == 'constructor' and inner:
            for n in inner: n.body = ast.parse(first(n.args), mode='eval').body
        elif not (method and o.name == '__init__' and how == 'first argument'):
            o.body = ast.parse(body(o, first(o.args, method) if how == 'first argument' and o.name != '__init__' else 'None')).body
    elif isinstance(getattr(o, 'value', None), ast.Lambda):
        o.value.body = ast.parse(first(o.value.args) if how == 'first argument' else 'None', mode='eval').body
    return o


def body(f, value):
    manager = any('contextmanager' in ast.unparse(d) for d in f.decorator_list)
    if manager: return f'yield {value}'
    if any(isinstance(n, (ast.Yield, ast.YieldFrom)) for n in ast.walk(f)): return f'yield {value}' if value != 'None' else 'return\nyield'
    return 'super().__init__()' if f.name == '__init__' else f'return {value}'


def first(args, method=False):
    "Name of the first argument; for a method, the first after `self` where there is one."
    names = [a.arg for a in args.posonlyargs + args.args] + ([args.vararg.arg] if args.vararg else []) + [a.arg for a in args.kwonlyargs]
    if len(names) > 1 and (method or names[0] == 'self'): names = names[1:]
    return names[0] if names else 'None'


@contextmanager
def namespace(lesson):
    "A fresh module with the lesson's imports and the exported module's names; classes that an answer patches are put back afterwards."
    mod = types.ModuleType('exercise_answer')
    exec('\n'.join(lesson.import_statements), mod.__dict__)
    exported = f'mylib.{lesson.default_exp}'
    if lesson.default_exp: mod.__dict__.update({k: v for k, v in vars(importlib.import_module(exported)).items() if not k.startswith('__')})
    classes = {c: dict(vars(c)) for m in list(sys.modules.values()) if getattr(m, '__name__', '').startswith('mylib.')
               for c in vars(m).values() if isinstance(c, type) and c.__module__.startswith('mylib.')}
    random.seed(0); np.random.seed(0); torch.manual_seed(0)
    sys.modules[mod.__name__] = mod
    try: yield mod.__dict__
    finally:
        del sys.modules[mod.__name__]
        for c, before in classes.items():
            for k in vars(c).keys() - before.keys(): delattr(c, k)
            for k in [k for k, v in before.items() if vars(c).get(k) is not v]: setattr(c, k, before[k])
        if 'matplotlib.pyplot' in sys.modules: sys.modules['matplotlib.pyplot'].close('all')


def run(lesson, name, answer, check):
    "What the check prints after the answer."
    with namespace(lesson) as ns, redirect_stdout(io.StringIO()) as out:
        for part, source in (('answer', answer), ('check', check)):
            file = f'<{lesson.stem} {name} {part}>'
            linecache.cache[file] = len(source), None, source.splitlines(True), file # so that tracebacks show the lines
            exec(compile(source, file, 'exec'), ns)
    return out.getvalue()


def problems(lesson, ex):
    "What is wrong with an exercise, one line each."
    bad = []
    try:
        if f'○ {ex.name}' not in (out := run(lesson, ex.name, ex.blank, ex.check)): bad.append(f'the blank cell is not reported as not done: {out!r}')
    except Exception as e: bad.append(f'the blank cell raises {type(e).__name__}: {e}')
    try:
        if f'✓ {ex.name}' not in (out := run(lesson, ex.name, ex.solution, ex.check)): bad.append(f'the solution does not pass: {out!r}')
    except Exception as e: bad.append(f'the solution raises {type(e).__name__}: {e}')
    for how, source in wrong_answers(ex.solution):
        try: out = run(lesson, ex.name, source, ex.check)
        except Exception: continue
        if f'✓ {ex.name}' in out: bad.append(f'a wrong answer passes ({how}):\n{source}')
    return bad


def pytest_generate_tests(metafunc):
    if 'exercise' in metafunc.fixturenames:
        from nbread import notebooks
        pairs = [(nb, e) for nb in notebooks() if nb.is_lesson for e in nb.exercises]
        metafunc.parametrize('exercise', pairs, ids=[e.name for _, e in pairs])


def test_exercise(exercise):
    lesson, ex = exercise
    assert ex.blank and ex.check and ex.solution, 'not whole; see test_notebooks.py'
    assert re.search(rf'^\*\*{ex.name}\*\* \(level [123] of 3, about \d+ minutes\) ', ex.text, flags=re.M), 'how hard, and how long? **03.A** (level 2 of 3, about 15 minutes) Write ...'
    bad = problems(lesson, ex)
    assert not bad, '\n'.join(bad)


# The harness can fail.

SOLUTION, BLANK, CHECK = 'def double(x):\n    return 2*x\n', 'def double(x): raise NotImplementedError', "with exercise('77.A'):\n    assert double(3) == 6"

def synthetic(folder, solution=SOLUTION, blank=BLANK, check=CHECK):
    text = f'**77.A** Write it.\n\n<details><summary>Hint</summary>\n\nh\n\n</details>\n<details><summary>Solution</summary>\n\n```python\n{solution}```\n\n</details>'
    cells = [('markdown', '# T\n\n> t'), ('code', '#| default_exp core'), ('code', 'from mylib.core import exercise'), ('code', 'import math\nhidden = 1'), ('markdown', text), ('code', blank), ('code', check)]
    (folder/'77_core.ipynb').write_text(json.dumps(dict(cells=[dict(cell_type=k, source=s, metadata={}) for k, s in cells])), encoding='utf-8')
    lesson = Notebook(folder/'77_core.ipynb')
    [ex] = lesson.exercises
    return problems(lesson, ex)


def test_a_good_exercise_passes(tmp_path): assert synthetic(tmp_path) == []


@pytest.mark.parametrize('change,said', [
    (dict(check="with exercise('77.A'): pass"), 'a wrong answer passes'),
    (dict(check="with exercise('77.A'): double(3)"), 'a wrong answer passes'),
    (dict(check="with exercise('77.A'): assert double(3) is not None"), 'first argument'),
    (dict(solution='def double(x):\n    return x + 1\n'), 'the solution raises AssertionError'),
    (dict(blank="def double(x): raise NotImplementedError('write me')"), 'the blank cell raises'),
    (dict(blank="'raise NotImplementedError'\ndef double(x): return 2*x"), 'not reported as not done'),
    (dict(solution='def double(x):\n    return 2*x*hidden\n'), 'the solution raises NameError'),
    (dict(check="with exercise('77.A'): assert double(hidden) == 2"), 'the solution raises NameError')])
def test_a_bad_exercise_is_seen(tmp_path, change, said): assert any(said in p for p in synthetic(tmp_path, **change))


@pytest.mark.parametrize('solution,expected', [
    ('def f(a, b):\n    return a + b', {'def f(a, b):\n    return a', 'def f(a, b):\n    return None'}),
    ('@contextmanager\ndef f(a):\n    yield', {'@contextmanager\ndef f(a):\n    yield a', '@contextmanager\ndef f(a):\n    yield None'}),
    ('def f(a):\n    for x in a:\n        yield x', {'def f(a):\n    yield a', 'def f(a):\n    return\n    yield'}),
    ('f = lambda a: a + 1', {'f = lambda a: a', 'f = lambda a: None'}),
    ('k = 3', {'k = 0', 'k = None'}),
    ('class A:\n\n    def __init__(self, k):\n        self.k = k\n\n    def f(self, x):\n        return x + self.k',
     {'class A:\n\n    def __init__(self, k):\n        self.k = k\n\n    def f(self, x):\n        return x', 'class A:\n\n    def __init__(self, k):\n        super().__init__()\n\n    def f(self, x):\n        return None'}),
    ('class A(B):\n\n    def __init__(self, k):\n        super().__init__(lambda a: a[k])',
     {'class A(B):\n\n    def __init__(self, k):\n        super().__init__(lambda a: a)', 'class A(B):\n\n    def __init__(self, k):\n        super().__init__()'})])
def test_wrong_answers(solution, expected):
    assert solution not in expected
    assert {s for _, s in wrong_answers(solution)} == expected


def test_patches_do_not_outlive_an_exercise(tmp_path):
    from mylib import datasets
    cls = next(o for o in vars(datasets).values() if isinstance(o, type) and o.__module__ == 'mylib.datasets')
    before = dict(vars(cls))
    synthetic(tmp_path, check=f"import mylib.datasets\nmylib.datasets.{cls.__name__}.double = double\nmylib.datasets.{cls.__name__}.__len__ = double\n" + CHECK)
    assert dict(vars(cls)) == before
