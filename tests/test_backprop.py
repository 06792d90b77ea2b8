"""Hand-written backward passes against autograd and finite differences, for random layer sizes; registration; errors."""
import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn

from mylib.backprop import MSE, Linear, Module, ReLU, Sequential, accumulate

quick = settings(max_examples=60, deadline=None)
sizes = st.lists(st.integers(1, 9), min_size=2, max_size=5)
seeds = st.integers(0, 2**16)


def mlps(sizes, bias=True, dtype=torch.float64):
    "An MLP of ours and a PyTorch twin with the same weights."
    ours, theirs = [], []
    for i, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False)):
        if i: ours.append(ReLU()); theirs.append(nn.ReLU())
        ours.append(Linear(a, b, bias=bias)); theirs.append(nn.Linear(a, b, bias=bias, dtype=dtype))
    ours, theirs = Sequential(*ours), nn.Sequential(*theirs)
    for m in ours._modules.values():
        if isinstance(m, Linear): m.weight = m.weight.to(dtype)
        if isinstance(m, Linear) and bias: m.bias = torch.randn(m.bias.shape, dtype=dtype)
    theirs.load_state_dict(dict(ours.named_parameters()))
    return ours, theirs


def close(a, b): torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@quick
@given(sizes, st.lists(st.integers(1, 4), min_size=1, max_size=3), seeds, st.booleans())
def test_mlp_equals_torch(sizes, lead, seed, bias):
    torch.manual_seed(seed)
    ours, theirs = mlps(sizes, bias)
    x, y = torch.randn(*lead, sizes[0], dtype=torch.float64), torch.randn(*lead, sizes[-1], dtype=torch.float64)
    for p in ours.parameters(): p.grad = torch.full_like(p, torch.nan)
    ours.zero_grad()
    leaf, loss = x.clone().requires_grad_(), MSE()
    out = loss(ours(x), y)
    expected = F.mse_loss(theirs(leaf), y)
    expected.backward()
    close(out, expected.detach())
    close(ours.backward(loss.backward()), leaf.grad)
    assert [k for k, _ in ours.named_parameters()] == [k for k, _ in theirs.named_parameters()]
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True): close(p.grad, q.grad)


@quick
@given(sizes, st.integers(2, 4), seeds)
def test_gradients_add_up_over_batches(sizes, n_batch, seed):
    torch.manual_seed(seed)
    ours, theirs = mlps(sizes)
    for _ in range(n_batch):
        x, grad = torch.randn(3, sizes[0], dtype=torch.float64), torch.randn(3, sizes[-1], dtype=torch.float64)
        ours(x); ours.backward(grad)
        theirs(x).backward(grad)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True): close(p.grad, q.grad)
    ours.zero_grad()
    assert all(p.grad is None for p in ours.parameters())


@quick
@given(st.integers(1, 5), st.integers(1, 5), seeds)
def test_linear_against_finite_differences(n_in, n_out, seed):
    torch.manual_seed(seed)
    layer, x, grad = mlps([n_in, n_out])[0][0], torch.randn(3, n_in, dtype=torch.float64), torch.randn(3, n_out, dtype=torch.float64)
    layer(x)
    x_grad = layer.backward(grad)
    for t, g in [(x, x_grad), (layer.weight, layer.weight.grad), (layer.bias, layer.bias.grad)]:
        for i in range(t.numel()):
            old = t.view(-1)[i].item()
            t.view(-1)[i] = old + 1e-3; up = (layer(x)*grad).sum()
            t.view(-1)[i] = old - 1e-3; down = (layer(x)*grad).sum()
            t.view(-1)[i] = old
            assert g.reshape(-1)[i].item() == pytest.approx(((up - down)/2e-3).item(), rel=1e-6, abs=1e-8)


@quick
@given(st.lists(st.integers(1, 4), max_size=3), seeds)
def test_relu_and_mse_of_any_shape(shape, seed):
    torch.manual_seed(seed)
    x, y = torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    x[x.abs() < 0.3] = 0.
    for ours, theirs, args in [(ReLU(), F.relu, ()), (MSE(), F.mse_loss, (y,))]:
        leaf = x.clone().requires_grad_()
        b = theirs(leaf, *args)
        grad = torch.randn_like(b)
        close(ours(x, *args), b.detach())
        b.backward(grad)
        close(ours.backward(grad), leaf.grad)


def test_training_keeps_step_with_torch():
    torch.manual_seed(0)
    ours, theirs = mlps([6, 8, 2])
    x, y, loss = torch.randn(40, 6, dtype=torch.float64), torch.randn(40, 2, dtype=torch.float64), MSE()
    opt = torch.optim.SGD(theirs.parameters(), lr=0.05)
    for _ in range(50):
        a = loss(ours(x), y); ours.backward(loss.backward())
        for p in ours.parameters(): p -= 0.05*p.grad
        ours.zero_grad()
        b = F.mse_loss(theirs(x), y); b.backward(); opt.step(); opt.zero_grad()
        assert a.item() == pytest.approx(b.item(), rel=1e-9)


class Nest(Module):
    def __init__(self):
        self.size, self.lin, self.own, self._hidden = 3, Linear(2, 3), torch.zeros(1), torch.zeros(7)
        self.again, self.listed = self.own, [Linear(2, 2)]


def test_registration():
    m = Nest()
    assert [k for k, _ in m.named_parameters()] == ['own', 'lin.weight', 'lin.bias']
    m.lin.weight = torch.ones(3, 2)
    assert [k for k, _ in m.lin.named_parameters()] == ['weight', 'bias'] and m.parameters()[1] is m.lin.weight
    m.lin.bias = None
    m.again = m.own = 5
    assert [k for k, _ in m.named_parameters()] == ['lin.weight']
    m.lin = torch.zeros(2)
    assert [k for k, _ in m.named_parameters()] == ['lin'] and not m._modules


def test_repr_shows_shapes_and_nesting():
    assert repr(Sequential(Linear(2, 3), Sequential(ReLU()))) == (
        'Sequential(\n  (0): Linear(weight (3, 2), bias (3,))\n  (1): Sequential(\n    (0): ReLU()\n  )\n)')


@pytest.mark.parametrize('clone', [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_independent_and_registered(clone):
    m = Sequential(Linear(2, 3), ReLU())
    c = clone(m)
    c[0].weight += 1
    assert c.parameters()[0] is c[0].weight and not torch.equal(c[0].weight, m[0].weight)


def test_sequential_of_nothing_passes_everything_on():
    m, x = Sequential(), torch.randn(2, 3)
    assert torch.equal(m(x), x) and torch.equal(m.backward(x), x) and len(m) == 0


def test_errors_say_what_to_do():
    x = torch.randn(3, 4)
    with pytest.raises(ValueError, match=r'x has shape \(2, 28, 28\); expected \(...,4\)'): Linear(4, 2)(torch.zeros(2, 28, 28))
    with pytest.raises(TypeError, match='x is uint8; expected float32'): Linear(4, 2)(torch.zeros(2, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r'preds has shape \(3, 1\) and targets \(3,\)'): MSE()(torch.zeros(3, 1), torch.zeros(3))
    with pytest.raises(RuntimeError, match='no forward pass'): Linear(4, 2).backward(x)
    layer = Linear(4, 2); layer(x)
    with pytest.raises(ValueError, match=r'grad has shape None; expected \(3, 2\)'): layer.backward()
    with pytest.raises(ValueError, match=r'grad has shape \(3, 4\)'): layer.backward(x)
    layer.backward(torch.ones(3, 2))
    with pytest.raises(RuntimeError, match='remembers the last call only'): layer.backward(torch.ones(3, 2))
    with pytest.raises(NotImplementedError, match='Module has no forward'): Module()(x)
    with pytest.raises(RuntimeError): accumulate(torch.zeros(3), torch.zeros(2, 3))


def test_a_layer_used_twice_is_an_error_and_never_a_wrong_number():
    layer = Linear(4, 4)
    m = Sequential(layer, ReLU(), layer)
    m(torch.randn(2, 4))
    with pytest.raises(RuntimeError, match='use two layers that share'): m.backward(torch.ones(2, 4))
