"""What both storages promise: the same tests against the local disk and a real S3 server."""

import asyncio
import io
import os
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from starlette.applications import Starlette

from app.errors import StorageUnavailable
from app.settings import StartError, load_settings
from app.storage import Storage
from app.storage.choice import create_storage
from tests.s3_server import BUCKET, S3Server

KEY, OTHER = "abcdefghijklmnop0123456789", "zyxwvutsrqponmlk9876543210"
HOSTILE = 'a"; filename=evil.html\r\nX-Evil: 1\0 \u202e 日本 👩\u200d💻%22.txt'


@dataclass
class Place:
    """A storage, and a client that fetches its addresses."""

    storage: Storage
    http: httpx.AsyncClient

    async def put(self, content: bytes, key: str = KEY) -> None:
        await self.storage.put(key, io.BytesIO(content), size=len(content), content_type="text/plain")

    async def url(self, key: str = KEY, name: str = "a.txt", *, seconds: int = 60, inline: bool = False) -> str:
        return await self.storage.url(key, name=name, content_type="text/plain", seconds=seconds, inline=inline)

    async def get(self, **headers: str) -> httpx.Response:
        return await self.http.get(await self.url(), headers=headers)


async def local_place(folder: Path) -> Place:
    storage = create_storage(load_settings({"PARLEY_DATA_DIR": str(folder)}, env_file=None))
    await storage.start()
    transport = httpx.ASGITransport(app=Starlette(routes=list(storage.routes)))
    return Place(storage, httpx.AsyncClient(transport=transport))


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Place]:
    place = await local_place(tmp_path)
    async with place.http:
        yield place
    await place.storage.stop()


@pytest.fixture
async def remote(s3: S3Server, tmp_path: Path) -> AsyncIterator[Place]:
    storage = create_storage(s3.settings(tmp_path))
    await storage.start()
    async with httpx.AsyncClient() as http:
        yield Place(storage, http)
    for key in s3.stored():
        await storage.remove(key)
    await storage.stop()


@pytest.fixture(params=["local", "remote"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


async def test_what_was_put_is_read_as_an_attachment(place: Place) -> None:
    content = os.urandom(3_000_000)
    await place.put(content)
    answer = await place.get()
    assert answer.status_code == 200
    assert answer.content == content
    assert answer.headers["content-type"].split(";")[0] == "text/plain"
    assert answer.headers["content-disposition"] == "attachment; filename=\"a.txt\"; filename*=UTF-8''a.txt"


async def test_content_is_put_from_its_beginning(place: Place) -> None:
    content = io.BytesIO(b"whole")
    content.seek(3)
    await place.storage.put(KEY, content, size=5, content_type="text/plain")
    assert (await place.get()).content == b"whole"


async def test_a_hostile_name_stays_inside_its_header(place: Place) -> None:
    await place.put(b"x")
    answer = await place.http.get(await place.url(name=HOSTILE))
    assert answer.status_code == 200
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith('attachment; filename="a__ filename=evil.html__X-Evil_ 1_')
    assert disposition.isascii()
    assert "x-evil" not in answer.headers


async def test_inline_where_the_server_says_so(place: Place) -> None:
    await place.put(b"x")
    answer = await place.http.get(await place.url(inline=True))
    assert answer.headers["content-disposition"].startswith("inline; ")


async def test_a_range_is_answered_with_that_range(place: Place) -> None:
    await place.put(b"0123456789")
    answer = await place.get(range="bytes=2-4")
    assert (answer.status_code, answer.content) == (206, b"234")
    assert answer.headers["content-range"] == "bytes 2-4/10"
    assert (await place.get(range="bytes=-3")).content == b"789"
    assert (await place.get(range="bytes=99-")).status_code == 416


async def test_nothing_about_an_address_can_be_changed(place: Place) -> None:
    await place.put(b"x")
    await place.put(b"secret", OTHER)
    url = await place.url()
    parts = urlsplit(url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    forged = [url.replace(KEY, OTHER), url.partition("?")[0]]
    for changed, _ in given:
        values = [(name, value + "1" if name == changed else value) for name, value in given]
        forged.append(parts._replace(query=urlencode(values)).geturl())
        forged.append(parts._replace(query=urlencode([pair for pair in given if pair[0] != changed])).geturl())
    for address in forged:
        answer = await place.http.get(address)
        assert 400 <= answer.status_code < 404, address
        assert b"secret" not in answer.content
    assert len(forged) > 10


async def test_an_address_expires(place: Place) -> None:
    await place.put(b"x")
    url = await place.url(seconds=2)
    assert (await place.http.get(url)).status_code == 200
    await asyncio.sleep(2.1)
    assert (await place.http.get(url)).status_code == 403


async def test_what_was_removed_is_gone(place: Place) -> None:
    await place.put(b"x")
    url = await place.url()
    await place.storage.remove(KEY)
    assert (await place.http.get(url)).status_code == 404
    await place.storage.remove(KEY)  # gone already
    await place.put(b"y")
    assert (await place.http.get(url)).content == b"y"


async def test_content_that_breaks_off_leaves_nothing(place: Place) -> None:
    with pytest.raises(StorageUnavailable):
        await place.storage.put(KEY, io.BytesIO(b"x" * 1000), size=2_000_000, content_type="text/plain")
    assert (await place.get()).status_code == 404


async def test_no_address_gets_into_the_log(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await place.put(b"x")
    url = await place.url()
    with pytest.raises(StorageUnavailable):
        await place.storage.put(OTHER, io.BytesIO(b""), size=5, content_type="text/plain")
    await place.storage.remove(KEY)
    assert "does not work" in caplog.text
    assert parse_qsl(url)[-1][1] not in caplog.text
    assert "Signature" not in caplog.text
    assert KEY not in caplog.text


class Stream(io.BytesIO):
    """Content whose reader is held after the first chunk, until `released`."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.begun, self.released = threading.Event(), threading.Event()
        self.reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > 1:
            self.begun.set()
            assert self.released.wait(10)
        return super().read(min(size, 1 << 20) if size and size > 0 else 1 << 20)


async def test_a_cancelled_put_leaves_nothing_and_lets_go_of_the_content(place: Place) -> None:
    content = Stream(os.urandom(5_000_000))
    task = asyncio.create_task(place.storage.put(KEY, content, size=5_000_000, content_type="text/plain"))
    assert await asyncio.to_thread(content.begun.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    content.released.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    content.close()  # as the receiver does; nobody reads it any more
    assert (await place.get()).status_code == 404


async def test_many_at_once(place: Place) -> None:
    keys = [f"{number:020d}" for number in range(30)]
    await asyncio.gather(*(place.put(key.encode() * 1000, key) for key in keys))
    answers = await asyncio.gather(*[place.http.get(await place.url(key)) for key in keys])
    assert [answer.content for answer in answers] == [key.encode() * 1000 for key in keys]
    await asyncio.gather(*map(place.storage.remove, keys))
    assert {(await place.http.get(await place.url(key))).status_code for key in keys} == {404}


async def test_local_files_are_answered_so_that_no_browser_runs_them(local: Place) -> None:
    await local.put(b"x")
    refused = await local.http.get((await local.url()).replace("signature=", "signature=x"))
    assert (refused.status_code, refused.text) == (
        403,
        "This address is not valid, or not any more. Ask for a new one.",
    )
    assert refused.headers["cache-control"] == "no-store"
    served = await local.get()
    assert served.headers["cache-control"] in {"private, max-age=60", "private, max-age=59", "private, max-age=58"}
    for answer in (refused, served):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert answer.headers["referrer-policy"] == "no-referrer"


async def test_local_files_answer_head_and_odd_ranges(local: Place) -> None:
    await local.put(b"0123456789")
    head = await local.http.head(await local.url())
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")
    several = await local.get(range="bytes=0-1,5-6")
    assert several.status_code == 206
    assert b"\r\n\r\n01\r\n" in several.content
    assert b"\r\n\r\n56\r\n" in several.content
    assert (await local.get(range="lines=1-2")).status_code == 400
    since = {"range": "bytes=0-1", "if-range": head.headers["etag"]}
    assert (await local.get(**since)).content == b"01"
    assert (await local.get(**since | {"if-range": '"of-another"'})).content == b"0123456789"
    assert (await local.http.post(await local.url())).status_code == 405


@pytest.mark.parametrize("key", ["../signing-key", "a/../../x", "ab", "A" * 20, "", ".", "\0" * 20, KEY + ".part"])
async def test_no_path_is_made_of_a_key_that_the_server_did_not_make(local: Place, key: str) -> None:
    with pytest.raises(ValueError, match="no key of the server"):
        await local.put(b"x", key)
    with pytest.raises(ValueError, match="no key of the server"):
        await local.storage.remove(key)


async def test_removing_takes_what_a_crash_left_in_the_middle(local: Place, tmp_path: Path) -> None:
    await local.put(b"x", OTHER)
    left = tmp_path / "files" / KEY[:2] / f"{KEY}.part"
    left.parent.mkdir()
    left.write_bytes(b"half")
    assert (await local.get()).status_code == 404
    await local.storage.remove(KEY)
    assert not left.exists()


async def test_a_disk_that_fails_is_an_unavailable_storage(
    local: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    obstacle = tmp_path / "files" / KEY[:2]
    obstacle.write_bytes(b"no folder")
    for _ in range(3):
        with pytest.raises(StorageUnavailable):
            await local.put(b"x")
    assert (await local.get()).status_code == 503
    obstacle.unlink()
    with caplog.at_level("INFO"):
        await local.put(b"x")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]  # once each
    assert KEY not in caplog.text


async def test_workers_that_start_together_sign_alike_and_keep_the_secret(tmp_path: Path) -> None:
    places = await asyncio.gather(*(local_place(tmp_path) for _ in range(5)))
    await places[0].put(b"x")
    for place in places:
        assert (await places[-1].http.get(await place.url())).status_code == 200
        await place.http.aclose()
    secret = tmp_path / "files" / "signing-key"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "files").iterdir() if path.is_file()] == ["signing-key"]
    assert (tmp_path / "files" / KEY[:2] / KEY).stat().st_mode & 0o777 == 0o600


async def test_a_folder_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "files").write_bytes(b"no folder")
    with pytest.raises(StartError, match="PARLEY_DATA_DIR"):
        await local_place(tmp_path)
    (tmp_path / "other" / "files").mkdir(parents=True)
    (tmp_path / "other" / "files" / "signing-key").write_bytes(b"short")
    with pytest.raises(StartError, match="delete it"):
        await local_place(tmp_path / "other")


async def test_addresses_are_for_the_host_that_clients_use(s3: S3Server, tmp_path: Path) -> None:
    public = f"http://localhost:{s3.port}"
    storage = create_storage(s3.settings(tmp_path, AWS_S3_PUBLIC_URL=public))
    await storage.start()
    await storage.put(KEY, io.BytesIO(b"x"), size=1, content_type="text/plain")
    url = await storage.url(KEY, name="a.txt", content_type="text/plain", seconds=60)
    assert url.startswith(public + "/")
    async with httpx.AsyncClient() as http:
        assert (await http.get(url)).content == b"x"
    await storage.remove(KEY)
    await storage.stop()
    settings = {"PARLEY_DATA_DIR": str(tmp_path), "PUBLIC_URL": "https://chat.example.org"}
    local = create_storage(load_settings(settings, env_file=None))
    await local.start()
    address = await local.url(KEY, name="a", content_type="text/plain", seconds=60)
    assert address.startswith(f"https://chat.example.org/files/{KEY}?")


async def test_a_bucket_holds_attachments_of_their_type(remote: Place, s3: S3Server) -> None:
    await remote.put(b"x")
    found = s3.client.head_object(Bucket=BUCKET, Key=KEY)
    assert (found["ContentType"], found["ContentDisposition"]) == ("text/plain", "attachment")
