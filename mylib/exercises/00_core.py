"Lesson 00: core."
from collections import OrderedDict, UserDict, namedtuple

import numpy as np
import torch

from mylib.judge import case, entry

Pair = namedtuple('Pair', 'image label')


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

@entry('00.1', level=2, minutes=15, hints=[
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
