#!/usr/bin/env python3
"""One AdamW step beside `torch.optim.AdamW` (loop, foreach, fused) and fastai's.

Three models: the 62 tensors of a ResNet-18 (11.7M numbers), 160 tensors of 64x64, an MLP of 4 tensors. Interleaved medians;
`ratio` is to torch's foreach. The bars, on the first two: ours at most 1.1 times torch's foreach; the compiled step at most 1.3
times torch's fused; neither slower than fastai's optimizer. On the MLP: not slower than torch's default (the loop), also for SGD.
`--memory` prints the peak of temporary bytes in a step instead, the bar being torch's foreach.
"""
import argparse, copy, platform, warnings

import torch
from mylib.core import bench
from mylib.optim import LAMB, LARS, SGD, Adam, AdamW, PeakBytes, RMSProp
from torch import nn


def resnet18_shapes():
    "Shapes of the 62 parameters of torchvision's `resnet18`, in its order; 11,689,512 numbers."
    shapes, n_in = [(64, 3, 7, 7), (64,), (64,)], 64
    for n in (64, 128, 256, 512):
        for n_from in (n_in, n):
            shapes += [(n, n_from, 3, 3), (n,), (n,), (n, n, 3, 3), (n,), (n,)]
            if n_from != n: shapes += [(n, n_from, 1, 1), (n,), (n,)]
        n_in = n
    return shapes + [(1000, 512), (1000,)]


MODELS = {'ResNet-18': resnet18_shapes(), '160 of 64x64': [(64, 64)]*160, 'MLP': [(50, 784), (50,), (10, 50), (10,)]}


def with_grads(shapes):
    torch.manual_seed(0)
    ps = [nn.Parameter(torch.randn(s)*0.05) for s in shapes]
    for p in ps: p.grad = torch.randn_like(p)
    return ps


def peak(opt):
    "Peak of temporary bytes in the second step of `opt`."
    opt.step()
    with PeakBytes() as p: opt.step()
    return p.peak


def fastai_step(ps):
    try:
        from fastai.optimizer import Adam as FastaiAdam
    except ImportError: return {}
    opt = FastaiAdam(ps, lr=1e-3, mom=0.9, sqr_mom=0.999, eps=1e-8, wd=0.01)
    return {'fastai': opt.step}


def speed(rounds):
    T, rows, verdicts = torch.optim, [], []
    for name, shapes in MODELS.items():
        ps = with_grads(shapes)
        fs = {'torch foreach': T.AdamW(ps, foreach=True).step, 'torch loop': T.AdamW(ps, foreach=False).step, 'torch fused': T.AdamW(ps, fused=True).step,
              'ours': AdamW(ps).step, 'ours compiled': AdamW(ps, compile=True).step, **fastai_step(ps)}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            fs['ours compiled']()
        if any('could not be compiled' in str(w.message) for w in caught): del fs['ours compiled']
        t = bench(fs, rounds=rounds)
        rows.append((name, t))
        ms = t.ms
        if name == 'MLP': verdicts.append(f'{name}: ours / torch loop (its default on a CPU) {ms["ours"]/ms["torch loop"]:.2f} (bar 1)')
        else:
            verdicts.append(f'{name}: ours / torch foreach {ms["ours"]/ms["torch foreach"]:.2f} (bar 1.1)')
            if 'ours compiled' in fs: verdicts.append(f'{name}: compiled / torch fused {ms["ours compiled"]/ms["torch fused"]:.2f} (bar 1.3)')
        if 'fastai' in fs: verdicts.append(f'{name}: ours / fastai {ms["ours"]/ms["fastai"]:.2f} (bar 1)')
    for name, shapes in MODELS.items():
        ps = with_grads(shapes)
        t = bench({'torch SGD, momentum': T.SGD(ps, momentum=0.9).step, 'our SGD, momentum': SGD(ps, momentum=0.9).step}, rounds=rounds)
        rows.append((f'{name}, SGD', t))
        verdicts.append(f'{name}: our SGD / torch SGD {t.ratio["our SGD, momentum"]:.2f}' + ' (bar 1)'*(name == 'MLP'))
    for name, t in rows: print(f'\n{name}\n{t.round(3).to_string()}')
    print('', *verdicts, sep='\n')
    if not fastai_step(ps): print('fastai is not installed here and was left out; pip install fastai')
    if not any('compiled' in v for v in verdicts): print('no C++ compiler was found: the compiled step was left out')


def memory():
    import pandas as pd
    T = torch.optim
    kinds = [('SGD, momentum', SGD, T.SGD, dict(momentum=0.9)), ('SGD, L2, Nesterov', SGD, T.SGD, dict(momentum=0.9, nesterov=True, weight_decay=0.1)),
             ('RMSProp', RMSProp, T.RMSprop, {}), ('RMSProp, centred, momentum, L2', RMSProp, T.RMSprop, dict(centered=True, momentum=0.9, weight_decay=0.1)),
             ('Adam, L2', Adam, T.Adam, dict(weight_decay=0.1)), ('AdamW', AdamW, T.AdamW, {}), ('AdamW, AMSGrad', AdamW, T.AdamW, dict(amsgrad=True)),
             ('LAMB', LAMB, None, {}), ('LARS', LARS, None, {})]
    for name, shapes in MODELS.items():
        rows = {}
        for kind, ours, theirs, h in kinds:
            rows[kind] = {'ours, MB': peak(ours(with_grads(shapes), **copy.deepcopy(h)))/1e6}
            if theirs: rows[kind]['torch foreach, MB'] = peak(theirs(with_grads(shapes), foreach=True, **h))/1e6
        print(f'\n{name}: peak of temporary bytes in a step\n{pd.DataFrame(rows).T.round(3).to_string()}')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=15)
    p.add_argument('--memory', action='store_true', help='peak of temporary bytes instead of times')
    args = p.parse_args()
    if args.memory: memory()
    else: speed(args.rounds)
    print(f'\n{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads')


if __name__ == '__main__': main()
