"Lesson 15: transfer learning."
from collections import OrderedDict
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F

from mylib.judge import call, case, entry, randn


def network():
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(stem=nn.Conv2d(1, 4, 3, padding=1), small=nn.MaxPool2d(2), stage=nn.Conv2d(4, 8, 3, padding=1), act=nn.ReLU(),
                                     pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), head=nn.Linear(8, 5)))

def names(body): return [n for n, _ in body.named_children()]

def by_default(m): return dict(kind=type(m.cut_model(network())).__name__, children=names(m.cut_model(network())))
def by_number(m): return {cut: names(m.cut_model(network(), cut)) for cut in (1, 3, 7, -1, -3)}
def beyond(m): return names(m.cut_model(network(), 100))

def by_function(m):
    model = network()
    return m.cut_model(model, lambda o: o[2:4]) is not None and names(m.cut_model(model, lambda o: o[2:4]))

def no_sequential(m):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.max_pool, self.head = nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 2, 1)
        def forward(self, x): return self.head(self.max_pool(self.stem(x)))
    body = m.cut_model(Net())
    return dict(kind=type(body).__name__, children=names(body), shape=list(body(torch.zeros(1, 1, 6, 6)).shape))

def shared(m):
    model = network()
    body = m.cut_model(model)
    return dict(same=body[0] is model[0], weights=body[0].weight is model[0].weight, left=names(model))

def pool_deep_inside(m):
    "A pooling inside of a child is that child's business."
    model = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2)), nn.Conv2d(2, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    return names(m.cut_model(model))

def no_pool(m): m.cut_model(nn.Sequential(OrderedDict(first=nn.Linear(3, 3), second=nn.Linear(3, 2))))
def nothing_left(m): m.cut_model(network(), 0)
def all_left_out(m): m.cut_model(network(), -7)
def too_many_left_out(m): m.cut_model(network(), -8)

@entry('15.1', level=1, minutes=15, hints=[
    '`model.named_children()` gives the parts in order. How do you recognise those that pool, and which of them is meant if there are several?',
    'The name of a type holds "Pool" in all the poolings of PyTorch and in ours. Cut before the last one. A number cuts like the end of a slice does, negative ones too; a function does the whole work.',
    'Keep names and order: a list of the pairs, sliced, through `OrderedDict` into `nn.Sequential`. Say what to do if no child pools (name the children), and refuse a cut that leaves nothing. `_whole` checks the number, from minus the number of children.'],
    why='The names of the children are kept, so that the weights of the body have the names that they had in the whole model, and a checkpoint still fits. Nothing is copied: the body is the trained one, at no cost in memory.')
def cut_model():
    return [case('a plain Sequential of the children before the last one that pools', by_default, also=(network, names)),
            case('a number keeps that many, a negative one leaves out that many', by_number, also=(network, names)),
            case('a number larger than all keeps all', beyond, also=(network, names)),
            case('a function gives the body itself', by_function, also=(network, names)),
            case('a model that is no Sequential', no_sequential, also=names),
            case('a pooling inside of a child does not count', pool_deep_inside, also=names),
            case('the children are shared with the model, which stays as it is', shared, also=(network, names)),
            case('a model without pooling is refused, with the names of its children', no_pool, raises=ValueError, names=('first', 'second', 'cut')),
            case('a cut that leaves nothing is refused', nothing_left, raises=ValueError, names='cut=0', also=network),
            case('leaving out all children is refused', all_left_out, raises=ValueError, names='cut=-7', also=network),
            case('leaving out more children than there are is refused', too_many_left_out, raises=ValueError, names='cut', also=network)]


MAPS = torch.tensor([[[[1., -2.], [3., 6.]], [[-4., -4.], [-1., -3.]]]])

def maximum_and_mean(m): return m.AdaptiveConcatPool2d()(MAPS)
def several_images(m): return m.AdaptiveConcatPool2d()(randn(4, 3, 5, 6))
def one_place(m): return m.AdaptiveConcatPool2d()(randn(2, 3, 1, 1))
def pooled_gradient(m):
    x = MAPS.clone().requires_grad_()
    (m.AdaptiveConcatPool2d()(x)*torch.arange(1., 5.).view(1, 4, 1, 1)).sum().backward()
    return x.grad

def in_a_model(m):
    pool = m.AdaptiveConcatPool2d()
    return dict(module=isinstance(pool, nn.Module), parameters=len([*pool.parameters()]), result=nn.Sequential(pool, nn.Flatten())(MAPS))

def pooled_half(m): return m.AdaptiveConcatPool2d()(MAPS.bfloat16())

@entry('15.2', level=1, minutes=5, hints=[
    'Two numbers for each channel, taken over all places. How do you put them side by side without losing the axes that follow?',
    'PyTorch has adaptive poolings in `F` that bring maps of any size to the size that you name: 1, here.',
    'The maximum first, then the mean, along the axis of the channels (`torch.cat` with axis 1).'],
    why='The mean says how much of a feature there is, the maximum whether there is any at all; the head can weigh both. An adaptive pooling takes maps of any size, so the network may be used for larger images than it was trained with.')
def adaptive_concat_pool():
    return [case('for each channel its maximum, then for each its mean', maximum_and_mean),
            case('each image by itself', several_images),
            case('maps of one place', one_place),
            case('the gradient goes to the place of the maximum, and evenly to all', pooled_gradient),
            case('a module without parameters', in_a_model),
            case('the type is kept', pooled_half)]


def kinds(head): return [type(o).__name__ + (f'({o.p})' if isinstance(o, nn.Dropout) else f'({o.in_features}, {o.out_features})' if isinstance(o, nn.Linear) else '') for o in head]

def one_layer(m): return kinds(m.create_head(4, 3))
def hidden_layers(m): return kinds(m.create_head(4, 3, (16, 8), 0.4))
def mean_alone(m): return kinds(m.create_head(4, 3, concat_pool=False))
def no_dropout(m): return [k for k in kinds(m.create_head(4, 3, [6], 0.)) if not k.startswith('Dropout')]

def any_size(m):
    head = m.create_head(4, 3, (6,)).eval()
    return [list(head(torch.zeros(2, 4, h, w)).shape) for h, w in ((1, 1), (5, 3), (8, 8))]

def logits_zero(m):
    torch.manual_seed(0)
    return {str(o): m.create_head(4, 3, o)(randn(5, 4, 2, 2)).abs().max() for o in ((), (6,))}

def first_step(m):
    "In the first step the last layer has a gradient, and nothing goes down into the body."
    x, head = randn(5, 4, 2, 2).requires_grad_(), m.create_head(4, 3)
    F.cross_entropy(head(x), torch.tensor([0, 1, 2, 0, 1])).backward()
    return dict(last=bool(head[-1].weight.grad.abs().max() > 0), body=x.grad.abs().max())

def hidden_start(m):
    "Deviation of the hidden weights, times the root of half their inputs."
    torch.manual_seed(0)
    return m.create_head(100, 3, (300,))[4].weight.std()*(200/2)**0.5

def right_numbers(m):
    head = m.create_head(2, 3, (4,)).eval()
    with torch.no_grad():
        for i, p in enumerate(head.parameters()): p.copy_(randn(*p.shape, seed=i))
    return head(randn(3, 2, 4, 5, seed=50))

def all_dropped(m): m.create_head(4, 3, ps=1.)
def negative_ps(m): m.create_head(4, 3, ps=-0.1)
def no_output(m): m.create_head(4, 0)
def no_features(m): m.create_head(0, 3)
def empty_layer(m): m.create_head(4, 3, (0,))

@entry('15.3', level=2, minutes=25, hints=[
    'Write down the widths from the pooling to the outputs. What stands in front of each linear layer, what stands behind the hidden ones, and how do the first weights of the last one differ from those of the others?',
    'Pooling and `nn.Flatten`; for each hidden width `BatchNorm1d`, `Dropout` of ps/2, `Linear`, `ReLU`; at the end `BatchNorm1d`, `Dropout` of ps, `Linear`. With maximum and mean the pooling gives 2*nf numbers.',
    'Pairs of neighbouring widths come from zipping the list with itself, one further. Hidden weights get `kaiming_normal_`, the last layer\'s weight and bias are set to zero. Check nf, n_out and the widths with `_whole`, and ps, which may be 0 but not 1.'],
    why='With a last layer of zeros the first gradient that reaches the trained body is zero, and no random error of an untrained head can spoil it. Only the last layer may start so: behind a hidden layer of zeros no gradient would ever come through.')
def create_head():
    return [case('pooling, normalisation, dropout and a linear layer', one_layer, also=kinds),
            case('hidden layers, with half the dropout and a ReLU behind each', hidden_layers, also=kinds),
            case('the mean alone', mean_alone, also=kinds),
            case('without dropout', no_dropout, also=kinds),
            case('maps of any size', any_size),
            case('all logits are 0 at first', logits_zero),
            case('in the first step the last layer has a gradient, the body has none', first_step),
            case('hidden layers begin with Kaiming', hidden_start, atol=0.05),
            case('the result in evaluation', right_numbers),
            case('a dropout of everything is refused', all_dropped, raises=ValueError, names='ps'),
            case('a negative dropout is refused', negative_ps, raises=ValueError, names='ps'),
            case('a head without outputs is refused', no_output, raises=ValueError, names='n_out'),
            case('a body without features is refused', no_features, raises=ValueError, names='nf'),
            case('a hidden layer without units is refused', empty_layer, raises=ValueError, names='lin_ftrs')]


def norms(m):
    "Normalisations of several kinds, first those of a frozen part."
    model = nn.ModuleDict(dict(frozen=nn.BatchNorm2d(2), partly=nn.BatchNorm2d(2), trained=nn.BatchNorm2d(2), bare=nn.BatchNorm2d(2, affine=False), one_axis=nn.BatchNorm1d(2),
                               own=m.BatchNorm(2), running=m.RunningBatchNorm(2), layer=nn.LayerNorm(2), dropout=nn.Dropout(), conv=nn.Conv2d(1, 1, 1)))
    for k in ('frozen', 'one_axis', 'own', 'running', 'layer', 'conv'): model[k].requires_grad_(False)
    model['partly'].weight.requires_grad_(False)
    return model.train()

def modes(m, names):
    model = norms(m)
    m.FrozenNormCB().before_epoch(SimpleNamespace(model=model))
    return {k: model[k].training for k in names.split()}

def frozen_and_trained(m): return modes(m, 'frozen trained')
def a_bias_that_trains(m): return modes(m, 'partly')
def nothing_to_freeze_in_it(m): return modes(m, 'bare')
def other_kinds(m): return modes(m, 'one_axis own running')
def no_batch_norm(m): return modes(m, 'layer dropout conv')

def deep_inside(m):
    inner = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2).requires_grad_(False)))
    m.FrozenNormCB().before_epoch(SimpleNamespace(model=inner.train()))
    return [inner.training, inner[0].training, inner[1].training, inner[1][0].training]

def already_in_evaluation(m):
    bn = nn.BatchNorm1d(2)
    m.FrozenNormCB().before_epoch(SimpleNamespace(model=bn.eval()))
    return bn.training

def thawed_again(m):
    "Frozen in one fit, trained in the next."
    learn, cb = learner(m, split=False), m.FrozenNormCB()
    bn, means = learn.model[1][0], []
    for frozen in (True, False):
        bn.requires_grad_(not frozen)
        with learn.no_progress(): learn.fit(2, cbs=cb)
        means.append(bn.running_mean.clone())
    return dict(moved_while_frozen=bool(means[0].any()), moved_afterwards=bool(means[1].any()))

@entry('15.4', level=2, minutes=15, hints=[
    'What does a batch normalisation do in training that it does not do in evaluation, and when does the training loop put the whole model into training mode?',
    'Go through `learn.model.modules()` at the beginning of each epoch. A normalisation (`_BATCHNORMS` is a tuple of classes) goes into evaluation if it has parameters and none of them trains.',
    '`m.eval()` of that one module, not of the model. A normalisation without parameters has nothing that could be frozen, so it is left alone; and nothing is ever put into training mode here, since the loop does that.'],
    why='The statistics are no parameters, so requires_grad does not reach them; only the mode does. It is done in each epoch because the loop sets the mode of the whole model in each, and looking at requires_grad every time means that what is thawed later trains again without anybody having to remember.')
def frozen_norm():
    at = (norms, modes)
    return [case('a normalisation that is frozen goes into evaluation, one that trains does not', frozen_and_trained, also=at),
            case('all of its parameters must be frozen', a_bias_that_trains, also=at),
            case('without parameters it cannot be frozen', nothing_to_freeze_in_it, also=at),
            case("other batch normalisations, PyTorch's and ours", other_kinds, also=at),
            case('nothing else changes its mode', no_batch_norm, also=at),
            case('also deep inside, and what is around it stays in training', deep_inside),
            case('what is in evaluation stays there', already_in_evaluation),
            case('statistics stay where they are frozen and move where they are thawed', thawed_again, also=learner)]


@entry('15.5', level=1, minutes=8, hints=[
    'Equal ratios: which factor lies between two neighbours, if there are n - 1 steps from the first to the last?',
    'Number i is the first one times the whole ratio to the power of i/(n - 1). What about n = 1?',
    '`_rate` refuses what is no positive number, `_whole` what is no count; both take the name for the message. A single number is `stop`, since the last part of a model is the one that has its rate whole.'],
    why='Written as a power of the whole ratio, the last number is the one that was asked for up to rounding; multiplying step by step would let the rounding pile up. A single group gets the rate of the head, because a model that was not split is all head.')
def even_mults():
    return [call('even_mults', 1., 100., 3, say='a constant factor from one to the next'),
            call('even_mults', 1e-5, 1e-3, 2, say='two numbers are the two ends'),
            call('even_mults', 1e-5, 1e-3, 5, say='five numbers'),
            call('even_mults', 1e-5, 1e-3, 1, say='a single number is the last one'),
            call('even_mults', 100., 1., 3, say='they may fall'),
            call('even_mults', 0.1, 0.1, 3, say='or stay'),
            call('even_mults', 0., 1., 3, raises=ValueError, names='start', say='a first number of 0 is refused'),
            call('even_mults', 1., -1., 3, raises=ValueError, names='stop', say='a negative last number is refused'),
            call('even_mults', 1., 2., 0, raises=ValueError, names='n ', say='none at all is refused')]


def learner(m, split=True):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4)), nn.Linear(4, 2))
    loader = [(randn(4, 3), torch.tensor([0, 1, 1, 0]))]
    learn = m.Learner(model, (loader, None), F.cross_entropy, 0.1)
    if split: learn.split(lambda o: [o[0], o[1], o[2]])
    return learn

def fit(learn):
    with learn.no_progress(): learn.fit(1)
    return learn

def trains(learn): return {n: p.requires_grad for n, p in learn.model.named_parameters()}

def to_each(m):
    learn, out = learner(m), {}
    for n in (1, 2, 0): learn.freeze_to(n, train_bn=False); out[n] = trains(learn)
    return out

def from_the_end(m):
    learn, out = learner(m), {}
    for n in (-1, -2, -3): learn.freeze_to(n, train_bn=False); out[n] = trains(learn)
    return out

def with_norms(m):
    learn = learner(m)
    learn.freeze_to(2)
    return trains(learn)

def frozen_and_thawed(m):
    learn, out = learner(m), {}
    for name in ('freeze', 'unfreeze'): getattr(learn, name)(); out[name] = trains(learn)
    learn.freeze(False)
    return out | {'freeze, norms too': trains(learn)}

def after_training(m):
    "What moves in a step: weights, and the running statistics of the normalisation."
    out = {}
    for train_bn in (True, False):
        learn = learner(m)
        learn.freeze(train_bn)
        before = {k: v.clone() for k, v in learn.model.state_dict().items()}
        fit(learn)
        out[train_bn] = [k for k, v in learn.model.state_dict().items() if not torch.equal(v, before[k]) and 'batches' not in k]
    return out

def no_gradient_left(m):
    learn = learner(m)
    for p in learn.model.parameters(): p.grad = torch.ones_like(p)
    learn.freeze()
    return [n for n, p in learn.model.named_parameters() if p.grad is not None and not p.requires_grad]

def optimizer_dropped(m):
    learn = fit(learner(m))
    before = learn.opt is not None
    learn.freeze()
    return dict(before=before, after=learn.opt is not None)

def one_callback(m):
    learn = learner(m)
    for n in (1, 2, 0): learn.freeze_to(n)
    return sum(isinstance(cb, m.FrozenNormCB) for cb in learn.cbs)

def one_group(m):
    learn = learner(m, split=False)
    learn.freeze_to(0)
    return trains(learn)

def too_far(m): learner(m).freeze_to(3)
def too_far_back(m): learner(m).freeze_to(-4)
def nothing_to_freeze(m): learner(m, split=False).freeze()

@entry('15.6', level=2, minutes=25, hints=[
    'The groups are lists of parameters, from `_groups_of(self)`. Which of them train for a given n, negative ones included, and which parameters are an exception?',
    'For each parameter of group i: it trains if i is at least n, counted from the front, or if it belongs to a batch normalisation (`_BATCHNORMS`) and train_bn is on. Drop its gradient. Drop the optimizer. See that there is one `FrozenNormCB` among the callbacks, not two.',
    'n % len(groups) makes a negative n positive, after you have refused what is out of range. Collect the parameters of the normalisations in a set first. `freeze` is freeze_to(-1), after refusing a Learner without a splitter, and passes train_bn on; `unfreeze` is freeze_to(0).'],
    why='requires_grad is set for every parameter and not only switched off, so that each call gives the state it names, whatever came before. A gradient that was left in a frozen weight would be taken by the optimizer for one of this step, and the weight would move.')
def freeze():
    also = (learner, trains)
    return [case('groups before n are frozen, the others train', to_each, also=also),
            case('negative numbers count from the end', from_the_end, also=also),
            case('batch normalisations train on, unless told otherwise', with_norms, also=also),
            case('freeze leaves the last group, unfreeze all, and train_bn is passed on', frozen_and_thawed, also=also),
            case('a model of one group can be thawed', one_group, also=also),
            case('no frozen parameter keeps a gradient', no_gradient_left, also=learner),
            case('the optimizer is dropped', optimizer_dropped, also=(learner, fit)),
            case('the callback that keeps frozen statistics is there, once', one_callback, also=learner),
            case('in training only that moves which should', after_training, also=(learner, fit)),
            case('a group that does not exist is refused, with their number', too_far, raises=ValueError, names=('n=3', '3'), also=learner),
            case('counting back too far is refused', too_far_back, raises=ValueError, names='n=-4', also=learner),
            case('freezing a model of one group is refused, with what to do', nothing_to_freeze, raises=ValueError, names='split', also=learner)]


def watched(m, learn=None, *args, **kwargs):
    "Rates of the groups and which parameters train, step by step."
    learn, seen, also = learn or learner(m), [], kwargs.pop('also', ())
    class SpyCB(m.Callback):
        order = 99
        def after_step(self, learn): seen.append([[g['lr'] for g in learn.opt.param_groups], [p.requires_grad for p in learn.model.parameters()]])
    with learn.no_progress(): learn.fine_tune(*args, cbs=[SpyCB(), *also], **kwargs)
    return learn, seen

def rates(m, *args, **kwargs): return [r for r, _ in watched(m, None, *args, **kwargs)[1]]

def first_phase(m): return [t for _, t in watched(m, None, 2, 0.1, train_bn=False)[1]]
def rates_of_all(m): return rates(m, 3, 0.1, freeze_epochs=2)
def smaller_below(m): return rates(m, 2, 0.1, lr_mult=4.)
def at_once(m): return rates(m, 2, 0.1, freeze_epochs=0)
def by_its_own_rate(m): return rates(m, 1)
def shape_of_the_second(m): return rates(m, 3, 0.1, freeze_epochs=2, pct_start=0.9, div=2)
def norms_too(m): return [t for _, t in watched(m, None, 1, 0.1)[1]]

def what_comes_out(m):
    learn, _ = watched(m, None, 2, 0.1)
    return dict(learn.model.named_parameters())

def both_phases(m):
    class CountCB(m.Callback):
        fits = 0
        def before_fit(self, learn): self.fits += 1
    cb, learn = CountCB(), learner(m)
    with learn.no_progress(): learn.fine_tune(1, 0.1, cbs=cb)
    return cb.fits

def all_train_afterwards(m): return trains(watched(m, None, 1, 0.1)[0])

def one_group_at_once(m):
    learn = learner(m, split=False)
    return [r for r, _ in watched(m, learn, 2, 0.1, freeze_epochs=0)[1]]

def tuned_whole(m): watched(m, learner(m, split=False), 1, 0.1)
def negative_rate(m): watched(m, None, 1, -0.1)
def smaller_above(m): watched(m, None, 1, 0.1, lr_mult=0.5)
def no_epochs(m): watched(m, None, 0, 0.1)
def minus_one_epoch(m): watched(m, None, 1, 0.1, freeze_epochs=-1)

@entry('15.7', level=2, minutes=25, hints=[
    'Two phases, each a fit with one cycle. What differs between them: which groups train, for how many epochs, and with which rates?',
    'First `freeze` and `fit` with `base_lr` for the last group alone, if there are such epochs; then `unfreeze`, and rates from `even_mults` for as many groups as there are. `one_cycle` makes the callback of each.',
    'The first cycle has its top at the very end (`pct_start=0.99`), and after it the rate is halved, also for what `lr_mult` divides. The cbs given go into both phases, beside the cycle (`listify`), the keywords into the second `one_cycle` only. Refuse bad numbers before anything is trained.'],
    why='The order is the point: while the head is poor, the gradients that it sends down would distort features that were good. The rate is halved because what the head could take alone is much for a network that moves as a whole. Without a first phase nothing was tried at the full rate, so nothing is halved.')
def fine_tune():
    at = (learner, watched)
    return [case('first the last group alone, then all', first_phase, also=at),
            case('rates: whole for the last group alone, then from small to large and half of it at most', rates_of_all, also=(*at, rates)),
            case("lr_mult is what lies between the first group's rate and the last one's", smaller_below, also=(*at, rates)),
            case('freeze_epochs=0 leaves out the first phase, and nothing is halved', at_once, also=(*at, rates)),
            case("by default the Learner's rate", by_its_own_rate, also=(*at, rates)),
            case('the keywords shape the second cycle, and that one only', shape_of_the_second, also=(*at, rates)),
            case('normalisations of frozen groups train on, unless told otherwise', norms_too, also=at),
            case('the weights that come out', what_comes_out, also=at),
            case('a callback is there in both phases', both_phases, also=learner),
            case('afterwards all groups train', all_train_afterwards, also=at),
            case('a model of one group, without the first phase', one_group_at_once, also=at),
            case('with it, a model of one group is refused', tuned_whole, raises=ValueError, also=at),
            case('a negative rate is refused', negative_rate, raises=ValueError, names='base_lr', also=at),
            case('larger rates below are refused', smaller_above, raises=ValueError, names='lr_mult', also=at),
            case('no epochs are refused', no_epochs, raises=ValueError, names='n_epoch', also=at),
            case('a negative number of frozen epochs is refused', minus_one_epoch, raises=ValueError, names='freeze_epochs', also=at)]


def seen(m, side, x, *more, training=True):
    "The batch that the model and the loss get."
    from mylib.learner import Learner
    out = []
    class Look(m.Callback):
        order = 50
        def after_predict(self, learn): out.append(list(learn.batch))
    loader = [(x, *more, torch.tensor([1]*len(x)))]
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 2)
        def forward(self, x, *more): return self.layer(x.flatten(1).mean(1, keepdim=True))
    learn = Learner(Model(), (loader, loader), F.cross_entropy, 0.1, cbs=[m.ResizeCB(side), Look()])
    with learn.no_progress(): learn.fit(1) if training else learn.validate()
    return out

def smaller(m): return seen(m, 2, torch.arange(16.).view(1, 1, 4, 4))[0]
def larger(m): return seen(m, 6, torch.arange(16.).view(1, 1, 4, 4))[0]
def same_size(m): return seen(m, 4, torch.arange(16.).view(1, 1, 4, 4))[0]
def fine_stripes(m): return seen(m, 4, torch.tensor([0., 1.]).repeat(8).expand(1, 1, 16, 16).clone())[0][0]
def no_square(m): return seen(m, 3, randn(2, 3, 6, 9))[0]
def in_validation(m): return dict(fit=len(seen(m, 2, randn(1, 1, 4, 4))), validate=[list(b[0].shape) for b in seen(m, 2, randn(1, 1, 4, 4), training=False)])
def second_input(m): return seen(m, 2, randn(1, 1, 4, 4), torch.tensor([[7., 8.]]))[0][1:]

def loaders_batch(m):
    x = randn(1, 1, 4, 4)
    seen(m, 2, x)
    return list(x.shape)

def of_bytes(m): seen(m, 2, torch.zeros(1, 1, 4, 4, dtype=torch.uint8))
def flat(m): seen(m, 2, torch.zeros(1, 16))
def no_side(m): m.ResizeCB(0)
def kept_side(m): return m.ResizeCB(9).side

@entry('15.8', level=1, minutes=10, hints=[
    'Where does a callback find the batch, and what of it must stay as it is?',
    'Take the images off the front of `learn.batch`, resize them, and write a new batch with the rest behind them. Fine patterns turn into false ones if pixels are left out: there is an argument against that.',
    '`F.interpolate` to (side, side), bilinear, with antialias=True. It needs floats with four axes: refuse others, with what came. The side is checked by `_whole` when the callback is made.'],
    why='The batch is replaced and not changed in place: its tensors may belong to the dataset. No condition on training: a network that is trained on small pictures has to be validated on small pictures.')
def resize():
    return [case('the side is kept', kept_side),
            case('a picture of that size stays as it is', same_size, also=seen),
            case('fine stripes become grey and not other stripes', fine_stripes, also=seen),
            case('smaller, and the targets stay', smaller, also=seen),
            case('larger', larger, also=seen),
            case('pictures that are not square become square', no_square, also=seen),
            case('in validation too', in_validation, also=seen),
            case('further inputs stay as they are', second_input, also=seen),
            case('the tensor of the loader is not changed', loaders_batch, also=seen),
            case('bytes are refused', of_bytes, raises=ValueError, names='uint8', also=seen),
            case('what is no batch of images is refused', flat, raises=ValueError, names='(1, 16)', also=seen),
            case('a side of 0 is refused', no_side, raises=ValueError, names='side')]
