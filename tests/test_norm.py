"`mylib.norm` against PyTorch over shapes, dtypes and modes, for several steps; running batch norm against its whole history."
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mylib.norm import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RunningBatchNorm, normalise
from torch import nn
from torch.testing import assert_close

TORCH_BN = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
TORCH_IN = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}

dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.float64])
seeds = st.integers(0, 9999)
batches = st.sampled_from([1, 2, 5])
places = st.lists(st.integers(2, 5), min_size=0, max_size=3).map(tuple)
modes = st.lists(st.booleans(), min_size=2, max_size=4)
momenta = st.sampled_from([None, 0., 0.1, 0.7, 1.])


def close(got, expected, dtype, what=''):
    tol = {torch.float32: dict(rtol=1e-4, atol=1e-4), torch.bfloat16: dict(rtol=2e-2, atol=3e-2), torch.float64: dict(rtol=1e-9, atol=1e-9)}[dtype]
    assert_close(got, expected, **tol, msg=lambda m: f'{what}: {m}')


def same(ours, theirs, shape, dtype, seed, modes=(True, False), mixed=False):
    "The same weights and steps through both; after each, outputs, gradients and buffers agree."
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in theirs.parameters(): p.copy_(torch.randn(p.shape, generator=g)*0.5 + 1)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    if not mixed: ours, theirs = ours.to(dtype), theirs.to(dtype)
    for training in modes:
        data, grad = (torch.randn(shape, generator=g)*2 + 1).to(dtype), torch.randn(shape, generator=g).to(dtype)
        got = []
        for layer in (ours, theirs):
            x = data.clone().requires_grad_()
            layer.train(training).zero_grad()
            out = layer(x)
            out.backward(grad)
            got.append({'out': out, 'x.grad': x.grad} | {f'{k}.grad': p.grad for k, p in layer.named_parameters()} | dict(layer.named_buffers()))
        assert list(got[0]) == list(got[1])
        for k in got[0]: close(got[0][k], got[1][k], dtype, f'{k}, training={training}')


@settings(deadline=None, max_examples=80)
@given(batches, st.integers(1, 5), places, dtypes, momenta, st.booleans(), modes, seeds)
def test_batch_norm_is_torchs(n, c, hw, dtype, momentum, affine, modes, seed):
    values = n*math.prod(hw)
    if values == 1: modes = [False]*len(modes)
    kw = dict(eps=0.1 if values < 5 else 1e-3, momentum=momentum, affine=affine)  # few values: the true gradient is nearly 0 and a small eps magnifies rounding
    same(BatchNorm(c, **kw), TORCH_BN[len(hw)](c, **kw), (n, c, *hw), dtype, seed, modes)


@settings(deadline=None, max_examples=15)
@given(batches, st.integers(1, 5), seeds)
def test_mixed_precision_batch_norm_is_torchs(n, c, seed):
    same(BatchNorm(c, eps=1e-2), nn.BatchNorm2d(c, eps=1e-2), (n, c, 4, 3), torch.bfloat16, seed, (True, True, False), mixed=True)


@settings(deadline=None, max_examples=50)
@given(batches, st.integers(1, 3), st.integers(1, 4), places, dtypes, seeds)
def test_group_norm_is_torchs(n, groups, per_group, hw, dtype, seed):
    c, eps = groups*per_group, 0.1
    if per_group*math.prod(hw) == 1:
        with pytest.raises(ValueError, match='one value has no variance'): GroupNorm(groups, c)(torch.zeros(n, c, *hw))
    else: same(GroupNorm(groups, c, eps), nn.GroupNorm(groups, c, eps), (n, c, *hw), dtype, seed)


@settings(deadline=None, max_examples=50)
@given(batches, st.integers(1, 5), places.filter(len), st.booleans(), dtypes, seeds)
def test_instance_norm_is_torchs(n, c, hw, affine, dtype, seed):
    kw = dict(eps=0.1, affine=affine)
    same(InstanceNorm(c, **kw), TORCH_IN[len(hw)](c, **kw), (n, c, *hw), dtype, seed)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 4), max_size=2).map(tuple), st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple), dtypes, seeds)
def test_layer_norm_is_torchs(lead, shape, dtype, seed):
    same(LayerNorm(shape, eps=0.1), nn.LayerNorm(shape, eps=0.1), (*lead, *shape), dtype, seed)
    if len(shape) == 1: same(LayerNorm(shape[0], eps=0.1), nn.LayerNorm(shape, eps=0.1), (*lead, *shape), dtype, seed)


@given(st.lists(st.integers(2, 5), min_size=1, max_size=4).map(tuple), dtypes, seeds)
def test_normalise_is_layer_norm(shape, dtype, seed):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    dims = tuple(range(-len(shape), 0))
    close(normalise(x, dims, eps=0.1), nn.functional.layer_norm(x, shape, eps=0.1), dtype)
    assert normalise(x, dims).dtype == dtype


def reference(history, m, eps):
    "Running batch norm of the last batch from all values ever seen, weighted by age; the past carries no graph."
    c = history[0].shape[1]
    rows = [(h if h is history[-1] else h.detach()).movedim(1, -1).reshape(-1, c) for h in history]
    w = torch.cat([torch.full((len(r),), (1 - m)**(len(rows) - 1 - i), dtype=r.dtype) for i, r in enumerate(rows)])[:, None]
    values, w = torch.cat(rows), w/w.sum()
    mean = (w*values).sum(0)
    var = (w*(values - mean)**2).sum(0)
    column = [1, c, *[1]*(history[-1].ndim - 2)]
    return (history[-1] - mean.view(column))/(var.view(column) + eps).sqrt(), mean, var


@settings(deadline=None, max_examples=60)
@given(st.lists(batches, min_size=1, max_size=5), st.integers(1, 3), places, st.sampled_from([0.05, 0.1, 0.5, 0.9]), seeds)
def test_running_batch_norm_is_its_history(sizes, c, hw, m, seed):
    g, eps, history = torch.Generator().manual_seed(seed), 1e-2, []
    layer = RunningBatchNorm(c, momentum=m, eps=eps).double()
    for n in sizes:
        history.append((torch.randn(n, c, *hw, generator=g, dtype=torch.float64)*2 + 1).requires_grad_())
        grad = torch.randn(history[-1].shape, generator=g, dtype=torch.float64)
        x = history[-1].detach().clone().requires_grad_()
        out, (expected, mean, var) = layer(x), reference(history, m, eps)
        close(out, expected, torch.float64)
        close(torch.autograd.grad(out, x, grad)[0], torch.autograd.grad(expected, history[-1], grad)[0], torch.float64)
        close((layer.running_mean, layer.running_var), (mean.detach(), var.detach()), torch.float64)
    layer.eval()
    close(layer(history[-1]), (expected if sizes else history[-1]), torch.float64)


def test_running_batch_norm_gradcheck():
    layer = RunningBatchNorm(2).double()
    layer(torch.randn(3, 2, 4).double())
    state = {k: v.clone() for k, v in layer.state_dict().items()}
    def from_state(x, weight, bias):
        fresh = RunningBatchNorm(2).double()
        fresh.load_state_dict(state)
        return torch.func.functional_call(fresh, dict(weight=weight, bias=bias), x)
    args = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2, 2, 4), (2,), (2,))]
    assert torch.autograd.gradcheck(from_state, args)


@given(st.floats(-1e4, 1e4), seeds)
def test_running_batch_norm_far_from_zero(mean, seed):
    layer, g = RunningBatchNorm(2), torch.Generator().manual_seed(seed)
    xs = [torch.randn(2, 2, 5, 5, generator=g) + mean for _ in range(5)]
    for x in xs: layer(x)
    _, _, var = reference([x.double() for x in xs], 0.1, 1e-5)
    assert_close(layer.running_var.double(), var, rtol=2e-2, atol=0)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_running_batch_norm_in_half(dtype):
    torch.manual_seed(0)
    mixed, wide = RunningBatchNorm(3), RunningBatchNorm(3)
    for n in (1, 4, 2):
        x = (torch.randn(n, 3, 4, 4) + 1).to(dtype)
        out = mixed(x)
        assert out.dtype == dtype
        assert_close(out, wide(x.float()).to(dtype))
    assert_close(mixed.state_dict(), wide.state_dict())
    assert RunningBatchNorm(3).to(dtype)(x).isfinite().all()


@given(seeds)
def test_only_batch_norm_sees_the_neighbours(seed):
    x = torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(seed))
    for layer in (LayerNorm((6, 3, 3)), InstanceNorm(6), GroupNorm(2, 6), BatchNorm(6).eval(), RunningBatchNorm(6).eval()):
        close(layer(x)[:1], layer(x[:1]), torch.float32)
    assert (BatchNorm(6)(x)[:1] - BatchNorm(6)(x[:1])).abs().max() > 1e-3


def test_a_refused_batch_leaves_no_trace():
    layer = BatchNorm(3)
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    for bad in (torch.zeros(1, 3), torch.zeros(0, 3), torch.zeros(2, 4), torch.zeros(3)):
        with pytest.raises(ValueError, match='x has shape'): layer(bad)
    assert_close(dict(layer.state_dict()), before)
    assert layer.eval()(torch.zeros(0, 3)).shape == (0, 3)
    assert RunningBatchNorm(3)(torch.zeros(0, 3)).shape == (0, 3)


@pytest.mark.parametrize('make,error', [
    (lambda: BatchNorm(0), 'n must be at least 1, not 0'), (lambda: BatchNorm(2.), 'n must be an integer, not 2.0'), (lambda: BatchNorm(2, momentum=-1), 'in 0..1'),
    (lambda: RunningBatchNorm(2, momentum=0), 'above 0'), (lambda: GroupNorm(3, 8), 'does not divide'), (lambda: LayerNorm(()), 'is empty'),
    (lambda: InstanceNorm(2)(torch.zeros(2, 2)), 'expected 2 channels'), (lambda: LayerNorm(3)(torch.zeros(3, 2)), 'its last 1 axes'),
    (lambda: BatchNorm(3)(torch.zeros(2, 5, 3)), 'expected 3 channels on axis 1'), (lambda: RunningBatchNorm(3)(torch.zeros(2, 5, 3)), 'expected 3 channels on axis 1'),
])
def test_door(make, error):
    with pytest.raises((TypeError, ValueError), match=error): make()


@pytest.mark.parametrize('layer', [BatchNorm(3), RunningBatchNorm(3), GroupNorm(1, 3), InstanceNorm(3), LayerNorm(3)])
def test_integers_are_refused(layer):
    with pytest.raises(TypeError, match=r'pass x.float\(\)'): layer(torch.zeros(2, 3, 3, dtype=torch.uint8))


def test_state_dicts_cross():
    a, b = BatchNorm(3), nn.BatchNorm2d(3)
    a(torch.randn(4, 3, 2, 2))
    b.load_state_dict(a.state_dict())
    a.load_state_dict(b.state_dict())
    assert repr(a).startswith('BatchNorm(3')
    a.reset_running_stats()
    assert_close(dict(a.named_buffers()), dict(nn.BatchNorm2d(3).named_buffers()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_on_cuda():
    x = torch.randn(4, 6, 3, 3)
    for layer in (BatchNorm(6), RunningBatchNorm(6), GroupNorm(2, 6), InstanceNorm(6), LayerNorm(3)):
        expected = layer(x)
        if hasattr(layer, 'count'): layer.count.zero_()
        assert_close(layer.cuda()(x.cuda()).cpu(), expected, rtol=1e-4, atol=1e-5)
