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

class Twice(nn.Module):
    "Calls its part `same` twice, the second time with fewer axes."
    def __init__(self):
        super().__init__()
        self.same = nn.Identity()
    def forward(self, x): return self.same(x), self.same(x[0]*5)

def measured(m, model, watched, x):
    "What is measured, and what the model gave meanwhile."
    outs = []
    return dict(stats=m._stats(lambda: outs.append(model(x)), watched), calls=len(outs), output=outs[-1])

def two_numbers(m): return measured(m, same := nn.Identity(), same, torch.tensor([1., 3.]))
def whole_layer(m): return measured(m, same := nn.Identity(), same, torch.tensor([[[1., 10.], [2., 20.]], [[3., 30.], [4., 40.]]]))
def inner_layer(m): return measured(m, model := seeded(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))), model[0], randn(6, 4))
def called_twice(m): return measured(m, model := Twice(), model.same, torch.tensor([[1.], [2.], [3.]]))['stats']
def in_half(m): return measured(m, same := nn.Identity(), same, (randn(500) + 20).to(torch.bfloat16))['stats']

def no_hook_left(m):
    model, res = nn.Sequential(nn.Linear(4, 3), nn.ReLU()), []
    def fails(): raise ZeroDivisionError
    m._stats(lambda: model(randn(6, 4)), model[0])
    res.append(len(model[0]._forward_hooks))
    try: m._stats(fails, model[0])
    except ZeroDivisionError: res.append(len(model[0]._forward_hooks))
    return res

@entry('07a.1', level=1, minutes=10, hints=[
    'A module tells what it gives to whoever hangs a hook on it, as in the function `look` above. Which numbers are the mean and the deviation taken over?',
    'Collect every output in a list, for the module may be called more than once, and take the two numbers over all values of all outputs together.',
    '`with Hook(watched, ...)`, whose function appends `out.detach().float()`, flattened; inside, `run()`. Then `torch.cat`, `mean().item()` and `std(correction=0).item()`.'],
    why='Outputs are joined before anything is computed, because the mean of two means is wrong if the calls had different sizes. In half precision the sum of some thousand values has lost its digits, so they are widened first.')
def layer_stats():
    return [case('1 and 3 have mean 2 and deviation 1', two_numbers, also=measured),
            case('one mean and one deviation for all units, positions and items together', whole_layer, also=measured),
            case('a layer in the middle of a model; the output of the model stays', inner_layer, also=(measured, seeded)),
            case('a module that is called twice is measured over both calls', called_twice, also=(measured, Twice)),
            case('half precision is widened before it is added up', in_half, also=measured),
            case('no hook is left behind, also after an error', no_hook_left)]


def corrected(m, layer, watched=None, mean=0.5, std=2.):
    watched = layer if watched is None else watched
    weight = layer.weight
    with torch.no_grad(): m._correct(layer, watched, mean, std)
    return dict(weight=layer.weight, bias=layer.bias, same_parameter=layer.weight is weight, sub=getattr(watched, 'sub', None))

def a_linear_layer(m):
    layer = nn.Linear(2, 1)
    layer.weight.data, layer.bias.data = torch.tensor([[4., 6.]]), torch.tensor([3.])
    return corrected(m, layer)

def a_convolution(m): return corrected(m, seeded(nn.Conv2d(1, 2, 3)))
def bias_left_out(m): return corrected(m, seeded(nn.Linear(3, 2, bias=False)))
def behind_it_a_relu(m): return corrected(m, seeded(nn.Linear(3, 2)), nn.ReLU())
def no_bias_behind_it_a_relu(m): return corrected(m, seeded(nn.Linear(3, 2, bias=False)), nn.ReLU())

def behind_it_a_sub(m):
    from mylib.init import GeneralRelu
    return corrected(m, seeded(nn.Linear(3, 2)), GeneralRelu(leak=0.1, sub=0.4))

def behind_it_no_sub(m):
    from mylib.init import GeneralRelu
    return corrected(m, seeded(nn.Linear(3, 2)), GeneralRelu(leak=0.1))

def zero_and_one(m):
    "Mean and deviation of what comes out, after one correction."
    from mylib.init import GeneralRelu
    res, x = {}, randn(50, 4)
    for name, act in dict(layer=None, sub=GeneralRelu(leak=0.1, sub=0.4)).items():
        layer = seeded(nn.Linear(4, 3))
        out = lambda: layer(x) if act is None else act(layer(x))
        with torch.no_grad():
            m._correct(layer, layer if act is None else act, out().mean().item(), out().std(correction=0).item())
            res[name] = [out().mean(), out().std(correction=0)]
    return res

def what_can_be_shifted(m):
    from mylib.init import GeneralRelu
    layer, bare = nn.Linear(2, 2), nn.Linear(2, 2, bias=False)
    pairs = {'a layer with a bias': (layer, layer), 'a layer without one': (bare, bare), 'a ReLU behind a bias': (layer, nn.ReLU()), 'a sub': (layer, GeneralRelu(sub=0.4)),
             'a sub behind a layer without a bias': (bare, GeneralRelu(sub=0.)), 'a GeneralRelu without a sub': (layer, GeneralRelu())}
    return {k: bool(m._shiftable(*p)) for k, p in pairs.items()}

@entry('07a.2', level=2, minutes=20, hints=[
    'Write down what comes out, $Wx + b$, with mean $m$ and deviation $s$. Which $W$ and $b$ would give $(Wx + b - m)/s$? And what if a ReLU stands behind the layer?',
    'The layer itself is watched: the mean goes from the bias, then weight and bias are divided. Something behind it is watched: weight and bias are divided only, and if it has a `sub`, the mean is dealt with there.',
    'An activation that subtracts `sub` gives f - sub. You want (f - sub - mean)/std, and f/std is what it gives once the layer is divided: what is the new sub? Change weight and bias in place; a layer may have no bias, and a `sub` may be None.'],
    why='In place, because an optimizer may hold these parameters already. The order matters: the mean is in units of the old output, so it is subtracted before the bias is divided. A bias in front of a ReLU is no lever for the mean behind it, hence the `sub`.')
def correction():
    return [case('by hand: a mean of 0.5 and a deviation of 2', a_linear_layer, also=corrected),
            case('convolutions as well', a_convolution, also=(corrected, seeded)),
            case('a layer without a bias is divided only', bias_left_out, also=(corrected, seeded)),
            case('behind a ReLU nothing is shifted, and weight and bias are divided', behind_it_a_relu, also=(corrected, seeded)),
            case('behind a ReLU, without a bias', no_bias_behind_it_a_relu, also=(corrected, seeded)),
            case('the sub of an activation takes the mean', behind_it_a_sub, also=(corrected, seeded)),
            case('an activation whose sub is None has none', behind_it_no_sub, also=(corrected, seeded)),
            case('afterwards the mean is 0 and the deviation 1', zero_and_one, also=seeded),
            case('_shiftable: a bias of its own, or a sub', what_can_be_shifted)]


def looped(m, model, x, layer=None, watched=None, tol=1e-3, max_iter=10):
    "How many corrections it took, and what comes out then."
    layer = model if layer is None else layer
    with torch.no_grad():
        n = m._scale('head', lambda: model(x), layer, layer if watched is None else watched, tol, max_iter)
        out = model(x)
    return dict(corrections=n, mean=out.mean().item(), std=out.std(correction=0).item())

def once_is_enough(m): return looped(m, seeded(nn.Linear(4, 3)), randn(50, 4) + 2)
def once_is_allowed(m): return looped(m, seeded(nn.Linear(4, 3)), randn(50, 4) + 2, max_iter=1)

def nothing_to_do(m):
    model, x = seeded(nn.Linear(4, 3)), randn(50, 4)
    looped(m, model, x)
    before = model.weight.detach().clone()
    return dict(again=looped(m, model, x), unchanged=torch.equal(before, model.weight))

def only_the_mean_is_off(m):
    model, x = seeded(nn.Linear(4, 3)), randn(50, 4)
    looped(m, model, x)
    model.bias.data -= 3
    return looped(m, model, x)

def several_needed(m):
    model = seeded(nn.Sequential(nn.Linear(6, 8), nn.GELU()), scale=1.)
    res = looped(m, model, randn(64, 6), model[0], model[1])
    return dict(std=res['std'], several=res['corrections'] > 1)

def near_enough(m):
    counts = []
    for tol in (0.3, 1e-4):
        model = seeded(nn.Sequential(nn.Linear(6, 8), nn.GELU()), scale=1.)
        counts.append(looped(m, model, randn(64, 6), model[0], model[1], tol=tol)['corrections'])
    return dict(counts=counts, fewer=counts[0] < counts[1])

def mean_that_stays(m):
    model = seeded(nn.Sequential(nn.Linear(6, 8), nn.ReLU()))
    return looped(m, model, randn(64, 6), model[0], model[1])

def mean_without_bias(m): return looped(m, seeded(nn.Linear(4, 3, bias=False)), randn(50, 4) + 1)

def unreachable(m):
    model = seeded(nn.Sequential(nn.Linear(6, 8), nn.Tanh()))
    looped(m, model, randn(64, 6), model[0], model[1], max_iter=3)

def constant(m): looped(m, seeded(nn.Linear(4, 3, bias=False)), torch.zeros(5, 4))
def constant_is_left(m):
    model = seeded(nn.Linear(4, 3, bias=False))
    try: looped(m, model, torch.zeros(5, 4))
    except ValueError: return model.weight

def nan_in_it(m): looped(m, seeded(nn.Linear(4, 3)), torch.full((5, 4), float('nan')))

@entry('07a.3', level=2, minutes=20, hints=[
    'Measure, and stop if it is good; otherwise correct and measure again. How many measurements are there to `max_iter` corrections?',
    'One more than corrections, since the last correction has to be measured too. Good means: the deviation is within `tol` of 1, and the mean within `tol` of 0 unless nothing can shift it.',
    'A loop over `range(max_iter + 1)` with `_stats`, `_shiftable` and `_correct`, which returns the number of corrections made. A deviation that is 0 or no finite number is a ValueError, the end of the loop a RuntimeError; both name the layer, and the second says after how many corrections. nan fails every comparison, so ask whether the deviation lies inside of a range.'],
    why='The question is asked before each correction, so a layer that is right already is not touched, and running LSUV twice changes nothing. A linear layer needs one correction; the loop is for what stands behind it.')
def loop():
    return [case('a linear layer takes one correction', once_is_enough, also=(looped, seeded), atol=2e-3),
            case('what is right already is left as it is', nothing_to_do, also=(looped, seeded), atol=2e-3),
            case('the mean counts too', only_the_mean_is_off, also=(looped, seeded), atol=2e-3),
            case('max_iter=1 allows one correction', once_is_allowed, also=(looped, seeded), atol=2e-3),
            case('a mean that nothing can shift is accepted: behind a ReLU', mean_that_stays, also=(looped, seeded), atol=2e-3),
            case('and without a bias', mean_without_bias, also=(looped, seeded), atol=2e-3),
            case('a GELU is not linear: it takes several', several_needed, also=(looped, seeded), atol=2e-3),
            case('tol says how near is near enough', near_enough, also=(looped, seeded)),
            case('a target that cannot be reached is an error, with the layer and the number of corrections', unreachable, raises=RuntimeError, names=('head', '3 corrections'), also=(looped, seeded)),
            case('an output without variance is an error that names the layer', constant, raises=ValueError, names=('head', 'standard deviation'), also=(looped, seeded)),
            case('and its layer is not divided by 0 before', constant_is_left, also=(looped, seeded)),
            case('nan is an error', nan_in_it, raises=ValueError, names='head', also=(looped, seeded))]


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

@entry('07a.4', level=3, minutes=40, seconds=60, hints=[
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
