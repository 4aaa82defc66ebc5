"""The judge of the fault tests: the event log, read back from PostgreSQL, says what each watcher must have seen.

    await judge(database, watchers, seconds=2)

waits, at most so long, until all watchers (tests/watcher.py) have everything, and checks for each of them and each
stream that it follows: from where it began up to the head every event came, in order, each once, with the log's type
and epoch; of what a removal ended, nothing of the time after it; and no notice that something was lost. `same_frames`
asks for the same bytes, too. Deleted channels are not covered: of those only the last event is told for sure.

Call it when writing is over, from inside `watching`. `seconds` is the promise that is tested: from the end of the
fault, or of the writing, to the last delivery.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import select

from app.db import Database
from app.models import StreamEvent, StreamHead
from tests.watcher import Seen, Watcher

SETTLE_SECONDS = 0.3  # what comes twice comes a little later


@dataclass(frozen=True, slots=True)
class Log:
    """All events of each stream, and the stream's epoch."""

    events: Mapping[str, Sequence[StreamEvent]]
    epochs: Mapping[str, int]


class Span(NamedTuple):
    """What somebody may see of a stream: numbers above `after`, up to `to`.

    All of it must come, unless it ended with their membership: what was not delivered by then is not any more.
    """

    after: int
    to: int
    is_over: bool


async def read_log(database: Database) -> Log:
    """Also checks that it has no gaps, and ends at the heads."""
    async with database.read() as reader:
        rows = await reader.rows(select(StreamEvent).order_by(StreamEvent.stream_id, StreamEvent.seq))
        heads = await reader.rows(select(StreamHead))
    events: dict[str, list[StreamEvent]] = defaultdict(list)
    for row in rows:
        events[row.stream_id].append(row)
    for head in heads:
        numbers = [event.seq for event in events[head.stream_id]]
        assert numbers == list(range(head.floor_seq + 1, head.head_seq + 1)), f"the log of {head.stream_id} has gaps"
    return Log(events, {head.stream_id: head.epoch for head in heads})


async def judge(database: Database, watchers: Iterable[Watcher], *, seconds: float) -> Log:
    """The log that they were judged by."""
    watched = list(watchers)
    log = await read_log(database)
    deadline = time.monotonic() + seconds
    while late := [watcher for watcher in watched if missing(watcher, log)]:
        assert time.monotonic() < deadline, (
            f"{len(late)} of {len(watched)} watchers still lack events after {seconds} s, the first one "
            f"{missing(late[0], log)}. Its sockets ended with {late[0].closes}; it was told {late[0].kinds()}"
        )
        await asyncio.sleep(0.01)
    await asyncio.sleep(SETTLE_SECONDS)
    assert any(watcher.events for watcher in watched), "nothing happened that could be judged"
    for watcher in watched:
        check(watcher, log)
    return log


def missing(watcher: Watcher, log: Log) -> dict[str, str]:
    """How far it is in the streams where it is not at the end."""
    ends = watcher.ends
    return {
        stream: f"is at {ends.get(stream, spans[-1].after)} of {spans[-1].to}"
        for stream, spans in allowed(watcher, log).items()
        if spans and not spans[-1].is_over and ends.get(stream, spans[-1].after) < spans[-1].to
    }


def check(watcher: Watcher, log: Log) -> None:
    assert watcher.errors == [], watcher.errors
    assert "RESYNC_REQUIRED" not in watcher.kinds(), "RESYNC_REQUIRED, where nothing was beyond the retention"
    spans = allowed(watcher, log)
    seqs = watcher.seqs()
    assert set(seqs) <= set(spans), f"events of streams that it does not follow: {set(seqs) - set(spans)}"
    for stream, found in seqs.items():
        expected: list[int] = []
        for span in spans[stream]:
            last = max((seq for seq in found if span.after < seq <= span.to), default=span.after)
            expected += range(span.after + 1, (last if span.is_over else span.to) + 1)
        assert found == expected, f"{stream}: {difference(found, expected)}"
    for event in watcher.events:
        logged = log.events[event.stream][event.seq - log.events[event.stream][0].seq]
        assert event.type == logged.type, f"{event} is {logged.type} in the log"
        assert event.epoch == log.epochs[event.stream], f"{event} is of another epoch"
    check_revocations(watcher, spans)


def check_revocations(watcher: Watcher, spans: Mapping[str, Sequence[Span]]) -> None:
    """Behind ACCESS_REVOKED, the next event of that channel is the first after coming back."""
    revoked: set[str] = set()
    for item in watcher.items:
        if isinstance(item, Seen):
            if item.stream in revoked:
                assert item.seq - 1 in {span.after for span in spans[item.stream]}, f"{item} after ACCESS_REVOKED"
                revoked.discard(item.stream)
        elif item.kind == "ACCESS_REVOKED" and item.stream is not None:
            revoked.add(item.stream)


def allowed(watcher: Watcher, log: Log) -> dict[str, list[Span]]:
    """What it may see, given where its first READY says that it begins."""
    starts: dict[str, list[int]] = defaultdict(list)
    for stream, at in watcher.begins.items():
        starts[stream].append(at.seq)
    own = f"u{watcher.user_id}"
    if own in watcher.begins:
        for event in log.events[own]:
            if event.type == "MEMBER_JOINED" and event.seq > watcher.begins[own].seq:
                starts[f"c{event.payload['channel']}"].append(event.payload["joined_seq"])
    return {
        stream: [_span(watcher, log.events[stream], after) for after in sorted(set(begins))]
        for stream, begins in starts.items()
    }


def _span(watcher: Watcher, events: Sequence[StreamEvent], after: int) -> Span:
    head = events[-1].seq if events else after
    left = (
        each.seq
        for each in events
        # Their own stream has it too, and goes on.
        if each.type == "MEMBER_LEFT" and each.payload["user"] == watcher.user_id and each.stream_id[0] == "c"
    )
    end = next((seq for seq in left if seq > after), None) if watcher.is_members_only else None
    return Span(after, head, is_over=False) if end is None else Span(after, end - 1, is_over=True)


def difference(found: Sequence[int], expected: Sequence[int]) -> str:
    repeated = sorted({seq for seq in found if found.count(seq) > 1})
    lost, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    return f"lost {lost}, extra {extra}, repeated {repeated}, in order {list(found) == sorted(found)}"


def same_frames(*watchers: Watcher) -> int:
    """Events came to all who asked for the same as the same bytes. How many came to two of them at least."""
    frames: dict[tuple[bool, str, int], list[bytes]] = defaultdict(list)
    for watcher in watchers:
        for event in watcher.events:
            frames[watcher.channel is None, event.stream, event.seq].append(event.frame)
    for key, copies in frames.items():
        assert len(set(copies)) == 1, (key, set(copies))
    return sum(len(copies) > 1 for copies in frames.values())
