"Accumulation, mixed precision and clipping, alone and in every combination, against loops written with torch's own tools."
import contextlib
import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mylib.checkpoint import CheckpointCB
from mylib.core import set_seed
from mylib.dataloader import DataLoader, DataLoaders, TensorDataset
from mylib.learner import Callback, CancelEpochException, Learner, accuracy
from mylib.losses import cross_entropy
from mylib.mixup import MixUpCB
from mylib.precision import DynamicScale, GradientAccumulationCB, GradientClipCB, MixedPrecisionCB, best_precision
from mylib.schedule import SchedCB, sched_lin

N, BS, C = 58, 8, 3


def get_model():
    set_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, C))

def get_data():
    set_seed(1)
    return torch.randn(N, 5), torch.randint(C, (N,))

def get_learner(bs=BS, cbs=None, model=None, lr=0.5, **kwargs):
    ds = TensorDataset(*get_data())
    return Learner(model or get_model(), DataLoaders(DataLoader(ds, bs), DataLoader(ds, N)), cross_entropy, lr,
                   opt_func=lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9), metrics=accuracy, device='cpu', cbs=cbs, **kwargs)


class FixedMixCB(MixUpCB):
    "Shares and partners that depend on the batch alone, so that a loop by hand can draw them too."
    def draw(self, n, device='cpu'): return shares(n)

def shares(n):
    g = torch.Generator().manual_seed(n)
    return torch.rand(n, generator=g), torch.randperm(n, generator=g)


def by_hand(n_epoch, acc, clip, sched, mix, dtype, scale):
    (x, y), model = get_data(), get_model()
    opt = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    scaler = torch.amp.GradScaler('cpu', init_scale=2.**scale, growth_interval=3, enabled=dtype is torch.float16)
    starts, step = list(range(0, N, BS)), 0
    for epoch in range(n_epoch):
        parts = []
        for k, i in enumerate(starts):
            parts.append((x[i:i + BS], y[i:i + BS]))
            if sched: opt.param_groups[0]['lr'] = 0.5 - 0.4*(epoch + k/len(starts))/n_epoch
            if sum(len(p[0]) for p in parts) < acc and k + 1 < len(starts): continue
            total = sum(len(p[0]) for p in parts)
            for xb, yb in parts:
                with torch.autocast('cpu', dtype=dtype) if dtype else contextlib.nullcontext():
                    if mix:
                        lam, perm = shares(len(xb))
                        preds = model(lam[:, None]*xb + (1 - lam[:, None])*xb[perm])
                        hot = F.one_hot(yb, C).float()
                        loss = F.cross_entropy(preds, lam[:, None]*hot + (1 - lam[:, None])*hot[perm], reduction='sum')/total
                    else: loss = F.cross_entropy(model(xb), yb, reduction='sum')/total
                scaler.scale(loss).backward()
            scaler.unscale_(opt)
            if clip: torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            scaler.step(opt); scaler.update(); opt.zero_grad()
            parts, step = [], step + 1
    return model, scaler


@pytest.mark.parametrize('acc,clip,sched,mix,dtype', list(itertools.product((1, 24), (None, 0.1), (False, True), (False, True), (None, torch.bfloat16, torch.float16))))
def test_every_combination(acc, clip, sched, mix, dtype):
    scale = 8 if acc > 1 else 24  # the sums of the two sides have different sizes in between, so only the first may overflow
    cbs = [MixedPrecisionCB(dtype, scale=2.**scale, interval=3)] if dtype else []
    if acc > 1: cbs.append(GradientAccumulationCB(acc))
    if clip: cbs.append(GradientClipCB(clip))
    if sched: cbs.append(SchedCB(lr=sched_lin(0.5, 0.1)))
    if mix: cbs.append(FixedMixCB())
    learn = get_learner()
    with learn.no_progress(): learn.fit(2, cbs=cbs)
    model, scaler = by_hand(2, acc, clip, sched, mix, dtype, scale)
    tol = dict(rtol=1e-5, atol=1e-6) if dtype is None else dict(rtol=0.02, atol=0.01)
    for p, q in zip(learn.model.parameters(), model.parameters()): torch.testing.assert_close(p, q, **tol)
    if dtype is torch.float16: assert cbs[0].scaler.scale == scaler.get_scale() and bool(cbs[0].skipped) == (acc == 1)


@given(st.integers(1, 20), st.integers(1, 60))
@settings(max_examples=25)
def test_accumulation_is_the_large_batch(bs, n_acc):
    "The same gradient as one batch of the samples that came together; groups end where n_acc is reached, or the epoch ends."
    class Keep(Callback):
        order = 90
        def __init__(self): self.grads = []
        def after_backward(self, learn): self.grads.append([p.grad.clone() for p in learn.model.parameters()])
    keep, learn = Keep(), get_learner(bs, lr=1e-30)
    with learn.no_progress(): learn.fit(1, cbs=[GradientAccumulationCB(n_acc), keep])
    (x, y), model, groups, start = get_data(), get_model(), [], 0
    for end in [*range(bs, N, bs), N]:
        if end - start >= n_acc or end == N: groups.append((start, end)); start = end
    assert len(keep.grads) == len(groups)
    for got, (a, b) in zip(keep.grads, groups):
        expected = torch.autograd.grad(F.cross_entropy(model(x[a:b]), y[a:b]), list(model.parameters()))
        for g, e in zip(got, expected): torch.testing.assert_close(g, e, rtol=1e-4, atol=1e-6)


def test_what_is_recorded_is_the_true_loss():
    plain, busy = (get_learner(lr=1e-30) for _ in range(2))
    for learn, cbs in ((plain, None), (busy, [GradientAccumulationCB(16), MixedPrecisionCB('fp16', scale=2.**10)])):
        with learn.no_progress(): learn.fit(1, cbs=cbs)
    assert busy.recorder.losses == pytest.approx(plain.recorder.losses, rel=2e-3)


@given(st.lists(st.sampled_from(['fine', 'inf', 'nan']), min_size=1, max_size=30), st.integers(1, 4))
@settings(max_examples=30)
def test_scale_follows_gradscaler(events, interval):
    p, q = (nn.Parameter(torch.zeros(3)) for _ in range(2))
    ours, theirs, opt = DynamicScale(1024., interval), torch.amp.GradScaler('cpu', init_scale=1024., growth_interval=interval), torch.optim.SGD([q], lr=1.)
    theirs.scale(torch.zeros(()))
    for e in events:
        g = torch.tensor([1., 2., 3. if e == 'fine' else float(e)])
        p.grad, q.grad = g.clone(), g.clone()
        fine = ours.unscale([p])
        theirs.unscale_(opt); theirs.step(opt); theirs.update()
        assert fine == (e == 'fine') and ours.scale == theirs.get_scale()
        torch.testing.assert_close(p.grad, q.grad, equal_nan=True)


def test_a_skipped_step_changes_nothing_and_is_counted():
    class Overflow(Callback):
        order = 60
        def after_backward(self, learn):
            if learn.iter == 2: learn.model[0].weight.grad[0, 0] = float('inf')
    class Watch(Callback):
        order = 99
        def __init__(self): self.seen = []
        def before_batch(self, learn):
            if learn.training: self.seen.append(learn.model[0].weight.detach().clone())
    cb, watch, learn = MixedPrecisionCB('fp16', scale=4.), Watch(), get_learner()
    with learn.no_progress(): learn.fit(1, cbs=[cb, Overflow(), watch])
    assert cb.skipped == 1 and cb.scaler.scale == 2.
    assert torch.equal(watch.seen[2], watch.seen[3]) and not torch.equal(watch.seen[1], watch.seen[2])
    assert learn.model[0].weight.isfinite().all()


@pytest.mark.parametrize('where', ['model', 'before_batch', 'after_predict', 'after_loss', 'after_backward', 'after_step'])
@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_no_autocast_and_no_gradient_remains(where, error):
    class Fail(nn.Module):
        def forward(self, x): raise error()
    class FailCB(Callback):
        order = 95
        def __init__(self):
            if where != 'model': setattr(self, where, self._fail)
        def _fail(self, learn):
            if learn.iter == (2 if where in ('after_backward', 'after_step') else 1): raise error()
    learn = get_learner(model=nn.Sequential(get_model(), Fail()) if where == 'model' else None)
    with learn.no_progress(), pytest.raises(error): learn.fit(1, cbs=[MixedPrecisionCB(), GradientAccumulationCB(24), FailCB()])
    assert not torch.is_autocast_enabled('cpu')
    assert all(p.grad is None for p in learn.model.parameters())


def test_predictions_are_float32_for_metrics_and_get_preds():
    learn = get_learner(cbs=MixedPrecisionCB())
    with learn.no_progress(): learn.fit(1)
    preds, _ = learn.get_preds()
    assert preds.dtype == torch.float32
    assert learn.validate().valid_loss == learn.recorder.rows[-1]['valid_loss']


def test_a_resumed_run_goes_on_with_its_scale_and_its_sums(tmp_path):
    class Stop(Callback):
        def before_batch(self, learn):
            if learn.training and (learn.epoch, learn.iter) == (1, 6): raise KeyboardInterrupt
    def cbs(): return [MixedPrecisionCB('fp16', scale=2.**20, interval=2), GradientAccumulationCB(16)]
    whole, first, second = (get_learner() for _ in range(3))
    with whole.no_progress(): whole.fit(3, cbs=(end := cbs()))
    with first.no_progress(), pytest.raises(KeyboardInterrupt): first.fit(3, cbs=[*cbs(), CheckpointCB(tmp_path, every=1), Stop()])
    with second.no_progress(): second.fit(3, cbs=[*(again := cbs()), CheckpointCB(tmp_path, every=1, resume=True)])
    assert second.recorder.losses == whole.recorder.losses
    assert (again[0].scaler.scale, again[0].skipped) == (end[0].scaler.scale, end[0].skipped)
    for p, q in zip(second.model.parameters(), whole.model.parameters()): assert torch.equal(p, q)


def test_an_epoch_cut_short_leaves_nothing_for_the_next():
    class CutCB(Callback):
        order = 90
        def __init__(self): self.first = []
        def before_batch(self, learn):
            if learn.training and learn.epoch == 0 and learn.iter == 1: raise CancelEpochException
        def after_backward(self, learn): self.first.append(learn.model[0].weight.grad.clone())
    grads = {}
    for epochs in (1, 2):  # the second epoch alone, and after one that was cut in the middle of an accumulation
        cut, learn = CutCB(), get_learner(lr=1e-30)
        if epochs == 1: cut.before_batch = lambda learn: None
        with learn.no_progress(): learn.fit(epochs, cbs=[GradientAccumulationCB(3*BS), cut])
        grads[epochs] = cut.first[0]
    torch.testing.assert_close(grads[1], grads[2])


def test_unscaling_without_gradients():
    scaler = DynamicScale(scale=8.)
    assert scaler.unscale([]) and scaler.unscale([torch.zeros(3, requires_grad=True)]) and scaler.state_dict() == dict(scale=8., good=0)


def test_refusals():
    for dtype in ('fp8', torch.float32, None):
        with pytest.raises(ValueError, match='dtype must be'): MixedPrecisionCB(dtype)
    for n in (0, -3, 1.5, True):
        with pytest.raises((TypeError, ValueError), match='n_acc must be'): GradientAccumulationCB(n)
    for m in (0, -1., float('inf'), float('nan')):
        with pytest.raises(ValueError, match='max_norm must be a positive'): GradientClipCB(m)
    for kw in (dict(scale=0), dict(interval=0)):
        with pytest.raises(ValueError, match=next(iter(kw))): DynamicScale(**kw)
    class Stream:
        def __iter__(self): return iter([get_data()])
    with pytest.raises(TypeError, match='has no len'), Learner(get_model(), (Stream(), None), cross_entropy).no_progress() as learn: learn.fit(1, cbs=GradientAccumulationCB(8))


def test_best_precision(monkeypatch):
    names = ('_is_avx512_bf16_supported', '_is_amx_tile_supported')
    for supported in ((True, False), (False, True), (False, False)):
        for n, v in zip(names, supported): monkeypatch.setattr(torch.cpu, n, lambda v=v: v, raising=False)
        assert best_precision('cpu') == ('bf16' if any(supported) else None)
    for n in names: monkeypatch.delattr(torch.cpu, n)
    assert best_precision('cpu') is None and best_precision('mps') is None
    for capability, want in (((7, 5), 'fp16'), ((8, 0), 'bf16'), ((9, 0), 'bf16')):
        monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda d=None: capability)
        assert best_precision('cuda') == want
