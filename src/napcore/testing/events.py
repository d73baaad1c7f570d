"""Events as NapCat sends them: its key order, its sizes, its oddities.

Every event is a plain dict whose key order is that of NapCat's classes (message events put
``post_type`` behind the body and ``group_id`` last; notices put ``time`` first).
"""

from __future__ import annotations

import random
import time
from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final

import orjson

__all__ = ("EventMaker", "lifecycle")

_SURNAMES: Final = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜"
_NICKNAMES: Final = (
    "酥酥", "王德发🫧", "紫罗兰", "小派蒙", "夜遇漈北", "颖", "大聪明", "欧皇本皇", "摸鱼达人", "Sakura", "不吃香菜",
    "今天也要早睡", "月見", "咕咕咕", "阿柴", "南风知我意", "雪糕刺客", "Nobody", "一只鹿", "打工人#1024",
)  # fmt: skip
_GROUP_THEMES: Final = (
    "碧蓝航线", "明日方舟", "原神", "公主连结", "计算机学院", "羽毛球", "考研互助", "二手交易", "读书会",
    "机器人测试", "老乡", "摄影",
)  # fmt: skip
_GROUP_KINDS: Final = ("萌新交流群", "同好会", "高等研究院", "闲聊群", "通知群", "2群")
_LINES: Final = (
    "魔方我拿去弄研究了",
    "早",
    "签到",
    "今天食堂吃什么？",
    "笑死，这也行",
    "有没有人一起打本，缺个奶妈，晚上九点准时开，不来的提前说一声",
    "抽卡一百次，求欧气～ 🎲✨",
    '第一行\n第二行\t带制表符 "引号" \\反斜杠 / 斜杠',
    "https://www.bilibili.com/video/BV1xx411c7mD?share_source=qq&vd_source=0a1b2c",
    "这个 bug 我昨天查了一晚上，最后发现是配置文件里的端口写错了，重启之后就好了，大家以后改配置记得先看一眼日志再说",
    "收到",
    "。。。",
    "/help",
    "查询 战绩 12345",
    "[不是CQ码], a&b",
)
_FACES: Final = (("178", "/斜眼笑"), ("76", "/赞"), ("13", "/呲牙"), ("277", "/汪汪"))
_FILE_IDS: Final = "0123456789ABCDEF"
_RAW_FACE_REST: Final = (
    "faceType packId stickerId sourceType stickerType resultId surpriseId randomType imageType pokeType spokeSummary"
    " doubleHit vaspokeId vaspokeName vaspokeMinver pokeStrength msgType faceBubbleCount oldVersionStr"
    " pokeFlag chainCount"
).split()


class EventMaker:
    """Makes events for one account; the same seed makes the same events, but for their ``time``.

    ``groups`` is how many groups the account is in, or their ids. Which group speaks follows
    Zipf's law (a few are loud, most are quiet); ``members`` is how many people each has.
    """

    def __init__(
        self,
        self_id: int = 1444683668,
        groups: int | Sequence[int] = 190,
        *,
        members: int = 40,
        seed: int | None = None,
    ) -> None:
        self.self_id = self_id
        self._random = random.Random(seed)
        if isinstance(groups, int):
            groups = self._random.sample(range(100_000_000, 999_999_999), groups)
        self.groups: Final = tuple(groups)
        """The group ids, the loudest first."""
        self.friends: Final = tuple(self._random.sample(range(100_000_000, 3_999_999_999), 20))
        """People who write privately."""
        self._weights = list(accumulate(1.0 / rank for rank in range(1, len(self.groups) + 1)))
        self._members = members
        self._names: dict[int, str] = {}
        self._sequences: dict[int, int] = {}
        self._made = 0
        self._first_id = self._random.getrandbits(31)

    def next(self) -> dict[str, Any]:
        """An event as it might come next: mostly group messages, some private ones, notices, rarely a request."""
        roll = self._random.random()
        if roll < 0.92 and self.groups:
            return self.group_message()
        if roll < 0.96 or not self.groups:
            return self.private_message()
        if roll < 0.999:
            return self.notice()
        return self.friend_request()

    def group(self) -> int:
        """A group id, loud groups more often."""
        return self.groups[bisect(self._weights, self._random.random() * self._weights[-1])]

    def group_name(self, group_id: int) -> str:
        """The name of a group."""
        name = self._names.get(group_id)
        if name is None:
            name = f"{_GROUP_THEMES[group_id % len(_GROUP_THEMES)]}{_GROUP_KINDS[group_id % len(_GROUP_KINDS)]}"
            self._names[group_id] = name
        return name

    def members(self, group_id: int) -> list[int]:
        """The user ids of a group, the account itself not among them."""
        base = 100_000_000 + group_id * 7919 % 3_000_000_000
        return [base + 104_729 * number for number in range(self._members)]

    def nickname(self, user_id: int) -> str:
        """What a user is called."""
        if user_id % 3:
            return _NICKNAMES[user_id % len(_NICKNAMES)]
        return _SURNAMES[user_id % len(_SURNAMES)] + _SURNAMES[user_id // 7 % len(_SURNAMES)]

    def group_message(
        self, group_id: int | None = None, user_id: int | None = None, message: str | list[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """A group message; what is left out is chosen. A string becomes one text segment."""
        if group_id is None:
            group_id = self.group()
        if user_id is None:
            user_id = self._member(group_id)
        sender = {
            "user_id": user_id,
            "nickname": self.nickname(user_id),
            "card": "" if user_id % 2 else "群里的[欧皇], & 非酋",
            "role": "owner" if user_id % 97 == 0 else "admin" if user_id % 29 == 0 else "member",
        }
        event = self._message("group", "normal", user_id, sender, message, group_id)
        event["group_id"] = group_id
        event["group_name"] = self.group_name(group_id)
        return event

    def private_message(
        self,
        user_id: int | None = None,
        message: str | list[dict[str, Any]] | None = None,
        *,
        temporary_from: int | None = None,
    ) -> dict[str, Any]:
        """A private message of a friend, or of a temporary session from the group ``temporary_from``.

        A temporary session is ``sub_type: group`` and carries a ``group_id``, as NapCat's does.
        """
        if user_id is None:
            user_id = self._random.choice(self.friends)
        sender = {"user_id": user_id, "nickname": self.nickname(user_id), "card": ""}
        sub_type = "friend" if temporary_from is None else "group"
        event = self._message("private", sub_type, user_id, sender, message, user_id)
        if temporary_from is not None:
            event["group_id"] = temporary_from
            event["temp_source"] = 0
        event["target_id"] = user_id
        return event

    def notice(self, group_id: int | None = None) -> dict[str, Any]:
        """A notice of a group: a join, a leave, a ban, a recall, a poke, a file, a reaction, a new card."""
        if group_id is None:
            group_id = self.group()
        user_id = self._member(group_id)
        return self._random.choice(_NOTICES)(self, group_id, user_id)

    def friend_request(self, user_id: int | None = None) -> dict[str, Any]:
        """Someone asks to become a friend."""
        now = int(time.time())
        return {
            **self._head("request"),
            "request_type": "friend",
            "user_id": user_id if user_id is not None else self._random.choice(self.friends),
            "comment": "我是来自群“测试用”的备长炭",
            "flag": str(now),
        }

    def heartbeat(self, interval: float, *, online: bool = True) -> dict[str, Any]:
        """A heartbeat; ``interval`` in seconds. ``good`` is always true, as in NapCat."""
        return {
            **self._head("meta_event"),
            "meta_event_type": "heartbeat",
            "status": {"online": online, "good": True},
            "interval": round(interval * 1000),
        }

    def new_message_id(self) -> int:
        """A message id not given out before: any 31-bit number, in no order, as NapCat's hashes are."""
        self._made += 1
        # An odd factor permutes the 31-bit numbers, so none comes twice.
        return (self._first_id + self._made * 0x5DEECE6D) & 0x7FFFFFFF

    def _message(
        self,
        message_type: str,
        sub_type: str,
        user_id: int,
        sender: dict[str, Any],
        message: str | list[dict[str, Any]] | None,
        peer: int,
    ) -> dict[str, Any]:
        if message is None:
            message = self._segments(message_type == "group")
        elif isinstance(message, str):
            message = [_text(message)]
        message_id = self.new_message_id()
        sequence = self._sequences[peer] = self._sequences.get(peer, peer % 1_000_000) + 1
        return {
            "self_id": self.self_id,
            "user_id": user_id,
            "time": int(time.time()),
            "message_id": message_id,
            "message_seq": message_id,
            "real_id": message_id,
            "real_seq": str(sequence),
            "message_type": message_type,
            "sender": sender,
            "raw_message": "".join(map(_cq, message)).strip(),
            "font": 14,
            "sub_type": sub_type,
            "message": message,
            "message_format": "array",
            "post_type": "message",
        }

    def _segments(self, group: bool) -> list[dict[str, Any]]:
        roll = self._random.random()
        text = self._random.choice(_LINES)
        if roll < 0.5:
            return [_text(text)]
        if roll < 0.75:
            return [self._image()]
        if roll < 0.85:
            return [_text(text), self._image()]
        if roll < 0.93 and group:
            reply = {"type": "reply", "data": {"id": str(self._random.getrandbits(31))}}
            return [reply, {"type": "at", "data": {"qq": str(self.self_id)}}, _text(" " + text)]
        if roll < 0.97:
            return [_text(text), self._face()]
        return [_text("".join(self._random.choices(_LINES, k=12)))]

    def _image(self) -> dict[str, Any]:
        name = "".join(self._random.choices(_FILE_IDS, k=32))
        url = f"https://multimedia.nt.qq.com.cn/download?appid=1407&fileid=Eh{name}ImageFileIdOfNT&rkey=CAQSKAB{name}&spec=0"
        return {
            "type": "image",
            "data": {
                "summary": "[动画表情]",
                "file": f"{name}.jpg",
                "sub_type": 1,
                "url": url,
                "file_size": str(self._random.randrange(2_000, 900_000)),
            },
        }

    def _face(self) -> dict[str, Any]:
        number, text = self._random.choice(_FACES)
        raw: dict[str, Any] = {"faceIndex": int(number), "faceText": text, **dict.fromkeys(_RAW_FACE_REST)}
        return {"type": "face", "data": {"id": number, "raw": raw, "resultId": None, "chainCount": None}}

    def _member(self, group_id: int) -> int:
        return 100_000_000 + group_id * 7919 % 3_000_000_000 + 104_729 * self._random.randrange(self._members)

    def _head(self, post_type: str) -> dict[str, Any]:
        return {"time": int(time.time()), "self_id": self.self_id, "post_type": post_type}

    def _group_notice(self, group_id: int, user_id: int, notice_type: str, **fields: Any) -> dict[str, Any]:
        head = {"group_id": group_id, "user_id": user_id, "notice_type": notice_type}
        return {**self._head("notice"), **head, **fields}


def lifecycle(self_id: int) -> dict[str, Any]:
    """The first event on every link."""
    return {
        "time": int(time.time()),
        "self_id": self_id,
        "post_type": "meta_event",
        "meta_event_type": "lifecycle",
        "sub_type": "connect",
    }


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "data": {"text": text}}


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("[", "&#91;").replace("]", "&#93;")


def _cq(segment: dict[str, Any]) -> str:
    data = segment["data"]
    if segment["type"] == "text":
        return _escape(data["text"])
    # NapCat leaves out empty values and writes objects as JSON.
    values = (
        (key, orjson.dumps(value).decode() if isinstance(value, dict) else str(value))
        for key, value in data.items()
        if value not in (None, "")
    )
    fields = "".join(f",{key}={_escape(value).replace(',', '&#44;')}" for key, value in values)
    return f"[CQ:{segment['type']}{fields}]"


def _poke(maker: EventMaker, group_id: int, user_id: int) -> dict[str, Any]:
    return {
        **maker._head("notice"),
        "notice_type": "notify",
        "sub_type": "poke",
        "target_id": maker.self_id,
        "user_id": user_id,
        "group_id": group_id,
        "raw_info": [
            {"col": "1", "nm": "", "type": "qq", "uid": "u_5Jc2xVx1w2yZ"},
            {"txt": "拍了拍", "type": "nor"},
            {"col": "1", "nm": "", "tp": "0", "type": "qq", "uid": "u_9KkLmNoPqRsT"},
            {"txt": "的小脑袋", "type": "nor"},
        ],
    }


_NOTICES: Final[tuple[Callable[[EventMaker, int, int], dict[str, Any]], ...]] = (
    lambda maker, group, user: maker._group_notice(
        group, user, "group_increase", operator_id=maker.members(group)[0], sub_type="approve"
    ),
    lambda maker, group, user: maker._group_notice(group, user, "group_decrease", sub_type="leave", operator_id=0),
    lambda maker, group, user: maker._group_notice(
        group, user, "group_ban", operator_id=maker.members(group)[0], duration=600, sub_type="ban"
    ),
    lambda maker, group, user: maker._group_notice(
        group, user, "group_recall", operator_id=user, message_id=maker.new_message_id()
    ),
    lambda maker, group, user: maker._group_notice(
        group,
        user,
        "group_upload",
        file={"id": "/5b6c7d8e-aaaa-bbbb", "name": "课表[2025], 最终版&修改.xlsx", "size": 20480, "busid": 102},
    ),
    lambda maker, group, user: maker._group_notice(
        group,
        user,
        "group_msg_emoji_like",
        message_id=maker.new_message_id(),
        likes=[{"emoji_id": "76", "count": 1}],
        is_add=True,
    ),
    lambda maker, group, user: maker._group_notice(group, user, "group_card", card_new="酥酥|周年庆🎉", card_old=""),
    _poke,
)
