"""Frames on their way out: what is due in one turn of the loop leaves in one call, and in one write for each peer."""

import asyncio
import logging
from typing import Protocol
from weakref import WeakKeyDictionary

logger = logging.getLogger("parley.sockets")


class Connection(Protocol):
    """Something that has collected frames."""

    loop: asyncio.AbstractEventLoop

    def flush(self) -> None:
        """Write what was collected."""

    def cut(self) -> None:
        """End at once."""


class Outbox:
    """The connections of one loop that have something to send."""

    def __init__(self) -> None:
        self._waiting: list[Connection] = []

    def add(self, connection: Connection) -> None:
        """Once for each time that it begins to collect."""
        if not self._waiting:
            connection.loop.call_soon(self._flush)
        self._waiting.append(connection)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            try:
                connection.flush()
            except Exception:  # one that fails must not silence the others
                logger.exception("a socket could not be written to")
                connection.cut()


_OUTBOXES: WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = WeakKeyDictionary()


def outbox_of(loop: asyncio.AbstractEventLoop) -> Outbox:
    return _OUTBOXES.setdefault(loop, Outbox())


def text_header(length: int) -> bytes:
    """The header of a complete, unmasked text frame (RFC 6455, section 5.2)."""
    if length < 126:  # noqa: PLR2004 - the RFC's number, as below
        return b"\x81" + length.to_bytes(1, "big")
    if length < 65536:  # noqa: PLR2004
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")
