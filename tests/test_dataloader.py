"""The DataLoader against torch's under the same sampler, and its worker processes under bad conditions."""
import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import Subset, default_collate

from mylib.core import set_seed
from mylib.dataloader import DataLoader, DataLoaders, Dataset, RandomSampler, SequentialSampler, TensorDataset, collate

FORK = 'fork' in multiprocessing.get_all_start_methods()
needs_fork = pytest.mark.skipif(not FORK, reason='no fork on this system')
Point = namedtuple('Point', 'x y')


class Items(Dataset):
    "Nested items, each a function of its index."
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def __getitem__(self, i):
        if not 0 <= i < self.n: raise IndexError(i)
        return {'i': i, 'p': Point(torch.full((2,), i), (float(i), f's{i}')), 'a': np.arange(3) + i}

class Noise(Dataset):
    def __init__(self, n=30): self.n = n
    def __len__(self): return self.n
    def __getitem__(self, i): return i, random.random(), np.random.rand(), torch.rand(())

class NoisyBatches(Noise):
    batch_index = True
    def __getitem__(self, i): return np.random.rand(), torch.rand(()).item()

class Trouble(Dataset):
    "Item 7 is `kind` of trouble."
    def __init__(self, kind, n=40): self.kind, self.n = kind, n
    def __len__(self): return self.n
    def __getitem__(self, i):
        if i == 7: self.kind()
        return i

class Slow(Noise):
    def __getitem__(self, i):
        time.sleep(0.005)
        return i

class Silent(Noise):
    def __getitem__(self, i):
        time.sleep(30)
        return i

class TwoArgs(Exception):
    def __init__(self, a, b): super().__init__(a, b)

def raise_value(): raise ValueError('bad pixel')
def raise_two_args(): raise TwoArgs(1, 2)
def raise_stop(): raise StopIteration
def raise_key(): raise KeyError('seven')
def raise_local():
    class Local(Exception): pass
    raise Local('hidden')
def kill_self(): os.kill(os.getpid(), signal.SIGKILL)
def leave(): sys.exit(3)
def unpicklable(items): return lambda: items
def pid_of(items): return os.getpid()
def long_strings(items): return ['x'*2_000_000, items]

def same(a, b):
    if isinstance(a, torch.Tensor): return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, Mapping): return type(a) is type(b) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if hasattr(a, '_fields'): return type(a) is type(b) and all(map(same, a, b))
    if isinstance(a, (list, tuple)): return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b

@pytest.fixture(autouse=True)
def no_process_left():
    yield
    gc.collect()
    left = multiprocessing.active_children()
    for p in left: p.kill()
    assert not left

# ---- the oracle

sizes = dict(n=st.integers(1, 40), batch_size=st.integers(1, 45), drop_last=st.booleans(), seed=st.integers(0, 2**64))

def agree(data, n, batch_size, drop_last, seed, **kwargs):
    rng = np.random.default_rng(seed)
    for sampler in (RandomSampler(n, seed), rng.integers(n, size=n + 3).tolist(), SequentialSampler(n), torch.arange(-n, n)):
        if drop_last and len(sampler) < batch_size:
            with pytest.raises(ValueError, match='no batches'): DataLoader(data, batch_size, sampler=sampler, drop_last=True)
            continue
        ours = DataLoader(data, batch_size, sampler=sampler, drop_last=drop_last, **kwargs)
        if isinstance(data, Items) and min(sampler) < 0: continue
        theirs = TorchLoader(data, batch_size, sampler=sampler, drop_last=drop_last)
        assert len(ours) == len(theirs)
        assert same(list(ours), list(theirs))

@settings(max_examples=40, deadline=None)
@given(**sizes)
def test_items_equal_torch(n, batch_size, drop_last, seed): agree(Items(n), n, batch_size, drop_last, seed)

@settings(max_examples=60, deadline=None)
@given(**sizes)
def test_whole_batches_equal_torch(n, batch_size, drop_last, seed):
    data = TensorDataset(torch.rand(n, 3), torch.randint(9, (n,)))
    assert DataLoader(data).batch_indexed
    agree(data, n, batch_size, drop_last, seed)

@needs_fork
@settings(max_examples=5, deadline=None)
@given(**sizes)
def test_workers_equal_torch(n, batch_size, drop_last, seed): agree(Items(n), n, batch_size, drop_last, seed, num_workers=2)

def test_getitems_of_torch_datasets():
    data = Subset(list(range(100, 120)), list(range(5, 15)))
    assert hasattr(data, '__getitems__')
    assert same(list(DataLoader(data, 4)), list(TorchLoader(data, 4)))

def test_custom_collate_goes_item_by_item():
    data = TensorDataset(torch.arange(5))
    assert list(DataLoader(data, 2, collate_fn=lambda items: [int(i) for i, in items])) == [[0, 1], [2, 3], [4]]

def test_subclass_of_tensor_dataset_keeps_its_getitem():
    class Doubled(TensorDataset):
        def __getitem__(self, i): return tuple(2*t for t in super().__getitem__(i))
    for sampler in (None, [0, 1, 2, 3, 4]):
        xs = torch.cat([x for x, in DataLoader(Doubled(torch.arange(5)), 2, sampler=sampler)])
        assert xs.tolist() == [0, 2, 4, 6, 8]

@settings(max_examples=60, deadline=None)
@given(st.recursive(st.sampled_from([1, 2., True, 'a', b'b', np.float32(1), np.int64(2), np.ones((2, 1)), torch.ones(3), torch.tensor(1)]),
                    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.sampled_from('abc'), inner) |
                    st.builds(Point, inner, inner), max_leaves=8), st.integers(1, 4))
def test_collate_equals_torch(item, n): assert same(collate([item]*n), default_collate([item]*n))

@pytest.mark.parametrize('items, words', [
    ([(1, {'im': torch.ones(2)}), (1, {'im': torch.ones(3)})], ["batch[1]['im']", '(2,)', '(3,)']),
    ([Point(np.ones(1), 0), Point(np.ones((1, 1)), 0)], ['batch.x', '(1, 1)']),
    ([[1, 2], [1]], ['batch', '2 entries', 'item 1 has 1']),
    ([{'a': 1}, {'a': 1, 'b': 2}], ['keys', "['a', 'b']"]),
])
def test_collate_names_the_place(items, words):
    with pytest.raises(ValueError) as e: collate(items)
    assert all(w in str(e.value) for w in words)

@pytest.mark.parametrize('items', [[None], [1, None], [torch.ones(1), 1], [(1,), 1], [object()], ['a', 1][::-1]])
def test_collate_refuses(items):
    with pytest.raises(TypeError, match='cannot collate'): collate(items)

# ---- order and randomness

def test_order_is_a_function_of_seed_and_epoch():
    def order(dl): return torch.cat([b[0] for b in dl]).tolist()
    a, b = (DataLoader(Noise(), 4, shuffle=True, seed=3) for _ in range(2))
    passes = [order(a) for _ in range(3)]
    assert len({tuple(p) for p in passes}) == 3 and all(sorted(p) == list(range(30)) for p in passes)
    b.set_epoch(2)
    torch.rand(100)
    assert order(b) == passes[2] and b.epoch == 3
    assert order(DataLoader(Noise(), 4, shuffle=True, seed=4)) != passes[0]

def test_set_seed_repeats_loaders_without_a_seed():
    def make(): set_seed(5); return list(DataLoader(Noise(), 4, shuffle=True))
    assert same(make(), make())

@needs_fork
def test_random_items_do_not_depend_on_workers():
    def run(w, seed=1): return [list(dl) for dl in [DataLoader(Noise(), 4, num_workers=w, seed=seed)] for _ in range(2)]
    reference = run(0)
    for w in (1, 2, 3): assert same(run(w), reference)
    for k in (1, 2, 3): assert torch.cat([b[k] for epoch in reference for b in epoch]).unique().numel() == 60
    assert not same(run(0, seed=2), reference)

@pytest.mark.parametrize('data', [Noise(), NoisyBatches(), TensorDataset(torch.rand(30))])
def test_main_generators_are_left_alone(data):
    def draws(): return random.random(), np.random.rand(), torch.rand(()).item()
    set_seed(1); expected = draws()
    dl = DataLoader(data, 4, shuffle=True, seed=0)
    set_seed(1); dl.one_batch(); it = iter(dl); next(it)
    assert draws() == expected
    it.close()

def test_batch_indexed_randomness_is_seeded():
    a, b = (list(DataLoader(NoisyBatches(), 4, seed=1)) for _ in range(2))
    assert a == b and len(set(a)) == len(a)

@pytest.mark.parametrize('w', [0, pytest.param(2, marks=needs_fork)])
def test_resume_in_the_middle(w):
    dl = DataLoader(Noise(), 4, shuffle=True, num_workers=w)
    list(dl)
    state, whole = dl.state_dict(), list(dl)
    new = DataLoader(Noise(), 4, shuffle=True)
    new.load_state_dict(state)
    assert same(list(new.iter_from(3)), whole[3:])
    assert same(list(new), list(dl))
    assert list(new.iter_from(99)) == []

def test_skipped_batches_are_not_loaded():
    class Counted(Noise):
        seen = []
        def __getitem__(self, i): self.seen.append(i); return i
    list(DataLoader(Counted(), 4).iter_from(6))
    assert Counted.seen == list(range(24, 30))

@pytest.mark.parametrize('data', [Noise(), TensorDataset(torch.arange(30))])
def test_one_batch_changes_nothing(data):
    a, b = (DataLoader(data, 4, shuffle=True, seed=9, num_workers=2 if FORK else 0) for _ in range(2))
    it = iter(a); first = next(it)
    looked = a.one_batch()
    assert same([first, *it], list(b)) and a.epoch == b.epoch == 1
    assert same(looked, next(iter(b)))

# ---- samplers and the door

def test_sampler_without_len():
    class Endless:
        def __iter__(self):
            while True: yield 3
    dl = DataLoader(Items(5), 2, sampler=Endless())
    with pytest.raises(TypeError, match='not known'): len(dl)
    it = iter(dl)
    assert [next(it)['i'].tolist() for _ in range(3)] == [[3, 3]]*3
    once = DataLoader(Items(5), 2, sampler=iter([1, 2, 3]))
    assert len(list(once)) == 2
    with pytest.raises(ValueError, match='walked only once'): list(once)

@pytest.mark.parametrize('bad, error, message', [
    ([0, 5], IndexError, 'index 5, but the dataset has 5 items'), ([-6], IndexError, 'index -6'), ([1.5], TypeError, '1.5'), (['a'], TypeError, "'a'")])
@pytest.mark.parametrize('data', [Items(5), TensorDataset(torch.ones(5))])
def test_sampler_gives_nonsense(bad, error, message, data):
    with pytest.raises(error, match=message): list(DataLoader(data, 2, sampler=bad))

@pytest.mark.parametrize('kwargs, error', [
    (dict(batch_size=0), ValueError), (dict(batch_size=-1), ValueError), (dict(batch_size=1.), TypeError), (dict(batch_size=True), TypeError),
    (dict(num_workers=-1), ValueError), (dict(seed=-1), ValueError), (dict(shuffle=True, sampler=[1]), ValueError), (dict(sampler=3), TypeError),
    (dict(sampler=[]), ValueError), (dict(drop_last=True), ValueError), (dict(collate_fn=3), TypeError), (dict(sampler=RandomSampler(6)), ValueError)])
def test_the_door(kwargs, error):
    with pytest.raises(error): DataLoader(Items(5), **kwargs)

@pytest.mark.parametrize('data, error', [([], ValueError), (TensorDataset(torch.ones(0)), ValueError), (iter([1]), TypeError), ({1}, TypeError),
                                         (Dataset(), NotImplementedError), (None, TypeError)])
def test_bad_datasets(data, error):
    with pytest.raises(error): DataLoader(data)

def test_tensor_dataset_door():
    with pytest.raises(ValueError, match='equal lengths'): TensorDataset(torch.ones(2), torch.ones(3))
    with pytest.raises(TypeError, match=r'tensors\[1\]'): TensorDataset(torch.ones(2), [1, 2])
    with pytest.raises(TypeError, match=r'tensors\[0\]'): TensorDataset(torch.tensor(1))
    with pytest.raises(ValueError): TensorDataset()

def test_memory_is_not_copied_in_order():
    x = torch.rand(10, 2)
    assert next(iter(DataLoader(TensorDataset(x), 4)))[0].data_ptr() == x.data_ptr()

# ---- workers under bad conditions

@needs_fork
@pytest.mark.parametrize('kind, error', [(raise_value, ValueError), (raise_two_args, RuntimeError), (raise_stop, RuntimeError),
                                         (raise_key, KeyError), (raise_local, RuntimeError)])
@pytest.mark.parametrize('w', [0, 2])
def test_exception_names_the_item(kind, error, w):
    if w == 0 and kind is raise_local: return  # nothing is pickled then, but the type is the same in both cases
    got = []
    with pytest.raises(error, match='item 7, batch 1, epoch 0') as e:
        for b in DataLoader(Trouble(kind), 4, num_workers=w): got.append(b.tolist())
    assert got == [[0, 1, 2, 3]]
    if w: assert kind.__name__ in str(e.value.__cause__) and 'Traceback' in str(e.value.__cause__)

@needs_fork
@pytest.mark.parametrize('kind, message', [(kill_self, 'killed by signal 9'), (leave, 'exit code 3')])
def test_dead_worker_is_an_error(kind, message):
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=message): list(DataLoader(Trouble(kind), 4, num_workers=2))
    assert time.monotonic() - start < 10

@needs_fork
def test_worker_killed_from_outside():
    it = iter(DataLoader(Slow(300), 2, num_workers=2))
    next(it)
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match='killed by signal 9'): list(it)

@needs_fork
def test_batch_that_cannot_be_sent():
    with pytest.raises(Exception, match='sending batch 0'): list(DataLoader(Noise(), 4, collate_fn=unpicklable, num_workers=2))

@needs_fork
@pytest.mark.parametrize('how', ['break', 'error', 'interrupt', 'forget', 'close'])
def test_leaving_early_ends_the_workers(how):
    dl = DataLoader(Slow(200), 2, num_workers=2)
    def leave():
        if how in ('forget', 'close'):
            it = iter(dl); next(it)
            assert len(multiprocessing.active_children()) == 2
            return it.close() if how == 'close' else None
        for _ in dl:
            if how == 'break': break
            raise dict(error=ZeroDivisionError, interrupt=KeyboardInterrupt)[how]
    try: leave()
    except (ZeroDivisionError, KeyboardInterrupt): pass
    assert not multiprocessing.active_children()

@needs_fork
def test_busy_workers_are_terminated():
    it = iter(DataLoader(Silent(), 1, sampler=[0, 1], num_workers=2))
    def alarm(*_): raise TimeoutError
    old = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    start = time.monotonic()
    try:
        with pytest.raises(TimeoutError): next(it)
    finally: signal.setitimer(signal.ITIMER_REAL, 0); signal.signal(signal.SIGALRM, old)
    assert not multiprocessing.active_children() and time.monotonic() - start < 5

@needs_fork
def test_iterator_in_a_reference_cycle():
    def cycle():
        box = []
        it = iter(DataLoader(Slow(), 2, num_workers=2)); next(it)
        box += [box, it]
    cycle()
    gc.collect()
    assert not multiprocessing.active_children()

@needs_fork
def test_two_loaders_at_once():
    train, valid = DataLoader(Noise(), 4, num_workers=2, seed=0), DataLoader(Noise(8), 4, num_workers=1, seed=0)
    reference = list(DataLoader(Noise(), 4, seed=0))
    got = []
    for b in train:
        got.append(b)
        assert len(list(valid)) == 2
    assert same(got, reference)

@needs_fork
def test_a_forked_copy_leaves_the_workers_alone():
    it = iter(DataLoader(Slow(40), 2, num_workers=1)); next(it)
    child = multiprocessing.get_context('fork').Process(target=it.close)
    child.start(); child.join()
    assert child.exitcode == 0 and len(list(it)) == 19

@needs_fork
@pytest.mark.skipif(not os.path.isdir('/proc/self/fd'), reason='needs /proc')
def test_no_file_handle_is_left():
    class Tensors(Noise):
        def __getitem__(self, i): return torch.full((50,), i)
    def walk(stop):
        for k, _ in enumerate(DataLoader(Tensors(60), 2, num_workers=2)):
            if k == stop: break
    walk(None); gc.collect()
    before = len(os.listdir('/proc/self/fd'))
    for stop in (None, 3, None, 0): walk(stop)
    gc.collect()
    assert len(os.listdir('/proc/self/fd')) <= before

@needs_fork
def test_large_messages_both_ways_do_not_deadlock():
    dl = DataLoader(list(range(300_000)), 60_000, sampler=list(range(300_000)), collate_fn=long_strings, num_workers=1)
    assert [len(b[1]) for b in dl] == [60_000]*5

@needs_fork
def test_workers_are_other_processes_with_one_thread():
    def collate_fn(items): return os.getpid(), torch.get_num_threads(), multiprocessing.current_process().daemon
    pids, threads, daemon = zip(*DataLoader(Noise(), 4, collate_fn=collate_fn, num_workers=2), strict=True)
    assert len(set(pids)) == 2 and os.getpid() not in pids and set(threads) == {1} and all(daemon)
    assert set(DataLoader(Noise(), 4, collate_fn=pid_of)) == {os.getpid()}

@needs_fork
def test_whole_batches_do_not_start_workers():
    it = iter(DataLoader(TensorDataset(torch.ones(9)), 2, num_workers=2)); next(it)
    assert not multiprocessing.active_children()

SPAWN = '''
import os, torch
from mylib.dataloader import DataLoader, TensorDataset, collate
os.environ['MYLIB_START_METHOD'] = 'spawn'

def tuples(items): return collate(items)

def main():
    data = TensorDataset(torch.arange(12))
    got = torch.cat([x for x, in DataLoader(data, 5, collate_fn=tuples, num_workers=2)])
    assert got.tolist() == list(range(12))
    try: list(DataLoader(data, 5, collate_fn=lambda items: items, num_workers=1))
    except TypeError as e: assert 'cannot be pickled' in str(e) and 'spawn' in str(e)
    else: raise AssertionError('a lambda was sent')
    import multiprocessing
    assert not multiprocessing.active_children()
    print('fine')

if __name__ == '__main__': main()
'''

def test_spawn(tmp_path):
    (tmp_path/'spawned.py').write_text(SPAWN)
    r = subprocess.run([sys.executable, 'spawned.py'], cwd=tmp_path, capture_output=True, text=True, timeout=60,
                       env={**os.environ, 'PYTHONPATH': os.path.dirname(os.path.dirname(os.path.abspath(__file__)))})
    assert r.stdout.strip() == 'fine', r.stderr

ORPHANS = '''
import os, signal, time
from mylib.dataloader import DataLoader
class Slow(list):
    def __getitem__(self, i): time.sleep(0.05); return os.getpid()
it = iter(DataLoader(Slow(range(400)), 2, num_workers=2))
print(*{int(i) for b in (next(it), next(it)) for i in b}, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
'''

@needs_fork
@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='needs /proc')
def test_workers_do_not_outlive_a_killed_parent():
    r = subprocess.run([sys.executable, '-c', ORPHANS], capture_output=True, text=True, timeout=60,
                       env={**os.environ, 'PYTHONPATH': os.path.dirname(os.path.dirname(os.path.abspath(__file__)))})
    pids = r.stdout.split()
    assert len(pids) == 2, r.stderr
    def running(pid):
        try: return open_state(pid) not in 'ZX'
        except FileNotFoundError: return False
    deadline = time.monotonic() + 10
    while any(map(running, pids)) and time.monotonic() < deadline: time.sleep(0.05)
    assert not any(map(running, pids))

def open_state(pid):
    with open(f'/proc/{pid}/stat') as f: return f.read().rsplit(')', 1)[1].split()[0]

# ---- the pair

def test_dataloaders():
    train, valid = TensorDataset(torch.rand(10, 4), torch.arange(10) % 2, vocab=['no', 'yes']), TensorDataset(torch.rand(7, 4), torch.arange(7))
    dls = DataLoaders.from_datasets(train, valid, batch_size=3, drop_last=True, seed=1)
    assert (len(dls.train), len(dls.valid), dls.valid.batch_size, dls.vocab) == (3, 2, 6, ['no', 'yes'])
    assert torch.equal(torch.cat([y for _, y in dls.valid]), torch.arange(7))
    assert same(dls.one_batch(), next(iter(dls.train)))
    assert dls.to('cpu') is dls and dls.device == torch.device('cpu')
    assert dls.to('meta').device.type == 'meta' and train.device.type == 'cpu'
    assert {t.device.type for dl in (dls.train, dls.valid) for b in dl for t in b} == {'meta'}
    assert 'workers not used' in repr(DataLoader(train, num_workers=2)) and 'seed 1' in repr(dls)

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_cuda():
    data = TensorDataset(torch.rand(100, 4), torch.arange(100))
    a, b = (DataLoader(data, 7, shuffle=True, seed=2) for _ in range(2))
    state = torch.cuda.get_rng_state()
    for (x, y), (p, q) in zip(a.to('cuda'), b, strict=True):
        assert x.is_cuda and torch.equal(x.cpu(), p) and torch.equal(y.cpu(), q)
    noise = DataLoader(Noise(), 4, seed=0, num_workers=2).to('cuda')
    assert same([tuple(t.cpu() for t in batch) for batch in noise], list(DataLoader(Noise(), 4, seed=0)))
    list(DataLoader(Noise(), 4, seed=0))
    assert torch.equal(torch.cuda.get_rng_state(), state)
