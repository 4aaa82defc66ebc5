"""A node inside this process: for tests that look at its counters, and neither kill nor freeze it (tests/nodes.py)."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.auth import LocalIssuer
from app.events.broker_counts import BrokerCounts
from app.events.hub import HubCounts
from app.main import create_app
from app.settings import load_settings
from schema.context import Services
from tests.conftest import Person
from tests.nodes import ROOMY, Address
from tests.served import Served


@dataclass(frozen=True, eq=False)
class LocalNode(Address):
    """An app with a thread, a port, a hub and a broker of its own."""

    port: int
    services: Services
    http: httpx.AsyncClient
    issuer: LocalIssuer

    @property
    def hub(self) -> HubCounts:
        return self.services.hub.counts

    @property
    def broker(self) -> BrokerCounts:
        return self.services.broker.counts

    async def person(self, name: str) -> Person:
        """Somebody who talks to this node over HTTP."""
        person = Person(name, self.issuer.issue(name), self.http)
        person.id = (await person.ask("{ viewer { user { id } } }"))["user"]["id"]
        return person


@asynccontextmanager
async def local_nodes(folder: Path, url: str, *redis_urls: str) -> AsyncGenerator[list[LocalNode], None]:
    """One for each URL of a Redis, on the migrated database at `url`."""
    nodes: list[LocalNode] = []
    async with AsyncExitStack() as stack:
        for redis_url in redis_urls:
            environ = {"PARLEY_DATA_DIR": str(folder), "REDIS_URL": redis_url, **ROOMY}
            settings = load_settings(environ, env_file=None)
            app = create_app(settings, url, keeps_house=False)
            served = stack.enter_context(Served(app))
            base = f"http://127.0.0.1:{served.port}"
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=base, timeout=30, trust_env=False))
            await http.get("/readyz")  # there are services when it answers
            nodes.append(LocalNode(served.port, app.state.services, http, LocalIssuer(folder)))
        yield nodes
