"`mylib.rnn` against PyTorch over sizes, depths, directions and biases, by kernel and by loop; the scan against its loop; the QRNN against a convolution."
import copy, pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mylib.core import apply_nested, set_seed
from mylib.rnn import GRU, LSTM, QRNN, RNN, _scan_pairs, _scan_steps, gru_cell, linear_scan, lstm_cell, rnn_cell, run_cell
from torch import nn
from torch.testing import assert_close

PAIRS = {RNN: nn.RNN, GRU: nn.GRU, LSTM: nn.LSTM}
CELLS = {rnn_cell: nn.RNNCell, gru_cell: nn.GRUCell, lstm_cell: nn.LSTMCell}
sizes, seeds, flags = st.integers(1, 6), st.integers(0, 9999), st.booleans()
kinds, cells = st.sampled_from(list(PAIRS)), st.sampled_from(list(CELLS))


def flat(o): return [o] if isinstance(o, torch.Tensor) else [t for v in o for t in flat(v)]


def results(layer, x, state, seed):
    "Outputs and final states, and the gradients of input, initial states and parameters for random gradients of all outputs."
    x, state = apply_nested(lambda t: t.clone().requires_grad_(), (x, state))
    outs = flat(layer(x, state))
    g = torch.Generator().manual_seed(seed)
    inputs = {'x': x, **{f'state {i}': s for i, s in enumerate(flat(state) if state is not None else [])}, **dict(layer.named_parameters())}
    grads = torch.autograd.grad(outs, list(inputs.values()), [torch.randn(o.shape, generator=g, dtype=o.dtype) for o in outs])
    return {f'out {i}': o for i, o in enumerate(outs)} | {f'gradient of {k}': v for k, v in zip(inputs, grads)}


def compare(got, expected):
    assert list(got) == list(expected)
    for k in got: assert_close(got[k], expected[k], rtol=1e-7, atol=1e-7, msg=lambda m: f'{k}: {m}')


@settings(max_examples=120)
@given(kinds, sizes, sizes, sizes, sizes, st.integers(1, 3), flags, flags, flags, flags, seeds)
def test_layers_are_torchs(kind, n, t, d, h, depth, two, bias, fused, with_state, seed):
    torch.manual_seed(seed)
    kw = dict(num_layers=depth, bias=bias, bidirectional=two)
    ours, theirs = kind(d, h, fused=fused, **kw).double(), PAIRS[kind](d, h, batch_first=True, **kw).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(n, t, d).double()
    state = [torch.randn(depth*(1 + two), n, h).double() for _ in range(2)]
    state = None if not with_state else tuple(state) if kind is LSTM else state[0]
    compare(results(ours, x, state, seed), results(theirs, x, state, seed))
    theirs.load_state_dict(ours.state_dict())


@settings(max_examples=40)
@given(cells, sizes, sizes, sizes, flags, seeds)
def test_cells_are_torchs(cell, n, d, h, bias, seed):
    torch.manual_seed(seed)
    theirs = CELLS[cell](d, h, bias=bias).double()
    x, *state = (torch.randn(n, k).double() for k in ((d, h, h) if cell is lstm_cell else (d, h)))
    class Ours(nn.Module):
        def __init__(self):
            super().__init__()
            for k, p in theirs.named_parameters(): self.register_parameter(k, p)
        def forward(self, x, state):
            w = dict(self.named_parameters())
            return cell(F.linear(x, w['weight_ih'], w.get('bias_ih')), state, w['weight_hh'], w.get('bias_hh'))
    class Theirs(Ours):
        def forward(self, x, state):
            out = theirs(x, state if len(state) == 2 else state[0])
            return out if isinstance(out, tuple) else (out,)
    compare(results(Ours(), x, tuple(state), seed), results(Theirs(), x, tuple(state), seed))


@pytest.mark.parametrize('kind', PAIRS)
@pytest.mark.parametrize('fused', [True, False])
def test_float32_too(kind, fused):
    torch.manual_seed(0)
    ours, theirs = kind(20, 30, 2, bidirectional=True, fused=fused), PAIRS[kind](20, 30, 2, batch_first=True, bidirectional=True)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(8, 25, 20)
    got, expected = results(ours, x, None, 0), results(theirs, x, None, 0)
    for k in got: assert_close(got[k], expected[k], rtol=1e-4, atol=1e-4, msg=lambda m: f'{k}: {m}')


@pytest.mark.parametrize('kind', PAIRS)
def test_same_seed_same_weights(kind):
    set_seed(3); ours = kind(4, 5, 2, bidirectional=True)
    set_seed(3); theirs = PAIRS[kind](4, 5, 2, bidirectional=True)
    for (k, p), (j, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True): assert k == j and torch.equal(p, q)


@settings(max_examples=30)
@given(kinds, st.integers(1, 2), flags, flags, seeds)
def test_weights_in_place_of_parameters(kind, depth, two, fused, seed):
    torch.manual_seed(seed)
    layer = kind(3, 4, depth, bidirectional=two, fused=fused).double()
    before = copy.deepcopy(layer.state_dict())
    x, name = torch.randn(2, 5, 3).double(), f'weight_hh_l{depth - 1}' + '_reverse'*two
    dropped = getattr(layer, name)*(torch.rand(getattr(layer, name).shape) < 0.5)*2
    other = kind(3, 4, depth, bidirectional=two, fused=False).double()
    other.load_state_dict(before | {name: dropped.detach()})
    got, expected = layer(x, weights={name: dropped}), other(x)
    for a, b in zip(flat(got), flat(expected), strict=True): assert_close(a, b)
    a = torch.autograd.grad(got[0].square().sum(), list(layer.parameters()))
    called = torch.func.functional_call(layer, {name: getattr(layer, name)*(dropped != 0)*2}, (x,))[0]
    for p, q in zip(a, torch.autograd.grad(called.square().sum(), list(layer.parameters())), strict=True): assert_close(p, q)
    assert all(torch.equal(p, before[k]) for k, p in layer.state_dict().items()) and not torch.equal(layer(x)[0], got[0])


@settings(max_examples=30)
@given(st.sampled_from([RNN, GRU, LSTM, QRNN]), st.integers(1, 3), st.integers(2, 9), st.integers(1, 8), seeds)
def test_pieces_are_the_whole_and_nothing_sees_the_future(kind, depth, t, cut, seed):
    torch.manual_seed(seed)
    cut = min(cut, t - 1)
    net, x = kind(3, 4, depth).double(), torch.randn(2, t, 3).double()
    out, last = net(x)
    one, s = net(x[:, :cut])
    two, s = net(x[:, cut:], s)
    for a, b in zip(flat((torch.cat([one, two], 1), s)), flat((out, last)), strict=True): assert_close(a, b)
    bumped = x.clone()
    bumped[:, cut] += 1
    changed = (net(bumped)[0] != out).any(2)
    assert not changed[:, :cut].any() and changed[:, cut].all()


@pytest.mark.parametrize('kind', [RNN, GRU, LSTM, QRNN])
def test_rows_do_not_touch_and_copies_work(kind):
    torch.manual_seed(0)
    net, x = kind(3, 4, 2), torch.randn(3, 5, 3)
    out, state = net(x)
    for k in range(3): assert_close(net(x[k:k + 1])[0][0], out[k])
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))): assert_close(twin(x)[0], out)
    if kind is not QRNN: assert all(s.requires_grad for s in flat(state))
    with torch.autocast('cpu', torch.bfloat16): assert_close(net(x)[0].float(), out, rtol=0.1, atol=0.05)


def test_a_loop_runs_where_the_cell_is_ours():
    "`run_cell` in both directions gives outputs in the order of the inputs."
    x, w_ih, w_hh = torch.randn(2, 4, 3), torch.randn(5, 3), torch.randn(5, 5)
    out, (h,) = run_cell(rnn_cell, x, (torch.zeros(2, 5),), w_ih, w_hh)
    back, (hb,) = run_cell(rnn_cell, x.flip(1), (torch.zeros(2, 5),), w_ih, w_hh, reverse=True)
    assert_close(back, out.flip(1))
    assert torch.equal(out[:, -1], h) and torch.equal(back[:, 0], hb)


def scan_loop(a, b, h0=None):
    h, hs = torch.zeros_like(b[:, 0]) if h0 is None else h0, []
    for a_t, b_t in zip(a.unbind(1), b.unbind(1)):
        h = a_t*h + b_t
        hs.append(h)
    return torch.stack(hs, 1)


@settings(max_examples=60)
@given(st.sampled_from([1, 3, 70]), st.integers(1, 70), st.sampled_from([1, 4, 130]), flags, seeds)
def test_scan_is_its_loop(n, t, h, with_start, seed):
    torch.manual_seed(seed)
    args = [torch.rand(n, t, h), torch.randn(n, t, h)] + [torch.randn(n, h)]*with_start
    got = []
    for f in (linear_scan, scan_loop):
        ins = [v.clone().requires_grad_() for v in args]
        out = f(*ins)
        got.append([out, *torch.autograd.grad(out, ins, out.detach().sin())])
    for p, q in zip(*got, strict=True): assert_close(p, q, rtol=1e-5, atol=1e-5)
    for f in (_scan_pairs, _scan_steps): assert_close(f(*args[:2]), scan_loop(*args[:2]), rtol=1e-5, atol=1e-5)


def test_scan_of_long_and_extreme_rows():
    a, b = torch.full((1, 5000, 2), 0.01), torch.randn(1, 5000, 2)
    a[0, :, 1] = 1
    assert_close(linear_scan(a, b)[..., 0], scan_loop(a, b)[..., 0])
    assert_close(linear_scan(a, b)[0, :, 1].double(), b[0, :, 1].double().cumsum(0), rtol=1e-4, atol=1e-3)
    a[0, 100] = 0
    assert_close(linear_scan(a, b)[0, 100], b[0, 100])


def test_scan_gradients_by_finite_differences():
    ins = [torch.randn(*s, dtype=torch.double, requires_grad=True) for s in ((2, 5, 2), (2, 5, 2), (2, 2))]
    assert torch.autograd.gradcheck(linear_scan, ins) and torch.autograd.gradgradcheck(linear_scan, ins)


@settings(max_examples=30)
@given(sizes, sizes, sizes, sizes, st.integers(1, 4), st.integers(1, 2), seeds)
def test_qrnn_is_a_convolution_and_a_loop(n, t, d, h, k, depth, seed):
    torch.manual_seed(seed)
    net, x = QRNN(d, h, depth, k).double(), torch.randn(n, t, d).double().requires_grad_()
    y, cs = x, []
    for lin in net.layers:
        w = lin.weight.unflatten(1, (k, -1)).transpose(1, 2)
        z, f, o = F.conv1d(F.pad(y.transpose(1, 2), (k - 1, 0)), w, lin.bias).transpose(1, 2).chunk(3, 2)
        c = scan_loop(f.sigmoid(), (1 - f.sigmoid())*z.tanh())
        cs.append(c[:, -1])
        y = o.sigmoid()*c
    out, state = net(x)
    assert_close(out, y)
    for (c, past), expected in zip(state, cs, strict=True):
        assert_close(c, expected)
        assert past.shape[:2] == (n, k - 1)
    ins, g = [x, *net.parameters()], torch.randn_like(out)
    for p, q in zip(torch.autograd.grad(out, ins, g), torch.autograd.grad(y, ins, g), strict=True): assert_close(p, q)


@pytest.mark.parametrize('make, error, words', [
    (lambda: LSTM(0, 3), ValueError, 'input_size must be at least 1'),
    (lambda: GRU(3, 2.5), TypeError, 'hidden_size must be an integer'),
    (lambda: RNN(3, 2, 0), ValueError, 'num_layers must be at least 1'),
    (lambda: QRNN(3, 2, kernel_size=0), ValueError, 'kernel_size must be at least 1'),
    (lambda: LSTM(3, 2)(torch.randn(4, 3)), ValueError, r'x\[None\]'),
    (lambda: LSTM(3, 2)(torch.randn(2, 4, 5)), ValueError, r'expected \(n,t,3\)'),
    (lambda: GRU(3, 2)(torch.randn(2, 0, 3)), ValueError, 't of at least 1'),
    (lambda: GRU(3, 2)(torch.randn(2, 4, 3), torch.zeros(1, 3, 2)), ValueError, 'state has shapes'),
    (lambda: LSTM(3, 2)(torch.randn(2, 4, 3), torch.zeros(1, 2, 2)), ValueError, 'state has shapes'),
    (lambda: LSTM(3, 2)(torch.randn(2, 4, 3), weights={'w': 0}), ValueError, "weights has 'w'"),
    (lambda: LSTM(3, 2)(torch.randn(2, 4, 3), weights={'weight_hh_l0': torch.zeros(2, 8)}), ValueError, r'expected \(8, 2\)'),
    (lambda: QRNN(3, 2)(torch.randn(2, 4, 5)), ValueError, r'QRNN expected \(n,t,3\)'),
    (lambda: QRNN(3, 2)(torch.randn(2, 4, 3), QRNN(3, 2)(torch.randn(3, 4, 3))[1]), ValueError, 'begin anew'),
    (lambda: linear_scan(torch.rand(2, 3, 4), torch.rand(2, 3, 5)), ValueError, 'expected the same'),
    (lambda: linear_scan(torch.rand(2, 3, 4), torch.rand(2, 3, 4), torch.rand(4)), ValueError, 'h0 has shape'),
])
def test_errors_at_the_door(make, error, words):
    with pytest.raises(error, match=words): make()
