"""Property tests of mylib.autograd against PyTorch: values and gradients of every operation, and the release of the graph."""
import gc, weakref

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings

from mylib.autograd import Variable, gradcheck, no_grad, unbroadcast

settings.register_profile('autograd', max_examples=40, deadline=None, database=None, derandomize=True)
settings.load_profile('autograd')

dtypes = st.sampled_from([np.float32, np.float64])
seeds = st.integers(0, 2**16)
pairs = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=3)
shapes = hnp.array_shapes(min_dims=1, max_dims=4, max_side=4)


def normal(shape, seed=0, dtype=np.float64): return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype=dtype)


def agree(ours, theirs, *arrays):
    "The same computation and the same random gradient through both engines, on variables made anew."
    vs = [Variable(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, t = ours(*vs), theirs(*ts)
    g = normal(y.shape, 1, y.dtype)
    y.backward(g)
    t.backward(torch.tensor(g))
    tol = 1e-9 if y.dtype == np.float64 else 2e-4
    for got, want in [(y.data, t.detach()), *((v.grad, u.grad) for v, u in zip(vs, ts, strict=True))]:
        want = want.numpy()
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        np.testing.assert_allclose(got, want, rtol=tol, atol=tol)


BINARY = {'add': lambda a, b: a + b, 'sub': lambda a, b: a - b, 'mul': lambda a, b: a*b, 'div': lambda a, b: a/b,
    'pow': lambda a, b: a**b, 'twice': lambda a, b: a*b*a - b/a}

@pytest.mark.parametrize('name', BINARY)
@given(pairs, seeds, dtypes)
def test_broadcasting(name, pair, seed, dtype):
    a, b = (np.asarray(np.abs(normal(s, seed + i)) + 0.5, dtype=dtype) for i, s in enumerate(pair.input_shapes))
    agree(BINARY[name], BINARY[name], a, b)

@given(pairs)
def test_unbroadcast_is_adjoint_of_broadcast(pair):
    g = normal(pair.result_shape)
    for i, s in enumerate(pair.input_shapes):
        a, back = normal(s, i), unbroadcast(g, s)
        assert back.shape == s
        np.testing.assert_allclose((np.broadcast_to(a, g.shape)*g).sum(), (a*back).sum(), atol=1e-9)

def test_unbroadcast_refuses():
    for g, s in [((2, 3), (2,)), ((3,), (1, 3)), ((2, 3), (4, 3))]:
        with pytest.raises(ValueError, match='does not broadcast'): unbroadcast(np.ones(g), s)

@pytest.mark.parametrize('n', [0, 1, 2, 3, -1, 0.5])
def test_constant_exponent(n): agree(lambda a: a**n, lambda a: a**n, np.array([0.5, 1., 2.]))

def test_power_at_zero():
    for n in (0, 1, 2): agree(lambda a: a**n, lambda a: a**n, np.array([0., -1.]))
    agree(lambda b: 0.**b, lambda b: 0.**b, np.array([1., 2.]))

@given(shapes, seeds, dtypes)
def test_left_operand(shape, seed, dtype):
    a, c = np.abs(normal(shape, seed, dtype)) + dtype(0.5), np.abs(normal(shape, seed + 1, dtype)) + dtype(0.5)
    t = torch.tensor(c)
    for f in BINARY.values():
        agree(lambda x: f(c, x), lambda x: f(t, x), a)
        agree(lambda x: f(2, x), lambda x: f(2, x), a)
        agree(lambda x: f(np.float64(2), x), lambda x: f(2., x), a)

@pytest.mark.parametrize('name', ['exp', 'tanh', 'sigmoid', 'relu', 'neg', 'log'])
@given(shape=shapes, seed=seeds, dtype=dtypes)
def test_elementwise(name, shape, seed, dtype):
    a = normal(shape, seed, dtype)
    if name == 'log': a = np.abs(a) + dtype(0.1)
    agree((lambda x: -x) if name == 'neg' else getattr(Variable, name), getattr(torch, name), a)

def test_relu_at_zero_and_sigmoid_far_out():
    agree(Variable.relu, torch.relu, np.array([0., -0., 1., -1.]))
    agree(Variable.sigmoid, torch.sigmoid, np.array([-800., -30., 0., 30., 800.]))

@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=3), st.tuples(*[st.integers(1, 4)]*3), seeds, dtypes)
def test_matmul_batched(pair, nkm, seed, dtype):
    n, k, m = nkm
    s, t = pair.input_shapes
    agree(lambda a, b: a @ b, torch.matmul, normal((*s, n, k), seed, dtype), normal((*t, k, m), seed + 1, dtype))

@given(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4), seeds)
def test_matmul_with_vectors(shape, seed):
    a, v = normal(shape, seed), normal(shape[-1], seed + 1)
    agree(lambda a, v: a @ v, torch.matmul, a, v)
    agree(lambda v, a: v @ a, torch.matmul, v, np.swapaxes(a, -1, -2).copy() if a.ndim > 1 else a)
    np.testing.assert_allclose((a @ Variable(v)).data, a @ v)

@given(st.data(), shapes, seeds, dtypes)
def test_reductions(data, shape, seed, dtype):
    axes = data.draw(st.one_of(st.integers(-len(shape), len(shape) - 1), hnp.valid_tuple_axes(len(shape), min_size=1)))
    keep = data.draw(st.booleans())
    a = np.random.default_rng(seed).permutation(np.prod(shape)).reshape(shape).astype(dtype)
    for ours, theirs in [(Variable.sum, torch.sum), (Variable.mean, torch.mean), (Variable.max, torch.amax)]:
        agree(lambda v: ours(v, axes, keep), lambda t: theirs(t, axes, keep), a)
        agree(lambda v: ours(v, None, keep), lambda t: theirs(t, tuple(range(t.ndim)), keep), a)

@given(shapes, seeds)
def test_max_ties_go_to_the_first(shape, seed):
    a = np.random.default_rng(seed).integers(0, 2, shape).astype(np.float64)
    for axis in range(-len(shape), len(shape)): agree(lambda v: v.max(axis), lambda t: t.max(axis).values, a)

@given(st.data(), shapes, seeds)
def test_shapes(data, shape, seed):
    a, order = normal(shape, seed), data.draw(st.permutations(range(len(shape))))
    agree(lambda v: v.transpose(*order), lambda t: t.permute(*order), a)
    agree(lambda v: v.transpose(order), lambda t: t.permute(*order), a)
    agree(lambda v: v.T*2, lambda t: t.permute(*range(t.ndim)[::-1])*2, a)
    agree(lambda v: v.reshape(-1), lambda t: t.reshape(-1), a)
    agree(lambda v: v.reshape((1, *shape[::-1])), lambda t: t.reshape((1, *shape[::-1])), a)
    widths = [data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in shape]
    agree(lambda v: v.pad(*widths), lambda t: F.pad(t, [n for w in widths[::-1] for n in w]), a)

@given(st.data(), shapes, seeds)
def test_basic_indexing(data, shape, seed):
    i = data.draw(hnp.basic_indices(shape, allow_newaxis=True).filter(lambda i: not any(
        isinstance(k, slice) and (k.step or 1) < 0 for k in (i if isinstance(i, tuple) else (i,)))))
    agree(lambda v: v[i], lambda t: t[i], normal(shape, seed))

@given(st.data(), shapes, seeds)
def test_array_indexing_with_repeats(data, shape, seed):
    a = normal(shape, seed)
    rows = data.draw(st.lists(st.integers(-shape[0], shape[0] - 1), min_size=1, max_size=6))
    agree(lambda v: v[rows], lambda t: t[rows], a)
    many = data.draw(hnp.integer_array_indices(shape))
    agree(lambda v: v[many], lambda t: t[tuple(map(torch.tensor, many))], a)
    mask = np.random.default_rng(seed).random(shape) < 0.5
    agree(lambda v: v[mask], lambda t: t[torch.tensor(mask)], a)

def test_negative_step_and_index_array_changed_later():
    x, i = Variable(np.arange(4.), requires_grad=True), np.array([0, 0, 3])
    y = x[i] * x[::-1][i]
    i[:] = 1
    y.sum().backward()
    t = torch.arange(4., dtype=torch.float64, requires_grad=True)
    k = torch.tensor([0, 0, 3])
    (t[k] * t.flip(0)[k]).sum().backward()
    np.testing.assert_array_equal(x.grad, t.grad.numpy())

@given(st.data(), shapes, seeds, st.sampled_from([1., 1e3]))
def test_softmax(data, shape, seed, scale):
    a, axis = scale*normal(shape, seed), data.draw(st.integers(-len(shape), len(shape) - 1))
    agree(lambda v: v.softmax(axis), lambda t: t.softmax(axis), a)
    agree(lambda v: v.log_softmax(axis), lambda t: t.log_softmax(axis), a)

small = st.integers(1, 3)

@given(st.tuples(small, small, st.integers(3, 8), st.integers(3, 8)), small, small, small, st.integers(1, 3), st.integers(0, 2), st.booleans(), seeds, dtypes)
def test_conv2d(shape, o, kh, kw, stride, padding, with_bias, seed, dtype):
    x, w, b = normal(shape, seed, dtype), normal((o, shape[1], kh, kw), seed + 1, dtype), normal(o, seed + 2, dtype)
    agree(lambda *a: Variable.conv2d(*a, stride=stride, padding=padding), lambda *a: F.conv2d(*a, stride=stride, padding=padding),
        *((x, w, b) if with_bias else (x, w)))

@given(st.tuples(small, small, st.integers(3, 8), st.integers(3, 8)), small, st.sampled_from([None, 1, 2, 3]), st.booleans(), seeds)
def test_max_pool2d(shape, k, stride, ties, seed):
    x = normal(shape, seed)
    agree(lambda v: v.max_pool2d(k, stride), lambda t: F.max_pool2d(t, k, stride), np.round(x) if ties else x)

def test_gradcheck_passes_and_fails():
    a = normal((3, 2))
    assert gradcheck(lambda x: (x*x.tanh()).sum(0), a)
    with pytest.raises(AssertionError, match='input 0 at'): gradcheck(lambda x: x*x.detach(), a)
    with pytest.raises(TypeError, match='float64'): gradcheck(lambda x: x, a.astype(np.float32))
    with pytest.raises(ValueError, match='two results'): gradcheck(lambda x: x*np.random.rand(), a)


# The engine

def test_graph_is_released_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        x = Variable(normal((2, 1, 6, 6)), requires_grad=True)
        w = Variable(normal((2, 1, 3, 3)), requires_grad=True)
        for backward in (True, False):
            h = x.conv2d(w, padding=1).relu()
            z = h.max_pool2d(2)[[0, 0]].reshape(2, -1).log_softmax()
            y = (z.max(1).mean() + h.sum()/7 - (z @ z.T).exp().sum())**2
            watched = [weakref.ref(v) for v in (h, z)] + [weakref.ref(h.data), weakref.ref(z.data)]
            del h, z
            assert all(r() is not None for r in watched[:2])
            if backward: y.backward()
            else: del y
            assert all(r() is None for r in watched)
        y = (x*x).exp().sum()
        y.backward()
        assert gc.collect() == 0
    finally: gc.enable()

def test_only_leaves_keep_gradients_and_they_add_up():
    x = Variable([1., 2.], requires_grad=True)
    h = x*3
    h.sum().backward()
    (x*x).sum().backward()
    assert h.grad is None and x.is_leaf and not h.is_leaf
    np.testing.assert_array_equal(x.grad, [5., 7.])

def test_gradients_of_two_leaves_do_not_share_memory():
    a, b = (Variable(np.ones(2), requires_grad=True) for _ in range(2))
    g = np.ones(2)
    (a + b).backward(g)
    a.grad *= 10
    np.testing.assert_array_equal(b.grad, [1., 1.])
    np.testing.assert_array_equal(g, [1., 1.])

def test_second_backward_is_an_error_and_changes_nothing():
    x = Variable([1., 2.], requires_grad=True)
    h = x.exp()
    first, second = h.sum(), (h*h + x).sum()
    first.backward()
    before = x.grad.copy()
    for y in (first, second):
        with pytest.raises(RuntimeError, match='released by an earlier backward'): y.backward()
    np.testing.assert_array_equal(x.grad, before)

def test_bad_starts():
    x = Variable([1., 2.], requires_grad=True)
    with pytest.raises(RuntimeError, match=r'single number.*shape \(2,\)'): (x*x).backward()
    with pytest.raises(ValueError, match=r'grad has shape \(3,\)'): (x*x).backward(np.ones(3))
    with pytest.raises(RuntimeError, match='nothing to differentiate'): Variable([1.]).backward()
    with no_grad(): y = (x*x).sum()
    with pytest.raises(RuntimeError, match='no_grad'): y.backward()
    assert x.grad is None

def test_writing_in_place():
    mine = np.ones(2)
    x = Variable(mine, requires_grad=True)
    y = x.exp()
    for v in (x, y, x[:1], x.reshape(2, 1), x.T, x.detach()):
        with pytest.raises(ValueError, match='read-only'): v.data[0] = 3
    with pytest.raises(TypeError, match='cannot be written into'): x[0] = 3
    with pytest.raises(RuntimeError, match='cannot be replaced'): y.data = mine
    with pytest.raises(ValueError, match='the new value'): x.data = np.ones(3)
    mine *= 5
    new = np.zeros(2)
    x.data = new
    new += 1
    y.sum().backward()
    np.testing.assert_allclose(x.grad, np.exp([1., 1.]))
    np.testing.assert_array_equal(x.data, [0., 0.])

def test_product_keeps_the_values_it_saw():
    a, b = Variable([3.], requires_grad=True), Variable([4.], requires_grad=True)
    y = a*b/b**a @ a
    want = [torch.tensor([v], requires_grad=True) for v in (3., 4.)]
    s, t = want
    (s*t/t**s @ s).backward()
    a.data, b.data = [7.], [8.]
    y.backward()
    for v, u in zip((a, b), want, strict=True): np.testing.assert_allclose(v.grad, u.grad, rtol=1e-5)

def test_long_chain():
    x = y = Variable(1., requires_grad=True)
    for _ in range(10_000): y = y*1.0001 + x*0.
    y.backward()
    np.testing.assert_allclose(x.grad, 1.0001**10_000, rtol=1e-2)
    y = x
    for _ in range(100_000): y = y + x
    del y   # a chain dropped without a backward must not overflow the stack either

def test_wrong_backward_function_is_named():
    from mylib.autograd import _record
    x = Variable([1., 2.], requires_grad=True)
    with pytest.raises(RuntimeError, match="'odd' gave shape"): _record('odd', x.data.sum(), (x, lambda g: g)).backward()

def test_bad_inputs():
    x = Variable(np.ones((2, 3, 4, 4)))
    with pytest.raises(TypeError, match='Variable already'): Variable(x)
    with pytest.raises(TypeError, match='real numbers'): Variable('a')
    with pytest.raises(TypeError, match='real numbers'): Variable([1j])
    with pytest.raises(TypeError, match='take the array out'): np.exp(np.asarray(x))
    with pytest.raises(TypeError): np.exp(x)
    with pytest.raises(TypeError, match='index'): x[Variable([0])]
    with pytest.raises(ValueError, match='out of range'): x.sum(4)
    with pytest.raises(ValueError, match='inner sizes'): x @ np.ones((3, 2))
    with pytest.raises(ValueError, match='vectors or matrices'): x @ 2
    with pytest.raises(ValueError, match='same c'): x.conv2d(np.ones((2, 4, 3, 3)))
    with pytest.raises(ValueError, match='does not fit'): x.conv2d(np.ones((2, 3, 5, 5)))
    with pytest.raises(ValueError, match='max_pool2d needs'): x.max_pool2d(5)
    with pytest.raises(ValueError, match='mean of no elements'): Variable(np.ones((0, 2))).mean()
    with pytest.raises(ValueError, match='one width for each'): x.pad(1)

def test_no_grad_is_undone_by_an_error():
    x = Variable([1.], requires_grad=True)
    with pytest.raises(ZeroDivisionError), no_grad(): 1/0
    assert (x*x).requires_grad
    with no_grad():
        with no_grad(): pass
        assert not (x*x).requires_grad
