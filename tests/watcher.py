"""Somebody who subscribes over a real socket and writes down all that comes, to be judged by tests/oracle.py."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from app.db import Position
from app.events import cursor
from tests.conftest import Person
from tests.documents import number
from tests.follower import EVENT
from tests.follower import stream as stream_of
from tests.nodes import Address, logs_shown
from tests.socket_client import PROTOCOL, Closed

NOTICE = "... on StreamNotice { kind at cursor channelId recovered }"
CHANNEL_EVENTS = f"""subscription ($channelId: ID!, $after: [EventCursor!]) {{
    channelEvents(channelId: $channelId, after: $after) {{ __typename ...event {NOTICE} }}
}} {EVENT}"""
VIEWER_EVENTS = f"""subscription ($after: [EventCursor!]) {{
    viewerEvents(after: $after) {{ __typename ...event {NOTICE} }}
}} {EVENT}"""
SUBSCRIBED_SECONDS = 20.0
LONGEST_PAUSE = 0.2  # s before it connects again


@dataclass(frozen=True, slots=True)
class Seen:
    """An event. `frame` is the whole message as it came; `lag`: s between its writing and its arrival here."""

    stream: str
    epoch: int
    seq: int
    type: str
    frame: bytes
    lag: float


@dataclass(frozen=True, slots=True)
class Noticed:
    """A notice. `positions` is what its cursor says; a channel's `stream` where it is about one."""

    kind: str
    positions: dict[str, Position]
    stream: str | None
    recovered: int | None


class Watcher:
    """Follows one channel, or with `channel` None everything that `person` follows, on the first of `nodes`.

    With `reconnects` it comes back when its socket closes: with its cursors, to the next of `nodes`, again and again.
    `items` is what came, in order; `closes` how sockets ended that it did not end itself; `sockets` counts
    acknowledged ones, `refusals` the tries that led to none. `after` is what it would resume with. Of a private
    channel say `is_members_only`: then it must see nothing of the time after a removal. All of one's own is so.
    """

    def __init__(
        self,
        person: Person,
        *nodes: Address,
        channel: str | None = None,
        after: Sequence[str] = (),
        reconnects: bool = False,
        is_members_only: bool = False,
    ) -> None:
        self.person = person
        self.user_id = number(person.id)
        self.nodes = list(nodes)
        self.channel = channel
        self.is_members_only = is_members_only or channel is None
        self.items: list[Seen | Noticed] = []
        self.closes: list[Closed] = []
        self.errors: list[Any] = []
        self.sockets = 0
        self.refusals = 0
        self.is_completed = False
        self._after = {f"given {place}": text for place, text in enumerate(after)}
        self._reconnects = reconnects
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connection: ClientConnection | None = None

    # What was seen.

    @property
    def after(self) -> list[str]:
        return list(self._after.values())

    @property
    def events(self) -> list[Seen]:
        return [item for item in self.items if isinstance(item, Seen)]

    @property
    def notices(self) -> list[Noticed]:
        return [item for item in self.items if isinstance(item, Noticed)]

    @property
    def begins(self) -> dict[str, Position]:
        """Where the first READY said that it begins."""
        return next((notice.positions for notice in self.notices if notice.kind == "READY"), {})

    @property
    def ends(self) -> dict[str, int]:
        """The number of the last event of each stream."""
        return {event.stream: event.seq for event in self.events}

    def seqs(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for event in self.events:
            found[event.stream].append(event.seq)
        return found

    def kinds(self) -> list[str]:
        return [notice.kind for notice in self.notices]

    def lags(self) -> list[float]:
        return [event.lag for event in self.events]

    # Its life.

    async def start(self) -> None:
        """Returns when it is subscribed: behind the first READY."""
        self._task = asyncio.create_task(self._run())
        waiting = asyncio.create_task(self._ready.wait())
        await asyncio.wait({self._task, waiting}, timeout=SUBSCRIBED_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        assert self._ready.is_set(), f"not subscribed: {self.errors} {self.closes} {self._task}"

    async def stop(self) -> None:
        """Raises what went wrong in between."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def cut(self) -> None:
        """Lose the connection, as networks do."""
        if self._connection is not None:
            self._connection.transport.abort()

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except ConnectionClosed as error:
                end = error.rcvd
                self.closes.append(Closed(end.code, end.reason) if end is not None else Closed(1006, ""))
            except (OSError, TimeoutError, InvalidHandshake, EOFError):
                self.refusals += 1
            finally:
                self._connection = None
            if self.is_completed or not self._reconnects:
                return
            self.nodes.append(self.nodes.pop(0))
            await asyncio.sleep(random.uniform(0, LONGEST_PAUSE))  # noqa: S311 - jitter, as a good client has

    async def _follow(self) -> None:
        self._connection = connection = await connect(
            f"ws://127.0.0.1:{self.nodes[0].port}/graphql",
            subprotocols=[Subprotocol(PROTOCOL)],
            compression=None,
            proxy=None,
            max_size=None,
            ping_interval=None,
            open_timeout=5,
            close_timeout=1,
        )
        try:
            payload = {"Authorization": f"Bearer {self.person.token}"}
            await connection.send(orjson.dumps({"type": "connection_init", "payload": payload}), text=True)
            assert orjson.loads(await connection.recv()) == {"type": "connection_ack"}
            self.sockets += 1
            variables = {"after": self.after or None} | ({"channelId": self.channel} if self.channel else {})
            query = CHANNEL_EVENTS if self.channel else VIEWER_EVENTS
            operation = {"query": query, "variables": variables}
            await connection.send(orjson.dumps({"type": "subscribe", "id": "w", "payload": operation}), text=True)
            while not self.is_completed:
                self._take(await connection.recv(decode=False))
        finally:
            connection.transport.abort()

    def _take(self, frame: bytes) -> None:
        message = orjson.loads(frame)
        match message["type"]:
            case "next" if "errors" not in message["payload"]:
                [item] = message["payload"]["data"].values()
                if item["__typename"] == "StreamNotice":
                    self._notice(item)
                else:
                    self._event(item, frame)
            case "complete":
                self.is_completed = True
            case _:
                self.errors.append(message)
                self.is_completed = message["type"] == "error"

    def _event(self, item: dict[str, Any], frame: bytes) -> None:
        [(stream, at)] = cursor.decode(item["cursor"]).items()
        assert stream == stream_of(item), item
        self._after[stream] = item["cursor"]
        lag = time.time() - datetime_of(item["at"])
        self.items.append(Seen(stream, at.epoch, at.seq, item["type"], frame, lag))

    def _notice(self, item: dict[str, Any]) -> None:
        self._after = {"all": item["cursor"]}
        about = None if item["channelId"] is None else f"c{number(item['channelId'])}"
        self.items.append(Noticed(item["kind"], cursor.decode(item["cursor"]), about, item["recovered"]))
        if item["kind"] == "READY":
            self._ready.set()


def datetime_of(text: str) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


@asynccontextmanager
async def watching(*watchers: Watcher) -> AsyncGenerator[tuple[Watcher, ...], None]:
    """All of them, subscribed."""
    try:
        with logs_shown({node for watcher in watchers for node in watcher.nodes}):
            await asyncio.gather(*(watcher.start() for watcher in watchers))
            yield watchers
    finally:
        await asyncio.gather(*(watcher.stop() for watcher in watchers))
