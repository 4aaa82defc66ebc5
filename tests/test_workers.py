"""Several server processes behind one port, as their users meet them: they start, die, hang and stop."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.processes import (
    START_LIMIT,
    STOP_LIMIT,
    Served,
    command_line,
    ended,
    parley,
    refusal,
    running,
    serving,
)
from tests.redis_server import RedisServer

COUNT = 2
TWO = ("--workers", str(COUNT))
CREATE = 'mutation { createChannel(input: {name: "%s"}) { errors { message } } }'
JOINED = "{ viewer { channels(first: 50) { nodes { name } } } }"
# The program, with less patience for workers that hang.
IMPATIENT = "from app import cli, workers; workers.SILENCE_SECONDS = 1.5; cli.main()"


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def folder(redis: RedisServer) -> Iterator[Path]:
    """A data folder whose first start is over."""
    with tempfile.TemporaryDirectory(prefix="parley-run-") as home:
        folder = Path(home, "data")
        with serving(folder, *TWO, REDIS_URL=redis.url) as server:
            assert "first start only" in server.output
            assert server.output.count("Parley listens on") == 1
        yield folder


def parent_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return int(status.rpartition(")")[2].split()[1])


def workers(server: Served) -> set[int]:
    """The processes that serve."""
    pids = {int(path.name) for path in Path("/proc").glob("[0-9]*") if "app.worker\0" in command_line(path)}
    return {pid for pid in pids if running(pid) and parent_of(pid) == server.process.pid}


def wait_until(holds: Callable[[], bool], seconds: float = START_LIMIT) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.02)


def ready(server: Served) -> str:
    """What /readyz says; each time over a new connection, so that any of the processes may answer."""
    answer = httpx.get(f"{server.url}/readyz")
    assert answer.status_code == 200
    return str(answer.json()["status"])


def test_several_workers_need_redis(tmp_path: Path) -> None:
    line = refusal(tmp_path, "serve", *TWO)
    assert line.startswith("Several workers need REDIS_URL")
    assert "Set it to the URL of a Redis, or leave --workers away." in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", ["0", "-1", "two", "101", ""])
def test_a_wrong_number_of_workers_is_wrong_usage(tmp_path: Path, count: str) -> None:
    done = parley(tmp_path, "serve", f"--workers={count}")
    assert done.returncode == 2
    assert f"'{count}' is not a whole number from 1 to 100" in done.stderr


def test_each_worker_serves_and_a_killed_one_is_replaced(folder: Path, redis: RedisServer) -> None:
    with serving(folder, *TWO, REDIS_URL=redis.url) as server:
        first, second = before = sorted(workers(server))
        assert '"errors":[]' in server.ask(CREATE % "shared")
        for stopped in before:
            os.kill(stopped, signal.SIGSTOP)
            assert "shared" in server.ask(JOINED)
            os.kill(stopped, signal.SIGCONT)
        os.kill(first, signal.SIGKILL)
        assert "shared" in server.ask(JOINED)
        wait_until(lambda: len(workers(server)) == COUNT)
        assert second in workers(server)
        os.kill(second, signal.SIGKILL)
        assert "shared" in server.ask(JOINED)
        wait_until(lambda: len(workers(server)) == COUNT)
        server.process.terminate()
        assert server.process.wait(STOP_LIMIT) == 0
        assert server.process.stdout is not None
        log = server.process.stdout.read()
        assert f"worker process {first} has ended (SIGKILL) and is replaced" in log
        assert f" {server.process.pid} ERROR parley.workers" in log


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_with_connections_open(folder: Path, redis: RedisServer, stop: signal.Signals) -> None:
    with serving(folder, *TWO, REDIS_URL=redis.url) as server, httpx.Client() as client:
        client.get(f"{server.url}/readyz")
        processes = [*workers(server), server.postgres]
        assert len(processes) == COUNT + 1
        begin = time.monotonic()
        server.process.send_signal(stop)
        server.process.send_signal(stop)  # as impatient people do
        assert server.process.wait(STOP_LIMIT) == 0
        assert all(ended(pid, STOP_LIMIT - (time.monotonic() - begin)) for pid in processes)
        assert server.process.stdout is not None
        assert "has ended" not in server.process.stdout.read()


def test_after_kill_9_of_the_parent_nothing_is_left(folder: Path, redis: RedisServer) -> None:
    with serving(folder, *TWO, REDIS_URL=redis.url) as server:
        assert '"errors":[]' in server.ask(CREATE % "before-the-crash")
        processes = [*workers(server), server.postgres]
        os.kill(processes[0], signal.SIGSTOP)  # not even one that cannot hear of it
        server.process.kill()
        server.process.wait()
        assert ended(processes[1], STOP_LIMIT)
        assert ended(processes[2], STOP_LIMIT)
        os.kill(processes[0], signal.SIGCONT)
        assert ended(processes[0], STOP_LIMIT)
    with serving(folder, *TWO, REDIS_URL=redis.url) as server:
        assert "before-the-crash" in server.ask(JOINED)


def test_a_worker_that_hangs_is_replaced(folder: Path, redis: RedisServer) -> None:
    program = (sys.executable, "-c", IMPATIENT)
    with serving(folder, *TWO, program=program, REDIS_URL=redis.url) as server:
        frozen, _ = workers(server)
        os.kill(frozen, signal.SIGSTOP)
        assert ended(frozen, START_LIMIT)
        wait_until(lambda: len(workers(server)) == COUNT)
        server.process.terminate()
        assert server.process.stdout is not None
        assert f"worker process {frozen} hangs" in server.process.stdout.read()


def test_a_worker_that_does_not_stop_is_killed(folder: Path, redis: RedisServer) -> None:
    with serving(folder, *TWO, REDIS_URL=redis.url) as server:
        frozen, _ = processes = workers(server)
        os.kill(frozen, signal.SIGSTOP)
        server.process.terminate()
        assert server.process.wait(2 * STOP_LIMIT) == 0
        assert not any(running(pid) for pid in processes)


def test_workers_that_die_again_and_again_end_the_server(folder: Path, redis: RedisServer) -> None:
    with serving(folder, *TWO, REDIS_URL=redis.url) as server:
        kept = min(workers(server))
        postgres = server.postgres
        deadline = time.monotonic() + START_LIMIT
        while server.process.poll() is None:
            assert time.monotonic() < deadline
            for pid in workers(server) - {kept}:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        assert server.process.returncode == 1
        assert server.process.stdout is not None
        *_, last = server.process.stdout.read().splitlines()
        assert last == "parley: Server processes end soon after their start, again and again (now: SIGKILL)."
        assert not running(kept)
        assert not running(postgres)


def test_workers_that_do_not_start_end_the_server(folder: Path, redis: RedisServer) -> None:
    key = folder / "issuer.pem"
    kept = key.read_bytes()
    key.write_text("no key")
    try:
        done = parley(folder, "serve", *TWO, REDIS_URL=redis.url)
    finally:
        key.write_bytes(kept)
    assert done.returncode == 1
    assert done.stdout == ""
    first, *_, last = done.stderr.splitlines()
    assert first.startswith(f"parley: {key} is not an RSA key of the local issuer.")
    assert last == "parley: A server process does not start (exit code 1). What it wrote above says why."


def test_a_redis_url_that_cannot_be_used_is_told_in_one_line(folder: Path) -> None:
    assert refusal(folder, "serve", REDIS_URL="redis://127.0.0.1?colour=red").startswith("REDIS_URL cannot be used:")


def test_a_database_that_dies_ends_the_server(folder: Path, redis: RedisServer) -> None:
    with serving(folder, *TWO, REDIS_URL=redis.url) as server:
        processes = workers(server)
        os.kill(server.postgres, signal.SIGKILL)
        assert server.process.wait(2 * STOP_LIMIT) == 1
        assert not any(running(pid) for pid in processes)
        assert server.process.stdout is not None
        assert "parley: The embedded database has ended by itself." in server.process.stdout.read()


def test_without_redis_the_server_is_ready_but_says_so(folder: Path) -> None:
    with RedisServer(is_started=False) as redis, serving(folder, *TWO, REDIS_URL=redis.url) as server:
        assert ready(server) == "degraded"
        assert "Redis" in httpx.get(f"{server.url}/readyz").json()["reason"]
        redis.start()
        wait_until(lambda: {ready(server) for _ in range(10)} == {"ok"})
        redis.kill()
        wait_until(lambda: {ready(server) for _ in range(10)} == {"degraded"})
