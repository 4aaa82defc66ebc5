"""Who may have an event stream, how many, and for how long."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from jose import jwt
from sqlalchemy import update

from app.auth import LocalIssuer
from app.auth.local import LOCAL_AUDIENCE, LOCAL_ISSUER
from app.db import Write
from app.models import User
from app.settings import Settings
from tests.served import UNREACHABLE
from tests.socket_client import connected
from tests.stream_client import StreamClient, streaming
from tests.stream_server import StreamServer

PER_USER, TOTAL = 3, 6
STAYS = "subscription { stays }"


@pytest.fixture(scope="module")
def url(new_database: Callable[[str], str]) -> str:
    return new_database("parley_stream_sessions")


@pytest.fixture(scope="module")
def server(settings: Settings, url: str) -> Iterator[StreamServer]:
    environ = {"MAX_WEBSOCKET_CONNECTIONS_PER_USER": str(PER_USER), "MAX_TOTAL_WEBSOCKET_CONNECTIONS": str(TOTAL)}
    running = StreamServer(settings.data_dir, url, environ=environ, notice_seconds=1)
    with running.served:
        yield running


@pytest.fixture
def expiring(settings: Settings, issuer: LocalIssuer) -> Callable[[int], str]:
    """Makes a token that ends then."""

    def make(expires_at: int) -> str:
        claims = {"iss": LOCAL_ISSUER, "aud": LOCAL_AUDIENCE, "sub": "local|expires", "iat": 0, "exp": expires_at}
        key = (settings.data_dir / "issuer.pem").read_text()
        token: str = jwt.encode(claims, key, algorithm="RS256", headers={"kid": issuer.jwks()["keys"][0]["kid"]})
        return token

    return make


async def assert_unavailable(client: StreamClient) -> None:
    assert (client.status, client.headers["retry-after"], client.headers["connection"]) == (503, "5", "close")
    assert await client.code() == "UNAVAILABLE"


async def test_a_stream_ends_with_its_token(server: StreamServer, expiring: Callable[[int], str]) -> None:
    expires_at = int(time.time()) + 3
    token = expiring(expires_at)
    async with streaming(server.port, STAYS, token) as client:
        toy = server.toys[-1]
        # A second before the end, as this server is set.
        assert await client.result() == {"data": {"stays": "expiring"}}
        assert time.time() < expires_at
        assert [moment.timestamp() for moment in toy.expires] == [expires_at]
        # Without `complete`: the client comes back.
        assert await client.rest() == b""
        assert 0 <= time.time() - expires_at < 2
    await server.until(lambda: toy.stopped == 1)
    assert server.sessions.count == 0
    # For usual requests it is still within the leeway.
    async with streaming(server.port, STAYS, token) as client:
        assert (client.status, client.headers["www-authenticate"]) == (401, "Bearer")
        assert await client.code() == "TOKEN_EXPIRED"
    assert server.sessions.count == 0


async def test_a_connection_lives_on_after_a_refusal(server: StreamServer, expiring: Callable[[int], str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = "GET /graphql?query=subscription{stays} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
    request = f"{head}Authorization: Bearer {expiring(int(time.time()) - 10)}\r\n\r\n".encode()
    for pause in (0, 1.5, 0):  # longer than a stream has for its end
        await asyncio.sleep(pause)
        writer.write(request)
        assert b" 401 " in await asyncio.wait_for(reader.readuntil(b"TOKEN_EXPIRED"), 5)
    writer.close()


async def test_the_streams_of_a_user_can_be_ended(server: StreamServer, issuer: LocalIssuer) -> None:
    token = issuer.issue("gone")
    async with streaming(server.port, STAYS, token) as client:
        user = server.toys[-1].session.user
        assert user is not None

        async def deactivate(write: Write) -> None:
            await write.run(update(User).where(User.id == user.id).values(is_active=False))

        database = server.app.state.services.database
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(database.write(deactivate), server.served.loop))
        await server.call(lambda: server.sessions.close_user(user.id, 4403, "This user is deactivated."))
        assert b"event" not in await client.rest()
    async with streaming(server.port, STAYS, token) as client:
        assert (client.status, await client.code()) == (403, "USER_INACTIVE")


async def test_one_user_has_so_many_streams_and_sockets(server: StreamServer, issuer: LocalIssuer) -> None:
    token = issuer.issue("many")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(connected(server.port, token))
        clients = [await stack.enter_async_context(streaming(server.port, STAYS, token)) for _ in range(PER_USER - 1)]
        async with streaming(server.port, STAYS, token) as refused:
            assert (refused.status, refused.headers["retry-after"]) == (429, "5")
            assert await refused.code() == "SUBSCRIPTION_LIMIT"
        async with streaming(server.port, STAYS, issuer.issue("another")) as other:
            assert other.status == 200
        # A place is free again when its client has left, with or without a word.
        for client, leave in ((clients[0], clients[0].writer.transport.abort), (clients[1], clients[1].writer.close)):
            before, toy = server.sessions.count, server.toys[-1]
            leave()
            await server.until(lambda before=before: server.sessions.count < before)  # type: ignore[misc]  # bound now
            again = await stack.enter_async_context(streaming(server.port, STAYS, token))
            assert again.status == 200, client
            assert server.toys[-1] is not toy
    await server.until(lambda: server.sessions.count == 0)
    assert {toy.stopped for toy in server.toys} == {1}


async def test_the_server_has_so_many_streams(server: StreamServer, issuer: LocalIssuer) -> None:
    async with AsyncExitStack() as stack:
        for number in range(TOTAL):
            await stack.enter_async_context(streaming(server.port, STAYS, issuer.issue(f"total-{number % 3}")))
        async with streaming(server.port, STAYS, issuer.issue("one more")) as client:
            await assert_unavailable(client)
        async with streaming(server.port, "{ me }", issuer.issue("one more")) as client:
            assert client.status == 200, "queries are none"
    await server.until(lambda: server.sessions.count == 0)


async def test_who_does_not_wait_for_the_beginning_leaves_nothing(server: StreamServer, issuer: LocalIssuer) -> None:
    server.may_start, before, started = False, len(server.requests), len(server.toys)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = "GET /graphql?query=subscription{stays} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
    writer.write(f"{head}Authorization: Bearer {issuer.issue('impatient')}\r\n\r\n".encode())
    await server.until(lambda: len(server.requests) > before)
    writer.transport.abort()
    await server.until(lambda: not server.served.server_state.connections)
    server.may_start = True
    await server.until(lambda: server.sessions.count == 0)
    assert [toy.stopped for toy in server.toys[started:]] == [1]


async def test_an_unreachable_database_is_no_reason_to_give_up(settings: Settings, issuer: LocalIssuer) -> None:
    server = StreamServer(settings.data_dir, UNREACHABLE)
    with server.served:
        async with streaming(server.port, STAYS, issuer.issue("early")) as client:
            assert (client.status, client.headers["retry-after"], await client.code()) == (503, "1", "UNAVAILABLE")
        assert server.sessions.count == 0


async def test_nothing_stays_of_five_hundred_streams(settings: Settings, url: str, issuer: LocalIssuer) -> None:
    server = StreamServer(settings.data_dir, url, environ={"MAX_WEBSOCKET_CONNECTIONS_PER_USER": "1000"})
    with server.served:
        token = issuer.issue("hundreds")
        documents = [STAYS, "subscription { counts(to: 3) }", "subscription { refuses }", "subscription { nonsense }"]

        async def visit(number: int) -> None:
            async with streaming(server.port, documents[number % 4], token) as client:
                if number % 8 > 4:
                    await client.event()

        def left() -> tuple[int, int]:
            return len(asyncio.all_tasks()), sum(1 for _ in Path("/proc/self/fd").iterdir())

        await visit(0)
        await server.until(lambda: server.sessions.count == 0)
        before = await server.call(left)
        limit = asyncio.Semaphore(25)

        async def bounded(number: int) -> None:
            async with limit:
                await visit(number)

        await asyncio.gather(*(bounded(number) for number in range(500)))
        await server.until(lambda: server.sessions.count == 0)
        await server.until(lambda: left()[0] <= before[0])
        assert (await server.call(left))[1] <= before[1] + 10, "file descriptors, but for a few of the database's"
        assert sorted(toy.stopped for toy in server.toys) == [0] * 125 + [1] * 251, "those that were refused never ran"


async def test_draining_tells_everybody_and_spreads_the_ends(settings: Settings, url: str, issuer: LocalIssuer) -> None:
    server = StreamServer(settings.data_dir, url, environ={"MAX_WEBSOCKET_CONNECTIONS_PER_USER": "20"})
    with server.served:
        async with AsyncExitStack() as stack:
            token = issuer.issue("drained")
            clients = [await stack.enter_async_context(streaming(server.port, STAYS, token)) for _ in range(20)]

            async def when(client: StreamClient) -> float:
                assert await client.result() == {"data": {"stays": "draining"}}
                assert await client.rest() == b"", "without complete, but in good order"
                return time.monotonic()

            ends = [asyncio.ensure_future(when(client)) for client in clients]
            drain = asyncio.run_coroutine_threadsafe(server.sessions.drain(0.5), server.served.loop)
            await asyncio.wrap_future(drain)
            moments = sorted(await asyncio.gather(*ends))
            assert moments[-1] - moments[0] > 0.2
            async with streaming(server.port, STAYS, token) as late:
                await assert_unavailable(late)
