"All metadata lives in settings.ini; this file only hands it to setuptools."
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
cp = ConfigParser(delimiters=['='])
cp.read(here/'settings.ini', encoding='utf-8')
cfg = cp['DEFAULT']
# Pictures and links into the repository lead nowhere from a package index: the words stay.
readme = re.sub(r'!\[[^\]]*\]\((?!http)[^)]*\)\s*', '', (here/'README.md').read_text(encoding='utf-8'))
readme = re.sub(r'\[([^\]]+)\]\((?!http)[^)]*\)', r'\1', readme)

setup(
    name=cfg['name'], version=cfg['version'], description=cfg['description'], author=cfg['author'],
    license=cfg['license'], keywords=cfg['keywords'].split(),
    long_description=readme, long_description_content_type='text/markdown',
    python_requires='>=' + cfg['min_python'],
    install_requires=cfg['requirements'].split(), extras_require={k: cfg[f'{k}_requirements'].split() for k in ('workbook', 'dev', 'docs')},
    # The lessons travel with the package: `mylib-workbook` makes a reader's own copies of them.
    packages=find_packages(include=[cfg['name'], cfg['name'] + '.*']) + [f"{cfg['name']}.notebooks"],
    package_dir={f"{cfg['name']}.notebooks": 'nbs'},
    package_data={cfg['name']: ['data/*', 'data/*/*'], f"{cfg['name']}.notebooks": ['*.ipynb']}, include_package_data=True, zip_safe=False,
    entry_points={'console_scripts': cfg['console_scripts'].split(),
                  'nbdev': [f"{cfg['name']}={cfg['name']}._modidx:d"]},
)
