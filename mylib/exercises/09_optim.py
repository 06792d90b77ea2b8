"Lesson 09: optimizers, one part at a time."
from collections import defaultdict

import torch

from mylib.judge import case, entry, randn


def described(p): return dict(kind=type(p).__name__, state=list(p.state), whole=p.whole, numbers=[f(dict(lr=0.1, wd=3.), 2) for f in p.numbers])

def no_state(m):
    @m.part(size=lambda h, t: -h['lr'])
    def move(b, size): pass
    return described(move)

def state_and_whole(m):
    @m.part('average', 'step', whole=True)
    def look(b): pass
    return described(look)

def own_order(m):
    @m.part(second=lambda h, t: h['wd'], first=lambda h, t: h['lr']*t)
    def two(b, first, second): pass
    return described(two)

def function_is_kept(m):
    def f(b, size): b.append(size)
    made, b = m.part(size=lambda h, t: 1.)(f), []
    made.f(b, 5)
    return [made.f.__name__, b]

def as_a_key(m):
    @m.part('average', size=lambda h, t: 1.)
    def f(b, size): pass
    return {f: 'compiled'}[f]

def wrong_name(m):
    @m.part(length=lambda h, t: 1.)
    def walk(b, size): pass

def one_missing(m):
    @m.part(size=lambda h, t: 1.)
    def walk(b, size, keep): pass

def one_too_many(m):
    @m.part(size=lambda h, t: 1., keep=lambda h, t: 1.)
    def walk(b, size): pass

@entry('09.1', level=2, minutes=15, hints=[
    'A decorator with arguments is a function that gives a function. What does the inner one get, and how does it find out which numbers that function wants?',
    '`inspect.signature(f).parameters` has the argument names in their order; the first of them is the bundle. The optimizer will call the functions of a `Part` one after the other and pass on what they give by position.',
    'Compare the wanted names with the given ones as sets and refuse a difference with a TypeError that holds the name of the function and both. Then make the `Part`; its numbers are a tuple, in the order of the signature, not in the order of the keywords.'],
    why='A number that is missing or misspelt is told when the part is written, not in the first step of a training. Tuples, because a Part has to be hashable: the compiled steps are kept in a cache by their parts.')
def part():
    return [case('a part holds its numbers as functions of hyper-parameters and step', no_state, also=described),
            case('the names of the state, and whether it needs whole tensors', state_and_whole, also=described),
            case('the numbers come in the order of the arguments, whatever the order of the keywords', own_order, also=described),
            case('the function stays as it is', function_is_kept),
            case('a part can be the key of a dict', as_a_key),
            case('a number of another name is refused, with the function and both names', wrong_name, raises=TypeError, names=('walk', 'size', 'length')),
            case('a number that is missing is refused', one_missing, raises=TypeError, names=('walk', 'keep')),
            case('a number that nobody takes is refused', one_too_many, raises=TypeError, names=('walk', 'keep'))]


def steps(opt, p, n):
    "The parameter after each of n steps, and the last gradient."
    out = []
    for t in range(n):
        p.grad = randn(*p.shape, seed=t) + p.detach()
        opt.step()
        out.append(p.detach().clone())
    return dict(weights=out, gradient=p.grad)

def bundle(m, **state):
    "Two parameters and their gradients, as a part sees them."
    return m._Bundle([torch.tensor([1., 2.]), torch.tensor([[4.]])], [torch.tensor([1., -1.]), torch.tensor([[0.]])], state)

def one_sgd_step(m):
    b = bundle(m)
    m.sgd_step.f(b, -0.5)
    return dict(weights=list(b.p), gradients=list(b.g))

def one_decay(m):
    b = bundle(m)
    m.decay.f(b, 0.75)
    return dict(weights=list(b.p), gradients=list(b.g))

def one_l2(m):
    b = bundle(m)
    m.l2.f(b, 2.)
    return dict(gradients=list(b.g), weights=list(b.p))

def whose_gradient(m):
    b = bundle(m)
    users = b.g
    m.l2.f(b, 2.)
    return list(users)

def sgd_numbers(m):
    h = dict(lr=0.1, weight_decay=0.3)
    return [q.numbers[0](h, t) for q in (m.l2, m.decay, m.sgd_step) for t in (1, 2)]

def decayed_steps(m):
    p, q = (torch.nn.Parameter(randn(2, 2, seed=9)) for _ in range(2))
    with_l2, with_decay = m.Optimizer([p], [m.l2, m.sgd_step], lr=0.1, weight_decay=0.3), m.Optimizer([q], [m.decay, m.sgd_step], lr=0.1, weight_decay=0.3)
    return dict(l2=steps(with_l2, p, 2), decay=steps(with_decay, q, 2))

def with_nesterov(m):
    p = torch.nn.Parameter(randn(2, 2, seed=9))
    return steps(m.Optimizer([p], [m.l2, m.momentum, m.nesterov, m.sgd_step], lr=0.1, weight_decay=0.3, momentum=0.9), p, 3)

@entry('09.2', level=1, minutes=10, hints=[
    'These are the three steppers from above, on lists: b.p are parameters, b.g their gradients. Which of the three may change its list in place, and which may not, because its tensors are the user\'s?',
    'Parameters are there to be changed, so `_mul_` and `_add_` fit them. The gradients are `p.grad` itself: L2 needs new tensors, from `_plus`, in the place of `b.g`.',
    'The numbers that come are ready to use: `size` has the minus and the rate in it, `keep` is what remains. After L2, note in `b.own` that the gradients are now ours to overwrite.'],
    why='A gradient that was changed in place would be wrong for everybody who reads p.grad later, and in the second step of an accumulation. b.own says that b.g is a fresh copy, so that a later part, Nesterov\'s, may save itself another.')
def l2_decay_sgd():
    return [case('a step adds size times the gradient to each parameter', one_sgd_step, also=bundle),
            case('decay multiplies the parameters and leaves the gradients alone', one_decay, also=bundle),
            case('L2 adds its share of the parameter to the gradient, and does not move the parameter', one_l2, also=bundle),
            case("the user's gradients stay as they were", whose_gradient, also=bundle),
            case('the numbers are weight_decay, 1 - lr*weight_decay and -lr', sgd_numbers),
            case('in an optimizer: both kinds of decay, two steps each', decayed_steps, also=steps),
            case('in an optimizer: with momentum and Nesterov behind it', with_nesterov, also=steps)]


def first_gradient(m):
    b = bundle(m, momentum_buffer=[torch.zeros(2), torch.zeros(1, 1)])
    m.momentum.f(b, 0.9, 1.)
    return dict(buffer=list(b.momentum_buffer), gradient=list(b.g))

def second_gradient(m):
    b = bundle(m, momentum_buffer=[torch.tensor([10., 20.]), torch.tensor([[30.]])])
    m.momentum.f(b, 0.5, 0.25)
    return dict(buffer=list(b.momentum_buffer), gradient=list(b.g))

def same_buffer(m):
    kept = [torch.ones(2), torch.ones(1, 1)]
    m.momentum.f(bundle(m, momentum_buffer=kept), 0.5, 1.)
    return kept

def plain_gradient(m):
    b = bundle(m, momentum_buffer=[torch.ones(2), torch.ones(1, 1)])
    users = b.g
    m.momentum.f(b, 0.5, 0.25)
    return dict(users=list(users), grad=list(b.grad))

def dampening(m):
    h = dict(momentum=0.9, dampening=0.75)
    return [[f(h, t) for f in m.momentum.numbers] for t in (1, 2, 3)]

def no_dampening(m): return [[f(dict(momentum=0.9), t) for f in m.momentum.numbers] for t in (1, 2)]

def momentum_steps(m):
    p = torch.nn.Parameter(randn(2, 2, seed=9))
    return steps(m.SGD([p], lr=0.1, momentum=0.9, dampening=0.5), p, 4)

def nesterov_steps(m):
    p = torch.nn.Parameter(randn(2, 2, seed=9))
    return steps(m.SGD([p], lr=0.1, momentum=0.9, nesterov=True), p, 3)

@entry('09.3', level=2, minutes=10, hints=[
    'The buffer remembers, so it has to be changed in place. What do the parts behind this one move along, and where will Nesterov find the plain gradient, which it needs too (as `b.grad`)?',
    'Shrink the buffer by `beta`, add `new` times the gradient to it, both in place with the vocabulary. Then the buffer takes the place of `b.g`.',
    'Before `b.g` is overwritten, keep what it was as `b.grad`; one assignment can do both. Neither list of gradients is changed.'],
    why='No copy is made: b.g is the buffer itself, and the next part only reads it. The first step takes the whole gradient and dampens from the second on, because a state has to be exchangeable with PyTorch\'s, which does so.')
def momentum():
    return [case('the first gradient goes into the buffer, and the buffer takes its place', first_gradient, also=bundle),
            case('the past counts beta, the gradient counts new', second_gradient, also=bundle),
            case('the buffer is changed in place, so that it is there in the next step', same_buffer, also=bundle),
            case("the user's gradients are not changed, and stay within reach as b.grad", plain_gradient, also=bundle),
            case('dampening applies from the second step on', dampening),
            case('a method without dampening, such as LARS, takes each gradient whole', no_dampening),
            case('four steps of SGD with momentum and dampening', momentum_steps, also=steps),
            case('three steps with Nesterov behind it', nesterov_steps, also=steps)]


H = dict(share=0.75, lr=0.1)

def averaged(m):
    q = m.average('mean', lambda h: h['share'])
    b = bundle(m, mean=[torch.tensor([10., 20.]), torch.tensor([[30.]])])
    q.f(b, *[f(H, 1) for f in q.numbers])
    return dict(mean=list(b.mean), gradients=list(b.g), state=list(q.state))

def averaged_in_place(m):
    q, kept = m.average('mean', lambda h: h['share']), [torch.ones(2), torch.ones(1, 1)]
    q.f(bundle(m, mean=kept), *[f(H, 1) for f in q.numbers])
    return kept

def squared(m):
    q = m.square('power', lambda h: h['share'])
    b = bundle(m, power=[torch.tensor([10., 20.]), torch.tensor([[30.]])])
    q.f(b, *[f(H, 1) for f in q.numbers])
    return dict(power=list(b.power), gradients=list(b.g), state=list(q.state))

def squared_in_place(m):
    q, kept = m.square('power', lambda h: h['share']), [torch.ones(2), torch.ones(1, 1)]
    q.f(bundle(m, power=kept), *[f(H, 1) for f in q.numbers])
    return kept

def as_sq(m):
    q = m.square('power', lambda h: h['share'])
    b = bundle(m, power=[torch.ones(2), torch.ones(1, 1)])
    q.f(b, *[f(H, 1) for f in q.numbers])
    return list(b.sq)

def two_side_by_side(m):
    quick, slow = m.average('quick', lambda h: 0.5), m.average('slow', lambda h: 0.9)
    b = bundle(m, quick=[torch.zeros(2), torch.zeros(1, 1)], slow=[torch.zeros(2), torch.zeros(1, 1)])
    for q in (quick, slow): q.f(b, *[f(H, 1) for f in q.numbers])
    return dict(quick=list(b.quick), slow=list(b.slow))

def schedule(m):
    "The share of the past changes between two steps."
    q, seen = m.average('mean', lambda h: h['share']), []
    b = bundle(m, mean=[torch.zeros(2), torch.zeros(1, 1)])
    for share in (0.5, 0.): q.f(b, *[f(dict(share=share), 1) for f in q.numbers]); seen.append([v.clone() for v in b.mean])
    return seen

def rmsprop_steps(m):
    p, q = (torch.nn.Parameter(randn(2, 2, seed=9)) for _ in range(2))
    return dict(plain=steps(m.RMSProp([p], lr=0.1, alpha=0.9), p, 4), centred=steps(m.RMSProp([q], lr=0.1, alpha=0.9, centered=True), q, 4))

def shown(m): return [m.average('mean', lambda h: 0.5).f.__name__, m.square('power', lambda h: 0.5).f.__name__]

@entry('09.4', level=2, minutes=20, hints=[
    'Each is a function that defines a part and returns it. The name of the state is known only when it is called: how do you reach an attribute of `b` whose name is in a variable, and how would the optimizer show the part under that name?',
    'An exponential average keeps the share beta of the past and takes 1 - beta of what is new. For the gradient `_lerp_` does both at once; for the square there are `_mul_` and `_addcmul_`. All in place.',
    'Define `f(b, ...)` inside, set `f.__name__` to the name, and give it to `part(name, ...)` with functions of `h` and `t` that call `beta(h)`. `square` also puts its list into `b.sq`.'],
    why='beta is a function of the hyper-parameters and is asked in each step, because a schedule may change it. b.sq is a second name for the same list: AMSGrad puts another list there, and what divides by the root need not know which it got.')
def average_and_square():
    return [case('an average keeps its share of the past and takes the rest from the gradient', averaged, also=bundle),
            case('the average is changed in place, so that it is there in the next step', averaged_in_place, also=bundle),
            case('the same for the square of the gradient', squared, also=bundle),
            case('the mean square is changed in place too', squared_in_place, also=bundle),
            case('the mean square can be found as b.sq', as_sq, also=bundle),
            case('two averages of different name do not disturb each other', two_side_by_side, also=bundle),
            case('the share of the past is asked in each step', schedule, also=bundle),
            case('four steps of RMSProp, plain and centred', rmsprop_steps, also=steps),
            case('a part goes by the name of its state', shown)]


def root(m):
    b = bundle(m, square_avg=[torch.tensor([4., 9.]), torch.tensor([[0.]])])
    b.sq = b.square_avg
    m.rms.f(b, 0.5)
    return dict(denom=list(b.denom), state=list(b.square_avg))

def divided(m):
    b = bundle(m)
    b.denom = [torch.tensor([2., 4.]), torch.tensor([[10.]])]
    m.rms_step.f(b, -0.5)
    return dict(weights=list(b.p), gradients=list(b.g), denom=list(b.denom))

def any_scale(m):
    "With alpha = 0 each step is lr long, whatever the size of the gradient."
    p = torch.nn.Parameter(torch.zeros(4))
    opt = m.Optimizer([p], [m.square_avg, m.rms, m.rms_step], lr=0.25, alpha=0., eps=1e-12)
    p.grad = torch.tensor([1e-3, -1., 1e3, 0.])
    opt.step()
    return p

def four_steps(m):
    p = torch.nn.Parameter(randn(2, 2, seed=9))
    return steps(m.RMSProp([p], lr=0.1, alpha=0.9, eps=0.1), p, 4)

@entry('09.5', level=1, minutes=8, hints=[
    'A divisor, and a step that divides. The average of squares stands in `b.sq`; is it still needed after this step?',
    'The vocabulary has a root plus eps in two forms, one that makes new tensors and one that works in place. The step adds a quotient, times a number, to the parameter: that is one word of the vocabulary too.',
    '`_root`, not `_root_`, since the average is state, and its result goes to `b.denom`. Then `_addcdiv_` with the parameters, the gradients, the divisor and `size`, which holds the minus and the rate.'],
    why='Divisor and step are two parts, since centred RMSProp and Adam have other divisors, and momentum behind the division has another step: each is changed by itself. eps is added outside the root, as in PyTorch; inside of it, it would have to be its square to have the same effect.')
def rms_and_step():
    return [case('the divisor is the root of the mean square, plus eps; the state stays as it is', root, also=bundle),
            case('each parameter moves by size times its gradient, divided', divided, also=bundle),
            case('if only the last gradient counts, every step is lr long', any_scale),
            case('four steps of RMSProp', four_steps, also=steps)]


ADAM = dict(lr=0.1, betas=(0.5, 0.75), eps=1e-3)

def shortfall(m): return [m._bias(ADAM, t, i) for i in (0, 1) for t in (1, 2)]
def scale(m): return [m._scale(ADAM, t) for t in (1, 2, 1000)]

def divisor(m):
    b = bundle(m, exp_avg_sq=[torch.tensor([4., 9.]), torch.tensor([[0.]])])
    b.sq = b.exp_avg_sq
    m.debiased_rms.f(b, 0.5)
    return dict(denom=list(b.denom), state=b.exp_avg_sq)

def which_square(m):
    b = bundle(m, exp_avg_sq=[torch.tensor([4., 9.]), torch.tensor([[0.]])])
    b.sq = [torch.tensor([16., 25.]), torch.tensor([[1.]])] # as AMSGrad leaves it
    m.debiased_rms.f(b, 0.)
    return list(b.denom)

def divided_step(m):
    b = bundle(m, exp_avg=[torch.tensor([6., 8.]), torch.tensor([[1.]])])
    b.denom = [torch.tensor([2., 4.]), torch.tensor([[10.]])]
    m.adam_step.f(b, -0.5)
    return dict(weights=list(b.p), average=list(b.exp_avg))

def first_step(m):
    p = torch.nn.Parameter(torch.zeros(3))
    opt = m.Adam([p], lr=0.1)
    p.grad = torch.tensor([1e-3, -1., 1e3])
    opt.step()
    return p

def adam_steps(m):
    p = torch.nn.Parameter(randn(2, 2, seed=9))
    return steps(m.Adam([p], **ADAM), p, 5)

def adamw_amsgrad(m):
    p = torch.nn.Parameter(randn(2, 2, seed=9))
    return steps(m.AdamW([p], **ADAM, weight_decay=0.1, amsgrad=True), p, 5)

def lamb_steps(m):
    p = torch.nn.Parameter(randn(2, 2, seed=9))
    return steps(m.LAMB([p], **ADAM), p, 3)

@entry('09.6', level=2, minutes=20, hints=[
    'An average from zero with the share beta has gathered the weight 1 - beta^t after t steps: that is `_bias`, for beta number i. Now put both divisions into the formula of the step. Which parts of it are the same for every weight?',
    'mhat/(sqrt(vhat) + eps) with mhat = m/bias0 and vhat = v/bias1: multiply above and below by sqrt(bias1). What is left in front of m is `_scale`; what becomes of eps stands in the decorator already.',
    '`debiased_rms` puts the root of `b.sq` plus eps, as new tensors, into `b.denom` (`_root`, not `_root_`: the square is state). `adam_step` adds `size` times `b.exp_avg` divided by `b.denom`, with `_addcdiv_`.'],
    why='Both corrections are one number per step instead of two passes over all weights: no mhat and no vhat is ever stored. Dropping b.g frees the gradient\'s copy, where there is one, before the divisor is allocated, which lowers the peak of memory.')
def adam():
    return [case('the weight gathered after t steps, for both averages', shortfall),
            case('the factor of both corrections, close to 1 in the long run', scale),
            case('the divisor is the root of the mean square plus eps, and the state stays as it is', divisor, also=bundle),
            case('the root is of b.sq, which AMSGrad has replaced', which_square, also=bundle),
            case('the average is divided, times the size, and added', divided_step, also=bundle),
            case('the first step is lr long for every weight, whatever its gradient', first_step),
            case('five steps of Adam', adam_steps, also=steps),
            case('five steps of AdamW with AMSGrad', adamw_amsgrad, also=steps),
            case("three steps of LAMB, which uses the same factor", lamb_steps, also=steps)]


def largest(m):
    b = bundle(m, max_exp_avg_sq=[torch.tensor([4., 1.]), torch.tensor([[0.]])], exp_avg_sq=[torch.tensor([2., 3.]), torch.tensor([[5.]])])
    b.sq = b.exp_avg_sq
    m.running_max.f(b)
    return dict(max_exp_avg_sq=list(b.max_exp_avg_sq), exp_avg_sq=list(b.exp_avg_sq), sq=list(b.sq))

def largest_in_place(m):
    kept = [torch.ones(2), torch.zeros(1, 1)]
    b = bundle(m, max_exp_avg_sq=kept, exp_avg_sq=[torch.tensor([2., 0.]), torch.tensor([[5.]])])
    b.sq = b.exp_avg_sq
    m.running_max.f(b)
    return kept

AMS = dict(ADAM, weight_decay=0., amsgrad=False, decoupled_weight_decay=False)

def one_big_gradient(m):
    "Steps after a large gradient, with Adam and with AMSGrad."
    out = {}
    for amsgrad in (False, True):
        p, h = torch.nn.Parameter(torch.zeros(1)), dict(AMS, amsgrad=amsgrad)
        opt, out[f'amsgrad={amsgrad}'] = m.Optimizer([p], m.adam_parts, **h), []
        for g in (10., 0.1, 0.1, 0.1, 0.1):
            p.grad = torch.tensor([g])
            opt.step()
            out[f'amsgrad={amsgrad}'].append(p.item())
    return out

def by_parts(m, **h):
    p = torch.nn.Parameter(randn(2, 2, seed=9))
    return steps(m.Optimizer([p], m.adam_parts, **{**AMS, **h}), p, 4)

def plain_adam(m): return by_parts(m)
def into_the_gradient(m): return by_parts(m, weight_decay=0.3)
def onto_the_weights(m): return by_parts(m, weight_decay=0.3, decoupled_weight_decay=True)
def all_together(m): return by_parts(m, weight_decay=0.3, decoupled_weight_decay=True, amsgrad=True)

def what_is_kept(m):
    "Names of the state, for each combination."
    return {f'amsgrad={a}, weight_decay={w}': sorted({k for q in m.adam_parts(dict(AMS, amsgrad=a, weight_decay=w)) for k in q.state}) for a in (False, True) for w in (0., 0.1)}

def without_decay(m): return [len(m.adam_parts(dict(AMS, weight_decay=w))) - len(m.adam_parts(AMS)) for w in (0., 0.1)]

@entry('09.7', level=2, minutes=20, hints=[
    'AMSGrad changes one thing, what the root is taken of. And in the list of Adam\'s parts: which must come before the averages, and which after?',
    '`running_max` raises its state to `b.sq` where that is larger, and then stands in for it: `b.sq` becomes its list. L2 changes the gradient, so it comes first; the decoupled decay changes the weights and comes before the step.',
    'Decay if there is any (`decay` or `l2`, as `decoupled_weight_decay` says), `step_count`, both averages, the maximum if asked for, `debiased_rms`, `adam_step`. The maximum is taken in place with `_maximum_`; the average itself must not change, it goes on from where it was.'],
    why='Only a name is handed on: b.sq points to the maximum, and the parts behind it need not know that there is such a thing. The state of plain Adam has no maximum, so who does not ask for it does not pay a third copy of the model. PyTorch keeps the maximum of the uncorrected averages, and so do we, since states have to be exchangeable.')
def amsgrad():
    return [case('the largest mean square so far, in its place as b.sq; the average itself stays', largest, also=bundle),
            case('the maximum is changed in place, so that it is there in the next step', largest_in_place, also=bundle),
            case('four steps of Adam', plain_adam, also=(by_parts, steps)),
            case('L2 goes through the averages', into_the_gradient, also=(by_parts, steps)),
            case('decoupled, the decay does not', onto_the_weights, also=(by_parts, steps)),
            case('after one large gradient, AMSGrad goes on with small steps', one_big_gradient),
            case('decoupled decay and AMSGrad together', all_together, also=(by_parts, steps)),
            case('the state has the names of PyTorch, the step among them, and a maximum only where it is asked for', what_is_kept),
            case('without decay there is no part for it', without_decay)]


LAYERS = [torch.tensor([3., 4.]), torch.tensor([[6.], [8.]]), torch.zeros(2), torch.tensor([1., 0.])]
GRADS = [torch.tensor([0., 2.]), torch.tensor([[1.], [0.]]), torch.tensor([1., 1.]), torch.zeros(2)]

def layers(m, **state): return m._Bundle([p.clone() for p in LAYERS], [g.clone() for g in GRADS], state)

def of_two_layers(m):
    b = layers(m)
    return list(m._ratios(b, 0.5, 0.))[:2]

def of_all_layers(m): return list(m._ratios(layers(m), 0.5, 0.1))

def lars_gradient(m):
    b = layers(m)
    m.layer_rates.f(b, 0.2, 0.5, 0.1)
    return list(b.g)

def lars_leaves(m):
    b = layers(m)
    users = b.g
    m.layer_rates.f(b, 0.2, 0.5, 0.1)
    return dict(gradients=list(users), weights=list(b.p))

def lamb_gradient(m):
    b = layers(m)
    m.scale_to_weights.f(b)
    return list(b.g)

def as_long_as_the_weights(m):
    b = layers(m)
    m.scale_to_weights.f(b)
    return [g.norm()/p.norm() for g, p in zip(b.g[:2], b.p)]

def direction(m):
    b = layers(m, exp_avg=[torch.tensor([6., 8.]), torch.ones(2, 1), torch.zeros(2), torch.ones(2)])
    b.denom = [torch.tensor([2., 4.]), torch.full((2, 1), 0.5), torch.ones(2), torch.ones(2)]
    m.adam_direction.f(b, 3.)
    return dict(direction=list(b.g), average=list(b.exp_avg))

def subtracted(m):
    b = layers(m)
    m.subtract.f(b, -1.)
    return dict(weights=list(b.p), gradients=list(b.g))

def lars_steps(m):
    p = torch.nn.Parameter(randn(2, 2, seed=9))
    return steps(m.LARS([p], lr=0.1, momentum=0.9, weight_decay=0.1), p, 4)

def lamb_with_decay(m):
    p = torch.nn.Parameter(randn(2, 2, seed=9))
    return steps(m.LAMB([p], lr=0.1, weight_decay=0.1), p, 4)

@entry('09.8', level=3, minutes=30, hints=[
    'All of it is about two lengths, tensor by tensor. `torch._foreach_norm` gives the norms of a list. Where do the formulas differ: which vector is measured, and what is multiplied in the end?',
    '`_ratios` is the formula of LARS with `b.p` and `b.g` as they are; LAMB uses it with a trust of 1 and no decay. Where one of the norms is 0 the ratio is 1: `torch.where` on the two norms. `torch._foreach_mul` takes a list of factors.',
    'In `layer_rates` the ratios come first, from the plain gradient; then the decay is added with `_plus` (the gradients are the user\'s) and the sum is multiplied by rate times ratio. `adam_direction` is average over divisor in new tensors, times the scale. `scale_to_weights` and `subtract` are one line each.'],
    why='The trust ratio makes the step of each tensor a share of its weights, so one rate serves layers whose gradients differ a thousandfold. torch.where on the device avoids asking whether a norm is zero, which would make a GPU wait once per tensor. LARS has its rate inside the buffer, so that a change of rate acts on new gradients only; for that there is a step of its own.')
def layerwise():
    return [case('the ratio is trust times the norm of the weights over that of the gradient, for each tensor', of_two_layers, also=layers),
            case('the decay adds to the lower norm; where a norm is 0 the ratio is 1', of_all_layers, also=layers),
            case('LARS: the gradient with its decay, times the rate and the ratio', lars_gradient, also=layers),
            case("the user's gradients and the weights stay as they were", lars_leaves, also=layers),
            case('LAMB: each tensor of the step times the ratio of the norms', lamb_gradient, also=layers),
            case('so it is as long as its weights', as_long_as_the_weights, also=layers),
            case('the average divided, times the scale; the state stays', direction, also=layers),
            case('the last step moves by minus what the gradient has become', subtracted, also=layers),
            case('four steps of LARS, with momentum and decay', lars_steps, also=steps),
            case('four steps of LAMB, with decay', lamb_with_decay, also=steps)]


def block(m, how, params, size=4, parts=None):
    h = dict(lr=0.1, betas=(0.5, 0.75), eps=1e-3)
    return m._Block(h, parts or (m.exp_avg, m.sgd_step), params, defaultdict(dict), how, size, 0)

def some(*shapes):
    ps = [torch.nn.Parameter(randn(*s, seed=i)) for i, s in enumerate(shapes)]
    for i, p in enumerate(ps): p.grad = randn(*p.shape, seed=10 + i)
    return ps

@torch.no_grad()
def recorded(m, how, ps, size=4):
    "What `update` is given, call by call, and the parameters after it has added 1 to each."
    calls = []
    def update(p, g, state, numbers):
        calls.append(dict(p=[t.clone() for t in p], g=[t.clone() for t in g], state={k: [t.clone() for t in ts] for k, ts in state.items()}, numbers=list(numbers)))
        for t in p: t += 1
        for t in state['exp_avg']: t += 2
    b = block(m, how, ps, size)
    b.run(update, [0.25, 0.5])
    return dict(calls=calls, parameters=ps)

def as_list(m): return recorded(m, 'list', some((2, 2), (3,)))
def as_flat(m): return recorded(m, 'flat', some((2, 2), (3,)))
def as_pieces(m): return recorded(m, 'split', some((2, 5)))
def as_pack(m): return recorded(m, 'pack', some((2, 2), (3,)))

def turned_gradients(m):
    out = {}
    for how in ('flat', 'split', 'pack'):
        ps = some((2, 3))
        ps[0].grad = randn(3, 2, seed=20).T # not contiguous
        out[how] = recorded(m, how, ps)['calls']
    return out

def complex_numbers(m):
    p = torch.nn.Parameter(torch.tensor([1. + 2.j]))
    p.grad = torch.tensor([3. - 4.j])
    return recorded(m, 'list', [p])

def updated(m):
    p, g, average = torch.tensor([1., 2.]), torch.tensor([4., 8.]), torch.zeros(2)
    m._update((m.exp_avg, m.sgd_step), [p], [g], dict(exp_avg=[average]), [0.5, -0.25])
    return dict(p=p, g=g, average=average)

def several_numbers(m):
    seen = []
    @m.part(a=lambda h, t: 1., c=lambda h, t: 2.)
    def two(b, a, c): seen.append(('two', float(a), float(c)))
    @m.part()
    def none(b): seen.append(('none',))
    @m.part(a=lambda h, t: 3.)
    def one(b, a): seen.append(('one', float(a)))
    m._update((two, none, one), [], [], {}, [1., 2., 3.])
    m._update((one, none, two), [], [], {}, torch.tensor([3., 1., 2.]))
    return seen

def one_bundle(m):
    @m.part()
    def double(b): b.g = [g*2 for g in b.g]
    p, g = torch.zeros(2), torch.ones(2)
    m._update((double, double, m.sgd_step), [p], [g], {}, [-1.])
    return dict(p=p, g=g)

@torch.no_grad()
def all_ways(m):
    out = {}
    for how in ('list', 'flat', 'pack', 'split'):
        ps = some((3, 5))
        parts = m.adam_parts(dict(weight_decay=0.1, amsgrad=False, decoupled_weight_decay=True))
        b = block(m, how, ps, 4, parts)
        for t in (1, 2, 3):
            ps[0].grad = randn(3, 5, seed=t)
            b.run(lambda *args: m._update(parts, *args), [f(dict(lr=0.1, betas=(0.5, 0.75), eps=1e-3, weight_decay=0.1), t) for q in parts for f in q.numbers])
        out[how] = ps
    return out

@entry('09.9', level=3, minutes=35, hints=[
    'Read `_Block.__init__` and its methods `_list`, `_flat`, `_split` and `_pack`: what is in self.flat, self.lists and self.pieces for each kind? The gradients must come in the same form, each time anew, from `p.grad`.',
    'list: as they are, through `_real`. flat: `reshape(-1)`, since a gradient need not be contiguous. split: one gradient, flattened and cut like the parameter; `update` is called for each piece, with lists of one tensor. pack: all in one tensor, `update` once, and afterwards the parameters have to get their new values back.',
    'For the pack: `torch.cat` of the flat parameters, `_flatten_dense_tensors` of the gradients, and `torch.split_with_sizes_copy(..., out=self.flat)` at the end. `_update` makes one `_Bundle` for all parts and hands out the numbers in a row, `len(q.numbers)` to each; a tensor of numbers is taken apart first with `unbind`.'],
    why='Pieces are views, so that changing them changes the parameter, and only the pack has to be copied back. The parts never learn which way they were walked: that is why one list of three-line functions serves the cache, the GPU and the compiler.')
def run_and_update():
    return [case('_update calls the parts in order, each with its numbers', updated),
            case('a part can take two numbers or none, and the numbers may come as a tensor', several_numbers),
            case('all parts of a step share one bundle', one_bundle),
            case("'list': the tensors as they are, in one call", as_list, also=(block, some, recorded)),
            case("'flat': a list of flattened tensors, in one call", as_flat, also=(block, some, recorded)),
            case("'split': a call for each piece, the last of them shorter", as_pieces, also=(block, some, recorded)),
            case("'pack': all in one flat tensor, in one call, and the parameters have their values afterwards", as_pack, also=(block, some, recorded)),
            case('a gradient that is not contiguous', turned_gradients, also=(block, some, recorded)),
            case('complex numbers are walked as pairs of real ones', complex_numbers, also=(block, recorded)),
            case('three steps of AdamW in each of the four ways', all_ways, also=(block, some))]
