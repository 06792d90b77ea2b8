"Lesson 09a has no module: its small functions are taken from the notebook, and the convex game is played at more lengths than there."
import ast, itertools, math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mylib.optim import SGD, Adam, AdamW
from nbread import NBS, Notebook
from scipy import stats

LESSON = Notebook(NBS/'09a_adamw.ipynb')


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    "Thousands of tiny steps: on a busy machine the threads would wait for one another."
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)


@pytest.fixture(scope='module')
def fns():
    "Imports and top-level functions of the lesson; nothing else of it is run."
    ns = {}
    exec('\n'.join(LESSON.import_statements), ns)
    defs = [o for c in LESSON.code if 'slow' not in c.marks and '09a.' not in c.source for o in c.tree.body if isinstance(o, ast.FunctionDef) and not o.args.defaults]
    defs += [o for c in LESSON.code if 'slow' not in c.marks for o in c.tree.body if isinstance(o, ast.FunctionDef) and o.name in ('play', 'drift', 'cycle_drift')]
    exec(compile(ast.Module(defs, []), str(LESSON), 'exec'), ns)
    return ns


def adam(C, **kwargs):
    def make(params, lr): return Adam(params, lr=lr, betas=(0., 1/(1 + C*C)), **kwargs)
    return make


def regret(xs, C):
    "Mean over the rounds of f_t(x_t) - f_t(-1); x_t is the position before round t."
    slopes = [C if t % 3 == 1 else -1. for t in range(1, len(xs) + 1)]
    return sum(g*(x + 1) for g, x in zip(slopes, [0., *xs[:-1]]))/len(xs)


@pytest.mark.parametrize('C', [2.2, 3., 10.])
def test_adam_never_comes_back(fns, C):
    xs = fns['play'](adam(C), 2400, C)
    for n in (300, 600, 1200, 2400): assert min(xs[n - 3:n]) > 1 - 2.2/math.sqrt(n) # the length of a step after n rounds, 0.5/sqrt(n), a few times
    assert -1 <= min(xs) and max(xs) == 1
    first, last = regret(xs[:600], C), regret(xs, C)
    assert last > 0.9*(C - 2)*2/3 and last >= 0.9*first # it tends to that of staying at +1, and does not fall


@pytest.mark.parametrize('C', [3., 10.])
@pytest.mark.parametrize('make', [SGD, 'amsgrad'])
def test_others_reach_the_optimum(fns, C, make):
    xs = fns['play'](adam(C, amsgrad=True) if make == 'amsgrad' else make, 2400, C)
    for n in (300, 600, 1200, 2400): assert max(xs[n - 3:n]) < -1 + 2.2/math.sqrt(n)
    assert min(xs) == -1 and max(xs) <= 1
    assert regret(xs, C) < 0.6*regret(xs[:600], C) # of order 1/sqrt(n): a half when n is four times as large


@settings(deadline=None, max_examples=40)
@given(beta2=st.floats(0.05, 0.995), C=st.floats(2.1, 30.), period=st.integers(2, 9), amsgrad=st.booleans())
def test_cycle_drift(fns, beta2, C, period, amsgrad):
    "The closed form against the recursion, run until it has settled."
    grads, v, top = [C] + [-1.]*(period - 1), 0., 0.
    for _ in range(int(30/(1 - beta2))//period + 2):
        total = 0.
        for g in grads:
            v = beta2*v + (1 - beta2)*g*g
            top = max(top, v)
            total -= g/math.sqrt(top if amsgrad else v)
    assert fns['cycle_drift'](beta2, C, -1., period, amsgrad) == pytest.approx(total, rel=1e-6, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(n=st.integers(2, 30), shift=st.floats(-2, 2), seed=st.integers(0, 9999))
def test_paired(fns, n, shift, seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(17, 2, n)
    scores = fns['pd'].DataFrame(dict(a=a, b=a + shift + rng.normal(0, 1, n)))
    [row] = fns['paired'](scores, 'a').itertuples()
    t = stats.ttest_rel(scores.b, scores.a)
    assert row.difference/row.se == pytest.approx(t.statistic)
    if abs(t.pvalue - 0.05) > 1e-6: assert row.verdict == ('cannot tell' if t.pvalue > 0.05 else 'better' if t.statistic < 0 else 'worse')


@given(losses=st.lists(st.floats(0, 10), min_size=1, max_size=7), data=st.data())
def test_expected_best(fns, losses, data):
    k = data.draw(st.integers(1, len(losses)))
    assert fns['expected_best'](losses, k) == pytest.approx(np.mean([min(c) for c in itertools.combinations(losses, k)]), abs=1e-9)


@pytest.mark.parametrize('lr,wd', [(0.01, 0.1), (0.005, 0.3)])
def test_decay_rates(fns, lr, wd):
    "Pure noise: AdamW shrinks all weights alike, L2 in Adam each by its noise."
    noise, n_step = (1., 4.), 300
    for opt_func, expected in ((AdamW, [1., 1.]), (Adam, [1., 0.25])):
        end = fns['drift'](lambda p, f=opt_func: f(p, lr=lr, betas=(0.9, 0.99), weight_decay=wd), noise, n=4000, n_step=n_step)[-1]
        assert (-end.log()/(n_step*lr*wd)).tolist() == pytest.approx(expected, rel=0.15, abs=0.06)


@pytest.mark.parametrize('momentum', [0., 0.9])
def test_l2_is_decay_for_plain_sgd_only(momentum):
    g, lr, wd = torch.Generator().manual_seed(0), 0.1, 0.2
    w = torch.ones(5, requires_grad=True)
    opt, by_hand, buf = SGD([w], lr=lr, momentum=momentum, weight_decay=wd), torch.ones(5), torch.zeros(5)
    for _ in range(10):
        w.grad = torch.randn(5, generator=g)
        buf = momentum*buf + w.grad
        by_hand = by_hand - lr*buf - lr*wd*by_hand
        opt.step()
    assert torch.allclose(w.detach(), by_hand, atol=1e-6) == (momentum == 0)


def test_slow_cells_have_stored_results():
    slow = [c for c in LESSON.code if 'slow' in c.marks]
    assert len(slow) >= 10
    bare = [c.index for c in slow if isinstance(c.tree.body[-1], ast.Expr) and not c.outputs]
    assert not bare, f'slow cells {bare} have no stored output: run `make refresh`'
