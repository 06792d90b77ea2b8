"Lesson 02a: autograd."
import gc
import threading
import weakref

import numpy as np

from mylib.judge import call, case, entry


def rand(*shape, seed=0, dtype=np.float64): return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def leaf(m): return m.Variable([1., 2.], requires_grad=True)

def inside_and_after(m):
    x = leaf(m)
    with m.no_grad(): y = x*3
    return dict(values=y.data, inside=y.requires_grad, after=(x*3).requires_grad)

def after_an_error(m):
    x = leaf(m)
    try:
        with m.no_grad(): raise ZeroDivisionError
    except ZeroDivisionError: return (x*3).requires_grad

def one_in_another(m):
    x = leaf(m)
    with m.no_grad():
        with m.no_grad(): pass
        return (x*3).requires_grad

def as_a_decorator(m):
    @m.no_grad()
    def triple(x): return x*3
    x = leaf(m)
    return [triple(x).requires_grad, triple(x).requires_grad, (x*3).requires_grad]

def another_thread(m):
    x, res = leaf(m), []
    with m.no_grad():
        t = threading.Thread(target=lambda: res.append((x*3).requires_grad))
        t.start(); t.join()
    return res

@entry('02a.1', level=1, minutes=10, hints=[
    'There is a switch already, `_recording`. What must it be set to, and what must it be afterwards, if this context lies inside another one?',
    '`set` of a ContextVar gives a token, and `reset` with that token brings back what was there before.',
    'Under `@contextmanager`: set it to False, yield, and reset in a `finally`, so that an error in the body does not leave it off.'],
    why='Resetting to what was there before, and not to True, is what makes nesting work. A ContextVar instead of a global is seen by its own thread only: one thread may evaluate while another trains.')
def no_grad():
    return [case('inside, results need no gradient; afterwards they do', inside_and_after, also=leaf),
            case('after an error, operations are recorded again', after_an_error, also=leaf),
            case('an inner context does not end the outer one', one_in_another, also=leaf),
            case('it decorates a function, which may be called again', as_a_decorator, also=leaf),
            case('another thread is not affected', another_thread, also=leaf)]


def what_is_kept(m):
    x = m.Variable([1., 2.], requires_grad=True)
    y = m._record('double', 2*x.data, (x, lambda g: 2*g))
    return dict(data=y.data, op=y._op, grad=y.grad, requires_grad=y.requires_grad, leaf=y.is_leaf, parents=[p is x for p, _ in y._edges])

def way_back(m):
    x = m.Variable([1., 2.], requires_grad=True)
    m._record('double', 2*x.data, (x, lambda g: 2*g)).backward([1., 10.])
    return x.grad

def constants(m):
    x, c = m.Variable([1., 2.], requires_grad=True), m.Variable([3., 4.])
    y = m._record('plus', x.data + c.data, (c, lambda g: g), (x, lambda g: g))
    z = m._record('double', 2*c.data, (c, lambda g: 2*g))
    return dict(parents=[p is x for p, _ in y._edges], needs=y.requires_grad, constant_needs=z.requires_grad, constant_is_leaf=z.is_leaf)

def without_recording(m):
    x = m.Variable([1., 2.], requires_grad=True)
    with m.no_grad(): y = m._record('double', 2*x.data, (x, lambda g: 2*g))
    return dict(needs=y.requires_grad, leaf=y.is_leaf, data=y.data)

def without_edges(m):
    x = m.Variable([1., 2.], requires_grad=True).detach()
    return dict(data=x.data, needs=x.requires_grad, leaf=x.is_leaf)

def read_only(m): return m._record('double', np.ones(2)).data.flags.writeable
def kinds_of_data(m): return [(type(m._record('sum', a).data).__name__, m._record('sum', a).dtype.name) for a in (np.float64(3.), np.ones(2, np.float32))]

@entry('02a.2', level=2, minutes=15, hints=[
    'A result is a Variable too, but one that nobody made by hand. What does it know that a leaf does not, and which of its parents matter on the way back?',
    'Keep those edges whose parent requires a gradient, and none at all while nothing is recorded. If any are left, the result requires a gradient itself.',
    '`Variable.__new__(Variable)` makes one without the copy that the constructor takes. Set `_data` (locked, and an array also where a single number came), `grad`, `requires_grad`, `_op`, and `_edges` as a tuple.'],
    why='Edges to constants are left out at once, so the way back never walks into data or labels, and their arrays can be freed. A result that has no edges is a leaf in all but name, which is what `detach` makes use of.')
def record():
    return [case('values, operation and parent are kept', what_is_kept),
            case('the function of the edge is what the way back uses', way_back),
            case('parents that need no gradient are left out', constants),
            case('nothing is recorded under no_grad', without_recording),
            case('a result without edges needs no gradient', without_edges),
            case('the values cannot be written to', read_only),
            case('a single number becomes an array, and the dtype stays', kinds_of_data)]


def told(m, root):
    order = list(m._toposort(root))
    place = {v: i for i, v in enumerate(order)}
    return dict(operations=sorted(v._op or 'leaf' for v in order), each_once=len(place) == len(order), root_last=order[-1] is root,
                parents_first=all(p in place and place[p] < place[v] for v in order for p, _ in v._edges))

def leaf_alone(m): return told(m, m.Variable(2., requires_grad=True))

def chain(m):
    x = m.Variable(2., requires_grad=True)
    return told(m, x.exp().log().tanh())

def square(m):
    x = m.Variable(2., requires_grad=True)
    return told(m, x*x)

def long_and_short(m):
    x = m.Variable(2., requires_grad=True)
    return [told(m, x.exp().log().tanh()*x), told(m, x*x.exp().log().tanh())]

def diamonds(m):
    y = m.Variable(1., requires_grad=True)
    for _ in range(6): y = y.exp()*y.log()
    return told(m, y)

def no_gradient_wanted(m):
    x, c = m.Variable(2., requires_grad=True), m.Variable(3.)
    return told(m, x*c.exp() + c)

def only_what_is_behind(m):
    x = m.Variable(2., requires_grad=True)
    h = x.exp()
    h.log()
    return told(m, h)

def very_deep(m):
    y = m.Variable(1., requires_grad=True)
    for _ in range(3000): y = -y
    return len(list(m._toposort(y)))

def released(m):
    y = m.Variable([1., 2.], requires_grad=True).exp().sum()
    y.backward()
    m._toposort(y)

def released_below(m):
    h = m.Variable([1., 2.], requires_grad=True).exp()
    other = (h*h).sum()
    h.sum().backward()
    m._toposort(other)

@entry('02a.3', level=3, minutes=25, hints=[
    'The recursive version of this lesson writes a variable down after all its parents. What does a function call remember that you have to put on a list of your own?',
    'A stack of pairs: the variable, and whether its parents are done already. Taken off for the first time, it goes back on, marked as done, and its parents go on top of it; taken off marked, it is written down.',
    'A set of what was opened keeps each variable from being opened twice; ask it when you take one off, not only when you put one on. Before you look at the edges: where they are None the graph was released, and that is the RuntimeError.'],
    why='A variable may be put on the stack several times before it is opened, so it is marked when it is opened: marking it when it is put there would write it down too early if a longer path leads to it. The search for released parts happens before any gradient is written, so that a backward that fails leaves nothing half done.')
def toposort():
    return [case('a leaf is its own graph', leaf_alone, also=told),
            case('a chain, from the leaf to the root', chain, also=told),
            case('a variable used twice is there once', square, also=told),
            case('a variable stands before everything made from it, also if a short path and a long one lead to it', long_and_short, also=told),
            case('a chain of diamonds', diamonds, also=told),
            case('what needs no gradient is not there', no_gradient_wanted, also=told),
            case('what was made from the root is not there', only_what_is_behind, also=told),
            case('a graph of thousands of steps is not too deep', very_deep),
            case('a released graph is refused', released, raises=RuntimeError, names=('released', "'sum'")),
            case('a graph is refused that was released in part, with the operation', released_below, raises=RuntimeError, names=('released', "'exp'"))]


def grads(*variables): return [None if v.grad is None else np.asarray(v.grad) for v in variables]
def leaves(m, *values): return [m.Variable(np.array(v), requires_grad=True) for v in values]

def chain_rule(m):
    a, b, c = leaves(m, 2., 3., 4.)
    (a*b + c).backward()
    return grads(a, b, c)

def used_twice(m):
    x, = leaves(m, 3.)
    (x*x).backward()
    return grads(x)

def diamond(m):
    x, = leaves(m, 3.)
    h = x*x
    (h*h + h).backward()
    return grads(x)

def shared_arrays(m):
    a, b = leaves(m, [1., 2.], [3., 4.])
    ((a + b) + a).sum().backward()
    return grads(a, b)

def several_times(m):
    x, = leaves(m, [1., 2.])
    for k in (1, 10, 100): (k*x).sum().backward()
    return grads(x)

def leaves_only(m):
    x, c = m.Variable(2., requires_grad=True), m.Variable(3.)
    h = x*c
    y = h.exp()
    y.backward()
    return dict(x=x.grad is not None, c=c.grad, h=h.grad, y=y.grad)

def a_leaf_itself(m):
    x, = leaves(m, [5.])
    x.backward()
    return grads(x)

def one_element(m):
    x, = leaves(m, [[2.]])
    (x*x).backward()
    return grads(x)

def given_gradient(m):
    x, = leaves(m, [1., 2., 3.])
    (x*x).backward(np.array([1., 10., 100.]))
    return grads(x)

def given_list(m):
    x = m.Variable([1., 2.], requires_grad=True)
    x.backward([1, 10])
    return [grads(x), x.grad.dtype.name]

def two_precisions(m):
    x, y = m.Variable([1., 2.], requires_grad=True), m.Variable(np.array([3., 4.]), requires_grad=True)
    (x*y).sum().backward()
    return [x.grad.dtype.name, y.grad.dtype.name]

def arrays_of_their_own(m):
    a, b = leaves(m, [1., 2.], [3., 4.])
    grad = np.ones(2)
    (a + b).backward(grad)
    a.grad *= 5
    return [*grads(a, b), grad]

def after_a_sum(m):
    x, = leaves(m, [1., 2.])
    x.sum().backward()
    x.grad *= 5
    return grads(x)

def memory(m):
    x, = leaves(m, [1., 2.])
    h = x.exp()
    y, hidden = h.sum(), weakref.ref(h)
    del h
    y.backward()
    gc.collect()
    return hidden() is None

def constants_only(m): m.Variable([1.]).sum().backward()

def no_single_number(m):
    x, = leaves(m, [1., 2.])
    (x*x).backward()

def other_shape(m):
    x, = leaves(m, [1., 2.])
    (x*x).backward(np.ones(3))

def number_for_a_vector(m):
    x, = leaves(m, [1., 2.])
    (x*x).backward(1.)

def second_time(m):
    x, = leaves(m, [1., 2.])
    y = x.exp().sum()
    y.backward()
    y.backward()

def nothing_half_done(m):
    x, z = leaves(m, [1., 2.], [1., 2.])
    h = x.exp()
    both = (h*z).sum() + z.sum()
    h.sum().backward()
    try: both.backward()
    except RuntimeError: return grads(x, z)

def wrong_formula(m):
    x, = leaves(m, [1., 2.])
    m._record('crooked', x.data.sum(), (x, lambda g: g)).backward()

@entry('02a.4', level=3, minutes=30, hints=[
    'The order is there, `_toposort` gives it. Where do the gradients live while they are on their way, and who is allowed to keep one?',
    'A dict from variable to gradient, with the root in it to begin with. Take variables off the end of the order; each hands its edges its gradient and adds what they return to the parents\' entries. A leaf adds to its `.grad`.',
    'First the doors: requires_grad, a missing gradient ("reduce it first"), its shape. Add with `a + b`, never with `+=`: an addition hands the same array to both parents, so a leaf\'s first gradient is a copy too. Compare the shape of each edge\'s answer with the parent\'s, give it the parent\'s dtype, and set `_edges` to None in everything but leaves.'],
    why='Variables are taken off a list, so that each, with the arrays its edges hold, can be freed as soon as it is done. Adding in place would save an allocation and be wrong wherever two entries share an array, which every addition brings about.')
def backward():
    return [case('a product and a sum', chain_rule, also=(leaves, grads)),
            case('a variable used twice collects both gradients', used_twice, also=(leaves, grads)),
            case('gradients that share an array do not disturb each other', shared_arrays, also=(leaves, grads)),
            case('a variable passes its gradient on once, when all of it has arrived', diamond, also=(leaves, grads)),
            case('.grad adds up over several calls', several_times, also=(leaves, grads)),
            case('only leaves that require a gradient keep one', leaves_only),
            case('backward of a leaf', a_leaf_itself, also=(leaves, grads)),
            case('one element with axes needs no gradient given', one_element, also=(leaves, grads)),
            case('a given gradient is where the way back starts', given_gradient, also=(leaves, grads)),
            case('a given gradient may be a list, and takes the dtype of the variable', given_list, also=grads),
            case("each leaf's gradient has the dtype of the leaf", two_precisions),
            case("each leaf's gradient is an array of its own", arrays_of_their_own, also=(leaves, grads)),
            case("a leaf's gradient may be written to", after_a_sum, also=(leaves, grads)),
            case('the graph is released, while its result is still held', memory, also=leaves),
            case('a variable that requires no gradient is refused', constants_only, raises=RuntimeError, names='nothing to differentiate'),
            case('several elements need a gradient, and the error says what to do', no_single_number, raises=RuntimeError, names='reduce it first', also=leaves),
            case('a gradient of another shape is refused, with both shapes', other_shape, raises=ValueError, names=('grad has shape (3,)', '(2,)'), also=leaves),
            case('a number is not stretched to the shape of a vector', number_for_a_vector, raises=ValueError, names='(2,)', also=leaves),
            case('a second backward is refused', second_time, raises=RuntimeError, names='released', also=leaves),
            case('a backward that fails leaves all gradients as they were', nothing_half_done, also=(leaves, grads)),
            case("an edge that returns another shape than its parent's is refused, with the operation", wrong_formula, raises=RuntimeError, names="'crooked'", also=leaves)]


def to_a_number(m): return np.asarray(m.unbroadcast(rand(2, 3), ()))

@entry('02a.5', level=2, minutes=20, hints=[
    'NumPy lines shapes up at their last axis. Which axes of g are not in `shape` at all, and which are there with size 1?',
    'Both kinds are summed over: a value that was used several times collects the sum. The first kind disappears, the second stays with size 1.',
    'The number of extra axes is the difference of the two lengths. Sum over the extra ones in front and those whose size differs, in one call, then reshape. Before: a size that is neither 1 nor the same, or a negative number of extra axes, is a ValueError ("does not broadcast").'],
    why='The gradient of a value that was used many times is the sum over its uses, and broadcasting is use. The check costs a comparison of small tuples; without it a wrong shape may survive a reshape and be a wrong gradient.')
def unbroadcast():
    return [call('unbroadcast', np.array([1., 2.]), (2,), say='nothing to do where the shapes agree'),
            call('unbroadcast', np.array([[1., 2.], [10., 20.]]), (2,), say='an axis that was added in front is summed over'),
            call('unbroadcast', np.array([[1., 2.], [10., 20.]]), (2, 1), say='an axis that was stretched is summed over, and stays with size 1'),
            call('unbroadcast', rand(2, 3, 4), (3, 1), say='axes may be added and stretched at once'),
            call('unbroadcast', rand(2, 3, 4), (1, 3, 1), say='several axes may have been stretched'),
            call('unbroadcast', rand(5, 2, 3), (3,), say='several axes may have been added'),
            call('unbroadcast', rand(1, 3), (3,), say='an axis of size 1 may have been added'),
            call('unbroadcast', rand(1, 3), (1, 3), say='a size of 1 that was not stretched stays'),
            case('a number collects the sum of all', to_a_number),
            call('unbroadcast', np.zeros((0, 3)), (1, 3), say='a sum over no entries is 0'),
            call('unbroadcast', rand(2, 3, dtype=np.float32), (3,), say='float32 stays float32'),
            call('unbroadcast', rand(2, 3), (2,), raises=ValueError, names=('does not broadcast', '(2,)', '(2, 3)'), say='a shape that does not fit is refused, with both shapes'),
            call('unbroadcast', rand(2, 3), (6,), raises=ValueError, names='does not broadcast', say='the right number of entries is not enough'),
            call('unbroadcast', rand(2, 3), (1, 2, 3), raises=ValueError, names='does not broadcast', say='a shape with more axes than the gradient is refused')]


def graded(m, f, *arrays):
    "What f gives, and the gradients of its arguments if the gradient of the result is some random numbers."
    inputs = [m.Variable(a, requires_grad=True) for a in arrays]
    y = f(*inputs)
    y.backward(rand(*y.shape, seed=9))
    return dict(result=np.asarray(y.data), gradients=grads(*inputs))

X, Y, ROW, POSITIVE = rand(2, 3), rand(2, 3, seed=1), rand(3, seed=2), np.exp(rand(2, 3, seed=3))

def added(m): return graded(m, lambda a, b: a + b, X, Y)
def multiplied(m): return graded(m, lambda a, b: a*b, X, Y)
def doubled(m): return graded(m, lambda a: a + a, X)
def squared(m): return graded(m, lambda a: a*a, X)
def row_added(m): return [graded(m, lambda a, b: a + b, X, ROW), graded(m, lambda a, b: a + b, ROW, X)]
def row_multiplied(m): return [graded(m, lambda a, b: a*b, X, ROW), graded(m, lambda a, b: a*b, ROW, X)]
def numbers(m): return [graded(m, lambda a: a + 2, X), graded(m, lambda a: a*2.5, X)]
def arrays(m): return [graded(m, lambda a: a*[1, 2, 3], X), graded(m, lambda a: a + Y, X)]

def precisions(m):
    x = m.Variable([1., 2., 3.])
    return [(x + 1.5).dtype.name, (x*np.arange(3)).dtype.name, (x + np.float64(2)).dtype.name, (x*np.ones(3)).dtype.name, (x*[True, False, True]).dtype.name]

def as_it_took_place(m):
    a, b = leaves(m, [1., 2.], [3., 4.])
    y = a*b
    a.data, b.data = [10., 20.], [30., 40.]
    y.sum().backward()
    return grads(a, b)

def words(m): return m.Variable([1., 2.]) + 'cat'

@entry('02a.6', level=1, minutes=15, hints=[
    'What does a sum hand back to each of its two operands, and what a product? And what if one of them was broadcast?',
    'The gradient itself in a sum, the gradient times the other operand in a product; `unbroadcast` brings it to the shape that the operand had. `_lift` makes a Variable of whatever stands on the right.',
    'Take the two arrays into local names before the lambdas are made, so that a leaf that gets new values later does not change the past. In `_lift`, a number takes the dtype of its partner, and an array of floats keeps its own: `_floats` with the dtype does nearly all of it.'],
    why='All functions of edges close over arrays and shapes, never over what a Variable will hold at the time of backward. A Python number has no precision of its own; were it float64, the first `x + 1` would make everything float64.')
def plus_times():
    return [case('a sum hands its gradient to both', added, also=graded),
            case("a product hands each operand the gradient times the other's values", multiplied, also=graded),
            case('both operands may be the same variable: a sum', doubled, also=graded),
            case('both operands may be the same variable: a product', squared, also=graded),
            case('numbers on the right', numbers, also=graded),
            case('lists and arrays on the right', arrays, also=graded),
            case('a row that was broadcast collects the sum: addition', row_added, also=graded),
            case('a row that was broadcast collects the sum: multiplication', row_multiplied, also=graded),
            case('numbers and whole numbers take the precision of the variable, arrays of floats keep theirs', precisions),
            case('the gradient is that of the product that took place', as_it_took_place, also=(leaves, grads)),
            case('words are refused', words, raises=TypeError)]


def negative(m): return graded(m, lambda a: -a, X)
def subtracted(m): return graded(m, lambda a, b: a - b, X, Y)
def divided(m): return graded(m, lambda a, b: a/b, X, POSITIVE)
def divided_by_negative(m): return graded(m, lambda a, b: a/b, POSITIVE, Y)
def to_a_power(m): return graded(m, lambda a, b: a**b, POSITIVE, Y)
def cube(m): return graded(m, lambda a: a**3, X)
def reciprocal(m): return graded(m, lambda a: a**-1, X)
def power_of_zero(m): return graded(m, lambda a: a**2, np.array([0., 1., -2.]))
def zeroth_power(m): return graded(m, lambda a: a**0, np.array([0., 2., 3.]))
def zero_to_a_power(m): return graded(m, lambda a, b: a**b, np.array([0., 0., 2.]), np.array([2., 1., 3.]))
def rows_subtracted(m): return [graded(m, lambda a, b: a - b, X, ROW), graded(m, lambda a, b: a - b, ROW, X)]
def rows_divided(m): return [graded(m, lambda a, b: a/b, X, ROW), graded(m, lambda a, b: a/b, ROW, POSITIVE)]
def rows_to_powers(m): return [graded(m, lambda a, b: a**b, POSITIVE, ROW), graded(m, lambda a, b: a**b, POSITIVE[0], X)]
def with_numbers(m): return [graded(m, lambda a: a - 2, X), graded(m, lambda a: a/2, X)]

def as_they_took_place(m):
    a, b = leaves(m, [1., 2.], [3., 4.])
    y = (a/b).sum() + (a**b).sum()
    a.data, b.data = [10., 20.], [30., 40.]
    y.backward()
    return grads(a, b)

@entry('02a.7', level=2, minutes=25, hints=[
    'Write down the derivative with respect to each operand: of a - b, of a/b, of a to the power of b. There are six, and one of them has a logarithm.',
    'For the quotient they are 1/b and -a/b². For the power they are b a^(b-1) and a^b log a. Which of these is nan for harmless arguments, such as a = 0?',
    'The exponent b - 1 is of no consequence where b is 0: put a 1 in its place with `np.where`, so that the product is 0 times 1. Likewise a base of 0 is replaced by 1 inside the logarithm. All of them go through `unbroadcast`.'],
    why='`np.where` stands inside the power and inside the logarithm, not around them: once a nan or an infinity has been computed, a multiplication by 0 does not remove it. The same mistake in another place, a masked loss that computes log(0) first, is one of the most common causes of nan in training.')
def minus_divide_power():
    return [case('the negative', negative, also=graded),
            case('a difference', subtracted, also=graded),
            case('a quotient', divided, also=graded),
            case('a quotient with negative numbers below', divided_by_negative, also=graded),
            case('numbers on the right', with_numbers, also=graded),
            case('a cube, of negative numbers too', cube, also=graded),
            case('a power of -1', reciprocal, also=graded),
            case('a power, and the gradient of its exponent', to_a_power, also=graded),
            case('rows are broadcast: differences', rows_subtracted, also=graded),
            case('rows are broadcast: quotients', rows_divided, also=graded),
            case('rows are broadcast: powers', rows_to_powers, also=graded),
            case('a square has slope 0 at 0', power_of_zero, also=graded),
            case('the power of 0 has slope 0 in its base, at 0 too', zeroth_power, also=graded),
            case('powers of 0 have slope 0 in their exponents', zero_to_a_power, also=graded),
            case('the gradient is that of the operation that took place', as_they_took_place, also=(leaves, grads))]


def right_square(m): return m.gradcheck(lambda x: x*x, np.array([1., 2.]))
def two_inputs(m): return m.gradcheck(lambda a, b: (a*b - a/(b*b + 1))**3, rand(3, 2), rand(2, seed=1))
def no_axes(m): return m.gradcheck(lambda x: x.exp(), np.array(0.5))
def variables_as_inputs(m): return m.gradcheck(lambda x: x.tanh(), m.Variable(np.array([1., 2.])))
def strongly_curved(m): return m.gradcheck(lambda x: 100*x*x, np.array([0.3]))
def steep(m): return m.gradcheck(lambda x: (1e4*x)**3, np.array([1.1]))
def one_is_not_used(m): return m.gradcheck(lambda a, b: a*a, np.array([1.]), np.array([2.]))

def inputs_afterwards(m):
    a, b = rand(3, 2), m.Variable(rand(2, seed=1), requires_grad=True)
    m.gradcheck(lambda x, y: x*y, a, b)
    return [a, b.data, b.grad]

def factor_forgotten(m):
    def square(x): return m._record('square', x.data**2, (x, lambda g: g*x.data))
    m.gradcheck(square, np.array([1., 2.]))

def second_input_wrong(m):
    def times(a, b): return m._record('times', a.data*b.data, (a, lambda g: g*b.data), (b, lambda g: g*a.data*[[1, 1], [1, 0]]))
    m.gradcheck(times, rand(2, 2), rand(2, 2, seed=1))

def not_turned_back(m):
    def flip(x): return m._record('flip', x.data[::-1], (x, lambda g: g))
    m.gradcheck(flip, np.array([1., 2., 3.]))

def detached(m): m.gradcheck(lambda x: x*x.detach(), np.array([1., 2.]))

def not_a_number(m):
    def strange(x): return m._record('strange', 2*x.data, (x, lambda g: g*np.nan))
    m.gradcheck(strange, np.array([1., 2.]))

def small_mistake(m):
    def triple(x): return m._record('triple', 3*x.data, (x, lambda g: 3.0001*g))
    m.gradcheck(triple, np.array([1.]))

def generous(m):
    def triple(x): return m._record('triple', 3*x.data, (x, lambda g: 3.0001*g))
    return m.gradcheck(triple, np.array([1.]), atol=1e-2)

def another_step(m): return m.gradcheck(lambda x: x*x, np.array([1.]), eps=1e-3)
def put_back(m): return m.gradcheck(lambda x: (20*x).sum().exp(), np.array([0.1, 0.1, 0.1]))
def coarse(m): m.gradcheck(lambda x: x**3, np.array([1.]), eps=0.1)
def single_precision(m): m.gradcheck(lambda x: x*x, np.ones(2), np.ones(2, dtype=np.float32))

def noisy(m):
    calls = []
    def f(x):
        calls.append(1)
        return x*len(calls)
    m.gradcheck(f, np.array([1.]))

@entry('02a.8', level=3, minutes=35, hints=[
    'A vector result has a whole matrix of slopes. How do you get a single number out of it, whose gradient one backward can give, and in which no wrong entry can hide behind another?',
    'Draw a random vector r, and look at the number that is the sum of r times f. `backward(r)` gives its gradient, and shifting one element of one input by eps, up and down, gives one slope. Work on copies, put each element back, and switch recording off for the shifted calls.',
    'Doors: TypeError unless float64, ValueError ("two results") if two calls with equal inputs differ. A leaf that got no gradient counts as 0. The difference may be atol times the larger of 1 and the slope; write the comparison such that nan fails it. The AssertionError says "input k at i: backward says ...". At the end, True.'],
    why='With a plain sum in place of the random vector, a backward that confuses the elements with one another would pass. The tolerance grows with the slope because rounding does.', seconds=20)
def gradcheck():
    return [case('the right gradient of a square', right_square),
            case('several inputs, several elements, broadcasting', two_inputs),
            case('an input without axes', no_axes),
            case('Variables may be given as inputs', variables_as_inputs),
            case('a forgotten factor is found, with the input, the element and both numbers', factor_forgotten, raises=AssertionError, names=('input 0', '(0,)', 'backward says')),
            case('one wrong element of the second input is found', second_input_wrong, raises=AssertionError, names=('input 1', '(1, 1)')),
            case('a gradient with its elements in the wrong places is found', not_turned_back, raises=AssertionError, names='input 0'),
            case('a gradient that is partly detached is found', detached, raises=AssertionError, names='input 0'),
            case('a small mistake is found', small_mistake, raises=AssertionError, names='input 0'),
            case('a gradient of nan is found', not_a_number, raises=AssertionError, names='input 0'),
            case('a strongly curved function passes: differences are taken on both sides', strongly_curved),
            case('a steep function passes: the tolerance grows with the slope', steep),
            case('each element is put back before the next is shifted', put_back),
            case('an input that is not used has slope 0', one_is_not_used),
            case('the inputs are as they were, and get no gradient', inputs_afterwards),
            case('atol is used', generous),
            case('another eps finds the same slope', another_step),
            case('a coarse eps finds another slope', coarse, raises=AssertionError, names='input 0'),
            case('float32 is refused, with the input', single_precision, raises=TypeError, names=('float64', 'input 1')),
            case('a function that is not always the same is refused', noisy, raises=ValueError, names='two results')]


def exponential(m): return graded(m, lambda a: a.exp(), X)
def logarithm(m): return graded(m, lambda a: a.log(), POSITIVE)
def hyperbolic(m): return graded(m, lambda a: a.tanh(), X)
def logistic(m): return graded(m, lambda a: a.sigmoid(), X)
def rectified(m): return graded(m, lambda a: a.relu(), X)
def corner(m): return graded(m, lambda a: a.relu(), np.array([-1., 0., 2.]))
def far_out(m): return graded(m, lambda a: a.sigmoid(), np.array([-1000., -30., 0., 30., 1000.]))
def tiny_result(m): return 1e13*m.Variable(np.array([-30.])).sigmoid().data
def single_precision_stays(m): return [getattr(m.Variable([0.5]), f)().dtype.name for f in ('exp', 'log', 'tanh', 'sigmoid', 'relu')]

def new_values(m):
    a, b = leaves(m, [1., 2.], [1., -2.])
    y = a.log().sum() + b.relu().sum()
    a.data, b.data = [10., 20.], [-1., 2.]
    y.backward()
    return grads(a, b)

@entry('02a.9', level=2, minutes=20, hints=[
    'Five derivatives. For three of them the result is all you need, for two the argument: which?',
    'exp is its own derivative, tanh has 1 - y², the logistic function y(1 - y); log has 1/a, and relu 1 where a is positive. Each is one `_record` with one edge.',
    'The logistic function overflows in its naive form. Its logarithm is minus log(1 + exp(-x)), and `np.logaddexp(0, -x)` computes that without overflow. Keep array or result in a local name for the lambda.'],
    why='A derivative that can be had from the result needs no second exponential. The logistic function by way of its logarithm is right at both ends: at -30 it is 9.4e-14 with all its digits, where 1 - 1/(1 + exp(x)) would have lost most of them.')
def elementwise():
    return [case('exp', exponential, also=graded), case('log', logarithm, also=graded), case('tanh', hyperbolic, also=graded),
            case('the logistic function', logistic, also=graded), case('relu', rectified, also=graded),
            case('the slope of relu at 0 is 0', corner, also=graded),
            case('the logistic function far out, without overflow, and its gradient', far_out, also=graded),
            case('a tiny result keeps its digits', tiny_result),
            case('float32 stays float32', single_precision_stays),
            case('the gradient is that of the values that were there', new_values, also=(leaves, grads))]


def product(m, a, b):
    x, y = m.Variable(a, requires_grad=True), m.Variable(b, requires_grad=True)
    out = x @ y
    out.backward(rand(*out.shape, seed=7))
    return dict(out=out.data, x_grad=np.asarray(x.grad), y_grad=np.asarray(y.grad))

def matrices(m): return product(m, rand(3, 4), rand(4, 2, seed=1))
def one_row(m): return product(m, np.array([[1., 2.]]), np.array([[3.], [4.]]))
def batch_left(m): return product(m, rand(5, 3, 4), rand(4, 2, seed=1))
def batch_right(m): return product(m, rand(3, 4), rand(5, 4, 2, seed=1))
def batch_both(m): return product(m, rand(5, 3, 4), rand(5, 4, 2, seed=1))
def batches_stretched(m): return product(m, rand(2, 1, 3, 4), rand(5, 4, 2, seed=1))
def two_vectors(m): return product(m, rand(4), rand(4, seed=1))
def vector_right(m): return product(m, rand(3, 4), rand(4, seed=1))
def vector_left(m): return product(m, rand(4), rand(5, 4, 2, seed=1))

def array_right(m):
    x = m.Variable(np.array([[1., 2.]]), requires_grad=True)
    y = x @ np.array([[3.], [4.]])
    y.backward()
    return [y.data, x.grad]

def array_left(m):
    x = m.Variable(np.array([[3.], [4.]]), requires_grad=True)
    y = np.array([[1., 2.]]) @ x
    y.backward()
    return [y.data, x.grad]

def one_precision(m): return (m.Variable([[1., 2.]]) @ [[3], [4]]).dtype.name

def new_values_before_backward(m):
    x, w = m.Variable(rand(3, 4), requires_grad=True), m.Variable(rand(4, 2, seed=1), requires_grad=True)
    y = (x @ w).sum()
    x.data, w.data = np.zeros((3, 4)), np.zeros((4, 2))
    y.backward()
    return [x.grad, w.grad]

def inner_sizes(m): m.Variable(rand(2, 3)) @ m.Variable(rand(2, 3))
def inner_sizes_vector(m): m.Variable(rand(2, 3)) @ m.Variable(rand(2))
def with_a_number(m): m.Variable(rand(2, 3)) @ m.Variable(2.)

@entry('02a.10', level=2, minutes=25, hints=[
    'For two matrices, the two gradients stand in the table of edges near the top of the lesson. What of them changes when there is a batch of matrices?',
    'A transpose exchanges the last two axes only, and leading axes that were broadcast have to be summed over: `unbroadcast` to the shape that the operand had. Keep the arrays in local names, as `__mul__` does.',
    'A vector becomes a matrix by `reshape`, is multiplied by `@` of this very method, and the extra axis is taken off by indexing; both have their own way back. First `_lift` the other operand, then the doors: no axes, and inner sizes that differ ("equal inner sizes").'],
    why='Reducing vectors to matrices with operations that are differentiable already leaves a single formula to get right. The edges hold arrays and not Variables: a leaf may get new values before backward, and the gradient is that of the product that took place.')
def matmul():
    return [case('one row by one column, and both gradients', one_row, also=product),
            case('two matrices', matrices, also=product),
            case('a batch of matrices on each side', batch_both, also=product),
            case('one matrix on the right for a batch on the left collects the sum', batch_left, also=product),
            case('one matrix on the left for a batch on the right collects the sum', batch_right, also=product),
            case('leading axes broadcast against each other', batches_stretched, also=product),
            case('a vector on the right', vector_right, also=product),
            case('a vector on the left', vector_left, also=product),
            case('two vectors give a number', two_vectors, also=product),
            case('an array on the right', array_right),
            case('an array on the left', array_left),
            case('a list of whole numbers takes our precision', one_precision),
            case('the gradient is that of the product that took place', new_values_before_backward),
            case('inner sizes that differ are refused, with both shapes', inner_sizes, raises=ValueError, names=('equal inner sizes', '(2, 3)')),
            case('a vector of the wrong length is refused', inner_sizes_vector, raises=ValueError, names=('equal inner sizes', '(2,)')),
            case('a number is refused, with the remedy', with_a_number, raises=ValueError, names='*')]


BOX = rand(2, 3, 4)

def other_shape_given(m): return [graded(m, lambda a: a.reshape(*shape), BOX) for shape in ((4, 6), (24,), (2, -1), ((3, 8),), ((-1, 2),))]
def reversed_axes(m): return [graded(m, lambda a: a.transpose(), BOX), graded(m, lambda a: a.T, X), graded(m, lambda a: a.T, BOX)]
def other_order(m): return [graded(m, lambda a: a.transpose(*order), BOX) for order in ((1, 2, 0), (2, 0, 1), ((0, 2, 1),), (-1, 0, 1))]
def framed(m): return graded(m, lambda a: a.pad(1, 2), X)
def framed_unevenly(m): return graded(m, lambda a: a.pad((1, 0), 0, (2, 3)), BOX)
def frame_is_zero(m): return m.Variable(np.ones((1, 2), np.float32)).pad(1, 0).data
def a_width_short(m): m.Variable(X).pad(1)

@entry('02a.11', level=2, minutes=20, hints=[
    'None of these computes anything: they move numbers. What brings a gradient back to where its number came from?',
    'For reshape it is a reshape to the old shape, for pad the inner part. For transpose it is a transpose in the inverse order: if axis i went to place k, place k goes back to i.',
    '`np.argsort` of an order is its inverse. The order may come as numbers or as a tuple, may count from the end, and is all axes reversed if there is none. `pad` writes into zeros at slices that begin at the width before; a width for each axis, or a ValueError with both counts.'],
    why='For two axes an order is its own inverse, so a transpose that goes back in the same order looks right in every test with matrices. The first permutation of three axes in a circle shows the mistake.')
def shapes():
    return [case('reshape, by numbers or a tuple, with -1', other_shape_given, also=graded),
            case('transpose reverses the axes, T does the same', reversed_axes, also=graded),
            case('transpose with an order, by numbers or a tuple, from the end too', other_order, also=graded),
            case('pad puts zeros around, and the type stays', frame_is_zero),
            case('a frame of one width for each axis', framed, also=graded),
            case('a frame with different widths before and after', framed_unevenly, also=graded),
            case('a width for each axis is demanded, with both counts', a_width_short, raises=ValueError, names=('2', '1'))]


GRID = rand(4, 5)

def some_rows(m): return graded(m, lambda a: a[1:3], GRID)
def one_entry(m): return [graded(m, lambda a: a[2], GRID), graded(m, lambda a: a[2, -1], GRID), graded(m, lambda a: a[np.int64(1)], GRID)]
def with_steps(m): return graded(m, lambda a: a[::-2, 1::2], GRID)
def dots_and_none(m): return [graded(m, lambda a: a[..., 0], GRID), graded(m, lambda a: a[:, None], GRID)]
def by_mask(m): return graded(m, lambda a: a[a.data > 0], GRID)
def by_numbers(m): return [graded(m, lambda a: a[[3, 0]], GRID), graded(m, lambda a: a[np.array([3, 0]), np.array([1, 1])], GRID)]
def repeated(m): return graded(m, lambda a: a[np.array([1, 1, 0, 1])], GRID)
def mixed_index(m): return graded(m, lambda a: a[1:, np.array([2, 2, 0])], GRID)
def repeated_in_single(m):
    x = m.Variable([1., 2.], requires_grad=True)
    x[[0, 0]].sum().backward()
    return x.grad

def index_used_again(m):
    x, idx = m.Variable(GRID, requires_grad=True), np.array([1, 1])
    y = x[idx]
    idx[:] = 0
    y.sum().backward()
    return x.grad

def index_variable(m): m.Variable(GRID)[m.Variable([1.])]
def written(m): m.Variable(GRID)[0] = 1.

@entry('02a.12', level=2, minutes=20, hints=[
    'What was not selected has a gradient of 0. And what was selected twice?',
    'An array of zeros in the old shape, into which the gradient is written at the same index. With repeated indices writing is wrong and adding is right.',
    '`z[idx] += g` adds once for a repeated index; `np.add.at(z, idx, g)` adds as often as it occurs. It is slow, so slices and whole numbers, which repeat nothing, take the plain assignment. Copy arrays in the index, refuse Variables, and refuse every `__setitem__`, both with a TypeError.'],
    why='This is what an embedding does on the way back: a word that occurs three times in a batch collects three gradients. The index is copied because backward comes later, and the caller may have filled the same array with the next batch by then.')
def getitem():
    return [case('a slice of rows', some_rows, also=graded),
            case('whole numbers', one_entry, also=graded),
            case('steps, backwards too', with_steps, also=graded),
            case('dots and new axes', dots_and_none, also=graded),
            case('a mask', by_mask, also=graded),
            case('lists and arrays of numbers', by_numbers, also=graded),
            case('what was selected several times collects all its gradients', repeated, also=graded),
            case('slices and arrays together', mixed_index, also=graded),
            case('the gradient has the precision of the variable', repeated_in_single),
            case('an index array may be used for something else before backward', index_used_again),
            case('a Variable as index is refused', index_variable, raises=TypeError, names='index'),
            case('writing is refused', written, raises=TypeError)]


def total(m): return [graded(m, lambda a: a.sum(), BOX), graded(m, lambda a: a.sum(keepdims=True), BOX)]
def sums(m): return [graded(m, lambda a: a.sum(axis, keepdims=k), BOX) for axis in (0, 1, -1, (0, 2), (-1, 0)) for k in (False, True)]
def means(m): return [graded(m, lambda a: a.mean(axis, keepdims=k), BOX) for axis in (None, 0, -2, (0, 2)) for k in (False, True)]
def largest(m): return [graded(m, lambda a: a.max(), BOX), graded(m, lambda a: a.max(1), BOX)]
def largest_of_several(m): return [graded(m, lambda a: a.max(axis, keepdims=k), BOX) for axis in (0, -1, (0, 2), (1, 2)) for k in (False, True)]
def equal_ones(m): return graded(m, lambda a: a.max(1), np.array([[2., 5., 5.], [1., 1., 1.]]))
def equal_in_both_axes(m): return graded(m, lambda a: a.max(), np.array([[1., 5.], [5., 5.]]))
def negative_ones(m): return graded(m, lambda a: a.max(0), -POSITIVE)
def nothing_to_add(m): return m.Variable(np.zeros((0, 3))).sum(0).data
def precision_of_means(m): return [getattr(m.Variable([[1., 2.]]), f)(1).dtype.name for f in ('sum', 'mean', 'max')]
def mean_of_nothing(m): m.Variable(np.zeros((0, 3))).mean(0)
def axis_too_large(m): m.Variable(X).sum(2)
def axis_too_small(m): m.Variable(X).mean((0, -3))

@entry('02a.13', level=3, minutes=35, hints=[
    'Every entry of a sum gets the gradient of its sum; of a maximum, only one entry gets it. In which shape does the gradient come, and in which do you need it?',
    'Give the gradient the shape with size 1 where axes were reduced, whatever keepdims says, and broadcast it. A mean is a sum times 1/n, which is differentiable already. For the maximum over several axes, move those axes to the end and flatten them into one.',
    '`np.broadcast_to` for the sum. For the maximum: transpose (others first), reshape to rows, `argmax(-1)`, `take_along_axis`; on the way back `put_along_axis` into zeros, reshape, and transpose by the argsort of the order. `_axes` makes sorted numbers from 0 of None, a number or a tuple, and refuses what is out of range; a mean of nothing is a ValueError.'],
    why='argmax picks the first of equal ones, so exactly one entry gets the gradient and the sum of what goes back is right. Comparing with the maximum instead would hand the gradient to all of them at once. PyTorch shares it among equal ones in `amax` and gives it to one of them in `max`.')
def reductions():
    return [case('the sum of everything', total, also=graded),
            case('sums over an axis, from the end too, or several, kept or not', sums, also=graded),
            case('means', means, also=graded),
            case('the largest of all, and of an axis', largest, also=graded),
            case('the largest over an axis or several, kept or not', largest_of_several, also=graded),
            case('the first of equal ones gets the gradient', equal_ones, also=graded),
            case('the first in reading order, over two axes', equal_in_both_axes, also=graded),
            case('the largest of negative numbers', negative_ones, also=graded),
            case('a sum of nothing is 0', nothing_to_add),
            case('float32 stays float32', precision_of_means),
            case('a mean of nothing is refused', mean_of_nothing, raises=ValueError),
            case('an axis that is not there is refused', axis_too_large, raises=ValueError, names='2'),
            case('counted from the end, too', axis_too_small, raises=ValueError, names='-3')]


def shares(m): return graded(m, lambda a: a.softmax(), X)
def logarithms(m): return graded(m, lambda a: a.log_softmax(), X)
def another_axis(m): return [graded(m, lambda a: a.softmax(0), X), graded(m, lambda a: a.log_softmax(1), BOX)]
def huge(m): return [graded(m, lambda a: getattr(a, f)(), np.array(x)) for f in ('softmax', 'log_softmax') for x in ([1000., 0.], [-1000., -1000.])]
def far_apart(m): return graded(m, lambda a: a.log_softmax(), np.array([[900., 901.], [-900., -902.]]))
def masked(m): return graded(m, lambda a: a.softmax(), np.array([[0., -np.inf, 1.]]))
def one_only(m): return [graded(m, lambda a: getattr(a, f)(), np.array([[3.], [4.]])) for f in ('softmax', 'log_softmax')]
def in_float32(m): return [getattr(m.Variable([1., 2.]), f)().dtype.name for f in ('softmax', 'log_softmax')]

@entry('02a.14', level=2, minutes=20, hints=[
    'Both depend on differences of logits only. And on the way back every logit of a row has an influence on every share.',
    'Subtract the largest of each row first. The gradient of softmax is s(g - sum of g s), that of its logarithm g - softmax times the sum of g, both sums over the axis.',
    'Write `_log_softmax` on arrays once, with `keepdims=True`; softmax is its exp. Then each method is one `_record` with one edge, whose function needs the result only.'],
    why='As one operation each, they keep one array for the way back; put together from exp, sum and a quotient there would be four. The logarithm is computed directly because the log of a share that was rounded to 0 would be -inf.')
def softmaxes():
    return [case('the shares, and the gradient through all of them', shares, also=graded),
            case('their logarithms', logarithms, also=graded),
            case('over another axis', another_axis, also=graded),
            case('huge logits do not overflow, and nothing is log(0)', huge, also=graded),
            case('rows of very different size do not disturb each other', far_apart, also=graded),
            case('a masked logit has a share of 0 and no gradient', masked, also=graded),
            case('a single logit has all of it', one_only, also=graded),
            case('float32 stays float32', in_float32)]


def columns(m, image, kh, kw, stride):
    x = m.Variable(image, requires_grad=True)
    y = x._im2col(kh, kw, stride)
    y.backward(rand(*y.shape, seed=7))
    return dict(columns=y.data, gradient=np.asarray(x.grad))

def how_often(m):
    x = m.Variable(np.zeros((1, 1, 4, 4)), requires_grad=True)
    x._im2col(3, 3, 1).sum().backward()
    return x.grad[0, 0]

def how_often_with_gaps(m):
    x = m.Variable(np.zeros((1, 1, 5, 8)), requires_grad=True)
    x._im2col(2, 2, 3).sum().backward()
    return x.grad[0, 0]

def numbered(m): return m.Variable(np.arange(12.).reshape(1, 1, 3, 4))._im2col(2, 2, 1).data[0]
def numbered_channels(m): return m.Variable(np.arange(8.).reshape(1, 2, 2, 2))._im2col(1, 2, 1).data[0]
def numbered_stride(m): return m.Variable(np.arange(25.).reshape(1, 1, 5, 5))._im2col(2, 2, 2).data[0]
def several_images(m): return columns(m, rand(2, 3, 5, 4), 3, 3, 1)
def oblong(m): return columns(m, rand(2, 3, 6, 5), 3, 2, 1)
def strided(m): return columns(m, rand(2, 3, 8, 7), 3, 2, 2)
def wide_steps(m): return columns(m, rand(2, 2, 8, 7), 2, 2, 3)
def whole_image(m): return columns(m, rand(2, 2, 3, 4), 3, 4, 1)
def in_single(m): return m.Variable(np.zeros((1, 1, 3, 3), dtype=np.float32))._im2col(2, 2, 1).dtype.name

@entry('02a.15', level=3, minutes=35, hints=[
    'Forwards: `sliding_window_view` gives an array (n,c,oh,ow,kh,kw) with a window for every place. Which places does the stride leave, and in which order do the axes have to stand so that one reshape makes columns?',
    'Channels and places in the window belong together on axis 1, places of the window on axis 2. The way back is the opposite reshape, and then each place (i, j) in the window goes to a regular grid of pixels, beginning at (i, j), with steps of the stride.',
    'Backwards: an array of zeros like the image, a loop over `np.ndindex(kh, kw)`, and in it an addition to a slice of h and w that has exactly oh and ow entries: start i, end i + stride*oh. A pixel lies in several windows, so add, do not assign.'],
    why='The loop runs over the few places in a window, not over the many windows: for one place the pixels are all different, so that one addition of slices serves a whole batch, and no np.add.at is needed.')
def im2col():
    return [case('each window is a column, its pixels row by row', numbered),
            case('the channels of a window stand below each other', numbered_channels),
            case('a stride leaves windows out', numbered_stride),
            case('a pixel collects a gradient from each window that it is in', how_often),
            case('pixels between the windows get none', how_often_with_gaps),
            case('columns and gradient for several images', several_images, also=columns),
            case('images and windows that are not square', oblong, also=columns),
            case('a stride that does not reach the border', strided, also=columns),
            case('steps wider than the window', wide_steps, also=columns),
            case('a window as large as the image', whole_image, also=columns),
            case('float32 stays float32', in_single)]


IMAGES, KERNELS, SHIFTS = rand(2, 3, 6, 5), rand(4, 3, 2, 2, seed=1), rand(4, seed=2)

def edge_finder(m): return m.Variable(np.arange(12.).reshape(1, 1, 3, 4)**2).conv2d(np.array([[[[-1., 1.]]]])).data
def convolved(m): return graded(m, lambda x, w: x.conv2d(w), IMAGES, KERNELS)
def with_bias(m): return graded(m, lambda x, w, b: x.conv2d(w, b), IMAGES, KERNELS, SHIFTS)
def with_stride(m): return [graded(m, lambda x, w: x.conv2d(w, stride=k), IMAGES, KERNELS) for k in (2, 3)]
def with_padding(m): return graded(m, lambda x, w, b: x.conv2d(w, b, padding=1), IMAGES, KERNELS, SHIFTS)
def with_both(m): return graded(m, lambda x, w, b: x.conv2d(w, b, 2, 2), IMAGES, KERNELS, SHIFTS)
def single_pixels(m): return graded(m, lambda x, w: x.conv2d(w), IMAGES, rand(2, 3, 1, 1, seed=1))
def plain_arrays(m): return graded(m, lambda x: x.conv2d(KERNELS, SHIFTS), IMAGES)
def just_fits(m): return graded(m, lambda x, w: x.conv2d(w), rand(1, 2, 3, 4), rand(2, 2, 3, 4, seed=1))
def conv_in_float32(m): return m.Variable(IMAGES.astype(np.float32)).conv2d(KERNELS.astype(np.float32)).dtype.name
def other_channels(m): m.Variable(IMAGES).conv2d(rand(4, 2, 3, 3))
def no_batch(m): m.Variable(IMAGES[0]).conv2d(KERNELS)
def too_large(m): m.Variable(IMAGES).conv2d(rand(1, 3, 7, 2))
def no_stride(m): m.Variable(IMAGES).conv2d(KERNELS, stride=0)

@entry('02a.16', level=2, minutes=25, hints=[
    'Which operations of this lesson, all differentiable already, turn a convolution into one matrix product?',
    '`pad`, `_im2col`, then the kernels as a matrix (o, c*kh*kw) times the columns (n, c*kh*kw, oh*ow), and a reshape to images. The bias is added with axes of its own for the places.',
    'Weight and bias may be arrays: `_lift` them. Sizes of the result: (h + 2*padding - kh)//stride + 1. ValueErrors before anything is computed: both must have four axes and the same channels (with both shapes), stride and padding must be sensible, and the kernel must fit.'],
    why='There is no derivative in this function at all: each part brings its own. Im2col copies every pixel kh*kw times, which costs memory, and buys a product that the fastest code on the machine computes.')
def conv2d():
    return [case('a kernel of -1 and 1 takes differences of neighbours; it is not turned round', edge_finder),
            case('several images, channels and kernels, and both gradients', convolved, also=graded),
            case('a bias for each kernel', with_bias, also=graded),
            case('a stride', with_stride, also=graded),
            case('a frame of zeros', with_padding, also=graded),
            case('both, given by position', with_both, also=graded),
            case('kernels of one pixel', single_pixels, also=graded),
            case('kernels as large as the image', just_fits, also=graded),
            case('kernels and bias may be arrays', plain_arrays, also=graded),
            case('float32 stays float32', conv_in_float32),
            case('other channels are refused, with both shapes', other_channels, raises=ValueError, names=('(2, 3, 6, 5)', '(4, 2, 3, 3)')),
            case('an image without a batch is refused', no_batch, raises=ValueError, names='(3, 6, 5)'),
            case('a kernel that does not fit is refused', too_large, raises=ValueError, names='7'),
            case('a stride of 0 is refused', no_stride, raises=ValueError, names='stride')]


def one_image(*rows): return np.array([[rows]], dtype=float)

def pooled(m): return graded(m, lambda x: x.max_pool2d(2), one_image([1, 2, 5, 3], [4, 0, 1, 1], [7, 1, 0, 0], [1, 1, 0, 9]))
def several_pooled(m): return graded(m, lambda x: x.max_pool2d(2), IMAGES)
def all_negative(m): return graded(m, lambda x: x.max_pool2d(3), -np.abs(IMAGES))
def border_left_out(m): return graded(m, lambda x: x.max_pool2d(4), IMAGES)
def overlapping(m): return [graded(m, lambda x: x.max_pool2d(k, t), IMAGES) for k, t in ((3, 1), (3, 2))]
def shared_maximum(m): return graded(m, lambda x: x.max_pool2d(2, 1), one_image([0, 0, 0], [0, 9, 0], [0, 0, 0]))
def with_gaps(m): return graded(m, lambda x: x.max_pool2d(2, 3), IMAGES)
def ties(m): return graded(m, lambda x: x.max_pool2d(2), one_image([3, 3, 0, 2], [3, 1, 2, 2]))
def of_one_pixel(m): return graded(m, lambda x: x.max_pool2d(1), IMAGES)
def pool_in_float32(m): return m.Variable(IMAGES.astype(np.float32)).max_pool2d(2).dtype.name
def window_too_large(m): m.Variable(IMAGES).max_pool2d(6)
def pool_no_batch(m): m.Variable(IMAGES[0]).max_pool2d(2)
def pool_no_stride(m): m.Variable(IMAGES).max_pool2d(2, 0)

@entry('02a.17', level=3, minutes=35, hints=[
    'Instead of looking at each window, look at each place in the window: all upper left pixels at once, all upper right ones at once. How many steps does the maximum take then?',
    'A list of indices, one for each place (i, j): slices that begin at i and j, take the stride, and have exactly oh and ow entries. The maximum runs over them with `np.maximum`. On the way back each place gets the gradient where it is the maximum, unless one before it was.',
    'A mask `free`, all True in the beginning; at each place, the hits are those that equal the maximum and are free, they add g to their slice of zeros, and are free no longer. A pixel may be the maximum of several windows, hence add. The doors: four axes, a window that fits, a stride of at least 1.'],
    why='k² steps over whole arrays instead of a loop over windows, and nothing but views. Equal values are common, since a ReLU before the pooling makes many zeros: without the mask each of them would get the whole gradient.')
def max_pool2d():
    return [case('the largest of each window of 2 by 2 gets its gradient', pooled, also=(graded, one_image)),
            case('several images and channels', several_pooled, also=graded),
            case('images of negative numbers', all_negative, also=graded),
            case('what does not fill a window at the border is left out', border_left_out, also=graded),
            case('a pixel that is the largest of four windows gets four gradients', shared_maximum, also=(graded, one_image)),
            case('windows that overlap', overlapping, also=graded),
            case('windows with gaps between them', with_gaps, also=graded),
            case('of equal ones the first in its window gets the gradient', ties, also=(graded, one_image)),
            case('windows of one pixel change nothing', of_one_pixel, also=graded),
            case('float32 stays float32', pool_in_float32),
            case('a window that does not fit is refused', window_too_large, raises=ValueError, names='6'),
            case('an image without a batch is refused', pool_no_batch, raises=ValueError, names='(3, 6, 5)'),
            case('a stride of 0 is refused', pool_no_stride, raises=ValueError, names='stride')]
