"""Server processes with a storage on the local disk and in S3, for the tests of what is done to files. And fixtures."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.conftest import Person
from tests.documents import create_channel
from tests.eventually import eventually
from tests.forms import HEADERS, Part, form, mapping, operations
from tests.nodes import Node, running
from tests.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from tests.served import NEW
from tests.uploads import UPLOAD, download

MB = 1024 * 1024
TO_FILE = mapping(a="variables.input.file")


@dataclass
class Place:
    """A server process, the names in its storage, and somebody with a channel."""

    node: Node
    objects: Callable[[], set[str]]
    alice: Person
    channel: str

    @property
    def process(self) -> Path:
        return Path(f"/proc/{self.node.pid}")

    def peak(self) -> int:
        """Bytes of memory, since it was last forgotten."""
        lines = (self.process / "status").read_text(encoding="utf-8").splitlines()
        [line] = [line for line in lines if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    async def raw(self, *parts: Part) -> httpx.Response:
        headers = {**HEADERS, "accept": NEW, "authorization": f"Bearer {self.alice.token}"}
        return await self.alice.http.post("/graphql", content=form(*parts), headers=headers)

    async def stored_name(self, part: Part) -> tuple[str, str]:
        """The id and the name of a file that came by this part."""
        given = {"channelId": self.channel, "file": None}
        answer = await self.raw(operations(UPLOAD, input=given), TO_FILE, part)
        payload = answer.json()["data"]["uploadFile"]
        assert payload["errors"] == [], payload
        return payload["file"]["id"], payload["file"]["name"]

    async def get(self, file_id: str, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(headers=headers) as reader:  # without a token, as a browser that follows a link
            return await reader.get(await download(self.alice, file_id))


def on_the_disk(folder: Path) -> Callable[[], set[str]]:
    return lambda: {path.name for path in (folder / "files").glob("*/*")}


def temporary_files(node: Node) -> int:
    """Those that have a name, and those that the process has open."""
    folder = node.folder / "tmp"
    found = len([*folder.iterdir()])
    for descriptor in Path(f"/proc/{node.pid}/fd").iterdir() if node.is_running else ():
        with suppress(OSError):  # closed meanwhile
            found += descriptor.readlink().is_relative_to(folder)
    return found


def make_node(folder: Path, url: str, **settings: str) -> Node:
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    return Node(folder, url, TMPDIR=str(folder / "tmp"), **settings)


def in_s3(port: int) -> dict[str, str]:
    """The settings of a node that keeps its files there."""
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_S3_BUCKET_NAME": BUCKET}
    return {**keys, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}"}


def empty(s3: S3Server) -> None:
    for key in s3.stored():
        s3.client.delete_object(Bucket=BUCKET, Key=key)


async def placed(node: Node, objects: Callable[[], set[str]]) -> Place:
    alice = await node.person("alice")
    return Place(node, objects, alice, await create_channel(alice, f"files{node.port}"))


STRICT = {"MAX_FILE_SIZE_MB": "1", "LOG_LEVEL": "debug"}


@pytest.fixture(scope="module")
async def files_on_disk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[str], str]
) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("disk")
    url = new_database(f"{request.module.__name__.rpartition('.')[2]}_disk")
    async with running(make_node(folder, url, **STRICT)) as (node,):
        yield await placed(node, on_the_disk(folder))


@pytest.fixture(scope="module")
async def files_in_s3(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    new_database: Callable[[str], str],
    s3: S3Server,
) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("s3")
    url = new_database(f"{request.module.__name__.rpartition('.')[2]}_s3")
    async with running(make_node(folder, url, **STRICT, **in_s3(s3.port))) as (node,):
        yield await placed(node, s3.stored)
    empty(s3)


@pytest.fixture(name="either", params=["files_on_disk", "files_in_s3"])
def either_place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture(name="place")
async def clean_place(either: Place) -> AsyncIterator[Place]:
    """In the end there is no temporary file, and in the log no address and no secret."""
    yield either
    await eventually(lambda: temporary_files(either.node) == 0)
    for secret in ("signature=", "Signature=", SECRET_KEY, either.alice.token):
        assert secret not in either.node.log
