"""Who is there: what this process knows, tells the other processes, and tells those who watch."""

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.db import Database
from app.events.broker import Broker
from app.events.feed import Change, Feed
from app.events.last_seen import LastSeen
from app.events.log import WORKSPACE
from app.events.presence_gossip import Gossip
from app.events.presence_map import Choice, Presence, PresenceMap
from app.events.times import Times

logger = logging.getLogger("parley.presence")


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """How others see somebody, as of `at`."""

    user_id: int
    presence: Presence
    at: datetime = field(compare=False)


class PresenceTracker:
    """One per process. The topics of `feed` are users."""

    def __init__(self, database: Database, broker: Broker, times: Times | None = None) -> None:
        self.feed = Feed(database, stands=self._stands, audience=lambda _: WORKSPACE)
        self._times = times or Times()
        self._people = PresenceMap(self._times.absence, self._tell)
        self._gossip = Gossip(broker, self._people, self._times)
        self._last_seen = LastSeen(database)
        self._seen_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._gossip.start()
        self._last_seen.start()
        self._task = asyncio.create_task(self._live(), name="presence")

    async def stop(self) -> None:
        """Say goodbye: nobody is connected here any more. Before the broker stops."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._gossip.stop()
        await self._last_seen.stop()
        await self.feed.stop()

    def of(self, user_id: int) -> Presence:
        return self._people.of(user_id)

    def connected(self, user_id: int, count: int) -> None:
        """The user has so many connections here from now on."""
        was_here = self._people.count(self._gossip.id, user_id) > 0
        self._people.put(self._gossip.id, user_id, count, None, asyncio.get_running_loop().time(), keeps=True)
        self._gossip.changed(user_id)
        if was_here != (count > 0):
            self._see(user_id)

    def others(self, user_id: int) -> int:
        """How many connections the user has in other processes that are certainly alive."""
        gossip = self._gossip
        return sum(
            count
            for process, count in self._people.connections(user_id)
            if process != gossip.id and gossip.heard_of(process)
        )

    def choose(self, user_id: int, presence: Presence) -> bool:
        """Show the user as this while they have a connection anywhere. False if they have none."""
        if not any(self._people.connections(user_id)):
            return False
        self._see(user_id)
        known = self._people.choice(user_id)
        # Later than the choice that it replaces, whatever the clock of that one's process says.
        at = max(time.time_ns() // 1_000_000, known.at + 1 if known is not None else 0)
        choice = Choice(at, presence)
        self._people.choose(user_id, choice)
        self._gossip.chosen(user_id, choice)
        return True

    def _see(self, user_id: int) -> None:
        # Whoever appears offline would be given away by the time that they were last seen.
        if self.of(user_id) is not Presence.OFFLINE:
            self._last_seen.note(user_id)

    def _stands(self, user_id: int) -> Iterator[Change]:
        yield Change(user_id, 0, PresenceChange(user_id, self.of(user_id), datetime.now(UTC)))

    def _tell(self, user_id: int, presence: Presence) -> None:
        self.feed.tell(Change(user_id, 0, PresenceChange(user_id, presence, datetime.now(UTC))))

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(self._times.tick)
            try:
                self._tick(asyncio.get_running_loop().time())
            except Exception:
                logger.exception("presence stood still for a moment")

    def _tick(self, now: float) -> None:
        self._people.expire(now)
        self._gossip.tick(now)
        if now >= self._seen_at:
            self._seen_at = now + self._times.seen
            for user_id in self._people.users(self._gossip.id):
                self._see(user_id)
