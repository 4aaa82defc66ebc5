"""Writers that go on sending messages, whatever happens, and know which ones were acknowledged."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, Self

import httpx

from app.db import Database
from tests.conftest import Person
from tests.documents import SEND, number, only, select

RETRY_SECONDS = 0.1
PATIENCE_SECONDS = 60.0
SEND_ONE = only("message { id } deduplicated", SEND)
NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class Sent:
    """An acknowledged message. `begun` is of time.monotonic; `seconds` from the first try to the acknowledgement."""

    message: str
    writer: str
    begun: float
    seconds: float
    tries: int


class Load:
    """Inside `async with`, each of `writers` sends to `channels` in turn, all together `rate` messages a second.

    Each person is a writer of its own, one message at a time (`node.person(name)` of tests/nodes.py; give a person
    twice for two at a time), and tries again, with the same key, until the message is acknowledged or refused for good.
    A person whose server is gone goes on to the next of `elsewhere`, if there are any.
    `sent` has what was acknowledged, by key; `failures` counts what went wrong before.
    """

    def __init__(
        self,
        writers: Sequence[Person],
        channels: Sequence[str],
        *,
        rate: float,
        elsewhere: Sequence[httpx.AsyncClient] = (),
    ) -> None:
        self.sent: dict[str, Sent] = {}
        self.failures: Counter[str] = Counter()
        self.unknown: set[str] = set()  # neither acknowledged nor refused when time was up
        self._name = f"load{next(NUMBERS)}"
        self._writers = writers
        self._channels = channels
        self._pause = len(writers) / rate
        self._elsewhere = elsewhere
        self._is_over = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._write(place)) for place in range(len(self._writers))]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        else:
            await self.stop()

    async def stop(self) -> None:
        """Finish the messages that are on their way."""
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def run(self, seconds: float) -> None:
        """Let them write for so long. Raises what went wrong for good."""
        done, _ = await asyncio.wait(self._tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    def slowness(
        self, share: float = 0.99, *, by: Person | None = None, since: float = 0, until: float = float("inf")
    ) -> float:
        """The seconds in which this share of the messages begun in between (of time.monotonic) were acknowledged."""
        found = sorted(
            each.seconds
            for each in self.sent.values()
            if since <= each.begun < until and (by is None or each.writer == by.name)
        )
        assert found, "nothing was sent"
        return found[min(int(len(found) * share), len(found) - 1)]

    async def judge(self, database: Database) -> None:
        """Whatever was acknowledged is there, once, and nothing else but what nobody knows of."""
        statement = "SELECT id, client_key FROM messages WHERE client_key LIKE :name"
        rows = await select(database, statement, name=f"{self._name}-%")
        stored = {row.client_key: row.id for row in rows}
        assert len(stored) == len(rows), "two messages with one key"
        known = {key: id_ for key, id_ in stored.items() if key not in self.unknown}
        told = {key: number(each.message) for key, each in self.sent.items()}
        assert known == told, f"not acknowledged, or not there: {set(known.items()) ^ set(told.items())}"
        created = await select(
            database,
            "SELECT messages.id FROM messages JOIN stream_events ON type = 'MESSAGE_CREATED' "
            "AND stream_id = concat('c', channel_id) AND (payload ->> 'message')::bigint = messages.id "
            "WHERE client_key LIKE :name",
            name=f"{self._name}-%",
        )
        assert sorted(row.id for row in created) == sorted(stored.values()), "one event for each message"

    async def _write(self, place: int) -> None:
        person = self._writers[place]
        servers = [person.http, *self._elsewhere]
        # Spread over time: writers that send at the same moment measure each other.
        due = time.monotonic() + self._pause * place / len(self._writers)
        for turn in count():
            await asyncio.sleep(due - time.monotonic())
            if self._is_over:
                return
            channel = self._channels[(place + turn) % len(self._channels)]
            await self._send(person, servers, f"{self._name}-{place}-{turn}", channel)
            due = max(due + self._pause, time.monotonic())

    async def _send(self, person: Person, servers: list[httpx.AsyncClient], key: str, channel: str) -> None:
        given = {"channelId": channel, "content": f"This is {key}.", "clientKey": key}
        begun = time.monotonic()
        for tries in count(1):
            try:
                answer = await servers[0].post(
                    "/graphql",
                    json={"query": SEND_ONE, "variables": {"input": given}},
                    headers={"authorization": f"Bearer {person.token}"},
                )
                payload: Any = (answer.json().get("data") or {}).get("sendMessage")
                if payload is not None and payload["errors"] == []:
                    self.sent[key] = Sent(payload["message"]["id"], person.name, begun, time.monotonic() - begun, tries)
                    return
                self._complain(answer, payload)
            except httpx.TransportError as error:
                self.failures[type(error).__name__] += 1
                servers.append(servers.pop(0))
            if time.monotonic() > begun + PATIENCE_SECONDS:
                self.unknown.add(key)
                return
            await asyncio.sleep(RETRY_SECONDS)

    def _complain(self, answer: httpx.Response, payload: Any) -> None:
        """Count what may pass, raise for what may not."""
        errors = payload["errors"] if payload is not None else answer.json().get("errors", [])
        codes = {error.get("code") or error["extensions"]["code"] for error in errors}
        assert codes == {"UNAVAILABLE"}, answer.text
        self.failures[f"{answer.status_code} {' '.join(sorted(codes))}"] += 1
