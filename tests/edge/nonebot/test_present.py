"""Where NoneBot2 is absent, this one says so for the whole folder: the other files cannot even be imported."""

from __future__ import annotations

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
