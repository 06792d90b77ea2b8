"Two and three processes against one: the same weights, tables and files; what a run does when one of its processes dies. Every subprocess has a time limit."
import os, re, subprocess, sys

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mylib.dataloader import DataLoader, Dataset, TensorDataset
from mylib.distributed import DistributedCB, _Shard, shard

pytestmark = pytest.mark.skipif(not dist.is_available() or os.name != 'posix', reason='needs torch.distributed and POSIX signals')

PROGRAM = r'''
import json, os, random, signal, sys, time
from pathlib import Path
import numpy as np, torch
from torch import nn
from mylib.checkpoint import CheckpointCB, EarlyStoppingCB, SaveBestCB
from mylib.core import set_seed
from mylib.dataloader import DataLoader, DataLoaders, Dataset, TensorDataset
from mylib.distributed import DistributedCB, _from_all
from mylib.learner import Callback, Learner, Metric, Recorder, accuracy
from mylib.losses import cross_entropy
from mylib.optim import AdamW
from mylib.precision import GradientAccumulationCB, GradientClipCB, MixedPrecisionCB

torch.set_num_threads(1)
folder, rank, world = Path(sys.argv[1]), int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
g = torch.Generator().manual_seed(0)
x = torch.randn(127, 6, generator=g)
y = (x[:, 0] + x[:, 1]**2 > 0.5).long()
sgd = lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9)
results = {}

class Items(Dataset):
    "Item by item, with random noise, noting what was asked for."
    def __init__(self, n=127): self.n, self.asked = n, []
    def __len__(self): return self.n
    def __getitem__(self, i):
        self.asked.append(int(i))
        return x[i], y[i], torch.rand(())

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.idle, self.now_and_then = nn.Linear(6, 8), nn.Linear(3, 3), nn.Linear(8, 8)
    def forward(self, x):
        h = self.body(x).relu()
        some = x[:, 2:3] > 1.9  # in few batches, and then on one rank
        if some.any(): h = torch.where(some, self.now_and_then(h), h)
        return h[:, :2]

class TwoInputs(nn.Module):
    def __init__(self): super().__init__(); self.lin = nn.Linear(6, 2)
    def forward(self, x, unused): return self.lin(x)

def mlp(*extra): return nn.Sequential(nn.Linear(6, 8), *extra, nn.ReLU(), nn.Linear(8, 2))

def fit(name, model=mlp, train=None, valid=True, cbs=(), n_epoch=2, opt_func=sgd, own=(), seed=None):
    set_seed(11 if world == 1 else 11 + 7*rank if seed is None else seed)
    model = model()
    if train is None: train = DataLoader(TensorDataset(x, y), 18, shuffle=True, seed=5 + rank)  # 127 = 7*18 + 1
    dls = DataLoaders(train, DataLoader(TensorDataset(x, y), 50) if valid is True else valid)
    learn = Learner(model, dls, cross_entropy, 0.05, opt_func=opt_func, metrics=[accuracy, Metric(lambda p, t: (p.argmax(1) == t).float().mean()*100, 'percent')], cbs=[Recorder(train_metrics=True), *own])
    with learn.no_progress(): learn.fit(n_epoch, cbs=[DistributedCB(timeout=20), *cbs])
    scaler = next((cb for cb in cbs if isinstance(cb, MixedPrecisionCB)), None)
    results[name] = dict(skipped=scaler and scaler.skipped, weights=[p.detach().clone() for p in model.parameters()], buffers=[b.clone() for b in model.buffers()], losses=learn.recorder.losses,
                         rows=[{k: v for k, v in r.items() if k != 'time'} for r in learn.recorder.rows], none=[p.grad is None for p in model.parameters()])
    return learn

def together():  # all that needs two processes and kills none of them
    parity(); items(); progress(); resume('whole'); refused()

def quick(): fit('plain')

def alone(): parity(); items()

def parity():
    fit('plain')
    learn = fit('twice', n_epoch=1)
    with learn.no_progress(): learn.fit(1, cbs=DistributedCB(timeout=20))
    results['twice'].update(weights=[p.detach().clone() for p in learn.model.parameters()], losses=learn.recorder.losses)
    fit('all switches', cbs=[GradientAccumulationCB(40), MixedPrecisionCB('fp16', scale=2.**10), GradientClipCB(0.3)])
    fit('overflow', cbs=[MixedPrecisionCB('fp16', scale=2.**24, interval=2)])
    fit('accumulation', cbs=[GradientAccumulationCB(40)])
    fit('clip', cbs=[GradientClipCB(0.05)])
    fit('unused', Net, opt_func=lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, weight_decay=0.1))
    fit('adamw', opt_func=AdamW, valid=None)
    fit('frozen', lambda: nn.Sequential(nn.Linear(6, 8).requires_grad_(False), nn.ReLU(), nn.Linear(8, 2)))
    fit('list', train=[(x[i:i+30], y[i:i+30]) for i in range(0, 121, 30)])
    fit('norm', lambda: mlp(nn.BatchNorm1d(8)), train=DataLoader(TensorDataset(x[:120], y[:120]), 30, shuffle=True, seed=5))
    fit('stop', cbs=[EarlyStoppingCB('valid_loss', patience=1, min_delta=0.02), SaveBestCB('accuracy', file=folder/f'best-{world}')], n_epoch=8)

def items():
    for name, workers, foreign in (('items', 0, False), ('workers', 2, False), ('sampler', 0, True)):
        ds = Items()
        class Drawn:  # draws from the global generator, which is in another state on each rank
            def __len__(self): return len(ds)
            def __iter__(self): return iter(torch.randperm(len(ds)).tolist())
        batches = []
        class Note(Callback):
            def before_batch(self, learn):
                if learn.training: batches.append((learn.batch[0].clone(), learn.batch[2].clone())); learn.batch = (learn.batch[0], learn.batch[2], learn.batch[1])
        train = DataLoader(ds, 18, shuffle=not foreign, sampler=Drawn() if foreign else None, seed=5, num_workers=workers)
        fit(name, TwoInputs, train=train, valid=None, n_epoch=1, cbs=[Note()])
        results[name].update(asked=ds.asked, seen=torch.cat([b[0] for b in batches]), noise=torch.cat([b[1] for b in batches]))

class KillCB(Callback):
    order = 100
    def after_batch(self, learn):
        if learn.training and (learn.epoch, learn.iter) == (1, 4): os.kill(os.getpid(), signal.SIGKILL)

def resume(how=sys.argv[-1]):
    opts = dict(model=lambda: mlp(nn.BatchNorm1d(8), nn.Dropout(0.3)), train=DataLoader(TensorDataset(x[:120], y[:120]), 20, shuffle=True, seed=5 + rank), seed=3*rank + (how == 'again'))
    fit('resume', n_epoch=3, cbs=[CheckpointCB(folder/('killed' if how != 'whole' else 'whole'), every=2, resume=True)] + ([KillCB()] if how == 'kill' and rank == 1 else []), **opts)

def refused():
    for name, kwargs in dict(models=dict(model=(mlp, lambda: mlp(nn.Linear(8, 8)))[rank % 2]),
                             batches=dict(train=torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 18, shuffle=True))).items():
        try: fit(name, **kwargs)
        except ValueError as e: results[f'refused {name}'] = str(e)

class AccidentCB(Callback):
    def before_batch(self, learn):
        if rank != 1 or learn.iter < 3: return
        how = sys.argv[3]
        if how == 'killed': os.kill(os.getpid(), signal.SIGKILL)
        if how == 'raises': raise ZeroDivisionError('on purpose')
        if how == 'leaves': os._exit(0)
        if how == 'asleep': time.sleep(100)

def accident():
    sys.stdout.write(f'process {os.getpid()} began\n'); sys.stdout.flush()
    learn = Learner(mlp(), (DataLoader(TensorDataset(x, y), 9, seed=1), None), cross_entropy, 0.05)
    learn.fit(1, cbs=[DistributedCB(timeout=5), AccidentCB()])
    print('never reached')

def progress():
    learn = Learner(mlp(), DataLoaders.from_datasets(TensorDataset(x, y), TensorDataset(x, y), seed=1), cross_entropy, 0.05)
    learn.fit(1, cbs=DistributedCB(timeout=20))
    before = [len(vars(o)) for o in (learn, learn.recorder, learn.recorder._loss)]
    assert not torch.distributed.is_initialized() and 'save' not in vars(learn) and 'fold' not in vars(learn.recorder._loss) and 'add' not in vars(learn.recorder._loss)
    try:  # an error on all ranks: everything is put back, and the next fit works
        class RaiseCB(Callback):
            def after_loss(self, learn): raise ZeroDivisionError
        learn.fit(1, cbs=[DistributedCB(timeout=20), RaiseCB()])
    except ZeroDivisionError: pass
    assert before == [len(vars(o)) for o in (learn, learn.recorder, learn.recorder._loss)] and not torch.distributed.is_initialized()
    with learn.no_progress(): learn.fit(1, cbs=DistributedCB(timeout=20))
    learn.validate()

globals()[sys.argv[2]]()
torch.save(results, folder/f'{sys.argv[2]}-{world}-{rank}.pt')
'''


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    d = tmp_path_factory.mktemp('distributed')
    (d/'program.py').write_text(PROGRAM)
    return d


def start(folder, n, *args, timeout=90):
    "The program in n processes: (exit code, output, errors). It cannot hang: past its time the launcher is asked to end its processes."
    command = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={n}'] if n else []
    p = subprocess.Popen([sys.executable, *command, folder/'program.py', folder, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         env=dict(os.environ, OMP_NUM_THREADS='1'))
    try: out, err = p.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        p.terminate()
        try: out, err = p.communicate(timeout=35)
        except subprocess.TimeoutExpired: p.kill(); out, err = p.communicate(timeout=10)
        pytest.fail(f'{args} on {n} processes took more than {timeout} s\n{out}\n{err}')
    return p.returncode, out, err


def run(folder, n, *args):
    "The results of each rank, after a run without errors, and what was printed."
    code, out, err = start(folder, n, *args)
    assert code == 0, err
    (folder/f'{args[0]}-{n}.out').write_text(out + err)
    return [torch.load(folder/f'{args[0]}-{n or 1}-{r}.pt') for r in range(n or 1)]


@pytest.fixture(scope='module')
def alone(folder): return run(folder, 0, 'alone')[0]

@pytest.fixture(scope='module')
def two(folder): return run(folder, 2, 'together', 'whole')

@pytest.fixture(scope='module', params=[2, 3])
def several(request): return request.getfixturevalue('two') if request.param == 2 else run(request.getfixturevalue('folder'), 3, 'parity')


CASES = ['plain', 'twice', 'accumulation', 'clip', 'unused', 'adamw', 'frozen', 'list', 'stop']

@pytest.mark.parametrize('case', CASES)
def test_equal_to_one_process(alone, several, case):
    a = alone[case]
    for b in (o[case] for o in several):
        assert_close(b['weights'], a['weights'], rtol=0, atol=1e-6)
        assert_close(b['losses'], a['losses'], rtol=0, atol=1e-6)
        assert [list(r) for r in b['rows']] == [list(r) for r in a['rows']] and b['none'] == a['none']
        for r, s in zip(b['rows'], a['rows']): assert_close(list(r.values()), list(s.values()), rtol=1e-6, atol=1e-6)
    for b in several[1:]: assert all(torch.equal(p, q) for p, q in zip(b[case]['weights'], several[0][case]['weights'])), 'ranks differ'


def test_unused_parameters_stay_as_they_are(alone, several):
    "Weight decay would move a parameter whose gradient is zero instead of none: `idle` is never used, `now_and_then` in some batches."
    idle = slice(2, 4)
    assert_close(several[0]['unused']['weights'][idle], alone['unused']['weights'][idle], rtol=0, atol=0)


def test_with_loss_scaling(alone, several):
    for b in several:
        assert_close(b['all switches']['weights'], alone['all switches']['weights'], rtol=1e-2, atol=2e-3)  # fp16 rounds parts differently
        assert_close(b['all switches']['losses'], alone['all switches']['losses'], rtol=1e-2, atol=2e-3)


def test_running_statistics(alone, several):
    "Another network than that of one process, but the same on all ranks, with the same tables."
    first = several[0]['norm']
    for b in (o['norm'] for o in several[1:]):
        assert all(torch.equal(p, q) for p, q in zip(first['weights'] + first['buffers'], b['weights'] + b['buffers'])) and b['rows'] == first['rows']
    assert_close(first['buffers'][0], alone['norm']['buffers'][0], rtol=0.3, atol=0.1)


def test_an_overflow_anywhere_skips_the_step_everywhere(several):
    first, *others = (o['overflow'] for o in several)
    assert first['skipped'] > 0
    for b in others: assert b['skipped'] == first['skipped'] and all(torch.equal(p, q) for p, q in zip(first['weights'], b['weights']))


def test_one_file(two, folder): assert len(list(folder.glob('best-2*'))) == 1 and not list(folder.glob('.*.tmp'))


def test_items_are_loaded_once(alone, two):
    "Each item by one process only, and the parts of a batch have different random numbers."
    one, ranks = alone, two
    for case in ('items', 'workers'):
        assert_close([o[case]['weights'] for o in ranks], [one[case]['weights']]*2, rtol=0, atol=1e-6)
    for case in ('items', 'sampler'):
        asked = sum((o[case]['asked'] for o in ranks), [])
        assert sorted(set(asked)) == list(range(127)) and 127 <= len(asked) <= 128, 'lost or doubled'  # the last batch has one sample, and a copy that does not count
    noise = [o['workers']['noise'] for o in ranks]
    assert not torch.isin(noise[0][:50], noise[1]).any(), 'the same random numbers on both ranks'
    assert sorted(map(tuple, torch.cat([o['sampler']['seen'] for o in ranks]).unique(dim=0).tolist())) == sorted(map(tuple, one['items']['seen'].tolist()))


def test_killed_and_resumed(two, folder):
    code, _, err = start(folder, 2, 'resume', 'kill')
    assert code != 0 and 'exitcode: -9) local_rank: 1' in err
    assert list((folder/'killed').glob('ckpt-00001-*.safetensors'))
    again = run(folder, 2, 'resume', 'again')
    for a, b in zip(again, two):
        a, b = a['resume'], b['resume']
        assert a['losses'] == b['losses'] and a['rows'] == b['rows']
        assert all(torch.equal(p, q) for p, q in zip(a['weights'] + a['buffers'], b['weights'] + b['buffers']))


@pytest.mark.parametrize('how,said', [
    ('raises', ['ZeroDivisionError: on purpose', 'exitcode: 1)']),
    ('asleep', ['rank 0 of 2 could not add up the gradients of batch 3, epoch 0', 'no sign of rank 1'])])
def test_a_death_ends_the_run(folder, how, said):
    code, out, err = start(folder, 2, 'accident', how, timeout=60)
    assert code != 0 and 'never reached' not in out
    for s in said: assert s in err, err
    pids = [int(p) for p in re.findall(r'process (\d+) began', out)]
    assert len(pids) == 2
    for p in pids:
        with pytest.raises(ProcessLookupError): os.kill(p, 0)


def test_what_differs_is_refused(two):
    for o in two:
        assert re.match(r"ranks (0 and 1|1 and 0) differ: .*2.weight", o['refused models']), o['refused models']
        assert 'the processes got different batches from their DataLoader' in o['refused batches']


def test_one_table(two, folder): assert (folder/'together-2.out').read_text().count('train_loss') == 1


@pytest.mark.parametrize('n,world', [(0, 2), (1, 3), (7, 3), (64, 8)])
def test_shard_sizes(n, world):
    sizes = [(p := shard(n, r, world)).stop - p.start for r in range(world)]
    assert sum(sizes) == n and max(sizes) - min(sizes) <= 1


@given(st.integers(0, 500), st.integers(1, 40))
def test_shards_are_a_partition(n, world):
    assert [i for r in range(world) for i in range(n)[shard(n, r, world)]] == list(range(n))


@pytest.mark.parametrize('rank', [-1, 2, 3])
def test_shard_bounds(rank):
    with pytest.raises(ValueError, match='rank must be in 0..1 for 2 processes'): shard(10, rank, 2)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 5), st.integers(0, 3), st.booleans())
def test_shards_of_a_loader(n, batch_size, world, first, shuffle):
    make = lambda: DataLoader(TensorDataset(torch.arange(n), torch.arange(n)), batch_size, shuffle=shuffle, seed=3)
    whole, ranks = make(), [_Shard(make(), r, world) for r in range(world)]
    for _ in range(2):
        for expected, *got in zip(whole.iter_from(first), *(s.iter_from(first) for s in ranks), strict=True):
            assert torch.cat([b[0][:s.mine] for s, b in zip(ranks, got)]).equal(expected[0])
            assert all(s.size == len(expected[0]) and len(b[0]) == max(1, s.mine) for s, b in zip(ranks, got))
    assert all(s.dl.state_dict() == whole.state_dict() for s in ranks)


def test_a_loader_closes_its_workers():
    class Ones(Dataset):
        def __len__(self): return 64
        def __getitem__(self, i): return torch.ones(2), 1
    it = iter(_Shard(DataLoader(Ones(), 8, num_workers=2, seed=0), 1, 2))
    assert len(next(it)[0]) == 4
    it.close()


@pytest.mark.parametrize('timeout', [0, -1, float('inf')])
def test_timeout(timeout):
    with pytest.raises(ValueError, match='timeout must be a positive number of seconds'): DistributedCB(timeout=timeout)


def test_the_same_program_under_accelerate(folder, alone):
    r = subprocess.run([sys.executable, '-m', 'accelerate.commands.launch', '--multi_gpu', '--num_processes=2', '--num_machines=1', '--mixed_precision=no', '--dynamo_backend=no',
                        '--main_process_port=0', folder/'program.py', folder, 'quick'], capture_output=True, text=True, timeout=90, env=dict(os.environ, OMP_NUM_THREADS='1'))
    assert r.returncode == 0, r.stderr
    assert_close(torch.load(folder/'quick-2-1.pt')['plain']['weights'], alone['plain']['weights'], rtol=0, atol=1e-6)
