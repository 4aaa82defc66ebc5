"""Between subscriptions and the transports that carry them (WebSocket, server-sent events)."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from graphql import GraphQLError


class Sink(Protocol):
    """Where the results of one running subscription go. All calls are made on the event loop and return at once."""

    def begin(self, cursor: Callable[[], str]) -> None:
        """Called before any result. Within `next`, `cursor()` is where the subscription stands after that result."""

    def next(self, payload: bytes) -> None:
        """Send one ExecutionResult, encoded as JSON. The bytes may be shared with other sinks."""

    def complete(self) -> None:
        """The subscription is over; nothing follows."""

    @property
    def congested(self) -> bool:
        """Whether the peer takes less than it is sent. What is not urgent waits for `drained`."""

    async def drained(self) -> None:
        """Wait until the sink is no longer congested, or is closed."""


class Running(Protocol):
    """A subscription that has started."""

    def stop(self) -> None:
        """The client has gone, or wants no more. Idempotent; nothing is sent from here on."""

    def congest(self) -> None:
        """The sink has become congested: go on from the log when it has drained. Sinks call it."""

    def expiring(self, expires_at: datetime) -> None:
        """The session's token ends at this time: tell the client, where the operation has notices."""

    def draining(self) -> None:
        """The server is about to stop: tell the client, where the operation has notices."""


class OperationFailed(Exception):
    """The operation did not start: settled errors for the client."""

    def __init__(self, errors: Sequence[GraphQLError]) -> None:
        super().__init__(errors[0].message if errors else "")
        self.errors = list(errors)
