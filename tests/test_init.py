"`mylib.init` against NumPy, PyTorch and closed forms, on data that hypothesis draws."
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from mylib.init import (GeneralRelu, correlation, covariance, fan_in_fan_out, gain, init_weights, kaiming_normal_, kaiming_uniform_, variance,
                        xavier_normal_, xavier_uniform_)
from scipy import stats
from torch import nn
from torch.testing import assert_close

values = st.floats(-1e3, 1e3, allow_subnormal=False)
pairs = st.lists(st.tuples(values, values), min_size=2, max_size=40).map(lambda p: torch.tensor(p, dtype=torch.float64).T)
shapes = st.lists(st.integers(1, 6), min_size=2, max_size=5).map(tuple)


@given(pairs, st.integers(0, 1))
def test_variance_and_covariance_are_numpys(xy, correction):
    expected = torch.from_numpy(np.cov(xy.numpy(), ddof=correction))
    close = partial(assert_close, rtol=1e-8, atol=1e-6)
    close(torch.stack([variance(o, correction=correction) for o in xy]), expected.diagonal())
    close(covariance(*xy, correction=correction), expected[0, 1])
    close(variance(xy, 1, correction, keepdim=True), expected.diagonal()[:, None])


@given(pairs)
def test_correlation_is_numpys(xy):
    assume((xy.std(1) > 1e-3).all())
    assert_close(correlation(*xy).item(), np.corrcoef(xy.numpy())[0, 1], rtol=1e-7, atol=1e-7)
    assert -1 <= correlation(*xy) <= 1


@given(pairs, st.floats(0.1, 10), st.floats(-1e3, 1e3))
def test_invariances(xy, k, c):
    assume((xy.std(1) > 1e-2).all())
    x, y = xy
    close = partial(assert_close, rtol=1e-5, atol=1e-5)
    close(variance(k*x + c), k*k*variance(x))
    close(covariance(k*x + c, y), k*covariance(y, x))
    close(correlation(k*x + c, y), correlation(x, y))
    close(correlation(-k*x + c, y), -correlation(y, x))
    close(variance(x + y), variance(x) + variance(y) + 2*covariance(x, y))


@given(st.integers(0, 99), st.floats(-1e6, 1e6))
def test_variance_far_from_zero_in_float32(seed, mean):
    x = torch.randn(5000, generator=torch.Generator().manual_seed(seed)) + mean
    assert_close(variance(x).double(), x.double().var(), rtol=1e-4, atol=0)
    assert_close(covariance(x, x), variance(x))


@pytest.mark.parametrize('dim', [None, 0, -1, (0, 2), (1, 2)])
def test_axes(dim):
    x, y = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    assert_close(variance(x, dim, keepdim=True), x.var(dim=dim, keepdim=True))
    cov = (x*y).mean(dim) - x.mean(dim)*y.mean(dim)
    assert_close(covariance(x, y, dim, correction=0), cov)
    assert_close(correlation(x, y, dim), cov/(x.var(dim, correction=0)*y.var(dim, correction=0)).sqrt())


def test_half_precision_is_widened():
    x = torch.linspace(-60_000, 60_000, 100).half()
    assert variance(x).dtype == torch.float32
    assert_close(variance(x), x.float().var())


def test_constants_have_no_correlation():
    assert correlation(torch.randn(1000), torch.full((1000,), 0.1)).isnan()
    assert variance(torch.full((1000,), 0.1)) == 0


@pytest.mark.parametrize('call,error,said', [
    (lambda: variance(torch.arange(3)), TypeError, 'pass x.float'),
    (lambda: variance(torch.ones(1)), ValueError, 'at least 2'),
    (lambda: variance(torch.ones(0, 3), 0, correction=0), ValueError, 'at least 1'),
    (lambda: covariance(torch.ones(3), torch.ones(3, 1)), ValueError, 'same shape'),
    (lambda: correlation(torch.ones(3), torch.arange(3)), TypeError, 'pass y.float'),
    (lambda: fan_in_fan_out(torch.ones(3)), ValueError, 'two axes'),
    (lambda: gain('swish'), ValueError, "nonlinearity='swish'"),
    (lambda: kaiming_normal_(torch.ones(2, 2), mode='out'), ValueError, "not 'out'"),
    (lambda: xavier_uniform_(torch.ones(2, 2, dtype=torch.int32)), TypeError, 'floating point'),
    (lambda: GeneralRelu(maxv=0.), ValueError, 'would be constant')])
def test_errors_at_the_door(call, error, said):
    with pytest.raises(error, match=said): call()


@given(shapes)
def test_fans_are_torchs(shape):
    assert fan_in_fan_out(torch.empty(shape)) == nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))


@given(st.floats(0, 5))
def test_gains_are_torchs(a):
    assert gain('leaky_relu', a) == gain(a=a) == nn.init.calculate_gain('leaky_relu', a)
    for f in ('linear', 'sigmoid', 'tanh', 'relu', 'selu'): assert gain(f, a) == nn.init.calculate_gain(f)


def draw(f, shape, **kwargs):
    w = torch.empty(shape, requires_grad=True)
    assert f(w, generator=torch.Generator().manual_seed(1), **kwargs) is w
    assert w.requires_grad and w.is_leaf
    return w.detach()


@given(shapes, st.floats(0, 3), st.sampled_from(['fan_in', 'fan_out']), st.sampled_from(['leaky_relu', 'relu', 'tanh', 'linear', 'selu']))
def test_bit_for_bit_torchs(shape, a, mode, nonlinearity):
    kw = dict(a=a, mode=mode, nonlinearity=nonlinearity)
    assert torch.equal(draw(kaiming_normal_, shape, **kw), draw(nn.init.kaiming_normal_, shape, **kw))
    assert torch.equal(draw(kaiming_uniform_, shape, **kw), draw(nn.init.kaiming_uniform_, shape, **kw))
    assert torch.equal(draw(xavier_normal_, shape, gain=a), draw(nn.init.xavier_normal_, shape, gain=a))
    assert torch.equal(draw(xavier_uniform_, shape, gain=a), draw(nn.init.xavier_uniform_, shape, gain=a))


@pytest.mark.parametrize('f,uniform,var', [
    (kaiming_normal_, False, 2/(32*9)), (kaiming_uniform_, True, 2/(32*9)), (xavier_normal_, False, 2/(96*9)), (xavier_uniform_, True, 2/(96*9)),
    (partial(kaiming_normal_, a=0.5, mode='fan_out'), False, 2/1.25/(64*9)), (partial(kaiming_uniform_, a=math.sqrt(5)), True, 1/(3*32*9))])
def test_distributions_are_the_papers(f, uniform, var):
    w = draw(f, (64, 32, 3, 3)).flatten().numpy()
    b = math.sqrt(3*var)
    dist = stats.uniform(-b, 2*b) if uniform else stats.norm(0, math.sqrt(var))
    assert stats.kstest(w, dist.cdf).pvalue > 0.01
    if uniform: assert 0.999*b < abs(w).max() <= b*(1 + 1e-6)


def test_empty_weights_stay_empty():
    for shape in ((0, 5), (5, 0), (0, 0)): assert kaiming_normal_(xavier_uniform_(torch.empty(shape))).shape == shape


@pytest.mark.parametrize('layer', [nn.Linear(300, 200), nn.Conv1d(64, 32, 3), nn.Conv2d(32, 64, 3)])
def test_sqrt5_is_a_bound_of_one_over_root_fan_in(layer):
    b = fan_in_fan_out(layer.weight)[0]**-0.5
    assert stats.kstest(layer.weight.detach().flatten().numpy(), stats.uniform(-b, 2*b).cdf).pvalue > 1e-4
    assert layer.weight.abs().max() <= b*(1 + 1e-6)


def stds(init_, act, depth=50, h=256):
    x = torch.randn(128, h, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ys, y = [], x
    for i in range(depth):
        y = y @ init_(torch.empty(h, h), generator=torch.Generator().manual_seed(i)).T
        ys.append(y.std().item()); y = act(y)
    y.backward(torch.randn(128, h))
    return ys, x.grad.std().item()


@pytest.mark.parametrize('f', [kaiming_normal_, kaiming_uniform_])
def test_kaiming_carries_a_signal_through_fifty_relus(f):
    forward, grad = stds(f, torch.relu)
    assert 0.05 < min(forward) and max(forward) < 20 and 0.05 < grad < 20
    forward, grad = stds(partial(f, nonlinearity='linear'), torch.relu)
    assert forward[-1] < 1e-5 and grad < 1e-5


def test_xavier_carries_a_signal_through_fifty_tanhs():
    forward, grad = stds(xavier_normal_, torch.tanh)
    assert forward[-1] > 0.03 and 0.01 < grad < 100


@given(st.lists(values, min_size=1, max_size=20), st.none() | st.floats(0, 1), st.none() | st.floats(-1, 1), st.none() | st.floats(2, 9))
def test_general_relu(xs, leak, sub, maxv):
    y = GeneralRelu(leak, sub, maxv)(torch.tensor(xs, dtype=torch.float64))
    expected = np.minimum(np.where(np.array(xs) > 0, xs, np.array(xs)*(leak or 0)) - (sub or 0), np.inf if maxv is None else maxv)
    assert_close(y, torch.from_numpy(expected))


def test_general_relu_trains_and_has_zero_mean():
    x = torch.tensor([-2., -0.5, 0.3, 1., 5.], dtype=torch.float64, requires_grad=True)
    for leak in (None, 0., 0.1): assert torch.autograd.gradcheck(GeneralRelu(leak, 0.4, 3.), (x,))
    z = torch.from_numpy(stats.norm.ppf((np.arange(100_000) + 0.5)/100_000))
    for leak in (0., 0.1, 0.7): assert abs(GeneralRelu(leak, (1 - leak)/math.sqrt(2*math.pi))(z).mean()) < 1e-4


def test_init_weights():
    layers = [nn.Linear(400, 300), nn.Conv1d(40, 100, 5), nn.Conv2d(40, 30, 5), nn.Conv3d(20, 20, 3, bias=False)]
    others = [nn.BatchNorm2d(3), nn.Embedding(5, 5), nn.ConvTranspose2d(3, 3, 3), nn.LSTM(3, 3)]
    for leaky in (0., 0.5):
        model = nn.ModuleList(layers + others)
        before = [{k: v.clone() for k, v in o.state_dict().items()} for o in others]
        assert model.apply(partial(init_weights, leaky=leaky)) is model
        for o in layers:
            expected = math.sqrt(2/(1 + leaky**2)/fan_in_fan_out(o.weight)[0])
            assert abs(o.weight.std()/expected - 1) < 0.05 and o.weight.requires_grad
            assert o.bias is None or not o.bias.any()
        for o, old in zip(others, before, strict=True): assert all(torch.equal(v, old[k]) for k, v in o.state_dict().items())


def test_init_weights_draws_kaiming_normal():
    layer, expected = nn.Conv2d(3, 4, 5), torch.empty(4, 3, 5, 5)
    torch.manual_seed(5); init_weights(layer, leaky=0.2)
    torch.manual_seed(5); nn.init.kaiming_normal_(expected, a=0.2)
    assert torch.equal(layer.weight, expected)
