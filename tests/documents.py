"""The GraphQL documents that several tests send, and the small steps that most tests begin with."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import httpx
from sqlalchemy import text
from starlette.applications import Starlette

from app.db import Database
from app.models import Base
from tests.conftest import Person

ERRORS = "errors { code message field retryAfterMs } cursor"
CHANNEL = "channel { id name description isPrivate isDm archivedAt memberCount joinCode owner { id } }"
MEMBER = "member { id role joinedAt roleAssignedAt user { id } channel { id } }"
MESSAGE = (
    "message { id seq content revision createdAt updatedAt deletedAt clientKey replyCount "
    "author { id } channel { id } parent { id } reply { id } "
    "reactions { count viewerHasReacted reaction { code } users { nodes { id } } } }"
)
REACTION = "reaction { id code kind imageUrl createdAt }"

UPDATE_PROFILE = (
    "mutation ($input: UpdateProfileInput!) { updateProfile(input: $input) "
    f"{{ user {{ id name picture bio email isActive }} {ERRORS} }} }}"
)
SET_USER_ACTIVE = (
    "mutation ($userId: ID!, $active: Boolean!) { setUserActive(userId: $userId, active: $active) "
    f"{{ user {{ id isActive }} {ERRORS} }} }}"
)
CREATE_CHANNEL = (
    f"mutation ($input: CreateChannelInput!) {{ createChannel(input: $input) {{ {CHANNEL} deduplicated {ERRORS} }} }}"
)
UPDATE_CHANNEL = f"mutation ($input: UpdateChannelInput!) {{ updateChannel(input: $input) {{ {CHANNEL} {ERRORS} }} }}"
SET_PRIVACY = (
    "mutation ($channelId: ID!, $isPrivate: Boolean!) "
    f"{{ setChannelPrivacy(channelId: $channelId, isPrivate: $isPrivate) {{ {CHANNEL} {ERRORS} }} }}"
)
ROTATE = f"mutation ($channelId: ID!) {{ rotateJoinCode(channelId: $channelId) {{ {CHANNEL} {ERRORS} }} }}"
ARCHIVE = (
    "mutation ($channelId: ID!, $archived: Boolean!) { archiveChannel(channelId: $channelId, archived: $archived) "
    f"{{ {CHANNEL} {ERRORS} }} }}"
)
DELETE_CHANNEL = f"mutation ($channelId: ID!) {{ deleteChannel(channelId: $channelId) {{ deletedId {ERRORS} }} }}"
OPEN_DM = (
    f"mutation ($userIds: [ID!]!) {{ openDirectMessage(userIds: $userIds) {{ {CHANNEL} deduplicated {ERRORS} }} }}"
)
JOIN = f"mutation ($channelId: ID!) {{ joinChannel(channelId: $channelId) {{ {CHANNEL} {MEMBER} {ERRORS} }} }}"
JOIN_BY_CODE = (
    f"mutation ($joinCode: String!) {{ joinChannelByCode(joinCode: $joinCode) {{ {CHANNEL} {MEMBER} {ERRORS} }} }}"
)
LEAVE = f"mutation ($channelId: ID!) {{ leaveChannel(channelId: $channelId) {{ {CHANNEL} {MEMBER} {ERRORS} }} }}"
ADD_MEMBERS = (
    "mutation ($channelId: ID!, $userIds: [ID!]!) { addMembers(channelId: $channelId, userIds: $userIds) "
    f"{{ {CHANNEL} members {{ id role user {{ id }} }} {ERRORS} }} }}"
)
REMOVE_MEMBER = (
    "mutation ($channelId: ID!, $userId: ID!) { removeMember(channelId: $channelId, userId: $userId) "
    f"{{ {CHANNEL} {MEMBER} {ERRORS} }} }}"
)
SET_ROLE = (
    "mutation ($channelId: ID!, $userId: ID!, $role: ChannelRoleName!) "
    f"{{ setMemberRole(channelId: $channelId, userId: $userId, role: $role) {{ {CHANNEL} {MEMBER} {ERRORS} }} }}"
)
SEND = f"mutation ($input: SendMessageInput!) {{ sendMessage(input: $input) {{ {MESSAGE} deduplicated {ERRORS} }} }}"
REPLY = (
    "mutation ($input: ReplyInput!) { replyToMessage(input: $input) "
    f"{{ {MESSAGE} deduplicated existingReply {{ id content }} {ERRORS} }} }}"
)
EDIT = f"mutation ($input: EditMessageInput!) {{ editMessage(input: $input) {{ {MESSAGE} {ERRORS} }} }}"
DELETE_MESSAGE = f"mutation ($messageId: ID!) {{ deleteMessage(messageId: $messageId) {{ {MESSAGE} {ERRORS} }} }}"
ADD_REACTION = (
    "mutation ($messageId: ID!, $code: String!) { addReaction(messageId: $messageId, code: $code) "
    f"{{ {MESSAGE} {REACTION} changed {ERRORS} }} }}"
)
REMOVE_REACTION = (
    "mutation ($messageId: ID!, $code: String!) { removeReaction(messageId: $messageId, code: $code) "
    f"{{ {MESSAGE} {REACTION} changed {ERRORS} }} }}"
)
CREATE_REACTION = (
    f"mutation ($input: CreateReactionInput!) {{ createReaction(input: $input) {{ {REACTION} {ERRORS} }} }}"
)
DELETE_REACTION = f"mutation ($reactionId: ID!) {{ deleteReaction(reactionId: $reactionId) {{ deletedId {ERRORS} }} }}"

READ_CHANNEL = f"query ($id: ID!) {{ {CHANNEL.replace('channel {', 'channel(id: $id) {', 1)} }}"
READ_MESSAGE = f"query ($id: ID!) {{ {MESSAGE.replace('message {', 'message(id: $id) {', 1)} }}"
NODE = "query ($id: ID!) { node(id: $id) { __typename id } }"
MEMBERS = (
    "query ($id: ID!) { channel(id: $id) { memberCount owner { id } members(first: 100) "
    "{ nodes { role user { id name } } } } }"
)


ADDRESSES = count(1)


@dataclass(frozen=True, slots=True)
class Denial:
    """The one error of a refused mutation."""

    code: str
    message: str
    field: list[str] | None
    payload: dict[str, Any]


async def select(database: Database, statement: str, /, **parameters: Any) -> list[Any]:
    """Rows behind the API's back."""
    async with database.engine.connect() as connection:
        return [*await connection.execute(text(statement), parameters)]


async def scalar(database: Database, statement: str, /, **parameters: Any) -> Any:
    """The first value of the first row, likewise."""
    return (await select(database, statement, **parameters))[0][0]


async def snapshot(database: Database) -> list[Any]:
    """A digest of every table: equal before and after whatever wrote nothing."""
    digests = (
        f"SELECT '{name}', count(*), md5(string_agg(row::text, ';' ORDER BY row::text)) FROM {name} AS row"  # noqa: S608 - names of our own tables
        for name in Base.metadata.tables
    )
    return await select(database, " UNION ALL ".join(digests))


async def denial(database: Database, person: Person, document: str, /, **variables: Any) -> Denial:
    """Send a mutation that must be refused: with one error, an empty payload, and nothing written."""
    before = await snapshot(database)
    body = await person.send(document, **variables)
    assert "errors" not in body, body
    (payload,) = body["data"].values()
    (error,) = payload.pop("errors")
    assert error["message"]
    assert await snapshot(database) == before, "something was written"
    assert not any(value for name, value in payload.items() if name != "existingReply"), payload
    return Denial(error["code"], error["message"], error["field"], payload)


async def denied(database: Database, person: Person, document: str, /, **variables: Any) -> str:
    """The code of `denial`."""
    return (await denial(database, person, document, **variables)).code


async def request_error(person: Person, document: str, /, **variables: Any) -> str:
    """The code of the one top-level error of a request that returns nothing."""
    body = await person.send(document, **variables)
    (error,) = body["errors"]
    assert error["message"]
    assert not any((body.get("data") or {}).values()), body
    return str(error["extensions"]["code"])


def only(selection: str, document: str) -> str:
    """The mutation with a payload of this and the errors: what a test only needs to go on costs it little."""
    head, _, rest = document.partition(") {")
    field, _, _ = rest.partition(") {")
    return f"{head}) {{{field}) {{ {selection} errors {{ code message }} }} }}"


async def create_channel(
    owner: Person, name: str = "general", *, private: bool = False, members: tuple[Person, ...] = ()
) -> str:
    """The id of a new channel."""
    given = {"name": name, "isPrivate": private, "memberIds": [member.id for member in members]}
    made = await owner.ask(only("channel { id }", CREATE_CHANNEL), input=given)
    return str(made["channel"]["id"])


async def open_dm(person: Person, *others: Person) -> str:
    """The id of their direct message."""
    opened = await person.ask(only("channel { id }", OPEN_DM), userIds=[other.id for other in others])
    return str(opened["channel"]["id"])


async def join_code(admin: Person, channel_id: str) -> str:
    return str((await admin.ask(READ_CHANNEL, id=channel_id))["joinCode"])


async def set_role(owner: Person, channel_id: str, person: Person, role: str) -> None:
    await owner.ask(only("member { id }", SET_ROLE), channelId=channel_id, userId=person.id, role=role)


async def send(author: Person, channel_id: str, content: str = "hello") -> str:
    """The id of a new message."""
    sent = await author.ask(only("message { id }", SEND), input={"channelId": channel_id, "content": content})
    return str(sent["message"]["id"])


async def reply(author: Person, parent_id: str, content: str = "indeed") -> str:
    """The id of a new answer, below the parent or at the end of its chain."""
    given = {"parentId": parent_id, "content": content, "onReplyExists": "APPEND_TO_TAIL"}
    return str((await author.ask(only("message { id }", REPLY), input=given))["message"]["id"])


async def roles(viewer: Person, channel_id: str) -> dict[str, str]:
    """Who is in a channel, by name, and with which role."""
    channel = await viewer.ask(MEMBERS, id=channel_id)
    return {member["user"]["name"]: member["role"] for member in channel["members"]["nodes"]}


def at_new_address(person: Person, app: Starlette) -> Person:
    """The same person elsewhere: tries of join codes are counted per address, for all tests together."""
    transport = httpx.ASGITransport(app=app, client=(f"198.51.100.{next(ADDRESSES)}", 50000))
    return replace(person, http=httpx.AsyncClient(transport=transport, base_url="http://parley.test"))


def global_id(text_inside: str) -> str:
    """An id as the server writes it, around any text."""
    return urlsafe_b64encode(text_inside.encode()).decode().rstrip("=")


def ids_of_nothing(typename: str, person: Person) -> list[str]:
    """Ids that no object of this type has: never given out, misspelt, or of another type."""
    inside = [
        f"{typename}:{key}" for key in ("999999999", "0", "-1", "+1", "01", "1:1", "", "1.0", str(2**63), "9" * 400)
    ]
    other = "Reaction:1" if typename == "User" else f"User:{number(person.id)}"
    return [*map(global_id, [*inside, other, typename.lower() + ":1", ":", "\0"]), "", "1", "\0", "é", "%", "a" * 5000]


def number(global_id_: str) -> int:
    """The key inside an id: the row's."""
    return int(urlsafe_b64decode(global_id_ + "==").decode().rpartition(":")[2])


SET_TYPING = """mutation ($channelId: ID!, $typing: Boolean!) {
    setTyping(channelId: $channelId, typing: $typing) { errors { code message } } }"""
SET_PRESENCE = "mutation ($presence: Presence!) { setPresence(presence: $presence) { errors { code message } } }"
RENEW_SESSION = "mutation ($token: String!) { renewSession(token: $token) { errors { code message } } }"
