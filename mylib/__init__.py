"A deep-learning training stack rebuilt from the foundations; each module is one lesson's notebook in `nbs/`."
from importlib.metadata import version

__version__ = version('mylib')
