"""The Redis side of the broker: a backend for `broadcaster` that lives through Redis restarting, freezing and raving.

The backend that comes with broadcaster 0.3 does not: its listener ends for good at the first refused reconnect or the
first message that is no UTF-8, it notices no frozen Redis, and it loses first messages since it does not wait for the
confirmation of a subscription. Here one task owns the connections, and starts over whatever happens.

A publish that ran out of time is ambiguous: Redis may take it later. Receivers tell repeated events by their number.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from broadcaster import BroadcastBackend, Event
from redis.asyncio.connection import Connection, parse_url
from redis.exceptions import RedisError, ResponseError

from app.events.broker_counts import BrokerCounts
from app.settings import StartError

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 2.0
SHARDS = 16
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # s between tries
BATCH = 100
# Bounds what one turn of the loop takes from the socket, so that a flood leaves others their turn.
INCOMING = 256


def channels(database: int) -> list[str]:
    """The names of the shards. They name the database too: Redis does not keep the publications of its own apart."""
    return [f"parley:{database}:{shard}" for shard in range(SHARDS)]


class Ephemeral(bytes):
    """A message that is the first to go when too many wait."""

    __slots__ = ()


class RedisBackend(BroadcastBackend):
    """Hears its own messages at once, whatever state Redis is in, and not again when Redis sends them back."""

    def __init__(
        self,
        url: str,
        *,
        counts: BrokerCounts,
        on_reconnect: Callable[[], None],
        own: bytes,
        patience: float,
        budget: float,
        queue_size: int,
    ) -> None:
        self._connect = connector(url)
        self.database = int(self._connect().db or 0)
        self._channels = channels(self.database)
        self._counts = counts
        self._on_reconnect = on_reconnect
        self._own = own
        self._patience = patience
        self._budget = budget
        self._queue_size = queue_size
        self._incoming: asyncio.Queue[Event] = asyncio.Queue(INCOMING)
        self._outgoing: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self._supervisor: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._is_connected = False
        self._is_doubtful = False
        self._is_away = False  # and the log says so

    @property
    def is_up(self) -> bool:
        return self._is_connected and not self._is_doubtful

    # What `Broadcast` calls.

    async def connect(self) -> None:
        self._supervisor = asyncio.create_task(self._supervise())
        await self._tried.wait()

    async def disconnect(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._budget):
                await self._outgoing.join()
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
            self._supervisor = None

    async def subscribe(self, group: str) -> None:
        """Nothing to do: the connection begins with all channels, and begins so again whenever it is lost."""

    async def unsubscribe(self, group: str) -> None:
        """Nothing to do."""

    async def publish(self, channel: str, message: Any) -> None:
        await self._incoming.put(Event(channel, message))
        waiting = self._outgoing.qsize()
        limit = self._queue_size // 2 if isinstance(message, Ephemeral) else self._queue_size
        if self.is_up and waiting < limit:
            self._outgoing.put_nowait((channel, message))
        else:
            self._counts.dropped += 1

    async def next_published(self) -> Event:
        return await self._incoming.get()

    # The connections.

    async def _supervise(self) -> None:
        pause = SHORTEST_PAUSE
        while True:
            begin = time.monotonic()
            try:
                await self._converse()
            except Exception as error:  # noqa: BLE001 - supervised: nothing that Redis does or says may end this
                if not self._is_away:
                    logger.warning(
                        "Redis is away (%s: %s). Until it is back, other processes hear of events later.",
                        type(error).__name__,
                        error,
                    )
                self._is_away = True
                self._tried.set()
            if time.monotonic() - begin > CONNECT_SECONDS + LONGEST_PAUSE:
                pause = SHORTEST_PAUSE  # it was there for a while; one that comes and goes is not asked that often
            # Jitter: all processes lost it at the same time.
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - no secret
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _converse(self) -> None:
        """Connect, subscribe, and read until the connection is lost."""
        subscriber, publisher = self._connect(), self._connect()
        sender: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await publisher.connect()  # type: ignore[no-untyped-call]  # redis-py's own
                await subscriber.connect()  # type: ignore[no-untyped-call]  # as above
                await subscriber.send_command("SUBSCRIBE", *self._channels)
                for _ in self._channels:
                    while (await self._read(subscriber))[0] != b"subscribe":
                        pass
            self._connected()
            sender = asyncio.create_task(self._send(publisher, subscriber))
            await self._watch(subscriber)
        finally:
            self._is_connected = self._is_doubtful = False
            self._drop_waiting()
            if sender is not None:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
            for connection in (subscriber, publisher):
                await connection.disconnect(nowait=True)

    def _connected(self) -> None:
        self._is_connected = True
        self._tried.set()
        if self._is_away:
            self._is_away = False
            self._counts.reconnects += 1
            logger.info("Redis is back.")
            self._on_reconnect()

    async def _watch(self, subscriber: Connection) -> None:
        """Read for ever. Raises when nothing comes, not even the answer to a PING."""
        is_asked = False
        while True:
            if await self._read(subscriber, self._patience):
                is_asked = self._is_doubtful = False
            elif is_asked:
                raise TimeoutError("it does not answer")
            else:
                is_asked = True
                await subscriber.send_command("PING", check_health=False)

    async def _read(self, subscriber: Connection, seconds: float | None = None) -> list[Any]:
        """Read one reply, and hand it on if it is a message. Empty if none came in this time."""
        # Not decoded, whatever `decode_responses` in the URL says: a message may be anything.
        reply = await subscriber.read_response(disable_decoding=True, timeout=seconds)
        match reply:
            case None:
                return []
            case [b"message", channel, data]:
                if not data.startswith(self._own):
                    # `Event` says str, and carries what it is given.
                    await self._incoming.put(Event(channel.decode(), cast("str", data)))
        return cast("list[Any]", reply)

    # Publishing.

    async def _send(self, publisher: Connection, subscriber: Connection) -> None:
        while True:
            batch = [await self._outgoing.get()]
            while len(batch) < BATCH and not self._outgoing.empty():
                batch.append(self._outgoing.get_nowait())
            confirmed = 0
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    # Again, after a failure; else this does nothing.
                    await publisher.connect()  # type: ignore[no-untyped-call]  # redis-py's own
                async with asyncio.timeout(self._budget):
                    commands = publisher.pack_commands(("PUBLISH", channel, data) for channel, data in batch)
                    await publisher.send_packed_command(commands, check_health=False)
                    for _ in batch:
                        await publisher.read_response()
                        confirmed += 1
            except Exception as error:  # noqa: BLE001 - as above
                if isinstance(error, ResponseError):
                    logger.warning("Redis refuses to publish: %s", error)
                # The answers still to come would be taken for those of the next batch.
                await publisher.disconnect(nowait=True)
                await self._doubt(subscriber)
            finally:
                self._counts.published += confirmed
                self._counts.failed += len(batch) - confirmed
                for _ in batch:
                    self._outgoing.task_done()

    async def _doubt(self, subscriber: Connection) -> None:
        """Until Redis answers, take it for away: whoever asks `is_up` then reads the log more often."""
        self._is_doubtful = True
        self._drop_waiting()
        # Sending would connect a connection that was just lost.
        if subscriber.is_connected:
            with suppress(RedisError, OSError):
                await subscriber.send_command("PING", check_health=False)

    def _drop_waiting(self) -> None:
        while not self._outgoing.empty():
            self._outgoing.get_nowait()
            self._outgoing.task_done()
            self._counts.dropped += 1


def connector(url: str) -> Callable[[], Connection]:
    """What makes connections, not yet connected, of a URL. Raises StartError for a URL that can make none."""
    try:
        options: dict[str, Any] = {**parse_url(url)}
        kind = cast("type[Connection]", options.pop("connection_class", Connection))
        options.pop("max_connections", None)  # of a pool, and there is none
        options |= {
            "protocol": 2,  # answers PING on a subscribed connection, and is spoken by every Redis and proxy
            "retry": None,
            "retry_on_error": [],
            "retry_on_timeout": False,
            "health_check_interval": 0,
            # The timeouts are ours: those of redis-py use asyncio.wait_for, which swallowed cancellations before 3.12.
            "socket_timeout": None,
            "socket_connect_timeout": CONNECT_SECONDS,
            "driver_info": None,
        }
        kind(**options)
    except (TypeError, ValueError, RedisError, OSError) as error:
        raise StartError(f"REDIS_URL cannot be used: {error} Compare it with docs/configuration.md.") from None
    return lambda: kind(**options)
