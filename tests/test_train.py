"The command as a newcomer meets it."
import os, subprocess, sys
from pathlib import Path

import pandas as pd
import pytest


def run(*args, cwd, **env):
    command = Path(sys.executable).with_name('mylib-train' + ('.exe' if os.name == 'nt' else ''))
    return subprocess.run([command, *args], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=600)


def test_default_run_on_the_sample_reaches_its_accuracy(tmp_path):
    r = run('--sample', cwd=tmp_path)
    assert r.returncode == 0, r.stderr
    folder, = (tmp_path/'runs').iterdir()
    assert sorted(f.name for f in folder.iterdir()) == ['curves.png', 'metrics.csv', 'mistakes.png', 'model.safetensors']
    assert pd.read_csv(folder/'metrics.csv').accuracy.iloc[-1] >= 0.88
    assert 'Next: `make lab`' in r.stdout and os.path.join('runs', folder.name) in r.stdout


@pytest.mark.parametrize('args,message', [(['--sample', '--lr', '0'], 'lr must be a positive number'), (['--sample', '--epochs', '-3'], 'n_epoch'),
                                          (['--sample', '--download'], 'no download')])
def test_errors_are_one_message(tmp_path, args, message):
    r = run(*args, cwd=tmp_path)
    assert r.returncode == 1 and message in r.stderr and 'Traceback' not in r.stderr
    assert not (tmp_path/'runs').exists()
