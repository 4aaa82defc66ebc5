"""The real app on a real socket, its people, and subscriptions whose results are kept byte by byte."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
from starlette.applications import Starlette

from app.auth import LocalIssuer
from app.main import create_app
from app.settings import Settings
from schema.context import Services
from tests.conftest import Person
from tests.served import Served
from tests.socket_client import SECONDS, SocketClient, connected

T = TypeVar("T")


class Listener:
    """One socket with any number of subscriptions; what came for each, in order."""

    def __init__(self, client: SocketClient) -> None:
        self.client = client
        self.frames: defaultdict[str, list[bytes]] = defaultdict(list)
        self.events: defaultdict[str, dict[str, bytes]] = defaultdict(dict)  # those of events, by the event's id
        self.repeated: list[bytes] = []
        self.ended: dict[str, Any] = {}  # by operation: None for `complete`, the errors otherwise
        self._news = asyncio.Condition()

    async def pump(self) -> None:
        """Take what the server sends, until it closes."""
        async for message in self.client.connection:
            text = message.encode() if isinstance(message, str) else message
            head, is_next, payload = text.partition(b',"type":"next","payload":')
            async with self._news:
                if is_next:
                    self._take(json.loads(head + b"}")["id"], payload[:-1])
                else:
                    told = json.loads(text)
                    self.ended[told["id"]] = told.get("payload")
                self._news.notify_all()

    def _take(self, id: str, frame: bytes) -> None:
        self.frames[id].append(frame)
        event_id = next(iter((json.loads(frame)["data"] or {"": {}}).values())).get("id")
        if event_id in self.events[id]:
            self.repeated.append(frame)
        elif event_id is not None:
            self.events[id][event_id] = frame

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(2 * SECONDS), self._news:
            await self._news.wait_for(holds)

    async def subscribe(self, id: str, document: str, **variables: Any) -> None:
        """Returns when its first frame, READY, has come."""
        await self.client.subscribe(id, document, variables=variables)
        await self.until(lambda: id in self.frames or id in self.ended)
        assert id in self.frames, self.ended

    def items(self, id: str) -> list[dict[str, Any]]:
        return [item(frame) for frame in self.frames[id]]


def item(frame: bytes) -> dict[str, Any]:
    """What the only root field has in this result, which has no errors."""
    result = json.loads(frame)
    assert "errors" not in result, result
    (found,) = result["data"].values()
    shown: dict[str, Any] = found
    return shown


class Live:
    """`services` are the app's own; use them on its loop, by `call`."""

    def __init__(self, app: Starlette, served: Served, issuer: LocalIssuer, http: httpx.AsyncClient) -> None:
        self.app = app
        self.served = served
        self.issuer = issuer
        self.http = http

    @property
    def services(self) -> Services:
        found: Services = self.app.state.services
        return found

    async def call(self, function: Callable[[], T]) -> T:
        """Run it on the server's loop."""

        async def run() -> T:
            return function()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self.served.loop))

    async def person(self, name: str, *, admin: bool = False) -> Person:
        person = Person(name, self.issuer.issue(name, admin=admin), self.http)
        person.id = (await person.ask("{ viewer { user { id } } }"))["user"]["id"]
        return person

    @asynccontextmanager
    async def listener(self, person: Person) -> AsyncGenerator[Listener, None]:
        async with connected(self.served.port, person.token) as client:
            found = Listener(client)
            pump = asyncio.create_task(found.pump())
            try:
                yield found
            finally:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)


@asynccontextmanager
async def live(settings: Settings, url: str, **options: Any) -> AsyncGenerator[Live, None]:
    """The app on the migrated database at `url`, without housekeeping. `options` are of uvicorn's Config."""
    app = create_app(settings, url, keeps_house=False)
    with Served(app, **options) as served:
        async with httpx.AsyncClient(base_url=served.url.removesuffix("/graphql"), timeout=30) as http:
            yield Live(app, served, LocalIssuer(settings.data_dir), http)
