#!/usr/bin/env python3
"""Which notebook's code is newer than its stored outputs? `stale.py` lists them, and fails if there are any.

`stale.py --run nbs/04_learner.ipynb` executes notebooks in Jupyter, stores their outputs and records the code that made them in
`nbs/.outputs.json`; `stale.py --record` records it for notebooks that have been executed by other means, all of them if none is named."""
import argparse, hashlib, json, re, subprocess, sys
from pathlib import Path

NBS = Path(__file__).resolve().parent.parent/'nbs'


def code(path):
    "A hash of what the cells do: their text without comment lines, directives and layout."
    cells = [''.join(c['source']) for c in json.loads(Path(path).read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code']
    bare = [re.sub(r'\s+', ' ', re.sub(r'^\s*#.*$', '', s, flags=re.M)).strip() for s in cells]
    return hashlib.sha256('\n'.join(bare).encode()).hexdigest()


def recorded(nbs):
    try: return json.loads((nbs/'.outputs.json').read_text(encoding='utf-8'))
    except FileNotFoundError: return {}


def stale(nbs=NBS):
    "Names of the numbered notebooks whose code is not the code that made their outputs."
    old = recorded(nbs)
    return [p.name for p in sorted(nbs.glob('[0-9]*.ipynb')) if old.get(p.name) != code(p)]


def record(paths, nbs=NBS):
    "Note that the outputs of these notebooks come from their code of now; notebooks that are gone are forgotten."
    new = {k: v for k, v in recorded(nbs).items() if (nbs/k).exists()} | {p.name: code(p) for p in paths}
    (nbs/'.outputs.json').write_text(json.dumps(dict(sorted(new.items())), indent=1) + '\n', encoding='utf-8')


def run(paths, nbs=NBS):
    "Execute notebooks in place, one after the other, and record each that ends without an error."
    for p in paths:
        before = code(p)
        subprocess.run([sys.executable, '-m', 'nbconvert', '--to', 'notebook', '--execute', '--inplace', str(p)], check=True)
        if code(p) == before: record([p], nbs)


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument('--run', action='store_true', help='execute the notebooks and store their outputs')
    ap.add_argument('--record', action='store_true', help='the stored outputs are those of the code of now')
    ap.add_argument('notebooks', nargs='*', type=Path, help='all numbered ones by default')
    args = ap.parse_args(argv)
    paths = [p.resolve() for p in args.notebooks] or sorted(NBS.glob('[0-9]*.ipynb'))
    if args.run: run(paths)
    elif args.record: record(paths)
    elif bad := stale(): return f'Code newer than its outputs: {", ".join(bad)}. Run "make refresh", or tools/stale.py --run with their paths.'


if __name__ == '__main__': sys.exit(main())
