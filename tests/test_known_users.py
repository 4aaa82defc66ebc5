"""Users are looked up once; what is remembered of them ends when their account is switched off, on every node."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import httpx
import pytest
from starlette.applications import Starlette

from app.auth import LocalIssuer
from app.main import create_app
from app.settings import Settings
from tests.conftest import Person
from tests.eventually import eventually

CHANNELS = "{ channels(first: 1) { nodes { id } } }"
SWITCH = "mutation ($id: ID!, $on: Boolean!) { setUserActive(userId: $id, active: $on) { errors { code } } }"


@pytest.fixture
async def nodes(settings: Settings, new_database: Callable[[str], str]) -> AsyncIterator[list[Starlette]]:
    """Two, which hear of each other only by the log: each has a broker of its own."""
    url = new_database("parley_known_users")
    async with AsyncExitStack() as running:
        apps = [create_app(settings, url, keeps_house=False) for _ in range(2)]
        for app in apps:
            await running.enter_async_context(app.router.lifespan_context(app))
        await eventually(lambda: all(app.state.services.hub.is_current for app in apps))
        yield apps


async def test_an_account_that_is_switched_off_is_out_on_every_node(
    nodes: list[Starlette], issuer: LocalIssuer
) -> None:
    async with AsyncExitStack() as clients:
        http = [
            await clients.enter_async_context(
                httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://parley.test")
            )
            for app in nodes
        ]
        admin = Person("root", issuer.issue("root", admin=True), http[0])
        here, there = (Person("alice", issuer.issue("alice"), client) for client in http)
        user_id = (await here.ask("{ viewer { user { id } } }"))["user"]["id"]
        await there.ask(CHANNELS)
        subject = LocalIssuer.subject("alice")
        assert all(app.state.services.known_users.get(subject) for app in nodes)

        await admin.ask(SWITCH, id=user_id, on=False)
        assert (await here.send(CHANNELS))["errors"][0]["extensions"]["code"] == "USER_INACTIVE"  # at once
        await eventually(lambda: nodes[1].state.services.known_users.get(subject) is None)
        assert (await there.send(CHANNELS))["errors"][0]["extensions"]["code"] == "USER_INACTIVE"

        await admin.ask(SWITCH, id=user_id, on=True)
        for person in (here, there):
            await person.ask(CHANNELS)
