"Lesson 15: transfer learning."
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from mylib.judge import case, entry, randn


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

@entry('15.2', level=2, minutes=25, hints=[
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

@entry('15.3', level=2, minutes=25, hints=[
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

@entry('15.4', level=1, minutes=10, hints=[
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
