"Hooks that come off whatever happens, statistics against NumPy, and activations that are let go."
import gc, weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mylib.core import set_seed
from mylib.dataloader import DataLoader, TensorDataset
from mylib.hooks import ActivationStats, Hook, Hooks, _measure, leaf_modules
from mylib.init import GeneralRelu
from mylib.learner import Callback, CancelBatchException, CancelEpochException, CancelFitException, Learner
from mylib.losses import cross_entropy


def get_model():
    set_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3))


def get_learner(cbs=None, model=None, n=40):
    gen = torch.Generator().manual_seed(0)
    ds = TensorDataset(torch.randn(n, 1, 8, 8, generator=gen), torch.randint(3, (n,), generator=gen))
    return Learner(model or get_model(), (DataLoader(ds, batch_size=10), DataLoader(ds, batch_size=20)), cross_entropy, 0.05, cbs=cbs, device='cpu')


def quiet_fit(learn, *args, **kwargs):
    with learn.no_progress(): learn.fit(*args, **kwargs)
    return learn


def n_hooks(model): return sum(len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules())


x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('backward', [False, True])
@pytest.mark.parametrize('error', [None, RuntimeError, KeyboardInterrupt])
def test_hooks_come_off(backward, error):
    model, idle = get_model(), lambda *args: None
    for make in (lambda: Hook(model[2], idle, backward), lambda: Hooks(model, idle, backward)):
        if error is None:
            with make(): assert n_hooks(model) > 0
        else:
            with pytest.raises(error), make(): raise error
        assert n_hooks(model) == 0


def test_failed_registration_leaves_nothing():
    model = get_model()
    with pytest.raises(TypeError, match='not int'): Hooks([model[0], model[1], 3], print)
    with pytest.raises(TypeError, match='func must be callable'): Hooks(model, None)
    assert n_hooks(model) == 0


def test_hook_gets_itself_and_may_replace_the_output():
    model, seen = get_model(), []
    def double(hook, module, inp, out):
        seen.append((hook, module, inp))
        return out*2
    with Hook(model[5], double) as h: doubled = model(x)
    assert seen[0][0] is h and seen[0][1] is model[5] and isinstance(seen[0][2], tuple)
    assert torch.equal(doubled, model(x)*2)


def test_backward_hooks_are_autograd_grad():
    model, y, got = get_model(), torch.tensor([0, 1, 2, 1, 0]), {}
    def keep(hook, module, gi, go): got[module] = gi[0].clone(), go[0].clone()
    with Hooks([model[1], model[3]], keep, backward=True): F.cross_entropy(model(x), y).backward()
    outs = [x]
    for layer in model: outs.append(layer(outs[-1]))
    loss = F.cross_entropy(outs[-1], y)
    for i in (1, 3):
        for g, want in zip(got[model[i]], torch.autograd.grad(loss, [outs[i], outs[i + 1]], retain_graph=True)): torch.testing.assert_close(g, want)


def test_hooks_are_a_list():
    model = get_model()
    hooks = Hooks(list(model), lambda *args: None)
    assert len(hooks) == 6 and list(hooks)[2] is hooks[2] and len(hooks[1:3]) == 2
    del hooks[0]
    assert n_hooks(model) == 5 and not model[0]._forward_hooks
    del hooks[1:3]
    assert len(hooks) == n_hooks(model) == 3
    hooks.remove(); hooks.remove()
    assert n_hooks(model) == 0 and len(hooks) == 3


def test_hook_keeps_neither_module_nor_activation():
    lin, refs = nn.Linear(3, 3), []
    with Hook(lin, lambda hook, m, i, o: refs.append(weakref.ref(o))) as h:
        with torch.no_grad(): lin(torch.ones(2, 3))
    assert refs[0]() is None
    ref = weakref.ref(lin)
    del lin
    assert ref() is None and h is not None


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 12), st.floats(0.5, 20), st.integers(0, 99))
def test_measure_is_numpy(shape, bins, max_abs, seed):
    act = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).relu()*5
    got, a = _measure(act, bins, max_abs, 0.), act.double().numpy()
    units = np.moveaxis(a, 1, 0).reshape(a.shape[1], -1) if a.ndim > 1 else a[None]
    want = [a.mean(), a.std(), (a == 0).mean(), (units == 0).all(1).mean()]
    np.testing.assert_allclose(got[:4].numpy(), want, rtol=1e-4, atol=1e-5)
    edges, size = np.linspace(0, max_abs, bins + 1)[1:-1], a.clip(max=max_abs)
    counts = np.histogram(size, bins, (0, max_abs))[0]
    if not np.isclose(size.ravel()[:, None], edges, rtol=1e-4).any(): np.testing.assert_array_equal(got[4:].numpy(), counts)
    assert got[4:].sum() == a.size


def test_measure_half_precision_and_infinity():
    got = _measure(torch.full((73, 137), 300., dtype=torch.float16, requires_grad=True), 4, 10., 0.)
    assert got.dtype == torch.float32 and got[0] == 300 and got[1] == 0 and got[-1] == 73*137  # fp16 has no odd number of that size
    assert not got.requires_grad
    assert _measure(torch.tensor([[float('inf'), 1.]]), 4, 10., 0.)[4:].sum() == 2


def test_stats_are_those_of_a_forward_pass_by_hand():
    stats = ActivationStats()
    learn = get_learner(stats)
    learn.lr = 1e-30
    quiet_fit(learn, 2)
    table = stats.to_frame()
    assert stats.names == ['1', '3'] and len(table) == 2*2*4
    for b, (xb, _) in enumerate(list(learn.dls.train)*2):
        for name, layers in (('1', learn.model[:2]), ('3', learn.model[:4])):
            a = layers(xb).detach().double().numpy()
            row = table[(table.layer == name) & (table.batch == b)].iloc[0]
            np.testing.assert_allclose([row['mean'], row['std'], row.near_zero], [a.mean(), a.std(), (a <= 1e-6).mean()], rtol=1e-4, atol=1e-5)
            assert abs(stats.histogram(name)[:, b].numpy() - np.histogram(a.clip(max=10), 40, (0, 10))[0]).max() <= 1


def test_watching_changes_nothing_and_every_thins():
    plain = quiet_fit(get_learner(), 3)
    stats = ActivationStats(every=3)
    watched = quiet_fit(get_learner(stats), 3)
    assert plain.recorder.losses == watched.recorder.losses
    assert all(torch.equal(p, q) for p, q in zip(plain.model.parameters(), watched.model.parameters()))
    assert stats.to_frame().batch.unique().tolist() == [0, 3, 6, 9]
    assert stats.histogram(0).shape == (40, 4)


@pytest.mark.parametrize('event', ['before_fit', 'before_batch', 'after_predict', 'after_loss', 'after_epoch', 'cleanup_batch'])
@pytest.mark.parametrize('error', [KeyboardInterrupt, CancelFitException, CancelEpochException, CancelBatchException])
def test_nothing_is_left_after_an_error(event, error):
    def fail(self, learn): raise error
    fail_cb = type('FailCB', (Callback,), {event: fail, 'order': 10})
    stats = ActivationStats()
    learn = get_learner(stats)
    try: quiet_fit(learn, 1, cbs=fail_cb())
    except (KeyboardInterrupt, CancelFitException, CancelEpochException, CancelBatchException): pass
    assert n_hooks(learn.model) == 0
    quiet_fit(learn, 1)
    assert len(stats.to_frame()) == 2*4 and n_hooks(learn.model) == 0


def test_model_that_fails():
    stats = ActivationStats()
    learn = get_learner(stats)
    with Hook(learn.model[4], lambda *args: 1/0), pytest.raises(ZeroDivisionError): quiet_fit(learn, 1)
    assert n_hooks(learn.model) == 0 and not stats._on
    learn.model(x)
    assert len(stats.to_frame()) == 2  # the two layers before the failing one, and nothing since


def test_validation_is_not_recorded():
    class ValidateCB(Callback):
        def after_loss(self, learn):
            if learn.training: learn.validate()
    stats = ActivationStats()
    learn = quiet_fit(get_learner([stats, ValidateCB()]), 1)
    assert stats.to_frame().batch.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    learn.validate(); learn.get_preds()
    assert len(stats.to_frame()) == 8 and n_hooks(learn.model) == 0


def test_other_passes_of_the_model_are_not_recorded():
    class AgainCB(Callback):
        order = 10
        def after_loss(self, learn): learn.model(learn.batch[0])
    stats = ActivationStats()
    quiet_fit(get_learner([stats, AgainCB()]), 1)
    assert len(stats.to_frame()) == 8


def test_many_batches_are_folded_in_order():
    stats = ActivationStats()
    quiet_fit(get_learner(stats, n=700), 1)
    assert stats.to_frame().batch.tolist() == [b for b in range(70) for _ in range(2)]
    assert stats.to_frame().layer.tolist() == ['1', '3']*70 and stats.histogram(1).shape == (40, 70)


def test_no_activation_stays():
    refs, stats = [], ActivationStats()
    learn = get_learner(stats)
    with Hook(learn.model[3], lambda hook, m, i, o: refs.append(weakref.ref(o))): quiet_fit(learn, 1)
    gc.collect()
    assert refs and all(r() is None for r in refs)
    assert all(not c.requires_grad for _, c in stats._counts) and not stats._waiting


def test_which_modules():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    for modules, model, names in [(None, get_model(), ['1', '3']), (None, linear, ['1']),
                                  (lambda m: isinstance(m, nn.Conv2d), get_model(), ['0', '2']),
                                  (None, nn.Sequential(nn.Flatten(), nn.Linear(64, 3), GeneralRelu(0.1, 0.4)), ['2'])]:
        stats = ActivationStats(modules)
        quiet_fit(get_learner(stats, model), 1)
        assert stats.names == names
    model = get_model()
    for modules, names in (([model[2], model[0]], ['2', '0']), (model[:2], ['0', '1'])):
        stats = ActivationStats(modules)
        quiet_fit(get_learner(stats, model), 1)
        assert stats.names == names


def test_module_used_twice():
    class Twice(nn.Module):
        def __init__(self): super().__init__(); self.act, self.lin = nn.ReLU(), nn.Linear(64, 3)
        def forward(self, x): return self.lin(self.act(self.act(x.flatten(1))))
    stats = ActivationStats()
    quiet_fit(get_learner(stats, Twice()), 1)
    assert stats.to_frame().batch.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_refusals():
    for kwargs in (dict(every=0), dict(every=1.5), dict(bins=True), dict(max_abs=0)):
        with pytest.raises((TypeError, ValueError), match=next(iter(kwargs))): ActivationStats(**kwargs)
    class Pair(nn.Module):
        def __init__(self): super().__init__(); self.lin = nn.Linear(64, 3)
        def forward(self, x): return self.lin(x.flatten(1)), x
    model = nn.Sequential(Pair())
    with pytest.raises(TypeError, match='0 gives tuple, not a floating point tensor'):
        quiet_fit(get_learner(ActivationStats(lambda m: isinstance(m, Pair)), model), 1)
    assert n_hooks(model) == 0
    for f in ('plot_stats', 'color_dim', 'dead_chart'):
        with pytest.raises(RuntimeError, match='nothing was recorded yet'): getattr(ActivationStats(), f)()


def test_leaf_modules():
    model = get_model()
    assert [n for n, _ in leaf_modules(nn.Sequential(model, nn.ReLU()), nn.ReLU)] == ['0.1', '0.3', '1']
    assert [m for _, m in leaf_modules(model)] == list(model)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_numbers_wait_on_the_device():
    stats, devices = ActivationStats(), set()
    class LookCB(Callback):
        order = 99
        def after_predict(self, learn): devices.update(t.device.type for t in stats._waiting)
    learn = get_learner([stats, LookCB()])
    learn.device = torch.device('cuda')
    quiet_fit(learn, 1)
    assert devices == {'cuda'} and len(stats.to_frame()) == 8
