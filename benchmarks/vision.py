#!/usr/bin/env python3
"""Time to the same validation accuracy beside fastai, Lightning and Keras on torch, with the same network in one run.

Fashion-MNIST's sample (`--full`: the full set) in memory, `small_resnet` in channels last, under bfloat16 autocast where the processor has it;
label smoothing 0.1, PyTorch's fused AdamW, a one-cycle schedule of the learning rate, batches of 128. Each library starts from the same weights and
gets the same batches in the same order, made by the same indexing of tensors (faster than any of their own loaders), with neither progress bar, logger
nor checkpoint; Keras gets the training step in PyTorch that its guide describes. So all four compute the same numbers, and the accuracies after each epoch
must be equal: what differs is the library's own loop, and that `Learner.fit` has the allocator keep freed memory. Each run has a process of its own. The clock stops after the first epoch whose validation, by the library itself, reaches `--target`;
the first step and the imports are not counted. Several seeds in turns; medians; `ratio` is to ours, in seconds, and `cpu_ratio` in seconds of
processor time, which with OMP_NUM_THREADS=1 is the quieter measure on a machine with neighbours. The bar: ahead of all three.
Peers that are not installed are left out; `pip install fastai lightning keras` brings them.
"""
import argparse, contextlib, copy, importlib.util, logging, math, multiprocessing, os, platform, sys, time, warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

os.environ['KERAS_BACKEND'] = 'torch'
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from mylib.core import set_seed
from mylib.dataloader import DataLoaders, TensorDataset
from mylib.datasets import fashion_mnist
from mylib.learner import Callback, CancelFitException
from mylib.schedule import SchedCB
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


class Batches:
    "Whole batches by index; a pass depends on the seed and its number."
    def __init__(self, x, y, batch_size, seed=None): self.x, self.y, self.batch_size, self.seed, self.epoch = x, y, batch_size, seed, 0
    def __len__(self): return len(self.x)//self.batch_size if self.seed is not None else -(-len(self.x)//self.batch_size)

    def __iter__(self):
        g = torch.Generator().manual_seed(1000*(self.seed or 0) + self.epoch)
        self.epoch += 1
        order = torch.randperm(len(self.x), generator=g) if self.seed is not None else torch.arange(len(self.x))
        for idx in order.split(self.batch_size)[:len(self)]: yield self.x.index_select(0, idx), self.y.index_select(0, idx)


class Clock:
    "Seconds since the end of the first step, until the end of the first epoch that reaches the target, and the accuracies so far."
    def __init__(self, target): self.target, self.start, self.seconds, self.cpu, self.accuracy = target, None, None, None, []
    def begin(self): self.start = self.start or (time.perf_counter(), time.process_time())

    def reached(self, acc):
        self.accuracy.append(round(float(acc), 4))
        if self.seconds is None and acc >= self.target: self.seconds, self.cpu = time.perf_counter() - self.start[0], time.process_time() - self.start[1]
        return self.seconds is not None


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


LIBRARIES = dict(mylib=ours, fastai=with_fastai, lightning=with_lightning, keras=with_keras)


def one(name, seed, a):
    "A run of one library, in a process of its own: what one does to the allocator of the process would serve the others too."
    warnings.filterwarnings('ignore')
    with contextlib.suppress(ImportError): torchvision()  # first, since Lightning imports it
    (x, y), valid = (s.tensors() for s in fashion_mnist(full=a.full))
    x, y = x[:a.limit], y[:a.limit]
    set_seed(seed)
    net = small_resnet(c_in=1).to(memory_format=torch.channels_last)
    net = HalfNet(net) if best_precision('cpu') == 'bf16' else net
    warm = Clock(0.)  # a fit on two batches, so that nothing is imported or built on the clock
    LIBRARIES[name](copy.deepcopy(net), Batches(x[:2*a.batch_size], y[:2*a.batch_size], a.batch_size, seed), Batches(*(t[:500] for t in valid), 500), a, warm)(1)
    clock = Clock(a.target)
    LIBRARIES[name](net, Batches(x, y, a.batch_size, seed), Batches(*valid, 2*a.batch_size), a, clock)(a.epochs)
    return dict(library=name, seed=seed, seconds=clock.seconds or float('nan'), cpu=clock.cpu or float('nan'), accuracies=clock.accuracy)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=3, help='seeds')
    p.add_argument('--epochs', type=int, default=5)
    p.add_argument('--target', type=float, default=0.88)
    p.add_argument('--lr', type=float, default=5e-3)
    p.add_argument('--batch-size', type=int, default=128)
    p.add_argument('--full', action='store_true', help='the full set, when it is here')
    p.add_argument('--limit', type=int, help='only so many training images, to try the script')
    p.add_argument('--only', nargs='*', help='some of mylib, fastai, lightning, keras')
    a = p.parse_args()
    libraries = list(LIBRARIES)
    for name in list(libraries)[1:]:
        if a.only and name not in a.only: libraries.remove(name)
        elif not importlib.util.find_spec(name):
            print(f'{name} is not installed (pip install {name}) and left out')
            libraries.remove(name)
    rows = []
    for seed in range(a.rounds):
        for name in libraries[::-1 if seed % 2 else 1]:
            with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool: rows.append(pool.submit(one, name, seed, a).result())
            print(rows[-1], flush=True)
    runs = pd.DataFrame(rows).pivot(index='seed', columns='library')
    ratios, cpu = (runs[k].div(runs[k]['mylib'], axis=0) for k in ('seconds', 'cpu'))
    same = runs.accuracies.apply(lambda r: r.map(lambda o: o == r['mylib']), axis=1).all()
    t = pd.DataFrame(dict(seconds=runs.seconds.median(), ratio=ratios.median(), least=ratios.min(), most=ratios.max(), cpu_ratio=cpu.median(), same_accuracies=same)).loc[libraries]
    print(f'{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads, {"bfloat16" if best_precision("cpu") == "bf16" else "float32"}; seconds to {a.target:.1%}, {a.limit or (50_000 if a.full else 10_000):,} images')
    print(t.round(3).to_string())
    print('ratio: to ours, median of the seeds; the bar: above 1 for every peer')


if __name__ == '__main__': main()
