"Wrong answers to the exercises of lesson 00a; see 03_losses.py for the form."

WRONG = {
    '00a.1': [
        (None, '''def read_idx(path, ndim=None, sha256=None):
    with gzip.open(path) as f: raw = f.read()
    return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)''', 'labels, one axis'),
        ("f'>{raw[3]}i'", "f'<{raw[3]}i'", 'labels, one axis'),
        ('struct.unpack(f\'>{raw[3]}i\', raw[4:start])', 'tuple(raw[7:start:4])', 'big-endian'),
        ('.reshape(shape).copy()', '.reshape(shape)', 'may be written to'),
        ('.reshape(shape).copy()', '.reshape(shape[::-1]).T.copy()', 'row by row'),
        ('.reshape(shape).copy()', '.reshape(shape).astype(np.int64)', 'int64 instead of uint8'),
        ('offset=start', 'offset=16, count=len(raw) - start', 'labels, one axis'),
        ('raw = _unzip(path)', 'raw = gzip.open(path).read()', 'is not there'),
        ('hashlib.sha256(raw)', 'hashlib.sha256(Path(path).read_bytes())', 'the digest of the unzipped bytes'),
        ("len(raw) < 4 or raw[:3] != b'\\0\\0\\x08' or", 'len(raw) < 4 or', 'elements of another type'),
        (' or not 1 <= raw[3] <= 4', '', 'a file without axes'),
        ('if ndim not in (None, raw[3]):', 'if False:', 'labels in place of images'),
        (' if len(raw) >= start else (-1,)', '', 'a header that is cut short'),
        ('min(shape) < 0 or ', '', 'negative lengths'),
        ('len(raw) - start != np', 'len(raw) - start < np', 'bytes left over'),
        ('if min(shape) < 0 or len(raw) - start != np.prod(shape, dtype=np.int64):', 'if False:', 'another kind of error'),
        ('if sha256 and', 'if False and', 'another digest'),
    ],
}
