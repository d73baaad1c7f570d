"""``AlconnaRule`` of nonebot-plugin-alconna: a message that holds no head of a command cannot be that command.

What was read for this: nonebot-plugin-alconna 0.62 and arclet-alconna 1.8, and what is relied on is looked up by
name, so that other versions are left alone rather than misread. A head is the text of a prefix and a command, or of a
shortcut's literal key. The parser takes it from a message's text in pieces between white space and separators,
without some of the quotes and backslashes; so the last piece of one of its heads has to be in the text without any. A
rule with checkers, extensions, completion, a pattern for a head or shortcut, or the message before NoneBot2's
processing is always asked.

The plugin keeps the last 16 messages by their ids. Where the index leaves the first rule of a message out, the
message is put there before a handler could change it; when none of the event's matchers runs it is not kept at all.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .conditions import UNCASED, Unknown

if TYPE_CHECKING:
    from .facts import Facts

DROPPED = str.maketrans("", "", "\"'\\")
"""What the parser may leave out of a text."""

PARAMETERS = ("bot", "event", "state", "stack", "dependency_cache")


class KeptMessage:
    """Stands among a rule's cached results for the plugin's own cache of messages."""


KEPT_MESSAGE = KeptMessage()


@dataclass(frozen=True)
class Head:
    """The text holds one of these words, each the end of a command's head."""

    words: tuple[str, ...]

    def possible(self, facts: Facts) -> bool:
        """Also yes once a handler has changed the text: the plugin may have kept the old one."""
        if facts.kind != "message":
            return False
        text = facts.text
        if text is None or facts.text_changed:
            return True
        bare = bare_text(text)
        return any(word in bare for word in self.words)


def bare_text(text: str) -> str:
    """The text without what the parser may leave out of it."""
    return text.translate(DROPPED)


@dataclass(frozen=True)
class Live:
    """What a reading of a rule rests on and somebody may change: polled for every event."""

    reference: Any
    """The rule's weak reference to its command."""
    command: Any
    analyser: Any
    header: Any
    key: str
    """Of the command's shortcuts."""
    shortcuts: Any
    """What was found there, None included."""
    sized: tuple[Any, ...]
    """Containers that were looked through."""
    lengths: tuple[int, ...]


class Poll:
    """All live parts together."""

    def __init__(self, parts: list[Live]) -> None:
        self._references = [part.reference for part in parts]
        self._commands = [part.command for part in parts]
        self._analysers = [part.analyser for part in parts]
        self._headers = [part.header for part in parts]
        self._keys = [part.key for part in parts]
        self._shortcuts = [part.shortcuts for part in parts]
        self._sized = [each for part in parts for each in part.sized]
        self._lengths = [length for part in parts for length in part.lengths]

    def changed(self) -> bool:
        """Whether anything is another than it was read. Lists that hold the same objects compare in C."""
        if not self._references:
            return False
        return (
            list(map(len, self._sized)) != self._lengths
            or [analyser.command_header for analyser in self._analysers] != self._headers
            or list(map(shortcuts_of(_manager()).get, self._keys)) != self._shortcuts
            or [reference() for reference in self._references] != self._commands
        )


def is_rule(checker: Any) -> bool:
    """Whether a checker is the plugin's; it may be loaded at any time."""
    module = sys.modules.get("nonebot_plugin_alconna.rule")
    return module is not None and type(checker) is getattr(module, "AlconnaRule", None)


def read(dependent: Any, check: Any) -> tuple[Head, Live]:
    """A rule's condition and what it rests on; raises Unknown.

    ``check`` is ``AlconnaRule.__call__`` as it was first seen.
    """
    rule = dependent.call
    if dependent.parameterless or tuple(field.name for field in dependent.params) != PARAMETERS:
        raise Unknown
    if type(rule).__call__ is not check:
        raise Unknown
    try:
        return _read(rule)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise Unknown from error


def _read(rule: Any) -> tuple[Head, Live]:
    from arclet.alconna import Alconna
    from nonebot_plugin_alconna.argv import MessageArgv
    from nonebot_plugin_alconna.extension import DefaultExtension

    manager = _manager()
    command = rule.command()
    extensions = rule.executor.extensions
    if rule.before_rules.checkers or rule.comp_config is not None or rule.use_origin:
        raise Unknown
    if any(type(extension) is not DefaultExtension for extension in extensions):
        raise Unknown
    if type(command) is not Alconna or {"_parse", "parse"} & vars(command).keys():
        raise Unknown
    analyser = manager.require(command)
    argv = manager.resolve(command)
    header = analyser.command_header
    plain_heads = header.flag == 0 and all(type(head) is str for head in header.content)
    if not plain_heads or type(argv) is not MessageArgv or argv.preprocessors or argv.filter_out or argv.context_style:
        raise Unknown
    namespace, name = manager._command_part(command.path)
    key = f"{namespace}.{name}"
    shortcuts = shortcuts_of(manager).get(key)
    table = {} if shortcuts is None else shortcuts[1]
    heads = [*header.content, *(_literal(each, made) for each, made in table.items())]
    words = tuple(dict.fromkeys(_last_piece(head, command.separators) for head in heads))
    sized = (vars(command), extensions, rule.before_rules.checkers, table)
    live = Live(rule.command, command, analyser, header, key, shortcuts, sized, tuple(map(len, sized)))
    return Head(words), live


def _manager() -> Any:
    from arclet.alconna import command_manager

    return command_manager


def shortcuts_of(manager: Any) -> dict[str, Any]:
    """The manager's table of shortcuts; AttributeError where it is kept elsewhere."""
    found: dict[str, Any] = manager._CommandManager__shortcuts
    return found


def _literal(key: str, made: Any) -> str:
    """The text a shortcut's key stands for; raises Unknown for a pattern."""
    literal = re.sub(r"\\(\W)", r"\1", key[:-1] if key.endswith("$") and not key.endswith("\\$") else key)
    if key not in {literal, f"{literal}$", re.escape(literal), f"{re.escape(literal)}$"} or re.search(
        r"[][(){}.*+?^$|\\]", literal if key in {literal, f"{literal}$"} else ""
    ):
        raise Unknown
    if getattr(made, "flags", 0) & re.IGNORECASE and not UNCASED.fullmatch(literal):
        raise Unknown
    return literal


def _last_piece(head: str, separators: str) -> str:
    """What the parser would have to find in one piece."""
    if bare_text(head) != head:
        raise Unknown
    pieces = re.split(f"[\\s{re.escape(separators)}]+", head)
    if not pieces[-1]:
        raise Unknown
    return pieces[-1]


async def keep_message(bot: Any, event: Any, state: dict[Any, Any]) -> None:
    """Have the plugin keep an event's message, as asking a rule would have done."""
    from nonebot_plugin_alconna.extension import DefaultExtension, SelectedExtensions

    await SelectedExtensions([DefaultExtension()]).message_provider(event, state, bot, False)
