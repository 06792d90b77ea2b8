"Lesson 07a: LSUV."
import torch
from torch import nn

from mylib.judge import case, entry, randn


def seeded(model, scale=3.):
    "The same weights on each call, too large by `scale`."
    for i, p in enumerate(model.parameters()): p.data = randn(*p.shape, seed=40 + i)*scale
    return model

def outputs(model, x, kinds=(nn.Linear, nn.Conv2d)):
    "Mean and standard deviation of what each layer gives, by name."
    res, handles = {}, []
    for n, l in model.named_modules():
        if isinstance(l, kinds): handles.append(l.register_forward_hook(lambda l, i, o, n=n: res.__setitem__(n, [o.mean().item(), o.std(correction=0).item()])))
    with torch.no_grad(): model(*x) if isinstance(x, tuple) else model(x)
    for h in handles: h.remove()
    return res

def deep(): return seeded(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 4)))

def one_layer(m):
    m.lsuv_init(model := seeded(nn.Linear(4, 3)), x := randn(50, 4) + 2)
    return dict(mean_and_std=outputs(nn.Sequential(model), x), weight=model.weight, bias=model.bias)

def one_after_the_other(m):
    m.lsuv_init(model := deep(), x := randn(64, 6))
    return outputs(model, x)

def what_it_returns(m):
    table = m.lsuv_init(deep(), randn(64, 6))
    return {k: table[k].tolist() for k in ('layer', 'mean', 'std', 'n_iter')}

def convolutions(m):
    m.lsuv_init(model := seeded(nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, 2))), x := randn(20, 1, 6, 6))
    return outputs(model, x)

def no_bias(m):
    m.lsuv_init(model := seeded(nn.Sequential(nn.Linear(4, 3, bias=False))), x := randn(50, 4) + 1)
    return outputs(model, x)

class Backwards(nn.Module):
    "Its layers run in another order than they were made in."
    def __init__(self):
        super().__init__()
        self.last, self.first, self.idle = nn.Linear(5, 2), nn.Linear(4, 5), nn.Linear(3, 3)
    def forward(self, x): return self.last(torch.tanh(self.first(x)))

def order_of_running(m):
    table = m.lsuv_init(model := seeded(Backwards()), x := randn(50, 4))
    return dict(layers=table['layer'].tolist(), std={k: v[1] for k, v in outputs(model, x).items()}, idle=model.idle.weight)

class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 5)
    def forward(self, a, b): return self.layer(a*b)

def two_inputs(m):
    m.lsuv_init(model := seeded(TwoInputs()), x := (randn(50, 4), randn(50, 4, seed=1)))
    return outputs(model, x)

def watch_activations(m):
    model = seeded(nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 8), nn.GELU()), scale=1.)
    table = m.lsuv_init(model, x := randn(64, 6), modules=[(model[0], model[1]), (model[2], model[3])])
    return dict(several_corrections=(table['n_iter'] > 1).tolist(), std={k: v[1] for k, v in outputs(model, x, nn.GELU).items()})

def relu_keeps_its_mean(m):
    model = seeded(nn.Sequential(nn.Linear(6, 8), nn.ReLU()))
    m.lsuv_init(model, x := randn(64, 6), modules=[(model[0], model[1])])
    return outputs(model, x, nn.ReLU)

def general_relu(m):
    from mylib.init import GeneralRelu
    model = seeded(nn.Sequential(nn.Linear(6, 8), GeneralRelu(leak=0.1, sub=0.4)))
    m.lsuv_init(model, x := randn(64, 6), modules=[(model[0], model[1])])
    return dict(outputs(model, x, GeneralRelu), sub=model[1].sub)

def some_layers(m):
    model = deep()
    before = model[0].weight.detach().clone()
    table = m.lsuv_init(model, x := randn(64, 6), modules=[model[4]])
    return dict(layers=table['layer'].tolist(), others_untouched=torch.equal(before, model[0].weight), std=outputs(model, x)['4'][1])

def with_dropout(m):
    model = seeded(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4)))
    model.train()
    model[1].eval()
    m.lsuv_init(model, x := randn(64, 6))
    modes, mean = [l.training for l in model.modules()], model[1].running_mean.clone()
    return dict(modes_as_before=modes, running_mean=mean, in_evaluation=outputs(model.eval(), x))

def good_manners(m):
    model = deep()
    ps = list(model.parameters())
    m.lsuv_init(model, randn(64, 6))
    return dict(same_objects=all(p is q for p, q in zip(ps, model.parameters())), still_learn=[p.requires_grad for p in model.parameters()], leaves=[p.is_leaf for p in model.parameters()],
                gradients=[p.grad for p in model.parameters()], hooks=sum(len(l._forward_hooks) for l in model.modules()))

def looser(m):
    kwargs = lambda model: dict(modules=[(model[0], model[1])])
    make = lambda: seeded(nn.Sequential(nn.Linear(6, 8), nn.GELU()), scale=1.)
    counts = [m.lsuv_init(model := make(), randn(64, 6), tol=tol, **kwargs(model))['n_iter'].tolist()[0] for tol in (0.3, 1e-1, 1e-4)]
    return dict(fewer=counts[0] < counts[2], counts=counts)

def already_right(m):
    m.lsuv_init(model := deep(), x := randn(64, 6))
    before = [p.detach().clone() for p in model.parameters()]
    return dict(n_iter=m.lsuv_init(model, x)['n_iter'].tolist(), same=[torch.equal(a, b) for a, b in zip(before, model.parameters())])

def as_it_was(m, model, x, **kwargs):
    "What remains of a model after an error."
    model.train()
    model[-1].eval()
    state, modes = {k: v.clone() for k, v in model.state_dict().items()}, [l.training for l in model.modules()]
    error = 'none'
    try: m.lsuv_init(model, x, **kwargs)
    except BaseException as e: error = type(e).__name__
    return dict(error=error, weights=[torch.equal(v, state[k]) for k, v in model.state_dict().items()], modes=[l.training for l in model.modules()] == modes,
                hooks=sum(len(l._forward_hooks) for l in model.modules()))

def out_of_reach(m):
    model = deep().append(nn.Tanh())
    return as_it_was(m, model, randn(64, 6), modules=[model[0], model[2], (model[4], model[5])])

class InterruptedAt(nn.Module):
    "Passes its input on; Ctrl-C comes in the n-th call."
    def __init__(self, n):
        super().__init__()
        self.n = n
    def forward(self, x):
        self.n -= 1
        if not self.n: raise KeyboardInterrupt
        return x

def interrupted(m): return as_it_was(m, deep().append(InterruptedAt(6)), randn(64, 6))

def sub_is_back(m):
    from mylib.init import GeneralRelu
    model = seeded(nn.Sequential(nn.Linear(6, 8), GeneralRelu(sub=0.4), nn.Linear(8, 8), nn.Tanh()))
    res = as_it_was(m, model, randn(64, 6), modules=[(model[0], model[1]), (model[2], model[3])])
    return dict(res, sub=model[1].sub)

class Shared(nn.Module):
    "Two layers with one weight."
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight
    def forward(self, x): return self.a(x) + self.b(3*x)

def shared_weight(m): m.lsuv_init(seeded(Shared()), randn(50, 4))
def black_images(m): m.lsuv_init(nn.Sequential(nn.Linear(4, 3, bias=False)), torch.zeros(8, 4))
def tanh_to_one(m):
    model = deep()
    m.lsuv_init(model, randn(64, 6), modules=[(model[0], model[1])], max_iter=3)
def no_layers(m): m.lsuv_init(nn.Sequential(nn.ReLU()), randn(3, 4))
def stranger(m): m.lsuv_init(deep(), randn(5, 6), modules=[nn.Linear(2, 2)])
def tol_zero(m): m.lsuv_init(deep(), randn(5, 6), tol=0)
def no_corrections(m): m.lsuv_init(deep(), randn(5, 6), max_iter=0)

@entry('07a.1', level=3, minutes=40, seconds=60, hints=[
    'The helpers above find the layers in the order they run (`_pairs`), measure (`_stats`) and correct one layer (`_scale`). What is left is manners: what do you change on the way, and when and how is it put back?',
    'Look at the arguments; take down modes; in a `try`: eval, find the pairs, take down weights, biases and `sub`, scale one pair after the other, measure them all once more. On any error weights go back and the error goes on; modes go back always.',
    'Weights are copied back into the same parameters (`copy_`); `sub` of the watched module is a plain number. The mode of each module is a note of its own, since some may be in evaluation already. A last measurement that is off by more than twice tol is a RuntimeError. A single tensor stands for a tuple with one input; the batch goes to the device of the first parameter.'],
    why='Everything is measured once more at the end, because two layers that share a weight undo each other and each looks right when its turn is over. The undo catches BaseException: a Ctrl-C in the fifth layer would otherwise leave a network that is half scaled and looks like any other.')
def lsuv_init():
    return [case('a layer gives mean 0 and standard deviation 1', one_layer, atol=2e-3, also=(seeded, outputs)),
            case('each layer is measured when those before it are done', one_after_the_other, atol=2e-3, also=(seeded, outputs, deep)),
            case('the table has a row for each layer, with what was measured at the end', what_it_returns, atol=2e-3, also=(seeded, deep)),
            case('convolutions as well', convolutions, atol=2e-3, also=(seeded, outputs)),
            case('without a bias the mean stays', no_bias, atol=2e-3, also=(seeded, outputs)),
            case('the order is that of running; a layer that does not run is left alone', order_of_running, atol=2e-3, also=(seeded, outputs, Backwards)),
            case('a tuple gives the inputs of a model that has several', two_inputs, atol=2e-3, also=(seeded, outputs, TwoInputs)),
            case('only the layers that are given are scaled', some_layers, atol=2e-3, also=(seeded, outputs, deep)),
            case('a pair is scaled until the watched activation has standard deviation 1', watch_activations, atol=3e-3, also=(seeded, outputs)),
            case('a plain ReLU keeps its positive mean', relu_keeps_its_mean, atol=3e-3, also=(seeded, outputs)),
            case('a GeneralRelu is shifted as well', general_relu, atol=3e-3, also=(seeded, outputs)),
            case('it measures in evaluation, and each module is back in its own mode', with_dropout, atol=2e-3, also=(seeded, outputs)),
            case('the same parameters, ready to learn; no gradient and no hook', good_manners, also=(seeded, deep)),
            case('tol says how near is near enough', looser, also=seeded),
            case('a network that is right already is left as it is', already_right, also=(seeded, deep)),
            case('after an error weights and modes are as they were', out_of_reach, also=(as_it_was, seeded, deep)),
            case('after an interrupt too', interrupted, also=(as_it_was, seeded, deep, InterruptedAt)),
            case('and the shift of an activation', sub_is_back, also=(as_it_was, seeded)),
            case('a weight that two layers share is noticed', shared_weight, raises=RuntimeError, names='share', also=(seeded, Shared)),
            case('an output without variance is an error', black_images, raises=ValueError, names='standard deviation'),
            case('a target that cannot be reached is an error after max_iter corrections', tanh_to_one, raises=RuntimeError, names='after 3 corrections', also=(seeded, deep)),
            case('a model without layers is refused', no_layers, raises=ValueError, names='no layers'),
            case('a layer of another model is refused', stranger, raises=ValueError, names='modules', also=(seeded, deep)),
            case('tol=0 is refused', tol_zero, raises=ValueError, names='tol', also=(seeded, deep)),
            case('max_iter=0 is refused', no_corrections, raises=ValueError, names='max_iter', also=(seeded, deep))]
