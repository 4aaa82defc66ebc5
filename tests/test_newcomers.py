"""First requests: the token makes the user, many at the same time included."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import httpx

from app.auth import LocalIssuer
from app.db import Database
from app.main import create_app
from app.settings import Settings
from tests.conftest import Newcomer, Person
from tests.documents import select

VIEWER = "{ viewer { user { name } } }"


async def test_more_newcomers_at_once_than_there_are_connections(
    settings: Settings, issuer: LocalIssuer, new_database: Callable[[str], str]
) -> None:
    app = create_app(replace(settings, db_pool_size=1), new_database("parley_newcomers"))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://parley.test") as http:
            people = [Person(str(number), issuer.issue(f"n{number}"), http) for number in range(12)]
            found = await asyncio.gather(*(person.ask(VIEWER) for person in people))
    assert sorted(each["user"]["name"] for each in found) == sorted(f"n{number}" for number in range(12))


async def test_a_name_is_kept_from_the_first_request(newcomer: Newcomer) -> None:
    dora = await newcomer("Dora")
    again = replace(dora, name="other")
    assert (await again.ask(VIEWER))["user"]["name"] == "Dora"


async def test_a_newcomer_is_an_event_of_the_workspace(newcomer: Newcomer, database: Database) -> None:
    dora = await newcomer("Dora")
    await dora.ask(VIEWER)
    logged = await select(database, "SELECT type, payload FROM stream_events WHERE stream_id = 'w'")
    assert [row.type for row in logged] == ["USER_UPDATED"]
    assert logged[0].payload["changed"] == ["created_at"]
