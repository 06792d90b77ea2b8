"Wrong answers to the exercises of lesson 02a; see 03_losses.py for the form."

WRONG = {
    '02a.1': [
        ('try: yield\n    finally: _recording.reset(token)', 'yield\n    _recording.reset(token)', 'after an error'),
        ('_recording.reset(token)', '_recording.set(True)', 'an inner context does not end'),
        ('_recording.set(False)', '_recording.set(True)', 'inside, results need no gradient'),
        ('finally: _recording.reset(token)', 'finally: pass', 'afterwards they do'),
        (None, """_recording = ContextVar('_recording', default=True)
class no_grad:
    def __enter__(self): self.token = _recording.set(False)
    def __exit__(self, *args): _recording.reset(self.token)""", 'it decorates a function'),
        (None, """class _Switch:
    on = True
    def get(self): return self.on
_recording = _Switch()
@contextmanager
def no_grad():
    before, _recording.on = _recording.on, False
    try: yield
    finally: _recording.on = before""", 'another thread'),
    ],
    '02a.2': [
        ('tuple(e for e in edges if e[0].requires_grad)', 'tuple(edges)', 'parents that need no gradient'),
        (' if _recording.get() else ()', '', 'nothing is recorded under no_grad'),
        ('_locked(np.asarray(data))', 'np.asarray(data)', 'cannot be written to'),
        ('_locked(np.asarray(data))', 'data', 'cannot be written to'),
        ('_locked(np.asarray(data))', '_locked(np.array(data, dtype=np.float32))', 'the dtype stays'),
        ('None, bool(edges), op, edges', 'None, True, op, edges', 'parents that need no gradient'),
        ('None, bool(edges), op, edges', 'None, bool(edges), None, edges', 'values, operation and parent'),
        ('None, bool(edges), op, edges', 'None, bool(edges), op, ()', 'values, operation and parent'),
    ],
    '02a.3': [
        (None, '''def _toposort(root):
    order, seen = [], set()
    def visit(v):
        if v in seen: return
        seen.add(v)
        if v._edges is None: raise RuntimeError(f'the graph behind the result of {v._op!r} was released')
        for p, _ in v._edges: visit(p)
        order.append(v)
    visit(root)
    return order''', 'RecursionError'),
        (None, '''def _toposort(root):
    order, seen, queue = [], set(), [root]
    while queue:
        v = queue.pop(0)
        if v in seen: continue
        seen.add(v)
        if v._edges is None: raise RuntimeError(f'the graph behind the result of {v._op!r} was released')
        order.append(v)
        queue.extend(p for p, _ in v._edges)
    return order[::-1]''', 'a short path and a long one'),
        (None, '''def _toposort(root):
    order, seen, stack = [], {root}, [(root, False)]
    while stack:
        v, parents_done = stack.pop()
        if parents_done: order.append(v); continue
        if v._edges is None: raise RuntimeError(f'the graph behind the result of {v._op!r} was released')
        stack.append((v, True))
        for p, _ in v._edges:
            if p not in seen:
                seen.add(p)
                stack.append((p, False))
    return order''', 'a short path and a long one'),
        ('        if v in seen: continue\n', '', 'a variable used twice is there once'),
        ('return order', 'return order[::-1]', 'a chain, from the leaf to the root'),
        ('if parents_done: order.append(v); continue', 'if parents_done:\n            if not v.is_leaf: order.append(v)\n            continue', 'a leaf is its own graph'),
        ('if v._edges is None: raise', 'if False: raise', 'another kind of error'),
        ('if v._edges is None: raise', 'if root._edges is None: raise', 'released in part'),
        ('if v._edges is None: raise', 'if v._edges is None: continue\n        if False: raise', 'bad input is accepted'),
    ],
    '02a.4': [
        ('grads[parent] + p if parent in grads else p', 'p', 'collects both gradients'),
        ('grads[parent] = grads[parent] + p if parent in grads else p', 'if parent in grads: grads[parent] += p\n            else: grads[parent] = p', 'that share an array'),
        ('order.pop()', 'order.pop(0)', 'KeyError'),
        ('g.copy() if v.grad is None else v.grad + g', 'g.copy()', '.grad adds up'),
        ('g.copy() if v.grad is None else v.grad + g', 'g if v.grad is None else v.grad + g', 'an array of its own'),
        ('if v.is_leaf: v.grad', 'if True: v.grad', 'only leaves'),
        ('if self.size != 1:', 'if self.ndim:', 'backward of a leaf'),
        ('if self.size != 1:', 'if False:', 'several elements need a gradient'),
        ('        if not v.is_leaf: v._edges = None', '        pass', 'the graph is released'),
        ('if not v.is_leaf: v._edges = None', 'v._edges = None', '.grad adds up'),
        ('if grad.shape != self.shape:', 'if False:', 'a gradient of another shape is refused'),
        ('if grad.shape != self.shape:', 'if grad.ndim and grad.shape != self.shape:', 'a number is not stretched'),
        ('if p.shape != parent.shape:', 'if False:', 'bad input is accepted'),
        ('pull(g), dtype=parent.dtype', 'pull(g)', 'the dtype of the leaf'),
        ('np.asarray(grad, dtype=self.dtype)', 'np.asarray(grad)', 'takes the dtype of the variable'),
        ('if not self.requires_grad:', 'if False:', 'bad input is accepted'),
        (None, '''@patch
def backward(self:Variable, grad=None):
    if not self.requires_grad: raise RuntimeError('there is nothing to differentiate')
    if grad is None:
        if self.size != 1: raise RuntimeError('reduce it first')
        grad = np.ones_like(self.data)
    grad = np.asarray(grad, dtype=self.dtype)
    if self.is_leaf: self.grad = grad.copy() if self.grad is None else self.grad + grad
    for parent, pull in self._edges: parent.backward(np.asarray(pull(grad), dtype=parent.dtype))''', 'the graph is released'),
        ('    if grad is None:\n', '    if True:\n', 'where the way back starts'),
    ],
    '02a.5': [
        ('(*range(extra), *stretched)', 'stretched', 'an axis that was added in front'),
        ('(*range(extra), *stretched)', 'tuple(range(extra))', 'an axis that was stretched'),
        ('g.sum(', 'g.mean(', '0.5 times'),
        ('.reshape(shape)', '', 'an axis of length 1 too many or too few'),
        ('tuple(extra + i for', 'tuple(i for', 'added and stretched at once'),
        ("if extra < 0 or any(n not in (1, m) for n, m in zip(shape, g.shape[extra:])): raise", 'if False: raise', 'a message without'),
        ('extra < 0 or ', '', 'more axes than the gradient'),
        (None, '''def unbroadcast(g, shape):
    while g.ndim > len(shape): g = g.sum(0)
    for i, n in enumerate(shape):
        if n == 1: g = g.sum(i, keepdims=True)
    return g''', 'does not fit is refused'),
        (None, '''def unbroadcast(g, shape):
    if g.shape == shape: return g
    for i, n in enumerate(shape):
        if n == 1: g = g.sum(i, keepdims=True)
    return g.sum(tuple(range(g.ndim - len(shape)))).reshape(shape)''', 'added and stretched at once'),
    ],
    '02a.6': [
        ('(self, lambda g: unbroadcast(g*b, self.shape)), (other, lambda g: unbroadcast(g*a, other.shape))', '(self, lambda g: unbroadcast(g*a, self.shape)), (other, lambda g: unbroadcast(g*b, other.shape))', 'a product hands each operand'),
        ('unbroadcast(g*a, other.shape)', 'g*a', 'collects the sum: multiplication'),
        ('(other, lambda g: unbroadcast(g, other.shape))', '(other, lambda g: g)', 'collects the sum: addition'),
        ('(self, lambda g: unbroadcast(g, self.shape))', '(self, lambda g: g)', 'collects the sum: addition'),
        ('unbroadcast(g*b, self.shape)', 'unbroadcast(g*other.data, self.shape)', 'that took place'),
        ('if isinstance(other, Variable): return other\n    a', 'if isinstance(other, Variable): return other\n    return Variable(np.array(other, dtype=float))\n    a', 'take the precision of the variable'),
        ('a if a.ndim else a.astype(dtype)', 'a', 'take the precision of the variable'),
        ('a if a.ndim else a.astype(dtype)', 'a.astype(dtype)', 'arrays of floats keep theirs'),
        ('self.data + other.data, (self, lambda g: unbroadcast(g, self.shape)), ', 'self.data + other.data, ', 'a sum hands its gradient to both'),
    ],
    '02a.7': [
        ('lambda g: -g)', 'lambda g: g)', 'the negative'),
        ('unbroadcast(-g, other.shape)', 'unbroadcast(g, other.shape)', 'a difference'),
        ('-g*a/(b*b)', 'g*a/(b*b)', 'a quotient'),
        ('-g*a/(b*b)', '-g*a/b', 'a quotient'),
        ('-g*a/(b*b)', '-g/(b*b)', 'a quotient'),
        ('g*b*a**np.where(b == 0, 1, b - 1)', 'g*b*a**(b - 1)', 'in its base, at 0'),
        ('g*b*a**np.where(b == 0, 1, b - 1)', 'g*b*y/a', 'a square has slope 0'),
        ('g*b*a**np.where(b == 0, 1, b - 1)', 'g*a**np.where(b == 0, 1, b - 1)', 'a cube'),
        ('g*y*np.log(np.where(a == 0, 1, a))', 'g*y*np.log(a)', 'slope 0 in their exponents'),
        ('g*y*np.log(np.where(a == 0, 1, a))', 'g*y*np.log(np.abs(b))', 'the gradient of its exponent'),
        ('unbroadcast(g/b, self.shape)', 'g/b', 'rows are broadcast: quotients'),
        ('unbroadcast(-g, other.shape)', '-g', 'rows are broadcast: differences'),
        ('unbroadcast(g*y*np.log(np.where(a == 0, 1, a)), other.shape)', 'g*y*np.log(np.where(a == 0, 1, a))', 'rows are broadcast: powers'),
        ('unbroadcast(g/b, self.shape)', 'unbroadcast(g/other.data, self.shape)', 'the operation that took place'),
    ],
    '02a.8': [
        ('a[i] = x - eps; down = value(); a[i] = x\n            slope, got = (up - down)/(2*eps)', 'a[i] = x; down = value()\n            slope, got = (up - down)/eps', 'on both sides'),
        ('np.random.default_rng(0).standard_normal(y.shape)', 'np.ones(y.shape)', 'in the wrong places'),
        ('if not abs(slope - got) <= atol*max(1, abs(slope)):', 'if abs(slope - got) > atol*max(1, abs(slope)):', 'a gradient of nan'),
        ('atol*max(1, abs(slope))', 'atol', 'a steep function'),
        ('atol*max(1, abs(slope))', '1e-6*max(1, abs(slope))', 'atol is used'),
        ('atol*max(1, abs(slope))', '1e-2*max(1, abs(slope))', 'a small mistake'),
        ('; down = value(); a[i] = x\n', '; down = value()\n', 'put back'),
        ('    return True', '    return', 'the right gradient of a square'),
        ('0. if v.grad is None else v.grad[i]', 'v.grad[i]', 'not used'),
        ('for k, (a, v) in enumerate(zip(arrays, vs)):', 'for k, (a, v) in enumerate(zip(arrays[:1], vs)):', 'of the second input'),
        ('if a.dtype != np.float64:', 'if False:', 'float32 is refused'),
        ('if first != again and not np.isnan(first):', 'if False:', 'not always the same'),
        ('a.data if isinstance(a, Variable) else a', 'a', 'Variables may be given'),
        ('2*eps', '2e-6', 'another eps'),
        ('input {k} at {i}: backward says', 'backward says', "without 'input 0'"),
        ('vs = [Variable(a, requires_grad=True) for a in arrays]', 'vs = [a if isinstance(a, Variable) else Variable(a, requires_grad=True) for a in inputs]', 'Variables may be given'),
        ('np.ndindex(a.shape)', 'range(len(a))', 'several inputs'),
        ('np.array(a.data if isinstance(a, Variable) else a)', 'np.asarray(a.data if isinstance(a, Variable) else a)', 'Variables may be given'),
    ],
    '02a.9': [
        ("_record('exp', y, (self, lambda g: g*y))", "_record('exp', y, (self, lambda g: y))", 'exp'),
        ('lambda g: g/a', 'lambda g: g*a', 'log'),
        ('g*(1 - y*y)', 'g*(1 - y)', 'tanh'),
        ('g*y*(1 - y)', 'g*y', 'the logistic function'),
        ('np.exp(-np.logaddexp(0, -self.data))', '1/(1 + np.exp(self.data))', 'the logistic function'),
        ('np.exp(-np.logaddexp(0, -self.data))', 'np.exp(self.data)/(1 + np.exp(self.data))', 'without overflow'),
        ('np.exp(-np.logaddexp(0, -self.data))', '(1 + np.tanh(self.data/2))/2', 'a tiny result'),
        ('g*(a > 0)', 'g*(a >= 0)', 'the slope of relu at 0'),
        ('np.maximum(a, 0)', 'np.abs(a)', 'relu'),
        ('lambda g: g/a', 'lambda g: g/self.data', 'the values that were there'),
        ('g*(a > 0)', 'g*(self.data > 0)', 'the values that were there'),
        ('y = np.tanh(self.data)', 'y = np.tanh(self.data.astype(float))', 'float32 stays'),
    ],
    '02a.10': [
        ('g @ b.swapaxes(-1, -2)', 'g @ b.T', 'a batch of matrices'),
        ('a.swapaxes(-1, -2) @ g', 'a.T @ g', 'a batch of matrices'),
        ('g @ b.swapaxes(-1, -2)', 'g @ b', 'one row by one column'),
        ('unbroadcast(a.swapaxes(-1, -2) @ g, other.shape)', 'a.swapaxes(-1, -2) @ g', 'one matrix on the right'),
        ('unbroadcast(g @ b.swapaxes(-1, -2), self.shape)', 'g @ b.swapaxes(-1, -2)', 'one matrix on the left'),
        ('    a, b = self.data, other.data\n', '', 'NameError'),
        ('a.swapaxes(-1, -2) @ g', 'self.data.swapaxes(-1, -2) @ g', 'that took place'),
        ('    if other.ndim == 1: return (self @ other.reshape(-1, 1))[..., 0]\n', '', 'a vector on the right'),
        ('    if self.ndim == 1: return (self.reshape(1, -1) @ other)[..., 0, :]\n', '', 'a vector on the left'),
        ('other = _lift(other, self.dtype)', 'other = other if isinstance(other, Variable) else Variable(np.array(other, dtype=float))', 'takes our precision'),
        ('other = _lift(other, self.dtype)\n', 'pass\n', 'an array on the right'),
        ('if self.shape[-1] != other.shape[-2:][0]:', 'if False:', 'a message without'),
        ('if not self.ndim or not other.ndim:', 'if False:', 'a number is refused'),
        ('if self.shape[-1] != other.shape[-2:][0]:', 'if self.shape[-1] != other.shape[0]:', 'a batch of matrices'),
    ],
    '02a.11': [
        ('lambda g: g.reshape(self.shape)', 'lambda g: g', 'reshape, by numbers'),
        ('g.transpose(np.argsort(order))', 'g.transpose(order)', 'transpose with an order'),
        ('g.transpose(np.argsort(order))', 'g.transpose()', 'transpose with an order'),
        ('[i % self.ndim for i in (axes[0] if axes and np.ndim(axes[0]) else axes)]', '[i % self.ndim for i in axes]', 'transpose with an order'),
        (' or range(self.ndim)[::-1]', '', 'transpose reverses the axes'),
        ('return self.transpose()', 'return self.transpose(1, 0)', 'T does the same'),
        ('slice(before, before + n)', 'slice(before, n)', 'pad puts zeros around'),
        ('slice(before, before + n)', 'slice(after, after + n)', 'before and after'),
        (', self.dtype)\n', ')\n', 'pad puts zeros around'),
        ('lambda g: g[inside]', 'lambda g: g', 'a frame of one width'),
        ('if len(widths) != self.ndim: raise', 'if False: raise', 'a width for each axis'),
    ],
    '02a.12': [
        ('else: np.add.at(z, idx, g)', 'else: z[idx] += g', 'selected several times'),
        ('else: np.add.at(z, idx, g)', 'else: z[idx] = g', 'selected several times'),
        ('np.zeros(self.shape, g.dtype)', 'np.zeros_like(g)', 'a slice of rows'),
        ('if basic: z[idx] = g', 'if basic: z[:] = g', 'a slice of rows'),
        ('idx = parts if basic else tuple(i if i is None or i is Ellipsis or isinstance(i, slice) else np.array(i) for i in parts)', 'idx = parts', 'used for something else'),
        ('if any(isinstance(i, Variable) for i in parts): raise', 'if False: raise', 'as index is refused'),
        ("    raise TypeError('a Variable cannot be written into, because the graph may need its values; compute a new one, or assign a whole array to .data of a leaf')", '    self._data = self._data.copy(); self._data[idx] = value', 'writing is refused'),
        ('isinstance(i, (int, slice, np.integer))', 'isinstance(i, (int, slice, list, np.integer))', '0.5 times'),
    ],
    '02a.13': [
        ('np.broadcast_to(g.reshape(kept), shape)', 'np.broadcast_to(g, shape)', 'sums over an axis'),
        ('np.broadcast_to(g.reshape(kept), shape)', 'g.reshape(kept)', 'the sum of everything'),
        ('* (1/n)', '* (1/self.size)', 'means'),
        ('* (1/n)', '* (1/len(self))', 'means'),
        ('    if not n: raise ValueError(f\'mean of no elements: shape {self.shape}, axis {axis}\')\n', '    n = n or 1\n', 'a mean of nothing'),
        ("{i % ndim for i in axes}", "{i for i in axes}", 'sums over an axis'),
        ("    if not all(-ndim <= i < ndim for i in axes): raise ValueError(f'axis {axis} is out of range for a Variable with {ndim} axes')\n", '', 'that is not there'),
        ('-ndim <= i < ndim', 'i < ndim', 'counted from the end, too'),
        ('transpose(np.argsort(rest + axes))', 'transpose(rest + axes)', 'the largest'),
        ('        np.put_along_axis(z, first, g.reshape(first.shape), -1)\n', '        z[:] = g.reshape(first.shape)*(rows == y)\n', 'the first of equal ones'),
        ('first = rows.argmax(-1)[..., None]', 'first = np.abs(rows).argmax(-1)[..., None]', 'the largest'),
        ('first = rows.argmax(-1)[..., None]', 'first = rows.shape[-1] - 1 - rows[..., ::-1].argmax(-1)[..., None]', 'the first of equal ones'),
        ('rest + axes)\n    rows', 'rest + axes[::-1])\n    rows', 'the largest'),
    ],
    '02a.14': [
        ('    a = a - a.max(axis, keepdims=True)\n', '', 'huge logits'),
        ('a.max(axis, keepdims=True)', 'a.max()', 'rows of very different size'),
        ('s*(g - (g*s).sum(axis, keepdims=True))', 'g*s*(1 - s)', 'the shares'),
        ('s*(g - (g*s).sum(axis, keepdims=True))', 's*g', 'the shares'),
        ('s*(g - (g*s).sum(axis, keepdims=True))', 's*(g - (g*s).sum(-1, keepdims=True))', 'over another axis'),
        ('np.exp(y)*g.sum(axis, keepdims=True)', 'np.exp(y)', 'their logarithms'),
        ('y = _log_softmax(self.data, axis)', 'y = np.log(np.exp(_log_softmax(self.data, axis)))', 'nothing is log(0)'),
        ('_log_softmax(self.data, axis))', '_log_softmax(self.data, -1))', 'over another axis'),
    ],
    '02a.15': [
        ('+= g[:, :, i, j]', '= g[:, :, i, j]', 'each window that it is in'),
        ('windows.transpose(0, 1, 4, 5, 2, 3).reshape', 'windows.transpose(0, 2, 3, 1, 4, 5).reshape', 'its pixels row by row'),
        ('windows.transpose(0, 1, 4, 5, 2, 3).reshape', 'windows.reshape', 'its pixels row by row'),
        ('windows.transpose(0, 1, 4, 5, 2, 3).reshape', 'windows.transpose(0, 4, 5, 1, 2, 3).reshape', 'the channels of a window'),
        ('[:, :, ::stride, ::stride]', '', 'a stride leaves windows out'),
        ('[:, :, ::stride, ::stride]', '[:, :, ::stride]', 'a stride leaves windows out'),
        ('i:i + stride*oh:stride, j:j + stride*ow:stride', 'i::stride, j::stride', 'each window that it is in'),
        ('i:i + stride*oh:stride, j:j + stride*ow:stride', 'i:i + oh, j:j + ow', 'pixels between the windows'),
        ('np.ndindex(kh, kw)', 'np.ndindex(kw, kh)', 'not square'),
        ('g.reshape(n, c, kh, kw, oh, ow)', 'g.reshape(n, c, oh, ow, kh, kw).transpose(0, 1, 4, 5, 2, 3)', 'columns and gradient'),
        ('self.data, (kh, kw)', 'self.data, (kw, kh)', 'the channels of a window'),
    ],
    '02a.16': [
        ('y = (weight.reshape(o, -1)', 'y = (weight[:, :, ::-1, ::-1].reshape(o, -1)', 'not turned round'),
        ('self.pad(0, 0, padding, padding)', 'self.pad(0, 0, 0, padding)', 'a frame of zeros'),
        ('x._im2col(kh, kw, stride)', 'x._im2col(kh, kw, 1)', 'a stride'),
        ('y + _lift(bias, self.dtype).reshape(o, 1, 1)', 'y + bias', 'a bias for each kernel'),
        ('weight = _lift(weight, self.dtype)', 'weight = _lift(weight, self.dtype).detach()', 'both gradients'),
        ('(h + 2*padding - kh)//stride + 1', '(h + 2*padding - kh)//stride', 'not turned round'),
        (' or self.shape[1] != weight.shape[1]', '', 'other channels'),
        ('if min(oh, ow) < 1:', 'if False:', 'that does not fit'),
        ('if stride < 1 or padding < 0:', 'if False:', 'a stride of 0'),
        ('reshape(n, o, oh, ow)\n', 'reshape(n, o, ow, oh)\n', 'several images, channels and kernels'),
    ],
    '02a.17': [
        ('z[p] += g*hit', 'z[p] = g*hit', 'four gradients'),
        ('            free &= ~hit\n', '', 'of equal ones the first'),
        ('y = a[places[0]]', 'y = np.maximum(a[places[0]], 0)', 'several images and channels'),
        ('stride = k if stride is None else stride', 'stride = stride or 1', 'of each window of 2 by 2'),
        ('stride = k if stride is None else stride', 'stride = k if stride is None else stride\n    stride = k', 'four gradients'),
        ('z[p] += g*hit', 'z[p] += hit', 'of each window of 2 by 2'),
        ('i:i + stride*oh:stride, j:j + stride*ow:stride', 'i::stride, j::stride', 'several images and channels'),
        ('((m - k)//stride + 1 for', '(m//stride for', 'four gradients'),
        ('not 1 <= k <= min(self.shape[2:])', 'not 1 <= k', 'that does not fit'),
        (' or stride < 1', '', 'a stride of 0'),
        ('self.ndim != 4 or ', '', 'without a batch'),
    ],
}
