"""The examples of docs/realtime.md, run as they are, against a server that is stopped and killed under them."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.auth import LocalIssuer
from tests.conftest import ROOT
from tests.documents import CREATE_CHANNEL, SEND
from tests.node import CLIENTS, installed_node  # noqa: F401 - a fixture
from tests.processes import START_LIMIT, STOP_LIMIT, Served, serving

# The third one, upload.mjs, is in test_examples_files.py.
EXAMPLES = [ROOT / "examples" / name for name in ("apollo.mjs", "urql.mjs")]
PAUSE_SECONDS = 0.03


class Example:
    """A running example, and the numbers that it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.numbers: list[int] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.numbers.append(int(re.fullmatch(r"writer: (\d+)\n", line)[1]))  # type: ignore[index]  # else it is wrong

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(STOP_LIMIT)
        self._reader.join(STOP_LIMIT)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Writer:
    """Sends numbers, one after the other, whether the server is there or not. `last` is the newest that arrived."""

    def __init__(self, url: str, token: str, channel: str) -> None:
        self.last = 0
        self._url = url
        self._headers = {"authorization": f"Bearer {token}"}
        self._channel = channel
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        while not self._over.is_set():
            number = str(self.last + 1)
            given = {"channelId": self._channel, "content": number, "clientKey": number}
            try:
                if post(self._url, self._headers, SEND, input=given)["message"]["content"] == number:
                    self.last += 1
            except httpx.TransportError:
                pass  # the server is away; the same key makes one message
            time.sleep(PAUSE_SECONDS)

    def stop(self) -> None:
        self._over.set()
        self._thread.join(STOP_LIMIT)


def post(url: str, headers: dict[str, str], document: str, /, **variables: Any) -> Any:
    answer = httpx.post(url, json={"query": document, "variables": variables}, headers=headers)
    (value,) = answer.json()["data"].values()
    return value


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_LIMIT
    while not holds():
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.02)


@contextmanager
def running(node: str, script: Path, url: str, token: str) -> Iterator[Example]:
    # Beside the packages that it imports.
    place = CLIENTS / "node_modules" / ".examples" / script.name
    place.parent.mkdir(exist_ok=True)
    shutil.copyfile(script, place)
    environment = {"PATH": os.environ["PATH"], "PARLEY_URL": url, "PARLEY_TOKEN": token}
    process = subprocess.Popen([node, str(place)], env=environment, stdout=subprocess.PIPE, text=True)
    example = Example(process)
    try:
        yield example
    finally:
        example.stop()


@pytest.fixture
def server(tmp_path: Path, new_database: Callable[[str], str]) -> Callable[[], Any]:
    """Serves, each time at the same address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = new_database("parley_examples").replace("+asyncpg", "")

    @contextmanager
    def serve() -> Iterator[Served]:
        with serving(tmp_path, DB_URL=url, PORT=str(port)) as served:
            yield served

    return serve


def test_examples_lose_nothing_and_repeat_nothing_over_restarts(
    node: str,
    server: Callable[[], Any],
    tmp_path: Path,
) -> None:
    with ExitStack() as stack:
        with server() as served:
            url = f"{served.url}/graphql"
            tokens = {name: LocalIssuer(tmp_path).issue(name) for name in ("writer", *(each.stem for each in EXAMPLES))}
            headers = {name: {"authorization": f"Bearer {token}"} for name, token in tokens.items()}
            ids = [post(url, each, "{ viewer { user { id } } }")["user"]["id"] for each in headers.values()]
            made = post(url, headers["writer"], CREATE_CHANNEL, input={"name": "numbers", "memberIds": ids[1:]})
            writer = Writer(url, tokens["writer"], made["channel"]["id"])
            stack.callback(writer.stop)
            examples = [stack.enter_context(running(node, each, url, tokens[each.stem])) for each in EXAMPLES]
            until(lambda: all(each.numbers for each in examples))
            served.process.send_signal(signal.SIGTERM)
            served.process.wait(STOP_LIMIT)
        stopped_at = writer.last + 1  # which may have been written, though nobody said so
        with server() as served:
            until(lambda: all(each.numbers[-1] > stopped_at for each in examples))
            served.process.kill()
        killed_at = writer.last + 1
        with server():
            until(lambda: all(each.numbers[-1] > killed_at for each in examples))
            writer.stop()
            until(lambda: all(each.numbers[-1] == writer.last for each in examples))
            for each in examples:
                assert each.numbers == list(range(each.numbers[0], writer.last + 1))
