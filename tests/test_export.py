"The package is what the notebooks say: exporting them all again gives the same files, byte for byte."
import os, shutil, subprocess, sys

from nbread import LIB, NBS, ROOT


def export(folder):
    "Export the notebooks into `folder`/mylib, as `make export` does into the repository; name -> bytes of the generated files."
    (folder/'mylib').mkdir(parents=True)
    for name in ('pyproject.toml', 'settings.ini'): shutil.copy(ROOT/name, folder)
    shutil.copy(LIB/'__init__.py', folder/'mylib')
    shutil.copytree(NBS, folder/'nbs', ignore=shutil.ignore_patterns('.*'))
    # IN_TEST switches nbdev-export off; a reader's own nbdev configuration must not matter.
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'} | {'XDG_CONFIG_HOME': str(folder/'config')}
    code = 'from nbdev.doclinks import nbdev_export; nbdev_export()'
    run = subprocess.run([sys.executable, '-c', code], cwd=folder, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return generated(folder/'mylib')


def generated(lib): return {n: p.read_bytes() for p in lib.rglob('*.py') if not (n := p.relative_to(lib).as_posix()).startswith('exercises/')} # those are written by hand


def differences(fresh, kept):
    "Names that are missing, left over, or of other content."
    return ([f'{n} is missing' for n in fresh.keys() - kept.keys()] + [f'{n} comes from no notebook' for n in kept.keys() - fresh.keys()]
            + [f'{n} differs' for n in fresh.keys() & kept.keys() if fresh[n].replace(b'\r\n', b'\n') != kept[n].replace(b'\r\n', b'\n')])


def test_export_changes_nothing(tmp_path):
    fresh = export(tmp_path)
    assert {'__init__.py', '_modidx.py', 'core.py'} <= fresh.keys()
    bad = differences(fresh, generated(LIB))
    assert not bad, f'{sorted(bad)}: run `make export` and commit what it changes'


def test_differences_are_seen():
    assert differences({'a.py': b'1', 'b.py': b'2'}, {'a.py': b'1\n', 'c.py': b'3'}) == ['b.py is missing', 'c.py comes from no notebook', 'a.py differs']
    assert differences({'a.py': b'1\n'}, {'a.py': b'1\r\n'}) == [] # git's line endings on Windows
