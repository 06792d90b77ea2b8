"The command as a newcomer meets it."
import json, os, subprocess, sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mylib import train
from mylib.datasets import LabelledImages
from mylib.learner import Callback
from PIL import Image


def run(*args, cwd, **env):
    command = Path(sys.executable).with_name('mylib-train' + ('.exe' if os.name == 'nt' else ''))
    return subprocess.run([command, *args], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=600)


def test_default_run_on_the_sample_reaches_its_accuracy(tmp_path):
    r = run('--sample', cwd=tmp_path)
    assert r.returncode == 0, r.stderr
    folder, = (tmp_path/'runs').iterdir()
    assert sorted(f.name for f in folder.iterdir()) == ['curves.png', 'metrics.csv', 'mistakes.png', 'model.safetensors']
    assert pd.read_csv(folder/'metrics.csv').accuracy.iloc[-1] >= 0.88
    assert 'Next: `make lab`' in r.stdout and os.path.join('runs', folder.name) in r.stdout


@pytest.mark.parametrize('args,message', [(['--sample', '--lr', '0'], 'lr must be a positive number'), (['--sample', '--epochs', '-3'], 'n_epoch'),
                                          (['--sample', '--download'], 'no download')])
def test_errors_are_one_message(tmp_path, args, message):
    r = run(*args, cwd=tmp_path)
    assert r.returncode == 1 and message in r.stderr and 'Traceback' not in r.stderr
    assert not (tmp_path/'runs').exists()


# Without a process of its own, on a few pictures.

VISION = ['confusion.png', 'curves.png', 'metrics.csv', 'mistakes.png', 'model.pt2', 'model.safetensors']


@pytest.fixture
def few(monkeypatch):
    "Fashion-MNIST is 320 + 60 pictures, each with a bright quarter that tells the class."
    def make(n, seed):
        g = np.random.default_rng(seed)
        x, y = g.integers(0, 99, (n, 28, 28), dtype=np.uint8), np.arange(n) % 4
        for i, k in enumerate(y): x[i, 14*(k//2):14*(k//2) + 14, 14*(k % 2):14*(k % 2) + 14] += 150
        return LabelledImages(x, y, list('abcd'))
    asked = []
    def fashion_mnist(full, download):
        asked.append((full, download))
        return make(320, 0), make(60, 1)
    monkeypatch.setattr(train, 'fashion_mnist', fashion_mnist)
    return asked


def results(out): return sorted(d for d in out.iterdir() if d.name.startswith('2'))


def test_vision(tmp_path, few, capsys):
    train.main(['vision', '--full', '--epochs', '2', '--out', str(tmp_path)])
    folder, = tmp_path.iterdir()
    assert sorted(f.name for f in folder.iterdir()) == VISION and few == [(True, False)]
    metrics, out = pd.read_csv(folder/'metrics.csv'), capsys.readouterr().out
    assert len(metrics) == 2 and f'Validation accuracy {metrics.accuracy.iloc[-1]:.2%}' in out and all(f in out for f in VISION)
    extra = {'meta.json': ''}
    program = torch.export.load(folder/'model.pt2', extra_files=extra).module()
    assert json.loads(extra['meta.json'])['vocab'] == list('abcd') and program(torch.zeros(3, 1, 28, 28, dtype=torch.uint8)).shape == (3, 4)
    with Image.open(folder/'mistakes.png') as im: assert im.width > 300


def test_vision_on_folders(tmp_path, capsys):
    for i in range(24):
        f = tmp_path/'photos'/('val' if i % 3 == 0 else 'train')/('n03028079' if i % 2 else 'mine')/f'{i}.png'
        f.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((50, 40, 3), 100*(i % 2), np.uint8)).save(f)
    (tmp_path/'photos'/'train'/'mine'/'broken.png').write_bytes(b'no picture')
    train.main(['vision', '--data', str(tmp_path/'photos'), '--size', '32', '--epochs', '1', '--batch-size', '8', '--out', str(tmp_path/'runs')])
    folder, = (tmp_path/'runs').iterdir()
    out = capsys.readouterr().out
    assert sorted(f.name for f in folder.iterdir()) == VISION and '16 images to train on, 8 to validate' in out and 'broken.png' in out


@pytest.mark.parametrize('args,message', [(['--lr', '0'], 'lr must be a positive number'), (['--epochs', '0'], 'n_epoch must be at least 1'), (['--resume'], 'nothing to resume'),
                                          (['--data', 'nowhere'], 'path must be a folder'), (['--data', 'imagenette'], 'imagenette: not on this machine')])
def test_errors_of_vision_are_one_message(tmp_path, few, monkeypatch, args, message):
    monkeypatch.setenv('MYLIB_DATA', str(tmp_path/'data'))
    with pytest.raises(SystemExit, match='mylib-train vision: .*' + message): train.main(['vision', *args, '--out', str(tmp_path/'runs')])
    assert not (tmp_path/'runs').exists()


class CutCB(Callback):
    "Ctrl-C in the middle of the second epoch, when it is on."
    on = False
    def before_batch(self, learn):
        if self.on and learn.training and (learn.epoch, learn.iter) == (1, 1): raise KeyboardInterrupt


@pytest.mark.parametrize('kind,options', [([], ['--width', '4']), (['vision'], [])])
def test_interrupted_and_resumed(tmp_path, few, monkeypatch, capsys, kind, options):
    cut, checkpoint, learner_fit = CutCB(), train.CheckpointCB, train.Learner.fit
    monkeypatch.setattr(train, 'CheckpointCB', lambda folder, every, resume: checkpoint(folder, 1, resume=resume))
    monkeypatch.setattr(train.Learner, 'fit', lambda self, n, cbs=None, **kw: learner_fit(self, n, cbs=[*cbs, cut], **kw))
    def fit(*args, out):
        train.main([*kind, *args, '--out', str(out)])
        return results(out)[-1]
    options += ['--epochs', '3', '--batch-size', '64', '--seed', '3']
    cut.on = True
    fit(*options, out=tmp_path/'a').rename(tmp_path/'first')
    cut.on, ckpt = False, tmp_path/'a'/'-'.join(['checkpoint', *kind])
    assert ckpt.exists() and 'with --resume goes on' in capsys.readouterr().out
    resumed, whole = fit('--resume', out=tmp_path/'a'), fit(*options, out=tmp_path/'b')
    assert not ckpt.exists()
    a, b = (pd.read_csv(f/'metrics.csv').drop(columns='time') for f in (resumed, whole))
    assert len(a) == 3 and a.equals(b)


def test_the_first_word_chooses():
    name, a = train._parse(['--sample', '--epochs', '3'])
    assert (name, a.sample, a.epochs, a.width, a.batch_size, a.lr) == ('', True, 3, 16, 64, 0.05)
    name, a = train._parse(['vision', '--epochs', '3'])
    assert (name, a.sample, a.epochs, a.batch_size, a.lr) == ('vision', False, 3, None, None) and not hasattr(a, 'width')


@pytest.mark.parametrize('args,said', [(['--help'], 'mylib-train vision ...'), (['vision', '--help'], '--data'), (['nonsense'], 'unrecognized arguments: nonsense'),
                                       (['vision', '--width', '3'], 'unrecognized arguments'), (['vision', '--sample', '--full'], 'not allowed with')])
def test_help_and_unknown_words(capsys, args, said):
    with pytest.raises(SystemExit): train.main(args)
    out = capsys.readouterr()
    assert said in out.out + out.err
