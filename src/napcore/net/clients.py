"""The table of clients: declared ones, ad-hoc names and anonymous links, with their sessions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from napcore.core.filter import Filter
from napcore.core.policy import Policy
from napcore.core.stats import ClientStatistics, add_up
from napcore.net.client import ClientLink, RemoteClient, Session

if TYPE_CHECKING:
    from napcore.net.relay import Relay

__all__ = ("Clients",)

AD_HOC_LIMIT = 256
"""Names that holders of the listen token may make up."""

UNKNOWN_LIMIT = 16
"""Sessions a client may ask for with ``?self_id=`` of accounts that nobody has seen."""

HEARTBEAT = 15.0
"""Seconds between heartbeats; NoneBot2's aiohttp driver gives a silent link up after 30."""

_log = logging.getLogger("napcore.clients")


class Clients:
    """Clients by name, and their sessions."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.links: set[ClientLink] = set()
        """Every open link of a client, with or without a session."""
        self._clients: dict[str, RemoteClient] = {}
        self._ending: list[Session] = []  # taken out of the table; their links may still be closing
        self._gone = add_up()
        self._anonymous = 0
        self._guessed = False

    def __iter__(self) -> Iterator[RemoteClient]:
        return iter(tuple(self._clients.values()))

    def __contains__(self, name: str) -> bool:
        return name in self._clients

    def add(self, client: RemoteClient) -> None:
        """Enter a declared client."""
        self._clients[client.name] = client

    def sessions(self) -> list[Session]:
        """Every session."""
        return [session for client in self for session in client.sessions.values()]

    def tokens(self) -> dict[str, str | None]:
        """The declared clients that dial in, with their own tokens."""
        return {
            client.name: client.token for client in self._clients.values() if client.declared and client.url is None
        }

    def dials(self, name: str | None) -> bool:
        """Whether ``name`` belongs to a client that we dial."""
        client = self._clients.get(name or "")
        return client is not None and client.url is not None

    def dial_in(self, name: str | None) -> RemoteClient | None:
        """The client a link belongs to: declared, ad-hoc, or new and anonymous. None if there are too many."""
        if name is not None and name in self._clients:
            return self._clients[name]
        anonymous = name is None
        if name is None:
            name = self._next_name()
        elif sum(not client.declared for client in self._clients.values()) >= AD_HOC_LIMIT:
            _log.warning("client name refused: %d names that were not declared are in use", AD_HOC_LIMIT)
            return None
        client = RemoteClient(
            self._relay,
            name,
            None,
            token=None,
            filter=Filter(),
            policy=Policy(),
            message_format=None,
            heartbeat=HEARTBEAT,
            ssl_context=None,
            declared=False,
            anonymous=anonymous,
        )
        self._clients[name] = client
        return client

    def _next_name(self) -> str:
        while True:
            self._anonymous += 1
            name = f"ws-{self._anonymous}"
            if name not in self._clients:
                return name

    def crowded(self, client: RemoteClient, wanted: int | None) -> bool:
        """Whether a client that asks for ``wanted`` already has as many sessions for unknown accounts as it may."""
        accounts = self._relay.traffic.accounts
        if wanted is None or wanted in accounts or wanted in client.sessions:
            return False
        unknown = [self_id for self_id in client.sessions if self_id is not None and self_id not in accounts]
        return len(unknown) >= UNKNOWN_LIMIT

    def session(self, client: RemoteClient, wanted: int | None) -> Session:
        """The session of a client that dials in, for the account it asks for, or else the first one."""
        accounts = self._relay.traffic.accounts
        self_id = accounts.first if wanted is None else wanted
        if wanted is None and len(accounts) > 1 and not self._guessed:
            self._guessed = True
            _log.warning(
                "client %s did not say which account it wants and gets %s; add ?self_id= to its URL",
                client.name,
                self_id,
            )
        session = client.sessions.get(self_id)
        if session is None:
            session = client.sessions[self_id] = Session(self._relay, client, self_id)
        return session

    def leave(self, client: RemoteClient) -> None:
        """A link has ended: an anonymous client is forgotten with it, and one that had no session."""
        if client.anonymous or not (client.declared or client.sessions):
            self._forget_idle(client)

    def check(self, now: float) -> None:
        """To be called about once a second, with ``time.monotonic()``; a made-up name is forgotten after its hold."""
        for client in self:
            for session in client.sessions.values():
                session.check(now)
            if not client.declared and all(session.forsaken for session in client.sessions.values()):
                self._forget_idle(client)

    def _forget_idle(self, client: RemoteClient) -> None:
        linked = any(link.client is client for link in self.links)
        if not (linked or self._relay.closing or any(one.takeover.locked() for one in client.sessions.values())):
            self.forget(client)

    def forget(self, client: RemoteClient, reason: str = "hold") -> None:
        """Take a client out of the table; what waits is counted under ``reason``."""
        if self._clients.get(client.name) is client:
            del self._clients[client.name]
            self._ending.extend(client.sessions.values())
        for session in client.sessions.values():
            session.retire(reason)

    def gone(self) -> ClientStatistics:
        """The ledgers of all sessions that have been taken out of the table, added up."""
        linked = [session for session in self._ending if session.link is not None]
        ended = [session.statistics() for session in self._ending if session.link is None]
        self._gone, self._ending = add_up(self._gone, *ended), linked
        return add_up(self._gone, *(session.statistics() for session in linked))

    def greet(self, self_id: int) -> None:
        """An account is known now: open sessions of it, and give those that waited for one theirs."""
        for client in self:
            if self_id in client.sessions:
                client.sessions[self_id].greet()
            elif None in client.sessions:
                waiting = client.sessions[self_id] = client.sessions.pop(None)
                waiting.bind(self_id)
            if client.url is not None:
                self.open(client, self_id)

    def refilter(self, client: RemoteClient) -> None:
        """A client's filter has changed: its sessions take it over, and accounts it lets in now are dialled."""
        for session in client.sessions.values():
            session.refilter()
        if client.url is not None and self._clients.get(client.name) is client:
            for self_id in self._relay.traffic.accounts:
                self.open(client, self_id)

    def open(self, client: RemoteClient, self_id: int) -> None:
        """Start dialling a client for an account, unless its filter rules the account out."""
        wanted = client.filter.self_ids
        if self_id not in client.sessions and (wanted is None or self_id in wanted):
            session = client.sessions[self_id] = Session(self._relay, client, self_id)
            self._relay.start_dialling(session)
