"Lesson 02: backpropagation."
import copy

import torch

from mylib.judge import case, entry, randn


def first_gradient(m):
    p = torch.zeros(3)
    m.accumulate(p, torch.tensor([1., 2., 3.]))
    return p.grad

def two_gradients(m):
    p = torch.zeros(3)
    m.accumulate(p, torch.ones(3))
    m.accumulate(p, torch.tensor([1., 2., 3.]))
    return p.grad

def twice_the_same(m):
    p, q, grad = torch.zeros(2), torch.zeros(2), torch.ones(2)
    m.accumulate(p, grad)
    m.accumulate(q, grad)
    m.accumulate(p, grad)
    return dict(p=p.grad, q=q.grad, grad=grad)

def value_of_p(m):
    p = torch.tensor([5., 6.])
    m.accumulate(p, torch.ones(2))
    m.accumulate(p, torch.ones(2))
    return p

def forgotten_sum(m): m.accumulate(torch.zeros(3), torch.ones(5, 3))
def one_number(m): m.accumulate(torch.zeros(3), torch.ones(1))

@entry('02.1', level=1, minutes=5, hints=[
    'What is in `p.grad` before anybody has written to it, and what has to be there after the second call?',
    'Two cases: nothing there yet, then it becomes `grad`; something there, then it becomes the sum. Should the sum be a new tensor, or may it be written into the old one?',
    'An assignment to `p.grad` with a conditional expression on `is None` does both cases. `+=` would write into a tensor that may belong to somebody else.'],
    why='The first gradient is stored as it came, without a copy, so adding in place would change a tensor that the caller, or another parameter, may still hold. PyTorch itself checks the shape when .grad is assigned: that is our guard against a forgotten sum over the batch.')
def accumulate():
    return [case('.grad starts as None and becomes the first gradient', first_gradient),
            case('a second gradient is added to the first', two_gradients),
            case('a gradient that was handed in is not written to, somebody else may hold it', twice_the_same),
            case('the parameter itself keeps its value', value_of_p),
            case('a gradient with the batch axis still on it is refused', forgotten_sum, raises=RuntimeError),
            case('a gradient of another shape is refused, also where it would broadcast', one_number, raises=RuntimeError)]


def calls_forward(m):
    class Weighted(m.Module):
        def forward(self, a, b): return a + 10*b
    return Weighted()(torch.tensor([1., 2.]), torch.tensor([3., 4.]))

def calls_bwd(m):
    class Weighted(m.Module):
        def forward(self, a, b): return a*b
        def bwd(self, grad, out, a, b): return dict(grad=grad, out=out, a=a, b=b)
    layer = Weighted()
    layer(torch.tensor([1., 2.]), torch.tensor([3., 4.]))
    return layer.backward(torch.tensor([5., 6.]))

def registers(m):
    class Pair(m.Module):
        def __init__(self): self.u, self.v = torch.ones(3), torch.zeros(2)
    pair = Pair()
    return [pair.named_parameters(), pair.parameters(), pair.v]

def private_names(m):
    class Memo(m.Module):
        def __init__(self): self._mask, self.size, self.names, self.u = torch.ones(9), 3, ['a'], torch.zeros(2)
    memo = Memo()
    return [[k for k, _ in memo.named_parameters()], memo._mask, memo.size, memo.names]

def part(m, **attrs):
    class Part(m.Module): pass
    new = Part()
    for name, value in attrs.items(): setattr(new, name, value)
    return new

def names(layer): return [k for k, _ in layer.named_parameters()]

def two_instances(m): return [names(part(m, a=torch.ones(1))), names(part(m, b=torch.ones(1)))]

def assigned_again(m):
    layer = part(m, a=torch.ones(1), b=torch.ones(2))
    layer.a = torch.ones(3)
    return [(k, tuple(p.shape)) for k, p in layer.named_parameters()]

def removed(m):
    layer = part(m, a=torch.ones(1), b=torch.ones(2), c=part(m, d=torch.ones(3)))
    layer.a, layer.c = None, 'nothing'
    return [names(layer), layer.a, layer.c]

def changed_kind(m):
    layer = part(m, a=torch.ones(1), b=part(m, d=torch.ones(3)))
    layer.a, layer.b = part(m, e=torch.ones(1)), torch.ones(2)
    return names(layer)

def nested(m):
    inner = part(m, weight=torch.ones(1), deep=part(m, weight=torch.ones(2)))
    return names(part(m, first=inner, own=torch.ones(3)))

def shared(m):
    p = torch.ones(2)
    layer = part(m, a=p, b=torch.ones(2), c=p, inner=part(m, d=p))
    return [names(layer), len(layer.parameters())]

def zeroed(m):
    layer = part(m, a=torch.ones(1), inner=part(m, b=torch.ones(1)))
    for p in layer.parameters(): p.grad = torch.full_like(p, float('nan'))
    layer.zero_grad()
    return [p.grad for p in layer.parameters()]

def double(m):
    class Double(m.Module):
        def forward(self, x): return 2*x
        def bwd(self, grad, out, x): return 2*grad
    return Double()

def starts_with_one(m):
    res = []
    for shape in ((), (1,), (1, 1)):
        layer = double(m)
        layer(torch.ones(shape))
        res.append(layer.backward())
    return res

def no_start(m):
    layer = double(m)
    layer(torch.ones(2, 3))
    layer.backward()

def wrong_grad(m):
    layer = double(m)
    layer(torch.ones(2, 3))
    layer.backward(torch.ones(3))

def not_called(m): double(m).backward(torch.ones(2))

def back_twice(m):
    layer = double(m)
    layer(torch.ones(2))
    layer(torch.ones(2))
    layer.backward(torch.ones(2))
    layer.backward(torch.ones(2))

def back_each_time(m):
    layer, res = double(m), []
    for n in (1, 2):
        layer(torch.ones(n))
        res.append(layer.backward(torch.ones(n)))
    return res

def copied(m):
    layer = part(m, a=torch.ones(2), inner=part(m, b=torch.ones(1)))
    twin = copy.deepcopy(layer)
    twin.a += 1
    twin.c = torch.ones(3)
    return dict(layer=layer.named_parameters(), twin=twin.named_parameters())

def shown(m): return repr(part(m, a=torch.ones(2, 3), inner=part(m, b=torch.ones(1))))

def no_forward(m):
    class Bare(m.Module): pass
    Bare()(torch.ones(1))

def no_bwd(m):
    class OneWay(m.Module):
        def forward(self, x): return x
    layer = OneWay()
    layer(torch.ones(1))
    layer.backward(torch.ones(1))

@entry('02.2', level=3, minutes=35, hints=[
    'Three things must exist before a subclass writes its first attribute: a dict of tensors, a dict of modules, and the place for what the last call saved. Which method runs before any `__init__`, also before one that does not call its parent?',
    '`__setattr__` sees every assignment to a public name. A tensor goes into one dict and a module into the other; whatever it is not must leave that dict, so that None removes. `super().__setattr__` does the assignment itself. `named_parameters` walks: own tensors first, then each module with its name and a dot in front.',
    '`__call__` saves arguments and output, `backward` raises a RuntimeError ("Call the layer first", and "use two layers that share their tensors") if nothing is saved, puts a one in for a missing gradient of a single number, refuses another shape, forgets what was saved, and returns `bwd(grad, out, *args)`. For shared tensors remember the `id`, since `==` compares numbers.'],
    why='`__new__` cannot be forgotten, `super().__init__()` can. What was saved is used up by one backward pass, because a layer that was called twice knows its last call only: an error is better than the gradient of half the calls.')
def module():
    return [case('calling the module runs forward with all arguments', calls_forward),
            case('backward hands the gradient, the output and the arguments to bwd', calls_bwd),
            case('tensors are registered in the order of assignment, without a call of super().__init__', registers),
            case('each module has its own list', two_instances, also=(part, names)),
            case('private names and values that are no tensors are kept but not registered', private_names),
            case('a name that is assigned again keeps its place', assigned_again, also=part),
            case('another value, such as None, takes the tensor or module off the list', removed, also=(part, names)),
            case('own tensors come first, then those inside, with the path as their name', nested, also=(part, names)),
            case('a name may change from tensor to module and back', changed_kind, also=(part, names)),
            case('a tensor with several names is listed once, equal tensors each', shared, also=(part, names)),
            case('zero_grad makes every .grad None, in the modules inside too', zeroed, also=part),
            case('the way back starts with 1 where the output is one number, whatever its shape', starts_with_one, also=double),
            case('without a gradient there is no way back from several numbers', no_start, raises=ValueError, names='(2, 3)', also=double),
            case('a gradient of another shape is refused, with both shapes', wrong_grad, raises=ValueError, names=('(3,)', '(2, 3)'), also=double),
            case('backward before any call is refused', not_called, raises=RuntimeError, names='Call the layer first', also=double),
            case('a second backward is refused, with the remedy', back_twice, raises=RuntimeError, names='two layers that share', also=double),
            case('call and backward may take turns', back_each_time, also=double),
            case('a deep copy has a list of its own', copied, also=part),
            case('the printed form lists tensors and modules', shown, also=part),
            case('a subclass without forward is told so by name', no_forward, raises=NotImplementedError, names=('Bare', 'forward')),
            case('a subclass without bwd is told so by name', no_bwd, raises=NotImplementedError, names=('OneWay', 'bwd'))]


def linear(m, bias=True, dtype=torch.float32):
    layer = m.Linear(3, 2, bias=bias)
    layer.weight = randn(2, 3, seed=1, dtype=dtype)
    if bias: layer.bias = randn(2, seed=2, dtype=dtype)
    return layer

def there_and_back(layer, x, grad):
    return dict(out=layer(x), x_grad=layer.backward(grad)) | {f'{k}.grad': p.grad for k, p in layer.named_parameters()}

def made(m):
    layer = m.Linear(3, 2)
    return [(k, tuple(p.shape)) for k, p in layer.named_parameters()] + [layer.bias]

def made_without_bias(m):
    layer = m.Linear(3, 2, bias=False)
    return [[k for k, _ in layer.named_parameters()], layer.bias]

def spread(m): return m.Linear(400, 300).weight.std().item()
def one_row(m): return linear(m)(torch.tensor([[1., 0., 0.]]))
def batch(m): return there_and_back(linear(m), randn(4, 3), randn(4, 2, seed=3))
def sequences(m): return there_and_back(linear(m), randn(2, 4, 3), randn(2, 4, 2, seed=3))
def no_batch_axis(m): return there_and_back(linear(m), randn(3), randn(2, seed=3))
def without_bias(m): return there_and_back(linear(m, bias=False), randn(4, 3), randn(4, 2, seed=3))
def doubles(m): return there_and_back(linear(m, dtype=torch.float64), randn(4, 3, dtype=torch.float64), randn(4, 2, seed=3, dtype=torch.float64))
def turned_views(m): return there_and_back(linear(m), randn(4, 2, 3).transpose(0, 1), randn(4, 2, 2, seed=3).transpose(0, 1))

def two_batches(m):
    layer = linear(m)
    there_and_back(layer, randn(4, 3), randn(4, 2, seed=3))
    return there_and_back(layer, randn(1, 3, seed=4), randn(1, 2, seed=5))

def image(m): linear(m)(torch.zeros(2, 3, 4))
def too_wide(m): linear(m)(torch.zeros(2, 6))
def bytes_(m): linear(m)(torch.zeros(2, 3, dtype=torch.uint8))

@entry('02.3', level=2, minutes=20, hints=[
    'PyTorch keeps the weight as (n_out,n_in). Write the shape beside each factor of the forward product; the shape trick then gives you the three products of the way back.',
    'The weight collects a product in which the samples are summed over, the bias the sum over the samples, and the gradient of x is what `bwd` returns. Parameters collect with `accumulate`. If x has more than two axes, all but the last are samples: flatten them first.',
    'Start: normal numbers times the square root of 2/n_in, a bias of zeros or None. In `forward` compare the last axis (ValueError) and the dtype (TypeError) before the product. In `bwd`, `reshape(-1, last axis)` on both grad and x, and ask whether there is a bias.'],
    why='All axes but the last are samples, so one flattened product does what a sum over each of them would. reshape rather than view, because the gradient that comes from above may be a transposed view.')
def linear_():
    both = (linear, there_and_back)
    return [case('weight (n_out,n_in) and a bias of zeros', made),
            case('without a bias there is one parameter, and bias is None', made_without_bias),
            case('the weights start with a standard deviation of the square root of 2/n_in', spread, rtol=0.03),
            case('one row: a column of the weight, plus the bias', one_row, also=linear),
            case('output and all gradients of a batch', batch, also=both),
            case('output and gradients without a bias', without_bias, also=both),
            case('the gradients of a second batch add up with those of the first', two_batches, also=both),
            case('more axes in front count as samples', sequences, also=both),
            case('a single sample without a batch axis', no_batch_axis, also=both),
            case('float64 stays float64', doubles, also=both),
            case('inputs and gradients may be transposed views', turned_views, also=both),
            case('images that are not flattened are refused, with both sizes', image, raises=ValueError, names=('(2, 3, 4)', '3'), also=linear),
            case('too many features are refused', too_wide, raises=ValueError, names='(2, 6)', also=linear),
            case('bytes are refused, with both types', bytes_, raises=TypeError, names=('uint8', 'float32'), also=linear)]


def relu_forward(m): return m.ReLU()(torch.tensor([[-1., 0., 2.]]))

def relu_back(m):
    layer = m.ReLU()
    layer(torch.tensor([[-1., 3., 2.]]))
    return layer.backward(torch.tensor([[10., 20., -30.]]))

def relu_at_zero(m):
    layer = m.ReLU()
    layer(torch.tensor([0., 1.]))
    return layer.backward(torch.tensor([5., 5.]))

def relu_input(m):
    x, grad, layer = randn(2, 3, 4, dtype=torch.float64), randn(2, 3, 4, seed=1, dtype=torch.float64), m.ReLU()
    return dict(out=layer(x), x_grad=layer.backward(grad), x_afterwards=x, grad_afterwards=grad)

def mse_one(m): return m.MSE()(torch.tensor([3.]), torch.tensor([1.]))
def mse_table(m): return m.MSE()(randn(4, 3), randn(4, 3, seed=1))

def mse_back(m):
    loss = m.MSE()
    loss(torch.tensor([[3.], [1.]]), torch.tensor([[1.], [2.]]))
    return loss.backward()

def mse_back_table(m):
    loss = m.MSE()
    loss(randn(4, 3), randn(4, 3, seed=1))
    return loss.backward()

def mse_weighted(m):
    loss = m.MSE()
    loss(randn(4, 3), randn(4, 3, seed=1))
    return loss.backward(torch.tensor(10.))

def column_against_row(m): m.MSE()(torch.zeros(4, 1), torch.zeros(4))
def row_against_table(m): m.MSE()(torch.zeros(4, 3), torch.zeros(1, 3))

@entry('02.4', level=1, minutes=15, hints=[
    'Both backward passes stand in the table of the lesson, one in its second row, one in its last. Which of them needs the gradient that comes from above?',
    'Both need it: the chain rule multiplies with what comes from above, also when that is usually 1. The mean divides by the number of all entries, and broadcasting of preds against targets has to be refused first.',
    'ReLU: `clamp_min` forwards, and on the way back the gradient times a mask that is false at 0. MSE: compare the shapes (ValueError), mean of the squares; backwards twice the difference over `numel`, times grad.'],
    why='grad is 1 when the loss is the end of the way. As soon as the loss is scaled or added to another one it is not, and a backward pass that leaves it out would be wrong without a sign of it.')
def relu_mse():
    return [case('ReLU: negative entries become 0', relu_forward),
            case('ReLU: the gradient passes where the input was positive', relu_back),
            case('ReLU: the slope at 0 is 0', relu_at_zero),
            case('ReLU: any shape and dtype, and neither input nor gradient is changed', relu_input),
            case('MSE: one number, the square of the difference, as a tensor without axes', mse_one),
            case('MSE: the mean over all entries', mse_table),
            case('MSE: the gradient of two predictions', mse_back),
            case('MSE: the gradient divides by the number of all entries', mse_back_table),
            case('MSE: the gradient is multiplied by the one that comes from above', mse_weighted),
            case('MSE: a column against a row is refused, with both shapes', column_against_row, raises=ValueError, names=('(4, 1)', '(4,)')),
            case('MSE: nothing is broadcast', row_against_table, raises=ValueError, names='(1, 3)')]


def scaled(m, by):
    class Scaled(m.Module):
        def forward(self, x): return by*x
        def bwd(self, grad, out, x): return by*grad
    return Scaled()

def shifted(m, by):
    class Shifted(m.Module):
        def forward(self, x): return x + by
        def bwd(self, grad, out, x): return grad
    return Shifted()

def small_net(m):
    net = m.Sequential(m.Linear(3, 4), m.ReLU(), m.Linear(4, 2))
    for i, p in enumerate(net.parameters()): p.copy_(randn(*p.shape, seed=i))
    return net

def in_order(m): return m.Sequential(scaled(m, 2), shifted(m, 1))(torch.tensor([3.]))
def in_order_12(m): return m.Sequential(*[shifted(m, 1) if i != 10 else scaled(m, 100) for i in range(12)])(torch.tensor([0.]))
def registered(m): return [k for k, _ in m.Sequential(m.Linear(3, 4), m.ReLU(), m.Sequential(m.Linear(4, 2, bias=False))).named_parameters()]

def length_and_items(m):
    layers = m.Linear(3, 4), m.ReLU(), m.Linear(4, 2)
    net = m.Sequential(*layers)
    return [len(net), net[0] is layers[0], net[1] is layers[1], net[-1] is layers[2]]

def back(m):
    net = small_net(m)
    return dict(out=net(randn(5, 3, seed=9)), x_grad=net.backward(randn(5, 2, seed=8))) | {k: p.grad for k, p in net.named_parameters()}

def inside_another(m):
    net = m.Sequential(scaled(m, 2), m.Sequential(scaled(m, 3), shifted(m, 1)), scaled(m, 5))
    return [net(torch.tensor([1., 2.])), net.backward(torch.tensor([1., 10.]))]

def no_layers(m):
    net = m.Sequential()
    return [len(net), net(torch.tensor([1., 2.])), net.backward(torch.tensor([3., 4.]))]

def same_layer_twice(m):
    layer = m.Linear(2, 2)
    net = m.Sequential(layer, m.ReLU(), layer)
    net(torch.ones(1, 2))
    net.backward(torch.ones(1, 2))

@entry('02.5', level=1, minutes=15, hints=[
    'Module sees assignments to names. What names do the layers get, so that the parameters are called 0.weight, 2.weight as in PyTorch?',
    '`setattr` takes a name as text. What was registered is in `self._modules`, in order. Forwards, each output is the next input; backwards, each gradient is the next one, from the last layer to the first.',
    'Forwards call the layer itself (not its `forward`), or it saves nothing; backwards call its `backward` (not its `bwd`), in `reversed` order, and return the last gradient. Length and items come from the values of `self._modules`.'],
    why='A container is a Module like any other, so containers nest without another line of code: its backward is called by the container around it. A plain list of layers would not be seen by __setattr__, and nothing in it would be trained.')
def sequential():
    return [case('each layer gets the output of the one before', in_order, also=(scaled, shifted)),
            case('the layers are registered as 0, 1, ..., those without parameters counted too', registered),
            case('len counts the layers, and an index, also from the end, gives the layer itself', length_and_items),
            case('output, gradient of the input and gradients of all parameters', back, also=small_net),
            case('a Sequential may be a layer of another', inside_another, also=(scaled, shifted)),
            case('the order is that of the numbers, not of the alphabet', in_order_12, also=(scaled, shifted)),
            case('without layers, input and gradient pass unchanged', no_layers),
            case('the same layer twice is refused on the way back', same_layer_twice, raises=RuntimeError, names='two layers that share')]
