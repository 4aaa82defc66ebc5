"""Roles in a channel: who may give which to whom, handing over, and removing people."""

import pytest

from app.db import Database
from tests.conftest import Newcomer, Person
from tests.documents import (
    DELETE_CHANNEL,
    JOIN,
    MEMBERS,
    READ_CHANNEL,
    REMOVE_MEMBER,
    SEND,
    SET_ROLE,
    SET_USER_ACTIVE,
    create_channel,
    denial,
    denied,
    ids_of_nothing,
    number,
    open_dm,
    request_error,
    roles,
    select,
    set_role,
    snapshot,
)

ROLES = ["MEMBER", "MODERATOR", "ADMIN", "OWNER"]
BY_ROLE = (
    "query ($id: ID!, $role: ChannelRoleName, $first: Int, $after: String) "
    "{ channel(id: $id) { members(role: $role, first: $first, after: $after) "
    "{ nodes { user { name } } pageInfo { endCursor } } } }"
)


async def place(owner: Person, person: Person, channel: str, role: str) -> None:
    """Bring a member of this role in."""
    await person.ask(JOIN, channelId=channel)
    if role != "MEMBER":
        await set_role(owner, channel, person, role)


async def test_a_role_is_given_and_taken(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    given = (await alice.ask(SET_ROLE, channelId=channel, userId=bob.id, role="ADMIN"))["member"]
    assert (given["role"], bool(given["roleAssignedAt"])) == ("ADMIN", True)
    assert await select(database, "SELECT role FROM channel_roles WHERE user_id = :id", id=number(bob.id)) == [
        ("ADMIN",)
    ]
    taken = (await alice.ask(SET_ROLE, channelId=channel, userId=bob.id, role="MEMBER"))["member"]
    assert (taken["role"], taken["roleAssignedAt"]) == ("MEMBER", None)
    assert await select(database, "SELECT role FROM channel_roles WHERE user_id = :id", id=number(bob.id)) == []


async def test_setting_the_same_role_writes_nothing(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    before = await snapshot(database)
    for person, role in ((bob, "MEMBER"), (alice, "OWNER")):
        kept = await alice.ask(SET_ROLE, channelId=channel, userId=person.id, role=role)
        assert (kept["member"]["role"], kept["cursor"]) == (role, None)
    assert await snapshot(database) == before


async def test_handing_over_leaves_one_owner(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    handed = await alice.ask(SET_ROLE, channelId=channel, userId=bob.id, role="OWNER")
    assert (handed["channel"]["owner"]["id"], handed["member"]["role"]) == (bob.id, "OWNER")
    assert await roles(alice, channel) == {"alice": "ADMIN", "bob": "OWNER"}
    assert await select(database, "SELECT owner_id FROM channels") == [(number(bob.id),)]
    assert await denied(database, alice, DELETE_CHANNEL, channelId=channel) == "ROLE_TOO_LOW"


@pytest.mark.parametrize("role", ["ADMIN", "MODERATOR", "MEMBER"])
async def test_an_owner_cannot_just_step_down(
    alice: Person, bob: Person, carol: Person, database: Database, role: str
) -> None:
    channel = await create_channel(alice, members=(bob, carol))
    refused = await denial(database, alice, SET_ROLE, channelId=channel, userId=alice.id, role=role)
    assert (refused.code, refused.field) == ("LAST_OWNER", ["role"])
    await set_role(alice, channel, bob, "ADMIN")
    refused = await denial(database, bob, SET_ROLE, channelId=channel, userId=alice.id, role=role)
    assert refused.code == "ROLE_TOO_LOW"


async def test_an_admin_gives_roles_up_to_the_own_to_whoever_is_below(
    alice: Person, newcomer: Newcomer, database: Database
) -> None:
    channel = await create_channel(alice)
    admin, target = await newcomer("admin"), await newcomer("target")
    await place(alice, admin, channel, "ADMIN")
    for before in ROLES[:3]:
        await place(alice, target, channel, before)
        for after in ROLES:
            variables = {"channelId": channel, "userId": target.id, "role": after}
            if after == before:
                assert (await admin.ask(SET_ROLE, **variables))["cursor"] is None
            elif before == "ADMIN" or after == "OWNER":
                assert await denied(database, admin, SET_ROLE, **variables) == "ROLE_TOO_LOW"
            else:
                assert (await admin.ask(SET_ROLE, **variables))["member"]["role"] == after
                await set_role(alice, channel, target, before)
        await alice.ask(REMOVE_MEMBER, channelId=channel, userId=target.id)


async def test_an_admin_may_step_down(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, members=(bob,))
    await set_role(alice, channel, bob, "ADMIN")
    await set_role(bob, channel, bob, "MODERATOR")
    assert (await roles(alice, channel))["bob"] == "MODERATOR"


async def test_only_admins_give_roles(
    alice: Person, bob: Person, carol: Person, root: Person, database: Database
) -> None:
    channel = await create_channel(alice, members=(bob, carol))
    for role in ("MEMBER", "MODERATOR"):
        await set_role(alice, channel, bob, role)
        for target in (alice, bob, carol):
            answer = await denied(database, bob, SET_ROLE, channelId=channel, userId=target.id, role="MEMBER")
            assert answer == "ROLE_TOO_LOW"
    assert await denied(database, root, SET_ROLE, channelId=channel, userId=bob.id, role="ADMIN") == "NOT_MEMBER"


async def test_a_role_goes_to_a_member(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice)
    for user_id in (bob.id, *ids_of_nothing("User", alice)):
        for document, rest in ((SET_ROLE, {"role": "ADMIN"}), (REMOVE_MEMBER, {})):
            refused = await denial(database, alice, document, channelId=channel, userId=user_id, **rest)
            assert (refused.code, refused.field) == ("NOT_MEMBER", ["userId"]), user_id


async def test_an_unknown_role_is_a_bad_request(alice: Person) -> None:
    channel = await create_channel(alice)
    for role in ("BOSS", "member", 3, None):
        assert await request_error(alice, SET_ROLE, channelId=channel, userId=alice.id, role=role) == "BAD_REQUEST"


async def test_a_direct_message_has_no_roles(alice: Person, bob: Person, database: Database) -> None:
    channel = await open_dm(alice, bob)
    for role in ROLES:
        answer = await denied(database, alice, SET_ROLE, channelId=channel, userId=bob.id, role=role)
        assert answer == "DM_MEMBERSHIP_FIXED"


async def test_a_channel_is_not_handed_to_a_deactivated_user(
    alice: Person, bob: Person, root: Person, database: Database
) -> None:
    channel = await create_channel(alice, members=(bob,))
    await root.ask(SET_USER_ACTIVE, userId=bob.id, active=False)
    assert await denied(database, alice, SET_ROLE, channelId=channel, userId=bob.id, role="OWNER") == "USER_INACTIVE"


async def test_people_are_removed_by_whoever_ranks_above(alice: Person, newcomer: Newcomer, database: Database) -> None:
    channel = await create_channel(alice)
    actor, target = await newcomer("actor"), await newcomer("target")
    for actor_role in ROLES[:3]:
        await place(alice, actor, channel, actor_role)
        for target_role in ROLES[:3]:
            await place(alice, target, channel, target_role)
            variables = {"channelId": channel, "userId": target.id}
            if actor_role != "MEMBER" and ROLES.index(actor_role) > ROLES.index(target_role):
                removed = await actor.ask(REMOVE_MEMBER, **variables)
                assert (removed["channel"]["memberCount"], removed["member"]) == (2, None)
            else:
                assert await denied(database, actor, REMOVE_MEMBER, **variables) == "ROLE_TOO_LOW"
                await alice.ask(REMOVE_MEMBER, **variables)
        await alice.ask(REMOVE_MEMBER, channelId=channel, userId=actor.id)


async def test_nobody_removes_the_owner_or_themselves(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    await set_role(alice, channel, bob, "ADMIN")
    for actor, target in ((alice, alice), (bob, alice), (bob, bob)):
        refused = await denial(database, actor, REMOVE_MEMBER, channelId=channel, userId=target.id)
        assert (refused.code, "leaveChannel" in refused.message) == ("ROLE_TOO_LOW", actor is target)


async def test_a_removed_member_is_out_at_once(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, private=True, members=(bob,))
    await alice.ask(REMOVE_MEMBER, channelId=channel, userId=bob.id)
    assert await bob.ask(READ_CHANNEL, id=channel) is None
    assert await denied(database, bob, SEND, input={"channelId": channel, "content": "x"}) == "NOT_FOUND"
    assert await denied(database, alice, REMOVE_MEMBER, channelId=channel, userId=bob.id) == "NOT_MEMBER"
    assert await select(database, "SELECT user_id FROM memberships") == [(number(alice.id),)]


async def test_outsiders_remove_nobody(alice: Person, bob: Person, root: Person, database: Database) -> None:
    channel = await create_channel(alice)
    for outsider in (bob, root):
        assert await denied(database, outsider, REMOVE_MEMBER, channelId=channel, userId=alice.id) == "NOT_MEMBER"


async def test_members_are_listed_by_role(alice: Person, bob: Person, carol: Person) -> None:
    channel = await create_channel(alice, members=(bob, carol))
    await set_role(alice, channel, bob, "MODERATOR")
    for role, names in (
        (None, {"alice", "bob", "carol"}),
        ("OWNER", {"alice"}),
        ("ADMIN", set()),
        ("MODERATOR", {"bob"}),
        ("MEMBER", {"carol"}),
    ):
        nodes = (await carol.ask(BY_ROLE, id=channel, role=role))["members"]["nodes"]
        assert {node["user"]["name"] for node in nodes} == names
    assert (await carol.ask(MEMBERS, id=channel))["memberCount"] == 3


async def test_members_of_a_role_come_in_pages(alice: Person, newcomer: Newcomer) -> None:
    channel = await create_channel(alice)
    for role in ("MODERATOR", "MEMBER"):
        people = [await newcomer(f"{role} {each}") for each in range(3)]
        for person in people:
            await place(alice, person, channel, role)
        first = (await alice.ask(BY_ROLE, id=channel, role=role, first=2))["members"]
        rest = await alice.ask(BY_ROLE, id=channel, role=role, after=first["pageInfo"]["endCursor"])
        names = [node["user"]["name"] for node in [*first["nodes"], *rest["members"]["nodes"]]]
        assert (len(first["nodes"]), names) == (2, [person.name for person in people])
