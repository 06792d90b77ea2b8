"Schedules against PyTorch's own, the callback that sets them, and a learning-rate finder that must leave no trace."
import copy, math, pickle, random
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from mylib.core import set_seed
from mylib.dataloader import DataLoaders, TensorDataset
from mylib.learner import Callback, Learner
from mylib.losses import cross_entropy
from mylib.schedule import (LRFinderCB, LRSuggestion, SchedCB, combine_scheds, one_cycle, sched_cos, sched_exp, sched_lin, sched_no, trapezoid)

positive = st.floats(1e-6, 1e3)
shape = st.sampled_from([sched_lin, sched_cos, sched_exp, sched_no])
SGD = partial(torch.optim.SGD, momentum=0.9)


class Counter(nn.Module):
    "A buffer outside the state_dict that is replaced and not changed in place, and a plain attribute."
    def __init__(self):
        super().__init__()
        self.register_buffer('n', torch.zeros(()), persistent=False)
        self.last = None
    def forward(self, x):
        self.n, self.last = self.n + 1, x.detach().sum()
        return x


def get_model(): return nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), Counter(), nn.Dropout(0.3), nn.Linear(16, 2))


def get_learner(opt_func=SGD, n=160, batch_size=16, valid=True, **kwargs):
    set_seed(0)
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(0))
    ds = TensorDataset(x, (x[:, 0] > 0).long())
    dls = DataLoaders.from_datasets(ds, ds, batch_size=batch_size, seed=3)
    learn = Learner(get_model(), dls if valid else (dls.train, None), cross_entropy, 0.1, opt_func=opt_func, **kwargs)
    learn.cbs = learn.cbs[:1] + learn.cbs[2:]  # no progress bar
    return learn


def two_groups(params, lr):
    ps = list(params)
    return torch.optim.Adam([dict(params=ps[:2]), dict(params=ps[2:])], lr=lr)


def torch_values(make, n, name='lr', lr=0.1):
    opt = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    sched, out = make(opt), []
    for _ in range(n):
        out.append(opt.param_groups[0][name])
        opt.step(); sched.step()
    return out


# curves

@given(shape, positive, positive, st.floats(0, 1))
def test_curves_have_exact_ends_stay_between_them_and_can_be_pickled(make, a, b, pos):
    f = make(a, b)
    end = a if make is sched_no else b
    assert f(0.) == a and f(1.) == end
    assert min(a, end)*(1 - 1e-9) <= f(pos) <= max(a, end)*(1 + 1e-9)
    assert pickle.loads(pickle.dumps(f))(pos) == f(pos)


@given(st.integers(1, 60), st.floats(1e-3, 1), st.floats(1e-3, 1))
def test_curves_agree_with_torch(n, a, b):
    ours = lambda f: [f(s/n) for s in range(n)]
    assert ours(sched_lin(a*b, b)) == pytest.approx(torch_values(partial(lr_scheduler.LinearLR, start_factor=a, end_factor=1., total_iters=n), n, lr=b))
    assert ours(sched_cos(a, b)) == pytest.approx(torch_values(partial(lr_scheduler.CosineAnnealingLR, T_max=n, eta_min=b), n, lr=a))
    assert ours(sched_exp(b, b*a**n)) == pytest.approx(torch_values(partial(lr_scheduler.ExponentialLR, gamma=a), n, lr=b))


@given(st.integers(20, 300), st.floats(0.1, 0.9), st.floats(1, 100), st.floats(1, 1e4))
@settings(max_examples=30)
def test_one_cycle_is_torchs_read_a_step_apart(n, p, div, final):
    ours = one_cycle(0.1, p, div, div*final, (0.95, 0.85, 0.95)).scheds
    make = partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=n, pct_start=p, div_factor=div, final_div_factor=final)
    at = [p*s/(p*n - 1) if s <= p*n - 1 else (s + 1)/n for s in range(n - 1)]
    for name in ('lr', 'momentum'):
        assert [ours[name](q) for q in at] == pytest.approx(torch_values(make, n - 1, name), rel=1e-6, abs=1e-9)


@given(st.lists(st.tuples(st.floats(0.05, 1), positive), min_size=1, max_size=7), positive, st.floats(0, 1))
def test_combined_lines_are_numpys_interp(phases, first, pos):
    total = sum(w for w, _ in phases)
    pcts, knots = [w/total for w, _ in phases], [first, *(k for _, k in phases)]
    f = combine_scheds(pcts, [sched_lin(a, b) for a, b in zip(knots, knots[1:])])
    assert f(pos) == pytest.approx(np.interp(pos, [0, *np.cumsum(pcts)], knots), rel=1e-6, abs=1e-6)
    assert f(0.) == knots[0] and f(1.) == knots[-1]
    assert pickle.loads(pickle.dumps(f))(pos) == f(pos)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=6))
def test_percentages_that_do_not_sum_to_1_are_refused(pcts):
    if abs(sum(pcts) - 1) < 1e-5: pcts[0] += 0.1
    with pytest.raises(ValueError, match='pcts must sum to 1'): combine_scheds(pcts, [sched_no(1.)]*len(pcts))


@pytest.mark.parametrize('pcts,scheds,error', [
    ([], [], ValueError), ([1.], [], ValueError), ([0.5, 0.5], [sched_no(1.)], ValueError), ([2., -1.], [sched_no(1.)]*2, ValueError),
    ([0., 1.], [sched_no(1.)]*2, ValueError), ([math.nan], [sched_no(1.)], ValueError), ([1.], [0.1], TypeError), (['1'], [sched_no(1.)], ValueError)])
def test_bad_combinations_are_refused(pcts, scheds, error):
    with pytest.raises(error): combine_scheds(pcts, scheds)


@pytest.mark.parametrize('make', [lambda: sched_exp(0, 1), lambda: sched_exp(1, -1), lambda: sched_lin(math.nan, 1), lambda: sched_cos(0, math.inf),
                                  lambda: one_cycle(-1), lambda: one_cycle(0.1, 25), lambda: one_cycle(0.1, div=0), lambda: one_cycle(0.1, moms=(1, 0.9, 1)),
                                  lambda: one_cycle([0.1, 0]), lambda: trapezoid(0.1, 0.6, 0.4), lambda: trapezoid(0.1, 0, 0.4), lambda: LRFinderCB(1, 0.1),
                                  lambda: LRFinderCB(stop=1), lambda: SchedCB(), lambda: SchedCB(lr=lambda pos: math.nan), lambda: SchedCB(lr=lambda pos: torch.ones(()))])
def test_bad_numbers_are_refused_at_the_door(make):
    with pytest.raises(ValueError): make()


def test_trapezoid_is_piecewise_linear():
    f = trapezoid([0.1, 0.2], 0.2, 0.3, div=10, div_final=100, moms=(0.95, 0.85, 0.95)).scheds
    for i, top in enumerate((0.1, 0.2)):
        for q in np.linspace(0, 1, 41): assert f['lr'][i](q) == pytest.approx(np.interp(q, [0, 0.2, 0.7, 1], [top/10, top, top, top/100]))
    assert [f['momentum'](q) for q in (0., 0.5, 1.)] == [0.95, 0.85, 0.95]


# the callback

@given(st.integers(1, 3), st.sampled_from([6, 7, 8, 12, 40]))
@settings(max_examples=10, deadline=None)
def test_positions_values_and_the_last_value(n_epoch, batch_size):
    learn, f = get_learner(n=40, batch_size=batch_size), sched_lin(0.5, 0.1)
    cb = SchedCB({'lr': f}, momentum=sched_cos(0.9, 0.5))
    learn.fit(n_epoch, cbs=cb)
    n = n_epoch*len(learn.dls.train)
    assert learn.recorder.lrs == pytest.approx([f(i/n) for i in range(n)])
    assert learn.recorder.sched['lr'] == [learn.recorder.lrs] and len(learn.recorder.sched['momentum'][0]) == n
    assert (learn.opt.param_groups[0]['lr'], learn.opt.param_groups[0]['momentum']) == (0.1, 0.5)


def test_a_fit_is_the_loop_with_torchs_scheduler():
    learn, hand = get_learner(), get_learner()
    learn.fit(2, cbs=SchedCB(lr=sched_cos(0.1, 0.01)))
    opt = torch.optim.SGD(hand.model.parameters(), lr=0.1, momentum=0.9)
    sched = lr_scheduler.CosineAnnealingLR(opt, 20, 0.01)
    set_seed(0); get_model()
    hand.model.load_state_dict(get_learner().model.state_dict())
    for _ in range(2):
        for x, y in hand.dls.train:
            cross_entropy(hand.model(x), y).backward()
            opt.step(); opt.zero_grad(); sched.step()
    for p, q in zip(learn.model.parameters(), hand.model.parameters()): torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


def test_groups_and_the_momentum_of_adam():
    learn = get_learner(two_groups)
    learn.fit_one_cycle(1, [0.001, 0.01], div_final=10)
    assert [g['lr'] for g in learn.opt.param_groups] == pytest.approx([0.0001, 0.001])
    assert [g['betas'] for g in learn.opt.param_groups] == [(0.95, 0.999)]*2
    assert [len(v) for v in learn.recorder.sched['lr']] == [10, 10]
    with pytest.raises(ValueError, match='lr has 3 schedules, but the optimizer has 2'): learn.fit_one_cycle(1, [0.1]*3)


@pytest.mark.parametrize('name', ['momemtum', 'betas', 'nesterov', 'params', ''])
def test_unknown_names_are_refused_with_the_names_that_exist(name):
    with pytest.raises(ValueError, match='it has lr,.*weight_decay'): get_learner(torch.optim.Adam).fit(1, cbs=SchedCB({name: sched_no(0.1)}))


def test_constants_functions_without_arguments_and_doubles_are_refused():
    with pytest.raises(TypeError, match=r'a constant is sched_no\(0.1\)'): SchedCB(lr=0.1)
    with pytest.raises(TypeError, match='not sched_cos'): SchedCB(lr=sched_cos)
    with pytest.raises(ValueError, match="both write 'lr'"): get_learner().fit_one_cycle(1, cbs=SchedCB(lr=sched_no(0.1)))
    learn = get_learner()
    learn.fit(1, cbs=[SchedCB(lr=sched_no(0.1)), SchedCB(momentum=sched_no(0.5))])
    assert set(learn.recorder.sched) == {'lr', 'momentum'}


def test_a_permanent_schedule_does_nothing_in_validation_and_before_the_first_fit():
    learn = get_learner(cbs=SchedCB(lr=sched_lin(0.2, 0.1)))
    learn.validate(); learn.get_preds()
    learn.fit(1)
    learn.opt.param_groups[0]['lr'] = 7.
    learn.validate()
    assert learn.opt.param_groups[0]['lr'] == 7.
    assert learn.lr_find(show=False)  # and the finder leaves it out


def test_a_loader_without_len_is_refused():
    dl = get_learner().dls.train
    class Stream:
        def __iter__(self): return iter(dl)
    learn = Learner(get_model(), (Stream(), None), cross_entropy, 0.1, opt_func=SGD)
    with learn.no_progress(), pytest.raises(TypeError, match='has no len'): learn.fit_one_cycle(1)
    assert learn.lr_find(n_iter=20, show=False)  # this one brings its own


def test_plot_sched_shows_the_last_fit_only():
    import matplotlib; matplotlib.use('Agg')
    learn = get_learner()
    learn.fit_one_cycle(1)
    assert [ax.get_ylabel() for ax in learn.recorder.plot_sched()] == ['learning rate', 'momentum']
    learn.fit(1)
    assert len(learn.recorder.plot_sched()) == 1
    matplotlib.pyplot.close('all')


# the finder

def as_bytes(o):
    if isinstance(o, torch.Tensor): return o.detach().numpy().tobytes()
    if isinstance(o, dict): return [(as_bytes(k), as_bytes(v)) for k, v in o.items()]
    if isinstance(o, (list, tuple)): return [as_bytes(v) for v in o]
    return o


def fingerprint(learn):
    m, rec, dl, opt = learn.model, learn.recorder, learn.dls.train, learn.opt
    ids = [id(t) for t in (*m.parameters(), *m.buffers())] + [id(opt)] + ([id(v) for s in opt.state.values() for v in s.values()] if opt else [])
    rng = [np.random.get_state()[1].tobytes(), np.random.get_state()[2], random.getstate(), torch.get_rng_state()]
    return as_bytes([dict(m.named_parameters()), dict(m.named_buffers()), [c.training for c in m.modules()], m[3].last, ids, opt and opt.state_dict(), rng,
                     [p.grad for p in m.parameters()], getattr(dl, 'epoch', 0), getattr(dl.sampler, 'epoch', 0), rec.losses, rec.lrs, rec.rows, learn.lr, len(learn.cbs)])


class FailCB(Callback):
    def __init__(self, event, error, at=5): self.error, self.at = error, at; setattr(self, event, self._fail)
    def _fail(self, learn):
        random.random(); np.random.rand()
        if learn.iter is None or learn.iter >= self.at: raise self.error


ENDS = [None] + [(e, x) for e in ('before_fit', 'before_batch', 'after_backward', 'after_step', 'after_epoch', 'cleanup_fit') for x in (KeyboardInterrupt, ZeroDivisionError)]

@pytest.mark.parametrize('opt_func', [SGD, partial(torch.optim.AdamW, amsgrad=True), two_groups])
@pytest.mark.parametrize('fitted', [False, True])
@pytest.mark.parametrize('end', ENDS)
def test_the_finder_leaves_no_trace(opt_func, fitted, end):
    learn = get_learner(opt_func)
    if fitted: learn.fit(1)
    learn.model[1].eval()
    learn.model[0].weight.grad = torch.full_like(learn.model[0].weight, 2.)
    if end: learn.cbs.append(FailCB(*end))
    before = copy.deepcopy(fingerprint(learn))
    if end:
        with pytest.raises(end[1]): learn.lr_find(lr_end=0.1, n_iter=25, show=False)
    else: assert isinstance(learn.lr_find(lr_end=0.1, n_iter=25, show=False), LRSuggestion)
    assert fingerprint(learn) == before
    assert learn.dl is None and learn._on is None


def test_an_unprotected_run_does_leave_a_trace():
    learn = get_learner()
    before = fingerprint(learn)
    learn.fit(1, cbs=LRFinderCB())
    assert sum(a != b for a, b in zip(before, fingerprint(learn))) >= 8


@pytest.mark.parametrize('opt_func', [SGD, torch.optim.Adam])
def test_a_twin_that_looked_for_a_rate_ends_with_the_same_weights(opt_func):
    twins = [get_learner(opt_func) for _ in range(2)]
    for i, twin in enumerate(twins):
        set_seed(3)
        twin.fit(1, 0.01)
        if i: twin.lr_find(n_iter=30, show=False)
        twin.fit_one_cycle(1, 0.01)
    assert all(torch.equal(a, b) for a, b in zip(twins[0].model.state_dict().values(), twins[1].model.state_dict().values()))
    assert twins[0].recorder.losses == twins[1].recorder.losses


def test_a_torch_loader_with_its_own_generator_is_put_back():
    set_seed(0)
    x = torch.randn(64, 5)
    ds = torch.utils.data.TensorDataset(x, (x[:, 0] > 0).long())
    gen = torch.Generator().manual_seed(5)
    learn = Learner(get_model(), (torch.utils.data.DataLoader(ds, 8, shuffle=True, generator=gen), None), cross_entropy, 0.1, opt_func=SGD)
    before = gen.get_state(), torch.get_rng_state()
    learn.lr_find(n_iter=20, show=False)
    assert all(torch.equal(a, b) for a, b in zip(before, (gen.get_state(), torch.get_rng_state())))


def test_the_finder_goes_round_a_short_loader_through_the_right_rates():
    class CountCB(Callback):
        seen = []
        def after_loss(self, learn): self.seen.append(learn.opt.param_groups[0]['lr'])
    learn = get_learner(cbs=CountCB())  # 10 batches
    learn.lr_find(1e-6, 1e-2, n_iter=37, show=False)
    assert CountCB.seen == pytest.approx(np.geomspace(1e-6, 1e-2, 37))


@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_the_finder_stops_at_a_loss_that_is_not_finite(bad):
    calls = []
    def loss(preds, targets):
        calls.append(1)
        return cross_entropy(preds, targets)*(bad if len(calls) > 60 else 1.)
    learn = get_learner()
    learn.loss_func = loss
    assert all(map(math.isfinite, learn.lr_find(show=False)))
    assert len(calls) == 61
    finder = LRFinderCB()
    learn.fit(1, cbs=finder)  # the first loss already: no FloatingPointError from the recorder
    assert finder.losses == [] and learn.recorder.losses == []
    with pytest.raises(ValueError, match='only 0 losses'): finder.suggest()


def test_the_finder_stops_on_divergence_and_suggests_from_a_known_curve():
    finder = LRFinderCB(1e-5, 10.)
    learn = get_learner(valid=False)
    def loss(preds, targets):
        lr = learn.opt.param_groups[0]['lr']
        return preds.sum()*0 + 0.3 + 2/(1 + (lr/1e-2)**1.5) + (lr*10)**3
    learn.loss_func = loss
    found = learn.lr_find(1e-5, 10., n_iter=200, show=False)
    assert 0.007 < found.steepest < 0.015 and 1e-4 < found.valley < 0.02
    learn.create_opt()
    learn._run(1, [([*learn.dls.train]*20, True)], [finder])
    assert 100 < len(finder.losses) < 200 and finder.losses[-1] > 4*min(finder.losses)


@pytest.mark.parametrize('losses,match', [([2.]*9, 'needs 10'), (list(range(1, 30)), 'never falls')])
def test_no_suggestion_from_a_poor_curve(losses, match):
    finder = LRFinderCB()
    finder.losses, finder.lrs = [float(v) for v in losses], np.geomspace(1e-6, 1, len(losses)).tolist()
    with pytest.raises(ValueError, match=match): finder.suggest()


@pytest.mark.parametrize('kwargs', [dict(n_iter=5), dict(n_iter=20.), dict(n_iter=True), dict(lr_start=0), dict(lr_start=1, lr_end=0.1), dict(stop=0.5)])
def test_lr_find_refuses_bad_arguments(kwargs):
    with pytest.raises((TypeError, ValueError), match=[*kwargs][-1]): get_learner().lr_find(show=False, **kwargs)


@pytest.mark.parametrize('fitted', [False, True])
def test_the_finder_trains_the_model_it_was_given(fitted):
    learn, same = get_learner(), []
    if fitted: learn.fit(1)
    before = learn.model[0].weight.detach().clone()
    class WatchCB(Callback):
        def after_step(self, learn): same.append(torch.equal(learn.model[0].weight, before))
    learn.cbs.append(WatchCB())
    learn.lr_find(1e-3, 0.1, n_iter=20, show=False)
    assert len(same) == 20 and not any(same)


def test_the_finder_sets_the_rate_of_every_group():
    rates = []
    class WatchCB(Callback):
        def after_loss(self, learn): rates.append(tuple(g['lr'] for g in learn.opt.param_groups))
    get_learner(two_groups, cbs=WatchCB()).lr_find(1e-5, 0.1, n_iter=20, show=False)
    assert all(a == b for a, b in rates) and rates[0][0] == pytest.approx(1e-5)
