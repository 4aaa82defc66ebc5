"""Waiting for what happens by itself."""

import asyncio
import time
from collections.abc import Callable


async def eventually(is_so: Callable[[], object], seconds: float = 15.0) -> None:
    """Return as soon as the condition holds. Fails the test when it does not within the time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)
