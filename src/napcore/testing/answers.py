"""What NapCat answers to API requests, as far as a stand-in needs to."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import orjson

from napcore.testing.events import EventMaker

__all__ = ("ACTIONS", "answer", "encode", "failed", "ok")

_Params = dict[str, Any]


def ok(data: Any, echo: Any = "") -> dict[str, Any]:
    """A successful answer. A request without an echo gets ``"echo": ""``."""
    return _answer("ok", 0, data, "", echo)


def failed(retcode: int, message: str, echo: Any = "") -> dict[str, Any]:
    """A failed answer; the message also stands in ``wording``."""
    return _answer("failed", retcode, None, message, echo)


def answer(request: dict[str, Any], events: EventMaker) -> dict[str, Any]:
    """The answer to a request: retcode 1404 to an unknown action, 1400 to one that lacks a parameter.

    ``_async`` and ``_rate_limited`` change nothing, as in NapCat.
    """
    action = request.get("action")
    echo = request.get("echo")
    echo = "" if echo is None else echo
    name = action.removesuffix("_async").removesuffix("_rate_limited") if isinstance(action, str) else ""
    known = ACTIONS.get(name)
    if known is None:
        return failed(1404, f"不支持的Api {action}", echo)
    params = request.get("params")
    params = params if isinstance(params, dict) else {}
    needs, carry_out = known
    missing = [need for need in needs if not params.get(need)]
    if missing:
        return failed(1400, f"缺少参数 {', '.join(missing)}", echo)
    try:
        return ok(carry_out(params, events), echo)
    except LookupError as error:
        return failed(1200, str(error.args[0]), echo)
    except (ValueError, TypeError):
        return failed(1400, "参数错误", echo)


def encode(value: Any) -> bytes:
    """Compact JSON of anything ``json.loads`` can bring: lone surrogates and integers of any size too."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _answer(status: str, retcode: int, data: Any, message: str, echo: Any) -> dict[str, Any]:
    return {
        "status": status,
        "retcode": retcode,
        "data": data,
        "message": message,
        "wording": message,
        "echo": echo,
        "stream": "normal-action",
    }


def _send(params: _Params, events: EventMaker) -> Any:
    return {"message_id": events.new_message_id()}


def _send_msg(params: _Params, events: EventMaker) -> Any:
    if not params.get("group_id") and not params.get("user_id"):
        raise ValueError
    return _send(params, events)


def _group(group_id: int, events: EventMaker) -> dict[str, Any]:
    if group_id not in events.groups:
        raise LookupError(f"群{group_id}不存在")
    return {
        "group_all_shut": 0,
        "group_remark": "",
        "group_id": group_id,
        "group_name": events.group_name(group_id),
        "member_count": len(events.members(group_id)) + 1,
        "max_member_count": 2000,
    }


def _member(group_id: int, user_id: int, events: EventMaker) -> dict[str, Any]:
    return {
        "group_id": group_id,
        "user_id": user_id,
        "nickname": events.nickname(user_id),
        "card": "",
        "sex": "unknown",
        "age": 0,
        "area": "",
        "level": "16",
        "qq_level": 32,
        "join_time": 1600000000,
        "last_sent_time": 1750000000,
        "title_expire_time": 0,
        "unfriendly": False,
        "card_changeable": True,
        "is_robot": False,
        "shut_up_timestamp": 0,
        "role": "member",
        "title": "",
    }


def _member_list(params: _Params, events: EventMaker) -> Any:
    group_id = int(params["group_id"])
    _group(group_id, events)
    return [_member(group_id, user_id, events) for user_id in (events.self_id, *events.members(group_id))]


def _message(params: _Params, events: EventMaker) -> Any:
    event = events.group_message() if events.groups else events.private_message()
    return event | dict.fromkeys(("message_id", "message_seq", "real_id"), int(params["message_id"]))


def _login(params: _Params, events: EventMaker) -> Any:
    return {"user_id": events.self_id, "nickname": "Sakura BOT"}


def _nothing(params: _Params, events: EventMaker) -> Any:
    return None


ACTIONS: Final[dict[str, tuple[tuple[str, ...], Callable[[_Params, EventMaker], Any]]]] = {
    "get_login_info": ((), _login),
    "get_status": ((), lambda params, events: {"online": True, "good": True, "stat": {}}),
    "get_version_info": (
        (),
        lambda params, events: {"app_name": "NapCat.Onebot", "protocol_version": "v11", "app_version": "4.8.0"},
    ),
    "get_friend_list": (
        (),
        lambda params, events: [
            {"user_id": user_id, "nickname": events.nickname(user_id), "remark": ""} for user_id in events.friends
        ],
    ),
    "get_stranger_info": (
        ("user_id",),
        lambda params, events: {
            "user_id": int(params["user_id"]),
            "nickname": events.nickname(int(params["user_id"])),
            "sex": "unknown",
            "age": 0,
        },
    ),
    "get_group_list": ((), lambda params, events: [_group(group_id, events) for group_id in events.groups]),
    "get_group_info": (("group_id",), lambda params, events: _group(int(params["group_id"]), events)),
    "get_group_member_info": (
        ("group_id", "user_id"),
        lambda params, events: _member(int(params["group_id"]), int(params["user_id"]), events),
    ),
    "get_group_member_list": (("group_id",), _member_list),
    "send_group_msg": (("group_id", "message"), _send),
    "send_private_msg": (("user_id", "message"), _send),
    "send_msg": (("message",), _send_msg),
    "get_msg": (("message_id",), _message),
    "delete_msg": (("message_id",), _nothing),
    "set_group_ban": (("group_id", "user_id"), _nothing),
    "set_group_card": (("group_id", "user_id"), _nothing),
    "set_friend_add_request": (("flag",), _nothing),
    "can_send_image": ((), lambda params, events: {"yes": True}),
}
"""The actions known here: the parameters each needs, and what it answers."""
