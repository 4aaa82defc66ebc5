"""A file on its way through this server: in an unnamed temporary file, which a kill leaves nowhere."""

import asyncio
import logging
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor
from threading import Lock
from typing import BinaryIO

from app.errors import Unavailable

# What memory holds of a file, and a thread writes at a time.
CHUNK_BYTES = 256 * 1024

_log = logging.getLogger("parley.uploads")


class Spool:
    """One file. The disk is touched by the executor's threads only: it can be slow, and the event loop must not be.

    The lock is for a request that is cancelled while a thread writes: a closed file's number may be another's by then.
    """

    def __init__(self, disk: Executor) -> None:
        self.size = 0
        self._disk = disk
        self._pieces: list[bytes] = []
        self._held = 0
        self._lock = Lock()
        self._file: BinaryIO | None = None
        self._is_closed = False

    async def write(self, piece: bytes) -> None:
        """Raises Unavailable if the disk does not take it."""
        self._pieces.append(piece)
        self.size += len(piece)
        self._held += len(piece)
        if self._held >= CHUNK_BYTES:
            await self._on_disk(self._write)

    async def finish(self) -> BinaryIO:
        """The file with all that was written, at its beginning. Raises Unavailable like `write`."""
        await self._on_disk(self._finish)
        assert self._file is not None  # noqa: S101 - made a line above
        return self._file

    def close(self) -> None:
        """In a thread as well: the file goes with it, which takes time."""
        self._disk.submit(self._close)

    async def _on_disk(self, work: Callable[[list[bytes]], None]) -> None:
        pieces, self._pieces, self._held = self._pieces, [], 0
        try:
            await asyncio.wrap_future(self._disk.submit(work, pieces))
        except OSError as error:
            where = tempfile.gettempdir()
            _log.error("Cannot keep a file in %s: %s. Make room there, or set TMPDIR.", where, error.strerror)
            raise Unavailable("The server has no room for files at the moment. Try again later.") from None

    def _write(self, pieces: list[bytes]) -> None:
        with self._lock:
            if self._is_closed:
                return
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
            self._file.writelines(pieces)

    def _finish(self, pieces: list[bytes]) -> None:
        self._write(pieces)
        with self._lock:
            if self._file is not None and not self._is_closed:
                self._file.seek(0)

    def _close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._file is not None:
                self._file.close()
