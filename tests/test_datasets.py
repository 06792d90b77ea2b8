"Damaged files, damaged downloads and the splits; what the lesson shows is not repeated here."
import gzip, hashlib, os, struct, threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mylib import datasets
from mylib.datasets import (DATA, DataError, _idx_folder, download, fashion_mnist, read_idx, reviews, stratified_split, wiki)


def idx_bytes(a): return bytes([0, 0, 8, a.ndim]) + struct.pack(f'>{a.ndim}i', *a.shape) + a.tobytes()


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)), st.data())
def test_idx_round_trip_and_every_truncation_is_noticed(tmp_path_factory, a, data):
    path = tmp_path_factory.mktemp('idx')/'a.gz'
    raw = idx_bytes(a)
    path.write_bytes(gzip.compress(raw))
    assert np.array_equal(read_idx(path), a) and read_idx(path).flags.writeable
    cut = data.draw(st.integers(0, len(raw) - 1))
    path.write_bytes(gzip.compress(raw[:cut]))
    with pytest.raises(DataError, match='a.gz'): read_idx(path)
    packed = gzip.compress(raw)
    path.write_bytes(packed[:data.draw(st.integers(0, len(packed) - 1))])
    with pytest.raises(DataError, match='a.gz'): read_idx(path)


def test_idx_header_that_claims_more_than_64_bits_count(tmp_path):
    (tmp_path/'a.gz').write_bytes(gzip.compress(bytes([0, 0, 8, 4]) + struct.pack('>4i', *[2**16]*4)))
    with pytest.raises(DataError, match='0 bytes follow'): read_idx(tmp_path/'a.gz')


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6).filter(lambda c: sum(c) > 1), st.data())
def test_stratified_split(counts, data):
    y = np.repeat(np.arange(len(counts)), counts)
    n = data.draw(st.integers(1, len(y) - 1))
    train, valid = stratified_split(y, n)
    assert len(valid) == n and sorted([*train.tolist(), *valid.tolist()]) == list(range(len(y)))
    share = np.bincount(y[valid.numpy()], minlength=len(counts))
    assert (np.abs(share - np.array(counts)*n/len(y)) < 1).all()


def test_embedded_files_match_their_sums():
    sums = dict(reversed(l.split('  ')) for l in (DATA/'SHA256SUMS').read_text().splitlines())
    assert {f.relative_to(DATA).as_posix() for f in DATA.rglob('*.*z')} == set(sums)
    for name, digest in sums.items(): assert hashlib.sha256((DATA/name).read_bytes()).hexdigest() == digest


def test_sizes_and_types():
    train, valid = fashion_mnist(full=False)
    assert (len(train), len(valid), len(reviews()), len(wiki())) == (10_000, 2_000, 23_703, 106)
    assert str(train.x.dtype) == 'torch.uint8' and str(train.y.dtype) == 'torch.int64' and train.x.shape[1:] == (28, 28)


def test_auto_takes_the_full_set_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv('MYLIB_DATA', str(tmp_path))
    if _idx_folder('fashion_mnist'): pytest.skip('the full set is installed system-wide')
    assert len(fashion_mnist()[0]) == 10_000
    with pytest.raises(DataError, match='download=True'): fashion_mnist(full=True)
    with pytest.raises(DataError, match='download=True'): fashion_mnist(test=True)
    folder = tmp_path/'fashion_mnist'
    folder.mkdir()
    for f in datasets._IDX.values(): (folder/f).write_bytes(gzip.compress(idx_bytes(np.zeros((3, 2, 2), np.uint8))))
    with pytest.raises(DataError, match='checksum mismatch'): fashion_mnist()


class BreakingHandler(SimpleHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('Content-Length', '100000'); self.end_headers()
        self.wfile.write(b'x'*50_000)
    def log_message(self, *args): pass


def test_interrupted_download_leaves_nothing(tmp_path):
    with ThreadingHTTPServer(('127.0.0.1', 0), BreakingHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(DataError, match='could not be downloaded'):
                download([f'http://127.0.0.1:{server.server_port}/f'], tmp_path/'new'/'f.gz', 'd'*32, progress=False)
        finally: server.shutdown()
    assert os.listdir(tmp_path/'new') == []


def test_the_real_download_code_serves_fashion_mnist(tmp_path, monkeypatch):
    "The whole way, from mirrors to tensors, with the embedded files standing in for the full ones."
    site = tmp_path/'site'
    site.mkdir()
    for f in datasets._IDX.values():
        name = f.replace('t10k', 'valid')
        (site/f).write_bytes((DATA/'fashion_mnist'/name).read_bytes())
    monkeypatch.setenv('MYLIB_DATA', str(tmp_path/'home'))
    with ThreadingHTTPServer(('127.0.0.1', 0), partial(SimpleHTTPRequestHandler, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = [f'http://127.0.0.1:{server.server_port}/gone/', f'http://127.0.0.1:{server.server_port}/']
        files = datasets._four(base, *(hashlib.md5((site/f).read_bytes()).hexdigest() for f in datasets._IDX.values()))
        monkeypatch.setitem(datasets.SOURCES, 'mnist', files)
        try: train, test = datasets.mnist(download=True, test=True)
        finally: server.shutdown()
    assert (len(train), len(test)) == (10_000, 2_000)
    assert len(datasets.mnist(test=True)[0]) == 10_000  # found again without the server


@pytest.mark.skipif(not os.path.exists('/usr/share/datasets/fashion-mnist'), reason='the full set is not installed')
def test_full_set():
    train, valid = fashion_mnist(full=True)
    assert (len(train), len(valid)) == (50_000, 10_000) and (valid.y.bincount() == 1000).all()
