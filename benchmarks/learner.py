#!/usr/bin/env python3
"""Learner.fit beside a plain PyTorch loop with the same arithmetic.

MLP 784-50-10, batch 64, 10,000 images in memory, SGD; loss and accuracy in every batch, validation after each epoch;
the Learner draws its progress bar. Interleaved medians; `ratio` is to the plain loop. The bars: at most 1.15, and 1.2
with a one-cycle schedule of learning rate and momentum, whose peer is the plain loop with momentum.
"""
import argparse, contextlib, os, platform

import torch
import torch.nn.functional as F
from torch import nn

from mylib.core import bench, set_seed
from mylib.dataloader import DataLoaders, TensorDataset
from mylib.datasets import fashion_mnist
from mylib.learner import Learner, ProgressCB, Recorder, accuracy
from mylib.losses import cross_entropy
from mylib.schedule import one_cycle


def get_model():
    set_seed(42)
    return nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))


def plain_fit(model, opt, x, y, xv, yv, batch_size=64):
    model.train()
    total = correct = 0.
    perm = torch.randperm(len(x))
    for i in range(0, len(x), batch_size):
        idx = perm[i:i + batch_size]
        xb, yb = x[idx], y[idx]
        preds = model(xb)
        loss = F.cross_entropy(preds, yb)
        loss.backward()
        opt.step()
        opt.zero_grad()
        with torch.no_grad():
            total += loss.detach()*len(xb)
            correct += (preds.argmax(1) == yb).float().mean()*len(xb)
    model.eval()
    with torch.no_grad():
        for i in range(0, len(xv), 2*batch_size):
            xb, yb = xv[i:i + 2*batch_size], yv[i:i + 2*batch_size]
            preds = model(xb)
            total += F.cross_entropy(preds, yb)*len(xb)
            correct += (preds.argmax(1) == yb).float().mean()*len(xb)
    return total.item(), correct.item()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=41)
    rounds = p.parse_args().rounds
    train, valid = (TensorDataset(*s.tensors(flat=True)) for s in fashion_mnist(full=False))
    def plain(momentum):
        model = get_model()
        opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=momentum)
        return lambda: plain_fit(model, opt, *train.tensors, *valid.tensors)

    def ours(make_cbs):
        learn = Learner(get_model(), DataLoaders.from_datasets(train, valid, batch_size=64), cross_entropy, 0.05,
                        metrics=accuracy, cbs=[Recorder(train_metrics=True), ProgressCB(always=True)])
        def fit():
            with open(os.devnull, 'w') as nowhere, contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere): learn.fit(1, cbs=make_cbs())
        return fit

    t = bench({'plain loop': plain(0), 'Learner.fit': ours(lambda: None), 'plain loop, momentum': plain(0.9),
               'Learner.fit, one-cycle': ours(lambda: one_cycle(0.05)), 'plain loop again': plain(0)}, rounds=rounds, min_time=0)
    print(f'{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads; ms per epoch of 157 + 16 batches')
    print(t.round(3).to_string())
    print(f'Learner.fit / plain loop: {t.ratio["Learner.fit"]:.3f} (bar: 1.15); '
          f'with a one-cycle schedule, to the loop with momentum: {t.ratio["Learner.fit, one-cycle"]/t.ratio["plain loop, momentum"]:.3f} (bar: 1.2)')


if __name__ == '__main__': main()
