"""A task group that its owner's block does not notice."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

__all__ = ("own_tasks",)


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
