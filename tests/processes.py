"""The program as its users start it: commands and servers as processes of their own."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from app.auth import LocalIssuer

ROOT = Path(__file__).parent.parent
PROGRAM = (sys.executable, "-m", "app")
START_LIMIT = 60.0
STOP_LIMIT = 5.0


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """Nothing of the caller's settings: the tests say what is set."""
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return {**own, "PARLEY_DATA_DIR": str(folder), "PORT": "0", **settings}


def parley(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, in a working folder without a `.env`."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd="/",
        env=environment(folder, **settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=START_LIMIT,
    )


def refusal(folder: Path, *arguments: str, **settings: str) -> str:
    """The one line with which a command fails."""
    done = parley(folder, *arguments, **settings)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0].removeprefix("parley: ")


class Served:
    """A server process that listens. `output` is what it printed until then."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self.folder, self.process, self.output = folder, process, ""
        guard = threading.Timer(START_LIMIT, process.kill)
        guard.start()
        assert process.stdout is not None
        for line in process.stdout:
            self.output += line
            if "Ctrl-C" in line:
                break
        guard.cancel()
        address = re.search(r"http://127\.0\.0\.1:\d+", self.output)
        assert address, f"it does not listen: {self.output}"
        self.url = address[0]

    @property
    def postgres(self) -> int:
        return int((self.folder / "postgres" / "postmaster.pid").read_text(encoding="utf-8").split()[0])

    def ask(self, query: str, name: str = "alice") -> str:
        headers = {"authorization": f"Bearer {LocalIssuer(self.folder).issue(name)}"}
        answer = httpx.post(f"{self.url}/graphql", json={"query": query}, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.text


@contextmanager
def serving(
    folder: Path,
    *arguments: str,
    user: int | None = None,
    program: tuple[str, ...] = PROGRAM,
    **settings: str,
) -> Iterator[Served]:
    """`parley serve` with these arguments, running."""
    process = subprocess.Popen(
        [*program, "serve", *arguments],
        cwd="/",
        env=environment(folder, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    try:
        yield Served(folder, process)
    finally:
        process.terminate()
        process.wait(2 * STOP_LIMIT)
        assert process.stdout is not None
        process.stdout.close()


def running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"  # a zombie waits for its parent, not for us


def ended(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not running(pid)


def command_line(process: Path) -> str:
    with suppress(OSError):
        return (process / "cmdline").read_text(errors="replace")
    return ""
