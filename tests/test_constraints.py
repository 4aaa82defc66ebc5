"""The database itself refuses what must never be, whatever the code above it does."""

from collections.abc import AsyncGenerator, Callable

import pytest
from sqlalchemy import Column
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.db import sqlstate, violated
from app.models import Base

# Ann owns General (1, public) and Secret (2, private), Ben owns Other (4, public); 3 is their direct message. Ben
# moderates General. There, message 2 answers message 1, 3 stands alone and 5 is deleted; 4 is in Other.
WORLD = """
INSERT INTO users (id, auth0_id, email, name) OVERRIDING SYSTEM VALUE VALUES
    (1, 'ann', 'ann@example.org', 'Ann'), (2, 'ben', 'ben@example.org', 'Ben'), (3, 'cid', NULL, 'Cid');
INSERT INTO channels (id, name, owner_id, creator_id, is_private, is_dm, dm_key, join_code)
    OVERRIDING SYSTEM VALUE VALUES
    (1, 'General', 1, 1, false, false, NULL, NULL), (2, 'Secret', 1, 1, true, false, NULL, 'code'),
    (3, NULL, NULL, 1, true, true, '1,2', NULL), (4, 'Other', 2, 2, false, false, NULL, NULL);
UPDATE channels SET client_key = 'first', client_digest = 'd' WHERE id = 1;
INSERT INTO memberships (channel_id, user_id) VALUES (1, 1), (1, 2), (2, 1), (3, 1), (3, 2), (4, 2);
INSERT INTO channel_roles (channel_id, user_id, role) VALUES
    (1, 1, 'OWNER'), (1, 2, 'MODERATOR'), (2, 1, 'OWNER'), (4, 2, 'OWNER');
INSERT INTO messages (id, channel_id, seq, author_id, content, parent_id, chain_id, chain_pos)
    OVERRIDING SYSTEM VALUE VALUES
    (1, 1, 1, 1, 'Hello', NULL, NULL, 0), (2, 1, 2, 2, 'Hi', 1, 1, 1), (3, 1, 3, 1, 'So', NULL, NULL, 0),
    (4, 4, 1, 2, 'Ho', NULL, NULL, 0), (5, 1, 4, 1, 'Oops', NULL, NULL, 0);
UPDATE messages SET client_key = 'first', client_digest = 'd' WHERE id = 1;
UPDATE messages SET content = NULL, deleted_at = now() WHERE id = 5;
INSERT INTO stored_objects (key) VALUES ('first'), ('second'), ('image'), ('free');
INSERT INTO files (id, channel_id, uploader_id, message_id, object_key, name, content_type, size, client_key,
    client_digest) OVERRIDING SYSTEM VALUE VALUES (1, 1, 1, 1, 'first', 'a.txt', 'text/plain', 1, 'k', 'd'),
    (2, 1, 1, NULL, 'second', 'a.txt', 'text/plain', 1, NULL, NULL);
INSERT INTO reactions (id, code, creator_id, image_key) OVERRIDING SYSTEM VALUE VALUES
    (1000, 'party', 1, 'image'), (1001, 'shipit', 1, NULL);
INSERT INTO message_reactions (message_id, reaction_id, user_id) VALUES (1, 1000, 1);
INSERT INTO stream_heads (stream_id) VALUES ('c1');
SELECT setval(pg_get_serial_sequence(name, 'id'), 100)
    FROM unnest(ARRAY['users', 'channels', 'messages', 'files']) AS name;
INSERT INTO stream_events (stream_id, seq, type, payload) VALUES ('c1', 1, 'CHANNEL_CREATED', '{}');
"""
NOT_NULL_VIOLATION = "23502"

USER = "INSERT INTO users (auth0_id, email, name) VALUES "
CHANNEL = "INSERT INTO channels (name, owner_id, creator_id, is_private, is_dm, dm_key, join_code) VALUES "
MEMBER = "INSERT INTO memberships (channel_id, user_id) VALUES "
ROLE = "INSERT INTO channel_roles (channel_id, user_id, role) VALUES "
MESSAGE = "INSERT INTO messages (channel_id, seq, author_id, content) VALUES "
REPLY = "INSERT INTO messages (channel_id, seq, author_id, content, parent_id, chain_id, chain_pos) VALUES "
KEYED = "INSERT INTO messages (channel_id, seq, author_id, content, client_key, client_digest) VALUES "
CODE = "INSERT INTO reactions (code) VALUES "
AGAIN = "OVERRIDING SYSTEM VALUE VALUES "
FILE = "INSERT INTO files (channel_id, uploader_id, object_key, name, content_type, size) VALUES "
REACT = "INSERT INTO message_reactions (message_id, reaction_id, user_id) VALUES "

# By constraint, statements that it refuses. Those about owners are refused at the commit.
REFUSED = {
    "pk_users": ["INSERT INTO users (id, auth0_id, name) " + AGAIN + "(1, 'dan', 'Dan')"],
    "uq_users_auth0_id": [USER + "('ann', NULL, 'Another')"],
    "uq_users_email": [USER + "('dan', 'ann@example.org', 'Dan')", USER + "('dan', 'Ann@Example.org', 'Dan')"],
    "pk_channels": ["INSERT INTO channels (id, name, owner_id, creator_id) " + AGAIN + "(1, 'New', 1, 1)"],
    "ck_channels_dm_is_private": [
        CHANNEL + "(NULL, NULL, 1, false, true, '1', NULL)",
        "UPDATE channels SET is_private = false WHERE id = 3",
    ],
    "ck_channels_join_code_of_private": [
        CHANNEL + "('New', 1, 1, false, false, NULL, 'new')",
        CHANNEL + "(NULL, NULL, 1, true, true, '1', 'new')",
        CHANNEL + "('New', 1, 1, true, false, NULL, NULL)",
        "UPDATE channels SET is_private = false WHERE id = 2",
    ],
    "uq_channels_join_code": [CHANNEL + "('New', 1, 1, true, false, NULL, 'code')"],
    "ck_channels_name_unless_dm": [
        CHANNEL + "('New', NULL, 1, true, true, '1', NULL)",
        CHANNEL + "(NULL, 1, 1, false, false, NULL, NULL)",
    ],
    "ck_channels_owner_unless_dm": [
        CHANNEL + "(NULL, 1, 1, true, true, '1', NULL)",
        CHANNEL + "('New', NULL, 1, false, false, NULL, NULL)",
    ],
    "ck_channels_key_of_dm": [
        CHANNEL + "(NULL, NULL, 1, true, true, NULL, NULL)",
        CHANNEL + "('New', 1, 1, false, false, '1,2', NULL)",
    ],
    "uq_channels_dm_key": [CHANNEL + "(NULL, NULL, 1, true, true, '1,2', NULL)"],
    "uq_channels_public_name": [
        CHANNEL + "('General', 1, 1, false, false, NULL, NULL)",
        CHANNEL + "('gENERAL', 1, 1, false, false, NULL, NULL)",
        "UPDATE channels SET name = 'general', is_private = false, join_code = NULL WHERE id = 2",
    ],
    "ck_channels_client_digest": ["UPDATE channels SET client_key = 'k' WHERE id = 2"],
    "uq_channels_creator_id_client_key": [
        "UPDATE channels SET client_key = 'first', client_digest = 'other' WHERE id = 2"
    ],
    "fk_channels_creator_id": [CHANNEL + "('New', 1, 99, false, false, NULL, NULL)"],
    "fk_channels_owner_id": [CHANNEL + "('New', 99, 1, false, false, NULL, NULL)"],
    "fk_channels_owner_holds_role": [
        CHANNEL + "('New', 1, 1, false, false, NULL, NULL)",
        "UPDATE channel_roles SET role = 'ADMIN' WHERE channel_id = 1 AND user_id = 1",
        "DELETE FROM memberships WHERE channel_id = 1 AND user_id = 1",
    ],
    "fk_channel_roles_owner_is_named": [
        ROLE + "(3, 1, 'OWNER')",
        "UPDATE channels SET owner_id = 2 WHERE id = 1",
    ],
    "uq_channel_roles_owner": ["UPDATE channel_roles SET role = 'OWNER' WHERE channel_id = 1"],
    "pk_memberships": [MEMBER + "(1, 1)"],
    "fk_memberships_channel_id": [MEMBER + "(99, 1)"],
    "fk_memberships_user_id": [MEMBER + "(1, 99)"],
    "pk_channel_roles": [ROLE + "(1, 2, 'ADMIN')"],
    "fk_channel_roles_channel_id_user_id": [ROLE + "(1, 3, 'ADMIN')"],
    "ck_channel_roles_role": [ROLE + "(3, 2, 'MEMBER')", ROLE + "(3, 2, 'owner')"],
    "pk_messages": ["INSERT INTO messages (id, channel_id, seq, author_id, content) " + AGAIN + "(1, 1, 9, 1, 'x')"],
    "uq_messages_channel_id_seq": [MESSAGE + "(1, 1, 1, 'x')"],
    "fk_messages_channel_id": [MESSAGE + "(99, 9, 1, 'x')", "DELETE FROM channels WHERE id = 4"],
    "fk_messages_author_id": [MESSAGE + "(1, 9, 99, 'x')"],
    "uq_messages_parent_id": [REPLY + "(1, 9, 1, 'x', 1, 1, 2)"],
    "uq_messages_chain_id_chain_pos": [REPLY + "(1, 9, 1, 'x', 3, 1, 1)"],
    "fk_messages_parent_id_channel_id": [
        REPLY + "(1, 9, 1, 'x', 4, 3, 1)",
        "UPDATE messages SET channel_id = 4, seq = 9 WHERE id = 1",
        "DELETE FROM messages WHERE id = 1",
    ],
    "fk_messages_chain_id_channel_id": [REPLY + "(1, 9, 1, 'x', 3, 4, 1)"],
    "ck_messages_chain": [
        REPLY + "(1, 9, 1, 'x', 3, NULL, 1)",
        REPLY + "(1, 9, 1, 'x', NULL, 3, 1)",
        REPLY + "(1, 9, 1, 'x', 3, 3, 0)",
        REPLY + "(1, 9, 1, 'x', NULL, NULL, 1)",
        REPLY + "(1, 9, 1, 'x', 3, 3, -1)",
    ],
    "ck_messages_tombstone": [MESSAGE + "(1, 9, 1, NULL)", "UPDATE messages SET content = 'x' WHERE id = 5"],
    "ck_messages_client_digest": [KEYED + "(1, 9, 1, 'x', 'k', NULL)", KEYED + "(1, 9, 1, 'x', NULL, 'd')"],
    "uq_messages_author_id_client_key": [KEYED + "(4, 9, 1, 'x', 'first', 'other')"],
    "pk_reactions": ["INSERT INTO reactions (id, code) " + AGAIN + "(1000, 'other')"],
    "uq_reactions_code": [CODE + "('party')", CODE + "('thumbsup')"],
    "ck_reactions_kind": ["UPDATE reactions SET kind = 'GIF' WHERE id = 1000"],
    "ck_reactions_system_stays": ["UPDATE reactions SET deleted_at = now() WHERE code = 'thumbsup'"],
    "uq_reactions_image_key": ["UPDATE reactions SET image_key = 'image' WHERE id = 1001"],
    "fk_reactions_image_key": [
        "UPDATE reactions SET image_key = 'none' WHERE id = 1000",
        "DELETE FROM stored_objects WHERE key = 'image'",
    ],
    "fk_reactions_creator_id": ["UPDATE reactions SET creator_id = 99 WHERE id = 1000"],
    "pk_message_reactions": [
        "INSERT INTO message_reactions OVERRIDING SYSTEM VALUE SELECT id, 2, 1, 1 FROM message_reactions"
    ],
    "uq_message_reactions_message_id_user_id_reaction_id": [REACT + "(1, 1000, 1)"],
    "fk_message_reactions_message_id": [REACT + "(99, 1000, 1)"],
    "fk_message_reactions_reaction_id": [REACT + "(1, 9999, 1)", "DELETE FROM reactions WHERE id = 1000"],
    "fk_message_reactions_user_id": [REACT + "(1, 1000, 99)"],
    "pk_stored_objects": ["INSERT INTO stored_objects (key) VALUES ('first')"],
    "pk_files": [
        "INSERT INTO files (id, channel_id, uploader_id, object_key, name, content_type, size) "
        + AGAIN
        + "(1, 1, 1, 'free', 'a', 'text/plain', 1)"
    ],
    "fk_files_channel_id": [FILE + "(99, 1, 'free', 'a', 'text/plain', 1)"],
    "fk_files_uploader_id": [FILE + "(1, 99, 'free', 'a', 'text/plain', 1)"],
    "fk_files_object_key": [
        FILE + "(1, 1, 'none', 'a', 'text/plain', 1)",
        "DELETE FROM stored_objects WHERE key = 'first'",
    ],
    "uq_files_object_key": [FILE + "(1, 1, 'first', 'a', 'text/plain', 1)"],
    "fk_files_message_id_channel_id": [
        "UPDATE files SET message_id = 4 WHERE id = 2",
        "UPDATE files SET channel_id = 4 WHERE id = 1",
        "UPDATE files SET message_id = 3 WHERE id = 1; DELETE FROM messages WHERE id = 3",
    ],
    "ck_files_size": [FILE + "(1, 1, 'free', 'a', 'text/plain', 0)"],
    "ck_files_dimensions": ["UPDATE files SET width = 1 WHERE id = 1"],
    "ck_files_client_digest": ["UPDATE files SET client_key = 'k2' WHERE id = 2"],
    "uq_files_uploader_id_client_key": ["UPDATE files SET client_key = 'k', client_digest = 'x' WHERE id = 2"],
    "pk_stream_heads": ["INSERT INTO stream_heads (stream_id) VALUES ('c1')"],
    "pk_stream_events": ["INSERT INTO stream_events (stream_id, seq, type, payload) VALUES ('c1', 1, 'X', '{}')"],
}
# Unique because the primary key in them is; they are there for foreign keys to point at.
TARGETS = {"uq_channels_id_owner_id", "uq_channel_roles_channel_id_user_id_role", "uq_messages_id_channel_id"}

# What is like the above, and allowed.
ALLOWED = {
    "people without an address": USER + "('dan', NULL, 'Dan'), ('eve', NULL, 'Eve')",
    "a private channel of a name in use": "UPDATE channels SET name = 'General' WHERE id = 2",
    "the name of a deleted channel": (
        "UPDATE channels SET deleted_at = now() WHERE id = 4; UPDATE channels SET name = 'other' WHERE id = 1"
    ),
    "the code of a deleted reaction": (
        "UPDATE reactions SET deleted_at = now() WHERE id = 1000; UPDATE reactions SET code = 'party' WHERE id = 1001"
    ),
    "somebody else's client key": KEYED + "(1, 9, 2, 'x', 'first', 'other')",
    "a reply to a reply": REPLY + "(1, 9, 1, 'x', 2, 1, 2)",
    "another reaction, and the same by another": REACT + "(1, 1, 1), (1, 1000, 2)",
    "handing a channel over": (
        "UPDATE channel_roles SET role = 'ADMIN' WHERE channel_id = 1 AND user_id = 1;"
        "UPDATE channels SET owner_id = 2 WHERE id = 1;"
        "UPDATE channel_roles SET role = 'OWNER' WHERE channel_id = 1 AND user_id = 2"
    ),
    "a channel that goes with its members and roles": "DELETE FROM channels WHERE id = 2",
    "messages that go with their reactions": (
        "DELETE FROM files; DELETE FROM messages WHERE id = 2; DELETE FROM messages WHERE id = 1"
    ),
    "an object whose file is gone": "DELETE FROM files WHERE id = 2; DELETE FROM stored_objects WHERE key = 'second'",
}


@pytest.fixture(scope="module")
async def engine(new_database: Callable[[str], str]) -> AsyncGenerator[AsyncEngine, None]:
    made = create_async_engine(new_database("constraints"))
    await run(made, WORLD)
    yield made
    await made.dispose()


async def run(engine: AsyncEngine, script: str, *, keep: bool = True) -> None:
    """Run the statements in one transaction, deferred checks included."""
    async with engine.connect() as connection:
        for statement in filter(str.strip, script.split(";")):
            await connection.exec_driver_sql(statement)
        if keep:
            await connection.commit()
        else:
            await connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.mark.parametrize("constraint, script", [(name, script) for name in REFUSED for script in REFUSED[name]])
async def test_database_refuses(constraint: str, script: str, engine: AsyncEngine) -> None:
    with pytest.raises(IntegrityError) as refusal:
        await run(engine, script)
    assert violated(refusal.value) == constraint


@pytest.mark.parametrize("what", ALLOWED)
async def test_database_allows(what: str, engine: AsyncEngine) -> None:
    await run(engine, ALLOWED[what], keep=False)


def test_every_constraint_is_tried() -> None:
    named = set()
    for table in Base.metadata.tables.values():
        named |= {str(constraint.name) for constraint in table.constraints}
        named |= {str(index.name) for index in table.indexes if index.unique}
    assert named == REFUSED.keys() | TARGETS


def columns() -> list[Column[object]]:
    """Those that must have a value, but for keys, which PostgreSQL makes itself or refuses to update."""
    return [
        column
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if not column.nullable and column.computed is None and column.identity is None
    ]


@pytest.mark.parametrize("column", columns(), ids=str)
async def test_required_column_is_never_null(column: Column[object], engine: AsyncEngine) -> None:
    with pytest.raises(IntegrityError) as refusal:
        await run(engine, f"UPDATE {column.table.name} SET {column.name} = NULL")  # noqa: S608 - names of our own
    assert sqlstate(refusal.value) == NOT_NULL_VIOLATION
