"""The load of benchmarks/fanout, in a process of its own.

Every line of standard input is a command in JSON: "do" names a method of Load, the rest are its arguments. The answer
is a line of JSON too.
"""

import asyncio
import json
import statistics
import sys
import time
from typing import Any

import uvloop
from fanout_sockets import Audience, Opening, Refused

AT_ONCE = 50  # connections that are being opened
POSTERS_AT_FIRST, MOST_POSTERS = 10, 500
CONNECT_SECONDS = 60.0


class Load:
    """The commands. `server` is a name that the caller chooses."""

    def __init__(self) -> None:
        self.audiences: dict[str, Audience] = {}
        self.numbers = 0

    async def connect(self, server: str, subscribers: int, **target: Any) -> dict[str, Any]:
        """Open sockets that subscribe. The subscriptions need not be in force when this answers."""
        loop = asyncio.get_running_loop()
        audience = self.audiences[server] = Audience(**target)
        for first in range(0, subscribers, AT_ONCE):
            async with asyncio.timeout(CONNECT_SECONDS):
                openings = [Opening(audience, index) for index in range(first, min(first + AT_ONCE, subscribers))]
                for opening in openings:
                    await loop.create_connection(lambda opening=opening: opening, "127.0.0.1", audience.port)  # type: ignore[misc]  # mypy sees no type in a default
                audience.subscribers += await asyncio.gather(*(opening.ready for opening in openings))
        return {}

    async def close(self, server: str) -> dict[str, Any]:
        audience = self.audiences.pop(server)
        gone, audience.subscribers = audience.subscribers, []
        for each in gone:
            each.transport.abort()
        await audience.open_posters(0)
        return {}

    async def burst(self, server: str, publishers: int, messages: int) -> dict[str, Any]:
        """Publish as fast as so many publishers can, each of which waits for its answers."""
        audience = self.audiences[server]
        audience.expect(timed=False)
        await audience.open_posters(publishers)
        numbers = iter(range(self.numbers, self.numbers + messages))
        published: list[float] = []

        async def publish() -> None:
            async with audience.poster() as poster:
                for number in numbers:
                    published.append(await poster.post(number))  # noqa: PERF401 - one after the other

        begin, busy = time.perf_counter(), time.process_time()
        await asyncio.gather(*(publish() for _ in range(publishers)))
        wrong = await audience.receive(range(self.numbers, self.numbers + messages))
        self.numbers += messages
        seconds = audience.last - begin
        return {
            "deliveries": audience.received,
            "seconds": seconds,
            "wrong": wrong,
            "published_p50_ms": statistics.median(published) * 1e3,
            "load_cpu": (time.process_time() - busy) / seconds,
        }

    async def pace(self, server: str, rate: int, seconds: float) -> dict[str, Any]:
        """Publish `rate` messages a second, whether the server keeps up or not."""
        audience = self.audiences[server]
        audience.expect(timed=True)
        await audience.open_posters(POSTERS_AT_FIRST)
        taken: list[int] = []
        refused: list[Refused] = []
        published: list[float] = []
        full = asyncio.Semaphore(MOST_POSTERS)

        async def publish() -> None:
            now = round(time.perf_counter() * 1e6)
            async with full, audience.poster() as poster:
                try:
                    published.append(await poster.post(now))
                    taken.append(now)
                except Refused as error:
                    refused.append(error)

        begin, busy = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as tasks:
            for number in range(round(rate * seconds)):
                await asyncio.sleep(begin + number / rate - time.perf_counter())
                tasks.create_task(publish())
        if not taken:
            raise refused[0]
        wrong = await audience.receive(taken, len(refused))
        delays = sorted(audience.delays or [0])
        return {
            "deliveries": audience.received,
            "seconds": audience.last - begin,
            "wrong": wrong,
            "refused": len(refused),
            "delay_p50_ms": delays[len(delays) // 2] / 1e3,
            "delay_p99_ms": delays[len(delays) * 99 // 100] / 1e3,
            "published_p50_ms": statistics.median(published) * 1e3,
            "load_cpu": (time.process_time() - busy) / (audience.last - begin),
        }


async def main() -> None:
    load = Load()
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        answer = await getattr(load, command.pop("do"))(**command)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
