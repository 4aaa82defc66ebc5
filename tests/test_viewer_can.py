"""`viewerCan` is what the mutations then do: for every role, kind of channel and state."""

from itertools import product
from typing import NamedTuple

import pytest

from tests.conftest import Newcomer, Person
from tests.documents import (
    ADD_MEMBERS,
    ARCHIVE,
    DELETE_CHANNEL,
    DELETE_MESSAGE,
    EDIT,
    JOIN,
    READ_CHANNEL,
    REMOVE_MEMBER,
    SEND,
    SET_PRIVACY,
    SET_ROLE,
    UPDATE_CHANNEL,
    create_channel,
    join_code,
    only,
    open_dm,
    request_error,
    send,
    set_role,
)

CAN = (
    "query ($id: ID!) { channel(id: $id) { viewerCan { post invite manageMembers manageRoles editChannel "
    "changePrivacy seeJoinCode deleteAnyMessage deleteChannel } } }"
)
OUTSIDE = ("OUTSIDER", "WORKSPACE_ADMIN")
STANDINGS = (*OUTSIDE, "MEMBER", "MODERATOR", "ADMIN", "OWNER")


class Case(NamedTuple):
    """Who asks about which channel."""

    standing: str
    private: bool
    archived: bool


CASES = [
    Case(standing, private, archived)
    for standing, private, archived in product(STANDINGS, (False, True), (False, True))
    if not (private and standing in OUTSIDE)
]


async def come(person: Person, owner: Person, channel: str, standing: str) -> None:
    if standing in OUTSIDE:
        return
    await owner.ask(ADD_MEMBERS, channelId=channel, userIds=[person.id])
    await set_role(owner, channel, person, standing)


async def done(person: Person, document: str, /, **variables: object) -> bool:
    """Whether a mutation did it."""
    (payload,) = (await person.send(only("cursor", document), **variables))["data"].values()
    return not payload["errors"]


async def outcomes(person: Person, channel: str, target: Person, guest: Person, message: str) -> dict[str, bool]:
    """Try everything, the irreversible last. `target` is a plain member, `message` is theirs."""
    seen = await person.ask(READ_CHANNEL, id=channel)
    return {
        "seeJoinCode": seen["joinCode"] is not None,
        "post": await done(person, SEND, input={"channelId": channel, "content": "x"}),
        "invite": await done(person, ADD_MEMBERS, channelId=channel, userIds=[guest.id]),
        "manageRoles": await done(person, SET_ROLE, channelId=channel, userId=target.id, role="MODERATOR")
        and await done(person, SET_ROLE, channelId=channel, userId=target.id, role="MEMBER"),
        "manageMembers": await done(person, REMOVE_MEMBER, channelId=channel, userId=target.id),
        "editChannel": await done(person, UPDATE_CHANNEL, input={"channelId": channel, "description": "new"}),
        "deleteAnyMessage": await done(person, DELETE_MESSAGE, messageId=message),
        "changePrivacy": await done(person, SET_PRIVACY, channelId=channel, isPrivate=not seen["isPrivate"]),
        "deleteChannel": await done(person, DELETE_CHANNEL, channelId=channel),
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
async def test_what_viewer_can_says_is_what_happens(
    newcomer: Newcomer, alice: Person, bob: Person, carol: Person, case: Case
) -> None:
    person = await newcomer("somebody", admin=case.standing == "WORKSPACE_ADMIN")
    channel = await create_channel(alice, private=case.private, members=(bob,))
    message = await send(bob, channel)
    await come(person, alice, channel, case.standing)
    if case.archived:
        await alice.ask(ARCHIVE, channelId=channel, archived=True)
    promised = (await person.ask(CAN, id=channel))["viewerCan"]
    assert await outcomes(person, channel, bob, carol, message) == promised


@pytest.mark.parametrize("admin", [False, True])
async def test_in_a_direct_message_one_posts_and_no_more(
    newcomer: Newcomer, bob: Person, carol: Person, admin: bool
) -> None:
    person = await newcomer("somebody", admin=admin)
    channel = await open_dm(person, bob)
    promised = (await person.ask(CAN, id=channel))["viewerCan"]
    assert {name for name, can in promised.items() if can} == {"post"} | ({"deleteChannel"} if admin else set())
    assert await outcomes(person, channel, bob, carol, await send(bob, channel)) == promised


async def test_what_one_can_differs_from_viewer_to_viewer(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, members=(bob,))
    assert (await alice.ask(CAN, id=channel))["viewerCan"]["deleteChannel"] is True
    assert (await bob.ask(CAN, id=channel))["viewerCan"]["deleteChannel"] is False


async def test_a_role_given_or_taken_counts_at_once(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, members=(bob,))
    for role, can in (("MODERATOR", True), ("MEMBER", False), ("ADMIN", True)):
        await set_role(alice, channel, bob, role)
        assert (await bob.ask(CAN, id=channel))["viewerCan"]["invite"] is can


async def test_ones_own_message_can_be_edited_and_deleted_without_a_role(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice)
    await bob.ask(JOIN, channelId=channel)
    message = await send(bob, channel)
    assert (await bob.ask(CAN, id=channel))["viewerCan"]["deleteAnyMessage"] is False
    assert await done(bob, EDIT, input={"messageId": message, "content": "y"})
    assert await done(bob, DELETE_MESSAGE, messageId=message)


async def test_nobody_else_is_asked_for(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, private=True)
    assert await bob.ask(CAN, id=channel) is None
    assert len(await join_code(alice, channel)) >= 22
    assert await request_error(alice, CAN.replace("post", "post(userId: 1)"), id=channel) == "VALIDATION_FAILED"
