"""Task groups that their owner's block does not notice."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup

__all__ = ("own_tasks", "scoped", "sheltered_tasks")


class _Scoped(Protocol):
    scope: anyio.CancelScope | None


_Owner = TypeVar("_Owner", bound=_Scoped)


@asynccontextmanager
async def own_tasks() -> AsyncGenerator[TaskGroup, None]:
    """A task group for as long as the block lasts; its tasks are cancelled at the end.

    An exception of the block comes out as it is, not wrapped in a group.
    """
    fault: BaseException | None = None
    try:
        async with anyio.create_task_group() as tasks:
            try:
                yield tasks
            except (Exception, KeyboardInterrupt, SystemExit) as error:
                # Raised again outside, or the task group would wrap it.
                fault = error
            tasks.cancel_scope.cancel()
    finally:
        # Also where the block is being cancelled, which the task group reports in its place.
        if fault is not None:
            raise fault


@asynccontextmanager
async def sheltered_tasks() -> AsyncGenerator[TaskGroup, None]:
    """The same, for tasks that go on while the block is being cancelled, until it has been left."""
    found: list[TaskGroup] = []
    ready = anyio.Event()
    async with own_tasks() as outer:
        outer.start_soon(_shelter, found, ready)
        # Not start(): cancelled halfway, that would leave a shelter which nothing ends.
        with anyio.CancelScope(shield=True):
            await ready.wait()
        (tasks,) = found
        try:
            yield tasks
        finally:
            tasks.cancel_scope.cancel()


async def _shelter(found: list[TaskGroup], ready: anyio.Event) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.cancel_scope.shield = True
        found.append(tasks)
        ready.set()
        await anyio.sleep_forever()


async def scoped(owner: _Owner, work: Callable[[_Owner], Awaitable[None]]) -> None:
    """Work for ``owner`` inside its cancel scope, which it has."""
    assert owner.scope is not None
    with owner.scope:
        await work(owner)
