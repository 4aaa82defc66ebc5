"""Who is typing where: known to all processes for seconds, stored nowhere.

Each process lets it end by its own clock. That somebody posts ends it too, and every process hears of that anyway.
"""

import asyncio
import logging
import secrets
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.db import Database, Reader
from app.events.broker import Broker
from app.events.feed import Change, Feed
from app.events.listener import Listener
from app.events.log import EventType, channel_stream
from app.events.streams import members_among, rights_revisions
from app.events.times import Times

KIND = "typing"
# What may end the right to know who types, and the membership of who types.
RIGHTS = frozenset({EventType.MEMBER_LEFT, EventType.CHANNEL_DELETED})

DELETED = sys.maxsize  # above all revisions of rights

logger = logging.getLogger("parley.events")


@dataclass(frozen=True, slots=True)
class TypingChange:
    """Somebody begins to type, goes on until a later time, or ends (then `expires_at` is now)."""

    channel_id: int
    user_id: int
    typing: bool
    expires_at: datetime


@dataclass(slots=True)
class _Typist:
    """Somebody who types, or did a moment ago: kept until `timer`, so that beginning again and again tells nobody."""

    change: TypingChange
    renewed: float
    timer: asyncio.TimerHandle
    again: asyncio.TimerHandle | None = None  # began anew too soon: told when it is time


class MembersFeed(Feed):
    """Its topics are channels, of which only members may know."""

    def __init__(self, database: Database, **options: Any) -> None:
        super().__init__(database, **options)
        self._revisions: dict[int, int] = {}
        self._checking = asyncio.Lock()

    def revision(self, topic: int) -> int:
        return self._revisions.get(topic, 0)

    async def let_go(self, reader: Reader, topics: Collection[int]) -> None:
        # One after the other: who finds a revision noted must find everybody judged by it.
        async with self._checking:
            found = await rights_revisions(reader, topics)
            for topic in topics:
                revision, before = found.get(topic, DELETED), self._revisions.get(topic, -1)
                if revision <= before or not self.is_followed(topic):
                    continue
                # Noted before the next wait: whoever is admitted during it must have seen this revision.
                self._revisions[topic] = revision
                listeners = [listener for listener in self.listeners(topic) if listener.is_admitted]
                asked = {listener.user_id for listener in listeners} if revision != DELETED else set()
                try:
                    members = await members_among(reader, topic, asked) if asked else set()
                except BaseException:
                    self._revisions[topic] = before
                    raise
                for listener in listeners:
                    if listener.user_id not in members:
                        listener.revoke()

    def remove(self, listener: Listener) -> None:
        super().remove(listener)
        for topic in listener.topics:
            if not self.is_followed(topic):
                self._revisions.pop(topic, None)


class Typists:
    """One per process. The topics of `feed` are channels."""

    def __init__(self, database: Database, broker: Broker, times: Times | None = None) -> None:
        self.feed = MembersFeed(database, stands=self._stands, audience=channel_stream)
        self._broker = broker
        self._times = times or Times()
        self._id = secrets.token_hex(8)
        self._typing: dict[int, dict[int, _Typist]] = {}

    def start(self) -> None:
        self._broker.listen(KIND, self._receive)
        self._broker.listen("event", self._see_event)

    async def stop(self) -> None:
        for typists in self._typing.values():
            for typist in typists.values():
                _cancel(typist)
        await self.feed.stop()

    def set(self, channel_id: int, user_id: int, *, typing: bool) -> None:
        """No checks: the caller made them. Renewals that come too soon tell nobody."""
        known = self._typing.get(channel_id, {}).get(user_id)
        if known is not None:
            _forgo(known)
        if typing and known is not None:
            loop = asyncio.get_running_loop()
            due = known.renewed + self._times.renewal
            if loop.time() < due:
                if not known.change.typing:
                    known.again = loop.call_at(due, self._begin_again, channel_id, user_id)
                return
        elif not typing and (known is None or not known.change.typing):
            return
        self._publish(channel_id, user_id, typing=typing)

    def _begin_again(self, channel_id: int, user_id: int) -> None:
        self._typing[channel_id][user_id].again = None
        self._publish(channel_id, user_id, typing=True)

    def _publish(self, channel_id: int, user_id: int, *, typing: bool) -> None:
        # The key of the channel's events, so that what somebody posts comes after their typing.
        message = {"kind": KIND, "process": self._id, "channel": channel_id, "user": user_id, "typing": typing}
        self._broker.publish(channel_stream(channel_id), message, ephemeral=True)
        self._take(channel_id, user_id, typing=typing)

    def _receive(self, message: Mapping[str, Any]) -> None:
        match message:
            case {"process": self._id}:
                pass  # taken when it was published, so that the next call knew of it
            case {"channel": int(channel_id), "user": int(user_id), "typing": bool(typing)}:
                self._take(channel_id, user_id, typing=typing)
            case _:
                logger.warning("a message of the broker is not about typing")

    def _see_event(self, message: Mapping[str, Any]) -> None:
        match message:
            case {"type": EventType.MESSAGE_CREATED, "stream": str(stream), "actor": int(user_id)}:
                typist = self._typing.get(_channel_id(stream), {}).get(user_id)
                if typist is not None:
                    _forgo(typist)
                    self._take(_channel_id(stream), user_id, typing=False)
            case {"type": str(event_type), "stream": str(stream)} if event_type in RIGHTS:
                self.feed.doubt(_channel_id(stream))

    def _take(self, channel_id: int, user_id: int, *, typing: bool) -> None:
        loop, now = asyncio.get_running_loop(), datetime.now(UTC)
        known = self._typing.get(channel_id, {}).get(user_id)
        if typing:
            change = TypingChange(
                channel_id, user_id, typing=True, expires_at=now + timedelta(seconds=self._times.typing)
            )
            if known is not None:
                _cancel(known)
            timer = loop.call_later(self._times.typing, self._expire, channel_id, user_id)
            self._typing.setdefault(channel_id, {})[user_id] = _Typist(change, loop.time(), timer)
        elif known is not None and known.change.typing:
            change = known.change = TypingChange(channel_id, user_id, typing=False, expires_at=now)
        else:
            return
        self.feed.tell(Change(channel_id, user_id, change))

    def _expire(self, channel_id: int, user_id: int) -> None:
        self._take(channel_id, user_id, typing=False)
        typists = self._typing[channel_id]
        _cancel(typists.pop(user_id))
        if not typists:
            del self._typing[channel_id]

    def _stands(self, channel_id: int) -> Iterator[Change]:
        for user_id, typist in self._typing.get(channel_id, {}).items():
            if typist.change.typing:
                yield Change(channel_id, user_id, typist.change)


def _cancel(typist: _Typist) -> None:
    typist.timer.cancel()
    _forgo(typist)


def _forgo(typist: _Typist) -> None:
    if typist.again is not None:
        typist.again.cancel()
        typist.again = None


def _channel_id(stream: str) -> int:
    return int(stream[1:]) if stream[:1] == "c" and stream[1:].isdecimal() else 0
