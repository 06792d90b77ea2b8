"Wrong answers to the exercises of lesson 17; see 03_losses.py for the form."

WRONG = {
    '17.1': [
        ('F.linear(h, w_hh, b_hh)),', 'F.linear(h, w_hh, b_hh))', 'Tensor where tuple is expected'),
        ('F.linear(h, w_hh, b_hh)', 'h @ w_hh + (0 if b_hh is None else b_hh)', 'row i of w_hh makes element i'),
        ('F.linear(h, w_hh, b_hh)', 'F.linear(h, w_hh)', 'with the bias'),
        ('F.linear(h, w_hh, b_hh)', 'h @ w_hh.T + b_hh', 'NoneType'),
        ('torch.tanh(g + F.linear(h, w_hh, b_hh))', 'torch.sigmoid(g + F.linear(h, w_hh, b_hh))', 'the tanh of the input alone'),
        ('torch.tanh(g + F.linear(h, w_hh, b_hh))', 'torch.tanh(g) + F.linear(h, w_hh, b_hh)', 'row i of w_hh'),
        ('F.linear(h, w_hh', 'F.linear(h.detach(), w_hh', 'the gradient reaches'),
    ],
    '17.2': [
        ('i, f, z, o =', 'f, i, z, o =', 'with i shut and f open'),
        ('i, f, z, o =', 'i, f, o, z =', 'the memory stays as it is'),
        ('z.tanh()', 'z', 'the memory becomes tanh(z)'),
        ('z.tanh()', 'z.sigmoid()', 'the memory becomes tanh(z)'),
        ('o.sigmoid()*c.tanh()', 'o.sigmoid()*c', 'the memory stays as it is'),
        ('return o.sigmoid()*c.tanh(), c', 'return c, o.sigmoid()*c.tanh()', 'the memory stays as it is'),
        ('c = f.sigmoid()*c + i.sigmoid()*z.tanh()\n    return o.sigmoid()*c.tanh(), c', 'new = f.sigmoid()*c + i.sigmoid()*z.tanh()\n    return o.sigmoid()*c.tanh(), new', 'with i open and f shut'),
        ('c = f.sigmoid()*c', 'c = f.sigmoid()*c.detach()', 'the gradient reaches'),
        ('F.linear(h, w_hh, b_hh)', 'F.linear(h, w_hh)', 'a batch of rows: the new state (h, c)'),
        ('f.sigmoid()*c + i.sigmoid()*z.tanh()', '(f.sigmoid()*c + i.sigmoid()*z.tanh()).clamp(-2, 2)', 'the memory may grow beyond 1'),
    ],
    '17.3': [
        ('return n + z*(h - n),', 'return z*n + (1 - z)*h,', 'with z open the state stays'),
        ('(r, z, n), (hr, hz, hn)', '(z, r, n), (hz, hr, hn)', 'with z open the state stays'),
        ('n = (n + r*hn).tanh()', 'n = (n + hn).tanh()', 'n sees nothing of the state'),
        (None, '''def gru_cell(g, state, w_hh, b_hh=None):
    h, = state
    r, z, n = g.chunk(3, 1)
    (w_r, w_z, w_n), (b_r, b_z, b_n) = w_hh.chunk(3), b_hh.chunk(3) if b_hh is not None else [None]*3
    r, z = (r + F.linear(h, w_r, b_r)).sigmoid(), (z + F.linear(h, w_z, b_z)).sigmoid()
    n = (n + F.linear(r*h, w_n, b_n)).tanh()
    return z*h + (1 - z)*n,
''', 'and nothing of its bias'),
        ('n = (n + r*hn).tanh()', 'n = r*(n + hn).tanh()', '0.5 times what it should be'),
        ('return n + z*(h - n),', 'return n + z*(h - n)', 'Tensor where tuple is expected'),
        ('F.linear(h, w_hh, b_hh)', 'F.linear(h, w_hh)', 'with the bias'),
    ],
    '17.4': [
        ('outs[::-1] if reverse else outs', 'outs', 'outputs in the order of the inputs'),
        ('gs[::-1] if reverse else gs', 'gs', 'in reverse: outputs'),
        ('return torch.stack(outs[::-1] if reverse else outs, 1), state', 'return torch.stack(outs[::-1] if reverse else outs), state', 'forwards: an output for each step'),
        ('outs.append(state[0])', 'outs.append(state)', 'one step'),
        ('return torch.stack(outs[::-1] if reverse else outs, 1), state', 'outs = torch.stack(outs[::-1] if reverse else outs, 1)\n    return outs, (outs[:, -1],)', 'the state after the first input'),
        ('F.linear(x, w_ih, b_ih)', 'F.linear(x, w_ih)', "with_bias"),
        ('cell(g, state, w_hh, b_hh)', 'cell(g, state, w_hh)', 'w_hh and b_hh'),
        ('cell(g, state, w_hh, b_hh)', 'cell(g, tuple(s.detach() for s in state), w_hh, b_hh)', 'the gradient reaches inputs'),
        (None, '''def run_cell(cell, x, state, w_ih, w_hh, b_ih=None, b_hh=None, reverse=False):
    steps, outs = range(x.shape[1]), []
    for k in reversed(steps) if reverse else steps:
        state = cell(F.linear(x[:, k], w_ih, b_ih), state, w_hh, b_hh)
        outs.append(state[0])
    return torch.stack(outs[::-1] if reverse else outs, 1), state
''', 'computed once, for all steps'),
    ],
    '17.5': [
        ('odd[:, :(t - 1)//2]', 'odd[:, :t//2]', 'got       RuntimeError'),
        ('b[:, 1::2] + a[:, 1::2]*b[:, :t - 1:2])', 'b[:, 1::2] + a[:, :t - 1:2]*b[:, :t - 1:2])', 'the second result is its b plus its a times the first'),
        ('out[:, 0], out[:, 1::2] = b[:, 0], odd', 'out[:, 0], out[:, 1::2] = 0, odd', 'the second result'),
        ('_scan_pairs(a[:, 1::2]*a[:, :t - 1:2]', '_scan_pairs(a[:, 1::2]', 'five steps'),
        ('if t == 1: return b', 'if t == 1: return a*b', 'it gives b whatever a is'),
        (None, '''def _scan_pairs(a, b):
    p = a.cumprod(1)
    return p*(b/p).cumsum(1)
''', 'a factor of 0 forgets'),
        (None, '''def _scan_pairs(a, b):
    h, hs = 0, []
    for a_t, b_t in zip(a.unbind(1), b.unbind(1)):
        h = a_t*h + b_t
        hs.append(h)
    return torch.stack(hs, 1)
''', 'grows with the logarithm'),
        (None, '''def _scan_pairs(a, b):
    d = 1
    while d < b.shape[1]:
        b = torch.cat([b[:, :d], b[:, d:] + a[:, d:]*b[:, :-d]], 1)
        a = torch.cat([a[:, :d], a[:, d:]*a[:, :-d]], 1)
        d *= 2
    return b
''', 'the work is proportional to the length'),
        ('out = torch.empty_like(b)', 'out = b', 'b, afterwards'),
    ],
    '17.6': [
        ('(b[:, 0] + a[:, 0]*h0)[:, None]', '(b[:, 0] + h0)[:, None]', 'from a state before the first step'),
        ('torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], 1)', 'a', 'the gradients of a and b'),
        ('return g*before, g', 'return g*h, g', 'the gradients of a and b'),
        ('g = _Scan.apply(later.flip(1), g.flip(1)).flip(1)', 'g = _Scan.apply(later, g)', 'the gradients of a and b'),
        ('.flip(1)).flip(1)', '.flip(1))', 'the gradients of a and b'),
        ('        return g*before, g', '        return g, g*before', 'the gradients of a and b'),
        ('g = _Scan.apply(later.flip(1), g.flip(1)).flip(1)', 'g = _scan_steps(later.flip(1), g.flip(1)).flip(1)', 'differentiated twice'),
        ('    return _Scan.apply(a, b)', '    return _scan_steps(a, b)', 'the gradients of a and b'),
        ('    return _Scan.apply(a, b)', '    h, out = 0, []\n    for k in range(b.shape[1]): h = a[:, k]*h + b[:, k]; out.append(h)\n    return torch.stack(out, 1)', 'in rounds, there and back'),
        ('    return _Scan.apply(a, b)', '    return _scan_pairs(a, b)', 'little is kept'),
        ("(_scan_steps if b.device.type == 'cpu' and b[:, 0].numel() >= _BUSY else _scan_pairs)(a, b)", '_scan_steps(a, b)', 'in rounds, there and back'),
        ('        b = torch.cat([(b[:, 0] + a[:, 0]*h0)[:, None], b[:, 1:]], 1)', '        b[:, 0] += a[:, 0]*h0', 'b, afterwards'),
        ('torch.addcmul(b_t, a_t, h, out=new)', 'torch.addcmul(h, a_t, b_t, out=new)', 'narrow ones and wide ones'),
        ('a.unbind(1)[1:], b.unbind(1)[1:]', 'a.unbind(1), b.unbind(1)', 'narrow ones and wide ones'),
        ('a.ndim != 3 or a.shape != b.shape or not a.shape[1]', 'a.ndim != 3', 'of different shape are refused'),
        ('if h0.shape != b[:, 0].shape: raise', 'if False: raise', 'a state of another shape'),
    ],
    '17.7': [
        ('z, f, o = linear', 'f, z, o = linear', 'with f shut and o open'),
        ('f.sigmoid(), (-f).sigmoid()*z.tanh(), c)', '(-f).sigmoid(), f.sigmoid()*z.tanh(), c)', 'with f shut and o open'),
        ('(-f).sigmoid()*z.tanh(), c)', 'z.tanh(), c)', 'the memory is a mixture'),
        ('for i in range(self.kernel_size)]', 'for i in reversed(range(self.kernel_size))]', 'oldest first'),
        ('x = torch.cat([past, x], 1)', 'x = torch.cat([x, past], 1)', 'the gates look at the inputs before'),
        ('new.append((cs[:, -1], x[:, t:]))', 'new.append((cs[:, -1], x[:, :self.kernel_size - 1]))', 'the last c and the last k - 1 inputs'),
        ('new.append((cs[:, -1], x[:, t:]))', 'new.append((cs[:, -1], x[:, t:].detach()))', 'the gradient goes through a state'),
        ('new.append((cs[:, -1], x[:, t:]))', 'new.append((cs[:, -1]*o[:, -1].sigmoid(), x[:, t:]))', 'the last c and'),
        ('*z.tanh(), c)', '*z.tanh())', 'in pieces'),
        ('x = o.sigmoid()*cs', 'x = cs', '2 times what it should be'),
        ('kernel_size*(hidden_size if k else input_size)', 'kernel_size*input_size', 'from k windows side by side'),
        ("n, t = self._checked(x, state)", 'n, t = x.shape[:2]', 'refused'),
        ("_whole('kernel_size', kernel_size, 1)", 'kernel_size', 'a window of nothing is refused'),
        (' or not x.shape[1]', '', 'an x of no steps is refused'),
    ],
}
