"""aiocqhttp, nonebot 1 and HoshinoBot with napcore's links in place of their own WebSocket.

Needs aiocqhttp 1.4: ``pip install 'napcore[aiocqhttp]'``. Importing this module does not; :func:`attach` does.
"""

from __future__ import annotations

from napcore.edge.aiocqhttp.attach import Attached, attach
from napcore.edge.aiocqhttp.handover import HandoverStatistics

__all__ = ["Attached", "HandoverStatistics", "attach"]
