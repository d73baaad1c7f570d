"""API calls of a bot: through napcore, with the errors that aiocqhttp raises."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from typing import Any, TypeAlias

from napcore.core.onebot import parse_self_id
from napcore.errors import ActionFailed, AmbiguousAccount, CallError, NotSent
from napcore.net.local import Caller

__all__ = ("HANDLED", "AccountLink", "Calls")

HANDLED: ContextVar[int | None] = ContextVar("napcore_handled_account", default=None)
"""The account of the event that is being handled: its calls need not name one."""

Table: TypeAlias = MutableMapping[str, Any]
"""aiocqhttp's own table of what can be called, by account: ``CQHttp._wsr_api_clients``."""


class AccountLink:
    """Stands for an account where aiocqhttp has a WebSocket: bots look there for the accounts there are."""

    def __init__(self, self_id: int) -> None:
        self.self_id = self_id

    async def close(self, *args: object, **kwargs: object) -> None:
        """Nothing: the link is the relay's, and others use it too."""

    def __repr__(self) -> str:
        return f"<napcore account {self.self_id}>"


class Calls:
    """Stands in the place of aiocqhttp's ``WebSocketReverseApi``.

    ``stock`` is that one: accounts that have dialled the bot itself go on being called by it. ``timeout``
    is the bot's own, in seconds.
    """

    def __init__(
        self, caller: Caller, served: Callable[[], tuple[int, ...]], table: Table, stock: Any, timeout: float
    ) -> None:
        self._caller = caller
        self._served = served
        self._table = table
        self._stock = stock
        self._timeout = timeout

    async def call_action(self, action: str, **params: Any) -> Any:
        """Call ``action`` and return its answer's data.

        ``self_id`` names the account; without it, it is that of the event that is being handled, else the
        only one.

        Raises:
            ActionFailed: the answer says so; ``result`` is the answer.
            ApiNotAvailable: there is no such account, or no link to it; nothing was sent.
            NetworkError: no answer in time, the link was lost meanwhile, or napcore holds calls back.
            TypeError: ``params`` holds what JSON cannot carry.
        """
        account = self._account(params)
        if account is None:
            return await self._stock.call_action(action, **params)
        try:
            return await self._caller.call(action, params, self_id=account, timeout=self._timeout)
        except CallError as error:
            raise self._translated(error, account) from error

    def _account(self, params: dict[str, Any]) -> int | None:
        """Whose call it is; None for aiocqhttp's own links, and where nobody can tell."""
        from quart import websocket

        named = params.get("self_id")
        if named:
            account = parse_self_id(str(named))
            own = account in self._served() or isinstance(self._table.get(str(named)), AccountLink)
            return account if own or str(named) not in self._table else None
        handled = HANDLED.get()
        behind_websocket: object = websocket
        if handled is not None or behind_websocket:
            return handled
        accounts = self._served()
        dialled = {key for key, link in self._table.items() if not isinstance(link, AccountLink)}
        return accounts[0] if len(accounts) == 1 and not dialled - {str(accounts[0])} else None

    def _translated(self, error: CallError, account: int) -> Any:
        import aiocqhttp

        if isinstance(error, ActionFailed):
            return aiocqhttp.ActionFailed(
                {
                    "status": "failed",
                    "retcode": error.retcode,
                    "data": error.data,
                    "message": error.message,
                    "wording": error.wording,
                }
            )
        gone = isinstance(error, NotSent) and account not in self._served()
        if gone or isinstance(error, AmbiguousAccount):
            return aiocqhttp.ApiNotAvailable(str(error))
        return aiocqhttp.NetworkError(str(error))
