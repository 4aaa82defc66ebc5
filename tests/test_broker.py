"""What the broker promises, over memory and over a real Redis that restarts, freezes and raves."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from app.events.broker import Broker
from app.events.redis_backend import channels
from app.settings import StartError
from tests.eventually import eventually
from tests.redis_server import RedisServer
from tests.tcp_proxy import RedisProxy

# For tests in which Redis is there: a slow machine is not to be taken for a Redis that went away.
CALM = {"patience": 5.0, "budget": 5.0}
# For tests in which it goes away.
QUICK = {"patience": 0.4, "budget": 0.25}
CONFIGURATION = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text(encoding="utf-8")


class Heard:
    """A broker, and the numbers of the events that its listener heard."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.counts = broker.counts
        self.numbers: list[int] = []
        self.reconnects = 0
        broker.listen("event", lambda message: self.numbers.append(message["number"]))
        broker.on_reconnect(self._count)

    def _count(self) -> None:
        self.reconnects += 1

    def say(self, *numbers: int, key: str = "c1", ephemeral: bool = False) -> None:
        for number in numbers:
            self.broker.publish(key, {"kind": "event", "number": number}, ephemeral=ephemeral)


@asynccontextmanager
async def running(url: str | None, **options: Any) -> AsyncIterator[Heard]:
    heard = Heard(Broker(url, **{**CALM, **options}))
    await heard.broker.start()
    try:
        yield heard
    finally:
        await heard.broker.stop()


@asynccontextmanager
async def two(url: str, **options: Any) -> AsyncIterator[tuple[Heard, Heard]]:
    async with running(url, **options) as one, running(url, **options) as other:
        yield one, other


@pytest.fixture(params=["memory", "redis", "redis, decoding", "no redis"])
def url(request: pytest.FixtureRequest, redis: RedisServer) -> str | None:
    """For what holds whatever is behind a broker, even nothing."""
    if request.param == "no redis":
        redis.kill()
    return {"memory": None, "redis, decoding": redis.url + "?decode_responses=true"}.get(request.param, redis.url)


# Whatever is behind it.


async def test_hears_itself_in_order(url: str | None) -> None:
    async with running(url) as alone:
        alone.say(*range(1000))
        await eventually(lambda: len(alone.numbers) >= 1000)
        alone.say(1000, ephemeral=True)
        await eventually(lambda: len(alone.numbers) >= 1001)
        await asyncio.sleep(0.05)
    assert alone.numbers == list(range(1001)), "and each once"
    assert alone.counts.received == 1001
    assert alone.counts.published + alone.counts.dropped + alone.counts.failed == 1001


async def test_listeners_get_their_kind_as_json_has_it(url: str | None) -> None:
    found: list[dict[str, Any]] = []
    async with running(url) as alone:
        alone.broker.listen("typing", found.append)
        alone.broker.publish("u1", {"kind": "typing", "ids": (1, 2), "text": "\u00e9\u0000\U0001f600", "none": None})
        alone.broker.publish("u1", {"kind": "presence"})
        alone.say(7, key="u1")
        await eventually(lambda: alone.numbers == [7])
    assert found == [{"kind": "typing", "ids": [1, 2], "text": "\u00e9\u0000\U0001f600", "none": None}]


async def test_a_failing_listener_harms_nobody(url: str | None, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: dict[str, Any]) -> None:
        raise RuntimeError("on purpose")

    broker = Broker(url)
    broker.listen("event", fail)
    alone = Heard(broker)  # whose listener comes second
    await broker.start()
    alone.say(1, 2)
    await eventually(lambda: alone.numbers == [1, 2])
    await broker.stop()
    assert caplog.text.count("A listener to event messages failed") == 2


@pytest.mark.parametrize("value", [object(), {1: 2}, 2**64, "\ud800", {"a set"}])
async def test_what_json_cannot_say_is_refused(
    url: str | None, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(url) as alone:
        alone.broker.publish("c1", {"kind": "event", "number": value})
        alone.say(2)
        await eventually(lambda: alone.numbers == [2])
    assert alone.counts.failed == 1
    assert "cannot be written as JSON" in caplog.text


async def test_publishing_before_the_start_and_after_the_stop_is_harmless(url: str | None) -> None:
    alone = Heard(Broker(url))
    await alone.broker.stop()
    alone.say(1)
    await alone.broker.start()
    await alone.broker.stop()
    alone.say(2)
    assert alone.counts.dropped == 2
    assert alone.numbers == []


# Several, with Redis between them.


async def test_the_first_message_on_each_shard_is_heard(redis: RedisServer) -> None:
    for _ in range(3):
        async with two(redis.url) as (one, other):
            for number in range(100):
                one.say(number, key=f"c{number}")
            await eventually(lambda heard=other: len(heard.numbers) == 100)  # type: ignore[misc]  # a default is a type
            assert sorted(other.numbers) == list(range(100))
            assert other.counts.malformed == 0


async def test_two_hear_each_other_in_order(redis: RedisServer) -> None:
    async with two(redis.url) as (one, other):
        for begin in range(0, 1000, 10):
            one.say(*range(begin, begin + 10))
            other.say(*range(1000 + begin, 1010 + begin))
            await asyncio.sleep(0)
        for heard in (one, other):
            await eventually(lambda numbers=heard.numbers: len(numbers) >= 2000)  # type: ignore[misc]  # as above
        await asyncio.sleep(0.05)
        for heard in (one, other):
            assert [number for number in heard.numbers if number < 1000] == list(range(1000))
            assert [number for number in heard.numbers if number >= 1000] == list(range(1000, 2000))
        await eventually(lambda: one.counts.published == other.counts.published == 1000)


async def test_what_was_said_last_is_sent_before_the_stop(redis: RedisServer) -> None:
    async with running(redis.url) as other:
        async with running(redis.url) as one:
            one.say(*range(500))
        await eventually(lambda: other.numbers == list(range(500)))


async def test_decoded_answers_do_not_matter(redis: RedisServer) -> None:
    async with running(redis.url + "?decode_responses=true&protocol=3&health_check_interval=1") as other:
        async with running(redis.url) as one, Redis.from_url(redis.url) as client:
            await client.publish(channels(0)[1], b"\xff")
            one.say(1)
            await eventually(lambda: other.numbers == [1])
            other.say(2)
            await eventually(lambda: one.numbers == [1, 2])
        assert other.counts.malformed == 1


async def test_databases_are_apart(redis: RedisServer) -> None:
    async with (
        running(redis.url) as one,
        running(redis.url[:-1] + "3") as other,
        running(redis.url[:-1] + "3") as third,
    ):
        one.say(1)
        other.say(2)
        await eventually(lambda: third.numbers == [2])
        assert (one.numbers, other.numbers) == ([1], [2])


async def test_the_documented_rights_suffice(redis: RedisServer) -> None:
    (rights,) = re.findall(r"`(resetkeys .*)`", CONFIGURATION)
    async with Redis.from_url(redis.url) as client:
        user = ("parley", "on", ">p\u00e4ss/w", *rights.split())
        await client.execute_command("ACL", "SETUSER", *user)  # type: ignore[no-untyped-call]  # redis-py's own
    url = f"redis://parley:p%C3%A4ss%2Fw@127.0.0.1:{redis.port}/2"
    async with two(url, patience=0.8) as (one, other):
        await asyncio.sleep(1)  # so that it has to ask whether Redis is there
        one.say(1)
        await eventually(lambda: other.numbers == [1])
        assert one.counts.failed == one.counts.reconnects == 0


@pytest.mark.parametrize(
    "poison",
    [
        b"\xff\xfe",
        b"x" * 1_000_000,
        b"[" * 100_000,
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"message": null}',
        b'{"message": []}',
        b'{"message": {}}',
        b'{"message": {"kind": []}}',
        b'{"message": {"kind": null}}',
        b'{"message": "event"}',
        b"",
    ],
    ids=lambda poison: poison[:20].decode("latin-1"),
)
async def test_poison_is_counted_and_passed_over(redis: RedisServer, poison: bytes) -> None:
    async with two(redis.url) as (one, other), Redis.from_url(redis.url) as client:
        for channel in channels(0):
            await client.publish(channel, poison)
        one.say(1)
        await eventually(lambda: other.numbers == [1])
        await eventually(lambda: other.counts.malformed == 16)
        assert other.broker.is_up
        assert other.counts.reconnects == 0


async def test_when_too_many_wait_the_ephemeral_go_first(redis: RedisServer) -> None:
    async with two(redis.url, queue_size=10) as (one, other):
        one.say(*range(20), ephemeral=True)
        one.say(*range(100, 120))
        one.say(*range(20, 30), ephemeral=True)
        await eventually(lambda: len(one.numbers) == 50)
        await eventually(lambda: len(other.numbers) == 10)
        assert other.numbers == [*range(5), *range(100, 105)]
        assert one.counts.dropped == 40
        one.say(1000, ephemeral=True)
        await eventually(lambda: other.numbers[-1] == 1000)


# Redis comes and goes.


async def test_a_restart_is_lived_through(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "app.events")
    async with two(redis.url) as (one, other):
        redis.kill()
        await eventually(lambda: not one.broker.is_up and not other.broker.is_up)
        one.say(*range(100))
        await eventually(lambda: one.numbers == list(range(100)))
        assert one.counts.dropped == 100, "at once, not when it is back"
        await asyncio.sleep(1)
        redis.start()
        for heard in (one, other):
            await eventually(lambda broker=heard.broker: broker.is_up)  # type: ignore[misc]  # as above
            assert (heard.reconnects, heard.counts.reconnects) == (1, 1)
        one.say(*range(200, 220))
        await eventually(lambda: other.numbers == list(range(200, 220)))
    assert caplog.text.count("Redis is away") == 2, "once for each broker, not for each try"
    assert caplog.text.count("Redis is back") == 2


async def test_redis_may_come_later() -> None:
    with RedisServer(is_started=False) as redis:
        async with two(redis.url) as (one, other):
            assert not one.broker.is_up
            one.say(1)
            await eventually(lambda: one.numbers == [1])
            redis.start()
            await eventually(lambda: one.broker.is_up and other.broker.is_up)
            assert one.reconnects == other.reconnects == 1
            one.say(2)
            await eventually(lambda: other.numbers == [2])


async def test_a_silent_freeze_is_noticed(redis: RedisServer) -> None:
    async with two(redis.url, **QUICK) as (one, other):
        await asyncio.sleep(3 * QUICK["patience"])
        assert one.counts.reconnects == 0, "silence alone is no reason to reconnect"
        redis.freeze()
        await eventually(lambda: not one.broker.is_up and not other.broker.is_up)
        redis.thaw()
        await eventually(lambda: one.broker.is_up and other.broker.is_up)
        assert one.reconnects == one.counts.reconnects == 1
        one.say(1)
        await eventually(lambda: other.numbers == [1])


async def test_publishing_into_a_freeze_costs_nothing_and_is_noticed_by_it(redis: RedisServer) -> None:
    async with two(redis.url, patience=60.0, budget=0.25) as (one, other):
        redis.freeze()
        one.say(*range(100))
        await eventually(lambda: one.numbers == list(range(100)))
        await eventually(lambda: not one.broker.is_up)
        one.say(100)
        await eventually(lambda: one.counts.failed + one.counts.dropped == 101)
        redis.thaw()
        await eventually(lambda: one.broker.is_up)
        assert one.counts.reconnects == 0, "it answered after all"
        one.say(101)
        await eventually(lambda: 101 in other.numbers)
        assert 100 not in other.numbers


async def test_stopping_does_not_wait_for_a_frozen_redis(redis: RedisServer) -> None:
    async with running(redis.url, patience=60.0, budget=0.25) as alone:
        redis.freeze()
        alone.say(1)
        async with asyncio.timeout(5):
            await alone.broker.stop()
    assert alone.numbers == [1]


async def test_the_log_keeps_the_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with RedisServer(password="s3cr3t-word") as redis:
        wrong = redis.url.replace("s3cr3t", "wr0ng")
        async with two(redis.url) as (one, other), running(wrong) as locked_out:
            one.say(1)
            await eventually(lambda: other.numbers == [1])
            assert not locked_out.broker.is_up
            redis.kill()
            await eventually(lambda: not one.broker.is_up)
    assert "Redis is away" in caplog.text
    assert "-word" not in caplog.text


@pytest.mark.parametrize("option", ["db=x", "nonsense=1", "socket_timeout=soon"])
def test_a_url_that_cannot_work_stops_the_start(option: str) -> None:
    with pytest.raises(StartError, match="REDIS_URL") as caught:
        Broker(f"redis://:s3cr3t@127.0.0.1:1/0?{option}")
    assert "s3cr3t" not in str(caught.value)


# A faulty network between one of them and Redis.


async def test_a_black_hole_is_noticed(redis: RedisServer) -> None:
    async with RedisProxy(redis.port) as proxy, running(proxy.url, **QUICK) as far, running(redis.url) as near:
        proxy.freeze()
        await eventually(lambda: not far.broker.is_up)
        assert near.broker.is_up
        proxy.thaw()
        await eventually(lambda: far.broker.is_up)
        assert far.reconnects == 1
        near.say(1)
        await eventually(lambda: far.numbers == [1])


async def test_a_cut_is_lived_through(redis: RedisServer) -> None:
    async with RedisProxy(redis.port) as proxy, running(proxy.url) as far, running(redis.url) as near:
        for number in range(3):
            proxy.cut()
            await eventually(lambda count=number + 1: far.reconnects == count)  # type: ignore[misc]  # as above
            near.say(number)
            await eventually(lambda last=number: far.numbers[-1:] == [last])  # type: ignore[misc]  # as above


async def test_faults_of_the_network_reach_the_listener(redis: RedisServer) -> None:
    """The broker hides no loss, repetition or change of order: that is for the hub. The proxy makes them."""
    async with RedisProxy(redis.port) as proxy, running(proxy.url) as far, running(redis.url) as near:
        proxy.doubles = True
        near.say(1, 2)
        await eventually(lambda: far.numbers == [1, 1, 2, 2])
        proxy.doubles, proxy.swaps = False, True
        near.say(3, 4, 5)  # the last one has nobody to swap with, and comes late
        await eventually(lambda: far.numbers[4:] == [4, 3, 5])
        proxy.swaps, proxy.loses = False, 0.5
        near.say(*range(100, 200))
        await eventually(lambda: len(far.numbers) + proxy.done["lost"] == 107)
        assert 0 < proxy.done["lost"] < 100
        assert far.numbers[7:] == sorted(far.numbers[7:])
        assert proxy.done["doubled"] == 2
        assert proxy.done["swapped"] == 1
        assert far.counts.malformed == far.counts.reconnects == 0


async def test_messages_are_json_on_the_wire(redis: RedisServer) -> None:
    async with running(redis.url) as one, Redis.from_url(redis.url) as client, client.pubsub() as pubsub:
        await pubsub.psubscribe("parley:0:*")
        await pubsub.get_message(timeout=5)
        one.say(1)
        await eventually(lambda: one.counts.published == 1)
        found = await pubsub.get_message(timeout=5)
    assert found is not None
    assert found["channel"].decode() in channels(0)
    assert orjson.loads(found["data"])["message"] == {"kind": "event", "number": 1}
