"""The life of a file where the storage is S3."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import httpx
import pytest

from app.auth import LocalIssuer
from app.main import create_app
from app.services.stored_objects import remove_due
from app.storage import Storage
from tests.conftest import Person
from tests.documents import CREATE_REACTION, DELETE_REACTION, SEND, create_channel, only
from tests.s3_server import S3Server, s3  # noqa: F401 - a fixture
from tests.uploads import DELETE_FILE, Sent, download, image, send_file, send_form, upload
from tests.workspace import Workspace


@pytest.fixture
async def remote(
    s3: S3Server,  # noqa: F811 - the fixture
    tmp_path: Path,
    new_database: Callable[[str], str],
) -> AsyncGenerator[tuple[Workspace, Storage], None]:
    settings = s3.settings(tmp_path)
    app = create_app(settings, new_database("files_s3"), keeps_house=False)
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 50000))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://parley.test") as http,
    ):
        services = app.state.services
        yield Workspace(services, LocalIssuer(settings.data_dir), http), services.storage


async def test_a_file_comes_is_read_and_goes(remote: tuple[Workspace, Storage], s3: S3Server) -> None:  # noqa: F811 - as above
    place, storage = remote
    alice = Person("alice", place.issuer.issue("alice", admin=True), place.http)
    channel = await create_channel(alice)
    there = s3.stored()
    refused = await send_file(alice, channel, Sent(b"plain", "a.png", "image/png"))
    assert [error["code"] for error in refused["errors"]] == ["FILE_TYPE_MISMATCH"]
    assert s3.stored() == there
    file = await upload(alice, channel, Sent(b"Hello, S3!", 'what "is" this.txt'))
    await alice.ask(only("message { id }", SEND), input={"channelId": channel, "content": "", "fileIds": [file]})
    async with httpx.AsyncClient() as browser:
        answer = await browser.get(await download(alice, file))
        assert (answer.status_code, answer.content) == (200, b"Hello, S3!")
        assert answer.headers["content-disposition"].startswith("attachment;")
        made = await send_form(alice, CREATE_REACTION, {"input.image": image()}, input={"code": "zebra", "image": None})
        reaction = made["data"]["createReaction"]["reaction"]
        redirection = await place.http.get(reaction["imageUrl"].removeprefix("http://127.0.0.1:8000"))
        shown = await browser.get(redirection.headers["location"])
        assert (shown.status_code, shown.content) == (200, image().content)
    assert len(s3.stored() - there) == 2
    await alice.ask(DELETE_FILE, fileId=file)
    await alice.ask(DELETE_REACTION, reactionId=reaction["id"])
    assert await remove_due(place.database, storage) == 2
    assert s3.stored() == there
