"""Every text a person reads on the command line, in English and Chinese.

Exceptions and log records are English everywhere, with stable codes.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

__all__ = ("TEXTS", "language", "say")

Language: TypeAlias = Literal["en", "zh"]

TEXTS: Final[Mapping[str, Mapping[Language, str]]] = {
    "about": {
        "en": "A relay between NapCat (OneBot 11) and any number of bot frameworks.",
        "zh": "在 NapCat（OneBot 11）与任意多个机器人框架之间转发事件的中继。",
    },
    "backend": {"en": "event loop (default: asyncio)", "zh": "事件循环（默认 asyncio）"},
    "check.about": {
        "en": "check a configuration file without starting anything",
        "zh": "检查配置文件，不启动任何东西",
    },
    "check.ok": {
        "en": "OK: {path} ({upstreams} upstream(s), {clients} client(s))",
        "zh": "没有问题：{path}（上游 {upstreams} 个，客户端 {clients} 个）",
    },
    "command": {"en": "COMMAND", "zh": "命令"},
    "commands": {"en": "commands", "zh": "命令"},
    "compiled": {"en": "compiled core", "zh": "编译核心"},
    "config": {
        "en": "configuration file (default: ./napcore.toml, then the user's configuration folder)",
        "zh": "配置文件（默认先找 ./napcore.toml，再找用户配置目录）",
    },
    "config.none": {
        "en": "No configuration file found. Looked at: {places}",
        "zh": "没有找到配置文件。找过：{places}",
    },
    "config.taken": {"en": "Configuration: {path}", "zh": "配置文件：{path}"},
    "demo.about": {
        "en": "show it at work: without options a story in 45 seconds, with them a measurement of three clients",
        "zh": "演示：不带选项时讲一个 45 秒的故事，带选项时测量三个客户端",
    },
    "demo.client": {"en": "client", "zh": "客户端"},
    "demo.dropped": {"en": "dropped", "zh": "丢弃"},
    "demo.end": {
        "en": "{published} events published in {elapsed:.1f} s ({rate:.0f}/s) on {backend}, {core};"
        " {calls} API calls, {answered} answered",
        "zh": "{elapsed:.1f} 秒内发布 {published} 个事件（每秒 {rate:.0f} 个），{backend}，{core}；"
        "API 调用 {calls} 次，应答 {answered} 次",
    },
    "demo.groups": {"en": "groups the events come from (default: 190)", "zh": "事件来自多少个群（默认 190）"},
    "demo.interrupted": {"en": "Interrupted.", "zh": "已中断。"},
    "demo.json": {"en": "print one line of JSON at the end, nothing else", "zh": "结束时只输出一行 JSON"},
    "demo.max_queue": {"en": "longest queue", "zh": "最长队列"},
    "demo.missing": {
        "en": "{name} did not get everything: {received} of {published}",
        "zh": "{name} 没有收全：{received}/{published}",
    },
    "demo.none": {"en": "none", "zh": "无"},
    "demo.p50": {"en": "p50 ms", "zh": "p50 毫秒"},
    "demo.p99": {"en": "p99 ms", "zh": "p99 毫秒"},
    "demo.rate": {"en": "events a second (default: 500)", "zh": "每秒事件数（默认 500）"},
    "demo.received": {"en": "received", "zh": "收到"},
    "demo.second": {
        "en": "{elapsed:4.0f} s  {published} events sent; received {received}",
        "zh": "{elapsed:4.0f} 秒  已发 {published} 个事件；收到 {received}",
    },
    "demo.seconds": {"en": "how long (default: 10)", "zh": "持续多少秒（默认 10）"},
    "demo.start": {
        "en": "Simulator -> relay -> 3 clients on 127.0.0.1: {groups} groups, {rate:g} events/s, {seconds:g} s."
        " 'slow' is slow on purpose.",
        "zh": "模拟器 -> 中继 -> 3 个客户端（127.0.0.1）：{groups} 个群，每秒 {rate:g} 个事件，持续 {seconds:g} 秒。"
        "slow 是故意放慢的。",
    },
    "demo.waiting": {"en": "on its way", "zh": "在途"},
    "error": {"en": "error: {message}", "zh": "错误：{message}"},
    "file": {"en": "FILE", "zh": "文件"},
    "help": {"en": "show this help and exit", "zh": "显示帮助后退出"},
    "not_number": {"en": "not a number above 0: {text!r}", "zh": "不是大于 0 的数：{text!r}"},
    "not_port": {"en": "not a port (0 to 65535): {text!r}", "zh": "不是端口号（0 到 65535）：{text!r}"},
    "not_whole": {"en": "not a whole number above 0: {text!r}", "zh": "不是大于 0 的整数：{text!r}"},
    "options": {"en": "options", "zh": "选项"},
    "port_in_use": {
        "en": "Port {port} is in use by another program. Is napcore running already?"
        " Choose another port or end that program.",
        "zh": "端口 {port} 已被其他程序占用。napcore 是否已经在运行？请换一个端口，或结束占用它的程序。",
    },
    "port_refused": {"en": "Port {port}: {cause}", "zh": "端口 {port}：{cause}"},
    "pure": {"en": "plain Python core", "zh": "纯 Python 核心"},
    "run.about": {"en": "run the relay a configuration file describes", "zh": "按配置文件运行中继"},
    "run.not_written": {"en": "Statistics not written to {path}: {cause}", "zh": "统计没有写入 {path}：{cause}"},
    "run.ready": {
        "en": "Running; Ctrl-C ends it in good order, once more ends it at once.",
        "zh": "正在运行，按 Ctrl-C 有序结束，再按一次立即结束。",
    },
    "run.statistics": {
        "en": "when it ends, write its statistics to this file as one line of JSON",
        "zh": "结束时把统计写入这个文件，一行 JSON",
    },
    "run.stopped": {"en": "Stopped.", "zh": "已停止。"},
    "simulate.about": {
        "en": "play a NapCat against your own bot and measure how fast it replies",
        "zh": "扮演 NapCat 向你自己的机器人发事件，测量回复有多快",
    },
    "simulate.dialling": {"en": "Dialling {url}. Ctrl-C ends it.", "zh": "正在连接 {url}。按 Ctrl-C 结束。"},
    "simulate.end": {
        "en": "{sent} events in {seconds:.1f} s; {calls} API calls, {replies} of them replies",
        "zh": "{seconds:.1f} 秒内发出 {sent} 个事件；API 调用 {calls} 次，其中回复 {replies} 次",
    },
    "simulate.latency": {
        "en": "Reply latency: p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {longest:.1f} ms",
        "zh": "回复延迟：p50 {p50:.1f} 毫秒，p99 {p99:.1f} 毫秒，最长 {longest:.1f} 毫秒",
    },
    "simulate.links": {"en": "Connections to the bot: {links}", "zh": "与机器人的连接数：{links}"},
    "simulate.listen": {
        "en": "be dialled: listen on this port, as NapCat's WebSocket server",
        "zh": "等机器人来连：监听这个端口（正向 WebSocket）",
    },
    "simulate.listening": {
        "en": "Listening on {url}; waiting for a bot. Ctrl-C ends it.",
        "zh": "正在监听 {url}，等待机器人连接。按 Ctrl-C 结束。",
    },
    "simulate.no_replies": {"en": "No reply yet.", "zh": "还没有回复。"},
    "simulate.rate": {"en": "events a second (default: 13)", "zh": "每秒事件数（默认 13）"},
    "simulate.refused": {
        "en": "Cannot connect to {url}: {cause}; trying again every 5 s",
        "zh": "无法连接 {url}：{cause}；每 5 秒重试",
    },
    "simulate.seconds": {"en": "how long (default: until Ctrl-C)", "zh": "持续多少秒（默认直到 Ctrl-C）"},
    "simulate.self_id": {"en": "the account to play", "zh": "扮演的 QQ 号"},
    "simulate.token": {"en": "access token of either side", "zh": "访问令牌（access token）"},
    "simulate.url": {
        "en": "dial the bot at this URL, as NapCat's WebSocket client",
        "zh": "主动连接机器人的这个地址（反向 WebSocket）",
    },
    "story.blocked": {
        "en": "{elapsed:3.0f} s  {sent} events each way. Now a plugin blocks the loop of bot three: it "
        "reads nothing any more.",
        "zh": "{elapsed:3.0f} 秒  两边各发了 {sent} 个事件。现在三号机器人的事件循环被一个插件阻塞：它不再读任何东西。",
    },
    "story.burst": {"en": "most replies in one second after a trouble", "zh": "困境过后一秒内最多发出的回复"},
    "story.direct": {"en": "NapCat alone", "zh": "仅 NapCat"},
    "story.dropped": {"en": "events dropped on purpose", "zh": "主动丢弃的事件"},
    "story.end": {
        "en": "{elapsed:3.0f} s  That was it. The same script, both ways:",
        "zh": "{elapsed:3.0f} 秒  演完了。同一个剧本，两种走法：",
    },
    "story.frozen": {
        "en": "{elapsed:3.0f} s  Bot three has caught up. Straight, {direct} stale messages reached it, "
        "the oldest {direct_oldest:g} s old; through napcore {napcore}, with {dropped} events "
        "dropped. Now NapCat itself freezes: QQ hangs.",
        "zh": "{elapsed:3.0f} 秒  三号机器人补完了。直连收到 {direct} 条过时消息，最旧的晚了 "
        "{direct_oldest:g} 秒；经 napcore 收到 {napcore} 条，丢弃了 {dropped} 个事件。现在 "
        "NapCat 自己卡住了：QQ 没有反应。",
    },
    "story.kib": {"en": "the same in KiB", "zh": "同上，KiB"},
    "story.measure": {"en": "measured in this run", "zh": "本次运行实测"},
    "story.napcore": {"en": "through napcore", "zh": "经过 napcore"},
    "story.normal": {
        "en": "{elapsed:3.0f} s  All is well: three bots read, and answer one message in five.",
        "zh": "{elapsed:3.0f} 秒  一切正常：三个机器人都在读，每五条消息回复一条。",
    },
    "story.oldest": {"en": "age of the oldest of them, s", "zh": "其中最旧一条的年龄（秒）"},
    "story.p99": {"en": "99th percentile of delay at the healthy bots, ms", "zh": "健康机器人的延迟 p99（毫秒）"},
    "story.redials": {"en": "links to bots made again", "zh": "与机器人重新建立的连接"},
    "story.released": {
        "en": "{elapsed:3.0f} s  NapCat lets go of all it held, at once. napcore's word for it is "
        "'{state}'; links to bots made again so far: {redials}.",
        "zh": "{elapsed:3.0f} 秒  NapCat 把积压的事件一下子全放了出来。napcore 报告的状态是 "
        "{state}；至今重新建立的连接：{redials} 个。",
    },
    "story.returned": {
        "en": "{elapsed:3.0f} s  Bot three comes back. Straight, {direct} events wait for it, through "
        "napcore {napcore}.",
        "zh": "{elapsed:3.0f} 秒  三号机器人恢复了。直连有 {direct} 个事件在等它，经 napcore 有 {napcore} 个。",
    },
    "story.stale": {"en": "messages delivered more than {lifetime:g} s late", "zh": "晚到 {lifetime:g} 秒以上的消息"},
    "story.start": {
        "en": "{seconds:.0f} seconds. A simulated NapCat: {groups} groups, {rate:g} events a second. "
        "Three bots get them straight, as NapCat sends them, and three get the same through "
        "napcore, where a message lives {lifetime:g} s here and {queue} events may wait for a bot.",
        "zh": "共 {seconds:.0f} 秒。模拟的 NapCat：{groups} 个群，每秒 {rate:g} "
        "个事件。三个机器人直连（NapCat 自己的发法），另外三个经过 napcore 收到同样的事件；演示中消息有效期 "
        "{lifetime:g} 秒，每个机器人最多排队 {queue} 个事件。",
    },
    "story.waiting": {"en": "most events waiting for the blocked bot", "zh": "为阻塞的机器人积压最多的事件"},
    "story.where": {
        "en": "One run, both ways at the same time, on {backend}, {core}.",
        "zh": "两种走法同时运行；{backend}，{core}。",
    },
    "url_wrong": {"en": "not a ws:// or wss:// URL: {text!r}", "zh": "不是 ws:// 或 wss:// 地址：{text!r}"},
    "usage": {"en": "usage: ", "zh": "用法："},
    "verbose": {"en": "log more", "zh": "输出更多日志"},
    "version": {"en": "show the version and exit", "zh": "显示版本后退出"},
}
"""Text by key and language; what stands in braces is filled in by name."""


def say(key: str, **values: Any) -> str:
    """The text ``key`` in the user's language with ``values`` filled in."""
    return TEXTS[key][language()].format(**values)


def language() -> Language:
    """``NAPCORE_LANG`` if it is set, else the locale's language; English unless that is Chinese."""
    chosen = os.environ.get("NAPCORE_LANG") or _locale()
    return "zh" if chosen.lower().startswith("zh") else "en"


def _locale() -> str:
    if sys.platform == "win32":
        # The low 10 bits name the language, 4 is Chinese.
        return "zh" if ctypes.windll.kernel32.GetUserDefaultUILanguage() & 0x3FF == 4 else "en"
    return next(filter(None, map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
