"""Losses against PyTorch and against closed forms, over shapes, precisions, magnitudes, masks and ignored targets."""
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from scipy import special

from mylib.losses import (LabelSmoothingCrossEntropy, _door, accuracy, cross_entropy, error_rate, log_softmax, logsumexp, mse_loss, nll_loss,
                          softmax)

TOL = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 0.03}
dtypes = st.sampled_from(list(TOL))
reductions = st.sampled_from(['mean', 'sum', 'none'])
shapes = st.tuples(st.integers(1, 6), st.integers(1, 7)).flatmap(
    lambda nc: st.lists(st.integers(1, 3), max_size=2).map(lambda d: (*nc, *d)))
seeds = st.integers(0, 2**16)
quick = settings(max_examples=60, deadline=None)


def value_and_grad(f, x):
    "The value of `f` at a fresh copy of `x`, and the gradient of its randomly weighted sum: nothing of an earlier check can survive."
    x = x.detach().clone().requires_grad_()
    out = f(x)
    w = torch.randn(out.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(out) if out.ndim else None
    return out.detach(), torch.autograd.grad(out, x, w)[0]


def agree(ours, theirs, x, theirs_x=None):
    for a, b in zip(value_and_grad(ours, x), value_and_grad(theirs, x if theirs_x is None else theirs_x)):
        assert a.dtype == x.dtype and a.shape == b.shape
        torch.testing.assert_close(a.double(), b.double(), rtol=TOL[x.dtype], atol=TOL[x.dtype])


def draw(shape, seed, scale=3., offset=0., mask=0.):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=g, dtype=torch.float64)*scale + offset
    hidden = torch.rand(shape, generator=g) < mask
    hidden[:, 0] = False
    return x.masked_fill(hidden, -torch.inf), torch.randint(0, shape[1], shape[:1] + shape[2:], generator=g)


@quick
@given(shapes, seeds, dtypes, st.sampled_from([1., 30., 1e4]), st.sampled_from([0., 1e4, -1e4]), st.sampled_from([0., 0.4]))
def test_elementary_functions_are_right_at_any_size(shape, seed, dtype, scale, offset, mask):
    x = draw(shape, seed, scale, offset, mask)[0].to(dtype)
    for ours, theirs in [(softmax, torch.softmax), (log_softmax, torch.log_softmax), (logsumexp, torch.logsumexp)]:
        agree(lambda x: ours(x, 1), lambda x: theirs(x, 1), x, x.double())
    assert (logsumexp(x, 1) >= x.amax(1)).all() or dtype is torch.bfloat16


@quick
@given(shapes, seeds)
def test_default_axis_is_the_last(shape, seed):
    x = draw(shape, seed)[0]
    for f, g in [(softmax, special.softmax), (log_softmax, special.log_softmax), (logsumexp, special.logsumexp)]:
        np.testing.assert_allclose(f(x), g(x.numpy(), axis=-1), rtol=1e-10, atol=1e-12)


@quick
@given(shapes, seeds, dtypes, reductions, st.sampled_from([1., 30., 1e4]), st.booleans())
def test_cross_entropy_equals_torch(shape, seed, dtype, reduction, scale, padded):
    x, t = draw(shape, seed, scale)
    if padded: t.view(-1)[::2] = -100
    if reduction == 'mean' and (t == -100).all(): t.view(-1)[0] = 0
    agree(lambda x: cross_entropy(x, t, reduction=reduction), lambda x: F.cross_entropy(x, t, reduction=reduction), x.to(dtype))
    agree(lambda x: nll_loss(log_softmax(x, 1), t, reduction=reduction), lambda x: F.cross_entropy(x, t, reduction=reduction), x.to(dtype))


@quick
@given(shapes, seeds, reductions, st.floats(0, 1), st.booleans())
def test_label_smoothing_equals_torch(shape, seed, reduction, eps, padded):
    x, t = draw(shape, seed)
    if padded and t.numel() > 1: t.view(-1)[0] = -100
    agree(lambda x: LabelSmoothingCrossEntropy(eps, reduction=reduction)(x, t),
          lambda x: F.cross_entropy(x, t, label_smoothing=eps, reduction=reduction), x)


@quick
@given(shapes, seeds, st.sampled_from([1., 1e4]))
def test_gradient_is_softmax_minus_one_hot(shape, seed, scale):
    x, t = draw(shape, seed, scale)
    one_hot = torch.zeros_like(x).scatter_(1, t.unsqueeze(1), 1.)
    _, grad = value_and_grad(lambda x: cross_entropy(x, t), x)
    torch.testing.assert_close(grad, (softmax(x, 1) - one_hot)/t.numel(), rtol=1e-10, atol=1e-12)


@quick
@given(shapes, seeds)
def test_gradcheck(shape, seed):
    x, t = draw(shape, seed)
    x.requires_grad_()
    for f in (lambda x: cross_entropy(x, t), lambda x: LabelSmoothingCrossEntropy(0.2)(x, t), lambda x: logsumexp(x, 1), lambda x: softmax(x, 1),
              lambda x: mse_loss(x, torch.ones_like(x))):
        assert torch.autograd.gradcheck(f, x)


@quick
@given(shapes, seeds, st.floats(-1e3, 1e3))
def test_only_differences_of_logits_count(shape, seed, offset):
    x, t = draw(shape, seed)
    torch.testing.assert_close(cross_entropy(x + offset, t), cross_entropy(x, t), rtol=1e-9, atol=1e-9)


@quick
@given(shapes, seeds, reductions, dtypes)
def test_mse_equals_torch(shape, seed, reduction, dtype):
    x = draw(shape, seed)[0].to(dtype)
    y = draw(shape, seed + 1)[0].to(dtype)
    agree(lambda x: mse_loss(x, y, reduction=reduction), lambda x: F.mse_loss(x, y, reduction=reduction), x)


@quick
@given(shapes, seeds, st.booleans())
def test_accuracy_counts(shape, seed, padded):
    x, t = draw(shape, seed)
    if padded and t.numel() > 1: t.view(-1)[0] = -100
    rows, marks = x.movedim(1, -1).reshape(-1, shape[1]).tolist(), t.flatten().tolist()
    right = [r.index(max(r)) == m for r, m in zip(rows, marks) if m != -100]
    acc = accuracy(x, t)
    assert acc.ndim == 0 and acc.dtype == torch.float32
    assert acc.item() == pytest.approx(sum(right)/len(right))
    assert error_rate(x, t).item() == pytest.approx(1 - sum(right)/len(right), abs=1e-6)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_logits_of_ten_thousand(dtype):
    x, t = torch.tensor([[1e4, 0., -1e4], [1e4, 1e4, -1e4]], dtype=dtype), torch.tensor([2, 0])
    loss, grad = value_and_grad(lambda x: cross_entropy(x, t, reduction='none').sum(), x)
    assert loss.item() == pytest.approx(2e4 + math.log(2), rel=5e-3) and torch.equal(grad, torch.tensor([[1, 0, -1], [-.5, .5, 0]], dtype=dtype))
    assert value_and_grad(logsumexp, torch.tensor([1e4, 1e4], dtype=dtype))[1].tolist() == [0.5, 0.5]


def test_logsumexp_of_nothing_and_of_infinity():
    x = torch.tensor([[-torch.inf, -torch.inf], [torch.inf, 0.]])
    assert logsumexp(x).tolist() == [-torch.inf, torch.inf]


def test_activation_is_a_softmax_over_the_classes():
    x = torch.randn(2, 5, 3)
    for loss in (cross_entropy, LabelSmoothingCrossEntropy()):
        torch.testing.assert_close(loss.activation(x), x.softmax(1))
        torch.testing.assert_close(loss.activation(x[:, :, 0]), x[:, :, 0].softmax(-1))


logits = torch.randn(4, 3)
ids = torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize('loss', [cross_entropy, nll_loss, LabelSmoothingCrossEntropy(), LabelSmoothingCrossEntropy(0)])
@pytest.mark.parametrize('x, t, error, says', [
    (logits, ids.float(), TypeError, r'targets is a tensor of float32; .* Use targets.long\(\)'),
    (logits, ids.int(), TypeError, 'targets is a tensor of int32'),
    (logits, ids.tolist(), TypeError, 'targets is of type list'),
    (logits.long(), ids, TypeError, 'logits is a tensor of int64'),
    (logits.numpy(), ids, TypeError, 'logits is of type ndarray'),
    (logits, ids[:, None], ValueError, r'targets has shape \(4, 1\); expected \(4,\).*Use targets.squeeze\(1\)'),
    (logits, ids[:3], ValueError, r'targets has shape \(3,\); expected \(4,\)'),
    (logits[0], ids[0], ValueError, r'logits\[None\]'),
    (logits[:, :, None], ids, ValueError, r'expected \(4, 1\)'),
    (logits, ids + 1, IndexError, 'from 1 to 3; logits has 3 classes, so expected 0 to 2'),
    (logits, ids - 1, IndexError, 'from -1 to 1'),
])
def test_the_door(loss, x, t, error, says):
    with pytest.raises(error, match=says): loss(x, t)


def test_the_door_of_the_others():
    with pytest.raises(ValueError, match=r'Use targets.squeeze\(1\)'): accuracy(logits, ids[:, None])
    with pytest.raises(ValueError, match=r'Use preds.squeeze\(-1\)'): mse_loss(torch.zeros(4, 1), torch.zeros(4))
    with pytest.raises(ValueError, match='entries the other lacks'): mse_loss(torch.zeros(4), torch.zeros(()))
    with pytest.raises(TypeError, match='targets a tensor of int64'): mse_loss(torch.zeros(4), ids)
    with pytest.raises(ValueError, match='eps is the share'): LabelSmoothingCrossEntropy(-0.1)
    with pytest.raises(ValueError, match='reduction is'): LabelSmoothingCrossEntropy(reduction='avg')
    with pytest.raises(ValueError, match='reduction'): cross_entropy(logits, ids, reduction='avg')
    assert _door(logits, ids) is None


def test_masked_classes_need_no_smoothing():
    x = torch.tensor([[0., -torch.inf, 0.]])
    assert cross_entropy(x, torch.tensor([0])).item() == pytest.approx(math.log(2))
    assert LabelSmoothingCrossEntropy(0)(x, torch.tensor([0])).isfinite() and LabelSmoothingCrossEntropy(0.1)(x, torch.tensor([0])).isinf()
