"Lesson 06: hooks."
import gc, weakref
from types import SimpleNamespace
from unittest.mock import patch

import torch
from torch import nn

from mylib.judge import call, case, entry, randn


def net():
    "Two layers with known weights."
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    for i, p in enumerate(model.parameters()): p.data = randn(*p.shape, seed=20 + i)
    return model

def n_hooks(model): return sum(len(x._forward_hooks) + len(x._backward_hooks) for x in model.modules())

def what_it_is_given(m):
    model, seen = net(), []
    with m.Hook(model[1], lambda *args: seen.append(args)) as h: model(randn(2, 3))
    hook, module, inp, out = seen[0]
    return dict(calls=len(seen), itself=hook is h, module=module is model[1], inputs=inp, output=out)

def a_place_to_put_things(m):
    def keep(hook, module, inp, out): hook.mean = out.mean().item()
    model = net()
    with m.Hook(model[0], keep) as a, m.Hook(model[1], keep) as b: model(randn(2, 3))
    return [a.mean, b.mean]

def counting(log):
    def count(hook, module, inp, out): log.append(len(log))
    return count

def gone_after_with(m):
    model, log = net(), []
    with m.Hook(model[1], counting(log)): model(randn(2, 3))
    model(randn(2, 3))
    return dict(calls=len(log), hooks_left=n_hooks(model))

def gone_after_error(m):
    model, log, error = net(), [], 'swallowed'
    try:
        with m.Hook(model[1], counting(log)): model(randn(2, 5))
    except RuntimeError: error = 'comes out'
    return dict(error=error, hooks_left=n_hooks(model))

def without_with(m):
    model, log = net(), []
    h = m.Hook(model[1], counting(log))
    model(randn(2, 3)); model(randn(2, 3))
    during = len(log)
    h.remove(); h.remove()
    model(randn(2, 3))
    return dict(during=during, afterwards=len(log), hooks_left=n_hooks(model))

def only_its_own(m):
    model, log = net(), []
    first, _second = m.Hook(model[1], counting(log)), m.Hook(model[1], counting(log))
    first.remove()
    model(randn(2, 3))
    return dict(calls=len(log), hooks_left=n_hooks(model))

def replaces_output(m):
    model = net()
    with m.Hook(model[1], lambda hook, module, inp, out: torch.ones(2, 2)): return model(randn(2, 3))

def gradients(m):
    model, seen = net(), []
    def keep(hook, module, grad_inp, grad_out): seen.append([hook is h, [g.clone() for g in grad_inp], [g.clone() for g in grad_out]])
    with m.Hook(model[1], keep, backward=True) as h:
        out = model(randn(2, 3))
        before = len(seen)
        out.square().sum().backward()
    return dict(before_backward=before, itself=seen[0][0], inputs=seen[0][1], output=seen[0][2], hooks_left=n_hooks(model))

def replaces_gradient(m):
    model = net()
    with m.Hook(model[1], lambda hook, module, gi, go: (gi[0]*0,), backward=True): model(randn(2, 3)).sum().backward()
    return [p.grad for p in model.parameters()]

def keeps_nothing(m):
    model, dead = net(), []
    with m.Hook(model[1], lambda hook, module, inp, out: dead.append(weakref.ref(out))) as h, torch.no_grad():
        model(randn(2, 3))
        gc.collect()
        return dict(output_is_gone=dead[0]() is None, hook=h is not None)

def lets_module_go(m):
    layer = nn.Linear(3, 2)
    with m.Hook(layer, lambda *args: None) as h: layer(randn(1, 3))
    ref = weakref.ref(layer)
    del layer
    gc.collect()
    return dict(module_is_gone=ref() is None, hook=h is not None)

def several(m): m.Hook(list(net()), print)
def result_of_call(m): m.Hook(net()[0], print('', end=''))

@entry('06.1', level=2, minutes=20, hints=[
    'PyTorch calls a registered function with module, input and output, and registering gives a handle. Ours is to get one more argument in front. Which function of `functools` puts an argument in front?',
    'Two ways to register, `register_forward_hook` and `register_full_backward_hook`, both methods of the module. Choose one, give it the `partial` of func with the hook itself, and keep the handle.',
    'Refuse what is no `nn.Module` and what cannot be called, each with a TypeError, before anything is registered. `__enter__` gives the hook; `__exit__` removes and returns nothing, so that an error goes on its way.'],
    why='What has to be undone is a context manager, so no error can leave a hook behind. The partial keeps the function\'s result on its way to PyTorch, where a result replaces the output: a wrapper that forgets to return would switch that off without a word.')
def hook():
    return [case('the function is given the hook, the module, its inputs and its output', what_it_is_given, also=net),
            case('each hook is a place to put things', a_place_to_put_things, also=net),
            case('after the with it listens no more', gone_after_with, also=(net, counting, n_hooks)),
            case('after an error it listens no more, and the error comes out', gone_after_error, also=(net, counting, n_hooks)),
            case('without a with it listens until remove, which may be called twice', without_with, also=(net, counting, n_hooks)),
            case('remove takes away this hook and no other', only_its_own, also=(net, counting, n_hooks)),
            case('what the function returns replaces the output', replaces_output, also=net),
            case('backward=True hears the gradients of inputs and output, and nothing on the way forward', gradients, also=(net, n_hooks)),
            case('what the function returns replaces the gradient of the input', replaces_gradient, also=net),
            case('it keeps no activation alive', keeps_nothing, also=net),
            case('once removed it does not keep the module alive', lets_module_go),
            case('a list of modules is refused, with advice', several, raises=TypeError, names=('module', 'Hooks'), also=net),
            case('the result of a function in place of the function is refused', result_of_call, raises=TypeError, names='func', also=net)]


def keep_mean(hook, module, inp, out): hook.mean = out.mean().item()

def one_each(m):
    model = net()
    with m.Hooks(model, keep_mean) as hooks: model(randn(2, 3))
    return [h.mean for h in hooks]

def like_a_list(m):
    model = net()
    with m.Hooks(model, keep_mean) as hooks: model(randn(2, 3))
    return dict(length=len(hooks), last=hooks[-1].mean, slice=[h.mean for h in hooks[1:]])

def any_iterable(m):
    model, log = net(), []
    with m.Hooks((x for x in model if isinstance(x, nn.Linear)), counting(log)) as hooks: model(randn(2, 3))
    return [len(hooks), len(log)]

def all_gone(m):
    model, log = net(), []
    with m.Hooks(model, counting(log)) as hooks: model(randn(2, 3))
    model(randn(2, 3))
    return dict(calls=len(log), hooks_left=n_hooks(model), still_listed=len(hooks))

def all_gone_after_error(m):
    model, error = net(), 'swallowed'
    try:
        with m.Hooks(model, keep_mean): model(randn(2, 5))
    except RuntimeError: error = 'comes out'
    return dict(error=error, hooks_left=n_hooks(model))

def removed_by_hand(m):
    model, log = net(), []
    hooks = m.Hooks(model, counting(log))
    model(randn(2, 3))
    hooks.remove(); hooks.remove()
    model(randn(2, 3))
    return dict(calls=len(log), still_listed=len(hooks), hooks_left=n_hooks(model))

def delete_one(m):
    model = net()
    with m.Hooks(model, keep_mean) as hooks:
        del hooks[0]
        model(randn(2, 3))
        return dict(length=len(hooks), hooks=[len(x._forward_hooks) for x in model], means=[h.mean for h in hooks])

def delete_slice(m):
    model = net()
    with m.Hooks(model, keep_mean) as hooks:
        del hooks[:2]
        return dict(length=len(hooks), hooks=[len(x._forward_hooks) for x in model])

def backward_too(m):
    def keep(hook, module, grad_inp, grad_out): hook.grad = grad_out[0].clone()
    model = net()
    with m.Hooks(model, keep, backward=True) as hooks: model(randn(2, 3).requires_grad_()).sum().backward()
    return [h.grad for h in hooks]

def broken_off(m):
    model, error = net(), 'none'
    try: m.Hooks([*model, 'conv'], keep_mean)
    except TypeError: error = 'TypeError'
    return dict(error=error, hooks_left=n_hooks(model))

def interrupted(m):
    model, error = net(), 'none'
    def modules():
        yield from model
        raise KeyboardInterrupt
    try: m.Hooks(modules(), keep_mean)
    except KeyboardInterrupt: error = 'KeyboardInterrupt'
    return dict(error=error, hooks_left=n_hooks(model))

def not_a_module(m): m.Hooks(['conv'], keep_mean)
def none_of_it(m):
    with m.Hooks([], None) as hooks: return len(hooks)

HOOKS = (net, keep_mean)

@entry('06.2', level=2, minutes=20, hints=[
    'A list of `Hook`s and the methods that make it behave as one. What has to happen when the third of five can not be made?',
    'Fill the list one by one inside a `try`; on any error remove what is there and let the error go on. `BaseException` also covers a Ctrl-C.',
    'The special methods are `__len__`, `__iter__`, `__getitem__` and `__delitem__`; a slice gives a list. Before something is deleted from the list it must be removed from its module. `remove` goes over all hooks and leaves the list as it is.'],
    why='A constructor that fails returns no object, so nobody could call remove: it has to tidy up itself. The hooks stay in the list after removal, because what the function stored on them is the reason for the whole exercise.')
def hooks():
    return [case('one hook for each module, in their order', one_each, also=HOOKS),
            case('length, index and slice as of a list', like_a_list, also=HOOKS),
            case('the modules may come from a generator', any_iterable, also=(net, counting)),
            case('after the with none listens, and the list is still there', all_gone, also=(net, counting, n_hooks)),
            case('after an error none listens, and the error comes out', all_gone_after_error, also=(*HOOKS, n_hooks)),
            case('remove may be called twice', removed_by_hand, also=(net, counting, n_hooks)),
            case('a hook that is deleted listens no more', delete_one, also=HOOKS),
            case('a slice of hooks can be deleted', delete_slice, also=HOOKS),
            case('backward=True is passed on', backward_too, also=net),
            case('if one of them can not be made, none stays', broken_off, also=(*HOOKS, n_hooks)),
            case('nor after an interrupt', interrupted, also=(*HOOKS, n_hooks)),
            case('something that is no module is refused', not_a_module, raises=TypeError, names='str', also=keep_mean),
            case('no modules, no hooks', none_of_it)]


def tree():
    return nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh(), nn.Linear(2, 1))))

def named(found): return [[n, type(x).__name__] for n, x in found]

def two_layers(m): return named(m.leaf_modules(nn.Sequential(nn.Linear(3, 2), nn.ReLU())))
def nested(m): return named(m.leaf_modules(tree()))
def one_kind(m): return named(m.leaf_modules(tree(), nn.Linear))
def several_kinds(m): return named(m.leaf_modules(tree(), (nn.ReLU, nn.Tanh)))
def a_parent_kind(m): return named(m.leaf_modules(nn.Sequential(nn.Conv1d(1, 1, 1), nn.BatchNorm1d(1), nn.BatchNorm2d(1)), nn.modules.batchnorm._BatchNorm))
def containers_are_none(m): return named(m.leaf_modules(tree(), nn.Sequential))

def themselves(m):
    model = tree()
    return [a is b for (_, a), b in zip(m.leaf_modules(model), [model[0], model[1][0], model[1][1][0], model[1][1][1]])]

def single(m): return named(m.leaf_modules(nn.ReLU()))

def used_twice(m):
    act = nn.ReLU()
    return named(m.leaf_modules(nn.Sequential(act, nn.Linear(2, 2), nn.Sequential(act))))

def with_weights_of_its_own(m):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.inner = nn.Parameter(torch.ones(1)), nn.Linear(2, 2)
    return named(m.leaf_modules(nn.Sequential(Scaled(), nn.LayerNorm(2))))

@entry('06.3', level=1, minutes=10, hints=[
    'PyTorch can list all modules of a model with their names. Which of them have nothing inside?',
    '`named_modules` gives pairs of name and module, each module once. A leaf is one whose `children()` is empty; `next` with a default tells.',
    'Filter the pairs by two conditions: no children, and `kinds` is None or `isinstance(module, kinds)`, which takes a class or a tuple of classes.'],
    why='A leaf is told by what it lacks, so no list of layer types has to be kept up to date, and layers of your own are found too. named_modules goes through a set of what it has seen, so a module that is used in two places gets one hook and not two.')
def leaf_modules():
    return [case('name and module of each layer, in order', two_layers, also=named),
            case('also those deep inside, with the whole name; containers are left out', nested, also=(tree, named)),
            case('a class picks its kind', one_kind, also=(tree, named)),
            case('a tuple of classes picks several kinds', several_kinds, also=(tree, named)),
            case('what derives from the class is of its kind', a_parent_kind, also=named),
            case('a container is no leaf, even if its kind is asked for', containers_are_none, also=(tree, named)),
            case('the modules themselves, no copies', themselves, also=tree),
            case('a model that is one layer has an empty name', single, also=named),
            case('a module that is used twice comes once', used_twice, also=named),
            case('a module with weights and children of its own is no leaf', with_weights_of_its_own, also=named)]


ACTS = torch.tensor([[-1.5, 0., 2.5], [0.5, 0., 2.5]])

def without_graph(m):
    out = m._measure(ACTS.clone().requires_grad_()*1., 4, 4., 1e-6)
    return dict(has_graph=out.requires_grad, numbers=out)

def adds_up(m): return m._measure(100*randn(8, 5, 3), 6, 10., 1e-6)[4:].sum()

@entry('06.4', level=2, minutes=20, hints=[
    'Four numbers and a histogram, of the activation cut off from its graph and in float32. Three of the four are means of something. For the dead units: which axes must be gone through before the mean is taken?',
    'Values near zero are a mask. A unit (axis 1) is dead if the mask is true in all rows and places: bring axis 1 to the front, flatten the rest, `all(1)`. `torch.histc` counts between two ends, and leaves out what is beyond them.',
    'Clamp the magnitudes at max_abs first, so that the last bin takes in what is larger. The standard deviation is that of these numbers, not an estimate for others (`correction=0`). Stack the four, put the counts behind them with `torch.cat`, and do not call `.item()`.'],
    why='One tensor of a few dozen numbers is all that is kept of an activation, and it stays on its device, so nothing waits for the GPU. Half precision is widened first, because sums of thousands of numbers do not fit into 11 bits. A share of zeros of one half is healthy in a ReLU network, a unit that is zero everywhere is not; that is why the two are counted apart.')
def measure():
    x = ACTS
    return [call('_measure', x, 4, 4., 1e-6, say='mean, standard deviation, share near zero, share of dead units, and the counts of the magnitudes'),
            call('_measure', torch.tensor([[1., 2.], [0., 3.]]), 2, 4., 1e-6, say='a unit that is zero now and then is not dead'),
            call('_measure', torch.tensor([[0.], [4.]]), 2, 8., 1e-6, say='the standard deviation of these numbers, not an estimate for others'),
            call('_measure', torch.tensor([[[[0., 0.]], [[1., 0.]]], [[[0., 0.]], [[0., 0.]]]]), 2, 4., 1e-6, say='a unit is a channel: dead if it is near zero in all images and places'),
            call('_measure', torch.tensor([[-0.5, 0.25], [0.5, -3.]]), 2, 4., 0.5, say='a magnitude up to eps is near zero, on both sides'),
            call('_measure', torch.tensor([[1., -50.], [9., 0.]]), 4, 4., 1e-6, say='what is larger than max_abs is counted in the last bin'),
            case('so the counts add up to the number of values', adds_up),
            case('no graph is kept', without_graph),
            call('_measure', (300 + randn(64, 8)).bfloat16(), 3, 400., 1e-6, say='half precision is measured in float32'),
            call('_measure', x, 1, 4., 1e-6, say='a single bin')]


def fit(stats, n=3, n_epoch=1, model=None, cbs=()):
    from mylib.learner import Learner
    loader = [(randn(4, 3, seed=i), randn(4, 1, seed=i + 9)) for i in range(n)]
    learn = Learner(model or net(), (loader, loader[:1]), nn.functional.mse_loss, 0.01, cbs=[stats, *cbs], device='cpu')
    with learn.no_progress(): learn.fit(n_epoch)
    return learn

def drive(stats, model, *batches):
    "The callback alone, with batches that we choose."
    learn = SimpleNamespace(model=model, training=True, iter=0)
    stats.before_fit(learn)
    for x in batches:
        stats.before_batch(learn)
        model(x)
        stats.after_predict(learn)
        stats.cleanup_batch(learn)
    stats.cleanup_fit(learn)
    return stats

def by_hand(m): return drive(m.ActivationStats(), nn.Sequential(nn.ReLU()), torch.tensor([[-1., 2., -3.], [-5., 0., 6.]])).to_frame()
def by_hand_histogram(m): return drive(m.ActivationStats(bins=4, max_abs=4.), nn.Sequential(nn.ReLU()), torch.tensor([[-1., 2.], [0.5, 100.]]), torch.zeros(1, 2)).histogram(0)
def nearly_zero(m): return drive(m.ActivationStats(eps=0.5), nn.Sequential(nn.Tanh()), torch.tensor([[0.1, 2.], [-0.2, 0.]])).to_frame()

def table(m):
    stats = m.ActivationStats()
    fit(stats)
    return stats.to_frame()

def two_epochs(m):
    stats = m.ActivationStats()
    fit(stats, n_epoch=2)
    return stats.to_frame().batch.tolist()

def every_other(m):
    stats = m.ActivationStats(every=2)
    fit(stats, n=5)
    return stats.to_frame().batch.tolist()

def linear_layers(m):
    stats = m.ActivationStats()
    fit(stats, model=nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 1))))
    return [stats.names, stats.to_frame().layer.tolist()]

def a_list_of_modules(m):
    model = net()
    stats = m.ActivationStats([model[2], model[0]])
    fit(stats, model=model)
    return dict(names=stats.names, table=stats.to_frame(), histogram=stats.histogram(0).sum(0))

def a_function_of_a_module(m):
    stats = m.ActivationStats(lambda x: isinstance(x, nn.Linear))
    fit(stats)
    return stats.names

def by_name_and_number(m):
    stats = m.ActivationStats(lambda x: isinstance(x, nn.Linear), bins=5)
    fit(stats)
    return [torch.equal(stats.histogram('2'), stats.histogram(1)), torch.equal(stats.histogram(-1), stats.histogram(1)), tuple(stats.histogram('0').shape), stats.histogram('0').sum(0)]

def calls_in_between(m):
    from mylib.learner import Callback
    class AskCB(Callback):
        order = 10
        def after_loss(self, learn): learn.model(randn(7, 3))
    stats = m.ActivationStats()
    fit(stats, cbs=[AskCB()])
    return stats.to_frame().batch.tolist()

def left_out_of_validate(m):
    stats = m.ActivationStats()
    fit(stats).validate()
    return stats.to_frame().batch.tolist()

def second_fit(m):
    stats = m.ActivationStats()
    learn = fit(stats)
    with learn.no_progress(): learn.fit(1)
    return dict(batches=stats.to_frame().batch.tolist(), hooks_left=n_hooks(learn.model))

def no_trace(m):
    stats = m.ActivationStats()
    return dict(hooks_left=n_hooks(fit(stats).model), histogram_has_graph=stats.histogram(0).requires_grad)

def fails_half_way(m):
    from mylib.learner import Callback
    class FailCB(Callback):
        def after_loss(self, learn):
            if learn.iter == 1: raise ZeroDivisionError
    stats, model = m.ActivationStats(), net()
    try: fit(stats, model=model, cbs=[FailCB()])
    except ZeroDivisionError: pass
    return dict(hooks_left=n_hooks(model), batches=stats.to_frame().batch.tolist())

def how_often_it_waits(m):
    calls = []
    def counted(name):
        real = getattr(torch.Tensor, name)
        return patch.object(torch.Tensor, name, lambda self, *a: (calls.append(name), real(self, *a))[1])
    class Ask(nn.Module):
        def forward(self, x):
            seen.append(len(calls))
            return x
    seen = []
    with counted('item'), counted('tolist'), counted('__float__'), counted('cpu'), counted('numpy'):
        stats = drive(m.ActivationStats(), nn.Sequential(nn.ReLU(), Ask()), *[randn(2, 3, seed=i) for i in range(40)])
    return dict(in_the_first_31_batches=seen[30], batches=stats.to_frame().batch.tolist())

def while_it_runs(m):
    stats, sizes, model = m.ActivationStats(), [], nn.Sequential(nn.ReLU())
    learn = SimpleNamespace(model=model, training=True, iter=0)
    stats.before_fit(learn)
    for _ in range(3):
        stats.before_batch(learn); model(randn(2, 3)); stats.after_predict(learn); stats.cleanup_batch(learn)
        sizes.append(len(stats.to_frame()))
    stats.cleanup_fit(learn)
    return sizes

def images(m): return drive(m.ActivationStats(), nn.Sequential(nn.ReLU()), torch.tensor([[[[1., -2.]], [[-1., -1.]], [[0., 3.]]]])).to_frame()
def half(m): return drive(m.ActivationStats(), nn.Sequential(nn.ReLU()), randn(8, 3).bfloat16()*300).to_frame()
def nothing_yet(m): return list(m.ActivationStats().to_frame().columns)

def no_max(m): m.ActivationStats(max_abs=0)
def every_zero(m): m.ActivationStats(every=0)
def no_bins(m): m.ActivationStats(bins=0)
def strangers(m): fit(m.ActivationStats([nn.ReLU()]))
def nobody(m): fit(m.ActivationStats(lambda x: False))
def unknown_layer(m):
    stats = m.ActivationStats()
    fit(stats)
    stats.histogram('9.9')
def gives_a_tuple(m): drive(m.ActivationStats(lambda x: isinstance(x, nn.LSTM)), nn.Sequential(nn.LSTM(3, 2)), randn(4, 3))

@entry('06.5', level=3, minutes=45, seconds=90, hints=[
    'Draw the life of a batch: when does the ear open, when does it close, when are numbers brought over? And the life of a fit: when are modules looked for, when do the hooks go?',
    '`_measure` gives a vector of numbers for one activation: four, then the counts. Keep these vectors in a list, with the number of the layer and of the batch beside them; `_fold` stacks them all, brings them over with one `cpu` and sorts them into rows and counts.',
    'before_fit finds the modules (`leaf_modules` with `_ACTS`, else `_LAYERS`; a list; a function) and makes `Hooks` that know their number. The hook\'s function returns at once unless the ear is open. cleanup_batch closes it, counts training batches and folds every 32nd time; cleanup_fit removes and folds. to_frame and histogram fold first.'],
    why='The numbers wait on the device, since one `.item()` in each layer of each batch would make a GPU stop there each time. The clean-ups do the closing and not the after_ events, because those are left out when something goes wrong, and a hook that stays doubles every number of the next run.')
def activation_stats():
    full = (net, fit)
    return [case('mean, standard deviation, shares of near-zero values and of dead units', by_hand, also=drive),
            case('a unit is a channel, dead if it is near zero in all images and places', images, also=drive),
            case('the histogram counts magnitudes, one column a batch; what is too large is in the last bin', by_hand_histogram, also=drive),
            case('eps says what is near zero', nearly_zero, also=drive),
            case('by default the activation functions of the model, each training batch', table, also=full),
            case('batches are counted over all epochs', two_epochs, also=full),
            case('every=2 leaves out every other batch', every_other, also=full),
            case('a model without activation functions: its linear layers', linear_layers, also=fit),
            case('a list says which modules, in its order', a_list_of_modules, also=full),
            case('a function of a module picks them', a_function_of_a_module, also=full),
            case('a layer is given by name or by number', by_name_and_number, also=full),
            case('calls of the model in between are not recorded', calls_in_between, also=full),
            case('validate leaves it out', left_out_of_validate, also=full),
            case('a second fit begins anew', second_fit, also=(*full, n_hooks)),
            case('no hook and no graph stays', no_trace, also=(*full, n_hooks)),
            case('after an error no hook stays, and what was recorded is there', fails_half_way, also=(*full, n_hooks)),
            case('the table can be read while it runs', while_it_runs),
            case('numbers are brought over together, not in each batch', how_often_it_waits, also=drive),
            case('half precision is measured in float32', half, also=drive),
            case('before any fit the table has its columns', nothing_yet),
            case('a largest magnitude of 0 is refused', no_max, raises=ValueError, names='max_abs'),
            case('every=0 is refused', every_zero, raises=ValueError, names='every'),
            case('bins=0 is refused', no_bins, raises=ValueError, names='bins'),
            case('a module of another model is refused when the fit begins', strangers, raises=ValueError, names=('modules', 'ReLU'), also=full),
            case('nothing to listen to is an error', nobody, raises=ValueError, names='modules', also=full),
            case('an unknown layer is refused, with those that are known', unknown_layer, raises=ValueError, names=('9.9', "'1'"), also=full),
            case('a layer that gives no tensor is refused, with its name', gives_a_tuple, raises=TypeError, names=('0', 'tuple'), also=drive)]
