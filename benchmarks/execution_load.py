"""The load of benchmarks/execution, in a process of its own.

Every line of standard input is a run in JSON, the arguments of `run`; the answer is a line of JSON too. Each connection
sends the next request when the last one is answered.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any, cast

import uvloop
from httptools import HttpResponseParser

OK = 200
GRACE_SECONDS = 30.0  # for the answers to what was sent before the end


class Requests:
    """What the connections of one run have in common."""

    def __init__(self, requests: Sequence[bytes], seconds: float, connections: int) -> None:
        self.requests = requests
        self.sent = 0
        self.open = connections
        self.delays: list[float] = []
        self.size = 0
        self.wrong = ""
        self.begun = self.last = time.perf_counter()
        self.end = self.begun + seconds
        self.done = asyncio.get_running_loop().create_future()

    def next(self) -> bytes:
        self.sent += 1
        return self.requests[self.sent % len(self.requests)]

    def fail(self, why: str) -> None:
        self.wrong = self.wrong or why
        self.end = 0.0

    def left(self) -> None:
        self.open -= 1
        if self.open == 0 and not self.done.done():
            self.done.set_result(None)


class Connection(asyncio.Protocol):
    """One keep-alive connection. httptools calls its methods `on_...`."""

    def __init__(self, run: Requests) -> None:
        self.run = run
        self.waits = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.parser = HttpResponseParser(self)
        self._send()

    def _send(self) -> None:
        self.parts: list[bytes] = []
        self.waits = True
        self.begun = time.perf_counter()
        self.transport.write(self.run.next())

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)

    def on_message_complete(self) -> None:
        run, body = self.run, b"".join(self.parts)
        run.last = time.perf_counter()
        run.delays.append(run.last - self.begun)
        run.size += len(body)
        self.waits = False
        # A payload's own list of errors is there, and empty.
        if self.parser.get_status_code() != OK or body.count(b'"errors"') != body.count(b'"errors":[]'):
            run.fail(f"{self.parser.get_status_code()}: {body[:500].decode(errors='replace')}")
        if run.last < run.end:
            self._send()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waits:
            self.run.fail(f"The server closed a connection: {exc!r}")
        self.run.left()


def request(path: str, token: str, body: str) -> bytes:
    content = body.encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Accept: application/json",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *([f"Authorization: Bearer {token}"] if token else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content


async def run(
    *, port: int, path: str, token: str, bodies: Sequence[str], seconds: float, connections: int
) -> dict[str, Any]:
    """The bodies in turns, for so many seconds."""
    loop = asyncio.get_running_loop()
    made = Requests([request(path, token, body) for body in bodies], seconds, connections)
    busy = time.process_time()
    for _ in range(connections):
        await loop.create_connection(lambda: Connection(made), "127.0.0.1", port)
    async with asyncio.timeout(seconds + GRACE_SECONDS):
        await made.done
    delays = sorted(made.delays) or [0.0]
    took = made.last - made.begun
    return {
        "wrong": made.wrong,
        "requests": len(made.delays),
        "seconds": took,
        "bytes": made.size // len(delays),
        "p50_ms": delays[len(delays) // 2] * 1e3,
        "p99_ms": delays[len(delays) * 99 // 100] * 1e3,
        "load_cpu": (time.process_time() - busy) / took if took else 0.0,
    }


async def main() -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await run(**json.loads(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
