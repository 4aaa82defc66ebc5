"""A server that is killed in the middle of an upload leaves nothing that the next one does not find."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.auth import LocalIssuer
from app.db import Database
from tests.conftest import Person
from tests.documents import create_channel, scalar
from tests.processes import serving
from tests.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, s3  # noqa: F401 - a fixture
from tests.test_stored_objects import TIME_PASSES, run
from tests.uploads import READ_FILE, Sent, send_file, upload

WAIT_SECONDS = 20.0


async def count(database: Database) -> int:
    found: int = await scalar(database, "SELECT count(*) FROM stored_objects")
    return found


async def reached(database: Database, number: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while await count(database) != number:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)


async def test_a_killed_upload_is_swept(
    s3: S3Server,  # noqa: F811 - the fixture
    tmp_path: Path,
    new_database: Callable[[str], str],
) -> None:
    url = new_database("files_killed")
    database = Database(url)
    own: dict[str, Any] = {
        "DB_URL": url,
        "AWS_S3_BUCKET_NAME": BUCKET,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_ENDPOINT_URL_S3": s3.url,
    }
    there = s3.stored()
    with serving(tmp_path, **own) as served:
        async with httpx.AsyncClient(base_url=served.url, timeout=30) as http:
            alice = Person("alice", LocalIssuer(tmp_path).issue("alice"), http)
            channel = await create_channel(alice)
            kept = await upload(alice, channel)
            s3.freeze()
            try:
                sending = asyncio.create_task(send_file(alice, channel, Sent(b"x" * 1_000_000)))
                await reached(database, 2)
                served.process.kill()
                with pytest.raises(httpx.TransportError):
                    await sending
            finally:
                s3.thaw()
    key = await scalar(database, "SELECT key FROM stored_objects WHERE key NOT IN (SELECT object_key FROM files)")
    s3.client.put_object(Bucket=BUCKET, Key=key, Body=b"x")  # as if all of it had arrived
    await run(database, f"{TIME_PASSES} WHERE key = '{key}'")
    with serving(tmp_path, **own) as served:
        await reached(database, 1)
        async with httpx.AsyncClient(base_url=served.url, timeout=30) as http:
            alice = Person("alice", LocalIssuer(tmp_path).issue("alice"), http)
            assert (await alice.ask(READ_FILE, id=kept))["id"] == kept
    assert len(s3.stored() - there) == 1
    await database.dispose()
    for left in s3.stored() - there:
        s3.client.delete_object(Bucket=BUCKET, Key=left)
