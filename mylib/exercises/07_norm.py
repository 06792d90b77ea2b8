"Lesson 07: normalisation."
import torch
from torch import nn

from mylib.judge import call, case, entry, randn

BF16, F16, F64 = torch.bfloat16, torch.float16, torch.float64


def through(layer, *inputs):
    "What comes out of a layer for the last of some inputs, its gradients, and its buffers."
    for x in inputs:
        layer.zero_grad()
        x = x.clone().requires_grad_()
        out = layer(x)
        out.backward(randn(*out.shape, seed=1, dtype=out.dtype))
    return {'the output': out, 'the gradient of x': x.grad, **{f'the gradient of {k}': p.grad for k, p in layer.named_parameters()}, **dict(layer.named_buffers())}

def off_centre(layer, like):
    "Weights and bias that are not 1 and 0, by way of a state dict of PyTorch's layer."
    for i, p in enumerate(like.parameters()): p.data = 1 + randn(*p.shape, seed=5 + i)/2
    layer.load_state_dict(like.state_dict())
    return layer

def batches(*shape, n=3): return [randn(*shape, seed=i)*(i + 1) + i for i in range(n)]

def two_values(m): return m.BatchNorm(1)(torch.tensor([[1.], [3.]]))
def images(m): return m.BatchNorm(3)(randn(4, 3, 2, 2) + torch.tensor([0., 5., 10.]).view(3, 1, 1))
def other_shapes(m): return {s: m.BatchNorm(3)(randn(*s)) for s in ((4, 3), (4, 3, 5), (1, 3, 5), (2, 3, 2, 2, 2))}
def running_after_one(m):
    layer = m.BatchNorm(1)
    layer(torch.tensor([[1.], [3.]]))
    return dict(layer.named_buffers())
def weight_and_bias(m): return through(off_centre(m.BatchNorm(3), nn.BatchNorm2d(3)), randn(2, 3, 2, 2))
def three_batches(m): return through(m.BatchNorm(3, momentum=0.5), *batches(4, 3, 2, 2))
def plain_average(m): return dict(through(m.BatchNorm(3, momentum=None), *batches(4, 3)))
def no_share(m): return dict(through(m.BatchNorm(3, momentum=0.), *batches(4, 3)))
def large_eps(m): return m.BatchNorm(3, eps=0.5)(randn(4, 3))

def in_evaluation(m):
    layer = m.BatchNorm(3)
    for x in batches(4, 3, 2, 2): layer(x)
    return through(layer.eval(), randn(2, 3, 2, 2, seed=7))

def one_image(m):
    layer = m.BatchNorm(3)
    for x in batches(4, 3): layer(x)
    return layer.eval()(torch.ones(1, 3))

def no_graph_in_buffers(m):
    layer = m.BatchNorm(3)
    layer(randn(4, 3).requires_grad_())
    return [b.requires_grad for b in layer.buffers()]

def without_weights(m):
    layer = m.BatchNorm(3, affine=False)
    return dict(parameters=[n for n, _ in layer.named_parameters()], state=sorted(layer.state_dict()), output=layer(randn(4, 3)))

def to_torch_and_back(m):
    layer = m.BatchNorm(3)
    for x in batches(4, 3, 2, 2): layer(x)
    other = nn.BatchNorm2d(3)
    other.load_state_dict(layer.state_dict())
    return dict(layer.state_dict()) | {'PyTorch with this state': other.eval()(randn(1, 3, 2, 2))}

def reset(m):
    layer = m.BatchNorm(3)
    for x in batches(4, 3): layer(x)
    layer.reset_running_stats()
    return dict(layer.named_buffers())

def half(m): return m.BatchNorm(3).to(BF16)((randn(4, 3, 2, 2)*3 + 1).to(BF16))
def printed(m): return [t in repr(m.BatchNorm(7, eps=0.5, momentum=0.25)) for t in ('7', '0.5', '0.25')]
def wrong_channels(m): m.BatchNorm(3)(torch.zeros(5, 4, 2, 2))
def channels_last(m): m.BatchNorm(3).eval()(torch.zeros(5, 2, 2, 3))
def whole_numbers(m): m.BatchNorm(3)(torch.zeros(5, 3, dtype=torch.uint8))
def one_vector(m): m.BatchNorm(3)(torch.zeros(1, 3))
def momentum_five(m): m.BatchNorm(3, momentum=5)
def no_channels(m): m.BatchNorm(0)

def refused_and_not_counted(m):
    layer = m.BatchNorm(3)
    try: layer(torch.zeros(1, 3))
    except ValueError: pass
    return dict(layer.named_buffers())

@entry('07.1', level=2, minutes=30, hints=[
    'The lesson has all the parts. What belongs to the layer as a parameter, what as a buffer, and which of the two modes touches the buffers?',
    'Constructor: `register_parameter` (with None if not affine) and `register_buffer` under PyTorch\'s names, so that state dicts fit. Forward: the check of channels always, the check of values and the counting in training only.',
    '`F.batch_norm` does the arithmetic and moves the running estimates. It wants a momentum that is a number: for None that is one over the number of batches so far, this one included. `extra_repr` gives the text between the brackets of the printed layer.'],
    why='The handwritten layer of the lesson is right and slower: autograd keeps each of its intermediate tensors. The fused kernel uses the biased variance for the output and the unbiased one for the estimate, as we found. The doors come before the counter, so a batch that is refused leaves no trace.')
def batch_norm():
    return [case('two values of a channel become -1 and 1: the variance is the biased one', two_values),
            case('the mean runs over images and places, for each channel alone', images),
            case('the running estimates take in a tenth of the batch, and the unbiased variance', running_after_one),
            case('the gradient flows through the statistics, weight and bias are for each channel', weight_and_bias, also=(through, off_centre)),
            case('momentum is the share of the new batch', three_batches, also=(through, batches)),
            case('momentum=None gives the plain average of all batches', plain_average, also=(through, batches)),
            case('momentum=0 leaves the estimates as they are', no_share, also=(through, batches)),
            case('eps is added to the variance', large_eps),
            case('evaluation uses the estimates and changes none of them', in_evaluation, also=(through, batches)),
            case('a single image is welcome in evaluation', one_image, also=batches),
            case('channels are on axis 1, whatever follows', other_shapes),
            case('the buffers keep no graph', no_graph_in_buffers),
            case('affine=False has no weight and no bias', without_weights),
            case("the state dict fits PyTorch's layer", to_torch_and_back, also=batches),
            case('reset_running_stats goes back to mean 0, variance 1 and no batches', reset, also=batches),
            case('half precision comes out as it went in', half),
            case('the printed layer shows its settings', printed),
            case('a wrong number of channels is refused', wrong_channels, raises=ValueError, names=('(5, 4, 2, 2)', '3')),
            case('channels on the last axis are refused, in evaluation too', channels_last, raises=ValueError, names='(5, 2, 2, 3)'),
            case('whole numbers are refused', whole_numbers, raises=TypeError, names='float'),
            case('one value for each mean is refused in training', one_vector, raises=ValueError, names='one value has no variance'),
            case('a batch that is refused is not counted', refused_and_not_counted),
            case('a momentum of 5 is refused', momentum_five, raises=ValueError, names='momentum'),
            case('a layer without channels is refused', no_channels, raises=ValueError, names='n ')]


@entry('07.2', level=1, minutes=15, hints=[
    'It is the formula of the docstring, for axes that are an argument. What makes means that still line up with x?',
    'Widen x with `_wide` first. Subtract the mean over `dims` with `keepdim=True`; the mean of the squares of what is left is the variance, the biased one.',
    'eps is added before the root. Then weight and bias, each if there is one, and the dtype of x at the very end.'],
    why='The differences from the mean are squared, not x itself, so a mean that is far from zero costs no digits. Everything happens in float32 or better and is rounded once: in float16 the square of 300 is already infinite.')
def normalise():
    x = randn(2, 3, 4)
    return [call('normalise', torch.tensor([1., 3.]), 0, say='two values become -1 and 1: the variance is the biased one'),
            call('normalise', x, (0, 2), say='the mean runs over all axes of dims together'),
            call('normalise', torch.tensor([0., 1.]), 0, eps=2., say='eps is added to the variance, under the root'),
            call('normalise', x, -1, say='the gradient flows through mean and variance', grad=True),
            call('normalise', x, (1, 2), torch.tensor([1., 2., 3., 4.]), say='weight multiplies the result', grad=True),
            call('normalise', x, (1, 2), bias=torch.tensor([[1.], [2.], [3.]]), say='bias is added, also without a weight', grad=True),
            call('normalise', x, (1, 2), torch.full((4,), 2.), torch.ones(4), say='weight first, then bias'),
            call('normalise', torch.full((2, 3), 7.), -1, say='values that are all the same give 0, not nan', grad=True),
            call('normalise', torch.tensor([10000., 10001., 10002.]), 0, say='a mean far from zero costs no digits'),
            call('normalise', torch.tensor([1e8, 1e8 + 1], dtype=F64), 0, say='float64 stays float64, on the way too'),
            call('normalise', torch.tensor([300., -300., 0.], dtype=F16), 0, say='in half precision the squares do not overflow'),
            call('normalise', x.to(BF16), -1, torch.full((4,), 1.5), torch.ones(4), say='the result has the dtype of x, with wider weights too')]


def each_position(m): return m.LayerNorm(3)(torch.tensor([[[1., 2., 3.], [10., 30., 50.]]]))
def layer_gradients(m): return through(off_centre(m.LayerNorm(6), nn.LayerNorm(6)), randn(2, 4, 6)*2 + 1)
def three_axes(m): return through(off_centre(m.LayerNorm((3, 2, 2)), nn.LayerNorm((3, 2, 2))), randn(5, 3, 2, 2) + 1)
def a_list(m): return m.LayerNorm([2, 3])(randn(4, 2, 3))
def bare_vector(m): return m.LayerNorm(4)(torch.tensor([1., 2., 3., 4.]))
def layer_modes(m):
    layer = m.LayerNorm(4)
    a, b = layer(randn(5, 4)), layer.eval()(randn(5, 4))
    return dict(same=torch.equal(a, b), buffers=[n for n, _ in layer.named_buffers()])
def layer_eps(m): return m.LayerNorm(2, eps=0.5)(torch.tensor([[0., 1.]]))
def layer_state(m): return {k: tuple(v.shape) for k, v in m.LayerNorm((2, 3)).state_dict().items()}
def layer_half(m): return m.LayerNorm(8).to(BF16)((randn(4, 8)*3 + 1).to(BF16))
def layer_printed(m): return [t in repr(m.LayerNorm((7, 2), eps=0.5)) for t in ('7', '2', '0.5')]
def wrong_last_axis(m): m.LayerNorm(6)(torch.zeros(2, 5))
def would_broadcast(m): m.LayerNorm(6)(torch.zeros(6, 1))
def too_few_axes(m): m.LayerNorm((2, 6))(torch.zeros(6))
def layer_whole_numbers(m): m.LayerNorm(6)(torch.zeros(2, 6, dtype=torch.int64))
def no_axes(m): m.LayerNorm(())
def empty_axis(m): m.LayerNorm((3, 0))

@entry('07.3', level=1, minutes=15, hints=[
    'Which axes share a mean here? Of the modes, buffers and checks of batch normalisation, which are still needed?',
    'A single number stands for a tuple with one entry. Weight and bias have the shape of that tuple. `F.layer_norm` takes the same tuple.',
    'In forward: `_check_float`, then compare as many last axes of x as the tuple has with the tuple, a ValueError with both if they differ. In the constructor `_whole` looks at each size, and an empty tuple is an error.'],
    why='No batch, no buffers, no second mode: an image is normalised alone. The shape is compared at the door because the message can then name what people mean most often when they meet it: GroupNorm(1, n), which normalises channels on axis 1.')
def layer_norm():
    return [case('each position has a mean and a variance of its own', each_position),
            case('gradients of x, weight and bias', layer_gradients, also=(through, off_centre)),
            case('a tuple normalises over all of these axes together', three_axes, also=(through, off_centre)),
            case('a list does as well', a_list),
            case('a single vector has no batch axis', bare_vector),
            case('training and evaluation are the same, and there are no buffers', layer_modes),
            case('eps is added to the variance', layer_eps),
            case('weight and bias have the shape of the axes', layer_state),
            case('half precision comes out as it went in', layer_half),
            case('the printed layer shows its settings', layer_printed),
            case('a last axis of another size is refused, with both shapes', wrong_last_axis, raises=ValueError, names=('(2, 5)', '(6,)')),
            case('nothing is broadcast', would_broadcast, raises=ValueError, names='(6, 1)'),
            case('too few axes are refused', too_few_axes, raises=ValueError, names='(6,)'),
            case('whole numbers are refused', layer_whole_numbers, raises=TypeError, names='float'),
            case('no axis at all is refused', no_axes, raises=ValueError, names='normalized_shape'),
            case('an axis of size 0 is refused', empty_axis, raises=ValueError, names='normalized_shape')]


def each_channel(m): return m.InstanceNorm(2)(torch.tensor([[[1., 3.], [10., 50.]], [[5., 6.], [0., -8.]]]))
def instance_gradient(m): return through(m.InstanceNorm(3), randn(2, 3, 4, 2)*2 + 1)
def instance_weights(m): return through(off_centre(m.InstanceNorm(3, affine=True), nn.InstanceNorm2d(3, affine=True)), randn(2, 3, 4, 2) + 1)
def instance_plain(m): return [n for n, _ in m.InstanceNorm(3).named_parameters()] + sorted(m.InstanceNorm(3).state_dict())
def instance_shapes(m): return {s: m.InstanceNorm(3)(randn(*s)) for s in ((1, 3, 5), (2, 3, 4, 2), (2, 3, 2, 2, 2))}
def instance_modes(m):
    layer = m.InstanceNorm(3)
    for x in batches(4, 3, 5): layer(x)
    a, b = layer(randn(2, 3, 5)), layer.eval()(randn(2, 3, 5))
    return dict(same=torch.equal(a, b), buffers=[n for n, _ in layer.named_buffers()])
def instance_eps(m): return m.InstanceNorm(1, eps=0.5)(torch.tensor([[[0., 1.]]]))
def instance_half(m): return m.InstanceNorm(3).to(BF16)((randn(4, 3, 8)*3 + 1).to(BF16))
def instance_printed(m): return [t in repr(m.InstanceNorm(7, eps=0.5)) for t in ('7', '0.5')]
def instance_vector(m): m.InstanceNorm(6)(torch.zeros(2, 6))
def instance_channels(m): m.InstanceNorm(6)(torch.zeros(2, 5, 4, 4))
def one_place(m): m.InstanceNorm(6)(torch.zeros(2, 6, 1, 1))
def one_place_in_evaluation(m): m.InstanceNorm(6).eval()(torch.zeros(2, 6, 1))
def instance_whole_numbers(m): m.InstanceNorm(6)(torch.zeros(2, 6, 4, dtype=torch.int64))
def instance_none(m): m.InstanceNorm(0)

@entry('07.4', level=1, minutes=15, hints=[
    'Which sides of the box of images, channels and places does this one average over? What shape must x have at least?',
    'It is the constructor of `BatchNorm` without buffers, and weights only where asked for. `F.instance_norm` does the arithmetic; leave its running estimates and its modes alone.',
    'Both doors: `_check_channels` with `min_ndim=3`, because without places there is nothing to average over, and `_check_values` with the number of places of a channel, in both modes.'],
    why='The mean of each channel of each image is gone afterwards, brightness and contrast with it, and so the weights are off by default, as in PyTorch. A single place for each mean would always give 0, in evaluation too, so the door is closed in both modes.')
def instance_norm():
    return [case('each channel of each image has a mean and a variance of its own', each_channel),
            case('by default there is nothing to learn', instance_plain),
            case('the gradient flows through them', instance_gradient, also=through),
            case('affine=True has a weight and a bias for each channel', instance_weights, also=(through, off_centre)),
            case('any number of axes may follow the channels, and one image is enough', instance_shapes),
            case('training and evaluation are the same, and there are no buffers', instance_modes, also=batches),
            case('eps is added to the variance', instance_eps),
            case('half precision comes out as it went in', instance_half),
            case('the printed layer shows its settings', instance_printed),
            case('vectors without places are refused', instance_vector, raises=ValueError, names='(2, 6)'),
            case('a wrong number of channels is refused', instance_channels, raises=ValueError, names=('(2, 5, 4, 4)', '6')),
            case('a single place for each mean is refused', one_place, raises=ValueError, names='one value has no variance'),
            case('also in evaluation', one_place_in_evaluation, raises=ValueError, names='one value has no variance'),
            case('whole numbers are refused', instance_whole_numbers, raises=TypeError, names='float'),
            case('a layer without channels is refused', instance_none, raises=ValueError, names='n ')]


def neighbours(m): return m.GroupNorm(2, 4)(torch.tensor([[1., 3., 10., 50.], [0., 2., 7., 5.]]))
def uneven(m): return m.GroupNorm(2, 6)(randn(2, 6, 2) + torch.arange(6.).view(6, 1))
def group_gradients(m): return through(off_centre(m.GroupNorm(2, 6), nn.GroupNorm(2, 6)), randn(2, 6, 2, 3)*2 + 1)
def group_ends(m): return {k: m.GroupNorm(k, 6)(randn(2, 6, 4) + torch.arange(6.).view(6, 1)) for k in (1, 2, 3, 6)}
def group_modes(m):
    layer = m.GroupNorm(2, 4)
    a, b = layer(randn(5, 4)), layer.eval()(randn(5, 4))
    return dict(same=torch.equal(a, b), buffers=[n for n, _ in layer.named_buffers()])
def group_eps(m): return m.GroupNorm(1, 2, eps=0.5)(torch.tensor([[0., 1.]]))
def group_state(m): return {k: tuple(v.shape) for k, v in m.GroupNorm(2, 6).state_dict().items()}
def group_half(m): return m.GroupNorm(2, 6).to(BF16)((randn(4, 6, 3)*3 + 1).to(BF16))
def group_printed(m): return [t in repr(m.GroupNorm(3, 12, eps=0.5)) for t in ('3', '12', '0.5')]
def four_of_six(m): m.GroupNorm(4, 6)
def more_groups(m): m.GroupNorm(6, 2)
def no_groups(m): m.GroupNorm(0, 6)
def group_channels(m): m.GroupNorm(2, 6)(torch.zeros(2, 4, 4, 6))
def group_of_one(m): m.GroupNorm(6, 6)(torch.zeros(5, 6))
def group_whole_numbers(m): m.GroupNorm(2, 6)(torch.zeros(2, 6, dtype=torch.int64))

@entry('07.5', level=1, minutes=15, hints=[
    'The channels are split into groups of neighbours. How many values share a mean, for n channels in k groups and an image of h by w?',
    'As in `InstanceNorm`, without buffers and modes, but always with weight and bias: one for each channel, not for each group. `F.group_norm` does the arithmetic.',
    'In the constructor `_whole` for both numbers, then a ValueError if the groups would not be of equal size, with the numbers of groups that would do. In forward the two doors; the second gets the number of values of one image divided by the groups.'],
    why='The number of groups is refused when the layer is made, with the numbers that would do, because 32 groups copied from a paper do not divide the 48 channels of another network. One group is layer normalisation of an image, one channel a group is instance normalisation.')
def group_norm():
    return [case('groups are of neighbouring channels, in each image alone', neighbours),
            case('a group of three channels shares one mean over its places', uneven),
            case('gradients of x, weight and bias; weight and bias are for each channel', group_gradients, also=(through, off_centre)),
            case('from one group to one channel a group', group_ends),
            case('training and evaluation are the same, and there are no buffers', group_modes),
            case('eps is added to the variance', group_eps),
            case("the state dict has PyTorch's names", group_state),
            case('half precision comes out as it went in', group_half),
            case('the printed layer shows its settings', group_printed),
            case('four groups of six channels are refused, with the numbers that would do', four_of_six, raises=ValueError, names=('num_groups', '1, 2, 3, 6')),
            case('more groups than channels are refused', more_groups, raises=ValueError, names='num_groups'),
            case('no groups are refused', no_groups, raises=ValueError, names='num_groups'),
            case('channels on the last axis are refused', group_channels, raises=ValueError, names=('(2, 4, 4, 6)', '6')),
            case('one value for each mean is refused', group_of_one, raises=ValueError, names='one value has no variance'),
            case('whole numbers are refused', group_whole_numbers, raises=TypeError, names='float')]


def state(mean, var, count): return torch.tensor(mean), torch.tensor(var), torch.tensor(count)

def gradient_of_merged(m):
    x = randn(4, 2).requires_grad_()
    mean, var, count = m._merge(x, *state([1., -1.], [0.5, 2.], 3.), 0.3)
    return dict(by_the_mean=torch.autograd.grad(mean.sum(), x, retain_graph=True)[0], by_the_variance=torch.autograd.grad(var.sum(), x)[0])

def in_a_row(m, start=(0., 1., 0.), far=0., n=4, dtype=torch.float32):
    known = [torch.full((2,), v, dtype=dtype) for v in start[:2]] + [torch.tensor(start[2], dtype=dtype)]
    for i in range(n): known = m._merge(randn(3 + i, 2, 2, seed=i, dtype=dtype) + far, *known, 0.2)
    return known

def several_batches(m): return in_a_row(m)
def far_away(m): return in_a_row(m, far=1e4)[1]
def double_precision(m): return in_a_row(m, far=1e4, dtype=F64)

@entry('07.6', level=2, minutes=20, hints=[
    'The three formulas above, in the order in which they need each other. How many numbers does each mean of this batch stand on?',
    'The weight of the past is `(1 - m)*count`, that of the batch m times the numbers per channel; `a` is the share of the second in both. Mean and variance move the way `a` towards those of the batch, and the variance gains what the distance of the two means adds.',
    '`torch.var_mean(x, dims, correction=0)` gives both for the batch, over all axes but the channels\'. Return new tensors: the past comes in as it is and the caller decides what to keep, and the gradient of x goes through mean and variance.'],
    why='The square of the mean is never formed, so a mean of ten thousand costs no digits of the variance. The distance between the means is a part of the variance because two clouds that lie apart are wider together than each by itself. It is the rule by which processes, batches and chunks of a file put their statistics together.')
def merge():
    two = torch.tensor([[1.], [3.]])
    return [call('_merge', two, *state([0.], [1.], 0.), 0.5, say='the first batch: its own mean, its variance with n below, and m times its number of values'),
            call('_merge', two, *state([2.], [5.], 2.), 0.5, say='two of equal weight and equal mean: the mean of the variances, and the past counts 1 - m'),
            call('_merge', two, *state([6.], [1.], 2.), 0.5, say='the distance between the means is a part of the variance'),
            call('_merge', two, *state([6.], [1.], 2.), 0.1, say='the weight of the batch is m times its values against 1 - m times those before'),
            call('_merge', two, *state([6.], [7.], 50.), 1., say='with m = 1 the past is forgotten'),
            call('_merge', torch.tensor([[5.]]), *state([1.], [2.], 4.), 0.5, say='a batch of one value has a variance of 0 and no nan'),
            call('_merge', randn(3, 2, 2, 4), *state([0.5, 0.], [1., 2.], 20.), 0.2, say='the channels are on axis 1, and places count as values'),
            case('several batches, one after the other', several_batches, also=in_a_row),
            case('the gradient of the batch goes through its share of both', gradient_of_merged, also=state),
            case('a mean far from zero costs few digits', far_away, rtol=2e-2, also=in_a_row),
            case('double precision stays double precision', double_precision, also=in_a_row)]


def result(layer, *inputs): return {k: v for k, v in through(layer, *inputs).items() if k.startswith('the ')}

def first_batch(m): return result(m.RunningBatchNorm(3), randn(4, 3, 2, 2)*2 + 5)
def second_batch(m): return m.RunningBatchNorm(1), torch.tensor([[1.], [3.]]), torch.tensor([[7.], [11.]])
def two_batches(m):
    layer, a, b = second_batch(m)
    layer(a)
    return layer(b)
def gradient_of_second(m): return result(m.RunningBatchNorm(3, momentum=0.3), *batches(4, 3, 2, 2, n=2))
def large_and_small(m): return result(m.RunningBatchNorm(3), randn(8, 3), randn(1, 3, seed=1) + 3, randn(2, 3, seed=2)*5)
def only_the_last(m): return result(m.RunningBatchNorm(3, momentum=1.), *batches(4, 3))
def untrained(m): return m.RunningBatchNorm(2).eval()(torch.tensor([[1., -2.], [30., 4.]]))

def evaluated(m):
    layer = m.RunningBatchNorm(3)
    for x in batches(4, 3): layer(x)
    layer.eval()
    a = layer(torch.ones(1, 3))
    layer(torch.full((5, 3), 100.))
    return {'the output': a, 'again': layer(torch.ones(1, 3))}

def saved_and_loaded(m):
    layer, other = m.RunningBatchNorm(3), m.RunningBatchNorm(3)
    for x in batches(4, 3): layer(x)
    other.load_state_dict(layer.state_dict())
    return {'evaluation': other.eval()(torch.ones(1, 3)), 'the next batch': other.train()(randn(4, 3, seed=8))}

def learned(m):
    layer = m.RunningBatchNorm(2)
    shapes = {k: tuple(p.shape) for k, p in layer.named_parameters()}
    layer.weight.data, layer.bias.data = torch.tensor([2., 3.]), torch.tensor([10., 20.])
    return dict(parameters=shapes, output=layer(torch.tensor([[1., 5.], [3., 1.]])))

def single_vector(m): return m.RunningBatchNorm(3)(torch.tensor([[1., 2., 3.]]))
def steps(m):
    layer = m.RunningBatchNorm(3)
    for x in batches(4, 3): layer(x).square().sum().backward()
    return [b.requires_grad for b in layer.buffers()]
def far_from_zero(m): return result(m.RunningBatchNorm(3), *[x + 1e4 for x in batches(4, 3, 5)])
def running_shapes(m): return {s: result(m.RunningBatchNorm(3), randn(*s), randn(*s, seed=1)*3 + 1) for s in ((4, 3), (2, 3, 5), (2, 3, 2, 2, 2))}
def running_eps(m): return m.RunningBatchNorm(1, eps=0.5)(torch.tensor([[0.], [1.]]))
def running_half(m): return m.RunningBatchNorm(3).to(BF16)((randn(8, 3, 2, 2)*3 + 1).to(BF16))
def double(m): return result(m.RunningBatchNorm(3).double(), *[x.double() for x in batches(4, 3)])

def empty_batch(m):
    layer = m.RunningBatchNorm(3)
    layer(randn(4, 3))
    return {'of none': tuple(layer(torch.zeros(0, 3)).shape), 'the next': layer(randn(4, 3, seed=1))}

def running_printed(m): return [t in repr(m.RunningBatchNorm(7, momentum=0.25, eps=0.5)) for t in ('7', '0.25', '0.5')]
def running_channels(m): m.RunningBatchNorm(3)(torch.zeros(2, 4))
def running_whole_numbers(m): m.RunningBatchNorm(3)(torch.zeros(2, 3, dtype=torch.int64))
def momentum_nothing(m): m.RunningBatchNorm(3, momentum=0)
def momentum_more(m): m.RunningBatchNorm(3, momentum=1.5)
def running_none(m): m.RunningBatchNorm(0)

@entry('07.7', level=3, minutes=30, hints=[
    'One formula for both modes: normalise by the running statistics. What is different in training happens before it. Which three things does the layer have to remember?',
    'Mean, variance and count are buffers that begin at 0, 1 and 0. `_merge` makes the new three from the batch and the old ones. Use what it gives for the output, because the gradient flows through the share of this batch, and keep copies that have no gradient.',
    'Doors first. Widen buffers and x. In training, unless the batch is empty, merge, then copy into the buffers under `no_grad`. Then x minus mean, times weight over the root of variance plus eps, plus bias, with `_column` to line them up; the dtype of x at the end.'],
    why='Normalising by what _merge returns lets the gradient flow through the current batch, which is part of the statistics; normalising by the buffers would cut it. The count is kept as a buffer too, since it says how much the past weighs, and the past begins with weight 0: that is the debiasing.')
def running_batch_norm():
    return [case('the first batch is normalised by its own statistics, and the gradient flows through them', first_batch, also=(through, result)),
            case('the second batch by those of both, the first with weight 0.9, the second with 0.1', two_batches, also=second_batch),
            case("the gradient flows through the second batch's share", gradient_of_second, also=(through, result, batches)),
            case('a large batch counts for more than a small one', large_and_small, also=(through, result)),
            case('with momentum 1 only the last batch counts', only_the_last, also=(through, result, batches)),
            case('before any training, evaluation changes next to nothing', untrained),
            case('evaluation uses what is known and learns nothing', evaluated, also=batches),
            case('weight and bias are for each channel', learned),
            case('the state dict holds all that is needed to go on', saved_and_loaded, also=batches),
            case('a single vector is allowed', single_vector),
            case('a backward after each batch does not reach into the one before', steps, also=batches),
            case('a mean far from zero costs few digits', far_from_zero, rtol=2e-2, atol=2e-2, also=(through, result, batches)),
            case('channels are on axis 1, whatever follows', running_shapes, also=(through, result)),
            case('eps is added to the variance', running_eps),
            case('half precision comes out as it went in', running_half),
            case('float64 stays float64', double, also=(through, result, batches)),
            case('an empty batch teaches nothing', empty_batch),
            case('the printed layer shows its settings', running_printed),
            case('a wrong number of channels is refused', running_channels, raises=ValueError, names=('(2, 4)', '3')),
            case('whole numbers are refused', running_whole_numbers, raises=TypeError, names='float'),
            case('a momentum of 0 is refused: nothing would ever be learned', momentum_nothing, raises=ValueError, names='momentum'),
            case('a momentum above 1 is refused', momentum_more, raises=ValueError, names='momentum'),
            case('a layer without channels is refused', running_none, raises=ValueError, names='n ')]
