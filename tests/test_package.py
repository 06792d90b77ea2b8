"The package as installed: light to import, its metadata in one place, its commands present."
import configparser, importlib, json, re, subprocess, sys
from importlib.metadata import entry_points, version
from importlib.util import find_spec

import pytest
from nbread import LIB, ROOT

HEAVY = 'matplotlib pandas IPython ipywidgets nbdev jupyter jupyter_client jupyterlab notebook scipy sklearn numba'.split()
MODULES = sorted(p.stem for p in LIB.glob('*.py') if p.stem not in ('__init__', '_modidx'))


def settings():
    cp = configparser.ConfigParser(delimiters=['='])
    cp.read(ROOT/'settings.ini', encoding='utf-8')
    return cp['DEFAULT']


def heavy_after(*modules):
    "module -> heavy packages that importing it brought in, in a fresh interpreter and in the order given."
    code = f'''import sys, json, importlib
res, seen = {{}}, set()
for m in {modules!r}:
    importlib.import_module(m)
    new = {{h for h in {HEAVY!r} if h in sys.modules}} - seen
    if new: res[m] = sorted(new); seen |= new
print(json.dumps(res))'''
    run = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.skipif(not find_spec('mylib.learner'), reason='mylib/learner.py is not there yet: lesson 04 is unwritten')
def test_learner_is_light(): assert heavy_after('mylib.learner') == {}


def test_modules_are_light():
    "Plots and tables are imported by the functions that draw them, and what only lessons use is not imported at all."
    assert heavy_after(*(f'mylib.{m}' for m in MODULES)) == {}


def test_heavy_imports_are_seen(): assert heavy_after('math', 'scipy') == {'scipy': ['scipy']}


def test_pyproject_holds_no_metadata():
    text = (ROOT/'pyproject.toml').read_text(encoding='utf-8')
    assert not re.search(r'^\[project', text, flags=re.M), 'metadata belongs into settings.ini'
    assert re.search(r'^\[tool\.nbdev\]$', text, flags=re.M)


def test_dev_has_what_the_workbook_needs(): assert set(settings()['workbook_requirements'].split()) <= set(settings()['dev_requirements'].split())


LOWER_BOUND = re.compile(r'[A-Za-z0-9][\w.-]*(\[[\w,-]+\])?>=\d+(\.\d+)*')

@pytest.mark.parametrize('key', ['requirements', 'workbook_requirements', 'dev_requirements'])
def test_requirements_are_lower_bounds(key):
    reqs = settings()[key].split()
    bad = [r for r in reqs if not LOWER_BOUND.fullmatch(r)]
    assert reqs and not bad, f'{key}: {bad} are not of the form name>=version'
    names = [re.split(r'[\[>]', r)[0].lower() for r in reqs]
    assert len(names) == len(set(names)), f'{key} names something twice'


@pytest.mark.parametrize('req', ['torch', 'torch==2.4', 'torch~=2.4', 'torch>=2.4,<3', 'torch<3', 'torch>2.4', 'torch>=2.4;os_name=="nt"'])
def test_other_bounds_are_seen(req): assert not LOWER_BOUND.fullmatch(req)


def test_version_has_one_home():
    v = settings()['version']
    assert re.fullmatch(r'\d+\.\d+\.\d+', v)
    names = 'pyproject.toml', 'setup.py', 'mylib/__init__.py', 'README.md'
    again = [n for n in names if re.search(rf'(?<![\d.]){re.escape(v)}(?![\d.])', (ROOT/n).read_text(encoding='utf-8'))]
    again += [n for n in names if re.search(r'\bversion\b["\']?\s*[=:]\s*["\']\d', (ROOT/n).read_text(encoding='utf-8'))]
    assert not again, f'a version number outside of settings.ini: {again}'


def test_installed_version():
    import mylib
    assert mylib.__version__ == version('mylib') == settings()['version'], 'settings.ini has changed since the install: pip install -e . again'


def test_changelog_knows_the_version():
    assert re.search(rf"^## {re.escape(settings()['version'])}\b", (ROOT/'CHANGELOG.md').read_text(encoding='utf-8'), flags=re.M)


def test_console_scripts_resolve():
    installed = {e.name: e.value for e in entry_points(group='console_scripts')}
    for script in settings()['console_scripts'].split():
        name, target = script.split('=')
        assert installed.get(name) == target, f'{script} is not installed: pip install -e . again'
        module, func = target.split(':')
        assert callable(getattr(importlib.import_module(module), func)), script
