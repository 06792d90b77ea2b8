"The Learner against a loop written by hand, and its life cycle: what is left after a fit that ends, is cancelled, or fails."
import gc, math, multiprocessing, os, platform, random, subprocess, sys, threading

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mylib.core import set_seed
from mylib.dataloader import DataLoader, DataLoaders, TensorDataset
from mylib.learner import (EVENTS, Callback, CancelBatchException, CancelEpochException, CancelFitException, Learner, Metric,
                           ProgressCB, Recorder, accuracy)
from mylib.losses import cross_entropy


def get_data(n=96):
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, (x[:, 0] > 0).long())


def get_model(seed=0):
    set_seed(seed)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))


def get_learner(cbs=None, **kwargs):
    dls = DataLoaders.from_datasets(get_data(), get_data(40), batch_size=16, seed=3)
    return Learner(get_model(), dls, cross_entropy, 0.1, cbs=cbs, metrics=accuracy, **kwargs)


def quiet_fit(learn, *args, **kwargs):
    with learn.no_progress(): learn.fit(*args, **kwargs)
    return learn


@pytest.mark.parametrize('batch_size,momentum', [(16, 0.), (33, 0.9), (96, 0.5), (200, 0.)])
def test_fit_is_the_plain_loop_bit_for_bit(batch_size, momentum):
    opt_func = lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=momentum)
    make = lambda: DataLoaders.from_datasets(get_data(), get_data(40), batch_size=batch_size, seed=3)
    learn = quiet_fit(Learner(get_model(), make(), cross_entropy, 0.1, opt_func=opt_func, metrics=accuracy), 3)
    model, dls, losses, rows = get_model(), make(), [], []
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
    for _ in range(3):
        for xb, yb in dls.train:
            loss = F.cross_entropy(model(xb), yb)
            loss.backward(); opt.step(); opt.zero_grad()
            losses.append(loss.item())
        x, y = get_data(40).tensors
        with torch.no_grad(): rows.append((F.cross_entropy(model(x), y).item(), (model(x).argmax(1) == y).float().mean().item()))
    assert learn.recorder.losses == losses
    assert all(torch.equal(p, q) for p, q in zip(learn.model.parameters(), model.parameters()))
    for row, (loss, acc) in zip(learn.recorder.rows, rows):
        assert row['valid_loss'] == pytest.approx(loss, rel=1e-5) and row['accuracy'] == pytest.approx(acc, abs=1e-6)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(0, 99))
def test_metric_is_the_mean_over_items(sizes, seed):
    gen = torch.Generator().manual_seed(seed)
    preds, targets = torch.randn(sum(sizes), 4, generator=gen), torch.randint(4, (sum(sizes),), generator=gen)
    m = Metric(accuracy)
    m.fold_every = 3
    for p, t in zip(preds.split(sizes), targets.split(sizes)): m.update(p, t)
    assert m.value == pytest.approx((preds.argmax(1) == targets).double().mean().item(), abs=1e-6)
    m.reset()
    assert math.isnan(m.value)


class LogCB(Callback):
    def __init__(self): self.log = []
for _e in EVENTS: setattr(LogCB, _e, lambda self, learn, e=_e: self.log.append(e))


def test_events_come_in_order():
    log = LogCB()
    quiet_fit(get_learner(log, ), 1)
    per_batch = ['before_batch', 'after_predict', 'after_loss', 'after_backward', 'after_step', 'after_batch', 'cleanup_batch']
    valid = [e for e in per_batch if e not in ('after_backward', 'after_step')]
    assert log.log == (['before_fit', 'before_epoch', *per_batch*6, 'after_epoch', 'cleanup_epoch',
                        'before_epoch', *valid*2, 'after_epoch', 'cleanup_epoch', 'after_fit', 'cleanup_fit'])


@pytest.mark.parametrize('exc,left', [(CancelBatchException, 6 + 2), (CancelEpochException, 1 + 1), (CancelFitException, 1)])
def test_cancel(exc, left):
    class StopCB(Callback):
        order = -1
        def after_predict(self, learn): raise exc
    log = LogCB()
    learn = quiet_fit(get_learner([log, StopCB()]), 1)
    assert log.log.count('before_batch') == log.log.count('cleanup_batch') == left
    assert 'after_predict' not in log.log and log.log[-1] == 'cleanup_fit'
    assert ('after_fit' in log.log) == (exc is not CancelFitException)
    assert all(torch.equal(p, q) for p, q in zip(learn.model.parameters(), get_model().parameters()))


def test_cleanup_runs_for_those_that_began_last_to_first_even_if_one_fails():
    calls = []
    class A(Callback):
        def __init__(self, name, fail=None): self.name, self.fail = name, fail
        def _say(self, event):
            calls.append((self.name, event))
            if self.fail == event: raise RuntimeError(f'{self.name} {event}')
        def before_fit(self, learn): self._say('before')
        def cleanup_fit(self, learn): self._say('cleanup')
    with pytest.raises(RuntimeError, match='b cleanup') as e: quiet_fit(get_learner([A('a'), A('b', 'cleanup'), A('c', 'before'), A('d')]), 1)
    assert calls == [('a', 'before'), ('b', 'before'), ('c', 'before'), ('c', 'cleanup'), ('b', 'cleanup'), ('a', 'cleanup')]
    assert 'c before' in str(e.value.__context__)


def test_validate_inside_a_fit_and_after_it():
    seen = []
    class InnerCB(Callback):
        def after_batch(self, learn):
            if learn.training and learn.iter == 2:
                state = learn.dl, learn.iter, learn.batch, learn.loss
                seen.append(learn.validate())
                assert (learn.dl, learn.iter, learn.batch, learn.loss) == state and learn.training and learn.model.training
    learn = quiet_fit(get_learner([InnerCB()]), 1)
    assert learn.recorder.losses == quiet_fit(get_learner(), 1).recorder.losses
    assert len(seen) == 1 and seen[0]._fields == ('valid_loss', 'accuracy')
    row, after = learn.recorder.rows[-1], learn.validate()
    assert (row['valid_loss'], row['accuracy']) == tuple(after)


def test_a_fit_goes_on_with_the_optimizer_state_and_can_start_anew():
    opt_func = lambda p, lr: torch.optim.Adam(p, lr=lr)
    learn = quiet_fit(get_learner(opt_func=opt_func), 1)
    opt = learn.opt
    quiet_fit(learn, 1, lr=0.01)
    assert learn.opt is opt and opt.param_groups[0]['lr'] == 0.01 and int(next(iter(opt.state.values()))['step']) == 12
    quiet_fit(learn, 1, reset_opt=True)
    assert learn.opt is not opt
    learn.model = get_model(1)  # a new model needs a new optimizer, or nothing would train
    before = [p.clone() for p in learn.model.parameters()]
    quiet_fit(learn, 1)
    assert not any(torch.equal(p, q) for p, q in zip(before, learn.model.parameters()))


def resources(model):
    gc.collect()
    fds = len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0
    hooks = sum(len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules())
    return dict(tensors=sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects()), threads=threading.active_count(),
                children=len(multiprocessing.active_children()), files=fds, hooks=hooks, autocast=torch.is_autocast_enabled('cpu'), grad=torch.is_grad_enabled())


class FragileData:
    "Items for workers; one of them fails if the file exists."
    def __init__(self, flag): self.flag = flag
    def __len__(self): return 48
    def __getitem__(self, i):
        if i == 29 and os.path.exists(self.flag): raise ValueError('broken item')
        return torch.full((5,), i/48), i % 2


def test_two_hundred_fits_with_failures_leave_nothing_behind(tmp_path):
    "Failures in a callback, the model, the loss and a worker, cancellations and Ctrl-C; the same Learners all the time."
    rng, flag = random.Random(0), tmp_path/'flag'

    class ChaosCB(Callback):
        fail_at, count = None, 0
        def _maybe(self, event):
            self.count += 1
            if self.count == self.fail_at: raise rng.choice([RuntimeError, KeyboardInterrupt, CancelFitException, CancelEpochException, CancelBatchException])(event)
    for e in EVENTS:
        if not e.startswith('cleanup'): setattr(ChaosCB, e, lambda self, learn, e=e: self._maybe(e))

    class Fragile(nn.Sequential):
        fail = False
        def forward(self, x):
            if self.fail and rng.random() < 0.2: raise RuntimeError('broken model')
            return super().forward(x)

    def loss_func(preds, targets):
        if loss_func.fail and rng.random() < 0.2: raise ZeroDivisionError('broken loss')
        return cross_entropy(preds, targets)

    chaos = ChaosCB()
    set_seed(0)
    model = Fragile(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    in_memory = Learner(model, DataLoaders.from_datasets(get_data(), get_data(40), batch_size=16, seed=3), loss_func, 0.1, cbs=[chaos], metrics=accuracy)
    workers = Learner(model, DataLoaders(DataLoader(FragileData(flag), 8, shuffle=True, num_workers=2, seed=1), None), loss_func, 0.1, cbs=[chaos])
    loss_func.fail = False
    for learn in (in_memory, workers): quiet_fit(learn, 1)
    before, failed = resources(model), 0
    for k in range(200):
        learn = workers if k % 8 == 0 else in_memory
        kind = rng.choice(['callback', 'model', 'loss'] if learn is in_memory else ['callback', 'model', 'loss', 'worker'])
        chaos.count, chaos.fail_at = 0, rng.randrange(1, 60) if kind == 'callback' else None
        model.fail, loss_func.fail = kind == 'model', kind == 'loss'
        if kind == 'worker': flag.touch()
        try: quiet_fit(learn, 1)
        except (RuntimeError, KeyboardInterrupt, CancelEpochException, CancelBatchException, ZeroDivisionError, ValueError): failed += 1
        flag.unlink(missing_ok=True)
        assert learn.batch is learn.preds is learn.loss is learn.dl is learn.training is None
        assert all(p.grad is None for p in model.parameters()) and not multiprocessing.active_children()
    assert 100 < failed < 200
    after = resources(model)
    assert after.pop('tensors') <= before.pop('tensors') + 2
    assert after == before
    model.fail = loss_func.fail = False
    chaos.fail_at = None
    for learn in (in_memory, workers): quiet_fit(learn, 1)


class NoisyData:
    def __len__(self): return 24
    def __getitem__(self, i): return torch.full((5,), float(i)) + torch.randn(5), i % 2


def test_same_losses_with_and_without_workers_and_progress():
    def losses(workers, progress):
        set_seed(0)
        dls = DataLoaders(DataLoader(NoisyData(), 8, shuffle=True, num_workers=workers, seed=5), None)
        learn = Learner(get_model(), dls, cross_entropy, 0.01, cbs=ProgressCB(always=progress))
        learn.fit(2)
        return learn.recorder.losses
    assert losses(0, False) == losses(2, True) == losses(2, False)


def test_workers_end_when_the_model_raises():
    class BadModel(nn.Linear):
        def forward(self, x): raise RuntimeError('broken')
    dls = DataLoaders(DataLoader(NoisyData(), 4, num_workers=2), None)
    learn = Learner(BadModel(5, 2), dls, cross_entropy)
    with pytest.raises(RuntimeError, match=r'broken\nIn predict, batch 0'): quiet_fit(learn, 1)
    assert not multiprocessing.active_children()


def test_nan_names_its_batch():
    x = torch.randn(64, 5)
    x[37] = math.nan
    dl = DataLoader(TensorDataset(x, torch.zeros(64, dtype=torch.long)), 4)
    with pytest.raises(FloatingPointError, match='training loss became nan at batch 9 of epoch 0'): quiet_fit(Learner(get_model(), (dl, None), cross_entropy), 1)
    good = DataLoader(get_data(), 16)
    with pytest.raises(FloatingPointError, match='validation loss became nan at batch 9'): quiet_fit(Learner(get_model(), (good, dl), cross_entropy), 1)


def test_device_is_the_default_one_unless_the_data_was_sent_elsewhere(monkeypatch):
    monkeypatch.setattr('mylib.learner.default_device', lambda: torch.device('meta'))
    assert get_learner().device.type == 'meta' and get_learner(device='cpu').device.type == 'cpu'
    dls = DataLoaders.from_datasets(get_data(), get_data(40), batch_size=16).to('cpu')
    assert Learner(get_model(), dls, cross_entropy).device.type == 'cpu'
    assert Learner(get_model(), DataLoaders(DataLoader(get_data()), None).to('cpu'), cross_entropy).device.type == 'cpu'


def test_no_validation_and_plain_torch_loaders():
    data = torch.utils.data.TensorDataset(*get_data().tensors)
    learn = quiet_fit(Learner(get_model(), (torch.utils.data.DataLoader(data, 16), None), F.cross_entropy, 0.1), 2)
    assert list(learn.recorder.rows[0]) == ['epoch', 'train_loss', 'time'] and len(learn.recorder.losses) == 12
    label, i, probs = learn.predict(data[0][0])
    assert label == i and probs.sum().item() == pytest.approx(1, abs=1e-6)


def test_progress_prints_a_row_per_epoch(capsys):
    get_learner([ProgressCB(always=True)]).fit(2)
    out, err = capsys.readouterr()
    rows = [l.split() for l in out.splitlines() if l.strip()]
    assert [r[0] for r in rows] == ['epoch', '0', '1'] and rows[0][1:] == ['train_loss', 'valid_loss', 'accuracy', 'time']
    assert 'epoch 1/2 train' in err


def test_recorder_replaces_the_default_and_two_are_refused():
    learn = quiet_fit(get_learner([Recorder(train_metrics=True)]), 1)
    assert 'train_accuracy' in learn.recorder.rows[0]
    with pytest.raises(ValueError, match="both write 'recorder'"): quiet_fit(get_learner([Recorder(), Recorder()]), 1)


def test_tied_weights_survive_save_and_load(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 5), nn.Linear(5, 5)
            self.b.weight = self.a.weight
        def forward(self, x): return self.b(self.a(x))
    set_seed(0)
    learn, other = (Learner(Tied(), (DataLoader(get_data(), 8), None), cross_entropy) for _ in range(2))
    other.load(learn.save(tmp_path/'deep'/'tied'))
    assert all(torch.equal(p, q) for p, q in zip(learn.model.parameters(), other.model.parameters()))
    with pytest.raises(FileNotFoundError, match='learn.save writes one'): other.load(tmp_path/'absent')


@pytest.mark.parametrize('batch,match', [(torch.zeros(4, 5), 'a batch must be a tuple'), (dict(x=1), 'a batch must be a tuple')])
def test_strange_batches(batch, match):
    with pytest.raises(TypeError, match=match): quiet_fit(Learner(get_model(), ([batch], None), cross_entropy), 1)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason="only glibc's allocator gives large blocks back at once")
def test_a_fit_keeps_freed_memory():
    code = """
import resource, torch
from torch import nn
from mylib.dataloader import DataLoader, TensorDataset
from mylib.learner import Learner

x = torch.ones(2**20)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20): [x + k for k in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

learn = Learner(nn.Linear(2, 2), (DataLoader(TensorDataset(torch.ones(2, 2), torch.ones(2, 2)), 2), None), nn.functional.mse_loss, device='cpu')
with learn.no_progress(): learn.fit(1)
faults()
print(faults()/(20*8*2**22/resource.getpagesize()))
"""
    share = float(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout)
    assert share < 0.1, f'{share:.0%} of the pages were fetched anew after a fit'
