"""Every paged list of the API in one shape, so that one test can be about all of them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests import documents as doc
from tests.conftest import Newcomer, Person
from tests.documents import create_channel, open_dm, reply, send
from tests.uploads import DELETE_FILE, Sent, upload

PAGE = "{ edges { cursor node { id } } nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }"
FORWARD = "$first: Int, $after: String"
BOTH_WAYS = "$first: Int, $after: String, $last: Int, $before: String"
FORWARD_ARGUMENTS = "first: $first, after: $after"
BOTH_WAYS_ARGUMENTS = "first: $first, after: $after, last: $last, before: $before"


@dataclass
class Scene:
    """A list of a kind, and who fills it."""

    kind: "Kind"
    owner: Person
    newcomer: Newcomer
    target: str = ""
    ids: dict[str, str] = field(default_factory=dict)  # of the items added, by label
    people: dict[str, Person] = field(default_factory=dict)

    async def add(self, *labels: str) -> None:
        for label in labels:
            self.ids[label] = await self.kind.add(self, label)

    async def remove(self, label: str) -> None:
        if self.kind.remove is not None:
            await self.kind.remove(self, label)

    async def page(self, **arguments: Any) -> dict[str, Any]:
        """The connection, wherever in the answer it is."""
        target = {"id": self.target} if "$id" in self.kind.document else {}
        return find_connection(await self.owner.ask(self.kind.document, **target, **arguments)) or EMPTY

    async def refused(self, **arguments: Any) -> str:
        target = {"id": self.target} if "$id" in self.kind.document else {}
        body = await self.owner.send(self.kind.document, **target, **arguments)
        (error,) = body["errors"]
        return str(error["extensions"]["code"])

    async def items(self) -> list[str]:
        return ids_of(await self.page(first=100))


@dataclass(frozen=True)
class Kind:
    """What a list is of: how to ask for it, and how something comes to be in it or out of it."""

    document: str
    start: Callable[[Scene], Awaitable[str]]
    add: Callable[[Scene, str], Awaitable[str]]
    remove: Callable[[Scene, str], Awaitable[Any]] | None = None
    initial: int = 0  # items before any is added
    newest_first: bool = False

    @property
    def both_ways(self) -> bool:
        return "$last" in self.document


# What stands for a list that has no place in the answer yet: a message nobody reacted to has no group.
EMPTY: dict[str, Any] = {
    "edges": [],
    "nodes": [],
    "pageInfo": {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None},
}


def find_connection(value: Any) -> dict[str, Any] | None:
    if isinstance(value, dict):
        if "pageInfo" in value:
            return value
        value = [*value.values()]
    inner = map(find_connection, value) if isinstance(value, list) else []
    return next((found for found in inner if found is not None), None)


def ids_of(page: dict[str, Any]) -> list[str]:
    return [node["id"] for node in page["nodes"]]


async def nothing(_: Scene) -> str:
    return ""


async def own_channel(scene: Scene) -> str:
    return await create_channel(scene.owner, f"stage of {scene.owner.name}")


async def own_message(scene: Scene) -> str:
    return await send(scene.owner, await own_channel(scene))


async def add_user(scene: Scene, label: str) -> str:
    person: Person = await scene.newcomer(label)
    scene.people[label] = person
    return person.id


async def add_channel(scene: Scene, label: str) -> str:
    """Public and private ones in turn: the server reads them from two indexes."""
    return await create_channel(scene.owner, label, private=len(scene.ids) % 2 == 1)


async def delete_channel(scene: Scene, label: str) -> None:
    await scene.owner.ask(doc.DELETE_CHANNEL, channelId=scene.ids[label])


async def add_member(scene: Scene, label: str) -> str:
    await add_user(scene, label)
    joined = await scene.people[label].ask(doc.JOIN, channelId=scene.target)
    return str(joined["member"]["id"])


async def remove_member(scene: Scene, label: str) -> None:
    await scene.people[label].ask(doc.LEAVE, channelId=scene.target)


async def add_message(scene: Scene, label: str) -> str:
    return await send(scene.owner, scene.target, label)


async def add_reply(scene: Scene, label: str) -> str:
    return await reply(scene.owner, scene.target, label)


async def delete_message(scene: Scene, label: str) -> None:
    await scene.owner.ask(doc.DELETE_MESSAGE, messageId=scene.ids[label])


async def a_workspace_admin(scene: Scene) -> str:
    scene.people["admin"] = await scene.newcomer("admin", admin=True)
    return ""


async def add_reaction(scene: Scene, label: str) -> str:
    given = {"code": label, "imageUrl": "https://images.example/a.png"}
    made = await scene.people["admin"].ask(doc.CREATE_REACTION, input=given)
    return str(made["reaction"]["id"])


async def delete_reaction(scene: Scene, label: str) -> None:
    await scene.people["admin"].ask(doc.DELETE_REACTION, reactionId=scene.ids[label])


async def a_message_for_many(scene: Scene) -> str:
    """The channel is kept, for those who will join it and react."""
    channel = await own_channel(scene)
    scene.ids["channel"] = channel
    return await send(scene.owner, channel)


async def add_reacting_user(scene: Scene, label: str) -> str:
    await add_user(scene, label)
    await scene.people[label].ask(doc.JOIN, channelId=scene.ids["channel"])
    await scene.people[label].ask(doc.ADD_REACTION, messageId=scene.target, code="tada")
    return scene.people[label].id


async def take_reaction_back(scene: Scene, label: str) -> None:
    await scene.people[label].ask(doc.REMOVE_REACTION, messageId=scene.target, code="tada")


async def add_direct_message(scene: Scene, label: str) -> str:
    await add_user(scene, label)
    return await open_dm(scene.owner, scene.people[label])


async def add_file(scene: Scene, label: str) -> str:
    return await upload(scene.owner, scene.target, Sent(name=label))


async def delete_file(scene: Scene, label: str) -> None:
    await scene.owner.ask(DELETE_FILE, fileId=scene.ids[label])


KINDS = {
    "users": Kind(f"query ({FORWARD}) {{ users({FORWARD_ARGUMENTS}) {PAGE} }}", nothing, add_user, initial=1),
    "channels": Kind(
        f"query ({FORWARD}) {{ channels({FORWARD_ARGUMENTS}) {PAGE} }}", nothing, add_channel, delete_channel
    ),
    "viewer.channels": Kind(
        f"query ({FORWARD}) {{ viewer {{ channels({FORWARD_ARGUMENTS}) {PAGE} }} }}",
        nothing,
        add_channel,
        delete_channel,
    ),
    "viewer.channels(isDm)": Kind(
        f"query ({FORWARD}) {{ viewer {{ channels({FORWARD_ARGUMENTS}, isDm: true) {PAGE} }} }}",
        nothing,
        add_direct_message,
    ),
    "members": Kind(
        f"query ($id: ID!, {FORWARD}) {{ channel(id: $id) {{ members({FORWARD_ARGUMENTS}) {PAGE} }} }}",
        own_channel,
        add_member,
        remove_member,
        initial=1,
    ),
    "messages": Kind(
        f"query ($id: ID!, {BOTH_WAYS}) {{ channel(id: $id) {{ messages({BOTH_WAYS_ARGUMENTS}) {PAGE} }} }}",
        own_channel,
        add_message,
        delete_message,
    ),
    "files": Kind(
        f"query ($id: ID!, {FORWARD}) {{ channel(id: $id) {{ files({FORWARD_ARGUMENTS}) {PAGE} }} }}",
        own_channel,
        add_file,
        delete_file,
        newest_first=True,
    ),
    "replyChain": Kind(
        f"query ($id: ID!, {BOTH_WAYS}) {{ message(id: $id) {{ replyChain({BOTH_WAYS_ARGUMENTS}) {PAGE} }} }}",
        own_message,
        add_reply,
        delete_message,
    ),
    "reactions": Kind(
        f"query ({FORWARD}) {{ reactions({FORWARD_ARGUMENTS}, kind: CUSTOM) {PAGE} }}",
        a_workspace_admin,
        add_reaction,
        delete_reaction,
    ),
    "reactions.users": Kind(
        f"query ($id: ID!, {FORWARD}) {{ message(id: $id) {{ reactions {{ users({FORWARD_ARGUMENTS}) {PAGE} }} }} }}",
        a_message_for_many,
        add_reacting_user,
        take_reaction_back,
    ),
}
