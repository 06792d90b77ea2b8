"The wheel, installed by itself in a folder and run without a network."
import os, re, subprocess, sys, zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

RUN = '''
import socket, sys
def no_network(*args, **kwargs): raise OSError('no network in this test')
socket.socket.connect = socket.create_connection = socket.getaddrinfo = no_network
from pathlib import Path
import mylib.all
from mylib.all import *
assert Path(mylib.all.__file__).parents[1] == Path(sys.argv[1]), mylib.all.__file__
assert len(reviews()) == 23_703 and len(wiki()) == 106
train, valid = (TensorDataset(*s.tensors(), vocab=s.vocab) for s in fashion_mnist(full=False))
set_seed(0)
learn = Learner(small_cnn(4), DataLoaders.from_datasets(train, valid, batch_size=64), cross_entropy, 0.05, metrics=accuracy)
learn.fit(1)
print(learn.recorder.rows[-1]['accuracy'])
'''


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "Built as pip builds it, from a copy of the files that git knows (or would take)."
    out, src = tmp_path_factory.mktemp('wheel'), tmp_path_factory.mktemp('src')
    for name in subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split('\n'):
        if name and (ROOT/name).is_file():
            (src/name).parent.mkdir(parents=True, exist_ok=True)
            (src/name).write_bytes((ROOT/name).read_bytes())
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '--no-index', '-w', out, src], check=True)
    return next(out.glob('mylib-*.whl'))


def test_contents(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    data = {p.relative_to(ROOT).as_posix() for p in (ROOT/'mylib'/'data').rglob('*') if p.is_file()}
    assert data <= names and {p.relative_to(ROOT).as_posix() for p in (ROOT/'mylib').glob('*.py')} <= names
    lessons = {p.name for p in (ROOT/'nbs').glob('*.ipynb')}
    assert {f'mylib/notebooks/{n}' for n in lessons} | {p.relative_to(ROOT).as_posix() for p in (ROOT/'mylib'/'exercises').glob('*.py')} <= names
    assert not any(n.startswith(('tests/', 'nbs/', 'benchmarks/')) for n in names)


def test_description_has_no_links_into_the_repository(wheel):
    with zipfile.ZipFile(wheel) as z: text = z.read(next(n for n in z.namelist() if n.endswith('METADATA'))).decode()
    assert '# Deep learning from the foundations' in text and 'make run' in text
    bad = [l for l in re.findall(r'\]\(([^)]+)\)', text.split('\n\n', 1)[1]) if not l.startswith('http')]
    assert not bad, bad


def test_it_trains_without_a_network(wheel, tmp_path):
    site = tmp_path/'site'
    subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-index', '--target', site, wheel], check=True)
    env = {**os.environ, 'PYTHONPATH': str(site), 'MYLIB_DATA': str(tmp_path/'none')}
    r = subprocess.run([sys.executable, '-c', RUN, site], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, r.stderr
    assert float(r.stdout.split()[-1]) > 0.5


def test_it_makes_a_workbook(wheel, tmp_path):
    "From the wheel alone: the lessons, the exercises, and a check in a process of its own."
    site = tmp_path/'site'
    subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-index', '--target', site, wheel], check=True)
    run = lambda *args: subprocess.run([sys.executable, '-c', 'import sys; from mylib.workbook import main; sys.exit(main())', *args], cwd=tmp_path,
                                       env={**os.environ, 'PYTHONPATH': str(site)}, capture_output=True, text=True, timeout=120)
    assert run('new', 'course').returncode == 0
    lesson = tmp_path/'course'/'nbs'/'03_losses.ipynb'
    lesson.write_text(lesson.read_text(encoding='utf-8').replace("raise NotImplementedError('exercise 03.1')", 'return x.logsumexp(dim)'), encoding='utf-8')
    r = run('check', '03.1', '--dir', 'course')
    assert r.returncode == 1 and 'right in bfloat16' in r.stdout, r.stdout + r.stderr
