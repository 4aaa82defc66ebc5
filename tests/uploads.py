"""Sending files: GraphQL multipart requests, and small contents of every kind."""

import struct
import zlib
from typing import Any, NamedTuple

import orjson
from starlette.applications import Starlette

from app.db import Database
from tests.conftest import Person
from tests.documents import ERRORS, only, snapshot

FILE = "file { id name contentType size width height createdAt uploader { id } channel { id } message { id } }"
UPLOAD = f"mutation ($input: UploadFileInput!) {{ uploadFile(input: $input) {{ {FILE} deduplicated {ERRORS} }} }}"
UPLOAD_FILES = (
    "mutation ($input: UploadFilesInput!) { uploadFiles(input: $input) "
    f"{{ {FILE.replace('file {', 'files {', 1)} {ERRORS} }} }}"
)
DELETE_FILE = f"mutation ($fileId: ID!) {{ deleteFile(fileId: $fileId) {{ {FILE} {ERRORS} }} }}"
DOWNLOAD = (
    "mutation ($fileId: ID!, $ttl: Int) { createDownloadUrl(fileId: $fileId, ttlSeconds: $ttl) "
    f"{{ download {{ url expiresAt }} file {{ id }} {ERRORS} }} }}"
)
READ_FILE = f"query ($id: ID!) {{ {FILE.replace('file {', 'file(id: $id) {', 1)} }}"


class Sent(NamedTuple):
    """A file as a client sends it."""

    content: bytes = b"Hello, file!"
    name: str = "hello.txt"
    content_type: str = "text/plain"


def png(width: int, height: int) -> bytes:
    """As much of an image as tells its size, and is one."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (width + 1) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def image(width: int = 3, height: int = 2, name: str = "image.png") -> Sent:
    return Sent(png(width, height), name, "image/png")


async def send_form(person: Person, document: str, files: dict[str, Sent], /, **variables: Any) -> dict[str, Any]:
    """The whole response body. `files` is by their places in the variables: `input.file`; there must be null."""
    operations = orjson.dumps({"query": document, "variables": variables})
    places = {str(number): [f"variables.{place}"] for number, place in enumerate(files)}
    response = await person.http.post(
        "/graphql",
        data={"operations": operations.decode(), "map": orjson.dumps(places).decode()},
        files={str(number): (sent.name, sent.content, sent.content_type) for number, sent in enumerate(files.values())},
        headers={"Authorization": f"Bearer {person.token}", "GraphQL-Preflight": "1"},
    )
    body: dict[str, Any] = response.json()
    return body


async def send_file(person: Person, channel_id: str, sent: Sent, key: str | None = None) -> Any:
    """The payload of `uploadFile`."""
    given = {"channelId": channel_id, "file": None, "clientKey": key}
    body = await send_form(person, UPLOAD, {"input.file": sent}, input=given)
    assert "errors" not in body, body
    return body["data"]["uploadFile"]


async def upload(person: Person, channel_id: str, sent: Sent = Sent(), key: str | None = None) -> str:  # noqa: B008 - it does not change
    """The id of a new file."""
    payload = await send_file(person, channel_id, sent, key)
    assert payload["errors"] == [], payload
    return str(payload["file"]["id"])


async def upload_several(person: Person, channel_id: str, *sent: Sent) -> Any:
    """The payload of `uploadFiles`."""
    places = {f"input.files.{number}": each for number, each in enumerate(sent)}
    given = {"channelId": channel_id, "files": [None] * len(sent)}
    body = await send_form(person, UPLOAD_FILES, places, input=given)
    assert "errors" not in body, body
    return body["data"]["uploadFiles"]


async def download(person: Person, file_id: str, ttl: int | None = None) -> str:
    """An address to read it from."""
    made = await person.ask(only("download { url }", DOWNLOAD), fileId=file_id, ttl=ttl)
    return str(made["download"]["url"])


async def refused_upload(database: Database, person: Person, channel_id: str, sent: Sent) -> tuple[str, list[str]]:
    """Code and field of the one error of an upload that must write nothing."""
    before = await snapshot(database)
    payload = await send_file(person, channel_id, sent)
    (error,) = payload["errors"]
    assert error["message"]
    assert (payload["file"], payload["cursor"], payload["deduplicated"]) == (None, None, False)
    assert await snapshot(database) == before, "something was written"
    return error["code"], error["field"]


def objects(app: Starlette) -> set[str]:
    """The keys of what is in the app's storage on the local disk."""
    folder = app.state.services.settings.data_dir / "files"
    return {path.name for path in folder.glob("*/*")}
