"Lesson 05: schedules."
import math, pickle, random
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from mylib.judge import case, entry, randn


PLACES = (0., 0.25, 0.5, 0.75, 1.)

def values(f): return [f(p) for p in PLACES]
def constant(m): return values(m.sched_no(0.1))
def constant_with_end(m): return values(m.sched_no(0.1, 5.))
def line(m): return values(m.sched_lin(0., 8.))
def half_cosine(m): return values(m.sched_cos(1., 0.))
def geometric(m): return values(m.sched_exp(1., 1e-4))
def upwards(m): return [values(f(2., 10.)) for f in (m.sched_lin, m.sched_cos, m.sched_exp)]
def exact_ends(m): return {f.__name__: [f(0.7, 0.1)(0.) == 0.7, f(0.7, 0.1)(1.) == 0.1] for f in (m.sched_lin, m.sched_cos, m.sched_exp)}
def pickled(m): return [pickle.loads(pickle.dumps(f(1., 0.5)))(0.3) for f in (m.sched_no, m.sched_lin, m.sched_cos, m.sched_exp)]
def text(m): m.sched_lin(0.1, '0.1')
def nan_start(m): m.sched_cos(math.nan, 1.)
def infinite(m): m.sched_no(math.inf)
def to_zero(m): m.sched_exp(0.1, 0.)
def through_zero(m): m.sched_exp(-1., 1.)

@entry('05.1', level=1, minutes=10, hints=[
    'Above the cell stand four functions of start, end and position, and `_sched`, which looks at the two numbers. What has to be handed to whom?',
    'Each schedule is one call of `_sched` with the curve and the two numbers. The constant one takes a missing end for its start; the exponential one can not have numbers that are zero or negative.',
    'In `sched_exp` make the schedule first, so that a text is refused as a text, then raise the ValueError for numbers that are not positive; it says what came and that `sched_cos` goes to zero.'],
    why='A partial of a function with a name can be pickled, a closure can not. The two numbers are looked at when the schedule is made, because otherwise a wrong one shows up in the middle of the training.')
def curves():
    return [case('a constant stays where it is', constant, also=values),
            case('a constant takes a second number and pays no heed to it', constant_with_end, also=values),
            case('a straight line', line, also=values),
            case('half a cosine, flat at both ends', half_cosine, also=values),
            case('the exponential curve falls by the same factor in equal times', geometric, also=values),
            case('the curves go upwards as well', upwards, also=values),
            case('both ends are exact, to the last bit', exact_ends),
            case('a schedule can be pickled', pickled),
            case('a text is refused when the schedule is made', text, raises=ValueError, names='end'),
            case('nan is refused', nan_start, raises=ValueError, names='start'),
            case('a constant that is infinite is refused', infinite, raises=ValueError, names='start'),
            case('an exponential curve to zero is refused', to_zero, raises=ValueError, names='positive'),
            case('an exponential curve through zero is refused', through_zero, raises=ValueError, names='positive')]


def identity(pos): return pos

def own_positions(m):
    f = m.combine_scheds([0.25, 0.75], [identity, identity])
    return {p: f(p) for p in (0., 0.125, 0.2, 0.4, 0.625, 0.9)}

def at_the_edge(m):
    f = m.combine_scheds([0.25, 0.75], [m.sched_no(1.), m.sched_no(2.)])
    return {p: f(p) for p in (0., 0.2499, 0.25, 1.)}

def very_end(m): return m.combine_scheds([0.5, 0.5], [m.sched_lin(0., 1.), m.sched_lin(1., 7.)])(1.)

def four_phases(m):
    knots = [0, 3, 1, 4, 2]
    f = m.combine_scheds([0.1, 0.2, 0.3, 0.4], [m.sched_lin(a, b) for a, b in zip(knots, knots[1:])])
    return {p: f(p) for p in (0., 0.05, 0.15, 0.3, 0.45, 0.6, 0.8, 1.)}

def one_phase(m): return m.combine_scheds([1.], [m.sched_lin(2., 4.)])(0.25)

def tenths(m):
    f = m.combine_scheds([0.1]*10, [m.sched_lin(i, i + 1) for i in range(10)])
    return [f(math.nextafter(1., 0.)), f(1.), f(1.) == 10]

def nested(m):
    inner = m.combine_scheds([0.5, 0.5], [m.sched_lin(0., 1.), m.sched_lin(1., 0.)])
    f = m.combine_scheds([0.5, 0.5], [inner, m.sched_no(5.)])
    return {p: f(p) for p in (0., 0.125, 0.25, 0.375, 0.5, 1.)}

def inputs_kept(m):
    pcts, scheds = [0.25, 0.75], [identity, identity]
    m.combine_scheds(pcts, scheds)(0.5)
    return [pcts, len(scheds)]

def pickled_phases(m): return pickle.loads(pickle.dumps(m.combine_scheds([0.5, 0.5], [m.sched_lin(0., 1.), m.sched_no(3.)])))(0.25)

def too_little(m): m.combine_scheds([0.25, 0.5], [identity, identity])
def percentages(m): m.combine_scheds([30, 70], [identity, identity])
def one_too_many(m): m.combine_scheds([0.3, 0.3, 0.4], [identity, identity])
def nothing(m): m.combine_scheds([], [])
def negative(m): m.combine_scheds([1.5, -0.5], [identity, identity])
def share_of_nothing(m): m.combine_scheds([1., 0.], [identity, identity])
def number_for_schedule(m): m.combine_scheds([0.5, 0.5], [identity, 0.1])

@entry('05.2', level=2, minutes=20, hints=[
    'Draw the line from 0 to 1 and mark where each phase begins. In which phase is a position, and how far into it, if the phase too goes from 0 to 1?',
    'The edges are the cumulated shares (`accumulate`), with 0 in front and exactly 1 at the end. `bisect_right(edges, pos)` tells how many edges are not beyond the position; position 1 belongs to the last phase.',
    'Inside phase i the position is what has passed since edge i, as a share of the phase\'s width. Return a `partial` of `_combined` with edges and schedules. Before that the refusals: lengths, shares that are not positive, a sum that is not close to 1, things that are not callable.'],
    why='The last edge is set to 1 and not computed, because ten times 0.1 adds up to a little less, and position 1 would then lie behind the end. Shares that do not sum to 1 are refused: stretching them would train with a schedule that nobody has asked for.')
def phases():
    return [case('each phase sees a position of its own, from 0 to 1', own_positions, also=identity),
            case('on an edge the next phase begins', at_the_edge),
            case('position 1 is the end of the last phase', very_end),
            case('one phase alone', one_phase),
            case('four phases', four_phases),
            case('shares whose sum is rounded still end at the end', tenths),
            case('a combined schedule can be a phase of another', nested),
            case('the lists that were passed are left alone', inputs_kept, also=identity),
            case('the combined schedule can be pickled', pickled_phases),
            case('shares that do not sum to 1 are refused, with their sum', too_little, raises=ValueError, names='0.75'),
            case('percentages are refused', percentages, raises=ValueError, names='100'),
            case('three shares for two schedules are refused', one_too_many, raises=ValueError, names=('3', '2')),
            case('no phase at all is refused', nothing, raises=ValueError),
            case('a negative share is refused', negative, raises=ValueError, names='-0.5'),
            case('a share of 0 is refused', share_of_nothing, raises=ValueError, names='0'),
            case('a number in place of a schedule is refused', number_for_schedule, raises=TypeError, names='0.1')]


def learner(m, opt_func=torch.optim.SGD, n=4, **kwargs):
    torch.manual_seed(0)
    loader = [(randn(2, 3, seed=i), randn(2, 1, seed=i + 9)) for i in range(n)]
    return m.Learner(nn.Linear(3, 1), (loader, loader[:2]), nn.functional.mse_loss, 0.1, opt_func=opt_func, device='cpu', **kwargs)

def fit(learn, n_epoch=1, *cbs):
    with learn.no_progress(): learn.fit(n_epoch, cbs=list(cbs))
    return learn

def sgd_momentum(params, lr): return torch.optim.SGD(params, lr=lr, momentum=0.5)

def two_groups(params, lr):
    weight, bias = params
    return torch.optim.Adam([dict(params=[weight]), dict(params=[bias])], lr=lr)

def one_epoch(m): return fit(learner(m), 1, m.SchedCB(lr=m.sched_lin(0.4, 0.))).recorder.lrs
def two_epochs(m): return fit(learner(m), 2, m.SchedCB(lr=m.sched_lin(0.8, 0.))).recorder.lrs
def last_value(m): return fit(learner(m), 2, m.SchedCB(lr=m.sched_lin(0.8, 0.1))).opt.param_groups[0]['lr']

def dict_and_keywords(m):
    learn = fit(learner(m, sgd_momentum), 1, m.SchedCB({'lr': m.sched_no(0.2)}, weight_decay=m.sched_no(0.01), momentum=m.sched_lin(0.9, 0.8)))
    return {k: learn.opt.param_groups[0][k] for k in ('lr', 'weight_decay', 'momentum')}

def what_is_recorded(m):
    return fit(learner(m, sgd_momentum), 2, m.SchedCB(lr=m.sched_lin(0.8, 0.), momentum=m.sched_lin(0., 0.8))).recorder.sched

def adams_momentum(m):
    learn = fit(learner(m, torch.optim.Adam), 1, m.SchedCB(momentum=m.sched_lin(0.95, 0.85)))
    return dict(betas=learn.opt.param_groups[0]['betas'], recorded=learn.recorder.sched['momentum'])

def a_list_of_schedules(m):
    learn = fit(learner(m, two_groups), 1, m.SchedCB(lr=[m.sched_lin(0.4, 0.), m.sched_lin(4., 1.)]))
    return dict(recorded=learn.recorder.sched['lr'], at_the_end=[g['lr'] for g in learn.opt.param_groups])

def one_for_all(m): return fit(learner(m, two_groups), 1, m.SchedCB(lr=m.sched_lin(0.4, 0.))).recorder.sched['lr']

def only_validation(m): return learner(m, cbs=m.SchedCB(lr=m.sched_no(0.1))).validate().valid_loss

def seen_in_validation(m):
    seen = [[], []]
    class LookCB(m.Callback):
        def after_batch(self, learn):
            if not learn.training: seen[learn.epoch].append(learn.opt.param_groups[0]['lr'])
    fit(learner(m), 2, m.SchedCB(lr=m.sched_lin(0.8, 0.)), LookCB())
    return dict(batches=[len(s) for s in seen], different_values=[len(set(s)) for s in seen])

def two_fits(m):
    learn = learner(m, cbs=m.SchedCB(lr=m.sched_lin(0.4, 0.)))
    return [list(fit(learn).recorder.lrs), fit(learn).recorder.sched['lr']]

def begins_in_the_middle(m):
    class SecondEpochCB(m.Callback):
        def before_fit(self, learn): learn.start = (1, 0)
    return fit(learner(m), 2, SecondEpochCB(), m.SchedCB(lr=m.sched_lin(0.8, 0.))).recorder.lrs

def misspelt(m): fit(learner(m), 1, m.SchedCB(momemtum=m.sched_no(0.9)))
def three_for_two(m): fit(learner(m, two_groups), 1, m.SchedCB(lr=[m.sched_no(0.1)]*3))
def two_of_one_name(m): fit(learner(m), 1, m.SchedCB(lr=m.sched_no(0.1)), m.SchedCB(lr=m.sched_no(0.2)))
def no_schedule(m): m.SchedCB()
def a_number(m): m.SchedCB(lr=0.1)
def not_called(m): m.SchedCB(lr=[m.sched_no(0.1), m.sched_cos])

class Stream:
    def __init__(self, loader): self.loader = loader
    def __iter__(self): return iter(self.loader)

def no_length(m):
    loader = Stream([(randn(2, 3), randn(2, 1))])
    fit(m.Learner(nn.Linear(3, 1), (loader, None), nn.functional.mse_loss, 0.1), 1, m.SchedCB(lr=m.sched_no(0.1)))

FIT = (learner, fit)

@entry('05.3', level=3, minutes=30, seconds=60, hints=[
    'Begin with the three lines of the first version, for any name. Then go through the lesson\'s list: groups, momentum, validation, record, last value. Which event does each of them belong to?',
    'before_fit: a list `self._todo` (the timing cell below sets it too) with name, number of the group, key and schedule for each pair of name and group; `_key` finds the key. before_epoch: empty lists in `recorder.sched`, if they are not there yet. before_batch: position, value, write, record. after_epoch: the value at 1, if this was the last training pass.',
    'For the key `betas` a tuple is written, the new first number and the old rest; what is recorded is the number. Leave each event at once when `learn.training` is false. The constructor tries each schedule with `_check_sched` and sets `self.writes` to the names.'],
    why='The name is looked up in before_fit, because a dict takes any key and a misspelt one would be a schedule that does nothing. The position is computed from epoch and batch and not counted along, so a run that goes on from a checkpoint is in the right place.')
def sched_cb():
    return [case('before each batch the value at the share of the training that is done', one_epoch, also=FIT),
            case('the curve goes over all epochs, not over each', two_epochs, also=FIT),
            case('after the last batch the value at position 1 is set', last_value, also=FIT),
            case('schedules come as a dict, as keywords, or as both', dict_and_keywords, also=(*FIT, sgd_momentum)),
            case('what was set is in recorder.sched, by name, group and batch, over all epochs', what_is_recorded, also=(*FIT, sgd_momentum)),
            case("momentum is the first of Adam's betas; the second stays", adams_momentum, also=FIT),
            case('a list gives one schedule for each parameter group', a_list_of_schedules, also=(*FIT, two_groups)),
            case('a single schedule is for all parameter groups', one_for_all, also=(*FIT, two_groups)),
            case('in validation the values stay', seen_in_validation, also=FIT),
            case("validate leaves it out, where there is no optimizer yet", only_validation, also=learner),
            case('a second fit with the same callback begins from the start', two_fits, also=FIT),
            case('a fit that goes on from the second epoch is in the middle of the curve', begins_in_the_middle, also=FIT),
            case('a misspelt name is refused, with the names that exist', misspelt, raises=ValueError, names=('momemtum', 'momentum', 'lr'), also=FIT),
            case('three schedules for two groups are refused', three_for_two, raises=ValueError, names=('lr', '3', '2'), also=(*FIT, two_groups)),
            case('two callbacks that schedule the same thing are refused', two_of_one_name, raises=ValueError, names='lr', also=FIT),
            case('no schedule at all is refused when it is made', no_schedule, raises=ValueError),
            case('a number in place of a schedule is refused when it is made', a_number, raises=TypeError, names='sched_no'),
            case('a function that makes schedules is refused in place of a schedule', not_called, raises=TypeError, names='lr'),
            case('a training loader without a length is refused', no_length, raises=TypeError, names='len', also=(fit, Stream))]


def curve(f): return {p: f(p) for p in (0., 0.05, 0.1, 0.25, 0.4, 0.7, 0.9, 1.)}

def rate_up_and_down(m): return curve(m.one_cycle(1., pct_start=0.4, div=10., div_final=100.).scheds['lr'])
def default_rates(m): return curve(m.one_cycle(0.1).scheds['lr'])
def momentum_other_way(m): return curve(m.one_cycle(1., pct_start=0.4).scheds['momentum'])
def other_momenta(m): return curve(m.one_cycle(1., moms=(0.9, 0.5, 0.7)).scheds['momentum'])
def no_momentum(m): return sorted(m.one_cycle(1., moms=None).scheds)
def a_rate_for_each(m): return [curve(f) for f in m.one_cycle([0.1, 1.]).scheds['lr']]

def in_a_fit(m):
    learn = fit(learner(m, sgd_momentum), 2, m.one_cycle(0.1))
    return dict(learn.recorder.sched, last={k: learn.opt.param_groups[0][k] for k in ('lr', 'momentum')})

def percent(m): m.one_cycle(0.1, pct_start=30)
def two_momenta(m): m.one_cycle(0.1, moms=(0.9, 0.8))
def division_up(m): m.one_cycle(0.1, div_final=0.5)
def division_up_first(m): m.one_cycle(0.1, div=0.04)
def rate_zero(m): m.one_cycle([0.1, 0.])

@entry('05.4', level=1, minutes=15, hints=[
    'Name the three rates between which the run moves: at the beginning, at the top, at the end. Which curve joins them, and what share of the training does each piece get?',
    'Two cosines in one `combine_scheds`. Momentum has the same two pieces between its own three numbers, so a small function of three numbers serves both.',
    '`_check_cycle` looks at all arguments and gives the list of highest rates. Make one schedule for each of these, let `_per_group` take a single one out of its list, add momentum unless moms is None, and give the dict to `SchedCB`.'],
    why='The last rate is a share of the highest one, as in fastai; PyTorch divides the first rate again. The difference is a factor of 25 in settings that look the same. Momentum runs the other way because the long-run step is the rate divided by 1 - momentum.')
def one_cycle():
    return [case('up to the highest rate along a cosine, and down again', rate_up_and_down, also=curve),
            case('by default from a 25th up in a quarter of the training, down to a hundred-thousandth', default_rates, also=curve),
            case('momentum goes the other way at the same time', momentum_other_way, also=curve),
            case('moms are the momentum at the beginning, at the top and at the end', other_momenta, also=curve),
            case('moms=None leaves momentum alone', no_momentum),
            case('a list gives one cycle for each parameter group', a_rate_for_each, also=curve),
            case('what a fit of two epochs sets', in_a_fit, also=(*FIT, sgd_momentum)),
            case('a percentage in place of a share is refused', percent, raises=ValueError, names=('pct_start', '30')),
            case('two momenta are refused', two_momenta, raises=ValueError, names='moms'),
            case('a last rate above the highest is refused', division_up, raises=ValueError, names='div_final'),
            case('a first rate above the highest is refused', division_up_first, raises=ValueError, names='div '),
            case('a rate of 0 is refused', rate_zero, raises=ValueError, names='lr_max')]


def rates(m, *places, **kwargs):
    f = m.trapezoid(1., **kwargs).scheds['lr']
    return [f(p) for p in places]

def three_parts(m): return rates(m, 0., 0.1, 0.4, 0.7, 1.)
def straight(m): return rates(m, 0.025, 0.05, 0.075, 0.775, 0.85, 0.925)
def other_shares(m): return rates(m, 0.1, 0.2, 0.3, 0.5, 0.75, pct_up=0.2, pct_down=0.5)
def other_ends(m): return rates(m, 0., 0.05, 0.5, 0.9, 1., div=10, div_final=100)

def by_groups(m):
    fs = m.trapezoid([0.1, 1.]).scheds['lr']
    return [[f(p) for p in (0., 0.5, 1.)] for f in fs]

def rate_alone(m): return list(m.trapezoid(1.).scheds)

def with_momentum(m):
    cb = m.trapezoid(1., moms=(0.95, 0.85, 0.9))
    return [cb.scheds['momentum'](p) for p in (0., 0.05, 0.1, 0.5, 0.7, 0.85, 1.)]

def a_callback(m): return [isinstance(m.trapezoid(0.1), m.SchedCB), sorted(m.trapezoid(0.1, moms=(0.9, 0.8, 0.9)).writes)]
def no_plateau(m): m.trapezoid(1., pct_up=0.6, pct_down=0.4)
def no_rise(m): m.trapezoid(1., pct_up=0.)
def rate_of_zero(m): m.trapezoid(0.)
def division_the_wrong_way(m): m.trapezoid(1., div_final=0.1)
def two_moms(m): m.trapezoid(1., moms=(0.9, 0.8))

@entry('05.5', level=1, minutes=15, hints=[
    'Three phases. Which three schedules are they, and how long is the one in the middle?',
    '`combine_scheds` with a line up, `sched_no`, and a line down; the plateau has what the other two leave. `_check_cycle` looks at the arguments, as in `one_cycle`.',
    'A small function of a, b, c makes the curve, for each rate of a list and once for momentum if it is given. Shares that leave no plateau are a ValueError that names both, before `combine_scheds` sees them.'],
    why='On the plateau nothing depends on how long the training will be, so a run can be made longer without starting anew, and several declines can be tried from one plateau. The cosine of one cycle commits itself to the length in the first step.')
def trapezoid():
    return [case('up, along, down: begin, plateau and end', three_parts, also=rates),
            case('the rise and the decline are straight', straight, also=rates),
            case('other shares', other_shares, also=rates),
            case('div and div_final say where it begins and ends', other_ends, also=rates),
            case('a list of rates gives a schedule for each group', by_groups),
            case('momentum is left alone by default', rate_alone),
            case('momentum has the same three parts', with_momentum),
            case('it is a SchedCB that says what it writes', a_callback),
            case('shares that leave no plateau are refused, and named', no_plateau, raises=ValueError, names=('pct_up', 'pct_down')),
            case('a share of 0 is refused', no_rise, raises=ValueError, names='pct_up'),
            case('a rate of 0 is refused', rate_of_zero, raises=ValueError, names='lr_max'),
            case('an end above the plateau is refused', division_the_wrong_way, raises=ValueError, names='div_final'),
            case('two values for momentum are refused', two_moms, raises=ValueError, names='moms')]


class Counter(nn.Module):
    "Counts its calls in a buffer that no state dict has and in a plain attribute."
    def __init__(self):
        super().__init__()
        self.register_buffer('n', torch.zeros(()), persistent=False)
        self.calls = 0
    def forward(self, x):
        self.n = self.n + 1
        self.calls += 1
        return x

class Shuffled:
    "A loader with a generator and an epoch of its own."
    def __init__(self): self.generator, self.epoch = torch.Generator().manual_seed(3), 5
    def __len__(self): return 3
    def __iter__(self):
        self.epoch += 1
        for i in torch.randperm(3, generator=self.generator).tolist(): yield randn(4, 3, seed=i), randn(4, 1, seed=i + 9)

def subject(m, opt=True):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), Counter(), nn.Dropout(0.5), nn.Linear(4, 1))
    learn = m.Learner(model, (Shuffled(), None), nn.functional.mse_loss, 0.1, opt_func=sgd_momentum, device='cpu')
    if opt:
        learn.create_opt()
        train(learn)
    return learn

def train(learn):
    learn.model.train()
    for x, y in learn.dls.train:
        learn.loss_func(learn.model(x), y).backward()
        learn.opt.step()
        learn.opt.zero_grad()

def inside(m, learn, lr=0.3):
    with m._no_trace(learn, lr): train(learn)
    return learn

def parameters(m):
    learn = subject(m)
    before = {n: (p, p.detach().clone()) for n, p in learn.model.named_parameters()}
    inside(m, learn)
    return {n: dict(same_object=p is before[n][0], same_numbers=torch.equal(p, before[n][1])) for n, p in learn.model.named_parameters()}

def buffers(m):
    learn = subject(m)
    before = {n: b.clone() for n, b in learn.model.named_buffers()}
    inside(m, learn)
    return {n: torch.equal(b, before[n]) for n, b in learn.model.named_buffers()}

def modes_and_attributes(m):
    learn = subject(m)
    learn.model.eval()
    learn.model[1].train()
    inside(m, learn)
    return dict(modes=[x.training for x in learn.model.modules()], calls=learn.model[2].calls)

def optimizer(m):
    learn = subject(m)
    opt, before = learn.opt, [v['momentum_buffer'].clone() for v in learn.opt.state.values()]
    inside(m, learn)
    return dict(same_object=learn.opt is opt, same_state=[torch.equal(a, v['momentum_buffer']) for a, v in zip(before, opt.state.values())])

def copy_inside(m):
    learn = subject(m)
    opt = learn.opt
    with m._no_trace(learn, 0.3):
        other = learn.opt is not opt
        ours = [any(p is q for q in learn.model.parameters()) for g in learn.opt.param_groups for p in g['params']]
        momentum = [v['momentum_buffer'].clone() for v in learn.opt.state.values()]
        return dict(another_object=other, holds_our_parameters=ours, lr=learn.opt.param_groups[0]['lr'], momentum=momentum)

def learns_inside(m):
    learn = subject(m)
    before = learn.model[4].weight.detach().clone()
    with m._no_trace(learn, 0.3):
        train(learn)
        return dict(weight=learn.model[4].weight, changed=not torch.equal(before, learn.model[4].weight))

def no_optimizer_yet(m):
    learn = subject(m, opt=False)
    with m._no_trace(learn, 0.3): lr = learn.opt.param_groups[0]['lr']
    return dict(lr_inside=lr, afterwards=learn.opt)

def another_head(m):
    learn = subject(m)
    opt, learn.model[4] = learn.opt, nn.Linear(4, 1)
    with m._no_trace(learn, 0.3): ours = [any(p is q for q in learn.model.parameters()) for g in learn.opt.param_groups for p in g['params']]
    return dict(inside_it_trains_our_parameters=ours, afterwards_the_old_one=learn.opt is opt)

def gradients(m):
    learn = subject(m)
    learn.model[4].bias.grad = torch.tensor([5.])
    with m._no_trace(learn, 0.3):
        inside = learn.model[4].bias.grad is None or not learn.model[4].bias.grad.any()
        train(learn)
    return dict(none_inside=inside, afterwards=learn.model[4].bias.grad, never_had_one=learn.model[4].weight.grad)

def generators(m):
    learn = subject(m)
    def draw(): return [torch.rand(()).item(), float(np.random.rand()), random.random()]
    torch.manual_seed(1); np.random.seed(1); random.seed(1)
    wanted = draw()
    torch.manual_seed(1); np.random.seed(1); random.seed(1)
    with m._no_trace(learn, 0.3): train(learn); draw()
    return [a == b for a, b in zip(draw(), wanted)]

def the_loader(m):
    learn = subject(m)
    epoch, state = learn.dls.train.epoch, learn.dls.train.generator.get_state()
    inside(m, learn)
    return dict(epoch=learn.dls.train.epoch - epoch, generator=torch.equal(state, learn.dls.train.generator.get_state()))

def interrupted(m):
    learn, told = subject(m), ''
    opt, before, epoch = learn.opt, learn.model[4].weight.detach().clone(), learn.dls.train.epoch
    try:
        with m._no_trace(learn, 0.3):
            train(learn)
            raise KeyboardInterrupt
    except KeyboardInterrupt: told = 'it comes out'
    return dict(error=told, weight=torch.equal(before, learn.model[4].weight), opt=learn.opt is opt, loader=learn.dls.train.epoch - epoch)

SUBJECT = (Counter, Shuffled, subject, train)

@entry('05.6', level=3, minutes=30, seconds=60, hints=[
    'Go through the list in the lesson: model, optimizer, generators, loader. For each item, what do you do before the `yield`, and what after it, even if the middle fails?',
    '`_loader_state` and `_model_state` take down what is to be put back, `keep_rng` looks after the generators. The optimizer is swapped for a copy: `copy.deepcopy` with a memo, a dict of id to object, keeps the parameters ours.',
    'Take down the states first, then `with keep_rng()`, in it `try`: gradients away, a copy of the optimizer if it holds the parameters of the model and no others, else `create_opt(lr)`, `yield`; and `finally`: the old optimizer, the model, the pairs of the loader.'],
    why='The run works on a copy of the optimizer, so the original needs no repair. The memo of deepcopy is what makes it a copy that steps our weights instead of copies of them. Everything stands in a `finally`, because a range test is what people interrupt.')
def no_trace():
    return [case('the parameters have their numbers back and are the same objects', parameters, also=(*SUBJECT, inside)),
            case('buffers are back, those that no state dict holds included', buffers, also=(*SUBJECT, inside)),
            case('training modes and plain attributes of the modules are back', modes_and_attributes, also=(*SUBJECT, inside)),
            case('the optimizer is the same and its momentum is as it was', optimizer, also=(*SUBJECT, inside)),
            case('inside there is a copy of the optimizer, for our parameters, with its momentum and rate', copy_inside, also=SUBJECT),
            case('inside, the model learns', learns_inside, also=SUBJECT),
            case('without an optimizer, one with the given rate is made, and is gone afterwards', no_optimizer_yet, also=SUBJECT),
            case('an optimizer for parameters that the model has no more is not used', another_head, also=SUBJECT),
            case('gradients are gone inside and back afterwards', gradients, also=SUBJECT),
            case('the random generators are where they were', generators, also=SUBJECT),
            case("the loader's epoch and generator are where they were", the_loader, also=(*SUBJECT, inside)),
            case('an interrupt comes out, and everything is back all the same', interrupted, also=SUBJECT)]


NOISY = [5., 4.8, 5.1, 4.4, 4.6, 3.9, 3., 3.2, 2.1, 2.4, 2., 4.]

def averages(m): return m._smooth(NOISY)
def of_one(m): return m._smooth([3.])
def of_two(m): return m._smooth([1., 3.], beta=0.5)
def of_equal_ones(m): return [m._smooth([2.]*5), m._two_way([2.]*5)]
def other_weight(m): return [m._smooth(NOISY, 0.5), m._smooth(NOISY, beta=0.)]
def of_none(m): return [m._smooth([]), m._two_way([])]
def both_ways(m): return m._two_way(NOISY)
def both_ways_weight(m): return m._two_way(NOISY, beta=0.5)
def single_peak(m): return m._two_way([0.]*4 + [1.] + [0.]*4)
def from_behind(m): return [abs(a - b) < 1e-9 for a, b in zip(m._two_way(NOISY), m._two_way(NOISY[::-1])[::-1])]

def list_as_before(m):
    xs = list(NOISY)
    m._smooth(xs), m._two_way(xs)
    return xs

@entry('05.7', level=2, minutes=15, hints=[
    'A running average begins at nothing. How much weight has it gathered after one number, after two? And it always comes too late: what would one that ran the other way do?',
    'After i numbers the weights sum to 1 - beta^i, and dividing by that is right from the first number on. An average from the right comes too early by as much as one from the left comes too late.',
    'One loop that keeps avg and appends avg/(1 - beta**(i + 1)). For the second: smooth the list and the reversed list, turn the second result round, and take the mean place by place.'],
    why='The same correction stands in Adam. The average from both sides moves no fall to the right, and it may look ahead because the curve is complete when it is smoothed; while the run is going on, only the first kind is to be had.')
def smoothing():
    return [case('the average of a single number is that number', of_one),
            case('two numbers, by hand', of_two),
            case('equal numbers stay as they are, from the first on', of_equal_ones),
            case('a noisy curve', averages),
            case('beta is the weight of the past', other_weight),
            case('from both sides', both_ways),
            case('from both sides, with another weight', both_ways_weight),
            case('a single peak spreads to both sides alike', single_peak),
            case('from both sides, the direction makes no difference', from_behind),
            case('nothing to smooth gives nothing', of_none),
            case('the list is left as it is', list_as_before)]


def falling(m): return m._longest_fall([3., 2., 1.])
def after_a_rise(m): return m._longest_fall([1., 2., 9., 8., 7.])
def over_bumps(m): return m._longest_fall([10., 3., 9., 8., 1., 7., 6., 12.])
def equal_is_no_fall(m): return m._longest_fall([5., 5., 5., 5., 9., 8., 7.])
def before_a_rise(m): return m._longest_fall([9., 7., 5., 6., 8.5, 8., 20.])
def of_a_single_one(m): return m._longest_fall([3.])
def second_one_longer(m): return m._longest_fall([9., 8., 30., 29., 28., 27.])
def middle_of_a_line(m): return m._middle([float(20 - i) for i in range(21)])

STEP = [10 - i/100 for i in range(10)] + [8., 6., 4., 2.] + [1 - i/100 for i in range(20)]

def middle_of_a_step(m): return m._middle(STEP)
def after_a_hill(m): return m._middle([float(i) for i in range(9)] + STEP)
def bump_in_the_step(m): return m._middle(STEP[:12] + [7.] + STEP[12:])

@entry('05.8', level=3, minutes=30, hints=[
    'For each place: how long is the longest fall that ends there, and where did it begin? Which earlier places tell you?',
    'A place continues the longest fall of any earlier and higher place. Two lists, length and start, filled from left to right; the answer ends at the greatest length. It may jump over bumps, since nothing says that its places are neighbours.',
    'Two loops, i and j < i: if xs[j] > xs[i] and length[j] + 1 is more than length[i], take both over. For `_middle`: between first and last, the first index at or below 95% of the way up and the first at or below 5% of it, and half their sum, rounded down.'],
    why='n² comparisons for a hundred losses are nothing. A noisy curve has no long unbroken fall, so a subsequence is what is wanted; cutting a twentieth off at both ends keeps long flat tails from pulling the middle towards them.')
def longest_fall():
    return [case('all of it falls', falling),
            case('a fall after a rise', after_a_rise),
            case('a fall before a rise', before_a_rise),
            case('the longer of two falls', second_one_longer),
            case('a fall that jumps over bumps', over_bumps),
            case('equal values are no fall', equal_is_no_fall),
            case('a single value is a fall of one', of_a_single_one),
            case('_middle: the middle of a straight line', middle_of_a_line),
            case('_middle: flat ends do not count', middle_of_a_step),
            case('_middle: what comes before the fall does not count', after_a_hill),
            case('_middle: a bump does not matter', bump_in_the_step)]


def drive(m, losses, n_groups=1, **kwargs):
    "The callback alone, with losses that we choose."
    finder = m.LRFinderCB(**kwargs)
    learn = SimpleNamespace(training=True, epoch=0, n_epoch=1, n_iter=len(losses), opt=SimpleNamespace(param_groups=[dict(lr=0.) for _ in range(n_groups)]))
    finder.before_fit(learn)
    for learn.iter, loss in enumerate(losses):
        finder.before_batch(learn)
        learn.loss = torch.tensor(loss)
        try: finder.after_loss(learn)
        except m.CancelFitException: return finder, learn.iter
    return finder, 'not stopped'

def five_rates(m): return drive(m, [1.]*5, lr_start=1e-3, lr_end=10.)[0].lrs
def default_ends(m):
    finder, _ = drive(m, [1.]*3)
    return finder.lrs

def losses_recorded(m): return drive(m, [3., 2., 1.])[0].losses

def all_groups(m):
    learn = learner(m, two_groups)
    learn.create_opt(0.5)
    finder = m.LRFinderCB(1e-4, 1e-3, stop=1e6)
    learn._run(1, [(learn.dls.train, True)], [finder])
    return dict(recorded=finder.lrs, in_the_groups=[g['lr'] for g in learn.opt.param_groups])

def in_training_only(m):
    finder = m.LRFinderCB(1e-4, 1e-3, stop=1e6)
    fit(learner(m), 1, finder)
    return [len(finder.lrs), len(finder.losses)]

def flat(m): return drive(m, [1.]*30)[1]
def one_outlier(m): return drive(m, [1.]*20 + [10.] + [1.]*5)[1]
def diverges(m):
    _, at = drive(m, [1.]*20 + [2., 4., 8., 16., 32., 64., 128., 256., 512., 1024.])
    return at != 'not stopped' and 20 < at < 28
def sooner(m): return drive(m, [1.]*20 + [2.6]*20, stop=2.)[1] != 'not stopped', drive(m, [1.]*20 + [2.6]*20)[1]
def against_the_best(m): return drive(m, [100.]*5 + [1.]*60 + [8.]*30)[1] != 'not stopped'
def nan_loss(m):
    finder, at = drive(m, [1., 0.9, math.nan, 0.5])
    return dict(stopped_at=at, losses=finder.losses, lrs=len(finder.lrs))
def infinite_loss(m): return drive(m, [math.inf, 1.])[1]
def negative_losses(m): return drive(m, [-1. - i/10 for i in range(30)])[1]
def single_batch(m): return drive(m, [1.], lr_start=1e-3)[0].lrs

def used_twice(m):
    finder, learn = m.LRFinderCB(1e-4, 1e-3, stop=1e6), learner(m)
    first = len(fit(learn, 1, finder).recorder.losses)
    fit(learn, 1, finder)
    return [first, len(finder.losses), len(finder.lrs)]

def ends_quietly(m):
    finder = m.LRFinderCB(1e-3, 1e12)
    learn = learner(m, n=60)
    fit(learn, 1, finder)
    return dict(early=len(finder.losses) < 60, finite=all(map(math.isfinite, finder.losses)), pairs=len(finder.losses) == len(finder.lrs))

def before_the_recorder(m):
    learn, finder = learner(m, n=32), m.LRFinderCB(1e-4, 1e-3, stop=1e6)
    learn.dls.train[-1][0].fill_(math.nan)
    return len(fit(learn, 1, finder) and finder.losses)

def wrong_way(m): m.LRFinderCB(1., 0.1)
def start_at_zero(m): m.LRFinderCB(0.)
def never_worse(m): m.LRFinderCB(stop=1.)
def loader_without_length(m):
    loader = Stream([(randn(2, 3), randn(2, 1))])
    fit(m.Learner(nn.Linear(3, 1), (loader, None), nn.functional.mse_loss, 0.1), 1, m.LRFinderCB())

@entry('05.9', level=2, minutes=25, seconds=60, hints=[
    'A range test is a schedule and a stop. Which curve multiplies by the same factor at each batch, and at which position has the last batch to be, so that the last rate is reached?',
    'The loss that decides about stopping is the running average with weight 0.85 for the past, divided by the weight gathered so far. Compare it with the best it has had. A loss that is not finite ends the run at once and is not recorded.',
    '`sched_exp` in the constructor, all groups in before_batch, `CancelFitException` in after_loss. The limit is best + (stop - 1)*abs(best), which also works below zero. before_fit forgets the run before.'],
    why='The last batch stands at position 1, so a division by n_iter - 1, where a schedule of a training divides by n_iter: here the end should be tried. The average is what keeps one noisy batch from ending the test, and the best value counts, since the loss falls before it explodes.')
def lr_finder():
    return [case('the rate goes from the first to the last by equal factors', five_rates, also=drive),
            case('by default from 1e-7 to 10', default_ends, also=drive),
            case('the loss of each batch is recorded, as a number', losses_recorded, also=drive),
            case('the rate is set in all parameter groups', all_groups, also=(learner, two_groups)),
            case('validation is left alone', in_training_only, also=FIT),
            case('a loss that stays does not end the run', flat, also=drive),
            case('a single bad batch does not end the run', one_outlier, also=drive),
            case('a loss that explodes ends it', diverges, also=drive),
            case('stop says how many times the best loss is too much', sooner, also=drive),
            case('it is compared with the best, not with the first', against_the_best, also=drive),
            case('nan ends the run at once and is not recorded', nan_loss, also=drive),
            case('an infinite loss ends the run', infinite_loss, also=drive),
            case('negative losses that fall do not end the run', negative_losses, also=drive),
            case('a single batch has a rate too', single_batch, also=drive),
            case('a second run begins with empty lists', used_twice, also=FIT),
            case('in a fit that diverges, the end is quiet and all that is recorded is finite', ends_quietly, also=FIT),
            case('it ends the run before the recorder sees the nan', before_the_recorder, also=FIT),
            case('a first rate above the last is refused', wrong_way, raises=ValueError, names='lr_start'),
            case('a first rate of 0 is refused', start_at_zero, raises=ValueError, names='lr_start'),
            case('a stop that is no worse than the best is refused', never_worse, raises=ValueError, names='stop'),
            case('a loader without a length is refused', loader_without_length, raises=TypeError, names='len', also=(fit, Stream))]
