"""Many requests at the same time, and what became of them."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable
from typing import Any

from app.db import Database
from app.models import StreamEvent
from schema.ids import decode
from tests.conftest import Newcomer, Person
from tests.replay import stream

Sent = Coroutine[Any, Any, dict[str, Any]]


async def at_once(sent: Iterable[Sent]) -> list[dict[str, Any]]:
    """The payloads of these mutations. Refusals are in them; the requests as such must all succeed."""
    bodies = await asyncio.gather(*sent)
    assert [body["errors"] for body in bodies if "errors" in body] == []
    return [next(iter(body["data"].values())) for body in bodies]


def outcomes(payloads: Iterable[dict[str, Any]]) -> Counter[str]:
    """How many were done, and how many refused with which code."""
    return Counter(payload["errors"][0]["code"] if payload["errors"] else "done" for payload in payloads)


async def crowd(newcomer: Newcomer, size: int) -> list[Person]:
    return [await newcomer(f"person {number}") for number in range(size)]


async def events(database: Database, channel: str, *types: str) -> list[StreamEvent]:
    """The events of a channel, of all types or of these, in order."""
    found = await stream(database, f"c{number_of(channel)}")
    return [event for event in found if not types or event.type in types]


def number_of(global_id: str) -> int:
    found = decode(global_id)
    assert found
    return found[1][0]
