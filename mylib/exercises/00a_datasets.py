"Lesson 00a: datasets."
import gzip
import hashlib
import lzma
import struct
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from mylib.judge import call, case, entry


def idx(*shape, kind=8, values=None):
    "The unzipped bytes of an IDX file."
    n = 1
    for size in shape: n *= size
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f'>{len(shape)}i', *shape) + bytes(i % 256 for i in range(n) if values is None or i < values)

def file(raw, name='file.gz'):
    path = Path(tempfile.mkdtemp())/name
    path.write_bytes(raw)
    return path

def labels(m): return m.read_idx(file(gzip.compress(idx(5))))
def images(m): return m.read_idx(file(gzip.compress(idx(2, 3, 4))))
def four_axes(m): return m.read_idx(file(gzip.compress(idx(2, 1, 3, 2))))
def long_axis(m): return m.read_idx(file(gzip.compress(idx(300, 2))))
def no_images(m): return m.read_idx(file(gzip.compress(idx(0, 28, 28))), ndim=3)
def axes_as_expected(m): return m.read_idx(file(gzip.compress(idx(2, 3))), ndim=2)
def right_digest(m): return m.read_idx(file(gzip.compress(idx(2, 3))), sha256=hashlib.sha256(idx(2, 3)).hexdigest())
def path_as_text(m): return m.read_idx(str(file(gzip.compress(idx(2, 3)))))

def written_to(m):
    a = m.read_idx(file(gzip.compress(idx(4))))
    a[0] = 7
    return a

def absent(m): m.read_idx(Path(tempfile.mkdtemp())/'absent.gz')
def not_zipped(m): m.read_idx(file(idx(2, 3), 'plain.gz'))
def cut(m): m.read_idx(file(gzip.compress(idx(2, 3))[:-12], 'cut.gz'))
def web_page(m): m.read_idx(file(gzip.compress(b'<html>404 Not Found</html>'), 'page.gz'))
def floats(m): m.read_idx(file(gzip.compress(idx(2, 3, kind=0x0D)), 'floats.gz'))
def nothing(m): m.read_idx(file(gzip.compress(b''), 'empty.gz'))
def no_axes(m): m.read_idx(file(gzip.compress(bytes([0, 0, 8, 0, 1])), 'number.gz'))
def a_byte_short(m): m.read_idx(file(gzip.compress(idx(2, 3, values=5)), 'short.gz'))
def bytes_left_over(m): m.read_idx(file(gzip.compress(idx(2, 3) + b'..'), 'long.gz'))
def half_a_header(m): m.read_idx(file(gzip.compress(idx(2, 3)[:6]), 'head.gz'))
def negative(m): m.read_idx(file(gzip.compress(bytes([0, 0, 8, 2]) + struct.pack('>2i', -1, -6) + bytes(6)), 'negative.gz'))
def labels_for_images(m): m.read_idx(file(gzip.compress(idx(5)), 'labels.gz'), ndim=3)
def wrong_digest(m): m.read_idx(file(gzip.compress(idx(2, 3)), 'altered.gz'), sha256='0'*64)

@entry('00a.1', level=2, minutes=25, hints=[
    'Read the bytes of the header in the order in which they come: two zeros, the type, the number of axes, the length of each axis. Which of them could be a lie, and what would follow?',
    '`_unzip` gives the bytes or the right error. Compare the digest first, then the magic number, then the number of axes, and then the bytes that follow the header with the product of the axes. Every refusal is a DataError that names the file and a remedy.',
    '`struct.unpack` with ">" and as many "i" as there are axes; the header is 4 bytes and 4 for each axis, and may itself be cut short. `np.frombuffer` with that offset, reshape, and a copy, since what frombuffer gives can not be written to.'],
    why='The header is believed, and only the header: a reader that takes the number of images from the size of the file opens anything. The sizes are compared before anything is reshaped, so that the message speaks of the file and not of a reshape.')
def read_idx():
    both = (idx, file)
    return [case('labels, one axis', labels, also=both),
            case('images, three axes, row by row', images, also=both),
            case('four axes', four_axes, also=both),
            case('an axis of more than 255, big-endian', long_axis, also=both),
            case('no images are an array of no images', no_images, also=both),
            case('the array may be written to', written_to, also=both),
            case('the number of axes is as expected', axes_as_expected, also=both),
            case('the digest of the unzipped bytes is as expected', right_digest, also=both),
            case('the path may be a text', path_as_text, also=both),
            case('a file that is not there is refused, by name', absent, raises='DataError', names='absent.gz'),
            case('a file that is not zipped is refused, by name', not_zipped, raises='DataError', names='plain.gz', also=both),
            case('a file that was cut short is refused, by name', cut, raises='DataError', names='cut.gz', also=both),
            case('a web page is refused, with its first bytes', web_page, raises='DataError', names=('page.gz', 'wrong magic number', '3c68746d'), also=file),
            case('elements of another type are refused', floats, raises='DataError', names=('floats.gz', 'magic'), also=both),
            case('a file of no bytes is refused', nothing, raises='DataError', names='empty.gz', also=file),
            case('a file without axes is refused', no_axes, raises='DataError', names='number.gz', also=file),
            case('a byte too few is refused, with the number that came', a_byte_short, raises='DataError', names=('short.gz', '5 bytes follow'), also=both),
            case('bytes left over are refused', bytes_left_over, raises='DataError', names=('long.gz', '8 bytes follow'), also=both),
            case('a header that is cut short is refused', half_a_header, raises='DataError', names='head.gz', also=both),
            case('negative lengths are refused, also if their product fits', negative, raises='DataError', names='negative.gz', also=file),
            case('labels in place of images are refused, with both numbers of axes', labels_for_images, raises='DataError', names=('labels.gz', 'has 1 axes, expected 3'), also=both),
            case('another digest is refused', wrong_digest, raises='DataError', names=('altered.gz', 'checksum mismatch'), also=both)]


ARTICLE = lzma.compress(b'{"title": "Ant", "text": "An insect."}')

def installed(m, files, sums, read):
    "What `read` gives if these files are the embedded ones, and these their digests by name."
    data = Path(tempfile.mkdtemp())
    (data/'fashion_mnist').mkdir()
    for name, raw in files.items(): (data/name).write_bytes(raw)
    (data/'SHA256SUMS').write_text(''.join(f'{digest}  {name}\n' for name, digest in sums.items()))
    with patch.object(m, 'DATA', data): return read()

def digest(raw): return hashlib.sha256(raw).hexdigest()

def undamaged(m): return [tuple(a) for a in installed(m, {'wiki.jsonl.xz': ARTICLE}, {'wiki.jsonl.xz': digest(ARTICLE)}, m.wiki)]

def others_absent(m):
    sums = {'reviews.csv.gz': '0'*64, 'wiki.jsonl.xz': digest(ARTICLE), 'zebras.gz': '1'*64}
    return [tuple(a) for a in installed(m, {'wiki.jsonl.xz': ARTICLE}, sums, m.wiki)]

def in_a_folder(m):
    files = {f'fashion_mnist/{s}-{k}-ubyte.gz': gzip.compress(idx(*shape)) for s in ('train', 'valid') for k, shape in (('images-idx3', (2, 3, 4)), ('labels-idx1', (2,)))}
    return [len(part) for part in installed(m, files, {n: digest(raw) for n, raw in files.items()}, lambda: m.fashion_mnist(full=False))]

def other_content(m): installed(m, {'wiki.jsonl.xz': lzma.compress(b'{"title": "Ant", "text": "No insect."}')}, {'wiki.jsonl.xz': digest(ARTICLE)}, m.wiki)
def a_byte_more(m): installed(m, {'wiki.jsonl.xz': ARTICLE + bytes(4)}, {'wiki.jsonl.xz': digest(ARTICLE)}, m.wiki)
def not_installed(m): installed(m, {}, {'wiki.jsonl.xz': digest(ARTICLE)}, m.wiki)

@entry('00a.2', level=1, minutes=10, hints=[
    'A line of `SHA256SUMS` is a digest, two spaces and a name. What has to agree before the path may be given away?',
    'Make a dict from name to digest of the lines, look whether the file is there, and compare its digest with the one under its name.',
    '`hashlib.sha256(path.read_bytes()).hexdigest()`: of the bytes as they lie there, zipped. Two errors, both DataError with the path: one says that the file is missing, the other that its checksum is not the one it was packaged with.'],
    why='A digest compares all bytes at the price of reading them once, a few milliseconds here. The name is looked up as it stands, folder and all, so that a file of the same name elsewhere does not pass for it.')
def embedded():
    more = (installed, digest)
    return [case('a file with the right digest is read', undamaged, also=more),
            case('files that nobody asks for may be absent', others_absent, also=more),
            case('files in a folder, by their whole name', in_a_folder, also=(*more, idx)),
            case('a file with other content is refused, by name', other_content, raises='DataError', names=('wiki.jsonl.xz', 'checksum'), also=more),
            case('a file with bytes added is refused', a_byte_more, raises='DataError', names=('wiki.jsonl.xz', 'checksum'), also=more),
            case('a file that is not there is refused, by name', not_installed, raises='DataError', names=('wiki.jsonl.xz', 'missing'), also=more)]


def pictures(n=4, h=2, w=3): return np.arange(n*h*w, dtype=np.uint8).reshape(n, h, w)*10

def kept(m):
    data = m.LabelledImages(pictures(), [0, 1, 0, 2], 'abc')
    return dict(x=data.x, y=data.y, vocab=data.vocab, length=len(data))

def kinds_of_labels(m): return [m.LabelledImages(pictures(2), y, ['cat', 'dog']).y for y in (np.array([1, 0], np.uint8), torch.tensor([1, 0], dtype=torch.int32), (1, 0))]

def items(m):
    data = m.LabelledImages(pictures(), [0, 1, 0, 2], 'abc')
    return {'data[3]': data[3], 'data[1:3]': data[1:3], 'data[torch.tensor([3, 0])]': data[torch.tensor([3, 0])]}

def for_a_network(m):
    x, y = m.LabelledImages(pictures(), [0, 1, 0, 2], 'abc', stats=(0.5, 0.25)).tensors()
    return dict(x=x, y=y)

def as_rows(m): return m.LabelledImages(pictures(), [0, 1, 0, 2], 'abc', stats=(0.5, 0.25)).tensors(flat=True)[0]
def usual_statistics(m): return m.LabelledImages(pictures(1), [0], 'a').tensors()[0]

def as_before(m):
    data = m.LabelledImages(pictures(), [0, 1, 0, 2], 'abc')
    data.tensors(), data.tensors(flat=True)
    return data.x

def shown(m):
    "What is handed to `show_images`."
    data, said = m.LabelledImages(pictures(6), [0, 1, 0, 2, 1, 1], ['cat', 'dog', 'cow']), []
    with patch.object(m, 'show_images', lambda ims, *args, titles=None, **kwargs: said.append((torch.as_tensor(ims), list(titles)))): data.show(3, start=2)
    return said

def no_items(m): return len(m.LabelledImages(np.zeros((0, 28, 28), np.uint8), [], 'ab'))
def a_label_short(m): m.LabelledImages(pictures(3), [0, 1], 'ab')
def a_class_short(m): m.LabelledImages(pictures(2), [0, 7], 'ab')
def just_too_large(m): m.LabelledImages(pictures(2), [0, 2], 'ab')
def below_zero(m): m.LabelledImages(pictures(2), [-1, 0], 'ab')

@entry('00a.3', level=1, minutes=20, hints=[
    'The images stay as they are, in bytes, until somebody wants numbers for a network. What must agree between images, labels and class names?',
    'Keep x and y as tensors, y as int64, and the names as a list. `__getitem__` hands whatever it is given to both tensors, so that a number, a slice and an index tensor work alike.',
    '`tensors`: float, divided by 255, less the mean, by the deviation; then `unsqueeze(1)` for the channel or `flatten(1)`. Two ValueErrors at construction, one with both counts, one with the smallest and the largest label; a set without items has neither. `show` is one call of `show_images` with the class names as titles.'],
    why='Bytes take a quarter of the memory of floats, and 47 MB for the full set fit anywhere. The in-place steps of `tensors` work on the copy that float() makes, so the bytes stay what they were. Labels are checked here because a wrong one in training is an error of a kernel, far away.')
def labelled_images():
    return [case('tensors of bytes and of int64, a list of names, a length', kept, also=pictures),
            case('labels of any whole type become int64', kinds_of_labels, also=pictures),
            case('an item, a slice, and a batch by an index tensor', items, also=pictures),
            case('tensors gives normalised images with a channel, and the labels', for_a_network, also=pictures),
            case('flat=True gives a row for each image', as_rows, also=pictures),
            case('the statistics are those of Fashion-MNIST by default', usual_statistics, also=pictures),
            case('the bytes stay as they are', as_before, also=pictures),
            case('show hands over n images from start, with their class names', shown, also=pictures),
            case('a set without items is allowed', no_items),
            case('a label too few is refused, with both counts', a_label_short, raises=ValueError, names=('3', '2'), also=pictures),
            case('a label without a name is refused, with the largest', a_class_short, raises=ValueError, names='7', also=pictures),
            case('the first number after the last name is one too many', just_too_large, raises=ValueError, names='2', also=pictures),
            case('a negative label is refused', below_zero, raises=ValueError, names='-1', also=pictures)]


def parts(m, y, n_valid, **kwargs):
    train, valid = m.stratified_split(y, n_valid, **kwargs)
    assert isinstance(train, torch.Tensor) and isinstance(valid, torch.Tensor), 'two tensors are expected'
    return train, valid

UNEVEN = np.repeat([0, 1, 2], [60, 30, 11])

def nothing_twice(m):
    train, valid = parts(m, np.repeat([0, 1], 10), 10)
    return dict(all=torch.cat([train, valid]).sort().values, sizes=[len(train), len(valid)])

def share_of_each(m): return np.bincount(np.repeat([0, 1], [40, 20])[parts(m, np.repeat([0, 1], [40, 20]), 15)[1]])
def rounded(m):
    other = np.repeat([0, 1, 2], [13, 14, 16])
    return {f'{n} of {len(y)}': [int(k) for k in np.bincount(y[parts(m, y, n)[1].numpy()], minlength=3)] for y, n in ((UNEVEN, 20), (UNEVEN, 1), (UNEVEN, 100), (other, 5))}
def in_order(m): return [bool((o.diff() > 0).all()) for o in parts(m, UNEVEN[::-1].copy(), 20)]
def mixed_up(m):
    y = np.array([5, 9, 5, 5, 9, 9, 5, 5, 5])
    return np.unique(y[parts(m, y, 3)[1].numpy()], return_counts=True)
def other_inputs(m): return [len(parts(m, y, 2)[1]) for y in ([0, 1, 0, 1], torch.tensor([0, 1, 0, 1]))]

def same_seed(m):
    first, again, other = parts(m, UNEVEN, 20)[1], parts(m, UNEVEN, 20)[1], parts(m, UNEVEN, 20, seed=1)[1]
    return dict(same=torch.equal(first, again), another=torch.equal(first, other))

def even_chances(m):
    "How often each of ten items is chosen in 200 draws of five, at least and at most."
    counts = torch.zeros(10)
    for seed in range(200): counts[parts(m, np.zeros(10, int), 5, seed=seed)[1]] += 1
    return dict(least=bool(counts.min() > 70), most=bool(counts.max() < 130))

def global_generator(m):
    parts(m, UNEVEN, 20)
    return [np.random.rand(), torch.rand(())]

@entry('00a.4', level=2, minutes=25, hints=[
    'How many of each class? The exact shares are rarely whole numbers, and the whole numbers must add up to n_valid.',
    'Round all shares down, and give what is missing, one each, to the classes that lost most by it. Then draw that many indices of each class.',
    '`np.unique(y, return_counts=True)`; the order of the losses by `argsort`, stable; `RandomState(seed).permutation` of the indices of a class, of which the first k are for validation. `np.setdiff1d` leaves the rest, and both parts are sorted. An n_valid that leaves one part empty is a ValueError with the range.'],
    why='A generator of its own, so that splitting does not move the numbers that a training run draws afterwards. And the old RandomState, whose numbers are promised not to change with the version of NumPy: a split that moved would let training images into validation.')
def stratified_split():
    return [case('together the parts are everything, and nothing is in both', nothing_twice, also=parts),
            case('each class gives the same share', share_of_each, also=parts),
            case('where shares are not whole, those that lose most by rounding down get one more', rounded, also=parts),
            case('both parts are in ascending order', in_order, also=parts),
            case('labels in any order, of any numbers', mixed_up, also=parts),
            case('a list or a tensor will do', other_inputs, also=parts),
            case('the same seed gives the same split, another seed another', same_seed, also=parts),
            case('each item of a class is as likely as the others', even_chances, also=parts),
            case('the global generators are left alone', global_generator, also=parts),
            call('stratified_split', UNEVEN, 101, raises=ValueError, names=('n_valid', '100'), say='a part that would be empty is refused, with the range'),
            call('stratified_split', UNEVEN, 0, raises=ValueError, names='n_valid', say='n_valid=0 is refused')]
