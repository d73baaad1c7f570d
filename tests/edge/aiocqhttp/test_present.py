"""Where aiocqhttp is absent, this one says so for the whole folder: the other files cannot even be imported."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest


def test_the_installed_aiocqhttp_is_one_that_is_known() -> None:
    try:
        found = metadata.version("aiocqhttp")
    except metadata.PackageNotFoundError:
        pytest.skip("aiocqhttp not installed: pip install --group e2e")
    assert found.startswith("1.4.")


def test_the_door_opens_without_aiocqhttp() -> None:
    program = "import sys, napcore.aiocqhttp; print(sorted({'aiocqhttp', 'quart', 'nonebot'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_extra_that_is_missing_is_named() -> None:
    program = (
        "import sys; sys.modules['aiocqhttp'] = None\n"
        "import napcore, napcore.aiocqhttp\n"
        "try: napcore.aiocqhttp.attach(None, napcore.Relay())\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "aiocqhttp is not installed: pip install 'napcore[aiocqhttp]'\n"


def test_the_public_names_have_docstrings() -> None:
    import napcore.aiocqhttp

    assert all(getattr(napcore.aiocqhttp, name).__doc__ for name in napcore.aiocqhttp.__all__)
