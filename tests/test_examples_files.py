"""The commands and the example of docs/files.md, run as they are, against a real server."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from app.auth import LocalIssuer
from tests.conftest import ROOT, in_ci
from tests.documents import CREATE_CHANNEL
from tests.node import CLIENTS, installed_node  # noqa: F401 - a fixture
from tests.processes import Served, environment, parley, serving
from tests.test_examples import post
from tests.uploads import png

PAGE = ROOT / "docs" / "files.md"
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*\n)((?:(?!\$ ).*\n)*)", re.MULTILINE)  # and what it prints
BETWEEN = "--- next ---"
SECONDS = 60
CAT = png(40, 30)
MESSAGES = "query ($id: ID!) { channel(id: $id) { messages(last: 10) { nodes { content files { name } } } } }"
FILES = "query ($id: ID!) { channel(id: $id) { files(first: 10) { nodes { name } } } }"


@pytest.fixture
def curl() -> str:
    found = shutil.which("curl")
    if found is None:
        if in_ci():
            pytest.fail("CI must run the commands of the documentation, and curl is missing: install curl.")
        pytest.skip("curl is missing, so the commands of the documentation are not tried: install curl.")
    return found


def test_the_commands_of_the_page_do_what_it_says(
    curl: str, tmp_path: Path, new_database: Callable[[str], str]
) -> None:
    url = new_database("parley_examples_curl").replace("+asyncpg", "")
    assert parley(tmp_path, "seed", DB_URL=url).returncode == 0
    (tmp_path / "cat.png").write_bytes(CAT)
    steps = [step for block in BLOCK.findall(PAGE.read_text(encoding="utf-8")) for step in COMMAND.findall(block)]
    assert len(steps) > 5
    with serving(tmp_path, DB_URL=url) as served:
        script = f"echo '{BETWEEN}'\n".join(command for command, _ in steps)
        script = script.replace("http://127.0.0.1:8000", served.url).replace(".venv/bin/parley", '"$PYTHON" -m app')
        own = {**environment(tmp_path), "PATH": f"{Path(curl).parent}:{os.environ['PATH']}", "PYTHON": sys.executable}
        done = subprocess.run(
            ["/bin/sh", "-eu"],
            input=script,
            cwd=tmp_path,
            env=own,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    for (command, expected), printed in zip(steps, done.stdout.split(BETWEEN), strict=True):
        pattern = re.escape(expected.strip()).replace(re.escape("..."), ".*")
        shown = printed.replace("\r", "").strip()
        assert re.fullmatch(pattern, shown), f"{command}\nprints\n{shown}\nand the page says\n{expected}"


class Uploads:
    """Runs the example, for a user with a channel of their own."""

    def __init__(self, node: str, folder: Path, url: str) -> None:
        self._node = node
        self._url = f"{url}/graphql"
        token = LocalIssuer(folder).issue("alice")
        self._headers = {"authorization": f"Bearer {token}"}
        made = post(self._url, self._headers, CREATE_CHANNEL, input={"name": "files"})
        self._channel = made["channel"]["id"]
        self._environment = {"PATH": os.environ["PATH"], "PARLEY_URL": self._url, "PARLEY_TOKEN": token}

    def start(self, *paths: Path) -> subprocess.Popen[str]:
        # Beside the packages that it imports.
        place = CLIENTS / "node_modules" / ".examples" / "upload.mjs"
        place.parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / "examples" / "upload.mjs", place)
        command = [self._node, str(place), self._channel, *map(str, paths)]
        return subprocess.Popen(
            command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *paths: Path) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        return ended(self.start(*paths))

    def messages(self) -> list[tuple[str, list[str]]]:
        found = post(self._url, self._headers, MESSAGES, id=self._channel)["messages"]["nodes"]
        return [(node["content"], [file["name"] for file in node["files"]]) for node in found]

    def files(self) -> list[str]:
        found = post(self._url, self._headers, FILES, id=self._channel)["files"]["nodes"]
        return [node["name"] for node in found]


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        output, errors = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    return process.returncode, output, errors


@pytest.fixture
def serve(tmp_path: Path, new_database: Callable[[str], str]) -> Callable[[], AbstractContextManager[Served]]:
    """Serves, each time at the same address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = new_database("parley_examples_files").replace("+asyncpg", "")
    return lambda: serving(tmp_path, DB_URL=url, PORT=str(port), MAX_FILE_SIZE_MB="1")


def test_the_example_uploads_sends_and_downloads_whatever_happens_to_the_server(
    node: str, serve: Callable[[], AbstractContextManager[Served]], tmp_path: Path
) -> None:
    cat, notes, evil, huge = (tmp_path / name for name in ("cat.png", "Ünder\u00a0notes.md", "evil.png", "huge.txt"))
    cat.write_bytes(CAT)
    notes.write_text("# Notes\n", encoding="utf-8")
    evil.write_bytes(b"<script>alert(1)</script>")
    huge.write_bytes(b"a line of text.\n" * 200_000)
    with serve() as served:
        uploads = Uploads(node, tmp_path, served.url)
        code, output, errors = uploads.run(cat, notes)
        assert (code, errors) == (0, "")
        addresses = dict(line.rsplit(" ", 1) for line in output.splitlines())
        contents = {name: httpx.get(address).content for name, address in addresses.items()}
        assert contents == {cat.name: CAT, notes.name: b"# Notes\n"}
        for refused, problem in ((evil, "FILE_TYPE_MISMATCH: "), (huge, "FILE_TOO_LARGE: ")):
            code, output, errors = uploads.run(cat, refused)
            assert (code, output) == (1, "")
            assert errors.startswith(problem), errors
    away = uploads.start(notes)
    assert away.stdout is not None
    with pytest.raises(subprocess.TimeoutExpired):
        away.wait(1)  # it tries
    with serve():
        assert ended(away)[0] == 0
        assert uploads.messages() == [("Look at this!", [cat.name, notes.name]), ("Look at this!", [notes.name])]
        assert sorted(uploads.files()) == sorted([cat.name, notes.name, cat.name, cat.name, notes.name])
