#!/usr/bin/env python3
"Write constraints.txt: the versions installed in this environment, each limited to the Pythons it supports."
import sys
from importlib.metadata import distributions
from pathlib import Path

from packaging.specifiers import SpecifierSet

OURS = [f'3.{m}' for m in range(10, 14)]  # the Pythons that the course supports
SKIP = {'mylib', 'pip', 'setuptools', 'wheel'}

lines = {}
for d in distributions():
    name = d.metadata['Name'].lower().replace('_', '-')
    if name in SKIP: continue
    spec = SpecifierSet(d.metadata.get('Requires-Python') or '')
    fits = [v for v in OURS if f'{v}.99' in spec]
    marker = '' if fits == OURS else f' ; python_version >= "{fits[0]}"'
    lines[name] = f'{name}=={d.version.split("+")[0]}{marker}'

out = Path(__file__).resolve().parent.parent/'constraints.txt'
head = ['# The versions of the last green run, made by `make constraints`: do not edit.', f'# Python {sys.version.split()[0]}, {sys.platform}']
out.write_text('\n'.join(head + [lines[k] for k in sorted(lines)]) + '\n')
print(out, len(lines), 'packages')
