"""One stream in this process: its events, applied in order, each executed once per group and pushed to everybody.

Whoever is attached has been delivered everything up to `applied`. What follows the last wait in `_apply` happens in
one turn of the event loop, so nobody can come, go or fall behind in the middle of it.
"""

import asyncio
import logging
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from app.db import Position, Reader
from app.errors import Unavailable
from app.events.group import Group
from app.events.log import WORKSPACE, EventType, LoggedEvent
from app.events.replay import events_between
from app.events.streams import Followed, channel_standing, members_among

if TYPE_CHECKING:
    from app.events.hub import Hub
    from app.events.subscriber import Subscriber

# Two processes publish after they released the stream's lock, so neighbours may swap places on the way (realtime.md
# C.2). Longer than this, and the missing one is read from the log.
GAP_SECONDS = 0.1
MAX_PENDING = 10_000
MAX_BATCH = 100
# Pushes in one turn of the loop: about 20 ms.
MAX_PUSHES = 20_000
RECENT = 256
RETRY_SECONDS = 0.5
# The database is away for a moment; nothing is wrong with the event.
PASSING = (OSError, SQLAlchemyError, Unavailable, TimeoutError)
CONTENT_CHANGES = frozenset({EventType.MESSAGE_UPDATED, EventType.MESSAGE_DELETED, EventType.FILE_DELETED})

logger = logging.getLogger("parley.events")


class Stream:
    """A stream that somebody in this process follows, as it stood at `head` when they began."""

    __slots__ = (
        "_ahead",
        "_gap",
        "_held",
        "_hub",
        "_is_closed",
        "_is_private",
        "_live",
        "_pending",
        "_worker",
        "applied",
        "epoch",
        "era",
        "id",
        "recent",
        "rights_revision",
    )

    def __init__(self, hub: "Hub", stream_id: str, followed: Followed) -> None:
        self.id = stream_id
        self.epoch = followed.head.epoch
        self.applied = followed.head.seq
        self.rights_revision = followed.rights_revision
        # Frames of one era may be shown again. Another begins whenever content changes: a frame can show more messages
        # than its event's, and a deleted one must not live on there.
        self.era = hub.frames.begin_era()
        self.recent: deque[LoggedEvent] = deque(maxlen=RECENT)
        self._hub = hub
        self._is_private = False
        self._is_closed = False
        self._pending: dict[int, LoggedEvent] = {}
        self._live: dict[Group, dict[Subscriber, Callable[[bytes], None]]] = {}
        # Those whose snapshot was newer than what has been applied here, by their own position.
        self._ahead: dict[int, list[Subscriber]] = defaultdict(list)
        # Groups of which somebody is catching up: what is applied meanwhile is kept for them.
        self._held: Counter[Group] = Counter()
        self._worker: asyncio.Task[None] | None = None
        self._gap: asyncio.TimerHandle | None = None

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.applied)

    @property
    def known(self) -> int:
        """The highest number up to which nothing is missing here, applied or about to be."""
        seq = self.applied
        while seq + 1 in self._pending:
            seq += 1
        return seq

    @property
    def is_idle(self) -> bool:
        """Nobody here follows it. The workspace's is never idle: accounts are switched off there."""
        return self._is_closed or (self.id != WORKSPACE and not (self._live or self._ahead or self._held))

    @property
    def channel_id(self) -> int | None:
        return int(self.id[1:]) if self.id[0] == "c" else None

    def subscribers(self) -> "list[Subscriber]":
        attached = [subscriber for each in self._live.values() for subscriber in each]
        return attached + [subscriber for each in self._ahead.values() for subscriber in each]

    def attach(self, subscriber: "Subscriber", seq: int) -> None:
        """The subscriber has everything up to `seq`, which is not below `applied`."""
        if seq == self.applied:
            self._live.setdefault(subscriber.group, {})[subscriber] = subscriber.sink.next
        else:
            self._ahead[seq].append(subscriber)

    def detach(self, subscriber: "Subscriber", seq: int | None = None) -> None:
        """`seq` where it was attached ahead of what is applied."""
        group = self._live.get(subscriber.group)
        if group is not None:
            group.pop(subscriber, None)
            if not group:
                del self._live[subscriber.group]
        for place in [seq] if seq in self._ahead else []:
            with suppress(ValueError):
                self._ahead[place].remove(subscriber)
            if not self._ahead[place]:
                del self._ahead[place]
        self._hub.tidy(self)

    def hold(self, group: Group) -> None:
        self._held[group] += 1

    def release(self, group: Group) -> None:
        self._held[group] -= 1
        if self._held[group] <= 0:
            del self._held[group]
        self._hub.tidy(self)

    def receive(self, event: LoggedEvent) -> None:
        """An event from wherever: what is old or known is dropped, what is early waits for what is before it."""
        if event.epoch != self.epoch or event.seq <= self.applied or len(self._pending) >= MAX_PENDING:
            return  # of another epoch: the next look at the heads deals with it
        self._pending.setdefault(event.seq, event)
        self._go_on()

    def close(self) -> None:
        """Followed no more. A worker sees that, and ends: cancelled, it would leave half-executed events behind."""
        self._is_closed = True
        if self._gap is not None:
            self._gap.cancel()

    def _go_on(self) -> None:
        if self._worker is not None or self.is_idle:
            return
        if self.applied + 1 in self._pending:
            if self._gap is not None:
                self._gap.cancel()
                self._gap = None
            self._worker = self._hub.spawn(self._work(), f"stream {self.id}")
        elif self._pending and self._gap is None:
            self._gap = asyncio.get_running_loop().call_later(GAP_SECONDS, self._fill_gap)

    def _fill_gap(self) -> None:
        self._gap = None
        if self._worker is None and self._pending and self.applied + 1 not in self._pending:
            self._worker = self._hub.spawn(self._backfill(max(self._pending)), f"gap {self.id}")

    def catch_up(self, head: int) -> None:
        """The log is at `head`: read what is missing here, once for everybody."""
        if self._worker is None and head > self.known:
            self._worker = self._hub.spawn(self._backfill(head), f"backfill {self.id}")

    async def _backfill(self, head: int) -> None:
        try:
            while self.known < head and not self.is_idle:
                self._hub.counts.backfills += 1
                async with self._hub.database.read() as reader:
                    missing = await events_between(reader, {self.id: (self.known, head)})
                if not missing:
                    # Retention was faster, and the look at the heads says so; or what waits here never happened. Kept,
                    # it would have the log read again and again.
                    self._pending = {seq: event for seq, event in self._pending.items() if seq <= self.known}
                    break
                for event in missing:
                    self._pending[event.seq] = event  # whatever somebody else said
                await self._apply_pending()
        except PASSING as error:
            self._hub.trouble(error)  # the next look at the heads tries again
        finally:
            self._worker = None
        self._go_on()

    async def _work(self) -> None:
        try:
            await self._apply_pending()
        finally:
            self._worker = None
        self._go_on()

    async def _apply_pending(self) -> None:
        while self.applied + 1 in self._pending and not self.is_idle:
            count = sum(map(len, self._live.values()))
            size = max(1, min(MAX_BATCH, MAX_PUSHES // max(1, count)))
            batch: list[LoggedEvent] = []
            while len(batch) < size and self.applied + 1 + len(batch) in self._pending:
                batch.append(self._pending[self.applied + 1 + len(batch)])
            try:
                await self._apply(batch)
            except PASSING as error:
                self._hub.trouble(error)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                # Our own fault. It must not stop the stream: everybody is told to fetch anew instead.
                logger.exception("events %d to %d of %s could not be delivered", batch[0].seq, batch[-1].seq, self.id)
                self._skip(batch)

    async def _apply(self, batch: Sequence[LoggedEvent]) -> None:
        frames: dict[Group, list[bytes | None]] = {}
        is_deleted = False
        if any(event.type in CONTENT_CHANGES for event in batch):
            self.era = self._hub.frames.begin_era()
        # A group that came while the others were rendered is rendered too.
        while missing := [group for group in self._groups() if group not in frames]:
            async with self._hub.database.read() as reader:
                is_deleted = await self._check_rights(reader)
                shown = [event for event in batch if not is_deleted or event.type is EventType.CHANNEL_DELETED]
                for group in missing:
                    frames[group] = await self._render(reader, group, batch, shown)
        for place, event in enumerate(batch):
            self._pending.pop(event.seq, None)
            self._before(event)
            self.applied = event.seq
            self.recent.append(event)
            for group, subscribers in list(self._live.items()):
                frame = frames[group][place]
                if frame is not None:
                    for push in list(subscribers.values()):
                        push(frame)
            self._after(event, is_deleted=is_deleted)
        self._hub.counts.applied += len(batch)

    def _groups(self) -> set[Group]:
        """Those of whoever is ahead, too: in the middle of a batch they are not any more."""
        return {*self._live, *self._held, *(each.group for ahead in self._ahead.values() for each in ahead)}

    async def _render(
        self, reader: Reader, group: Group, batch: Sequence[LoggedEvent], shown: Sequence[LoggedEvent]
    ) -> list[bytes | None]:
        frames, era = self._hub.frames, self.era
        wanted = [event for event in shown if group.wants(event)]
        ready = {event.seq: frames.get(group.number, era, event.seq) for event in wanted}
        new = [event for event in wanted if ready[event.seq] is None]
        for event, frame in zip(new, await group.render(reader, self.id, new) if new else (), strict=True):
            frames.add(group.number, era, event.seq, frame)
            ready[event.seq] = frame
        return [ready.get(event.seq) for event in batch]

    async def _check_rights(self, reader: Reader) -> bool:
        """Let go, in the snapshot that the results come from, whoever may not see the channel any more.

        A result shows things as they are, not as they were at the event: a member who was removed after the event
        must not get it either. True if the channel was deleted.
        """
        channel_id = self.channel_id
        if channel_id is None:
            return False
        standing = await channel_standing(reader, channel_id)
        if standing is None:
            for subscriber in self.subscribers():
                subscriber.revoke(self)
            return True
        followed, self._is_private = standing
        if followed.rights_revision != self.rights_revision:
            asked: set[int] = set()
            members: set[int] = set()
            while not (users := {each.user_id for each in self.subscribers()}) <= asked:  # others come meanwhile
                members = await members_among(reader, channel_id, users)
                asked = users
            self.rights_revision = followed.rights_revision
            for subscriber in self.subscribers():
                if subscriber.user_id not in members and (self._is_private or subscriber.is_members_only):
                    subscriber.revoke(self)
        return followed.is_deleted

    def _before(self, event: LoggedEvent) -> None:
        """Whoever left gets nothing from here on, not even if they came back later: that begins anew."""
        if event.type is EventType.MEMBER_LEFT and event.stream_id[0] == "c":
            # Not those who are ahead: they have come back since.
            for subscriber in self._live_of(event.payload["user"]):
                if self._is_private or subscriber.is_members_only:
                    subscriber.revoke(self)

    def _after(self, event: LoggedEvent, *, is_deleted: bool) -> None:
        if is_deleted and event.type is EventType.CHANNEL_DELETED:
            for subscriber in self.subscribers():
                subscriber.end(self)
        elif event.type is EventType.MEMBER_JOINED and event.stream_id[0] == "u":
            for subscriber in self.subscribers():
                subscriber.follow_anew(event)
        for subscriber in self._ahead.pop(event.seq, ()):
            subscriber.reached(self)
            self.attach(subscriber, event.seq)
        self._hub.applied(event)

    def _live_of(self, user_id: int) -> "list[Subscriber]":
        return [subscriber for each in self._live.values() for subscriber in each if subscriber.user_id == user_id]

    def _skip(self, batch: Sequence[LoggedEvent]) -> None:
        for event in batch:
            self._pending.pop(event.seq, None)
            self._hub.applied(event)
        self.applied = batch[-1].seq
        for subscriber in self.subscribers():
            subscriber.resync(self)
