"`mylib.datablock`: the steps against NumPy, Pillow, pandas and scikit-learn, the whole against real folders, and every kind of bad data."
import os
import pickle
import random
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mylib.core import set_seed
from mylib.datablock import (BlockDataLoaders, CategoryBlock, ColReader, DataBlock, GrandparentSplitter, GroupSplitter, ImageBlock, IntToFloat, ItemDataset,
                             MultiCategoryBlock, Normalize, PathList, Pipeline, RandomSplitter, RawTextBlock, RegexLabeller, RegexSplitter, RegressionBlock,
                             Resize, TfmdDL, TimeSplitter, ToTensor, TransformBlock, get_files, get_image_files, get_text_files, image_extensions, load_image,
                             parent_label, verify_images)
from mylib.dataloader import DataLoader
from mylib.learner import Learner, accuracy
from mylib.losses import cross_entropy
from PIL import Image, ImageOps
from sklearn.model_selection import GroupShuffleSplit
from torch import nn

seeds = st.integers(0, 9999)
pcts = st.floats(0.05, 0.95)


def photo(w=40, h=30, seed=0): return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (h//5, w//5, 3), dtype=np.uint8)).resize((w, h))


def put(folder, names, make=None):
    for k, n in enumerate(names.split() if isinstance(names, str) else names):
        (p := folder/n).parent.mkdir(parents=True, exist_ok=True)
        if p.suffix.lower() in image_extensions: photo(40 + k % 3, 30, k).save(p)
        else: p.write_text(n)
    return folder


@pytest.fixture
def pets(tmp_path):
    "The layout of Imagenette: train/CLASS/*.JPEG, val/CLASS/*.JPEG."
    return put(tmp_path/'pets', [f'{s}/{c}/{i}.JPEG' for s, n in (('train', 8), ('val', 4)) for c in ('cat', 'dog', 'eel') for i in range(n)])


def pet_block(**kwargs):
    return DataBlock(**{**dict(blocks=(ImageBlock, CategoryBlock), get_items=get_image_files, splitter=GrandparentSplitter(valid_name='val'), get_y=parent_label,
                               item_tfms=Resize(24), batch_tfms=Normalize([0.5]*3, [0.25]*3)), **kwargs})


# Files

names = st.lists(st.text('abC1', min_size=1, max_size=3), min_size=1, max_size=3).map('/'.join)

@settings(deadline=None, max_examples=25)
@given(st.dictionaries(names, st.sampled_from(['.jpg', '.JPG', '.png', '.txt', '']), max_size=12), st.sampled_from([None, '.jpg', 'jpg', {'.jpg', 'PNG'}]), st.booleans(), seeds)
def test_get_files_is_rglob(tmp_path_factory, spec, exts, recurse, seed):
    d, e = tmp_path_factory.mktemp('a'), tmp_path_factory.mktemp('b')
    spec = [f'd_{n.replace("/", "/d_")}/f{s}' for n, s in spec.items()]
    for root, order in ((d, spec), (e, random.Random(seed).sample(spec, len(spec)))):
        for n in order: (root/n).parent.mkdir(parents=True, exist_ok=True); (root/n).touch()
    want = {'.jpg', '.png'} if isinstance(exts, set) else {'.jpg'} if exts else None
    found = get_files(d, exts, recurse)
    expected = {p for p in (d.rglob('*') if recurse else d.glob('*')) if p.is_file() and (want is None or p.suffix.lower() in want)}
    assert set(found) == expected and len(found) == len(expected)
    assert [p.relative_to(d) for p in found] == [p.relative_to(e) for p in get_files(str(e), exts, recurse)]


def test_get_files_order_folders_and_hidden(tmp_path):
    put(tmp_path, 'b/2.txt b/10.txt a/c/1.txt a/z.txt top.txt .hidden .git/config a/.DS_Store')
    rel = lambda *args, **kwargs: [p.relative_to(tmp_path).as_posix() for p in get_files(tmp_path, *args, **kwargs)]
    assert rel() == ['top.txt', 'a/z.txt', 'a/c/1.txt', 'b/10.txt', 'b/2.txt']
    assert rel(folders='a') == ['a/z.txt', 'a/c/1.txt'] and rel(folders=['b', '.']) == ['top.txt', 'b/10.txt', 'b/2.txt']
    assert rel(recurse=False) == ['top.txt']
    with pytest.raises(FileNotFoundError, match=r"folders names \['c'\].*it holds \['.git', 'a', 'b'\]|folders names \['c'\]"): get_files(tmp_path, folders=['a', 'c'])
    with pytest.raises(FileNotFoundError, match='not there'): get_files(tmp_path/'nowhere')
    with pytest.raises(NotADirectoryError, match='path must be a folder'): get_files(tmp_path/'top.txt')


def test_image_and_text_files(tmp_path):
    put(tmp_path, 'a/1.JPEG a/2.txt b/3.png b/4.TXT c/5.csv')
    assert [p.name for p in get_image_files(tmp_path)] == ['1.JPEG', '3.png'] and [p.name for p in get_image_files(tmp_path, folders='b')] == ['3.png']
    assert [p.name for p in get_text_files(tmp_path)] == ['2.txt', '4.TXT'] and not get_text_files(tmp_path, recurse=False)


@pytest.mark.skipif(os.name == 'nt', reason='links need rights')
def test_links_to_elsewhere(tmp_path):
    put(tmp_path, 'here/1.txt there/sub/2.txt')
    (tmp_path/'here'/'link').symlink_to(tmp_path/'there')
    assert [p.name for p in get_files(tmp_path/'here')] == ['1.txt', '2.txt']
    assert [p.name for p in get_files(tmp_path/'here', '.txt', followlinks=False)] == ['1.txt']


@pytest.mark.skipif(os.name == 'nt', reason='links need rights')
def test_symlinks(tmp_path):
    put(tmp_path, 'a/1.txt b/2.txt')
    (tmp_path/'a'/'loop').symlink_to(tmp_path)
    (tmp_path/'c').symlink_to(tmp_path/'b')
    (tmp_path/'a'/'self').symlink_to(tmp_path/'a'/'self')
    (tmp_path/'gone.txt').symlink_to(tmp_path/'nothing')
    (tmp_path/'linked.txt').symlink_to(tmp_path/'a'/'1.txt')
    found = get_files(tmp_path)
    assert [p.name for p in found] == ['linked.txt', '1.txt', '2.txt']
    assert sorted(Path(p).name for p, _ in found.skipped) == ['c', 'gone.txt', 'loop', 'self'] and '4 skipped' in repr(found)
    assert [p.name for p in get_files(tmp_path, '.txt', followlinks=False)] == ['linked.txt', '1.txt', '2.txt']
    block = DataBlock(get_items=get_files, splitter=RandomSplitter(0.4, seed=0))
    with pytest.raises(ValueError, match='(?s)4 of 3 items cannot be used.*loop.*a link to a folder that is read already'): block.datasets(tmp_path)
    assert len(block.datasets(tmp_path, on_error='skip').skipped) == 4


def test_pathlist():
    p = PathList(['a/1', 'a/2', 'b/3'])
    assert p[-1] == Path('b/3') and list(p) == [Path('a/1'), Path('a/2'), Path('b/3')] and len(p) == 3 and p._paths is None
    assert p[[2, 0]] == [Path('b/3'), Path('a/1')] and p[1:] == [Path('a/2'), Path('b/3')] and p[[True, False, True]] == [Path('a/1'), Path('b/3')]
    assert p._paths is not None and len(p) == 3 and list(p) == [Path('a/1'), Path('a/2'), Path('b/3')] and p[0] == Path('a/1')
    p[0] = Path('x')
    assert p[0] == Path('x') and Path('x') in p and p == list(p)
    q = pickle.loads(pickle.dumps(PathList(['a/1', 'b/2'])))
    assert q == [Path('a/1'), Path('b/2')] and type(PathList(['a/1']).filter(lambda o: True)) is not PathList
    assert (PathList(['a/1']) + PathList(['b/2'])) == [Path('a/1'), Path('b/2')] and repr(PathList([])) == '[]'


# Splitters

@settings(deadline=None, max_examples=60)
@given(st.integers(2, 200), pcts, seeds)
def test_random_splitter(n, pct, seed):
    state = torch.get_rng_state()
    t, v = RandomSplitter(pct, seed)(range(n))
    assert sorted(t + v) == list(range(n)) and len(v) == min(max(1, int(pct*n)), n - 1) and (t, v) == RandomSplitter(pct, seed)(['x']*n)
    assert torch.equal(state, torch.get_rng_state())


def test_random_splitter_draws():
    items = list(range(50))
    set_seed(1); a, b = RandomSplitter()(items), RandomSplitter()(items)
    set_seed(1); assert RandomSplitter()(items) == a != b
    counts = np.bincount([i for s in range(400) for i in RandomSplitter(0.2, s)(items)[1]], minlength=50)
    assert counts.min() > 40 and counts.max() < 125  # 80 expected
    for bad in (0, 1, 1.5, 'a'):
        with pytest.raises(ValueError, match='valid_pct must be a share'): RandomSplitter(bad)(items)
    with pytest.raises(ValueError, match='seed must be at least 0'): RandomSplitter(seed=-1)(items)
    assert repr(RandomSplitter(seed=3)) == 'RandomSplitter(valid_pct=0.2, seed=3)'


@settings(deadline=None, max_examples=80)
@given(st.lists(st.integers(0, 8), min_size=2, max_size=60).filter(lambda g: len(set(g)) > 1), pcts, seeds)
def test_group_splitter_like_sklearn(groups, pct, seed):
    def sound(t, v): return sorted([*t, *v]) == list(range(len(groups))) and not {groups[i] for i in t} & {groups[i] for i in v} and len(t) and len(v)
    t, v = GroupSplitter(lambda o: o, pct, seed)(groups)
    assert sound(t, v) and (t, v) == GroupSplitter(lambda o: o, pct, seed)(groups)
    assert sound(*next(GroupShuffleSplit(1, test_size=0.5, random_state=seed).split(groups, groups=groups)))
    left = min(max(1, int(pct*len(groups))), len(groups) - 1) - len(v)
    train, valid = ([np.sum(np.array(groups) == g) for g in {groups[i] for i in idx}] for idx in (t, v))
    assert len(train) == 1 or len(valid) == 1 or all(m > 2*left for m in train)  # no group of the training split would bring it nearer


def test_group_splitter_size_and_errors():
    groups = [i//4 for i in range(400)]
    got = [GroupSplitter(lambda o: o, 0.25, s)(groups)[1] for s in range(8)]
    assert {len(v) for v in got} == {100} and len({tuple(v) for v in got}) == 8
    assert {len(GroupSplitter(lambda o: o, 0.2, s)([i//5 for i in range(40)])[1]) for s in range(5)} == {10}  # 10 is nearer to 8 than 5 is
    assert GroupSplitter(lambda o: o, 0.1, 0)([0]*50 + [1]*48 + [2]*47)[1] == list(range(98, 145))
    with pytest.raises(ValueError, match='at least two groups and found 1'): GroupSplitter(lambda o: 1)([1, 2])
    with pytest.raises(ValueError, match='the group of 3 is missing'): GroupSplitter({2: 'a'}.get)([2, 3])
    with pytest.raises(TypeError, match='group must be a function of an item, or a column name'): GroupSplitter(3)([1, 2])


@settings(deadline=None, max_examples=80)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=60).filter(lambda g: len(set(g)) > 1), pcts)
def test_time_splitter(times, pct):
    t, v = TimeSplitter(lambda o: o, pct)(times)
    assert sorted(t + v) == list(range(len(times))) and max(times[i] for i in t) < min(times[i] for i in v)
    want = min(max(1, int(pct*len(times))), len(times) - 1)
    possible = [sum(o >= c for o in times) for c in set(times) if c > min(times)]
    assert abs(len(v) - want) == min(abs(p - want) for p in possible)


def test_time_splitter_of_dates():
    df = pd.DataFrame(dict(when=pd.to_datetime(['2020-03-01', '2020-01-01', '2020-03-01', '2019-05-05', '2020-02-01']), x=range(5)))
    ds = DataBlock((TransformBlock, RegressionBlock), splitter=TimeSplitter('when'), get_x=ColReader('x'), get_y=ColReader('x')).datasets(df)
    assert [r['x'] for r in ds.valid.items] == [0, 2] and [r['x'] for r in ds.train.items] == [3, 1, 4]
    with pytest.raises(ValueError, match='the time of 1 items is missing'): TimeSplitter('when')([dict(when=pd.NaT), dict(when=1)])
    with pytest.raises(ValueError, match='so there is no latest part'): TimeSplitter(lambda o: 0)([1, 2])


def test_path_splitters(pets):
    files = get_image_files(pets)
    t, v = GrandparentSplitter(valid_name='val')(files)
    assert len(t) == 24 and len(v) == 12 and {files[i].parts[-3] for i in v} == {'val'}
    assert GrandparentSplitter(('val', 'train'), 'train')([str(f) for f in files])[0][0] == v[0]
    with pytest.raises(ValueError, match=r"found 24 training and 0 validation items; the grandparent folders are \['train', 'val'\]"): GrandparentSplitter()(files)
    t, v = RegexSplitter(r'/dog/[01]\.')(files)
    assert sorted(t + v) == list(range(36)) and [files[i].as_posix()[-10:] for i in v] == ['dog/0.JPEG', 'dog/1.JPEG']*2
    for pat, word in (('JPEG$', 'every'), ('zebra', 'no')):
        with pytest.raises(ValueError, match=f'matches {word} item'): RegexSplitter(pat)(files)


# Labels and blocks

def test_labellers():
    assert parent_label(Path('a/b/c.jpg')) == parent_label('a/b/c.jpg') == 'b'
    lab = RegexLabeller(r'(\w+)_\d+\.jpg')
    assert lab(Path('x/great_dane_12.jpg')) == 'great_dane' and pickle.loads(pickle.dumps(lab))('cat_1.jpg') == 'cat'
    with pytest.raises(ValueError, match='is not found'): RegexLabeller(r'(\d+)', match=True)('a1')
    with pytest.raises(ValueError, match='no group'): RegexLabeller(r'\d+')


def test_col_reader():
    row = dict(name='1', tags='a b', n=2, empty=float('nan'))
    assert ColReader('name', pref='img/', suff='.png')(row) == 'img/1.png' and ColReader('name', pref=Path('img'), suff='.png')(row) == Path('img/1.png')
    assert ColReader('tags', label_delim=' ')(row) == ['a', 'b'] and ColReader('empty', label_delim=' ')(row) == [] and ColReader('n')(row) == 2
    assert ColReader(['n', 'name'])(row) == [2, '1'] and ColReader('n')(pd.Series(row)) == 2
    with pytest.raises(KeyError, match=r"no column 'x'; there are \['name', 'tags', 'n', 'empty'\]"): ColReader('x')(row)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(max_size=3), min_size=1, max_size=20), st.lists(st.text(max_size=3), max_size=5))
def test_category_block(labels, others):
    block = CategoryBlock(); block.setup(labels)
    assert block.vocab == sorted(set(labels)) == list(np.unique(np.array(labels, dtype=object)))
    assert [block.decode(block.encode(o)) for o in labels] == labels and [block.encode(o) for o in block.vocab] == list(range(len(block.vocab)))
    for o in others: assert (block.check(o) is None) == (o in labels)


def test_category_block_given_missing_mixed():
    block = CategoryBlock(['b', 'a']); block.setup(['c'])
    assert block.vocab == ['b', 'a'] and block.encode('a') == 1 and 'which was given' in block.check('c')
    block = CategoryBlock(); block.setup(['x', None, float('nan'), np.float32('nan'), pd.NA, pd.NaT])
    assert block.vocab == ['x'] and all(block.check(o) == 'the label is missing' for o in (None, float('nan'), np.float32('nan'), pd.NA, pd.NaT))
    with pytest.raises(TypeError, match='cannot be made a vocabulary'): CategoryBlock().setup(['a', 1])
    with pytest.raises(TypeError, match='need a MultiCategoryBlock'): CategoryBlock().setup([['a'], ['b']])


def test_multi_category_and_regression():
    block = MultiCategoryBlock(); block.setup([['b', 'a'], [], ('c',)])
    assert block.vocab == ['a', 'b', 'c'] and block.encode(['c', 'a']).tolist() == [1, 0, 1] and block.encode([]).dtype == torch.float32
    assert block.decode(torch.tensor([0.9, 0.2, 0.6])) == ['a', 'c'] and 'no list of labels' in block.check('ab') and "label 'z'" in block.check(['a', 'z'])
    block = MultiCategoryBlock(); block.setup(['ab', None, ['x']])
    assert block.vocab == ['x']
    reg = RegressionBlock(); reg.setup([[1, 2.5]])
    assert reg.n_out == 2 and reg.encode((3, 4)).tolist() == [3, 4] and '2 are expected' in reg.check(1) and 'not finite' in reg.check([1, float('inf')])
    reg = RegressionBlock(); reg.setup([5])
    assert reg.encode(7).shape == (1,) and reg.encode(7).dtype == torch.float32 and 'neither a number' in reg.check('x')


# Transforms

def test_pipeline():
    f, g = (lambda o: o + 'f'), (lambda o: o + 'g')
    g.order = -1
    class H:
        order, train_only = 3, True
        def __call__(self, o): return o + 'h'
        def decode(self, o): return o.removesuffix('h')
    assert Pipeline([f, H, g])('') == 'gfh' and Pipeline([f, H(), g], train=False)('') == 'gf' and Pipeline()('x') == 'x'
    class K(H):
        order = 4
        def __call__(self, o): return o + 'k'
        def decode(self, o): return o.removesuffix('k')
    assert Pipeline([K, H, f])('') == 'fhk' and Pipeline([K, f, H]).decode('fhk') == 'f'
    with pytest.raises(TypeError, match='a transform must be callable'): Pipeline([f, 3])


@pytest.mark.parametrize('k', range(1, 9))
def test_exif_orientation(tmp_path, k):
    a = np.random.default_rng(0).integers(0, 256, (4, 7, 3), dtype=np.uint8)
    upright = {1: a, 2: a[:, ::-1], 3: a[::-1, ::-1], 4: a[::-1], 5: a.transpose(1, 0, 2), 6: np.rot90(a, -1), 7: a[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(a)}[k]
    exif = Image.Exif(); exif[0x0112] = k
    Image.fromarray(a).save(tmp_path/'a.png', exif=exif)
    assert np.array_equal(np.asarray(load_image(tmp_path/'a.png')), upright)


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'I;16'])
def test_image_modes(tmp_path, mode):
    im = photo() if mode != 'I;16' else Image.fromarray(np.asarray(photo().convert('L')).astype(np.uint16)*257)
    im = im if mode == 'I;16' else im.convert(mode)
    file = tmp_path/('a.tif' if mode == 'CMYK' else 'a.png')
    im.save(file)
    for to in ('RGB', 'L'):
        got = load_image(file, to)
        assert got.mode == to and got.size == (40, 30)
        a, b = (np.asarray(o.convert('L')).astype(int) for o in (got, photo()))
        assert abs(a.mean() - b.mean()) < 20 and (mode == '1' or np.abs(a - b).mean() < 20)
    if mode == 'I;16': assert np.array_equal(np.asarray(load_image(file, 'L')), np.asarray(photo().convert('L')))


def test_transparent_palette_without_a_warning(tmp_path, recwarn):
    im = photo().convert('P'); im.info['transparency'] = bytes([0, 128] + [255]*100)
    im.save(tmp_path/'a.png')
    assert load_image(tmp_path/'a.png').mode == 'RGB' and not recwarn.list


def test_draft(tmp_path):
    photo(500, 375).save(tmp_path/'a.jpg', quality=90); photo(500, 375).save(tmp_path/'a.png')
    assert [load_image(tmp_path/'a.jpg', size=s).size for s in (None, 376, 188, 187, 94, 93, 40, 1)] == [(500, 375)]*2 + [(500, 375), (250, 188), (250, 188), (125, 94), (63, 47), (63, 47)]
    assert load_image(tmp_path/'a.png', size=8).size == (500, 375)
    resize = Resize((20, 90), 'squish')
    whole, draft = (np.asarray(resize(load_image(tmp_path/'a.jpg', size=s))).astype(int) for s in (None, resize.load_size))
    assert resize.load_size == 90 and Resize(9, draft=False).load_size is None and np.abs(whole - draft).mean() < 3
    block = pet_block(get_items=None, splitter=lambda o: ([0], []), get_y=lambda o: 'a')
    ds = block.datasets([tmp_path/'a.jpg'])
    assert ds.train.blocks[0]._size == 24 and block.blocks[0]._size is None


@settings(deadline=None, max_examples=20)
@given(st.integers(5, 40), st.integers(5, 40), st.integers(1, 30), st.integers(1, 30))
def test_resize(w, h, rows, cols):
    im = photo(w, h)
    for method, f in dict(crop=ImageOps.fit, pad=ImageOps.pad).items():
        assert np.array_equal(np.asarray(Resize((rows, cols), method)(im)), np.asarray(f(im, (cols, rows), Image.Resampling.BILINEAR)))
    assert np.array_equal(np.asarray(Resize((rows, cols), 'squish')(im)), np.asarray(im.resize((cols, rows), Image.Resampling.BILINEAR)))
    t = ToTensor()(im)
    assert t.dtype == torch.uint8 and np.array_equal(t.permute(1, 2, 0), np.asarray(im)) and t.is_contiguous() and ToTensor()(t) is t
    assert np.array_equal(ToTensor()(im.convert('L'))[0], np.asarray(im.convert('L')))


def test_resize_and_normalize_errors():
    with pytest.raises(ValueError, match='size must be at least 1'): Resize(0)
    with pytest.raises(ValueError, match="'crop', 'squish' or 'pad'"): Resize(3, 'fit')
    with pytest.raises(ValueError, match='mean has 1 numbers, std has 2'): Normalize(0.5, [1, 2])
    with pytest.raises(ValueError, match='std must be positive'): Normalize(0, 0)
    with pytest.raises(ValueError, match='1 channels, and Normalize has 3 means'): Normalize([0]*3, [1]*3)((torch.rand(2, 1, 3, 3), 0))
    with pytest.raises(TypeError, match='IntToFloat comes first'): Normalize(0, 1)((torch.zeros(2, 1, 3, 3, dtype=torch.uint8), 0))


def test_batch_transforms():
    x, y = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8), torch.arange(5)
    p = Pipeline([Normalize([0.1, 0.2, 0.3], [0.5, 0.6, 0.7]), IntToFloat()])
    out, same = p((x, y))
    expected = (x.double()/255 - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1))/torch.tensor([0.5, 0.6, 0.7]).view(3, 1, 1)
    torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(p.decode((out, y))[0], x/255)
    assert same is y and out.dtype == torch.float32
    torch.testing.assert_close(IntToFloat()((out.clone(), y))[0], out, rtol=0, atol=0)


# Loader

class Add:
    order, train_only = 50, True
    def __call__(self, batch): return batch[0] + torch.rand(()), batch[1]

def test_order_of_randomness_and_resuming():
    make = lambda n: TfmdDL([(torch.full((1,), i), i) for i in range(20)], 4, Add(), shuffle=True, seed=7, num_workers=n)
    set_seed(1); whole = list(make(0))
    set_seed(1); workers = list(make(2))
    assert all(torch.equal(a, b) for p, q in zip(whole, workers) for a, b in zip(p, q))
    dl = make(0); set_seed(1)
    first = list(islice(dl, 2))
    rng = torch.get_rng_state()
    torch.rand(9); dl.one_batch(); torch.set_rng_state(rng)
    rest = make(0); rest.set_epoch(0)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first + list(rest.iter_from(2)), whole))
    before = torch.get_rng_state(), random.getstate(), dl.epoch
    assert torch.equal(dl.one_batch()[0], dl.one_batch()[0]) and torch.equal(before[0], torch.get_rng_state()) and before[1:] == (random.getstate(), dl.epoch)


def test_bytes_come_through_shared_memory(pets):
    ds = pet_block().datasets(pets).train
    x, y = next(iter(DataLoader(ds, 6, num_workers=2)))
    assert x.is_shared() and x.dtype == torch.uint8 and x.shape == (6, 3, 24, 24)


@pytest.mark.parametrize('n', [1, 2])
def test_two_batches_ready(pets, tmp_path, n):
    marks = tmp_path/'marks'; marks.mkdir()
    def mark(p): (marks/f'{p.parent.name}{p.name}').touch(); return p
    batches = iter(pet_block(get_x=mark).dataloaders(pets, 2, num_workers=n).train)
    next(batches)
    deadline = time.monotonic() + 10
    while len(list(marks.iterdir())) < 2*(1 + 2*n) and time.monotonic() < deadline: time.sleep(0.02)
    time.sleep(0.2)
    assert len(list(marks.iterdir())) == 2*(1 + 2*n)
    batches.close()


# The block

def test_images_end_to_end(pets):
    dls = pet_block(batch_tfms=[Normalize([0.5]*3, [0.25]*3), Add]).dataloaders(str(pets), 5, seed=3)
    assert dls.vocab == ['cat', 'dog', 'eel'] and len(dls.train) == 5 and dls.valid.batch_size == 10 and dls.train._device
    direct = {parent_label(p) + p.name: ToTensor()(Resize(24)(load_image(p, size=24))) for p in get_image_files(pets) if p.parts[-3] == 'val'}
    xs, ys = (torch.cat(o) for o in zip(*dls.valid))
    expected = torch.stack([direct[parent_label(p) + p.name] for p in dls.dsets.valid.items])
    torch.testing.assert_close(xs.cpu(), (expected/255 - 0.5)/0.25)  # Add is for training alone
    assert [dls.vocab[i] for i in ys] == [parent_label(p) for p in dls.dsets.valid.items]
    assert len(dls.valid.after_batch.funcs) == 2 and len(dls.train.after_batch.funcs) == 3
    for o in (dls, dls.dsets, dls.train, pet_block(), dls.block.blocks[0]): assert len(repr(o)) > 10


def test_random_transforms_stay_in_training(pets):
    class Dark:
        order, train_only = 2, True
        def __call__(self, im): return im.point(lambda p: 0)
    dls = pet_block(item_tfms=[Resize(24), Dark()], batch_tfms=Add()).dataloaders(pets, 4)
    test = dls.test_dl(dls.dsets.valid.items)
    assert dls.dsets.train[0][0].max() == 0 and all(ds[0][0].max() > 0 for ds in (dls.dsets.valid, test.dataset))
    assert [len(dl.after_batch.funcs) for dl in (dls.train, dls.valid, test)] == [2, 1, 1] and test._device == dls.train._device and test.batch_size == 8
    order = [torch.cat([y for _, y in dls.train]) for _ in range(2)]
    assert not torch.equal(*order) and torch.equal(*(o.sort().values for o in order))


@pytest.mark.parametrize('num_workers', [0, 2])
def test_learner_trains(pets, num_workers):
    dls = pet_block().dataloaders(pets, 6, num_workers=num_workers, seed=0, device='cpu')
    set_seed(1)
    learn = Learner(nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(108, 3)), dls, cross_entropy, 0.05, metrics=accuracy)
    with learn.no_progress(): learn.fit(3)
    assert learn.recorder.losses[-1] < learn.recorder.losses[0] or learn.recorder.rows[-1]['train_loss'] < learn.recorder.rows[0]['train_loss']
    items = dls.dsets.valid.items
    probs, _ = learn.get_preds()
    again, none = learn.get_preds(dls.test_dl(items))
    torch.testing.assert_close(probs, again)
    assert (none == -1).all() and learn.get_preds(dls.test_dl(items, with_labels=True))[1].tolist() == learn.get_preds()[1].tolist()
    assert learn.predict(dls.prepare(str(items[3])))[1] == probs[3].argmax() and learn.predict(dls.prepare(items[3]))[0] in dls.vocab
    with pytest.raises(ValueError, match="(?s)1 of 1 labels cannot be used.*label 'pets'"): dls.test_dl([pets/'x.JPEG'], with_labels=True)
    with pytest.raises(TypeError, match='expected a list of items'): dls.test_dl(pets)


def test_show_batch(pets):
    dls = pet_block(batch_tfms=[Normalize([0.5]*3, [0.25]*3), Add()]).dataloaders(pets, 6, seed=3)
    state, (x, y) = torch.get_rng_state(), dls.one_batch()
    axs = dls.show_batch(max_n=4)
    assert [a.get_title() for a in axs] == [dls.vocab[i] for i in y[:4]] and torch.equal(state, torch.get_rng_state())
    shown = torch.as_tensor(np.array(axs[0].images[0].get_array())).permute(2, 0, 1)
    torch.testing.assert_close(shown, (x[0].cpu()*0.25 + 0.5).clamp(0, 1))
    import matplotlib.pyplot as plt
    plt.close('all')


def test_summary(pets, capsys):
    rng = torch.get_rng_state()
    pet_block(batch_tfms=[Normalize([0.5]*3, [0.25]*3), Add]).summary(pets, batch_size=2)
    out = capsys.readouterr().out
    steps = ['item 0', 'ImageBlock', 'Resize', 'ToTensor', 'get_y: parent_label', 'CategoryBlock', 'batch of 2', 'IntToFloat', 'Add', 'Normalize']
    at = [out.rindex(f'\n{s}') for s in steps]
    assert at == sorted(at) and 'RGB image, 40 by 30 pixels' in out and 'uint8 (3, 24, 24)' in out and 'float32 (2, 3, 24, 24)' in out and "str 'cat'" in out
    assert torch.equal(rng, torch.get_rng_state())
    with pytest.raises(ValueError): pet_block(item_tfms=None).summary(pets)
    assert 'cannot stack batch[0]' in capsys.readouterr().out.splitlines()[-1]
    def broken(im): raise ZeroDivisionError('oh')
    with pytest.raises(ZeroDivisionError): pet_block(item_tfms=[Resize(24), broken]).summary(pets)
    assert capsys.readouterr().out.splitlines()[-1].split() == ['broken', 'ZeroDivisionError:', 'oh']


def test_text_files_and_frames(tmp_path):
    put(tmp_path, [f'{s}/{c}/{i}.txt' for s in ('train', 'valid') for c in ('good', 'bad') for i in range(3)])
    (tmp_path/'train/good/0.txt').write_text('grün', encoding='utf-8')
    dls = DataBlock((RawTextBlock, CategoryBlock), get_text_files, GrandparentSplitter(), get_y=parent_label).dataloaders(tmp_path, 6)
    x, y = dls.one_batch()
    assert type(x) is list and set(x) == {'grün'} | {f'train/{c}/{i}.txt' for c in ('good', 'bad') for i in range(3)} - {'train/good/0.txt'} and y.shape == (6,)
    frame = dls.show_batch(2)
    assert list(frame) == ['x', 'y'] and len(frame) == 2 and set(frame.y) <= {'good', 'bad'}
    df = pd.DataFrame(dict(text=list('abcdefgh'), label=[0, 1]*4, g=list('xxyyzzww')), index=range(10, 18))
    ds = DataBlock((RawTextBlock, CategoryBlock), splitter=GroupSplitter('g', 0.25, 0), get_x=ColReader('text'), get_y=ColReader('label')).datasets(df)
    assert len(ds.valid) == 2 and {ds.train[i] for i in range(6)} | {ds.valid[i] for i in range(2)} == set(zip(df.text, df.label))
    assert ds.counts().loc[0].tolist() == [3, 1]


def test_tables_multi_labels_and_chains():
    df = pd.DataFrame(dict(a=np.arange(10.), b=1., t=['p q', 'p']*5, z=np.arange(10)*3.))
    block = dict(splitter=lambda o: (range(8), [8, 9]), get_x=ColReader(['a', 'b']))
    x, y = DataBlock((RegressionBlock, RegressionBlock), get_y=[ColReader('z'), lambda z: z + 1], **block).dataloaders(df, 8).one_batch()
    assert x.shape == (8, 2) and y.shape == (8, 1) and torch.equal(y[:, 0], 3*x[:, 0] + 1)
    dls = DataBlock((RegressionBlock, MultiCategoryBlock), get_y=ColReader('t', label_delim=' '), **block).dataloaders(df, 8)
    x, y = dls.one_batch()
    assert torch.equal(y, torch.stack([torch.ones(8), 1 - x[:, 0] % 2], 1)) and dls.dsets.counts().train.tolist() == [8, 4]
    pairs = DataBlock((RegressionBlock, CategoryBlock), splitter=RandomSplitter(0.5, 0), get_x=lambda o: o[0], get_y=lambda o: o[1]).datasets([(i, 'ab'[i % 2]) for i in range(8)])
    assert all('ab'[int(x) % 2] == pairs.vocab[y] for x, y in (pairs.train[i] for i in range(4)))


def test_vocabulary_from_training_alone():
    items = [('x', 'b'), ('y', 'a'), ('z', 'c'), ('w', 'b')]
    block = DataBlock(splitter=lambda o: ([0, 1], [2, 3]), blocks=(TransformBlock, CategoryBlock), get_x=lambda o: o[0], get_y=lambda o: o[1])
    with pytest.raises(ValueError, match=r"(?s)1 of 4 items cannot be used.*'z', 'c'.*\(valid\): label 'c' is not in the vocabulary, which comes from the training split: \['a', 'b'\]"): block.datasets(items)
    ds = block.datasets(items, on_error='skip')
    assert ds.vocab == ['a', 'b'] and len(ds.valid) == 1 and [(s.item, s.split) for s in ds.skipped] == [(('z', 'c'), 'valid')]
    assert block.blocks[1].vocab is None and '1 skipped' in repr(ds)  # the block itself has learnt nothing
    assert DataBlock((TransformBlock, CategoryBlock(['a', 'b', 'c'])), splitter=block.splitter, get_y=lambda o: o[1]).datasets(items).valid[0][1] == 2


def test_splitters_are_checked():
    make = lambda *split: DataBlock(splitter=lambda o: split).datasets(list('abc'))
    with pytest.raises(ValueError, match="1 items into both splits, the first is 'b'"): make([0, 1], [1, 2])
    with pytest.raises(ValueError, match='nothing for training'): make([], [1])
    ds = make([0], [])
    assert len(ds.valid) == 0 and ds.n_unused == 2 and '2 items in neither split' in repr(ds)
    assert DataBlock(splitter=lambda o: ([0, 1, 2], [])).dataloaders(list('abc')).valid is None
    assert len(make(np.array([0]), torch.tensor([1])).train) == 1


def test_errors_at_the_door(pets):
    with pytest.raises(TypeError, match='blocks must be two blocks'): DataBlock((ImageBlock,))
    with pytest.raises(TypeError, match='blocks must be two blocks'): DataBlock((ImageBlock, 'category'))
    with pytest.raises(TypeError, match='an ImageBlock can be x and not y'): DataBlock((ImageBlock, ImageBlock))
    with pytest.raises(TypeError, match='a transform must be callable'): DataBlock(batch_tfms=['x'])
    with pytest.raises(TypeError, match='the block needs get_items'): DataBlock().datasets(pets)
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'skip'"): pet_block().datasets(pets, on_error='ignore')
    with pytest.raises(KeyError, match='no column'): DataBlock(splitter=GroupSplitter('g')).datasets(pd.DataFrame(dict(a=[1, 2])))


# Bad data

def test_no_image_and_truncated(pets):
    (pets/'train/cat/page.jpg').write_text('<html>')
    (pets/'train/dog/cut.JPEG').write_bytes((pets/'train/dog/0.JPEG').read_bytes()[:-60])
    (pets/'val/eel/zero.png').write_bytes(b'')
    for n in (0, 2):
        dls = pet_block().dataloaders(pets, 4, num_workers=n)
        with pytest.raises(OSError, match="page.jpg' cannot be read as an image|cut.JPEG' cannot be read as an image"): list(dls.train)
        with pytest.raises(OSError, match="zero.png' cannot be read as an image"): list(dls.valid)
    dls = pet_block().dataloaders(pets, 4, on_error='skip')
    assert sorted((s.item.name, s.split) for s in dls.dsets.skipped) == [('cut.JPEG', 'train'), ('page.jpg', 'train'), ('zero.png', 'valid')]
    assert all('cannot be read as an image' in s.reason for s in dls.dsets.skipped) and '3 skipped' in repr(dls) and "page.jpg' (train)" in repr(dls.dsets)
    assert sum(len(y) for _, y in dls.train) == 24 and sum(len(y) for _, y in dls.valid) == 12
    bad = verify_images(get_image_files(pets))
    assert {p.name for p in bad} == {'page.jpg', 'cut.JPEG', 'zero.png'} and all(bad.values())
    with pytest.raises(FileNotFoundError, match="gone.jpg': no such file"): load_image(pets/'gone.jpg')


@pytest.mark.parametrize('progressive', [False, True])
@pytest.mark.parametrize('keep', [0.2, 0.6, 0.95])
def test_truncation_is_found_at_an_eighth(tmp_path, progressive, keep):
    photo(400, 300).save(tmp_path/'a.jpg', progressive=progressive)
    data = (tmp_path/'a.jpg').read_bytes()
    (tmp_path/'a.jpg').write_bytes(data[:int(keep*len(data))])
    assert verify_images([tmp_path/'a.jpg'])


def test_empty(pets, tmp_path):
    (pets/'train/ant').mkdir()
    assert pet_block().datasets(pets).vocab == ['cat', 'dog', 'eel']
    (tmp_path/'empty').mkdir()
    with pytest.raises(ValueError, match='no items in .*empty.*get_image_files found nothing'): pet_block().datasets(tmp_path/'empty')
    put(tmp_path, 'all/train/a/1.jpg all/val/a/2.jpg')
    for f in get_image_files(tmp_path/'all'): f.write_text('x')
    with pytest.raises(ValueError, match='(?s)nothing is left for train.*1.jpg'): pet_block().datasets(tmp_path/'all', on_error='skip')


def test_one_image_and_unseen_label(pets):
    put(pets, 'train/rare/0.JPEG')
    ds = pet_block().datasets(pets)
    assert [n.split(' classes')[0] for n in ds.notes()] == ['a single training item in 1 of 4', 'no validation item in 1 of 4'] and "['rare']" in repr(ds)
    put(pets, 'val/unseen/0.JPEG')
    with pytest.raises(ValueError, match=r"(?s)unseen.0.JPEG' \(valid\): label 'unseen' is not in the vocabulary"): pet_block().datasets(pets)
    assert [s.item.name for s in pet_block().datasets(pets, on_error='skip').skipped] == ['0.JPEG']
    given = pet_block(blocks=(ImageBlock, CategoryBlock(['cat', 'dog', 'eel', 'rare', 'unseen', 'never']))).datasets(pets)
    assert any('no training item in 2 of 6' in n for n in given.notes())


def test_a_file_dropped_takes_its_label_along(pets):
    (pets/'train/rare').mkdir(); (pets/'train/rare/0.JPEG').write_text('no image')
    assert pet_block().datasets(pets, on_error='skip').vocab == ['cat', 'dog', 'eel']


def test_grey_exif_and_odd_names(pets):
    photo().convert('L').save(pets/'train/cat/grey.JPEG')
    exif = Image.Exif(); exif[0x0112] = 6
    photo(60, 20).save(pets/'train/cat/upright.JPEG', exif=exif)
    try: Path(os.fsdecode(bytes(pets/'train'/'cat') + b'/f\xfc\xff.JPEG')).write_bytes((pets/'train/cat/0.JPEG').read_bytes())
    except OSError: pytest.skip('this file system wants UTF-8')
    ds = pet_block(item_tfms=None, splitter=lambda o: (range(len(o)), [])).datasets(pets)
    sizes = {p.name: tuple(ds.train[i][0].shape) for i, p in enumerate(ds.train.items)}
    assert sizes['grey.JPEG'] == (3, 30, 40) and sizes['upright.JPEG'] == (3, 60, 20) and sizes['f\udcfc\udcff.JPEG'][0] == 3
    dls = pet_block().dataloaders(pets, 4, num_workers=2)
    assert sum(len(x) for x, _ in dls.train) == 27
    Path(os.fsdecode(bytes(pets/'train'/'cat') + b'/f\xfc\xff.JPEG')).write_text('no image')
    with pytest.raises(OSError) as e: list(pet_block().dataloaders(pets, 4, num_workers=2).train)
    str(e.value).encode('utf-8')  # can be printed
    for o in (pet_block().datasets(pets, on_error='skip'), get_files(pets)): repr(o).encode('utf-8')


def test_labels_that_cannot_be_read(pets):
    block = pet_block(get_y=RegexLabeller(r'/(cat|dog)/'))
    with pytest.raises(ValueError, match="(?s)12 of 36 items cannot be used.*is not found in .*and 7 more"): block.datasets(pets)
    ds = block.datasets(pets, on_error='skip')
    assert len(ds.skipped) == 12 and ds.vocab == ['cat', 'dog']
    df = pd.DataFrame(dict(x=range(6), y=['a', 'b', None, 'a', 'b', 'a']))
    tab = DataBlock((RegressionBlock, CategoryBlock), splitter=lambda o: (range(4), [4, 5]), get_x=ColReader('x'), get_y=ColReader('y'))
    with pytest.raises(ValueError, match='(?s)1 of 6 items.*the label is missing'): tab.datasets(df)
    assert len(tab.datasets(df, on_error='skip').train) == 3


def test_bad_text_file(tmp_path):
    put(tmp_path, 'train/a/1.txt train/a/2.txt valid/a/3.txt')
    (tmp_path/'train/a/2.txt').write_bytes(b'caf\xe9')
    block = DataBlock((RawTextBlock, CategoryBlock), get_text_files, GrandparentSplitter(), get_y=parent_label)
    with pytest.raises(ValueError, match='2.txt.*is not UTF-8.*at byte 3'): list(block.dataloaders(tmp_path).train)
    assert [s.item.name for s in block.datasets(tmp_path, on_error='skip').skipped] == ['2.txt']


def test_a_failing_transform_names_the_file(pets):
    def halve(im): return 1/0
    with pytest.raises(ZeroDivisionError, match='from .*JPEG.*item'): list(pet_block(item_tfms=halve).dataloaders(pets, 4).train)


def test_exports_can_be_pickled(pets):
    ds = pet_block().datasets(pets).train
    assert isinstance(ds, ItemDataset) and torch.equal(pickle.loads(pickle.dumps(ds))[1][0], ds[1][0])
    assert isinstance(pet_block().dataloaders(pets), BlockDataLoaders)
