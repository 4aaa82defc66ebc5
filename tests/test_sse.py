"""GraphQL over server-sent events: which requests are answered so, and how, byte by byte."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from app.auth import LocalIssuer
from app.main import create_app
from app.settings import Settings, load_settings
from tests.served import NEW, OLD, client_of
from tests.socket_server import SECRET, Toy
from tests.stream_client import EVENTS, StreamClient, streaming
from tests.stream_server import StreamServer

# What urql 6 sends with queries and mutations, and with subscriptions.
URQL = f"{NEW}, application/graphql+json, {OLD}, {EVENTS}, multipart/mixed"
URQL_SUBSCRIPTION = f"{EVENTS}, multipart/mixed"


@pytest.fixture(scope="module")
def url(new_database: Callable[[str], str]) -> str:
    return new_database("parley_streams")


@pytest.fixture(scope="module")
def server(settings: Settings, url: str) -> Iterator[StreamServer]:
    running = StreamServer(settings.data_dir, url)
    with running.served:
        yield running


@pytest.fixture
def token(issuer: LocalIssuer) -> str:
    return issuer.issue("streams")


def without_delay(body: bytes) -> bytes:
    """The body without its opening."""
    found = re.fullmatch(rb"retry: ([0-9]{4})\n\n(.*)", body, re.DOTALL)
    assert found is not None, body
    assert 1_000 <= int(found[1]) <= 4_000
    return found[2]


async def push(server: StreamServer, toy: Toy, *payloads: bytes) -> None:
    """All in one turn of the loop."""

    def next_each() -> None:
        for payload in payloads:
            toy.sink.next(payload)

    await server.call(next_each)


# ---------------------------------------------------------------- framing


async def test_a_subscription_is_answered_event_by_event(server: StreamServer, token: str) -> None:
    variables = {"to": 2}
    async with streaming(server.port, "subscription($to: Int!) { counts(to: $to) }", token, variables=variables) as it:
        assert it.status == 200
        assert it.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert it.headers["cache-control"] == "no-store"
        assert it.headers["x-accel-buffering"] == "no"
        assert without_delay(await it.rest()) == (
            b'event: next\ndata: {"data":{"counts":0}}\n\n'
            b'event: next\ndata: {"data":{"counts":1}}\n\n'
            b"event: complete\ndata:\n\n"
        )


async def test_each_event_has_the_cursor_behind_it_as_its_id(server: StreamServer, token: str) -> None:
    async with streaming(server.port, "subscription { stays }", token) as client:
        await server.until(lambda: bool(server.toys))
        sink = server.toys[-1].sink
        places = iter(["first", "second"])
        await server.call(lambda: sink.begin(lambda: next(places)))
        await push(server, server.toys[-1], b'{"data":"\\n\xe2\x80\xa8"}', b"{}")
        await server.call(sink.complete)
        assert without_delay(await client.rest()) == (
            b'event: next\nid: first\ndata: {"data":"\\n\xe2\x80\xa8"}\n\n'
            b"event: next\nid: second\ndata: {}\n\n"
            b"event: complete\ndata:\n\n"
        )


async def test_what_is_due_together_leaves_together(server: StreamServer, token: str) -> None:
    async with streaming(server.port, "subscription { stays }", token) as client:
        without_delay(await client.chunk())
        await push(server, server.toys[-1], *(b"%d" % number for number in range(100)))
        assert await client.chunk() == b"".join(b"event: next\ndata: %d\n\n" % number for number in range(100))


async def test_a_silent_stream_is_kept_open_by_comments(settings: Settings, url: str, token: str) -> None:
    server = StreamServer(settings.data_dir, url, keep_alive_seconds=0.1)
    with server.served:
        async with streaming(server.port, "subscription { stays }", token) as client:
            without_delay(await client.chunk())
            assert [await client.chunk() for _ in range(2)] == [b":\n\n", b":\n\n"]
            await push(server, server.toys[-1], b"1")
            assert (await client.event()).data == "1"
        await server.until(lambda: server.sessions.count == 0)


async def test_nothing_follows_the_end(server: StreamServer, token: str) -> None:
    async with streaming(server.port, "subscription { stays }", token) as client:
        without_delay(await client.chunk())
        toy = server.toys[-1]

        def end() -> None:
            toy.sink.complete()
            toy.sink.complete()
            toy.sink.next(b"1")

        await server.call(end)
        assert await client.rest() == b"event: complete\ndata:\n\n"
    await server.until(lambda: toy.stopped == 1)
    await push(server, toy, b"1")


# ---------------------------------------------------------------- which requests


@pytest.mark.parametrize(
    "accept", [EVENTS, URQL_SUBSCRIPTION, URQL, f"{OLD}, {EVENTS};q=0.1", f"{NEW};q=0, {EVENTS}", f"*/*, {EVENTS}"]
)
async def test_whoever_names_event_streams_can_subscribe(server: StreamServer, token: str, accept: str) -> None:
    async with streaming(server.port, "subscription { counts(to: 1) }", token, accept=accept) as client:
        assert client.headers["content-type"].startswith(EVENTS)
        assert await client.result() == {"data": {"counts": 0}}


@pytest.mark.parametrize(
    "accept, status",
    [("*/*", 200), (OLD, 200), (NEW, 400), (f"{NEW}, text/*", 400), (f"{EVENTS};q=0, */*", 200), ("text/*", 406)],
)
async def test_others_are_told_how_to_subscribe(server: StreamServer, token: str, accept: str, status: int) -> None:
    async with streaming(server.port, "subscription { counts(to: 1) }", token, accept=accept) as client:
        assert client.status == status
        answer = await client.rest()
        assert b"text/event-stream" in answer
        assert json.loads(answer)["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


@pytest.mark.parametrize("accept", [URQL, f"{EVENTS}, {NEW}", f"{EVENTS}, */*;q=0.1"])
async def test_a_query_is_answered_by_json_wherever_that_is_accepted(
    server: StreamServer, token: str, accept: str
) -> None:
    async with streaming(server.port, "{ me }", token, accept=accept) as client:
        assert client.headers["content-type"].endswith("json; charset=utf-8")
        assert json.loads(await client.rest()) == {"data": {"me": "streams"}}


ONE_RESULT: dict[str, tuple[str, Any]] = {
    "a query": ("{ me }", {"data": {"me": "streams"}}),
    "a mutation": ("mutation { add(number: 1) }", {"data": {"add": 2}}),
}


@pytest.mark.parametrize("case", ONE_RESULT)
async def test_who_reads_only_event_streams_gets_one_result(server: StreamServer, token: str, case: str) -> None:
    document, result = ONE_RESULT[case]
    async with streaming(server.port, document, token) as client:
        assert (client.status, client.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        data = json.dumps(result, separators=(",", ":")).encode()
        assert await client.rest() == b"event: next\ndata: " + data + b"\n\nevent: complete\ndata:\n\n"


async def test_a_subscription_may_come_by_get(server: StreamServer, token: str) -> None:
    """As EventSource sends it, but for the token: browsers have no way to add one."""
    document = "subscription($to: Int!) { counts(to: $to) }"
    async with streaming(server.port, document, token, method="GET", variables={"to": 1}) as client:
        assert client.status == 200
        assert [(event.event, event.data) for event in [await client.event(), await client.event()]] == [
            ("next", '{"data":{"counts":0}}'),
            ("complete", ""),
        ]


async def test_the_last_event_id_comes_with_the_request(server: StreamServer, token: str) -> None:
    for sent, taken in (("xyz", "xyz"), ("", None)):
        async with streaming(server.port, "subscription { stays }", token, method="GET", Last_Event_ID=sent):
            assert server.requests[-1].last_event_id == taken
    async with streaming(server.port, "subscription { stays }", token):
        assert server.requests[-1].last_event_id is None


async def test_a_mutation_by_get_is_not_run(server: StreamServer, token: str) -> None:
    async with streaming(server.port, "mutation { add(number: 1) }", token, method="GET") as client:
        assert (client.status, client.headers["allow"], await client.code()) == (405, "POST", "BAD_REQUEST")


async def test_head_starts_nothing(server: StreamServer, token: str) -> None:
    before = len(server.toys)
    async with streaming(server.port, "subscription { stays }", token, method="HEAD") as client:
        assert client.headers["content-type"].startswith(EVENTS)
    assert len(server.toys) == before


# ---------------------------------------------------------------- errors before the stream

OWN_ERRORS = {
    "a syntax error": ("subscription {", {}, "PARSE_FAILED"),
    "an unknown subscription": ("subscription { nonsense }", {}, "VALIDATION_FAILED"),
    "a query with an unknown field": ("{ nonsense }", {}, "VALIDATION_FAILED"),
    "a variable that does not fit": ("query($n: Int!) { long(length: $n) }", {"n": "x"}, "BAD_REQUEST"),
    "too many tokens": ("subscription {" + " a" * 3000 + "}", {}, "QUERY_TOO_COSTLY"),
    "a refused subscription": ("subscription { refuses }", {}, "NOT_FOUND"),
}


@pytest.mark.parametrize("case", OWN_ERRORS)
async def test_what_is_wrong_with_the_operation_is_its_result(server: StreamServer, token: str, case: str) -> None:
    """graphql-sse would repeat it, five times, after any other status; EventSource would not show it."""
    document, variables, code = OWN_ERRORS[case]
    async with streaming(server.port, document, token, variables=variables) as client:
        assert (client.status, client.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        result, complete = await client.result(), await client.event()
        assert "data" not in result
        assert [error["extensions"]["code"] for error in result["errors"]] == [code]
        assert (complete.event, complete.id, complete.data) == ("complete", None, "")
        assert await client.rest() == b""
    assert server.sessions.count == 0


async def test_an_operation_that_ran_is_answered_by_200(server: StreamServer) -> None:
    """A mutation may have been done, and must not be repeated."""
    async with streaming(server.port, "{ me }") as client:  # by nobody
        assert client.status == 200
        result = await client.result()
    assert result["data"] is None
    assert result["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("accept", [EVENTS, URQL_SUBSCRIPTION, f"{NEW}, {EVENTS}"])
async def test_a_fault_of_the_server_is_a_status(server: StreamServer, token: str, accept: str) -> None:
    async with streaming(server.port, "subscription { breaks }", token, accept=accept) as client:
        assert client.status == 500
        body = await client.rest()
        assert json.loads(body)["errors"][0]["extensions"]["code"] == "INTERNAL"
        assert SECRET.encode() not in body
        assert client.headers["content-type"].startswith(NEW if NEW in accept else OLD)
    assert server.sessions.count == 0


async def assert_unauthenticated(client: StreamClient, code: str = "UNAUTHENTICATED") -> None:
    assert (client.status, client.headers["www-authenticate"]) == (401, "Bearer")
    assert await client.code() == code


async def test_a_token_is_needed_and_only_the_header_counts(server: StreamServer, token: str) -> None:
    async with streaming(server.port, "subscription { stays }") as client:
        await assert_unauthenticated(client)
    async with streaming(server.port, "subscription { stays }", "nonsense") as client:
        await assert_unauthenticated(client)
    async with httpx.AsyncClient() as http:
        for name in ("token", "access_token", "authorization"):
            parameters = {"query": "subscription { stays }", name: f"Bearer {token}"}
            answer = await http.get(server.served.url, params=parameters, headers={"accept": EVENTS})
            assert answer.status_code == 401
    assert server.sessions.count == 0


async def test_pages_of_other_origins_may_send_the_last_event_id(settings: Settings) -> None:
    environ = {"PARLEY_DATA_DIR": str(settings.data_dir), "CORS_ALLOW_ORIGINS": "https://good.example"}
    app = create_app(load_settings(environ, env_file=None), "postgresql+asyncpg://nobody@127.0.0.1:1/none")
    wanted = {"access-control-request-method": "POST", "access-control-request-headers": "last-event-id,authorization"}
    async with client_of(app) as http:
        answer = await http.options("/graphql", headers={"origin": "https://good.example", **wanted})
    assert answer.status_code == 200
    assert "last-event-id" in answer.headers["access-control-allow-headers"]
