"""No list scans a table, and none reads much more than it returns, on a workspace where that would hurt."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from graphql import FieldNode, GraphQLObjectType, TypeInfo, TypeInfoVisitor, Visitor, parse, visit
from sqlalchemy import select, text

from app.db import Position
from app.events import cursor
from app.events.log import viewer_positions
from app.events.streams import members_among, rights_revisions
from app.models import Membership, Message
from app.seed import seed_demo
from app.services.housekeeping import empty_deleted_channels
from app.services.stored_objects import BATCH, claim_due
from app.settings import Settings
from schema.channels import CHANNELS, FILES, MESSAGES
from schema.ids import encode
from schema.memberships import MEMBERS
from schema.messages import CHAIN
from schema.root import schema
from schema.users import USERS
from schema.viewer import JOINED_CHANNELS
from tests.large_set import BELOVED, CHAIN_1000, HOT, HUB, LONER, fill
from tests.large_set import USERS as USERS_IN_ALL
from tests.plans import Plan, explain, recorded
from tests.workspace import Workspace, workspace

# A table that is worth an index.
BIG = 1_000
# Rows that a statement may look at for each that it returns, and beyond that, and pages for each row or value.
ROWS_PER_ROW = 3
ROWS = 100
PAGES_PER_ROW = 4
# What depends on whoever asks, not on the size of the workspace: the 500 memberships of HUB, and their channels.
OWN = 1_010

MEMBER = "id role joinedAt roleAssignedAt user { id name email } channel { id name }"
MESSAGE = """
    id seq content clientKey channel { name } author { name } parent { id } reply { id }
    replyCount reactions { count viewerHasReacted reaction { code } }
"""


EVENT = "actor { name }"
ROOM = "channel { id name }"
MISSED = f"""query ($after: [EventCursor!]!) {{ eventsSince(after: $after, first: 500) {{ hasMore cursor events {{
    id type stream cursor at channelId
    ... on MessageEvent {{ {EVENT} message {{ content author {{ name }} }} }}
    ... on ReactionEvent {{ {EVENT} message {{ content author {{ name }} }} user {{ name }} reaction {{ code }} }}
    ... on ChannelEvent {{ {EVENT} {ROOM} }}
    ... on ChannelPrivacyEvent {{ {EVENT} {ROOM} }}
    ... on MemberEvent {{ {EVENT} {ROOM} user {{ name }} }}
    ... on FileEvent {{ {EVENT} file {{ name }} }}
    ... on UserEvent {{ {EVENT} user {{ name }} }}
    ... on CatalogueEvent {{ {EVENT} reaction {{ code }} }}
}} }} }}"""


def below(root: str, connection: str, page: str, nodes: str) -> str:
    """A page of a connection of the channel or message `$id`."""
    key = ", $key: String" if "$key" in page else ""
    return f"query ($id: ID!{key}) {{ {root}(id: $id) {{ {connection}({page}) {{ nodes {{ {nodes} }} }} }} }}"


def timeline(page: str, nodes: str = MESSAGE) -> str:
    return below("channel", "messages", page, nodes)


def chain(page: str, nodes: str = MESSAGE) -> str:
    return below("message", "replyChain", page, nodes)


def files(page: str) -> str:
    return below("channel", "files", page, "name size uploader { name } channel { name } message { id }")


def members(page: str) -> str:
    return below("channel", "members", page, MEMBER)


# No query leads to these; they are found like the actor of an event.
SUBSCRIBED_TO = {"PresenceEvent.user", "TypingEvent.user"}


@dataclass(frozen=True, slots=True)
class Question:
    """A document, who asks, and how many rows beyond the usual each of its statements may look at."""

    document: str
    variables: dict[str, Any] = field(default_factory=dict)
    person: int = HUB
    more: int = 0


def channel(number: int, **more: Any) -> dict[str, Any]:
    return {"id": encode("Channel", number), **more}


QUESTIONS = {
    "who is asking": Question("{ viewer { user { id email } } }"),
    "cursor of somebody in 500 channels": Question("{ viewer { cursor } }"),
    "channel list": Question(
        """{ viewer { channels(first: 100) { nodes {
            id name memberCount cursor joinCode viewerCan { post } owner { name }
            members(first: 20) { nodes { role user { name } } }
            messages(last: 1) { nodes { content author { name } } }
        } } } }""",
        more=1_200,  # memberCount counts members
    ),
    "own channels, next page": Question(
        "query ($key: String) { viewer { channels(after: $key) { nodes { id } } } }",
        {"key": JOINED_CHANNELS.cursor((3_000,))},
    ),
    "own direct messages": Question("{ viewer { channels(isDm: true) { nodes { id } } } }", more=OWN),
    "own archived channels": Question("{ viewer { channels(archived: true) { nodes { id } } } }", more=OWN),
    "people": Question("{ users(first: 100) { nodes { name presence lastSeenAt } } }"),
    "people, next page": Question(
        "query ($key: String) { users(first: 100, after: $key) { nodes { name } } }",
        {"key": USERS.cursor(("ivan ito 999", 999))},
    ),
    "people, common needle": Question('{ users(nameContains: "AND") { nodes { name } } }', more=1_000),
    "people, rare needle": Question('{ users(nameContains: "quixley") { nodes { name } } }'),
    "people, absent needle": Question('{ users(nameContains: "xyzzy") { nodes { name } } }'),
    "channels": Question("{ channels(first: 100) { nodes { name memberCount } } }", person=LONER, more=1_200),
    "channels of somebody in many private ones": Question("{ channels(first: 100) { nodes { name } } }", more=OWN),
    "channels, where others' private ones would stand": Question(
        "query ($key: String) { channels(after: $key) { nodes { name } } }",
        {"key": CHANNELS.cursor(("deal", 0))},
        person=LONER,
    ),
    "archived channels": Question("{ channels(archived: true) { nodes { name } } }", person=LONER),
    "channels, common needle": Question('{ channels(nameContains: "billing") { nodes { name } } }', more=500),
    "channels, rare needle": Question('{ channels(nameContains: "zeppelin") { nodes { name } } }', more=OWN),
    "members": Question(members("first: 100"), channel(HOT)),
    "members, next page": Question(members("first: 100, after: $key"), channel(HOT, key="MEMBERS")),
    "members, owner": Question(members("role: OWNER"), channel(HOT)),
    "members, admins": Question(members("role: ADMIN"), channel(HOT)),
    "members, moderators": Question(members("role: MODERATOR"), channel(HOT)),
    "members, plain": Question(members("role: MEMBER"), channel(HOT)),
    "members of 100 channels, admins": Question(
        "{ viewer { channels(first: 100) { nodes { members(first: 5, role: ADMIN) { nodes { id } } } } } }", more=500
    ),
    "member count": Question("query ($id: ID!) { channel(id: $id) { memberCount } }", channel(HOT), more=10_000),
    "timeline": Question(timeline("last: 50"), channel(HOT)),
    "timeline, first page": Question(timeline("first: 50"), channel(HOT)),
    "timeline, after": Question(timeline("first: 50, after: $key"), channel(HOT, key=MESSAGES.cursor((100_001,)))),
    "timeline, before": Question(timeline("last: 50, before: $key"), channel(HOT, key=MESSAGES.cursor((100_001,)))),
    "timeline, around": Question(
        "query ($id: ID!, $at: ID!) { channel(id: $id) { messages(around: $at) { nodes { id } } } }",
        channel(HOT, at=encode("Message", BELOVED)),
    ),
    "timeline, each with its chain": Question(
        timeline("first: 50", "replyCount replyChain(first: 5) { nodes { id } }"), channel(CHAIN_1000)
    ),
    "chain from its beginning": Question(chain("first: 100"), {"id": "CHAIN"}),
    "chain from its end": Question(chain("last: 100"), {"id": "CHAIN"}),
    "chain, after": Question(chain("first: 100, after: $key", "id"), {"id": "CHAIN", "key": CHAIN.cursor((500,))}),
    "chain, before": Question(chain("last: 100, before: $key", "id"), {"id": "CHAIN", "key": CHAIN.cursor((500,))}),
    "timeline with files": Question(timeline("last: 50", "id files { name size }"), channel(HOT)),
    "files": Question(files("first: 100"), channel(HOT)),
    "files, next page": Question(files("first: 100, after: $key"), channel(HOT, key=FILES.cursor((20_000,)))),
    "file": Question("query ($id: ID!) { file(id: $id) { name } }", {"id": encode("File", 20_000)}),
    "reactions with people": Question(
        timeline("last: 20", "reactions { count users(first: 10) { nodes { name } } }"), channel(HOT)
    ),
    "a message that 5,000 reacted to": Question(
        "query ($id: ID!) { message(id: $id) { reactions { count viewerHasReacted users { nodes { name } } } } }",
        {"id": encode("Message", BELOVED)},
        more=5_000,  # count counts them
    ),
    "catalogue": Question("{ reactions(first: 100) { nodes { code imageUrl } } }"),
    "catalogue, one kind": Question("{ reactions(kind: SYSTEM) { nodes { code } } }"),
    "catalogue, rare needle": Question('{ reactions(codeContains: "pizza") { nodes { code } } }'),
    "nodes": Question(
        "query ($ids: [ID!]!) { nodes(ids: $ids) { id ... on ChannelMember { user { name } channel { name } } } }",
        {
            "ids": [
                encode(typename, *key)
                for place in range(16)
                for typename, *key in (
                    ("User", 1 + place * 1_000),
                    ("Channel", 10 + place * 240),
                    ("Message", 1 + place * 15_000),
                    ("Reaction", 1 + place * 100),
                    ("File", 1 + place * 1_000),
                    ("ChannelMember", HOT, 20 + place),
                )
            ]
        },
        more=OWN,
    ),
    "node": Question("query ($id: ID!) { node(id: $id) { id } }", {"id": encode("Message", 250_000)}),
    "user": Question("query ($id: ID!) { user(id: $id) { name } }", {"id": encode("User", LONER)}),
    "direct message": Question(
        "query ($ids: [ID!]!) { directMessage(userIds: $ids) { id } }", {"ids": [encode("User", 5_510)]}
    ),
    "channel by code": Question(
        'query { channelByJoinCode(joinCode: "code-2600") { name memberCount } }', person=LONER
    ),
    "what was missed in 500 channels": Question(MISSED, {"after": "MISSED"}, more=OWN),
    "what was missed in a hot channel": Question(MISSED, {"after": cursor.encode({f"c{HOT}": Position(1, 90_000)})}),
    "server": Question("{ serverInfo { version } }"),
}


@pytest.fixture(scope="module")
async def large(settings: Settings, new_database: Callable[[str], str]) -> AsyncGenerator[Workspace, None]:
    url = new_database("large")
    await fill(url)
    async with workspace(settings, url) as opened:
        yield opened


@pytest.fixture(scope="module")
async def places(large: Workspace) -> dict[str, str]:
    """What only the data says.

    The top of the long chain, a place among the hot channel's members, and where the hub's streams stood an event ago.
    """
    order = (Membership.joined_at, Membership.user_id)
    middle = select(*order).where(Membership.channel_id == HOT).order_by(*order).offset(5_000).limit(1)
    async with large.database.read() as reader:
        (member,) = await reader.tuples(middle)
        (last,) = await reader.rows(select(Message).where(Message.chain_pos == 1_000))
        heads = {stream: head for stream, head in (await viewer_positions(reader, HUB)).items() if head.seq > 0}
        return {
            "CHAIN": encode("Message", last.chain_id or 0),
            "MEMBERS": MEMBERS.cursor((member.joined_at.isoformat(), member.user_id)),
            "MISSED": cursor.encode({stream: replace(head, seq=head.seq - 1) for stream, head in heads.items()}),
        }


@pytest.fixture(scope="module")
async def big_tables(large: Workspace) -> set[str]:
    statement = text("SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples > :big")
    async with large.database.engine.connect() as connection:
        return set((await connection.execute(statement, {"big": BIG})).scalars())


async def plans_of(large: Workspace, question: Question) -> list[Plan]:
    with recorded(large.database.engine) as sent:
        body = await large.person(question.person).send(question.document, **question.variables)
    assert "errors" not in body, body
    snapshots = large.database.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    async with snapshots.connect() as connection:
        return await explain(connection, sent)


@pytest.mark.parametrize("name", QUESTIONS)
async def test_reads_little_more_than_it_returns(
    name: str, large: Workspace, places: dict[str, str], big_tables: set[str]
) -> None:
    question = QUESTIONS[name]
    variables = {key: places.get(str(value), value) for key, value in question.variables.items()}
    for plan in await plans_of(large, replace(question, variables=variables)):
        assert not plan.full_scans & big_tables, plan
        assert plan.rows_read <= ROWS_PER_ROW * plan.rows + ROWS + question.more, plan
        assert plan.pages <= PAGES_PER_ROW * (plan.rows_read + plan.sent.values) + ROWS, plan


def costly_fields() -> set[str]:
    """Every field that needs SQL: the queries, and what is fetched in batches."""
    found = set()
    for type_ in schema._schema.type_map.values():  # noqa: SLF001 - as in schema.root
        if isinstance(type_, GraphQLObjectType):
            for name, field_ in type_.fields.items():
                definition = field_.extensions.get("strawberry-definition")
                if type_.name == "Query" or (definition is not None and "batch" in definition.metadata):
                    found.add(f"{type_.name}.{name}")
    return found


def test_questions_use_every_field_that_needs_sql() -> None:
    used = set()
    info = TypeInfo(schema._schema)  # noqa: SLF001 - as above

    class Collector(Visitor):
        def enter_field(self, node: FieldNode, *_: Any) -> None:
            used.add(f"{info.get_parent_type()}.{node.name.value}")

    for question in QUESTIONS.values():
        visit(parse(question.document), TypeInfoVisitor(info, Collector()))
    assert costly_fields() - used == SUBSCRIBED_TO


@pytest.mark.parametrize("needle", ["qu", "q", "%", "---"])
async def test_needle_without_a_trigram_reads_the_table_at_most_once(needle: str, large: Workspace) -> None:
    """No index knows such needles. At this size that is some 10 ms."""
    document = "query ($needle: String!) { users(nameContains: $needle) { nodes { name } } }"
    for plan in await plans_of(large, Question(document, {"needle": needle})):
        assert plan.rows_read <= USERS_IN_ALL, plan
        assert plan.pages <= USERS_IN_ALL / 50, plan


async def test_start_on_a_large_workspace_looks_at_little(large: Workspace) -> None:
    with recorded(large.database.engine) as sent:
        assert not await seed_demo(large.database)
    async with large.database.engine.connect() as connection:
        for plan in await explain(connection, sent):
            assert plan.rows_read <= ROWS, plan


async def test_checking_who_may_know_who_types_looks_at_little(large: Workspace) -> None:
    with recorded(large.database.engine) as sent:
        async with large.database.read() as reader:
            assert len(await rights_revisions(reader, range(1, 101))) > 0
            assert await members_among(reader, HOT, range(1, 101))
    async with large.database.engine.connect() as connection:
        plans = await explain(connection, sent)
    assert len(plans) == 2
    for plan in plans:
        assert plan.rows_read <= ROWS_PER_ROW * 100 + ROWS, plan


async def test_emptying_deleted_channels_looks_at_nothing_else(large: Workspace) -> None:
    with recorded(large.database.engine) as sent:
        await large.database.write(empty_deleted_channels)
    async with large.database.engine.connect() as connection:
        plans = await explain(connection, [statement for statement in sent if statement.sql.startswith("SELECT")])
    assert len(plans) == 2, "files and messages"
    for plan in plans:
        assert plan.rows_read <= ROWS_PER_ROW * plan.rows + ROWS, plan


async def test_removing_objects_looks_at_nothing_else(large: Workspace, big_tables: set[str]) -> None:
    with recorded(large.database.engine) as sent:
        assert len((await large.database.write(claim_due)).value) == BATCH
    async with large.database.engine.connect() as connection:
        plans = await explain(connection, [statement for statement in sent if "remove_after <=" in statement.sql])
    assert len(plans) == 1
    for plan in plans:
        assert not plan.full_scans & big_tables, plan
        assert plan.rows_read <= ROWS_PER_ROW * plan.rows + ROWS, plan
