"""Two nodes on which rights end at random moments while people write, and people who then must not see any more."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

import orjson

from app.db import Database
from tests.conftest import Person
from tests.documents import EDIT, SEND, create_channel, number, only
from tests.follower import positions
from tests.nodes import Node
from tests.watcher import Watcher

T = TypeVar("T")

LANES = 4  # races at a time, which disturb each other
TEXTS = 4  # of each writer in each channel
# Far more than it takes: the machine may do other things at the same time.
TOLD_SECONDS = 15.0
SENT = only("message { id } cursor", SEND)
EDITED = only("cursor", EDIT)


@dataclass
class Stage:
    """`owners` is one person, who owns all channels, on each of the nodes; `others` lose their rights."""

    database: Database
    nodes: tuple[Node, Node]
    owners: tuple[Person, Person]
    writers: list[Person]
    others: list[Person]
    chance: random.Random = field(default_factory=random.Random)
    # What was written: the stream, and its event's number there.
    written: dict[str, tuple[str, int]] = field(default_factory=dict)
    writing_seconds: float = 0.5  # for a channel, the last time
    numbers: "count[int]" = field(default_factory=count)

    @property
    def owner(self) -> Person:
        """On whichever node."""
        return self.chance.choice(self.owners)

    async def channel(self, *members: Person, private: bool = False) -> tuple[str, str]:
        """A new one: its id and its stream."""
        channel = await create_channel(self.owner, f"c{next(self.numbers)}", private=private, members=members)
        return channel, f"c{number(channel)}"

    def watcher(
        self, person: Person, channel: str | None = None, *, reconnects: bool, is_members_only: bool = False
    ) -> Watcher:
        """On whichever node first."""
        nodes = self.nodes[:: self.chance.choice((1, -1))]
        return Watcher(person, *nodes, channel=channel, reconnects=reconnects, is_members_only=is_members_only)

    async def write(self, channel: str) -> None:
        """Each writer sends messages, and edits them, until all is done or the channel is deleted."""
        begun = time.monotonic()
        await asyncio.gather(*(self._write(person, channel) for person in self.writers))
        self.writing_seconds = time.monotonic() - begun

    async def _write(self, person: Person, channel: str) -> None:
        message = ""
        for turn in range(TEXTS):
            text = f"{person.name} {turn} in {channel}"
            if turn % 2:
                body = await person.send(EDITED, input={"messageId": message, "content": text})
            else:
                body = await person.send(SENT, input={"channelId": channel, "content": text})
            [done] = body["data"].values()
            if done["errors"]:
                assert done["errors"][0]["code"] == "NOT_FOUND", body
                return
            [self.written[text]] = positions(done["cursor"]).items()
            if not turn % 2:
                if done["message"] is None:  # the channel was deleted right after
                    return
                message = done["message"]["id"]

    async def sometime(self) -> None:
        """Some moment while they write, or shortly before or after."""
        await asyncio.sleep(self.chance.uniform(-0.1, 1.1) * self.writing_seconds)

    async def end(self, document: str, channel: str, **variables: Any) -> int:
        """Take a right away, sometime; the number of the event, in the channel's stream."""
        await self.sometime()
        done = await self.owner.ask(document, channelId=channel, **variables)
        return positions(done["cursor"])[f"c{number(channel)}"]

    async def disturb(self, watchers: Iterable[Watcher]) -> None:
        """Cut their connections, sometime: who comes back catches up from the log."""
        for watcher in watchers:
            await self.sometime()
            watcher.cut()

    def check_contents(self, watcher: Watcher, stream: str, end: int) -> None:
        """Of what was written from this number on, nothing was shown in an event before it."""
        for event in watcher.events:
            if event.stream == stream and event.seq < end:
                [item] = orjson.loads(event.frame)["payload"]["data"].values()
                if "message" in item:
                    assert self.written[item["message"]["content"]] < (stream, end), item


async def races(race: Callable[[], Coroutine[Any, Any, T]], total: int) -> list[T]:
    """Some at a time. The first failure ends them all."""
    lanes = asyncio.Semaphore(LANES)

    async def one() -> T:
        async with lanes:
            return await race()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one()) for _ in range(total)]
    return [task.result() for task in tasks]


async def until(watchers: Sequence[Watcher], is_so: Callable[[Watcher], bool]) -> None:
    """Wait until it holds for all of them."""
    deadline = time.monotonic() + TOLD_SECONDS
    while late := [watcher for watcher in watchers if not is_so(watcher)]:
        assert time.monotonic() < deadline, (
            f"{len(late)} of {len(watchers)} are not told in time. The first one, on {late[0].sockets} sockets, which "
            f"ended with {late[0].closes}, was told {late[0].items[-5:]}, and errors: {late[0].errors}"
        )
        await asyncio.sleep(0.02)


def is_told(watcher: Watcher) -> bool:
    """That it is over; or, coming back too late, that there is nothing to see."""
    for error in watcher.errors:
        assert error["payload"][0]["extensions"]["code"] == "NOT_FOUND", error
    return "ACCESS_REVOKED" in watcher.kinds() or bool(watcher.errors)


def is_told_of(stream: str) -> Callable[[Watcher], bool]:
    """That this stream is over."""
    return lambda watcher: any((each.stream, each.kind) == (stream, "ACCESS_REVOKED") for each in watcher.notices)
