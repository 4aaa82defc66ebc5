"""Nodes: real server processes on one database, that can be stopped, killed and frozen. The harness of the fault tests.

How a fault test is put together:

    first, second = (Node(folder, url, REDIS_URL=redis.url) for _ in range(2))
    async with running(first, second):
        alice = await first.person("alice")  # talks to that node; all nodes of `folder` take the token
        channel = await documents.create_channel(alice)
        watchers = Watcher(alice, first, channel=channel), Watcher(alice, second)  # tests/watcher.py
        async with watching(*watchers), Load([alice], [channel], rate=50) as load:  # tests/load.py
            ...the fault...
            await load.stop()
            await judge(database, watchers, seconds=2)  # tests/oracle.py: all of it, once, in order
            await load.judge(database)  # and whatever was acknowledged is there, once

`url` is a migrated database (`new_database("name")`), `folder` any new one (`tmp_path`): nodes that share it share the
issuer of tokens. When something fails inside `watching`, the ends of the nodes' logs are part of the report.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path

import httpx

from app.auth import LocalIssuer
from tests.conftest import Person
from tests.processes import PROGRAM, START_LIMIT, environment

# Limits that the faults are not about.
ROOMY = {"MAX_WEBSOCKET_CONNECTIONS_PER_USER": "100000", "MAX_TOTAL_WEBSOCKET_CONNECTIONS": "100000"}
STOP_LIMIT = 10.0
TAIL = 4000  # characters of a log in a report
NUMBERS = count(1)


class Address:
    """A server on a port of the loopback: all that watchers (tests/watcher.py) need."""

    port: int

    @property
    def log(self) -> str:
        """What it wrote, as far as that is in a file of its own."""
        return ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def readiness(self) -> str:
        """What /readyz says: ok, degraded or unavailable."""
        # By hand: an httpx client takes 20 ms to make, and this is asked again and again.
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: parley.test\r\nConnection: close\r\n\r\n")
        _, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return str(json.loads(body)["status"])

    async def becomes(self, status: str, *, seconds: float = 10) -> None:
        """Wait for this readiness."""
        deadline = time.monotonic() + seconds
        while (found := await self.readiness()) != status:
            assert time.monotonic() < deadline, f"{self.url} is {found}, not {status}, after {seconds} s"
            await asyncio.sleep(0.05)


class Node(Address):
    """One process of `parley serve` with these settings. It keeps its port over a restart."""

    def __init__(self, folder: Path, url: str, **settings: str) -> None:
        self.name = f"node {next(NUMBERS)}"
        self.folder = folder
        self.database_url = url
        self.port = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._settings = {"DB_URL": url, **ROOMY, **settings}
        self._file = folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[httpx.AsyncClient] = []

    @property
    def pid(self) -> int:
        assert self._process is not None, "it is not running"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All that it wrote, in this life and earlier ones."""
        return self._file.read_text(errors="replace") if self._file.exists() else ""

    @property
    def resident_bytes(self) -> int:
        pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    async def start(self) -> None:
        """Returns when it listens: 2 s, most of which are imports."""
        before = len(self.log)
        settings = {**self._settings, "PORT": str(self.port)}
        with self._file.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond
                [*PROGRAM, "serve", "--no-migrate"],
                cwd="/",
                env=environment(self.folder, **settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_LIMIT
        while "Ctrl-C" not in (said := self.log[before:]):
            assert self.is_running, f"{self.name} does not start: {said}"
            assert time.monotonic() < deadline, f"{self.name} does not listen: {said}"
            await asyncio.sleep(0.01)
        address = re.search(r"http://127\.0\.0\.1:(\d+)", said)
        assert address, said
        self.port = int(address[1])

    async def stop(self) -> int:
        """By SIGTERM, as a service manager does. The exit code."""
        self.terminate()
        return await self._ended()

    def terminate(self) -> None:
        """Begin to stop."""
        os.kill(self.pid, signal.SIGTERM)

    async def kill(self) -> None:
        """By SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)
        await self._ended()

    def freeze(self) -> None:
        """Its connections stay, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def person(self, name: str, *, admin: bool = False, token: str = "") -> Person:
        """Somebody who talks to this node over HTTP, by a connection pool of their own. With a new token, or this."""
        # The server ends connections that are idle for 5 s. A request that is sent at that moment would be lost.
        limits = httpx.Limits(keepalive_expiry=2)
        http = httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False, limits=limits)
        self._clients.append(http)
        person = Person(name, token or LocalIssuer(self.folder).issue(name, admin=admin), http)
        person.id = (await person.ask("{ viewer { user { id } } }"))["user"]["id"]
        return person

    async def close(self) -> None:
        """End it whatever it does, with its clients."""
        for client in self._clients:
            await client.aclose()
        self._clients.clear()
        if self.is_running:
            self.thaw()
            self.terminate()
            try:
                await self._ended()
            finally:
                if self.is_running:
                    await self.kill()

    async def _ended(self) -> int:
        assert self._process is not None
        deadline = time.monotonic() + STOP_LIMIT
        while (code := self._process.poll()) is None:
            assert time.monotonic() < deadline, f"{self.name} does not end"
            await asyncio.sleep(0.005)
        self._process = None
        return code


@contextmanager
def logs_shown(nodes: Iterable[Address]) -> Generator[None, None, None]:
    """An error that comes through here takes the ends of the logs with it."""
    try:
        yield
    except Exception as error:
        for node in nodes:
            error.add_note(f"--- What {node.url} wrote at last:\n{node.log[-TAIL:]}")
        raise


@asynccontextmanager
async def running(*nodes: Node) -> AsyncGenerator[tuple[Node, ...], None]:
    """All of them, started together. None may log a traceback."""
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        yield nodes
    finally:
        await asyncio.gather(*(node.close() for node in nodes))
    for node in nodes:
        assert "Traceback" not in node.log, node.log[node.log.index("Traceback") - 500 :][:TAIL]
