"""Two servers of one installation, for the tests of one module. Fixtures, which tests/conftest.py knows."""

from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import replace

import pytest

from app.auth import LocalIssuer
from app.settings import Settings
from tests.live_servers import LiveServer, Place, serving
from tests.redis_server import RedisServer


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def place(
    request: pytest.FixtureRequest,
    settings: Settings,
    issuer: LocalIssuer,
    new_database: Callable[[str], str],
    shared_redis: RedisServer,
) -> Place:
    name = request.module.__name__.rpartition(".")[2].replace("test_", "parley_")
    return Place(replace(settings, redis_url=shared_redis.url), new_database(name), issuer)


@pytest.fixture(scope="module")
async def one(place: Place) -> AsyncGenerator[LiveServer, None]:
    async with serving(place) as running:
        yield running


@pytest.fixture(scope="module")
async def other(place: Place, one: LiveServer) -> AsyncGenerator[LiveServer, None]:
    async with serving(place) as running:
        await heard(running, one)
        yield running


async def heard(*servers: LiveServer) -> None:
    """Wait until these have heard of each other."""
    herald = await servers[0].person("herald")
    for each in servers:
        async with each.device(herald.name):
            for another in servers:
                await another.shows(herald, "ONLINE")
        for another in servers:
            await another.shows(herald, "OFFLINE")
