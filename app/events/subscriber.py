"""One running subscription: what it follows, where it stands, and how it gets there.

Either it is live in a stream (attached: the stream pushes to it) or it catches up from the log: when it begins, when a
channel is joined, and when its reader was too slow. Both are one loop: read a page in one snapshot, together with what
may be read; send it; attach where nothing is missing any more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from app.db import Position, Reader
from app.errors import AppError
from app.events import cursor, replay
from app.events.group import Group, Notice, NoticeKind, Sink
from app.events.log import WORKSPACE, EventType, LoggedEvent
from app.events.stream import PASSING, RETRY_SECONDS, Stream
from app.events.streams import Followed, start

if TYPE_CHECKING:
    from app.events.hub import Hub

Follow = Callable[[Reader], Awaitable[dict[str, Followed]]]

PAGE = 100
# More than this is not told event by event: fetching anew is quicker for both sides.
MAX_REPLAY = 5_000
# What may end a membership: behind one of these, rights are looked up again before anything is shown.
RIGHTS = frozenset({EventType.MEMBER_LEFT, EventType.CHANNEL_PRIVACY_CHANGED, EventType.CHANNEL_DELETED})


class Subscriber:
    """Made by `Hub.subscribe`. `only`: the one stream that it is about; it is over when that ends."""

    __slots__ = (
        "__weakref__",
        "_ahead",
        "_behind",
        "_follow",
        "_gone",
        "_hub",
        "_is_lagging",
        "_is_stopped",
        "_joined",
        "_live",
        "_task",
        "group",
        "only",
        "sink",
        "user_id",
    )

    def __init__(self, hub: "Hub", group: Group, sink: Sink, *, user_id: int, follow: Follow, only: str | None) -> None:
        self.group = group
        self.sink = sink
        self.user_id = user_id
        self.only = only
        self._hub = hub
        self._follow = follow
        self._behind: dict[str, Position] = {}  # streams to catch up in, and how far it is there
        self._ahead: dict[str, int] = {}  # streams that it is attached to, from a later position on
        self._live: dict[str, Stream] = {}
        self._task: asyncio.Task[None] | None = None
        # Of channels: joined, while it was not looked yet what to follow; and deleted, which was told.
        self._joined: frozenset[str] = frozenset()
        self._gone: frozenset[str] = frozenset()
        self._is_lagging = False
        self._is_stopped = False

    @property
    def is_members_only(self) -> bool:
        """Whether public channels, too, are followed only while the user is in them."""
        return self.only is None

    @property
    def cursor(self) -> str:
        return cursor.encode({**self._behind, **{name: self._place(stream) for name, stream in self._live.items()}})

    def _place(self, stream: Stream) -> Position:
        return Position(stream.epoch, self._ahead.get(stream.id, stream.applied))

    async def begin(self, after: Mapping[str, Position] | None) -> None:
        """Read the first page; then READY, and what was missed, go out. Raises AppError, or what the database does."""
        async with self._hub.catching_up, self._hub.database.read() as reader:
            era = self._hub.frames.era
            followed = await self._followed(reader)
            begin = start(followed, after)
            missed = await replay.count(reader, followed, begin, self.group.types) if after is not None else 0
            is_lost = begin.resync or missed > MAX_REPLAY
            if is_lost:
                begin, missed = start(followed, None), 0
            self._behind = dict(begin.positions)
            events, frames = await self._read(reader, followed, era)
        if self._is_stopped:
            return
        given = after or {}
        # Left while away, or deleted so long ago that nobody can tell any more.
        gone = {name: at for name, at in given.items() if self.only is None and name not in followed}
        # A client that is cut off between READY and what must be told after it comes back from before both.
        self._behind = dict(given) if is_lost else {**begin.positions, **gone}
        self._send(self._notice(NoticeKind.READY, recovered=missed))
        self._behind = {**begin.positions, **gone}
        if is_lost:
            self._send(self._notice(NoticeKind.RESYNC_REQUIRED))
        for name in gone:
            self._revoked(name)
        self._advance(events, frames)
        if not self._join(followed, has_more=len(events) == PAGE):
            self._go_on()

    async def _followed(self, reader: Reader) -> Mapping[str, Followed]:
        followed = await self._follow(reader)
        if WORKSPACE in followed:
            self._hub.heard(followed[WORKSPACE].head)  # before the client is told, who may ask for what it shows
        return followed

    def stop(self) -> None:
        # A task that catches up sees it, and ends. Cancelled in the middle, it would leave half-executed events behind.
        self._is_stopped = True
        for stream in list(self._live.values()):
            self._let_go(stream)
        self._hub.forget(self)

    def expiring(self, expires_at: datetime) -> None:
        self._send(self._notice(NoticeKind.SESSION_EXPIRING, expires_at=expires_at))

    def draining(self) -> None:
        self._send(self._notice(NoticeKind.SERVER_DRAINING))

    def heartbeat(self, template: Callable[[str], bytes | None]) -> None:
        # Not while catching up: what is on its way has cursors, too.
        if self._task is None:
            self._send(template(self.cursor))

    def congest(self) -> None:
        """Too much waits to be sent. From the end of this turn on it is the log that waits, not our memory."""
        if not self._is_lagging and not self._is_stopped:
            self._is_lagging = True
            asyncio.get_running_loop().call_soon(self._fall_behind)

    def revoke(self, stream: Stream) -> None:
        """What this stream tells is no longer for the user to see."""
        at = self._place(stream)
        self._let_go(stream)
        self._revoked(stream.id, at)

    def end(self, stream: Stream) -> None:
        """The channel was deleted, and this was told."""
        self._gone |= {stream.id}
        self.revoke(stream)

    def resync(self, stream: Stream) -> None:
        """Something here cannot be told: the client must fetch anew. It goes on from where the stream is now."""
        self._send(self._notice(NoticeKind.RESYNC_REQUIRED, channel_id=stream.channel_id))

    def restart(self, stream: Stream) -> None:
        """The stream's numbers have begun anew."""
        self._let_go(stream)
        self._behind[stream.id] = stream.position
        self._go_on()

    def reached(self, stream: Stream) -> None:
        """The stream has come to where this subscription is."""
        self._ahead.pop(stream.id, None)

    def follow_anew(self, event: LoggedEvent) -> None:
        """The user has joined a channel."""
        self._hear(event)
        self._go_on()

    def _fall_behind(self) -> None:
        if self._is_stopped:
            return
        for stream in list(self._live.values()):
            self._behind[stream.id] = self._place(stream)
            self._let_go(stream)
        self._go_on()

    def _let_go(self, stream: Stream) -> None:
        if self._live.pop(stream.id, None) is not None:
            stream.detach(self, self._ahead.pop(stream.id, None))

    def _go_on(self) -> None:
        if self._task is None and not self._is_stopped:
            self._task = self._hub.spawn(self._catch_up(), "catch up")

    async def _catch_up(self) -> None:
        try:
            while (self._behind or self._joined) and not self._is_stopped:
                if self.sink.congested:
                    await self.sink.drained()
                    # A peer that was cut off stays congested until we are told to stop: waiting for it takes no time,
                    # and without this turn nobody could tell us, or do anything else, ever.
                    await asyncio.sleep(0)
                    continue
                if self._is_lagging:
                    self._is_lagging = False
                    self._send(self._notice(NoticeKind.SLOW_CONSUMER))
                await self._step()
        finally:
            self._task = None

    async def _step(self) -> None:
        joined = self._joined
        held: list[Stream] = []
        try:
            # What is applied while this reads and renders is kept, so that it cannot run away from us.
            for name in self._behind:
                stream = self._hub.watched(name)
                if stream is not None:
                    stream.hold(self.group)
                    held.append(stream)
            async with self._hub.catching_up, self._hub.database.read() as reader:
                era = self._hub.frames.era
                followed = await self._followed(reader)
                self._adjust(followed, joined)
                events, frames = await self._read(reader, followed, era)
            if not self._is_stopped:
                self._advance(events, frames)
                self._join(followed, has_more=len(events) == PAGE)
        except AppError as error:
            if isinstance(error, PASSING):
                await asyncio.sleep(RETRY_SECONDS)
            elif self.only is not None:  # not there, or hidden by now
                self._revoked(self.only, self._behind.get(self.only))
        except PASSING as error:
            self._hub.trouble(error)
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            for stream in held:
                stream.release(self.group)

    def _adjust(self, followed: Mapping[str, Followed], joined: frozenset[str]) -> None:
        """What is followed may have changed since the last look. `joined`: what made us look."""
        self._joined -= joined
        for name in [*self._behind, *self._live]:
            if name not in followed:
                stream = self._live.get(name)
                if stream is not None:
                    self.revoke(stream)
                else:
                    self._revoked(name, self._behind.pop(name))
        for name, each in followed.items():
            stream = self._live.get(name)
            if stream is not None and self._place(stream).seq < each.begins:
                self.revoke(stream)  # left and joined again: what was in between is not theirs
            # One that was deleted as soon as it was joined is told to be: the client has heard of it.
            is_new = not each.is_deleted or name in joined - self._gone
            if is_new and name not in self._live and name not in self._behind:
                self._behind[name] = Position(each.head.epoch, each.begins)
            at = self._behind.get(name)
            if at is None:
                continue
            if at.seq < each.begins:
                self._revoked(name, at)
                at = self._behind[name] = Position(each.head.epoch, each.begins)
            if at.epoch != each.head.epoch or not each.floor <= at.seq:
                self._behind[name] = each.head
                self._send(self._notice(NoticeKind.RESYNC_REQUIRED, channel_id=_channel_id(name)))

    async def _read(
        self, reader: Reader, followed: Mapping[str, Followed], latest_era: int
    ) -> tuple[Sequence[LoggedEvent], Mapping[tuple[str, int], bytes]]:
        """The next page of what is missing, and the result of each event that is shown.

        `latest_era`: of the frames, before the reader's snapshot.
        """
        ranges = {name: (at.seq, followed[name].head.seq) for name, at in self._behind.items() if name in followed}
        events = await replay.events_between(reader, ranges, size=PAGE)
        shown: dict[str, list[LoggedEvent]] = {}
        for event in events:
            is_told = not followed[event.stream_id].is_deleted or event.type is EventType.CHANNEL_DELETED
            if is_told and self.group.wants(event):
                shown.setdefault(event.stream_id, []).append(event)
        frames: dict[tuple[str, int], bytes] = {}
        for name, wanted in shown.items():
            # Where nobody follows the stream, nobody notices that what is kept is out of date.
            stream = self._hub.watched(name)
            era = stream.era if stream is not None and stream.era <= latest_era else None
            new = []
            for event in wanted:
                known = self._hub.frames.get(self.group.number, era, event.seq)
                if known is None:
                    new.append(event)
                else:
                    frames[name, event.seq] = known
            for event, frame in zip(new, await self.group.render(reader, name, new) if new else (), strict=True):
                frames[name, event.seq] = frame
                self._hub.frames.add(self.group.number, era, event.seq, frame)
        return events, frames

    def _advance(self, events: Sequence[LoggedEvent], frames: Mapping[tuple[str, int], bytes]) -> None:
        for event in events:
            name = event.stream_id
            if name not in self._behind:
                continue  # revoked in between
            self._behind[name] = Position(event.epoch, event.seq)
            frame = frames.get((name, event.seq))
            if frame is not None:
                self.sink.next(frame)
            self._hear(event)

    def _join(self, followed: Mapping[str, Followed], *, has_more: bool) -> bool:
        """Attach wherever nothing is missing. True if that is everywhere."""
        for name, reached in list(self._behind.items()):
            each = followed.get(name)
            if each is None or (has_more and reached.seq < each.head.seq):
                continue
            # What lies between the last event that was found and the head was told by nobody.
            at = each.head if reached.seq < each.head.seq else reached
            if each.is_deleted:
                del self._behind[name]
                self._gone |= {name}
                self._revoked(name, at)
                continue
            stream = self._hub.watch(name, each)
            if stream.epoch == at.epoch and each.rights_revision >= stream.rights_revision:
                self._attach(stream, at)
        return not self._behind and not self._joined

    def _attach(self, stream: Stream, at: Position) -> None:
        if at.seq < stream.applied:
            later = [event for event in stream.recent if event.seq > at.seq]
            if len(later) != stream.applied - at.seq or any(event.type in RIGHTS for event in later):
                return
            wanted = [event for event in later if self.group.wants(event)]
            frames = [self._hub.frames.get(self.group.number, stream.era, event.seq) for event in wanted]
            if None in frames:
                return
            for event, frame in zip(wanted, frames, strict=True):
                self._behind[stream.id] = Position(event.epoch, event.seq)
                self._send(frame)
            for event in later:
                self._hear(event)
        del self._behind[stream.id]
        self._live[stream.id] = stream
        if at.seq > stream.applied:
            self._ahead[stream.id] = at.seq
        stream.attach(self, max(at.seq, stream.applied))

    def _hear(self, event: LoggedEvent) -> None:
        if event.type is EventType.MEMBER_JOINED and event.stream_id[0] == "u" and self.only is None:
            self._joined |= {f"c{event.channel_id}"}

    def _revoked(self, name: str, at: Position | None = None) -> None:
        self._behind.pop(name, None)
        if name[0] != "c":
            return
        text = cursor.encode({name: at}) if at is not None and name == self.only else None
        self._send(self._notice(NoticeKind.ACCESS_REVOKED, channel_id=_channel_id(name), text=text))
        if name == self.only:
            self.stop()
            self.sink.complete()

    def _notice(
        self,
        kind: NoticeKind,
        *,
        channel_id: int | None = None,
        recovered: int | None = None,
        expires_at: datetime | None = None,
        text: str | None = None,
    ) -> bytes | None:
        if self._is_stopped:
            return None
        notice = Notice(kind, datetime.now(UTC), text or self.cursor, channel_id, recovered, expires_at)
        return self.group.render_notice(notice)

    def _send(self, frame: bytes | None) -> None:
        if frame is not None and not self._is_stopped:
            self.sink.next(frame)


def _channel_id(name: str) -> int | None:
    return int(name[1:]) if name[0] == "c" else None
