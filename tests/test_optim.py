"`mylib.optim` against `torch.optim` step by step, LAMB and LARS against their papers' equations; states, groups, gradients that come and go, memory."
import copy, math, pickle, warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from fastcore.test import expect_fail
from hypothesis import given, settings
from hypothesis import strategies as st
from mylib.checkpoint import CheckpointCB, load_state, save_state
from mylib.core import set_seed
from mylib.dataloader import DataLoaders, TensorDataset
from mylib.learner import Callback, Learner
from mylib.losses import cross_entropy
from mylib.optim import LAMB, LARS, SGD, Adam, AdamW, Optimizer, PeakBytes, RMSProp, adam_parts, decay, l2, part, sgd_step
from mylib.schedule import one_cycle
from torch import nn

T = torch.optim
SHAPES = [(9, 5), (5,), (), (3, 2, 2), (1,), (40, 30), (0,), (17,)]

seeds = st.integers(0, 9999)
shapes = st.lists(st.lists(st.integers(0, 6), max_size=3).map(tuple), min_size=1, max_size=6)
rates = st.sampled_from([0., 1e-3, 0.03, 0.1])
shares = st.sampled_from([0., 0.3, 0.9, 0.99])
decays = st.sampled_from([0., 0.01, 0.5])
epss = st.sampled_from([1e-8, 1e-3])
blocks = st.sampled_from([1, 7, 64, 2**18])


def params(shapes=SHAPES, seed=0, dtype=torch.float32, fmt=torch.contiguous_format):
    g = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(s, generator=g).to(dtype)) for s in shapes]


def twin(ps): return [nn.Parameter(p.detach().clone()) for p in ps]


def noise(ps, g):
    for p in ps:
        n = torch.randn(p.shape, generator=g)
        p.grad = p.detach() + (n if not p.is_complex() else n*(1 + 2j)).to(p.dtype)


def together(a, ps, b, qs, steps=100, seed=1, tol=1e-6, each=None):
    "Both optimizers take `steps` steps with the same gradients; after each, the parameters agree."
    g, h = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    for i in range(steps):
        noise(ps, g); noise(qs, h)
        if each: each(i, a, b, ps, qs)
        before = [None if p.grad is None else p.grad.clone() for p in ps]
        a.step(); b.step()
        for p, old in zip(ps, before): assert old is None or torch.equal(p.grad, old), 'a gradient was changed'
        for p, q in zip(ps, qs):
            gap = (p - q).abs().max().item() if p.numel() else 0.
            assert gap <= tol*max(1., q.abs().max().item() if q.numel() else 1.), f'step {i}, shape {tuple(p.shape)}: {gap}'


def versus(ours, theirs, shapes=SHAPES, seed=0, steps=100, dtype=torch.float32, block=2**18, tol=1e-6, **h):
    ps = params(shapes, seed, dtype)
    qs = twin(ps)
    together(ours(ps, block=block, **h), ps, theirs(qs, **h), qs, steps, tol=tol)


# ---- the methods
@settings(deadline=None, max_examples=15)
@given(shapes, rates, shares, shares, decays, blocks, seeds)
def test_sgd_is_torchs(shapes, lr, momentum, dampening, wd, block, seed):
    versus(SGD, T.SGD, shapes, seed, block=block, lr=lr, momentum=momentum, dampening=dampening, weight_decay=wd)


@settings(deadline=None, max_examples=8)
@given(shapes, rates, st.sampled_from([0.5, 0.95]), decays, blocks, seeds)
def test_nesterov_is_torchs(shapes, lr, momentum, wd, block, seed):
    ps = params(shapes, seed)  # torch adds to the gradients themselves here, so it gets its own
    qs = twin(ps)
    together(SGD(ps, lr, momentum, weight_decay=wd, nesterov=True, block=block), ps, T.SGD(qs, lr, momentum, weight_decay=wd, nesterov=True), qs)


@settings(deadline=None, max_examples=12)
@given(shapes, rates, st.sampled_from([0.9, 0.99]), epss, decays, shares, st.booleans(), blocks, seeds)
def test_rmsprop_is_torchs(shapes, lr, alpha, eps, wd, momentum, centered, block, seed):
    eps = max(eps, 1e-3) if centered else eps  # the difference of two nearly equal numbers, divided by
    versus(RMSProp, T.RMSprop, shapes, seed, block=block, lr=min(lr, 0.03), alpha=alpha, eps=eps, weight_decay=wd, momentum=momentum, centered=centered)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([(Adam, T.Adam), (AdamW, T.AdamW)]), shapes, rates, st.tuples(shares, st.sampled_from([0.9, 0.999])), epss, decays, st.booleans(), blocks, seeds)
def test_adam_is_torchs(pair, shapes, lr, betas, eps, wd, amsgrad, block, seed):
    versus(*pair, shapes, seed, block=block, lr=lr, betas=betas, eps=eps, weight_decay=wd, amsgrad=amsgrad)


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize('ours, theirs, h', [(SGD, T.SGD, dict(momentum=0.9, weight_decay=0.1)), (RMSProp, T.RMSprop, dict(momentum=0.5)), (AdamW, T.AdamW, dict(amsgrad=True))])
def test_other_dtypes(dtype, ours, theirs, h):
    tol = {torch.float64: 1e-12, torch.bfloat16: 0.15, torch.complex64: 2e-6}[dtype]
    versus(ours, theirs, [(4, 3), (2,), (30, 20)], steps=20, dtype=dtype, block=64, tol=tol, lr=0.01, **h)


def test_defaults_are_torchs():
    for ours, theirs in ((SGD, T.SGD), (RMSProp, T.RMSprop), (Adam, T.Adam), (AdamW, T.AdamW)):
        a, b = ours(params()).param_groups[0], theirs(params()).param_groups[0]
        assert {k: a[k] for k in a if k in b and k != 'params'} == {k: b[k] for k in b if k in a and k != 'params'}
        assert {*a} - {*b} <= {'debias'}


class PaperLAMB:
    "You et al. 2019, algorithm 2, with phi the identity; 64-bit."
    def __init__(self, ps, lr, betas, eps, weight_decay):
        self.ps, self.lr, self.b, self.eps, self.wd, self.t = ps, lr, betas, eps, weight_decay, 0
        self.m, self.v = [torch.zeros(p.shape).double() for p in ps], [torch.zeros(p.shape).double() for p in ps]

    def step(self):
        self.t += 1
        for i, p in enumerate(self.ps):
            x, g, (b1, b2) = p.detach().double(), p.grad.double(), self.b
            self.m[i] = b1*self.m[i] + (1 - b1)*g
            self.v[i] = b2*self.v[i] + (1 - b2)*g*g
            r = self.m[i]/(1 - b1**self.t)/((self.v[i]/(1 - b2**self.t)).sqrt() + self.eps) + self.wd*x
            nx, nr = math.sqrt((x*x).sum()), math.sqrt((r*r).sum())
            p.data = (x - self.lr*(nx/nr if nx > 0 and nr > 0 else 1.)*r).float()


class PaperLARS:
    "You et al. 2017, algorithm 1; 64-bit."
    def __init__(self, ps, lr, momentum, weight_decay, trust_coefficient):
        self.ps, self.h, self.v = ps, (lr, momentum, weight_decay, trust_coefficient), [torch.zeros(p.shape).double() for p in ps]

    def step(self):
        lr, m, beta, eta = self.h
        for i, p in enumerate(self.ps):
            w, g = p.detach().double(), p.grad.double()
            nw, ng = math.sqrt((w*w).sum()), math.sqrt((g*g).sum())
            local = eta*nw/(ng + beta*nw) if nw > 0 and ng > 0 else 1.
            self.v[i] = m*self.v[i] + lr*local*(g + beta*w)
            p.data = (w - self.v[i]).float()


@settings(deadline=None, max_examples=15)
@given(shapes, st.sampled_from([1e-3, 0.02]), st.tuples(shares, st.sampled_from([0.9, 0.999])), decays, blocks, seeds)
def test_lamb_is_its_papers(shapes, lr, betas, wd, block, seed):
    ps = params(shapes, seed)
    qs, h = twin(ps), dict(lr=lr, betas=betas, eps=1e-6, weight_decay=wd)
    together(LAMB(ps, block=block, **h), ps, PaperLAMB(qs, **h), qs, tol=2e-5)


@settings(deadline=None, max_examples=15)
@given(shapes, st.sampled_from([0.1, 1.]), shares, decays, st.sampled_from([1e-3, 0.02]), blocks, seeds)
def test_lars_is_its_papers(shapes, lr, momentum, wd, trust, block, seed):
    ps = params(shapes, seed)
    qs, h = twin(ps), dict(lr=lr, momentum=momentum, weight_decay=wd, trust_coefficient=trust)
    together(LARS(ps, block=block, **h), ps, PaperLARS(qs, **h), qs, tol=2e-5)


@pytest.mark.parametrize('make', [partial(LAMB, weight_decay=0.), LARS])
def test_norms_of_zero_are_no_nan(make):
    w, v = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(3))
    opt = make([w, v], lr=0.1)
    for _ in range(2):
        w.grad, v.grad = torch.ones(3), torch.zeros(3)
        opt.step()
    assert torch.isfinite(w).all() and (w < 0).all() and torch.isfinite(v).all()


@settings(deadline=None, max_examples=10)
@given(st.sampled_from([0.5, 0.9]), st.booleans(), seeds)
def test_debiased_momentum_is_the_weighted_mean(beta, averaged, seed):
    w, grads = nn.Parameter(torch.zeros(3)), torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))
    opt, x = SGD([w], lr=0.5, momentum=beta, dampening=beta if averaged else 0., debias=True), torch.zeros(3)
    for t in range(8):
        w.grad = grads[t].clone()
        opt.step()
        weights = torch.tensor([beta**(t - i) for i in range(t + 1)])[:, None]
        x = x - 0.5*(weights*grads[:t + 1]).sum(0)/weights.sum()/(1 if averaged else 1 - beta)
        assert torch.allclose(w, x, atol=1e-5)


def test_l2_and_decay_agree_for_plain_sgd_alone():
    def gap(parts):
        ps = params()
        qs = twin(ps)
        h = dict(lr=0.05, momentum=0.9, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.3)
        try: together(Optimizer(ps, [l2, *parts], **h), ps, Optimizer(qs, [decay, *parts], **h), qs, 20, tol=1e-5)
        except AssertionError: return True
    assert not gap([sgd_step])
    assert gap(adam_parts(dict(weight_decay=0., amsgrad=False)))


# ---- groups, gradients, memory layout
def two(ps, **h): return [dict(params=ps[:3]), dict(params=[]), dict(params=ps[3:], **h)]


def test_groups_schedules_and_flags_changed_on_the_way():
    ps = params()
    qs = twin(ps)
    def each(i, a, b, ps, qs):
        for o in (a, b):
            o.param_groups[0]['lr'] = 0.01*(i + 1)
            o.param_groups[2].update(betas=(0.85 + 0.01*(i % 10), 0.99), weight_decay=0.1*(i % 3 > 0))
    together(AdamW(two(ps, lr=0.03, amsgrad=True), block=50), ps, T.AdamW(two(qs, lr=0.03, amsgrad=True)), qs, 30, each=each)


@settings(deadline=None, max_examples=15)
@given(st.sampled_from([(partial(SGD, momentum=0.9), partial(T.SGD, momentum=0.9)), (AdamW, T.AdamW), (partial(RMSProp, momentum=0.9), partial(T.RMSprop, momentum=0.9))]),
       st.lists(st.integers(0, 255), min_size=3, max_size=8), st.sampled_from([7, 2**18]), seeds)
def test_gradients_come_and_go(pair, patterns, block, seed):
    ps = params(seed=seed)
    qs = twin(ps)
    def each(i, a, b, ps, qs):
        for xs in (ps, qs):
            for j, x in enumerate(xs):
                if not patterns[i]>>j & 1: x.grad = None
    a, b = pair[0](ps, lr=0.02, block=block), pair[1](qs, lr=0.02)
    together(a, ps, b, qs, len(patterns), each=each)
    ours, theirs = a.state_dict()['state'], b.state_dict()['state']
    assert {*ours} == {*theirs}
    for k in ours:
        assert {*ours[k]} == {*theirs[k]}
        for name, v in ours[k].items(): assert torch.allclose(v, theirs[k][name], atol=1e-6) and v.shape == theirs[k][name].shape


def test_transposed_and_channels_last():
    def make():
        torch.manual_seed(0)
        return [nn.Parameter(torch.randn(6, 4).t()), nn.Parameter(torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)), nn.Parameter(torch.randn(5, 5)), nn.Parameter(torch.randn(3))]
    for ours, theirs in ((AdamW, T.AdamW), (partial(SGD, momentum=0.9), partial(T.SGD, momentum=0.9))):
        ps, qs = make(), make()
        a, b = ours(ps, lr=0.01, block=8), theirs(qs, lr=0.01)
        together(a, ps, b, qs, 20)
        assert all(v.stride() == p.stride() for p in ps for k, v in a.state[p].items() if k != 'step')
    ps, qs = params([(6, 4)]), params([(6, 4)])
    a, b = AdamW(ps, block=5), T.AdamW(qs)
    for p, o in ((ps[0], a), (qs[0], b)):
        p.grad = torch.arange(24.).view(4, 6).t()  # a gradient laid out otherwise than its parameter
        o.step()
    assert torch.allclose(ps[0], qs[0], atol=1e-7)


def test_a_parameter_that_moves_is_still_trained():
    model = nn.Sequential(nn.Linear(30, 40), nn.Linear(40, 2))
    opt, ps = AdamW(model.parameters(), lr=0.1), [*model.parameters()]
    for step in range(3):
        for p in ps: p.grad = torch.ones_like(p)
        if step == 1:
            for p in ps: p.data = p.data.clone()
        before = [p.detach().clone() for p in ps]
        opt.step()
        assert all((p != q).all() for p, q in zip(ps, before))
    model.double()
    for p in ps: p.grad = torch.ones_like(p)
    opt.load_state_dict(opt.state_dict())
    opt.step()
    assert all(opt.state[p]['exp_avg'].dtype == torch.float64 for p in ps)


def test_state_replaced_by_hand_is_used():
    ps = params([(4, 3), (5,), (2,)])
    opt = AdamW(ps, lr=0.1)
    qs = twin(ps)
    fresh = AdamW(qs, lr=0.1)
    for _ in range(2):
        noise(ps, torch.Generator().manual_seed(0))
        opt.step()
    for p, q in zip(ps, qs): q.data.copy_(p)
    opt.state.clear()
    together(opt, ps, fresh, qs, 3, tol=0.)
    opt.state[ps[0]]['exp_avg'] = torch.full((4, 3), 100.)
    before = ps[0].detach().clone()
    noise(ps, torch.Generator().manual_seed(0)); opt.step()
    assert ((before - ps[0]) > 1.).all()


def test_zero_grad_closure_and_no_gradient_at_all():
    ps = params()
    opt = SGD(ps, lr=0.1)
    opt.step()
    noise(ps, torch.Generator())
    opt.zero_grad(set_to_none=False)
    assert all((p.grad == 0).all() for p in ps)
    opt.zero_grad()
    assert all(p.grad is None for p in ps)
    def closure():
        assert torch.is_grad_enabled()
        loss = sum((p**2).sum() for p in ps)
        loss.backward()
        return loss
    before = [p.detach().clone() for p in ps]
    assert opt.step(closure).item() > 0
    assert all(torch.allclose(p, 0.8*q) for p, q in zip(ps, before))


# ---- states
PAIRS = [(partial(SGD, momentum=0.9), partial(T.SGD, momentum=0.9)), (partial(RMSProp, centered=True), partial(T.RMSprop, centered=True)), (Adam, T.Adam), (partial(AdamW, amsgrad=True), partial(T.AdamW, amsgrad=True))]


@pytest.mark.parametrize('ours, theirs', PAIRS)
@pytest.mark.parametrize('block', [10, 2**18])
def test_states_go_to_torch_and_back(ours, theirs, block):
    ps = params()
    qs = twin(ps)
    a, b = ours(two(ps, lr=0.02), lr=0.01, block=block), theirs(two(qs, lr=0.02), lr=0.01)
    together(a, ps, b, qs, 5)
    rs, ss = twin(ps), twin(ps)
    c, d = ours(two(rs), lr=9., block=block), theirs(two(ss), lr=9.)
    c.load_state_dict(copy.deepcopy(b.state_dict())); d.load_state_dict(copy.deepcopy(a.state_dict()))
    assert [g['lr'] for g in c.param_groups] == [g['lr'] for g in d.param_groups] == [0.01, 0.01, 0.02]
    together(c, rs, d, ss, 5, seed=3)
    together(a, ps, b, qs, 5, seed=3)
    assert all(torch.allclose(p, r, atol=1e-6) for p, r in zip(ps, rs))


def test_loading_copies_and_saving_survives_files(tmp_path):
    ps = params()
    opt = AdamW(ps, lr=0.01)
    for i in range(3): noise(ps, torch.Generator().manual_seed(i)); opt.step()
    save_state(opt.state_dict(), tmp_path/'a')
    torch.save(opt.state_dict(), tmp_path/'b')
    states = [opt.state_dict(), load_state(tmp_path/'a'), torch.load(tmp_path/'b'), pickle.loads(pickle.dumps(opt)).state_dict()]
    ends = []
    for s in states:
        qs = twin(ps)
        other = AdamW(qs, block=9)
        other.load_state_dict(s)
        for i in range(3): noise(qs, torch.Generator().manual_seed(9 + i)); other.step()
        ends.append(qs)
    for qs in ends[1:]: assert all(torch.equal(a, b) for a, b in zip(ends[0], qs))
    assert opt.state[ps[0]]['step'] == 3


def test_a_deep_copy_is_independent():
    ps = params()
    opt = AdamW(ps, lr=0.1)
    noise(ps, torch.Generator()); opt.step()
    old = opt.state[ps[1]]['exp_avg'].clone()
    other = copy.deepcopy(opt, {id(p): p for p in ps})
    assert other.param_groups[0]['params'][0] is ps[0]
    noise(ps, torch.Generator()); other.step()
    assert torch.equal(opt.state[ps[1]]['exp_avg'], old) and opt.state[ps[1]]['step'] == 1 and other.state[ps[1]]['step'] == 2


def test_states_of_others_are_refused():
    opt = AdamW(params())
    with expect_fail(ValueError, 'groups of [1] tensors, and this optimizer has [8]'): opt.load_state_dict(AdamW(params([(2,)])).state_dict())
    with expect_fail(ValueError, "'momentum'"): opt.load_state_dict(SGD(params(), momentum=0.9).state_dict())
    with expect_fail(ValueError, 'maximize=True'): opt.load_state_dict(T.AdamW(params(), maximize=True).state_dict())
    ps = params([(3, 3)])
    other = AdamW(ps); noise(ps, torch.Generator()); other.step()
    with expect_fail(ValueError, 'exp_avg of parameter 0 was saved with shape (3, 3)'): AdamW(params([(3,)])).load_state_dict(other.state_dict())
    opt.load_state_dict(T.Adam(params()).state_dict())
    assert opt.param_groups[0]['decoupled_weight_decay'] is True


def test_mistakes_are_said():
    ps = params()
    for make, kind, message in [
        (lambda: SGD(ps, lr=-1), ValueError, 'lr must be a number of at least 0, not -1'), (lambda: SGD(ps, lr=math.nan), ValueError, 'lr must be'), (lambda: SGD(ps, lr='1'), ValueError, 'lr must be'),
        (lambda: SGD(ps, momentum=1.), ValueError, 'momentum must be a number of at least 0 and below 1'), (lambda: Adam(ps, betas=(0.9, 1.)), ValueError, 'betas must be'),
        (lambda: Adam(ps, betas=(0.9,)), ValueError, 'two numbers'), (lambda: Adam(ps, eps=-1e-8), ValueError, 'eps'), (lambda: AdamW(ps, weight_decay=-1), ValueError, 'weight_decay'),
        (lambda: Adam(ps, amsgrad=1), ValueError, 'True or False'), (lambda: SGD(ps, momentum=0.9, dampening=0.1, nesterov=True), ValueError, 'nesterov'),
        (lambda: SGD(ps, mom=0.9), TypeError, "'mom'"), (lambda: SGD([dict(params=ps, mom=0.9)]), TypeError, "SGD has no 'mom'"), (lambda: SGD([]), ValueError, 'empty'),
        (lambda: SGD(iter(())), ValueError, 'empty'), (lambda: SGD({*ps}), TypeError, 'set'), (lambda: SGD([dict(params=ps), dict(params=ps[2:3])]), ValueError, 'twice'),
        (lambda: SGD(ps + ps[:1]), ValueError, 'twice'), (lambda: SGD(['w']), TypeError, 'str'), (lambda: SGD([torch.arange(3)]), TypeError, 'int64'), (lambda: SGD([ps[0]*2]), ValueError, 'other tensors'),
        (lambda: SGD([dict(lr=1.)]), TypeError, "'params'"), (lambda: SGD([('a', ps[0]), ps[1]]), ValueError, 'mixes'), (lambda: SGD(ps, block=0), ValueError, 'block')]:
        with expect_fail(kind, message): make()
    e = nn.Embedding(4, 2, sparse=True)
    e(torch.tensor([1])).sum().backward()
    with expect_fail(RuntimeError, 'sparse gradient of parameter 0 in group 0'): AdamW(e.parameters()).step()
    with expect_fail(TypeError, 'but part was given'): part(a=lambda h, t: 1)(lambda b: None)


def test_names_generators_and_a_single_tensor():
    model = nn.Linear(3, 2)
    opt = AdamW(model.named_parameters())
    assert opt.state_dict()['param_groups'][0]['param_names'] == ['weight', 'bias'] and 'AdamW' in repr(opt)
    assert len(SGD(model.parameters()).param_groups[0]['params']) == 2
    assert SGD(model.weight).param_groups[0]['params'][0] is model.weight
    opt = SGD(model.weight, lr=0.1)
    opt.add_param_group(dict(params=model.bias, lr=0.2))
    for p in model.parameters(): p.data.zero_(); p.grad = torch.ones_like(p)
    opt.step()
    assert (model.weight == -0.1).all() and (model.bias == -0.2).all()


# ---- memory
def peak(opt):
    opt.step()
    with PeakBytes() as p: opt.step()
    return p.peak


@pytest.mark.parametrize('shapes', [[(64, 64)]*40, [(50, 784), (50,), (10, 50), (10,)], [(700, 700), (300,), (300,), (100, 40)], [(10,)], [(10, 10)]*4])
@pytest.mark.parametrize('ours, theirs, h', [
    (SGD, T.SGD, {}), (SGD, T.SGD, dict(momentum=0.9)), (SGD, T.SGD, dict(momentum=0.9, nesterov=True, weight_decay=0.1)), (RMSProp, T.RMSprop, {}),
    (RMSProp, T.RMSprop, dict(centered=True, momentum=0.9, weight_decay=0.1)), (Adam, T.Adam, dict(weight_decay=0.1)), (AdamW, T.AdamW, {}), (AdamW, T.AdamW, dict(amsgrad=True))])
def test_no_more_temporary_bytes_than_torchs_foreach(shapes, ours, theirs, h):
    opts = []
    for make in (partial(ours, block=2**16), partial(theirs, foreach=True)):
        ps = params(shapes)
        noise(ps, torch.Generator())
        opts.append(make(ps, **h))
    assert peak(opts[0]) <= peak(opts[1])
    assert sum(v.numel() for s in opts[0].state.values() for v in s.values()) == sum(v.numel() for s in opts[1].state.values() for v in s.values())


# ---- the compiled step
def compiles(opt):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        opt.step()
    return not any('could not be compiled' in str(w.message) for w in caught)


def test_the_compiled_step_is_the_same_and_follows_schedules():
    ps = params()
    qs = twin(ps)
    a, b = AdamW(two(ps, lr=0.02), lr=0.01, compile=True), T.AdamW(two(qs, lr=0.02), lr=0.01)
    noise(ps, torch.Generator()); noise(qs, torch.Generator())
    if not compiles(a): pytest.skip('no C++ compiler here')
    b.step()
    import torch._dynamo.utils as u
    together(a, ps, b, qs, 3)
    before = u.counters['stats']['unique_graphs']
    def each(i, a, b, ps, qs):
        for o in (a, b): o.param_groups[0].update(lr=0.01*(i + 1), betas=(0.85 + 0.01*i, 0.99))
    together(a, ps, b, qs, 10, each=each)
    assert u.counters['stats']['unique_graphs'] == before and a.compile


def test_without_a_compiler_there_is_one_warning_and_the_same_result(monkeypatch):
    import mylib.optim as m
    def fails(*args): raise RuntimeError('no g++')
    monkeypatch.setattr(m, '_compiled', fails)
    ps = params()
    qs = twin(ps)
    a, b = AdamW(ps, lr=0.01, compile=True), T.AdamW(qs, lr=0.01)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        together(a, ps, b, qs, 5)
    assert len(caught) == 1 and 'could not be compiled' in str(caught[0].message) and 'no g++' in str(caught[0].message)


# ---- in a Learner
class StopCB(Callback):
    order = 95
    def __init__(self, epoch, batch): self.at = epoch, batch
    def after_batch(self, learn):
        if learn.training and (learn.epoch, learn.iter) == self.at: raise KeyboardInterrupt


def learner(opt_func):
    set_seed(0)
    x = torch.randn(200, 6)
    dls = DataLoaders.from_datasets(*[TensorDataset(x, (x[:, 0] > 0).long())]*2, batch_size=16, seed=3)
    return Learner(nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.Linear(8, 2)), dls, cross_entropy, 0.01, opt_func=opt_func)


def fit(learn, *cbs):
    with learn.no_progress(): learn.fit(3, cbs=[one_cycle(0.01), *cbs])
    return learn


@pytest.mark.parametrize('opt_func', [AdamW, partial(SGD, momentum=0.9), LAMB])
def test_a_run_that_was_interrupted_ends_the_same(opt_func, tmp_path):
    whole = fit(learner(opt_func))
    with expect_fail(KeyboardInterrupt): fit(learner(opt_func), CheckpointCB(tmp_path, every=3), StopCB(1, 7))
    resumed = fit(learner(opt_func), CheckpointCB(tmp_path, every=3, resume=True))
    assert resumed.recorder.losses == whole.recorder.losses
    assert all(torch.equal(p, q) for p, q in zip(resumed.model.parameters(), whole.model.parameters()))


def test_a_learner_with_ours_is_one_with_torchs():
    a, b = fit(learner(partial(AdamW, weight_decay=0.1))), fit(learner(partial(T.AdamW, weight_decay=0.1)))
    assert a.recorder.losses == pytest.approx(b.recorder.losses, abs=1e-5)


def test_the_range_test_leaves_the_optimizer_alone():
    learn = fit(learner(AdamW))
    before = copy.deepcopy(learn.opt.state_dict())
    with learn.no_progress(): learn.lr_find(show=False, n_iter=40)
    after = learn.opt.state_dict()
    assert before['param_groups'] == after['param_groups']
    for k, s in before['state'].items():
        for name, v in s.items(): assert torch.equal(v, after['state'][k][name])
    learn.opt.zero_grad()
    fit(learn)


def test_the_benchmark_knows_the_resnet():
    import importlib.util
    spec = importlib.util.spec_from_file_location('bench_optim', Path(__file__).parent.parent/'benchmarks'/'optim.py')
    m = importlib.util.module_from_spec(spec); spec.loader.exec_module(m)
    assert len(m.resnet18_shapes()) == 62 and sum(math.prod(s) for s in m.resnet18_shapes()) == 11_689_512
