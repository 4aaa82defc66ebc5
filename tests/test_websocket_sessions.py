"""Who may have a socket, how many, and for how long."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jose import jwt
from sqlalchemy import update

from app.auth import LocalIssuer
from app.auth.local import LOCAL_AUDIENCE, LOCAL_ISSUER
from app.db import Write
from app.models import User
from app.settings import Settings
from tests.conftest import Person
from tests.served import UNREACHABLE
from tests.socket_client import SocketClient, connected, opened, raw
from tests.socket_server import SocketServer

PER_USER, TOTAL = 3, 8
RENEW = "mutation($token: String!) { renewSession(token: $token) { expiresAt errors { code message field } } }"


@pytest.fixture(scope="module")
def url(new_database: Callable[[str], str]) -> str:
    return new_database("parley_sessions")


@pytest.fixture(scope="module")
def server(settings: Settings, url: str) -> Iterator[SocketServer]:
    environ = {"MAX_WEBSOCKET_CONNECTIONS_PER_USER": str(PER_USER), "MAX_TOTAL_WEBSOCKET_CONNECTIONS": str(TOTAL)}
    running = SocketServer(settings.data_dir, url, environ=environ, notice_seconds=1)
    with running.served:
        yield running


@pytest.fixture
def sign(settings: Settings, issuer: LocalIssuer) -> Callable[..., str]:
    """Makes a token of the local issuer, with claims and headers of the test's own; None takes a claim away."""

    def make(headers: dict[str, Any] | None = None, **claims: Any) -> str:
        now = int(time.time())
        usual = {"iss": LOCAL_ISSUER, "aud": LOCAL_AUDIENCE, "sub": "local|maker", "iat": now, "exp": now + 600}
        chosen = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        key = (settings.data_dir / "issuer.pem").read_text()
        kid = issuer.jwks()["keys"][0]["kid"]
        token: str = jwt.encode(chosen, key, algorithm="RS256", headers={"kid": kid, **(headers or {})})
        return token

    return make


async def refused(server: SocketServer, payload: Any) -> str:
    """The reason of 4403 to an init with this payload."""
    async with opened(server.port) as client:
        await client.send({"type": "connection_init", "payload": payload})
        closed = await client.closed()
        assert closed.code == 4403
        assert closed.reason
        assert len(closed.reason.encode()) <= 123
    return closed.reason


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_a_token_is_taken_under_any_case_of_its_name(
    name: str, scheme: str, server: SocketServer, issuer: LocalIssuer
) -> None:
    async with opened(server.port) as client:
        payload = {name: f"{scheme} {issuer.issue('cases')}", "other": 1}
        await client.send({"type": "connection_init", "payload": payload})
        assert await client.receive() == {"type": "connection_ack"}
        assert await client.ask("{ me }") == {"data": {"me": "cases"}}


async def test_headers_within_the_payload_are_taken(server: SocketServer, issuer: LocalIssuer) -> None:
    async with opened(server.port) as client:
        headers = {"authorization": f"Bearer {issuer.issue('headers')}"}
        await client.send({"type": "connection_init", "payload": {"headers": headers}})
        assert await client.receive() == {"type": "connection_ack"}


async def test_no_token(server: SocketServer, issuer: LocalIssuer) -> None:
    token = issuer.issue("nobody")
    both = {"Authorization": f"Bearer {token}", "authorization": "Bearer another"}
    payloads: list[Any] = [None, {}, {"Authorization": ""}, {"Authorization": token}, {"Authorization": 5}, both]
    for payload in payloads:
        assert "connectionParams" in await refused(server, payload)
    await server.until(lambda: server.sessions.count == 0)


async def test_a_token_in_the_url_or_the_header_does_not_count(server: SocketServer, issuer: LocalIssuer) -> None:
    async with opened(server.port, Authorization=f"Bearer {issuer.issue('nobody')}") as client:
        await client.send({"type": "connection_init"})
        assert (await client.closed()).code == 4403


async def test_bad_tokens(server: SocketServer, sign: Callable[..., str]) -> None:
    now = int(time.time())
    tokens = {
        "nonsense": "x",
        "another audience": sign(aud="other"),
        "no audience": sign(aud=None),
        "no end": sign(exp=None),
        "not yet": sign(nbf=now + 300),
        "another issuer": sign(iss="https://elsewhere.example/"),
        "another key": sign(headers={"kid": "other"}),
        "another's signature": sign()[:-4] + "AAAA",
        "too long": "x" * 9000,
    }
    for case, token in tokens.items():
        assert await refused(server, {"Authorization": f"Bearer {token}"}) != "Token expired", case
    for exp in (now - 3600, now - 10):  # the second is within the leeway that requests have
        assert await refused(server, {"Authorization": f"Bearer {sign(exp=exp)}"}) == "Token expired"


async def test_a_deactivated_user(server: SocketServer, issuer: LocalIssuer) -> None:
    token = issuer.issue("gone")
    async with connected(server.port, token) as client:
        await client.subscribe("1", "subscription { stays }")
        await client.ask("{ me }")
        user = server.toys[-1].session.user
        assert user is not None

        async def deactivate(write: Write) -> None:
            await write.run(update(User).where(User.id == user.id).values(is_active=False))

        database = server.app.state.services.database
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(database.write(deactivate), server.served.loop))
        await server.call(lambda: server.sessions.close_user(user.id, 4403, "This user is deactivated."))
        assert await client.closed() == (4403, "This user is deactivated.")
    assert "deactivated" in await refused(server, {"Authorization": f"Bearer {token}"})


async def test_an_unreachable_issuer_is_no_reason_to_give_up(
    settings: Settings, url: str, sign: Callable[..., str]
) -> None:
    environ = {"AUTH0_DOMAIN": "127.0.0.1:1", "AUTH0_API_IDENTIFIER": "parley"}
    server = SocketServer(settings.data_dir, url, environ=environ)
    with server.served:
        async with opened(server.port) as client:
            token = sign(iss="https://127.0.0.1:1/")
            await client.send({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}})
            closed = await client.closed()
    assert closed.code == 1013
    assert "issuer" in closed.reason


async def test_an_unreachable_database_is_no_reason_to_give_up(settings: Settings, issuer: LocalIssuer) -> None:
    server = SocketServer(settings.data_dir, UNREACHABLE)
    with server.served:
        async with opened(server.port) as client:
            payload = {"Authorization": f"Bearer {issuer.issue('early')}"}
            await client.send({"type": "connection_init", "payload": payload})
            closed = await client.closed()
    assert closed.code == 1013
    assert "database" in closed.reason


async def test_a_socket_ends_with_its_token(server: SocketServer, sign: Callable[..., str]) -> None:
    expires_at = int(time.time()) + 3
    async with connected(server.port, sign(exp=expires_at)) as client:
        await client.subscribe("1", "subscription { stays }")
        await client.ask("{ me }")
        toy = server.toys[-1]
        assert toy.expires == [], "too early for a notice"
        # A second before the end, as this server is set.
        assert (await client.receive())["payload"] == {"data": {"stays": "expiring"}}
        assert time.time() < expires_at
        assert [moment.timestamp() for moment in toy.expires] == [expires_at]
        # Whatever starts now is told at once.
        await client.subscribe("2", "subscription { stays }")
        assert (await client.receive())["payload"] == {"data": {"stays": "expiring"}}
        assert await client.closed() == (4403, "Token expired")
        assert 0 <= time.time() - expires_at < 2
    await server.until(lambda: toy.stopped == 1)
    assert len(toy.expires) == 1


@asynccontextmanager
async def renewable(server: SocketServer, token: str) -> AsyncGenerator[SocketClient, None]:
    async with connected(server.port, token) as client:
        await client.subscribe("1", "subscription { stays }")
        await client.ask("{ me }")
        yield client


async def renewal(client: SocketClient, token: str) -> dict[str, Any]:
    payload: dict[str, Any] = (await client.ask(RENEW, variables={"token": token}))["data"]["renewSession"]
    return payload


async def test_a_socket_can_be_renewed(server: SocketServer, sign: Callable[..., str]) -> None:
    first, second = int(time.time()) + 3, int(time.time()) + 5
    async with renewable(server, sign(exp=first)) as client:
        toy = server.toys[-1]
        assert await client.ask("{ admin }") == {"data": {"admin": False}}
        payload = await renewal(client, sign(exp=second, permissions=["workspace:admin"]))
        shown = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(second))
        assert payload == {"expiresAt": shown, "errors": []}
        assert await client.ask("{ admin }") == {"data": {"admin": True}}, "the new token's rights"
        assert (await client.receive())["payload"] == {"data": {"stays": "expiring"}}
        assert [moment.timestamp() for moment in toy.expires] == [second], "nothing of the first token's end"
        assert await client.closed() == (4403, "Token expired")
        assert time.time() >= second


async def test_a_renewal_after_the_notice_is_followed_by_another_notice(
    server: SocketServer, sign: Callable[..., str]
) -> None:
    async with renewable(server, sign(exp=int(time.time()) + 2)) as client:
        toy = server.toys[-1]
        assert (await client.receive())["payload"] == {"data": {"stays": "expiring"}}
        second = int(time.time()) + 3
        assert (await renewal(client, sign(exp=second)))["errors"] == []
        assert (await client.receive())["payload"] == {"data": {"stays": "expiring"}}
        assert [moment.timestamp() for moment in toy.expires][1:] == [second]


async def test_what_does_not_renew(server: SocketServer, sign: Callable[..., str]) -> None:
    now = int(time.time())
    tokens = {
        "nonsense": "x",
        "another user's": sign(sub="local|other"),
        "expired": sign(exp=now - 3600),
        "within the leeway": sign(exp=now - 10),
    }
    async with connected(server.port, sign()) as client:
        for case, token in tokens.items():
            payload = await renewal(client, token)
            assert payload["expiresAt"] is None, case
            assert [(error["code"], error["field"]) for error in payload["errors"]] == [("INVALID_INPUT", ["token"])]
        assert await client.ask("{ me }") is not None


async def test_over_http_there_is_nothing_to_renew(alice: Person) -> None:
    assert await alice.refused(RENEW, token=alice.token) == "INVALID_INPUT"


async def test_one_user_has_so_many_sockets(server: SocketServer, issuer: LocalIssuer) -> None:
    token = issuer.issue("many")
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(server.port, token)) for _ in range(PER_USER)]
        reason = await refused(server, {"Authorization": f"Bearer {token}"})
        assert reason.startswith(f"Too many connections of this user: at most {PER_USER}")
        async with connected(server.port, issuer.issue("another")):
            pass
        # A place is free again however its socket ends.
        for end in (clients[0].connection.close(), clients[1].send("nonsense"), _reset(clients[2])):
            before = server.sessions.count
            await end
            await server.until(lambda before=before: server.sessions.count < before)  # type: ignore[misc]  # bound now
            await stack.enter_async_context(connected(server.port, token))
        await refused(server, {"Authorization": f"Bearer {token}"})


async def _reset(client: SocketClient) -> None:
    client.connection.transport.abort()


async def test_sockets_in_other_processes_count(server: SocketServer, issuer: LocalIssuer) -> None:
    token = issuer.issue("elsewhere")
    usual = server.sessions.others
    server.sessions.others = lambda _: PER_USER - 1
    try:
        async with connected(server.port, token):
            await refused(server, {"Authorization": f"Bearer {token}"})
    finally:
        server.sessions.others = usual
    async with connected(server.port, token), connected(server.port, token):
        pass


async def test_many_at_once_do_not_slip_through(server: SocketServer, issuer: LocalIssuer) -> None:
    token = issuer.issue("at once")
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(opened(server.port)) for _ in range(TOTAL)]
        payload = {"Authorization": f"Bearer {token}"}
        await asyncio.gather(*(client.send({"type": "connection_init", "payload": payload}) for client in clients))
        answers = await asyncio.gather(*(client.receive() for client in clients), return_exceptions=True)
        assert answers.count({"type": "connection_ack"}) == PER_USER


async def test_the_server_has_so_many_sockets(server: SocketServer, issuer: LocalIssuer) -> None:
    await server.until(lambda: server.sessions.count == 0)
    async with AsyncExitStack() as stack:
        # Those that have not said who they are count, too.
        clients = [await stack.enter_async_context(opened(server.port)) for _ in range(TOTAL)]
        async with opened(server.port) as client:
            closed = await client.closed()
            assert closed.code == 1013
            assert str(TOTAL) in closed.reason
        await clients[-1].connection.close()
        await server.until(lambda: server.sessions.count == TOTAL - 1)
        async with connected(server.port, issuer.issue("last")):
            pass


async def test_sessions_of_a_user_are_found(server: SocketServer, issuer: LocalIssuer) -> None:
    async with connected(server.port, issuer.issue("found")) as client:
        await client.subscribe("1", "subscription { stays }")
        await client.ask("{ me }")
        session = server.toys[-1].session
        assert session.user is not None
        assert session.user.name == "found"
        assert session.address == "127.0.0.1"
        assert server.sessions.of_user(session.user.id) == {session}
    await server.until(lambda: server.sessions.of_user(session.user.id) == frozenset())  # type: ignore[union-attr]  # known above


async def test_nothing_stays_of_a_thousand_sockets(settings: Settings, url: str, issuer: LocalIssuer) -> None:
    server = SocketServer(settings.data_dir, url, environ={"MAX_WEBSOCKET_CONNECTIONS_PER_USER": "1000"})
    with server.served:
        token = issuer.issue("thousand")

        async def visit(number: int) -> None:
            async with raw(server.port) as client:
                if number % 5 == 0:
                    return  # not even a handshake
                await client.handshake("127.0.0.1")
                if number % 5 == 1:
                    return
                client.write_json({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}})
                if number % 5 == 2:
                    return
                await client.read()
                client.write_json({"id": "1", "type": "subscribe", "payload": {"query": "subscription { stays }"}})
                client.write_json({"id": "2", "type": "subscribe", "payload": {"query": "{ me }"}})
                if number % 5 == 3:
                    return
                await client.read()

        def left() -> tuple[int, int]:
            return len(asyncio.all_tasks()), sum(1 for _ in Path("/proc/self/fd").iterdir())

        await visit(4)
        await server.until(lambda: server.sessions.count == 0)
        before = await server.call(left)
        limit = asyncio.Semaphore(25)

        async def bounded(number: int) -> None:
            async with limit:
                await visit(number)

        await asyncio.gather(*(bounded(number) for number in range(1000)))
        await server.until(lambda: server.sessions.count == 0)
        await server.until(lambda: left()[0] <= before[0])
        assert (await server.call(left))[1] <= before[1] + 10, "file descriptors, but for a few of the database's"
        assert all(toy.stopped == 1 for toy in server.toys)
        assert server.toys


async def test_draining_tells_everybody_and_spreads_the_ends(settings: Settings, url: str, issuer: LocalIssuer) -> None:
    server = SocketServer(settings.data_dir, url, environ={"MAX_WEBSOCKET_CONNECTIONS_PER_USER": "20"})
    with server.served:
        async with AsyncExitStack() as stack:
            token = issuer.issue("drained")
            clients = [await stack.enter_async_context(connected(server.port, token)) for _ in range(20)]
            for client in clients:
                await client.subscribe("1", "subscription { stays }")
                await client.ask("{ me }")
            early = await stack.enter_async_context(opened(server.port))

            async def when(client: SocketClient) -> float:
                assert (await client.receive())["payload"] == {"data": {"stays": "draining"}}
                assert (await client.closed()).code == 1012
                return time.monotonic()

            ends = [asyncio.ensure_future(when(client)) for client in clients]
            drain = asyncio.run_coroutine_threadsafe(server.sessions.drain(0.5), server.served.loop)
            await asyncio.wrap_future(drain)
            moments = sorted(await asyncio.gather(*ends))
            assert moments[-1] - moments[0] > 0.2
            assert (await early.closed()).code == 1012
            async with opened(server.port) as late:
                assert (await late.closed()).code == 1012
