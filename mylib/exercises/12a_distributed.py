"Lesson 12a: distributed training."
import math, os, threading
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import torch
from torch import nn

from mylib.judge import case, entry, randn


def parts(m, n, world): return [list(range(n))[m.shard(n, r, world)] for r in range(world)]

def two_halves(m): return parts(m, 10, 2)
def all_alone(m): return parts(m, 7, 1)
def put_together(m): return {f'{n} on {world}': sum(parts(m, n, world), []) for n in (0, 1, 5, 10, 11) for world in (1, 2, 3, 4, 7)}
def sizes(m): return {f'{n} on {world}': max(map(len, parts(m, n, world))) - min(map(len, parts(m, n, world))) for n in (1, 5, 10, 11, 30) for world in (2, 3, 4, 7)}
def fewer_than_processes(m): return sorted(map(len, parts(m, 2, 4)))
def of_a_tensor(m): return torch.arange(8)[m.shard(8, 1, 2)]
def rank_too_large(m): m.shard(10, 2, 2)
def rank_below_zero(m): m.shard(10, -1, 2)

@entry('12a.1', level=1, minutes=10, hints=[
    'Ten samples on four processes: where does each part begin? And where does the part before it end?',
    'If the beginning of part r is computed by one formula, the end of part r is the same formula for r + 1, so nothing is lost or doubled.',
    'The formula is the share r out of world of n, rounded down with whole numbers. Refuse a rank outside of 0..world-1 first.'],
    why='Beginnings and ends come from one expression, so they fit each other whatever the rounding does. A step of n//world instead would lose up to world - 1 samples in every batch, and only where the sizes do not divide.')
def shard():
    return [case('two processes get a half each', two_halves, also=parts),
            case('one process gets all', all_alone, also=parts),
            case('the parts put together are the batch: nothing lost, nothing doubled', put_together, also=parts),
            case('the sizes differ by one at most', sizes, also=parts),
            case('with fewer samples than processes some parts are empty', fewer_than_processes, also=parts),
            case('a slice, to be used on tensors', of_a_tensor),
            case('a rank that is too large is refused', rank_too_large, raises=ValueError, names=('rank', '2')),
            case('a negative rank is refused', rank_below_zero, raises=ValueError, names='rank')]


def loader(m, n=50, **kwargs):
    from mylib.dataloader import TensorDataset
    return m.DataLoader(TensorDataset(torch.arange(n), torch.arange(n)*10), **{**dict(batch_size=8, shuffle=True, seed=3), **kwargs})

def together(m, world, first=None, make=loader, n_epoch=1):
    "The parts of all ranks, put together batch by batch."
    ranks = [m._Shard(make(m), r, world) for r in range(world)]
    res = []
    for _ in range(n_epoch):
        for bs in zip(*(s if first is None else s.iter_from(first) for s in ranks)): res.append([torch.cat([b[k][:s.mine] for s, b in zip(ranks, bs)]) for k in range(2)])
    return res

def one_process(m): return together(m, 1)
def two_processes(m): return together(m, 2)
def not_divisible(m): return together(m, 3)
def in_the_middle(m): return together(m, 2, first=4)
def two_epochs(m): return together(m, 2, n_epoch=2)
def in_order(m): return together(m, 2, make=lambda m: loader(m, 20, shuffle=False))

def sizes_of_parts(m):
    shards = [m._Shard(loader(m, 10), r, 2) for r in range(2)]
    return [[(s.size, s.mine, len(b[0])) for b in s] for s in shards]

def fewer_samples(m):
    shards = [m._Shard(loader(m, 10), r, 4) for r in range(4)]
    got = [[(s.mine, len(b[0])) for b in s] for s in shards]
    return dict(samples_of_the_last_batch=sum(g[-1][0] for g in got), at_least_one_row=[g[-1][1] for g in got])

def the_loader_goes_on(m):
    dl = loader(m)
    s = m._Shard(dl, 1, 2)
    for _ in s: pass
    after_one = dl.epoch
    for _ in s.iter_from(3): break
    return [after_one, dl.epoch, dl.seed]

class Counted:
    "A data set that notes which items are loaded."
    def __init__(self): self.loaded = []
    def __len__(self): return 12
    def __getitem__(self, i):
        self.loaded.append(int(i))
        return torch.tensor(float(i)), torch.tensor(0)

def only_its_own(m):
    sets = [Counted(), Counted()]
    for r, ds in enumerate(sets):
        for _ in m._Shard(m.DataLoader(ds, batch_size=4, seed=1, shuffle=True), r, 2): pass
    return dict(number=[len(ds.loaded) for ds in sets], all_of_them=sorted(sets[0].loaded + sets[1].loaded))

class Noisy:
    "A data set whose items are random."
    def __len__(self): return 8
    def __getitem__(self, i): return torch.rand(()), torch.tensor(int(i))

def random_items(m):
    draws = [torch.cat([b[0] for b in m._Shard(m.DataLoader(Noisy(), batch_size=4, seed=1), r, 2)]) for r in range(2)]
    again = torch.cat([b[0] for b in m._Shard(m.DataLoader(Noisy(), batch_size=4, seed=1), 1, 2)])
    return dict(ranks_differ=not torch.equal(*draws), the_same_again=torch.equal(draws[1], again))

def own_sampler(m):
    "The sampler gives another order in each process; rank 0 says [7 .. 0]."
    asked = []
    def from_first(f):
        asked.append(sorted(i for idx in f() for i in idx))
        return [[7, 6, 5, 4], [3, 2, 1, 0]]
    dl = loader(m, 8, batch_size=4, shuffle=False, sampler=[3, 1, 4, 0, 5, 2, 6, 7])
    with patch.object(m, '_from_first', from_first): return [b[0] for b in m._Shard(dl, 1, 2)]

def foreign(n=2): return [(randn(5, 3, seed=i), torch.arange(5), 'text') for i in range(n)]

def another_loader(m):
    with patch.object(m, '_from_all', lambda o: [o, o]):
        s = m._Shard(foreign(), 1, 2)
        return [(s.size, s.mine, b) for b in s]

def a_dict_in_the_batch(m):
    batch = (torch.arange(4), dict(a=torch.arange(8).view(4, 2), weight=torch.ones(3), scale=torch.tensor(2.)))
    with patch.object(m, '_from_all', lambda o: [o, o]): return list(m._Shard([batch], 0, 2))

def not_alike(m):
    with patch.object(m, '_from_all', lambda o: [o, [v + 1 for v in o]]): list(m._Shard(foreign(), 0, 2))

@entry('12a.2', level=3, minutes=40, hints=[
    'Two kinds of loader. Of our own, you can cut the batches of indices before anything is loaded; of a strange one, only the batch that has come. What do both have to say about each batch?',
    'A copy of the loader (`copy.copy`) gets an `_indices` that yields a part of each batch of indices and notes how many there were; the loader itself only has its epoch counted on. For a strange loader, rows are taken of every tensor that has as many as the batch.',
    '`_part` is the shard, or one row where the shard is empty. The copy on ranks other than 0 draws items from a seed made by `_words` of seed and rank; the order is still that of the original. If the loader has a sampler of the user\'s, `_from_first` fetches the list of index batches. The pass of the copy is closed in a `finally`.'],
    why='The part is cut from the indices, so no process loads what it throws away. A process without a sample still gets one, with mine = 0, because it has to take part in every all-reduce or the others wait for it. The sizes are noted where the cutting is, since the loader may prepare batches ahead.')
def shard_of_a_loader():
    at = (loader, together)
    return [case('one process: the batches of the loader', one_process, also=at),
            case('two processes: the parts together are the batches, in their order', two_processes, also=at),
            case('three processes: parts of unequal size', not_divisible, also=at),
            case('a loader that does not shuffle', in_order, also=at),
            case('from the middle of a pass', in_the_middle, also=at),
            case('the next pass has the next order', two_epochs, also=at),
            case('size is that of the whole batch, mine that of the part', sizes_of_parts, also=loader),
            case('a process without a sample is given one that does not count', fewer_samples, also=loader),
            case("the loader's epoch is counted on, its seed stays", the_loader_goes_on, also=loader),
            case('only the items of the part are loaded', only_its_own, also=Counted),
            case('random items differ between the ranks, and are the same in each run', random_items, also=Noisy),
            case("with a sampler of the user's the order is that of rank 0", own_sampler, also=loader),
            case('of other loaders, each tensor is cut by rows', another_loader, also=foreign),
            case('tensors in a dict are cut too, those of another length are not', a_dict_in_the_batch),
            case('other loaders must give the same everywhere', not_alike, raises=ValueError, names=('different batches', 'list'), also=foreign)]


def learner(**kwargs):
    from mylib.learner import Learner
    torch.manual_seed(0)
    data = [(randn(4, 3, seed=i), randn(4, 1, seed=i + 9)) for i in range(3)]
    return Learner(nn.Linear(3, 1), (data, data[:1]), nn.functional.mse_loss, 0.1, device='cpu', **kwargs)

def alone(m):
    cb, learn = m.DistributedCB(), learner()
    with patch.dict(os.environ):
        os.environ.pop('RANK', None)
        with learn.no_progress(): learn.fit(2, cbs=cb)
    return dict(rank=cb.rank, world=cb.world, losses=learn.recorder.losses, weight=learn.model.weight)

def settings(m):
    cb = m.DistributedCB(timeout=30, backend='gloo')
    return dict(timeout=cb.timeout, backend=cb.backend, rank=cb.rank, world=cb.world, default=m.DistributedCB().timeout)

def loss_of_part(m, size, mine, here, training=True, world=2, acc=None):
    "The loss of a part, made ready for the sum over the processes, and its gradient."
    cb, w = m.DistributedCB(), torch.tensor(6., requires_grad=True)
    cb.world, cb._shard = world, SimpleNamespace(size=size, mine=mine)
    learn = SimpleNamespace(training=training, batch=(torch.zeros(here, 2), torch.zeros(here)), loss=w*2, running=[cb, *([acc] if acc else [])])
    if acc: acc.after_loss(learn)
    cb.after_loss(learn)
    learn.loss.backward()
    return dict(loss=learn.loss, gradient=w.grad, **(dict(seen=acc.seen) if acc else {}))

def three_of_five(m): return loss_of_part(m, 5, 3, 3)
def does_not_count(m): return loss_of_part(m, 2, 0, 1)
def in_validation(m): return loss_of_part(m, 5, 3, 3, training=False)
def one_world(m): return loss_of_part(m, 5, 5, 5, world=1)
def accumulating(m): return loss_of_part(m, 6, 3, 3, acc=m.GradientAccumulationCB(24))
def accumulating_nothing(m): return loss_of_part(m, 2, 0, 1, acc=m.GradientAccumulationCB(24))

@contextmanager
def played(m, rank, world, joined=True, launched=True, agree=None):
    "As if a launcher had started `world` processes; gives the log of what is called."
    log, state = [], dict(joined=joined)
    def note(name, f=None):
        def called(self, *args):
            log.append(name if name != '_join' else (name, *args))
            if name == '_join': state['joined'] = True
            if f: f()
        return called
    def ask(value):
        if not state['joined']: raise ValueError('Default process group has not been initialized')
        return value
    with patch.dict(os.environ), patch.object(m.dist, 'is_initialized', lambda: state['joined']), patch.object(m.dist, 'get_rank', lambda *a: ask(rank)), \
         patch.object(m.dist, 'get_world_size', lambda *a: ask(world)), patch.object(m.DistributedCB, '_join', note('_join')), \
         patch.object(m.DistributedCB, '_agree', note('_agree', agree)), patch.object(m.DistributedCB, '_one_writer', note('_one_writer')):
        os.environ.pop('RANK', None)
        if launched: os.environ['RANK'] = str(rank)
        yield log

def begin(m, *args, **kwargs):
    cb = m.DistributedCB()
    with played(m, *args, **kwargs) as log: cb.before_fit(SimpleNamespace(device=torch.device('cpu')))
    return dict(called=log, rank=cb.rank, world=cb.world)

def joins(m): return begin(m, 1, 2, joined=False)
def has_joined(m): return begin(m, 1, 2)
def one_process_launched(m): return begin(m, 0, 1, joined=False)
def not_launched(m): return begin(m, 1, 2, joined=False, launched=False)
def joined_without_launcher(m): return begin(m, 0, 3, launched=False)

def second_fit_alone(m):
    cb, learn = m.DistributedCB(), SimpleNamespace(device=torch.device('cpu'))
    with played(m, 1, 2): cb.before_fit(learn)
    with played(m, 0, 1, joined=False, launched=False): cb.before_fit(learn)
    return dict(rank=cb.rank, world=cb.world)

def gone(): raise RuntimeError('Connection closed by peer')
def differ(): raise ValueError('ranks 0 and 1 differ')
def others_are_gone(m): begin(m, 0, 2, agree=gone)
def models_differ(m): begin(m, 0, 2, agree=differ)

def timeout_zero(m): m.DistributedCB(timeout=0)
def timeout_never(m): m.DistributedCB(timeout=math.inf)
def timeout_nan(m): m.DistributedCB(timeout=math.nan)

@entry('12a.3', level=3, minutes=30, hints=[
    'Three questions at the beginning of a fit: has somebody joined already, was the script launched at all, are there others? And one after the loss: what does the equation say it must be multiplied by?',
    'The methods further down count on `_undo` and `_pass` (an `ExitStack` each), `_store` (None at first), `rank` and `world`: make them anew in each before_fit, as for one process. Without a group, return if there is no RANK in the environment, else `_join`. With others: `_agree` inside `_meet`, then `_one_writer`. In after_loss, `self._shard` holds size and mine of the batch.',
    'On a GPU the learner moves to `torch.cuda.current_device()` before they agree. If a GradientAccumulationCB is running it has already multiplied by the number of rows here: undo that by dividing by it, multiply by mine, and let its `seen` count the samples of all. In validation, and alone, nothing happens.'],
    why='The sum of the weighted gradients is the gradient of the whole batch, whatever the sizes of the parts; the mean of unweighted ones is not. Accumulation must count the samples of all processes, or one would step before another, and from then on each waits for the other.')
def distributed_cb():
    at = (played, begin)
    return [case('without a launcher the fit is that of one process', alone, also=learner),
            case('the settings are kept', settings),
            case('the loss is weighted with the share of the batch', three_of_five, also=loss_of_part),
            case('a sample that does not count weighs nothing', does_not_count, also=loss_of_part),
            case('in validation the loss stays', in_validation, also=loss_of_part),
            case('a single process changes nothing', one_world, also=loss_of_part),
            case('with accumulation the samples of all processes are counted, and the loss is weighted once', accumulating, also=loss_of_part),
            case('with accumulation, too, a sample that does not count weighs nothing', accumulating_nothing, also=loss_of_part),
            case('it joins the group, agrees with the others, and leaves the writing to one', joins, also=at),
            case('a group that is there already is used', has_joined, also=at),
            case('also without a launcher', joined_without_launcher, also=at),
            case('without a launcher it joins nothing', not_launched, also=at),
            case('a single process that was launched has nobody to agree with', one_process_launched, also=at),
            case('each fit finds out anew', second_fit_alone, also=played),
            case('if the others are gone, the error says at what', others_are_gone, raises='DistributedError', names='begin the fit', also=(*at, gone)),
            case('an error of another kind comes out as it is', models_differ, raises=ValueError, names='differ', also=(*at, differ)),
            case('a timeout of 0 is refused', timeout_zero, raises=ValueError, names='timeout'),
            case('an infinite timeout is refused', timeout_never, raises=ValueError, names='timeout'),
            case('nan is refused', timeout_nan, raises=ValueError, names='timeout')]


def on_all(m, f, world=2, calls=None):
    "What f(rank) gives in threads that stand for the processes; an all-reduce adds up what they bring, and each waits for the others."
    meeting, brought, res, errors, rank = threading.Barrier(world, timeout=10), {}, {}, [], threading.local()
    def all_reduce(tensor, *args, **kwargs):
        brought[rank.r] = tensor.detach().clone()
        meeting.wait()
        if len({v.shape for v in brought.values()}) > 1: raise RuntimeError('the processes bring vectors of different size')
        total = sum(brought[r] for r in range(world))
        meeting.wait()
        if calls is not None and not rank.r: calls.append(list(tensor.shape))
        with torch.no_grad(): tensor.copy_(total)
    def run(r):
        rank.r = r
        try: res[r] = f(r)
        except BaseException as e: errors.append(e); meeting.abort()
    with patch.object(m.dist, 'all_reduce', all_reduce):
        threads = [threading.Thread(target=run, args=(r,)) for r in range(world)]
        for t in threads: t.start()
        for t in threads: t.join()
    for e in sorted(errors, key=lambda e: isinstance(e, threading.BrokenBarrierError)): raise e
    return [res[r] for r in range(world)]

def summed(m, values, calls=None, **kwargs):
    "`values` holds a list of tensors for each process."
    def f(r):
        ts = [v.clone() for v in values[r]]
        m._sum_everywhere(ts, **kwargs)
        return ts
    return on_all(m, f, len(values), calls)

def two_sums(m): return summed(m, [[torch.tensor([1., 2.])], [torch.tensor([10., 20.])]])
def three_means(m): return summed(m, [[torch.tensor([3., 6.])], [torch.tensor([0., 0.])], [torch.tensor([6., 0.])]], divide_by=3)
def many_shapes(m): return summed(m, [[randn(2, 3, seed=r), randn(4, seed=r + 5), torch.tensor(float(r))] for r in range(2)])
def transposed(m): return summed(m, [[randn(2, 3, seed=r).T] for r in range(2)])

def how_many_calls(m):
    calls = []
    summed(m, [[randn(2, 3, seed=r), randn(4, seed=r + 5)] for r in range(2)], calls)
    return len(calls)

def nothing_to_send(m):
    calls = []
    summed(m, [[], []], calls)
    return len(calls)

def gradients(m, values, frozen=(), n_groups=1, calls=None):
    "`values` holds, for each process, the gradients of its parameters, or None; gives what they are afterwards."
    def f(r):
        ps = [nn.Parameter(torch.zeros(len(next(v[i] for v in values if v[i] is not None)) if any(v[i] is not None for v in values) else 2)) for i in range(len(values[r]))]
        for i, (p, g) in enumerate(zip(ps, values[r])):
            if i in frozen: p.requires_grad_(False)
            elif g is not None: p.grad = torch.tensor(g)
        cb = m.DistributedCB()
        cb.rank, cb.world, cb._store = r, len(values), None
        cb.after_backward(SimpleNamespace(iter=3, epoch=1, opt=SimpleNamespace(param_groups=[dict(params=ps[k::n_groups]) for k in range(n_groups)])))
        return [p.grad for p in ps]
    return on_all(m, f, len(values), calls)

def added_up(m): return gradients(m, [([1., 2.], [3.]), ([10., 20.], [30.])])
def several_groups(m): return gradients(m, [([1.], [2., 2.], [3.]), ([10.], [20., 20.], [30.])], n_groups=2)
def only_here(m): return gradients(m, [([1.], None), ([10.], [5., 6.])])
def other_one_missing(m): return gradients(m, [(None, [1.]), ([2.], None)])
def nowhere(m): return gradients(m, [([1.], None), ([10.], None)])
def zero_is_something(m): return gradients(m, [([0.], None), ([0.], None)])
def left_out(m): return gradients(m, [([1.], [2.]), ([10.], [20.])], frozen=[1])

def one_message(m):
    calls = []
    gradients(m, [([1., 2.], [3.], None), ([10., 20.], None, [1.])], calls=calls)
    return len(calls)

def without_others(m):
    def never(*args, **kwargs): raise RuntimeError('nobody is there')
    with patch.object(m.dist, 'all_reduce', never):
        p = nn.Parameter(torch.zeros(1))
        p.grad = torch.ones(1)
        m.DistributedCB().after_backward(SimpleNamespace(iter=0, epoch=0, opt=SimpleNamespace(param_groups=[dict(params=[p])])))
        return p.grad

def lost_partner(m):
    def fails(*args, **kwargs): raise RuntimeError('Connection closed by peer')
    p = nn.Parameter(torch.zeros(1))
    p.grad = torch.ones(1)
    cb = m.DistributedCB()
    cb.rank, cb.world, cb._store = 1, 2, None
    with patch.object(m.dist, 'all_reduce', fails): cb.after_backward(SimpleNamespace(iter=0, epoch=0, opt=SimpleNamespace(param_groups=[dict(params=[p])])))

@entry('12a.4', level=3, minutes=35, seconds=60, hints=[
    'All processes must send vectors of the same length. What does a process do about a parameter that got no gradient here, and how does it learn whether the others have one?',
    '`_sum_everywhere` lays the tensors end to end, adds up in a single `dist.all_reduce`, and copies the pieces back into them. In `after_backward`, missing gradients go in as zeros, and at the end of the vector stands a flag for each parameter, 1 where there is a gradient.',
    'The flags are a tensor of their own in the list; after the sum it counts on how many processes there was one. Where the count is 0, the gradient becomes None again. Parameters that need no gradient are left out. All of it inside `self._meet(...)`, and nothing at all if the world is 1; an empty list sends nothing.'],
    why='One message of all gradients instead of one for each parameter: sending has a fixed price, and small tensors are many. A process that left a parameter out would send a shorter vector, and the others would add apples to pears or hang. None and zero are different for an optimizer, since weight decay and momentum act on the second and not on the first.')
def gradients_everywhere():
    at = (on_all, gradients)
    return [case('the tensors of both processes become the sum', two_sums, also=(on_all, summed)),
            case('divided where a mean is wanted', three_means, also=(on_all, summed)),
            case('tensors of any shapes', many_shapes, also=(on_all, summed)),
            case('tensors that do not lie in one piece', transposed, also=(on_all, summed)),
            case('all of them in one all-reduce', how_many_calls, also=(on_all, summed)),
            case('for nothing, nothing is sent', nothing_to_send, also=(on_all, summed)),
            case('the gradients of all processes are added up', added_up, also=at),
            case('of all groups', several_groups, also=at),
            case('a gradient that exists on one process goes to all', only_here, also=at),
            case('also if each lacks another one', other_one_missing, also=at),
            case('one that exists nowhere stays absent', nowhere, also=at),
            case('a gradient of zeros is there', zero_is_something, also=at),
            case('frozen parameters are left out', left_out, also=at),
            case('all of it is one message', one_message, also=at),
            case('a single process sends nothing', without_others),
            case('a partner that is gone ends in a DistributedError', lost_partner, raises='DistributedError')]


def folded(m, *passes):
    "Each pass holds, for each process, the batches as (value, size); gives total, n, value of the metric and what `fold` returned."
    from mylib.learner import Metric
    def f(r):
        metric, cb = Metric(None, 'loss'), m.DistributedCB()
        cb.rank, cb.world, cb._store = r, len(passes[0]), None
        returned = []
        for batches in passes:
            for v, n in batches[r]: metric.add(torch.tensor(v), n)
            returned.append(cb._fold(metric, metric.fold))
        return dict(value=metric.total/metric.n if metric.n else None, n=metric.n, returned=returned)
    return on_all(m, f, len(passes[0]))

def equal_parts(m): return folded(m, [[(1., 2)], [(3., 2)]])
def unequal_parts(m): return folded(m, [[(1., 3)], [(5., 1)]])
def two_batches(m): return folded(m, [[(1., 2), (2., 1)], [(3., 2), (8., 3)]])
def part_of_none(m): return folded(m, [[(1., 2), (7., 1)], [(3., 2), (100., 0)]])
def twice_folded(m): return folded(m, [[(1., 2)], [(3., 2)]], [[(10., 1)], [(20., 3)]])
def nothing_waits(m): return folded(m, [[], []])

def one_meeting(m):
    from mylib.learner import Metric
    calls = []
    def f(r):
        metric, cb = Metric(None, 'loss'), m.DistributedCB()
        cb.rank, cb.world, cb._store = r, 2, None
        for k in range(5): metric.add(torch.tensor(float(k)), 2)
        cb._fold(metric, metric.fold)
        cb._fold(metric, metric.fold)
    on_all(m, f, calls=calls)
    return len(calls)

def large_and_small(m):
    "Sizes and values that float32 could not add up."
    return folded(m, [[(0.1, 2**24 + 1)], [(0.3, 1)]])[0]['n'] - 2**24

def gone_in_between(m):
    from mylib.learner import Metric
    def fails(*args, **kwargs): raise RuntimeError('Connection closed by peer')
    metric, cb = Metric(None, 'loss'), m.DistributedCB()
    cb.rank, cb.world, cb._store = 1, 2, None
    metric.add(1., 2)
    with patch.object(m.dist, 'all_reduce', fails): cb._fold(metric, metric.fold)

@entry('12a.5', level=3, minutes=25, seconds=60, hints=[
    'The metric has a list of batch means that wait on the device, `_values`, and one of their sizes, `_sizes`. Means of parts cannot be added up; what can?',
    'A mean times its size is a sum, and sums and sizes both can be added up over the processes. Afterwards the quotient is the mean of the whole batch. When all values and sizes are those of all processes, the metric\'s own `fold` does the rest.',
    'Stack the values in float64, times the sizes, and the sizes below them: a tensor of two rows, so that one all-reduce is enough, inside `self._meet(...)`. Put quotients and sizes back into the two lists, and return what `fold()` gives. If nothing waits there is nothing to send.'],
    why='From here on every process holds the totals of all, so the table, early stopping and the best checkpoint agree everywhere without knowing of each other. Sums in float64: sizes run into millions, and float32 counts to sixteen million only. A part without samples has weight 0, whatever its mean is.')
def fold_everywhere():
    at = (on_all, folded)
    return [case('the mean over both processes, known to both', equal_parts, also=at),
            case('each part counts by its size', unequal_parts, also=at),
            case('each batch by itself: what fold returns are the means of whole batches', two_batches, also=at),
            case('a part that does not count weighs nothing', part_of_none, also=at),
            case('what was folded before is not counted again', twice_folded, also=at),
            case('many batches are one meeting, and none if nothing waits', one_meeting, also=on_all),
            case('if nothing waits, fold is called all the same', nothing_waits, also=at),
            case('large numbers of samples are counted exactly', large_and_small, also=at),
            case('a partner that is gone ends in a DistributedError that names the metric', gone_in_between, raises='DistributedError', names='loss')]
