"""What a subscription's plan makes of events and notices is what the reference executor makes of them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.events.group import Notice, NoticeKind
from app.events.presence import PresenceChange
from app.events.presence_map import Presence
from app.events.typists import TypingChange
from app.services.access import Actor
from schema.execution.group import Group
from schema.execution.leaves import Uncovered
from schema.execution.operation import Operation, prepare
from schema.execution.sink import OperationFailed
from schema.execution.tally import answered
from schema.root import schema
from tests.both_ways import is_failed
from tests.given_values import Pools
from tests.queries import subscriptions
from tests.selections import documents, everything
from tests.test_executor import EXAMPLES, examples
from tests.told import World, after_the_story, world_of  # noqa: F401 - fixtures
from tests.writer import Written

NOW = datetime(2026, 11, 23, 15, 4, 5, 6789, tzinfo=UTC)
NOTICES = [
    Notice(kind, NOW, "cursor", channel_id=channel_id, recovered=recovered, expires_at=expires_at)
    for kind, channel_id, recovered, expires_at in product(NoticeKind, (None, 7), (None, 0, 3), (None, NOW))
]
WHOLE = [everything(marked=marked, depth=2) for marked in (False, True)]


def no_plan() -> Any:
    raise Uncovered("for the test")


class BothWays:
    """The groups of one operation for one viewer, with a plan and without."""

    def __init__(self, world: World, operation: Operation, viewer: Actor | None) -> None:
        self.by_plan = Group(world.services, operation, None, viewer)
        self.by_reference = Group(world.services, replace(operation, compile=no_plan), None, viewer)
        self._world = world

    async def render(self, stream_id: str, values: Sequence[Any], *, plans: bool = True) -> list[bytes]:
        """`plans` is whether a plan has to be what answers without errors."""
        async with self._world.services.database.read() as reader:
            before = answered.copy()
            found = await self.by_plan.render(reader, stream_id, values)
            how = answered - before
            assert found == await self.by_reference.render(reader, stream_id, values)
            is_bad = any(map(is_failed, found))
            assert is_bad or not plans or how == {"plan": len(values)}
            assert not any(b'"INTERNAL"' in frame for frame in found)
            return found

    def notices(self, *, plans: bool = True) -> None:
        before = answered["plan"]
        found = [self.by_plan.render_notice(notice) for notice in NOTICES]
        assert not plans or answered["plan"] - before == sum(frame is not None for frame in found)
        assert found == [self.by_reference.render_notice(notice) for notice in NOTICES]


def prepared(request: Written) -> Operation | None:
    try:
        return prepare(schema, request.text, None, request.variables)
    except OperationFailed as failed:
        if (failed.errors[0].extensions or {})["code"] not in {"QUERY_TOO_COSTLY", "BAD_REQUEST"}:
            raise
        return None


async def told(world: World, operation: Operation, data: st.DataObject, *, plans: bool) -> None:
    stream = data.draw(st.sampled_from(world.told))
    start = data.draw(st.integers(0, len(stream.events) - 1))
    viewer = data.draw(st.sampled_from(stream.viewers)) if operation.is_private else None
    both = BothWays(world, operation, viewer)
    await both.render(stream.stream_id, stream.events[start : start + 12], plans=plans)
    both.notices(plans=plans)


@examples(EXAMPLES // 2)
@given(data=st.data())
async def test_events(world: World, data: st.DataObject) -> None:
    document = data.draw(documents(marked=data.draw(st.booleans())))
    flipped = data.draw(st.booleans())
    operation = prepared(Written(document, world.variables(yes=not flipped, no=flipped)))
    if operation is not None:
        await told(world, operation, data, plans=True)


@examples(EXAMPLES // 2)
@given(data=st.data())
async def test_events_by_other_fields(world: World, data: st.DataObject) -> None:
    pools = pools_of(world)
    name = data.draw(st.sampled_from(["viewerEvents", "channelEvents", "typing", "presence"]))
    request = data.draw(subscriptions(pools, name))
    plans = not request.has_null_switch
    operation = prepared(request)
    if operation is None:
        return
    if name.endswith("Events"):
        await told(world, operation, data, plans=plans)
        return
    # What is told of people and places that are there, and that are not.
    viewer = world.told[0].viewers[0]
    values: dict[str, list[Any]] = {
        "typing": [
            TypingChange(place, user, is_on, NOW) for place, user in ((1, viewer.id),) for is_on in (True, False)
        ],
        "presence": [PresenceChange(user, each, NOW) for user in (viewer.id, viewer.id + 1) for each in Presence],
    }
    await BothWays(world, operation, viewer).render("w", values[name], plans=plans)


def pools_of(world: World) -> Pools:
    pools = Pools()
    pools.ids["Message"] = [world.message]
    pools.ids["User"] = pools.ids["Channel"] = [world.message, "nonsense"]
    pools.cursors = ["cursor"]
    pools.codes = ["code"]
    return pools


@pytest.mark.parametrize("document", WHOLE)
async def test_everything(world: World, document: str) -> None:
    operation = prepare(schema, document, None, {})
    for stream in world.told:
        for viewer in stream.viewers if operation.is_private else [None]:
            both = BothWays(world, operation, viewer)
            assert await both.render(stream.stream_id, stream.events)
            both.notices()


async def test_a_null_that_decides_what_is_selected(world: World) -> None:
    """Without a plan: it is an error where something would be selected, and none elsewhere."""
    text = """subscription ($v: Boolean = true) { viewerEvents {
        ... on StreamNotice { kind } ... on MessageEvent { id @include(if: $v) } ... on Event { cursor }
    } }"""
    operation = prepare(schema, text, None, {"v": None})
    both = BothWays(world, operation, None)
    for stream in world.told:
        for event in stream.events:
            (frame,) = await both.render(stream.stream_id, [event], plans=False)
            assert is_failed(frame) == event.type.startswith("MESSAGE_")
    both.notices(plans=False)
    text = "subscription ($v: Boolean = true) { viewerEvents { ... on StreamNotice { kind @skip(if: $v) } } }"
    both = BothWays(world, prepare(schema, text, None, {"v": None}), None)
    both.notices(plans=False)
    assert is_failed(both.by_plan.render_notice(NOTICES[0]) or b"{}")
