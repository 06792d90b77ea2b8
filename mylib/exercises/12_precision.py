"Lesson 12: mixed precision, accumulation, clipping."
import torch
from torch import nn
from torch.nn import functional as F

from mylib.judge import case, entry, randn

inf, nan = float('inf'), float('nan')


def with_gradients(*grads):
    ps = [nn.Parameter(torch.zeros(len(g) if g else 1)) for g in grads]
    for p, g in zip(ps, grads):
        if g: p.grad = torch.tensor(g)
    return ps

def one_good_step(m):
    s, ps = m.DynamicScale(8.), with_gradients([16., -4.], [2.])
    return dict(fine=s.unscale(ps), gradients=[p.grad for p in ps], scale=s.scale)

def in_place(m):
    ps = with_gradients([16., -4.])
    g = ps[0].grad
    m.DynamicScale(8.).unscale(ps)
    return dict(same=ps[0].grad is g, g=g)

def overflows(m):
    out = {}
    for bad in (inf, -inf, nan):
        s = m.DynamicScale(8.)
        out[str(bad)] = dict(fine=s.unscale(with_gradients([1., 2.], [3., bad])), scale=s.scale)
    return out

def scales(m, outcomes, interval=3):
    "The scale after each step; a dot is a good step, an x an overflow."
    s, seen = m.DynamicScale(8., interval), []
    for o in outcomes:
        s.unscale(with_gradients([1. if o == '.' else inf]))
        seen.append(s.scale)
    return seen

def doubled(m): return scales(m, '.......')
def halved_again(m): return scales(m, 'xx.xx')
def in_a_row(m): return scales(m, '..x..x...')
def each_step(m): return scales(m, '..x.', interval=1)

def old_scale(m):
    "The gradients of the step in which the scale doubles."
    s, ps = m.DynamicScale(8., 1), with_gradients([16.])
    s.unscale(ps)
    return ps[0].grad

def without_gradients(m):
    s, ps = m.DynamicScale(8.), with_gradients([16.], None)
    return [s.unscale(ps), ps[0].grad, ps[1].grad]

def no_gradients_at_all(m):
    s = m.DynamicScale(8., interval=1)
    return [s.unscale(with_gradients(None, None)), s.unscale([]), s.scale]

def read_once(m):
    s, ps = m.DynamicScale(8.), with_gradients([16.], [inf])
    return dict(fine=s.unscale(p for p in ps), first=ps[0].grad)

def resumed(m):
    a, b = m.DynamicScale(8., 3), m.DynamicScale(2., 3)
    for _ in range(2): a.unscale(with_gradients([1.]))
    b.load_state_dict(a.state_dict())
    loaded = b.scale
    b.unscale(with_gradients([1.]))
    return dict(loaded=loaded, after_a_third_good_step=b.scale)

def scale_settings(m):
    s = m.DynamicScale()
    return [s.scale, s.interval, type(m.DynamicScale(4).scale).__name__]

def zero_scale(m): m.DynamicScale(0.)
def endless_scale(m): m.DynamicScale(inf)
def zero_interval(m): m.DynamicScale(interval=0)

@entry('12.1', level=2, minutes=20, hints=[
    'Three things happen in `unscale`: the gradients are divided, somebody looks whether all are finite, and the scale is adapted for the next step. In which order, and which steps does `good` count?',
    'Divide in place by the scale that the loss was multiplied by, so before you change it. One number that is not finite, in any gradient, halves the scale and sets `good` back to 0.',
    'Make a list of the gradients that are there; `params` may be a generator. `torch._foreach_mul_` divides all of them, `isfinite` looks. When `good` reaches the interval, double the scale and begin to count again. The constructor refuses a scale that is not a positive number; `_whole` checks the interval.'],
    why='All answers are put together on the device, and only one bool comes to the host: the question whether to step cannot be avoided, but it needs to be asked once. Powers of two change no digit of a gradient, only its exponent, so scaling itself costs no precision.')
def dynamic_scale():
    return [case('the settings are kept, the scale as a float', scale_settings),
            case('gradients are divided by the scale, and the step may be made', one_good_step, also=with_gradients),
            case('the gradients are changed in place', in_place, also=with_gradients),
            case('a gradient that is not finite halves the scale, and the step must be skipped', overflows, also=with_gradients),
            case('each overflow halves it again', halved_again, also=(with_gradients, scales)),
            case('after interval good steps the scale doubles, and counting begins anew', doubled, also=(with_gradients, scales)),
            case('only good steps in a row count', in_a_row, also=(with_gradients, scales)),
            case('an interval of 1 doubles after each good step', each_step, also=(with_gradients, scales)),
            case('the gradients are divided by the scale that their loss had', old_scale, also=with_gradients),
            case('parameters without gradient are passed over', without_gradients, also=with_gradients),
            case('where no parameter has a gradient nothing overflows, and nothing is counted', no_gradients_at_all, also=with_gradients),
            case('parameters that can be read only once', read_once, also=with_gradients),
            case('a loaded state goes on counting where it was', resumed, also=with_gradients),
            case('a scale of 0 is refused', zero_scale, raises=ValueError, names='scale'),
            case('an infinite scale is refused', endless_scale, raises=ValueError, names='scale'),
            case('an interval of 0 is refused', zero_interval, raises=ValueError, names='interval')]


class Model(nn.Module):
    "A linear layer that notes in which dtype it computes."
    def __init__(self, out=None):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.seen, self.out = nn.Linear(3, 1), [], out or (lambda y: y)
    def forward(self, x):
        y = self.layer(x)
        self.seen.append(str(y.dtype))
        return self.out(y)

def learner(*cbs, n=8, size=2, model=None, loss=F.mse_loss):
    from mylib.learner import Learner
    x, y = randn(n, 3), randn(n, 1, seed=1)
    loader = [*zip(x.split(size), y.split(size))]
    return Learner(model or Model(), (loader, loader[:1]), loss, 0.1, cbs=list(cbs))

def autocast_off():
    "Whatever an answer has left on."
    torch.set_autocast_enabled('cpu', False)
    while torch.autocast_increment_nesting() > 1: [torch.autocast_decrement_nesting() for _ in range(2)]
    torch.autocast_decrement_nesting()
    torch.clear_autocast_cache()

def fit(learn, n=1):
    try:
        with learn.no_progress(): learn.fit(n)
    finally:
        learn.left_on = torch.is_autocast_enabled('cpu')
        autocast_off()
    return learn

def watch(event, what, at=100):
    "A callback that notes something at an event."
    from mylib.learner import Callback
    seen = []
    cls = type('WatchCB', (Callback,), {'order': at, event: lambda self, learn: seen.append(what(learn))})
    return cls(), seen

def half_inside(m):
    out = {}
    for dtype in ('bf16', 'fp16', torch.bfloat16):
        cb, seen = watch('after_loss', lambda learn: (str(learn.preds.dtype), str(learn.loss.dtype)))
        learn = fit(learner(m.MixedPrecisionCB(dtype), cb, n=2))
        out[str(dtype)] = dict(model=learn.model.seen, outside=seen, weight=str(learn.model.layer.weight.dtype))
    return out

def autocast_afterwards(m):
    cb, seen = watch('after_predict', lambda learn: torch.is_autocast_enabled('cpu'))
    learn = fit(learner(m.MixedPrecisionCB(), cb, n=2))
    return dict(at_the_loss=seen, afterwards=learn.left_on)

def model_fails(m):
    def fail(y): raise ZeroDivisionError
    learn = learner(m.MixedPrecisionCB(), model=Model(fail))
    try: fit(learn)
    except ZeroDivisionError: return dict(left_on=learn.left_on)

def nested_outputs(m):
    cb, seen = watch('after_predict', lambda learn: [str(learn.preds[0].dtype), str(learn.preds[1]['class'].dtype), str(learn.preds[1]['share'].dtype)])
    outputs = lambda y: (y, {'class': y.detach().long(), 'share': y.detach().double()})
    fit(learner(m.MixedPrecisionCB(), cb, n=2, model=Model(outputs), loss=lambda p, t: F.mse_loss(p[0], t)))
    return seen

def scaled_loss(m):
    "With and without a scale: loss, gradient on the way, and weights afterwards, in fp16."
    out = {}
    for scale in (1., 1024.):
        (a, losses), (b, grads) = watch('after_loss', lambda learn: (learn.training, learn.loss.item())), watch('after_backward', lambda learn: learn.model.layer.weight.grad.clone())
        learn = fit(learner(m.MixedPrecisionCB('fp16', scale), a, b, n=4))
        out[scale] = dict(losses=losses, gradients=grads, weight=learn.model.layer.weight)
    return out

def bf16_unscaled(m):
    cb, losses = watch('after_loss', lambda learn: learn.loss.item())
    fit(learner(m.MixedPrecisionCB('bf16', 1024.), cb, n=2))
    return losses

def too_high(m):
    "A scale at which the first gradients overflow: which steps are made?"
    cb, steps = watch('after_step', lambda learn: learn.iter)
    mine = m.MixedPrecisionCB('fp16', 2.**18)
    learn = fit(learner(mine, cb, n=16))
    return dict(steps=steps, skipped=mine.skipped, finite=bool(learn.model.layer.weight.isfinite().all()))

def all_skipped(m):
    "A fit in which each step overflows."
    mine = m.MixedPrecisionCB('fp16')
    learn = learner(mine, loss=lambda p, t: inf*p.sum())
    before = learn.model.layer.weight.detach().clone()
    fit(learn)
    return dict(skipped=mine.skipped, unchanged=torch.equal(before, learn.model.layer.weight))

def counts_anew(m):
    mine, seen = m.MixedPrecisionCB('fp16'), []
    learn = learner(mine, loss=lambda p, t: inf*p.sum())
    for _ in range(2): seen.append(fit(learn) and mine.skipped)
    with learn.no_progress(): learn.validate()
    autocast_off()
    return dict(fits=seen, after_validation=mine.skipped)

def precision_state(m):
    a, b = m.MixedPrecisionCB('fp16'), m.MixedPrecisionCB('fp16')
    fit(learner(a, loss=lambda p, t: inf*p.sum()))
    b.load_state_dict(a.state_dict())
    return dict(same=a.state_dict() == b.state_dict(), new=m.MixedPrecisionCB('fp16').state_dict() == a.state_dict(), skipped=b.skipped)

def eight_bits(m): m.MixedPrecisionCB('fp8')
def no_half(m): m.MixedPrecisionCB(torch.float32)
def precision_scale(m): m.MixedPrecisionCB('fp16', scale=-1.)

@entry('12.2', level=3, minutes=40, seconds=60, hints=[
    'Autocast is on from before_batch until the predictions are there, and off again whatever happens in between. How do you enter a `with` block in one method and leave it in another, and what if the second is never called?',
    '`torch.autocast(...)` has `__enter__` and `__exit__`. Keep it, leave it in after_predict and, if it is still on, in cleanup_batch. The predictions become float32 with `apply_nested`, only those that are halves. For float16 alone: multiply the loss in after_loss, in training; ask a `DynamicScale` in after_backward.',
    'If `unscale` says no: count it in `skipped`, drop the gradients, raise `CancelBatchException`. The scale and the count begin anew in a fit, but not in a validation on its own. The state is that of the scaler and the count; `_HALVES` knows the names of the dtypes.'],
    why='The Learner cannot put a `with` around the forward pass for a callback, so enter and exit are called by hand, and the clean-up of the batch is what makes that safe. The loss is computed in float32, outside of autocast, because a mean over many terms is where half precision fails first.')
def mixed_precision():
    return [case('the model computes in half precision; predictions, loss and weights are float32', half_inside, also=(Model, learner, fit, watch)),
            case('autocast is off when the loss is computed, and afterwards', autocast_afterwards, also=(learner, fit, watch)),
            case('autocast is off after an error in the model', model_fails, also=(learner, fit)),
            case('nested predictions, of which only halves are converted', nested_outputs, also=(learner, fit, watch)),
            case('in float16 the loss is multiplied by the scale in training, and the gradients are divided by it', scaled_loss, also=(learner, fit, watch), rtol=1e-2, atol=1e-2),
            case('in bfloat16 nothing is scaled', bf16_unscaled, also=(learner, fit, watch), rtol=1e-2),
            case('a step that overflows is skipped and counted, and the weights stay', all_skipped, also=(learner, fit)),
            case('the gradients of a skipped step are dropped; a scale that is too high comes down until the steps are made', too_high, also=(learner, fit, watch)),
            case('each fit counts anew, a validation does not', counts_anew, also=(learner, fit)),
            case('a loaded state holds the scale and the count', precision_state, also=(learner, fit)),
            case('a dtype that is none is refused', eight_bits, raises=ValueError, names='fp8'),
            case('float32 is refused', no_half, raises=ValueError, names='float32'),
            case('a scale below 0 is refused when the callback is made', precision_scale, raises=ValueError, names='scale')]


def steps_made(m, n_acc, n=8, size=2, epochs=1):
    cb, steps = watch('after_step', lambda learn: (learn.epoch, learn.iter))
    fit(learner(m.GradientAccumulationCB(n_acc), cb, n=n, size=size), epochs)
    return steps

def every_second(m): return steps_made(m, 4)
def not_divisible(m): return steps_made(m, 5, n=12)
def end_of_epoch(m): return steps_made(m, 6, epochs=2)
def more_than_there_is(m): return steps_made(m, 100)
def no_accumulation(m): return steps_made(m, 1)

def weights(m, n_acc, n=8, size=2, epochs=1): return fit(learner(m.GradientAccumulationCB(n_acc), n=n, size=size), epochs).model.layer.weight

def like_a_large_batch(m): return {'accumulated': weights(m, 4, epochs=3), 'of 4': fit(learner(size=4), 3).model.layer.weight}
def smaller_last(m): return {'accumulated': weights(m, 6, n=8), 'of 6': fit(learner(size=6)).model.layer.weight}
def odd_batches(m): return {'accumulated': weights(m, 6, n=9, size=3), 'with a last one of 1': weights(m, 4, n=7, size=3)}
def larger_than_asked(m): return {'accumulated': weights(m, 3, n=8, size=4), 'as it is': fit(learner(size=4)).model.layer.weight}

def gradient_between(m):
    "What is in .grad after each batch, and after the fit."
    cb, seen = watch('cleanup_batch', lambda learn: learn.model.layer.weight.grad is not None)
    learn = fit(learner(m.GradientAccumulationCB(4), cb))
    return dict(kept=seen, after_the_fit=learn.model.layer.weight.grad)

def validation_loss(m):
    cb, seen = watch('after_loss', lambda learn: None if learn.training else learn.loss.item())
    fit(learner(m.GradientAccumulationCB(4), cb))
    return [v for v in seen if v is not None]

def stopped_half_way(m):
    from mylib.learner import Callback, CancelFitException
    class StopCB(Callback):
        order = 10
        def before_batch(self, learn):
            if learn.training and learn.iter == 3: raise CancelFitException
    return dict(gradient=fit(learner(m.GradientAccumulationCB(4), StopCB())).model.layer.weight.grad)

def cut_short(m):
    "The gradients of all steps; in the first epoch there is only half of one."
    from mylib.learner import Callback, CancelEpochException
    class CutCB(Callback):
        order = 10
        def before_batch(self, learn):
            if learn.training and learn.epoch == 0 and learn.iter == 1: raise CancelEpochException
    cb, seen = watch('after_backward', lambda learn: learn.model.layer.weight.grad.clone())
    fit(learner(m.GradientAccumulationCB(4), CutCB(), cb), 2)
    return seen

def no_length(m):
    class Endless:
        def __iter__(self): return iter([(randn(2, 3), randn(2, 1, seed=1))])
    from mylib.learner import Learner
    fit(Learner(Model(), (Endless(), None), F.mse_loss, 0.1, cbs=m.GradientAccumulationCB(4)))

def zero_samples(m): m.GradientAccumulationCB(0)
def n_acc(m): return [m.GradientAccumulationCB().n_acc, m.GradientAccumulationCB(8).n_acc]

@entry('12.3', level=3, minutes=35, seconds=60, hints=[
    '`backward` adds to what is in .grad. So what must not happen after most batches, and what is wrong with the sum if the batches have different sizes?',
    'Count the samples since the last step. Each loss is a mean over its batch, so weigh it by its number of samples before backward; when the step comes, the gradient must be divided by the number that came together. A `CancelBatchException` in after_backward leaves out step and zero_grad.',
    'Weigh with n/n_acc in training, and if at the step the count is not n_acc, multiply the gradients by n_acc/seen. The step comes when n_acc are together or the epoch ends (`learn.iter + 1 == learn.n_iter`); then count anew. Where an epoch begins, no gradient may be left that no step used. A training loader without len is a TypeError in before_epoch.'],
    why='Dividing by n_acc at once, and correcting only at a step with another count, keeps the accumulated gradients on one scale and costs nothing in the usual case. An epoch ends with a step, so that its last samples are not lost and no half sum goes into the next epoch.')
def accumulation():
    return [case('the number of samples is kept, 64 by default', n_acc),
            case('two batches of 2 make a step of 4', every_second, also=(learner, fit, watch, steps_made)),
            case('a step when at least n_acc are together', not_divisible, also=(learner, fit, watch, steps_made)),
            case('a step at the end of each epoch, and counting begins anew', end_of_epoch, also=(learner, fit, watch, steps_made)),
            case('an n_acc larger than the epoch gives one step for each', more_than_there_is, also=(learner, fit, watch, steps_made)),
            case('an n_acc of 1 steps after each batch', no_accumulation, also=(learner, fit, watch, steps_made)),
            case('the weights are those of training with large batches', like_a_large_batch, also=(learner, fit, weights)),
            case('the remainder at the end of an epoch counts as the batch that it is', smaller_last, also=(learner, fit, weights)),
            case('batches of different size count by their samples', odd_batches, also=(learner, fit, weights)),
            case('batches that are larger than n_acc give the plain mean', larger_than_asked, also=(learner, fit, weights)),
            case('gradients are kept between steps and dropped after them', gradient_between, also=(learner, fit, watch)),
            case('the loss in validation is not changed', validation_loss, also=(learner, fit, watch)),
            case('a fit that is stopped half way leaves no gradient behind', stopped_half_way, also=(learner, fit)),
            case('what an epoch that is cut short has gathered goes into no step', cut_short, also=(learner, fit, watch)),
            case('a training loader without len is refused', no_length, raises=TypeError, names='len', also=fit),
            case('an n_acc of 0 is refused', zero_samples, raises=ValueError, names='n_acc')]


def clipped(m, max_norm, grads):
    "The gradients of three parameters, behind the callback; None is a parameter that was not used."
    from mylib.learner import Learner
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = nn.ParameterList([torch.zeros(2) for _ in grads])
        def forward(self, x): return sum((w*torch.tensor(g)).sum() for w, g in zip(self.weights, grads) if g)
    cb, seen = watch('after_backward', lambda learn: [None if w.grad is None else w.grad.clone() for w in learn.model.weights])
    loader = [(torch.zeros(1), torch.tensor(0.))]
    fit(Learner(Sum(), (loader, None), lambda p, t: p, 0.1, cbs=[m.GradientClipCB(max_norm), cb]))
    return seen[0]

def one_long(m): return clipped(m, 1., [[3., 4.]])
def one_short(m): return clipped(m, 1., [[0.3, -0.4]])
def exact_length(m): return clipped(m, 5., [[3., 4.]])
def together(m): return clipped(m, 1., [[3., 0.], [0., 4.]])
def each_below(m): return clipped(m, 1., [[0.8, 0.], [0., 0.8], [0.8, 0.]])
def other_length(m): return clipped(m, 10., [[30., 0.], [0., -40.]])
def unused(m): return clipped(m, 1., [[3., 4.], None, [0., 12.]])
def no_gradient(m): return clipped(m, 1., [[0., 0.]])

def max_norm(m): return [m.GradientClipCB().max_norm, m.GradientClipCB(0.5).max_norm]
def zero_norm(m): m.GradientClipCB(0.)
def nan_norm(m): m.GradientClipCB(nan)
def endless_norm(m): m.GradientClipCB(inf)

@entry('12.4', level=2, minutes=15, hints=[
    'How long are all gradients together, as one vector? And what must the factor be for a gradient that is short enough?',
    'The norm of the norms is the norm of the whole. One factor for all of them, max_norm over that norm, but never more than 1: short gradients are not stretched.',
    'Collect the gradients that are there from the groups of `learn.opt`, take their norms, and multiply all in place. A tiny number in the denominator saves you from 0/0. The constructor wants a number above 0 and below infinity.'],
    why='The factor stays a tensor on the device and is clamped there: an `if` would ask the GPU for the norm and wait for it in each step. All gradients are shortened by one factor, because a factor for each would change the direction of the step.')
def clipping():
    return [case('the greatest norm is kept, 1 by default', max_norm),
            case('a gradient that is too long is shortened to max_norm, in its direction', one_long, also=clipped),
            case('a gradient that is short enough stays as it is', one_short, also=clipped),
            case('a gradient of exactly that length stays as it is', exact_length, also=clipped),
            case('all gradients together have the length, and get one factor', together, also=clipped),
            case('gradients that are short each can be too long together', each_below, also=clipped),
            case('another max_norm', other_length, also=clipped),
            case('parameters that were not used have no gradient', unused, also=clipped),
            case('a gradient of zeros does not become nan', no_gradient, also=clipped),
            case('a max_norm of 0 is refused', zero_norm, raises=ValueError, names='max_norm'),
            case('a max_norm that is no number is refused', nan_norm, raises=ValueError, names='max_norm'),
            case('an infinite max_norm is refused', endless_norm, raises=ValueError, names='max_norm')]
