"""Uploads that end with the server, and a server whose S3 has ended: nothing is forgotten, and nobody else waits."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from app.db import Database
from tests.conftest import Person
from tests.documents import SEND, create_channel, number, only, scalar, send
from tests.eventually import eventually
from tests.file_places import MB, TO_FILE, empty, in_s3, make_node, on_the_disk, temporary_files
from tests.forms import HEADERS, file, form, operations
from tests.load import Load
from tests.nodes import Node, logs_shown, running
from tests.processes import STOP_LIMIT
from tests.s3_server import S3Server
from tests.tcp_proxy import RedisProxy
from tests.uploads import DELETE_FILE, READ_FILE, UPLOAD, Sent, download, send_file, upload

pytestmark = pytest.mark.faults

SIZE = 24 * MB
LINE = b"a line of text.\n"
# An upload is given 15 s and 1 s for each megabyte (app/storage/calls.py); the machine may do other things.
PATIENCE = 25.0
TIMES = "SELECT remove_after, remove_after < now() + interval '61 minutes', failures FROM stored_objects"
DUE = "UPDATE stored_objects SET remove_after = now() WHERE remove_after IS NOT NULL"
LEFT = "SELECT count(*) FROM stored_objects WHERE remove_after IS NOT NULL"
SOON = (
    "SELECT bool_and(remove_after < now() + interval '61 minutes') FROM stored_objects WHERE remove_after IS NOT NULL"
)
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


class S3Proxy(RedisProxy):
    """The network between. After `passes` bytes, in both directions together, it is a black hole."""

    passes: int | None = None

    async def _deliver(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._copy(reader, writer)

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if self.passes is not None:
            self.passes -= len(data)
            if self.passes < 0:
                self.freeze()
        await super()._send(writer, data)

    @property
    def is_full(self) -> bool:
        return self.passes is not None and self.passes < 0

    async def replace(self) -> None:
        """Back to an ordinary network; what was in the black hole is lost."""
        self.passes = None
        self.cut()
        await asyncio.sleep(0)
        self.thaw()


@dataclass
class Place:
    """A server, its database, and what is in its storage: names of files or of objects."""

    node: Node
    database: Database
    objects: Callable[[], set[str]]
    proxy: S3Proxy | None = None  # to its S3
    writer: Person | None = None
    channel: str = ""
    kept: str = ""
    there: frozenset[str] = frozenset()

    async def begin(self) -> None:
        """Somebody with a channel, and a file that a message carries: that one has to stay."""
        self.writer = await self.node.person("alice")
        self.channel = await create_channel(self.writer, f"files {time.monotonic()}")
        self.kept = await upload(self.writer, self.channel)
        given = {"channelId": self.channel, "content": "kept", "fileIds": [self.kept]}
        await self.writer.ask(only("message { id }", SEND), input=given)
        self.there = frozenset(self.objects())

    def body(self) -> bytes:
        given = {"channelId": self.channel, "file": None}
        return form(operations(UPLOAD, input=given), TO_FILE, file(content=content()))

    def sending(self) -> "asyncio.Task[int]":
        """An upload; the status of the answer, 0 without one."""

        async def post() -> int:
            headers = {**HEADERS, "authorization": f"Bearer {self.alice.token}"}
            with suppress(httpx.TransportError):
                async with httpx.AsyncClient(timeout=60) as http:
                    return (
                        await http.post(f"{self.node.url}/graphql", content=self.body(), headers=headers)
                    ).status_code
            return 0

        return asyncio.create_task(post())

    @property
    def alice(self) -> Person:
        assert self.writer is not None
        return self.writer


def content() -> bytes:
    return LINE * (SIZE // len(LINE))


@asynccontextmanager
async def placed(folder: Path, url: str, proxy: S3Proxy | None, s3: S3Server | None) -> AsyncIterator[Place]:
    database = Database(url)
    node = make_node(folder, url, **(in_s3(proxy.port) if proxy is not None else {}))
    try:
        async with running(node):
            with logs_shown([node]):
                place = Place(node, database, s3.stored if s3 else on_the_disk(folder), proxy)
                await place.begin()
                yield place
    finally:
        await database.dispose()
        if s3 is not None:
            empty(s3)


@pytest.fixture(scope="module")
async def on_disk(tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[str], str]) -> AsyncIterator[Place]:
    async with placed(tmp_path_factory.mktemp("disk"), new_database("faults_files_disk"), None, None) as place:
        yield place


@pytest.fixture(scope="module")
async def on_s3(
    tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[str], str], s3: S3Server
) -> AsyncIterator[Place]:
    async with (
        S3Proxy(s3.port) as proxy,
        placed(tmp_path_factory.mktemp("s3"), new_database("faults_files_s3"), proxy, s3) as place,
    ):
        yield place


@pytest.fixture(params=["on_disk", "on_s3"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


async def run(database: Database, statement: str) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text(statement))


async def all_is_swept(place: Place) -> None:
    """The server starts anew. What the upload left is known, is due in an hour, and goes when that is over."""
    assert temporary_files(place.node) == 0, "unnamed, so they end with the process"
    left = place.objects() - place.there
    known = await scalar(place.database, LEFT)
    assert len(left) <= known
    async with place.database.engine.connect() as connection:
        for remove_after, is_soon, failures in await connection.execute(text(TIMES)):
            assert (remove_after is None or is_soon, failures) == (True, 0)
    await place.node.start()
    await run(place.database, DUE)
    deadline = time.monotonic() + PATIENCE
    while await scalar(place.database, LEFT) or place.objects() != place.there:
        assert time.monotonic() < deadline, (place.objects() - place.there, await scalar(place.database, LEFT))
        await asyncio.sleep(0.05)
    place.writer = await place.node.person("alice")
    assert await scalar(place.database, "SELECT count(*) FROM files") == 1
    async with httpx.AsyncClient() as reader:
        assert (await reader.get(await download(place.alice, place.kept))).content == Sent().content


async def test_a_kill_while_the_body_comes_leaves_nothing(place: Place) -> None:
    headers = {**HEADERS, "authorization": f"Bearer {place.alice.token}", "content-length": str(SIZE)}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(["POST /graphql HTTP/1.1", "host: parley.test", *lines, "", ""])
    with socket.create_connection(("127.0.0.1", place.node.port), timeout=30) as connection:
        await asyncio.to_thread(connection.sendall, head.encode() + place.body()[: 3 * MB])
        await eventually(lambda: temporary_files(place.node) == 1)
        await place.node.kill()
    assert place.objects() == place.there
    assert await scalar(place.database, LEFT) == 0
    await all_is_swept(place)


async def test_a_kill_while_the_disk_takes_it_leaves_what_is_found(on_disk: Place) -> None:
    place, is_caught = on_disk, False
    task = place.sending()
    for _ in range(20):  # the moment is short
        while not task.done() and not is_caught:
            await asyncio.sleep(0.0005)
            if any(name.endswith(".part") for name in place.objects()):
                os.kill(place.node.pid, signal.SIGSTOP)
                is_caught = any(name.endswith(".part") for name in place.objects())
                if not is_caught:
                    os.kill(place.node.pid, signal.SIGCONT)
        if is_caught:
            break
        task = place.sending()  # that one was through
    assert is_caught
    await place.node.kill()
    await task
    await all_is_swept(place)


async def test_a_kill_while_s3_takes_it_leaves_nothing(on_s3: Place) -> None:
    place = on_s3
    assert place.proxy is not None
    place.proxy.passes = SIZE // 2
    task = place.sending()
    await eventually(lambda: place.proxy is not None and place.proxy.is_full)
    await place.node.kill()
    await task
    await place.proxy.replace()
    await asyncio.sleep(0.2)  # for S3, which may only now see that there is no more
    assert place.objects() == place.there
    assert await scalar(place.database, LEFT) == 1
    await all_is_swept(place)


async def test_a_stop_while_s3_takes_it_is_quick_and_leaves_what_is_found(on_s3: Place) -> None:
    place = on_s3
    assert place.proxy is not None
    place.proxy.passes = SIZE // 2
    task = place.sending()
    await eventually(lambda: place.proxy is not None and place.proxy.is_full)
    begun = time.monotonic()
    assert await place.node.stop() == 0
    assert time.monotonic() - begun < STOP_LIMIT
    assert await task in {0, 503}  # the answer may be lost
    await place.proxy.replace()
    await all_is_swept(place)


async def test_a_kill_between_storing_and_committing_leaves_what_is_found(place: Place) -> None:
    async with place.database.engine.connect() as connection:
        # Of the channel's stream, whose next event the commit needs.
        stream = f"c{number(place.channel)}"
        lock = "SELECT FROM stream_heads WHERE stream_id = :stream FOR UPDATE"
        await connection.execute(text(lock), {"stream": stream})
        task = place.sending()
        deadline = time.monotonic() + PATIENCE
        while not await scalar(place.database, WAITING):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert len(place.objects() - place.there) == 1, "stored, and not told to anybody"
        await place.node.kill()
        await task
    assert await scalar(place.database, "SELECT count(*) FROM files") == 1
    await all_is_swept(place)


async def test_while_s3_is_away_only_files_are_and_what_was_deleted_goes_in_the_end(on_s3: Place) -> None:
    place = on_s3
    assert place.proxy is not None
    gone = [await upload(place.alice, place.channel, Sent(b"%d" % each)) for each in range(3)]
    assert len(place.objects() - place.there) == 3
    async with Load([place.alice, place.alice], [place.channel], rate=20) as load:
        await load.run(2)
        begun = time.monotonic()
        place.proxy.freeze()
        # More than there are threads, of several people: a user has four at a time.
        people = [place.alice, *[await place.node.person(f"guest{each}") for each in range(3)]]
        channels = [place.channel, *[await create_channel(each, f"own {each.name}") for each in people[1:]]]
        tries = 3 * [*zip(people, channels, strict=True)]
        uploading = asyncio.gather(*(send_file(person, channel, Sent()) for person, channel in tries))
        # All at once, and told at once.
        for each in gone:
            await place.alice.ask(DELETE_FILE, fileId=each)
            assert await place.alice.ask(READ_FILE, id=each) is None
        assert await place.node.readiness() == "ok"
        assert await download(place.alice, place.kept), "made without asking S3"
        payloads = await uploading
        took = time.monotonic() - begun
        for payload in payloads:
            assert [error["code"] for error in payload["errors"]] == ["STORAGE_UNAVAILABLE"]
        assert took < PATIENCE
        await load.run(1)
        ended = time.monotonic()
    await load.judge(place.database)
    assert load.slowness(0.95, since=begun, until=ended) < load.slowness(0.95, until=begun) + 0.5
    assert place.node.log.count("does not work") == 1
    # A server that is killed meanwhile forgets none of them.
    await place.node.kill()
    assert await scalar(place.database, LEFT) >= 3
    assert await scalar(place.database, SOON)
    place.proxy.thaw()  # now S3 gets what was sent to it in all that time
    assert len(place.objects() - place.there) >= 3
    await place.node.start()
    await run(place.database, DUE)
    await eventually(lambda: place.objects() == place.there, PATIENCE)
    place.writer = await place.node.person("alice")
    assert await send(place.alice, place.channel)
    assert await upload(place.alice, place.channel)
