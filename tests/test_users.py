"""People: the first request, profiles, who sees which address, deactivation."""

import asyncio

import pytest

from app.db import Database
from tests.conftest import Newcomer, Person
from tests.documents import (
    SEND,
    SET_USER_ACTIVE,
    UPDATE_PROFILE,
    create_channel,
    denial,
    denied,
    number,
    request_error,
    scalar,
    select,
    send,
    snapshot,
)

USER = "query ($id: ID!) { user(id: $id) { id name email picture bio isActive } }"
VIEWER = "{ viewer { user { id name email } } }"
FOUND = "query ($text: String!) { users(nameContains: $text) { nodes { name } } }"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
BAD_NAMES = ["", "   ", "a\nb", "a\x00b", "a\x7f", "a\u2028b", "a\u202eb", "a\u2066b", "a" * 81, "\u0000"]
BAD_ADDRESSES = [
    "",
    "http://pictures.example/a.png",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "//pictures.example/a.png",
    "https://",
    "https://[::1",
    "https://pictures.example:99999/",
    "https://user:secret@pictures.example/",
    "https://pictures.example/a b",
    "https://pictures.example/\x00",
    "https://pictures.example/" + "a" * 2048,
    "\u202ehttps://pictures.example/",
]


async def test_first_requests_at_the_same_time_make_one_user(newcomer: Newcomer, database: Database) -> None:
    people = await asyncio.gather(*(newcomer("zoe") for _ in range(8)))
    assert len({person.id for person in people}) == 1
    assert await scalar(database, "SELECT count(*) FROM users") == 1


async def test_names_that_differ_in_case_are_one_local_user(newcomer: Newcomer) -> None:
    assert (await newcomer("Zoe")).id == (await newcomer("zoe")).id


async def test_everybody_sees_a_profile_but_not_the_address(
    alice: Person, bob: Person, root: Person, database: Database
) -> None:
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE users SET email = name || '@example.org'")
    assert (await alice.ask(USER, id=alice.id))["email"] == "alice@example.org"
    assert (await root.ask(USER, id=alice.id))["email"] == "alice@example.org"
    seen = await bob.ask(USER, id=alice.id)
    assert (seen["name"], seen["email"]) == ("alice", None)


async def test_a_profile_changes_where_it_is_told_to(alice: Person, database: Database) -> None:
    picture = "https://pictures.example/a.png?size=1#top"
    await alice.ask(UPDATE_PROFILE, input={"bio": "Two\nlines \U0001f389", "picture": picture})
    changed = await alice.ask(UPDATE_PROFILE, input={"name": "Alice B."})
    assert changed["user"]["name"] == "Alice B."
    assert await select(database, "SELECT name, bio, picture FROM users") == [
        ("Alice B.", "Two\nlines \U0001f389", picture)
    ]


async def test_null_removes_picture_and_bio_but_no_name(alice: Person, database: Database) -> None:
    await alice.ask(UPDATE_PROFILE, input={"bio": "x", "picture": "https://pictures.example/a.png"})
    await alice.ask(UPDATE_PROFILE, input={"bio": None, "picture": None})
    assert await select(database, "SELECT bio, picture FROM users") == [(None, None)]
    assert await denied(database, alice, UPDATE_PROFILE, input={"name": None}) == "INVALID_INPUT"


async def test_a_profile_that_stays_as_it_is_writes_nothing(alice: Person, database: Database) -> None:
    before = await snapshot(database)
    same: list[dict[str, str | None]] = [{}, {"name": "alice"}, {"name": " alice "}, {"bio": None}]
    for given in same:
        kept = await alice.ask(UPDATE_PROFILE, input=given)
        assert (kept["user"]["name"], kept["cursor"]) == ("alice", None)
    assert await snapshot(database) == before


async def test_a_name_is_one_line_of_80(alice: Person, database: Database) -> None:
    for name in BAD_NAMES:
        refused = await denial(database, alice, UPDATE_PROFILE, input={"name": name})
        assert (refused.code, refused.field) == ("INVALID_INPUT", ["name"]), name


@pytest.mark.parametrize("name", ["\u200b", "\u2060\ufeff"])
async def test_a_name_can_be_seen(alice: Person, database: Database, name: str) -> None:
    assert await denied(database, alice, UPDATE_PROFILE, input={"name": name}) == "INVALID_INPUT"


async def test_a_name_is_kept_but_for_spaces_around_it(alice: Person) -> None:
    cases = [
        ("  Al  ", "Al"),
        ("a" * 80, "a" * 80),
        (FAMILY, FAMILY),
        ("عليّ", "عليّ"),
        ("Zoe\u0308", "Zo\u00eb"),
        ("<b>&amp;", "<b>&amp;"),
    ]
    for given, kept in cases:
        assert (await alice.ask(UPDATE_PROFILE, input={"name": given}))["user"]["name"] == kept


async def test_a_picture_is_an_https_address(alice: Person, database: Database) -> None:
    for address in BAD_ADDRESSES:
        refused = await denial(database, alice, UPDATE_PROFILE, input={"picture": address})
        assert (refused.code, refused.field) == ("INVALID_INPUT", ["picture"]), address


async def test_a_bio_has_at_most_1000_characters(alice: Person, database: Database) -> None:
    for bio in ("a" * 1001, "a\x00b"):
        refused = await denial(database, alice, UPDATE_PROFILE, input={"bio": bio})
        assert (refused.code, refused.field) == ("INVALID_INPUT", ["bio"])
    assert (await alice.ask(UPDATE_PROFILE, input={"bio": "\U0001f389" * 1000}))["user"]["bio"] == "\U0001f389" * 1000


async def test_a_profile_takes_no_other_types_and_fields(alice: Person, database: Database) -> None:
    before = await snapshot(database)
    wrong = [{"name": 5}, {"bio": ["x"]}, {"isActive": False}, {"id": "x"}, {"email": "a@b.c"}, None, "x", []]
    for given in wrong:
        assert await request_error(alice, UPDATE_PROFILE, input=given) == "BAD_REQUEST"
    assert await snapshot(database) == before


async def test_only_a_workspace_admin_deactivates(alice: Person, bob: Person, database: Database) -> None:
    assert await denied(database, alice, SET_USER_ACTIVE, userId=bob.id, active=False) == "FORBIDDEN"
    assert await denied(database, alice, SET_USER_ACTIVE, userId=alice.id, active=False) == "FORBIDDEN"


async def test_nobody_deactivates_themselves(root: Person, database: Database) -> None:
    assert await denied(database, root, SET_USER_ACTIVE, userId=root.id, active=False) == "FORBIDDEN"
    assert (await root.ask(SET_USER_ACTIVE, userId=root.id, active=True))["cursor"] is None


async def test_a_deactivated_user_gets_nothing_anywhere(bob: Person, root: Person, database: Database) -> None:
    channel = await create_channel(root, members=(bob,))
    done = await root.ask(SET_USER_ACTIVE, userId=bob.id, active=False)
    assert done["user"] == {"id": bob.id, "isActive": False}
    before = await snapshot(database)
    assert await request_error(bob, VIEWER) == "USER_INACTIVE"
    assert await request_error(bob, USER, id=root.id) == "USER_INACTIVE"
    assert await request_error(bob, SEND, input={"channelId": channel, "content": "x"}) == "USER_INACTIVE"
    assert await snapshot(database) == before


async def test_a_deactivated_user_is_seen_and_can_come_back(alice: Person, bob: Person, root: Person) -> None:
    await send(bob, await create_channel(bob))
    await root.ask(SET_USER_ACTIVE, userId=bob.id, active=False)
    assert (await alice.ask(USER, id=bob.id))["isActive"] is False
    assert await alice.ask(FOUND, text="bob") == {"nodes": [{"name": "bob"}]}
    await root.ask(SET_USER_ACTIVE, userId=bob.id, active=True)
    assert (await bob.ask(VIEWER))["user"]["id"] == bob.id


async def test_deactivating_twice_is_no_error_and_writes_once(bob: Person, root: Person, database: Database) -> None:
    assert (await root.ask(SET_USER_ACTIVE, userId=bob.id, active=False))["cursor"]
    assert (await root.ask(SET_USER_ACTIVE, userId=bob.id, active=False))["cursor"] is None
    changed = "SELECT count(*) FROM stream_events WHERE payload -> 'changed' @> CAST('[\"is_active\"]' AS jsonb)"
    assert await scalar(database, changed) == 1
    assert await scalar(database, "SELECT is_active FROM users WHERE id = :id", id=number(bob.id)) is False


async def test_users_are_found_by_a_literal_part_of_the_name(newcomer: Newcomer) -> None:
    people = [await newcomer(name) for name in ("bob", "Alice", "%_")]
    cases: list[tuple[str, list[str]]] = [
        ("", ["%_", "Alice", "bob"]),
        ("ALI", ["Alice"]),
        ("%", ["%_"]),
        ("_", ["%_"]),
        ("\\", []),
        ("'; --", []),
        ("nobody", []),
        ("\U0001f389", []),
    ]
    for text, names in cases:
        assert [node["name"] for node in (await people[0].ask(FOUND, text=text))["nodes"]] == names, text


@pytest.mark.parametrize("name", ["ΟΔΟΣ", "İstanbul"])
async def test_a_user_is_found_by_the_whole_name(newcomer: Newcomer, name: str) -> None:
    person = await newcomer(name)
    assert await person.ask(FOUND, text=name) == {"nodes": [{"name": name}]}


async def test_a_search_text_that_cannot_be_stored_is_refused(alice: Person) -> None:
    assert await request_error(alice, FOUND, text="a\x00") == "BAD_REQUEST"
