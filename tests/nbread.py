"Read lessons for the tests: cells with their directives, imports, exercises. Uses nothing of nbdev and nothing of mylib."
import ast, json, re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NBS, LIB = ROOT/'nbs', ROOT/'mylib'

# Stems whose module is not the stem without its number (DESIGN.md); None: the notebook exports nothing.
MODULES = {'14_imagenette': 'vision', '18_language_model': 'lm', '09a_adamw': None}
FIRST_TOOL = 90 # notebooks from this number on are tools (90_train, 99_all), not lessons


@dataclass
class Cell:
    index: int # position in the notebook, from 0
    kind: str # 'code', 'markdown' or 'raw'
    source: str
    outputs: list = field(default_factory=list)

    @cached_property
    def marks(self):
        "The cell's directives: `{'export': '', 'fig-alt': '\"…\"'}`; only lines that open the cell count."
        res = {}
        for line in self.source.splitlines():
            m = re.match(r'#\s*\|\s*([\w-]+)\s*:?\s*(.*)$', line)
            if not m: break
            res[m[1]] = m[2].strip()
        return res

    @cached_property
    def tree(self):
        "The syntax tree of a code cell; magics count as empty lines, and a cell of another language as an empty cell."
        src = self.source
        if re.match(r'(#\s*\|.*\n)*%%(?!time|capture)', src): src = ''
        return ast.parse(re.sub(r'^(\s*)[%!].*$', r'\1pass', src, flags=re.M), filename=f'cell {self.index}')

    @property
    def import_only(self): return bool(self.tree.body) and all(isinstance(o, (ast.Import, ast.ImportFrom)) for o in self.tree.body)

    @property
    def images(self): return [k for o in self.outputs for k in o.get('data', {}) if k.startswith('image/')]


@dataclass
class Exercise:
    name: str # such as '03.A'
    text: str # the markdown cell
    blank: str = None
    check: str = None

    @property
    def hint(self): return self._folded('Hint')

    @property
    def solution(self):
        "The first ```python block of the folded solution."
        m = re.search(r'^```python\n(.*?)^```', self._folded('Solution') or '', flags=re.S | re.M)
        return m and m[1]

    def _folded(self, title):
        m = re.search(rf'<details>\s*<summary>{title}</summary>(.*?)</details>', self.text, flags=re.S)
        return m and m[1].strip()


class Notebook:
    def __init__(self, path):
        self.path = Path(path)
        self.json = json.loads(self.path.read_text(encoding='utf-8'))
        self.cells = [Cell(i, c['cell_type'], ''.join(c['source']), c.get('outputs', [])) for i, c in enumerate(self.json['cells'])]

    def __repr__(self): return self.path.name

    @property
    def stem(self): return self.path.stem
    @property
    def number(self): return self.stem.split('_')[0]
    @property
    def is_lesson(self): return int(self.number[:2]) < FIRST_TOOL
    @property
    def code(self): return [c for c in self.cells if c.kind == 'code']
    @property
    def markdown(self): return [c for c in self.cells if c.kind == 'markdown']
    @property
    def prose(self): return '\n\n'.join(c.source for c in self.markdown)
    @property
    def default_exp(self): return next((c.marks['default_exp'] for c in self.code if 'default_exp' in c.marks), None)
    @property
    def module(self): return MODULES.get(self.stem, self.stem.partition('_')[2])

    @property
    def headline(self):
        "Title and `>` line of the first cell, or None where it is not of that form."
        m = re.fullmatch(r'# (\S.*)\n\n> (\S.*)', self.cells[0].source.strip()) if self.cells else None
        return m and (m[1], m[2])

    @property
    def header(self):
        "The first markdown cell after the title."
        return self.markdown[1].source if len(self.markdown) > 1 else ''

    @cached_property
    def exercises(self):
        "The exercises in order: a markdown cell that opens with `**NN.A**`, then the blank cell, then the check."
        res, ex = [], None
        for c in self.cells:
            names = re.findall(r'^\*\*(\d\d[a-z]?\.[A-Z])\*\*', c.source, flags=re.M) if c.kind == 'markdown' else []
            for name in names: ex = Exercise(name, c.source); res.append(ex)
            if c.kind != 'code' or ex is None: continue
            if re.search(rf"""with exercise\(['"]{re.escape(ex.name)}['"]\)""", c.source): ex.check, ex = c.source, None
            elif ex.blank is None and 'raise NotImplementedError' in c.source: ex.blank = c.source
        return res

    @cached_property
    def import_statements(self):
        "Source of each import statement at the top level of a code cell, `#| slow` cells left out."
        return [ast.unparse(o) for c in self.code if 'slow' not in c.marks for o in c.tree.body if isinstance(o, (ast.Import, ast.ImportFrom))]


def floor(stem):
    "Sort key of a stem: 02 < 02a < 02b < 03."
    return re.match(r'(\d\d)([a-z]?)_', stem).groups()


def notebooks(folder=NBS):
    "The numbered notebooks of `folder`, in the order of their floors."
    return [Notebook(p) for p in sorted((p for p in Path(folder).glob('*.ipynb') if re.match(r'\d\d[a-z]?_', p.name)), key=lambda p: floor(p.stem))]


def mylib_imports(tree):
    "Dotted names that a syntax tree imports from the package: `mylib.core`, and `mylib` for the package itself."
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import): names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            mod = '.'.join(filter(None, ['mylib' if node.level else '', node.module]))
            names = [mod]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant) \
            and getattr(node.func, 'attr', getattr(node.func, 'id', '')) in ('import_module', '__import__', 'importorskip'):
            names = [str(node.args[0].value)]
        yield from (n for n in names if n.split('.')[0] == 'mylib')
