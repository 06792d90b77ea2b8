"Lesson 05a: checkpoints."
import json, math, os, tempfile, warnings
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from mylib.judge import case, entry, randn


def packed(m, o):
    "There and back, by way of JSON text; and how many tensors lie beside it."
    tensors = {}
    text = json.dumps(m._pack(o, tensors))
    return dict(back=m._unpack(json.loads(text), tensors), tensors=len(tensors))

def plain_values(m): return packed(m, ['cat', 1, 2.5, True, None])
def nested(m): return packed(m, {'a': [1, (2, 'b')], 'c': {'d': ([], ())}})
def tensors_inside(m): return packed(m, {'w': randn(2, 3), 'more': [torch.tensor(7), (torch.tensor([True]),)]})
def keys_of_any_kind(m): return list(packed(m, {0: 'zero', (1, 2): 'pair', 'k': 1})['back'].items())
def arrays_inside(m): return packed(m, [np.arange(3, dtype=np.uint32), np.array([[0.5]]), np.array([1, 2], dtype=np.int16)])['back']
def numbers_of_numpy(m): return packed(m, [np.float64(2.5), np.int64(3)])['back']
def treacherous_names(m): return packed(m, {'tensor': 't0', 'dict': [1], 'list': {'tuple': 2}})['back']
def infinite_numbers(m): return packed(m, [float('inf'), float('nan')])['back']

def parameter_with_gradient(m):
    back = packed(m, [nn.Parameter(torch.ones(2))])['back'][0]
    return [back, back.requires_grad]

def copies(m):
    w, tensors = torch.ones(3), {}
    text = m._pack([w, w.view(3, 1).expand(3, 2)], tensors)
    w += 5
    return dict(back=m._unpack(text, tensors), contiguous=all(t.is_contiguous() for t in tensors.values()))

def text_only(m):
    "Nothing of a tensor is in the text."
    return '0.625' in json.dumps(m._pack([torch.tensor([0.625])], {}))

def a_set(m): m._pack({'seen': {1, 2}}, {})
def an_object(m): m._pack([object()], {})

@entry('05a.1', level=2, minutes=25, hints=[
    'JSON knows lists, strings, numbers and dicts with strings as keys. What is lost on the way there, and how can each container say what it was?',
    'Give every container a wrapper, a dict with one key that says the kind: tensor, array, dict, list, tuple. A dict becomes a list of pairs, so that its keys may be anything. Plain values need no wrapper.',
    'A tensor goes into `tensors` under a new name (detached, on the CPU, contiguous, cloned), and the wrapper holds the name. An array travels as a tensor with its dtype beside it; uint32, which old versions of PyTorch do not have, as int64. Whatever is left over is a TypeError that names its type.'],
    why='A pickle would do all this in one call, and would run whatever code a file brings along when it is loaded. Because every dict is wrapped, a dict of yours with the key "tensor" is not mistaken for a wrapper.')
def packing():
    return [case('strings, numbers, truth values and None', plain_values, also=packed),
            case('lists stay lists and tuples tuples, at any depth', nested, also=packed),
            case('tensors lie beside the text', tensors_inside, also=packed),
            case('nothing of a tensor is in the text', text_only),
            case('keys may be numbers and tuples', keys_of_any_kind, also=packed),
            case('arrays keep their dtype', arrays_inside, also=packed),
            case('numbers of NumPy become plain ones', numbers_of_numpy, also=packed),
            case('a dict with keys like those of the wrappers', treacherous_names, also=packed),
            case('infinity and nan', infinite_numbers, also=packed),
            case('a parameter comes back without a gradient', parameter_with_gradient, also=packed),
            case('tensors are copies, each with its own memory', copies),
            case('a set is refused, by name', a_set, raises=TypeError, names='set'),
            case('an object is refused, by name', an_object, raises=TypeError, names='object')]


def there_and_back(m, state):
    with tempfile.TemporaryDirectory() as d:
        m.save_state(state, Path(d)/'s.safetensors')
        return m.load_state(Path(d)/'s.safetensors')

def one_tensor(m): return there_and_back(m, dict(w=randn(2, 3), step=3))
def a_nest(m): return there_and_back(m, dict(a=[1, (2., 'three', None, True)], b={'c': ({'d': torch.tensor([1, 2])},)}, empty=[], best=-math.inf))
def other_keys(m): return list(there_and_back(m, {0: 'zero', (1, 2): 'pair', 'k': 1}).items())
def arrays(m): return there_and_back(m, dict(a=np.arange(3, dtype=np.uint32), b=np.array([[0.5, 1.5]])))
def kinds_of_tensor(m): return there_and_back(m, dict(half=randn(3).bfloat16(), number=torch.tensor(7), flags=torch.tensor([True, False]), none=torch.zeros(0, 2), view=randn(4, 4).T[1:]))
def no_tensor(m): return there_and_back(m, dict(step=3))

def new_folder(m):
    with tempfile.TemporaryDirectory() as d:
        m.save_state(dict(a=1), f'{d}/runs/one/s.safetensors')
        return m.load_state(f'{d}/runs/one/s.safetensors')

def nothing_else(m):
    with tempfile.TemporaryDirectory() as d:
        for i in range(2): m.save_state(dict(a=i), Path(d)/'s.safetensors')
        return dict(files=sorted(os.listdir(d)), state=m.load_state(Path(d)/'s.safetensors'))

def disk_is_full(fd): raise OSError('no space left')

def power_cut(m):
    error = 'none'
    with tempfile.TemporaryDirectory() as d:
        m.save_state(dict(a='old'), Path(d)/'s.safetensors')
        with patch('os.fsync', disk_is_full):
            try: m.save_state(dict(a='new'), Path(d)/'s.safetensors')
            except OSError as e: error = str(e)
        return dict(error=error, files=sorted(os.listdir(d)), state=m.load_state(Path(d)/'s.safetensors'))

def unfit(m):
    with tempfile.TemporaryDirectory() as d:
        try: m.save_state(dict(f=print), Path(d)/'s.safetensors')
        except TypeError: return os.listdir(d)

def every_byte(m):
    "Numbers of the bytes that can be changed without an error."
    unnoticed = []
    with tempfile.TemporaryDirectory() as d:
        file = Path(d)/'s.safetensors'
        m.save_state(dict(w=torch.tensor([1., 2.]), step=3), file)
        good = bytearray(file.read_bytes())
        for i in range(0, len(good), 3):
            good[i] ^= 1
            file.write_bytes(good)
            try: m.load_state(file); unnoticed.append(i)
            except m.CheckpointError: pass
            good[i] ^= 1
    return unnoticed

def truncated(m):
    with tempfile.TemporaryDirectory() as d:
        m.save_state(dict(w=randn(50)), file := Path(d)/'cut.safetensors')
        file.write_bytes(file.read_bytes()[:-100])
        m.load_state(file)

def foreign(m):
    with tempfile.TemporaryDirectory() as d:
        (file := Path(d)/'strange').write_bytes(b'PK\x03\x04 something else')
        m.load_state(file)

def weights_of_a_model(m):
    from safetensors.torch import save_file
    with tempfile.TemporaryDirectory() as d:
        save_file(dict(w=torch.zeros(3)), f'{d}/weights')
        m.load_state(f'{d}/weights')

def absent(m): m.load_state('nowhere.safetensors')

@entry('05a.2', level=3, minutes=30, hints=[
    'Of the state, `_pack` makes JSON data and fills a dict with the tensors. Where does each of them go in a safetensors file, and at which moment may the file get its name?',
    'Tensors as tensors; the text of the JSON and the digest into the metadata, which is a dict of strings. Write under another name in the same folder, `os.fsync`, then `os.replace`. In a `finally` the other file goes, if it is still there.',
    'Loading: FileNotFoundError first. `safe_open(..., framework="pt")` has `metadata()`, `keys()` and `get_tensor`; what it raises becomes a CheckpointError that names the file. Then a mark of your own in the metadata, then the digest, and only then `_unpack`.'],
    why='The rename is the one step that the file system does at once, so a reader finds the old file or the new one. fsync comes before it: otherwise a power cut can leave the new name with nothing in it. The digest covers text and tensors, since a flipped bit in a weight loads without complaint.')
def state_files():
    return [case('a tensor and a number come back', one_tensor, also=there_and_back),
            case('lists, tuples and dicts come back as what they were', a_nest, also=there_and_back),
            case('keys may be numbers and tuples', other_keys, also=there_and_back),
            case('NumPy arrays come back with their dtype', arrays, also=there_and_back),
            case('tensors of any dtype and shape, views included', kinds_of_tensor, also=there_and_back),
            case('a state without tensors', no_tensor, also=there_and_back),
            case('the folder is made, and the path may be a text', new_folder),
            case('an older file is replaced, and no other file stays', nothing_else),
            case('if the content does not reach the disk, the old file stays whole and no half one is left', power_cut, also=disk_is_full),
            case('a state that cannot be saved leaves no file', unfit),
            case('each single changed byte is noticed', every_byte),
            case('a truncated file is refused, with its name', truncated, raises='CheckpointError', names='cut.safetensors'),
            case('a file of another kind is refused, with its name', foreign, raises='CheckpointError', names='strange'),
            case("a model's weights are no checkpoint", weights_of_a_model, raises='CheckpointError', names='weights'),
            case('a file that is not there is another kind of error', absent, raises=FileNotFoundError, names='nowhere.safetensors')]


def learner(valid=True):
    "Six batches an epoch, shuffled; momentum and dropout."
    from mylib.dataloader import DataLoaders, TensorDataset
    from mylib.learner import Learner
    torch.manual_seed(1)
    train, test = (TensorDataset(randn(n, 3, seed=n), randn(n, 1, seed=n + 1)) for n in (24, 8))
    dls = DataLoaders.from_datasets(train, test, batch_size=4, seed=1)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.3), nn.Linear(4, 1))
    return Learner(model, dls if valid else (dls.train, None), nn.functional.mse_loss, 0.1, opt_func=lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9), device='cpu')

def fit(n_epoch, *cbs, learn=None):
    learn = learn or learner()
    with learn.no_progress():
        try: learn.fit(n_epoch, cbs=list(cbs))
        except KeyboardInterrupt: pass
    return learn

def stop_at(m, epoch, batch):
    class StopCB(m.Callback):
        def before_batch(self, learn):
            if learn.training and (learn.epoch, learn.iter) == (epoch, batch): raise KeyboardInterrupt
    return StopCB()

def positions(m, cb): return [(s['epoch'], s['batch']) for s in map(m.load_state, cb.files())]

def what_is_written(m):
    with tempfile.TemporaryDirectory() as d:
        fit(2, cb := m.CheckpointCB(f'{d}/run', every=4, keep=10))
        return positions(m, cb)

def the_last_few(m):
    with tempfile.TemporaryDirectory() as d:
        fit(2, cb := m.CheckpointCB(d, every=2, keep=3))
        return dict(listed=len(cb.files()), in_the_folder=len(os.listdir(d)), newest=positions(m, cb)[-1])

def only_epochs(m):
    with tempfile.TemporaryDirectory() as d:
        fit(2, cb := m.CheckpointCB(d))
        return positions(m, cb)

def no_validation(m):
    with tempfile.TemporaryDirectory() as d:
        fit(2, cb := m.CheckpointCB(d), learn=learner(valid=False))
        return positions(m, cb)

class Counter:
    "Makes a callback that counts the training batches of a run."
    def __new__(cls, m):
        cb = type('CountCB', (m.Callback,), dict(before_batch=cls.before_batch))()
        cb.batches = 0
        return cb
    def before_batch(self, learn): self.batches += learn.training

def same(a, b):
    return dict(losses=a.recorder.losses == b.recorder.losses, weights=[torch.equal(p, q) for p, q in zip(a.model.parameters(), b.model.parameters())],
                rows=[{k: v for k, v in r.items() if k != 'time'} for r in a.recorder.rows] == [{k: v for k, v in r.items() if k != 'time'} for r in b.recorder.rows])

def resumed(m, epoch, batch, **kwargs):
    "A run of two epochs that is interrupted at a batch and resumed, compared with one that is not."
    with tempfile.TemporaryDirectory() as d:
        fit(2, m.CheckpointCB(d, every=2, **kwargs), stop_at(m, epoch, batch))
        torch.manual_seed(99)
        res = same(fit(2, m.CheckpointCB(d, every=2, resume=True), count := Counter(m)), fit(2))
        return res | dict(batches_after_the_interruption=count.batches)

def in_the_middle(m): return resumed(m, 1, 3)
def at_the_start_of_an_epoch(m): return resumed(m, 1, 0)
def in_the_first_epoch(m): return resumed(m, 0, 5)
def before_any_file(m): return resumed(m, 0, 1)

def twice(m):
    with tempfile.TemporaryDirectory() as d:
        for at in ((0, 3), (1, 5)): fit(2, m.CheckpointCB(d, every=2, resume=True), stop_at(m, *at))
        return same(fit(2, m.CheckpointCB(d, every=2, resume=True)), fit(2))

def already_done(m):
    with tempfile.TemporaryDirectory() as d:
        first = fit(1, m.CheckpointCB(d))
        res = same(fit(1, m.CheckpointCB(d, resume=True), count := Counter(m)), first)
        return res | dict(batches=count.batches)

def longer(m):
    with tempfile.TemporaryDirectory() as d:
        fit(1, m.CheckpointCB(d))
        return same(fit(2, m.CheckpointCB(d, resume=True)), fit(2))

def other_callbacks(m):
    class CountCB(m.Callback):
        order, n = 10, 0
        def before_epoch(self, learn): self.n += 100
        def before_batch(self, learn): self.n += 1
        def state_dict(self): return dict(n=self.n)
        def load_state_dict(self, s): self.n = s['n']
    with tempfile.TemporaryDirectory() as d:
        whole, second = CountCB(), CountCB()
        fit(2, whole)
        fit(2, m.CheckpointCB(d, every=2), CountCB(), stop_at(m, 1, 3))
        fit(2, m.CheckpointCB(d, every=2, resume=True), second)
        return dict(whole=whole.n, resumed=second.n)

def damaged(m, n):
    with tempfile.TemporaryDirectory() as d, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        fit(2, cb := m.CheckpointCB(d, every=2), stop_at(m, 1, 5))
        for f in cb.files()[-n:]: f.write_bytes(f.read_bytes()[:200])
        res = same(fit(2, m.CheckpointCB(d, every=2, resume=True), count := Counter(m)), fit(2))
        return res | dict(batches_after=count.batches, warnings=sum('safetensors' in str(w.message) and 'ckpt' in str(w.message) or d in str(w.message) for w in caught))

def damaged_newest(m): return damaged(m, 1)
def damaged_all(m): return damaged(m, 3)

def in_validate(m):
    with tempfile.TemporaryDirectory() as d:
        learn = learner()
        learn.cbs.append(cb := m.CheckpointCB(d))
        fit(1, learn=learn)
        before = [f.stat().st_mtime_ns for f in cb.files()]
        learn.validate()
        return before == [f.stat().st_mtime_ns for f in cb.files()]

def another_run(m):
    with tempfile.TemporaryDirectory() as d:
        fit(1, m.CheckpointCB(f'{d}/mine'))
        fit(1, m.CheckpointCB(f'{d}/mine'))

def keep_none(m): m.CheckpointCB('x', keep=0)
def every_zero(m): m.CheckpointCB('x', every=0)

RUN = (learner, fit, stop_at, Counter, same)

@entry('05a.3', level=3, minutes=45, seconds=90, hints=[
    'Two halves, writing and going on. For the writing: at which events is a checkpoint due, and which position does each of them have, as epoch and number of batches done?',
    'The lesson says when what is put back: model, optimizer and position before the fit (`_restore`), recorder, other callbacks and generators only when the first pass has begun. File names that sort by age: epoch and batch with leading zeros.',
    'before_fit: refuse files that are there without resume; the newest file that loads, with a warning for each that does not. A checkpoint at the end of an epoch is the beginning of the next one, batch 0: there the callbacks get their state in before_fit, and only the generators in before_epoch. The end of an epoch is the end of the validation, or of the training if there is none.'],
    why='The recorder\'s before_epoch empties its sums and begins a row; put back any earlier, half an epoch would be lost. The callback has the largest order, so at its own before_epoch all others are done. A run that is complete restores its record and trains nothing, which lets a job be started again without looking.')
def checkpoint_cb():
    return [case('after every so many batches and at the end of each epoch a checkpoint with its position', what_is_written, also=(learner, fit, positions)),
            case('a long interval leaves those at the end of epochs', only_epochs, also=(learner, fit, positions)),
            case('without validation an epoch ends with its training', no_validation, also=(learner, fit, positions)),
            case('only the last few are kept', the_last_few, also=(learner, fit, positions)),
            case('interrupted in the middle of an epoch, it goes on to the same result, bit for bit', in_the_middle, also=(resumed, *RUN)),
            case('interrupted at the beginning of an epoch', at_the_start_of_an_epoch, also=(resumed, *RUN)),
            case('interrupted in the first epoch', in_the_first_epoch, also=(resumed, *RUN)),
            case('interrupted before there is a checkpoint, it begins at the beginning', before_any_file, also=(resumed, *RUN)),
            case('interrupted twice', twice, also=RUN),
            case('other callbacks get their state back', other_callbacks, also=RUN),
            case('a run that is complete keeps its record and trains nothing', already_done, also=RUN),
            case('a run that is complete can be made longer', longer, also=RUN),
            case('a damaged newest file is reported, and the one before is taken', damaged_newest, also=(damaged, *RUN)),
            case('if all are damaged it begins at the beginning', damaged_all, also=(damaged, *RUN)),
            case('validate writes nothing', in_validate, also=(learner, fit)),
            case('the files of another run are not overwritten', another_run, raises=ValueError, names=('mine', 'resume'), also=(learner, fit)),
            case('to keep nothing is refused', keep_none, raises=ValueError, names='keep'),
            case('every=0 is refused', every_zero, raises=ValueError, names='every')]


def watched(m, scores, cb=None, fail_at=None, learn=None, **kwargs):
    "A run whose metric we choose: what the callback knows after each epoch, and the epoch whose weights the model has at the end."
    from mylib.learner import Learner
    todo, weights, known = iter(scores), [], []
    def score(preds, targets): return next(todo)
    class NoteCB(m.Callback):
        order = 71
        def after_epoch(self, learn):
            if learn.training: return
            weights.append(learn.model.weight.detach().clone())
            known.append((round(cb.best, 4), cb.best_epoch, cb.waited, 'weights kept' if cb.best_weights else 'no weights'))
            if learn.epoch == fail_at: raise KeyboardInterrupt
    if learn is None:
        torch.manual_seed(0)
        loader = [(randn(4, 3), randn(4, 1, seed=1))]
        learn = Learner(nn.Linear(3, 1), (loader, loader), nn.functional.mse_loss, 0.1, metrics=score, device='cpu')
    else: learn.metrics = [score]
    cb = cb or m.SaveBestCB(**{'monitor': 'score', **kwargs})
    with learn.no_progress():
        try: learn.fit(len(scores), cbs=[NoteCB(), cb])
        except KeyboardInterrupt: pass
    return dict(known=known, weights_of_epoch=[i for i, w in enumerate(weights) if torch.equal(w, learn.model.weight)][:1])

def rising(m): return watched(m, [0.1, 0.2, 0.3])
def best_in_the_middle(m): return watched(m, [0.1, 0.5, 0.3, 0.4])
def equal_best(m): return watched(m, [0.5, 0.5, 0.4])
def smallest(m): return watched(m, [0.5, 0.2, 0.4], mode='min')
def at_least_so_much(m): return watched(m, [0.5, 0.53, 0.56, 0.57], min_delta=0.05)
def large_delta(m): return watched(m, [-5., -6.], min_delta=100.)
def after_an_interrupt(m): return watched(m, [0.1, 0.5, 0.3, 0.4], fail_at=2)

def two_fits(m):
    from mylib.learner import Learner
    torch.manual_seed(0)
    loader, cb = [(randn(4, 3), randn(4, 1, seed=1))], m.SaveBestCB('score')
    learn = Learner(nn.Linear(3, 1), (loader, loader), nn.functional.mse_loss, 0.1, device='cpu')
    return [watched(m, [0.9, 0.8], cb, learn=learn), watched(m, [0.1, 0.2, 0.15], cb, learn=learn), cb.best_weights]

def not_to_be_restored(m):
    cb = m.EarlyStoppingCB('score', patience=5)
    return [watched(m, [0.1, 0.5, 0.3], cb), cb.best_weights]

def which_way(m): return {k: m.SaveBestCB(k).sign for k in ('valid_loss', 'error_rate', 'perplexity', 'accuracy', 'f1', 'train_loss')}

def without_validation(m):
    from mylib.learner import Learner
    torch.manual_seed(0)
    learn, cb = Learner(nn.Linear(3, 1), ([(randn(4, 3), randn(4, 1, seed=1))], None), nn.functional.mse_loss, 0.1, device='cpu'), m.SaveBestCB('train_loss')
    with learn.no_progress(): learn.fit(3, cbs=cb)
    return [cb.best_epoch, cb.waited]

def state_handed_on(m):
    a, b = m.EarlyStoppingCB('score'), m.EarlyStoppingCB('score')
    watched(m, [0.5, 0.4, 0.4], a)
    b.load_state_dict(a.state_dict())
    return [b.best, b.best_epoch, b.waited, b.best_weights]

def no_such_column(m): watched(m, [0.5], monitor='acc')
def strange_mode(m): m.SaveBestCB(mode='best')
def delta_below_zero(m): m.SaveBestCB(min_delta=-1.)

@entry('05a.4', level=2, minutes=30, hints=[
    'A score is watched: largest is best, or smallest. How do you treat both alike, and what must be remembered from epoch to epoch?',
    'Multiply by a sign, and larger is always better. Remember the best score, its epoch, the weights of then if they are wanted, and how many epochs have passed since. Forget it all when a fit begins.',
    '`after_epoch` comes after each pass: wait for the validation pass if there is one. The first score is always a best; later ones must be larger than best + min_delta. Clone the weights. They go back into the model in `cleanup_fit`, which runs whatever happened, and are forgotten there. If no mode is given, losses, errors and perplexities are to be small. Then `_judge`.'],
    why='`cleanup_fit` and not `after_fit`: whoever stops a run with Ctrl-C after forty epochs wants the best weights too. `state_dict` values of a model are the living tensors, so keeping them without a clone keeps the last epoch, whatever is written on the label.')
def monitor():
    return [case('each epoch is a new best', rising, also=watched),
            case('the best lies in the middle: the epochs since are counted, and its weights are put back', best_in_the_middle, also=watched),
            case('an equal score is no new best', equal_best, also=watched),
            case("mode='min': the smallest is the best", smallest, also=watched),
            case('a new best must be better than the best by more than min_delta', at_least_so_much, also=watched),
            case('the first epoch is a best, whatever min_delta is', large_delta, also=watched),
            case('after an interrupt the best weights are put back too', after_an_interrupt, also=watched),
            case('a second fit begins anew, and no weights are kept after it', two_fits, also=watched),
            case('no weights are kept where none are to be put back', not_to_be_restored, also=watched),
            case('without a mode, losses, errors and perplexities are to be small', which_way),
            case('without a validation set the training pass is judged', without_validation),
            case('state_dict and load_state_dict hand everything on', state_handed_on, also=watched),
            case('a column that is not recorded is refused, and the recorded ones are named', no_such_column, raises=ValueError, names=('acc', 'score'), also=watched),
            case('an unknown mode is refused', strange_mode, raises=ValueError, names='mode'),
            case('a negative min_delta is refused', delta_below_zero, raises=ValueError, names='min_delta')]


def saved(m, scores, file='best', **kwargs):
    "Which epochs wrote the file, and whether it holds the weights that the model ends with."
    with tempfile.TemporaryDirectory() as d:
        from mylib.learner import Learner
        todo, written = iter(scores), []
        def score(preds, targets): return next(todo)
        torch.manual_seed(0)
        loader = [(randn(4, 3), randn(4, 1, seed=1))]
        learn = Learner(nn.Linear(3, 1), (loader, loader), nn.functional.mse_loss, 0.1, metrics=score, device='cpu')
        save = learn.save
        def noted(f):
            written.append(learn.epoch)
            return save(f)
        learn.save = noted
        with learn.no_progress(): learn.fit(len(scores), cbs=m.SaveBestCB(**{'monitor': 'score', **kwargs}, file=file and f'{d}/{file}'))
        if not file: return written
        w = learn.model.weight.detach().clone()
        nn.init.zeros_(learn.model.weight)
        learn.load(f'{d}/{file}')
        return dict(written=written, same=torch.equal(w, learn.model.weight))

def each_best(m): return saved(m, [0.1, 0.3, 0.2, 0.4, 0.4])
def no_file(m): return saved(m, [0.1, 0.3], file=None)
def falling_score(m): return saved(m, [0.5, 0.3, 0.4], mode='min')
def too_little(m): return saved(m, [0.5, 0.51, 0.7], min_delta=0.1)
def of_the_loss(m):
    cb = m.SaveBestCB()
    return [cb.monitor, cb.sign, cb.min_delta, cb.file]
def restores(m): return watched(m, [0.1, 0.5, 0.3])
def unknown(m): m.SaveBestCB('score', 'largest')

@entry('05a.5', level=1, minutes=10, hints=[
    '`_MonitorCB` watches, keeps the weights and puts them back. What is left for this class to do?',
    'Hand the settings on to `_setup`, and after each epoch, in `_judge`, save the weights if this epoch is a new best and there is a file.',
    'An epoch is a new best if no epoch has been waited since: `self.waited == 0`. `learn.save` writes the weights.'],
    why='The file is for the case that the machine does not live to the end of the fit. It is written only when there is something new, since a large model takes seconds to write.')
def save_best():
    return [case('valid_loss is watched by default, and is to be small', of_the_loss),
            case('the weights of the best epoch are put back', restores, also=watched),
            case('the file is written at each new best, and only then', each_best, also=saved),
            case('the mode is passed on', falling_score, also=saved),
            case('min_delta is passed on', too_little, also=saved),
            case('without a file nothing is written', no_file, also=saved),
            case('an unknown mode is refused', unknown, raises=ValueError, names='mode')]


def scripted(m, scores, **kwargs):
    "Epochs that ran, and the epoch whose weights the model has at the end, in a run whose metric we choose."
    from mylib.learner import Learner
    todo, weights = iter(scores), []
    def score(preds, targets): return next(todo)
    class NoteCB(m.Callback):
        def after_epoch(self, learn):
            if not learn.training: weights.append(learn.model.weight.detach().clone())
    torch.manual_seed(0)
    loader = [(randn(4, 3), randn(4, 1, seed=1))]
    learn = Learner(nn.Linear(3, 1), (loader, loader), nn.functional.mse_loss, 0.1, metrics=score, device='cpu')
    cb = m.EarlyStoppingCB(**{'monitor': 'score', **kwargs})
    with learn.no_progress(): learn.fit(len(scores), cbs=[NoteCB(), cb])
    at_the_end = [i for i, w in enumerate(weights) if torch.equal(w, learn.model.weight)]
    return dict(epochs=len(weights), weights_of_epoch=at_the_end[0] if at_the_end else None)

def always_better(m): return scripted(m, [0.1, 0.2, 0.3, 0.4], patience=1)
def never_better(m): return scripted(m, [0.5]*9, patience=3)
def best_in_between(m): return scripted(m, [0.5, 0.4, 0.6, 0.5, 0.55, 0.7, 0.1, 0.1, 0.1, 0.1], patience=3)
def patience_one(m): return scripted(m, [0.5, 0.6, 0.59, 0.9, 0.9], patience=1)
def three_by_default(m): return scripted(m, [0.5]*9)
def small_steps(m): return scripted(m, [0.5, 0.51, 0.52, 0.53, 0.9], patience=3, min_delta=0.05)
def steps_that_add_up(m): return scripted(m, [0.5, 0.53, 0.56, 0.57, 0.58, 0.59], patience=2, min_delta=0.05)
def less_is_better(m): return scripted(m, [0.5, 0.4, 0.3, 0.4, 0.4, 0.1], patience=2, mode='min')
def an_error_rate(m):
    cb = m.EarlyStoppingCB('error_rate')
    return dict(sign=cb.sign, patience=cb.patience)
def best_weights(m): return scripted(m, [0.5, 0.9, 0.6, 0.6, 0.6, 0.6], patience=2, restore=True)
def to_the_end(m): return scripted(m, [0.5, 0.9, 0.6], patience=5, restore=True)

def the_loss_falls(m):
    from mylib.learner import Learner
    torch.manual_seed(0)
    loader = [(randn(4, 3), randn(4, 1, seed=1))]
    learn = Learner(nn.Linear(3, 1), (loader, loader), nn.functional.mse_loss, 0.01, device='cpu')
    with learn.no_progress(): learn.fit(6, cbs=m.EarlyStoppingCB(patience=1))
    return len(learn.recorder.rows)

def no_patience(m): m.EarlyStoppingCB(patience=0)
def third_mode(m): m.EarlyStoppingCB(mode='best')
def negative_delta(m): m.EarlyStoppingCB(min_delta=-0.1)
def unknown_column(m): scripted(m, [0.5], monitor='acc')

@entry('05a.6', level=1, minutes=10, hints=[
    'Read `_MonitorCB` above. What does it count for you, and which method does it leave to be filled in?',
    '`_setup` takes the settings that all of them share; patience (at least 1) and restore are yours to keep. `_judge` is called after each epoch.',
    '`self.waited` is the number of epochs since the best. Once it has reached patience, raise the exception that ends a fit.'],
    why='It ends the fit by the exception that still runs all clean-ups, so the best weights can be put back there, and a checkpoint is whole. Metrics are noisy: a patience of 1 would end most runs at their first bad epoch.')
def early_stopping():
    return [case('as long as it gets better it goes on', always_better, also=scripted),
            case('it stops after patience epochs without a new best', never_better, also=scripted),
            case('each new best begins the waiting anew', best_in_between, also=scripted),
            case('patience=1 stops at the first epoch that is not better', patience_one, also=scripted),
            case('patience is 3 by default', three_by_default, also=scripted),
            case('steps smaller than min_delta do not count', small_steps, also=scripted),
            case('the comparison is with the best, not with the epoch before', steps_that_add_up, also=scripted),
            case("mode='min' looks for the smallest", less_is_better, also=scripted),
            case('by default it watches the validation loss, and less is better', the_loss_falls),
            case('of an error rate less is better, without being told', an_error_rate),
            case('restore=True puts back the weights of the best epoch', best_weights, also=scripted),
            case('also when the fit comes to its end', to_the_end, also=scripted),
            case('a patience of 0 is refused', no_patience, raises=ValueError, names='patience'),
            case('an unknown mode is refused', third_mode, raises=ValueError, names='mode'),
            case('a negative min_delta is refused', negative_delta, raises=ValueError, names='min_delta'),
            case('a column that is not recorded is an error', unknown_column, raises=ValueError, names='acc', also=scripted)]
