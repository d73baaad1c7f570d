"""The actions of the OneBot 11 standard as methods, for editors and type checkers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypedDict

from napcore.types import Segment

__all__ = ("Actions", "SentMessage")

Data = dict[str, Any]


class SentMessage(TypedDict):
    """What sending a message is answered with."""

    message_id: int


class Actions:
    """Every action is a method: ``await account.send_group_msg(group_id=1, message="hi")``.

    Those written out here are the standard's common ones (OneBot 11, api/public), with its defaults:
    what is left out is not sent. Any other name is an action too, and takes whatever its
    implementation takes: ``await account.set_msg_emoji_like(message_id=1, emoji_id="76")``. For other
    parameters of an action that is written out, and for another timeout, there is ``call``. Each
    returns the answer's data, and raises a ``CallError`` as ``call`` does.
    """

    async def _act(self, action: str, params: Data) -> Any:
        raise NotImplementedError

    async def _given(self, action: str, **params: Any) -> Any:
        return await self._act(action, {name: value for name, value in params.items() if value is not None})

    def __getattr__(self, action: str) -> Callable[..., Awaitable[Any]]:
        if action.startswith("_"):
            raise AttributeError(action)

        def call(**params: Any) -> Awaitable[Any]:
            return self._act(action, params)

        return call

    # Messages.

    async def send_group_msg(
        self, *, group_id: int, message: str | list[Segment], auto_escape: bool | None = None
    ) -> SentMessage:
        """Send to a group; ``auto_escape`` takes a text as it stands, CQ codes in it too."""
        sent: SentMessage = await self._given(
            "send_group_msg", group_id=group_id, message=message, auto_escape=auto_escape
        )
        return sent

    async def send_private_msg(
        self,
        *,
        user_id: int,
        message: str | list[Segment],
        group_id: int | None = None,
        auto_escape: bool | None = None,
    ) -> SentMessage:
        """Send to a user; with ``group_id`` in a temporary session, by way of that group."""
        sent: SentMessage = await self._given(
            "send_private_msg", user_id=user_id, group_id=group_id, message=message, auto_escape=auto_escape
        )
        return sent

    async def send_msg(
        self,
        *,
        message: str | list[Segment],
        message_type: Literal["private", "group"] | None = None,
        user_id: int | None = None,
        group_id: int | None = None,
        auto_escape: bool | None = None,
    ) -> SentMessage:
        """Send to a group or a user, whichever is given."""
        sent: SentMessage = await self._given(
            "send_msg",
            message_type=message_type,
            user_id=user_id,
            group_id=group_id,
            message=message,
            auto_escape=auto_escape,
        )
        return sent

    async def delete_msg(self, *, message_id: int) -> None:
        """Recall a message."""
        await self._given("delete_msg", message_id=message_id)

    async def get_msg(self, *, message_id: int) -> Data:
        """A message: ``message``, ``sender``, ``time`` and more."""
        data: Data = await self._given("get_msg", message_id=message_id)
        return data

    async def get_forward_msg(self, *, id: str) -> Data:
        """The messages of a merged forward."""
        data: Data = await self._given("get_forward_msg", id=id)
        return data

    async def send_like(self, *, user_id: int, times: int | None = None) -> None:
        """Like a user's profile, once by default."""
        await self._given("send_like", user_id=user_id, times=times)

    # Groups.

    async def set_group_kick(self, *, group_id: int, user_id: int, reject_add_request: bool | None = None) -> None:
        """Remove somebody, for good with ``reject_add_request``."""
        await self._given("set_group_kick", group_id=group_id, user_id=user_id, reject_add_request=reject_add_request)

    async def set_group_ban(self, *, group_id: int, user_id: int, duration: int | None = None) -> None:
        """Mute somebody for ``duration`` seconds, half an hour by default; 0 ends it."""
        await self._given("set_group_ban", group_id=group_id, user_id=user_id, duration=duration)

    async def set_group_whole_ban(self, *, group_id: int, enable: bool | None = None) -> None:
        """Mute a whole group, or with ``enable=False`` no more."""
        await self._given("set_group_whole_ban", group_id=group_id, enable=enable)

    async def set_group_admin(self, *, group_id: int, user_id: int, enable: bool | None = None) -> None:
        """Make somebody an administrator, or with ``enable=False`` a member again."""
        await self._given("set_group_admin", group_id=group_id, user_id=user_id, enable=enable)

    async def set_group_card(self, *, group_id: int, user_id: int, card: str | None = None) -> None:
        """Name somebody in a group; none or an empty ``card`` takes the name away."""
        await self._given("set_group_card", group_id=group_id, user_id=user_id, card=card)

    async def set_group_name(self, *, group_id: int, group_name: str) -> None:
        """Name a group."""
        await self._given("set_group_name", group_id=group_id, group_name=group_name)

    async def set_group_leave(self, *, group_id: int, is_dismiss: bool | None = None) -> None:
        """Leave a group, or as its owner dissolve it."""
        await self._given("set_group_leave", group_id=group_id, is_dismiss=is_dismiss)

    async def set_group_special_title(
        self, *, group_id: int, user_id: int, special_title: str | None = None, duration: int | None = None
    ) -> None:
        """Give somebody a title; none or an empty one takes it away."""
        await self._given(
            "set_group_special_title",
            group_id=group_id,
            user_id=user_id,
            special_title=special_title,
            duration=duration,
        )

    async def get_group_info(self, *, group_id: int, no_cache: bool | None = None) -> Data:
        """A group: ``group_name``, ``member_count`` and more."""
        data: Data = await self._given("get_group_info", group_id=group_id, no_cache=no_cache)
        return data

    async def get_group_list(self, *, no_cache: bool | None = None) -> list[Data]:
        """The account's groups, as :meth:`get_group_info` has them."""
        data: list[Data] = await self._given("get_group_list", no_cache=no_cache)
        return data

    async def get_group_member_info(self, *, group_id: int, user_id: int, no_cache: bool | None = None) -> Data:
        """A member of a group: ``nickname``, ``card``, ``role`` and more."""
        data: Data = await self._given("get_group_member_info", group_id=group_id, user_id=user_id, no_cache=no_cache)
        return data

    async def get_group_member_list(self, *, group_id: int, no_cache: bool | None = None) -> list[Data]:
        """The members of a group."""
        data: list[Data] = await self._given("get_group_member_list", group_id=group_id, no_cache=no_cache)
        return data

    async def get_group_honor_info(self, *, group_id: int, type: str) -> Data:
        """Who is ``talkative``, ``performer``, ``legend``, ``strong_newbie``, ``emotion`` in a group, or ``all``."""
        data: Data = await self._given("get_group_honor_info", group_id=group_id, type=type)
        return data

    # Requests.

    async def set_friend_add_request(
        self, *, flag: str, approve: bool | None = None, remark: str | None = None
    ) -> None:
        """Answer a friend request: yes, or with ``approve=False`` no. ``flag`` is that of its event."""
        await self._given("set_friend_add_request", flag=flag, approve=approve, remark=remark)

    async def set_group_add_request(
        self, *, flag: str, sub_type: Literal["add", "invite"], approve: bool | None = None, reason: str | None = None
    ) -> None:
        """Answer a request to join a group or an invitation; ``flag`` and ``sub_type`` are those of its event."""
        await self._given("set_group_add_request", flag=flag, sub_type=sub_type, approve=approve, reason=reason)

    # The account, and others.

    async def get_login_info(self) -> Data:
        """The account's ``user_id`` and ``nickname``."""
        data: Data = await self._given("get_login_info")
        return data

    async def get_stranger_info(self, *, user_id: int, no_cache: bool | None = None) -> Data:
        """A user: ``nickname``, ``sex``, ``age`` and more."""
        data: Data = await self._given("get_stranger_info", user_id=user_id, no_cache=no_cache)
        return data

    async def get_friend_list(self, *, no_cache: bool | None = None) -> list[Data]:
        """The account's friends: ``user_id``, ``nickname``, ``remark``."""
        data: list[Data] = await self._given("get_friend_list", no_cache=no_cache)
        return data

    async def get_image(self, *, file: str) -> Data:
        """Where an image has been stored, ``file``."""
        data: Data = await self._given("get_image", file=file)
        return data

    async def get_record(self, *, file: str, out_format: str) -> Data:
        """Where a voice message has been stored, as ``mp3``, ``wav`` or another format."""
        data: Data = await self._given("get_record", file=file, out_format=out_format)
        return data

    async def can_send_image(self) -> Data:
        """Whether images can be sent, ``yes``."""
        data: Data = await self._given("can_send_image")
        return data

    async def can_send_record(self) -> Data:
        """Whether voice messages can be sent, ``yes``."""
        data: Data = await self._given("can_send_record")
        return data

    async def get_status(self) -> Data:
        """Whether the account is ``online`` and all is ``good``."""
        data: Data = await self._given("get_status")
        return data

    async def get_version_info(self) -> Data:
        """The implementation: ``app_name``, ``app_version``, ``protocol_version``."""
        data: Data = await self._given("get_version_info")
        return data
