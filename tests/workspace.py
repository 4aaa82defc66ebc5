"""An app of its own for tests that bring their own data: the fixtures of conftest.py empty their tables."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from app.auth import LocalIssuer
from app.db import Database
from app.main import create_app
from app.settings import Settings
from schema.context import Services
from tests.conftest import Person


@dataclass(frozen=True, slots=True)
class Workspace:
    """The app's services, and its people."""

    services: Services
    issuer: LocalIssuer
    http: httpx.AsyncClient

    @property
    def database(self) -> Database:
        return self.services.database

    def person(self, number: int) -> Person:
        """The user whose subject is that of `parley token user7`."""
        name = f"user{number}"
        return Person(name, self.issuer.issue(name), self.http)


@asynccontextmanager
async def workspace(settings: Settings, url: str, *, keeps_house: bool = False) -> AsyncGenerator[Workspace, None]:
    """The app on the migrated database at `url`."""
    app = create_app(settings, url, keeps_house=keeps_house)
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 50000))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://parley.test") as http,
    ):
        yield Workspace(app.state.services, LocalIssuer(settings.data_dir), http)
