"""Servers of one installation, in threads or as processes, and clients that hear what is told and not kept."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from starlette.applications import Starlette

from app.auth import LocalIssuer
from app.events.times import Times
from app.main import create_app
from app.settings import Settings
from schema.context import Services
from schema.ids import key_of
from tests.conftest import ROOT, Person
from tests.eventually import eventually
from tests.served import Served
from tests.socket_client import SECONDS, Closed, SocketClient, connected, opened

T = TypeVar("T")
# Whoever leaves is offline soon, whoever types goes on; nobody is taken for dead because the machine is slow.
QUICK = Times(typing=60.0, absence=0.2, beat=0.1, summary=0.3, tick=0.05)
PRESENCE = "query ($id: ID!) { user(id: $id) { presence } }"
SET_PRESENCE = (
    "mutation ($presence: Presence!) { setPresence(presence: $presence) "
    "{ user { presence } cursor errors { code message } } }"
)


TYPING = "subscription ($channel: ID!) { typing(channelId: $channel) { channelId user { name } typing expiresAt } }"
SET_TYPING = (
    "mutation ($channelId: ID!, $typing: Boolean!) { setTyping(channelId: $channelId, typing: $typing) "
    "{ channel { id } deduplicated errors { code message field } cursor } }"
)
WATCH = "subscription ($ids: [ID!]!) { presence(userIds: $ids) { user { name } presence at } }"


@dataclass(frozen=True, slots=True)
class Place:
    """What the servers of one installation share."""

    settings: Settings
    url: str
    issuer: LocalIssuer


class LiveServer:
    """A server, in whatever process."""

    def __init__(self, place: Place, port: int, app: Starlette | None = None, served: Served | None = None) -> None:
        """`app` and `served` where it is a thread of this process."""
        self.port = port
        self._place = place
        self._app = app
        self._served = served
        self._http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS)

    @property
    def services(self) -> Services:
        assert self._app is not None, "they are in another process"
        services: Services = self._app.state.services
        return services

    async def call(self, function: Callable[[], T]) -> T:
        """Run it on the server's loop."""
        assert self._served is not None, "it is in another process"

        async def run() -> T:
            return function()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self._served.loop))

    async def close(self) -> None:
        await self._http.aclose()

    async def person(self, name: str) -> Person:
        """Somebody who asks this server over HTTP."""
        person = Person(name, self._place.issuer.issue(name), self._http)
        person.id = (await person.ask("{ viewer { user { id } } }"))["user"]["id"]
        return person

    @asynccontextmanager
    async def device(self, name: str) -> AsyncGenerator[SocketClient, None]:
        """A connection of somebody."""
        async with connected(self.port, self._place.issuer.issue(name)) as client:
            yield client

    async def refusal(self, name: str) -> Closed:
        """How the server closes a connection that it does not acknowledge."""
        async with opened(self.port) as client:
            payload = {"Authorization": f"Bearer {self._place.issuer.issue(name)}"}
            await client.send({"type": "connection_init", "payload": payload})
            return await client.closed()

    def listen(self, name: str, document: str, /, **variables: Any) -> "Listening":
        return Listening(self, name, document, variables)

    async def presence(self, user: Person) -> str:
        asker = Person(user.name, user.token, self._http)
        return str((await asker.ask(PRESENCE, id=user.id))["presence"])

    async def shows(self, user: Person, presence: str) -> None:
        """Wait until this server says so."""
        shown = None
        async with asyncio.timeout(SECONDS):
            while shown != presence:
                await asyncio.sleep(0.01)
                shown = await self.presence(user)

    async def choose(self, user: Person, presence: str) -> None:
        asker = Person(user.name, user.token, self._http)
        assert (await asker.ask(SET_PRESENCE, presence=presence))["user"] == {"presence": presence}

    def connections(self, person: Person) -> int:
        """Of this person in the whole installation, as far as this server knows."""
        key = key_of(person.id, "User") or 0
        sessions = self.services.sessions
        return len(sessions.of_user(key)) + sessions.others(key)


class Listening:
    """A subscription of somebody, on a connection of its own inside `async with`."""

    def __init__(self, server: LiveServer, name: str, document: str, variables: dict[str, Any]) -> None:
        self.after: list[Any] = []  # what came after `complete`
        self._server = server
        self._name = name
        self._document = document
        self._variables = variables
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._is_complete = asyncio.Event()
        self._error: str | None = None
        self._device = server.device(name)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        client = await self._device.__aenter__()
        await client.subscribe("1", self._document, variables=self._variables)
        self._task = asyncio.create_task(self._read(client))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._device.__aexit__(kind, error, trace)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(SECONDS):
            return await self._events.get()

    def left(self) -> list[dict[str, Any]]:
        """What has come, and was not asked for."""
        return [self._events.get_nowait() for _ in range(self._events.qsize())]

    async def begun(self, channel_id: str) -> None:
        """Wait until the server tells who types there: a subscription that is told nothing shows no sign."""
        feed, channel = self._server.services.typists.feed, key_of(channel_id, "Channel") or 0
        user = key_of((await self._server.person(self._name)).id, "User")
        await eventually(lambda: any(each.is_admitted and each.user_id == user for each in feed.listeners(channel)))

    async def refused(self) -> str:
        """The code with which it did not start."""
        await eventually(lambda: self._error)
        return str(self._error)

    async def completed(self) -> None:
        async with asyncio.timeout(SECONDS):
            await self._is_complete.wait()

    async def _read(self, client: SocketClient) -> None:
        while True:
            message = json.loads(await client.connection.recv())
            if self._is_complete.is_set():
                self.after.append(message)
            elif message["type"] == "next":
                assert "errors" not in message["payload"], message
                (event,) = message["payload"]["data"].values()
                self._events.put_nowait(event)
            elif message["type"] == "complete":
                self._is_complete.set()
            else:
                self._error = message["payload"][0]["extensions"]["code"]


@asynccontextmanager
async def watching(at: LiveServer, watcher: str, *people: Person) -> AsyncGenerator[Listening, None]:
    """Somebody who watches these people, who are all offline."""
    async with at.listen(watcher, WATCH, ids=[person.id for person in people]) as listening:
        for person in people:
            assert brief(await listening.next()) == (person.name, "OFFLINE")
        yield listening


def brief(event: dict[str, Any]) -> tuple[str, str]:
    return event["user"]["name"], event["presence"]


@asynccontextmanager
async def serving(place: Place, times: Times = QUICK) -> AsyncGenerator[LiveServer, None]:
    """A server in a thread. It is stopped in an orderly way."""
    app = create_app(place.settings, place.url, keeps_house=False, times=times)
    with Served(app) as served:
        await eventually(lambda: hasattr(app.state, "services"))
        server = LiveServer(place, served.port, app, served)
        try:
            yield server
        finally:
            await server.close()


@asynccontextmanager
async def serving_apart(
    place: Place, times: Times = QUICK
) -> AsyncGenerator[tuple[LiveServer, asyncio.subprocess.Process], None]:
    """A server in a process of its own, for the caller to end in whatever way."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.live_process"), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        given = {
            "data_dir": str(place.settings.data_dir),
            "redis_url": place.settings.redis_url,
            "url": place.url,
            "times": asdict(times),
        }
        process.stdin.write(json.dumps(given).encode() + b"\n")
        async with asyncio.timeout(3 * SECONDS):
            port = int(await process.stdout.readline())
        server = LiveServer(place, port)
        try:
            yield server, process
        finally:
            await server.close()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
