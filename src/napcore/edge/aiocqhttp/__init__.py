"""aiocqhttp, nonebot 1 and HoshinoBot, fed in process; public as :mod:`napcore.aiocqhttp`."""
