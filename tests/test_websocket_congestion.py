"""Peers that do not take what they are sent: they cost a bounded buffer, and end in bounded time."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import pytest

from app.auth import LocalIssuer
from app.settings import Settings
from app.sockets import MOST_BUFFERED_BYTES, SEND_BUFFER_BYTES, SOCKETS, SocketProtocol
from tests.socket_client import CLOSE, PING, PONG, TEXT, Closed, RawSocket, raw_connected
from tests.socket_server import HELD, SocketServer, Toy

CHUNK = b'"' + b"x" * 16_000 + b'"'
PING_SECONDS = 0.4


class QuickProtocol(SocketProtocol):
    close_seconds = 0.5


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def server(
    request: pytest.FixtureRequest, settings: Settings, new_database: Callable[[str], str]
) -> Iterator[SocketServer]:
    options = {"ws": QuickProtocol, "ws_ping_interval": PING_SECONDS, "ws_ping_timeout": PING_SECONDS}
    url = new_database(f"parley_congestion_{request.param}")
    running = SocketServer(settings.data_dir, url, loop=request.param, **{**SOCKETS, **options})
    with running.served:
        yield running


@pytest.fixture
async def idle(server: SocketServer, issuer: LocalIssuer) -> AsyncGenerator[tuple[RawSocket, Toy], None]:
    """A client that reads only when it is told to, with one subscription."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    connection.setblocking(False)  # noqa: FBT003 - its only parameter
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=1024)
    client = RawSocket(reader, writer)
    try:
        assert " 101 " in await client.handshake("127.0.0.1")
        payload = {"Authorization": f"Bearer {issuer.issue('idle')}"}
        before = len(server.toys)
        client.write_json({"type": "connection_init", "payload": payload})
        client.write_json({"id": "1", "type": "subscribe", "payload": {"query": "subscription { stays }"}})
        assert (await client.read())[1] == b'{"type":"connection_ack"}'
        await server.until(lambda: len(server.toys) > before)
        yield client, server.toys[-1]
    finally:
        writer.transport.abort()
        await server.until(lambda: server.sessions.count == 0)


def protocol(toy: Toy) -> SocketProtocol:
    found: Any = toy.sink
    connection: SocketProtocol = found._socket  # noqa: SLF001 - buffers have no public face
    return connection


async def fill(server: SocketServer, toy: Toy, until: Callable[[], bool]) -> int:
    """Push chunks, one a turn of the loop, until the condition holds. How many."""
    for count in range(2000):
        if await server.call(until):
            return count
        await server.call(lambda: toy.sink.next(CHUNK))
    raise AssertionError("the peer takes everything")


async def read_all(client: RawSocket, count: int) -> None:
    """Read so many results, and answer the pings in between."""
    while count:
        opcode, payload = await client.read()
        if opcode == PING:
            client.write(payload, opcode=PONG)
        else:
            assert opcode == TEXT
            count -= 1


async def test_a_congested_subscription_is_told_once_and_again_when_it_can_go_on(
    server: SocketServer, idle: tuple[RawSocket, Toy]
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


async def test_a_subscription_that_starts_on_a_congested_socket_is_told(
    server: SocketServer, idle: tuple[RawSocket, Toy]
) -> None:
    client, toy = idle
    client.write_json({"id": "2", "type": "subscribe", "payload": {"query": "subscription { hangs }"}})
    await server.until(lambda: server.toys[-1] is not toy)
    starting = server.toys[-1]
    await fill(server, toy, lambda: toy.sink.congested)
    assert starting.congested == 0
    await server.call(HELD.clear)
    await server.until(lambda: starting.congested == 1)


async def test_nothing_starts_on_a_congested_socket(server: SocketServer, idle: tuple[RawSocket, Toy]) -> None:
    client, toy = idle
    pushed = await fill(server, toy, lambda: toy.sink.congested)
    client.write_json({"id": "2", "type": "subscribe", "payload": {"query": "subscription { stays }"}})
    await client.writer.drain()
    await asyncio.sleep(PING_SECONDS / 4)
    assert server.toys[-1] is toy
    await read_all(client, pushed)
    await server.until(lambda: server.toys[-1] is not toy)


async def test_a_stalled_peer_is_cut_off(server: SocketServer, idle: tuple[RawSocket, Toy]) -> None:
    client, toy = idle
    await fill(server, toy, lambda: toy.sink.congested)
    assert await server.call(protocol(toy).transport.get_write_buffer_size) < SEND_BUFFER_BYTES * 1.5
    drained = asyncio.run_coroutine_threadsafe(toy.sink.drained(), server.served.loop)
    await server.until(lambda: toy.stopped == 1)
    await asyncio.wait_for(asyncio.wrap_future(drained), 5)
    assert await client.closed() == Closed(1006, "")


async def test_a_silent_peer_is_cut_off(server: SocketServer, idle: tuple[RawSocket, Toy]) -> None:
    client, toy = idle
    assert (await client.read())[0] == PING
    assert await client.closed() == Closed(1006, ""), "1011 would keep graphql-ws from ever coming back"
    await server.until(lambda: toy.stopped == 1)


async def test_a_peer_that_answers_pings_stays(server: SocketServer, idle: tuple[RawSocket, Toy]) -> None:
    client, toy = idle
    for _ in range(3):
        opcode, payload = await client.read()
        assert opcode == PING
        client.write(payload, opcode=PONG)
    assert toy.stopped == 0
    assert server.sessions.count == 1


async def test_a_slow_reader_gets_everything(server: SocketServer, idle: tuple[RawSocket, Toy]) -> None:
    client, toy = idle
    pushed = await fill(server, toy, lambda: toy.sink.congested)
    # Slower than the time for a pong allows: the ping is behind all of that.
    pauses = pushed // 2
    for _ in range(pauses):
        await read_all(client, 1)
        await asyncio.sleep(4 * PING_SECONDS / pauses)
    await read_all(client, pushed - pauses)
    await server.call(lambda: toy.sink.next(b"1"))
    await read_all(client, 1)
    assert toy.stopped == 0


async def test_nothing_is_read_from_a_congested_peer(server: SocketServer, idle: tuple[RawSocket, Toy]) -> None:
    client, toy = idle
    pushed = await fill(server, toy, lambda: toy.sink.congested)
    size = protocol(toy).transport.get_write_buffer_size
    before = await server.call(size)
    for _ in range(100):
        client.write_json({"type": "ping", "payload": {"x": "y" * 1000}})
        client.write(b"", opcode=PING)
    await client.writer.drain()
    await asyncio.sleep(PING_SECONDS / 4)
    assert await server.call(size) <= before + 100, "a ping of the server's own at most"
    await read_all(client, pushed)
    pongs = {PONG: 0, TEXT: 0}
    while pongs != {PONG: 100, TEXT: 100}:
        opcode, payload = await client.read()
        if opcode == PING:
            client.write(payload, opcode=PONG)
        else:
            pongs[opcode] += 1


async def test_closing_a_congested_peer_does_not_wait(server: SocketServer, idle: tuple[RawSocket, Toy]) -> None:
    client, toy = idle
    await fill(server, toy, lambda: toy.sink.congested)
    await server.call(lambda: toy.session.close(4403, "Token expired"))
    await server.until(lambda: server.sessions.count == 0)
    await server.call(lambda: toy.session.close(4403, "again"))
    assert await client.closed() == Closed(1006, "")


async def test_a_congested_peer_is_not_sent_without_end(server: SocketServer, idle: tuple[RawSocket, Toy]) -> None:
    _, toy = idle

    def push() -> None:
        for _ in range(MOST_BUFFERED_BYTES // len(CHUNK) + 100):
            toy.sink.next(CHUNK)

    await fill(server, toy, lambda: toy.sink.congested)
    await server.call(push)
    await server.until(lambda: server.sessions.count == 0)


def half_full(toy: Toy) -> Callable[[], bool]:
    """Something waits for the peer, but not so much that it is congested, and its frames are still read."""
    return lambda: 20_000 < protocol(toy).transport.get_write_buffer_size() < SEND_BUFFER_BYTES


@pytest.mark.parametrize("farewell", ["close frame", "end of stream"])
async def test_a_peer_that_leaves_and_takes_nothing_is_cut_off(
    farewell: str, server: SocketServer, idle: tuple[RawSocket, Toy]
) -> None:
    client, toy = idle
    await fill(server, toy, half_full(toy))
    transport = protocol(toy).transport
    if farewell == "close frame":
        client.write(struct.pack("!H", 1000), opcode=CLOSE)
    else:
        client.writer.write_eof()
    await server.until(transport.is_closing)
    connections = server.served.server_state.connections
    await server.until(lambda: protocol(toy) not in connections)


async def test_a_peer_that_does_not_answer_the_close_frame_is_cut_off(
    server: SocketServer, idle: tuple[RawSocket, Toy]
) -> None:
    client, toy = idle
    await server.call(lambda: toy.session.close(4403, "Token expired"))
    assert await client.read() == (CLOSE, struct.pack("!H", 4403) + b"Token expired")
    await client.ended()
    assert await server.call(lambda: protocol(toy) not in server.served.server_state.connections)


async def test_what_waits_for_a_peer_that_breaks_the_protocol_is_no_trouble_for_others(
    server: SocketServer, idle: tuple[RawSocket, Toy], issuer: LocalIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    client, toy = idle
    async with raw_connected(server.port, issuer.issue("other")) as other:
        other.write_json({"id": "1", "type": "subscribe", "payload": {"query": "subscription { stays }"}})
        await server.until(lambda: server.toys[-1] is not toy)
        second = server.toys[-1]

        def push_between() -> None:
            toy.sink.next(b"1")
            second.sink.next(b"2")
            protocol(toy).data_received(b"\xf1\x80\0\0\0\0")  # reserved bits

        await server.call(push_between)
        assert json.loads((await other.read())[1])["payload"] == 2
        assert (await client.closed()).code == 1002
    assert caplog.text == ""


async def test_what_was_sent_before_the_close_arrives(server: SocketServer, idle: tuple[RawSocket, Toy]) -> None:
    client, toy = idle

    def push_and_close() -> None:
        for number in range(50):
            toy.sink.next(str(number).encode())
        toy.session.close(4403, "Token expired")
        toy.sink.next(b"51")

    await server.call(push_and_close)
    for number in range(50):
        assert json.loads((await client.read())[1])["payload"] == number
    assert await client.closed() == Closed(4403, "Token expired")
