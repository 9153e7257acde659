"""`python -m lib_lora_train` on a machine with too much to do: every route waits up to `LORA_TRAIN_LATE_SERVER` ms before
its work and after it, each by its own lot. What a page asks for in one order is done in another."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response

from lib_lora_train.api.route import GuardedRoute
from lib_lora_train.cli import main

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def make_late(most: float) -> None:
    """Of all routes that are made from now on. `most` is in seconds."""
    prompt = GuardedRoute.get_route_handler

    def late(self: GuardedRoute) -> Handler:
        answer = prompt(self)

        async def handler(request: Request) -> Response:
            await asyncio.sleep(random.uniform(0, most))
            response = await answer(request)
            await asyncio.sleep(random.uniform(0, most))
            return response

        return handler

    GuardedRoute.get_route_handler = late  # type: ignore[method-assign]


if __name__ == "__main__":
    make_late(float(os.environ["LORA_TRAIN_LATE_SERVER"]) / 1000)
    sys.exit(main())
