"""graphql-transport-ws as its protocol text has it: operations, and what closes a socket."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from app.auth import LocalIssuer
from app.settings import Settings
from tests.socket_client import SocketClient, connected, opened, raw
from tests.socket_server import HELD, SECRET, SocketServer


@pytest.fixture(scope="module")
def server(settings: Settings, new_database: Callable[[str], str]) -> Iterator[SocketServer]:
    environ = {"CORS_ALLOW_ORIGINS": "https://good.example,http://localhost:5173"}
    running = SocketServer(settings.data_dir, new_database("parley_sockets"), environ=environ, init_seconds=0.5)
    with running.served:
        yield running


@pytest.fixture
def token(issuer: LocalIssuer) -> str:
    return issuer.issue("sockets")


async def test_queries_and_mutations_are_answered_by_one_next_and_a_complete(server: SocketServer, token: str) -> None:
    async with connected(server.port, token) as client:
        assert await client.ask("{ me }") == {"data": {"me": "sockets"}}
        assert await client.ask("mutation { add(number: 2) }") == {"data": {"add": 3}}
        document = "query A { me } query B($text: String!) { echo(text: $text) }"
        answer = await client.ask(document, operationName="B", variables={"text": "é\u2028\U0001f600"})
        assert answer == {"data": {"echo": "é\u2028\U0001f600"}}


async def test_results_of_a_subscription_come_in_order_and_end_with_complete(server: SocketServer, token: str) -> None:
    async with connected(server.port, token) as client:
        await client.subscribe('a"\\\u2028', "subscription($to: Int!) { counts(to: $to) }", variables={"to": 3})
        messages = [await client.receive() for _ in range(4)]
        assert [message["id"] for message in messages] == ['a"\\\u2028'] * 4
        assert [message.get("payload") for message in messages[:3]] == [{"data": {"counts": n}} for n in range(3)]
        assert messages[3]["type"] == "complete"
        # Its id is free again.
        await client.subscribe('a"\\\u2028', "{ me }")
        assert (await client.receive())["payload"] == {"data": {"me": "sockets"}}


async def test_a_subscription_stops_when_its_client_completes_it(server: SocketServer, token: str) -> None:
    async with connected(server.port, token) as client:
        await client.subscribe("1", "subscription { stays }")
        await client.ask("{ me }")
        toy = server.toys[-1]
        await server.call(lambda: toy.sink.next(b'{"data":{"stays":1}}'))
        assert await client.receive() == {"id": "1", "type": "next", "payload": {"data": {"stays": 1}}}
        await client.complete("1")
        await server.until(lambda: toy.stopped == 1)
        await server.call(lambda: toy.sink.next(b'{"data":{"stays":2}}'))
        await server.call(toy.sink.complete)
        assert await client.ask("{ me }") == {"data": {"me": "sockets"}}, "nothing came of what was stopped"
        await client.complete("1")
        await client.complete("never known")
        assert await client.ask("{ me }") == {"data": {"me": "sockets"}}


async def test_subscriptions_stop_when_the_socket_goes(server: SocketServer, token: str) -> None:
    async with connected(server.port, token) as client:
        for number in range(3):
            await client.subscribe(str(number), "subscription { stays }")
        await client.ask("{ me }")
        toys = server.toys[-3:]
    await server.until(lambda: [toy.stopped for toy in toys] == [1, 1, 1])
    await server.call(lambda: toys[0].sink.next(b"{}"))
    await server.call(toys[0].sink.complete)


async def test_a_subscription_that_is_still_starting_can_be_stopped(server: SocketServer, token: str) -> None:
    async with connected(server.port, token) as client:
        await client.subscribe("1", "subscription { hangs }")
        await client.ask("{ me }")
        await client.complete("1")
        await client.subscribe("1", "subscription { hangs }")
        await client.ask("{ me }")
        first, second = server.toys[-2:]
    await server.until(lambda: server.sessions.count == 0)
    assert (first.stopped, second.stopped) == (0, 0)
    await server.call(HELD.clear)
    await server.until(lambda: (first.stopped, second.stopped) == (1, 1))


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a syntax error": ("{ me", {}, "PARSE_FAILED"),
    "an empty document": ("", {}, "BAD_REQUEST"),
    "no operation": ("fragment F on Query { me }", {}, "BAD_REQUEST"),
    "an unknown operation": ("query A { me }", {"operationName": "B"}, "BAD_REQUEST"),
    "two operations, none named": ("subscription A { stays } query B { me }", {}, "BAD_REQUEST"),
    "an unknown field": ("{ nonsense }", {}, "VALIDATION_FAILED"),
    "an unknown subscription": ("subscription { nonsense }", {}, "VALIDATION_FAILED"),
    "a variable that does not fit": ("query($n: Int!) { long(length: $n) }", {"variables": {"n": "x"}}, "BAD_REQUEST"),
    "too many tokens": ("{" + " a" * 3000 + "}", {}, "QUERY_TOO_COSTLY"),
    "a refused subscription": ("subscription { refuses }", {}, "NOT_FOUND"),
    "a broken subscription": ("subscription { breaks }", {}, "INTERNAL"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_bad_operation_is_an_error_of_its_own(case: str, server: SocketServer, token: str) -> None:
    document, payload, code = REFUSED[case]
    async with connected(server.port, token) as client:
        await client.subscribe("other", "subscription { stays }")
        await client.ask("{ me }")
        other = server.toys[-1]
        assert await client.refused(document, **payload) == code
        # The id is free, and the rest of the socket lives on.
        assert await client.refused(document, **payload) == code
        await server.call(lambda: other.sink.next(b'{"data":{"stays":1}}'))
        assert (await client.receive())["id"] == "other"


async def test_an_error_of_a_field_is_part_of_the_result(
    server: SocketServer, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(server.port, token) as client:
        result = await client.ask("{ broken me }")
    assert result["data"] == {"broken": None, "me": "sockets"}
    assert [error["extensions"]["code"] for error in result["errors"]] == ["INTERNAL"]
    assert SECRET not in str(result)
    assert SECRET not in caplog.text


async def test_links_for_persisted_queries_are_told_to_send_the_document(server: SocketServer, token: str) -> None:
    async with connected(server.port, token) as client:
        payload = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "00"}}}
        await client.send({"id": "1", "type": "subscribe", "payload": payload})
        answer = await client.receive()
        assert (answer["type"], answer["payload"][0]["message"]) == ("error", "PersistedQueryNotSupported")


async def test_a_pong_carries_the_payload_of_the_ping(server: SocketServer, token: str) -> None:
    async with opened(server.port) as client:
        await client.send({"type": "ping"})
        assert await client.receive() == {"type": "pong"}
        await client.send({"type": "ping", "payload": None})
        assert await client.receive() == {"type": "pong"}
        await client.init(token)
        await client.send({"type": "ping", "payload": {"sent": [1, {}]}})
        assert await client.receive() == {"type": "pong", "payload": {"sent": [1, {}]}}
        await client.send({"type": "pong", "payload": {"unasked": True}})
        assert await client.ask("{ me }") == {"data": {"me": "sockets"}}


INIT = {"type": "connection_init"}
SUBSCRIBE: dict[str, Any] = {"id": "1", "type": "subscribe", "payload": {"query": "{ me }"}}
MALFORMED: dict[str, Any] = {
    "an array": [1],
    "an array of messages": [SUBSCRIBE],
    "a number": 5,
    "null": None,
    "a text": '"ping"',
    "a boolean": True,
    "an object without a type": {},
    "a type that is a number": {"type": 1},
    "a type that is null": {"type": None},
    "an unknown type": {"type": "start", "id": "1"},
    "a type of the server": {"type": "next", "id": "1", "payload": {}},
    "no JSON": "{",
    "nothing": "",
    "NaN": '{"type":"ping","payload":{"x":NaN}}',
    "a lone surrogate": '{"type":"ping","payload":{"x":"\\ud800"}}',
    "nesting": '{"type":"ping","payload":' + "[" * 30_000,
    "binary": b'{"type":"ping"}',
    "a ping with a text": {"type": "ping", "payload": "x"},
    "a ping with an array": {"type": "ping", "payload": []},
    "a pong with a number": {"type": "pong", "payload": 0},
    "no payload": {"id": "1", "type": "subscribe"},
    "payload null": {**SUBSCRIBE, "payload": None},
    "payload text": {**SUBSCRIBE, "payload": "{ me }"},
    "payload array": {**SUBSCRIBE, "payload": ["{ me }"]},
    "no query": {**SUBSCRIBE, "payload": {}},
    "a query that is a number": {**SUBSCRIBE, "payload": {"query": 5}},
    "variables that are text": {**SUBSCRIBE, "payload": {"query": "{ me }", "variables": "{}"}},
    "variables that are an array": {**SUBSCRIBE, "payload": {"query": "{ me }", "variables": []}},
    "extensions that are text": {**SUBSCRIBE, "payload": {"query": "{ me }", "extensions": "{}"}},
    "a name that is an object": {**SUBSCRIBE, "payload": {"query": "{ me }", "operationName": {}}},
    "no id": {"type": "subscribe", "payload": {"query": "{ me }"}},
    "a list as id": {**SUBSCRIBE, "id": ["1"]},
    "a number as id": {**SUBSCRIBE, "id": 1},
    "null as id": {**SUBSCRIBE, "id": None},
    "an empty id": {**SUBSCRIBE, "id": ""},
    "a long id": {**SUBSCRIBE, "id": "x" * 129},
    "a list as id of complete": {"type": "complete", "id": ["1"]},
    "complete without id": {"type": "complete"},
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_what_is_no_message_closes_the_socket(
    case: str, server: SocketServer, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    message = MALFORMED[case]
    async with connected(server.port, token) as client:
        await client.send(message)
        closed = await client.closed()
    assert closed.code == 4400
    assert closed.reason.endswith("."), "a sentence that says what is wrong"
    assert len(closed.reason.encode()) <= 123
    assert caplog.text == ""


@pytest.mark.parametrize("payload", ["x", [], 5, True])
async def test_an_init_with_a_payload_that_is_no_object(payload: Any, server: SocketServer) -> None:
    async with opened(server.port) as client:
        await client.send({**INIT, "payload": payload})
        assert (await client.closed()).code == 4400


async def test_the_longest_id_is_taken(server: SocketServer, token: str) -> None:
    async with connected(server.port, token) as client:
        longest = "x" * 128
        await client.subscribe(longest, "{ me }")
        assert (await client.receive())["id"] == longest


async def test_subscribe_before_the_acknowledgement(server: SocketServer) -> None:
    async with opened(server.port) as client:
        await client.send(SUBSCRIBE)
        assert await client.closed() == (4401, "Unauthorized")


async def test_an_id_that_is_in_use(server: SocketServer, token: str) -> None:
    async with connected(server.port, token) as client:
        await client.subscribe("twice", "subscription { stays }")
        await client.subscribe("twice", "{ me }")
        assert await client.closed() == (4409, "Subscriber for twice already exists")
    toy = server.toys[-1]
    await server.until(lambda: toy.stopped == 1)


async def test_the_reason_is_cut_to_what_a_close_frame_holds(server: SocketServer, token: str) -> None:
    async with connected(server.port, token) as client:
        await client.subscribe("é" * 100, "subscription { stays }")
        await client.subscribe("é" * 100, "subscription { stays }")
        closed = await client.closed()
    assert closed.code == 4409
    assert closed.reason.startswith("Subscriber for éé")


async def test_a_second_init(server: SocketServer, token: str) -> None:
    async with connected(server.port, token) as client:
        await client.send(INIT)
        assert await client.closed() == (4429, "Too many initialisation requests")


async def test_no_init(server: SocketServer) -> None:
    async with opened(server.port) as client:
        assert await client.closed() == (4408, "Connection initialisation timeout")


async def test_an_acknowledged_socket_outlives_the_time_for_init(server: SocketServer, token: str) -> None:
    async with connected(server.port, token) as client:
        await asyncio.sleep(0.7)
        assert await client.ask("{ me }") == {"data": {"me": "sockets"}}


@pytest.mark.parametrize("subprotocols", [["graphql-ws"], None, ["nonsense", "graphql-ws"]])
async def test_other_subprotocols_are_refused(subprotocols: list[str] | None, server: SocketServer) -> None:
    async with opened(server.port, subprotocols=subprotocols) as client:
        closed = await client.closed()
    assert closed.code == 4406
    assert "graphql-transport-ws" in closed.reason


async def test_the_subprotocol_may_be_one_of_several(server: SocketServer, token: str) -> None:
    async with opened(server.port, subprotocols=["graphql-ws", "graphql-transport-ws"]) as client:
        assert client.connection.subprotocol == "graphql-transport-ws"
        await client.init(token)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "https://good.example.evil.com",
        "https://sub.good.example",
        "http://good.example",
        "https://good.example:8443",
        "https://good.example, https://evil.example",
        "http://127.0.0.1:1",
        "http://localhost:5174",
        "http://[",
        "http://127.0.0.1:x",
        "127.0.0.1",
    ],
)
async def test_pages_of_other_origins_may_not_connect(
    origin: str, server: SocketServer, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with opened(server.port, Origin=origin):
            pass
    assert refused.value.response.status_code == 403
    assert b"CORS_ALLOW_ORIGINS" in bytes(refused.value.response.body or b"")
    assert caplog.text == ""


async def test_pages_of_allowed_origins_may_connect(server: SocketServer, token: str) -> None:
    for origin in ("https://good.example", "http://localhost:5173", f"http://127.0.0.1:{server.port}"):
        async with opened(server.port, Origin=origin) as client:
            await client.init(token)


async def test_a_page_of_this_host_behind_a_proxy_may_connect(server: SocketServer) -> None:
    for host, origin, status in (
        ("chat.example.org", "https://chat.example.org", 101),
        ("Chat.example.org:443", "https://chat.example.org", 101),
        ("chat.example.org:8443", "https://chat.example.org:8443", 101),
        ("chat.example.org", "https://chat.example.com", 403),
        ("chat.example.org:8443", "https://chat.example.org", 403),
    ):
        async with raw(server.port) as client:
            assert f" {status} " in await client.handshake(host, f"Origin: {origin}")


async def start_held(client: SocketClient, count: int) -> None:
    for number in range(count):
        await client.subscribe(f"held {number}", "{ held }")


async def test_one_socket_runs_ten_operations_at_once_and_has_a_hundred(server: SocketServer, token: str) -> None:
    async with connected(server.port, token) as client:
        await start_held(client, 100)
        await server.until(lambda: len(HELD) >= 10)
        assert await client.refused("{ me }") == "SUBSCRIPTION_LIMIT"
        assert len(HELD) == 10
        # One that waits can be taken back, and makes room.
        await client.complete("held 99")
        await client.subscribe("last", "{ me }")
        ids: set[str] = set()
        while len(ids) < 100:
            await server.call(HELD.clear)
            message = await client.receive()
            assert message["type"] != "error"
            if message["type"] == "complete":
                ids.add(message["id"])
        assert ids == {*(f"held {number}" for number in range(99)), "last"}


async def test_what_was_taken_back_is_not_heard_of_again(server: SocketServer, token: str) -> None:
    async with connected(server.port, token) as client:
        await client.subscribe("1", "{ held }")
        await server.until(lambda: len(HELD) == 1)
        await client.complete("1")
        await client.subscribe("1", "{ me }")
        assert (await client.receive())["payload"] == {"data": {"me": "sockets"}}
        assert (await client.receive())["type"] == "complete"
        await server.call(HELD.clear)
        assert await client.ask("{ me }") == {"data": {"me": "sockets"}}
