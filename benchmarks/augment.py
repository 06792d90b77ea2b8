#!/usr/bin/env python3
"""The batch pipeline of lesson 10 beside torchvision per item, kornia's batch and fastai's batch.

Each does a flip, rotation by up to 10 degrees and zoom by up to 1.1, a perspective warp, brightness and contrast by up to
20%, and a resize to 112x112, drawn anew for each of 64 float images 3x128x128 from two photographs; bilinear, and with
probability 1 but for the flip. Interleaved medians; `ratio` is to ours in logit space (fastai's space; the others are
linear). The bars: at least 1.5 times as fast as kornia and as fastai, at least 4 times as fast as torchvision.
Peers that are not installed are left out; `pip install fastai kornia torchvision scikit-learn` brings them.
"""
import argparse, contextlib, platform, sys
from pathlib import Path

import torch

from mylib.augment import Geometry, RandomAffine, RandomFlip, RandomLighting, RandomWarp
from mylib.core import bench

sys.path.insert(0, str(Path(__file__).parents[1]/'tests'))
from peers import torchvision


def pictures():
    from sklearn.datasets import load_sample_image
    photos = [torch.from_numpy(load_sample_image(f).copy()).permute(2, 0, 1).float()/255 for f in ('china.jpg', 'flower.jpg')]
    return torch.stack([p[:, y:y + 128, x:x + 128] for p in photos for y in range(0, 257, 72) for x in range(0, 505, 72)][:64])


def ours(x, size, space='logit'):
    tfms = [Geometry([RandomFlip(), RandomAffine(10, 1., 1.1, p=1), RandomWarp(0.2, p=1)], size=size), RandomLighting(0.2, p=1, space=space)]
    def f():
        batch = x, None
        for t in tfms: batch = t(batch)
        return batch[0]
    return f


def with_torchvision(x, size, per_item=True):
    T = torchvision().transforms.v2
    bilinear = T.InterpolationMode.BILINEAR
    tfm = T.Compose([T.RandomHorizontalFlip(), T.RandomAffine(10, scale=(1, 1.1), interpolation=bilinear), T.RandomPerspective(0.2, p=1, interpolation=bilinear),
                     T.ColorJitter(0.2, 0.2), T.Resize(size, antialias=True)])
    return (lambda: torch.stack([tfm(im) for im in x])) if per_item else lambda: tfm(x)


def with_kornia(x, size):
    import kornia.augmentation as K
    tfm = torch.nn.Sequential(K.RandomHorizontalFlip(), K.RandomAffine(10., scale=(1., 1.1), padding_mode='reflection', p=1.), K.RandomPerspective(0.2, p=1.),
                              K.ColorJitter(0.2, 0.2, p=1.), K.Resize((size, size)))
    return lambda: tfm(x)


def with_fastai(x, size):
    import fastai.vision.all as fv
    tfm = fv.Pipeline(fv.aug_transforms(size=size, p_affine=1., p_lighting=1.), split_idx=0)
    return lambda: tfm(fv.TensorImage(x))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=15)
    p.add_argument('--size', type=int, default=112, help='output size in pixels')
    p.add_argument('--threads', type=int, default=2)
    p.add_argument('--plot', help='write a bar chart to this file')
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    with contextlib.suppress(ImportError): torchvision()  # first, since fastai and kornia import it too
    x, ways, missing = pictures(), {}, []
    for name, make in {'mylib, logit space': ours, 'mylib, linear space': lambda x, s: ours(x, s, 'linear'), 'fastai, batch': with_fastai,
                       'kornia, batch': with_kornia, 'torchvision, per item': with_torchvision,
                       'torchvision, one draw for all': lambda x, s: with_torchvision(x, s, per_item=False)}.items():
        try:
            f = make(x, args.size)
            got = f()
            assert got.shape == (64, 3, args.size, args.size), f'{name} gave {tuple(got.shape)}'
            ways[name] = f
        except ImportError as e: missing.append(f'{name}: not installed ({e.name}); pip install {name.split(",")[0]}')
    with torch.no_grad(): t = bench(ways, rounds=args.rounds, min_time=0)
    t.insert(1, 'images/s', (64e3/t.ms).round().astype(int))
    print(f'{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads; 64 images 3x128x128 to {args.size}x{args.size}')
    print(t.round(2).to_string())
    for line in missing: print(line)
    for name, bar in (('fastai, batch', 1.5), ('kornia, batch', 1.5), ('torchvision, per item', 4)):
        if name in t.index: print(f'{name} / mylib: {t.ms[name]/t.ms["mylib, logit space"]:.2f} in logit space, '
                                  f'{t.ms[name]/t.ms["mylib, linear space"]:.2f} in linear space (bar: {bar})')
    if args.plot:
        import matplotlib.pyplot as plt
        from mylib.core import plot_style
        plot_style()
        ax = t['images/s'][::-1].plot.barh()
        ax.set(xlabel='images a second', xscale='log')
        plt.savefig(args.plot)


if __name__ == '__main__': main()
