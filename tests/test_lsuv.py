"LSUV against closed forms, its order, what it refuses, and what it puts back."
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mylib.core import set_seed
from mylib.init import GeneralRelu, kaiming_normal_
from mylib.lsuv import lsuv_init

x = torch.randn(200, 12, generator=torch.Generator().manual_seed(0))


def mlp(act=nn.ReLU, depth=4, h=30, bias=True, seed=0):
    set_seed(seed)
    return nn.Sequential(*[nn.Sequential(nn.Linear(12 if i == 0 else h, h, bias=bias), act()) for i in range(depth)])


def outputs(model, x, part=0):
    "The output of each block's layer (part 0) or activation (part 1), in double precision."
    outs = []
    for block in model:
        z = block[0](x)
        x = block[1](z)
        outs.append((z, x)[part].detach().double())
    return outs


def n_hooks(model): return sum(len(m._forward_hooks) for m in model.modules())


def state(model): return {k: v.clone() for k, v in model.state_dict().items()}


def unchanged(model, before): return all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.SiLU]), st.integers(1, 6), st.floats(0.01, 20), st.integers(0, 99))
def test_every_layer_is_normal_whatever_the_start(act, depth, factor, seed):
    model = mlp(act, depth, seed=seed)
    with torch.no_grad():
        for p in model.parameters(): p.mul_(factor)
    table = lsuv_init(model, x)
    outs = outputs(model, x)
    np.testing.assert_allclose([z.std(correction=0) for z in outs], 1, atol=2e-3)
    np.testing.assert_allclose([z.mean() for z in outs], 0, atol=2e-3)
    np.testing.assert_allclose(table['std'], [z.std(correction=0) for z in outs], atol=1e-4)
    assert table.layer.tolist() == [f'{i}.0' for i in range(depth)] and n_hooks(model) == 0


def test_finds_kaiming():
    set_seed(0)
    model = nn.Sequential(*[m for _ in range(5) for m in (nn.Linear(400, 400, bias=False), nn.ReLU())])
    lsuv_init(model, torch.randn(400, 400))
    want = kaiming_normal_(torch.empty(400, 400)).std().item()
    for layer in model[2::2]: assert layer.weight.std().item() == pytest.approx(want, rel=0.06)


def test_scale_of_the_start_is_divided_out():
    a, b = mlp(), mlp()
    with torch.no_grad():
        for i, block in enumerate(b): block[0].weight.mul_(3.**i); block[0].bias.mul_(3.**i)
    lsuv_init(a, x), lsuv_init(b, x)
    torch.testing.assert_close(a(x), b(x), rtol=1e-3, atol=1e-3)


def test_order_is_that_of_running():
    class Backwards(nn.Module):
        def __init__(self): super().__init__(); self.after, self.before = nn.Linear(8, 5), nn.Linear(12, 8)
        def forward(self, x): return self.after(self.before(x))
    set_seed(0)
    model = Backwards()
    table = lsuv_init(model, x)
    assert table.layer.tolist() == ['before', 'after'] and (table.n_iter == 1).all()
    assert model(x).std(correction=0).item() == pytest.approx(1, abs=2e-3)


def test_convolutions_without_bias_keep_their_mean():
    set_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.ReLU(), nn.Conv2d(6, 4, 3, bias=False))
    im = torch.randn(20, 1, 9, 9) + 1
    table = lsuv_init(model, im)
    assert model(im).std(correction=0).item() == pytest.approx(1, abs=2e-3)
    assert abs(table['mean'][0]) > 0.01


def test_pairs_watch_the_activation():
    model = mlp(lambda: GeneralRelu(0.1, 0.4))
    assert (lsuv_init(model, x, modules=[tuple(b) for b in model]).n_iter == 1).all()
    for a in outputs(model, x, 1): assert abs(a.mean()) < 2e-3 and abs(a.std(correction=0) - 1) < 2e-3
    model = mlp(nn.GELU)
    table = lsuv_init(model, x, modules=[tuple(b) for b in model])
    for a in outputs(model, x, 1): assert abs(a.std(correction=0) - 1) < 2e-3
    assert (table.n_iter > 1).all()


def test_chosen_modules_only():
    model = mlp()
    before = state(model)
    table = lsuv_init(model, x, modules=[model[2][0]])
    assert table.layer.tolist() == ['2.0']
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert changed == ['2.0.weight', '2.0.bias']


def test_modes_grad_and_dropout():
    model = nn.Sequential(nn.Linear(12, 20), nn.Dropout(0.9), nn.Linear(20, 3))
    model[2].eval()
    lsuv_init(model, x)
    assert [m.training for m in model.modules()] == [True, True, True, False]
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert model.eval()(x).std(correction=0).item() == pytest.approx(1, abs=2e-3)  # measured without dropout


def test_several_inputs_and_a_shared_module():
    class Both(nn.Module):
        def __init__(self): super().__init__(); self.lin = nn.Linear(12, 5)
        def forward(self, a, b): return torch.cat([self.lin(a), self.lin(b)])
    set_seed(0)
    model = Both()
    lsuv_init(model, (x, 3*x))
    assert model(x, 3*x).std(correction=0).item() == pytest.approx(1, abs=2e-3)


def dead():
    model = mlp()
    with torch.no_grad(): [p.zero_() for p in model[1][0].parameters()]
    return model


def tied():
    set_seed(0)
    model = nn.Sequential(nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 12))
    model[2].weight = model[0].weight
    return model


@pytest.mark.parametrize('make,kwargs,error,message', [
    (dead, {}, ValueError, "layer '1.0': the standard deviation of the output is"),
    (tied, {}, RuntimeError, 'does it share its weight'),
    (lambda: mlp(nn.Tanh), dict(modules=lambda m: [tuple(b) for b in m]), RuntimeError, 'after 10 corrections'),
    (lambda: nn.Sequential(nn.ReLU()), {}, ValueError, 'no layers found'),
    (mlp, dict(modules=lambda m: []), ValueError, 'no layers found'),
    (mlp, dict(modules=lambda m: [nn.Linear(2, 2)]), ValueError, 'not both are parts of the model'),
    (mlp, dict(modules=lambda m: [m[0][1]]), ValueError, "layer '0.1' has no weight"),
    (mlp, dict(xb=x*float('nan')), ValueError, 'standard deviation of the output is nan'),
    (mlp, dict(xb=torch.zeros(5, 3)), RuntimeError, 'shapes cannot be multiplied'),
    (mlp, dict(tol=0), ValueError, 'tol must be positive'),
    (mlp, dict(max_iter=0), ValueError, 'max_iter must be at least 1, not 0'),
])
def test_errors_leave_the_model_as_it_was(make, kwargs, error, message):
    model = make()
    before, kwargs = state(model), dict(kwargs)
    if 'modules' in kwargs: kwargs['modules'] = kwargs['modules'](model)
    batch = kwargs.pop('xb', x)
    with pytest.raises(error, match=message): lsuv_init(model, batch, **kwargs)
    assert unchanged(model, before) and n_hooks(model) == 0 and all(m.training for m in model.modules())


def test_module_that_does_not_run():
    model = nn.Sequential(nn.Linear(12, 3))
    model[0].spare = nn.Linear(2, 2)
    assert lsuv_init(nn.ModuleList([model])[0], x, modules=[model[0]]).layer.tolist() == ['0']
    with pytest.raises(ValueError, match=r"modules \['0.spare'\] were not called"): lsuv_init(model, x, modules=[model[0].spare])
