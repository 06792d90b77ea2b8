"Lesson 04: the Learner."
from types import SimpleNamespace
from unittest.mock import patch

import torch
from torch import nn

from mylib.judge import case, entry, randn


def plain_callback(m):
    class FineCB(m.Callback):
        threshold, before_all = 3, 4 # no functions
        def after_batch(self, learn): pass
        def plot(self): pass
        def _before_batch(self, learn): pass
    return [FineCB.order, FineCB.writes, FineCB.fit_only]

def every_event(m):
    cls = type('EveryCB', (m.Callback,), {e: lambda self, learn: None for e in m.EVENTS})
    return [hasattr(cls, e) for e in m.EVENTS]

def misspelt(m):
    class TypoCB(m.Callback):
        def befor_batch(self, learn): pass

def unknown_event(m):
    class DinnerCB(m.Callback):
        def after_dinner(self, learn): pass

def misspelt_below(m):
    class BaseCB(m.Callback):
        def after_batch(self, learn): pass
    class LowerCB(BaseCB):
        def after_stepp(self, learn): pass

def other_parents(m):
    seen = []
    class Registered:
        def __init_subclass__(cls, tag, **kwargs):
            super().__init_subclass__(**kwargs)
            seen.append(tag)
    class BothCB(m.Callback, Registered, tag='told'): pass
    return seen

@entry('04.1', level=2, minutes=15, hints=[
    'Python calls `__init_subclass__` on the parent for every class that is derived from it. What does the new class define itself, and how would you find out?',
    '`vars(cls)` holds what the class body defined. Leave alone what begins with an underscore, what is an event, and what cannot be called. `difflib.get_close_matches` finds the event that somebody meant.',
    'A name is refused with a TypeError if there is a close match (cutoff 0.85) or if it begins with before_, after_ or cleanup_. The message names class, method and the event that was meant. Do not forget `super().__init_subclass__(**kwargs)`.'],
    why='The mistake is found where it is made, when the class is defined, and not in the middle of a fit, where a misspelt event means that nothing happens at all. The call of super lets other parents of the class do their own bookkeeping.')
def callback():
    return [case('helpers, private names and plain values are left alone', plain_callback),
            case('every event may be defined', every_event),
            case('a misspelt event is refused, with the class, the name and the event that was meant', misspelt, raises=TypeError, names=('TypoCB', 'befor_batch', 'before_batch')),
            case('a name that looks like an event and is none is refused', unknown_event, raises=TypeError, names=('DinnerCB', 'after_dinner')),
            case('a class derived from a derived class is checked too', misspelt_below, raises=TypeError, names=('LowerCB', 'after_step')),
            case('other parents of the class are told of it too', other_parents)]


def share(preds, targets): return (preds == targets).float().mean()

def one_batch(m):
    metric = m.Metric(share)
    metric.update(torch.tensor([1, 2]), torch.tensor([1, 0]))
    return metric.value

def unequal_batches(m):
    metric = m.Metric(share)
    metric.update(torch.tensor([1]), torch.tensor([1]))
    metric.update(torch.tensor([1, 2, 3]), torch.tensor([0, 0, 0]))
    return [metric.value, metric.n]

def unequal_widths(m):
    metric = m.Metric(share)
    metric.update(torch.zeros(2, 1), torch.zeros(2, 1))
    metric.update(torch.zeros(2, 3), torch.ones(2, 3))
    return [metric.value, metric.n]

def no_batch(m): return m.Metric(share).value

def names(m): return [m.Metric(share).name, m.Metric(share, 'hits').name]

def looked_at_twice(m):
    metric = m.Metric(share)
    metric.update(torch.tensor([1, 2]), torch.tensor([1, 0]))
    return [metric.value, metric.value, metric.n]

def new_pass(m):
    metric = m.Metric(share)
    metric.update(torch.tensor([1]), torch.tensor([1]))
    before = metric.value
    metric.reset()
    metric.update(torch.tensor([1]), torch.tensor([0]))
    return [before, metric.value, metric.n]

def floats_too(m):
    metric = m.Metric()
    metric.add(2, 1)
    metric.add(torch.tensor(5.), 2)
    return metric.value

def folded(m):
    metric = m.Metric()
    for v in (1., 2.): metric.add(torch.tensor(v), 1)
    return [metric.fold(), metric.fold(), metric.total, metric.n]

def no_graph(m):
    metric = m.Metric()
    metric.add(torch.ones((), requires_grad=True)*2, 1)
    return [v.requires_grad for v in metric._values]

def how_often_it_waits(m):
    calls, metric = [], m.Metric()
    def counted(name):
        real = getattr(torch.Tensor, name)
        return patch.object(torch.Tensor, name, lambda self, *a: (calls.append(name), real(self, *a))[1])
    with counted('item'), counted('tolist'), counted('__float__'):
        for _ in range(63): metric.add(torch.tensor(1.), 1)
        before = len(calls)
        for _ in range(70): metric.add(torch.tensor(1.), 1)
    return {'in 63 batches': before, 'in 133 batches': len(calls)}

def no_mean(m): m.Metric(lambda p, t: p == t, 'hits').update(torch.zeros(3), torch.zeros(3))

@entry('04.2', level=2, minutes=25, hints=[
    'Keep two lists, the values as tensors and the sizes, and two numbers, the sum so far and the count. When does a tensor have to become a number?',
    '`add` detaches the value and appends it; after `fold_every` of them it folds. `fold` stacks the tensors and asks for all numbers at once with `tolist`, adds value times size to the total, and empties the lists.',
    'The size of a batch is `_count(targets)`, so that every word of a text counts. `value` folds first, and gives `math.nan` when there was nothing. A value with axes is refused with a ValueError.'],
    why='One synchronisation for 64 batches instead of one for each: on a GPU that is the difference between a loop that waits and one that does not. The value is detached, because a tensor that remembers its graph keeps all activations of its batch alive.')
def metric():
    return [case('one batch: the mean over its targets', one_batch),
            case('a batch counts by the number of its targets', unequal_batches),
            case('every entry of the targets counts, also where batches differ in width', unequal_widths),
            case('nan before the first batch', no_batch),
            case("the name is the function's, or the one given", names),
            case('looking at the value twice counts nothing twice', looked_at_twice),
            case('reset forgets the pass before', new_pass),
            case('numbers are taken as well as tensors', floats_too),
            case('no number is asked of the device before fold_every values wait', how_often_it_waits),
            case('fold gives the waiting values and empties the list', folded),
            case('a value that waits keeps no graph', no_graph),
            case('a function that gives no single number is refused', no_mean, raises=ValueError, names=('hits', '(3,)'))]


def hits(preds, targets): return (preds.argmax(1) == targets).float().mean()

def recorded(m, loss=nn.functional.cross_entropy, epochs=2, recorder=None, cbs=(), opt=torch.optim.SGD, valid=True):
    "A fit with batches of two and three; its recorder."
    torch.manual_seed(0)
    x, y = randn(5, 3), torch.tensor([0, 1, 1, 0, 2])
    loader = [(x[:2], y[:2]), (x[2:], y[2:])]
    learn = m.Learner(nn.Linear(3, 3), (loader, loader if valid else None), loss, 0.1, opt, cbs=[*([recorder] if recorder else []), *cbs], metrics=hits, device='cpu')
    with learn.no_progress(): learn.fit(epochs)
    return learn.recorder

def rows(rec): return [{k: v for k, v in r.items() if k != 'time'} for r in rec.rows]

def each_batch(m): return recorded(m).losses
def each_epoch(m): return rows(recorded(m))
def rates(m): return recorded(m).lrs
def last_column(m): return [(list(r)[-1], r['time'] > 0) for r in recorded(m).rows]
def metrics_in_training(m): return rows(recorded(m, recorder=m.Recorder(train_metrics=True)))
def no_validation_set(m): return rows(recorded(m, valid=False))

def rate_of_the_last_group(m):
    def two_groups(params, lr):
        w, b = params
        return torch.optim.SGD([dict(params=[w], lr=1.), dict(params=[b])], lr=lr)
    class LaterCB(m.Callback):
        def before_batch(self, learn): learn.opt.param_groups[-1]['lr'] = 0.01*(learn.iter + 1)
    return recorded(m, opt=two_groups, cbs=[LaterCB()]).lrs

def second_fit(m):
    rec = m.Recorder()
    first = recorded(m, recorder=rec)
    n = len(first.losses)
    again = recorded(m, recorder=rec, epochs=1)
    return [n, len(again.losses), len(again.rows), [len(again.lrs), again.sched]]

def interrupted_fit(m):
    class StopCB(m.Callback):
        def after_step(self, learn):
            if learn.epoch == 1: raise m.CancelFitException
    rec = recorded(m, epochs=3, cbs=[StopCB()])
    return dict(losses=rec.losses, epochs=len(rec.rows))

def loss_with_nan(m): recorded(m, loss=lambda p, t: nn.functional.cross_entropy(p, t)*float('nan'))

@entry('04.3', level=3, minutes=40, hints=[
    'What is known after each loss, what after each pass, and what must be forgotten when? Look at what `Metric` does for you already.',
    'The loss of a pass is a `Metric` too, without a function: `add` takes its value and the number of targets. A row belongs to an epoch, so the training pass makes one and the validation pass completes it. The single losses come out of `fold`.',
    'before_fit: empty lists, a Metric for the loss and one for each of learn.metrics. before_epoch: a new row unless this epoch has one; reset all. after_loss: add, note the rate of the last group in training, update the active metrics without a graph, fold now and then. after_epoch: fold, then the row gets train_loss or valid_loss, the metrics (as train_NAME in training), and time last. cleanup_epoch: keep the losses of a pass that was cut short. `_fold` looks for nan and raises a FloatingPointError.'],
    why='Losses wait on the device in the Metric and are fetched in bunches of 32, so that recording costs no synchronisation per batch. The clean-up takes in what an interrupted pass had seen, since those are the losses that somebody who stopped a run wants to look at.')
def recorder():
    more = (recorded, hits)
    return [case('the loss of each training batch', each_batch, also=more),
            case('a row for each epoch: losses and metrics, weighted by the number of targets', each_epoch, also=(*more, rows)),
            case('the time is the last column', last_column, also=more),
            case('the learning rate of each training batch', rates, also=more),
            case('where there are several groups, the rate of the last one, as it is at that batch', rate_of_the_last_group, also=more),
            case('metrics of the training batches, if they are wanted', metrics_in_training, also=(*more, rows)),
            case('without a validation set', no_validation_set, also=(*more, rows)),
            case('a second fit begins anew', second_fit, also=more),
            case('a fit that is cut short keeps the losses that it has seen', interrupted_fit, also=more),
            case('nan is an error that says where', loss_with_nan, raises=FloatingPointError, names=('nan', 'batch 0', 'epoch 0'), also=more)]


def trace(m, fail_at=None, error=None):
    log = []
    def at(place):
        def f(learn):
            log.append(place)
            if place == fail_at: raise error
        return f
    on = {'fit': ((at('before a'), at('cleanup a')), (at('before b'), at('cleanup b')), (None, at('cleanup c'))), 'after_fit': (at('after a'), at('after b'))}
    learn = SimpleNamespace(_on=on)
    try: m.Learner._phase(learn, 'fit', lambda: at('body')(learn), m.CancelFitException)
    except (ZeroDivisionError, m.CancelFitException, m.CancelBatchException) as e: log.append(f'{type(e).__name__} comes out')
    return log

def nothing_happens(m): return trace(m)
def cancelled(m): return trace(m, 'body', m.CancelFitException())
def cancelled_early(m): return trace(m, 'before b', m.CancelFitException())
def fails(m): return trace(m, 'body', ZeroDivisionError())
def fails_early(m): return trace(m, 'before a', ZeroDivisionError())
def cleanup_fails(m): return trace(m, 'cleanup b', ZeroDivisionError())
def another_cancel(m): return trace(m, 'body', m.CancelBatchException())

@entry('04.4', level=3, minutes=25, hints=[
    'Write down the order for two callbacks: before a, before b, body, after, cleanup b, cleanup a. Which of these must happen whatever the others do?',
    '`contextlib.ExitStack` runs what was given to `stack.callback(f, x)` when its block ends, last in first out, all of it even if something raises. `self._on[name]` holds pairs of a before function and a cleanup function, each of which may be None.',
    'Put the clean-up on the stack before you call the before function of the same pair. Inside the `with`, a `try` around befores, body and the functions of `self._on["after_" + name]`, and `except cancel: pass`.'],
    why='The clean-up is registered first, because a before_ method that fails half way has opened something that must be closed. An ExitStack instead of a loop in `finally`, because in a loop the first clean-up that fails would leave out all the others.')
def phase():
    return [case('before, body, after, and the clean-ups last to first', nothing_happens, also=trace),
            case('a cancelled body skips what comes after and goes on as if nothing had happened', cancelled, also=trace),
            case('other errors come out, after the clean-ups', fails, also=trace),
            case('a clean-up runs if its before has begun, even if that is what failed', fails_early, also=trace),
            case('cancelling in a before leaves out the body', cancelled_early, also=trace),
            case('a clean-up that fails does not keep the others from running', cleanup_fails, also=trace),
            case('only the given kind of cancellation is caught', another_cancel, also=trace)]


def learner(m, loss=nn.functional.mse_loss, **kwargs):
    torch.manual_seed(0)
    x, y = randn(6, 3), randn(6, 1, seed=1)
    loader = [(x[:2], y[:2]), (x[2:], y[2:])]
    return m.Learner(nn.Linear(3, 1), (loader, loader[:1]), loss, 0.1, **kwargs)

def fit(learn, **kwargs):
    with learn.no_progress(): learn.fit(1, **kwargs)
    return learn

def learns(m):
    learn = fit(learner(m))
    return dict(losses=learn.recorder.losses, weight=learn.model.weight)

def events(m):
    log = []
    class LogCB(m.Callback):
        def after_predict(self, learn): log.append(('after_predict', learn.training, learn.preds is not None))
        def after_loss(self, learn): log.append(('after_loss', learn.training, round(learn.loss.item(), 4)))
        def after_backward(self, learn): log.append(('after_backward', learn.training, learn.model.weight.grad is not None))
        def after_step(self, learn): log.append(('after_step', learn.training, 'gradient there' if learn.model.weight.grad is not None else 'gradient gone'))
        def after_batch(self, learn): log.append(('after_batch', learn.training, 'gradient there' if learn.model.weight.grad is not None else 'gradient gone'))
    fit(learner(m, cbs=LogCB()))
    return log

def validates(m):
    learn = learner(m)
    before = learn.model.weight.detach().clone()
    learn.validate()
    return dict(unchanged=torch.equal(before, learn.model.weight), gradient=learn.model.weight.grad)

def changed_by_callbacks(m):
    class TwiceCB(m.Callback):
        def after_predict(self, learn):
            learn.preds = learn.preds*2
            learn.batch = (*learn.batch[:-1], learn.batch[-1] + 1)
    return fit(learner(m, cbs=TwiceCB())).recorder.losses

def two_inputs(m):
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 1, bias=False)
            nn.init.ones_(self.layer.weight)
        def forward(self, a, b): return self.layer(a - b)
    loader = [(randn(2, 3), randn(2, 3, seed=1), torch.zeros(2, 1))]
    return fit(m.Learner(Sum(), (loader, None), nn.functional.mse_loss, 0.1)).recorder.losses

def cancelled_batch(m):
    log = []
    class SkipCB(m.Callback):
        def after_predict(self, learn): raise m.CancelBatchException
        def after_loss(self, learn): log.append('after_loss')
        def cleanup_batch(self, learn): log.append('cleanup_batch')
    fit(learner(m, cbs=SkipCB()))
    return log

def loss_with_axes(m): fit(learner(m, loss=lambda p, t: (p - t)[:, 0]))
def column_against_row(m):
    loader = [(randn(4, 3), torch.zeros(4))]
    fit(m.Learner(nn.Linear(3, 1), (loader, None), nn.functional.mse_loss, 0.1))
def wrong_inputs(m):
    loader = [(randn(4, 5), torch.zeros(4, 1))]
    fit(m.Learner(nn.Linear(3, 1), (loader, None), nn.functional.mse_loss, 0.1))
def detached_loss(m): fit(learner(m, loss=lambda p, t: nn.functional.mse_loss(p, t).detach()))

@entry('04.5', level=2, minutes=25, hints=[
    'Take the twelve lines of the first loop and put the functions of `self._on[...]` between them: after_predict, after_loss, after_backward, after_step. What is left out in validation?',
    'All elements of the batch but the last go into the model, and the last is read for the loss only when it is needed, because a callback may have changed it. Everything is stored on `self`: preds, loss.',
    'Keep a variable `stage` (predict, loss, backward, step) and wrap it all in `try: ... except Exception as e: _explain(e, self, stage); raise`. In the first batch call `self._check_targets()` before the loss; a loss with axes is a ValueError. Set the gradients back last.'],
    why='zero_grad comes after the event after_step, so that callbacks can still look at the gradients that made the step. The attributes are read again at each line, since between any two of them a callback may have written to them. That is what makes two-way callbacks.')
def one_batch_():
    return [case('two batches: their losses and the weights after them', learns, also=(learner, fit)),
            case('the order of the events, and what is there at each', events, also=(learner, fit)),
            case('validation changes no weight and leaves no gradient', validates, also=learner),
            case('what a callback writes to preds and batch is used', changed_by_callbacks, also=(learner, fit)),
            case('all elements of the batch but the last go into the model', two_inputs, also=fit),
            case('a cancelled batch ends where it is', cancelled_batch, also=(learner, fit)),
            case('a loss that is not one number is refused', loss_with_axes, raises=ValueError, names='must be one number', also=(learner, fit)),
            case('targets that would broadcast against the predictions are refused', column_against_row, raises=ValueError, names='would broadcast', also=fit),
            case('an error in the model says that it was in predict, and the shapes', wrong_inputs, raises=RuntimeError, names=('In predict', '(4, 5)'), also=fit),
            case('an error on the way back says that it was in backward', detached_loss, raises=RuntimeError, names='In backward', also=(learner, fit))]


def classifier(m, **kwargs):
    torch.manual_seed(0)
    x, y = randn(7, 3), torch.tensor([0, 1, 1, 0, 2, 2, 1])
    loader = [(x[:2], y[:2]), (x[2:4], y[2:4]), (x[4:], y[4:])]
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    return m.Learner(model, (loader[:2], loader[1:]), kwargs.pop('loss', nn.functional.cross_entropy), 0.1, device='cpu', **kwargs)

def on_the_validation_set(m): return list(classifier(m, metrics=hits).validate())
def columns_by_name(m): return classifier(m, metrics=hits).validate()._fields
def on_another_loader(m):
    learn = classifier(m)
    return learn.validate(learn.dls.train).valid_loss

def nothing_learnt(m):
    learn = classifier(m)
    before = learn.model[0].weight.detach().clone()
    learn.validate()
    return dict(same=torch.equal(before, learn.model[0].weight), gradient=learn.model[0].weight.grad, optimizer=learn.opt)

def record_of_the_fit(m):
    learn = fit(classifier(m))
    before = rows(learn.recorder)
    learn.validate()
    return [rows(learn.recorder) == before, len(learn.recorder.losses)]

def who_takes_part(m):
    log = []
    class AlwaysCB(m.Callback):
        def before_fit(self, learn): log.append('always')
    class FitOnlyCB(m.Callback):
        fit_only = True
        def before_fit(self, learn): log.append('fit only')
    classifier(m, cbs=[AlwaysCB(), FitOnlyCB()]).validate()
    return log

def no_validation(m): m.Learner(nn.Linear(3, 3), ([(randn(2, 3), torch.tensor([0, 1]))], []), nn.functional.cross_entropy).validate()

@entry('04.6', level=1, minutes=15, hints=[
    'A validation pass on its own is a run of one epoch with a single pass, on which nothing is trained. Who takes part in it, and who writes down what?',
    'The callbacks of `_quiet`, those that are not for fits alone, and a Recorder of its own, so that the record of the last fit stays.',
    '`self._run(1, [(loader, False)], callbacks)`; the row of the recorder, without epoch and time, becomes a named tuple. The given loader, or `_nonempty` of the validation set.'],
    why='A Recorder that belongs to the Learner would begin anew with each run and lose the curves of the training. With one of its own, validating costs no more than looking.')
def validate():
    return [case('loss and metrics of the validation set, without dropout', on_the_validation_set, also=(classifier, hits)),
            case('they have names, valid_loss first', columns_by_name, also=(classifier, hits)),
            case('another loader may be given', on_another_loader, also=classifier),
            case('nothing is learnt', nothing_learnt, also=classifier),
            case('the record of the last fit stays', record_of_the_fit, also=(classifier, fit, rows)),
            case('callbacks for fits alone take no part', who_takes_part, also=classifier),
            case('an empty validation set is refused', no_validation, raises=ValueError, names='valid')]


def all_in_order(m):
    preds, targets = classifier(m).get_preds()
    return dict(preds=preds, targets=targets)

def probabilities(m): return classifier(m).get_preds()[0].sum(1)
def outputs_themselves(m): return classifier(m).get_preds(act=lambda x: x)[0]
def other_loader(m):
    learn = classifier(m)
    return learn.get_preds(learn.dls.train)

def squared_error(m):
    loader = [(randn(2, 3), randn(2, 1, seed=1))]
    torch.manual_seed(0)
    return m.Learner(nn.Linear(3, 1), (loader, loader), nn.functional.mse_loss, device='cpu').get_preds()

def changed_on_the_way(m):
    class TwiceCB(m.Callback):
        def after_predict(self, learn): learn.preds = learn.preds*2
    return classifier(m, cbs=TwiceCB()).get_preds(act=lambda x: x)[0]

def no_loss_needed(m):
    def refuse(preds, targets): raise ZeroDivisionError
    return classifier(m, loss=refuse).get_preds()[1]

def half_precision(m):
    class HalfCB(m.Callback):
        def after_predict(self, learn): learn.preds = learn.preds.bfloat16()
    return classifier(m, cbs=HalfCB()).get_preds(act=lambda x: x)[0].dtype

def one_input(m):
    learn = classifier(m)
    label, i, probs = learn.predict(randn(3))
    return dict(label=label, index=i, probs=probs)

def with_names(m):
    from mylib.dataloader import DataLoaders, TensorDataset
    ds = TensorDataset(randn(4, 3), torch.tensor([0, 1, 2, 0]), vocab=['cat', 'dog', 'cow'])
    torch.manual_seed(0)
    learn = m.Learner(nn.Linear(3, 3), DataLoaders.from_datasets(ds, ds, batch_size=2, seed=0), nn.functional.cross_entropy, device='cpu')
    return learn.predict(randn(3))[:2]

def mode_afterwards(m):
    learn = classifier(m)
    learn.get_preds(), learn.predict(randn(3))
    return [learn.preds, learn.batch, learn.model[0].weight.grad]

@entry('04.7', level=2, minutes=25, hints=[
    'A pass on which predictions are collected and nothing else is computed. Which event sees them, and how does one leave a batch from there?',
    'A callback with a high `order`, so that others have changed the predictions before, appends them and the targets and raises CancelBatchException: no loss is needed. A run of one pass without training, then everything is joined.',
    '`to_cpu` of both in `after_predict`. `torch.cat`, and the activation that is given, or `_activation(self.loss_func)`. `predict` makes a loader of one batch of one input, [(x[None], torch.zeros(1))], and takes the first row; the label comes from `self.dls.vocab` if there is one.'],
    why='Each batch goes to the CPU at once, so that the predictions of a large set do not fill the GPU. The activation belongs to the loss, which alone knows what the outputs are.')
def get_preds():
    return [case('probabilities and targets of the validation set, in its order, without dropout', all_in_order, also=classifier),
            case('the probabilities of an item sum to 1', probabilities, also=classifier),
            case('act is applied instead', outputs_themselves, also=classifier),
            case('another loader may be given', other_loader, also=classifier),
            case('a loss without an activation leaves the outputs as they are', squared_error),
            case('what callbacks made of the predictions is what is collected', changed_on_the_way, also=classifier),
            case('the loss is not computed', no_loss_needed, also=classifier),
            case('half precision comes back as float32', half_precision, also=classifier),
            case('predict: label, number and probabilities of one input', one_input, also=classifier),
            case('predict: the label is a name if there are names', with_names),
            case('the Learner is left as it was', mode_afterwards, also=classifier)]
