#!/usr/bin/env python3
"Run a command and fail if it changes the notebooks, the package or the README: unchanged.py -- COMMAND ..."
import hashlib, subprocess, sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent


def state():
    files = [*root.glob('nbs/*.ipynb'), *root.glob('mylib/*.py'), root/'README.md']
    return {f.relative_to(root).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.exists()}


command = sys.argv[sys.argv.index('--') + 1:]
before = state()
subprocess.run(command, cwd=root, check=True)
after = state()
changed = sorted(f for f in before | after if before.get(f) != after.get(f))
if changed: sys.exit(f'{Path(command[-1]).name} changed {", ".join(changed)}. Run "make export" and commit the result.')
