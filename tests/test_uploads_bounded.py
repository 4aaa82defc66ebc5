"""What slow, endless, vanishing and greedy senders of files can take: little, and not for long. On real sockets."""

import asyncio
import json
import logging
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from app.auth import LocalIssuer
from schema.transport.body import Pace
from schema.transport.multipart import Forms
from schema.transport.upload_slots import UploadSlots
from tests.eventually import eventually
from tests.forms import END, HEADERS, file, form, mapping, operations
from tests.served import NEW, WAIT_SECONDS, code
from tests.socket_client import connected
from tests.socket_server import SettledServed
from tests.upload_schema import HELD, SEEN, TAKE, alone

MB = 1024 * 1024
PACE = Pace(idle_seconds=0.5, grace_seconds=0.5, bytes_per_second=100_000)
SLOTS = {"per_user": 2, "in_all": 3}
START = form(operations(TAKE, file=None), mapping(a="variables.file"), file())[: -len(END) - 2]


class Uploads:
    """A server, and the tokens of its users."""

    def __init__(self, served: SettledServed, issuer: LocalIssuer) -> None:
        self.served = served
        self._issuer = issuer

    def token(self, name: str) -> str:
        return self._issuer.issue(name)

    def headers(self, name: str) -> dict[str, str]:
        return {**HEADERS, "accept": NEW, "authorization": f"Bearer {self.token(name)}"}

    def send(self, name: str, content: bytes = b"hello", document: str = TAKE) -> httpx.Response:
        body = form(operations(document, file=None), mapping(a="variables.file"), file(content=content))
        return httpx.post(self.served.url, content=body, headers=self.headers(name), timeout=WAIT_SECONDS)

    @contextmanager
    def begun(self, name: str, *more: str, body: bytes = START) -> Iterator[socket.socket]:
        """A request whose first bytes are on their way."""
        lines = [f"{key}: {value}" for key, value in self.headers(name).items()]
        head = ["POST /graphql HTTP/1.1", "host: parley.test", *lines, *(more or ["content-length: 500000"]), "", ""]
        with socket.create_connection(("127.0.0.1", self.served.port), timeout=WAIT_SECONDS) as connection:
            connection.sendall("\r\n".join(head).encode() + body)
            yield connection


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[str], str]) -> Iterator[Uploads]:
    folder, url = tmp_path_factory.mktemp("uploads"), new_database("parley_uploads_bounded")
    forms = Forms(pace=PACE, slots=UploadSlots(**SLOTS))
    with SettledServed(alone(folder, url, forms=forms)) as served:
        yield Uploads(served, LocalIssuer(folder))


@pytest.fixture(autouse=True)
async def spooled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[], int]]:
    """How many temporary files the server, a thread of this process, has open. None is left, whatever a test did."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def count() -> int:
        found = 0
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                found += descriptor.readlink().is_relative_to(tmp_path)
        return found

    yield count
    HELD.clear()
    SEEN.clear()
    await eventually(lambda: count() == 0)


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while part := connection.recv(65_536):
        received += part
    return received


async def all_slots_are_free(uploads: Uploads) -> None:
    await eventually(lambda: uploads.send("alice").status_code == 200)


async def test_a_body_that_stops_is_408_and_cut(uploads: Uploads) -> None:
    with uploads.begun("alice") as connection:
        received = await asyncio.to_thread(read_all, connection)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in received.lower()
    assert b"too slowly" in received


async def test_a_body_that_trickles_is_408_and_cut(uploads: Uploads) -> None:
    with uploads.begun("alice") as connection:
        deadline = time.monotonic() + WAIT_SECONDS
        connection.settimeout(0.05)
        received = b""
        while not received.endswith(b"}"):
            assert time.monotonic() < deadline
            connection.sendall(b"x")
            with suppress(TimeoutError):
                received += connection.recv(65_536)
    assert received.startswith(b"HTTP/1.1 408 ")


async def test_slow_but_steady_is_good_enough(uploads: Uploads) -> None:
    """Longer than nothing may take, and longer than the average does not count."""
    content = b"x" * 500_000
    body = form(operations(TAKE, file=None), mapping(a="variables.file"), file(content=content))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]
            await asyncio.sleep(0.1)

    async with httpx.AsyncClient(timeout=WAIT_SECONDS) as client:
        answer = await client.post(uploads.served.url, content=pieces(), headers=uploads.headers("alice"))
    assert answer.json()["data"]["take"]["size"] == len(content)


async def test_a_client_that_leaves_while_sending_leaves_nothing(
    uploads: Uploads, spooled: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):  # more than the user has slots
        with uploads.begun("alice", body=START + b"x" * 300_000):
            await eventually(lambda: spooled() == 1)
        await eventually(lambda: spooled() == 0)
    await all_slots_are_free(uploads)
    assert caplog.records == []


async def test_a_client_that_leaves_while_waiting_leaves_nothing(uploads: Uploads) -> None:
    body = form(operations(TAKE.replace("take(", "hold("), file=None), mapping(a="variables.file"), file())
    with uploads.begun("alice", f"content-length: {len(body)}", body=body):
        await eventually(lambda: HELD)
    HELD.clear()
    await eventually(lambda: SEEN and SEEN[0].content.closed)


async def test_a_length_that_is_too_large_is_refused_before_the_body(uploads: Uploads) -> None:
    length = f"content-length: {10 * MB + MB + 1}"
    with uploads.begun("alice", length, "expect: 100-continue", body=b"") as connection:
        received = await asyncio.to_thread(connection.recv, 65_536)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"FILE_TOO_LARGE" in received


async def test_a_file_that_does_not_end_is_413_for_whoever_listens_late(uploads: Uploads) -> None:
    """The answer waits for a client that looks at it only when it has sent more than the limit."""
    with uploads.begun("alice", "transfer-encoding: chunked", body=b"") as connection:
        piece = START + b"x" * (MB // 4)
        for _ in range(8):
            await asyncio.to_thread(connection.sendall, b"%x\r\n%s\r\n" % (len(piece), piece))
            piece = b"x" * (MB // 2)
        received = await asyncio.to_thread(read_all, connection)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"FILE_TOO_LARGE" in received
    assert b"connection: close" in received.lower()


def test_the_refusal_of_a_token_reaches_whoever_still_sends(uploads: Uploads) -> None:
    body = form(operations(TAKE, file=None), mapping(a="variables.file"), file(content=b"x" * MB))
    headers = {**uploads.headers("alice"), "authorization": "Bearer nonsense"}
    answer = httpx.post(uploads.served.url, content=body, headers=headers, timeout=WAIT_SECONDS)
    assert (answer.status_code, answer.headers["connection"]) == (401, "close")


async def test_a_user_has_a_few_uploads_at_a_time_and_the_server_some_more(
    uploads: Uploads, spooled: Callable[[], int]
) -> None:
    with ExitStack() as stack:
        for name in ("alice", "alice", "bob"):
            stack.enter_context(uploads.begun(name, body=START + b"x" * 300_000))
        await eventually(lambda: spooled() == 3)
        one_more, another_more = uploads.send("alice"), uploads.send("bob")
    assert (one_more.status_code, code(one_more)) == (429, "RATE_LIMITED")
    assert (another_more.status_code, code(another_more)) == (503, "UNAVAILABLE")
    assert all(int(answer.headers["retry-after"]) > 0 for answer in (one_more, another_more))
    await eventually(lambda: uploads.send("bob").status_code == 200)
    await all_slots_are_free(uploads)


async def test_a_slot_is_free_after_any_answer(uploads: Uploads) -> None:
    for _ in range(5):
        assert uploads.send("alice", document="no document").status_code == 400
        assert uploads.send("alice", content=b"x" * (MB + 1)).status_code == 413
    assert uploads.send("alice").status_code == 200


async def test_a_disk_that_is_full_is_503(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/dev/full")
    answer = uploads.send("alice", content=b"x" * MB)
    assert (answer.status_code, code(answer)) == (503, "UNAVAILABLE")
    [record] = caplog.records
    assert (record.levelno, "TMPDIR" in record.getMessage()) == (logging.ERROR, True)


@pytest.mark.parametrize("file", ["text", 5, {}, None])
async def test_a_frame_is_no_place_for_a_file(uploads: Uploads, file: object) -> None:
    """The sockets of this server have the real schema."""
    document = 'mutation ($file: Upload!) { uploadFile(input: {channelId: "x", file: $file}) { errors { code } } }'
    async with connected(uploads.served.port, uploads.token("alice")) as client:
        assert await client.refused(document, variables={"file": file}) == "BAD_REQUEST"
        literal = document.replace("($file: Upload!)", "").replace("$file", json.dumps(file).replace("null", "[]"))
        assert await client.refused(literal) == "VALIDATION_FAILED"


async def test_a_server_that_stops_says_so_and_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[str], str], spooled: Callable[[], int]
) -> None:
    folder, url = tmp_path_factory.mktemp("uploads"), new_database("parley_uploads_stop")
    with ExitStack() as stack:
        with SettledServed(alone(folder, url, forms=Forms()), timeout_graceful_shutdown=1) as served:
            uploads = Uploads(served, LocalIssuer(folder))
            connection = stack.enter_context(uploads.begun("alice", body=START + b"x" * 300_000))
            await eventually(lambda: spooled() == 1)
        received = await asyncio.to_thread(read_all, connection)
    assert received.startswith(b"HTTP/1.1 503 ")
    assert b"UNAVAILABLE" in received
