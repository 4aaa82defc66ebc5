"""Readers of event streams that do not take what they are sent: they cost a bounded buffer, and end in bounded time."""

import asyncio
import ctypes
import re
import socket
import struct
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import pytest

from app.auth import LocalIssuer
from app.http_connection import HttpConnection
from app.settings import Settings
from schema.transport.event_stream import CONGESTED_BYTES, MOST_BUFFERED_BYTES
from tests.socket_server import Toy
from tests.stream_client import StreamClient, streaming
from tests.stream_server import StreamServer

CHUNK = b'"' + b"x" * 16_000 + b'"'
STALL_SECONDS = 0.8
RECEIVE_BUFFER = 32 * 1024
SO_ATTACH_FILTER = 26  # asm-generic/socket.h


class QuickConnection(HttpConnection):
    stall_seconds = STALL_SECONDS


@pytest.fixture(scope="module")
def server(settings: Settings, new_database: Callable[[str], str]) -> Iterator[StreamServer]:
    running = StreamServer(settings.data_dir, new_database("parley_stream_congestion"), http=QuickConnection)
    with running.served:
        yield running


@pytest.fixture
async def idle(server: StreamServer, issuer: LocalIssuer) -> AsyncGenerator[tuple[StreamClient, Toy], None]:
    """A client that reads only when it is told to."""
    token = issuer.issue("idle")
    try:
        async with streaming(
            server.port, "subscription { stays }", token, receive_buffer=RECEIVE_BUFFER, accept="text/event-stream"
        ) as client:
            yield client, server.toys[-1]
    finally:
        await server.until(lambda: server.sessions.count == 0)


def connection(toy: Toy) -> HttpConnection:
    found: Any = toy.sink
    connection: HttpConnection = found._connection  # noqa: SLF001 - buffers have no public face
    return connection


def waiting(toy: Toy) -> int:
    """Bytes that the peer has not taken, without those in the kernel."""
    found: Any = toy.sink
    buffered: int = found._buffered  # noqa: SLF001 - as above
    return buffered + connection(toy).transport.get_write_buffer_size()


async def fill(server: StreamServer, toy: Toy, until: Callable[[], bool]) -> int:
    """Push chunks, one a turn of the loop, until the condition holds. How many."""
    for count in range(2000):
        if await server.call(until):
            return count
        await server.call(lambda: toy.sink.next(CHUNK))
    raise AssertionError("the peer takes everything")


async def read_all(client: StreamClient, count: int) -> None:
    for _ in range(count):
        assert (await client.event()).data.encode() == CHUNK


async def test_a_congested_stream_is_told_once_and_again_when_it_can_go_on(
    server: StreamServer, idle: tuple[StreamClient, Toy]
) -> None:
    client, toy = idle
    assert not toy.sink.congested
    pushed = await fill(server, toy, lambda: toy.sink.congested)
    assert toy.congested == 1
    await server.call(lambda: toy.sink.next(CHUNK))
    assert toy.congested == 1
    drained = asyncio.run_coroutine_threadsafe(toy.sink.drained(), server.served.loop)
    assert not drained.done()
    await read_all(client, pushed + 1)
    await asyncio.wait_for(asyncio.wrap_future(drained), 5)
    assert not toy.sink.congested
    await fill(server, toy, lambda: toy.sink.congested)
    assert toy.congested == 2


async def test_a_stream_that_begins_with_too_much_is_told(server: StreamServer, issuer: LocalIssuer) -> None:
    token = issuer.issue("much")
    before = len(server.toys)
    document = "subscription($to: Int!) { counts(to: $to) }"
    many = CONGESTED_BYTES // 30
    async with streaming(server.port, document, token, variables={"to": many}) as client:
        assert server.toys[before].congested == 1
        for number in range(many):
            assert await client.result() == {"data": {"counts": number}}
        assert await client.rest() == b"event: complete\ndata:\n\n"


async def test_a_stalled_reader_is_cut_off(server: StreamServer, idle: tuple[StreamClient, Toy]) -> None:
    client, toy = idle
    await fill(server, toy, lambda: toy.sink.congested)
    assert await server.call(lambda: waiting(toy)) < CONGESTED_BYTES * 1.6
    drained = asyncio.run_coroutine_threadsafe(toy.sink.drained(), server.served.loop)
    await server.until(lambda: toy.stopped == 1)
    await asyncio.wait_for(asyncio.wrap_future(drained), 5)
    connections = server.served.server_state.connections
    await server.until(lambda: connection(toy) not in connections)
    assert await client.is_cut()


async def test_a_stalled_reader_is_cut_off_where_the_system_does_not_tell(
    server: StreamServer, idle: tuple[StreamClient, Toy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "TCP_INFO", raising=False)
    client, toy = idle
    pushed = await fill(server, toy, lambda: toy.sink.congested)
    pauses = pushed // 2
    for _ in range(pauses):
        await read_all(client, 1)
        await asyncio.sleep(2 * STALL_SECONDS / pauses)
    assert toy.stopped == 0
    await fill(server, toy, lambda: toy.sink.congested)
    await server.until(lambda: toy.stopped == 1)
    assert await client.is_cut()


@pytest.mark.skipif(sys.platform != "linux", reason="Elsewhere the system gives a vanished peer up, in its own time.")
async def test_a_vanished_reader_is_cut_off(server: StreamServer, idle: tuple[StreamClient, Toy]) -> None:
    client, toy = idle
    assert await client.block()
    # A packet filter that lets nothing in: the reader's machine does not even acknowledge any more.
    nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(nothing))
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    await server.call(lambda: toy.sink.next(b"1"))
    await server.until(lambda: toy.stopped == 1)


async def test_a_slow_reader_gets_everything(server: StreamServer, idle: tuple[StreamClient, Toy]) -> None:
    client, toy = idle
    pushed = await fill(server, toy, lambda: toy.sink.congested)
    pauses = pushed // 2
    for _ in range(pauses):
        await read_all(client, 1)
        await asyncio.sleep(2.5 * STALL_SECONDS / pauses)
    await read_all(client, pushed - pauses)
    assert toy.stopped == 0


async def test_a_reader_who_has_little_to_take_is_left_alone(
    server: StreamServer, idle: tuple[StreamClient, Toy]
) -> None:
    client, toy = idle
    await server.call(lambda: toy.sink.next(CHUNK))
    await asyncio.sleep(3 * STALL_SECONDS)
    await read_all(client, 1)
    assert toy.stopped == 0


async def test_closing_a_congested_stream_does_not_wait(server: StreamServer, idle: tuple[StreamClient, Toy]) -> None:
    client, toy = idle
    await fill(server, toy, lambda: toy.sink.congested)
    await server.call(lambda: toy.session.close(4403, "Token expired"))
    await server.until(lambda: server.sessions.count == 0)
    await server.call(lambda: toy.session.close(4403, "again"))
    assert await client.is_cut()


async def test_a_congested_stream_is_not_sent_without_end(server: StreamServer, idle: tuple[StreamClient, Toy]) -> None:
    _, toy = idle

    def push() -> None:
        for _ in range(MOST_BUFFERED_BYTES // len(CHUNK) + 100):
            toy.sink.next(CHUNK)

    await fill(server, toy, lambda: toy.sink.congested)
    await server.call(push)
    assert await server.call(lambda: waiting(toy)) < MOST_BUFFERED_BYTES * 1.1
    await server.until(lambda: server.sessions.count == 0)


async def test_what_was_sent_before_the_end_arrives(server: StreamServer, idle: tuple[StreamClient, Toy]) -> None:
    client, toy = idle

    def push_and_close() -> None:
        for number in range(50):
            toy.sink.next(str(number).encode())
        toy.session.close(4403, "Token expired")
        toy.sink.next(b"51")

    await server.call(push_and_close)
    assert re.findall(rb"data: ([0-9]+)\n\n", await client.rest()) == [str(number).encode() for number in range(50)]


@pytest.mark.parametrize("end", ["close", "complete"])
async def test_a_reader_who_does_not_take_the_end_is_cut_off(
    end: str, server: StreamServer, idle: tuple[StreamClient, Toy]
) -> None:
    client, toy = idle
    # Something waits for the peer, but not so much that it is congested.
    await fill(server, toy, lambda: connection(toy).transport.get_write_buffer_size() > 20_000)
    await server.call(toy.sink.complete if end == "complete" else lambda: toy.session.close(4403, "Token expired"))
    await server.until(lambda: server.sessions.count == 0)
    connections = server.served.server_state.connections
    await server.until(lambda: connection(toy) not in connections)
    assert await client.is_cut()


async def test_an_answer_that_nobody_takes_is_thrown_away(server: StreamServer, issuer: LocalIssuer) -> None:
    """Whatever its kind."""
    token = issuer.issue("query")
    document = "query($length: Int!) { long(length: $length) }"
    variables = {"length": 20_000_000}
    connections = server.served.server_state.connections
    async with streaming(
        server.port, document, token, variables=variables, accept="application/json", receive_buffer=RECEIVE_BUFFER
    ) as client:
        assert client.status == 200
        assert len(connections) == 1
        await server.until(lambda: not connections)
        assert await client.is_cut()
