"""Too much, of no file, and of other people's files: the real program, with both storages."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from tests.documents import LEAVE, SEND, create_channel, only
from tests.file_places import (  # noqa: F401 - with fixtures
    MB,
    TO_FILE,
    Place,
    clean_place,
    either_place,
    files_in_s3,
    files_on_disk,
)
from tests.forms import HEADERS, Part, file, form, mapping, operations
from tests.served import code
from tests.test_content import png
from tests.test_files_hostile import CREATE_REACTION
from tests.uploads import (
    DELETE_FILE,
    DOWNLOAD,
    READ_FILE,
    UPLOAD,
    UPLOAD_FILES,
    Sent,
    download,
    send_file,
    send_form,
    upload,
)


# ---------------------------------------------------------------- how much of it
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_byte_too_many_leaves_nothing(place: Place, is_chunked: bool) -> None:
    there = place.objects()
    given = {"channelId": place.channel, "file": None}
    for size, status in ((MB, 200), (MB + 1, 413), (11 * MB + 1, 413)):
        body = form(operations(UPLOAD, input=given), TO_FILE, file(content=b"x" * size))

        async def pieces(body: bytes = body) -> AsyncIterator[bytes]:
            for start in range(0, len(body), 65_536):
                yield body[start : start + 65_536]

        headers = {**HEADERS, "authorization": f"Bearer {place.alice.token}", "connection": "close"}
        content: Any = pieces() if is_chunked else body
        answer = await place.alice.http.post("/graphql", content=content, headers=headers)
        assert answer.status_code == status, size
        if status == 413:
            assert code(answer) == "FILE_TOO_LARGE"
    assert len(place.objects() - there) == 1


async def test_too_many_files_or_parts_leave_nothing(place: Place) -> None:
    there = place.objects()
    given: dict[str, Any] = {"channelId": place.channel, "files": [None] * 11}
    places = {f"f{number}": f"variables.input.files.{number}" for number in range(11)}
    answer = await place.raw(operations(UPLOAD_FILES, input=given), mapping(**places), *map(file, places))
    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")
    given = {"channelId": place.channel, "file": None}
    more = [Part(f"p{number}", b"x") for number in range(1001)]
    for parts in ([file(), *more], more):
        answer = await place.raw(operations(UPLOAD, input=given), TO_FILE, *parts)
        assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")
    # In a list that the document has room for, but the service has not.
    body = await send_form(place.alice, UPLOAD_FILES, {}, input={"channelId": place.channel, "files": [None] * 3})
    assert body["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
    assert place.objects() == there


async def test_bombs_are_not_opened(place: Place) -> None:
    """10 million times larger unpacked, and an image of 10 GB if it were decoded."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(50 * MB))
    bomb = packed.getvalue()
    bomb = bomb.replace((50 * MB).to_bytes(4, "little"), b"\xff\xff\xff\xff")  # it says 4 GB
    await upload(place.alice, place.channel)
    (place.process / "clear_refs").write_text("5", encoding="utf-8")  # forgets the peak
    before = place.peak()
    zip_file = (await send_file(place.alice, place.channel, Sent(bomb, "bomb.zip", "application/zip")))["file"]
    assert (zip_file["contentType"], zip_file["size"], zip_file["width"]) == ("application/zip", len(bomb), None)
    picture = Sent(png(50_000, 50_000), "huge.png", "image/png")
    image = (await send_file(place.alice, place.channel, picture))["file"]
    assert (image["width"], image["height"], image["size"]) == (50_000, 50_000, len(picture.content))
    for width, height in ((0, 5), (2**32 - 1, 5), (2**31, 2**31)):
        odd = (await send_file(place.alice, place.channel, Sent(png(width, height), "odd.png", "image/png")))["file"]
        assert (odd["width"], odd["height"]) == (None, None)
    assert place.peak() - before < 16 * MB
    root = await place.node.person("root", admin=True)
    body = await send_form(root, CREATE_REACTION, {"input.image": picture}, input={"code": "huge", "image": None})
    [error] = body["data"]["createReaction"]["errors"]
    assert (error["code"], error["field"]) == ("INVALID_INPUT", ["image"])


# ---------------------------------------------------------------- what is no file
@pytest.mark.parametrize("value", ["a.txt", "", 5, True, {}, {"content": "x"}, [None], ["a"]])
async def test_no_other_value_is_a_file(place: Place, value: Any) -> None:
    there = place.objects()
    body = await place.alice.send(UPLOAD, input={"channelId": place.channel, "file": value})
    assert body["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
    given = {"channelId": place.channel, "files": [value]}
    body = await place.alice.send(UPLOAD_FILES, input=given)
    assert body["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
    assert place.objects() == there


@pytest.mark.parametrize(
    "path, part",
    [
        ("variables.input.file", Part("a", b"a text")),
        ("operations", file()),
        ("variables", file()),
        ("variables.input", file()),
        ("variables.input.file.name", file()),
        ("variables.input.channelId", file()),
        ("variables.input.clientKey.0", file()),
        ("variables.input.file.99", file()),
        ("variables.input.__class__", file()),
    ],
)
async def test_a_part_that_goes_nowhere_is_a_bad_request(place: Place, path: str, part: Part) -> None:
    there = place.objects()
    given = {"channelId": place.channel, "file": None, "clientKey": None}
    answer = await place.raw(operations(UPLOAD, input=given), mapping(a=path), part)
    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")
    assert place.objects() == there


async def test_a_file_is_no_id_and_no_text(place: Place) -> None:
    """Nor does it appear in what is answered."""
    there = place.objects()
    for path in ("channelId", "clientKey"):
        given = {"channelId": place.channel, "file": None, "clientKey": None, path: None}
        document, to = operations(UPLOAD, input=given), mapping(a=f"variables.input.{path}")
        answer = await place.raw(document, to, file(filename="secret.txt"))
        assert answer.status_code == 400
        assert {error["extensions"]["code"] for error in answer.json()["errors"]} == {"BAD_REQUEST"}
        assert "secret" not in answer.text
    assert place.objects() == there


# ---------------------------------------------------------------- whose it is
async def test_ids_of_others_files_open_nothing(place: Place) -> None:
    bob, carol = await place.node.person("bob"), await place.node.person("carol")
    private = await create_channel(place.alice, "private", private=True, members=(bob,))
    file_id = await upload(place.alice, private)
    assert (await bob.ask(READ_FILE, id=file_id))["id"] == file_id, "for this test to mean anything"
    unknown = "RmlsZTo5OTk5OTk5OQ"
    for hidden in (file_id, unknown, private, "nonsense", ""):
        assert (await carol.send(READ_FILE, id=hidden))["data"]["file"] is None
        assert await carol.refused(DOWNLOAD, fileId=hidden) == "NOT_FOUND"
        assert await carol.refused(DELETE_FILE, fileId=hidden) == "NOT_FOUND"
    own = await create_channel(carol, "own")
    for document in (SEND, only("message { files { id } }", SEND)):
        given = {"channelId": own, "content": "mine now", "fileIds": [file_id]}
        assert await carol.refused(document, input=given) == "NOT_FOUND"
    assert await bob.refused(SEND, input={"channelId": private, "content": "x", "fileIds": [file_id]}) == "NOT_FOUND"
    assert await bob.refused(DELETE_FILE, fileId=file_id) == "ROLE_TOO_LOW"
    assert (await place.get(file_id)).content == Sent().content


async def test_whoever_has_left_gets_no_address_and_the_old_one_ends(place: Place) -> None:
    dave = await place.node.person("dave")
    private = await create_channel(place.alice, "left", private=True, members=(dave,))
    file_id, own = await upload(place.alice, private), await upload(dave, private)
    made = await dave.ask(only("download { url expiresAt }", DOWNLOAD), fileId=file_id, ttl=2)
    assert (await dave.http.get(made["download"]["url"])).content == Sent().content
    await dave.ask(LEAVE, channelId=private)
    for each in (file_id, own):
        assert await dave.refused(DOWNLOAD, fileId=each) == "NOT_FOUND"
        assert await dave.refused(DELETE_FILE, fileId=each) == "NOT_FOUND"
    assert await dave.refused(SEND, input={"channelId": private, "content": "x", "fileIds": [own]}) == "NOT_FOUND"
    ends = datetime.fromisoformat(made["download"]["expiresAt"])
    await asyncio.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()) + 1.1)
    assert (await dave.http.get(made["download"]["url"])).status_code == 403


async def test_an_address_is_for_one_file_for_reading_and_for_a_while(place: Place) -> None:
    mine, other = await upload(place.alice, place.channel), await upload(place.alice, place.channel, Sent(b"other"))
    before = datetime.now(UTC)
    made = await place.alice.ask(only("download { url expiresAt }", DOWNLOAD), fileId=mine)
    lives = datetime.fromisoformat(made["download"]["expiresAt"]) - before
    assert timedelta(seconds=299) < lives < timedelta(seconds=330)
    url = httpx.URL(made["download"]["url"])
    path = httpx.URL(await download(place.alice, other)).path
    parameters = [*url.params.multi_items()]
    forged = [url.copy_with(path=path), url.copy_with(query=None), url.copy_with(path=url.path + "/../signing-key")]
    for number, (name, value) in enumerate(parameters):
        without = parameters[:number] + parameters[number + 1 :]
        forged.append(url.copy_with(query=urlencode(without).encode()))
        forged.append(url.copy_with(query=urlencode([*without, (name, value + "1")]).encode()))
    async with httpx.AsyncClient() as reader:
        assert (await reader.get(url)).content == Sent().content
        for address in forged:
            answer = await reader.get(address)
            assert answer.status_code in {400, 403, 404}, address
            assert b"Hello" not in answer.content
            assert b"other" not in answer.content
        for method in ("PUT", "POST", "DELETE", "PATCH"):
            assert (await reader.request(method, url, content=b"changed")).status_code in {400, 403, 405, 501}
        assert (await reader.get(url)).content == Sent().content
