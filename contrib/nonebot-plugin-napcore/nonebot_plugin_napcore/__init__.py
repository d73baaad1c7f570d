"""napcore for NoneBot2, switched on by loading this plugin."""

from __future__ import annotations

from nonebot.plugin import PluginMetadata

from napcore.nonebot import add_command, install

from .config import Config

__plugin_meta__ = PluginMetadata(
    name="napcore",
    description="在 NoneBot2 的事件响应器之前加一层索引：一百个命令只付一个命令的开销，行为不变",
    usage="加载即生效。超级用户发送 /napcore 查看统计：跳过的检查、各插件耗时。",
    type="library",
    homepage="https://pypi.org/project/nonebot-plugin-napcore/",
    config=Config,
    supported_adapters={"~onebot.v11"},
)

installed = install()
"""What :func:`napcore.nonebot.install` returned: ``installed.statistics()``, ``installed.uninstall()``."""

statistics = add_command(installed)
"""The superusers' command."""
