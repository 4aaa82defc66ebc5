"""Delivery in this process: the streams that somebody here follows, kept up to date by broker and log.

The broker is fast and may lose everything; the log loses nothing. Once a second (four times, while the broker is
away) one query compares the heads of all streams followed here with what was applied, and what is missing is read.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from app.db import Database, Position, Write
from app.events.broker import Broker
from app.events.frames import Frames
from app.events.group import Group, Notice, NoticeKind, Sink
from app.events.log import WORKSPACE, LoggedEvent, logged
from app.events.stream import PASSING, Stream
from app.events.streams import Followed
from app.events.subscriber import Follow, Subscriber
from app.models import StreamHead

LOOK_SECONDS = 1.0
LOOK_SECONDS_WITHOUT_BROKER = 0.25
NEW_STREAM_SECONDS = 0.02  # many come at once, when a viewer with many channels does
HEARTBEAT_SECONDS = 25
STOP_SECONDS = 1
CURRENT_SECONDS = 3
CATCHING_UP = 4  # at once, so that a thousand who reconnect leave connections for everything else
CURSOR = "CURSOR-OF-THE-SUBSCRIPTION"

HEADS = (
    text("""
SELECT heads.stream_id, heads.epoch, heads.head_seq, heads.floor_seq, heads.rights_revision
FROM unnest(:streams, :epochs, :seqs) AS known(stream_id, epoch, seq) JOIN stream_heads AS heads USING (stream_id)
WHERE heads.head_seq <> known.seq OR heads.epoch <> known.epoch
""")
    .bindparams(
        bindparam("streams", type_=ARRAY(Text)),
        bindparam("epochs", type_=ARRAY(Integer)),
        bindparam("seqs", type_=ARRAY(BigInteger)),
    )
    .columns(
        StreamHead.stream_id, StreamHead.epoch, StreamHead.head_seq, StreamHead.floor_seq, StreamHead.rights_revision
    )
)

logger = logging.getLogger("parley.events")


@dataclass(slots=True)
class HubCounts:
    """What happened since the start."""

    applied: int = 0
    backfills: int = 0
    looks: int = 0


class Hub:
    """One per process."""

    def __init__(self, database: Database, broker: Broker) -> None:
        self.database = database
        self.frames = Frames()
        self.counts = HubCounts()
        self.catching_up = asyncio.Semaphore(CATCHING_UP)
        # Called with each event of the workspace, by whichever process; with None if some may have been missed. Perhaps
        # more than once.
        self.on_workspace: Callable[[LoggedEvent | None], None] = lambda _: None
        self._broker = broker
        self._streams: dict[str, Stream] = {}
        self._subscribers: list[set[Subscriber]] = [set() for _ in range(HEARTBEAT_SECONDS)]
        self._slot = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._look_soon: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._is_in_trouble = False
        self._looked_at = float("-inf")
        self._workspace_head: Position | None = None

    async def start(self) -> None:
        """From here on events are delivered. Looks at the log once before anybody can come."""
        self._broker.listen("event", self._receive)
        self._broker.on_reconnect(self._wake.set)
        self.database.after_commit = self.publish
        await self._look_once()
        self._loops = [
            self.spawn(self._look_again_and_again(), "look at the heads"),
            self.spawn(self._beat(), "heartbeats"),
        ]

    async def stop(self) -> None:
        """What is being delivered is, for a moment."""
        for task in self._loops:
            task.cancel()
        await asyncio.wait([*self._loops, *self._tasks], timeout=STOP_SECONDS)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def publish(self, write: Write) -> None:
        """Tell everybody, this process too, what a unit of work has written."""
        for event in logged(write):
            self._broker.publish(event.stream_id, event.as_message())
            self.applied(event)  # before the writer has an answer

    async def subscribe(
        self,
        group: Group,
        sink: Sink,
        *,
        user_id: int,
        follow: Follow,
        only: str | None,
        after: Mapping[str, Position] | None,
    ) -> Subscriber:
        """A subscription that has begun. `follow` says what the user may follow, or raises AppError."""
        subscriber = Subscriber(self, group, sink, user_id=user_id, follow=follow, only=only)
        sink.begin(lambda: subscriber.cursor)
        self._subscribers[self._slot - 1].add(subscriber)  # the slot that was served last: a whole round from now
        try:
            await subscriber.begin(after)
        except BaseException:
            subscriber.stop()
            raise
        return subscriber

    def forget(self, subscriber: Subscriber) -> None:
        for slot in self._subscribers:
            slot.discard(subscriber)

    def watched(self, stream_id: str) -> Stream | None:
        return self._streams.get(stream_id)

    def watch(self, stream_id: str, followed: Followed) -> Stream:
        """The stream, begun at its head if nobody followed it here so far."""
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = Stream(self, stream_id, followed)
            # What was written since the caller's snapshot has gone by unnoticed.
            if self._look_soon is None:
                self._look_soon = asyncio.get_running_loop().call_later(NEW_STREAM_SECONDS, self._wake.set)
        return stream

    def tidy(self, stream: Stream) -> None:
        """Forget the stream if nobody follows it any more."""
        if stream.is_idle and self._streams.get(stream.id) is stream:
            del self._streams[stream.id]
            stream.close()

    def applied(self, event: LoggedEvent) -> None:
        """An event has been delivered to everybody here."""
        if event.stream_id == WORKSPACE:
            self.on_workspace(event)

    @property
    def workspace(self) -> Position | None:
        """Up to where `on_workspace` has been called; None before the first look at the log."""
        stream = self._streams.get(WORKSPACE)
        return stream.position if stream is not None else None

    def heard(self, head: Position) -> None:
        """Somebody here has seen in the database that the workspace's stream stands there."""
        known = self._workspace_head
        if known is None or (known.epoch, known.seq) < (head.epoch, head.seq):
            self._workspace_head = head

    @property
    def is_current(self) -> bool:
        """Whether what other processes write is known here within seconds."""
        return self._looked_at > asyncio.get_running_loop().time() - CURRENT_SECONDS

    @property
    def has_caught_up(self) -> bool:
        """Whether `on_workspace` has told all that is known here to have happened, too.

        A client that was told of a position of the workspace must not see, next, what was remembered before it.
        """
        stream, head = self._streams.get(WORKSPACE), self._workspace_head
        if stream is None or stream.applied != stream.known or not self.is_current:
            return False
        return head is None or (stream.epoch, stream.applied) >= (head.epoch, head.seq)

    def trouble(self, error: Exception) -> None:
        """The database is away. Everything waits for it; one line in the log is enough."""
        if not self._is_in_trouble:
            self._is_in_trouble = True
            logger.warning("delivery waits for the database: %s", type(error).__name__)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("'%s' failed", task.get_name(), exc_info=task.exception())

    def _receive(self, message: dict[str, Any]) -> None:
        name = message.get("stream")
        stream = self._streams.get(name) if isinstance(name, str) else None
        if stream is None:
            return
        try:
            stream.receive(LoggedEvent.from_message(message))
        except ValueError:
            logger.warning("a message of the broker is not an event")

    async def _look_again_and_again(self) -> None:
        while True:
            seconds = LOOK_SECONDS if self._broker.is_up else LOOK_SECONDS_WITHOUT_BROKER
            with suppress(TimeoutError):
                # Spread over time: many processes look at the same table.
                await asyncio.wait_for(self._wake.wait(), seconds * random.uniform(0.8, 1.0))  # noqa: S311 - jitter
            self._wake.clear()
            self._look_soon = None
            await self._look_once()

    async def _look_once(self) -> None:
        try:
            await self._look()
        except PASSING as error:
            self.trouble(error)
            return
        self._looked_at = asyncio.get_running_loop().time()
        if self._is_in_trouble:
            self._is_in_trouble = False
            logger.warning("the database answers again; delivery goes on")

    async def _look(self) -> None:
        """Compare all streams with the log."""
        self.counts.looks += 1
        watched = {name: (stream.epoch, stream.known) for name, stream in self._streams.items()}
        # That of the workspace is watched always: accounts are switched off there.
        watched.setdefault(WORKSPACE, (0, -1))
        epochs, seqs = zip(*watched.values(), strict=True)
        parameters = {"streams": list(watched), "epochs": list(epochs), "seqs": list(seqs)}
        async with self.database.read() as reader:
            behind = await reader.tuples(HEADS, parameters)
        for row in behind:
            head = Position(row.epoch, row.head_seq)
            if row.stream_id == WORKSPACE:
                self.heard(head)
            stream = self._streams.get(row.stream_id)
            if stream is None:
                if row.stream_id == WORKSPACE:
                    self.on_workspace(None)
                    self.watch(WORKSPACE, Followed(head, row.floor_seq, rights_revision=row.rights_revision))
            elif stream.epoch != row.epoch or not row.floor_seq <= stream.known:
                self._restart(stream, Followed(head, row.floor_seq, rights_revision=row.rights_revision))
            else:
                stream.catch_up(row.head_seq)

    def _restart(self, stream: Stream, followed: Followed) -> None:
        """A restored backup, or an outage beyond the retention: what is here leads nowhere."""
        for subscriber in stream.subscribers():
            subscriber.restart(stream)
        if stream.id == WORKSPACE:
            self.on_workspace(None)
        stream.close()
        if self._streams.get(stream.id) is stream:
            self._streams[stream.id] = Stream(self, stream.id, followed)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._slot = (self._slot + 1) % HEARTBEAT_SECONDS
            templates: dict[Group, Callable[[str], bytes | None]] = {}
            for subscriber in list(self._subscribers[self._slot]):
                group = subscriber.group
                if group not in templates:
                    templates[group] = _template(group)
                subscriber.heartbeat(templates[group])


def _template(group: Group) -> Callable[[str], bytes | None]:
    """The heartbeats of one group differ in their cursors only, whose letters mean nothing to JSON."""
    notice = group.render_notice(Notice(NoticeKind.HEARTBEAT, datetime.now(UTC), CURSOR))
    if notice is None:
        return lambda _: None
    parts = notice.split(CURSOR.encode())
    return lambda cursor: cursor.encode().join(parts)
