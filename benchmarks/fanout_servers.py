"""The processes of benchmarks/fanout: the two servers and the load."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

ROOT = Path(__file__).resolve().parent.parent
INSTALLED = ROOT / ".venv" / "bin" / "python"
PYTHON = str(INSTALLED) if INSTALLED.exists() else sys.executable
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
USERS = 100
SETTINGS = {"PORT": "0", "MAX_WEBSOCKET_CONNECTIONS_PER_USER": "100000", "MAX_TOTAL_WEBSOCKET_CONNECTIONS": "100000"}
SETTLE_SECONDS = 60.0
STOP_SECONDS = 15.0
LOG_LINES = 20

MESSAGE = "id content createdAt author { id name picture }"
PARLEY_SUBSCRIPTION = (
    "subscription ($channel: ID!) { channelEvents(channelId: $channel) { ... on MessageEvent { message { %s } } } }"
)
PARLEY_MUTATION = (
    "mutation ($channel: ID!, $text: String!) "
    "{ sendMessage(input: { channelId: $channel, content: $text }) { message { id } } }"
)
NAIVE_SUBSCRIPTION = "subscription ($channel: ID!) { messageAdded(channelId: $channel) { %s } }"
NAIVE_MUTATION = "mutation ($channel: ID!, $text: String!) { sendMessage(channelId: $channel, content: $text) { id } }"
CHANNEL = "mutation ($name: String!) { createChannel(input: { name: $name }) { channel { id } } }"
TOKENS = """
import sys; from pathlib import Path; from app.auth import LocalIssuer
issuer = LocalIssuer(Path(sys.argv[1]))
print(*(issuer.issue(f"user {number}") for number in range(int(sys.argv[2]))))
"""


class Failed(Exception):
    """What there is to measure does not work; one line says what."""


class Server:
    """A running server process, and how to ask it."""

    def __init__(self, name: str, process: "subprocess.Popen[str]", **target: Any) -> None:
        self.name = name
        self.pid = process.pid
        self.target = target

    def cpu(self) -> dict[int, float]:
        """Seconds of CPU so far of the process and of those it has started, by process id."""
        seconds: dict[int, float] = {}
        family = {self.pid}
        # A child's id is higher than its parent's, save after 4 million of them.
        for entry in sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()):
            try:
                values = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:
                continue
            if entry == self.pid or int(values[1]) in family:
                family.add(entry)
                seconds[entry] = (int(values[11]) + int(values[12])) / TICKS
        return seconds

    def memory(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text(encoding="utf-8").split()[1]) * PAGE

    def settle(self) -> None:
        """Wait until it has nothing to do."""
        deadline = time.monotonic() + SETTLE_SECONDS
        before = self.cpu()[self.pid]
        while time.monotonic() < deadline:
            time.sleep(0.5)
            now = self.cpu()[self.pid]
            if now - before <= 0.03:  # noqa: PLR2004 # seconds; heartbeats and the like
                return
            before = now


class Load:
    """The process that makes the load."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._commands = cast("IO[str]", process.stdin)
        self._answers = cast("IO[str]", process.stdout)

    def ask(self, do: str, server: Server, **arguments: Any) -> dict[str, Any]:
        self._commands.write(json.dumps({"do": do, "server": server.name, **arguments}) + "\n")
        self._commands.flush()
        line = self._answers.readline()
        if not line:
            raise Failed("The load has ended.")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def connect(self, server: Server, subscribers: int) -> None:
        self.ask("connect", server, subscribers=subscribers, **server.target)
        server.settle()


def note(text: str) -> None:
    """For the person who waits; standard output is for the result."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def child(name: str, folder: Path, *command: str, **environ: str) -> "Iterator[subprocess.Popen[str]]":
    """A process that is stopped at the end, and whose log is shown if this did not go well."""
    # Nothing of the caller's settings. A session of its own: Ctrl-C is for us, who then stop all in order.
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environ}
    with (folder / f"{name}.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        except Exception:
            log.seek(0)
            for line in log.readlines()[-LOG_LINES:]:
                note(f"{name}: {line.rstrip()}")
            raise
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


@contextmanager
def parley(folder: Path) -> Iterator[Server]:
    data = folder / "data"
    with child("Parley", folder, PYTHON, "-m", "app", "serve", PARLEY_DATA_DIR=str(data), **SETTINGS) as process:
        url = ""
        for line in process.stdout or ():
            if line.startswith("Parley listens on "):
                url = line.split()[3]
            if "Ctrl-C" in line:
                break
        else:
            raise Failed("Parley did not start.")
        issued = subprocess.run(
            [PYTHON, "-c", TOKENS, str(data), str(USERS)], cwd=ROOT, check=True, capture_output=True, text=True
        )
        tokens = issued.stdout.strip().split(" ")
        headers = {"authorization": f"Bearer {tokens[0]}", "content-type": "application/json"}
        body = {"query": CHANNEL, "variables": {"name": f"fan-out-{process.pid}"}}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - our own
        with urllib.request.urlopen(request, timeout=STOP_SECONDS) as response:  # noqa: S310
            channel = json.load(response)["data"]["createChannel"]["channel"]["id"]
        yield Server(
            "Parley",
            process,
            port=int(url.split(":")[2].split("/")[0]),
            subscription=PARLEY_SUBSCRIPTION % MESSAGE,
            mutation=PARLEY_MUTATION,
            channel=channel,
            tokens=tokens,
        )


@contextmanager
def naive(folder: Path) -> Iterator[Server]:
    with child("naive", folder, PYTHON, str(ROOT / "benchmarks" / "fanout_naive.py")) as process:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise Failed("The naive form did not start.")
        yield Server(
            "naive",
            process,
            port=int(line),
            subscription=NAIVE_SUBSCRIPTION % MESSAGE,
            mutation=NAIVE_MUTATION,
            channel="1",
            tokens=["none"],
        )


FORMS: dict[str, Callable[[Path], Any]] = {"Parley": parley, "naive": naive}
