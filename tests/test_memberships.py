"""Coming and going: joining, join codes, adding, leaving, being removed."""

from dataclasses import replace

from starlette.applications import Starlette

from app.db import Database
from tests.conftest import Newcomer, Person
from tests.documents import (
    ADD_MEMBERS,
    ARCHIVE,
    JOIN,
    JOIN_BY_CODE,
    LEAVE,
    READ_CHANNEL,
    REMOVE_MEMBER,
    ROTATE,
    SEND,
    SET_PRIVACY,
    SET_USER_ACTIVE,
    at_new_address,
    create_channel,
    denial,
    denied,
    global_id,
    join_code,
    open_dm,
    roles,
    scalar,
    set_role,
    snapshot,
)

PREVIEW = (
    "query ($joinCode: String!) { channelByJoinCode(joinCode: $joinCode) { __typename name description memberCount } }"
)


async def test_anybody_joins_a_public_channel(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice)
    joined = await bob.ask(JOIN, channelId=channel)
    assert joined["channel"]["memberCount"] == 2
    member = joined["member"]
    assert (member["user"]["id"], member["channel"]["id"], member["role"]) == (bob.id, channel, "MEMBER")
    assert (member["roleAssignedAt"], bool(member["joinedAt"])) == (None, True)
    assert await scalar(database, "SELECT count(*) FROM memberships") == 2


async def test_joining_again_changes_nothing(alice: Person, database: Database) -> None:
    channel = await create_channel(alice, private=True)
    before = await snapshot(database)
    again = await alice.ask(JOIN, channelId=channel)
    assert (again["member"]["role"], again["cursor"]) == ("OWNER", None)
    assert await snapshot(database) == before


async def test_a_private_channel_cannot_be_joined_by_its_id(
    alice: Person, bob: Person, root: Person, database: Database
) -> None:
    channel = await create_channel(alice, private=True)
    assert await denied(database, bob, JOIN, channelId=channel) == "NOT_FOUND"
    assert await denied(database, root, JOIN, channelId=channel) == "NOT_FOUND"


async def test_a_join_code_shows_a_preview_and_lets_in(alice: Person, bob: Person, app: Starlette) -> None:
    channel, bob = await create_channel(alice, "plans", private=True), at_new_address(bob, app)
    code = await join_code(alice, channel)
    preview = {"__typename": "ChannelPreview", "name": "plans", "description": None, "memberCount": 1}
    assert await bob.ask(PREVIEW, joinCode=code) == preview
    joined = await bob.ask(JOIN_BY_CODE, joinCode=code)
    assert (joined["channel"]["id"], joined["member"]["role"]) == (channel, "MEMBER")
    assert joined["channel"]["joinCode"] is None
    assert (await bob.ask(JOIN_BY_CODE, joinCode=code))["cursor"] is None


async def test_a_wrong_join_code_leads_nowhere(alice: Person, bob: Person, database: Database, app: Starlette) -> None:
    channel, bob = await create_channel(alice, private=True), at_new_address(bob, app)
    code = await join_code(alice, channel)
    for wrong in ("", code[:-1], code.swapcase(), f" {code}", code + "\x00", "é", "%"):
        refused = await denial(database, bob, JOIN_BY_CODE, joinCode=wrong)
        assert (refused.code, refused.field) == ("INVALID_JOIN_CODE", ["joinCode"]), wrong
    assert await bob.ask(PREVIEW, joinCode=code + "\x00") is None


async def test_a_rotated_or_dropped_join_code_is_dead(
    alice: Person, bob: Person, database: Database, app: Starlette
) -> None:
    channel, bob = await create_channel(alice, private=True), at_new_address(bob, app)
    first = await join_code(alice, channel)
    await alice.ask(ROTATE, channelId=channel)
    assert await denied(database, bob, JOIN_BY_CODE, joinCode=first) == "INVALID_JOIN_CODE"
    second = await join_code(alice, channel)
    await alice.ask(SET_PRIVACY, channelId=channel, isPrivate=False)
    assert await denied(database, bob, JOIN_BY_CODE, joinCode=second) == "INVALID_JOIN_CODE"
    assert await bob.ask(PREVIEW, joinCode=second) is None


async def test_nobody_joins_an_archived_channel_by_code(
    alice: Person, bob: Person, database: Database, app: Starlette
) -> None:
    channel, bob = await create_channel(alice, private=True), at_new_address(bob, app)
    code = await join_code(alice, channel)
    await alice.ask(ARCHIVE, channelId=channel, archived=True)
    assert await denied(database, bob, JOIN_BY_CODE, joinCode=code) == "CHANNEL_ARCHIVED"


async def test_the_eleventh_join_code_in_a_minute_is_refused_even_if_right(
    alice: Person, bob: Person, database: Database, app: Starlette
) -> None:
    code = await join_code(alice, await create_channel(alice, private=True))
    bob = at_new_address(bob, app)
    for _ in range(5):
        assert await bob.ask(PREVIEW, joinCode="wrong") is None
        assert await denied(database, bob, JOIN_BY_CODE, joinCode="wrong") == "INVALID_JOIN_CODE"
    body = await bob.send(JOIN_BY_CODE, joinCode=code)
    (error,) = body["data"]["joinChannelByCode"]["errors"]
    assert (error["code"], 0 < error["retryAfterMs"] <= 60_000) == ("RATE_LIMITED", True)
    (error,) = (await bob.send(PREVIEW, joinCode=code))["errors"]
    assert error["extensions"]["code"] == "RATE_LIMITED"
    assert 0 < error["extensions"]["retryAfterMs"] <= 60_000
    assert await scalar(database, "SELECT count(*) FROM memberships") == 1


async def test_one_address_tries_thirty_join_codes_in_a_minute(newcomer: Newcomer, app: Starlette) -> None:
    http = at_new_address(await newcomer("a"), app).http
    people = [replace(await newcomer(name), http=http) for name in "abcd"]
    for person in people[:3]:
        for _ in range(10):
            await person.ask(PREVIEW, joinCode="wrong")
    (error,) = (await people[3].send(PREVIEW, joinCode="wrong"))["errors"]
    assert error["extensions"]["code"] == "RATE_LIMITED"


async def test_a_moderator_adds_people(alice: Person, bob: Person, carol: Person, root: Person) -> None:
    channel = await create_channel(alice, private=True, members=(bob,))
    await set_role(alice, channel, bob, "MODERATOR")
    added = await bob.ask(ADD_MEMBERS, channelId=channel, userIds=[carol.id, bob.id, carol.id, root.id])
    assert [member["user"]["id"] for member in added["members"]] == [carol.id, bob.id, root.id]
    assert await roles(carol, channel) == {"alice": "OWNER", "bob": "MODERATOR", "carol": "MEMBER", "root": "MEMBER"}


async def test_adding_whoever_is_there_writes_nothing(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    before = await snapshot(database)
    for people in ([bob.id], [alice.id, bob.id], []):
        again = await alice.ask(ADD_MEMBERS, channelId=channel, userIds=people)
        assert (len(again["members"]), again["cursor"]) == (len(people), None)
    assert await snapshot(database) == before


async def test_adding_is_all_or_nothing(alice: Person, bob: Person, root: Person, database: Database) -> None:
    channel = await create_channel(alice)
    missing = [bob.id, global_id("User:999999")]
    refused = await denial(database, alice, ADD_MEMBERS, channelId=channel, userIds=missing)
    assert (refused.code, refused.field) == ("NOT_FOUND", ["userIds"])
    refused = await denial(database, alice, ADD_MEMBERS, channelId=channel, userIds=[bob.id] * 101)
    assert (refused.code, refused.field) == ("INVALID_INPUT", ["userIds"])
    await root.ask(SET_USER_ACTIVE, userId=bob.id, active=False)
    refused = await denial(database, alice, ADD_MEMBERS, channelId=channel, userIds=[root.id, bob.id])
    assert (refused.code, refused.field) == ("USER_INACTIVE", ["userIds"])


async def test_members_and_outsiders_add_nobody(
    alice: Person, bob: Person, carol: Person, root: Person, database: Database
) -> None:
    channel = await create_channel(alice, members=(bob,))
    assert await denied(database, bob, ADD_MEMBERS, channelId=channel, userIds=[carol.id]) == "ROLE_TOO_LOW"
    for outsider in (carol, root):
        answer = await denied(database, outsider, ADD_MEMBERS, channelId=channel, userIds=[outsider.id])
        assert answer == "NOT_MEMBER"


async def test_whoever_leaves_a_private_channel_sees_it_no_more(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, private=True, members=(bob,))
    left = await bob.ask(LEAVE, channelId=channel)
    assert (left["channel"], left["member"], bool(left["cursor"])) == (None, None, True)
    assert await bob.ask(READ_CHANNEL, id=channel) is None
    assert await roles(alice, channel) == {"alice": "OWNER"}


async def test_whoever_leaves_a_public_channel_loses_role_and_voice(
    alice: Person, bob: Person, database: Database
) -> None:
    channel = await create_channel(alice, members=(bob,))
    await set_role(alice, channel, bob, "ADMIN")
    left = await bob.ask(LEAVE, channelId=channel)
    assert (left["channel"]["memberCount"], left["member"]) == (1, None)
    assert await denied(database, bob, SEND, input={"channelId": channel, "content": "x"}) == "NOT_MEMBER"
    assert await denied(database, bob, LEAVE, channelId=channel) == "NOT_MEMBER"
    assert (await bob.ask(JOIN, channelId=channel))["member"]["role"] == "MEMBER"


async def test_the_owner_hands_over_before_leaving(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    refused = await denial(database, alice, LEAVE, channelId=channel)
    assert (refused.code, refused.field) == ("LAST_OWNER", ["channelId"])
    await set_role(alice, channel, bob, "OWNER")
    await alice.ask(LEAVE, channelId=channel)
    assert await roles(bob, channel) == {"bob": "OWNER"}


async def test_the_people_of_a_direct_message_stay(
    alice: Person, bob: Person, carol: Person, database: Database
) -> None:
    channel = await open_dm(alice, bob)
    assert await denied(database, alice, LEAVE, channelId=channel) == "DM_MEMBERSHIP_FIXED"
    assert await denied(database, alice, ADD_MEMBERS, channelId=channel, userIds=[carol.id]) == "DM_MEMBERSHIP_FIXED"
    assert await denied(database, alice, REMOVE_MEMBER, channelId=channel, userId=bob.id) == "DM_MEMBERSHIP_FIXED"
    assert (await alice.ask(JOIN, channelId=channel))["cursor"] is None
