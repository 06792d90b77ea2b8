"Lesson 14: a learner for pictures, its mistakes, and a program that serves."
import json, tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch
from torch import nn

from mylib.judge import case, entry, randn


def pictures(n=10, h=6, w=4, classes=3):
    g = torch.Generator().manual_seed(n)
    return SimpleNamespace(x=torch.randint(0, 256, (n, h, w), generator=g, dtype=torch.uint8), y=torch.arange(n) % classes, vocab=['ant', 'bee', 'cat'][:classes], stats=(0.25, 0.5))

def loaders(m, n=10, **kwargs): return m.ImageLoaders(pictures(n), pictures(5), **(dict(batch_size=4, device='cpu') | kwargs))

def sizes(m):
    dls = loaders(m)
    return dict(shapes=[list(x.shape) for x, _ in dls.train], batches=len(dls.train))

def large_valid(m): return [list(x.shape) for x, _ in m.ImageLoaders(pictures(8), pictures(13), batch_size=4, device='cpu').valid]

def in_order(m): return torch.cat([y for _, y in loaders(m).valid])

def shuffled(m):
    "Labels of two passes over the training pictures, each picture with a label of its own."
    s = pictures(12)
    s.y, s.vocab = torch.arange(12), [str(i) for i in range(12)]
    dls = m.ImageLoaders(s, s, batch_size=4, device='cpu')
    a, b = (torch.cat([y for _, y in dls.train]) for _ in range(2))
    return dict(all_there=a.sort().values, shuffled=not torch.equal(a, torch.arange(12)), other_order=not torch.equal(a, b))

def pixels(m):
    x, y = next(iter(loaders(m).valid))
    return dict(x=x, y=y, dtype=x.dtype)

def belongs_together(m):
    "Is each training picture with its own label? The first pixel tells."
    s = pictures(12)
    s.x[:, 0, 0], s.y, s.vocab = 20*torch.arange(12), torch.arange(12), [str(i) for i in range(12)]
    return [bool(((x[:, 0, 0, 0]*0.5 + 0.25)*255/20 - y).abs().max() < 0.01) for x, y in m.ImageLoaders(s, s, batch_size=4, device='cpu').train]

class Darker:
    "A transform that only training batches get, before the pixels become floats."
    order, train_only = 0, True
    def __call__(self, batch): return batch[0]//2, *batch[1:]

def transformed(m):
    dls = loaders(m, batch_tfms=Darker())
    plain = pictures(10).x.float().div(255).sub(0.25).div(0.5).mean()
    return dict(darker=bool(next(iter(dls.train))[0].mean() < plain - 0.2), valid=next(iter(dls.valid))[0], prepared=dls.prepare(pictures().x[0]))

def seeded(m):
    a, b = (torch.cat([x for x, _ in loaders(m, seed=3).train]) for _ in range(2))
    return torch.equal(a, b)

def known(m):
    dls = loaders(m)
    return dict(vocab=list(dls.vocab), size=list(dls.size), device=str(dls.device), kind=isinstance(dls, m.DataLoaders))

def one_picture(m):
    "An array, a tensor and a PIL image of the right size."
    from PIL import Image
    x, dls = pictures().x[0], loaders(m)
    return [dls.prepare(o) for o in (x, x.numpy(), Image.fromarray(x.numpy()))]

def from_a_file(m):
    from PIL import Image
    with tempfile.TemporaryDirectory() as d:
        Image.fromarray(pictures().x[0].numpy()).save(Path(d)/'a.png')
        return loaders(m).prepare(Path(d)/'a.png')

def other_size(m):
    "Larger, in colour, and of another shape: twice as many pixels of each."
    from PIL import Image
    grey = torch.linspace(0, 255, 12).round().byte()[:, None].expand(12, 8)
    return loaders(m).prepare(Image.fromarray(torch.stack([grey]*3, -1).numpy()))

@entry('14.1', level=2, minutes=25, hints=[
    'Three transforms on each batch: whatever the caller gives, then bytes to floats, then the normalisation of the training pictures. What differs between the two loaders, and what must a single picture from outside go through?',
    'A `TfmdDL` of a `TensorDataset` for each split, with a `Pipeline` that knows whether it is for training. Training shuffles, leaves out a last batch that is not full, and takes batch_size; validation does neither and takes twice as many. The channel axis is missing in the pictures.',
    '`train.x[:, None]` has the axis; the vocab goes to the dataset by name. Give both loaders to `super().__init__`, then `self.to` the device. `prepare` is `ImageBlock(\'L\').encode`, `Resize`, `ToTensor`, and then `after_batch` of the validation loader on a batch of one, of which the one is taken out.'],
    why='Both splits are normalised by the numbers of the training split, because a network in use has no others. `prepare` goes through the pipeline of the validation loader and not through code of its own, so the two cannot drift apart.')
def image_loaders():
    also = (pictures, loaders)
    return [case('batches (n,1,h,w); training leaves out a last one that is not full', sizes, also=also),
            case('validation takes twice as many at once, and all of them', large_valid, also=pictures),
            case('vocab, size and device', known, also=also),
            case('validation keeps the order', in_order, also=also),
            case('pixels are floats, normalised by the training pictures', pixels, also=also),
            case('training is shuffled, anew in each pass', shuffled, also=pictures),
            case('each picture stays with its label', belongs_together, also=pictures),
            case('a seed repeats the order', seeded, also=also),
            case('a prepared picture (1,h,w), from a tensor, an array or a PIL image', one_picture, also=also),
            case('a prepared picture from a file', from_a_file, also=also),
            case('the transforms of training batches do not touch validation, nor a prepared picture', transformed, also=(*also, Darker)),
            case('a larger picture in colour becomes grey and as large as the others', other_size, also=also, atol=0.05)]


class Net(nn.Module):
    "Notes what it was made with."
    made = []
    def __init__(self, **kwargs):
        super().__init__()
        self.made.append(kwargs)
        self.conv, self.head = nn.Conv2d(kwargs['c_in'], 4, 3), nn.Linear(4, kwargs['n_out'])
    def forward(self, x): return self.head(self.conv(x).mean((2, 3)))

def images(m, shape=(4, 3, 8, 8), classes=3, dtype=torch.float32):
    "Loaders of one batch, with a vocab."
    data = m.TensorDataset((randn(*shape)*10).to(dtype), torch.arange(shape[0]) % classes, vocab=['ant', 'bee', 'cat', 'dog'][:classes])
    from mylib.dataloader import DataLoader
    return m.DataLoaders(DataLoader(data, 4), DataLoader(data, 4)).to('cpu')

def asked(m, *args, arch=Net, **kwargs):
    "What the network is made with."
    Net.made.clear()
    m.vision_learner(images(m, *args), arch, **kwargs)
    return Net.made[-1]

def from_the_data(m): return {'colour': asked(m), 'grey': asked(m, (4, 1, 8, 8), 4)}
def stems(m): return {str(s): asked(m, (1, 1, *s))['stem'] for s in ((64, 64), (65, 65), (40, 100), (100, 40))}
def for_the_arch(m): return [asked(m, widths=(4, 8)), asked(m, stem='classic', n_out=7)]

def which_arch(m):
    with patch.object(m, 'small_resnet', lambda **kw: Net(small=True, **kw)), patch.object(m, 'xresnet34', lambda **kw: Net(small=False, **kw)):
        return {side: asked(m, (1, 1, side, side), arch=None)['small'] for side in (8, 64, 65, 96)}

def defaults(m):
    learn = m.vision_learner(images(m), Net)
    opt = learn.opt_func(learn.model.parameters(), lr=0.1)
    return dict(loss=type(learn.loss_func).__name__, eps=learn.loss_func.eps, lr=learn.lr, optimizer=type(opt).__name__, weight_decay=opt.param_groups[0]['weight_decay'])

def own_choice(m):
    loss = nn.CrossEntropyLoss()
    learn = m.vision_learner(images(m), Net, 0.3, loss, torch.optim.SGD)
    return [learn.loss_func is loss, learn.lr, learn.opt_func is torch.optim.SGD]

def callbacks(m):
    from mylib.learner import Callback
    class MyCB(Callback): pass
    names = lambda **kw: sorted(type(cb).__name__ for cb in m.vision_learner(images(m), Net, **kw).cbs if type(cb).__name__ in ('MixedPrecisionCB', 'MixUpCB', 'MyCB'))
    return dict(none=names(precision=None), bf16=names(precision='bf16'), mixup=names(precision=None, mixup=0.4), own=names(precision=None, cbs=MyCB()), all=names(precision='fp16', mixup=0.4, cbs=[MyCB()]))

def settings_of_callbacks(m):
    learn = m.vision_learner(images(m), Net, precision='fp16', mixup=0.4)
    find = lambda kind: next(cb for cb in learn.cbs if isinstance(cb, kind))
    return [str(find(m.MixedPrecisionCB).dtype), find(m.MixUpCB).alpha]

def automatic(m):
    out = {}
    for best in (None, 'bf16'):
        with patch.object(m, 'best_precision', lambda device: best): learn = m.vision_learner(images(m), Net)
        out[str(best)] = [str(cb.dtype) for cb in learn.cbs if isinstance(cb, m.MixedPrecisionCB)]
    return out

def channels_last(m): return m.vision_learner(images(m), Net).model.conv.weight.is_contiguous(memory_format=torch.channels_last)

def trains(m):
    torch.manual_seed(0)
    learn = m.vision_learner(images(m), Net, precision=None)
    with learn.no_progress(): learn.fit(2)
    return dict(losses=learn.recorder.losses, metric=any('accuracy' in r for r in learn.recorder.rows))

def without_vocab(m):
    from mylib.dataloader import DataLoader
    data = m.TensorDataset(randn(4, 1, 8, 8), torch.arange(4))
    m.vision_learner(m.DataLoaders(DataLoader(data, 4), None), Net)

def of_bytes(m): m.vision_learner(images(m, (4, 1, 8, 8), 3, torch.uint8), Net)
def rows(m): m.vision_learner(images(m, (4, 8)), Net)

@entry('14.2', level=2, minutes=30, seconds=60, hints=[
    'What can one batch and the vocab tell, so that the caller need not? And which of the remaining choices depend on the side of the pictures?',
    'The shape of a batch gives channels and side; the vocab the number of outputs. Up to 64 pixels (the shorter side) the network is small and its stem too, above it is `xresnet34` with the stem deep. What the caller passes for the network wins over what the data say.',
    'Check first: a vocab, images of four axes, floats. Merge the three arguments with kwargs into one dict for the network, bring it to channels last, and make a `Learner` with the defaults of the signature\'s comments. Precision auto is `best_precision(learn.device)`. Append `MixedPrecisionCB` and `MixUpCB` where they are wanted.'],
    why='Everything that the data can answer is asked of the data, so a number of classes that does not fit cannot be passed by mistake. The result is a plain Learner: whatever a caller is not content with can be changed afterwards, by the means of all other lessons.')
def vision_learner():
    also = (Net, images, asked)
    return [case('outputs, channels and stem come from the data', from_the_data, also=also),
            case('up to 64 pixels on the shorter side the stem is small', stems, also=also),
            case('up to 64 pixels the network is small_resnet, above xresnet34', which_arch, also=also),
            case('arguments for the network are passed on, and win', for_the_arch, also=also),
            case('label smoothing, the rate, and AdamW with its decay', defaults, also=also),
            case('own loss, rate and optimizer', own_choice, also=also),
            case('precision, mixup and own callbacks', callbacks, also=also),
            case('the settings of precision and mixup', settings_of_callbacks, also=also),
            case('precision auto asks best_precision', automatic, also=also),
            case('the weights are in channels last', channels_last, also=also),
            case('it trains, with accuracy as the metric', trains, also=also),
            case('data without vocab are refused, with what to do', without_vocab, raises=ValueError, names='vocab'),
            case('images of bytes are refused, with what to do', of_bytes, raises=TypeError, names=('uint8', 'IntToFloat'), also=also),
            case('what are no images is refused', rows, raises=ValueError, names='(4, 8)', also=also)]


PROBS = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8], [0.2, 0.3, 0.5]])
TARGETS = torch.tensor([0, 1, 0, 2, 0, 1, 2])

def interp(m, probs=PROBS, targets=TARGETS, vocab=('ant', 'bee', 'cat'), losses=None):
    return m.ClassificationInterpretation(probs, targets, torch.arange(float(len(targets))) if losses is None else losses, vocab)

def predictions(m): return interp(m).preds
def confusion(m): return [list(map(int, row)) for row in interp(m).confusion_matrix()]
def class_that_never_comes(m): return [list(map(int, row)) for row in interp(m, PROBS[:1], TARGETS[:1]).confusion_matrix()]
def confused(m): return interp(m).most_confused()
def seldom(m): return [interp(m).most_confused(2), interp(m).most_confused(3)]
def zero_min(m): return interp(m).most_confused(0)
def all_right(m): return interp(m, PROBS[:2], TARGETS[:2]).most_confused()

def looked_at_twice(m):
    i = interp(m)
    first = i.most_confused()
    return [first == i.most_confused(), [list(map(int, row)) for row in i.confusion_matrix()]]

def worst(m):
    i = interp(m, losses=torch.tensor([0.1, 5., 0.3, 2., 0., 1., 3.]))
    out = {}
    for k in (2, None, 100):
        losses, at = i.top_losses(k)
        out[str(k)] = dict(losses=losses, items=at)
    return out

def no_losses(m): return [o.shape[0] for o in interp(m, PROBS[:0], TARGETS[:0]).top_losses(5)]
def kept(m): return [interp(m).vocab, interp(m).dataset]

def trained(m, loss):
    torch.manual_seed(0)
    dls = loaders(m, 8)
    return m.Learner(nn.Sequential(nn.Flatten(), nn.Linear(24, 3)), dls, loss, 0.1)

def made_from(m):
    i = m.ClassificationInterpretation.from_learner(trained(m, m.LabelSmoothingCrossEntropy(0.2)))
    return dict(kind=type(i).__name__, probs=i.probs, targets=i.targets, losses=i.losses, vocab=list(i.vocab))

def plain_loss(m):
    i = m.ClassificationInterpretation.from_learner(trained(m, nn.CrossEntropyLoss()))
    return dict(probs=i.probs, losses=i.losses)

def loss_as_before(m):
    loss = nn.CrossEntropyLoss()
    m.ClassificationInterpretation.from_learner(trained(m, loss))
    return loss.reduction

def other_loader(m):
    learn = trained(m, nn.CrossEntropyLoss())
    dl = loaders(m, seed=1).valid
    dl.dataset = m.TensorDataset(pictures(7).x[:, None], pictures(7).y)
    i = m.ClassificationInterpretation.from_learner(learn, dl)
    return dict(items=len(i.targets), dataset=i.dataset is dl.dataset, default=m.ClassificationInterpretation.from_learner(learn).dataset is learn.dls.valid.dataset)

def of_a_kind(m):
    class Mine(m.ClassificationInterpretation): pass
    return type(Mine.from_learner(trained(m, nn.CrossEntropyLoss()))).__name__

@entry('14.3', level=2, minutes=30, hints=[
    'Keep the five arguments, the vocab as a list. What does the Learner give you with one pass over a loader, and what can be computed from that without a second pass?',
    'Take the logits (`get_preds` with an act that does nothing), then the activation of the loss makes probabilities and the loss without reduction (`_unreduced`) the loss of each item. For the confusion matrix number the pairs of classes: true*c + predicted, and count them.',
    '`bincount` with a minlength of c*c, viewed as (c,c). For the most confused, look at the matrix without its diagonal, at entries of at least min_val and at least 1, and sort by the count, largest first. `topk` of the losses never wants more than there are.'],
    why='Logits are asked for, not probabilities, because the loss needs them and the probabilities follow from them: one pass, and each loss as exact as in training. minlength matters: a class that nobody predicts would make the table too short.')
def interpretation():
    return [case('the arguments are kept, the vocab as a list', kept, also=interp),
            case('the most probable class', predictions, also=interp),
            case('rows are true classes, columns predicted ones', confusion, also=interp),
            case('a class that does not come has its row and column', class_that_never_comes, also=interp),
            case('the mistakes by name, most frequent first', confused, also=interp),
            case('pairs with fewer mistakes than min_val are left out', seldom, also=interp),
            case('what was never confused is no mistake, whatever min_val is', zero_min, also=interp),
            case('no mistakes, no pairs', all_right, also=interp),
            case('asking twice gives the same', looked_at_twice, also=interp),
            case('the largest losses and where they are, never more than there are', worst, also=interp),
            case('no items, no losses', no_losses, also=interp),
            case('from a Learner: probabilities, and the loss of each item', made_from, also=(loaders, trained)),
            case('with a loss of PyTorch', plain_loss, also=(loaders, trained)),
            case("the Learner's loss keeps its reduction", loss_as_before, also=(loaders, trained)),
            case('another loader, and the data sets', other_loader, also=(loaders, trained)),
            case('a class derived from it makes one of its own kind', of_a_kind, also=(loaders, trained))]


def classifier(m, dls=None, **kwargs):
    "A linear model with known weights; whatever is dropped in training would show."
    from mylib.losses import cross_entropy
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(24, 3))
    for i, p in enumerate(model.parameters()): p.data = randn(*p.shape, seed=i)
    return m.Learner(model, dls or loaders(m), cross_entropy, device='cpu', **kwargs)

def classified(learn, item):
    with learn.no_progress(): label, probs = learn.classify(item)
    return [label, list(probs.items())]

def an_array(m): return classified(classifier(m), pictures().x[3].numpy())
def the_highest_first(m): return [[k for k, _ in classified(classifier(m), pictures().x[i].numpy())[1]] for i in range(6)]
def the_label(m): return [classified(classifier(m), pictures().x[i].numpy())[0] for i in range(6)]

def adds_up_to_one(m): return sum(p for _, p in classified(classifier(m), pictures().x[5].numpy())[1])

def as_in_validation(m):
    "What the validation loader and the model make of the same picture."
    dls = loaders(m)
    learn, x = classifier(m, dls), next(iter(dls.valid))[0][1]
    probs = learn.model.eval()(x[None]).softmax(1)[0]
    return [dict(classified(learn, pictures(5).x[1].numpy())[1])[k] - p for k, p in zip(dls.vocab, probs.tolist())]

def a_file_and_an_image(m):
    from PIL import Image
    learn, im = classifier(m), Image.fromarray(pictures().x[2].numpy())
    with tempfile.TemporaryDirectory() as d:
        im.save(Path(d)/'a.png')
        return [classified(learn, o) for o in (im, Path(d)/'a.png')]

def kinds(m):
    label, probs = classifier(m).classify(pictures().x[0].numpy())
    return [type(label).__name__, type(probs).__name__, type(next(iter(probs.values()))).__name__, len(probs)]

def no_training_after_it(m):
    learn = classifier(m)
    weights = [p.clone() for p in learn.model.parameters()]
    a, b = (classified(learn, pictures().x[4].numpy()) for _ in range(2))
    return dict(the_same_again=a == b, weights_stay=all(torch.equal(p, q) for p, q in zip(weights, learn.model.parameters())))

def cannot_prepare(m):
    x = torch.zeros(2, 1, 6, 4)
    classifier(m, ([(x, torch.zeros(2, dtype=torch.int64))],)*2).classify(pictures().x[0].numpy())

@entry('14.4', level=1, minutes=10, hints=[
    'Two bridges are there already: one from whatever people have to what a data set gives, and one from that to probabilities. Which objects do they belong to?',
    '`self.dls.prepare` makes the input, `self.predict` gives label, number and probabilities. What is left is to put the names of the classes beside the probabilities, in an order that people want to read.',
    '`zip` of `self.dls.vocab` and the probabilities as a list, sorted by the second of each pair, largest first, as a dict. Loaders without `prepare` are a TypeError that says which loaders would do.'],
    why='The picture goes through the very pipeline of the validation split, so nothing about size, scale or normalisation can differ from what was measured. A dict keeps its order, so who prints it reads the answer first, and who looks up a class needs no list of names.')
def classify():
    at = (classifier, classified)
    return [case('the label, and pairs of class name and probability', an_array, also=at),
            case('the most probable class is first', the_highest_first, also=at),
            case('the label is that class', the_label, also=at),
            case('the probabilities add up to 1', adds_up_to_one, also=at),
            case('they are what validation gives for the same picture', as_in_validation, atol=1e-4, also=at),
            case('a PIL image or a path will do', a_file_and_an_image, also=at),
            case('a string, and a dict with a float for each class', kinds, also=classifier),
            case('asking changes nothing', no_training_after_it, also=at),
            case('loaders that cannot prepare a picture are refused', cannot_prepare, raises=TypeError, names='prepare', also=classifier)]


def served(m):
    "Exported, loaded again, and classified."
    torch.manual_seed(0)
    dls = loaders(m, 8)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 3))
    model[1].running_mean.fill_(0.3)
    learn = m.Learner(model.train(), dls, m.LabelSmoothingCrossEntropy(0.1), 0.1, cbs=[])
    with tempfile.TemporaryDirectory() as d:
        path = learn.export(Path(d)/'new'/'model')
        extra = {'meta.json': ''}
        program = torch.export.load(path, extra_files=extra).module()
        out = dict(path=str(path.relative_to(d)), files=sorted(p.name for p in path.parent.iterdir()), meta=json.loads(extra['meta.json']))
        x = pictures(7).x[:, None]
        for n in (1, 2, 7): out[f'{n} pictures'] = program(x[:n]).detach()
    return out

def model_as_before(m):
    "Mode, memory format and dtype of the Learner's own network."
    dls = loaders(m, 8)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).to(memory_format=torch.channels_last).train()
    learn = m.Learner(model, dls, m.LabelSmoothingCrossEntropy(0.1), 0.1)
    with tempfile.TemporaryDirectory() as d, without_export(): learn.export(str(Path(d)/'model.pt2'))
    return dict(training=model.training, channels_last=model[0].weight.is_contiguous(memory_format=torch.channels_last), dtype=model[0].weight.dtype)

def without_export(save=lambda program, f, **kw: Path(f).write_text('program')):
    "torch.export without its work, for what is around it."
    return patch.multiple(torch.export, export=lambda *args, **kw: None, save=save)

def tiny(m): return m.Learner(nn.Sequential(nn.Flatten(), nn.Linear(24, 3)), loaders(m, 8), m.LabelSmoothingCrossEntropy(0.1), 0.1)

def names(m):
    with tempfile.TemporaryDirectory() as d, without_export():
        return [str(tiny(m).export(str(Path(d)/name)).relative_to(d)) for name in ('model', 'model.pt2', 'model.bin', 'a/b/model')]

def in_half(m):
    "A network that was trained in 16 bits: what is exported?"
    seen, learn = [], tiny(m)
    learn.model.bfloat16()
    with tempfile.TemporaryDirectory() as d, patch.multiple(torch.export, export=lambda program, *args, **kw: seen.append([str(p.dtype) for p in program.parameters()] + [o.training for o in program.modules()]), save=lambda program, f, **kw: Path(f).write_text('')):
        learn.export(Path(d)/'model')
    return dict(exported=seen, own=str(learn.model[1].weight.dtype))

def disk_full(m):
    "Saving fails half way: what is in the folder, and in the file that was there before?"
    def save(program, f, **kw):
        Path(f).write_text('half')
        raise OSError('disk full')
    with tempfile.TemporaryDirectory() as d, without_export(save):
        (Path(d)/'model.pt2').write_text('the old one')
        try: tiny(m).export(Path(d)/'model.pt2')
        except OSError as e: error = str(e)
        return {p.name: p.read_text() for p in Path(d).iterdir()} | {'error': error}

def of_floats(m):
    data = m.TensorDataset(randn(4, 1, 6, 4), torch.arange(4) % 3, vocab=['ant', 'bee', 'cat'])
    from mylib.dataloader import DataLoader
    learn = m.Learner(nn.Sequential(nn.Flatten(), nn.Linear(24, 3)), m.DataLoaders(DataLoader(data, 4), DataLoader(data, 4)), m.LabelSmoothingCrossEntropy(0.1), 0.1)
    learn.export('model')

@entry('14.5', level=3, minutes=40, seconds=120, hints=[
    'The three decisions stand in the text above. And a fourth: what becomes of a good file of that name, and of a server that reads it at this moment, if saving fails half way?',
    'Copy the network to the CPU in float32, put it into a `ServingModel` with a copy of the validation loader\'s after_batch and the activation of the loss, in evaluation mode. `torch.export.export` wants an example of two pictures and a `Dim` for the batch axis. Save beside the place under another name, then `os.replace`.',
    'The example is an item of the validation data, and must be bytes. Run the program once before it is exported. meta.json holds vocab, size and mode (\'L\' for one channel, else \'RGB\'), through `extra_files`. The suffix is added if there is none, missing folders are made, and in a `finally` the unfinished file goes away.'],
    why='The network is copied, because .to would change the one that is still training. os.replace is one step for whoever reads the file: they see the old program or the new one, never half of it. The example has two pictures, since an axis of length 1 would be recorded as a constant.')
def export():
    also = (loaders, tiny, without_export)
    return [case('the suffix is added if there is none, folders are made, and the path comes back', names, also=also),
            case('the exported network is in float32 and in evaluation mode, the own one as it was', in_half, also=also),
            case("mode and memory format of the Learner's network stay", model_as_before, also=also),
            case('if saving fails the old file is whole, and nothing else is left', disk_full, also=also),
            case('data of floats are refused', of_floats, raises=TypeError, names='float32'),
            case('the program turns any number of pictures of bytes into probabilities, and knows vocab, size and mode', served, also=loaders, atol=1e-4)]
