"""Blocking calls of a storage: off the event loop, in bounded time, with one line in the log per outage."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from errno import ECANCELED, EIO
from threading import Thread
from typing import Any, BinaryIO, TypeVar

from app.errors import StorageUnavailable

T = TypeVar("T")

THREADS = 8  # for uploads, and as many for all else, which does not wait for them
CALL_SECONDS = 15.0  # of anything but an upload, the wait for a thread included
SLOWEST_UPLOAD = 1_000_000  # bytes per second that an upload may take beside CALL_SECONDS
ENDING_SECONDS = 5.0  # for the thread of an upload that was given up to notice it

logger = logging.getLogger(__name__)


class Body:
    """The content of an upload, from its beginning, which can be given up: whoever reads on in a thread fails then."""

    def __init__(self, content: BinaryIO, size: int) -> None:
        content.seek(0)
        self._content = content
        self._size = size
        self._is_given_up = False
        self.seek = content.seek
        self.tell = content.tell

    def read(self, size: int = -1) -> bytes:
        if self._is_given_up:
            raise OSError(ECANCELED, "nobody waits for it any more")
        chunk = self._content.read(size)
        if not chunk and size and self.tell() != self._size:
            raise OSError(EIO, "the content has another size")  # else S3 waits for the rest
        return chunk

    def give_up(self) -> None:
        self._is_given_up = True


class Calls:
    """No pool of `concurrent.futures`: the end of the process would wait for each thread that hangs in a call."""

    def __init__(
        self, place: str, errors: tuple[type[Exception], ...], describe: Callable[[Exception], str] | None = None
    ) -> None:
        """`errors` mean that the storage at `place` does not work now; `describe` puts them in words for the log."""
        self._place = place
        self._errors: tuple[type[Exception], ...] = (TimeoutError, *errors)
        self._describe = describe or _describe
        self._turns = asyncio.Semaphore(THREADS)
        self._upload_turns = asyncio.Semaphore(THREADS)
        self._is_out = False

    async def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """Raises StorageUnavailable when it fails or takes too long; it may then go on in its thread."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                running = await _begin(self._turns, call, *arguments)
                await asyncio.wait({running})
            result = running.result()
        except self._errors as error:
            raise self._failed(error) from None
        self._worked()
        return result

    async def upload(self, call: Callable[[Body], None], content: BinaryIO, size: int) -> None:
        """As `run`; however it ends, the content is not read any more, and no object appears later.

        But for a thread that hangs for longer than ENDING_SECONDS.
        """
        body = Body(content, size)
        running: asyncio.Future[None] | None = None
        try:
            async with asyncio.timeout(CALL_SECONDS + size / SLOWEST_UPLOAD):
                running = await _begin(self._upload_turns, call, body)
                await asyncio.wait({running})
            running.result()
        except self._errors as error:
            raise self._failed(error) from None
        finally:
            body.give_up()
            if running is not None and not running.done():
                await asyncio.wait({running}, timeout=ENDING_SECONDS)
        self._worked()

    def _failed(self, error: Exception) -> StorageUnavailable:
        if not self._is_out:
            logger.warning("The storage of files (%s) does not work: %s", self._place, self._describe(error))
        self._is_out = True
        return StorageUnavailable()

    def _worked(self) -> None:
        if self._is_out:
            logger.info("The storage of files (%s) works again", self._place)
        self._is_out = False


async def _begin(turns: asyncio.Semaphore, call: Callable[..., T], *arguments: Any) -> "asyncio.Future[T]":
    """Run it in a thread, which keeps its turn for as long as it lives, whoever waits for it or not."""
    await turns.acquire()
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def end(value: Any, failure: Exception | None) -> None:
        turns.release()
        if failure is None:
            result.set_result(value)
        else:
            result.set_exception(failure)
            result.exception()  # counts as seen, where nobody waits any more

    def work() -> None:
        value, failure = None, None
        try:
            value = call(*arguments)
        except Exception as error:  # noqa: BLE001 - it is for the caller
            failure = error
        with suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(end, value, failure)

    try:
        Thread(target=work, name="storage", daemon=True).start()
    except RuntimeError:  # no more threads
        turns.release()
        raise
    return result


def _describe(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    # Without the path, which names somebody's object.
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
