"""The servers of benchmarks/execution, on one PostgreSQL."""

import json
import re
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from execution_cases import PEERS, Case, complete
from execution_data import DATABASE, PEERS_DATABASE
from fanout_servers import PYTHON, ROOT, SETTINGS, STOP_SECONDS, Failed, Server, child
from sqlalchemy import make_url

from app.auth import LocalIssuer
from app.embedded import EmbeddedPostgres
from schema.ids import encode

ASKER = "user1"
START_SECONDS = 20.0
PATHS = ("/graphql", "/")  # the latter is Apollo's own server
QUIET = {**SETTINGS, "LOG_LEVEL": "warning"}
PARLEY_PROGRAMS = {
    "compiled": ("-m", "app", "serve"),
    "reference": (str(ROOT / "benchmarks" / "execution_reference.py"),),
}


class Contestant:
    """A server, and how to ask it. `target` is what the load needs: port, path and token."""

    def __init__(self, server: Server, port: int, token: str = "", document: str | None = None) -> None:
        self.name = server.name
        self.server = server
        self.target: dict[str, Any] = {"port": port, "path": PATHS[0], "token": token}
        self._document = document

    def cpu(self) -> float:
        return self.server.cpu()[self.server.pid]

    def id(self, typename: str, number: int) -> str:
        return encode(typename, number) if self.name in PARLEY_PROGRAMS else str(number)

    def bodies(self, case: Case, messages: int) -> list[str]:
        document = self._document or complete(case.operation)
        sets = case.variables(self.id, messages)
        return [json.dumps({"query": document, "variables": variables}) for variables in sets]

    def ask(self, body: str) -> bytes:
        """The answer to one request, as it came."""
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self.target["token"]:
            headers["authorization"] = f"Bearer {self.target['token']}"
        url = f"http://127.0.0.1:{self.target['port']}{self.target['path']}"
        request = urllib.request.Request(url, body.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=STOP_SECONDS) as response:  # noqa: S310 - our own
                answer: bytes = response.read()
                return answer
        except urllib.error.HTTPError as error:
            raise Failed(f"{self.name} answers {error.code}: {error.read()[:500]!r}") from error


@contextmanager
def parley(name: str, folder: Path, cluster: EmbeddedPostgres, _: Path | None) -> Iterator[Contestant]:
    data = folder / name
    environ = {**QUIET, "PARLEY_DATA_DIR": str(data), "DB_URL": plain_url(cluster)}
    with child(name, folder, PYTHON, *PARLEY_PROGRAMS[name], **environ) as process:
        port = 0
        for line in process.stdout or ():
            if found := re.search(r"listens on http://127\.0\.0\.1:(\d+)", line):
                port = int(found[1])
            if "Ctrl-C" in line:
                break
        else:
            raise Failed(f"Parley ({name}) did not start.")
        yield Contestant(Server(name, process), port, LocalIssuer(data).issue(ASKER))


@contextmanager
def plain(name: str, folder: Path, cluster: EmbeddedPostgres, _: Path | None) -> Iterator[Contestant]:
    program = str(ROOT / "benchmarks" / "execution_plain.py")
    with child(name, folder, PYTHON, program, DB_URL=cluster.url(DATABASE)) as process:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise Failed("The plain server did not start.")
        yield Contestant(Server(name, process), int(line))


@contextmanager
def peer(name: str, folder: Path, cluster: EmbeddedPostgres, peers: Path | None) -> Iterator[Contestant]:
    node = shutil.which("node")
    if node is None or peers is None:
        raise Failed("--peers needs Node.js 20 or newer: put `node` on the PATH.")
    document = re.search(r"\[\[(.*?)\]\]", (peers / "timeline.lua").read_text(encoding="utf-8"), re.DOTALL)
    if document is None:
        raise Failed(f"{peers / 'timeline.lua'} has no query between [[ and ]].")
    port = free_port()
    host = make_url(cluster.url()).query["host"]
    environ = {"PORT": str(port), "PGHOST": str(host), "PGDATABASE": PEERS_DATABASE, "NODE_ENV": "production"}
    with child(name, folder, node, str(peers / f"{name}.mjs"), **environ) as process:
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        else:
            raise Failed(f"{name} did not start. Run `npm install` in {peers}.")
        yield at_its_path(Contestant(Server(name, process), port, document=document[1]))


def at_its_path(contestant: Contestant) -> Contestant:
    for path in PATHS:
        contestant.target["path"] = path
        try:
            contestant.ask('{"query": "{ __typename }"}')
        except Failed:
            continue
        return contestant
    raise Failed(f"{contestant.name} answers neither at {' nor at '.join(PATHS)}.")


def plain_url(cluster: EmbeddedPostgres) -> str:
    """As a user would write it in DB_URL."""
    return cluster.url(DATABASE).replace("+asyncpg", "", 1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


FORMS: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(PARLEY_PROGRAMS, parley),
    "plain": plain,
    **dict.fromkeys(PEERS, peer),
}
