"Lesson 13: residual networks."
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from mylib.judge import case, entry, randn


def weights(model): return sorted(f'{n} {tuple(p.shape)}' for n, p in model.named_parameters())

@torch.no_grad()
def filled(model):
    "The model with the same numbers on both sides, whatever it was initialised with."
    for i, (_, p) in enumerate(sorted(model.named_parameters())): p.copy_(randn(p.numel(), seed=i).view(p.shape)*0.5 + 0.1)
    return model

def layers(m):
    out = {}
    for name, kw in dict(plain={}, other=dict(ks=1, stride=2), seven=dict(ks=7), without=dict(act=None)).items():
        s = m.conv_layer(3, 4, **kw)
        out[name] = [type(s).__name__, [type(o).__name__ for o in s], weights(s)]
    return out

def sizes(m):
    return {f'ks={ks}, stride={stride}': [list(m.conv_layer(1, 2, ks, stride)(torch.zeros(2, 1, h, w)).shape) for h, w in ((8, 8), (7, 5))]
            for ks in (1, 3, 7) for stride in (1, 2)}

def result(m): return filled(m.conv_layer(3, 4))(randn(2, 3, 5, 6))
def without_activation(m): return filled(m.conv_layer(3, 4, act=None))(randn(2, 3, 5, 6))

def other_bricks(m):
    s = m.conv_layer(3, 4, act=partial(nn.LeakyReLU, 0.1), norm=partial(nn.GroupNorm, 2))
    return dict(kinds=[type(o).__name__ for o in s], result=filled(s)(randn(2, 3, 5, 6)))

@entry('13.1', level=1, minutes=10, hints=[
    'Three modules in a row. How much padding does an odd kernel need so that stride 1 keeps the size, and why would a bias be wasted?',
    'A padding of ks//2, no bias. The normalisation is made by calling `norm` with the number of channels that it sees, the activation by calling `act`; both are classes, or something like them, not modules.',
    'Put convolution and normalisation into a list, add the activation only if there is one, and make an `nn.Sequential` of it.'],
    why='The mean over the batch is subtracted right after the convolution, and a bias with it. Arguments that are called make a fresh module for each layer: a normalisation that two layers shared would mix their statistics.')
def conv_layer():
    return [case('convolution without bias, normalisation, activation, and None leaves it out', layers, also=weights),
            case('the size is kept, or divided by the stride and rounded up', sizes),
            case('the result', result, also=filled),
            case('the result without activation', without_activation, also=filled),
            case('another normalisation and activation', other_bricks, also=filled)]


def plain(n): return nn.Identity()

def shape_stays(m):
    s, x = m._shortcut(3, 3, 1, 'pool', nn.BatchNorm2d), randn(2, 3, 4, 4)
    return dict(result=s(x), parameters=len(list(s.parameters())))

def what_is_in_it(m):
    "The layers with weights, and what their shapes are."
    return {f'{a} to {b}, stride {s}, {kind}': [(type(o).__name__, [tuple(p.shape) for p in o.parameters()]) for o in m._shortcut(a, b, s, kind, nn.BatchNorm2d).modules() if [*o.parameters(recurse=False)]]
            for a, b, s, kind in ((3, 4, 1, 'pool'), (3, 4, 2, 'pool'), (3, 4, 2, 'conv'), (3, 3, 2, 'pool'))}

def ones(s):
    for p in s.parameters(): nn.init.ones_(p)
    return s

NUMBERS = torch.arange(16.).view(1, 1, 4, 4)

def every_pixel(m): return ones(m._shortcut(1, 1, 2, 'pool', plain))(NUMBERS)
def each_second_pixel(m): return ones(m._shortcut(1, 1, 2, 'conv', plain))(NUMBERS)
def an_odd_side(m): return ones(m._shortcut(1, 1, 2, 'pool', plain))(torch.arange(9.).view(1, 1, 3, 3))
def stride_three(m): return ones(m._shortcut(1, 1, 3, 'pool', plain))(torch.arange(25.).view(1, 1, 5, 5))
def no_activation(m): return ones(m._shortcut(1, 1, 2, 'pool', plain))(-NUMBERS)
def projected(m): return ones(m._shortcut(3, 2, 1, 'conv', plain))(randn(1, 3, 2, 2))

def same_sizes(m):
    "For sides of 1 to 8, the sizes of both kinds and of a convolution of 3 by 3 with the same stride."
    return {side: [tuple(f(torch.zeros(1, 2, side, side)).shape) for f in (*(m._shortcut(2, 3, 2, k, plain) for k in ('pool', 'conv')), nn.Conv2d(2, 3, 3, 2, padding=1))] for side in range(1, 9)}

def other_norm(m): return [type(o).__name__ for o in m._shortcut(2, 4, 2, 'pool', partial(nn.GroupNorm, 2)).modules() if [*o.parameters(recurse=False)]]

@entry('13.2', level=2, minutes=15, hints=[
    'When may the input go past the convolutions as it is, and which two things can make its shape another one than theirs?',
    'A projection is a convolution of 1 by 1 with its normalisation and without activation: `conv_layer` makes it. In the kind pool, the mean over squares comes before it, and then the convolution has nothing left to skip.',
    'An empty `nn.Sequential` is the identity. Where there is a pooling, `nn.AvgPool2d(stride, ceil_mode=True)` divides the size and the convolution has stride 1; otherwise the convolution has the stride. A stride of 1 needs no pooling.'],
    why='A convolution of 1 by 1 with stride 2 never looks at three quarters of its input; the mean looks at all of it and costs next to nothing. ceil_mode rounds up, as the convolutions of 3 by 3 on the other road do, and the mean at the edge is one over the pixels that are there.')
def shortcut():
    return [case('where the shape stays, the input itself, without weights', shape_stays),
            case('otherwise a convolution of 1 by 1 without bias, and a normalisation', what_is_in_it),
            case('other channels: each is a mixture of the old ones', projected, also=(ones, plain)),
            case('pool: the mean of each square of stride times stride', every_pixel, also=(ones, plain)),
            case('conv: the convolution has the stride', each_second_pixel, also=(ones, plain)),
            case('no activation at the end', no_activation, also=(ones, plain)),
            case('an odd side is rounded up, and the mean at the edge is over what is there', an_odd_side, also=(ones, plain)),
            case('a stride of three', stride_three, also=(ones, plain)),
            case('the sizes fit a convolution of 3 by 3 for every side', same_sizes, also=plain),
            case('the normalisation is the one that is asked for', other_norm)]


def excite_weights(m): return {str(o): weights(m.SqueezeExcite(*o)) for o in ((32,), (6, 3), (7, 2), (4,))}
def excited(m): return filled(m.SqueezeExcite(6, 3))(randn(2, 6, 4, 5))

def half_share(m):
    "With all weights at 0 each share is the sigmoid of 0."
    se = m.SqueezeExcite(4, 2)
    for p in se.parameters(): nn.init.zeros_(p)
    return se(torch.ones(1, 4, 2, 3))

def each_image(m):
    "What one image gets does not depend on the others in the batch."
    se, x = filled(m.SqueezeExcite(6, 3)), randn(3, 6, 4, 5)
    return (se(x)[1] - se(x[1:2])[0]).abs().max()

def excite_gradient(m):
    x = randn(2, 6, 4, 5).requires_grad_()
    filled(m.SqueezeExcite(6, 3))(x).square().sum().backward()
    return x.grad

def excite_large(m): return filled(m.SqueezeExcite(3))(100*randn(1, 3, 2, 2))
def no_reduction(m): m.SqueezeExcite(8, 0)

@entry('13.3', level=1, minutes=15, hints=[
    'Two linear layers, `squeeze` to fewer numbers and `excite` back to c. What goes in, what stands between them, and what makes a share of the result?',
    'The mean over both axes of places is (n,c). Between the layers a ReLU, behind them a sigmoid. The hidden layer has c//reduction units, but never none.',
    'The shares (n,c) need two axes of length 1 more before they can be multiplied with the maps. Check the reduction with `_whole`.'],
    why='A sigmoid and no softmax: the channels do not compete, several can be turned up or down at once. The mean throws away where something is, so the two layers cost next to nothing beside a convolution over all places.')
def squeeze_excite():
    return [case('two linear layers, at least one unit between them', excite_weights, also=weights),
            case('shares from a sigmoid, one for each channel', half_share),
            case('the result', excited, also=filled),
            case('large activations', excite_large, also=filled),
            case('each image has shares of its own', each_image, also=filled, atol=1e-5),
            case('the gradient', excite_gradient, also=filled),
            case('a reduction of 0 is refused', no_reduction, raises=ValueError, names='reduction')]


def attention_weights(m): return {c: weights(m.SelfAttention(c)) for c in (32, 16, 4)}

def identity_first(m):
    x = randn(2, 16, 3, 4)
    return (m.SelfAttention(16)(x) - x).abs().max()

def attended(m): return filled(m.SelfAttention(16))(0.3*randn(2, 16, 3, 4))

def all_alike(m):
    "Where all places are alike the mean is the value of each."
    sa = filled(m.SelfAttention(8))
    x = randn(1, 8, 1, 1).expand(1, 8, 2, 3)
    return (sa(x) - x)/sa.gamma - F.conv2d(x, sa.value.weight)

def places_reordered(m):
    "The places in another order give the same in another order."
    sa, x, order = filled(m.SelfAttention(8)), 0.3*randn(1, 8, 2, 3), torch.tensor([4, 0, 5, 1, 3, 2])
    shuffle = lambda t: t.flatten(2)[..., order].view_as(t)
    return (sa(shuffle(x)) - shuffle(sa(x))).abs().max()

def gamma_learns(m):
    torch.manual_seed(0)
    sa = m.SelfAttention(8)
    sa(randn(2, 8, 3, 3)).square().sum().backward()
    return dict(gamma=bool(sa.gamma.grad.abs() > 0), query=sa.query.weight.grad.abs().max())

def attention_gradient(m):
    x = (0.3*randn(1, 16, 2, 3)).requires_grad_()
    filled(m.SelfAttention(16))(x).square().sum().backward()
    return x.grad

@entry('13.4', level=3, minutes=30, hints=[
    'Three 1×1 convolutions without bias, called `query`, `key` and `value`, and a parameter `gamma` of no axes. Write down the shapes with all places in one axis: which product gives a table (n,places,places), and which of its axes belongs to the place that looks?',
    'Flatten the places: q and k are (n,c//8,places). The table is q transposed times k, so row i holds the likeness of place i with all others; the softmax runs along the row.',
    'Place i gets the sum over j of weight[i,j]*v[j]. With v as (n,c,places) that is v times the transposed table. View it like x, multiply with gamma and add x. Query and key have c//8 channels, at least one; gamma starts at zero.'],
    why='gamma at zero means that the layer can be put into any network and changes nothing until it has learned something; its own gradient is not zero, so it does begin to learn. No place has a number here: in another order the places get the same, which is why convolutions stay around it.')
def self_attention():
    return [case('three 1×1 convolutions without bias, and gamma', attention_weights, also=weights),
            case('the identity at first', identity_first),
            case('where all places are alike the mean of the values is the value', all_alike, also=filled, atol=1e-4),
            case('the result', attended, also=filled),
            case('no place is special', places_reordered, also=filled, atol=1e-4),
            case('the gradient', attention_gradient, also=filled),
            case('at first gamma has a gradient, and query has none yet', gamma_learns)]


def block_weights(m):
    kinds = {'as it comes': (4, 4), 'wider': (4, 8), 'stride': (4, 4, 2), 'bottleneck': (4, 8, 1, 4), 'squeeze': (4, 4, 1, 1, 'pool', True, 2)}
    return {k: weights(m.ResBlock(*o)) for k, o in kinds.items()}

def starts_as_shortcut(m):
    x, out = randn(2, 4, 5, 6), {}
    for name, o in {'same shape': (4, 4), 'projection': (4, 8, 2), 'bottleneck': (4, 4, 1, 2)}.items():
        block = m.ResBlock(*o)
        out[name] = (block(x) - block.shortcut(x).relu()).abs().max()
    return out

def not_zero(m):
    return {z: [bool((n.weight == 0).all()) for n in m.ResBlock(4, 4, expansion=2, zero_init=z).modules() if isinstance(n, nn.BatchNorm2d)] for z in (True, False)}

def block(m, *args, **kwargs): return filled(m.ResBlock(*args, **kwargs))(randn(2, 4, 5, 6))
def same_shape(m): return block(m, 4, 4)
def by_pool(m): return block(m, 4, 8, 2)
def by_conv(m): return block(m, 4, 8, 2, shortcut='conv')
def bottleneck(m): return block(m, 4, 8, 2, 4)
def with_squeeze(m): return block(m, 4, 4, se=2)
def others(m): return block(m, 4, 8, 2, act=partial(nn.LeakyReLU, 0.1), norm=partial(nn.GroupNorm, 2))

def without_scale(m):
    "A normalisation that has no weight to start at 0."
    return list(m.ResBlock(4, 4, norm=partial(nn.BatchNorm2d, affine=False), zero_init=False)(randn(2, 4, 5, 6)).shape)

def unknown_shortcut(m): m.ResBlock(4, 4, shortcut='avg')
def no_multiple(m): m.ResBlock(4, 10, expansion=4)
def nothing_to_zero(m): m.ResBlock(4, 4, norm=partial(nn.BatchNorm2d, affine=False))
def negative_se(m): m.ResBlock(4, 4, se=-1)

@entry('13.5', level=2, minutes=30, hints=[
    'Two roads, `self.convs` and `self.shortcut`, and `self.act` behind their sum. Which convolution has the stride, which has an activation of its own, and which normalisation starts at zero?',
    'expansion 1: 3×3 with the stride, then 3×3. More: 1×1 down to c_out//expansion channels, 3×3 with the stride, 1×1 up to c_out. The last one has no activation: that comes after the sum. A `SqueezeExcite(c_out, se)` follows, if asked.',
    'Build the list with `conv_layer`, passing act and norm on; `_shortcut` makes the other road. The normalisation of the last one is its element 1: set its weight to zero, and say what to do (zero_init=False) where it has none. Refuse an unknown shortcut with `_one_of`, and a c_out that is no multiple of the expansion.'],
    why='Nothing stands on the road beside the convolutions where the shape stays, so that the gradient reaches the first block undiminished. The stride sits in the 3×3, because a 1×1 with stride 2 would never look at three quarters of its input.')
def res_block():
    return [case('names and shapes of the weights', block_weights, also=weights),
            case('at first the block is its shortcut, then the activation', starts_as_shortcut, atol=1e-6),
            case('only the last normalisation starts at zero, and only if asked', not_zero),
            case('two 3×3 convolutions beside the identity', same_shape, also=(filled, block)),
            case('stride 2 with a shortcut that takes the mean', by_pool, also=(filled, block)),
            case('stride 2 with a strided shortcut', by_conv, also=(filled, block)),
            case('a bottleneck has its stride in the 3×3', bottleneck, also=(filled, block)),
            case('squeeze and excite comes before the sum', with_squeeze, also=(filled, block)),
            case('another activation and normalisation, in the shortcut too', others, also=(filled, block)),
            case('a normalisation without weight, where none has to be zero', without_scale),
            case('an unknown shortcut is refused', unknown_shortcut, raises=ValueError, names=('shortcut', 'avg')),
            case('channels that are no multiple of the expansion are refused', no_multiple, raises=ValueError, names=('c_out=10', 'expansion=4')),
            case('a normalisation that cannot start at zero is refused, with what to do', nothing_to_zero, raises=ValueError, names='zero_init=False'),
            case('a negative se is refused', negative_se, raises=ValueError, names='se')]


def tiny(m, expansion=1, layers=(1, 2), **kwargs): return m.XResNet(expansion, layers, **(dict(c_in=1, n_out=3, widths=(4, 8), stem='small') | kwargs))

def children(m): return {n: type(c).__name__ for n, c in tiny(m).named_children()}

def network_weights(m): return weights(tiny(m))

def stems(m):
    return {s: [weights(tiny(m, stem=s).stem), list(tiny(m, stem=s).stem(torch.zeros(1, 1, 32, 32)).shape)] for s in ('deep', 'classic', 'small')}

def map_sizes(m):
    "The shape after each child."
    x, seen = torch.zeros(2, 1, 16, 12), {}
    for n, c in tiny(m, layers=(1, 2, 1), widths=(4, 8, 12)).named_children(): seen[n] = list((x := c(x)).shape)
    return seen

def logits(m): return filled(tiny(m))(randn(2, 1, 8, 8))
def bottlenecks(m): return filled(tiny(m, 4))(randn(2, 1, 8, 8))

def passed_on(m):
    model = tiny(m, shortcut='conv', se=2, act=nn.SiLU, norm=partial(nn.GroupNorm, 2))
    return dict(weights=weights(model), kinds=sorted({type(o).__name__ for o in model.modules()}), logits=filled(model)(randn(2, 1, 8, 8)))

def where_attention_is(m):
    find = lambda model: [n for n, o in model.named_modules() if isinstance(o, m.SelfAttention)]
    return dict(two_stages=find(tiny(m, sa=True)), three=find(tiny(m, layers=(1, 2, 1), widths=(4, 8, 8), sa=True)), one=find(tiny(m, layers=(1,), widths=(4,), sa=True)), none=find(tiny(m)))

def zeros(m): return {z: [n for n, p in tiny(m, zero_init=z).named_parameters() if n.startswith('stage') and p.ndim == 1 and n.endswith('weight') and not p.any()] for z in (True, False)}

def spread_of_weights(m):
    "Deviation of each convolution's weights, times the root of half the products that go into one gradient."
    torch.manual_seed(0)
    model = m.XResNet(1, [1, 1], c_in=3, n_out=3, widths=(32, 64), stem='classic')
    return {n: c.weight.std().item()*(c.out_channels*c.weight[0, 0].numel()/2)**0.5 for n, c in model.named_modules() if isinstance(c, nn.Conv2d)}

def slices(m):
    model = tiny(m)
    body = model[:-1]
    return dict(kind=type(body).__name__, names=[n for n, _ in body.named_children()], shared=body[0] is model[0], head=type(model[-1]).__name__)

def sizes_differ(m): m.XResNet(1, [1, 1, 1], widths=(4, 8))
def no_stage(m): m.XResNet(1, [], widths=())
def unknown_stem(m): tiny(m, stem='tall')
def no_output(m): tiny(m, n_out=0)
def no_block(m): tiny(m, layers=(1, 0))

@entry('13.6', level=3, minutes=45, hints=[
    'Go through the children in order: stem, stage1, stage2, ..., pool, flat, head. What does each block need to know of the one before, and which blocks halve the resolution?',
    'Carry the number of channels along. The first block of each stage but the first has stride 2; all blocks of a stage give widths[i]*expansion channels. The stems: deep is c//2, c//2, c with stride 2 at first; classic one 7×7 with stride 2; both with a pooling `MaxPool2d(3, 2, 1)`; small one 3×3 with nothing.',
    'Collect the parts in an `OrderedDict` and give them to the constructor of `nn.Sequential`, with `AdaptiveAvgPool2d(1)`, `Flatten` and the linear layer at the end. The attention goes behind the blocks of the second stage, or of the only one. Then `kaiming_normal_` in fan_out mode for each convolution. `__getitem__` makes an `nn.Sequential` of the same modules and asks that.'],
    why='fan_out keeps the gradients level on their way back rather than the activations on their way in; in a network with normalisations it is the gradients that need it. A slice of a Sequential calls its own class with the modules, and this class takes other arguments: without __getitem__, model[:-1] would be an error.')
def xresnet():
    return [case('the children, by name', children, also=tiny),
            case('each stage after the first halves the resolution', map_sizes, also=tiny),
            case('names and shapes of the weights', network_weights, also=(weights, tiny)),
            case('the three stems', stems, also=(weights, tiny)),
            case('the logits', logits, also=(filled, tiny)),
            case('the logits of a network of bottlenecks', bottlenecks, also=(filled, tiny)),
            case('shortcut, se, act and norm are passed on', passed_on, also=(weights, filled, tiny)),
            case('self-attention stands at the end of the second stage, or of the only one', where_attention_is, also=tiny),
            case('zero_init is passed on, and survives the initialisation', zeros, also=tiny),
            case('convolutions begin with Kaiming, fan_out', spread_of_weights, atol=0.12),
            case('a slice is a plain Sequential with the same modules', slices, also=tiny),
            case('layers and widths of different length are refused', sizes_differ, raises=ValueError, names=('layers', 'widths')),
            case('a network without stages is refused', no_stage, raises=ValueError, names='layers'),
            case('an unknown stem is refused', unknown_stem, raises=ValueError, names=('stem', 'tall'), also=tiny),
            case('a stage without blocks is refused', no_block, raises=ValueError, names='layers', also=tiny),
            case('a network without outputs is refused', no_output, raises=ValueError, names='n_out', also=tiny)]


def one_linear(m): return [m.count_macs(nn.Linear(3, 5), torch.zeros(1, 3)), m.count_macs(nn.Linear(3, 5), torch.zeros(4, 3)), m.count_macs(nn.Linear(3, 5, bias=False), torch.zeros(2, 7, 3))]

def convolutions(m):
    return dict(plain=m.count_macs(nn.Conv2d(2, 4, 3), torch.zeros(1, 2, 5, 6)), strided=m.count_macs(nn.Conv2d(2, 4, 3, 2, 1), torch.zeros(1, 2, 8, 8)),
                grouped=m.count_macs(nn.Conv2d(4, 4, 3, groups=2), torch.zeros(1, 4, 5, 5)), line=m.count_macs(nn.Conv1d(2, 3, 3), torch.zeros(1, 2, 9)), space=m.count_macs(nn.Conv3d(1, 2, 2), torch.zeros(1, 1, 3, 3, 3)))

def small_net(): return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 2, 1), nn.Flatten()), nn.Linear(32, 5))

def whole_network(m): return m.count_macs(small_net(), torch.zeros(2, 1, 4, 4))

def used_twice(m):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)
        def forward(self, x): return self.layer(self.layer(x))
    return m.count_macs(Twice(), torch.zeros(1, 3))

def counted_twice(m):
    model = small_net()
    return [m.count_macs(model, torch.zeros(2, 1, 4, 4)) for _ in range(2)] + [sum(len(o._forward_hooks) for o in model.modules())]

def modes(m):
    "A model in training, of which one layer is not."
    model = small_net()
    model[1].eval()
    seen = []
    model[2].register_forward_hook(lambda o, i, out: seen.append((o.training, torch.is_grad_enabled())))
    m.count_macs(model, torch.zeros(2, 1, 4, 4))
    return dict(inside=seen, after=[o.training for o in model.modules()])

def statistics_untouched(m):
    model = small_net()
    m.count_macs(model, randn(2, 1, 4, 4))
    return model[1].running_mean

def after_an_error(m):
    model = small_net()
    try: m.count_macs(model, torch.zeros(2, 1, 5, 5))
    except RuntimeError: pass
    return dict(training=[o.training for o in model.modules()], hooks=sum(len(o._forward_hooks) for o in model.modules()))

def on_meta(m):
    with torch.device('meta'): return m.count_macs(small_net(), torch.zeros(2, 1, 4, 4))

@entry('13.7', level=2, minutes=20, hints=[
    'Each number of the output is a sum of products, one for each weight of its filter. Where do you learn how many numbers a layer puts out, without computing it from kernel, stride and padding?',
    'A forward hook on each `nn.Conv1d`, `Conv2d`, `Conv3d` and `nn.Linear` sees the output: its number of entries times the number of weights in `m.weight[0]`. The `Hooks` of lesson 06 puts them up and takes them down.',
    'Remember the mode of every module before `model.eval()`, since some may be in evaluation already, and give each its own back in a `finally`, as the model may raise. The pass itself under `no_grad`.'],
    why='m.weight[0] is one filter, and in a grouped convolution it holds only the channels of its group, so that case needs no formula of its own. The modes are kept module by module, because model.train() afterwards would thaw a frozen normalisation without a word.')
def count_macs():
    return [case('a linear layer: weights times rows', one_linear),
            case('convolutions: one filter for each number of the output', convolutions),
            case('all layers of a network, however deep they sit', whole_network, also=small_net),
            case('a layer that is used twice counts twice', used_twice),
            case('a second count gives the same, and no hook is left', counted_twice, also=small_net),
            case('counted in evaluation mode and without gradients, and each module has its mode back', modes, also=small_net),
            case('running statistics are not touched', statistics_untouched, also=small_net),
            case('modes and hooks are in order after an error, too', after_an_error, also=small_net),
            case('a model on the meta device', on_meta, also=small_net)]
