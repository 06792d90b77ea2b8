"Lesson 11: MixUp and CutMix."
from functools import partial
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F

from mylib.judge import call, case, entry, randn


LOGITS, CLASSES = randn(5, 3), torch.tensor([0, 1, 1, 0, 2])

def each_alone(m, loss): return m._unreduced(loss)(LOGITS, CLASSES)

def distance(preds, targets, reduction='mean'):
    d = (preds - targets).abs()
    return d if reduction == 'none' else d.mean()

def pytorch_function(m): return each_alone(m, F.cross_entropy)

def own_function(m): return m._unreduced(distance)(torch.tensor([1., 5.]), torch.tensor([2., 2.]))

def with_settings(m): return each_alone(m, partial(F.cross_entropy, label_smoothing=0.2, ignore_index=1))

def an_object(m):
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1., 2., 3.]), label_smoothing=0.2)
    return dict(losses=each_alone(m, loss), type=type(m._unreduced(loss)).__name__)

def object_as_before(m):
    loss = nn.CrossEntropyLoss(reduction='sum')
    each_alone(m, loss)
    return dict(reduction=loss.reduction, loss=loss(LOGITS, CLASSES))

def no_argument(m): m._unreduced(lambda p, t: F.cross_entropy(p, t))
def no_signature(m): m._unreduced(max)

class Plain:
    "A loss that always takes the mean."
    def __call__(self, preds, targets): return F.cross_entropy(preds, targets)

@entry('11.1', level=1, minutes=15, hints=[
    'There are two ways in which losses offer `reduction`. How does the caller reach it in each?',
    'An object has an attribute, which is set on a copy. A function has an argument of that name, which is bound beforehand.',
    '`hasattr` for the first; `copy.copy`. For the second `inspect.signature(loss_func).parameters` and `partial`; a few functions have no signature to look at, which is a TypeError or a ValueError there. If neither is found, a TypeError that names the loss and says what it lacks.'],
    why='A copy, because the object is the user\'s: with its reduction changed, the validation loss of tomorrow would be a row of numbers. The signature is looked at rather than the call tried, so that an error inside the loss is not taken for a missing argument.')
def unreduced():
    return [case('a function of PyTorch: one loss for each sample', pytorch_function, also=each_alone),
            case('a function of your own with the argument', own_function, also=distance),
            case('settings that are bound already stay', with_settings, also=each_alone),
            case('an object keeps its weights and its smoothing', an_object, also=each_alone),
            case('the object that came is left as it was', object_as_before, also=each_alone),
            call('_unreduced', Plain(), raises=TypeError, names='reduction', say='an object that always takes the mean is refused'),
            case('a function without the argument is refused, by name', no_argument, raises=TypeError, names=('<lambda>', 'reduction')),
            case('a function that cannot be looked into is refused too', no_signature, raises=TypeError, names='reduction')]


def stand_in(m, loss, targets, lam=(0.25, 0.5), perm=(1, 0), training=True):
    cb = SimpleNamespace(lam=torch.tensor(lam), perm=torch.tensor(perm), targets=torch.as_tensor(targets))
    return m._MixedLoss(cb, SimpleNamespace(loss_func=loss, training=training))

def by_hand(m): return stand_in(m, F.mse_loss, [[0.], [2.]])(torch.tensor([[7.], [6.]]), torch.zeros(2, 1))

def in_validation(m): return stand_in(m, F.mse_loss, [[0.], [2.]], training=False)(torch.tensor([[4.], [8.]]), torch.tensor([[0.], [2.]]))

SHARES = dict(lam=(0.9, 0.1, 0.5, 0.7, 0.2), perm=(1, 2, 0, 4, 3))

def own_shares(m):
    preds = (LOGITS*3).requires_grad_()
    loss = stand_in(m, F.cross_entropy, CLASSES, **SHARES)(preds, CLASSES)
    loss.backward()
    return dict(loss=loss, gradient=preds.grad)

def rows_of_probabilities(m):
    "With label smoothing, as an object."
    return stand_in(m, nn.CrossEntropyLoss(label_smoothing=0.2), CLASSES, **SHARES)(LOGITS, CLASSES)

PIXELS, MARKS = randn(2, 3, 2, 2), torch.tensor([[[0, 1], [2, -100]], [[1, -100], [0, 2]]])

def many_to_an_image(m): return stand_in(m, F.cross_entropy, MARKS.clamp(min=0), lam=(0.9, 0.4))(PIXELS, MARKS)
def some_ignored(m): return stand_in(m, F.cross_entropy, MARKS, lam=(0.9, 0.4))(PIXELS, MARKS)
def another_number_ignored(m): return stand_in(m, nn.CrossEntropyLoss(ignore_index=2), MARKS.clamp(min=0), lam=(0.9, 0.4))(PIXELS, MARKS)
def floats_not_ignored(m): return stand_in(m, F.mse_loss, [[-100.], [2.]])(torch.tensor([[7.], [6.]]), torch.zeros(2, 1))

def double_precision(m): return stand_in(m, F.cross_entropy, CLASSES, **SHARES)(LOGITS.double(), CLASSES)

def attributes(m):
    from mylib.losses import cross_entropy
    mixed = stand_in(m, nn.CrossEntropyLoss(label_smoothing=0.2), CLASSES)
    return dict(smoothing=mixed.label_smoothing, activation=stand_in(m, cross_entropy, CLASSES).activation(LOGITS), absent=hasattr(mixed, 'flavour'))

def no_reduction(m): stand_in(m, Plain(), CLASSES)

@entry('11.2', level=3, minutes=30, hints=[
    'In training the loss of a sample is lam times that for its own target plus 1 - lam times that for its partner\'s. What are the shapes of the losses and of `lam`, if each image has many targets?',
    'Two rounds, one with the shares lam and the targets, one with 1 - lam and the targets in the order of perm. Each adds share times loss to a total. What is the total divided by, if some targets do not count?',
    'The share gets as many axes of length 1 as the losses have besides the first. Beside the total goes a second sum, of the shares of the targets that count: all where targets are floats, else those that are not the `ignore_index` of the loss, -100 if it has none. In validation the plain loss is called, and what is not found here is looked up on it.'],
    why='Dividing by the shares that count is what the mean of an ordinary loss with `ignore_index` does, and with lam = 1 it is that mean exactly. `lam` is reshaped to the losses at the place where both are known: the shape that fits the images would broadcast to a table and give a number that looks right.')
def mixed_loss():
    return [case('by hand: squared errors 49 and 25, 16 and 36, shares 1/4 and 1/2', by_hand, also=stand_in),
            case('in validation nothing is mixed', in_validation, also=stand_in),
            case('each image is charged with its own share', own_shares, also=stand_in),
            case('label smoothing, of a loss that is an object', rows_of_probabilities, also=stand_in),
            case('an image with many targets has one share for all of them', many_to_an_image, also=stand_in),
            case('ignored targets count neither above nor below', some_ignored, also=stand_in),
            case('the number that is ignored is that of the loss', another_number_ignored, also=stand_in),
            case('a real number of -100 is a target like any other', floats_not_ignored, also=stand_in),
            case('the precision is that of the losses', double_precision, also=stand_in),
            case('other attributes are those of the loss that it stands in for', attributes, also=stand_in),
            case('a loss without a reduction is refused at once', no_reduction, raises=TypeError, names='reduction', also=stand_in)]


def fixed(cls, **kwargs):
    "The callback with shares and partners that are not random."
    class Fixed(cls):
        def draw(self, n, device='cpu'): return torch.linspace(0.9, 0.2, n), torch.arange(n).roll(1)
    return Fixed(**kwargs)

def learner(cb, loss=F.cross_entropy, y=(0, 1, 1, 0, 2), more=()):
    from mylib.learner import Learner
    torch.manual_seed(0)
    x, y = randn(5, 3), torch.tensor(y)
    loader = [(x[:2], *more, y[:2]), (x[2:], *more, y[2:])]
    return Learner(nn.Linear(3, 3), (loader, loader[1:]), loss, 0.1, cbs=cb)

def fit(learn, n=1):
    with learn.no_progress(): learn.fit(n)
    return learn

def watch():
    "A callback that writes down each batch as the model gets it."
    from mylib.learner import Callback
    class WatchCB(Callback):
        order = 50
        def __init__(self): self.seen = []
        def after_predict(self, learn): self.seen.append((learn.training, *learn.batch))
    return WatchCB()

def drawn(m):
    lam, perm = m.MixUpCB(1.).draw(5)
    return dict(shape=list(lam.shape), within=bool(((lam >= 0) & (lam <= 1)).all()), partners=perm.sort().values)

def distribution(m):
    out = {}
    for alpha in (0.2, 1., 8.):
        lam, _ = m.MixUpCB(alpha).draw(5000)
        out[alpha] = dict(mean=lam.mean().item(), deviation=lam.std().item())
    return out

def anew(m):
    cb = m.MixUpCB(1.)
    (a, p), (b, q) = cb.draw(50), cb.draw(50)
    return dict(shares=torch.equal(a, b), partners=torch.equal(p, q), own=len(a.unique()) > 40)

def two_images(m):
    cb = fixed(m.MixUpCB)
    return dict(mixed=cb.mix(torch.tensor([[[[10.]]], [[[20.]]]])), lam=cb.lam, perm=cb.perm)

def other_shapes(m):
    return {str(s): fixed(m.MixUpCB).mix(randn(*s)) for s in ((3,), (3, 4), (3, 2, 4, 4))}

def other_dtypes(m): return [fixed(m.MixUpCB).mix(randn(3, 4, dtype=d)) for d in (torch.float64, torch.float16)]

def input_untouched(m):
    x = randn(3, 4)
    fixed(m.MixUpCB).mix(x)
    return x

def in_a_fit(m):
    spy = watch()
    learn = fit(learner([fixed(m.MixUpCB), spy]))
    return dict(batches=spy.seen, losses=learn.recorder.losses, weight=learn.model.weight)

def smoothed_loss(m): return fit(learner(fixed(m.MixUpCB), nn.CrossEntropyLoss(label_smoothing=0.2))).recorder.losses

def real_targets(m):
    spy = watch()
    learn = fit(learner([fixed(m.MixUpCB), spy], F.mse_loss, randn(5, 3, seed=3).tolist()))
    return dict(batches=spy.seen, losses=learn.recorder.losses)

def after_the_fit(m):
    learn = learner(fixed(m.MixUpCB))
    own = learn.loss_func
    fit(learn)
    first = learn.loss_func is own
    fit(learn)
    return dict(first=first, second=learn.loss_func is own, losses=learn.recorder.losses)

def after_an_error(m):
    from mylib.learner import Callback
    class FailCB(Callback):
        order = 60
        def after_loss(self, learn): raise ZeroDivisionError
    learn = learner([fixed(m.MixUpCB), FailCB()])
    own = learn.loss_func
    try: fit(learn)
    except ZeroDivisionError: return learn.loss_func is own

def loss_without_reduction(m): fit(learner(m.MixUpCB(), lambda p, t: F.cross_entropy(p, t)))

def two_inputs(m): fit(learner(m.MixUpCB(), more=(torch.zeros(2, 1),)))

def whole_numbers(m):
    from mylib.learner import Learner
    loader = [(torch.ones(2, 3, dtype=torch.long), torch.tensor([0, 1]))]
    fit(Learner(nn.Linear(3, 3), (loader, None), F.cross_entropy, 0.1, cbs=m.MixUpCB()))

def settings(m): return [m.MixUpCB().alpha, m.MixUpCB(1).alpha]
def zero_alpha(m): m.MixUpCB(0.)
def nan_alpha(m): m.MixUpCB(float('nan'))
def endless_alpha(m): m.MixUpCB(float('inf'))

@entry('11.3', level=3, minutes=40, hints=[
    'Four moments: the fit begins (another loss steps in), a batch begins (draw, mix, keep what the loss will need), the fit ends (the loss goes back). `_MixedLoss` reads `lam`, `perm` and `targets` from this callback. What may happen between the beginning and the end of a fit that must not lose the loss?',
    '`mix` needs a share for each image: give `lam` as many axes of length 1 as the images have besides the first, and the dtype of the images. In validation nothing is touched. The targets for the loss are the plain ones; the batch gets, for the metrics, the class of whoever has the larger share, or mixed numbers where the targets are floats.',
    '`Beta(a, a).sample((n,))` with `a` a tensor on the device, and `torch.randperm`. `before_fit` keeps the own loss and puts `_MixedLoss(self, learn)` in its place; `cleanup_fit` gives it back if there is one to give back, since it runs even if `before_fit` failed. Refuse an alpha that is not a positive number, more than one input, and inputs that are whole numbers.'],
    why='The parameters of Beta are tensors on the device, so that the draws are made there, from its generator, and nothing waits. In a batch the shares differ from image to image, which mixes more evenly than one share for all. The loss is mixed and not the targets, so that any loss will do, one that wants class numbers too.')
def mixup():
    return [case('alpha is kept, 0.4 by default', settings),
            case('one share in 0..1 for each image, and everybody is a partner once', drawn),
            case('each image has a share of its own, and each batch is drawn anew', anew),
            case('the shares follow Beta(alpha, alpha)', distribution, atol=0.03),
            case('an image keeps its share lam and takes the rest from its partner', two_images, also=fixed),
            case('inputs with any number of axes', other_shapes, also=fixed),
            case('the dtype of the images stays', other_dtypes, also=fixed),
            case('the batch that came is not changed', input_untouched, also=fixed),
            case('a fit: mixed images, the class of the larger share for the metrics, a mixed loss; validation is left alone', in_a_fit, also=(fixed, learner, fit, watch)),
            case('a loss that is an object, with label smoothing', smoothed_loss, also=(fixed, learner, fit)),
            case('targets that are real numbers are mixed', real_targets, also=(fixed, learner, fit, watch)),
            case("the Learner's own loss is back after each fit", after_the_fit, also=(fixed, learner, fit)),
            case("the Learner's own loss is back after an error", after_an_error, also=(fixed, learner, fit)),
            case('a loss without a reduction is refused, and the error of that is seen', loss_without_reduction, raises=TypeError, names='no reduction', also=(learner, fit)),
            case('two inputs are refused', two_inputs, raises=ValueError, names='one input', also=(learner, fit)),
            case('whole numbers as inputs are refused', whole_numbers, raises=TypeError, names='int64', also=fit),
            case('an alpha of 0 is refused', zero_alpha, raises=ValueError, names='alpha'),
            case('an alpha that is no number is refused', nan_alpha, raises=ValueError, names='alpha'),
            case('an infinite alpha is refused', endless_alpha, raises=ValueError, names='alpha')]


def same_share(m, share, n=500, h=40, w=20):
    "Images that hold their own number, cut with the same share each; where the partner's number is."
    class Same(m.CutMixCB):
        def draw(self, n, device='cpu'): return torch.full((n,), share), torch.arange(n).roll(1)
    cb, x = Same(), torch.arange(float(n))[:, None, None, None].expand(n, 2, h, w).clone()
    out = cb.mix(x)
    return cb, x, out, out != x

def whose_pixels(m):
    _, x, out, pasted = same_share(m, 0.5)
    return dict(shape=list(out.shape), pasted=bool((out[pasted] == x.roll(1, 0)[pasted]).all()), some=bool(pasted.any()), dtype=out.dtype)

def all_channels(m):
    _, _, _, pasted = same_share(m, 0.5)
    return torch.equal(pasted[:, 0], pasted[:, 1])

def rectangles(m):
    "A rectangle has as many pixels as the product of its sides."
    _, _, _, pasted = same_share(m, 0.5)
    box = pasted[:, 0]
    return bool((box.any(1).sum(1)*box.any(2).sum(1) == box.sum((1, 2))).all())

def own_places(m):
    "How many different rectangles there are in 20 images, more than 5?"
    return len(same_share(m, 0.5, n=20)[3][:, 0].unique(dim=0)) > 5

def sides(m):
    "The largest sides, those that no edge cuts off, as shares of the picture's."
    out = {}
    for share in (0.75, 0.36):
        box = same_share(m, share)[3][:, 0]
        out[share] = dict(high=box.any(2).sum(1).max().item()/40, wide=box.any(1).sum(1).max().item()/20)
    return out

def places(m):
    "How often a corner, the middle of an edge and the centre are pasted over."
    box = same_share(m, 0.75, n=2000)[3][:, 0].float().mean(0)
    return dict(corner=box[0, 0], edge=box[0, 10], centre=box[20, 10])

def independent(m):
    "Rows and columns of the places, and of two images beside each other."
    box = same_share(m, 0.75, n=1000)[3][:, 0].float()
    row, column = ((box.sum(d)*torch.arange(float(k))).sum(1)/box.sum((1, 2)).clamp(1) for d, k in ((2, 40), (1, 20)))
    corr = lambda a, b: torch.corrcoef(torch.stack([a, b]))[0, 1].item()
    return {'row and column': corr(row, column), 'rows of neighbours': corr(row[1:], row[:-1]) if row.std() > 0.1 else 1.}

def corrected_share(m):
    cb, _, _, pasted = same_share(m, 0.3)
    return dict(difference=(cb.lam - (1 - pasted[:, 0].float().mean((1, 2)))).abs().max(), shape=list(cb.lam.shape), partners=cb.perm[:3])

def extreme_shares(m):
    return dict(nothing=same_share(m, 1.)[3].any(), everything=same_share(m, 0.)[0].lam.mean())

def in_double(m):
    x = randn(4, 1, 6, 6, dtype=torch.float64)
    before = x.clone()
    return dict(dtype=m.CutMixCB().mix(x).dtype, unchanged=torch.equal(x, before))

def cut_in_a_fit(m):
    from mylib.learner import Callback, Learner
    torch.manual_seed(0)
    y, out = torch.tensor([0, 1, 2, 1]), []
    class CompareCB(Callback):
        order = 50
        def after_loss(self, learn):
            each = [F.cross_entropy(learn.preds, t, reduction='none') for t in (y, y[cb.perm])]
            out.append((learn.loss - (cb.lam*each[0] + (1 - cb.lam)*each[1]).mean()).abs().item())
    cb, loader = m.CutMixCB(), [(randn(4, 1, 6, 6), y)]
    fit(Learner(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), (loader, None), F.cross_entropy, 0.1, cbs=[cb, CompareCB()]))
    return out

def default_alpha(m): return [m.CutMixCB().alpha, m.CutMixCB(0.5).alpha, isinstance(m.CutMixCB(), m.MixUpCB)]
def bad_alpha(m): m.CutMixCB(-1.)
def no_images(m): m.CutMixCB().mix(torch.zeros(4, 10))

@entry('11.4', level=3, minutes=35, hints=[
    'Everything but `mix` is inherited. For one side of the picture: where does the rectangle begin and end, if its length is sqrt(1 - lam) of the side and its centre is anywhere? And what is lam, when a part of it lies outside?',
    'Draw a centre for each image in 0..size, take half the length to either side, round and clamp to the picture. Comparing the numbers of the pixels with begin and end gives a table (n,size) of what is inside; do it for rows and for columns.',
    'Rows (n,1,h,1) and columns (n,1,1,w) combined with `&` are the box; `torch.where` takes the partner inside it. `self.lam` is 1 minus the mean of the box over all but the batch axis, not what was drawn.'],
    why='Counting the pixels of the box makes lam right whatever was rounded or cut off, and the targets have to agree with what is in the picture. The comparisons broadcast, so that a batch of a thousand rectangles takes as many calls as one.')
def cutmix():
    return [case('it is a MixUpCB, with an alpha of 1 by default', default_alpha),
            case("inside are the partner's pixels, outside the own ones", whose_pixels, also=same_share),
            case('all channels are cut alike', all_channels, also=same_share),
            case('what is pasted is a rectangle', rectangles, also=same_share),
            case('each image has a rectangle in a place of its own', own_places, also=same_share),
            case("its sides are sqrt(1 - lam) of the picture's, height and width alike", sides, also=same_share, atol=0.08),
            case('its centre is anywhere, so that edges cut some of it off', places, also=same_share, atol=0.06),
            case('row and column are drawn independently, for each image', independent, also=same_share, atol=0.15),
            case('lam is the share of the area that stayed', corrected_share, also=same_share, atol=1e-5),
            case('a share of 1 pastes nothing; one of 0 a rectangle of full size, cut off at the edges', extreme_shares, also=same_share, atol=0.06),
            case('the dtype stays, and the batch that came is not changed', in_double),
            case('in a fit the loss is mixed by these shares', cut_in_a_fit, also=fit, atol=1e-4),
            case('a negative alpha is refused', bad_alpha, raises=ValueError, names='alpha'),
            case('what is no batch of images is refused', no_images, raises=ValueError, names=('CutMixCB', '(4, 10)'))]
