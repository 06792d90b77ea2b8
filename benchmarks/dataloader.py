"""One shuffled pass over 60,000 in-memory images: our DataLoader against slicing by a permutation, and torch's DataLoader.

    python benchmarks/dataloader.py [--n 60000] [--batch-size 256] [--rounds 9] [--threads N]

Prints the interleaved medians and, last, the ratio ours/slicing. The bar is 1.3; the exit status is 1 above it.
"""
import argparse
import sys

import torch
from torch.utils.data import DataLoader as TorchLoader

from mylib.core import bench
from mylib.dataloader import DataLoader, TensorDataset

BAR = 1.3
NOISY = 3  # slowest round over fastest


def walk(batches):
    for _ in batches: pass

def sliced(x, y, bs):
    perm = torch.randperm(len(x))
    for i in range(0, len(x), bs):
        rows = perm[i:i + bs]
        yield x[rows], y[rows]

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--n', type=int, default=60_000)
    parser.add_argument('--batch-size', type=int, default=256)
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help="default: torch's own choice")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    x = torch.randint(256, (args.n, 784), dtype=torch.uint8).float().div_(255)
    y = torch.randint(10, (args.n,))
    ds, bs = TensorDataset(x, y), args.batch_size
    ours = DataLoader(ds, bs, shuffle=True)
    theirs = TorchLoader(torch.utils.data.TensorDataset(x, y), bs, shuffle=True)
    t = bench({'slicing by a permutation': lambda: walk(sliced(x, y, bs)),
               'mylib DataLoader': lambda: walk(ours),
               'torch DataLoader': lambda: walk(theirs)}, rounds=args.rounds)
    print(f'{args.n:,} images of 784 float32, batch size {bs}, {args.threads} threads, torch {torch.__version__}')
    print(t.round(2).to_string())
    if t.spread.max() > NOISY: print(f'noisy: the slowest round took {t.spread.max():.0f} times the fastest. Other programs are running; measure again, or use --threads 1.')
    ratio = t.ratio['mylib DataLoader']
    print(f'ratio {ratio:.2f} (bar {BAR})')
    return int(ratio > BAR)

if __name__ == '__main__': sys.exit(main())
