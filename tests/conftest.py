"Settings that all tests share, and the fixtures `nb` (each numbered notebook), `lesson` (those below 90) and `nbs` (all of them)."
import os

os.environ['MPLBACKEND'] = 'Agg'

import pytest
from hypothesis import settings

from nbread import notebooks

# Random but repeatable: a red CI can be reproduced, and slow machines raise no alarm.
settings.register_profile('mylib', deadline=None, derandomize=True, max_examples=50)
settings.load_profile('mylib')


@pytest.fixture(scope='session')
def nbs():
    "The numbered notebooks, in the order of their floors."
    return notebooks()


def pytest_generate_tests(metafunc):
    for name, chosen in (('nb', notebooks()), ('lesson', [o for o in notebooks() if o.is_lesson])):
        if name in metafunc.fixturenames: metafunc.parametrize(name, chosen, ids=[o.stem for o in chosen])
