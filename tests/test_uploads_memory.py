"""The memory of a server does not depend on the sizes of files: the real program, its storage on a local disk."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.auth import LocalIssuer
from tests.forms import END, HEADERS, file, form, mapping, operations
from tests.processes import Served, serving

MB = 1024 * 1024
AT_A_TIME = 4
# Of one upload, and of several: what a connection buffers, what a thread writes, and what the allocator keeps.
GROWTH = 32 * MB
CREATE = 'mutation { createChannel(input: {name: "files"}) { channel { id } } }'
UPLOAD = """
mutation ($channel: ID!, $file: Upload!) {
  uploadFile(input: {channelId: $channel, file: $file}) { file { size } errors { code message } }
}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[str], str]) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("uploads")
    url = new_database("parley_uploads_memory").replace("+asyncpg", "")
    with serving(folder, DB_URL=url, TMPDIR=str(folder)) as server:
        yield server


def headers(served: Served) -> dict[str, str]:
    return {"authorization": f"Bearer {LocalIssuer(served.folder).issue('alice')}"}


def upload(served: Served, channel: str, size: int) -> Any:
    """Made as it goes: this process's memory is nobody's concern, but two processors are."""
    whole = form(operations(UPLOAD, channel=channel, file=None), mapping(a="variables.file"), file(content=b""))

    def body() -> Iterator[bytes]:
        yield whole[: -len(END) - 2]
        for _ in range(size // 65_536):
            yield b"a line of text.\n" * 4096
        yield whole[-len(END) - 2 :]

    answer = httpx.post(f"{served.url}/graphql", content=body(), headers={**HEADERS, **headers(served)}, timeout=60)
    return answer.json()["data"]["uploadFile"]


def peak(process: Path) -> int:
    """Bytes, since it was last forgotten."""
    lines = (process / "status").read_text(encoding="utf-8").splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def test_memory_does_not_grow_with_files(served: Served) -> None:
    answer = httpx.post(f"{served.url}/graphql", json={"query": CREATE}, headers=headers(served))
    channel = answer.json()["data"]["createChannel"]["channel"]["id"]
    for _ in range(AT_A_TIME):
        assert upload(served, channel, 65_536) == {"file": {"size": 65_536}, "errors": []}
    process = Path(f"/proc/{served.process.pid}")
    (process / "clear_refs").write_text("5", encoding="utf-8")  # forgets the peak
    before = peak(process)
    assert upload(served, channel, 50 * MB)["file"]["size"] == 50 * MB
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        results = list(threads.map(lambda _: upload(served, channel, 25 * MB), range(AT_A_TIME)))
    assert [result["file"]["size"] for result in results] == [25 * MB] * AT_A_TIME
    assert peak(process) - before < GROWTH
