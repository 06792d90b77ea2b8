#!/usr/bin/env python3
"""Make the embedded samples in mylib/data again, from their published sources.

    pip install mwparserfromhell
    pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
    pip download --no-deps gensim==4.4.0
    python tools/make_data.py --fashion FOLDER_WITH_4_IDX_FILES --vader vaderSentiment-3.3.2.tar.gz --gensim gensim-4.4.0-*.whl

The four IDX files are what `fetch('fashion_mnist')` downloads; Debian's package dataset-fashion-mnist has them too.
The same sources give the same bytes: the split is seeded, and gzip and xz get no time stamps.
"""
import argparse, bz2, gzip, hashlib, html, io, json, lzma, re, struct, tarfile, xml.etree.ElementTree as ET, zipfile
from pathlib import Path

import numpy as np
import pandas as pd

OUT = Path(__file__).resolve().parent.parent/'mylib'/'data'
N_TRAIN, N_VALID, SEED = 10_000, 2_000, 42


def read_idx(path):
    raw = gzip.decompress(path.read_bytes())
    ndim = raw[3]
    shape = struct.unpack(f'>{ndim}i', raw[4:4 + 4*ndim])
    return np.frombuffer(raw, np.uint8, offset=4 + 4*ndim).reshape(shape)


def write_idx(path, a):
    head = bytes([0, 0, 8, a.ndim]) + struct.pack(f'>{a.ndim}i', *a.shape)
    path.write_bytes(gzip.compress(head + a.tobytes(), 9, mtime=0))


def fashion_mnist(folder, out):
    "A stratified sample of the 60,000 training images: train and valid share no image, and the test set is not touched."
    x, y = (read_idx(folder/f'train-{k}-ubyte.gz') for k in ('images-idx3', 'labels-idx1'))
    rng, train, valid = np.random.default_rng(SEED), [], []
    for c in range(10):
        idx = rng.permutation(np.flatnonzero(y == c))
        train.append(idx[:N_TRAIN//10]); valid.append(idx[N_TRAIN//10:(N_TRAIN + N_VALID)//10])
    for name, parts in ('train', train), ('valid', valid):
        idx = rng.permutation(np.concatenate(parts))
        write_idx(out/f'{name}-images-idx3-ubyte.gz', x[idx])
        write_idx(out/f'{name}-labels-idx1-ubyte.gz', y[idx])


DOMAINS = dict(movies='movieReviewSnippets', amazon='amazonReviewSnippets', nyt='nytEditorialSnippets', tweets='tweets')


def decode(line):
    "The files are latin-1, but a few lines hold UTF-8."
    try: return line.decode('utf-8')
    except UnicodeDecodeError: return line.decode('latin-1')


def reviews(sdist, out):
    "All snippets with their mean human valence; one in five is for validation, and equal texts are on the same side."
    with tarfile.open(sdist) as t:
        inner = t.extractfile(next(m for m in t if m.name.endswith('hutto_ICWSM_2014.tar.gz'))).read()
    rows = []
    with tarfile.open(fileobj=io.BytesIO(inner)) as t:
        for domain, stem in DOMAINS.items():
            data = t.extractfile(f'hutto_ICWSM_2014/{stem}_GroundTruth.txt').read()
            for line in filter(None, re.split(b'\r?\n', data)):
                _, valence, text = decode(line).split('\t')
                rows.append((text.strip(), round(float(valence), 6), domain))
    df = pd.DataFrame(rows, columns=['text', 'valence', 'domain'])
    df['is_valid'] = [int(hashlib.sha256(t.lower().encode()).hexdigest(), 16) % 5 == 0 for t in df.text]
    csv = df.to_csv(index=False, lineterminator='\n').encode()
    (out/'reviews.csv.gz').write_bytes(gzip.compress(csv, 9, mtime=0))


def strip_markup(text):
    "Plain paragraphs of a wiki article: no templates, tables, references, files or link lists."
    import mwparserfromhell as mw
    text = re.sub(r'<!--.*?-->', '', text, flags=re.S)
    text = re.sub(r'<ref\b[^>]*/\s*>|<ref\b[^>]*>.*?</ref\s*>', '', text, flags=re.S)
    text = re.sub(r'\{\|.*?\n\|\}', '', text, flags=re.S)
    text = re.split(r'\n==+\s*(?:See also|References|External links|Further reading|Notes|Bibliography|Sources)\s*==+', text)[0]
    code = mw.parse(text)
    for link in code.filter_wikilinks(recursive=True):
        if re.match(r'\s*(file|image|category|media)\s*:', str(link.title), re.I):
            try: code.remove(link)
            except ValueError: pass
    plain = html.unescape(code.strip_code(normalize=True, collapse=True))
    lines = (re.sub(r'\s+', ' ', l).strip() for l in plain.split('\n'))
    keep = [l for l in lines if l and not re.match(r'^(thumb|right|left|center|frame|upright|alt=|Category:|\||\*|!)', l)
            and not re.search(r'\{\{|\}\}|\[\[|\]\]|\{\|', l)]
    return re.sub(r"'{2,}", '', '\n'.join(keep))


def wiki(wheel, out):
    "The articles of the dump (redirects left out), as JSON lines of title and text."
    with zipfile.ZipFile(wheel) as z:
        name = next(n for n in z.namelist() if 'enwiki-latest-pages-articles1.xml' in n)
        dump = io.BytesIO(bz2.decompress(z.read(name)))
    lines = []
    for _, page in ET.iterparse(dump):
        if not page.tag.endswith('}page'): continue
        tags = {e.tag.split('}')[-1]: e for e in page.iter()}
        if 'redirect' in tags: continue
        lines.append(json.dumps(dict(title=tags['title'].text, text=strip_markup(tags['text'].text)), ensure_ascii=False))
    (out/'wiki.jsonl.xz').write_bytes(lzma.compress('\n'.join(lines).encode(), preset=9 | lzma.PRESET_EXTREME))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for a in 'fashion', 'vader', 'gensim': p.add_argument(f'--{a}', type=Path, required=True)
    p.add_argument('--out', type=Path, default=OUT)
    a = p.parse_args()
    (a.out/'fashion_mnist').mkdir(parents=True, exist_ok=True)
    fashion_mnist(a.fashion, a.out/'fashion_mnist')
    reviews(a.vader, a.out)
    wiki(a.gensim, a.out)
    files = sorted(f for f in a.out.rglob('*.*z'))
    sums = ''.join(f'{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(a.out).as_posix()}\n' for f in files)
    (a.out/'SHA256SUMS').write_text(sums)
    print(sums, sum(f.stat().st_size for f in files)/1e6, 'MB')


if __name__ == '__main__': main()
