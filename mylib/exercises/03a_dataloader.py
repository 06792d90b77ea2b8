"Lesson 03a: DataLoader."
import random
import types
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from itertools import cycle, islice
from unittest.mock import patch

import numpy as np
import torch

from mylib.judge import call, case, entry, randn

Pair = namedtuple('Pair', 'image label')


def data(m, **kwargs): return m.TensorDataset(torch.arange(8.).view(4, 2), torch.tensor([3, 2, 1, 0]), **kwargs)

def one_item(m): return data(m)[1]
def a_slice(m): return data(m)[1:3]
def index_tensor(m): return data(m)[torch.tensor([3, 0, 3])]
def single_tensor(m): return m.TensorDataset(torch.arange(3))[2]
def length(m): return [len(data(m)), len(m.TensorDataset(torch.zeros(0, 3)))]
def rows_by_tensor(m): return data(m).rows(torch.tensor([3, 0, 3]))
def rows_by_slice(m): return data(m).rows(slice(1, 3))

def views_and_copies(m):
    ds = data(m)
    start = ds.tensors[0].data_ptr()
    return dict(slice_is_view=ds.rows(slice(0, 2))[0].data_ptr() == start, tensor_is_view=ds.rows(torch.tensor([0, 1]))[0].data_ptr() == start)

def what_it_says(m):
    ds = data(m, vocab=['cat', 'dog'])
    return [ds.batch_index, ds.vocab, data(m).vocab, isinstance(ds, m.Dataset), ds.device.type]

def moved(m):
    ds = data(m, vocab=['cat', 'dog'])
    new = ds.to('meta')
    return dict(new=[t.device.type for t in new.tensors], new_device=new.device.type, new_vocab=new.vocab, new_length=len(new), old=[t.device.type for t in ds.tensors])

def moved_subclass(m):
    class Named(m.TensorDataset): name = None
    ds = Named(torch.zeros(3))
    ds.name = 'digits'
    new = ds.to('meta')
    return [type(new).__name__, new.name, ds.device.type]

def no_tensor(m): m.TensorDataset()
def a_list(m): m.TensorDataset(torch.zeros(2), [1, 2])
def an_array(m): m.TensorDataset(np.zeros(2))
def a_number(m): m.TensorDataset(torch.tensor(3.))
def lengths(m): m.TensorDataset(torch.zeros(4), torch.zeros(3, 4))

@entry('03a.1', level=1, minutes=15, hints=[
    'An integer, a slice and an index tensor: what does a tensor itself do with each of them in square brackets?',
    'An item is a tuple, also if there is only one tensor. `rows` differs from square brackets for index tensors only: `index_select` along axis 0, with the indices on the device of the tensor.',
    'The constructor refuses no tensors (ValueError), what is no tensor or has no axes (TypeError that says "tensors[k] is a ..."), and unequal lengths (ValueError "theirs are [...]"). `to` makes a shallow copy of the dataset and gives it new tensors.'],
    why='A shallow copy keeps the class, the vocabulary and whatever a subclass has added, and leaves the dataset that came in as it was. A slice gives views: a sequential pass costs no copy, and may be written into by mistake.')
def tensor_dataset():
    return [case('an integer gives the tuple of the rows at that place', one_item, also=data),
            case('a slice gives several rows of each tensor', a_slice, also=data),
            case('an index tensor gives its rows, in its order, repeated ones too', index_tensor, also=data),
            case('an item of a single tensor is a tuple too', single_tensor),
            case('the length is the number of rows', length, also=data),
            case('rows with an index tensor', rows_by_tensor, also=data),
            case('rows with a slice', rows_by_slice, also=data),
            case('rows of a slice are views, rows of an index tensor are copies', views_and_copies, also=data),
            case('batch_index, vocab and device can be read', what_it_says, also=data),
            case('to gives a dataset elsewhere, and leaves this one as it is', moved, also=data),
            case('to keeps the class and its attributes', moved_subclass),
            case('a dataset of no tensors is refused', no_tensor, raises=ValueError, names='at least one tensor'),
            case('a list is refused, with its place', a_list, raises=TypeError, names='tensors[1] is a list'),
            case('an array is refused', an_array, raises=TypeError, names='tensors[0] is a ndarray'),
            case('a tensor without axes is refused', a_number, raises=TypeError, names='tensors[0]'),
            case('unequal lengths are refused, with the lengths', lengths, raises=ValueError, names='theirs are [4, 3]')]


def order(m, n, seed, epoch=0):
    sampler = m.RandomSampler(n, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)

def each_once(m): return sorted(order(m, 10, seed=1))

def shuffled(m): return order(m, 100, seed=1) == list(range(100))

def as_tensor(m):
    s = m.RandomSampler(10, seed=1)
    return [s.order.dtype, tuple(s.order.shape), s.order.tolist() == list(s), type(next(iter(s))).__name__]

def lengths_of(m): return [len(m.RandomSampler(7, seed=0)), len(m.RandomSampler('abcd', seed=0)), sorted(m.RandomSampler('abcd', seed=0)), list(m.RandomSampler(0, seed=0))]

def repeated(m): return [order(m, 100, 1) == order(m, 100, 1), order(m, 100, 1, epoch=5) == order(m, 100, 1, epoch=5)]

def same_epoch_twice(m):
    s = m.RandomSampler(100, seed=1)
    return list(s) == list(s)

def different(m):
    orders = {f'seed {s}, epoch {e}': tuple(order(m, 100, s, e)) for s in (0, 1, 2, 2**40) for e in range(4)}
    return len(set(orders.values()))

def nothing_else_matters(m):
    res = []
    for k in range(3):
        torch.manual_seed(k); np.random.seed(k); random.seed(k)
        res.append([order(m, 100, seed=0), order(m, 100, seed=1, epoch=2)])
    return res[0] == res[1] == res[2]

def draws_nothing(m):
    expected = torch.rand(3), np.random.rand(3).tolist(), random.random()
    torch.manual_seed(0); np.random.seed(0); random.seed(0)
    order(m, 100, seed=1)
    return [torch.equal(torch.rand(3), expected[0]), np.random.rand(3).tolist() == expected[1], random.random() == expected[2]]

def seed_by_itself(m):
    seeds = []
    for k in (3, 3, 4):
        torch.manual_seed(k)
        s = m.RandomSampler(100)
        torch.manual_seed(99)
        seeds.append((s.seed, tuple(s)))
    return [seeds[0] == seeds[1], seeds[0] == seeds[2]]

def two_by_themselves(m): return m.RandomSampler(100).seed == m.RandomSampler(100).seed

def new_seed(m):
    s = m.RandomSampler(100, seed=1)
    list(s)
    s.seed = 2
    return list(s) == order(m, 100, seed=2)

def all_orders(m):
    s, counts = m.RandomSampler(3, seed=0), {}
    for epoch in range(600):
        s.set_epoch(epoch)
        order = tuple(s)
        counts[order] = counts.get(order, 0) + 1
    return dict(orders=len(counts), rarest_above_60=min(counts.values()) > 60)

def negative_seed(m): m.RandomSampler(3, seed=-1)
def seed_of_a_kind(m): m.RandomSampler(3, seed=0.5)
def data_of_a_kind(m): m.RandomSampler(3.5, seed=0)
def negative_epoch(m): m.RandomSampler(3, seed=0).set_epoch(-1)

@entry('03a.2', level=2, minutes=20, hints=[
    'Which generator may the order be drawn from, if dropout and initialisation draw from PyTorch\'s global one?',
    'From one of its own, made anew for each order and seeded with a mixture of seed and epoch. The sum of the two is no mixture: `_words` gives integers that depend on both.',
    '`order` is a property that draws with `torch.randperm(..., generator=...)`, so that it always follows the present seed and epoch; iterating goes through `order.tolist()`. `_whole` checks data, seed and epoch; without a seed `_draw_seed` draws one, in the constructor.'],
    why='The order of an epoch is a pure function: a run that is resumed in epoch 7 gets the order of epoch 7 without going through the six before. The generator takes a 63-bit seed out of two 32-bit words, which keeps as much of the mixture as PyTorch accepts.')
def random_sampler():
    return [case('each index comes once', each_once, also=order),
            case('they come in another order than 0 to n-1', shuffled, also=order),
            case('the same seed and epoch give the same order', repeated, also=order),
            case('order is the pass as an int64 tensor; iterating gives the same, as plain integers', as_tensor),
            case('the length is that of the data, or the number given', lengths_of),
            case('going through it does not change what comes next, set_epoch does that', same_epoch_twice),
            case('sixteen pairs of seed and epoch give sixteen orders', different, also=order),
            case('the state of the global generators does not matter', nothing_else_matters, also=order),
            case('the global generators are left as they were', draws_nothing, also=order),
            case("without a seed, one is drawn from PyTorch's global generator when the sampler is made", seed_by_itself),
            case('two samplers without a seed have two', two_by_themselves),
            case('a new seed counts from the next pass on', new_seed, also=order),
            case('all six orders of three items come about equally often', all_orders),
            case('a negative seed is refused', negative_seed, raises=ValueError, names='seed'),
            case('a seed that is no integer is refused', seed_of_a_kind, raises=TypeError, names='seed'),
            case('data that has no length and is no integer is refused', data_of_a_kind, raises=TypeError, names='data'),
            case('a negative epoch is refused', negative_epoch, raises=ValueError, names='epoch')]


def named_tuples(m):
    b = m.collate([Pair(torch.tensor([1.]), 'cat'), Pair(torch.tensor([2.]), 'dog')])
    return [type(b).__name__, b.image, b.label]

def kinds_of_dict(m):
    res = []
    for kind in (OrderedDict, UserDict, lambda d: types.MappingProxyType(d), lambda d: defaultdict(int, d)):
        b = m.collate([kind({'b': 1, 'a': 2}), kind({'b': 3, 'a': 4})])
        res.append([type(b).__name__, list(b), b['b']])
    return res

def kind_of_list(m):
    class Boxes(list): pass
    b = m.collate([Boxes([1, 2]), Boxes([3, 4])])
    return [type(b).__name__, list(b)]

def a_generator(m): return m.collate(i*i for i in range(3))

def items_afterwards(m):
    items = [{'x': torch.tensor([1.]), 'y': [1, 2]}, {'x': torch.tensor([2.]), 'y': [3, 4]}]
    m.collate(items)
    return items

def new_memory(m):
    first = torch.ones(2)
    m.collate([first])[0, 0] = 9
    return first

def none_inside(m): m.collate([Pair(1, None), Pair(2, None)])

@entry('03a.3', level=3, minutes=45, hints=[
    'The items are trees of the same form, walked side by side. What becomes of n numbers, n tensors, n strings, n dicts?',
    'Leaves first: tensors go to `_stack`, strings stay a list, arrays and NumPy scalars become tensors and go to `_stack`, numbers become one tensor (floats float64). A dict collates the values of each key, a tuple or list each of its `_columns`, and the results go back into a container of the type that came.',
    'Path: add [\'key\'], [k] or .field on the way down, so that each message names the place. Before the walk, an item that is another container than the first is a TypeError; other keys are a ValueError; what is left over is a TypeError "a NoneType". `collate` turns items into a list, refuses an empty one, and begins with the path \'batch\'.'],
    why='A dict that can be changed is copied and updated rather than built anew, because a constructor of a class like defaultdict may want other arguments. The path costs one f-string for each container, and is worth an afternoon when one picture in a million has another shape.')
def collate():
    t = torch.tensor
    ragged = [(dict(image=torch.zeros(3, 8, 8)), 1), (dict(image=torch.zeros(1, 8, 8)), 1)]
    return [call('collate', [1, 2, 3], say='whole numbers become one tensor'),
            call('collate', [1., 2.5], say='floats become float64, as they are in Python'),
            call('collate', [True, False], say='truth values stay truth values'),
            call('collate', [t([1., 2.]), t([3., 4.])], say='tensors are stacked on a new first axis'),
            call('collate', [randn(2, 3)], say='a single item has the axis too'),
            call('collate', [np.float32([1, 2]), np.float32([3, 4])], say='arrays are stacked, and keep their dtype'),
            call('collate', [np.float32(1), np.float32(2)], say="NumPy's numbers keep their dtype"),
            call('collate', ['a', 'bc'], say='strings stay a list'),
            call('collate', [b'a', b'bc'], say='bytes stay a list'),
            call('collate', [(t([1.]), 5), (t([2.]), 6)], say='pairs become a pair of batches, and stay a tuple'),
            call('collate', [[1, 2], [3, 4], [5, 6]], say='lists become a list of columns'),
            call('collate', [{'x': t([1.]), 'y': 'a'}, {'x': t([2.]), 'y': 'b'}], say='dicts become a dict of batches'),
            call('collate', [{'y': 1, 'x': 2}, {'x': 4, 'y': 3}], say='the keys may come in another order'),
            call('collate', [({'x': [1, (2., 'a')]}, t(3)), ({'x': [4, (5., 'b')]}, t(6))], say='any nesting'),
            call('collate', [(), ()], say='empty containers stay empty'),
            case('named tuples keep their type and fields', named_tuples),
            case('other kinds of dict keep their type and the order of their keys', kinds_of_dict),
            case('a class derived from list is kept', kind_of_list),
            case('items may come from a generator', a_generator),
            case('the items are left as they were', items_afterwards),
            case('the batch has memory of its own', new_memory),
            call('collate', [], raises=ValueError, names='at least one item', say='no items are refused'),
            call('collate', ragged, raises=ValueError, names=("batch[0]['image']", '(3, 8, 8) in item 0', '(1, 8, 8) in item 1'), say='other shapes are refused, with the place and the shapes'),
            call('collate', [{'words': [1, 2]}, {'words': [1]}], raises=ValueError, names=("batch['words']", 'item 1 has 1'), say='lists of other lengths are refused, with the place'),
            call('collate', [{'a': 1}, {'b': 1}], raises=ValueError, names=("['a']", "item 1 has ['b']"), say='other keys are refused, with the keys'),
            call('collate', [{'a': 1}, {'a': 1, 'b': 2}], raises=ValueError, names='item 1', say='a key too many is refused'),
            case('None is refused, with the place', none_inside, raises=TypeError, names=('batch.label', 'NoneType')),
            call('collate', [t([1.]), 2], raises=TypeError, names='item 1', say='a number among tensors is refused'),
            call('collate', [(1, 2), {'a': 1}], raises=TypeError, names=('tuple', 'item 1', 'dict'), say='a dict among tuples is refused'),
            call('collate', [(1, 2), (1, 'a')], raises=TypeError, names='batch[1]', say='a string among numbers is refused, with the place'),
            call('collate', [np.array(['a']), np.array(['b'])], raises=TypeError, names=('batch', 'ndarray'), say='an array of strings is refused, with the place')]


def drawn(): return dict(Python=random.random(), NumPy=np.random.rand(), PyTorch=torch.rand(2).tolist())

def drawn_inside(m, *key):
    with m._seeded(*key): return drawn()

def same_key(m):
    a = drawn_inside(m, 1, 2, 3)
    drawn()
    b = drawn_inside(m, 1, 2, 3)
    return {k: a[k] == b[k] for k in a}

def other_keys(m):
    "Is anything the same as with the key (1, 2, 3)?"
    a = drawn_inside(m, 1, 2, 3)
    return {key: [a[k] == b[k] for b in [drawn_inside(m, *key)] for k in a] for key in ((1, 2, 4), (1, 3, 3), (2, 2, 3), (1, 3, 2), (2, 1, 3), (1, 2))}

def as_if_nothing_had_been(m):
    with m._seeded(1, 2): drawn()
    return drawn()

def after_an_error(m):
    try:
        with m._seeded(1, 2): raise ZeroDivisionError
    except ZeroDivisionError: return drawn()

def large_seed(m): return drawn_inside(m, 2**40, 0) == drawn_inside(m, 2**40 + 2**32, 0)

@entry('03a.4', level=2, minutes=15, hints=[
    'A batch should get the same random numbers whoever loads it and whatever was drawn before. What do they have to depend on, and what must be left as it was?',
    '`_words` makes three integers of the seed and the key, one for each generator. Take down the states first, and put them back at the end.',
    '`random.getstate`, `np.random.get_state`, `torch.default_generator.get_state`, and their setters in a `finally`. Seed with `random.seed`, `np.random.seed` and `torch.default_generator.manual_seed`: `torch.manual_seed` would reach for the GPU, which a worker must not touch.'],
    why='With random numbers that depend on seed, epoch and batch and on nothing else, the number of workers does not change a training run, and a pass can begin in the middle. A sum of seed and key would do it too, and would give batch 1 of epoch 0 the numbers of batch 0 of epoch 1.')
def seeded():
    return [case('the same key gives the same numbers from each generator', same_key, also=(drawn, drawn_inside)),
            case('another seed, epoch or batch gives other numbers', other_keys, also=(drawn, drawn_inside)),
            case('afterwards the generators go on as if nothing had been drawn', as_if_nothing_had_been, also=drawn),
            case('after an error too', after_an_error, also=drawn),
            case('seeds of more than 32 bits are not cut off', large_seed, also=(drawn, drawn_inside))]


def batches(loader, epoch=0): return [[int(i) for i in b] for b in loader._indices(epoch)]

def in_order(m): return batches(m.DataLoader(range(10), 4))
def dropped(m): return batches(m.DataLoader(range(10), 4, drop_last=True))
def nothing_to_drop(m): return batches(m.DataLoader(range(8), 4, drop_last=True))
def one_large(m): return batches(m.DataLoader(range(3), 64))

def shuffled_epochs(m):
    dl, sampler, res = m.DataLoader(range(10), 4, shuffle=True, seed=5), m.RandomSampler(10, seed=5), []
    for epoch in (0, 3, 0):
        sampler.set_epoch(epoch)
        res.append(sum(batches(dl, epoch), []) == list(sampler))
    return res

def seed_of_the_loader(m):
    dl = m.DataLoader(range(10), 4, shuffle=True, seed=5)
    dl.seed = 6
    return sum(batches(dl), []) == list(m.RandomSampler(10, seed=6))

def sampler_with_its_own_seed(m):
    dl = m.DataLoader(range(10), 4, sampler=m.RandomSampler(10, seed=8), seed=5)
    return sum(batches(dl), []) == list(m.RandomSampler(10, seed=8))

def sampler_of_a_part(m): return batches(m.DataLoader(range(10), 2, sampler=m.SequentialSampler(3)))

def cheap_pieces(m):
    ds = m.TensorDataset(torch.zeros(10))
    return [type(b).__name__ for dl in (m.DataLoader(ds, 8), m.DataLoader(ds, 8, shuffle=True, seed=0)) for b in dl._indices(0)]

def a_list_of_indices(m): return batches(m.DataLoader('abcde', 2, sampler=[4, 4, 0, -1, 2]))
def list_dropped(m): return batches(m.DataLoader('abcde', 2, sampler=[4, 4, 0, -1, 2], drop_last=True))
def arrays_as_indices(m): return [[type(i).__name__ for i in b] for b in m.DataLoader('abcde', 2, sampler=np.array([4, 1, 0]))._indices(0)]

def without_end(m):
    class Forever:
        def __iter__(self): return cycle([0, 1, 2])
    return list(islice(m.DataLoader('abc', 2, sampler=Forever())._indices(0), 4))

def told_the_epoch(m):
    log = []
    class Told(list):
        def set_epoch(self, epoch): log.append(epoch)
    dl = m.DataLoader('abc', 2, sampler=Told([2, 1, 0]))
    for epoch in (0, 5): batches(dl, epoch)
    return [log, dl.epoch]

def walked_once(m):
    dl = m.DataLoader('abc', 2, sampler=iter([0, 1, 2]))
    batches(dl)
    batches(dl)

def all_dropped(m): batches(m.DataLoader('abc', 2, sampler=iter([0]), drop_last=True))
def out_of_range(m): batches(m.DataLoader('abc', 2, sampler=[0, 1, 3]))
def no_index(m): batches(m.DataLoader('abc', 2, sampler=[0, 'b']))

def good_ones_first(m):
    got = []
    try:
        for b in m.DataLoader('abc', 2, sampler=[0, 1, 3])._indices(0): got.append(list(b))
    except IndexError: got.append('IndexError')
    return got

@entry('03a.5', level=2, minutes=25, hints=[
    'Two roads: our own samplers can hand over the whole order at once, to be cut into pieces; any other sampler has to be read index by index. What must happen before either?',
    'Before: a loader that shuffles by itself passes its seed on to its sampler, and a sampler with `set_epoch` is told the epoch. First road (`self._sliceable`): cut `sampler.order`, without the rest if drop_last. Second road: take batch_size indices at a time with `islice` and check them with `_check_indices`.',
    'Never make a list of a foreign sampler, it may have no end. A chunk that is too short is dropped only with drop_last. If the second road has given no batch at all, raise a ValueError of `self._nothing()`: an iterator that was walked before is empty now.'],
    why='The range of our own samplers was checked once, when the loader was made; foreign indices are checked as they come, before they reach a worker or a GPU, where the same mistake is a puzzle. The seed is passed on at each pass because somebody may have set loader.seed since.')
def indices():
    return [case('in order, the last batch with what is left', in_order, also=batches),
            case('drop_last leaves out a batch that is not full', dropped, also=batches),
            case('drop_last leaves out nothing where all are full', nothing_to_drop, also=batches),
            case('a batch larger than the data', one_large, also=batches),
            case('shuffled, in the order of the epoch that is asked for', shuffled_epochs, also=batches),
            case('a new seed of the loader counts', seed_of_the_loader, also=batches),
            case('a sampler that was given keeps its own seed', sampler_with_its_own_seed, also=batches),
            case('a sampler may cover a part of the data', sampler_of_a_part, also=batches),
            case("the order of our own samplers is cut, not read: ranges and tensors", cheap_pieces),
            case('a list of indices, the negative ones counted from the end', a_list_of_indices, also=batches),
            case('drop_last with a list of indices', list_dropped, also=batches),
            case('indices of a foreign sampler become plain integers', arrays_as_indices),
            case('a sampler may have no end', without_end),
            case('a sampler is told the epoch that is asked for, and the loader does not count', told_the_epoch, also=batches),
            case('the batches before a bad index still come', good_ones_first),
            case('an index out of range is refused, with the number of items', out_of_range, raises=IndexError, names=('3', '3 items'), also=batches),
            case('an index that is no integer is refused', no_index, raises=TypeError, names="'b'", also=batches),
            case('an iterator that was walked before is refused', walked_once, raises=ValueError, names='no batches', also=batches),
            case('a pass in which all is dropped is refused', all_dropped, raises=ValueError, names='no batches', also=batches)]


class Noted:
    "Items i*10; notes which of them were asked for."
    def __init__(self, n): self.n, self.asked = n, []
    def __len__(self): return self.n
    def __getitem__(self, i):
        self.asked.append(i)
        return i*10

class Random:
    "Items that are drawn when they are asked for."
    def __len__(self): return 6
    def __getitem__(self, i): return torch.rand(()) + i

class Whole:
    "Gives whole batches; notes how it was asked."
    batch_index = True
    def __init__(self): self.asked = []
    def __len__(self): return 5
    def __getitem__(self, i):
        self.asked.append(type(i).__name__)
        return torch.arange(5)[i]

def item_by_item(m): return list(m.DataLoader(Noted(5), 2))
def whole_batches(m): return list(m.DataLoader(data(m), 3))

def asked_in_batches(m):
    ds = Whole()
    first, second = list(m.DataLoader(ds, 3)), list(m.DataLoader(ds, 3, shuffle=True, seed=0))
    return dict(in_order=first, sizes=[len(b) for b in second], all=torch.cat(second).sort().values, asked=ds.asked)

def only_what_is_needed(m):
    ds = Noted(6)
    it = iter(m.DataLoader(ds, 2))
    before, first = list(ds.asked), next(it)
    return dict(before=before, first=first, asked=ds.asked)

def epochs_counted(m):
    loader = m.DataLoader(range(50), 50, shuffle=True, seed=0)
    orders, counts = [], [loader.epoch]
    for _ in range(3):
        orders.append([b.tolist() for b in loader])
        counts.append(loader.epoch)
    return dict(counts=counts, different=orders[0] != orders[1] != orders[2])

def counted_when_it_begins(m):
    loader = m.DataLoader(range(50), 50, shuffle=True, seed=0)
    a, b = iter(loader), iter(loader)
    return dict(count=loader.epoch, different=next(a).tolist() != next(b).tolist())

def from_the_middle(m):
    ds = Noted(7)
    loader = m.DataLoader(ds, 2, shuffle=True, seed=3)
    whole = list(loader)
    loader.set_epoch(0)
    ds.asked.clear()
    return dict(same=all(torch.equal(x, y) for x, y in zip(whole[2:], loader.iter_from(2), strict=True)), asked=len(ds.asked), epoch=loader.epoch)

def same_random_numbers(m):
    loader = m.DataLoader(Random(), 2, seed=5)
    whole = list(loader)
    loader.set_epoch(0)
    again = list(loader.iter_from(1))
    loader.set_epoch(1)
    other = list(loader)
    return dict(again=[torch.equal(x, y) for x, y in zip(whole[1:], again)], other_epoch=torch.equal(whole[0], other[0]))

def past_the_end(m): return list(m.DataLoader(range(4), 2).iter_from(5))

def on_a_device(m):
    "The device meta holds shapes only."
    one, two = m.DataLoader([1., 2., 3.], 2).to('meta'), m.DataLoader(data(m), 3).to('meta')
    return dict(items=[b.device.type for b in one], rows=[[t.device.type for t in b] for b in two])

def by_workers(m):
    "What the workers are given, in place of which we load."
    given = []
    def load(n, tasks, dataset, collate_fn, seed, epoch):
        for b, idx in tasks:
            given.append((b, list(idx), type(idx[0]).__name__))
            yield collate_fn([dataset[i] for i in idx])
        given.append((n, seed, epoch))
    with patch.object(m, '_from_workers', load):
        res = list(m.DataLoader(Noted(5), 2, num_workers=3, seed=7))
        late = list(m.DataLoader(Noted(5), 2, num_workers=3, seed=7, shuffle=True).iter_from(2))
        rows = list(m.DataLoader(data(m), 3, num_workers=3, seed=7))
    return dict(batches=res, late=len(late), rows=len(rows), given=[g for g in given if isinstance(g[1], int)], numbers=[(g[0], g[2]) for g in given if not isinstance(g[1], int)])

def negative_start(m): m.DataLoader(range(4), 2).iter_from(-1)

@entry('03a.6', level=3, minutes=30, hints=[
    'A pass turns the batches of indices that `_indices` gives into batches of data. Which roads are there from the one to the other, and what has to be counted, when?',
    'Three roads: the rows of a TensorDataset, a data set that indexes whole batches, and item by item, here or in workers. `iter_from` counts the pass and hands the rest to the generator `_pass`, which leaves out the first tasks with `islice`.',
    '`iter_from` is no generator itself, so that the argument is looked at and the epoch counted when it is called. Tasks are numbered with `enumerate` before any are left out, since the number is part of the key (seed, epoch, number) of `_load`. A range becomes a slice, everything else an index tensor; items take lists of ints. What is not there already goes `to_device`.'],
    why='Leaving out tasks, not batches, makes resuming in the middle of an epoch free, and since the numbers stay the random numbers do too. A slice of consecutive rows is a view; that is why ranges are kept as ranges up to here.')
def passes():
    return [case('item by item, the last batch with what is left', item_by_item, also=Noted),
            case('whole batches of a TensorDataset', whole_batches, also=data),
            case('a data set that indexes batches is asked by slice where it is in order, else by tensor', asked_in_batches, also=Whole),
            case('each pass adds one to the epoch, and a shuffled one has another order', epochs_counted),
            case('a pass is counted when it begins', counted_when_it_begins),
            case('a batch is loaded when it is asked for', only_what_is_needed, also=Noted),
            case('a pass from the middle has the same batches and loads no others', from_the_middle, also=Noted),
            case('its random numbers are the same too', same_random_numbers, also=Random),
            case('a start behind the end gives nothing', past_the_end),
            case('batches are sent to the device', on_a_device, also=data),
            case('workers get the numbers of batches and lists of ints, unless whole batches are indexed', by_workers, also=(Noted, data)),
            case('a negative start is refused at once', negative_start, raises=ValueError, names='batch')]


def shuffled_loader(m, seed=1): return m.DataLoader(range(100), 100, shuffle=True, seed=seed)
def order_of_next(loader): return next(iter(loader)).tolist()

def chosen_epoch(m):
    loader = shuffled_loader(m)
    first, second = order_of_next(loader), order_of_next(loader)
    loader.set_epoch(0)
    return dict(first_again=order_of_next(loader) == first, then_the_second=order_of_next(loader) == second, epoch=loader.epoch)

def what_determines(m):
    loader = shuffled_loader(m, seed=5)
    order_of_next(loader)
    return loader.state_dict()

def in_another_loader(m):
    a, b = shuffled_loader(m), shuffled_loader(m, seed=2)
    order_of_next(a)
    b.load_state_dict(a.state_dict())
    return dict(seed=b.seed, epoch=b.epoch, same=[order_of_next(a) == order_of_next(b) for _ in range(2)])

def a_state_of_its_own(m):
    loader = shuffled_loader(m)
    state = loader.state_dict()
    order_of_next(loader)
    return state

def epoch_of_numpy(m):
    loader = shuffled_loader(m)
    loader.set_epoch(np.int64(3))
    return type(loader.state_dict()['epoch']).__name__

def epoch_below_zero(m): shuffled_loader(m).set_epoch(-1)
def half_an_epoch(m): shuffled_loader(m).set_epoch(0.5)
def state_without_sense(m): shuffled_loader(m).load_state_dict(dict(seed=1, epoch=-3))
def seed_without_sense(m): shuffled_loader(m).load_state_dict(dict(seed=1.5, epoch=0))

@entry('03a.7', level=1, minutes=10, hints=[
    'What do the order and the random numbers of a pass depend on? That is all there is to remember.',
    'Two integers, the seed and the number of the next epoch, in a dict that can go into a file.',
    '`_whole` looks at an integer and names it in its error. `load_state_dict` sets the seed and leaves the epoch to `set_epoch`.'],
    why='Because everything is a function of two integers, a state is two integers: no generator has to be stored, and a run can be continued on another machine. `_whole` also turns the integers of NumPy into plain ones, which a JSON file takes.')
def states():
    return [case('the epoch that is chosen is the next one, and the count goes on from there', chosen_epoch, also=(shuffled_loader, order_of_next)),
            case('the state is the seed and the next epoch', what_determines, also=(shuffled_loader, order_of_next)),
            case('another loader goes on with that state, whatever its own seed was', in_another_loader, also=(shuffled_loader, order_of_next)),
            case('a state does not change as the loader goes on', a_state_of_its_own, also=(shuffled_loader, order_of_next)),
            case('a whole number of NumPy becomes a plain one', epoch_of_numpy, also=shuffled_loader),
            case('a negative epoch is refused', epoch_below_zero, raises=ValueError, names='epoch', also=shuffled_loader),
            case('a fraction is refused', half_an_epoch, raises=TypeError, names='epoch', also=shuffled_loader),
            case('a state with a negative epoch is refused', state_without_sense, raises=ValueError, names='epoch', also=shuffled_loader),
            case('a state with half a seed is refused', seed_without_sense, raises=TypeError, names='seed', also=shuffled_loader)]


def a_look(m):
    loader = shuffled_loader(m)
    return dict(same=loader.one_batch().tolist() == order_of_next(loader), epoch=loader.epoch)

def looks_alike(m):
    loader = m.DataLoader(Random(), 2, seed=5)
    looks = [loader.one_batch(), loader.one_batch()]
    return [torch.equal(looks[0], o) for o in (looks[1], next(iter(loader)))]

def before_a_later_pass(m):
    loader = shuffled_loader(m)
    for _ in range(2): order_of_next(loader)
    return loader.one_batch().tolist() == order_of_next(loader)

class Drawing:
    "A sampler that draws from the global generators."
    def __len__(self): return 4
    def __iter__(self):
        random.random(), np.random.rand()
        return iter(torch.randperm(4).tolist())

def generators_afterwards(m):
    m.DataLoader('abcd', 2, sampler=Drawing()).one_batch()
    return drawn()

def in_this_process(m):
    def refuse(*args): raise ZeroDivisionError
    with patch.object(m, '_from_workers', refuse): return m.DataLoader(Noted(5), 2, num_workers=3).one_batch()

def one_batch_on_a_device(m): return m.DataLoader([1., 2., 3.], 2).to('meta').one_batch().device.type
def of_a_tensor_dataset(m): return m.DataLoader(data(m), 3).one_batch()

def nothing_but_one_batch(m):
    ds = Noted(6)
    m.DataLoader(ds, 2).one_batch()
    return ds.asked

@entry('03a.8', level=2, minutes=15, hints=[
    'It must be the batch that the next pass will begin with, and nobody may notice that you looked. What would `next(iter(self))` leave behind?',
    'Take the first batch of indices of this epoch, load it as number 0 with `_batch`, and keep the generators out of it.',
    '`next(self._indices(self.epoch))` inside `_seeded(self.seed, self.epoch)`, since a foreign sampler may draw from the global generators. The rows of a TensorDataset are on the device already; the rest is sent if a device was chosen.'],
    why='`next(iter(loader))` would count a pass and start the workers for a single batch. A look at the data that changes the training after it is the kind of thing that makes two runs differ and nobody knows why.')
def one_batch():
    return [case('it is the first batch of the next pass, and no pass is counted', a_look, also=(shuffled_loader, order_of_next)),
            case('of a later pass, too', before_a_later_pass, also=(shuffled_loader, order_of_next)),
            case('its random numbers are those of the pass', looks_alike, also=Random),
            case('whole batches of a TensorDataset', of_a_tensor_dataset, also=data),
            case('only its own items are loaded', nothing_but_one_batch, also=Noted),
            case('the global generators are where they were, whatever the sampler draws', generators_afterwards, also=(drawn, Drawing)),
            case('it is loaded here, without workers', in_this_process, also=Noted),
            case('it is sent to the device', one_batch_on_a_device)]
