"""Whatever the examples, the documentation and the tests of real clients send is answered by a plan."""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any, NamedTuple

from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse

from app.events.group import Notice, NoticeKind
from app.events.presence import PresenceChange
from app.events.presence_map import Presence
from app.events.typists import TypingChange
from app.storage import Incoming
from schema.execution.group import Group
from schema.execution.operation import prepare
from schema.execution.tally import answered
from schema.root import schema
from tests.both_ways import viewers_of
from tests.conftest import ROOT
from tests.story import Cast
from tests.told import World, after_the_story, world_of  # noqa: F401 - fixtures
from tests.writer import Written

FILES = [
    *sorted((ROOT / "examples").glob("*.mjs")),
    *sorted((ROOT / "tests" / "clients").glob("*.mjs")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "README.md",
]
# What a document can begin with in a program, in a shell, or in the text, and how it ends then.
ENDS = {'\'{"query": "': '"}', "```graphql\n": "```", "`": "`", "'": "'"}
BEGIN = re.compile(rf"({'|'.join(map(re.escape, ENDS))})\s*(?=(?:query|mutation|subscription)\b|\{{)")
# How many there are at least: fewer would mean that they are not found any more.
LEAST = 40


class Documented(NamedTuple):
    """One operation."""

    text: str
    name: str | None
    kind: OperationType
    root: str
    variables: tuple[str, ...]


def documented() -> Iterator[Documented]:
    """The valid ones: some are wrong on purpose, and not all that looks like a document is one."""
    for path in FILES:
        content = path.read_text()
        for found in BEGIN.finditer(content):
            text = content[found.end() :].split(ENDS[found[1]], 1)[0].replace('\\"', '"')
            try:
                node = parse(text)
            except GraphQLError:
                continue
            if schema.refuse(node):
                continue
            for each in node.definitions:
                if isinstance(each, OperationDefinitionNode):
                    variables = tuple(variable.variable.name.value for variable in each.variable_definitions or ())
                    root = getattr(each.selection_set.selections[0], "name").value  # noqa: B009 - any kind of selection
                    yield Documented(text, each.name.value if each.name else None, each.operation, root, variables)


def test_they_are_found() -> None:
    found = list(documented())
    assert len(found) >= LEAST
    assert {each.kind for each in found} == set(OperationType)


async def test_each_is_answered_by_plan(world: World, cast: Cast) -> None:
    hall, people = cast.channels["hall"], [cast.alice.id, cast.bob.id]
    values: dict[str, Any] = {
        "channel": hall,
        "c": cast.channels["attic"],
        "name": "new",
        "text": "hi",
        "after": [],
        "fileId": cast.alice.id,  # of nothing
        "token": "nonsense",
        "people": people,
        "typing": True,
        "presence": "AWAY",
    }
    inputs: dict[str, Any] = {
        "uploadFile": {"channelId": hall, "file": Incoming(BytesIO(b"a text"), 6, "a.txt", "text/plain")},
        "sendMessage": {"channelId": hall, "content": "with files"},
    }
    viewers = await viewers_of(world.services, cast.alice)
    for each in documented():
        before = answered.copy()
        given = {
            name: inputs.get(each.root, {"name": "newer"}) if name == "input" else values[name]
            for name in each.variables
        }
        if each.kind is OperationType.SUBSCRIPTION:
            count = await delivered(world, each, given)
        else:
            found, _ = await viewers.by_plan("alice", Written(each.text, given, each.name))
            assert b'"data"' in found, (each, found)
            count = 1
        assert answered - before == {"plan": count}, each


async def delivered(world: World, each: Documented, given: dict[str, Any]) -> int:
    """Have the subscription's results made. Their number."""
    operation = prepare(schema, each.text, each.name, given)
    now, actor = world.told[0].events[0].at, world.told[0].viewers[0]
    streams: list[tuple[str, list[Any]]] = [(told.stream_id, told.events) for told in world.told]
    if each.root == "typing":
        streams = [("c1", [TypingChange(1, actor.id, is_on, now) for is_on in (True, False)])]
    elif each.root == "presence":
        streams = [("w", [PresenceChange(actor.id, Presence.AWAY, now)])]
    count = 0
    for stream_id, values in streams:
        group = Group(world.services, operation, None, actor if operation.is_private else None)
        async with world.services.database.read() as reader:
            count += len(await group.render(reader, stream_id, values))
        if each.root.endswith("Events"):
            made = [group.render_notice(Notice(kind, now, "cursor")) for kind in NoticeKind]
            count += sum(frame is not None for frame in made)
    return count
