"Lesson 03: losses."
import torch

from mylib.judge import call, case, entry, randn

inf = float('inf')


@entry('03.1', level=2, minutes=15, hints=[
    'Start from the formula, log of the sum of exp. Then ask what happens to it at a logit of 100, and which number you may subtract from all logits without changing the answer but for that number.',
    'Subtract the maximum along `dim`, with `keepdim=True` so that it lines up, and add it again after the logarithm. It needs no gradient. At the end the axis has to disappear.',
    'Where the maximum is infinite, the difference is -inf minus -inf. Shift such rows by 0 instead: `masked_fill` on the maximum.'],
    why='The maximum is detached because the result does not depend on the shift. Shifting by 0 where the maximum is infinite lets a row that is masked entirely give -inf, the logarithm of an empty sum, instead of nan.')
def logsumexp():
    x = randn(2, 3)
    return [call('logsumexp', torch.tensor([0., 0.]), say='two logits of 0 give log 2'),
            call('logsumexp', torch.tensor([[1., 3.]]), say='the axis that is summed over disappears'),
            call('logsumexp', x, dim=0, say='the sum runs over the axis dim'),
            call('logsumexp', x, say='its gradient is the softmax', grad=True),
            call('logsumexp', torch.tensor([100., 0.]), say='large logits do not overflow'),
            call('logsumexp', torch.tensor([-1000., -1000.]), say='very negative logits do not underflow'),
            call('logsumexp', torch.tensor([[-900., -900.], [900., 900.]]), say='rows of very different size do not disturb each other'),
            call('logsumexp', torch.tensor([-inf, 3.]), say='a masked logit counts for nothing', grad=True),
            call('logsumexp', torch.tensor([[-inf, -inf], [0., 1.]]), say='a row in which everything is masked gives -inf'),
            call('logsumexp', torch.tensor([1e4, 1e4], dtype=torch.bfloat16), say='the gradient is right in bfloat16, where the result is rounded', grad=True)]


LOG_PROBS = randn(4, 3).log_softmax(1)

@entry('03.2', level=2, minutes=20, hints=[
    'For each target, one entry of its row is wanted. Which function picks one entry along an axis that you name, and whatever axes follow?',
    '`gather(1, ...)` with the targets given a class axis by `unsqueeze(1)`, or PyTorch\'s `F.nll_loss`, which the lesson has proved equal. Call `_door` first.',
    'PyTorch raises an IndexError for a class that does not exist. Catch it and raise what `_out_of_range` makes, `from None`.'],
    why='The lesson has shown that the handwritten version and PyTorch\'s agree, so the faster one is kept. The door costs a microsecond and turns four cryptic errors into advice; the range of the labels is looked at only after an error.')
def nll_loss():
    t, pixels = torch.tensor([0, 2, 1, 1]), randn(2, 3, 2, 2, seed=1).log_softmax(1)
    return [call('nll_loss', LOG_PROBS[:1], t[:1], say='one row: minus the log-probability of its target'),
            call('nll_loss', LOG_PROBS, t, say='the mean over the rows', grad=True),
            call('nll_loss', LOG_PROBS, t, reduction='sum', say="reduction='sum' adds them"),
            call('nll_loss', LOG_PROBS, t, reduction='none', say="reduction='none' gives the loss of each target"),
            call('nll_loss', LOG_PROBS, torch.tensor([0, -100, 1, -100]), say='ignored targets count neither in the sum nor in the number that the mean divides by', grad=True),
            call('nll_loss', LOG_PROBS, t, ignore_index=1, say='ignore_index can be another number'),
            call('nll_loss', pixels, torch.tensor([[[0, 1], [2, 2]], [[1, 1], [0, 2]]]), say='the classes are on axis 1 when more axes follow', grad=True),
            call('nll_loss', torch.tensor([[0., -inf]]), torch.tensor([0]), say='the probability 0 of another class does no harm'),
            call('nll_loss', LOG_PROBS, torch.tensor([0, 2, -1, 1]), raises=IndexError, names='from -1 to 2', say='a label of -1 is refused, with the range that came'),
            call('nll_loss', LOG_PROBS, t[:, None], raises=ValueError, names='squeeze', say='a column of targets is refused at the door'),
            call('nll_loss', LOG_PROBS, t.float(), raises=TypeError, names='targets', say='targets of floats are refused at the door')]


@entry('03.3', level=2, minutes=15, hints=[
    'It is `nll_loss` of the log-probabilities. Over which axis is the softmax, when logits may be (n,c,h,w)?',
    'Axis 1, not the last. PyTorch\'s `F.cross_entropy` does both steps in one and is what the lesson ends with; put `_door` before it and the IndexError of `_out_of_range` behind it.',
    '`_class_probs` is the softmax over axis 1 too: it is what the Learner will call through `cross_entropy.activation`.'],
    why='One fused kernel reads the table of logits once and keeps only the log-probabilities for the way back. The activation is bound to the loss because only the loss knows which axis holds the classes and whether its inputs are logits at all.')
def cross_entropy():
    x, t = randn(4, 3), torch.tensor([0, 2, 1, 1])
    pixels, marks = randn(2, 3, 2, 2, seed=1), torch.tensor([[[0, 1], [2, 2]], [[1, 1], [0, 2]]])
    return [call('cross_entropy', torch.zeros(1, 2), torch.tensor([0]), say='logits of 0 for two classes cost log 2'),
            call('cross_entropy', x, t, say='the mean over the rows', grad=True),
            call('cross_entropy', torch.tensor([[1e4, 0., -1e4]]), torch.tensor([2]), say='huge logits give the right loss and gradient', grad=True),
            call('cross_entropy', pixels, marks, say='the softmax runs over axis 1 when more axes follow', grad=True),
            call('cross_entropy', x, torch.tensor([0, -100, 1, -100]), say='ignored targets count neither in the sum nor in the number that the mean divides by'),
            call('cross_entropy', x, t, 1, 'none', say='ignore_index and reduction are passed on'),
            call('cross_entropy', x, t + 1, raises=IndexError, names='expected 0 to 2', say='labels from 1 to c are refused, with the range that is expected'),
            call('cross_entropy', x, t[:3], raises=ValueError, names='targets', say='a row too few is refused at the door'),
            call('cross_entropy.activation', pixels, say='the activation gives probabilities over axis 1')]


@entry('03.4', level=1, minutes=10, hints=[
    'The class with the largest logit is the answer. Along which axis do you look for it?',
    '`argmax(1)` compared with the targets gives hits. Ignored targets must leave the denominator too.',
    'If ignore_index is the number of a class, an ignored target can be a hit by accident: leave those out of the hits as well.'],
    why='count_nonzero counts whole numbers, so that nothing is rounded on the way, in half precision for example. A negative ignore_index can never equal an argmax, so the second mask is made only where it is needed.')
def accuracy():
    x, t = torch.tensor([[2., 1., 0.], [0., 1., 2.], [0., 3., 1.], [1., 0., 0.]]), torch.tensor([0, 1, 1, 2])
    pixels, marks = randn(2, 3, 2, 2, seed=1), torch.tensor([[[0, 1], [2, 2]], [[1, 1], [0, 2]]])
    return [call('accuracy', x[:1], t[:1], say='one right answer is an accuracy of 1, as a tensor without axes'),
            call('accuracy', x, t, say='the share of rows whose largest logit is at the target'),
            call('accuracy', pixels, marks, say='the classes are on axis 1 when more axes follow'),
            call('accuracy', x, torch.tensor([0, -100, -100, 2]), say='ignored targets do not count in the denominator'),
            call('accuracy', x, t, ignore_index=1, say='an ignored target is no hit, even where it agrees with the prediction'),
            call('accuracy', x, t[:, None], raises=ValueError, names='squeeze', say='a column of targets is refused at the door'),
            call('error_rate', x, t, say='the error rate is what is left of 1'),
            call('error_rate', x, torch.tensor([0, -100, -100, 2]), say='the error rate leaves the ignored targets out too')]


def smoothed(m):
    loss = m.LabelSmoothingCrossEntropy(0.2)
    return loss(torch.tensor([[2., 0., 1.]]), torch.tensor([0]))

def smoothed_gradient(m):
    x = randn(4, 3).requires_grad_()
    m.LabelSmoothingCrossEntropy(0.1)(x, torch.tensor([0, 2, 1, 1])).backward()
    return x.grad

def not_smoothed(m): return m.LabelSmoothingCrossEntropy(0.)(torch.tensor([[0., -inf, 1.]]), torch.tensor([2]))

def smoothed_ignored(m):
    x, t = randn(4, 3), torch.tensor([0, -100, 1, -100])
    return [m.LabelSmoothingCrossEntropy(0.1, reduction=r)(x, t) for r in ('mean', 'sum', 'none')]

def smoothed_pixels(m):
    return m.LabelSmoothingCrossEntropy(0.1, ignore_index=2)(randn(2, 3, 2, 2, seed=1), torch.tensor([[[0, 1], [2, 2]], [[1, 1], [0, 2]]]))

def default_eps(m):
    loss = m.LabelSmoothingCrossEntropy()
    return [loss.eps, loss.ignore_index, loss.reduction]

def too_large_eps(m): m.LabelSmoothingCrossEntropy(1.5)
def unknown_reduction(m): m.LabelSmoothingCrossEntropy(reduction='avg')
def smoothed_range(m): m.LabelSmoothingCrossEntropy()(torch.zeros(2, 3), torch.tensor([0, 3]))
def smoothed_column(m): m.LabelSmoothingCrossEntropy()(torch.zeros(2, 3), torch.tensor([[0], [1]]))

@entry('03.5', level=2, minutes=20, hints=[
    'The loss is a mixture of two: the plain one with weight 1 - eps, and with weight eps the mean of -log p over all classes, the right one included.',
    'PyTorch\'s `F.cross_entropy` has an argument for it. The constructor keeps the settings and refuses an eps outside of 0..1 and a reduction that does not exist.',
    'In `__call__`: `_door`, then `F.cross_entropy(..., label_smoothing=self.eps)` with the other two settings, and the IndexError of `_out_of_range` as in `cross_entropy`.'],
    why='A loss with a setting is a class, so that it keeps the setting and shows it. The constructor refuses bad settings, because an error at the first batch is an error an hour later.')
def label_smoothing():
    return [case('the settings are kept, eps is 0.1 by default', default_eps),
            case('eps of the target is shared evenly by all classes, the right one included', smoothed),
            case('the gradient', smoothed_gradient),
            case('eps of 0 is the plain loss, also with a masked class', not_smoothed),
            case('ignored targets count for nothing in each reduction', smoothed_ignored),
            case('the classes are on axis 1, and ignore_index is passed on', smoothed_pixels),
            case('an eps outside of 0..1 is refused when the loss is made', too_large_eps, raises=ValueError, names='eps'),
            case('an unknown reduction is refused when the loss is made', unknown_reduction, raises=ValueError, names='reduction'),
            case('a label out of range is refused, with the range that is expected', smoothed_range, raises=IndexError, names='expected 0 to 2'),
            case('a column of targets is refused at the door', smoothed_column, raises=ValueError, names='squeeze')]


@entry('03.6', level=1, minutes=10, hints=[
    'The mean of squared differences is one line. What must be looked at before it?',
    'Two different shapes are an error here, always: no broadcasting. Integers are an error of type.',
    'ValueError for the shapes, TypeError for the types, both with what came; then `F.mse_loss(preds, targets, reduction=reduction)`.'],
    why='F.mse_loss warns and goes on, and a warning in a long log is not seen. An (n,1) against an (n,) is always a mistake in a loss, so it is always an error.')
def mse_loss():
    p, t = randn(3, 2), randn(3, 2, seed=1)
    return [call('mse_loss', torch.tensor([3.]), torch.tensor([1.]), say='one number: the square of the difference'),
            call('mse_loss', p, t, say='the mean over all entries', grad=True),
            call('mse_loss', p, t, reduction='sum', say="reduction='sum' adds them"),
            call('mse_loss', p, t, reduction='none', say="reduction='none' keeps the shape"),
            call('mse_loss', torch.zeros(2, 1), torch.zeros(2), raises=ValueError, names=('(2, 1)', '(2,)'), say='a column against a row is refused, with both shapes'),
            call('mse_loss', torch.zeros(2, 1), torch.zeros(2, 3), raises=ValueError, names='preds', say='nothing is broadcast'),
            call('mse_loss', torch.zeros(3), torch.arange(3), raises=TypeError, names='targets', say='integers are refused')]
