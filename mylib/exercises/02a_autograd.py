"Lesson 02a: autograd."
import gc
import weakref

import numpy as np

from mylib.judge import call, case, entry


def rand(*shape, seed=0, dtype=np.float64): return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


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

@entry('02a.1', level=3, minutes=25, hints=[
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

@entry('02a.2', level=3, minutes=30, hints=[
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

@entry('02a.3', level=2, minutes=20, hints=[
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

@entry('02a.4', level=3, minutes=35, hints=[
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

@entry('02a.5', level=2, minutes=25, hints=[
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

@entry('02a.6', level=3, minutes=35, hints=[
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
