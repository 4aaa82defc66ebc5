"""A faulty network between a process and its Redis: a TCP proxy that can stall, cut, lose, repeat and reorder.

It knows enough of RESP to do so to whole messages on their way to a subscriber; all else passes as it is.
"""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from types import TracebackType
from typing import Self

MESSAGE = (b"*3\r\n$7\r\nmessage\r\n", b">3\r\n$7\r\nmessage\r\n")  # in RESP2 and RESP3
GONE = (OSError, asyncio.IncompleteReadError)


class RedisProxy:
    """Listens on `port` of the loopback inside `async with`. The faults are attributes, to be set at any time.

    `loses` is the share of messages that vanish, `doubles` repeats each, `swaps` sends each second one first, holding
    the other for 50 ms at most. `done` counts what was done: "lost", "doubled", "swapped".
    """

    HOLD = 0.05

    def __init__(self, redis_port: int, *, seed: int = 0) -> None:
        self.loses = 0.0
        self.doubles = False
        self.swaps = False
        self.done = Counter[str]()
        self._redis_port = redis_port
        self._chance = random.Random(seed)  # noqa: S311 - the same messages get lost in each run
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        self.thaw()
        await asyncio.gather(*self._tasks)

    def freeze(self) -> None:
        """A black hole: connections stay, new ones are accepted, and nothing comes through."""
        self._flows.clear()

    def thaw(self) -> None:
        """What the black hole swallowed comes out."""
        self._flows.set()

    def cut(self) -> None:
        """Reset the connections that there are; new ones may come."""
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", self._redis_port)
            self._writers.add(redis_writer)
            await asyncio.gather(self._copy(reader, redis_writer), self._deliver(redis_reader, writer))
            self._writers.discard(redis_writer)
        except OSError:
            writer.close()
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(*GONE):
            while data := await reader.read(65536):
                await self._send(writer, data)
        writer.close()

    async def _deliver(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held: list[bytes] = []
        with suppress(*GONE):
            while data := await read_reply(reader):
                if not data.startswith(MESSAGE):
                    await self._send(writer, data)
                elif self._chance.random() < self.loses:
                    self.done["lost"] += 1
                elif self.doubles:
                    self.done["doubled"] += 1
                    await self._send(writer, data * 2)
                elif held:
                    self.done["swapped"] += 1
                    await self._send(writer, data + held.pop())
                elif self.swaps:
                    held.append(data)
                    asyncio.get_running_loop().call_later(self.HOLD, self._release, writer, held, data)
                else:
                    await self._send(writer, data)
        writer.close()

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        await self._flows.wait()
        writer.write(data)
        await writer.drain()

    def _release(self, writer: asyncio.StreamWriter, held: list[bytes], data: bytes) -> None:
        if held and held[0] is data:
            writer.write(held.pop())


async def read_reply(reader: asyncio.StreamReader) -> bytes:
    """One whole reply of Redis, as it came. Empty at the end."""
    line = await reader.readline()
    kind, count = line[:1], line[1:-2]
    if kind in {b"*", b">", b"~", b"%"}:
        parts = int(count) * (2 if kind == b"%" else 1)
        return line + b"".join([await read_reply(reader) for _ in range(parts)])
    if kind in {b"$", b"=", b"!"} and int(count) >= 0:
        return line + await reader.readexactly(int(count) + 2)
    return line
