"Wrong answers to the exercises of lesson 02a; see 03_losses.py for the form."

WRONG = {
    '02a.1': [
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
    '02a.2': [
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
    '02a.3': [
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
    '02a.4': [
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
    '02a.5': [
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
    '02a.6': [
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
}
