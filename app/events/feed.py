"""Telling those who are subscribed right now: nothing here is stored, and nothing has a number that a client sees.

Whoever subscribes is told how things stand, and then what changes; nothing in between is lost or comes out of order.
Of several changes of one thing the last is told. Whoever does not take what is sent misses changes, and is told how
things stand when they do.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from app.db import Database, Reader
from app.events.group import Group, Sink
from app.events.listener import Listener
from app.events.stream import PASSING, RETRY_SECONDS

MAX_BATCH = 100
# At once: a thousand who come back together leave database connections for everything else.
STARTING = 4
# What has been encoded so recently is not encoded again: after a restart, a thousand clients ask about the same two
# hundred people within seconds. What they select beside the change, a name, may be as old as this.
FRESH_SECONDS = 5.0

logger = logging.getLogger("parley.events")


class Change(NamedTuple):
    """Something is otherwise from now on; within its topic, `key` says what. `value` is what subscriptions select from.

    Equal values give equal results.
    """

    topic: int
    key: int
    value: Any


class Feed:
    """One kind of things that are told. `stands` says how a topic stands, `audience` whose stream it would be in."""

    def __init__(
        self, database: Database, *, stands: Callable[[int], Iterable[Change]], audience: Callable[[int], str]
    ) -> None:
        self._database = database
        self._stands = stands
        self._audience = audience
        self._listeners: dict[int, dict[Group, dict[Listener, None]]] = {}
        self._number = 0
        self._pending: dict[tuple[int, int], tuple[int, Change]] = {}
        self._doubted: set[int] = set()
        self._fresh: OrderedDict[tuple[int, int, int], tuple[Change, bytes, float]] = OrderedDict()
        self._starting = asyncio.Semaphore(STARTING)
        self._worker: asyncio.Task[None] | None = None
        self._is_in_trouble = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def tell(self, change: Change) -> None:
        """To whoever is subscribed to its topic."""
        self._number += 1
        if self.is_followed(change.topic):
            self._pending[change.topic, change.key] = self._number, change
            self._work_soon()

    def doubt(self, topic: int) -> None:
        """Somebody may have lost the right to know of this topic."""
        if self.is_followed(topic):
            self._doubted.add(topic)
            self._work_soon()

    async def subscribe(
        self,
        group: Group,
        sink: Sink,
        *,
        user_id: int,
        topics: Sequence[int],
        admit: Callable[[Reader], Awaitable[int]],
    ) -> Listener:
        """A subscription that has begun. `admit` raises AppError, or returns the revision of the rights that it saw."""
        async with self._starting:
            listener = Listener(self, group, sink, user_id=user_id, topics=topics, begins=self._number)
            standing = [change for topic in topics for change in self._stands(topic)]
            for topic in topics:
                self._listeners.setdefault(topic, {}).setdefault(group, {})[listener] = None
            try:
                async with self._database.read() as reader:
                    revision = await admit(reader)
                    frames = await self._encoded(reader, group, standing)
                # The others were checked since, in a later snapshot.
                while revision < max(map(self.revision, topics), default=0):
                    async with self._database.read() as reader:
                        revision = await admit(reader)
            except BaseException:
                listener.stop()
                raise
            listener.admit(frames)
        return listener

    def remove(self, listener: Listener) -> None:
        for topic in listener.topics:
            groups = self._listeners.get(topic, {})
            listeners = groups.get(listener.group, {})
            listeners.pop(listener, None)
            if not listeners:
                groups.pop(listener.group, None)
            if not groups:
                self._listeners.pop(topic, None)

    def is_followed(self, topic: int) -> bool:
        return topic in self._listeners

    def listeners(self, topic: int) -> list[Listener]:
        return [listener for each in self._listeners.get(topic, {}).values() for listener in each]

    async def standing(self, group: Group, topics: Collection[int]) -> list[bytes]:
        """How these topics stand, encoded; whoever may not know of them any more is let go."""
        changes = [change for topic in topics for change in self._stands(topic)]
        async with self._database.read() as reader:
            await self.let_go(reader, topics)
            return await self._encoded(reader, group, changes)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # For kinds of which not everybody may know.

    def revision(self, topic: int) -> int:  # noqa: ARG002 - others need it
        """The newest revision of the topic's rights that all listeners are known to have passed."""
        return 0

    async def let_go(self, reader: Reader, topics: Collection[int]) -> None:
        """Revoke those admitted who may not know of these topics any more, by the snapshot."""

    def _work_soon(self) -> None:
        if self._worker is None:
            self._worker = self.spawn(self._work(), "feed")

    async def _work(self) -> None:
        try:
            while self._pending or self._doubted:
                batch = dict(islice(self._pending.items(), MAX_BATCH))
                for key in batch:
                    del self._pending[key]
                doubted, self._doubted = self._doubted, set()
                try:
                    await self._deliver(batch.values(), doubted)
                    self._is_in_trouble = False
                except PASSING as error:
                    self._trouble(error)
                    self._pending = {**batch, **self._pending}  # not what is otherwise again by now
                    self._doubted |= doubted
                    await asyncio.sleep(RETRY_SECONDS)
                except Exception:
                    logger.exception("%d changes could not be told", len(batch))
        finally:
            self._worker = None

    def _trouble(self, error: Exception) -> None:
        """The database is away. It is tried again and again, and logged once."""
        if not self._is_in_trouble:
            self._is_in_trouble = True
            logger.warning("what is told and not kept waits for the database: %s", type(error).__name__)

    async def _deliver(self, batch: Collection[tuple[int, Change]], doubted: Collection[int]) -> None:
        frames: dict[tuple[Group, int, int], bytes] = {}
        async with self._database.read() as reader:
            await self.let_go(reader, {change.topic for _, change in batch}.union(doubted))
            wanted: dict[Group, list[Change]] = {}
            for _, change in batch:
                for group in self._listeners.get(change.topic, ()):
                    wanted.setdefault(group, []).append(change)
            for group, changes in wanted.items():
                for change, frame in zip(changes, await self._render(reader, group, changes), strict=True):
                    frames[group, change.topic, change.key] = frame
        for number, change in batch:
            for group, listeners in list(self._listeners.get(change.topic, {}).items()):
                frame = frames.get((group, change.topic, change.key), b"")
                for listener in list(listeners):
                    # There is a frame, except for those who came since: they are told of this otherwise.
                    listener.push(number, change.topic, frame)

    async def _encoded(self, reader: Reader, group: Group, changes: Sequence[Change]) -> list[bytes]:
        """How things stand, as it was encoded a moment ago where it was."""
        now = asyncio.get_running_loop().time()
        frames: dict[Change, bytes] = {}
        for change in changes:
            known = self._fresh.get((group.number, change.topic, change.key))
            if known is not None and known[0] == change and now < known[2] + FRESH_SECONDS:
                frames[change] = known[1]
        missing = [change for change in changes if change not in frames]
        frames.update(zip(missing, await self._render(reader, group, missing), strict=True))
        return [frames[change] for change in changes]

    async def _render(self, reader: Reader, group: Group, changes: Sequence[Change]) -> list[bytes]:
        now = asyncio.get_running_loop().time()
        frames: dict[Change, bytes] = {}
        by_audience: dict[str, list[Change]] = {}
        for change in changes:
            by_audience.setdefault(self._audience(change.topic), []).append(change)
        for audience, those in by_audience.items():
            rendered = await group.render(reader, audience, [change.value for change in those])
            for change, frame in zip(those, rendered, strict=True):
                frames[change] = frame
                self._keep(group, change, frame, now)
        return [frames[change] for change in changes]

    def _keep(self, group: Group, change: Change, frame: bytes, now: float) -> None:
        key = group.number, change.topic, change.key
        self._fresh.pop(key, None)
        self._fresh[key] = change, frame, now
        while now >= next(iter(self._fresh.values()))[2] + FRESH_SECONDS:
            self._fresh.popitem(last=False)
