"Lesson 02b: initialisation."

import torch
from torch import nn

from mylib.judge import call, case, entry, randn

X = randn(4, 5, 6)


@entry('02b.1', level=1, minutes=10, hints=[
    'Two helpers stand above: one takes the mean off so that no digits are lost, the other counts. What is left to do?',
    'The sum of the squared deviations over `dim`, divided by the number of values along `dim` less the correction.',
    '`_centred` gives the deviations (and refuses whole numbers), `_n_along` the number (and refuses too few). The first argument of both is the name for their messages. `keepdim` goes to the sum.'],
    why='Centring twice removes the rounding error of the first mean, which for a mean of some millions is as large as the spread. Dividing a sum by n - correction, rather than correcting a mean afterwards, keeps both corrections in one line.')
def variance():
    millions = torch.tensor([5e6, 5e6 + 1, 5e6 + 2, 5e6 + 4])
    return [call('variance', torch.tensor([1., 3.]), say='two numbers at distance 1 from their mean, divided by n - 1'),
            call('variance', torch.tensor([1., 3.]), correction=0, say='correction=0 gives the mean of the squared distances'),
            call('variance', X, say='all axes together', grad=True),
            call('variance', X, 0, say='over one axis'),
            call('variance', X, -1, say='over one axis, counted from the end'),
            call('variance', X, (0, 2), say='over two axes: n is the number of values along both'),
            call('variance', X, (0, 2), 0, say='over two axes, without the correction'),
            call('variance', X, 1, correction=2, say='correction=2 divides by n - 2'),
            call('variance', X, 1, keepdim=True, say='keepdim leaves the axis with length 1'),
            call('variance', X, keepdim=True, say='keepdim leaves all axes where all are averaged over'),
            call('variance', torch.tensor([1e4, 1e4 + 1, 1e4 + 3]), say='a mean of ten thousand costs no digits'),
            call('variance', millions, say="a mean of five million: the mean's own rounding error does no harm", rtol=1e-3),
            call('variance', X.double(), 0, say='float64 stays float64'),
            call('variance', torch.tensor([1., 2., 4.], dtype=torch.bfloat16), say='16 bits are widened to float32'),
            call('variance', torch.tensor([7.]), correction=0, say='a single number has variance 0, without the correction'),
            call('variance', torch.tensor([7.]), raises=ValueError, names='at least 2', say='a single number with the correction is refused'),
            call('variance', torch.ones(3, 1), 1, raises=ValueError, names='at least 2', say='one value along dim is refused'),
            call('variance', torch.tensor([1, 3]), raises=TypeError, names='x.float()', say='whole numbers are refused, with the remedy')]


@entry('02b.2', level=1, minutes=15, hints=[
    'A variance is the mean of the deviations times themselves. What changes if the second factor is the partner\'s deviation?',
    '`_paired` looks whether the shapes are the same and centres both, with the argument\'s name for the message. Then the sum of the products, over the number less the correction.',
    'In `_paired`: tensors, the shapes (a ValueError with both, since nothing may be broadcast), `_centred` twice. In `covariance`: `_n_along` counts, as in `variance`.'],
    why='Both partners are centred although one would do in exact arithmetic: with one left at a mean of a million, the products are large and cancel in the sum. Shapes that broadcast would pair every value with every other, and the result would look like a number.')
def covariance():
    x, y = X, X + 2*randn(4, 5, 6, seed=1)
    return [call('covariance', torch.tensor([1., 2., 3.]), torch.tensor([1., 3., 2.]), say='three pairs, by hand one half'),
            call('covariance', torch.tensor([1., 2., 3.]), torch.tensor([1., 3., 2.]), correction=0, say='correction=0 divides by n'),
            call('covariance', torch.tensor([1., 2., 4.]), torch.tensor([-2., -4., -8.]), say='it is negative where one falls as the other rises'),
            call('covariance', x, x, say='of x with itself it is the variance'),
            call('covariance', x, y, say='all axes together', grad=True),
            call('covariance', x, y, 1, say='over one axis, which disappears'),
            call('covariance', x, y, (0, 2), say='over two axes: n is the number of pairs along both'),
            call('covariance', torch.tensor([5e6, 5e6 + 1, 5e6 + 3]), torch.tensor([5e6, 5e6 + 2, 5e6 + 3]), say='means of five million cost no digits', rtol=1e-3),
            call('covariance', torch.tensor([1., 2., 4.], dtype=torch.bfloat16), torch.tensor([1., 2., 3.], dtype=torch.bfloat16), say='16 bits are widened to float32'),
            call('covariance', torch.zeros(3), torch.zeros(3, 1), raises=ValueError, names=('(3,)', '(3, 1)'), say='nothing is broadcast: other shapes are refused'),
            call('covariance', torch.tensor([1., 2.]), torch.tensor([1, 2]), raises=TypeError, names='y.float()', say='whole numbers are refused, and the argument is named'),
            call('covariance', torch.ones(1), torch.ones(1), raises=ValueError, names='at least 2', say='a single pair is refused')]


def never_above_one(m):
    x = randn(1000, 7)
    r = torch.cat([m.correlation(x, 3*x + 1, dim=1), m.correlation(x, -x, dim=1)])
    return int((r.abs() > 1).sum())

@entry('02b.3', level=2, minutes=15, hints=[
    'The covariance divided by both standard deviations. Does it matter whether one divides by n or n - 1, if both are there above and below?',
    'It cancels, so sums will do. Take the deviations of both (`_paired` gives them), and divide each by the root of its own sum of squares before they are multiplied.',
    'For the division the sum needs `keepdim=True`; the last sum does not. Rounding can leave the result a little beyond 1: `clamp`.'],
    why='Normalised first, the factors are at most 1, and nothing overflows; the product of two sums of squares overflows at the square root of that size. A correlation of 1.0000001 would give nan in an arccos or in a root of 1 - r².')
def correlation():
    x, y = X, X + 2*randn(4, 5, 6, seed=1)
    return [call('correlation', torch.tensor([1., 2., 3.]), torch.tensor([1., 3., 2.]), say='three pairs, by hand one half'),
            call('correlation', torch.tensor([1., 2., 4.]), torch.tensor([3., 5., 9.]), say='points on a rising line have correlation 1'),
            call('correlation', torch.tensor([1., 2., 4.]), torch.tensor([-1., -2., -4.]), say='points on a falling line have correlation -1'),
            call('correlation', x, y, say='all axes together', grad=True),
            call('correlation', x, y, 1, say='over one axis, which disappears'),
            call('correlation', x, y, (0, 2), say='over two axes'),
            call('correlation', x*100 + 50, y/100 - 50, say='neither scale nor place matters', rtol=1e-3),
            call('correlation', x*1e12, y*1e12, say='large numbers do not overflow'),
            call('correlation', x*1e-12, y*1e-12, say='small numbers do not underflow'),
            case('rounding never leads beyond -1 and 1', never_above_one),
            call('correlation', torch.tensor([1., 2., 3.]), torch.ones(3), say='nan where one of them is constant'),
            call('correlation', torch.zeros(3), torch.zeros(3, 1), raises=ValueError, names=('(3,)', '(3, 1)'), say='nothing is broadcast: other shapes are refused'),
            call('correlation', torch.tensor([1., 2.]), torch.tensor([1, 2]), raises=TypeError, names='y.float()', say='whole numbers are refused, and the argument is named')]


@entry('02b.4', level=1, minutes=10, hints=[
    'How many numbers are added up for a single output of a linear layer, and how many for one of a 3x3 convolution?',
    'Outputs come first in the shape, inputs second. All positions of the kernel multiply both.',
    '`math.prod` of the shape from axis 2 on is 1 for a linear layer, so no case distinction is needed. Return the fan-in first. A shape with fewer than two axes is a ValueError.'],
    why='An empty product is 1, so linear layers and convolutions of one, two or three axes are one formula. A vector has no fans: better an error here than a bias initialised by a guess.')
def fans():
    return [call('fan_in_fan_out', torch.zeros(5, 7), say='a linear layer: inputs first, then outputs'),
            call('fan_in_fan_out', torch.zeros(8, 3, 5, 5), say='a convolution: the kernel multiplies both'),
            call('fan_in_fan_out', torch.zeros(8, 3, 1, 1), say='a kernel of one position'),
            call('fan_in_fan_out', torch.zeros(6, 4, 3), say='a kernel with one axis'),
            call('fan_in_fan_out', torch.zeros(6, 4, 3, 5, 2), say='a kernel that is no cube'),
            call('fan_in_fan_out', torch.zeros(5), raises=ValueError, names='(5,)', say='a vector is refused, with its shape')]


def drawn(init, shape, fan, **kwargs):
    w = torch.full(shape, 99.)
    init(w, **kwargs)
    std = w.std(correction=0)
    return dict(std_times_root_of_fan=(std*fan**0.5).item(), mean_in_stds=(w.mean()/std).item(), largest_in_stds=(w.abs().max()/std).item())

def xavier(m): return m.xavier_normal_, m.xavier_uniform_
def xavier_normal(m): return drawn(m.xavier_normal_, (300, 200), 250)['std_times_root_of_fan']
def xavier_uniform(m): return drawn(m.xavier_uniform_, (300, 200), 250)
def xavier_middle(m): return [drawn(f, (300, 200), 250)['mean_in_stds'] for f in xavier(m)]
def xavier_bell(m): return drawn(m.xavier_normal_, (300, 200), 250)['largest_in_stds'] > 3
def xavier_gain(m): return [drawn(f, (300, 200), 250, gain=2.)['std_times_root_of_fan'] for f in xavier(m)]
def xavier_kernels(m): return [drawn(f, (64, 32, 3, 5), 48*15)['std_times_root_of_fan'] for f in xavier(m)]

def xavier_in_place(m):
    res = []
    for f in xavier(m):
        w = torch.full((4, 3), 99., dtype=torch.float64)
        res += [f(w) is w, bool((w == 99).any())]
    return res

def xavier_parameters(m):
    w = nn.Linear(3, 4).weight
    for f in xavier(m): f(w)
    return [w.requires_grad, w.is_leaf]

def xavier_generator(m): return [torch.equal(*(f(torch.zeros(4, 3), generator=torch.Generator().manual_seed(7)) for _ in range(2))) for f in xavier(m)]
def no_weights(m): return [tuple(f(torch.zeros(0, 0)).shape) for f in xavier(m)]
def xavier_whole_numbers(m): m.xavier_normal_(torch.zeros(2, 2, dtype=torch.int64))

@entry('02b.5', level=2, minutes=20, hints=[
    'Glorot and Bengio wanted outputs and gradients level at once, and took the mean of the two fans. What is the variance of one weight then? And how wide is a uniform distribution with that variance?',
    'The variance is 2/(fan_in + fan_out), times the square of the gain. A uniform distribution on -b..b has variance b²/3.',
    '`_xavier_std` computes the standard deviation (a sum of fans of 0 counts as 1), `_fill` draws: `tensor.normal_` or `tensor.uniform_` with bounds of root 3 times it, in `torch.no_grad()`, with the generator. Whole numbers are a TypeError. The two public functions differ in one word.'],
    why='One place knows the standard deviation and one the bound that belongs to it. Drawing happens without a graph, because a parameter that requires a gradient may not be written to otherwise.')
def xavier_():
    return [case('the standard deviation is one over the root of the mean fan', xavier_normal, also=drawn, rtol=0.02),
            case('the mean is 0', xavier_middle, also=(drawn, xavier), atol=0.02),
            case('the normal distribution has rare values far out', xavier_bell, also=drawn),
            case('the uniform twin has the same standard deviation, and a largest value of root 3 times that', xavier_uniform, also=drawn, rtol=0.02, atol=0.02),
            case('the gain is a factor on the standard deviation', xavier_gain, also=(drawn, xavier), rtol=0.02),
            case('the kernel counts in both fans', xavier_kernels, also=(drawn, xavier), rtol=0.02),
            case('the tensor itself is filled and returned', xavier_in_place, also=xavier),
            case('parameters may be filled, and still require a gradient', xavier_parameters, also=xavier),
            case('a generator of your own repeats the numbers', xavier_generator, also=xavier),
            case('a tensor without entries does no harm', no_weights, also=xavier),
            case('whole numbers are refused', xavier_whole_numbers, raises=TypeError, names='int64')]


def normal(m): return drawn(m.kaiming_normal_, (300, 200), 200)['std_times_root_of_fan']
def uniform(m): return drawn(m.kaiming_uniform_, (300, 200), 200)
def middle(m): return drawn(m.kaiming_normal_, (300, 200), 200)['mean_in_stds']
def bell(m): return drawn(m.kaiming_normal_, (300, 200), 200)['largest_in_stds'] > 3
def kernels(m): return [drawn(f, (64, 32, 3, 5), 32*15)['std_times_root_of_fan'] for f in (m.kaiming_normal_, m.kaiming_uniform_)]
def level_gradients(m): return [drawn(f, (300, 200), 300, mode='fan_out')['std_times_root_of_fan'] for f in (m.kaiming_normal_, m.kaiming_uniform_)]
def leaky(m): return [drawn(f, (300, 200), 200, a=0.5)['std_times_root_of_fan'] for f in (m.kaiming_normal_, m.kaiming_uniform_)]
def before_tanh(m): return [drawn(f, (300, 200), 200, nonlinearity='tanh')['std_times_root_of_fan'] for f in (m.kaiming_normal_, m.kaiming_uniform_)]

def in_place(m):
    res = []
    for f in (m.kaiming_normal_, m.kaiming_uniform_):
        w = torch.full((4, 3), 99., dtype=torch.float64)
        res += [f(w) is w, bool((w == 99).any())]
    return res

def parameters(m):
    w = nn.Linear(3, 4).weight
    m.kaiming_normal_(w)
    m.kaiming_uniform_(w)
    return [w.requires_grad, w.is_leaf]

def own_generator(m):
    res = []
    for f in (m.kaiming_normal_, m.kaiming_uniform_):
        a, b = (f(torch.zeros(4, 3), generator=torch.Generator().manual_seed(7)) for _ in range(2))
        res.append(torch.equal(a, b))
    return res

def unknown_mode(m): m.kaiming_normal_(torch.zeros(2, 2), mode='fan')
def unknown_mode_uniform(m): m.kaiming_uniform_(torch.zeros(2, 2), mode='fan')
def unknown_function(m): m.kaiming_normal_(torch.zeros(2, 2), nonlinearity='gelu')
def whole_numbers(m): m.kaiming_uniform_(torch.zeros(2, 2, dtype=torch.int64))

@entry('02b.6', level=1, minutes=10, hints=[
    'The two Xavier functions above consist of one line each. What of that line is different here?',
    '`_kaiming_std` computes the standard deviation, and knows about the mode and the gain. `_fill` draws: normally, or uniformly between the bounds that belong to the same standard deviation.',
    'Pass everything on: the tensor, a, mode and nonlinearity to the one, the generator to the other. `_fill` returns the tensor; so should you.'],
    why='Both functions ask for the same standard deviation, and only one place knows that a uniform distribution needs a bound that is larger by the root of three. The lesson\'s riddle is what happens when that factor is forgotten.')
def kaiming():
    return [case('before ReLU, the standard deviation times the root of the fan-in is the root of 2', normal, also=drawn, rtol=0.02),
            case('the mean is 0', middle, also=drawn, atol=0.02),
            case('the normal distribution has rare values far out', bell, also=drawn),
            case('the uniform twin has the same standard deviation, and a largest value of root 3 times that', uniform, also=drawn, rtol=0.02, atol=0.02),
            case('the kernel counts in the fan', kernels, also=drawn, rtol=0.02),
            case("mode='fan_out' takes the other fan", level_gradients, also=drawn, rtol=0.02),
            case('a slope on the negative side makes the weights smaller', leaky, also=drawn, rtol=0.02),
            case('another nonlinearity has another gain', before_tanh, also=drawn, rtol=0.02),
            case('the tensor is filled in place and returned', in_place),
            case('a parameter that asks for gradients can be filled', parameters),
            case('numbers come from the given generator', own_generator),
            case('an unknown mode is refused', unknown_mode, raises=ValueError, names='mode'),
            case('an unknown mode is refused by the uniform twin', unknown_mode_uniform, raises=ValueError, names='mode'),
            case('an unknown nonlinearity is refused', unknown_function, raises=ValueError, names='gelu'),
            case('a tensor of whole numbers is refused', whole_numbers, raises=TypeError, names='int64')]


POINTS = torch.tensor([-10., -1., 0., 1., 10.])

def plain(m): return m.GeneralRelu()(POINTS.clone())
def with_leak(m): return m.GeneralRelu(leak=0.1)(POINTS.clone())
def with_sub(m): return m.GeneralRelu(sub=0.4)(POINTS.clone())
def with_maxv(m): return m.GeneralRelu(maxv=6.)(POINTS.clone())
def with_all(m): return m.GeneralRelu(0.1, 0.4, 6.)(POINTS.clone())
def ceiling_at_zero(m): return m.GeneralRelu(sub=0.4, maxv=0.)(POINTS.clone())
def leak_of_zero(m): return m.GeneralRelu(leak=0., sub=0.)(POINTS.clone())
def low_ceiling_with_leak(m): return m.GeneralRelu(leak=0.1, maxv=-0.5)(POINTS.clone())

def gradient(m):
    x = torch.tensor([[-10., -1.], [1., 10.]], requires_grad=True)
    m.GeneralRelu(0.1, 0.4, 6.)(x).sum().backward()
    return x.grad

def input_afterwards(m):
    x = POINTS.clone()
    m.GeneralRelu()(x)
    m.GeneralRelu(0.1, 0.4, 6.)(x)
    return x

def in_a_model(m):
    act = m.GeneralRelu(0.1, sub=0.4)
    return [nn.Sequential(nn.Identity(), act)(POINTS.double()), list(act.state_dict()), act.leak, act.sub, act.maxv]

def printed(m):
    text = repr(m.GeneralRelu(0.1, 0.4))
    return [word in text for word in ('leak', '0.1', 'sub', '0.4', 'maxv', 'None')]

def constant(m): m.GeneralRelu(sub=0.4, maxv=-1.)
def barely_constant(m): m.GeneralRelu(leak=0., maxv=0.)

@entry('02b.7', level=1, minutes=15, hints=[
    'Three settings, each of which may be None. In which order do they act?',
    'First the (leaky) ReLU, then the subtraction, then the ceiling. None means that a step is left out, and 0 is not None.',
    '`F.relu` or `F.leaky_relu`, minus, `clamp(max=...)`, none of them in place. In `__init__` a ceiling at or below the lowest output, which is -sub where there is no leak, is a ValueError: "would be constant". `extra_repr` returns the text between the brackets of the printed form.'],
    why='Nothing is done in place, since autograd may need the input, and the layer before its output. The constructor refuses the one combination that makes every output the same: a network with such a layer runs and can not learn.')
def general_relu():
    return [case('without settings it is ReLU', plain),
            case('leak is the slope of the negative side', with_leak),
            case('sub is subtracted, from zeros too', with_sub),
            case('maxv is the ceiling', with_maxv),
            case('the ceiling is applied after the subtraction', with_all),
            case('a ceiling of 0 is a ceiling', ceiling_at_zero),
            case('a leak of 0 and a sub of 0 are allowed', leak_of_zero),
            case('with a leak the ceiling may be low', low_ceiling_with_leak),
            case('the gradient is 0 above the ceiling', gradient),
            case('the input is left as it was', input_afterwards),
            case('it is a module without parameters, and its settings can be read', in_a_model),
            case('the settings are printed', printed),
            case('a ceiling below all outputs is refused', constant, raises=ValueError, names=('maxv', 'constant')),
            case('a ceiling at the lowest output is refused', barely_constant, raises=ValueError, names='constant')]


def initialised(m, layer, **kwargs):
    "Weights in units of one over the root of the fan-in, and the bias, after they were all 99."
    for p in layer.parameters(): p.data.fill_(99.)
    m.init_weights(layer, **kwargs)
    w = layer.weight.detach()
    return dict(std=(w.std()*w[0].numel()**0.5).item(), bias=None if layer.bias is None else layer.bias.detach())

def linear_layer(m): return initialised(m, nn.Linear(200, 300))
def convolutions(m): return [initialised(m, layer) for layer in (nn.Conv1d(40, 100, 9), nn.Conv2d(20, 80, 5), nn.Conv3d(10, 60, 3))]
def without_bias(m): return initialised(m, nn.Linear(200, 300, bias=False))
def before_leaky(m): return initialised(m, nn.Linear(200, 300), leaky=0.5)

def whole_model(m):
    model = nn.Sequential(nn.Linear(200, 300), nn.ReLU(), nn.Sequential(nn.Linear(300, 100)))
    for p in model.parameters(): p.data.fill_(99.)
    model.apply(m.init_weights)
    return dict(std=[(p.std()*p.shape[1]**0.5).item() for p in model.parameters() if p.ndim > 1], biases=[p.abs().max() for p in model.parameters() if p.ndim == 1])

def others_left(m):
    res = {}
    for layer in (nn.BatchNorm2d(4), nn.LayerNorm(4), nn.Embedding(3, 4), nn.LSTM(2, 3)):
        for p in layer.parameters(): p.data.fill_(99.)
        m.init_weights(layer)
        res[type(layer).__name__] = all((p == 99).all().item() for p in layer.parameters())
    return res

def ready_to_learn(m):
    layer = nn.Linear(3, 4)
    m.init_weights(layer)
    return [p.requires_grad and p.is_leaf for p in layer.parameters()]

@entry('02b.8', level=1, minutes=10, hints=[
    '`model.apply(f)` calls f with every module in the model. For which of them do you know what to do?',
    'For linear layers and convolutions: `kaiming_normal_` for the weight, zero for the bias. All others are left alone.',
    'One `isinstance` with a tuple of classes; the slope goes to `a`; a bias may be None. Under `torch.no_grad()`, in place.'],
    why='A normalisation layer has a weight too, of ones, and an embedding has no fan-in that means anything. So the classes are listed, rather than everything with a weight being taken.')
def init_weights():
    return [case('a linear layer: root 2 over the root of the fan-in, and a bias of 0', linear_layer, also=initialised, rtol=0.02),
            case('convolutions of one, two and three axes', convolutions, also=initialised, rtol=0.03),
            case('a layer without a bias', without_bias, also=initialised, rtol=0.02),
            case('before a leaky ReLU the factor is smaller', before_leaky, also=initialised, rtol=0.02),
            case('a model with layers inside of layers', whole_model, rtol=0.03),
            case('other modules are left as they are', others_left),
            case('the parameters are ready to learn', ready_to_learn)]
