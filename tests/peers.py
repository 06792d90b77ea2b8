"Libraries that our results are compared with, where they are installed."
import sys
from unittest.mock import patch


def torchvision():
    "torchvision with `transforms.v2`; its wheel may not find its compiled operators beside a CPU build of torch, and its Python part does without."
    try: import torchvision.transforms.v2
    except RuntimeError:
        for k in [k for k in sys.modules if k.startswith('torchvision')]: del sys.modules[k]
        with patch('torch.library.register_fake', lambda *a, **k: lambda f: f): import torchvision.transforms.v2
    return torchvision


def or_skip(peer):
    "What `peer()` gives; without that library the test is skipped."
    import pytest
    try: return peer()
    except ImportError as e: pytest.skip(f'{e.name} is not installed')
