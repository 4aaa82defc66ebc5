"""The schema as a contract: described throughout, nullable where it must be, printed where it is kept."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNonNull,
    GraphQLObjectType,
    build_client_schema,
    build_schema,
    get_introspection_query,
    lexicographic_sort_schema,
    print_schema,
)

from app.errors import ErrorCode
from app.events.log import EventType
from schema.events import EVENT_TYPES
from schema.root import schema
from tests.conftest import ROOT, Person

SERVED = build_schema(schema.as_str())
OUTPUTS = {
    name: type_
    for name, type_ in SERVED.type_map.items()
    if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType) and not name.startswith("__")
}
CONNECTIONS = [name.removesuffix("Connection") for name in OUTPUTS if name.endswith("Connection")]
# SessionPayload is none of them: a renewed session is no event, so it has no cursor.
PAYLOADS = [name for name in OUTPUTS if name.endswith("Payload") and name not in {"Payload", "SessionPayload"}]
EVENTS = [
    name
    for name, type_ in OUTPUTS.items()
    if name == "Event" or "Event" in {interface.name for interface in type_.interfaces}
]

# Null says: not there, or not for you.
NULL_BY_PERMISSION = {
    "Query.node",
    "Query.user",
    "Query.channel",
    "Query.channelByJoinCode",
    "Query.directMessage",
    "Query.message",
    "Query.file",
    "User.email",
    "Channel.joinCode",
    "Message.clientKey",
    "ChannelEvent.channel",
    "ChannelPrivacyEvent.channel",
    "MemberEvent.channel",
}
# Null says: this one has none.
NULL_BY_NATURE = {
    "User.picture",
    "User.bio",
    "User.lastSeenAt",
    "Channel.name",
    "Channel.description",
    "Channel.owner",
    "Channel.archivedAt",
    "ChannelMember.roleAssignedAt",
    "ChannelPreview.description",
    "Message.content",
    "Message.updatedAt",
    "Message.deletedAt",
    "Message.parent",
    "Message.reply",
    "File.width",
    "File.height",
    "File.message",
    "Reaction.imageUrl",
    "PageInfo.startCursor",
    "PageInfo.endCursor",
    "UserError.field",
    "UserError.retryAfterMs",
    "Payload.cursor",
    *(f"{name}.{field}" for name in EVENTS for field in ("actor", "channelId")),
    "MemberEvent.role",
    "MemberEvent.previousRole",
    "FileEvent.file",
    "FileEvent.expiresAt",
    "StreamNotice.channelId",
    "StreamNotice.recovered",
    "StreamNotice.expiresAt",
}
NULL_BY_FAILURE = {
    "UserPayload.user",
    "ChannelPayload.channel",
    "MemberPayload.channel",
    "MemberPayload.member",
    "MembersPayload.channel",
    "MessagePayload.message",
    "MessagePayload.existingReply",
    "ReactPayload.message",
    "ReactPayload.reaction",
    "ReactionPayload.reaction",
    "FilePayload.file",
    "DownloadUrlPayload.download",
    "DownloadUrlPayload.file",
    "DeletedPayload.deletedId",
    "SessionPayload.expiresAt",
    *(f"{name}.cursor" for name in PAYLOADS),
}
DEPEND_ON_THE_VIEWER = {
    "User.email",
    "Channel.joinCode",
    "Channel.viewerCan",
    "Message.clientKey",
    "ReactionGroup.viewerHasReacted",
}


def descriptions() -> Iterator[tuple[str, str | None]]:
    """Everything that can be described: its place in the schema, and its description."""
    for name, type_ in SERVED.type_map.items():
        if name.startswith("__"):
            continue
        yield name, type_.description
        if isinstance(type_, GraphQLEnumType):
            yield from ((f"{name}.{key}", value.description) for key, value in type_.values.items())
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for key, field in type_.fields.items():
                yield f"{name}.{key}", field.description
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
            for key, field in type_.fields.items():
                yield from ((f"{name}.{key}({arg})", given.description) for arg, given in field.args.items())
    for directive in SERVED.directives:
        yield f"@{directive.name}", directive.description


def type_of(place: str) -> str:
    type_, _, field = place.partition(".")
    return str(OUTPUTS[type_].fields[field].type)


def test_everything_is_described() -> None:
    assert [place for place, text in descriptions() if not (text or "").strip()] == []


def test_descriptions_are_sentences() -> None:
    assert [place for place, text in descriptions() if not (text or "").rstrip().endswith(".")] == []


def test_a_field_is_nullable_where_it_can_be_null_and_nowhere_else() -> None:
    nullable = {
        f"{name}.{key}"
        for name, type_ in OUTPUTS.items()
        for key, field in type_.fields.items()
        if not isinstance(field.type, GraphQLNonNull)
    }
    assert nullable == NULL_BY_PERMISSION | NULL_BY_NATURE | NULL_BY_FAILURE


def test_list_items_are_never_null_but_for_nodes() -> None:
    lists = {
        f"{name}.{key}": str(field.type)
        for name, type_ in OUTPUTS.items()
        for key, field in type_.fields.items()
        if "[" in str(field.type)
    }
    assert [place for place, type_ in lists.items() if "!]" not in type_] == ["Query.nodes"]


def test_what_depends_on_the_viewer_is_marked() -> None:
    marked = {
        f"{name}.{key}"
        for name, type_ in OUTPUTS.items()
        for key, field in type_.fields.items()
        if field.ast_node and [directive.name.value for directive in field.ast_node.directives or ()] == ["viewer"]
    }
    assert marked == DEPEND_ON_THE_VIEWER


@pytest.mark.parametrize("name", CONNECTIONS)
def test_a_connection_follows_relay(name: str) -> None:
    assert type_of(f"{name}Connection.edges") == f"[{name}Edge!]!"
    assert type_of(f"{name}Connection.nodes") == f"[{name}!]!"
    assert type_of(f"{name}Connection.pageInfo") == "PageInfo!"
    assert (type_of(f"{name}Edge.cursor"), type_of(f"{name}Edge.node")) == ("String!", f"{name}!")


def test_whatever_has_an_id_is_a_node() -> None:
    with_id = {name for name, type_ in OUTPUTS.items() if "id" in type_.fields} - {"Node", *EVENTS}
    nodes = {
        name
        for name, type_ in OUTPUTS.items()
        if isinstance(type_, GraphQLObjectType) and "Node" in {interface.name for interface in type_.interfaces}
    }
    assert with_id == nodes == {"User", "Channel", "ChannelMember", "Message", "File", "Reaction"}


def test_every_kind_of_event_has_a_type() -> None:
    types = SERVED.type_map["EventType"]
    assert isinstance(types, GraphQLEnumType)
    assert [*types.values] == [event_type.value for event_type in EventType]
    assert {name for name, _ in EVENT_TYPES.values()} == {*EVENTS} - {"Event"}


def test_every_mutation_answers_with_a_payload() -> None:
    assert SERVED.mutation_type is not None
    for name, field in SERVED.mutation_type.fields.items():
        assert str(field.type).removesuffix("!") in {*PAYLOADS, "SessionPayload"}, name
        assert isinstance(field.type, GraphQLNonNull), name
    for name in PAYLOADS:
        assert (type_of(f"{name}.errors"), type_of(f"{name}.cursor")) == ("[UserError!]!", "EventCursor")
    assert type_of("SessionPayload.errors") == "[UserError!]!"


def test_the_codes_of_errors_are_those_of_the_rules() -> None:
    codes = SERVED.type_map["ErrorCode"]
    assert isinstance(codes, GraphQLEnumType)
    assert [*codes.values] == [code.value for code in ErrorCode]


def test_no_field_names_what_is_kept_inside() -> None:
    fields = {key.lower() for type_ in OUTPUTS.values() for key in type_.fields}
    inside = {"auth0id", "auth0_id", "ownerid", "dmkey", "clientdigest", "chainid", "chainpos", "creatorid", "password"}
    assert fields & inside == set()


def test_the_schema_in_the_repository_is_the_one_served() -> None:
    kept = (ROOT / "schema" / "schema.graphql").read_text(encoding="utf-8")
    assert kept.strip() == schema.as_str().strip(), "run: parley schema > schema/schema.graphql"


def test_the_command_prints_the_schema() -> None:
    command = [sys.executable, "-m", "app", "schema"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert (printed.stdout.strip(), printed.stderr) == (schema.as_str().strip(), "")


async def test_clients_get_the_same_schema_by_introspection(alice: Person) -> None:
    body = await alice.send(get_introspection_query(specified_by_url=True))
    asked = lexicographic_sort_schema(build_client_schema(body["data"]))
    kept = print_schema(lexicographic_sort_schema(SERVED))
    assert print_schema(asked).split() == kept.split()
