"""Where NoneBot2 is absent, this one says so for the whole folder: the other files cannot even be imported."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from napcore.edge.nonebot.stock import is_supported


def test_the_installed_nonebot2_is_one_that_is_supported() -> None:
    try:
        found = metadata.version("nonebot2")
        metadata.version("nonebot-adapter-onebot")
    except metadata.PackageNotFoundError as missing:
        pytest.skip(f"{missing.name} not installed: pip install --group e2e --group nonebot")
    assert is_supported(found)


def test_napcore_alone_needs_neither_nonebot_nor_pydantic() -> None:
    needed = [requirement for requirement in metadata.requires("napcore") or () if "extra ==" not in requirement]
    assert needed
    assert not [requirement for requirement in needed if "nonebot" in requirement or "pydantic" in requirement]


def test_the_door_opens_without_nonebot() -> None:
    program = "import sys, napcore.nonebot; print(sorted({'nonebot', 'pydantic', 'anyio'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_public_names_have_docstrings() -> None:
    pytest.importorskip("nonebot.adapters.onebot")
    import napcore.nonebot

    assert all(getattr(napcore.nonebot, name).__doc__ for name in napcore.nonebot.__all__)
