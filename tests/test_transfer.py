"Cutting, heads, groups, freezing and fine-tuning against hooks, closed forms, PyTorch's optimizers, and fastai where it is installed."
import copy, math
from functools import partial

import peers
import pytest
import torch
import torch.nn.functional as F
from fastcore.test import expect_fail
from hypothesis import given, settings
from hypothesis import strategies as st
from mylib.dataloader import DataLoader, DataLoaders, TensorDataset
from mylib.hooks import Hook
from mylib.learner import Callback, Learner, accuracy
from mylib.losses import cross_entropy
from mylib.norm import BatchNorm, RunningBatchNorm
from mylib.optim import SGD, AdamW
from mylib.schedule import SchedCB, sched_no
from mylib.transfer import AdaptiveConcatPool2d, FrozenNormCB, ResizeCB, create_head, cut_model, even_mults
from mylib.xresnet import CLASSIC, XResNet, xresnet18
from torch import nn
from torch.testing import assert_close

OPTS = [SGD, partial(SGD, momentum=0.9, weight_decay=0.1), AdamW, partial(torch.optim.AdamW, weight_decay=0.1), partial(torch.optim.SGD, momentum=0.9, weight_decay=0.1)]


@pytest.fixture(autouse=True)
def one_seed(): torch.manual_seed(0)


def net(n_out=3): return XResNet(1, (1, 1), c_in=1, n_out=n_out, widths=(4, 8), stem='small')
def transferred(norm=nn.BatchNorm2d): return nn.Sequential(cut_model(XResNet(1, (1, 1), c_in=1, widths=(4, 8), stem='small', norm=norm)), create_head(8, 3, ps=0.))
def three(m): return [m[0][:2], m[0][2:], m[1]]


def learner(model=None, opt_func=SGD, lr=0.1, side=6, splitter=three):
    x, y = torch.randn(40, 1, side, side, generator=torch.Generator().manual_seed(5)), torch.arange(40) % 3
    dls = DataLoaders(DataLoader(TensorDataset(x, y), 10, shuffle=True, seed=1), DataLoader(TensorDataset(x, y), 20))
    learn = Learner(model or transferred(), dls, cross_entropy, lr, opt_func, metrics=accuracy, device='cpu')
    if splitter: learn.split(splitter)
    return learn


def fit(learn, *args, **kwargs):
    with learn.no_progress(): learn.fit(*args, **kwargs)
    return learn


def changed(model, before): return [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]


# cut

@pytest.mark.parametrize('model', [net(), XResNet(1, (1, 1), c_in=1, n_out=3, widths=(4, 8)), XResNet(4, (1, 1), c_in=1, n_out=3, widths=(4, 8), sa=True, **CLASSIC)])
def test_the_body_gives_what_is_pooled(model):
    x, seen = torch.randn(2, 1, 16, 16), []
    model.eval()
    with Hook(model.pool, lambda hook, m, inp, out: seen.append(inp[0])): model(x)
    body = cut_model(model)
    assert torch.equal(body(x), seen[0])
    assert {id(p) for p in body.parameters()} < {id(p) for p in model.parameters()}


class Functional(nn.Module):
    "As torchvision's ResNets: the pool and the last layer are children, the flattening is in forward."
    def __init__(self):
        super().__init__()
        self.conv, self.maxpool, self.late, self.avgpool, self.fc = nn.Conv2d(1, 3, 3), nn.MaxPool2d(2), nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(5, 2)
    def forward(self, x): return self.fc(self.avgpool(self.late(self.maxpool(self.conv(x)))).flatten(1))


def test_cut_takes_the_last_pool_and_keeps_names():
    m, x = Functional(), torch.randn(2, 1, 12, 12)
    assert [k for k, _ in cut_model(m).named_children()] == ['conv', 'maxpool', 'late']
    assert torch.equal(m.fc(cut_model(m, -1)(x).flatten(1)), m(x))
    assert [k for k, _ in cut_model(m, 1).named_children()] == ['conv']
    assert cut_model(m, lambda m: m.late) is m.late


@pytest.mark.parametrize('cut,error,message', [(0, ValueError, 'leaves nothing'), (-5, ValueError, 'leaves nothing'), (-6, ValueError, 'cut must be at least -5'), (1.5, TypeError, 'cut must be an integer')])
def test_bad_cuts(cut, error, message):
    with expect_fail(error, message): cut_model(Functional(), cut)


def test_nothing_pools():
    with expect_fail(ValueError, 'Sequential has no child that pools, among 0, 1: pass cut'): cut_model(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))


# head

@settings(max_examples=15)
@given(nf=st.integers(1, 6), n_out=st.integers(1, 5), hidden=st.lists(st.integers(1, 6), max_size=2), concat=st.booleans(), h=st.integers(1, 5), w=st.integers(1, 5), seed=st.integers(0, 99))
def test_head(nf, n_out, hidden, concat, h, w, seed):
    torch.manual_seed(seed)
    head, x = create_head(nf, n_out, hidden, 0.4, concat).eval(), torch.randn(4, nf, h, w)
    assert torch.equal(head(x), torch.zeros(4, n_out))
    linears = [m for m in head if isinstance(m, nn.Linear)]
    sizes = [nf*(2 if concat else 1), *hidden, n_out]
    assert [(m.in_features, m.out_features) for m in linears] == list(zip(sizes, sizes[1:]))
    assert [m.p for m in head if isinstance(m, nn.Dropout)] == [0.2]*len(hidden) + [0.4]
    assert [m.num_features for m in head if isinstance(m, nn.BatchNorm1d)] == sizes[:-1]
    for m in linears: nn.init.normal_(m.weight)
    out = torch.cat([x.flatten(2).amax(2), x.flatten(2).mean(2)], 1) if concat else x.flatten(2).mean(2)
    for i, m in enumerate(linears): out = F.linear(out/math.sqrt(1 + 1e-5), m.weight, m.bias) if i == 0 else F.linear(out.relu()/math.sqrt(1 + 1e-5), m.weight, m.bias)
    assert_close(head(x), out)


def test_hidden_layers_begin_with_kaiming():
    w = create_head(200, 3, (300,), concat_pool=False)[4].weight
    assert abs(w.std().item()*math.sqrt(200/2) - 1) < 0.05


def test_a_zero_head_sends_nothing_down_and_learns():
    m = transferred()
    loss = F.cross_entropy(m(torch.randn(9, 1, 6, 6)), torch.arange(9) % 3)
    loss.backward()
    assert_close(loss.item(), math.log(3), atol=1e-6, rtol=0)
    assert not any(p.grad.any() for p in m[0].parameters()) and m[1][-1].weight.grad.any()


def test_concat_pool():
    x = torch.randn(2, 3, 4, 5)
    assert_close(AdaptiveConcatPool2d()(x), torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)[..., None, None])


@pytest.mark.parametrize('args,message', [((0, 2), 'nf must be at least 1'), ((2, 0), 'n_out must be at least 1'), ((2, 2, (0,)), 'lin_ftrs must be at least 1'), ((2, 2, (), 1.), 'ps must be a share'), ((2, 2, (), -0.1), 'ps must be a share')])
def test_bad_heads(args, message):
    with expect_fail(ValueError, message): create_head(*args)


# groups

def test_groups_are_the_parts():
    learn = learner()
    learn.create_opt(0.3)
    assert [[id(p) for p in g['params']] for g in learn.opt.param_groups] == [[id(p) for p in o.parameters()] for o in three(learn.model)]
    assert [g['lr'] for g in learn.opt.param_groups] == [0.3]*3


def test_without_parts_nothing_changes():
    learn, given = learner(splitter=None), []
    learn.opt_func = lambda ps, lr: given.append(ps := list(ps)) or SGD(ps, lr=lr)
    learn.create_opt()
    assert all(isinstance(p, nn.Parameter) for p in given[0]) and len(given[0]) == len(list(learn.model.parameters()))


def test_parts_may_be_lists_and_parameters():
    class Scaled(nn.Module):
        def __init__(self): super().__init__(); self.a, self.b, self.scale = nn.Linear(2, 2), nn.Linear(2, 2), nn.Parameter(torch.ones(()))
    learn = learner(Scaled(), splitter=lambda m: [[m.a, m.scale], (m.b,)])
    learn.create_opt()
    assert [len(g['params']) for g in learn.opt.param_groups] == [3, 2]


def test_shared_parameters_count_once_with_the_first():
    m = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    m[2].weight = m[0].weight
    learn = learner(m, splitter=lambda m: [m[0], m[2]])
    learn.create_opt()
    assert [len(g['params']) for g in learn.opt.param_groups] == [2, 1]


@pytest.mark.parametrize('splitter,error,message', [
    (lambda m: [m[0]], ValueError, 'no part has 1.2.weight'), (lambda m: [m, m[1]], ValueError, 'part 1 has no parameters of its own'),
    (lambda m: [m[0], nn.Linear(1, 1), m[1]], ValueError, '2 parameters of the parts are not in the model'), (lambda m: ['0', m], TypeError, 'a part must be a module'),
    (lambda m: [[]], ValueError, 'part 0')])
def test_bad_splitters(splitter, error, message):
    learn = learner(splitter=None)
    with expect_fail(error, message): learn.split(splitter)
    fit(learn, 1)


def test_split_drops_the_optimizer():
    learn = fit(learner(splitter=None), 1)
    learn.split(three)
    assert len(fit(learn, 1).opt.param_groups) == 3


def test_rates_arrive():
    rates, model = [0.01, 0.05, 0.2], transferred()
    ours = learner(copy.deepcopy(model), partial(SGD, momentum=0.9))
    opt = torch.optim.SGD([dict(params=list(o.parameters()), lr=r) for o, r in zip(three(model), rates)], momentum=0.9)
    dl = copy.deepcopy(ours.dls.train)
    for _ in range(2):
        for xb, yb in dl:
            F.cross_entropy(model(xb), yb).backward()
            opt.step(); opt.zero_grad()
    fit(ours, 2, cbs=SchedCB(lr=[sched_no(r) for r in rates]))
    for a, b in zip(ours.model.parameters(), model.parameters()): assert_close(a, b)


@settings(max_examples=25)
@given(a=st.floats(1e-6, 1), b=st.floats(1e-6, 1), n=st.integers(2, 8))
def test_even_mults(a, b, n):
    got = even_mults(a, b, n)
    assert len(got) == n
    assert_close(torch.tensor(got), torch.logspace(math.log10(a), math.log10(b), n), rtol=1e-4, atol=0)


def test_even_mults_at_the_door():
    assert even_mults(0.1, 0.2, 1) == [0.2]
    with expect_fail(ValueError, 'start must be a positive number'): even_mults(0, 1, 3)
    with expect_fail(ValueError, 'n must be at least 1'): even_mults(0.1, 1, 0)


# freeze

@pytest.mark.parametrize('opt_func', OPTS)
@pytest.mark.parametrize('n', [1, 2, -1, -2])
def test_frozen_outright_is_bit_for_bit(opt_func, n):
    learn = fit(learner(opt_func=opt_func), 1)
    for p in learn.model.parameters(): p.grad = torch.zeros_like(p)
    learn.freeze_to(n, train_bn=False)
    assert all((p.grad is None) for p in learn.model.parameters())
    before = [copy.deepcopy(o.state_dict()) for o in three(learn.model)]
    fit(learn, 2)
    moved = [bool(changed(o, b)) for o, b in zip(three(learn.model), before)]
    assert moved == [i >= n % 3 for i in range(3)]


@pytest.mark.parametrize('norm', [nn.BatchNorm2d, BatchNorm, RunningBatchNorm])
def test_norms_of_frozen_groups(norm):
    learn = learner(transferred(norm))
    learn.freeze()
    body = learn.model[0]
    norms = {k for k, m in body.named_modules() if isinstance(m, norm)}
    assert {k for k, p in body.named_parameters() if p.requires_grad} == {f'{k}.{w}' for k in norms for w in ('weight', 'bias')}
    before = copy.deepcopy(body.state_dict())
    fit(learn, 1)
    assert {k.rpartition('.')[0] for k in changed(body, before)} == norms
    learn.freeze(train_bn=False)
    before = copy.deepcopy(body.state_dict())
    fit(learn, 1)
    assert changed(body, before) == [] and not any(p.requires_grad for p in body.parameters())


def test_frozen_norms_use_the_old_statistics():
    learn, modes = learner(), []
    class Look(Callback):
        order = 99
        def before_batch(self, learn): modes.append((learn.training, [m.training for m in learn.model.modules() if isinstance(m, nn.BatchNorm2d)], learn.model[1][2].training))
    learn.freeze(train_bn=False)
    fit(learn, 1, cbs=Look)
    assert all(not any(body) and head == training for training, body, head in modes)
    learn.unfreeze(); modes.clear()
    fit(learn, 1, cbs=Look)
    assert all(body == [training]*len(body) for training, body, _ in modes)


def test_other_layers_of_frozen_groups_stay_in_training_mode():
    m = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.Dropout(0.5), nn.BatchNorm1d(4, affine=False)), nn.Linear(4, 3))
    learn, seen = learner(m, splitter=lambda m: [m[0], m[1]]), []
    class Look(Callback):
        def before_batch(self, learn): seen.append(learn.model[0][2].training == learn.training)
    learn.freeze(train_bn=False)
    fit(learn, 1, cbs=Look)
    assert all(seen)


def test_one_callback_however_often():
    learn = learner()
    for _ in range(3): learn.freeze(); learn.unfreeze()
    assert sum(isinstance(cb, FrozenNormCB) for cb in learn.cbs) == 1


def test_unfreeze_thaws_all():
    learn = fit(learner(), 1)
    learn.freeze(False)
    assert learn.opt is None
    fit(learn, 1)
    learn.unfreeze()
    assert all(p.requires_grad for p in learn.model.parameters()) and learn.opt is None
    before = copy.deepcopy(learn.model.state_dict())
    fit(learn, 2)
    assert set(changed(learn.model, before)) == set(before)


def test_gradual_unfreezing():
    learn = learner()
    counts = []
    for n in (-1, -2, -3):
        learn.freeze_to(n, train_bn=False)
        counts.append([all(p.requires_grad for p in o.parameters()) for o in three(learn.model)])
    assert counts == [[False, False, True], [False, True, True], [True]*3]


def test_freezing_at_the_door():
    learn = learner(splitter=None)
    with expect_fail(ValueError, 'the model is one group'): learn.freeze()
    learn.unfreeze()
    for n in (1, -2):
        with expect_fail(ValueError, f'n={n} is no group: there are 1'): learn.freeze_to(n)
    learn.split(three)
    for n in (3, -4):
        with expect_fail(ValueError, 'numbered from 0'): learn.freeze_to(n)


def test_lr_find_leaves_a_frozen_body_alone():
    learn = learner()
    learn.freeze(train_bn=False)
    before = copy.deepcopy(learn.model.state_dict())
    try: learn.lr_find(n_iter=12, show=False)
    except ValueError: pass  # no suggestion for so small a problem; what matters is what it leaves
    assert changed(learn.model, before) == []


def test_nothing_is_kept_for_a_frozen_body():
    learn = learner()
    learn.freeze(train_bn=False)
    learn.model.train()
    FrozenNormCB().before_epoch(type('L', (), dict(training=True, model=learn.model)))
    assert learn.model[0](torch.randn(2, 1, 6, 6)).grad_fn is None


# fine_tune

@pytest.mark.parametrize('freeze_epochs,mult,train_bn', [(1, 100., True), (2, 4., False), (0, 9., True)])
def test_fine_tune_is_its_steps(freeze_epochs, mult, train_bn):
    model = transferred()
    a, b = (learner(copy.deepcopy(model), AdamW, 0.02) for _ in range(2))
    with a.no_progress(), b.no_progress():
        a.fine_tune(2, freeze_epochs=freeze_epochs, lr_mult=mult, train_bn=train_bn, div=7)
        lr = 0.02
        if freeze_epochs:
            b.freeze(train_bn)
            b.fit_one_cycle(freeze_epochs, lr, pct_start=0.99)
            lr = 0.01
        b.unfreeze()
        b.fit_one_cycle(2, [lr/mult, lr/math.sqrt(mult), lr], div=7)
    for p, q in zip(a.model.state_dict().values(), b.model.state_dict().values()): assert_close(p, q)
    assert [max(g) for g in a.recorder.sched['lr']] == pytest.approx([lr/mult, lr/math.sqrt(mult), lr], rel=0.2)


def test_fine_tune_passes_callbacks_to_both_phases():
    fits = []
    class Count(Callback):
        def before_fit(self, learn): fits.append(sum(p.requires_grad for p in learn.model.parameters()))
    learn = learner()
    with learn.no_progress(): learn.fine_tune(1, 0.01, cbs=Count)
    assert len(fits) == 2 and fits[0] < fits[1] == len(list(learn.model.parameters()))


@pytest.mark.parametrize('kwargs,error,message', [(dict(n_epoch=0), ValueError, 'n_epoch must be at least 1'), (dict(n_epoch=1, base_lr=-1.), ValueError, 'lr must be a positive'),
                                                  (dict(n_epoch=1, lr_mult=0.5), ValueError, 'lr_mult divides'), (dict(n_epoch=1, freeze_epochs=-1), ValueError, 'freeze_epochs'),
                                                  (dict(n_epoch=1, wrong=1), TypeError, 'wrong')])
def test_fine_tune_at_the_door(kwargs, error, message):
    learn = learner()
    before = copy.deepcopy(learn.model.state_dict())
    with expect_fail(error, message), learn.no_progress(): learn.fine_tune(**kwargs)
    assert 'wrong' in kwargs or changed(learn.model, before) == []


def test_fine_tune_needs_parts():
    with expect_fail(ValueError, 'the model is one group'): learner(splitter=None).fine_tune(1)
    learn = learner(splitter=None)
    with learn.no_progress(): learn.fine_tune(1, freeze_epochs=0)
    assert len(learn.opt.param_groups) == 1


# resize

@settings(max_examples=15)
@given(c=st.integers(1, 3), h=st.integers(2, 12), side=st.integers(1, 14), seed=st.integers(0, 99))
def test_resize(c, h, side, seed):
    torch.manual_seed(seed)
    x, y = torch.rand(2, c, h, h), torch.tensor([0, 1])
    learn = type('L', (), dict(batch=(x, y)))
    ResizeCB(side).before_batch(learn)
    got, targets = learn.batch
    assert got.shape == (2, c, side, side) and targets is y
    assert got.min() >= x.min() - 1e-6 and got.max() <= x.max() + 1e-6
    if side == h: assert_close(got, x)
    wide = type('L', (), dict(batch=(torch.eye(64)[None, None], y)))
    ResizeCB(4).before_batch(wide)
    assert wide.batch[0][0, 0, 0, 3] == 0 and wide.batch[0].diagonal(dim1=2, dim2=3).max() < 0.2  # averaged, where plain bilinear samples a few pixels


def test_resize_in_training_and_validation():
    learn, sides = learner(), []
    class Look(Callback):
        def before_batch(self, learn): sides.append((learn.training, learn.batch[0].shape[-1]))
    fit(learn, 1, cbs=[Look, ResizeCB(3)])
    assert set(sides) == {(True, 3), (False, 3)}


def test_resize_at_the_door():
    with expect_fail(ValueError, 'side must be at least 1'): ResizeCB(0)
    with expect_fail(ValueError, 'both write'): fit(learner(), 1, cbs=[ResizeCB(3), ResizeCB(4)])
    for x in (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, 4)):
        with expect_fail(ValueError, 'ResizeCB needs images'): ResizeCB(3).before_batch(type('L', (), dict(batch=(x, None))))


# fastai

def test_like_fastai():
    peers.or_skip(peers.torchvision)
    pytest.importorskip('fastai')
    from fastai.callback.schedule import even_mults as theirs
    from fastai.layers import AdaptiveConcatPool2d as Pool
    from fastai.vision.learner import create_body
    from fastai.vision.learner import create_head as fastai_head
    x = torch.randn(2, 3, 5, 5)
    assert_close(AdaptiveConcatPool2d()(x), Pool(1)(x))
    assert_close(even_mults(1e-5, 1e-2, 4), [float(v) for v in theirs(1e-5, 1e-2, 4)])
    m = xresnet18(10, widths=(4, 4, 8, 8), **CLASSIC).eval()
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(cut_model(m)(x), create_body(m, pretrained=False)(x))
    ours, theirs = create_head(8, 5, ps=0.3), fastai_head(8, 5, lin_ftrs=[], ps=0.3)
    assert [(type(m).__name__, str(m)) for m in list(ours)[2:4]] == [(type(m).__name__, str(m)) for m in list(theirs)[2:4]]
    theirs[2].bias.data.zero_()  # fastai begins with 0.001
    theirs[-1].weight.data.copy_(nn.init.normal_(ours[-1].weight))
    maps = torch.randn(4, 8, 3, 3)
    assert_close(ours.eval()(maps), theirs.eval()(maps))
