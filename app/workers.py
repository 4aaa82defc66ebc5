"""Several server processes behind one listening socket: started, watched, replaced and stopped together.

uvicorn's own supervisor is not used: it takes SIGHUP for a restart, replaces without end what dies at once, waits
without end for what does not stop, and a parent that is killed leaves its workers behind.
"""

import asyncio
import logging
import pickle
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress

from app.manifest import PersistedDocument
from app.server import GRACE_SECONDS, STOP_SIGNALS, configure_logging, ignore_stop_signals
from app.settings import Settings, StartError

# A worker says every second that it runs. One that is silent so many times in a row, each time for so long, hangs.
SILENCES = 3
SILENCE_SECONDS = 10.0
START_SECONDS = 30.0  # the same until it says so for the first time
# A worker that lived this long was well. One that dies sooner, so many times in a row, will not get well.
WELL_SECONDS = 30.0
DEATHS = 5
DELAY_SECONDS = 0.1  # before a replacement, and twice as long before the next
# After that a worker is killed. Besides the requests' grace: telling the live sessions, and ending the app's own tasks.
STOP_SECONDS = GRACE_SECONDS + 2

logger = logging.getLogger("parley.workers")


def serve_in_workers(
    count: int,
    settings: Settings,
    manifest: Sequence[PersistedDocument] | None,
    url: str,
    listener: socket.socket,
    *,
    alive: Callable[[], bool],
    announce: Callable[[], None],
) -> None:
    """Serve in `count` processes until a signal says stop, or until `alive` says that the database has gone.

    `announce` is called when all of them listen. Raises StartError when they do not stay up.
    """
    configure_logging(settings)
    try:
        asyncio.run(_Workers(count, (settings, manifest, url), listener, announce).run(alive))
    finally:
        ignore_stop_signals()


class _Workers:
    def __init__(self, count: int, job: object, listener: socket.socket, announce: Callable[[], None]) -> None:
        self._count = self._awaited = count
        # Handed over, since the environment, `.env` and the manifest, read once more, might say something else by then.
        self._job = b64encode(pickle.dumps(job)) + b"\n"
        self._listener = listener
        self._announce = announce
        self._running: set[Process] = set()
        self._stopping = asyncio.Event()

    async def run(self, alive: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        for stop in STOP_SIGNALS:
            if signal.getsignal(stop) != signal.SIG_IGN:  # as nohup leaves SIGHUP
                signal.signal(stop, lambda *_: loop.call_soon_threadsafe(self._stopping.set))
        tasks = [asyncio.create_task(self._keep(number)) for number in range(self._count)]
        while alive() and not self._stopping.is_set():
            await self._pause(1)
        self._stopping.set()
        # Clients must not go on queueing where nobody accepts them any more.
        self._listener.close()
        self._tell(signal.SIGTERM)
        await asyncio.wait(tasks, timeout=STOP_SECONDS)
        self._tell(signal.SIGKILL)
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _keep(self, number: int) -> None:
        """One worker after the other, until all shall stop."""
        deaths, was_up = 0, False
        try:
            while not self._stopping.is_set():
                begin = time.monotonic()
                process = await self._start(number)
                if await self._hear(process, START_SECONDS):
                    self._awaited -= not was_up
                    if not was_up and not self._awaited:
                        self._announce()
                    was_up = True
                    while await self._hear(process, SILENCE_SECONDS):
                        pass
                code = await process.wait()
                self._running.discard(process)
                if self._stopping.is_set():
                    break
                end = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
                if not was_up:
                    raise StartError(f"A server process does not start ({end}). What it wrote above says why.")
                deaths = 1 if time.monotonic() > begin + WELL_SECONDS else deaths + 1
                if deaths == DEATHS:
                    raise StartError(f"Server processes end soon after their start, again and again (now: {end}).")
                logger.error("worker process %d has ended (%s) and is replaced", process.pid, end)
                await self._pause(DELAY_SECONDS * 2**deaths)
        finally:
            self._stopping.set()

    async def _start(self, number: int) -> Process:
        listener = self._listener.fileno()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.worker", str(listener), str(number)),
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=[listener],
            start_new_session=True,  # else Ctrl-C, sent to the terminal's whole group, ends it before it is told to
        )
        self._running.add(process)
        if process.stdin is not None:
            # And left open: its end is how a worker learns that this process is gone.
            process.stdin.write(self._job)
        if self._stopping.is_set():
            self._tell(signal.SIGTERM)
        return process

    async def _hear(self, process: Process, seconds: float) -> bool:
        """Wait for the worker's next sign of life; False when it has ended. One that hangs is ended."""
        for _ in range(SILENCES):
            # Once alone may be this process's own fault, held up by others.
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    return process.stdout is not None and await process.stdout.read(100) != b""
        logger.error("worker process %d hangs", process.pid)
        with suppress(ProcessLookupError):
            process.kill()
        return False

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _tell(self, number: signal.Signals) -> None:
        for process in self._running:
            with suppress(ProcessLookupError):
                process.send_signal(number)
