"MixUp and CutMix: each image with its own share, against loops and PyTorch's soft targets."
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mylib.core import set_seed
from mylib.dataloader import DataLoader, DataLoaders, TensorDataset
from mylib.learner import Callback, Learner, Recorder, accuracy
from mylib.losses import LabelSmoothingCrossEntropy, cross_entropy, mse_loss
from mylib.mixup import CutMixCB, MixUpCB, _MixedLoss, _unreduced


class FixedCB(MixUpCB):
    def __init__(self, lam, perm): super().__init__(); self.fixed = lam, perm
    def draw(self, n, device='cpu'): return self.fixed


def fit(model, x, y, loss, mix, n_epoch=1, **kwargs):
    ds = TensorDataset(x, y)
    learn = Learner(model, DataLoaders(DataLoader(ds, len(x)), DataLoader(ds, len(x))), loss, 0.1, device='cpu', **kwargs)
    with learn.no_progress(): learn.fit(n_epoch, cbs=mix)
    return learn


@given(st.integers(1, 9), st.integers(2, 6), st.sampled_from([(), (5,), (3, 4)]), st.integers(0, 99))
def test_inputs_are_mixed_image_by_image(n, d, rest, seed):
    set_seed(seed)
    x, cb = torch.randn(n, d, *rest), MixUpCB(1.)
    out = cb.mix(x)
    assert cb.lam.shape == (n,) and sorted(cb.perm.tolist()) == list(range(n))
    for i in range(n): torch.testing.assert_close(out[i], cb.lam[i]*x[i] + (1 - cb.lam[i])*x[cb.perm[i]])


@given(st.integers(1, 7), st.integers(2, 5), st.sampled_from([(), (3,)]), st.sampled_from([0., 0.1, 0.7]), st.integers(0, 99))
def test_loss_and_gradient_are_those_of_soft_targets(n, c, places, eps, seed):
    set_seed(seed)
    lam, perm = torch.rand(n, dtype=torch.float64), torch.randperm(n)
    logits, y = torch.randn(n, c, *places, dtype=torch.float64, requires_grad=True), torch.randint(c, (n, *places))
    cb, learn = FixedCB(lam, perm), type('L', (), dict(training=True, loss_func=LabelSmoothingCrossEntropy(eps)))()
    cb.lam, cb.perm, cb.targets = lam, perm, y
    ours = _MixedLoss(cb, learn)(logits, y)
    hot = F.one_hot(y, c).double().movedim(-1, 1)
    share = lam.view(-1, *[1]*(hot.ndim - 1))
    theirs = F.cross_entropy(logits, share*hot + (1 - share)*hot[perm], label_smoothing=eps)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(o, logits, retain_graph=True)[0] for o in (ours, theirs)))


def test_ignored_targets_count_for_nothing():
    set_seed(0)
    logits, y = torch.randn(6, 4), torch.tensor([0, 1, -100, 3, -100, 2])
    learn = type('L', (), dict(training=True, loss_func=staticmethod(cross_entropy)))()
    for lam, own in ((torch.ones(6), y), (torch.zeros(6), y.flip(0))):
        cb = FixedCB(lam, torch.arange(5, -1, -1))
        cb.lam, cb.perm, cb.targets = lam, cb.fixed[1], y
        torch.testing.assert_close(_MixedLoss(cb, learn)(logits, y), F.cross_entropy(logits, own))


@pytest.mark.parametrize('loss', [cross_entropy, F.cross_entropy, LabelSmoothingCrossEntropy(0.1), nn.CrossEntropyLoss()])
def test_shares_of_one_change_nothing(loss):
    set_seed(0)
    x, y, runs = torch.randn(8, 5), torch.randint(3, (8,)), []
    for cb in (None, FixedCB(torch.ones(8), torch.randperm(8))):
        set_seed(1)
        learn = fit(nn.Linear(5, 3), x, y, loss, cb, n_epoch=3)
        runs.append((learn.recorder.losses, [p.clone() for p in learn.model.parameters()]))
    assert runs[0][0] == pytest.approx(runs[1][0], rel=1e-6)
    for p, q in zip(runs[0][1], runs[1][1]): torch.testing.assert_close(p, q)


def test_metrics_in_training_take_the_main_ingredient_and_validation_is_pure():
    x = torch.eye(4)*10
    y, perm = torch.arange(4), torch.tensor([1, 0, 3, 2])
    model = nn.Linear(4, 4, bias=False)
    model.weight.data = torch.eye(4)
    learn = fit(model, x, y, cross_entropy, [FixedCB(torch.tensor([0.9, 0.1, 0.6, 0.3]), perm)], metrics=accuracy, cbs=Recorder(train_metrics=True))
    assert learn.recorder.rows[0]['train_accuracy'] == 1 and learn.recorder.rows[0]['accuracy'] == 1


def test_real_targets_are_mixed_for_the_metrics():
    seen = []
    class SpyCB(Callback):
        order = 90
        def after_loss(self, learn): seen.append(learn.batch[-1].clone())
    x, y = torch.randn(4, 2), torch.tensor([[0.], [1.], [2.], [3.]])
    fit(nn.Linear(2, 1), x, y, mse_loss, [FixedCB(torch.tensor([1., 0.5, 0.25, 0.]), torch.tensor([3, 2, 1, 0])), SpyCB()])
    torch.testing.assert_close(seen[0], torch.tensor([[0.], [1.5], [1.25], [0.]]))
    assert torch.equal(seen[1], y)


@given(st.integers(1, 6), st.integers(1, 12), st.integers(1, 12), st.sampled_from([0.2, 1., 5.]), st.integers(0, 99))
def test_cutmix_pastes_a_filled_rectangle_and_tells_its_share(n, h, w, alpha, seed):
    set_seed(seed)
    x, cb = torch.arange(1., n + 1).view(-1, 1, 1, 1).expand(n, 2, h, w), CutMixCB(alpha)
    out = cb.mix(x)
    for i in range(n):
        if cb.perm[i] == i: continue
        cut = out[i] == cb.perm[i] + 1
        assert torch.equal(cut, ~(out[i] == i + 1)) and torch.equal(cut[0], cut[1])
        assert cb.lam[i].item() == pytest.approx(1 - cut.float().mean().item(), abs=1e-6)
        rows, cols = cut[0].nonzero(as_tuple=True)
        assert len(rows) == 0 or len(rows) == (rows.max() - rows.min() + 1)*(cols.max() - cols.min() + 1)


def test_cutmix_leaves_the_expected_share():
    "Away from the edges, the pasted area is 1 - lam on average; with alpha=1 and boxes cut at the edges the mean share that stays is known by simulation in NumPy."
    import numpy as np
    set_seed(0)
    cb = CutMixCB(1.)
    cb.mix(torch.zeros(20000, 1, 32, 32))
    rng = np.random.default_rng(0)
    half = np.sqrt(1 - rng.random(200000))/2
    sides = [np.clip(c + half, 0, 1) - np.clip(c - half, 0, 1) for c in (rng.random(200000), rng.random(200000))]
    assert cb.lam.mean().item() == pytest.approx(1 - (sides[0]*sides[1]).mean(), abs=0.01)


def test_the_loss_comes_back_whatever_happens():
    class FailCB(Callback):
        def __init__(self, event, error): setattr(self, event, lambda learn: (_ for _ in ()).throw(error))
    x, y = torch.randn(8, 3), torch.randint(2, (8,))
    ds = TensorDataset(x, y)
    learn = Learner(nn.Linear(3, 2), DataLoaders(DataLoader(ds, 4), DataLoader(ds, 4)), cross_entropy, 0.1)
    for event in ('before_batch', 'after_loss', 'after_step', 'after_epoch'):
        for error in (ValueError('x'), KeyboardInterrupt()):
            with learn.no_progress(), pytest.raises(type(error)): learn.fit(1, cbs=[MixUpCB(), FailCB(event, error)])
            assert learn.loss_func is cross_entropy
    with learn.no_progress(): learn.fit(1, cbs=MixUpCB())
    assert learn.loss_func is cross_entropy


def test_a_killed_run_resumes_with_the_same_mixtures(tmp_path):
    from mylib.checkpoint import CheckpointCB
    class StopCB(Callback):
        def before_batch(self, learn):
            if learn.training and (learn.epoch, learn.iter) == (1, 2): raise KeyboardInterrupt
    def make():
        set_seed(0)
        ds = TensorDataset(torch.randn(40, 3), torch.arange(40) % 2)
        return Learner(nn.Linear(3, 2), DataLoaders.from_datasets(ds, ds, batch_size=8, seed=0), cross_entropy, 0.1)
    whole = make()
    with whole.no_progress(): whole.fit(3, cbs=MixUpCB())
    first = make()
    with first.no_progress(), pytest.raises(KeyboardInterrupt): first.fit(3, cbs=[MixUpCB(), CheckpointCB(tmp_path, every=1), StopCB()])
    second = make()
    set_seed(9)
    with second.no_progress(): second.fit(3, cbs=[MixUpCB(), CheckpointCB(tmp_path, every=1, resume=True)])
    assert second.recorder.losses == whole.recorder.losses


def test_refusals():
    x, y = torch.randn(4, 3), torch.randint(2, (4,))
    for alpha in (0, -1, float('inf'), float('nan')):
        with pytest.raises(ValueError, match='alpha must be a positive number'): MixUpCB(alpha)
    with pytest.raises(ValueError, match=r'cuts images \(n,c,h,w\)'): fit(nn.Linear(3, 2), x, y, cross_entropy, CutMixCB())
    with pytest.raises(TypeError, match='mixes floating point inputs, not torch.int64'): fit(nn.Embedding(3, 2), y, y, cross_entropy, MixUpCB())
    with pytest.raises(TypeError, match='has no reduction'): _unreduced(lambda p, t: p.mean())
    with pytest.raises(ValueError, match="both write 'loss_func'"): fit(nn.Linear(3, 2), x, y, cross_entropy, [MixUpCB(), CutMixCB()])
