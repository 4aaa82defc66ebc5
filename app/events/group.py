"""What delivery needs to know of subscriptions; what they are made of is the business of the layer above."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from app.db import Reader
from app.events.log import EventType, LoggedEvent


class NoticeKind(StrEnum):
    """What is told beside events. The values are those of the API."""

    READY = "READY"
    RESYNC_REQUIRED = "RESYNC_REQUIRED"
    ACCESS_REVOKED = "ACCESS_REVOKED"
    SESSION_EXPIRING = "SESSION_EXPIRING"
    SLOW_CONSUMER = "SLOW_CONSUMER"
    SERVER_DRAINING = "SERVER_DRAINING"
    HEARTBEAT = "HEARTBEAT"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened to a subscription, not in the chat. `cursor` is where the subscription stands."""

    kind: NoticeKind
    at: datetime
    cursor: str
    channel_id: int | None = None
    recovered: int | None = None
    expires_at: datetime | None = None


class Group(Protocol):
    """All subscriptions that get the same results: each event is executed and encoded once for all of them."""

    @property
    def number(self) -> int:
        """Unique among the groups of this process."""

    @property
    def types(self) -> frozenset[EventType] | None:
        """The types of events that were asked for; None for all."""

    def wants(self, event: LoggedEvent) -> bool:
        """Whether the event is of a type that was asked for."""

    async def render(self, reader: Reader, stream_id: str, events: Sequence[Any]) -> list[bytes]:
        """One result per event, from the reader's snapshot. Never raises for what is wrong with one event.

        Raises Unavailable while the database is away.
        """

    def render_notice(self, notice: Notice) -> bytes | None:
        """None if the subscription selects nothing of notices."""


class Sink(Protocol):
    """Where results go; schema/execution/sink.py describes it."""

    def begin(self, cursor: Callable[[], str]) -> None: ...

    def next(self, payload: bytes) -> None: ...

    def complete(self) -> None: ...

    @property
    def congested(self) -> bool: ...

    async def drained(self) -> None: ...
