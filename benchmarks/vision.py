#!/usr/bin/env python3
"""Time to the same validation accuracy beside fastai, Lightning and Keras on torch, with the same network in one run.

Fashion-MNIST's sample (`--full`: the full set) in memory; `small_resnet` under bfloat16 autocast where the processor has it, or with `--net small_cnn` the
three convolutions of `mylib-train` in float32, whose steps are ten times shorter, so that the loop around them counts for more; channels last; label smoothing 0.1, PyTorch's fused AdamW, a one-cycle schedule of the learning rate, batches of 128 or 64. Each library starts from the same weights and
gets the same batches in the same order, made by the same indexing of tensors (faster than any of their own loaders), with neither progress bar, logger
nor checkpoint; Keras gets the training step in PyTorch that its guide describes. So all four compute the same numbers, and the accuracies after each epoch
must be equal: what differs is the library's own loop, and that `Learner.fit` has the allocator keep freed memory. Each library has a process of its
own, with the data in memory that they share (to load it frees large arrays, which moves the allocator too). They take turns, half a second each, and a library's clock runs during its turns only, so that a slow minute of the machine is everybody's.
It stops after the first epoch whose validation, by the library itself, reaches `--target`; the first step and the imports are not counted.
`ratio` is to ours, in seconds, the median of the seeds; `cpu_ratio` in seconds of processor time. The bar: ahead of all three. Quietest with
OMP_NUM_THREADS=1: two threads that share two processors with anything else wait for one another.
Peers that are not installed are left out; `pip install fastai lightning keras` brings them.
"""
import argparse, contextlib, copy, importlib.util, logging, math, os, platform, sys, time, warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

os.environ['KERAS_BACKEND'] = 'torch'
import pandas as pd
import torch
import torch.multiprocessing
import torch.nn.functional as F
from torch import nn

from mylib.core import set_seed
from mylib.dataloader import DataLoaders, TensorDataset
from mylib.datasets import fashion_mnist
from mylib.learner import Callback, CancelFitException
from mylib.schedule import SchedCB
from mylib.train import small_cnn
from mylib.vision import best_precision, small_resnet, vision_learner

sys.path.insert(0, str(Path(__file__).parents[1]/'tests'))
from peers import torchvision

WD, EPS, PCT, DIV, DIV_FINAL = 0.05, 0.1, 0.25, 25., 1e5
fused_adamw = partial(torch.optim.AdamW, weight_decay=WD, fused=True)
loss_func = partial(F.cross_entropy, label_smoothing=EPS)


def one_cycle(lr):
    "The rate at a position 0..1, rounded, so that the libraries' ways to compute a position give the same rate."
    def rate(pos):
        a, b, t = (lr/DIV, lr, pos/PCT) if pos < PCT else (lr, lr/DIV_FINAL, (pos - PCT)/(1 - PCT))
        return round(a + (b - a)*(1 - math.cos(math.pi*t))/2, 10)
    return rate


class HalfNet(nn.Module):
    "The network under autocast, so that all libraries compute alike."
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        with torch.autocast('cpu', torch.bfloat16): return self.net(x).float()


class Turns:
    "A baton that goes round between processes."
    def __init__(self, n, context): self.batons, self.running = [context.Semaphore(0) for _ in range(n)], context.Array('b', [True]*n)
    def start(self): self.batons[0].release()

    def wait(self, i):
        if not self.batons[i].acquire(timeout=900): raise TimeoutError('the process that has its turn does not pass it on')

    def pass_on(self, i):
        n = len(self.batons)
        after = [j % n for j in range(i + 1, i + 1 + n) if self.running[j % n]]
        if after: self.batons[after[0]].release()

    def leave(self, i):
        self.running[i] = False
        self.pass_on(i)


class Batches:
    "Whole batches by index; a pass depends on the seed and its number. `turn` is called before each batch."
    def __init__(self, x, y, batch_size, seed=None, turn=lambda: None): self.x, self.y, self.batch_size, self.seed, self.turn, self.epoch = x, y, batch_size, seed, turn, 0

    def __len__(self): return len(self.x)//self.batch_size if self.seed is not None else -(-len(self.x)//self.batch_size)

    def __iter__(self):
        g = torch.Generator().manual_seed(1000*(self.seed or 0) + self.epoch)
        self.epoch += 1
        order = torch.randperm(len(self.x), generator=g) if self.seed is not None else torch.arange(len(self.x))
        for idx in order.split(self.batch_size)[:len(self)]:
            self.turn()
            yield self.x.index_select(0, idx), self.y.index_select(0, idx)


class Clock:
    "Seconds of wall clock and processor after the first step, in turns of its own only, until the end of the first epoch that reaches the target."
    def __init__(self, target, others=lambda: None):
        self.target, self.others, self.since, self.spent, self.done, self.accuracy, self.turn_ends = target, others, None, (0., 0.), False, [], 0.

    def begin(self):
        if not self.done: self.since = self.since or (time.perf_counter(), time.process_time())

    def stop(self):
        if self.since: self.spent = tuple(s + now - then for s, now, then in zip(self.spent, (time.perf_counter(), time.process_time()), self.since, strict=True))
        running, self.since = bool(self.since), None
        return running

    def turn(self):
        if time.perf_counter() < self.turn_ends: return
        running = self.stop()
        self.others()
        self.turn_ends = time.perf_counter() + 0.5
        if running: self.begin()

    def reached(self, acc):
        self.accuracy.append(round(float(acc), 4))
        if not self.done and acc >= self.target:
            self.stop()
            self.done = True
        return self.done


def ours(model, train, valid, a, clock):
    class ClockCB(Callback):
        order = 70
        def after_batch(self, learn): clock.begin()
        def after_epoch(self, learn):
            if not learn.training and clock.reached(learn.recorder.rows[-1]['accuracy']): raise CancelFitException
    ds = TensorDataset(valid.x[:1], valid.y[:1], vocab=list(range(10)))
    dls = DataLoaders.from_datasets(ds, ds)
    learn = vision_learner(dls, arch=lambda **_: model, loss_func=loss_func, opt_func=fused_adamw, precision=None, cbs=ClockCB())
    learn.dls.train, learn.dls.valid = train, valid
    def fit(n_epoch):
        with learn.no_progress(): learn.fit(n_epoch, cbs=SchedCB(lr=one_cycle(a.lr)))
    return fit


def with_fastai(model, train, valid, a, clock):
    from fastai.callback.core import Callback as FCallback
    from fastai.callback.core import CancelFitException as Cancel
    from fastai.callback.schedule import ParamScheduler
    from fastai.data.core import DataLoaders as FDataLoaders
    from fastai.learner import Learner as FLearner
    from fastai.metrics import accuracy as facc
    from fastai.optimizer import OptimWrapper
    class ClockCB(FCallback):
        order = 60
        def after_batch(self): clock.begin()
        def after_epoch(self):
            if clock.reached(self.recorder.log[-1 - self.recorder.add_time]): raise Cancel
    opt = lambda params, lr, **kw: OptimWrapper(params, fused_adamw, lr=lr)
    learn = FLearner(FDataLoaders(train, valid, device='cpu'), model, loss_func=loss_func, opt_func=opt, metrics=facc, cbs=ClockCB())
    def fit(n_epoch):
        with learn.no_bar(), learn.no_logging(): learn.fit(n_epoch, a.lr, cbs=ParamScheduler({'lr': one_cycle(a.lr)}))
    return fit


def with_lightning(model, train, valid, a, clock):
    import lightning as L
    for name in ('lightning.pytorch', 'lightning.fabric'): logging.getLogger(name).setLevel(logging.ERROR)
    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = model
        def training_step(self, batch, i): return loss_func(self.net(batch[0]), batch[1])
        def on_train_batch_end(self, *args): clock.begin()
        def on_validation_epoch_start(self): self.hits, self.loss = [], []
        def validation_step(self, batch, i):
            preds = self.net(batch[0])
            self.hits.append((preds.argmax(1) == batch[1]).sum())
            self.loss.append(loss_func(preds, batch[1])*len(preds))
        def on_validation_epoch_end(self):
            if clock.reached(torch.stack(self.hits).sum().item()/len(valid.x)): self.trainer.should_stop = True
        def configure_optimizers(self):
            opt, rate, n = fused_adamw(self.parameters(), lr=1.), one_cycle(a.lr), self.trainer.estimated_stepping_batches
            return [opt], [dict(scheduler=torch.optim.lr_scheduler.LambdaLR(opt, lambda step: rate(min(step/n, 1))), interval='step')]
    module = Module()
    def fit(n_epoch):
        trainer = L.Trainer(max_epochs=n_epoch, accelerator='cpu', logger=False, enable_checkpointing=False, enable_progress_bar=False,
                            enable_model_summary=False, num_sanity_val_steps=0)
        trainer.fit(module, train, valid)
    return fit


def with_keras(model, train, valid, a, clock):
    import keras
    class Data(keras.utils.PyDataset):
        def __init__(self, batches):
            super().__init__()
            self.batches, self.n = batches, -1
        def __len__(self): return len(self.batches)
        def __getitem__(self, i):
            if i == 0: self.batches.epoch, self.it = self.n, iter(self.batches)
            return next(self.it)
        def on_epoch_end(self): self.n += 1  # called before the first epoch, too
    class ClockCB(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None): clock.begin()
        def on_epoch_end(self, epoch, logs=None):
            if clock.reached(logs['val_accuracy']): self.model.stop_training = True
    class Model(keras.Model):
        "As in keras.io/guides/custom_train_step_in_torch, around a torch.nn.Module (which as an attribute would be wrapped, and validated in training mode)."
        def __init__(self, n_epoch):
            super().__init__()
            self.opt, self.step, self.rate, self.n = fused_adamw(model.parameters(), lr=a.lr), 0, one_cycle(a.lr), n_epoch*len(train)
            self.mean, self.acc = keras.metrics.Mean('loss'), keras.metrics.SparseCategoricalAccuracy('accuracy')
            self.built = True  # or Keras calls it once to see, which moves the batch norms' statistics
        metrics = property(lambda self: [self.mean, self.acc])
        def call(self, x): return model(x)
        def seen(self, loss, preds, y):
            self.mean.update_state(loss.detach())
            self.acc.update_state(y, preds.detach())
            return {m.name: m.result() for m in self.metrics}
        def train_step(self, batch):
            x, y = batch
            model.train()
            for g in self.opt.param_groups: g['lr'] = self.rate(self.step/self.n)
            self.step += 1
            preds = model(x)
            loss = loss_func(preds, y)
            loss.backward()
            self.opt.step()
            self.opt.zero_grad()
            return self.seen(loss, preds, y)
        def test_step(self, batch):
            x, y = batch
            model.eval()
            preds = model(x)
            return self.seen(loss_func(preds, y), preds, y)
    def fit(n_epoch):
        km = Model(n_epoch)
        km.compile()
        km.fit(Data(train), epochs=n_epoch, validation_data=Data(valid), callbacks=[ClockCB()], verbose=0, shuffle=False)
    return fit


def resnet():
    net = small_resnet(c_in=1)
    return HalfNet(net) if best_precision('cpu') == 'bf16' else net


NETS = dict(small_resnet=(resnet, 128, 0.87), small_cnn=(small_cnn, 64, 0.84))  # batch size, target
LIBRARIES = dict(mylib=ours, fastai=with_fastai, lightning=with_lightning, keras=with_keras)


def take_part(turns, i, data):
    "Make this process the `i`-th of those that take turns."
    global TURNS, PLACE, DATA
    TURNS, PLACE, DATA = turns, i, data


def others():
    TURNS.pass_on(PLACE)
    TURNS.wait(PLACE)


def one(name, seed, a):
    "A run of one library, in a process of its own: what one does to the allocator of the process would serve the others too."
    TURNS.wait(PLACE)
    try:
        warnings.filterwarnings('ignore')
        with contextlib.suppress(ImportError): torchvision()  # first, since Lightning imports it
        (x, y), valid = DATA
        set_seed(seed)
        net = NETS[a.net][0]().to(memory_format=torch.channels_last)
        warm = Clock(0.)  # a fit on two batches, so that nothing is imported or built on the clock
        LIBRARIES[name](copy.deepcopy(net), Batches(x[:2*a.batch_size], y[:2*a.batch_size], a.batch_size, seed), Batches(*(t[:500] for t in valid), 500), a, warm)(1)
        clock = Clock(a.target, others)
        LIBRARIES[name](net, Batches(x, y, a.batch_size, seed, clock.turn), Batches(*valid, 2*a.batch_size, turn=clock.turn), a, clock)(a.epochs)
        seconds, cpu = clock.spent if clock.done else (float('nan'), float('nan'))
        return dict(library=name, seed=seed, seconds=seconds, cpu=cpu, accuracies=clock.accuracy)
    finally: TURNS.leave(PLACE)


def race(libraries, seed, data, a):
    "A row for each library, all on the same seed."
    context = torch.multiprocessing.get_context('spawn')
    turns = Turns(len(libraries), context)
    with contextlib.ExitStack() as stack:
        pools = [stack.enter_context(ProcessPoolExecutor(1, context, take_part, (turns, i, data))) for i in range(len(libraries))]
        runs = [pool.submit(one, name, seed, a) for pool, name in zip(pools, libraries, strict=True)]
        turns.start()
        return [r.result() for r in runs]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=3, help='seeds')
    p.add_argument('--epochs', type=int, default=5)
    p.add_argument('--target', type=float, help='default: 0.87, or 0.84 for small_cnn')
    p.add_argument('--lr', type=float, default=5e-3)
    p.add_argument('--net', choices=NETS, default='small_resnet')
    p.add_argument('--batch-size', type=int, help='default: 128, or 64 for small_cnn')
    p.add_argument('--full', action='store_true', help='the full set, when it is here')
    p.add_argument('--limit', type=int, help='only so many training images, to try the script')
    p.add_argument('--only', nargs='*', help='some of mylib, fastai, lightning, keras')
    a = p.parse_args()
    _, batch_size, target = NETS[a.net]
    a.batch_size, a.target = a.batch_size or batch_size, a.target or target
    libraries = list(LIBRARIES)
    for name in list(libraries)[1:]:
        if a.only and name not in a.only: libraries.remove(name)
        elif not importlib.util.find_spec(name):
            print(f'{name} is not installed (pip install {name}) and left out')
            libraries.remove(name)
    data = [[t[:n].clone().share_memory_() for t in s.tensors()] for s, n in zip(fashion_mnist(full=a.full), (a.limit, None), strict=True)]
    rows = []
    for seed in range(a.rounds):
        for row in race(libraries[::-1 if seed % 2 else 1], seed, data, a):
            rows.append(row)
            print(f"seed {seed}, {row['library']}: {row['seconds']:.2f} s, {row['cpu']:.2f} of processor time, accuracies {row['accuracies']}", flush=True)
    runs = pd.DataFrame(rows).pivot(index='seed', columns='library')
    ratios, cpu = (runs[k].div(runs[k]['mylib'], axis=0) for k in ('seconds', 'cpu'))
    same = runs.accuracies.apply(lambda r: r.map(lambda o: o == r['mylib']), axis=1).all()
    t = pd.DataFrame(dict(seconds=runs.seconds.median(), ratio=ratios.median(), least=ratios.min(), most=ratios.max(), cpu_ratio=cpu.median(), same_accuracies=same)).loc[libraries]
    half = a.net == 'small_resnet' and best_precision('cpu') == 'bf16'
    print(f'{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads, {a.net} in {"bfloat16" if half else "float32"}; seconds to {a.target:.1%}, {a.limit or (50_000 if a.full else 10_000):,} images')
    print(t.round(3).to_string())
    print('ratio: to ours, median of the seeds; the bar: above 1 for every peer')


if __name__ == '__main__': main()
