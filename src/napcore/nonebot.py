"""NoneBot2 with an index in front of its matchers: a hundred commands at the cost of one.

Needs NoneBot2 2.3 to 2.5 with the OneBot 11 adapter: ``pip install 'napcore[nonebot]'``. Importing this module needs
neither; :func:`install` does.
"""

from __future__ import annotations

from napcore.edge.nonebot.command import add_command
from napcore.edge.nonebot.install import Installed, Statistics, install
from napcore.edge.nonebot.timing import PluginTime

__all__ = ["Installed", "PluginTime", "Statistics", "add_command", "install"]
