"""For every mutation, arguments with which it does what it is for."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from tests import documents as doc
from tests.documents import create_channel, join_code, reply, send
from tests.uploads import upload
from tests.village import Village

numbers = count(1)


@dataclass(frozen=True)
class Place:
    """A private channel of alice's, of which bob is a member, with a message of hers that he answered, and so on."""

    number: int
    channel: str
    code: str
    message: str
    tail: str
    reaction: str
    file: str


async def new_place(village: Village) -> Place:
    alice, bob, root = (village.people[name] for name in ("alice", "bob", "root"))
    number = next(numbers)
    channel = await create_channel(alice, f"place {number}", private=True, members=(bob,))
    message = await send(alice, channel)
    tail = await reply(bob, message)
    await alice.ask(doc.ADD_REACTION, messageId=message, code="heart")
    made = await root.ask(doc.CREATE_REACTION, input={"code": f"made-{number}", "imageUrl": "https://x.example/"})
    file = await upload(alice, channel)
    return Place(number, channel, await join_code(alice, channel), message, tail, made["reaction"]["id"], file)


Arguments = Callable[[Village, Place], dict[str, Any]]


def of_channel(**more: Any) -> Arguments:
    return lambda _, place: {"channelId": place.channel, **more}


def user(village: Village, name: str) -> str:
    return village.people[name].id


# By multipart requests alone, since no literal is a file: tests/test_files.py.
UPLOADS = frozenset({"uploadFile", "uploadFiles"})
# By mutation: who does it, and with what.
RIGHT: dict[str, tuple[str, Arguments]] = {
    "updateProfile": ("alice", lambda _, place: {"input": {"bio": f"number {place.number}"}}),
    "setUserActive": ("root", lambda village, _: {"userId": user(village, "gone"), "active": False}),
    "setPresence": ("alice", lambda *_: {"presence": "AWAY"}),  # refused, for want of a socket
    "createChannel": (
        "alice",
        lambda village, place: {"input": {"name": f"new {place.number}", "memberIds": [user(village, "bob")]}},
    ),
    "updateChannel": ("alice", lambda _, place: {"input": {"channelId": place.channel, "description": "new"}}),
    "setChannelPrivacy": ("alice", of_channel(isPrivate=False)),
    "rotateJoinCode": ("alice", of_channel()),
    "archiveChannel": ("alice", of_channel(archived=True)),
    "deleteChannel": ("alice", of_channel()),
    "openDirectMessage": ("alice", lambda village, _: {"userIds": [user(village, "carol"), user(village, "bob")]}),
    "joinChannel": ("root", lambda village, _: {"channelId": village.channels["hall"]}),
    "joinChannelByCode": ("carol", lambda _, place: {"joinCode": place.code}),
    "leaveChannel": ("bob", of_channel()),
    "addMembers": (
        "alice",
        lambda village, place: {"channelId": place.channel, "userIds": [user(village, "carol"), user(village, "bob")]},
    ),
    "removeMember": ("alice", lambda village, place: {"channelId": place.channel, "userId": user(village, "bob")}),
    "setMemberRole": (
        "alice",
        lambda village, place: {"channelId": place.channel, "userId": user(village, "bob"), "role": "ADMIN"},
    ),
    "sendMessage": (
        "bob",
        lambda _, place: {"input": {"channelId": place.channel, "content": "hi", "clientKey": f"{place.number}"}},
    ),
    "replyToMessage": ("alice", lambda _, place: {"input": {"parentId": place.tail, "content": "indeed"}}),
    "editMessage": ("alice", lambda _, place: {"input": {"messageId": place.message, "content": "better"}}),
    "deleteMessage": ("alice", lambda _, place: {"messageId": place.message}),
    "setTyping": ("bob", of_channel(typing=True)),
    "addReaction": ("bob", lambda _, place: {"messageId": place.message, "code": "tada"}),
    "removeReaction": ("alice", lambda _, place: {"messageId": place.message, "code": "heart"}),
    "createReaction": (
        "root",
        lambda _, place: {"input": {"code": f"new-{place.number}", "imageUrl": "https://x.example/"}},
    ),
    "deleteReaction": ("root", lambda _, place: {"reactionId": place.reaction}),
    "deleteFile": ("alice", lambda _, place: {"fileId": place.file}),
    "createDownloadUrl": ("bob", lambda _, place: {"fileId": place.file, "ttlSeconds": 60}),
    "renewSession": ("alice", lambda *_: {"token": "nonsense"}),  # refused, for want of a socket
}
