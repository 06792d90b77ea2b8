"Every public name says what it is, and what shape or unit its arguments have."
import importlib, inspect, re, types

import pytest
from fastcore.docments import docments
from nbread import LIB

# Names under which the course passes arrays, wherever there is no annotation.
ARRAYS = {'x', 'y', 'xb', 'yb', 'logits', 'targets', 'preds', 'inp', 'weight', 'grad'}
# (n,c), (n,), `(bs,1,28,28)`, (...,d), and words for tensors of every shape.
SHAPE = re.compile(r'\((\s*[\w.*+/-]+\s*,)+\s*[\w.*+/-]*\s*\)|\b(scalars?|any shape|same shape|any nesting|shaped?|0-d|1-d|2-d|elementwise)\b', flags=re.I)
# The events of a callback are documented in one place, in the lesson on the Learner.
EVENT = re.compile(r'(before|after|cleanup)_(fit|epoch|batch|predict|loss|backward|step)')


def required(f):
    "Parameters of `f` without default, `self`, `*args` and `**kwargs`."
    return [p for p in inspect.signature(f).parameters.values() if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in ('self', 'cls')]


def takes_array(p): return p.name in ARRAYS or re.search(r'\b(Tensor|ndarray)\b', str(p.annotation))


def check_function(f):
    """What the documentation of one function lacks:
    - a docstring;
    - for each parameter without default, a docment (`x, # (n,c) logits`) or its name in backticks in the docstring;
      a docstring that states a shape will do if there is one parameter alone;
    - where a parameter without default is an array (by annotation, or by a name in `ARRAYS`), a shape in its docment or in the docstring."""
    doc = inspect.getdoc(f)
    if not doc: return ['no docstring']
    notes, params = docments(f), required(f)
    stated = bool(SHAPE.search(doc))
    bad = []
    for p in params:
        note = notes.get(p.name) or ''
        if not note and f'`{p.name}`' not in doc and not (stated and len(params) == 1): bad.append(f'{p.name}: no docment, and no `{p.name}` in the docstring')
        elif takes_array(p) and not stated and not SHAPE.search(note): bad.append(f'{p.name}: an array without a shape')
    return bad


def check_class(cls):
    "What the documentation of one class lacks: docstrings of its own and of its public methods and properties; inherited docstrings count for methods."
    bad = [] if cls.__dict__.get('__doc__') and not auto_doc(cls) else [('', 'no docstring')]
    for name, o in vars(cls).items():
        if name.startswith('_') or name == 'forward' or EVENT.fullmatch(name): continue
        if not isinstance(o, (types.FunctionType, classmethod, staticmethod, property)): continue
        if not inspect.getdoc(getattr(cls, name)): bad.append((f'.{name}', 'no docstring'))
    return bad


def auto_doc(cls):
    "Whether the docstring is the signature that `dataclass` and `namedtuple` write by themselves."
    return cls.__doc__.startswith(f'{cls.__name__}(')


def check_module(mod):
    "Violations of a module's public names, one readable line each; constants need no docstring."
    bad = []
    for name in mod.__all__:
        o = getattr(mod, name)
        if inspect.isclass(o): bad += [f'{mod.__name__}.{name}{at}: {what}' for at, what in check_class(o)]
        elif callable(o): bad += [f'{mod.__name__}.{name}: {what}' for what in check_function(o)]
    return bad


@pytest.mark.parametrize('module', sorted({p.stem for p in LIB.glob('*.py')} - {'__init__', '_modidx', 'all'}))
def test_public_names_are_documented(module):
    bad = check_module(importlib.import_module(f'mylib.{module}'))
    assert not bad, '\n' + '\n'.join(bad)


# The checker can fail.

def described(x, # (n,d) inputs
              k, # how many
              ): "Nearest neighbours."
def named(x, k): "The `k` nearest rows of `x`, shaped (n,d)."
def one(x): "Row sums (n,) of a matrix."
def mute(x): pass
def vague(x): "Does it to `x`."
def partly(x, k): "Rows of `x`, shaped (n,d)."

class Whole:
    "A thing."
    def f(self): "What it does."
    def forward(self, x): pass
    def after_batch(self, learn): pass
    def _g(self): pass
class Child(Whole):
    "A smaller thing."
    def f(self): pass
    def g(self): pass
    @property
    def p(self): pass
class Mute: pass


def test_the_checker():
    assert check_function(described) == check_function(named) == check_function(one) == []
    assert check_function(mute) == ['no docstring']
    assert check_function(vague) == ['x: an array without a shape']
    assert check_function(partly) == ['k: no docment, and no `k` in the docstring']
    assert check_class(Whole) == []
    assert check_class(Child) == [('.g', 'no docstring'), ('.p', 'no docstring')]
    assert check_class(Mute) == [('', 'no docstring')]
