"Lesson 00a: datasets."
import gzip
import hashlib
import struct
import tempfile
from pathlib import Path

from mylib.judge import case, entry


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
