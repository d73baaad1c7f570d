"""NoneBot2 on napcore: its links, its queue, and an index in front of the matchers.

:func:`install` puts the index there: a hundred commands at the cost of one. ``Adapter`` takes the place of the stock
OneBot V11 adapter and has napcore's links besides. ``Mixin`` is for ``DRIVER=~fastapi+napcore.nonebot``: the stock
adapter's WebSocket client on napcore's links.

Needs NoneBot2 2.3 to 2.5 with the OneBot 11 adapter: ``pip install 'napcore[nonebot]'``. Importing this module needs
neither; :func:`install`, ``Adapter``, ``Driver`` and ``Mixin`` do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napcore.edge.nonebot.command import add_command
from napcore.edge.nonebot.install import Installed, Statistics, install
from napcore.edge.nonebot.timing import PluginTime

if TYPE_CHECKING:
    from napcore.edge.nonebot.adapter import Adapter as Adapter
    from napcore.edge.nonebot.driver import Driver as Driver
    from napcore.edge.nonebot.driver import Mixin as Mixin

__all__ = ["Adapter", "Driver", "Installed", "Mixin", "PluginTime", "Statistics", "add_command", "install"]


def __getattr__(name: str) -> Any:
    # What is made of NoneBot2's classes is loaded when it is asked for.
    if name == "Adapter":
        from napcore.edge.nonebot.adapter import Adapter  # noqa: PLC0415

        return Adapter
    if name in ("Driver", "Mixin"):
        from napcore.edge.nonebot import driver  # noqa: PLC0415

        return getattr(driver, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
