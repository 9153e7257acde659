"""From the event loop, where bytes come in, to a thread, where files are written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, from_thread, to_thread

from lib_lora_train.errors import UserError

SILENCE = 60.0  # seconds without a byte, after which a caller counts as gone

Result = TypeVar("Result")


async def in_thread(
    work: Callable[[Iterator[bytes]], Result], chunks: AsyncIterator[bytes], limiter: CapacityLimiter
) -> Result:
    """Runs `work` in a thread, with an iterator that waits for what comes in here.

    Raises what reading raises, also when `work` made something else of it, and UserError("api.cut") when nothing comes
    any more.
    """
    failures: list[UserError] = []

    async def following() -> bytes | None:
        try:
            with anyio.move_on_after(SILENCE):
                return await anext(chunks, None)
            raise UserError("api.cut")
        except UserError as error:
            failures.append(error)
            raise

    def iterate() -> Iterator[bytes]:
        while (chunk := from_thread.run(following)) is not None:
            yield chunk

    result = await to_thread.run_sync(lambda: work(iterate()), limiter=limiter)
    if failures:
        raise failures[0]
    return result
