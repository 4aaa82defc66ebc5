"""What tells the processes of an installation, this one too, that something has happened.

All messages, one's own too, go through `broadcaster` and come out of it, over memory or over Redis (redis_backend.py),
so that one process alone runs the path that several run. They are JSON bytes in both cases: the memory would take any
object, and hide until production what Redis refuses. No message is promised to arrive: the event log decides, and
the hub reads it where something is missing.

`Broadcast` itself is used with care: a channel is subscribed to once, at the start, since a second first subscriber
replaces the first one, and since a subscription made later may miss what is published right after.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Protocol, cast
from zlib import crc32

import orjson
from broadcaster import Broadcast, Event

from app.events.broker_counts import BrokerCounts
from app.events.redis_backend import Ephemeral, RedisBackend, channels

logger = logging.getLogger(__name__)


class Subscriber(Protocol):
    async def get(self) -> Event: ...


class Broker:
    """Works between `start` and `stop`; outside of them everything published is dropped.

    Redis may be silent for `patience` s before it is asked whether it is there, and as long again before the connection
    is given up; it may take `budget` s to confirm what is published. `queue_size` messages may wait for it, up to half
    of that many when the next one is ephemeral.
    """

    def __init__(
        self, redis_url: str | None, *, patience: float = 5.0, budget: float = 0.25, queue_size: int = 10_000
    ) -> None:
        self.counts = BrokerCounts()
        self._origin = secrets.token_hex(8)
        self._listeners: dict[str, list[Callable[[dict[str, Any]], None]]] = {}
        self._on_reconnect: list[Callable[[], None]] = []
        self._redis: RedisBackend | None = None
        if redis_url is not None:
            self._redis = RedisBackend(
                redis_url,
                counts=self.counts,
                on_reconnect=self._tell_reconnected,
                # How the bytes begin that this process publishes: Redis sends them back to it.
                own=orjson.dumps({"origin": self._origin})[:-1],
                patience=patience,
                budget=budget,
                queue_size=queue_size,
            )
        self._channels = channels(0 if self._redis is None else self._redis.database)
        self._broadcast = Broadcast("memory://") if self._redis is None else Broadcast(backend=self._redis)
        self._posted: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue()
        self._posting: asyncio.Task[None] | None = None
        self._hearing: list[asyncio.Task[None]] = []
        self._subscriptions = AsyncExitStack()

    async def start(self) -> None:
        """Subscribe. Waits for Redis 2 s at most: without it, what is published reaches this process only."""
        await self._broadcast.connect()
        for channel in self._channels:
            subscriber = await self._subscriptions.enter_async_context(self._broadcast.subscribe(channel))
            self._hearing.append(asyncio.create_task(self._hear(subscriber)))
        self._posting = asyncio.create_task(self._post())

    async def stop(self) -> None:
        """Send what still waits, for a moment, and disconnect. Harmless when not started."""
        if self._posting is None:
            return
        posting, self._posting = self._posting, None
        self._posted.put_nowait(None)
        await posting
        await self._subscriptions.aclose()
        # Cancels a task of its own without awaiting it; the sleep lets that one end.
        await self._broadcast.disconnect()
        await asyncio.sleep(0)
        for task in self._hearing:
            task.cancel()
        await asyncio.gather(*self._hearing, return_exceptions=True)
        self._hearing.clear()

    @property
    def is_up(self) -> bool:
        """Whether others hear us and we them, as far as is known. Over memory: always."""
        return self._redis is None or self._redis.is_up

    def listen(self, kind: str, callback: Callable[[dict[str, Any]], None]) -> None:
        """Call back, on the loop, with each message of this kind, in the order of publishing for each key."""
        self._listeners.setdefault(kind, []).append(callback)

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call back whenever Redis is there after it was not: what others published meanwhile was missed."""
        self._on_reconnect.append(callback)

    def publish(self, key: str, message: Mapping[str, Any], *, ephemeral: bool = False) -> None:
        """Tell all processes. Neither waits nor raises; `message["kind"]` says which listeners it is for.

        Messages of one key (a stream's id, say) stay in order. Ephemeral ones are the first to be dropped.
        """
        if self._posting is None:
            self.counts.dropped += 1
            return
        try:
            data = orjson.dumps({"origin": self._origin, "message": dict(message)})
            channel = self._channels[crc32(key.encode()) % len(self._channels)]
        except (TypeError, ValueError):
            self.counts.failed += 1
            logger.exception("A message for other processes cannot be written as JSON.")
            return
        self._posted.put_nowait((channel, Ephemeral(data) if ephemeral else data))

    async def _post(self) -> None:
        while (posted := await self._posted.get()) is not None:
            # Does not wait for Redis: the backend has a bounded queue of its own.
            await self._broadcast.publish(*posted)
            if self._redis is None:
                self.counts.published += 1

    async def _hear(self, subscriber: Subscriber) -> None:
        while True:
            # An `Event` says that it has a str, and has what was published.
            self._hand_out(cast("bytes", (await subscriber.get()).message))

    def _hand_out(self, data: bytes) -> None:
        try:
            envelope = orjson.loads(bytes(data))  # bytes(): orjson refuses subclasses
        except ValueError:
            envelope = None
        match envelope:
            case {"message": {"kind": str(kind)} as message}:
                self.counts.received += 1
            case _:
                self.counts.malformed += 1
                return
        for callback in self._listeners.get(kind, []):
            try:
                callback(message)
            except Exception:
                logger.exception("A listener to %s messages failed.", kind)

    def _tell_reconnected(self) -> None:
        for callback in self._on_reconnect:
            try:
                callback()
            except Exception:
                logger.exception("What was to run after Redis came back failed.")
