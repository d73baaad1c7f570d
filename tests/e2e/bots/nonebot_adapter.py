"""NoneBot2 with napcore's adapter or the stock one, on asyncio or trio: SETTINGS says which, and what it is told."""

from __future__ import annotations

import json
import os

import anyio
import nonebot
import records

settings = json.loads(os.environ["SETTINGS"])
adapter, plugin, backend = settings.pop("adapter"), settings.pop("plugin"), settings.pop("backend")
uvicorn = settings.pop("uvicorn", {})
nonebot.init(**settings)
driver = nonebot.get_driver()
if adapter == "napcore":
    import napcore.nonebot

    driver.register_adapter(napcore.nonebot.Adapter)
else:
    from nonebot.adapters.onebot.v11 import Adapter

    driver.register_adapter(Adapter)
driver.on_startup(lambda: records.write("ready"))
nonebot.load_plugin(plugin)
if backend == "trio":
    anyio.run(driver._serve, backend="trio")  # type: ignore[attr-defined]
else:
    nonebot.run(**uvicorn)
