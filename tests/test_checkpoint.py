"Kill and resume: a run that was killed with SIGKILL ends with the same weights and losses, bit for bit."
import json, os, random, signal, subprocess, sys, time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mylib.checkpoint import CheckpointCB, CheckpointError, EarlyStoppingCB, SaveBestCB, _pack, _unpack, load_state, save_state

PROGRAM = '''
import hashlib, json, os, random, signal, sys
import numpy as np, torch
from torch import nn
from mylib.checkpoint import CheckpointCB, SaveBestCB
from mylib.core import set_seed
from mylib.dataloader import DataLoaders, TensorDataset
from mylib.learner import Callback, Learner, Recorder, accuracy
from mylib.losses import cross_entropy
import mylib.schedule

folder, epoch, batch, event = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

class NoiseCB(Callback):  # draws from all three generators
    def before_batch(self, learn):
        if learn.training: learn.batch = (learn.batch[0] + 0.01*torch.randn(6)*random.random()*np.random.rand(), learn.batch[1])

class KillCB(Callback):
    order = 100
    def _maybe(self, learn):
        if learn.training and (learn.epoch, learn.iter) == (epoch, batch): os.kill(os.getpid(), signal.SIGKILL)
setattr(KillCB, event, lambda self, learn: self._maybe(learn))

torch.set_num_threads(1)
set_seed(3)
x = torch.randn(300, 6)
data = TensorDataset(x, (x[:, 0] > 0).long())
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))
learn = Learner(model, DataLoaders.from_datasets(data, data, batch_size=16, seed=3), cross_entropy, 0.01, metrics=accuracy,
                opt_func=lambda p, lr: torch.optim.AdamW(p, lr=lr), cbs=[Recorder(train_metrics=True), NoiseCB()])
with learn.no_progress(): learn.fit_one_cycle(4, 0.02, cbs=[CheckpointCB(folder, every=4, resume=True), SaveBestCB('accuracy'), KillCB()])
h = hashlib.sha256(b''.join(v.numpy().tobytes() for v in learn.model.state_dict().values())).hexdigest()
rows = [{k: v for k, v in r.items() if k != 'time'} for r in learn.recorder.rows]
print(json.dumps(dict(weights=h, losses=learn.recorder.losses, lrs=learn.recorder.lrs, sched=learn.recorder.sched, rows=rows)))
'''


def run(folder, epoch=-1, batch=-1, event='after_backward'):
    return subprocess.run([sys.executable, '-c', PROGRAM, folder, str(epoch), str(batch), event], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope='module')
def untouched(tmp_path_factory):
    r = run(tmp_path_factory.mktemp('untouched'))
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)


@pytest.mark.skipif(os.name != 'posix', reason='SIGKILL is a POSIX signal')
@pytest.mark.parametrize('k', range(10))
def test_killed_at_a_random_batch(tmp_path, untouched, k):
    rng = random.Random(k)
    where = rng.randrange(4), rng.randrange(19), rng.choice(['before_batch', 'after_loss', 'after_backward', 'after_step', 'after_batch'])
    r = run(tmp_path, *where)
    assert r.returncode == -signal.SIGKILL, (where, r.stderr)
    r = run(tmp_path)
    assert r.returncode == 0, r.stderr
    assert json.loads(r.stdout) == untouched, where


@pytest.mark.skipif(os.name != 'posix', reason='SIGKILL is a POSIX signal')
def test_killed_by_the_clock_many_times(tmp_path, untouched):
    "From outside, so that the moment may be anywhere, in the middle of writing a file too."
    rng = random.Random(1)
    for _ in range(4):
        p = subprocess.Popen([sys.executable, '-c', PROGRAM, tmp_path, '-1', '-1', 'after_loss'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        seen = len(list(tmp_path.glob('ckpt-*')))
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob('ckpt-*'))) <= min(seen, 1) and p.poll() is None and time.monotonic() < deadline: time.sleep(0.002)
        time.sleep(rng.random()*0.05)
        p.kill(); p.communicate()
    r = run(tmp_path)
    assert r.returncode == 0 and json.loads(r.stdout) == untouched, r.stderr
    assert len(list(tmp_path.glob('ckpt-*'))) <= 3


leaves = st.one_of(st.none(), st.booleans(), st.integers(-2**40, 2**40), st.floats(allow_nan=False), st.text(max_size=5))
nests = st.recursive(leaves, lambda c: st.one_of(st.lists(c, max_size=3), st.tuples(c, c), st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), c, max_size=3)))


@given(nests)
def test_pack_gives_back_what_it_got(o):
    tensors = {}
    back = _unpack(json.loads(json.dumps(_pack(o, tensors))), tensors)
    assert back == o and type(back) is type(o) and not tensors


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.float64])
def test_tensors_of_every_kind(tmp_path, dtype):
    state = dict(a=torch.ones(3, 4, dtype=dtype).t(), empty=torch.zeros(0, dtype=dtype), scalar=torch.tensor(1, dtype=dtype), n=np.arange(3, dtype=np.uint32))
    save_state(state, tmp_path/'s')
    back = load_state(tmp_path/'s')
    assert all(torch.equal(back[k], state[k]) and back[k].dtype == dtype for k in ('a', 'empty', 'scalar'))
    assert np.array_equal(back['n'], state['n']) and back['n'].dtype == np.uint32


@given(st.data())
def test_every_flipped_byte_is_noticed(tmp_path_factory, data):
    path = tmp_path_factory.mktemp('flip')/'s'
    save_state(dict(a=torch.arange(20.), b='text', c=(1, 2)), path)
    raw = bytearray(path.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    try: back = load_state(path)
    except CheckpointError: return
    assert torch.equal(back['a'], torch.arange(20.)) and back['b'] == 'text' and back['c'] == (1, 2)  # a byte of padding


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    save_state(dict(a=1), tmp_path/'s')
    def full(*args): raise OSError('No space left on device')
    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(OSError, match='No space left'): save_state(dict(a=2), tmp_path/'s')
    assert load_state(tmp_path/'s') == dict(a=1) and [f.name for f in tmp_path.iterdir()] == ['s']


def test_early_stopping_remembers_across_a_resume(tmp_path):
    from torch import nn

    from mylib.dataloader import DataLoaders, TensorDataset
    from mylib.learner import Learner
    from mylib.losses import cross_entropy
    data = TensorDataset(torch.randn(32, 4), torch.arange(32) % 2)
    scores = [0.9, 0.8, 0.7, 0.6, 0.5]
    def fit(n_epoch, start):
        todo = iter(scores[start:])
        def score(preds, targets): return next(todo)
        learn = Learner(nn.Linear(4, 2), DataLoaders.from_datasets(data, data, batch_size=32, seed=0), cross_entropy, 0.1, metrics=score)
        with learn.no_progress(): learn.fit(n_epoch, cbs=[CheckpointCB(tmp_path, resume=True), EarlyStoppingCB('score', patience=3)])
        return learn
    fit(2, 0)
    assert len(fit(5, 2).recorder.rows) == 4  # one wait before, two after


def test_takes_no_part_in_trial_runs(tmp_path):
    from torch import nn

    import mylib.schedule  # noqa: F401  (lr_find)
    from mylib.dataloader import DataLoaders, TensorDataset
    from mylib.learner import Learner
    from mylib.losses import cross_entropy
    data = TensorDataset(torch.randn(64, 4), torch.arange(64) % 2)
    best = SaveBestCB()
    learn = Learner(nn.Linear(4, 2), DataLoaders.from_datasets(data, data, batch_size=8, seed=0), cross_entropy, 0.1, cbs=[CheckpointCB(tmp_path, every=1), best])
    learn.lr_find(1e-3, 10, show=False)
    learn.validate()
    assert not list(tmp_path.iterdir())
    with learn.no_progress(): learn.fit(1)
    files, score = sorted(tmp_path.iterdir()), best.best
    learn.validate(); learn.get_preds(); learn.lr_find(1e-3, 10, show=False)
    assert sorted(tmp_path.iterdir()) == files and best.best == score


def test_arguments(tmp_path):
    for kw in (dict(every=0), dict(keep=0)):
        with pytest.raises(ValueError, match='at least 1'): CheckpointCB(tmp_path, **kw)
    with pytest.raises(ValueError, match='patience'): EarlyStoppingCB(patience=0)
    with pytest.raises(ValueError, match="mode must be 'min' or 'max'"): EarlyStoppingCB(mode='least')
