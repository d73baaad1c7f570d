"""NoneBot2: an index in front of its matchers; public as :mod:`napcore.nonebot`."""
