"The capstone: loaders, the Learner that fits its data, mistakes counted as scikit-learn does, and programs that serve without the package."
import json, subprocess, sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mylib.augment import RandomFlip
from mylib.checkpoint import CheckpointCB
from mylib.core import set_seed
from mylib.dataloader import DataLoaders, TensorDataset
from mylib.datasets import DataError, LabelledImages
from mylib.learner import Callback, Learner, accuracy
from mylib.losses import LabelSmoothingCrossEntropy, cross_entropy
from mylib.mixup import MixUpCB
from mylib.precision import MixedPrecisionCB
from mylib.vision import (IMAGENETTE, ClassificationInterpretation, ImageLoaders, ServingModel, image_folder,
                          imagenette, small_resnet, vision_learner)
from mylib.xresnet import count_macs, xresnet18
from PIL import Image
from sklearn import metrics as sk
from torch import nn
from torch.testing import assert_close

VOCAB = ['left', 'right', 'top']
STATS = 0.3, 0.4


def pictures(n, h=12, w=10, seed=0):
    "Noise with a bright half: which one is the class."
    g = np.random.default_rng(seed)
    x, y = g.integers(0, 150, (n, h, w), dtype=np.uint8), np.arange(n) % 3
    x[y == 0, :, :w//2] += 100
    x[y == 1, :, w//2:] += 100
    x[y == 2, :h//2] += 100
    return LabelledImages(x, y, VOCAB, STATS)


def loaders(n=96, m=33, **kwargs): return ImageLoaders(pictures(n), pictures(m, seed=1), **{'batch_size': 16, 'seed': 0, 'device': 'cpu', **kwargs})


def tiny(dls=None, **kwargs): return vision_learner(dls or loaders(), **{'widths': (4, 8), 'precision': None, **kwargs})


@pytest.fixture(autouse=True)
def one_seed(): set_seed(0)


@pytest.fixture(scope='module')
def trained():
    set_seed(0)
    learn = tiny(lr=1e-2)
    with learn.no_progress(): learn.fit_one_cycle(8)
    return learn


def normalised(s): return ((s.x.double()/255 - STATS[0])/STATS[1]).float()[:, None]


# Loaders

@settings(max_examples=10)
@given(st.integers(3, 9), st.integers(3, 9), st.integers(1, 7))
def test_batches_are_the_normalised_pictures(h, w, bs):
    train, valid = pictures(20, h, w), pictures(9, h, w, 1)
    dls = ImageLoaders(train, valid, batch_size=bs, seed=3, device='cpu')
    x, y = (torch.cat(o) for o in zip(*dls.valid))
    assert_close(x, normalised(valid))
    assert torch.equal(y, valid.y)
    batches = list(dls.train)
    assert {len(b[0]) for b in batches} == {bs} and len(batches) == 20//bs
    x, y = (torch.cat(o) for o in zip(*batches))
    want = normalised(train)
    where = [(o - want).abs().amax((1, 2, 3)).argmin().item() for o in x]
    assert_close(x, want[where])
    assert torch.equal(y, train.y[where]) and len({*where}) == len(where)


def test_order_depends_on_the_seed():
    a, b, c = (next(iter(loaders(seed=s).train))[0] for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_validation_is_not_augmented():
    dls = loaders(batch_tfms=RandomFlip(1.))
    assert_close(torch.cat([b[0] for b in dls.valid]), normalised(pictures(33, seed=1)))
    idx = next(dls.train._indices(0))
    assert_close(next(iter(dls.train))[0], normalised(pictures(96))[idx].flip(3))


def test_pictures_stay_bytes(): assert loaders().train.dataset.tensors[0].dtype == torch.uint8


def test_prepare(tmp_path):
    dls, s = loaders(), pictures(33, seed=1)
    Image.fromarray(s.x[5].numpy()).save(tmp_path/'a.png')
    for item in (tmp_path/'a.png', str(tmp_path/'a.png'), s.x[5], s.x[5].numpy(), Image.fromarray(s.x[5].numpy()), Image.fromarray(s.x[5].numpy()).convert('RGB')):
        assert_close(dls.prepare(item), normalised(s)[5])
    assert dls.prepare(Image.new('RGBA', (50, 20))).shape == (1, 12, 10)
    with pytest.raises(FileNotFoundError, match='no such file'): dls.prepare(tmp_path/'b.png')
    with pytest.raises(ValueError, match='is no image'): dls.prepare(3)


# The Learner

@pytest.mark.parametrize('c,h,w,stem', [(1, 28, 28, 'small'), (3, 64, 200, 'small'), (2, 65, 70, 'deep')])
def test_the_network_is_asked_for_what_the_data_needs(c, h, w, stem):
    asked = {}
    def arch(**kwargs):
        asked.update(kwargs)
        return nn.Sequential(nn.Flatten(), nn.Linear(c*h*w, kwargs['n_out']))
    ds = TensorDataset(torch.randn(8, c, h, w), torch.arange(8) % 4, vocab='abcd')
    vision_learner(DataLoaders.from_datasets(ds, ds, batch_size=4), arch, se=4)
    assert asked == dict(n_out=4, c_in=c, stem=stem, se=4)


def test_default_networks():
    def blocks(side, **kwargs):
        ds = TensorDataset(torch.randn(4, 3, side, side), torch.arange(4) % 2, vocab='ab')
        return [len(o) for k, o in vision_learner(DataLoaders.from_datasets(ds, ds, batch_size=4), **kwargs).model.named_children() if 'stage' in k]
    assert blocks(64) == [1]*5 and blocks(65) == [3, 4, 6, 3] and blocks(64, widths=(8, 8)) == [1, 1] and blocks(65, arch=xresnet18) == [2]*4


def test_defaults_of_the_learner():
    learn = tiny(mixup=0.3, precision='bf16', lr=2e-3, cbs=RecordCB)
    assert isinstance(learn.loss_func, LabelSmoothingCrossEntropy) and learn.loss_func.eps == 0.1 and learn.metrics == [accuracy] and learn.lr == 2e-3
    kinds = [type(cb) for cb in learn.cbs]
    assert kinds.count(MixUpCB) == kinds.count(MixedPrecisionCB) == 1 and RecordCB in learn.cbs
    assert next(cb.alpha for cb in learn.cbs if isinstance(cb, MixUpCB)) == 0.3
    learn.create_opt()
    assert type(learn.opt).__name__ == 'AdamW' and learn.opt.param_groups[0]['weight_decay'] == 0.05
    assert learn.model.stage2[0].convs[0][0].weight.is_contiguous(memory_format=torch.channels_last)
    plain = tiny(loss_func=cross_entropy, metrics=None)
    assert plain.loss_func is cross_entropy and not plain.metrics and not any(isinstance(cb, (MixUpCB, MixedPrecisionCB)) for cb in plain.cbs)


class RecordCB(Callback): pass


def test_auto_precision(monkeypatch):
    monkeypatch.setattr('mylib.vision.best_precision', lambda device: 'bf16' if torch.device(device).type == 'cpu' else None)
    assert [cb.dtype for cb in tiny(precision='auto').cbs if isinstance(cb, MixedPrecisionCB)] == [torch.bfloat16]


def test_errors_at_the_door():
    ds = TensorDataset(torch.randn(8, 1, 9, 9), torch.arange(8) % 2)
    def dls(x, vocab='ab'): return DataLoaders.from_datasets(*[TensorDataset(x, ds.tensors[1], vocab=vocab)]*2)
    with pytest.raises(ValueError, match='no vocab'): vision_learner(dls(ds.tensors[0], None))
    with pytest.raises(ValueError, match=r'\(n,c,h,w\), not \(8, 81\)'): vision_learner(dls(ds.tensors[0].flatten(1)))
    with pytest.raises(TypeError, match='torch.uint8: add IntToFloat'): vision_learner(dls(ds.tensors[0].byte()))
    with pytest.raises(ValueError, match='lr must be a positive'): tiny(lr=0)
    with pytest.raises(ValueError, match='dtype must be'): tiny(precision='int8')


def test_it_learns(trained): assert trained.recorder.rows[-1]['accuracy'] > 0.9


def test_small_resnet_is_small():
    x = torch.zeros(1, 1, 28, 28)
    assert small_resnet(7, c_in=1)(x.expand(2, -1, -1, -1)).shape == (2, 7)
    assert 16*count_macs(small_resnet(c_in=1), x) < count_macs(xresnet18(10, c_in=1, stem='small'), x)


@pytest.mark.parametrize('at', [(1, 0), (1, 3), (2, 5)])
def test_interrupted_and_resumed(tmp_path, at):
    class CutCB(Callback):
        def before_batch(self, learn):
            if learn.training and (learn.epoch, learn.iter) == at: raise KeyboardInterrupt
    def fit(*cbs, resume=False):
        set_seed(5)
        learn = tiny(loaders(batch_tfms=RandomFlip()), mixup=0.2, precision='bf16')
        with learn.no_progress(): learn.fit_one_cycle(3, cbs=[CheckpointCB(tmp_path, every=2, resume=resume), *cbs] if cbs or resume else None)
        return learn
    with pytest.raises(KeyboardInterrupt): fit(CutCB())
    resumed, whole = fit(resume=True), fit()
    assert resumed.recorder.losses == whole.recorder.losses
    for a, b in zip(resumed.model.state_dict().values(), whole.model.state_dict().values()): assert torch.equal(a, b)


# Mistakes

@pytest.mark.filterwarnings('ignore:A single label')
@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 999))
def test_confusion_matrix_is_that_of_scikit_learn(c, n, seed):
    g = torch.Generator().manual_seed(seed)
    probs, targets = torch.rand(n, c, generator=g).softmax(1), torch.randint(c, (n,), generator=g)
    losses = torch.rand(n, generator=g)
    interp = ClassificationInterpretation(probs, targets, losses, 'abcdef'[:c])
    want = sk.confusion_matrix(targets, probs.argmax(1), labels=range(c))
    assert (interp.confusion_matrix().numpy() == want).all()
    pairs = interp.most_confused()
    assert sum(k for *_, k in pairs) == want.sum() - want.trace() and [k for *_, k in pairs] == sorted((k for *_, k in pairs), reverse=True)
    for a, b, k in pairs: assert want['abcdef'.index(a), 'abcdef'.index(b)] == k and a != b
    assert interp.most_confused(3) == [p for p in pairs if p[2] >= 3] and interp.most_confused(0) == pairs
    values, idx = interp.top_losses()
    assert torch.equal(values, losses.sort(descending=True)[0]) and torch.equal(losses[idx], values)
    assert len(interp.top_losses(3)[0]) == min(3, n)


def test_from_learner(trained):
    interp, s = ClassificationInterpretation.from_learner(trained), pictures(33, seed=1)
    with torch.no_grad(): logits = trained.model.eval()(normalised(s))
    assert_close(interp.probs, logits.softmax(1), rtol=1e-4, atol=1e-6)
    assert_close(interp.losses, F.cross_entropy(logits, s.y, label_smoothing=0.1, reduction='none'), rtol=1e-4, atol=1e-5)
    assert torch.equal(interp.targets, s.y) and interp.vocab == VOCAB
    assert_close(interp.losses.mean().item(), trained.validate().valid_loss, rtol=1e-4, atol=0)
    other = ClassificationInterpretation.from_learner(trained, loaders(m=7).valid)
    assert len(other.probs) == 7


def test_pictures_of_mistakes(trained):
    import matplotlib.pyplot as plt
    interp = ClassificationInterpretation.from_learner(trained)
    ax = interp.plot_confusion_matrix()
    texts = {(round(t.get_position()[1]), round(t.get_position()[0])): int(t.get_text()) for t in ax.texts}
    assert texts == {(i, j): int(k) for i, row in enumerate(interp.confusion_matrix()) for j, k in enumerate(row) if k}
    shade, m = ax.images[0].get_array()[..., 3], interp.confusion_matrix().float()
    share = (m/m.sum(1, keepdim=True)).fill_diagonal_(0)
    assert_close(torch.tensor(shade)*share.max().clamp_min(1e-9), share)
    assert interp.plot_confusion_matrix(ax) is ax
    axs = interp.plot_top_losses(4)
    i = interp.top_losses(1)[1][0]
    assert len(axs) == 4 and VOCAB[interp.targets[i]] in axs[0].get_title() and (axs[0].images[0].get_array() == trained.dls.valid.dataset[int(i)][0][0].numpy()).all()
    with pytest.raises(ValueError, match='no pictures'): ClassificationInterpretation(interp.probs, interp.targets, interp.losses, VOCAB).plot_top_losses()
    plt.close('all')


def test_colour_is_the_share_of_the_true_class():
    interp = ClassificationInterpretation(torch.eye(3)[[0, 1, 1, 0]], torch.tensor([0, 0, 0, 1]), torch.zeros(4), VOCAB)
    shade = interp.plot_confusion_matrix().images[0].get_array()[..., 3]
    assert_close(torch.tensor(shade), torch.tensor([[0, 2/3, 0], [1, 0, 0], [0, 0, 0]]))


def test_a_class_that_never_occurs():
    interp = ClassificationInterpretation(torch.eye(3)[[0, 1]], torch.tensor([0, 0]), torch.zeros(2), VOCAB)
    assert interp.confusion_matrix().tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]
    interp.plot_confusion_matrix()


# One picture

def test_classify(trained, tmp_path):
    interp, s = ClassificationInterpretation.from_learner(trained), pictures(33, seed=1)
    Image.fromarray(s.x[4].numpy()).save(tmp_path/'a.png')
    label, probs = trained.classify(tmp_path/'a.png')
    assert label == VOCAB[interp.preds[4]] == next(iter(probs)) and list(probs.values()) == sorted(probs.values(), reverse=True)
    assert_close(torch.tensor([probs[v] for v in VOCAB]), interp.probs[4], rtol=1e-4, atol=1e-5)
    plain = Learner(trained.model, DataLoaders.from_datasets(*[TensorDataset(normalised(s), s.y, vocab=VOCAB)]*2), cross_entropy)
    with pytest.raises(TypeError, match='cannot prepare a picture'): plain.classify(tmp_path/'a.png')


# Programs

def served(file):
    extra = {'meta.json': ''}
    return torch.export.load(file, extra_files=extra).module(), json.loads(extra['meta.json'])


def test_exported_program(trained, tmp_path):
    before = {k: v.clone() for k, v in trained.model.state_dict().items()}
    trained.model.train()
    file = trained.export(tmp_path/'deep'/'model')
    assert trained.model.training and file == tmp_path/'deep'/'model.pt2' and [f.name for f in file.parent.iterdir()] == ['model.pt2']
    for k, v in trained.model.state_dict().items(): assert torch.equal(v, before[k])
    program, meta = served(file)
    assert meta == dict(vocab=VOCAB, size=[12, 10], mode='L')
    for n in (1, 2, 5, 50):
        s = pictures(n, seed=n)
        with torch.no_grad(): want = trained.model.eval()(normalised(s)).softmax(1)
        assert_close(program(s.x[:, None]), want, rtol=1e-4, atol=1e-6)


def test_bf16_training_serves_float32(tmp_path):
    learn = tiny(precision='bf16')
    with learn.no_progress(): learn.fit(1)
    program, _ = served(learn.export(tmp_path/'m'))
    s = pictures(9)
    with torch.no_grad(): assert_close(program(s.x[:, None]), learn.model.eval()(normalised(s)).softmax(1), rtol=1e-4, atol=1e-6)


def test_batch_transforms_of_validation_are_inside(trained, tmp_path):
    learn = tiny(loaders(batch_tfms=RandomFlip(1.)))
    program, _ = served(learn.export(tmp_path/'m'))
    s = pictures(3)
    with torch.no_grad(): assert_close(program(s.x[:, None]), learn.model.eval()(normalised(s)).softmax(1), rtol=1e-4, atol=1e-6)


def test_it_serves_without_the_package(trained, tmp_path):
    file, s = trained.export(tmp_path/'m.pt2'), pictures(2, seed=8)
    Image.fromarray(s.x[1].numpy()).save(tmp_path/'a.png')
    code = '''
import json, sys
for m in ('mylib', 'fastcore', 'pandas', 'matplotlib'): sys.modules[m] = None
import numpy as np, torch
from PIL import Image
program = torch.export.load(sys.argv[1]).module()
print(json.dumps(program(torch.from_numpy(np.array(Image.open(sys.argv[2])))[None, None])[0].tolist()))
'''
    r = subprocess.run([sys.executable, '-I', '-c', code, file, tmp_path/'a.png'], capture_output=True, text=True, cwd=tmp_path)
    assert r.returncode == 0, r.stderr
    with torch.no_grad(): want = trained.model.eval()(normalised(s)[1:]).softmax(1)[0]
    assert_close(torch.tensor(json.loads(r.stdout)), want, rtol=1e-4, atol=1e-6)


def test_a_failed_export_leaves_what_was_there(trained, tmp_path, monkeypatch):
    file = trained.export(tmp_path/'m')
    old = file.read_bytes()
    def half(program, f, **kwargs):
        with open(f, 'wb') as o: o.write(b'half')
        raise OSError('disk full')
    monkeypatch.setattr(torch.export, 'save', half)
    with pytest.raises(OSError, match='disk full'): trained.export(tmp_path/'m')
    assert file.read_bytes() == old and [f.name for f in tmp_path.iterdir()] == ['m.pt2']


def test_items_that_are_normalised_already_are_refused(tmp_path):
    s = pictures(8)
    dls = DataLoaders.from_datasets(*[TensorDataset(normalised(s), s.y, vocab=VOCAB)]*2)
    with pytest.raises(TypeError, match='normalisation would be left to the server'): vision_learner(dls, widths=(4,)).export(tmp_path/'m')
    assert not list(tmp_path.iterdir())


def test_serving_model_uses_the_activation():
    model = ServingModel(nn.Flatten(), lambda b: (b[0].float() + 1,), torch.sigmoid)
    assert_close(model(torch.zeros(2, 1, 1, 3, dtype=torch.uint8)), torch.ones(2, 3).sigmoid())


# Folders

def make_folder(root, valid='val', names=('n03028079', 'mine')):
    g = np.random.default_rng(0)
    for k, name in enumerate(names):
        for i in range(12):
            a = g.integers(0, 120, (40 + i, 60 - i, 3), dtype=np.uint8) + np.uint8(100*k)
            f = root/('train' if i % 3 else valid)/name/f'{i}.JPEG'
            f.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(a).convert('L' if i == 4 else 'RGB').save(f)
    return root


@pytest.mark.parametrize('valid', ['val', 'valid'])
def test_image_folder(tmp_path, valid):
    dls = image_folder(32).dataloaders(make_folder(tmp_path, valid), batch_size=8, seed=0, device='cpu')
    assert dls.vocab == ['church', 'mine'] and (len(dls.dsets.train), len(dls.dsets.valid)) == (16, 8)
    for dl in (dls.train, dls.valid):
        x, y = next(iter(dl))
        assert x.shape == (8, 3, 32, 32) and x.dtype == torch.float32
    assert dls.prepare(next(tmp_path.rglob('*.JPEG'))).shape == (3, 32, 32)


def test_the_same_code_trains_on_folders(tmp_path):
    dls = image_folder(32).dataloaders(make_folder(tmp_path/'set'), batch_size=8, seed=0, device='cpu')
    learn = tiny(dls, lr=1e-2)
    with learn.no_progress(): learn.fit_one_cycle(3)
    interp = ClassificationInterpretation.from_learner(learn)
    assert interp.confusion_matrix().sum() == 8 and interp.plot_top_losses(3)[0].images[0].get_array().shape == (40, 40, 3)
    label, probs = learn.classify(next((tmp_path/'set'/'val').rglob('*.JPEG')))
    program, meta = served(learn.export(tmp_path/'m'))
    assert label in dls.vocab and meta == dict(vocab=['church', 'mine'], size=[40, 40], mode='RGB')
    x = torch.stack([dls.dsets.valid[i][0] for i in range(3)])
    with torch.no_grad(): want = learn.model.eval()(dls.valid.after_batch((x,))[0]).softmax(1)
    assert_close(program(x), want, rtol=1e-4, atol=1e-6)


def test_imagenette_is_found_or_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv('MYLIB_DATA', str(tmp_path))
    with pytest.raises(DataError, match='download=True'): imagenette()
    asked = []
    monkeypatch.setattr('mylib.vision.fetch', asked.append)
    with pytest.raises(DataError): imagenette(download=True)
    assert asked == ['imagenette_160']
    inner = make_folder(tmp_path/'imagenette_160'/'imagenette2-160')
    assert imagenette() == inner
    assert imagenette(download=True) == inner
    monkeypatch.setenv('MYLIB_DATA', str(tmp_path/'other'))
    flat = make_folder(tmp_path/'other'/'imagenette_160')
    assert imagenette() == flat


def test_names_of_imagenette():
    assert len(IMAGENETTE) == 10 and len(set(IMAGENETTE.values())) == 10 and all(len(k) == 9 and k[0] == 'n' for k in IMAGENETTE)
