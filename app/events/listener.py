"""One subscription to what is told and not kept (app/events/feed.py)."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from app.events.group import Group, Sink
from app.events.stream import PASSING, RETRY_SECONDS

if TYPE_CHECKING:
    from app.events.feed import Feed


class Listener:
    """Made by `Feed.subscribe`. What is pushed is held while the subscriber is told how things stand."""

    __slots__ = (
        "_begins",
        "_feed",
        "_held",
        "_missed",
        "_task",
        "group",
        "is_admitted",
        "is_over",
        "sink",
        "topics",
        "user_id",
    )

    def __init__(
        self, feed: "Feed", group: Group, sink: Sink, *, user_id: int, topics: Sequence[int], begins: int
    ) -> None:
        """Changes up to the number `begins` are part of how things stand."""
        self.group = group
        self.sink = sink
        self.user_id = user_id
        self.topics = topics
        self.is_admitted = False
        self.is_over = False
        self._feed = feed
        self._begins = begins
        self._held: list[bytes] | None = []
        self._missed: set[int] = set()
        self._task: asyncio.Task[None] | None = None

    def admit(self, frames: Iterable[bytes]) -> None:
        """The subscriber may know, and it stands as these say."""
        self.is_admitted = True
        self._release(frames)

    def push(self, number: int, topic: int, frame: bytes) -> None:
        """Send the frame of a change, or drop it where it would only wait."""
        if number <= self._begins:
            return
        if self._held is not None:
            self._held.append(frame)
        elif not self.sink.congested:
            self.sink.next(frame)
        else:
            self._missed.add(topic)
            if self._task is None:
                self._task = self._feed.spawn(self._make_up(), "make up")

    def revoke(self) -> None:
        """What it is about is no longer for the user to see."""
        if not self.is_over:
            self.stop()
            self.sink.complete()

    # What the transports call.

    def stop(self) -> None:
        self.is_over = True
        if self._task is not None:
            self._task.cancel()
        self._feed.remove(self)

    def congest(self) -> None:
        """Seen when something is pushed."""

    def expiring(self, expires_at: datetime) -> None:
        """This kind of subscription has no notices."""

    def draining(self) -> None:
        """Likewise."""

    async def _make_up(self) -> None:
        """When the sink takes something again, tell how things stand wherever something was missed."""
        try:
            while self._missed and not self.is_over:
                await self.sink.drained()
                topics, self._missed = self._missed, set()
                self._held = []
                frames: Sequence[bytes] = ()
                try:
                    frames = await self._feed.standing(self.group, topics)
                except PASSING:
                    self._missed |= topics
                    await asyncio.sleep(RETRY_SECONDS)
                finally:
                    self._release(frames)
        finally:
            self._task = None

    def _release(self, frames: Iterable[bytes]) -> None:
        held, self._held = self._held or [], None
        if not self.is_over:
            for frame in (*frames, *held):
                self.sink.next(frame)
