"""Hidden equals missing through every path: an outsider gets the same bytes for both (realtime.md D, 20-22 and 32)."""

from collections.abc import Callable
from typing import Any

import pytest

from app.db import Database
from schema.root import schema
from tests import documents as doc
from tests.conftest import Person
from tests.documents import (
    create_channel,
    denied,
    global_id,
    ids_of_nothing,
    open_dm,
    reply,
    request_error,
    send,
    snapshot,
)
from tests.uploads import DELETE_FILE, DOWNLOAD, READ_FILE, upload

Variables = Callable[[str, str], dict[str, Any]]  # of the id in question and the asker's own id

CHANNEL_WRITES: dict[str, tuple[str, Variables]] = {
    "updateChannel": (doc.UPDATE_CHANNEL, lambda id_, _: {"input": {"channelId": id_, "name": "x"}}),
    "setChannelPrivacy": (doc.SET_PRIVACY, lambda id_, _: {"channelId": id_, "isPrivate": False}),
    "rotateJoinCode": (doc.ROTATE, lambda id_, _: {"channelId": id_}),
    "archiveChannel": (doc.ARCHIVE, lambda id_, _: {"channelId": id_, "archived": True}),
    "deleteChannel": (doc.DELETE_CHANNEL, lambda id_, _: {"channelId": id_}),
    "joinChannel": (doc.JOIN, lambda id_, _: {"channelId": id_}),
    "leaveChannel": (doc.LEAVE, lambda id_, _: {"channelId": id_}),
    "addMembers": (doc.ADD_MEMBERS, lambda id_, own: {"channelId": id_, "userIds": [own]}),
    "removeMember": (doc.REMOVE_MEMBER, lambda id_, own: {"channelId": id_, "userId": own}),
    "setMemberRole": (doc.SET_ROLE, lambda id_, own: {"channelId": id_, "userId": own, "role": "OWNER"}),
    "sendMessage": (doc.SEND, lambda id_, _: {"input": {"channelId": id_, "content": "x"}}),
    "setTyping": (doc.SET_TYPING, lambda id_, _: {"channelId": id_, "typing": True}),
}
MESSAGE_WRITES: dict[str, tuple[str, Variables]] = {
    "replyToMessage": (doc.REPLY, lambda id_, _: {"input": {"parentId": id_, "content": "x"}}),
    "editMessage": (doc.EDIT, lambda id_, _: {"input": {"messageId": id_, "content": "x"}}),
    "deleteMessage": (doc.DELETE_MESSAGE, lambda id_, _: {"messageId": id_}),
    "addReaction": (doc.ADD_REACTION, lambda id_, _: {"messageId": id_, "code": "tada"}),
    "removeReaction": (doc.REMOVE_REACTION, lambda id_, _: {"messageId": id_, "code": "tada"}),
}
FILE_WRITES: dict[str, tuple[str, Variables]] = {
    "deleteFile": (DELETE_FILE, lambda id_, _: {"fileId": id_}),
    "createDownloadUrl": (DOWNLOAD, lambda id_, _: {"fileId": id_}),
}
OTHER_WRITES: dict[str, tuple[str, Variables]] = {
    "updateProfile": (doc.UPDATE_PROFILE, lambda _, __: {"input": {"bio": "x"}}),
    "setUserActive": (doc.SET_USER_ACTIVE, lambda id_, _: {"userId": id_, "active": False}),
    "setPresence": (doc.SET_PRESENCE, lambda _, __: {"presence": "AWAY"}),
    "renewSession": (doc.RENEW_SESSION, lambda _, __: {"token": "x"}),
    "createChannel": (doc.CREATE_CHANNEL, lambda _, __: {"input": {"name": "x"}}),
    "openDirectMessage": (doc.OPEN_DM, lambda id_, _: {"userIds": [id_]}),
    "joinChannelByCode": (doc.JOIN_BY_CODE, lambda _, __: {"joinCode": "x"}),
    "createReaction": (doc.CREATE_REACTION, lambda _, __: {"input": {"code": "x", "imageUrl": "https://x.example"}}),
    "deleteReaction": (doc.DELETE_REACTION, lambda id_, _: {"reactionId": id_}),
}
UPLOADS = {"uploadFile", "uploadFiles"}  # tests/test_files_access.py
READS = {
    "node": "query ($id: ID!) { node(id: $id) { id } }",
    "nodes": "query ($id: ID!) { nodes(ids: [$id]) { id } }",
    "channel": doc.READ_CHANNEL,
    "message": doc.READ_MESSAGE,
    "file": READ_FILE,
    "user": "query ($id: ID!) { user(id: $id) { id } }",
    "directMessage": "query ($id: ID!) { directMessage(userIds: [$id]) { id } }",
    "around": '{ channels { nodes { messages(around: "%s") { nodes { id } } } } }',
    "viewer": "{ viewer { user { id } cursor } }",
    "users": "{ users { nodes { id } } }",
    "channels": "{ channels { nodes { id } } }",
    "channelByJoinCode": '{ channelByJoinCode(joinCode: "x") { name } }',
    "reactions": "{ reactions { nodes { id } } }",
}
MISSING = {typename: global_id(f"{typename}:999999999") for typename in ("Channel", "Message", "File")}


def test_no_mutation_is_missing_here() -> None:
    mutation = schema._schema.mutation_type  # noqa: SLF001 - graphql-core's schema has no public name
    assert mutation is not None
    assert mutation.fields.keys() == {*CHANNEL_WRITES, *MESSAGE_WRITES, *FILE_WRITES, *OTHER_WRITES, *UPLOADS}


async def hidden_things(owner: Person) -> list[tuple[str, str]]:
    """What nobody but `owner` sees: pairs of a type and an id."""
    private, own = await create_channel(owner, private=True), await open_dm(owner)
    deleted = await create_channel(owner, "deleted")
    found = [(typename, channel) for channel in (private, own, deleted) for typename in ("Channel",)]
    for channel in (private, own, deleted):
        top = await send(owner, channel)
        found += [("Message", top), ("Message", await reply(owner, top)), ("File", await upload(owner, channel))]
    await owner.ask(doc.DELETE_CHANNEL, channelId=deleted)
    return found


async def test_a_hidden_thing_reads_like_a_missing_one(alice: Person, bob: Person, root: Person) -> None:
    await create_channel(bob, "in sight")
    hidden_ones = await hidden_things(alice)
    assert (await alice.ask(READS["node"], id=hidden_ones[0][1]))["id"]
    for name in ("node", "nodes", "channel", "message", "file", "around"):
        document = READS[name]
        missing = {typename: await bob.send(document.replace("%s", id_), id=id_) for typename, id_ in MISSING.items()}
        for typename, hidden in hidden_ones:
            assert await bob.send(document.replace("%s", hidden), id=hidden) == missing[typename], name
    for typename, hidden in hidden_ones:
        assert await root.ask(READS["node"], id=hidden) is None, typename


async def test_a_hidden_channel_is_written_to_like_a_missing_one(
    alice: Person, bob: Person, root: Person, database: Database
) -> None:
    await create_channel(root)
    hidden = [id_ for typename, id_ in await hidden_things(alice) if typename == "Channel"]
    before = await snapshot(database)
    for name, (document, variables) in CHANNEL_WRITES.items():
        missing = await bob.send(document, **variables(MISSING["Channel"], bob.id))
        assert missing["data"][name]["errors"][0]["code"] == "NOT_FOUND"
        for channel in hidden:
            assert await bob.send(document, **variables(channel, bob.id)) == missing, name
            if name != "deleteChannel":  # by id, a workspace admin may
                assert await root.send(document, **variables(channel, bob.id)) == missing, name
    assert await snapshot(database) == before


@pytest.mark.parametrize("typename", ["Message", "File"])
async def test_a_hidden_thing_is_written_to_like_a_missing_one(
    alice: Person, bob: Person, root: Person, database: Database, typename: str
) -> None:
    hidden = [id_ for found, id_ in await hidden_things(alice) if found == typename]
    before = await snapshot(database)
    for name, (document, variables) in (MESSAGE_WRITES if typename == "Message" else FILE_WRITES).items():
        missing = await bob.send(document, **variables(MISSING[typename], bob.id))
        assert missing["data"][name]["errors"][0]["code"] == "NOT_FOUND"
        for message in hidden:
            assert await bob.send(document, **variables(message, bob.id)) == missing, name
            assert await root.send(document, **variables(message, bob.id)) == missing, name
    assert await snapshot(database) == before


@pytest.mark.parametrize("name", ["node", "channel", "message", "file"])
async def test_a_hidden_thing_takes_the_statements_that_a_missing_one_takes(
    alice: Person, bob: Person, statements: list[str], name: str
) -> None:
    channel = await create_channel(alice, private=True)
    hidden_ones = {"Channel": channel, "Message": await send(alice, channel), "File": await upload(alice, channel)}
    for typename, hidden in hidden_ones.items():
        sent = []
        for id_ in (hidden, MISSING[typename]):
            statements.clear()
            await bob.send(READS[name], id=id_)
            sent.append([*statements])
        assert sent[0] == sent[1]


async def test_an_id_of_nothing_is_not_found_by_any_mutation(alice: Person, database: Database) -> None:
    await create_channel(alice)
    before = await snapshot(database)
    for typename, writes in (("Channel", CHANNEL_WRITES), ("Message", MESSAGE_WRITES), ("File", FILE_WRITES)):
        strange = ids_of_nothing(typename, alice)
        for name, (document, variables) in writes.items():
            for id_ in (strange[0], strange[1], strange[4], strange[-1], alice.id):
                body = await alice.send(document, **variables(id_, alice.id))
                assert body["data"][name]["errors"][0]["code"] == "NOT_FOUND", (name, id_)
    assert await snapshot(database) == before


async def test_an_id_of_nothing_is_null_in_any_query(alice: Person) -> None:
    await create_channel(alice)
    for name, typename in (("channel", "Channel"), ("message", "Message"), ("file", "File"), ("user", "User")):
        for id_ in ids_of_nothing(typename, alice):
            assert await alice.ask(READS[name], id=id_) is None, (name, id_)


async def test_a_user_that_is_none_is_not_found(alice: Person, root: Person, database: Database) -> None:
    channel = await create_channel(root, members=(alice,))
    for user_id in ids_of_nothing("User", alice):
        assert await denied(database, root, doc.SET_USER_ACTIVE, userId=user_id, active=False) == "NOT_FOUND"
        assert await denied(database, root, doc.ADD_MEMBERS, channelId=channel, userIds=[user_id]) == "NOT_FOUND"


async def test_hidden_things_are_in_no_list(alice: Person, bob: Person, root: Person) -> None:
    await hidden_things(alice)
    for outsider in (bob, root):
        assert (await outsider.ask("{ channels(first: 100) { nodes { id } } }"))["nodes"] == []
        assert (await outsider.ask("{ viewer { channels(first: 100) { nodes { id } } } }"))["channels"]["nodes"] == []
    assert len((await alice.ask("{ viewer { channels { nodes { id } } } }"))["channels"]["nodes"]) == 2


async def test_a_removed_member_is_an_outsider_through_every_path(alice: Person, bob: Person) -> None:
    channel = await create_channel(alice, private=True, members=(bob,))
    message, file = await send(bob, channel), await upload(bob, channel)
    await alice.ask(doc.REMOVE_MEMBER, channelId=channel, userId=bob.id)
    for name, id_ in (("channel", channel), ("message", message), ("file", file)):
        assert await bob.ask(READS["node"], id=id_) is None, name
        assert await bob.ask(READS[name], id=id_) is None, name
    for name, (document, variables) in {**CHANNEL_WRITES, **MESSAGE_WRITES, **FILE_WRITES}.items():
        id_ = channel if name in CHANNEL_WRITES else message if name in MESSAGE_WRITES else file
        assert await bob.refused(document, **variables(id_, bob.id)) == "NOT_FOUND", name


async def test_only_admins_see_the_join_code(alice: Person, bob: Person, carol: Person) -> None:
    channel = await create_channel(alice, private=True, members=(bob, carol))
    assert (await alice.ask(doc.READ_CHANNEL, id=channel))["joinCode"]
    for role, sees in (("MEMBER", False), ("MODERATOR", False), ("ADMIN", True)):
        await doc.set_role(alice, channel, bob, role)
        assert bool((await bob.ask(doc.READ_CHANNEL, id=channel))["joinCode"]) is sees
        assert (await carol.ask(doc.READ_CHANNEL, id=channel))["joinCode"] is None


async def test_without_a_token_there_is_only_the_server_info(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    before = await snapshot(database)
    alice.http.headers.pop("authorization", None)

    async def code(document: str, variables: dict[str, Any]) -> str:
        answer = await alice.http.post("/graphql", json={"query": document, "variables": variables})
        (error,) = answer.json()["errors"]
        return str(error["extensions"]["code"])

    for document, variables in {**CHANNEL_WRITES, **MESSAGE_WRITES, **FILE_WRITES, **OTHER_WRITES}.values():
        assert await code(document, variables(channel, alice.id)) == "UNAUTHENTICATED", document
    for document in READS.values():
        assert await code(document.replace("%s", ""), {"id": channel}) == "UNAUTHENTICATED", document
    answer = await alice.http.post("/graphql", json={"query": "{ serverInfo { version maxMessageLength } }"})
    assert answer.json()["data"]["serverInfo"]["maxMessageLength"] == 8000
    assert await snapshot(database) == before


async def test_a_bad_token_is_refused_even_where_none_is_needed(alice: Person) -> None:
    stranger = Person("stranger", alice.token[:-4] + "AAAA", alice.http)
    assert await request_error(stranger, "{ serverInfo { version } }") == "UNAUTHENTICATED"
