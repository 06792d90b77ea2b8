"Lesson 00: core."
import random
import time
from collections import OrderedDict, UserDict, namedtuple
from unittest.mock import patch

import numpy as np
import torch

from mylib.judge import call, case, entry

Pair = namedtuple('Pair', 'image label')


def draws(): return dict(Python=random.random(), NumPy=np.random.rand(), PyTorch=torch.rand(2))

def seeded(m):
    m.set_seed(7)
    return draws()

def in_the_middle(m):
    m.set_seed(7)
    draws(), random.gauss(0, 1), np.random.randn()
    m.set_seed(7)
    return dict(draws(), normal=[random.gauss(0, 1), np.random.randn()])

def by_default(m):
    m.set_seed()
    return draws()

def at_the_ends(m):
    res = []
    for seed in (0, 2**32 - 1):
        m.set_seed(seed)
        res.append(draws())
    return res

def refused(m):
    "What is drawn after a seed that was refused: what would have come without it."
    m.set_seed(7)
    try: m.set_seed(2**32)
    except ValueError: return draws()

def repeatable(m):
    before, res = torch.are_deterministic_algorithms_enabled(), {}
    try:
        for wanted in (False, True):
            m.set_seed(1, deterministic=wanted)
            res[wanted] = torch.are_deterministic_algorithms_enabled()
    finally: torch.use_deterministic_algorithms(before)
    return res

@entry('00.1', level=1, minutes=10, hints=[
    'Three libraries, each with a generator of its own. What is the function called that seeds it?',
    '`random.seed`, `np.random.seed` and `torch.manual_seed`; the last one takes care of the devices. Which seeds does the strictest of the three accept?',
    'First a ValueError that names the seed if it is not in 0..2**32-1, before anything is touched. Then the three seeds. At last `torch.use_deterministic_algorithms`, only if it was asked for.'],
    why='The range is looked at first, so that a seed that is refused leaves all three generators alone. Otherwise Python would be seeded already when NumPy says no. Repeatable kernels are not the default, because some of them are slow and for some operations there is none.')
def set_seed():
    return [case('after the same seed come the same numbers from each generator', seeded, also=draws),
            case('half of a pair of normal numbers is not kept back', in_the_middle, also=draws),
            case('the seed is 42 by default', by_default, also=draws),
            case('the first and the last seed that NumPy takes', at_the_ends, also=draws),
            call('set_seed', -1, raises=ValueError, names=('seed', '-1'), say='a negative seed is refused, with what came'),
            call('set_seed', 2**32, raises=ValueError, names=('seed', str(2**32)), say='a seed that NumPy does not take is refused, with what came'),
            case('a seed that is refused changes no generator', refused, also=draws),
            case('repeatable kernels are asked for if they are wanted, and only then', repeatable)]


def goes_on(m):
    state = m.rng_state()
    first = draws()
    m.set_rng_state(state)
    return dict(first=first, again=draws())

def twice(m):
    "A state is a copy that may be used again."
    state, res = m.rng_state(), []
    for _ in range(3):
        m.set_rng_state(state)
        res.append(draws())
    return res

def half_a_pair(m):
    random.gauss(0, 1), np.random.randn()
    state = m.rng_state()
    draws()
    m.set_rng_state(state)
    return [random.gauss(0, 1), np.random.randn()]

def absent_devices(m):
    "A state from a machine with one CUDA device more than this one; which of them are set."
    state, calls = m.rng_state(), []
    first = draws()
    with patch.multiple(torch.cuda, set_rng_state=lambda *args: calls.append('one'), set_rng_state_all=lambda *args: calls.append('all')):
        m.set_rng_state({**state, 'cuda': [torch.get_rng_state()]*(torch.cuda.device_count() + 1)})
    return dict(first=first, again=draws(), set=calls)

def a_look_aside(m):
    with m.keep_rng():
        for _ in range(3): draws()
        random.seed(5); np.random.seed(5); torch.manual_seed(5)
    return draws()

def inside(m):
    with m.keep_rng(): return draws()

def after_an_error(m):
    said = 'nothing'
    try:
        with m.keep_rng():
            draws()
            raise ZeroDivisionError
    except ZeroDivisionError: said = 'the error came out'
    return dict(draws(), said=said)

def one_in_another(m):
    with m.keep_rng():
        draws()
        with m.keep_rng(): draws()
        second = draws()
    return dict(second=second, after=draws())

@entry('00.2', level=2, minutes=20, hints=[
    'Each of the three libraries can hand out the state of its generator and take it back. What must happen at the end of `keep_rng` if its body fails?',
    '`random.getstate`, `np.random.get_state`, `torch.get_rng_state` and their setters. A function with one `yield` under `@contextmanager` is a context manager: what stands before the yield happens on entering, and the body is run at the yield.',
    'A dict with python, numpy and torch, and cuda (`torch.cuda.get_rng_state_all`, if CUDA has been used) and mps where there is one. When it is set, cuda is left out unless there are as many devices as states. `try: yield` with a `finally` puts things back after an error too, and lets the error go on.'],
    why='`finally` and not `except`: whatever goes wrong inside comes out unchanged, and the generators are back all the same. Asking CUDA for its state would start it, which takes seconds and memory, so it is asked only if something has used it already.')
def rng():
    return [case('a state that is put back gives the same numbers once more', goes_on, also=draws),
            case('a state is a copy: it can be put back again and again', twice, also=draws),
            case('the second half of a pair of normal numbers is part of the state', half_a_pair, also=draws),
            case('after the block comes what would have come without it', a_look_aside, also=draws),
            case('inside, the sequence goes on as it was', inside, also=draws),
            case('after an error too, and the error comes out', after_an_error, also=draws),
            case('one block in another', one_in_another, also=draws),
            case('states of devices that are not here are left out', absent_devices, also=draws)]


def double(t): return t*2

def one_tensor(m): return m.apply_nested(double, torch.tensor([1., 2.]))
def a_list(m): return m.apply_nested(double, [torch.tensor([1.]), torch.tensor([2.])])
def a_tuple(m): return m.apply_nested(double, (torch.tensor([1.]), torch.tensor([2.])))
def a_dict(m): return m.apply_nested(double, {'x': torch.tensor([1.]), 3: torch.tensor([2.])})
def deep(m): return m.apply_nested(double, {'x': [torch.tensor([1.]), (torch.tensor([2.]), {'y': torch.tensor([3.])})]})

def other_leaves(m): return m.apply_nested(double, [torch.tensor([1.]), 3, 'cat', None, 2.5, b'raw', True])

def same_objects(m):
    leaves = [np.ones(2), object(), {1, 2}]
    return [a is b for a, b in zip(m.apply_nested(double, leaves), leaves)]

def named_tuple(m):
    b = m.apply_nested(double, Pair(torch.tensor([1.]), 'cat'))
    return [type(b).__name__, b.image, b.label]

def named_tuple_inside(m):
    b = m.apply_nested(double, [Pair(torch.tensor([1.]), Pair('cat', torch.tensor([2.])))])
    return [type(b[0].label).__name__, b[0].label.label]

def kinds_of_dict(m):
    res = []
    for b in (OrderedDict(b=torch.tensor([1.]), a='cat'), UserDict(b=torch.tensor([1.]), a='cat')):
        new = m.apply_nested(double, b)
        res.append([type(new).__name__, list(new), new['b'], new['a']])
    return res

def list_of_its_own_kind(m):
    class Boxes(list): pass
    return type(m.apply_nested(double, Boxes([torch.tensor([1.])]))).__name__

def empty(m): return [m.apply_nested(double, b) for b in ([], (), {}, [()])]

def as_it_was(m):
    batch = {'x': [torch.tensor([1.]), torch.tensor([2.])]}
    m.apply_nested(double, batch)
    return batch

def not_a_tensor_back(m): return m.apply_nested(lambda t: tuple(t.shape), {'x': torch.zeros(2, 3), 'y': [torch.zeros(4)]})

def once_each(m):
    seen = []
    m.apply_nested(lambda t: seen.append(t.item()), [torch.tensor(1), (torch.tensor(2), {'x': torch.tensor(3)}), 'cat', torch.tensor(4)])
    return seen

def parameters(m): return m.apply_nested(lambda p: p.numel(), [torch.nn.Parameter(torch.zeros(2, 3))])

@entry('00.3', level=2, minutes=15, hints=[
    'The batch is a tree. What is done at a leaf that is a tensor, at a leaf that is none, and at a branch?',
    'A branch calls this very function for each of its parts, and makes a new container of its own type of the results. A dict has keys to keep, and a named tuple is a tuple whose constructor takes its fields one by one.',
    'Ask with isinstance, in this order: tensor, `Mapping`, tuple with `_fields`, list or tuple, anything else. `type(b)(...)` makes the container; the last case returns b itself. A string can be iterated over but is a leaf.'],
    why='The order of the questions matters: a named tuple is also a tuple, so it has to be asked about first. Mapping rather than dict, because tokenizers return objects that behave like a dict and are none.')
def apply_nested():
    return [case('a single tensor is a batch too', one_tensor, also=double),
            case('a list', a_list, also=double),
            case('a tuple stays a tuple', a_tuple, also=double),
            case('a dict keeps its keys', a_dict, also=double),
            case('containers in containers', deep, also=double),
            case('leaves that are no tensors are kept, strings among them', other_leaves, also=double),
            case('other leaves are the same objects as before', same_objects, also=double),
            case('empty containers stay as they are', empty, also=double),
            case('a named tuple keeps its type and its fields', named_tuple, also=double),
            case('named tuples inside others', named_tuple_inside, also=double),
            case('other kinds of dict keep their type and the order of their keys', kinds_of_dict, also=double),
            case('a class derived from list is kept', list_of_its_own_kind, also=double),
            case('the batch that came in is left as it was', as_it_was, also=double),
            case('f may return anything', not_a_tensor_back),
            case('f is called once for each tensor, in order', once_each),
            case('a parameter is a tensor', parameters)]


def there_already(m):
    batch = [torch.ones(2), (torch.zeros(3), 'cat')]
    new = m.to_device(batch, 'cpu')
    return [new[0] is batch[0], new[1][0] is batch[1][0], new[1][1]]

def sent(m):
    "The device meta holds shapes and no data, and exists on every machine."
    batch = {'x': [torch.ones(2), Pair(torch.zeros(3), 'cat')], 'y': 5}
    new = m.to_device(batch, 'meta')
    return dict(devices=[new['x'][0].device.type, new['x'][1].image.device.type], rest=[new['x'][1].label, new['y']], before=batch['x'][0].device.type)

def kinds_of_device(m): return [m.to_device(torch.ones(2), d).device.type for d in ('meta', torch.device('meta'), torch.device('cpu'))]

def no_device(m):
    "What `default_device` says at the time of the call."
    with patch.object(m, 'default_device', lambda: torch.device('meta')): meta = m.to_device([torch.ones(2)])
    with patch.object(m, 'default_device', lambda: torch.device('cpu')): cpu = m.to_device([torch.ones(2)])
    return [meta[0].device.type, cpu[0].device.type]

def graph_stays(m):
    w = torch.ones(2, requires_grad=True)
    m.to_device({'x': w*2}, 'cpu')['x'].sum().backward()
    return w.grad

class Parcel(torch.Tensor):
    "A tensor that notes whether it was sent without waiting for its arrival."
    early = False
    def to(self, *args, **kwargs):
        self.early = bool(kwargs.get('non_blocking')) or True in args[1:]
        return self

def waits(m):
    parcel = torch.ones(2).as_subclass(Parcel)
    m.to_device([parcel], 'cpu')
    m.to_device([parcel], torch.device('cpu'))
    return 'not waited for' if parcel.early else 'waited for'

def detached(m):
    w = torch.ones(2, requires_grad=True)
    b = m.to_cpu([w, {'y': (w*2, 'cat', None)}])
    return dict(requires_grad=[b[0].requires_grad, b[1]['y'][0].requires_grad], values=[b[0], b[1]['y'][0]], rest=b[1]['y'][1:], before=w.requires_grad)

def widened(m): return m.to_cpu({str(d): torch.ones(2, dtype=d) for d in (torch.float16, torch.bfloat16)})
def other_types(m): return m.to_cpu([torch.ones(2, dtype=d) for d in (torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool)])

@entry('00.4', level=1, minutes=10, hints=[
    'Both are `apply_nested` with a function of one tensor. What is done to a tensor in each?',
    '`t.to(device)` copies only if it has to. `t.detach().cpu()` brings a result back, and `.float()` widens it, for two types and no others.',
    'The default device is asked for in the body, since a default argument would be computed once, when the function is defined. A copy may be sent without waiting (`non_blocking`) unless it goes to the CPU, where somebody may read it before it has arrived.'],
    why='A batch on its way to the GPU need not be waited for, because whatever the GPU does with it queues up behind the copy. On the way to the CPU nothing queues, and the numbers that are read too early are wrong without an error.')
def to_device():
    return [case('tensors that are there already are not copied', there_already),
            case('all tensors of a nested batch are sent, other leaves are kept', sent),
            case('a device or its name will do', kinds_of_device),
            case('without a device, the default device of that moment', no_device),
            case('what is sent is still part of its graph', graph_stays),
            case('a copy to the CPU is waited for', waits, also=Parcel),
            case('to_cpu detaches, and leaves what came as it was', detached),
            case('to_cpu widens both kinds of half precision to float32', widened),
            case('to_cpu keeps all other types', other_types)]


class Clock:
    "A clock that stands still but while one of the functions made with `takes` is running."
    def __init__(self): self.now, self.calls = 100., []
    def takes(self, name, seconds):
        def f():
            self.calls.append(name)
            self.now += seconds(self.calls.count(name) - 1, self.now) if callable(seconds) else seconds
        return f
    def bench(self, m, fs, **kwargs):
        nanoseconds = {n: lambda: int(self.now*1e9) for n in ('perf_counter_ns', 'monotonic_ns', 'time_ns')}
        with patch.multiple(time, **{n: lambda: self.now for n in ('perf_counter', 'monotonic', 'time')}, **nanoseconds):
            return m.bench({k: self.takes(k, s) for k, s in fs.items()}, **kwargs).to_dict('index')

def one_function(m): return Clock().bench(m, {'sleep': 1e-3})
def three_functions(m): return Clock().bench(m, dict(a=2e-3, b=1e-3, c=6e-3))
def warm_up(m): return Clock().bench(m, dict(a=lambda call, now: 1e-3 if call else 5., b=lambda call, now: 2e-3 if call else 5.))

def seldom_slow(m):
    "One call, when the clock says about 100.07, takes a whole second."
    row = Clock().bench(m, dict(a=lambda call, now: 1. if 100.07 <= now < 100.2 else 1e-3))['a']
    return dict(ms=row['ms'], noticed=row['spread'] > 10)

def getting_slower(m):
    "The machine gets slower and slower, for both; b takes three times as long as a at any time."
    t = Clock().bench(m, dict(a=lambda call, now: 1e-3*(now - 99.9), b=lambda call, now: 3e-3*(now - 99.9)))
    return 2.5 < t['b']['ratio'] < 4

def in_turns(m):
    "The last calls, of functions that are slow enough to be called once in a round."
    (clock := Clock()).bench(m, dict(a=1., b=2.), rounds=3)
    return clock.calls[-6:]

def calls(m, seconds, **kwargs):
    (clock := Clock()).bench(m, dict(a=seconds), **kwargs)
    return len(clock.calls)

def short_ones(m): return dict(default=130 <= calls(m, 1e-3) <= 160, longer=140 <= calls(m, 1e-3, rounds=3, min_time=0.05) <= 170)
def no_time_at_all(m):
    t = Clock().bench(m, dict(a=1e-6, b=lambda call, now: 0. if call < 2 else 1e-6), rounds=1, min_time=1e-5)
    return t['a']['ms']

@entry('00.5', level=2, minutes=30, hints=[
    'Three habits: warm up first, take turns, report the median. Which loop is the outer one, that over rounds or that over functions?',
    'A little function `clock(f, n)` gives the seconds of one call, averaged over n. First find out for each function how many calls fill `min_time`; then, round by round, clock each function once and append what it took to its list.',
    'The calls that find out how long a function takes are the warm-up, and their times are thrown away. At least one call in each round. `median` of each list times 1e3, the largest by the smallest, and the median by that of the first function; `pd.DataFrame` of a dict of dicts takes the names as its index. On a GPU, `torch.cuda.synchronize()` before each look at the clock.'],
    why='Interleaving lets a slow minute of the machine hit everything alike, so that the ratio survives it. The median forgets a round in which the machine did something else, and the spread tells that there was one.')
def bench():
    return [case('one function: its milliseconds, and a ratio of 1', one_function, also=Clock),
            case('ratios are to the first function', three_functions, also=Clock),
            case('the first call is a warm-up and is not measured', warm_up, also=Clock),
            case('a short function is repeated until a round lasts min_time', short_ones, also=(Clock, calls)),
            case('one slow moment does not move the median', seldom_slow, also=Clock),
            case('functions are measured in turns', in_turns, also=Clock),
            case('a machine that gets slower does not change the ratio by much', getting_slower, also=Clock),
            case('a function too short for the clock does no harm', no_time_at_all, also=Clock)]
