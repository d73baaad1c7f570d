"""NoneBot2 as a client: it dials ONEBOT_WS_URLS."""

from __future__ import annotations

import nonebot
import records
from nonebot.adapters.onebot.v11 import Adapter

nonebot.init(driver="~websockets")
nonebot.get_driver().register_adapter(Adapter)
nonebot.get_driver().on_startup(lambda: records.write("ready"))
nonebot.load_plugin("answering")
nonebot.run()
