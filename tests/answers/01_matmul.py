"Wrong answers to the exercises of lesson 01; see 03_losses.py for the form."

WRONG = {
    '01.1': [
        ('2*n*k*m', 'n*k*m', 'a multiplication and an addition'),
        ('2*n*k*m', '2*n*m*(n + m)', 'one product'),
        ('n*k + k*m + n*m', 'n*k + k*m', 'three numbers'),
        ('n*k + k*m + n*m', 'n*k + k*m + n*k', 'both operands and the result'),
        ('itemsize*(', '4*(', 'half precision'),
        ("    if min(n, k, m) < 0: raise ValueError(f'n, k and m are sizes and cannot be negative, not {n, k, m}')\n", '', 'bad input is accepted'),
        ('min(n, k, m) < 0', 'min(n, k, m) <= 0', 'a sum over no entries'),
    ],
    '01.2': [
        (None, '''def broadcast_shape(*shapes) -> torch.Size:
    out = []
    for sizes in zip(*shapes):
        if len(set(sizes) - {1}) > 1: raise ValueError(f'shapes {shapes} do not broadcast')
        out.append(max(sizes))
    return torch.Size(out)''', 'lined up at their last axis'),
        (None, '''def broadcast_shape(*shapes) -> torch.Size:
    out = []
    for axis in range(-1, -max(map(len, shapes)) - 1, -1):
        sizes = {s[axis] for s in shapes if len(s) >= -axis}
        if len(sizes - {1}) > 1: raise ValueError(f'shapes {shapes} do not broadcast: axis {axis} has sizes {sorted(sizes)}')
        out.append(max(sizes))
    return torch.Size(out[::-1])''', 'stretched to 0 too'),
        (None, '''def broadcast_shape(a, b) -> torch.Size:
    out = []
    for axis in range(-1, -max(len(a), len(b)) - 1, -1):
        x, y = (s[axis] if len(s) >= -axis else 1 for s in (a, b))
        if x != y and 1 not in (x, y): raise ValueError(f'shapes {a} and {b} do not broadcast: axis {axis} has sizes {[x, y]}')
        out.append(y if x == 1 else x)
    return torch.Size(out[::-1])''', 'any number of shapes'),
        (None, '''def broadcast_shape(*shapes) -> torch.Size:
    out = list(shapes[0])
    for s in shapes[1:]:
        for axis in range(-1, -len(s) - 1, -1):
            if out[axis] not in (1, s[axis]) and s[axis] != 1: raise ValueError(f'shapes {shapes} do not broadcast: axis {axis}')
            out[axis] = max(out[axis], s[axis])
    return torch.Size(out)''', 'the longer shape may come second'),
        ('range(-1, -max(map(len, shapes), default=0) - 1, -1)', 'range(-1, -max(map(len, shapes), default=0), -1)', 'equal sizes stay'),
        ('range(-1, -max(map(len, shapes), default=0) - 1, -1)', 'range(-1, -min(map(len, shapes), default=0) - 1, -1)', 'lined up at their last axis'),
        ('out[::-1]', 'out', 'a size of 1 is stretched'),
        ('torch.Size(out[::-1])', 'tuple(out[::-1])', 'torch.Size'),
        ('len(sizes) > 1', 'len(sizes) > 2', 'bad input is accepted'),
        ('axis {axis} has', 'axis {axis + max(map(len, shapes))} has', "without 'axis -1'"),
        ('if any(size < 0 for s in shapes for size in s):', 'if False:', 'negative sizes are refused'),
        ('sizes.pop() if sizes else 1', 'sizes.pop()', 'only ones give ones'),
    ],
    '01.3': [
        ('while letters.count(c) > 1:', 'if letters.count(c) > 1:', 'a letter three times'),
        ('letters[:i] + letters[i+1:j] + letters[j+1:] + c', 'letters[:j] + letters[j+1:]', 'a diagonal beside another axis'),
        ('for c in dict.fromkeys(letters):', 'for c in letters[:1]:', '_diagonal leaves each letter once'),
        ('t = t.permute([letters.index(c) for c in order if c in letters])', 't = t.permute([order.index(c) for c in letters])', 'a letter that is lacking'),
        ('    t = t.permute([letters.index(c) for c in order if c in letters])\n', '', 'in the order of the letters'),
        ('return t[tuple(slice(None) if c in letters else None for c in order)]', 'return t', 'an axis of size 1'),
        ('return t[tuple(slice(None) if c in letters else None for c in order)]', 'return t.view(*t.shape, *[1]*(len(order) - t.ndim))', 'a letter that is lacking'),
        ('return t[tuple(slice(None) if c in letters else None for c in order)]', 'return t[tuple(slice(None) if c in letters else None for c in order)].clone()', 'nothing is copied'),
        ('    t, letters = _diagonal(t, letters)\n', '', 'a letter twice is the diagonal'),
    ],
    '01.4': [
        ('    if len(order) == len(out): return product\n', '', 'letters that meet are multiplied'),
        ("out + ''.join(c for c in sizes if c not in out)", "''.join(sizes)", 'the result has the order of its letters'),
        ("out + ''.join(c for c in sizes if c not in out)", "''.join(sorted(sizes))", 'the result has the order of its letters'),
        ('product.sum(dim=tuple(range(len(out), len(order))))', 'product.sum()', 'the sum over its rows'),
        ('product.sum(dim=tuple(range(len(out), len(order))))', 'product.sum(-1)', 'three operands'),
        ('product.sum(dim=tuple(range(len(out), len(order))))', 'product.mean(dim=tuple(range(len(out), len(order))))', '0.25 times what it should be'),
        ('[_align(t, letters, order) for t, letters in zip(operands, ins)]', '[_align(t, letters, order) for t, letters in zip(operands[:2], ins)]', 'three operands'),
        ('torch.mul', 'torch.add', 'letters that meet are multiplied'),
        ('if sizes.setdefault(c, size) != size:', 'if sizes.setdefault(c, size) != size and 1 not in (size, sizes[c]):', 'a size of 1 is not stretched'),
        ('if sizes.setdefault(c, size) != size:', 'if sizes.setdefault(c, size) != size and False:', 'another kind of error'),
        ('for i, (t, letters) in enumerate(zip(operands, ins)):\n', 'for i, (t, letters) in enumerate(zip(operands, ins)):\n        sizes = dict(sizes) if i == 0 else dict(zip(letters, t.shape)) | {c: s for c, s in sizes.items() if c not in letters}\n', 'another kind of error'),
        ('if t.ndim != len(letters):', 'if False:', 'more axes than letters'),
        ('if t.ndim != len(letters):', 'if t.ndim > len(letters):', 'fewer axes than letters'),
        (None, 'def einsum(equation, *operands): return torch.einsum(equation, *operands)', 'another kind of error'),
        ('ins, out = _parse_einsum(equation, len(operands))', "left, _, out = equation.partition('->')\n    ins = left.split(',')", 'without an arrow'),
    ],
    '01.5': [
        ('return a @ b', 'return a*b', 'one row by one column'),
        ('return a @ b', 'return b @ a', 'one row by one column'),
        ('return a @ b', 'return a @ b.T', 'one row by one column'),
        ('return a @ b', 'return a.float() @ b.float()', 'float32 instead of int64'),
        ('return a @ b', '''c = torch.zeros(a.shape[0], b.shape[1])
    for i in range(a.shape[0]): c[i] = (a[i][:, None]*b).sum(0)
    return c''', 'float32 instead of int64'),
        (None, 'def matmul(a, b): return a @ b', 'another kind of error'),
        (None, 'def matmul(a, b): return (a[:, :, None]*b[None]).sum(1)', 'another kind of error'),
        ('if a.shape[1] != b.shape[0]:', 'if b.shape[0] not in (1, a.shape[1]):', 'another kind of error'),
        ("(('a', a), ('b', b))", "(('a', a),)", 'a vector on the right'),
        ("(('a', a), ('b', b))", '()', 'a vector on the left'),
        ('t.ndim != 2', 't.ndim < 2', 'batches are refused'),
        ('axis 1 of a is {a.shape[1]}, axis 0 of b is {b.shape[0]}', '{a.shape[1]} and {b.shape[0]}', "without 'axis 1 of a is 4'"),
    ],
}
