#!/usr/bin/env python3
"""get_files beside Path.rglob, and image loading beside torchvision's ImageFolder in torch's DataLoader.

Listing: 50,000 empty files in 100 folders. Loading: one shuffled pass over 400 generated JPEGs of 500x375 (smooth forms, some grain), resized
to 128x128, in batches of 64 from 2 worker processes, as float tensors in 0..1. Interleaved medians of one run; `ratio` is to the first line of
each table. The bars: get_files at least 3 times as fast as rglob; at least as many images a second as torchvision.
"""
import argparse
import os
import platform
import tempfile
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mylib.core import bench
from mylib.datablock import CategoryBlock, DataBlock, ImageBlock, Resize, get_files, get_image_files, parent_label


def write_tree(root, n, per_folder=500):
    for i in range(0, n, per_folder):
        (into := root/'train'/f'class{i//per_folder:03d}').mkdir(parents=True)
        for j in range(min(per_folder, n - i)): (into/f'image_{j:05d}.jpg').touch()


def write_photos(root, n, w=500, h=375):
    rng = np.random.default_rng(0)
    for i in range(n):
        (into := root/f'class{i % 10}').mkdir(parents=True, exist_ok=True)
        forms = Image.fromarray(rng.integers(0, 256, (h//16, w//16, 3), dtype=np.uint8)).resize((w, h), Image.Resampling.BICUBIC)
        Image.fromarray((np.asarray(forms) + rng.normal(0, 4, (h, w, 3))).clip(0, 255).astype(np.uint8)).save(into/f'{i:05d}.jpg', quality=90)


def files_table(root, rounds):
    suffix = lambda p: p.suffix.lower() == '.jpg'
    ways = {'get_files': lambda: get_files(root, '.jpg'), 'get_files, all Paths made': lambda: list(get_files(root, '.jpg')),
            "rglob('*.jpg')": lambda: list(root.rglob('*.jpg')), "rglob('*'), suffix": lambda: [p for p in root.rglob('*') if suffix(p)],
            'rglob, suffix, is_file, sorted': lambda: sorted(p for p in root.rglob('*') if suffix(p) and p.is_file())}
    assert set(ways['get_files']()) == set(ways["rglob('*.jpg')"]())
    return bench(ways, rounds=rounds, min_time=0)


def torchvision_loaders(root, batch_size, num_workers):
    "ImageFolder with the usual transforms of versions 1 and 2; none if torchvision is not installed."
    try:
        with open(os.devnull, 'w') as nowhere, redirect_stderr(nowhere): import torchvision  # noqa: F401
    except ImportError: return {}
    except RuntimeError:  # its wheel lacks compiled operators for this torch; they are not used here
        import sys
        from unittest.mock import patch
        for k in [k for k in sys.modules if k.startswith('torchvision')]: del sys.modules[k]
        with patch('torch.library.register_fake', lambda *a, **k: (lambda f: f)): import torchvision  # noqa: F401
    from torchvision import transforms as v1
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2
    size = [128, 128]
    tfms = {'torchvision': v1.Compose([v1.Resize(size), v1.ToTensor()]),
            'torchvision v2': v2.Compose([v2.Resize(size), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])}
    return {k: torch.utils.data.DataLoader(ImageFolder(root, t), batch_size, shuffle=True, num_workers=num_workers) for k, t in tfms.items()}


def our_loader(root, batch_size, num_workers, draft):
    block = DataBlock((ImageBlock, CategoryBlock), get_image_files, lambda items: (range(len(items)), []), get_y=parent_label,
                      item_tfms=Resize(128, 'squish', draft=draft))
    return block.dataloaders(root, batch_size, num_workers=num_workers, device='cpu').train


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--files', type=int, default=50_000)
    p.add_argument('--photos', type=int, default=400)
    p.add_argument('--workers', type=int, default=2)
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as d:
        tree, photos = Path(d)/'tree', Path(d)/'photos'
        write_tree(tree, args.files)
        files = files_table(tree, args.rounds)
        write_photos(photos, args.photos)
        dls = {'DataBlock': our_loader(photos, 64, args.workers, True), 'DataBlock, whole JPEGs': our_loader(photos, 64, args.workers, False)}
        dls |= (theirs := torchvision_loaders(photos, 64, args.workers))
        for dl in dls.values():
            x, y = next(iter(dl))
            assert x.shape == (64, 3, 128, 128) and x.dtype == torch.float32 and 0 <= x.min() and x.max() <= 1 and y.dtype == torch.int64
        loading = bench({k: lambda dl=dl: sum(len(x) for x, y in dl) for k, dl in dls.items()}, rounds=args.rounds, min_time=0)
    loading['images/s'] = args.photos/loading.ms*1e3
    print(f'{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, {os.cpu_count()} processors, {args.workers} workers')
    print(f'\nlisting {args.files:,} files\n{files.round(3).to_string()}')
    t = files.ms
    print(f"""rglob('*.jpg') / get_files: {t["rglob('*.jpg')"]/t['get_files']:.1f} (bar: 3); with is_file and sorted, as get_files: """
          f"{t['rglob, suffix, is_file, sorted']/t['get_files']:.1f}; with all Paths made: {t['rglob, suffix, is_file, sorted']/t['get_files, all Paths made']:.1f}")
    print(f'\nloading {args.photos} photographs\n{loading.round(3).to_string()}')
    if not theirs: print('torchvision: not installed (pip install torchvision)')
    else:
        best = max(loading['images/s'][k] for k in theirs)
        print(f'DataBlock / the faster torchvision, images a second: {loading["images/s"]["DataBlock"]/best:.2f} (bar: 1); '
              f'with whole JPEGs: {loading["images/s"]["DataBlock, whole JPEGs"]/best:.2f}')


if __name__ == '__main__': main()
