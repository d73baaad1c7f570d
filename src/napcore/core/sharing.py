"""Identical ``get_*`` calls that one answer serves. Opt-in; no clock here.

Frameworks ask for the same group's members from every plugin and at every restart; NapCat has
been seen at 800 MB from that alone (NapNeko/NapCatQQ, issue 556).
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from napcore.core.calls import Answer, Asker
from napcore.core.splice import restore_echo
from napcore.dispatch import Request, Response, peek_frame

__all__ = ("SharedGets",)

KEPT_LIMIT: Final = 8 << 20
"""Bytes of answers that are kept."""

FOLLOWERS_LIMIT: Final = 256
"""Calls that may wait for the answer to one."""

_Key: TypeAlias = tuple[object, str, bytes]


class _Follower(NamedTuple):
    asker: Asker
    echo: bytes | None


class _Leader:
    """Asks for several; not waited for by anybody once it has no followers."""

    def __init__(self, table: SharedGets, key: _Key, first: _Follower) -> None:
        self._table = table
        self._key = key
        self.followers = [first]
        self.client = first.asker.client
        """Its call counts for the client that asked first."""

    def answer(self, answer: Answer) -> None:
        """The answer is here: everybody gets it."""
        self._table.settle(self._key, self, answer)


class SharedGets:
    """Who waits for which answer, and answers that are still good.

    ``keep`` is how many seconds a successful answer serves further calls; with 0 it serves only
    those that came while it was under way. Calls are identical when the upstream link, the action
    and the bytes of the params are.
    """

    def __init__(self, keep: float) -> None:
        self.keep = keep
        self.count = 0
        """Calls that were answered from another."""
        self._leaders: dict[_Key, _Leader] = {}
        self._kept: dict[_Key, tuple[float, bytes]] = {}
        self._size = 0
        self._now = 0.0

    def join(self, request: Request, asker: Asker, upstream: object, now: float) -> Asker | Answer | None:
        """Who is to ask: a stand-in whose call goes upstream, or ``asker`` itself where nothing can be shared.

        None: it will be told the answer that somebody waits for already. An Answer: the one that is kept.
        """
        self._now = now
        if not request.action.startswith("get_"):
            return asker
        span = request.params_span
        key = (upstream, request.action, request.raw[slice(*span)] if span is not None else b"")
        self._drop_stale(now)
        if key in self._kept:
            self.count += 1
            return Answer(asker, _restored(self._kept[key][1], request.echo))
        leader = self._leaders.get(key)
        if leader is None:
            leader = self._leaders[key] = _Leader(self, key, _Follower(asker, request.echo))
            return leader
        if len(leader.followers) >= FOLLOWERS_LIMIT:
            return asker
        leader.followers.append(_Follower(asker, request.echo))
        self.count += 1
        return None

    def settle(self, key: _Key, leader: _Leader, answer: Answer) -> None:
        """Hand ``answer`` to everybody who waits for it."""
        if answer.final:
            if self._leaders.get(key) is leader:
                del self._leaders[key]
            found = peek_frame(answer.frame)
            if self.keep and isinstance(found, Response) and found.status == "ok" and answer.retcode is None:
                self._keep(key, answer.frame)
        for follower in tuple(leader.followers):
            # answer() does not wait or raise, but it may make further calls.
            follower.asker.answer(
                Answer(follower.asker, _restored(answer.frame, follower.echo), answer.final, answer.retcode)
            )

    def forget(self, asker: Asker) -> None:
        """``asker`` has gone."""
        for leader in self._leaders.values():
            leader.followers = [follower for follower in leader.followers if follower.asker is not asker]

    def lose(self, upstream: object) -> None:
        """What was asked on this link says nothing any more."""
        for key in [key for key in self._kept if key[0] is upstream]:
            self._size -= len(self._kept.pop(key)[1])

    def _keep(self, key: _Key, frame: bytes) -> None:
        if len(frame) > KEPT_LIMIT // 8:
            return
        self._kept[key] = self._now + self.keep, frame
        self._size += len(frame)
        while self._size > KEPT_LIMIT:
            self._drop_first()

    def _drop_stale(self, now: float) -> None:
        # In the order they were kept, which is that in which they go stale.
        while self._kept and next(iter(self._kept.values()))[0] <= now:
            self._drop_first()

    def _drop_first(self) -> None:
        self._size -= len(self._kept.pop(next(iter(self._kept)))[1])


def _restored(frame: bytes, echo: bytes | None) -> bytes:
    found = peek_frame(frame)
    assert isinstance(found, Response)
    return restore_echo(found, echo)
