"""S3 that is down, slow, broken or shut: one error, in bounded time, one line in the log, and it works again after."""

import asyncio
import io
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import pytest

from app.errors import StorageUnavailable
from app.settings import StartError, load_settings
from app.storage import Storage, calls
from app.storage.choice import create_storage
from tests.redis_server import free_port
from tests.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from tests.tcp_proxy import RedisProxy

pytestmark = pytest.mark.faults

KEY = "abcdefghijklmnop0123456789"
PATIENCE = 1.0  # instead of 15 s; and as long again for an upload to be given up


class S3Proxy(RedisProxy):
    """The network between, with the faults that need no knowledge of messages."""

    _deliver = RedisProxy._copy  # noqa: SLF001 - both directions alike


@asynccontextmanager
async def through(proxy: RedisProxy, server: S3Server, folder: Path) -> AsyncIterator[Storage]:
    storage = create_storage(server.settings(folder, AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{proxy.port}"))
    await storage.start()
    try:
        yield storage
    finally:
        await storage.remove(KEY)
        await storage.stop()


async def put(storage: Storage, content: bytes = b"x") -> None:
    await storage.put(KEY, io.BytesIO(content), size=len(content), content_type="text/plain")


async def refused(*attempts: Awaitable[object]) -> float:
    """Seconds until all of them have failed as they must."""
    begun = time.monotonic()
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert {type(result) for result in results} == {StorageUnavailable}, results
    return time.monotonic() - begun


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "CALL_SECONDS", PATIENCE)
    monkeypatch.setattr(calls, "ENDING_SECONDS", PATIENCE)


async def test_a_server_that_is_down_is_told_once_and_comes_back(
    s3: S3Server,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with S3Proxy(s3.port) as proxy:
        port = proxy.port
        async with through(proxy, s3, tmp_path) as storage:
            assert proxy._server is not None  # noqa: SLF001 - what the proxy has no fault for
            proxy._server.close()  # noqa: SLF001 - as above
            proxy.cut()
            assert await refused(put(storage), storage.remove(KEY), put(storage, os.urandom(3_000_000))) < 15
            # Addresses are made without asking S3.
            assert await storage.url(KEY, name="a", content_type="text/plain", seconds=60)
            caplog.clear()
            assert await refused(put(storage), put(storage)) < 15
            proxy._server = await asyncio.start_server(proxy._accept, "127.0.0.1", port)  # noqa: SLF001 - as above
            with caplog.at_level("INFO", "app"):
                await put(storage)
    ours = [record for record in caplog.records if record.name.startswith("app")]
    assert [record.levelname for record in ours].count("INFO") == 1
    assert KEY not in caplog.text
    assert SECRET_KEY not in caplog.text


async def test_a_black_hole_holds_nobody_for_long(s3: S3Server, tmp_path: Path, patience: None) -> None:  # noqa: ARG001 - a fixture
    async with S3Proxy(s3.port) as proxy, through(proxy, s3, tmp_path) as storage:
        proxy.freeze()
        # More than there are threads, so that some wait for a thread only.
        uploads = [put(storage, os.urandom(100_000)) for _ in range(2 * calls.THREADS)]
        removals = [storage.remove(KEY) for _ in range(2 * calls.THREADS)]
        assert await refused(*uploads, *removals) < 4 * PATIENCE + 2
        # All threads still hang.
        assert await refused(put(storage), storage.remove(KEY)) < 4 * PATIENCE + 2
        proxy.thaw()
        async with asyncio.timeout(30):
            while True:
                try:
                    await put(storage)
                    break
                except StorageUnavailable:
                    await asyncio.sleep(0.1)


async def test_a_frozen_server_does_not_keep_us_from_starting(
    s3: S3Server,
    tmp_path: Path,
    patience: None,  # noqa: ARG001 - a fixture
) -> None:
    s3.freeze()
    try:
        begun = time.monotonic()
        await create_storage(s3.settings(tmp_path)).start()
        assert time.monotonic() - begun < PATIENCE + 2
    finally:
        s3.thaw()


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(data: bytes) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()
        writer.close()

    return answer


BROKEN = {
    "500": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "503": b"HTTP/1.1 503 Slow Down\r\nContent-Length: 4\r\nConnection: close\r\n\r\n<no>",
    "403": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "redirect": b"HTTP/1.1 301 Moved Permanently\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "no HTTP": b"220 mail.example.org ESMTP\r\n",
    "nothing": b"",
    "half": b"HTTP/1.1 500 Error\r\nContent-Length: 1000\r\n\r\n<Error>",
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_broken_answers_are_an_unavailable_storage(
    kind: str,
    s3: S3Server,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = await asyncio.start_server(answering(BROKEN[kind]), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    storage = create_storage(s3.settings(tmp_path, AWS_ENDPOINT_URL_S3=url))
    with pytest.raises(StartError, match=url) if kind == "403" else nullcontext():
        await storage.start()  # else the log has it
    assert await refused(put(storage), storage.remove(KEY), put(storage, os.urandom(2_000_000))) < 15
    assert [record.levelname for record in caplog.records if record.name == "app.storage.calls"] == ["WARNING"]
    assert KEY not in caplog.text
    await storage.stop()
    server.close()


async def start_error(settings: dict[str, str]) -> str:
    with pytest.raises(StartError) as caught:
        await create_storage(load_settings(settings, env_file=None)).start()
    message = str(caught.value)
    assert SECRET_KEY not in message
    assert "\n" not in message
    return message


async def test_the_start_says_what_is_wrong_and_what_to_set(
    s3: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    place = {"AWS_S3_BUCKET_NAME": "parley-files", "AWS_ENDPOINT_URL_S3": s3.url, "PARLEY_DATA_DIR": str(tmp_path)}
    settings = {**keys, **place}
    assert "AWS_SECRET_ACCESS_KEY" in await start_error({**settings, "AWS_SECRET_ACCESS_KEY": "wrong"})
    assert "AWS_ACCESS_KEY_ID" in await start_error({**settings, "AWS_ACCESS_KEY_ID": "nobody"})
    missing = await start_error({**settings, "AWS_S3_BUCKET_NAME": "no-such-bucket"})
    assert missing.startswith("There is no bucket no-such-bucket at")
    # None at all: nor in the files and roles where boto3 looks for them.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    for variable in keys:
        monkeypatch.delenv(variable, raising=False)
    assert (await start_error(place)).startswith("S3 needs credentials: set AWS_ACCESS_KEY_ID")


async def test_a_server_that_is_down_does_not_keep_us_from_starting(
    s3: S3Server,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await create_storage(s3.settings(tmp_path, AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{free_port()}")).start()
    assert "does not work: no connection" in caplog.text


async def test_keys_that_are_withdrawn_are_an_unavailable_storage(
    s3: S3Server,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    storage = create_storage(s3.settings(tmp_path, AWS_SECRET_ACCESS_KEY="wrong"))
    assert await refused(put(storage), put(storage, os.urandom(2_000_000)), storage.remove(KEY)) < 15
    assert "SignatureDoesNotMatch (403)" in caplog.text
    assert s3.stored() == set()
    await storage.stop()
