"""Bytes that no client of good will sends: each ends in a close code with a reason, never in a traceback."""

import asyncio
import json
import struct
from collections.abc import Callable, Iterator

import pytest

from app.auth import LocalIssuer
from app.settings import Settings
from app.sockets import TOO_MANY_FRAMES
from tests.socket_client import BINARY, CLOSE, PING, PONG, TEXT, RawSocket, raw, raw_connected
from tests.socket_server import SocketServer

MESSAGE_LIMIT = 64 * 1024


@pytest.fixture(scope="module")
def server(settings: Settings, new_database: Callable[[str], str]) -> Iterator[SocketServer]:
    running = SocketServer(settings.data_dir, new_database("parley_frames"))
    with running.served:
        yield running


@pytest.fixture
def token(issuer: LocalIssuer) -> str:
    return issuer.issue("frames")


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert caplog.text == ""


def padded(length: int) -> bytes:
    """A ping whose message has so many bytes."""
    message = json.dumps({"type": "ping", "payload": {"x": ""}}).encode()
    return message.replace(b'""', b'"' + b"x" * (length - len(message)) + b'"')


HOSTILE: dict[str, tuple[Callable[[RawSocket], None], int]] = {
    "text that is not UTF-8": (lambda s: s.write(b'{"type":"\xff"}'), 1007),
    "text that ends within a character": (lambda s: s.write("é".encode()[:1]), 1007),
    "a frame of 70 KB": (lambda s: s.write(padded(70_000)), 1009),
    "a byte more than a message may have": (lambda s: s.write(padded(MESSAGE_LIMIT + 1)), 1009),
    "a frame that says it has 2**62 bytes": (lambda s: s.writer.write(b"\x81\xff" + struct.pack("!Q", 2**62)), 1009),
    "a frame that says it has 2**64 - 1": (lambda s: s.writer.write(b"\x81\xff" + b"\xff" * 8), 1009),
    "fragments of 70 KB together": (
        lambda s: s.write_all((b"x" * 35_000, 0x01), (b"x" * 35_000, 0x80)),
        1009,
    ),
    "a frame without a mask": (lambda s: s.write(b"{}", mask=False), 1002),
    "a compressed frame": (lambda s: s.write(b"{}", first_byte=0xC1), 1002),
    "reserved bits": (lambda s: s.write(b"{}", first_byte=0xB1), 1002),
    "an unknown kind of frame": (lambda s: s.write(b"{}", opcode=0x3), 1002),
    "a fragmented ping": (lambda s: s.write(b"", first_byte=PING), 1002),
    "a long ping": (lambda s: s.write(b"x" * 126, opcode=PING), 1002),
    "a continuation of nothing": (lambda s: s.write(b"{}", opcode=0x0), 1002),
    "a text within another": (lambda s: s.write_all((b"{", 0x01), (b"{}", 0x81)), 1002),
    "a close frame of one byte": (lambda s: s.write(b"\x03", opcode=CLOSE), 1002),
    "a close frame with a code that nobody may send": (lambda s: s.write(b"\x03\xee", opcode=CLOSE), 1002),
    "a close frame whose reason is not UTF-8": (lambda s: s.write(b"\x03\xe8\xff", opcode=CLOSE), 1007),
    "a binary frame": (lambda s: s.write(b"{}", opcode=BINARY), 4400),
    "an empty frame": (lambda s: s.write(b""), 4400),
    "100,000 levels": (lambda s: s.write(b"[" * 60_000), 4400),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_hostile_frames_are_answered_by_a_close_code(case: str, server: SocketServer, token: str) -> None:
    send, code = HOSTILE[case]
    async with raw_connected(server.port, token) as client:
        send(client)
        closed = await client.closed()
        assert closed.code == code
        assert closed.reason
        await client.ended()
    await server.until(lambda: server.sessions.count == 0)


async def test_the_close_code_arrives_although_the_client_goes_on_sending(server: SocketServer, token: str) -> None:
    async with raw_connected(server.port, token) as client:
        for _ in range(20):
            client.write(b"x" * 70_000)
        assert (await client.closed()).code == 1009
    async with raw_connected(server.port, token) as client:
        client.write(b"5")
        for _ in range(20):
            client.write(padded(60_000))
        assert (await client.closed()).code == 4400


async def test_the_longest_message_is_taken(server: SocketServer, token: str) -> None:
    async with raw_connected(server.port, token) as client:
        client.write(padded(MESSAGE_LIMIT))
        opcode, payload = await client.read()
        assert (opcode, json.loads(payload)["type"]) == (TEXT, "pong")


async def test_a_message_in_fragments_with_a_ping_in_between(server: SocketServer, token: str) -> None:
    async with raw_connected(server.port, token) as client:
        message = '{"type":"ping","payload":{"é":1}}'.encode()
        client.write(message[:27], first_byte=TEXT)  # in the middle of the character
        client.write(b"now", opcode=PING)
        client.write(message[27:28], first_byte=0x00)
        client.write(message[28:], first_byte=0x80)
        assert await client.read() == (PONG, b"now")
        assert await client.read() == (TEXT, '{"type":"pong","payload":{"é":1}}'.encode())


@pytest.mark.parametrize("length", [0, 1, 124, 125, 126, 127, 65535, 65536, 200_000])
async def test_answers_of_any_length(length: int, server: SocketServer, token: str) -> None:
    async with raw_connected(server.port, token) as client:
        variables = {"length": length}
        query = "query($length: Int!) { long(length: $length) }"
        client.write_json({"id": "1", "type": "subscribe", "payload": {"query": query, "variables": variables}})
        opcode, payload = await client.read()
        assert opcode == TEXT
        assert json.loads(payload) == {"id": "1", "type": "next", "payload": {"data": {"long": "x" * length}}}
        assert json.loads((await client.read())[1]) == {"id": "1", "type": "complete"}


async def test_headers_at_the_borders_of_their_lengths(server: SocketServer, token: str) -> None:
    async with raw_connected(server.port, token) as client:
        client.write_json({"id": "1", "type": "subscribe", "payload": {"query": "subscription { stays }"}})
        await server.until(lambda: bool(server.toys))
        sink = server.toys[-1].sink
        around = len(b'{"id":"1","type":"next","payload":}')
        for length in (125, 126, 65535, 65536):
            payload = b'"' + b"x" * (length - around - 2) + b'"'
            await server.call(lambda payload=payload: sink.next(payload))  # type: ignore[misc]  # bound now, not later
            _, frame = await client.read()
            assert len(frame) == length
            assert json.loads(frame)["payload"] == json.loads(payload)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param((b"", {"opcode": PING}), id="pings"),
        pytest.param((b"", {"opcode": PONG}), id="pongs"),
        pytest.param((b'{"type":"ping"}', {}), id="messages"),
        pytest.param((b"", {"first_byte": 0x00}), id="fragments"),
    ],
)
async def test_too_many_frames_close_the_socket(
    frame: tuple[bytes, dict[str, int]], server: SocketServer, token: str
) -> None:
    payload, how = frame
    async with raw_connected(server.port, token) as client:
        if "first_byte" in how:
            client.write(b"x", first_byte=TEXT)
        for _ in range(10_000):
            client.write(payload, **how)  # type: ignore[arg-type]  # no mask among them
        assert await client.closed() == (1013, TOO_MANY_FRAMES)
        await client.ended()


async def test_a_burst_is_served(server: SocketServer, token: str) -> None:
    async with raw_connected(server.port, token) as client:
        for _ in range(150):
            client.write(b"", opcode=PING)
        for _ in range(150):
            assert await client.read() == (PONG, b"")


async def test_101_operations_of_64_kb(server: SocketServer, token: str) -> None:
    async with raw_connected(server.port, token) as client:
        for number in range(101):
            query = "{ echo(text: " + '"' + "x" * 65_000 + '") }'
            client.write_json({"id": str(number), "type": "subscribe", "payload": {"query": query}})
        answers = [json.loads((await client.read())[1]) for _ in range(101)]
        assert {answer["type"] for answer in answers} == {"error"}


@pytest.mark.parametrize(
    "headers, status",
    [
        pytest.param([f"X-{number}: 1" for number in range(200)], "431", id="200 headers"),
        pytest.param(["X-Long: " + "x" * 9000], "431", id="a long header"),
        pytest.param(["Sec-WebSocket-Key: x"], "400", id="two keys"),
        pytest.param(["Sec-WebSocket-Version: 8"], "400", id="two versions"),
        pytest.param(["Origin: https://a.example", "Origin: https://b.example"], "400", id="two origins"),
    ],
)
async def test_odd_handshakes_are_answered_and_ended(headers: list[str], status: str, server: SocketServer) -> None:
    async with raw(server.port) as client:
        assert f"HTTP/1.1 {status} " in await client.handshake("127.0.0.1", *headers)
        await client.ended()


async def test_there_are_sockets_at_one_path_only(server: SocketServer) -> None:
    async with raw(server.port) as client:
        assert "HTTP/1.1 403 " in await client.handshake("127.0.0.1", path="/elsewhere")


async def test_whoever_leaves_without_a_close_frame_is_forgotten(server: SocketServer, token: str) -> None:
    async with raw_connected(server.port, token) as client:
        client.write_json({"id": "1", "type": "subscribe", "payload": {"query": "subscription { stays }"}})
        client.writer.write_eof()
        await client.ended()
    await server.until(lambda: server.sessions.count == 0)
    async with raw_connected(server.port, token):
        pass  # its end is a reset
    await server.until(lambda: server.sessions.count == 0)


async def test_a_close_frame_is_answered_by_its_own_code(server: SocketServer, token: str) -> None:
    async with raw_connected(server.port, token) as client:
        client.write(struct.pack("!H", 4999) + b"enough", opcode=CLOSE)
        assert await client.closed() == (4999, "enough")
        await client.ended()
    await server.until(lambda: server.sessions.count == 0)


async def test_nothing_hostile_delays_the_others(server: SocketServer, token: str) -> None:
    async with raw_connected(server.port, token) as other, raw_connected(server.port, token) as flood:
        flood.writer.write(b"\x89\x80\0\0\0\0" * 40_000)
        other.write(b"still there?", opcode=PING)
        async with asyncio.timeout(1):
            assert await other.read() == (PONG, b"still there?")
