"""Files through the API: uploading them, and messages that carry them."""

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette

from app.db import Database
from tests.conftest import Person
from tests.documents import (
    DELETE_MESSAGE,
    EDIT,
    REPLY,
    SEND,
    create_channel,
    denial,
    only,
    scalar,
    select,
    send,
    snapshot,
)
from tests.follower import brief, following
from tests.uploads import (
    DELETE_FILE,
    READ_FILE,
    UPLOAD_FILES,
    Sent,
    download,
    image,
    objects,
    refused_upload,
    send_file,
    send_form,
    upload,
    upload_several,
)

CARRIED = "message { id content files { id name } }"
FILES_OF = "query ($id: ID!) { message(id: $id) { files { id } } }"
HTML = b"<!doctype html><script>alert(1)</script>"


async def post(author: Person, channel: str, *files: str, content: str = "", key: str | None = None) -> Any:
    given = {"channelId": channel, "content": content, "fileIds": [*files], "clientKey": key}
    return await author.ask(only(f"{CARRIED} deduplicated cursor", SEND), input=given)


async def test_a_file_is_uploaded_told_of_and_read(alice: Person, app: Starlette, database: Database) -> None:
    channel = await create_channel(alice)
    follower, there = await following(alice), objects(app)
    payload = await send_file(alice, channel, Sent(b"Hello, file!", "../notes/\u202ehello.txt", "text/plain"))
    file = payload["file"]
    assert (payload["errors"], payload["deduplicated"]) == ([], False)
    assert {name: file[name] for name in ("name", "contentType", "size", "width", "height", "message")} == {
        "name": "hello.txt",
        "contentType": "text/plain",
        "size": 12,
        "width": None,
        "height": None,
        "message": None,
    }
    assert (file["uploader"]["id"], file["channel"]["id"]) == (alice.id, channel)
    assert await alice.ask(READ_FILE, id=file["id"]) == file
    [event] = await follower.events()
    assert brief(event) == ("FILE_UPLOADED", "alice", {"file": "hello.txt", "fileId": file["id"], "expiresAt": None})
    assert event["cursor"] == payload["cursor"]
    assert {await scalar(database, "SELECT object_key FROM files")} == objects(app) - there
    assert await scalar(database, "SELECT extract(epoch FROM remove_after - now()) FROM stored_objects") > 80_000
    answer = await alice.http.get(await download(alice, file["id"]))
    assert (answer.status_code, answer.content) == (200, b"Hello, file!")
    assert answer.headers["content-disposition"].startswith("attachment;")


async def test_an_image_tells_its_size(alice: Person) -> None:
    file = (await send_file(alice, await create_channel(alice), image(30, 20)))["file"]
    assert (file["contentType"], file["width"], file["height"]) == ("image/png", 30, 20)


@pytest.mark.parametrize(
    "sent, code",
    [
        (Sent(b""), "FILE_EMPTY"),
        (Sent(HTML, "page.html", "text/html"), "FILE_TYPE_NOT_ALLOWED"),
        (Sent(HTML, "image.png", "image/png"), "FILE_TYPE_MISMATCH"),
        (Sent(b"plain", "image.png", "image/png"), "FILE_TYPE_MISMATCH"),
    ],
)
async def test_what_is_refused_leaves_nothing(
    alice: Person, app: Starlette, database: Database, sent: Sent, code: str
) -> None:
    channel, there = await create_channel(alice), objects(app)
    assert await refused_upload(database, alice, channel, sent) == (code, ["file"])
    payload = await upload_several(alice, channel, Sent(), sent)
    assert [(error["code"], error["field"]) for error in payload["errors"]] == [(code, ["files", "1"])]
    assert (payload["files"], await scalar(database, "SELECT count(*) FROM stored_objects")) == ([], 0)
    assert objects(app) == there


async def test_several_files_come_together(alice: Person, app: Starlette) -> None:
    channel = await create_channel(alice)
    follower, there = await following(alice), objects(app)
    payload = await upload_several(alice, channel, *(Sent(name=f"{number}.txt") for number in range(10)))
    assert [file["name"] for file in payload["files"]] == [f"{number}.txt" for number in range(10)]
    assert [event["fileId"] for event in await follower.events()] == [file["id"] for file in payload["files"]]
    assert len(objects(app) - there) == 10
    none = await alice.send(UPLOAD_FILES, input={"channelId": channel, "files": []})
    [error] = none["data"]["uploadFiles"]["errors"]
    assert (error["code"], error["field"]) == ("INVALID_INPUT", ["files"])


async def test_one_file_may_go_to_two_channels(alice: Person) -> None:
    channels = [await create_channel(alice, name) for name in ("here", "there")]
    document = """mutation ($file: Upload!, $here: ID!, $there: ID!) {
        here: uploadFile(input: {channelId: $here, file: $file}) { file { id size } }
        there: uploadFile(input: {channelId: $there, file: $file}) { file { id size } } }"""
    body = await send_form(alice, document, {"file": Sent()}, file=None, here=channels[0], there=channels[1])
    made = [body["data"][name]["file"] for name in ("here", "there")]
    assert [file["size"] for file in made] == [12, 12]
    for file in made:
        assert (await alice.http.get(await download(alice, file["id"]))).content == Sent().content


async def test_a_retry_of_an_upload_stores_nothing(alice: Person, app: Starlette, database: Database) -> None:
    channel = await create_channel(alice)
    first = await send_file(alice, channel, Sent(), key="k")
    before, there = await snapshot(database), objects(app)
    again = await send_file(alice, channel, Sent(), key="k")
    assert (again["deduplicated"], again["file"]) == (True, first["file"])
    for other in (Sent(b"Hello, other"), Sent(name="other.txt")):
        payload = await send_file(alice, channel, other, key="k")
        assert [(error["code"], error["field"]) for error in payload["errors"]] == [("KEY_REUSED", ["clientKey"])]
    bad = await send_file(alice, channel, Sent(), key=" k")
    assert [(error["code"], error["field"]) for error in bad["errors"]] == [("INVALID_INPUT", ["clientKey"])]
    assert await snapshot(database) == before
    assert objects(app) == there


async def test_retries_at_the_same_time_make_one_file(alice: Person, database: Database) -> None:
    """Four: more would have to wait for each other (schema/transport/upload_slots.py)."""
    channel = await create_channel(alice)
    payloads = await asyncio.gather(*(send_file(alice, channel, Sent(), key="k") for _ in range(4)))
    assert len({payload["file"]["id"] for payload in payloads}) == 1
    assert sum(payload["deduplicated"] for payload in payloads) == 3
    assert await scalar(database, "SELECT count(*) FROM stream_events WHERE type = 'FILE_UPLOADED'") == 1
    left = (
        "SELECT count(*) FROM stored_objects WHERE key NOT IN (SELECT object_key FROM files) AND remove_after > now()"
    )
    assert await scalar(database, left) == 0


async def test_a_message_carries_files(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    files = [await upload(alice, channel, Sent(name=name)) for name in ("a.txt", "b.txt")]
    follower = await following(bob)
    sent = await post(alice, channel, *reversed(files))
    assert sent["message"]["content"] == ""
    assert sent["message"]["files"] == [{"id": files[0], "name": "a.txt"}, {"id": files[1], "name": "b.txt"}]
    assert (await bob.ask(READ_FILE, id=files[0]))["message"] == {"id": sent["message"]["id"]}
    assert [event["type"] for event in await follower.events()] == ["MESSAGE_CREATED"]
    assert await select(database, "SELECT DISTINCT remove_after FROM stored_objects") == [(None,)]


async def test_an_answer_carries_files(alice: Person) -> None:
    channel = await create_channel(alice)
    file = await upload(alice, channel)
    given = {"parentId": await send(alice, channel), "content": "look", "fileIds": [file]}
    assert [each["id"] for each in (await alice.ask(only(CARRIED, REPLY), input=given))["message"]["files"]] == [file]


async def test_only_own_free_files_of_the_channel_are_carried(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    elsewhere = await create_channel(alice, "elsewhere")
    free, carried, gone = [await upload(alice, channel) for _ in range(3)]
    await post(alice, channel, carried)
    await alice.ask(DELETE_FILE, fileId=gone)
    others, abroad = await upload(bob, channel), await upload(alice, elsewhere)
    for files, code in (
        ([others], "NOT_FOUND"),
        ([free, gone], "NOT_FOUND"),
        ([free, channel], "NOT_FOUND"),
        (["nonsense"], "NOT_FOUND"),
        ([free, carried], "INVALID_INPUT"),
        ([abroad], "INVALID_INPUT"),
        ([free, free], "INVALID_INPUT"),
        ([free] * 11, "INVALID_INPUT"),
    ):
        given = {"channelId": channel, "content": "look", "fileIds": files}
        refused = await denial(database, alice, SEND, input=given)
        assert (refused.code, refused.field) == (code, ["fileIds"]), files
    given = {"channelId": channel, "content": "", "fileIds": []}
    assert (await denial(database, alice, SEND, input=given)).field == ["content"]
    assert len((await post(alice, channel, free))["message"]["files"]) == 1


async def test_a_file_is_carried_once_by_whoever_is_first(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    file = await upload(alice, channel)
    given = {"channelId": channel, "content": "mine", "fileIds": [file]}
    bodies = await asyncio.gather(*(alice.send(only(CARRIED, SEND), input=given) for _ in range(8)))
    codes = [[error["code"] for error in body["data"]["sendMessage"]["errors"]] for body in bodies]
    assert sorted(codes) == [[], *[["INVALID_INPUT"]] * 7]
    assert await scalar(database, "SELECT count(*) FROM messages") == 1


async def test_a_retry_of_a_message_with_files(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    file, other = await upload(alice, channel), await upload(alice, channel)
    first = await post(alice, channel, file, key="k")
    before = await snapshot(database)
    again = await post(alice, channel, file, key="k")
    assert (again["deduplicated"], again["message"]) == (True, first["message"])
    for files in ([], [other], [file, other]):
        given = {"channelId": channel, "content": "", "fileIds": files, "clientKey": "k"}
        assert (await alice.refused(SEND, input=given)) == ("KEY_REUSED" if files else "INVALID_INPUT")
    assert await snapshot(database) == before


async def test_a_text_may_go_where_files_stay(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    sent = await post(alice, channel, await upload(alice, channel), content="a text")
    edited = await alice.ask(EDIT, input={"messageId": sent["message"]["id"], "content": ""})
    assert edited["message"]["content"] == ""
    plain = {"messageId": await send(alice, channel), "content": ""}
    assert (await denial(database, alice, EDIT, input=plain)).field == ["content"]


async def test_a_deleted_message_takes_its_files_along(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    files = [await upload(bob, channel), await upload(bob, channel)]
    other = await upload(bob, channel)
    message = (await post(bob, channel, *files))["message"]["id"]
    follower = await following(bob)
    await alice.ask(DELETE_MESSAGE, messageId=message)
    told = [(event["type"], event.get("fileId"), event.get("file")) for event in await follower.events()]
    assert told == [("MESSAGE_DELETED", None, None), *(("FILE_DELETED", file, None) for file in files)]
    assert await bob.ask(FILES_OF, id=message) == {"files": []}
    assert [await bob.ask(READ_FILE, id=file) for file in files] == [None, None]
    assert (await bob.ask(READ_FILE, id=other))["id"] == other
    assert await scalar(database, "SELECT count(*) FROM stored_objects WHERE remove_after <= now()") == 2


async def test_clients_learn_the_limits(alice: Person) -> None:
    info = await alice.ask("{ serverInfo { maxFileSizeBytes allowedFileTypes } }")
    assert info["maxFileSizeBytes"] == 50 * 1024 * 1024
    assert {"image/png", "application/pdf", "text/plain"} <= {*info["allowedFileTypes"]}
    assert not {"text/html", "image/svg+xml"} & {*info["allowedFileTypes"]}
