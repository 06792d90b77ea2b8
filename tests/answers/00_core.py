"Wrong answers to the exercises of lesson 00; see 03_losses.py for the form."

WRONG = {
    '00.1': [
        ("    if isinstance(b, tuple) and hasattr(b, '_fields'): return type(b)(*(apply_nested(f, v) for v in b))\n", '', 'a named tuple keeps its type'),
        ('    return b', '    return f(b)', 'kept, strings among them'),
        ('\n    return b', '\n', 'leaves that are no tensors are kept'),
        ('if isinstance(b, (list, tuple)): return type(b)(apply_nested(f, v) for v in b)', 'if isinstance(b, (list, tuple)): return [apply_nested(f, v) for v in b]', 'list where tuple is expected'),
        ('return type(b)({k: apply_nested(f, v) for k, v in b.items()})', 'return {k: apply_nested(f, v) for k, v in b.items()}', 'other kinds of dict'),
        ('isinstance(b, Mapping)', 'isinstance(b, dict)', 'other kinds of dict'),
        ('isinstance(b, Mapping)', 'type(b) == dict', 'other kinds of dict'),
        ('if isinstance(b, (list, tuple)): return type(b)(apply_nested(f, v) for v in b)', "if hasattr(b, '__iter__'): return type(b)(apply_nested(f, v) for v in b)", 'kept, strings among them'),
        ('if isinstance(b, (list, tuple)): return type(b)(apply_nested(f, v) for v in b)', 'if isinstance(b, (list, tuple)): return type(b)(f(v) if isinstance(v, torch.Tensor) else v for v in b)', 'containers in containers'),
        ('if isinstance(b, (list, tuple)): return type(b)(apply_nested(f, v) for v in b)', '''if isinstance(b, list):
        for i, v in enumerate(b): b[i] = apply_nested(f, v)
        return b
    if isinstance(b, tuple): return tuple(apply_nested(f, v) for v in b)''', 'left as it was'),
        ('if isinstance(b, (list, tuple)): return type(b)(apply_nested(f, v) for v in b)', 'if isinstance(b, list): return [apply_nested(f, v) for v in b]\n    if isinstance(b, tuple): return tuple(apply_nested(f, v) for v in b)', 'derived from list'),
        ('if isinstance(b, torch.Tensor): return f(b)', 'if type(b) is torch.Tensor: return f(b)', 'a parameter is a tensor'),
        ('if isinstance(b, torch.Tensor): return f(b)', 'if isinstance(b, torch.Tensor):\n        f(b)\n        return f(b)', 'once for each tensor'),
    ],
}
