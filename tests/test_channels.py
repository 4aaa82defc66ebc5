"""Channels: making, naming and finding them."""

import pytest

from app.db import Database
from tests.conftest import Person
from tests.documents import (
    ARCHIVE,
    CREATE_CHANNEL,
    READ_CHANNEL,
    SET_USER_ACTIVE,
    UPDATE_CHANNEL,
    create_channel,
    denial,
    denied,
    global_id,
    number,
    open_dm,
    request_error,
    roles,
    scalar,
    set_role,
    snapshot,
)

LISTED = (
    "query ($text: String, $archived: Boolean! = false) "
    "{ channels(nameContains: $text, archived: $archived) { nodes { name } } }"
)
JOINED = (
    "query ($archived: Boolean! = false, $isDm: Boolean) "
    "{ viewer { channels(archived: $archived, isDm: $isDm) { nodes { id name } } } }"
)
BAD_NAMES = ["", " \t ", "a\nb", "a\x00", "a\u202eb", "a" * 81]


async def listed(person: Person, **variables: object) -> list[str]:
    return [node["name"] for node in (await person.ask(LISTED, **variables))["nodes"]]


async def joined(person: Person, **variables: object) -> list[str | None]:
    return [node["name"] for node in (await person.ask(JOINED, **variables))["channels"]["nodes"]]


async def test_whoever_makes_a_channel_owns_it(alice: Person, bob: Person, database: Database) -> None:
    given = {"name": " Plans ", "description": "What\nnext \U0001f680", "memberIds": [bob.id, alice.id, bob.id]}
    made = (await alice.ask(CREATE_CHANNEL, input=given))["channel"]
    assert (made["name"], made["description"]) == ("Plans", "What\nnext \U0001f680")
    assert (made["isPrivate"], made["isDm"], made["archivedAt"], made["joinCode"]) == (False, False, None, None)
    assert (made["owner"]["id"], made["memberCount"]) == (alice.id, 2)
    assert await roles(bob, made["id"]) == {"alice": "OWNER", "bob": "MEMBER"}
    assert await scalar(database, "SELECT owner_id FROM channels") == number(alice.id)


async def test_a_private_channel_has_a_join_code_and_members_only(
    alice: Person, bob: Person, carol: Person, database: Database
) -> None:
    channel = await create_channel(alice, private=True, members=(bob,))
    code = (await alice.ask(READ_CHANNEL, id=channel))["joinCode"]
    assert code == await scalar(database, "SELECT join_code FROM channels")
    assert len(code) >= 22  # 128 bits in base64
    assert (await bob.ask(READ_CHANNEL, id=channel))["joinCode"] is None
    assert await carol.ask(READ_CHANNEL, id=channel) is None


async def test_a_channel_name_is_one_line_of_80(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    for name in BAD_NAMES:
        for document, given in ((CREATE_CHANNEL, {}), (UPDATE_CHANNEL, {"channelId": channel})):
            refused = await denial(database, alice, document, input={**given, "name": name})
            assert (refused.code, refused.field) == ("INVALID_INPUT", ["name"]), name
    kept = await alice.ask(UPDATE_CHANNEL, input={"channelId": channel, "name": "\U0001f600" * 80})
    assert kept["channel"]["name"] == "\U0001f600" * 80


async def test_a_description_has_at_most_1000_characters(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    for text in ("a" * 1001, "a\x00"):
        for document, given in ((CREATE_CHANNEL, {"name": "other"}), (UPDATE_CHANNEL, {"channelId": channel})):
            refused = await denial(database, alice, document, input={**given, "description": text})
            assert (refused.code, refused.field) == ("INVALID_INPUT", ["description"])
    kept = await alice.ask(UPDATE_CHANNEL, input={"channelId": channel, "description": "a" * 1000})
    assert kept["channel"]["description"] == "a" * 1000


async def test_people_who_join_at_once_must_exist_and_be_active(
    alice: Person, bob: Person, root: Person, database: Database
) -> None:
    for wrong in ("User:999999", "Channel:1", f"User:0{number(bob.id)}"):
        refused = await denial(
            database, alice, CREATE_CHANNEL, input={"name": "x", "memberIds": [bob.id, global_id(wrong)]}
        )
        assert (refused.code, refused.field) == ("NOT_FOUND", ["memberIds"]), wrong
    await root.ask(SET_USER_ACTIVE, userId=bob.id, active=False)
    refused = await denial(database, alice, CREATE_CHANNEL, input={"name": "x", "memberIds": [bob.id]})
    assert (refused.code, refused.field) == ("USER_INACTIVE", ["memberIds"])


async def test_at_most_100_people_join_at_once(alice: Person, database: Database) -> None:
    refused = await denial(database, alice, CREATE_CHANNEL, input={"name": "x", "memberIds": [alice.id] * 101})
    assert (refused.code, refused.field) == ("INVALID_INPUT", ["memberIds"])
    assert (await alice.ask(CREATE_CHANNEL, input={"name": "x", "memberIds": [alice.id] * 100}))["channel"]


async def test_the_names_of_public_channels_are_unique_in_any_case(
    alice: Person, bob: Person, database: Database
) -> None:
    await create_channel(alice, "Ärger")
    for name in ("Ärger", "ärger", " A\u0308RGER "):
        refused = await denial(database, bob, CREATE_CHANNEL, input={"name": name})
        assert (refused.code, refused.field) == ("NAME_TAKEN", ["name"])
    other = await create_channel(bob, "other")
    assert await denied(database, bob, UPDATE_CHANNEL, input={"channelId": other, "name": "ÄRGER"}) == "NAME_TAKEN"


async def test_the_name_of_a_private_channel_tells_nobody_that_it_exists(alice: Person, bob: Person) -> None:
    await create_channel(alice, "secret", private=True)
    assert await create_channel(bob, "secret", private=True)
    assert await create_channel(bob, "secret")


async def test_an_archived_channel_keeps_its_name(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, "plans")
    await alice.ask(ARCHIVE, channelId=channel, archived=True)
    assert await denied(database, bob, CREATE_CHANNEL, input={"name": "plans"}) == "NAME_TAKEN"


async def test_an_update_changes_what_it_names(alice: Person) -> None:
    channel = await create_channel(alice, "plans")
    await alice.ask(UPDATE_CHANNEL, input={"channelId": channel, "description": "d"})
    renamed = await alice.ask(UPDATE_CHANNEL, input={"channelId": channel, "name": "Plans"})
    assert (renamed["channel"]["name"], renamed["channel"]["description"]) == ("Plans", "d")
    cleared = await alice.ask(UPDATE_CHANNEL, input={"channelId": channel, "description": None})
    assert (cleared["channel"]["name"], cleared["channel"]["description"]) == ("Plans", None)


async def test_an_update_to_what_is_there_writes_nothing(alice: Person, database: Database) -> None:
    channel = await create_channel(alice, "plans")
    before = await snapshot(database)
    same: list[dict[str, str | None]] = [{}, {"name": "plans"}, {"description": None}]
    for given in same:
        assert (await alice.ask(UPDATE_CHANNEL, input={"channelId": channel, **given}))["cursor"] is None
    assert await snapshot(database) == before


async def test_a_channel_cannot_be_without_a_name(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    assert await denied(database, alice, UPDATE_CHANNEL, input={"channelId": channel, "name": None}) == "INVALID_INPUT"


@pytest.mark.parametrize("role", ["MODERATOR", "MEMBER"])
async def test_changing_a_channel_needs_an_admin(alice: Person, bob: Person, database: Database, role: str) -> None:
    channel = await create_channel(alice, members=(bob,))
    await set_role(alice, channel, bob, role)
    given = {"channelId": channel, "name": "x"}
    assert await denied(database, bob, UPDATE_CHANNEL, input=given) == "ROLE_TOO_LOW"
    await set_role(alice, channel, bob, "ADMIN")
    assert (await bob.ask(UPDATE_CHANNEL, input=given))["channel"]["name"] == "x"


async def test_changing_a_channel_needs_a_member(alice: Person, bob: Person, root: Person, database: Database) -> None:
    channel = await create_channel(alice)
    for outsider in (bob, root):
        given = {"channelId": channel, "name": "x"}
        assert await denied(database, outsider, UPDATE_CHANNEL, input=given) == "NOT_MEMBER"


async def test_an_archived_channel_and_a_direct_message_keep_their_name(
    alice: Person, bob: Person, database: Database
) -> None:
    channel = await create_channel(alice)
    await alice.ask(ARCHIVE, channelId=channel, archived=True)
    given = {"channelId": channel, "name": "x"}
    assert await denied(database, alice, UPDATE_CHANNEL, input=given) == "CHANNEL_ARCHIVED"
    given = {"channelId": await open_dm(alice, bob), "name": "x"}
    assert await denied(database, alice, UPDATE_CHANNEL, input=given) == "ROLE_TOO_LOW"


async def test_inputs_take_no_other_types_and_fields(alice: Person, database: Database) -> None:
    before = await snapshot(database)
    for extra in ({"ownerId": "x"}, {"name": 1}, {"isPrivate": "yes"}, {"isPrivate": None}, {"memberIds": [None]}):
        assert await request_error(alice, CREATE_CHANNEL, input={"name": "x", **extra}) == "BAD_REQUEST"
    assert await snapshot(database) == before


async def test_the_list_has_public_channels_and_ones_own_by_name(alice: Person, bob: Person) -> None:
    for name, private in (("beta", False), ("Alpha", False), ("mine", True), ("old", False)):
        await create_channel(alice, name, private=private)
    old = (await alice.ask('{ channels(nameContains: "old") { nodes { id } } }'))["nodes"][0]["id"]
    await alice.ask(ARCHIVE, channelId=old, archived=True)
    await create_channel(bob, "hidden", private=True)
    await open_dm(alice, bob)
    assert await listed(alice) == ["Alpha", "beta", "mine"]
    assert await listed(bob) == ["Alpha", "beta", "hidden"]
    assert await listed(bob, archived=True) == ["old"]


async def test_channels_are_found_by_a_literal_part_of_the_name(alice: Person) -> None:
    for name in ("100% true", "snake_case", "ÉTÉ", "and/or"):
        await create_channel(alice, name)
    for text, names in (
        ("%", ["100% true"]),
        ("_", ["snake_case"]),
        ("ét", ["ÉTÉ"]),
        ("%%", []),
        ("\\", []),
        ("/", ["and/or"]),
    ):
        assert await listed(alice, text=text) == names, text
    assert await request_error(alice, LISTED, text="\x00") == "BAD_REQUEST"


async def test_the_viewers_own_channels_are_the_joined_ones(alice: Person, bob: Person) -> None:
    await create_channel(bob, "not mine")
    old = await create_channel(alice, "old")
    await alice.ask(ARCHIVE, channelId=old, archived=True)
    await create_channel(alice, "secret", private=True)
    await open_dm(alice, bob)
    await create_channel(alice, "new", members=(bob,))
    assert await joined(alice) == ["secret", None, "new"]
    assert (await joined(alice, isDm=True), await joined(alice, isDm=False)) == ([None], ["secret", "new"])
    assert (await joined(alice, archived=True), await joined(bob)) == (["old"], ["not mine", None, "new"])
