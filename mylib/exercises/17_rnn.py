"Lesson 17: recurrent networks."
from math import log2

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mylib.judge import call, case, entry, randn


def weights(k, d=2, h=3, seed=1):
    "Weights and biases of a cell with k gates: w_ih, w_hh, b_ih, b_hh."
    return [randn(*shape, seed=seed + i) for i, shape in enumerate([(k*h, d), (k*h, h), (k*h,), (k*h,)])]

class Counted(TorchDispatchMode):
    "Counts operations and the elements that are multiplied."
    ops = products = elements = 0
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out, name = func(*args, **(kwargs or {})), str(func)
        self.ops += 1
        self.products += any(k in name for k in ('.mm', '.addmm', '.bmm', '.baddbmm', '.mv', '.matmul', '.linear'))
        if any(k in name for k in ('.mul', '.addcmul')): self.elements += out.numel()
        return out


def rnn_gradients(m):
    g, h, (_, w, _, b) = randn(2, 3).requires_grad_(), randn(2, 3, seed=7).requires_grad_(), [p.requires_grad_() for p in weights(1)]
    new, = m.rnn_cell(g, (h,), w, b)
    return dict(zip(('g', 'h', 'w_hh', 'b_hh'), torch.autograd.grad(new.square().sum(), [g, h, w, b])))

@entry('17.1', level=1, minutes=8, hints=[
    'The input has done its part already, it comes in as `g`. What is missing of the formula above?',
    'The state is a tuple with one element. Unpack it, send it through its linear map, add `g`, and squash the sum.',
    '`F.linear(h, w_hh, b_hh)` multiplies by the transposed matrix, as PyTorch stores it, and takes None for a bias. What you return is a tuple of one again: mind the comma.'],
    why='A state of one part is a tuple all the same, so that the loop over the steps need not know which cell it runs. F.linear takes care of the transposed matrix and of a bias that is None.')
def rnn_cell():
    w, b = weights(1)[1::2]
    one = torch.ones(1, 1)
    return [call('rnn_cell', one, (torch.zeros(1, 1),), one, say='from a state of zeros, the tanh of the input alone; the state is a tuple'),
            call('rnn_cell', torch.zeros(1, 2), (torch.tensor([[1., 0.]]),), torch.tensor([[0., 5.], [2., 0.]]), say='row i of w_hh makes element i of the new state'),
            call('rnn_cell', randn(4, 3), (randn(4, 3, seed=5),), w, b, say='a batch of rows, with the bias'),
            call('rnn_cell', randn(4, 3), (randn(4, 3, seed=5),), w, say='without a bias'),
            call('rnn_cell', torch.tensor([[50., -50.]]), (torch.zeros(1, 2),), torch.eye(2), say='every element stays within -1 and 1'),
            case('the gradient reaches the input, the state and the weights', rnn_gradients, also=weights)]


def memory_kept(m):
    g = torch.tensor([[-50., 50., 3., 50.]]) # i shut, f open, z large, o open
    return m.lstm_cell(g, (torch.zeros(1, 1), torch.full((1, 1), 0.5)), torch.zeros(4, 1))

def memory_replaced(m):
    g = torch.tensor([[50., -50., 1., 50.]]) # i open, f shut, o open
    return m.lstm_cell(g, (torch.zeros(1, 1), torch.full((1, 1), 0.5)), torch.zeros(4, 1))

def memory_hidden(m):
    g = torch.tensor([[50., 50., 1., -50.]]) # all open but o
    return m.lstm_cell(g, (torch.zeros(1, 1), torch.full((1, 1), 0.5)), torch.zeros(4, 1))

def lstm_gradients(m):
    g, h, c = randn(2, 12).requires_grad_(), randn(2, 3, seed=7).requires_grad_(), randn(2, 3, seed=8).requires_grad_()
    w, b = [p.requires_grad_() for p in weights(4)[1::2]]
    new_h, new_c = m.lstm_cell(g, (h, c), w, b)
    return dict(zip(('g', 'h', 'c', 'w_hh', 'b_hh'), torch.autograd.grad(new_h.square().sum() + new_c.sum(), [g, h, c, w, b])))

@entry('17.2', level=2, minutes=15, hints=[
    'All four gates come out of one product of the state, side by side, in the order i, f, z, o. How do you cut a tensor (n,4h) into four?',
    '`chunk(4, 1)` of `g` plus the linear map of h. Three of the pieces get a sigmoid, z gets a tanh; then write down the two equations for c and h.',
    'What is shown is o times the tanh of the **new** memory. Return the pair (h, c), the shown part first.'],
    why='One product of width 4h keeps the machine busier than four of width h. The memory itself goes through no matrix and no tanh on its way from step to step, and that is why its gradient can survive.')
def lstm_cell():
    w, b = weights(4)[1::2]
    state = randn(4, 3, seed=5), randn(4, 3, seed=6)
    return [case('with i shut and f open, the memory stays as it is', memory_kept),
            case('with i open and f shut, the memory becomes tanh(z)', memory_replaced),
            case('with o shut, nothing is shown and the memory is there all the same', memory_hidden),
            call('lstm_cell', randn(4, 12), state, w, b, say='a batch of rows: the new state (h, c)'),
            call('lstm_cell', randn(4, 12), state, w, say='without a bias'),
            call('lstm_cell', torch.tensor([[9., 9., 9., 9.]]), (torch.zeros(1, 1), torch.full((1, 1), 20.)), torch.zeros(4, 1), say='the memory may grow beyond 1, what is shown may not'),
            case('the gradient reaches the input, both states and the weights', lstm_gradients, also=weights)]


def state_kept(m):
    g = torch.tensor([[0., 50., 3.]]) # z open: keep
    return m.gru_cell(g, (torch.full((1, 1), 0.5),), torch.zeros(3, 1))

def state_replaced(m):
    g = torch.tensor([[0., -50., 1.]]) # z shut: replace
    return m.gru_cell(g, (torch.full((1, 1), 0.5),), torch.zeros(3, 1))

def state_reset(m):
    g, w, b = torch.tensor([[-50., -50., 1.]]), torch.tensor([[0.], [0.], [2.]]), torch.tensor([0., 0., 4.]) # r and z shut
    return m.gru_cell(g, (torch.full((1, 1), 0.5),), w, b)

def gru_gradients(m):
    g, h = randn(2, 9).requires_grad_(), randn(2, 3, seed=7).requires_grad_()
    w, b = [p.requires_grad_() for p in weights(3)[1::2]]
    new, = m.gru_cell(g, (h,), w, b)
    return dict(zip(('g', 'h', 'w_hh', 'b_hh'), torch.autograd.grad(new.square().sum(), [g, h, w, b])))

@entry('17.3', level=2, minutes=15, hints=[
    'Begin with the cell above, Cho\'s form. What does r multiply there, and what does it multiply in cuDNN\'s form?',
    'Now one product of the state serves all three: cut `g` and `F.linear(h, w_hh, b_hh)` into three pieces each. For r and z the pieces are added; for n they meet only after r has had its say.',
    'n is the tanh of its input piece plus r times its state piece, the bias of the state included. The new state lies between n and h: z keeps h. A tuple of one is returned.'],
    why='One product in place of two, because the reset gate is not needed before it. The last line is the mixture with one multiplication less; where z is 1 the old state comes through unharmed.')
def gru_cell():
    w, b = weights(3)[1::2]
    state = randn(4, 3, seed=5),
    return [case('with z open the state stays as it is', state_kept),
            case('with z shut the state becomes the new content n', state_replaced),
            case('with r shut, n sees nothing of the state, and nothing of its bias', state_reset),
            call('gru_cell', randn(4, 9), state, w, say='a batch of rows, without a bias'),
            call('gru_cell', randn(4, 9), state, w, b, say='a batch of rows, with the bias'),
            case('the gradient reaches the input, the state and the weights', gru_gradients, also=weights)]


def running_sum(g, state, w_hh, b_hh=None):
    "A cell to test with: adds up what comes in, so the state is the sum so far."
    return state[0] + g,

def one_step(m): return m.run_cell(running_sum, torch.tensor([[[2.]]]), (torch.tensor([[10.]]),), torch.tensor([[1.]]), torch.zeros(1, 1))
def forwards(m): return m.run_cell(running_sum, torch.tensor([[[1.], [2.], [4.]]]), (torch.zeros(1, 1),), torch.tensor([[1.]]), torch.zeros(1, 1))
def backwards(m): return m.run_cell(running_sum, torch.tensor([[[1.], [2.], [4.]]]), (torch.zeros(1, 1),), torch.tensor([[1.]]), torch.zeros(1, 1), reverse=True)

def handed_over(g, state, w_hh, b_hh=None):
    "A cell to test with: shows what it is given."
    return state[0] + g + w_hh.sum() + (0 if b_hh is None else b_hh.sum()), state[1] + 1

def what_the_cell_gets(m):
    x, state = torch.tensor([[[1., 2.], [3., 4.]]]), (torch.zeros(1, 1), torch.zeros(1, 1))
    ws = torch.tensor([[1., 10.]]), torch.tensor([[100.]]), torch.tensor([1000.]), torch.tensor([10000.])
    return dict(with_bias=m.run_cell(handed_over, x, state, *ws), without=m.run_cell(handed_over, x, state, *ws[:2]))

def lstm_both_ways(m):
    x, state = randn(2, 5, 2), (randn(2, 3, seed=5), randn(2, 3, seed=6))
    return [m.run_cell(m.lstm_cell, x, state, *weights(4), reverse=r) for r in (False, True)]

def run_gradients(m):
    x, h, ws = randn(2, 5, 2).requires_grad_(), randn(2, 3, seed=5).requires_grad_(), [p.requires_grad_() for p in weights(3)]
    out, (last,) = m.run_cell(m.gru_cell, x, (h,), *ws)
    return dict(zip(('x', 'h', 'w_ih', 'w_hh', 'b_ih', 'b_hh'), torch.autograd.grad(out.square().sum() + last.sum(), [x, h, *ws])))

def products(m):
    with Counted() as count: m.run_cell(running_sum, randn(2, 50, 2), (torch.zeros(2, 3),), *weights(1))
    return {'more than 5 products for 50 steps': count.products > 5}

@entry('17.4', level=2, minutes=15, hints=[
    'Which part of the work does not depend on the state, and can be done for all steps before the loop begins?',
    'One `F.linear` for all inputs, cut into steps by `unbind(1)`. Then the loop: the cell gives the new state, and its first part is the output of this step.',
    'In reverse, run through the list of steps from its end, and turn the list of outputs round before you stack it along axis 1. The state is that after the last step that was *read*.'],
    why='unbind and not x[:, k]: the gradient of a slice has the size of the whole, so a loop over slices costs the square of the length on the way back. The outputs are turned round so that position k always speaks about input k, whichever way it was read.')
def run_cell():
    return [case('one step: the output is the first part of the new state', one_step, also=running_sum),
            case('forwards: an output for each step, and the last state', forwards, also=running_sum),
            case('in reverse: outputs in the order of the inputs, and the state after the first input', backwards, also=running_sum),
            case('the cell gets the input times w_ih plus b_ih, its whole state, w_hh and b_hh', what_the_cell_gets, also=handed_over),
            case('an LSTM, both ways, from a state that is not zero', lstm_both_ways, also=weights),
            case('the gradient reaches inputs, state and weights', run_gradients, also=weights),
            case('what the input contributes is computed once, for all steps', products, also=running_sum)]


def long_and_small(m):
    a, b = torch.full((1, 3000, 1), 0.5), torch.ones(1, 3000, 1)
    return m._scan_pairs(a, b)[0, ::500, 0]

def unlike_steps(m):
    a, b = torch.rand(2, 37, 3, generator=torch.Generator().manual_seed(0)), randn(2, 37, 3)
    return [m._scan_pairs(a[:, :t], b[:, :t]) for t in (3, 7, 8, 37)]

def zero_factors(m): return m._scan_pairs(torch.tensor([0., 2., 0., 3., 3., 0.]).view(1, -1, 1), torch.arange(1., 7).view(1, -1, 1)).flatten()

def rounds(m):
    with Counted() as count: m._scan_pairs(torch.rand(1, 1024, 1), torch.rand(1, 1024, 1))
    return {'more than 60 operations a round': count.ops > 60*2*log2(1024)}

def work(m):
    with Counted() as count: m._scan_pairs(torch.rand(1, 4096, 1), torch.rand(1, 4096, 1))
    return {'more than 8 multiplications for each step': count.elements > 8*4096}

@entry('17.5', level=3, minutes=35, hints=[
    'Two steps in a row are one step of the same form. How many steps are left if you join them two by two, and who could scan those?',
    'Join step 0 with 1, 2 with 3 and so on: factors multiply, and what is added is that of the second plus its factor times that of the first. The function itself scans the pairs, which gives every result at an odd position. A single step is its own result.',
    'Slices with a step of 2 pick them. An odd length leaves one step at the end without a partner. The results at even positions from 2 on are one ordinary step from the odd result before each; position 0 is b.'],
    why='Each level has half the length of the one above, so the work is t + t/2 + t/4 and so on, which is below 2t, where doubling takes t log t. Nothing is ever divided, so factors of 0 and products that underflow do no harm.')
def scan_pairs():
    def row(*v): return torch.tensor(v).view(1, -1, 1)
    return [call('_scan_pairs', row(2.), row(3.), say='the first step starts from 0, so it gives b whatever a is'),
            call('_scan_pairs', row(2., 10.), row(3., 1.), say='the second result is its b plus its a times the first'),
            call('_scan_pairs', row(1., 1., 1., 1.), row(1., 2., 3., 4.), say='with factors of 1 it adds up'),
            call('_scan_pairs', row(9., 2., 3., 4., 5.), row(1., 1., 1., 1., 1.), say='five steps, an odd number, with different factors'),
            case('lengths odd and even, and each row and element for itself', unlike_steps),
            case('a factor of 0 forgets all that was before', zero_factors),
            case('thousands of steps with factors below 1 stay finite', long_and_small),
            case('the number of operations grows with the logarithm of the length, not with the length', rounds),
            case('the work is proportional to the length', work)]


def scan_of(m, n, t, h, with_start=True):
    "Results and gradients, where the steps are narrow or wide."
    a, b, h0 = (randn(*s, seed=i).sigmoid().requires_grad_() for i, s in enumerate(((n, t, h), (n, t, h), (n, h))))
    out = m.linear_scan(a, b, h0 if with_start else None)
    ins = [a, b] + [h0]*with_start
    return [out, *torch.autograd.grad(out, ins, randn(n, t, h, seed=5))]

def narrow_and_wide(m): return {f'{n} rows, {t} steps, {h} features': scan_of(m, n, t, h) for n, t, h in ((1, 1, 1), (2, 7, 3), (2, 64, 2), (32, 5, 64))}

def wide_alone(m):
    "A step of 2048 elements: what one long row gives, and what the same row gives alone."
    a, b = randn(32, 6, 64).sigmoid(), randn(32, 6, 64, seed=1)
    return (m.linear_scan(a, b)[3:4] - m.linear_scan(a[3:4], b[3:4])).abs().max()

def second_derivative(m):
    a, b = (randn(1, 4, 2, seed=i, dtype=torch.float64).requires_grad_() for i in range(2))
    g, = torch.autograd.grad(m.linear_scan(a, b).square().sum(), a, create_graph=True)
    return torch.autograd.grad(g.square().sum(), [a, b])

def one_of_them_alone(m):
    a, b = randn(2, 5, 3).sigmoid(), randn(2, 5, 3, seed=1)
    return [torch.autograd.grad(m.linear_scan(a.requires_grad_(), b.detach()).square().sum(), a), torch.autograd.grad(m.linear_scan(a.detach(), b.requires_grad_()).square().sum(), b)]

def rounds_there_and_back(m):
    "The number of operations for 512 narrow steps, forward and backward: fewer than one for each step?"
    a, b = (randn(1, 512, 2, seed=i).sigmoid().requires_grad_() for i in range(2))
    with Counted() as c: m.linear_scan(a, b).sum().backward()
    return c.ops < 512

def what_is_kept(m):
    "Elements that are saved for the backward pass, in units of one of the inputs."
    kept, a, b = {}, randn(2, 64, 3).sigmoid().requires_grad_(), randn(2, 64, 3, seed=1).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t): m.linear_scan(a, b)
    return sum(t.numel() for t in kept.values()) <= 3*a.numel()

@entry('17.6', level=3, minutes=50, seconds=60, hints=[
    'The boxed formulas: the whole gradient of each step comes from the one after it, times a factor. Which factor belongs to which step, once everything is turned round?',
    'The backward pass is the scan of the incoming gradients from the end, with the factors one place later (the last step has no successor: 0). What comes out is the gradient of b; times the state *before* each step it is that of a. `_Scan.apply` inside of backward makes it differentiable again.',
    'h0 goes in through the door: a at the first step times h0, added to b there, in a new tensor; autograd then finds its gradient by itself. `_scan_steps` fills `out` step by step with `torch.addcmul(..., out=...)`, and is used on a CPU where one step has `_BUSY` elements or more. Keep a and h for the way back, nothing else.'],
    why='Autograd could go back through all rounds, and would keep every one of them; the scan of the gradients needs two tensors. h0 needs no gradient formula of its own, since the first step is arithmetic that autograd knows. Two ways for narrow and wide steps because on a CPU rounds save calls, not products: once a step keeps the machine busy by itself, they cost more than they save.')
def linear_scan():
    one = torch.tensor([[[0.5], [2.], [3.]]])
    return [call('linear_scan', one, torch.tensor([[[1.], [1.], [1.]]]), say='three steps by hand, from zero'),
            call('linear_scan', one, torch.tensor([[[1.], [1.], [1.]]]), torch.tensor([[10.]]), say='from a state before the first step'),
            call('linear_scan', randn(2, 5, 3).sigmoid(), randn(2, 5, 3, seed=1), say='the gradients of a and b', grad=True),
            call('linear_scan', randn(2, 5, 3).sigmoid(), randn(2, 5, 3, seed=1), randn(2, 3, seed=2), say='the gradient of h0 too', grad=True),
            call('linear_scan', torch.zeros(1, 3, 1), torch.ones(1, 3, 1), say='factors of 0 forget everything, and divide nothing', grad=True),
            case('one to many steps, narrow ones and wide ones', narrow_and_wide, also=scan_of),
            call('_scan_steps', randn(2, 4, 3), randn(2, 4, 3, seed=1), say='the plain loop over the steps'),
            case('in wide steps, too, each row goes its own way', wide_alone, atol=1e-4),
            case('where only one of the two needs a gradient', one_of_them_alone),
            case('it can be differentiated twice', second_derivative),
            case('for the way back little is kept', what_is_kept),
            case('narrow steps go in rounds, there and back', rounds_there_and_back, also=Counted),
            call('linear_scan', torch.zeros(2, 3, 4), torch.zeros(2, 3, 5), raises=ValueError, names=('(2, 3, 4)', '(2, 3, 5)'), say='factors and additions of different shape are refused, with both'),
            call('linear_scan', torch.zeros(2, 0, 4), torch.zeros(2, 0, 4), raises=ValueError, names='(2, 0, 4)', say='no steps are refused'),
            call('linear_scan', torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), torch.zeros(4), raises=ValueError, names='h0', say='a state of another shape is refused')]


def qrnn(m, *args, **kwargs):
    "A QRNN with weights that do not depend on how it draws them."
    net = m.QRNN(*args, **kwargs)
    with torch.no_grad():
        for i, p in enumerate(net.layers.parameters()): p.copy_(randn(*p.shape, seed=i))
    return net

def qrnn_shapes(m):
    return {k: [(name, tuple(p.shape)) for name, p in m.QRNN(5, 7, num_layers=2, kernel_size=k).named_parameters()] for k in (1, 2)}

def qrnn_settings(m):
    net = m.QRNN(5, 7)
    return [net.input_size, net.hidden_size, net.num_layers, net.kernel_size]

def by_hand(m):
    net = m.QRNN(1, 1, kernel_size=1)
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor([[1.], [0.], [0.]])) # rows: z, f, o
        net.layers[0].bias.copy_(torch.tensor([0., -50., 50.])) # f shut, o open
    return net(torch.tensor([[[0.], [1.], [-2.]]]))[0].flatten()

def remembers(m):
    net = m.QRNN(1, 1, kernel_size=1)
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor([[1.], [-1.], [0.]]))
        net.layers[0].bias.zero_()
    return net(torch.tensor([[[3.], [-9.], [-9.]]]))[0].flatten()

def window(m): return qrnn(m, 2, 3, kernel_size=3)(randn(2, 5, 2))[0]

def states(m):
    _, state = qrnn(m, 2, 3, num_layers=2, kernel_size=3)(randn(2, 5, 2))
    return [(c, past) for c, past in state]

def short_state(m):
    _, state = qrnn(m, 2, 3, kernel_size=4)(randn(1, 1, 2))
    return state[0][1]

def in_pieces(m):
    net, x, state, outs = qrnn(m, 2, 3, num_layers=2, kernel_size=3), randn(2, 6, 2), None, []
    for piece in x.split([1, 1, 3, 1], 1):
        out, state = net(piece, state)
        outs.append(out)
    return dict(outputs=torch.cat(outs, 1), states=[tuple(s) for s in state])

def qrnn_gradients(m):
    net, x = qrnn(m, 2, 3, num_layers=2), randn(2, 5, 2).requires_grad_()
    out, state = net(x)
    loss = out.square().sum() + state[0][0].sum()
    names = ['x', *(n for n, _ in net.named_parameters())]
    return dict(zip(names, torch.autograd.grad(loss, [x, *net.parameters()])))

def through_the_state(m):
    net, x = qrnn(m, 2, 3), randn(2, 4, 2).requires_grad_()
    _, state = net(x)
    out, _ = net(randn(2, 2, 2, seed=9), state)
    return torch.autograd.grad(out.sum(), x)[0]

def wrong_features(m): m.QRNN(5, 7)(torch.zeros(3, 4, 6))
def two_axes(m): m.QRNN(5, 7)(torch.zeros(4, 5))
def no_steps(m): m.QRNN(5, 7)(torch.zeros(3, 0, 5))
def other_rows(m):
    net = m.QRNN(5, 7)
    net(torch.zeros(2, 4, 5), net(torch.zeros(3, 4, 5))[1])
def other_layers(m): m.QRNN(5, 7, num_layers=2)(torch.zeros(2, 4, 5), m.QRNN(5, 7)(torch.zeros(2, 4, 5))[1])
def bad_size(m): m.QRNN(5, 7, kernel_size=0)
def half_layer(m): m.QRNN(5, 7, num_layers=1.5)

@entry('17.7', level=3, minutes=40, hints=[
    'What do the gates at one step look at? Write down, for kernel_size=2, the row of numbers that the linear layer of the first step gets, and that of the second.',
    'Put the last k - 1 inputs of the batch before (zeros at the beginning) in front of x. Then k shifted pieces of length t, oldest first, side by side along the features, go through one linear layer that gives z, f, o in this order. `linear_scan` does the rest.',
    'The scan\'s factors are sigmoid(f), what is added is (1 - sigmoid(f)) tanh(z), its start is the c of the state. The outputs times sigmoid(o) are the inputs of the next layer. A layer\'s new state: the last c, and the last k - 1 of the inputs with the past in front. `self.layers` is a ModuleList of nn.Linear; refuse wrong shapes of x and state with a ValueError.'],
    why='sigmoid(-f) is 1 - sigmoid(f) without the cancellation where f is large. The last inputs are taken from the longer tensor, past in front, so that they are right even when a batch has fewer steps than the window.')
def qrnn_entry():
    return [case('the settings are kept under their names', qrnn_settings),
            case('a linear layer for each layer, from k windows side by side to three gates', qrnn_shapes),
            case('with f shut and o open, the output is the tanh of z', by_hand),
            case('the memory is a mixture: the share f of the old, the rest of the new', remembers),
            case('the gates look at the inputs before, oldest first, zeros before the beginning', window, also=qrnn),
            case('the state: the last c and the last k - 1 inputs of each layer', states, also=qrnn),
            case('fewer steps than the window: the inputs kept reach further back', short_state, also=qrnn),
            case('in pieces, with the state handed over, it says the same as in one', in_pieces, also=qrnn),
            case('the gradient reaches inputs and weights', qrnn_gradients, also=qrnn),
            case('the gradient goes through a state that is handed over', through_the_state, also=qrnn),
            case('inputs with another number of features are refused', wrong_features, raises=ValueError, names=('(3, 4, 6)', '5')),
            case('an x without a batch axis is refused', two_axes, raises=ValueError, names='(4, 5)'),
            case('an x of no steps is refused', no_steps, raises=ValueError, names='(3, 0, 5)'),
            case('a state of another number of rows is refused', other_rows, raises=ValueError, names=('state', '(2, 7)')),
            case('a state of another number of layers is refused', other_layers, raises=ValueError, names='state'),
            case('a window of nothing is refused when the layer is made', bad_size, raises=ValueError, names='kernel_size'),
            case('half a layer is refused', half_layer, raises=TypeError, names='num_layers')]
