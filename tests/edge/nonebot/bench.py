"""Runs a program on NoneBot2, with or without napcore, and writes down everything that happened."""

from __future__ import annotations

import itertools
from argparse import Namespace
from collections import defaultdict
from datetime import datetime
from typing import Any

import anyio
import anyio.lowlevel
import nonebot
import nonebot.message as message
from nonebot.adapters import Bot as BaseBot
from nonebot.adapters import Event as BaseEvent
from nonebot.adapters.onebot.v11 import Adapter as OneBotAdapter
from nonebot.adapters.onebot.v11 import (
    Bot,
    GroupMessageEvent,
    Message,
    MessageEvent,
    MessageSegment,
    NoticeEvent,
    PrivateMessageEvent,
)
from nonebot.adapters.onebot.v11 import permission as sender
from nonebot.dependencies import Dependent
from nonebot.exception import IgnoredException, SkippedException
from nonebot.internal.matcher.provider import _DictProvider
from nonebot.log import logger
from nonebot.matcher import Matcher, MatcherSource, matchers
from nonebot.params import Depends
from nonebot.permission import MESSAGE, METAEVENT, NOTICE, REQUEST, SUPERUSER, USER, Permission
from nonebot.rule import (
    ArgumentParser,
    Rule,
    TrieRule,
    command,
    endswith,
    fullmatch,
    is_type,
    keyword,
    regex,
    shell_command,
    startswith,
    to_me,
)
from nonebot.typing import T_State
from pygtrie import CharTrie

import napcore.nonebot
from napcore.edge.nonebot import install as installing
from napcore.edge.nonebot.unwanted import Unwanted

PAST, FUTURE = datetime(2000, 1, 1), datetime(2999, 1, 1)
SELF_IDS = (10001, 10002)
CLASSES = {"group": GroupMessageEvent, "private": PrivateMessageEvent, "message": MessageEvent, "notice": NoticeEvent}


class Adapter(OneBotAdapter):
    """OneBot 11 without a network: calls are written down and answered."""

    def _setup(self) -> None:
        pass

    calls: Any = None

    async def _call_api(self, bot: Any, api: str, **data: Any) -> Any:
        if self.calls is not None:
            self.calls(bot, api, data)
        await anyio.lowlevel.checkpoint()
        return {"message_id": 1}


class ForeignEvent(BaseEvent):
    """An event of some other adapter."""

    text: str = "hi"

    def get_type(self) -> str:
        return "message"

    def get_event_name(self) -> str:
        return "foreign"

    def get_event_description(self) -> str:
        return "foreign"

    def get_user_id(self) -> str:
        return "7"

    def get_session_id(self) -> str:
        return "7"

    def get_message(self) -> Message:
        return Message(self.text)

    def is_tome(self) -> bool:
        return False


def adapter() -> Adapter:
    """The one adapter of this process."""
    driver = nonebot.get_driver()
    if Adapter.get_name() not in driver._adapters:
        driver.register_adapter(Adapter)
    return driver._adapters[Adapter.get_name()]  # type: ignore[return-value]


def reset() -> None:
    """No matchers, no commands, no hooks, no napcore."""
    if installing._installed is not None:
        installing._installed.uninstall()
    matchers.provider = _DictProvider({})
    TrieRule.prefix = CharTrie()
    for hooks in (
        message._event_preprocessors,
        message._event_postprocessors,
        message._run_preprocessors,
        message._run_postprocessors,
    ):
        hooks.clear()


class OtherProvider(_DictProvider):
    """A provider that somebody sets."""


def plain(value: Any) -> Any:
    """A value of the state in a form that can be compared."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items() if not str(key).startswith("_unimsg")}
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(plain, value)]
    if isinstance(value, Namespace):
        return plain(vars(value))
    if hasattr(value, "groups") and hasattr(value, "span"):
        return ("match", value.span(), value.groups())
    if isinstance(value, (BaseEvent, MessageSegment)):
        return repr(value)
    return repr(value)


LOGGED: list[str] = []
"""Warnings and errors since the last run began."""

logger.add(
    lambda text: LOGGED.append(text.record["message"]),
    level="WARNING",
    format="{message}",
    catch=False,
    backtrace=False,
    diagnose=False,
)


class Run:
    """One run of a program."""

    def __init__(self, program: Any, unwanted: Unwanted | None = None) -> None:
        self.program = program
        self.unwanted = unwanted
        """What withholds events before they are validated."""
        self.trace: list[Any] = []
        self.current = -1
        self.made: dict[int, Any] = {}
        self.specifications = {each.number: each for each in program.matchers}
        self.numbers = itertools.count(len(program.matchers))

    # -- what is written down

    def note(self, matcher: Any, *what: Any) -> None:
        self.trace.append((self.current, self._name(matcher), *what))

    @staticmethod
    def _name(matcher: Any) -> Any:
        source = getattr(matcher, "_source", None)
        return (matcher.priority, source.lineno) if source else None

    def called(self, bot: Any, api: str, data: dict[str, Any]) -> None:
        from nonebot.matcher import current_matcher

        self.note(current_matcher.get(None), "call", bot.self_id, api, repr(sorted(data.items())))

    # -- making things

    def checker(self, spec: Any) -> Any:
        kind, arguments = spec.kind, spec.arguments
        if kind == "command":
            return command(*arguments[0], force_whitespace=arguments[1])
        if kind == "shell_command":
            parser = ArgumentParser("a") if arguments[1] else None
            if parser:
                parser.add_argument("word", nargs="?")
            return shell_command(*arguments[0], parser=parser)
        if kind in {"startswith", "endswith", "fullmatch"}:
            return {"startswith": startswith, "endswith": endswith, "fullmatch": fullmatch}[kind](*arguments)
        if kind == "keyword":
            return keyword(*arguments)
        if kind == "regex":
            return regex(*arguments)
        if kind == "to_me":
            return to_me()
        if kind == "is_type":
            return is_type(CLASSES[arguments[0]])
        if kind == "parameterless":
            return Rule(self._parameterless())
        return Rule(self._custom(arguments[0]))

    def _parameterless(self) -> Any:
        async def look(event: BaseEvent) -> None:
            self.trace.append((self.current, "parameterless"))

        words = next(iter(keyword("a", "天气").checkers)).call
        return Dependent[bool].parse(
            call=words, parameterless=[Depends(look, use_cache=False)], allow_types=Rule.HANDLER_PARAM_TYPES
        )

    def _custom(self, what: str) -> Any:
        if what == "depends":

            async def of(event: BaseEvent) -> str:
                self.trace.append((self.current, "depends"))
                return event.get_type()

            async def checker(kind: str = Depends(of)) -> bool:
                return kind == "message"

            return checker

        async def custom(event: BaseEvent, state: T_State) -> bool:
            self.trace.append((self.current, "custom", what))
            if what == "raise":
                raise ValueError("a checker's own fault")
            if what == "skip":
                raise SkippedException
            if what == "state":
                state["custom"] = True
            return what != "no" and (what != "long" or len(str(event)) > 60)

        return custom

    def permission(self, specs: tuple[Any, ...]) -> Permission:
        out = Permission()
        for spec in specs:
            out |= self._permission(spec)
        return out

    def _permission(self, spec: Any) -> Permission:
        kind, arguments = spec.kind, spec.arguments
        if kind == "sender":
            return getattr(sender, arguments[0])  # type: ignore[no-any-return]
        if kind == "type":
            return {"MESSAGE": MESSAGE, "NOTICE": NOTICE, "REQUEST": REQUEST, "METAEVENT": METAEVENT}[arguments[0]]
        if kind == "superuser":
            return SUPERUSER
        if kind == "user":
            users, inner = arguments
            perm = None
            if inner == "custom":
                perm = Permission(self._custom_permission("yes"))
            elif inner:
                perm = getattr(sender, inner)
            return USER(*users, perm=perm)
        return Permission(self._custom_permission(arguments[0]))

    def _custom_permission(self, what: str) -> Any:
        async def custom(event: BaseEvent) -> bool:
            self.trace.append((self.current, "permission", what))
            if what == "raise":
                raise ValueError("a permission's own fault")
            if what == "skip":
                raise SkippedException
            return what == "yes"

        return custom

    def rule(self, specs: tuple[Any, ...]) -> Rule:
        out = Rule()
        for spec in specs:
            out &= self.checker(spec)
        return out

    def register(self, spec: Any, number: int) -> None:
        matcher = Matcher.new(
            spec.type,
            self.rule(spec.rule),
            self.permission(spec.permission),
            temp=spec.temp,
            priority=spec.priority,
            block=spec.block,
            source=MatcherSource(plugin_id=f"plugin{number}", module_name="somewhere", lineno=number),
            expire_time=None if spec.expired is None else (PAST if spec.expired else FUTURE),
        )
        self.made[number] = matcher
        for position, handler in enumerate(spec.handlers):
            function = self._handler(number, position, handler)
            if handler.entry == "handle":
                matcher.handle()(function)
            elif handler.entry == "got":
                matcher.got("key", prompt="which?")(function)
            else:
                matcher.receive("it")(function)

    def _handler(self, number: int, position: int, spec: Any) -> Any:
        async def handler(matcher: Matcher, bot: BaseBot, event: BaseEvent, state: T_State) -> None:
            self.note(matcher, "handler", position, bot.self_id, plain(state), event.get_type())
            for step in spec.steps:
                await self._step(step, matcher, event, state)

        return handler

    async def _step(self, step: Any, matcher: Matcher, event: BaseEvent, state: T_State) -> None:
        kind = step.kind
        if kind == "record":
            self.note(matcher, "text", str(event.get_message()) if event.get_type() == "message" else "")
        elif kind == "send":
            await matcher.send(step.argument)
        elif kind == "pause":
            await matcher.pause("go on")
        elif kind == "reject":
            await matcher.reject("again")
        elif kind == "finish":
            await matcher.finish("done")
        elif kind == "raise":
            raise RuntimeError("a handler's own fault")
        elif kind == "stop":
            matcher.stop_propagation()
        elif kind == "skip":
            matcher.skip()
        elif kind == "state":
            state["seen"] = True
        elif kind == "rewrite":
            if isinstance(event, MessageEvent):
                event.message = Message(step.argument)
        elif kind == "to_me":
            if isinstance(event, MessageEvent):
                event.to_me = not event.to_me
        elif kind == "command":
            state["_prefix"]["command"] = ("天气",)
        elif kind == "register":
            spec = self.specifications.get(step.argument)
            if spec is not None:
                self.register(spec, next(self.numbers))
        else:
            self.change(step)

    def change(self, step: Any) -> None:
        kind, argument = step.kind, step.argument
        if kind == "reverse":
            for listed in matchers.values():
                listed.reverse()
            return
        if kind == "set_provider":
            matchers.set_provider(OtherProvider)
            return
        number = argument[0] if isinstance(argument, tuple) else argument
        matcher = self.made.get(number)
        if matcher is None:
            return
        if kind == "destroy":
            try:
                matcher.destroy()
            except ValueError:
                self.note(matcher, "already destroyed")
        elif kind == "set_rule":
            matcher.rule = self.rule(argument[1])
        elif kind == "and_rule":
            matcher.rule &= self.checker(argument[1])
        elif kind == "add_checker":
            matcher.rule.checkers.update(self.checker(argument[1]).checkers)
        elif kind == "drop_checker":
            for checker in sorted(matcher.rule.checkers, key=repr)[:1]:
                matcher.rule.checkers.discard(checker)
        elif kind == "swap_checkers":
            matcher.rule.checkers = set()
        elif kind == "set_permission":
            matcher.permission = self.permission((argument[1],))
        elif kind == "set_type":
            matcher.type = argument[1]
        elif kind == "expire":
            matcher.expire_time = PAST
        elif kind == "set_words":
            for checker in matcher.rule.checkers:
                for name in ("msg", "keywords"):
                    if hasattr(checker.call, name):
                        setattr(checker.call, name, argument[1])

    def hook(self, step: Any) -> None:
        kind = step.kind
        if kind.startswith("event"):

            async def event_hook(bot: BaseBot, event: BaseEvent, state: T_State) -> None:
                self.trace.append((self.current, kind, plain(state)))
                if kind == "event_rewrite" and isinstance(event, MessageEvent):
                    event.message = Message(step.argument) + event.message
                if kind == "event_ignore" and event.get_user_id() == "8":
                    raise IgnoredException("not this one")

            (message.event_postprocessor if kind == "event_after" else message.event_preprocessor)(event_hook)
        else:

            async def run_hook(matcher: Matcher, event: BaseEvent, state: T_State) -> None:
                self.note(matcher, kind, plain(state))
                if kind == "run_cancel" and matcher._source and (matcher._source.lineno or 0) % 2:
                    raise IgnoredException("not this one")

            (message.run_postprocessor if kind == "run_after" else message.run_preprocessor)(run_hook)

    # -- running

    def event(self, spec: Any) -> BaseEvent | None:
        return ForeignEvent() if spec.kind == "foreign" else Adapter.json_to_event(Run.raw(self, spec))

    def raw(self, spec: Any) -> dict[str, Any]:
        common = {"time": 1, "self_id": SELF_IDS[spec.bot], "post_type": spec.kind, "user_id": spec.user}
        if spec.kind in {"message", "message_sent"}:
            segments = [self._segment(part, spec) for part in spec.text]
            common |= {
                "message_type": "group" if spec.group else "private",
                "sub_type": "normal" if spec.group else "friend",
                "message_id": self.current + 100,
                "message": segments,
                "raw_message": "",
                "font": 0,
                "sender": {"user_id": spec.user, "nickname": "n", "role": spec.role},
            }
            if spec.group:
                common["group_id"] = spec.group
        elif spec.kind == "notice":
            common |= {"notice_type": "group_increase", "sub_type": "approve", "group_id": 5, "operator_id": 1}
        elif spec.kind == "request":
            common |= {"request_type": "friend", "comment": "", "flag": "f"}
        else:
            common |= {"meta_event_type": "heartbeat", "status": {"online": True, "good": True}, "interval": 1}
        return common

    @staticmethod
    def _segment(part: str, spec: Any) -> dict[str, Any]:
        if part == "@me":
            return {"type": "at", "data": {"qq": str(SELF_IDS[spec.bot])}}
        if part == "@other":
            return {"type": "at", "data": {"qq": "999"}}
        if part == "face":
            return {"type": "face", "data": {"id": "1"}}
        return {"type": "text", "data": {"text": part}}

    def withholds(self, spec: Any, bot: Bot) -> bool:
        if self.unwanted is None or spec.kind == "foreign":
            return False
        return self.unwanted.withholds(napcore.Event.from_dict(self.raw(spec)), bot)

    async def main(self) -> None:
        for hook in self.program.hooks:
            self.hook(hook)
        for spec in self.program.matchers:
            self.register(spec, spec.number)
        bots = [Bot(adapter(), str(self_id)) for self_id in SELF_IDS]
        for number, spec in enumerate(self.program.events):
            self.current = number
            if spec.change is not None:
                self.change(spec.change)
                continue
            if not self.withholds(spec, bots[spec.bot]):
                event = self.event(spec)
                assert event is not None
                if isinstance(event, ForeignEvent):
                    await message.handle_event(bots[spec.bot], event)
                else:
                    await bots[spec.bot].handle_event(event)
            left = {
                priority: [self._name(matcher) for matcher in listed]
                for priority, listed in sorted(matchers.items())
                if listed
            }
            if 0 in left:  # sessions: made side by side
                left[0].sort()
            self.trace.append((self.current, "left", left))


def settled(trace: list[Any]) -> list[Any]:
    """The trace with what happens side by side in one priority put in one order: each matcher's own stays as it was."""
    out: list[Any] = []
    for _, within in itertools.groupby(trace, key=lambda entry: entry[0]):
        # matchers of a priority run concurrently: only the order of each one's own entries means something
        lanes: dict[Any, list[Any]] = defaultdict(list)
        for entry in within:
            lane = entry[1] if isinstance(entry[1], tuple) else (99, str(entry[1:]))
            lanes[lane].append(entry)
        out += [(lane, lanes[lane]) for lane in sorted(lanes, key=repr)]
    return out


def priorities(trace: list[Any]) -> list[Any]:
    """The order in which priorities had their turn, event by event."""
    turns = [(entry[0], entry[1][0]) for entry in trace if isinstance(entry[1], tuple)]
    return [turn for turn, _ in itertools.groupby(turns)]


def starts(trace: list[Any], program: Any) -> list[Any]:
    """The order in which matchers began, those alone whose rules wait for no thread and share no result."""
    threadless = {
        each.number
        for each in program.matchers
        if not each.permission
        and {checker.kind for checker in each.rule} <= {"keyword", "startswith", "endswith", "regex"}
    }
    return [entry[:2] for entry in trace if entry[2:4] == ("handler", 0) and entry[1][1] in threadless]


def run(
    program: Any, *, napcore_on: bool, backend: str = "asyncio", verify: float = 0.0, withhold: bool = False
) -> tuple[Any, Any]:
    """Run a program from nothing; returns what happened, and napcore's statistics, or how many events it withheld."""
    reset()
    LOGGED.clear()
    installed = napcore.nonebot.install(verify=verify) if napcore_on else None
    made = Run(program, Unwanted(installed) if installed is not None and withhold else None)
    adapter().calls = made.called
    try:
        anyio.run(made.main, backend=backend)
        statistics = installed.statistics() if installed else None
    finally:
        adapter().calls = None
        reset()
    began = starts(made.trace, program) if backend == "asyncio" else None  # trio shuffles its tasks
    logged = sorted(line for line in LOGGED if "NAPCORE_SKIP_UNWANTED" not in line)
    happened = (settled(made.trace), priorities(made.trace), began, logged)
    return happened, made.unwanted.count if made.unwanted is not None else statistics
