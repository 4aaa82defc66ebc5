"""What is executed once for everybody is what each of them would get by themselves, live and from the log."""

from collections.abc import Sequence

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app.events.log import LoggedEvent
from app.services.access import Actor
from schema.events import EVENT_TYPES
from schema.execution.group import Group
from schema.execution.operation import Operation, prepare
from schema.execution.sink import OperationFailed
from schema.root import schema
from tests.selections import MARKED, documents, one_by_one
from tests.told import World, after_the_story, world_of  # noqa: F401 - fixtures


async def frames(
    world: World, operation: Operation, stream_id: str, events: Sequence[LoggedEvent], viewers: list[Actor | None]
) -> list[list[bytes]]:
    """For each viewer (None: for all at once) the results, in one snapshot."""
    async with world.services.database.read() as reader:
        return [
            await Group(world.services, operation, None, viewer).render(reader, stream_id, events) for viewer in viewers
        ]


@settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
async def test_everybody_would_get_the_same_by_themselves(world: World, data: st.DataObject) -> None:
    document = data.draw(documents(marked=data.draw(st.integers(0, 9)) == 0))
    flipped = data.draw(st.booleans())
    try:
        operation = prepare(schema, document, None, world.variables(yes=not flipped, no=flipped))
    except OperationFailed as failed:
        assume("QUERY_TOO_COSTLY" not in str(failed.errors[0].extensions))
        raise
    is_marked = any(name in document for name in MARKED)
    assert operation.is_private == is_marked
    if is_marked:
        return
    told = data.draw(st.sampled_from(world.told))
    start = data.draw(st.integers(0, len(told.events) - 1))
    events = told.events[start : start + 12]
    shared, *others = await frames(world, operation, told.stream_id, events, [None, *told.viewers])
    for viewer, own in zip(told.viewers, others, strict=True):
        assert own == shared, viewer


async def test_each_field_depends_on_the_viewer_or_is_not_marked(world: World) -> None:
    depends = set()
    fields = list(one_by_one())
    for typename, name, event_typename, document in fields:
        operation = prepare(schema, document, None, {})
        assert operation.is_private == (name in MARKED)
        for told in world.told:
            events = [event for event in told.events if EVENT_TYPES[event.type][0] == event_typename][:5]
            if not events:
                continue
            found = await frames(world, operation, told.stream_id, events, [None, *told.viewers])
            assert not any(b'"errors"' in frame for each in found for frame in each)
            if any(other != found[0] for other in found[1:]):
                depends.add((typename, name))
    assert depends == {(typename, name) for typename, name, *_ in fields if name in MARKED}
    assert depends == {
        ("Channel", "joinCode"),
        ("Channel", "viewerCan"),
        ("Message", "clientKey"),
        ("ReactionGroup", "viewerHasReacted"),
        ("User", "email"),
    }
    # Every type that events lead to is there.
    reached = {typename for typename, *_ in fields}
    assert {"Message", "ReactionGroup", "UserConnection", "ChannelMember", "MessageEdge", "PageInfo"} <= reached
