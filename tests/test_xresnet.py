"The ResNets against torchvision's, their parts against plain formulas, and their costs against PyTorch's counter."
import copy, math
from unittest.mock import patch

import peers
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mylib.norm import BatchNorm, GroupNorm
from mylib.xresnet import (CLASSIC, ResBlock, SelfAttention, SqueezeExcite, XResNet, conv_layer, count_macs,
                           xresnet18, xresnet34, xresnet50, xresnet101, xresnet152)
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

FAMILY = {18: xresnet18, 34: xresnet34, 50: xresnet50, 101: xresnet101, 152: xresnet152}
# Published counts, from the documentation of torchvision's models.
PARAMETERS = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}
seeds = st.integers(0, 9999)


def on_meta(make, *args, **kwargs):
    with torch.device('meta'): return make(*args, **kwargs)


def n_params(m): return sum(p.numel() for p in m.parameters())


def models():
    "torchvision's models, or a skip."
    return peers.or_skip(peers.torchvision).models


@pytest.fixture(autouse=True)
def one_seed(): torch.manual_seed(0)


def shapes(m): return [(tuple(t.shape), t.dtype) for t in m.state_dict().values()]


@pytest.mark.parametrize('d', FAMILY)
def test_sizes(d):
    classic, tweaked = on_meta(FAMILY[d], **CLASSIC), on_meta(FAMILY[d])
    assert n_params(classic) == PARAMETERS[d]
    assert n_params(tweaked) - n_params(classic) == 9*(3*32 + 32*32 + 32*64) - 49*3*64 + 2*(32 + 32)
    for m, depth in ((classic, d), (tweaked, d + 2)):
        assert m(torch.zeros(2, 3, 224, 224, device='meta')).shape == (2, 1000)
        assert sum(isinstance(o, (nn.Conv2d, nn.Linear)) for k, o in m.named_modules() if 'shortcut' not in k) == depth


@pytest.mark.parametrize('d', FAMILY)
def test_same_tensors_as_torchvision(d):
    assert shapes(on_meta(FAMILY[d], 7, **CLASSIC)) == shapes(on_meta(getattr(models(), f'resnet{d}'), num_classes=7))


@pytest.mark.parametrize('kind,expansion,side', [('BasicBlock', 1, 33), ('Bottleneck', 4, 40)])
def test_same_numbers_as_torchvision(kind, expansion, side):
    tv = models().resnet
    ours, theirs = XResNet(expansion, (1, 2, 1, 1), n_out=10, **CLASSIC), tv.ResNet(getattr(tv, kind), [1, 2, 1, 1], num_classes=10)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x, y = torch.randn(2, 3, side, side), torch.tensor([1, 5])
    for training in (True, False):
        got = []
        for m in (ours.train(training), theirs.train(training)):
            m.zero_grad()
            out = m(x)
            F.cross_entropy(out, y).backward()
            got.append([out.detach(), *(p.grad for p in m.parameters()), *m.buffers()])
        for a, b in zip(*got, strict=True): assert_close(a, b, rtol=1e-4, atol=1e-4)


def fastai_xresnets():
    peers.torchvision()
    with patch('torch.library.register_fake', lambda *a, **k: lambda f: f): import fastai.vision.models.xresnet as xresnet
    return xresnet


@pytest.mark.parametrize('d', [18, 50])
def test_same_numbers_as_fastai(d):
    ours, theirs = FAMILY[d](10), getattr(peers.or_skip(fastai_xresnets), f'xresnet{d}')(n_out=10)
    for m in ours.modules():
        if isinstance(m, nn.BatchNorm2d): nn.init.normal_(m.weight, 1, 0.1), nn.init.normal_(m.bias)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 65, 64)
    with torch.no_grad(): assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('d,zero', [(18, True), (18, False), (50, True)])
def test_same_start_as_torchvision(d, zero):
    ours, theirs = FAMILY[d](10, **(CLASSIC | dict(zero_init=True) if zero else CLASSIC)), getattr(models(), f'resnet{d}')(num_classes=10, zero_init_residual=zero)
    for (k, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        if a.ndim == 4: assert_close(a.std(), b.std(), rtol=0.1, atol=0, msg=k)
        elif 'head' not in k: assert_close(a, b, rtol=0, atol=0, msg=k)


def norm_of(z, m): return F.batch_norm(z, None, None, m.weight, m.bias, training=True)


def reference(b, x, stride, expansion, shortcut, se):
    "A residual block in functions of PyTorch, from the weights of ours."
    z, n = x, 2 if expansion == 1 else 3
    for i in range(n):
        conv, norm = b.convs[i][0], b.convs[i][1]
        ks = 3 if expansion == 1 or i == 1 else 1
        assert conv.weight.shape[2:] == (ks, ks) and conv.bias is None
        z = norm_of(F.conv2d(z, conv.weight, stride=stride if i == (0 if expansion == 1 else 1) else 1, padding=ks//2), norm)
        if i < n - 1: z = F.relu(z)
    if se:
        s = b.convs[n]
        assert s.squeeze.out_features == max(1, len(z[0])//se)
        z = z*torch.sigmoid(F.linear(F.relu(F.linear(z.mean((2, 3)), s.squeeze.weight, s.squeeze.bias)), s.excite.weight, s.excite.bias))[..., None, None]
    if z.shape == x.shape and stride == 1:
        assert not list(b.shortcut.parameters())
        return F.relu(x + z)
    conv, norm = b.shortcut[-2:]
    if shortcut == 'pool' and stride > 1:
        h, w = x.shape[2:]
        sums = F.pad(x, (0, w % 2, 0, h % 2)).unfold(2, 2, 2).unfold(3, 2, 2).sum((-1, -2))
        counts = F.pad(torch.ones(1, 1, h, w, dtype=x.dtype), (0, w % 2, 0, h % 2)).unfold(2, 2, 2).unfold(3, 2, 2).sum((-1, -2))
        x, stride = sums/counts, 1
    return F.relu(z + norm_of(F.conv2d(x, conv.weight, stride=stride), norm))


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([4, 8]), st.sampled_from([4, 8]), st.sampled_from([1, 2]), st.sampled_from([1, 2, 4]), st.sampled_from(['pool', 'conv']),
       st.sampled_from([0, 1, 3]), st.tuples(st.integers(1, 7), st.integers(1, 7)), st.booleans(), seeds)
def test_block_is_its_formula(c_in, c_out, stride, expansion, shortcut, se, hw, zero_init, seed):
    torch.manual_seed(seed)
    b = ResBlock(c_in, c_out, stride, expansion, shortcut, zero_init, se).double()
    x = torch.randn(5, c_in, *hw, dtype=torch.float64)
    last = b.convs[1 if expansion == 1 else 2][1].weight
    assert (last == 0).all() if zero_init else (last == 1).all()
    if zero_init: assert torch.equal(b(x), b.shortcut(x).relu())
    for m in b.modules():
        if isinstance(m, nn.BatchNorm2d): nn.init.normal_(m.weight), nn.init.normal_(m.bias)
    out = b(x)
    assert out.shape == (5, c_out, *(-(-o//stride) for o in hw))
    assert_close(out, reference(b, x, stride, expansion, shortcut, se), rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3, 5, 7]), st.integers(1, 3), st.integers(1, 9), seeds)
def test_conv_layer(c_in, c_out, ks, stride, side, seed):
    torch.manual_seed(seed)
    layer, x = conv_layer(c_in, c_out, ks, stride), torch.randn(3, c_in, side, side + 1)
    assert layer[0].bias is None and layer(x).shape == (3, c_out, -(-side//stride), -(-(side + 1)//stride))
    assert_close(layer(x), F.relu(norm_of(F.conv2d(x, layer[0].weight, stride=stride, padding=ks//2), layer[1])))


def test_conv_layer_options():
    assert [type(o) for o in conv_layer(2, 3, act=None)] == [nn.Conv2d, nn.BatchNorm2d]
    assert [type(o) for o in conv_layer(2, 3, act=nn.SiLU, norm=BatchNorm)] == [nn.Conv2d, BatchNorm, nn.SiLU]


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 40), st.integers(1, 20), seeds)
def test_squeeze_excite_is_torchvisions(c, reduction, seed):
    models()
    from torchvision.ops import SqueezeExcitation
    torch.manual_seed(seed)
    ours, theirs, x = SqueezeExcite(c, reduction), SqueezeExcitation(c, max(1, c//reduction)), torch.randn(2, c, 3, 4)
    theirs.load_state_dict({k: v.view_as(u) for (k, u), v in zip(theirs.state_dict().items(), ours.state_dict().values(), strict=True)})
    assert_close(ours(x), theirs(x))


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 20), st.integers(1, 5), st.integers(1, 5), seeds)
def test_self_attention_is_torchs(c, h, w, seed):
    torch.manual_seed(seed)
    sa, x = SelfAttention(c), torch.randn(2, c, h, w)
    assert torch.equal(sa(x), x)
    nn.init.constant_(sa.gamma, 0.3)
    q, k, v = (f(x).flatten(2).transpose(1, 2) for f in (sa.query, sa.key, sa.value))
    assert q.shape == k.shape == (2, h*w, max(1, c//8)) and v.shape == (2, h*w, c)
    assert_close(sa(x), x + 0.3*F.scaled_dot_product_attention(q, k, v, scale=1.).transpose(1, 2).reshape(x.shape), rtol=1e-4, atol=1e-5)


nets = st.fixed_dictionaries(dict(expansion=st.sampled_from([1, 2, 4]), layers=st.lists(st.integers(1, 2), min_size=1, max_size=4), c_in=st.integers(1, 3), n_out=st.integers(1, 5),
                                  stem=st.sampled_from(['deep', 'classic', 'small']), shortcut=st.sampled_from(['pool', 'conv']), zero_init=st.booleans(), se=st.sampled_from([0, 2])))


@settings(deadline=None, max_examples=25)
@given(nets, st.integers(1, 70), st.integers(1, 70))
def test_shapes_and_costs(kw, h, w):
    n = len(kw['layers'])
    m, x = on_meta(XResNet, **kw, widths=(4, 6, 8, 10)[:n]), torch.zeros(2, kw['c_in'], h, w, device='meta')
    assert m(x).shape == (2, kw['n_out'])
    def after(o): return -(-o//(1 if kw['stem'] == 'small' else 4)//2**(n - 1))
    assert m[:-3](x).shape == (2, (4, 6, 8, 10)[n - 1]*kw['expansion'], after(h), after(w))
    with FlopCounterMode(display=False) as counter: m(x)
    assert 2*count_macs(m, x) == counter.get_total_flops()


def test_attention_stands_after_the_second_stage():
    for n in (1, 2, 4):
        found = [k for k, m in XResNet(1, [1]*n, widths=[8]*n, sa=True).named_modules() if isinstance(m, SelfAttention)]
        assert found == [f'stage{min(2, n)}.1']
    assert not any(isinstance(m, SelfAttention) for m in XResNet(1, (1, 1), widths=(8, 8)).modules())


def test_every_block_is_squeezed():
    m = XResNet(1, (2, 1), widths=(8, 8), se=4)
    assert [k for k, o in m.named_modules() if isinstance(o, SqueezeExcite)] == ['stage1.0.convs.2', 'stage1.1.convs.2', 'stage2.0.convs.2']


def test_initialisation():
    m = XResNet(1, (1, 1), widths=(32, 64), sa=True)
    for k, p in m.named_parameters():
        if p.ndim == 4: assert_close(p.std().item(), math.sqrt(2/(p.shape[0]*p.shape[2]*p.shape[3])), rtol=0.15, atol=0, msg=k)


def test_options_reach_every_brick():
    m = XResNet(4, (1, 1), widths=(8, 16), act=nn.SiLU, norm=lambda c: GroupNorm(2, c), c_in=1, n_out=3)
    kinds = {type(o) for o in m.modules()}
    assert nn.SiLU in kinds and GroupNorm in kinds and not kinds & {nn.ReLU, nn.BatchNorm2d}
    assert m(torch.randn(2, 1, 16, 16)).shape == (2, 3)
    assert all((b.convs[-1][1].weight == 0).all() for b in m.modules() if isinstance(b, ResBlock))


def test_copies_slices_and_states():
    m = XResNet(1, (1, 1), n_out=3, c_in=1, widths=(4, 6)).eval()
    x = torch.randn(2, 1, 16, 16)
    other = XResNet(1, (1, 1), n_out=3, c_in=1, widths=(4, 6)).eval()
    other.load_state_dict(m.state_dict())
    assert torch.equal(other(x), m(x)) and torch.equal(copy.deepcopy(m)(x), m(x))
    assert type(m[:2]) is nn.Sequential and m[0] is m.stem and m[-1] is m.head and list(dict(m[:2].named_children())) == ['stem', 'stage1']
    assert torch.equal(m[-3:](m[:-3](x)), m(x))
    last = other.to(memory_format=torch.channels_last)
    assert_close(last(x), m(x))


def test_backward_hooks_can_listen():
    m, seen = XResNet(4, (1, 1), widths=(4, 4), n_out=2, zero_init=False), []
    for o in m.modules(): o.register_full_backward_hook(lambda mod, g_in, g_out: seen.append(mod))
    m(torch.randn(2, 3, 16, 16, requires_grad=True)).sum().backward()
    assert len(seen) == len(list(m.modules()))


def test_counting_leaves_no_trace():
    m = XResNet(1, (1,), widths=(4,), n_out=2)
    m.stem.eval()
    modes, buffers, grad = [o.training for o in m.modules()], [b.clone() for b in m.buffers()], []
    with m.head.register_forward_hook(lambda *args: grad.append(torch.is_grad_enabled())): count_macs(m, torch.randn(2, 3, 8, 8))
    assert grad == [False]
    with pytest.raises(RuntimeError): count_macs(m, torch.randn(2, 5, 8, 8))
    assert [o.training for o in m.modules()] == modes and not any(o._forward_hooks for o in m.modules())
    for a, b in zip(m.buffers(), buffers, strict=True): assert torch.equal(a, b)


def test_counting_every_kind():
    for conv, x in ((nn.Conv1d(4, 6, 3, groups=2), torch.zeros(2, 4, 9)), (nn.Conv2d(4, 6, (3, 1), stride=2), torch.zeros(2, 4, 9, 8)),
                    (nn.Conv3d(1, 2, 3), torch.zeros(1, 1, 5, 5, 5)), (nn.Linear(3, 5), torch.zeros(2, 7, 3))):
        with FlopCounterMode(display=False) as counter: conv(x)
        assert 2*count_macs(conv, x) == counter.get_total_flops() > 0
    shared = nn.Linear(3, 3)
    assert count_macs(nn.Sequential(shared, nn.ReLU(), shared), torch.zeros(2, 3)) == 2*2*9


@pytest.mark.parametrize('make,error,said', [
    (lambda: XResNet(1, (1, 1)), ValueError, 'layers has 2 stages and widths 4'), (lambda: XResNet(1, (), widths=()), ValueError, 'at least 1'),
    (lambda: XResNet(1, (1, 0), widths=(4, 4)), ValueError, 'layers must be at least 1'), (lambda: XResNet(1, (1,), widths=(1,)), ValueError, 'widths must be at least 2'),
    (lambda: XResNet(0, (1,), widths=(4,)), ValueError, 'expansion must be at least 1'), (lambda: XResNet(1, (1,), widths=(4,), stem='C'), ValueError, 'stem must be one of'),
    (lambda: XResNet(1, (1,), widths=(4,), shortcut='D'), ValueError, 'shortcut must be one of'), (lambda: XResNet(1, (1,), widths=(4,), se=True), TypeError, 'se must be an integer'),
    (lambda: XResNet(1, (1,), widths=(4,), c_in=0), ValueError, 'c_in must be at least 1'), (lambda: XResNet(1, (1,), widths=(4,), n_out=0), ValueError, 'n_out must be at least 1'),
    (lambda: XResNet(1, (1,), widths=(4,), n_out=2.5), TypeError, 'n_out must be an integer'), (lambda: ResBlock(4, 6, expansion=4), ValueError, 'c_out=6 is no multiple'),
    (lambda: ResBlock(4, 4, se=-1), ValueError, 'se must be at least 0'), (lambda: SqueezeExcite(4, 0), ValueError, 'reduction must be at least 1'),
    (lambda: ResBlock(4, 4, norm=nn.InstanceNorm2d), ValueError, 'no weight to start at 0'), (lambda: xresnet18(pretrained=True), TypeError, 'pretrained')])
def test_door(make, error, said):
    with pytest.raises(error, match=said): make()


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_on_cuda():
    m, x = XResNet(4, (1, 1), widths=(8, 8), n_out=3, c_in=1, se=2, sa=True).eval(), torch.randn(2, 1, 16, 16)
    expected = m(x)
    assert_close(m.cuda()(x.cuda()).cpu(), expected, rtol=1e-3, atol=1e-4)
    assert count_macs(m, x.cuda()) == count_macs(m.cpu(), x)
