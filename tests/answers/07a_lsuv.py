"Wrong answers to the exercise of lesson 07a; see 03_losses.py for the form."

SCALE = 'n_iter = [_scale(name, run, layer, watched, tol, max_iter) for name, layer, watched in pairs]'
UNDO = 'for layer, watched, weight, bias, sub in undo:'

WRONG = {
    '07a.1': [
        (SCALE, 'n_iter = [_scale(name, run, layer, watched, tol, max_iter) for name, layer, watched in reversed(pairs)]', 'share its weight'),
        (SCALE, SCALE.replace('tol, max_iter', '1e-3, max_iter'), 'tol says how near'),
        (SCALE, SCALE.replace('tol, max_iter', 'tol, 10'), 'after max_iter corrections'),
        (SCALE, SCALE.replace('run, layer, watched, tol', 'run, layer, layer, tol'), 'the watched activation'),
        ('model.eval()\n', 'pass\n', 'it measures in evaluation'),
        ('for m, mode in modes.items(): m.training = mode', 'pass', 'back in its own mode'),
        ('for m, mode in modes.items(): m.training = mode', 'model.train()', 'back in its own mode'),
        ('    finally:\n        for m, mode in modes.items(): m.training = mode', '    for m, mode in modes.items(): m.training = mode', 'after an error weights and modes'),
        ('except BaseException:', 'except Exception:', 'after an interrupt too'),
        (UNDO, 'for layer, watched, weight, bias, sub in []:', 'after an error weights and modes'),
        ('            if sub is not None: watched.sub = sub\n', '', 'the shift of an activation'),
        ('            if bias is not None: layer.bias.copy_(bias)\n', '', 'after an error weights and modes'),
        ('layer.weight.clone(), None if layer.bias is None else layer.bias.clone()', 'layer.weight, layer.bias', 'after an error weights and modes'),
        ('if abs(std - 1) > 2*tol: raise', 'if False: raise', 'two layers share is noticed'),
        ('xb if isinstance(xb, (tuple, list)) else (xb,)', '(xb,)', 'a tuple gives the inputs'),
        ('_pairs(model, run, modules)', '_pairs(model, run, None)', 'only the layers that are given'),
        ('@torch.no_grad()\n', '', 'got       RuntimeError'),
        ('        raise\n    finally', '        pass\n    finally', 'after an error weights and modes'),
        ("if not tol > 0: raise", 'if False: raise', "tol=0 is refused"),
        ("_whole('max_iter', max_iter, 1)\n", 'pass\n', 'max_iter=0 is refused'),
        ('n_iter=n))', 'n_iter=max_iter))', 'what was measured at the end'),
    ],
}
