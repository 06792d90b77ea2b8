#!/usr/bin/env python3
"""Build the site: `python docs/make_site.py` writes pages into docs/_build/src and lets Sphinx make docs/_build/html of them.

Nothing is executed: notebooks come with their stored outputs, nbdev processes them, signatures and parameters are read from `mylib`."""
import argparse, ast, csv, html, importlib, inspect, json, math, os, re, shutil, subprocess, sys, time
from configparser import ConfigParser
from functools import cached_property
from pathlib import Path

from fastcore.docments import docments
from nbdev.doclinks import NbdevLookup
from nbdev.process import NBProcessor
from nbdev.processors import clean_magics, filter_stream_, hide_, hide_line, strip_ansi
from nbdev.showdoc import showdoc_nm

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
NBS, OUT = ROOT/'nbs', DOCS/'_build'
SRC, HTML = OUT/'src', OUT/'html'
FIRST_TOOL = 90  # notebooks from this number on are tools, not lessons
TITLE = 'Deep learning from the foundations'
STEM = r'\b\d\d[a-z]?_[a-z]\w*\b'  # 04_learner
NUMBER = rf'(?:{STEM}|\b\d\d[a-z]?\b)'


def settings():
    "The metadata of the package; a code host, Colab and Binder are linked only if it names them."
    cp = ConfigParser(delimiters=['='])
    cp.read(ROOT/'settings.ini', encoding='utf-8')
    return dict(cp['DEFAULT'])


# The lessons

class Lesson:
    "What the pages need to know of one numbered notebook."
    def __init__(self, path):
        self.path, self.stem, self.number = path, path.stem, path.stem.split('_')[0]
        self.nb = json.loads(path.read_text(encoding='utf-8'))
        self.md = [''.join(c['source']) for c in self.nb['cells'] if c['cell_type'] == 'markdown']
        self.code = [''.join(c['source']) for c in self.nb['cells'] if c['cell_type'] == 'code']
        title, _, line = self.md[0].partition('\n')
        self.title, self.line = title.removeprefix('# ').strip(), line.strip().removeprefix('>').strip()
        self.short = re.split(r'[:,]', self.title)[0].removesuffix('?')

    @property
    def doc(self): return f'lessons/{self.stem}' if self.is_lesson else f'tools/{self.stem}'
    @property
    def is_lesson(self): return int(self.number[:2]) < FIRST_TOOL
    @cached_property
    def module(self): return next((m[1] for s in self.code if (m := re.search(r'^#\|\s*default_exp (\w+)', s, re.M))), None)
    @cached_property
    def uses(self):
        "Modules of the package that the lesson imports, in the order of their floors."
        return set(re.findall(r'^\s*from mylib\.(\w+) import', '\n'.join(self.code), re.M)) - {self.module, 'all'}
    @cached_property
    def imported(self):
        "name -> module, for what the lesson imports from the package."
        res = {}
        for s in self.code:
            for m in re.finditer(r'^\s*from mylib\.(\w+) import (.+(?:\n[ \t]+.+)*)', s, re.M):
                for n in re.findall(r'(\w+)(?: as \w+)?', m[2]): res[n] = m[1]
        return res
    @property
    def minutes(self):
        "Minutes to read, at 220 words and 20 lines of code a minute; exercises are not counted."
        words = sum(len(re.sub(r'<details>.*?</details>', '', s, flags=re.S).split()) for s in self.md)
        return max(1, round(words/220 + sum(s.count('\n') + 1 for s in self.code)/20))
    @property
    def exercises(self): return len(re.findall(r'^\*\*\d\d[a-z]?\.[A-Z]\*\*', '\n'.join(self.md), re.M))
    @property
    def facts(self):
        "`Before this`, `Takes` and `Paper` of the lesson's opening paragraph."
        head = next((s for s in self.md[1:2]), '')
        if '**Before this:**' not in head: return {}
        first = head.split('\n\n')[0]
        parts = re.split(r'\*\*(Before this|Takes|Paper|Papers):\*\*', first)
        return {k.removesuffix('s') if k == 'Papers' else k: v.strip() for k, v in zip(parts[1::2], parts[2::2], strict=True)}


def lessons(folder=NBS):
    "The numbered notebooks, ground floor first."
    key = lambda p: re.match(r'(\d\d)([a-z]?)_', p.name).groups()
    return [Lesson(p) for p in sorted((p for p in folder.glob('*.ipynb') if re.match(r'\d\d[a-z]?_', p.name)), key=key)]


# Names

def signature(obj, name):
    "The signature as text, with defaults as a reader would write them."
    try: ps = [p for n, p in inspect.signature(obj).parameters.items() if n not in ('self', 'cls')]
    except (TypeError, ValueError): return ''
    res, star = [], False
    for p in ps:
        if p.kind == p.KEYWORD_ONLY and not star: res.append('*'); star = True
        if p.kind == p.VAR_POSITIONAL: star = True
        pre = {p.VAR_POSITIONAL: '*', p.VAR_KEYWORD: '**'}.get(p.kind, '')
        res.append(f'{pre}{p.name}' + ('' if p.default is p.empty else f'={literal(p.default)}'))
    return '(' + ', '.join(res) + ')'


def literal(v):
    "A default value without addresses, and without digits that nobody reads."
    if inspect.isclass(v) or inspect.isroutine(v): return v.__name__
    if hasattr(v, 'func'): return literal(v.func)
    if type(v) is tuple and any(map(callable, v)): return f'({", ".join(map(literal, v))}{"," if len(v) == 1 else ""})'
    if repr(v) == '<factory>': return '...'  # of a dataclass
    text = re.sub(r'\d\.\d{9,}(?!e)', lambda m: f'{float(m[0]):.5g}', repr(v))
    return text if not re.search(r'<.*>|\n', text) and len(text) < 60 else f'{type(v).__name__}(...)'


def annotation(a):
    if a is inspect.Parameter.empty or a is None: return ''
    return a if isinstance(a, str) else a.__name__ if inspect.isclass(a) and not hasattr(a, '__args__') else str(a).replace('typing.', '')


def params(obj):
    "Rows (name, type, default, meaning) of the documented parameters."
    try: notes, sig = docments(obj, full=True), inspect.signature(obj)
    except Exception: return []
    rows = []
    for n, p in sig.parameters.items():
        if n in ('self', 'cls'): continue
        d = notes.get(n) or {}
        rows.append((n, annotation(p.annotation), '' if p.default is p.empty else literal(p.default), d.get('docment') or ''))
    ret = notes.get('return') or {}
    if ret.get('docment'): rows.append(('returns', annotation(ret.get('anno')), '', ret['docment']))
    return rows if any(r[3] for r in rows) else []


def plain(text):
    "Prose of a docstring as Markdown: what is not in backticks stands for itself."
    parts = re.split(r'(``.+?``|`[^`]+`)', text or '')
    return ''.join(p if i % 2 else re.sub(r'([*_$<>\[\]{}|])', r'\\\1', p) for i, p in enumerate(parts))


def code(s): return f'`{s}`' if s else ''
def cell(s): return s.replace('|', r'\|').replace('\n', ' ')


def table(rows, link=str):
    "The parameters as a Markdown table, their defaults and meanings with links; a column of defaults only where there are some."
    if not rows: return ''
    cols = [('Parameter', [('returns' if r[0] == 'returns' else code(r[0])) + (f' [{plain(r[1])}]{{.type}}' if r[1] else '') for r in rows]),
            ('Default', [cell(link(code(r[2]))) for r in rows]), ('Meaning', [cell(link(plain(r[3]).replace(r'\|', '|'))) for r in rows])]
    cols = [(k, v) for k, v in cols if any(v)]
    lines = ['| ' + ' | '.join(k for k, _ in cols) + ' |', '|' + '---|'*len(cols)]
    return '\n'.join(lines + ['| ' + ' | '.join(v[i] for _, v in cols) + ' |' for i in range(len(rows))])


class Names:
    "Where the public names of the package are documented, and which words in backticks mean them."
    def __init__(self, lessons):
        self.lessons, self.module = lessons, {l.module: l for l in lessons if l.module}
        self.home, self.by_name, known = {}, {}, NbdevLookup().syms
        for m in self.module:
            mod = importlib.import_module(f'mylib.{m}')
            for n in mod.__all__: self.by_name.setdefault(n, []).append(m)
            self.home |= {f'{m}.{n}': True for n in mod.__all__ if self.owner(m, n) == m}
            self.home |= {k.removeprefix('mylib.'): True for k in known if k.startswith(f'mylib.{m}.') and '.' in k[len(f'mylib.{m}.'):]
                          and not k.rpartition('.')[2].startswith('_')}

    def owner(self, module, name):
        "The module that defines what `module` exports under `name`."
        obj = getattr(importlib.import_module(f'mylib.{module}'), name)
        home = (getattr(obj, '__module__', None) or '').removeprefix('mylib.') if callable(obj) else module
        return home if home in self.module else module

    def find(self, word, lesson=None):
        "The full name that `word` means on the page of `lesson`, or None where it may be somebody else's."
        word = word.removesuffix('()').removeprefix('mylib.')
        if word in self.home: return self.documented(word)
        first = word.split('.')[0]
        mods = self.by_name.get(first, [])
        near = [m for m in mods if lesson and (m == lesson.module or lesson.imported.get(first) == m)]
        if not near and (len(mods) != 1 or elsewhere(first) or not self.module[mods[0]].is_lesson): return None
        m = self.owner((near or mods)[0], first)
        return self.documented(f'{m}.{word}')

    def documented(self, full):
        if full not in self.home: return None
        m, _, rest = full.partition('.')
        return full if '.' not in rest or self.member(m, rest) else None

    def member(self, module, rest):
        "Whether a method has an entry of its own."
        return any(q == rest for q, *_ in self.entries(module))

    def entries(self, module):
        "(qualified name, kind, object) of all that a module's page lists, methods after their classes."
        if not hasattr(self, '_entries'): self._entries = {}
        if module not in self._entries: self._entries[module] = list(self._list(module))
        return self._entries[module]

    def _list(self, module):
        mod, seen = importlib.import_module(f'mylib.{module}'), set()
        for n in mod.__all__:
            o = getattr(mod, n)
            if self.owner(module, n) != module: continue
            if inspect.isclass(o):
                yield n, 'class', o
                for k, f in vars(o).items():
                    if k.startswith('_'): continue
                    g = getattr(o, k)
                    raw = f.__func__ if isinstance(f, (classmethod, staticmethod)) else f.fget if isinstance(f, property) else f
                    if getattr(raw, '__module__', None) != mod.__name__ or not ours(o, k): continue
                    seen.add(f'{n}.{k}')
                    if isinstance(f, property): yield f'{n}.{k}', 'property', f
                    elif inspect.isroutine(g): yield f'{n}.{k}', 'classmethod' if isinstance(f, classmethod) else 'method', g
            elif callable(o): yield n, 'function', o
            else: yield n, 'data', o
        for q in self.patched(module):
            if q in seen: continue
            cls, _, k = q.partition('.')
            o = next((getattr(importlib.import_module(f'mylib.{m}'), cls) for m in self.by_name.get(cls, [])), None)
            if o is not None and hasattr(o, k) and inspect.getdoc(getattr(o, k)): yield q, 'patch', getattr(o, k)

    def patched(self, module):
        "Methods that a lesson adds to the class of an earlier one."
        tree = ast.parse((ROOT/'mylib'/f'{module}.py').read_text(encoding='utf-8'))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                names = showdoc_nm(node)
                yield from (n for n in ([names] if isinstance(names, str) else names) if '.' in n and not n.rpartition('.')[2].startswith('_'))

    def link(self, text, lesson=None):
        "Markdown with links from words in backticks to their documentation, and from `lesson 04` and `04_learner` to the lesson."
        known = {k: l for l in self.lessons if l is not lesson for k in (l.number, l.stem)}
        to = lambda text, k: f'[{text}](/{known[k].doc})' if k in known else text
        def word(m):
            full = self.find(m[1], lesson)
            return (to(m[0], m[1]) if '_' in m[1] else m[0]) if full is None else f'{{py:obj}}`{m[1]} <mylib.{full}>`'
        def number(m):
            ks = re.findall(NUMBER, m[0])
            return to(m[0], ks[0]) if len(ks) == 1 else re.sub(NUMBER, lambda n: to(n[0], n[0]), m[0])
        lines, fence = text.splitlines(), None
        for i, s in enumerate(lines):
            if f := re.match(r'\s*(`{3,}|~{3,})', s):
                if fence is None: fence = f[1]
                elif s.strip().startswith(fence): fence = None
                continue
            if fence or s.startswith('    ') or s.startswith('#'): continue
            parts = re.split(r'(\[[^\]]*\]\([^)]*\)|\$[^$]*\$|``.+?``|`[^`]+`)', s)
            for j, p in enumerate(parts):
                if j % 2 == 0: parts[j] = re.sub(rf'\b[Ll]essons? {NUMBER}(?:(?:, and |, | and | to | or ){NUMBER})*|{STEM}', number, p)
                elif not (j and parts[j - 1].endswith('}')): parts[j] = re.sub(r'^`([\w.]+(?:\(\))?)`$', word, p)
            lines[i] = ''.join(parts)
        return '\n'.join(lines)


def ours(cls, name):
    "The docstring of a method, or that of the class of ours from which it inherits; PyTorch's say nothing about our layers."
    return next((d for c in cls.__mro__ if c.__module__.startswith('mylib.') and name in vars(c) and (d := (vars(c)[name].__doc__ or '').strip())), '')


def elsewhere(name):
    "Whether PyTorch or Python has this name too, so that it may not mean ours."
    import builtins, torch
    return any(hasattr(o, name) for o in (builtins, torch, torch.nn, torch.nn.functional, torch.optim, torch.nn.init, torch.utils.data))


# Pages of lessons

def folds(text):
    "`<details>` as dropdowns, whose Markdown is rendered."
    return re.sub(r'<details>\s*<summary>(.*?)</summary>\s*(.*?)\s*</details>', lambda m: f'\n:::::{{dropdown}} {m[1]}\n{m[2]}\n:::::\n', text, flags=re.S)


def formulas(text):
    "Formulas on lines of their own as paragraphs of their own: Jupyter needs no empty lines around them, MyST does."
    return re.sub(r'^\$\$(.+?)\$\$[ \t]*$', lambda m: f'\n$${m[1]}$$\n', text, flags=re.S | re.M)


def card(l, names):
    "The box under a lesson's title."
    below = [o for o in names.lessons if o.module in l.uses]
    rows = dict(l.facts)
    if below: rows['Uses'] = ' · '.join(f'[{o.number}](/{o.doc} "{o.short}")' for o in below)
    if l.module: rows['Builds'] = f'{{doc}}`mylib.{l.module} </api/{l.module}>`'
    if l.exercises: rows['Exercises'] = f'[{l.exercises}, with hints and solutions](#exercises)'
    rows['Notebook'] = f'{{download}}`{l.path.name} </../../../nbs/{l.path.name}>`'
    cfg = settings()
    if url := cfg.get('git_url'): rows['Source'] = f'[{l.path.name}]({url.rstrip("/")}/blob/{cfg.get("branch", "main")}/nbs/{l.path.name})'
    if url := cfg.get('colab_url'): rows['Colab'] = f'[open]({url.rstrip("/")}/nbs/{l.path.name})'
    if url := cfg.get('binder_url'): rows['Binder'] = f'[open]({url.rstrip("/")}?labpath=nbs/{l.path.name})'
    return ':::{div} lesson-card\n% facts\n\n' + '\n'.join(f':{k}: {names.link(v, l)}' for k, v in rows.items()) + '\n:::'


def described(qual, kind, obj):
    "Signature, docstring and parameters of a name, folded under the cell that defines it."
    sig = signature(obj, qual) if kind != 'data' else ''
    parts = [f'```python\n{qual}{sig}\n```', plain(inspect.getdoc(obj) or '') if kind != 'data' else '', table(params(obj))]
    return '\n\n'.join(filter(None, parts))


def workbook_entry(name, l, names):
    "What the workbook says of an exported definition that is an exercise: three hints and the word on the solution, each folded."
    from mylib.judge import entries
    e = entries(l.stem).get(name)
    if e is None: return []
    folded = [(f'Hint {i}', h) for i, h in enumerate(e.hints, 1)] + [('Solution', f'The cell above. {e.why}')]
    inner = '\n'.join(f'::::{{dropdown}} {title}\n{names.link(text, l)}\n::::' for title, text in folded)
    return [new_cell('markdown', f':::::{{dropdown}} Workbook, exercise {name}: level {e.level} of 3, about {e.minutes} minutes\n:class-container: signature\n\n{inner}\n:::::')]


def terms(text=None):
    "number of a lesson -> words of the glossary that it introduces; the search leads from them to the lesson."
    text = text or (DOCS/'pages'/'glossary.md').read_text(encoding='utf-8')
    res = {}
    for words, meaning in re.findall(r'^(\S.*)\n: (.+)$', text, flags=re.M):
        for n in re.findall(r'Lesson (\d\d[a-z]?)\.', meaning): res.setdefault(n, []).extend(re.split(r', ', words))
    return res


def new_cell(kind, source, **metadata):
    res = dict(cell_type=kind, id=f'site-{new_cell.n}', metadata=metadata, source=source)
    new_cell.n += 1
    return res | (dict(outputs=[], execution_count=None) if kind == 'code' else {})
new_cell.n = 0


def process(l, names):
    "The notebook as MyST-NB shall see it: nbdev's processors, then marks as tags, alternative texts, folds, links, signatures."
    # nbdev takes the directives out of the source and keeps them in `directives_`.
    proc = NBProcessor(l.path, procs=[strip_ansi, hide_line, filter_stream_, clean_magics, hide_], rm_directives=True)
    proc.process()
    entries = {q: (q, k, o) for q, k, o in names.entries(l.module)} if l.module else {}
    cells, n_built, n_md, new_cell.n = [], 0, 0, 0
    for c in proc.nb.cells:
        d, source = c.directives_, c.source
        if c.cell_type == 'markdown':
            source = names.link(folds(formulas(source)), l)
            n_md += 1
            if n_md == 1:
                if l.is_lesson: cells.append(new_cell('markdown', f':::{{div}} eyebrow\nLesson {l.number}\n:::'))
                source += '\n\n' + '\n\n'.join([card(l, names), *(f'```{{index}} !single: {w}\n```' for w in terms().get(l.number, []))])
            if n_md == 2 and l.facts: source = source.split('\n\n', 1)[1] if '\n\n' in source else ''
            if source: cells.append(new_cell('markdown', source))
            continue
        if c.cell_type != 'code' or 'default_exp' in d or d.get('include') == 'false': continue
        tags = [k for k in ('export', 'exports', 'exporti', 'slow') if k in d] + (['exercise'] if 'exercise' in d else [])
        if d.get('echo') == 'false': tags.append('remove-input')
        meta = dict(tags=tags)
        if alt := d.get('fig-alt'): meta['mystnb'] = dict(image=dict(alt=ast.literal_eval(alt)))
        if not source.strip() and not c.outputs: continue
        cells.append(new_cell('code', source.strip(), **meta) | dict(outputs=[output(o) for o in json.loads(json.dumps(c.outputs))]))
        if {'export', 'exports'} & set(d):
            tree = ast.parse(re.sub(r'^(\s*)[%!].*$', r'\1pass', source, flags=re.M))
            quals = [q for o in tree.body if isinstance(o, (ast.FunctionDef, ast.ClassDef))
                     for q in ([showdoc_nm(o)] if isinstance(showdoc_nm(o), str) else showdoc_nm(o)) if q in entries]
            if quals:
                built[l.module, tuple(quals)] = label = f'built-{l.module}-{n_built}'
                n_built += 1
                body = '\n\n'.join(described(*entries[q]) for q in quals)
                see = ', '.join(f'{{py:obj}}`mylib.{l.module}.{q}`' for q in quals)
                what = ', '.join(f'`{q}`' for q in quals)
                cells.append(new_cell('markdown', f':::::{{dropdown}} Signature: {what}\n:name: {label}\n:class-container: signature\n\n{body}\n\nReference: {see}\n:::::'))
            if 'exercise' in d: cells += workbook_entry(d['exercise'].strip(), l, names)
    nb = dict(cells=cells, nbformat=4, nbformat_minor=5, metadata=dict(kernelspec=dict(name='python3', language='python', display_name='Python 3'),
              language_info=dict(name='python', pygments_lexer='ipython3')))
    return json.dumps(nb, ensure_ascii=False, indent=1)

built = {}  # (module, names of one exported cell) -> label under that cell


def output(o):
    "A stored output whose tables can be read by others than people, follow the theme like those of pandas, and break long texts."
    data = o.get('data', {})
    if 'text/html' in data:
        s = ''.join(data['text/html']) if isinstance(data['text/html'], list) else data['text/html']
        s = re.sub(r'<style scoped>.*?</style>', '', s, flags=re.S).replace('border="1" ', '').replace('style="text-align: right;"', '')
        s = re.sub(r'<table(?![^>]* class=)', '<table class="dataframe"', re.sub(r'<th(?: class="blank[^>]*)?>(?:&nbsp;)?</th>', '<td></td>', s))
        data['text/html'] = re.sub(r'(<td[^>]*>)([^<]{60,})</td>', r'\1<div class="long">\2</div></td>', s)
    return o


# Pages of names

def read_twins():
    with (DOCS/'twins.csv').open(encoding='utf-8', newline='') as f: return {r['name']: r for r in csv.DictReader(f)}


def origin(module, qual, names):
    "Markdown link to the place in the lesson where a name is built."
    l = names.module[module]
    top = qual if (module, qual) in labels() else qual.split('.')[0]
    label = labels().get((module, top))
    return f'{{ref}}`{l.number} {l.short} <{label}>`' if label else f'[{l.number} {l.short}](/{l.doc})'


def labels(): return {(m, q): label for (m, qs), label in built.items() for q in qs}


def api_page(module, names, twins):
    l = names.module[module]
    out = [f'# mylib.{module}', names.link(plain(l.line.replace('`', '`')), l) if l.line else '', f'Built in [{l.number} {l.title}](/{l.doc}).', f':::{{py:module}} mylib.{module}\n:::']
    also = [(n, names.owner(module, n)) for n in importlib.import_module(f'mylib.{module}').__all__ if names.owner(module, n) != module]
    def entry(qual, kind, obj, members=()):
        sig = '' if kind in ('data', 'property') else signature(obj, qual)
        opts = ':classmethod:\n' if kind == 'classmethod' else ''
        body = [value(obj)] if kind == 'data' else [names.link(plain_doc(obj), l)]
        if kind == 'patch': body.append('Added to the class by importing this module.')
        if kind != 'data': body.append(table(params(obj.fget if kind == 'property' else obj), lambda s: names.link(s, l)))
        twin = twins.get(f'{module}.{qual}', {})
        if '.' not in qual or kind == 'patch':
            bits = [f'Built in {origin(module, qual, names)}']
            bits += [f'{lib}: ' + (code(twin[k]) if twin[k] else 'none') for k, lib in (('torch', 'PyTorch'), ('fastai', 'fastai')) if twin]
            if twin.get('note'): bits.append(twin['note'])
            body.append(':::{div} twins\n' + ' · '.join(bits) + '\n:::')
        fence = ':'*(5 if members else 4)
        kind = {'patch': 'method', 'classmethod': 'method'}.get(kind, kind)
        return f'{fence}{{py:{kind}}} {qual}{sig}\n{opts}\n' + '\n\n'.join(filter(None, [*body, *(entry(*m) for m in members)])) + f'\n{fence}'
    listed = names.entries(module)
    for qual, kind, obj in listed:
        members = [m for m in listed if kind == 'class' and m[0].startswith(f'{qual}.')]
        if kind == 'patch' or '.' not in qual: out.append(entry(qual, kind, obj, members))
    if also: out.append('Also here: ' + ', '.join(f'{{py:obj}}`mylib.{m}.{n}`' for n, m in also) + '.')
    return '\n\n'.join(filter(None, out)) + '\n'


def plain_doc(obj):
    "The docstring, with lists and code blocks left as they are."
    doc = inspect.getdoc(obj) or ''
    if inspect.isclass(obj) and doc.startswith(f'{obj.__name__}('): return ''
    return plain(doc)


def value(obj):
    "Type and value of a public object; for one that holds functions what the first of them says, for a file its place in the repository."
    kind, text = type(obj).__name__, repr(obj)
    if isinstance(obj, Path): return f'Path: {code(obj.relative_to(ROOT).as_posix() if obj.is_relative_to(ROOT) else obj.name)}'
    if ' at 0x' in text: return f'{kind}: {plain(d)}' if (d := next((o.__doc__ for o in obj if inspect.isfunction(o) and o.__doc__), '')) else f'A {kind}.'
    return f'{kind}: {code(text)}' if len(text) < 600 and '`' not in text else f'{kind}: {len(obj)} entries' if hasattr(obj, '__len__') else kind


def api_index(names):
    rows = [f'| {{doc}}`mylib.{m} </api/{m}>` | {names.link(l.line, l)} |' for m, l in names.module.items() if m != 'all']
    return '\n'.join(['# Every name', '', 'One page a module, in the order of the floors. `from mylib.all import *` gives all public names at once.', '',
                      '| module | builds |', '|---|---|', *rows, '', '```{toctree}', ':hidden:', '', *(m for m in names.module if m != 'all'), '```', ''])


def twins_page(names, twins):
    rows = [f'| {{py:obj}}`{n} <mylib.{n}>` {"<br> " + r["note"] if r["note"] else ""} | {code(r["torch"])} | {code(r["fastai"])} |' for n, r in twins.items() if n in names.home]
    return '\n'.join(['# Ours, PyTorch\'s, fastai\'s', '', 'What the course builds, and the name under which you will meet it at work. Where a cell is empty, the library has nothing of the kind.', '',
                      ':::{div} twins-table', '', '| here | PyTorch | fastai |', '|---|---|---|', *rows, '', ':::', ''])


# Pictures

def tower(floors, width=420, row=25):
    "The lessons as a tower in SVG: a floor each, drawn from the ground up, and an arc for every import."
    floors = [l for l in floors if l.is_lesson]
    at = {l.module: i for i, l in enumerate(floors) if l.module}
    h, x0, wide = row*len(floors) + 8, 250, 150
    y = lambda i: h - 4 - row*(i + .5)
    out = [f'<svg class="tower" viewBox="0 0 {width} {h}" role="group" aria-label="The lessons as floors of a tower, the first at the ground; arcs join a lesson to those whose code it imports">']
    for i, l in enumerate(floors):
        below = sorted(at[m] for m in l.uses if at.get(m, i) < i)
        arcs = ''
        for j in below:
            r = 8 + (wide - 10)*math.sqrt((i - j)/max(1, len(floors) - 1))
            arcs += f'<path d="M{x0} {y(i):.0f}C{x0 + r:.0f} {y(i):.0f} {x0 + r:.0f} {y(j):.0f} {x0} {y(j):.0f}"/>'
        uses = ', '.join(floors[j].number for j in below) or 'nothing'
        out.append(f'<g class="floor"><g class="arcs" aria-hidden="true">{arcs}</g><a href="{l.doc}.html"><title>{html.escape(l.title)}. Uses {uses}</title>'
                   f'<rect x="2" y="{y(i) - row/2 + 1.5:.1f}" width="{x0 - 4}" height="{row - 3}" rx="3"/>'
                   f'<text x="12" y="{y(i) + 5:.1f}"><tspan class="no">{l.number}</tspan><tspan x="48">{html.escape(l.short)}</tspan></text></a></g>')
    return '\n'.join(out) + '</svg>'


def landing(names):
    ls = [l for l in names.lessons if l.is_lesson]
    hours = round(sum(l.minutes for l in ls)/60)
    takes = lambda l: re.split(' to read', l.facts['Takes'])[0]
    rows = [f'| {l.number} | **[{l.title}](/{l.doc})** [{takes(l)}]{{.takes}} <br> {names.link(l.line, l)} |' for l in ls]
    text = (DOCS/'pages'/'landing.md').read_text(encoding='utf-8')
    for k, v in dict(TITLE=TITLE, N=len(ls), HOURS=hours, EXERCISES=sum(l.exercises for l in ls), TOWER=tower(names.lessons), ROWS='\n'.join(rows),
                     FIRST=ls[0].doc, DOCS_LESSONS='\n'.join(f'{l.number} {l.short} <{l.doc}>' for l in ls), DOCS_TOOLS='\n'.join(f'{l.short} <{l.doc}>' for l in names.lessons if not l.is_lesson and l.number != '99')).items():
        text = text.replace(f'%{k}%', str(v))
    return text


def numbers(text):
    "`0.35 to 0.42` -> [(0.35, 0.42)], `0.75 and 0.63` -> two; [] where something is not a number."
    res = []
    for part in re.split(r', | and ', text.strip()):
        m = re.fullmatch(r'(\d+(?:\.\d+)?)(?: to (\d+(?:\.\d+)?))?', part.strip())
        if not m: return []
        res.append((float(m[1]), float(m[2] or m[1])))
    return res


TICKS = {.2: '⅕', .5: '½', 1: '1', 2: '2', 5: '5', 10: '10'}

def place(speed, lo=.14, hi=13):
    "Where a speed lies on the charts, which are logarithmic, in per cent of their width."
    return 100*math.log(min(max(speed, lo), hi)/lo)/math.log(hi/lo)


def chart(rows):
    """Bars for what a command measures: to the right of the line in the middle is faster than the peer, to the left slower.

    `rows` are (what, measured, bar). `at most` is a share of the peer's time, `at least` a multiple of its speed; a row without a bar is read as the one before it.
    `... in 15 s` of `... in 60 s` is drawn as a share of the time that is allowed."""
    items, most = [], True
    span = lambda kind, a, b: f'<i class="{kind}" style="left:{a:.1f}%;width:{max(.5, b - a):.1f}%"></i>'
    for what, measured, bar in rows:
        took, given = (re.search(r'in (\d+) s$', t) for t in (measured, bar))
        if took and given:
            k = int(took[1])/int(given[1])
            items.append((what, f'{measured}, bar: {bar}', span('sure' if k <= 1 else 'sure missed', 0, 100*min(k, 1)), 'time'))
            continue
        if bar: most = bar.startswith('at most')
        found, limit = numbers(measured), numbers(re.sub('at (most|least) ', '', bar))
        if len(found) != 1 or len(limit) > 1: continue
        said = f'{measured} {"of the time" if most else "times the speed"}' + (f', bar: {bar}' if bar else '')
        low, high = sorted(1/v if most else v for v in found[0])
        wanted = (1/limit[0][0] if most else limit[0][0]) if limit else None
        missed = '' if wanted is None or low >= wanted else ' missed'
        sure = span(f'sure{missed}', place(min(1, high)), place(max(1, low))) if low > 1 or high < 1 else ''
        mark = '' if wanted is None else f'<i class="bar" style="left:{place(wanted):.1f}%"></i>'
        items.append((what, said, sure + span(f'range{missed}', place(low), place(high)) + mark, 'ratio'))
    if not items: return ''
    ratio = any(i[3] == 'ratio' for i in items)
    lines = ''.join(f'<i class="tick" style="left:{place(t):.1f}%"></i>' for t in TICKS)
    axis = '<li class="axis" aria-hidden="true">' + ''.join(f'<span style="left:{place(t):.1f}%">{name}</span>' for t, name in TICKS.items()) + '</li>' if ratio else ''
    return '\n'.join(['<ul class="strips">', *(f'<li><span class="what">{what}</span> <span class="value">{said}</span><span class="strip" aria-hidden="true">{lines if kind == "ratio" else ""}{drawn}</span></li>'
                      for what, said, drawn, kind in items), axis, '</ul>'])


KEY = """<p class="strips-key"><span><i class="sure"></i> faster (to the right of 1) or slower than the peer</span> <span><i class="range"></i> from run to run</span>
<span><i class="bar"></i> the bar that it must keep</span> <span>The scale is logarithmic: 2 is twice as fast.</span></p>
"""

def benchmarks_page(text):
    "docs/benchmarks.md with its table drawn as charts, one for each command."
    out, block = [], []
    def flush():
        rows = [[c.strip() for c in s.strip().strip('|').split('|')] for s in block[2:]]
        for r, before in zip(rows[1:], rows[:-1], strict=True): r[0] = r[0] or before[0]
        groups = {}
        for command, *r in rows: groups.setdefault(command, []).append((re.sub(r'`([^`]+)`', r'<code>\1</code>', r[0]), *r[1:]))
        strips = [(k, chart(v)) for k, v in groups.items()]
        if any(s for _, s in strips): out.extend([KEY, *(f'## {k}\n\n{s}\n' for k, s in strips if s), '## All figures as a table\n'])
        out.extend(block); block.clear()
    for s in [*text.splitlines(), '']:
        if s.startswith('|'): block.append(s); continue
        if block: flush()
        out.append(s)
    return '\n'.join(out) + '\n'


# The other pages

def papers_page(names):
    out = ['# Papers', '', 'What the lessons are built on, and what they quote, in the order of the lessons.', '']
    for l in names.lessons:
        links = dict.fromkeys(m for s in l.md[1:] for m in re.findall(r'(?<!!)\[([^\]]+)\]\((https?://[^)\s]+)\)', re.sub(r'^```.*?^```', '', s, flags=re.S | re.M)))
        paper = l.facts.get('Paper', '')
        more = [f'[{t}]({u})' for t, u in links if u not in paper]
        if (not paper or paper.lower().startswith('none')) and not more: continue
        out += [f'## {l.number} {l.short}', '', f'In [{l.title}](/{l.doc}).', '']
        if paper and not paper.lower().startswith('none'): out += [paper]
        if more: out += ['', f'Also quoted: {", ".join(more)}.']
        out += ['']
    return '\n'.join(out)


def data_page():
    data = (ROOT/'mylib'/'data'/'README.md').read_text(encoding='utf-8').replace('# The embedded data', '## The embedded data', 1)
    return (DOCS/'pages'/'data.md').read_text(encoding='utf-8').replace('%DATA%', data)


def llms(names, base):
    "The site on one page for language models, in the form of llms.txt."
    cfg = settings()
    out = [f'# {TITLE}', '', f'> {cfg["description"]}.', '', '## Lessons', '']
    out += [f'- [{l.number} {l.title}]({base}{l.doc}.html): {l.line}' for l in names.lessons if l.is_lesson]
    out += ['', '## API', ''] + [f'- [mylib.{m}]({base}api/{m}.html): {", ".join(q for q, *_ in names.entries(m) if "." not in q)}' for m in names.module if m != 'all']
    out += ['', '## More', ''] + [f'- [{t}]({base}{p}.html)' for p, t in dict(stuck='I am stuck', glossary='Symbols, shapes and words', benchmarks='Measured', papers='Papers', twins='Ours, PyTorch\'s, fastai\'s', data='Data and licences').items()]
    return '\n'.join(out) + '\n'


def sitemap(pages, base):
    urls = ''.join(f'<url><loc>{html.escape(base + p)}</loc></url>\n' for p in pages)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}</urlset>\n'


def site_url():
    "The address of the published site: SITE_URL, `doc_url` in settings.ini, or where `make docs-serve` shows it."
    return (os.environ.get('SITE_URL') or settings().get('doc_url') or 'http://localhost:8000').rstrip('/') + '/'


WIDE = '---\nhtml_theme.sidebar_secondary.remove: true\n---\n\n'  # no list of contents at the right

def pages():
    "path -> text of every page that Sphinx shall see."
    names = Names(lessons())
    twins = read_twins()
    built.clear()
    res = {f'{l.doc}.ipynb': process(l, names) for l in names.lessons if l.number != '99'}
    res |= {f'api/{m}.md': api_page(m, names, twins) for m in names.module if m != 'all'}
    res['api/index.md'], res['twins.md'] = api_index(names), WIDE + twins_page(names, twins)
    res['index.md'], res['papers.md'], res['data.md'] = landing(names), papers_page(names), data_page()
    for n in ('stuck', 'glossary'): res[f'{n}.md'] = names.link((DOCS/'pages'/f'{n}.md').read_text(encoding='utf-8'))
    res['benchmarks.md'] = WIDE + benchmarks_page((DOCS/'benchmarks.md').read_text(encoding='utf-8'))
    extra = {'llms.txt': llms(names, site_url()), '404.html': (DOCS/'pages'/'404.html').read_text(encoding='utf-8').replace('%BASE%', site_base()),
             'sitemap.xml': sitemap([re.sub(r'\.(md|ipynb)$', '.html', p) for p in res], site_url())}
    return res, extra


def site_base():
    "Path of the published site on its host: `/` or `/name/`."
    return '/' + (site_url().split('/', 3)[3])


def write(src=SRC, extra=OUT/'extra'):
    "Write the pages; files that did not change keep their time, and those that no longer belong go."
    for folder, files in zip((src, extra), pages(), strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        for p in [*folder.rglob('*')]:
            if p.is_file() and p.relative_to(folder).as_posix() not in files: p.unlink()
        for name, text in files.items():
            p = folder/name
            p.parent.mkdir(parents=True, exist_ok=True)
            if not p.exists() or p.read_text(encoding='utf-8') != text: p.write_text(text, encoding='utf-8')


def newest_source():
    "When something of which the site is made was last changed."
    files = [*NBS.glob('*.ipynb'), *(ROOT/'mylib').rglob('*.py'), ROOT/'settings.ini', *(p for p in DOCS.rglob('*') if p.is_file() and OUT not in p.parents and p.suffix != '.pyc')]
    return max(p.stat().st_mtime for p in files)


def sphinx():
    "Let Sphinx make HTML of the pages; warnings are errors. All pages are written (-a), since the search forgets the glossary words of those that are not."
    start = time.time()
    (OUT/'built').unlink(missing_ok=True)
    cmd = [sys.executable, '-m', 'sphinx', '-b', 'html', '-q', '-W', '--keep-going', '-a', '-j', '2', '-c', DOCS, '-d', OUT/'doctrees', SRC, HTML]
    rc = subprocess.run([str(o) for o in cmd], cwd=DOCS).returncode
    pages = {p.relative_to(SRC).with_suffix('.html') for p in SRC.rglob('*') if p.suffix in ('.md', '.ipynb')} | {Path('genindex.html'), Path('search.html'), Path('404.html')}
    for p in HTML.rglob('*.html'): # what is left of pages that are no more
        if p.relative_to(HTML) not in pages and p.relative_to(HTML).parts[0] not in ('_modules', '_static'): p.unlink()
    if not rc: (OUT/'built').touch(); os.utime(OUT/'built', (start, start))
    return rc


def is_fresh():
    "Whether the built site is that of the sources as they are."
    return (OUT/'built').exists() and (OUT/'built').stat().st_mtime > newest_source()


def serve(port):
    "Show the site, and make it anew whenever a source is saved."
    watch = [o for p in ('nbs', 'mylib', 'docs') for o in ('--watch', str(ROOT/p))]
    cmd = [sys.executable, '-m', 'sphinx_autobuild', '--port', str(port), '--open-browser', '--delay', '2', '--pre-build', f'"{sys.executable}" "{__file__}" --pages',
           '--re-ignore', '_build|__pycache__|checkpoints', *watch, '-j', '2', '-c', str(DOCS), '-d', str(OUT/'doctrees'), str(SRC), str(HTML)]
    SRC.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(cmd, cwd=DOCS) as server:
        try: return server.wait()
        except KeyboardInterrupt: # Ctrl-C reaches the server too, which ends its own children
            server.wait()
            return 0


if __name__ == '__main__':
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument('--pages', action='store_true', help='write the pages for Sphinx, and no HTML')
    ap.add_argument('--serve', type=int, nargs='?', const=8000, metavar='PORT', help='show the site at http://localhost:8000 or another port, and rebuild it on save')
    ap.add_argument('--clean', action='store_true', help='begin from nothing')
    args = ap.parse_args()
    if args.clean: shutil.rmtree(OUT, ignore_errors=True)
    if args.serve: sys.exit(serve(args.serve))
    write()
    if args.pages: sys.exit()
    if rc := sphinx(): sys.exit(rc)
    print(f'{(HTML/"index.html").relative_to(ROOT)}')
