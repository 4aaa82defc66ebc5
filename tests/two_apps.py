"""Two apps on one database."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette

from app.main import create_app
from app.settings import Settings
from tests.eventually import eventually


@pytest.fixture(name="nodes")
async def two_apps(settings: Settings, new_database: Callable[[str], str]) -> AsyncIterator[Sequence[Starlette]]:
    """Two, which hear of each other only by the log: each has a broker of its own."""
    url = new_database("parley_two_apps")
    async with AsyncExitStack() as running:
        apps = [create_app(settings, url, keeps_house=False) for _ in range(2)]
        for app in apps:
            await running.enter_async_context(app.router.lifespan_context(app))
        await eventually(lambda: all(app.state.services.hub.is_current for app in apps))
        yield apps


@asynccontextmanager
async def clients_of(nodes: Sequence[Starlette]) -> AsyncIterator[list[httpx.AsyncClient]]:
    async with AsyncExitStack() as clients:
        yield [
            await clients.enter_async_context(
                httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://parley.test")
            )
            for app in nodes
        ]
