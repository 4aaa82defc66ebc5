"""The program as its users meet it: real processes, signals and folders."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import httpx
import pytest

from app import __version__
from app.embedded import EmbeddedPostgres
from tests.processes import (
    PROGRAM,
    ROOT,
    STOP_LIMIT,
    command_line,
    ended,
    environment,
    parley,
    refusal,
    running,
    serving,
)

NOBODY = 65_534
CREATE = 'mutation { createChannel(input: {name: "%s"}) { channel { id } errors { message } } }'
PACKAGES = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry.endswith("site-packages"))])
JOINED = "{ viewer { channels(first: 50) { nodes { name } } } }"


@pytest.fixture
def empty() -> Iterator[Path]:
    """A data folder to be. Not below pytest's own, which every pytest that starts closes to PostgreSQL's user."""
    with tempfile.TemporaryDirectory(prefix="parley-run-") as home:
        yield Path(home, "data")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A data folder whose first start is over, shared by tests that each run their own server on it."""
    with tempfile.TemporaryDirectory(prefix="parley-run-") as home:
        folder = Path(home, "data")
        with serving(folder) as server:
            assert "first start only" in server.output
            assert "token alice" in server.output
            assert "general" in server.ask(JOINED)
        yield folder


def test_warm_start_answers_and_keeps_quiet_about_first_things(folder: Path) -> None:
    with serving(folder) as server:
        assert "first start" not in server.output
        assert httpx.get(f"{server.url}/readyz").json() == {"status": "ok"}


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_with_connections_open(folder: Path, stop: signal.Signals) -> None:
    with serving(folder) as server, httpx.Client() as client:
        client.get(f"{server.url}/readyz")  # leaves one connection to the server, and one to the database
        postgres = server.postgres
        begin = time.monotonic()
        server.process.send_signal(stop)
        assert server.process.wait(STOP_LIMIT) == 0
        assert ended(postgres, STOP_LIMIT - (time.monotonic() - begin))


def test_after_kill_9_the_next_start_finds_the_data(folder: Path) -> None:
    with serving(folder) as server:
        assert '"errors":[]' in server.ask(CREATE % "before-the-crash")
        postgres = server.postgres
        server.process.kill()
        server.process.wait()
        assert ended(postgres, STOP_LIMIT)
    with serving(folder) as server:
        assert "before-the-crash" in server.ask(JOINED)


def test_postgres_that_outlived_its_server_is_ended_by_the_next_start(folder: Path) -> None:
    with EmbeddedPostgres(folder) as abandoned:
        orphan = abandoned.pid
        # Without its lock it looks like the database of a server that is gone.
        (folder / "lock").unlink()
        with EmbeddedPostgres(folder) as next_one:
            assert next_one.pid != orphan
            assert abandoned.exited()


def test_a_pid_file_with_the_number_of_another_process_is_cleared(folder: Path) -> None:
    pid_file = folder / "postgres" / "postmaster.pid"
    with EmbeddedPostgres(folder):
        left = pid_file.read_text(encoding="utf-8")
    # Of PostgreSQL's own user: another user's process it would not take for itself.
    with subprocess.Popen(["/bin/sleep", "60"], user=pid_file.parent.stat().st_uid) as other:
        pid_file.write_text(f"{other.pid}\n" + left.partition("\n")[2], encoding="utf-8")
        try:
            with EmbeddedPostgres(folder) as started:
                assert running(started.pid)
                assert running(other.pid)
        finally:
            other.kill()


def test_a_folder_with_a_long_path_is_as_good_as_any(empty: Path) -> None:
    long = empty / ("x" * 100)
    with EmbeddedPostgres(long, options={"fsync": "off"}) as cluster:
        socket_folder = Path(cluster.url().partition("host=")[2])
        assert len(str(socket_folder)) < len(str(long))
        assert any(socket_folder.iterdir())
    assert not socket_folder.exists()


def test_a_server_whose_database_dies_says_so_and_the_next_start_recovers(folder: Path) -> None:
    with serving(folder) as server:
        os.kill(server.postgres, signal.SIGKILL)
        assert server.process.wait(2 * STOP_LIMIT) == 1
        assert server.process.stdout is not None
        assert "parley: The embedded database has ended by itself." in server.process.stdout.read()
    with EmbeddedPostgres(folder) as started:
        assert running(started.pid)


async def test_a_start_waits_for_a_statement_that_outlives_a_killed_database(folder: Path) -> None:
    with EmbeddedPostgres(folder) as cluster:
        connection = await asyncpg.connect(cluster.url().replace("+asyncpg", ""))
        await connection.execute("SET statement_timeout = '3s'")
        busy = asyncio.create_task(connection.execute("SELECT count(*) FROM generate_series(1, 1e10::bigint)"))
        await asyncio.sleep(0.5)  # until it computes: PostgreSQL has no event for that
        os.kill(cluster.pid, signal.SIGKILL)
        cluster.stop()
        cluster.start()
        assert running(cluster.pid)
        with pytest.raises((OSError, asyncpg.PostgresError)):
            await busy


def test_an_interrupted_first_start_leaves_nothing_running(empty: Path) -> None:
    process = subprocess.Popen([*PROGRAM, "serve"], cwd="/", env=environment(empty), stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if "first start only" in line:
                break
        process.terminate()
        assert process.wait(STOP_LIMIT) == 130
    assert [pid for pid in Path("/proc").glob("[0-9]*") if str(empty) in command_line(pid)] == []


def test_a_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refusal(tmp_path, "serve", PORT=str(port))
    assert line == f"Port {port} is taken by another program. Stop that, or set PORT to another number."
    assert list(tmp_path.iterdir()) == []


def test_an_address_of_another_machine_is_told_in_one_line(tmp_path: Path) -> None:
    settings = {"AUTH0_DOMAIN": "issuer.example.org", "AUTH0_API_IDENTIFIER": "parley"}
    assert refusal(tmp_path, "serve", HOST="192.0.2.1", **settings).startswith("Cannot listen on HOST '192.0.2.1'")


def test_a_data_folder_has_one_server(folder: Path) -> None:
    with serving(folder) as server:
        line = refusal(folder, "serve")
        assert line.startswith(f"The data folder {folder} is in use by process {server.process.pid}.")


def test_a_data_folder_that_cannot_be_made_is_told_in_one_line() -> None:
    assert refusal(Path("/dev/null/data"), "serve").startswith("Cannot use the data folder /dev/null/data")


def test_an_unreachable_database_is_told_in_one_line_without_the_password(tmp_path: Path) -> None:
    begin = time.monotonic()
    line = refusal(tmp_path, "serve", DB_URL="postgresql://parley:sesame@127.0.0.1:1/chat")
    assert time.monotonic() - begin < 2 * STOP_LIMIT
    assert line == "Cannot reach the database of DB_URL (127.0.0.1:1/chat): Connection refused."


@pytest.mark.parametrize("command", [("serve",), ("migrate",), ("token", "alice"), ("seed",)])
def test_bad_settings_are_told_by_every_command(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert refusal(tmp_path, *command, PORT="http").startswith("PORT is 'http', but must be")


def test_the_local_issuer_serves_this_machine_only(tmp_path: Path) -> None:
    line = refusal(tmp_path, "serve", HOST="0.0.0.0")
    assert "the local issuer of tokens is for this machine only. Set AUTH0_DOMAIN" in line


def test_token_prints_one_line_and_nothing_else(tmp_path: Path) -> None:
    done = parley(tmp_path, "token", "alice", "--admin", "--ttl", "60")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", done.stdout)
    assert "1 to" in refusal(tmp_path, "token", "alice", "--ttl", "0")


def test_with_another_issuer_there_is_no_token_to_print(tmp_path: Path) -> None:
    settings = {"AUTH0_DOMAIN": "issuer.example.org", "AUTH0_API_IDENTIFIER": "parley"}
    assert refusal(tmp_path, "token", "alice", **settings).startswith("Tokens come from https://issuer.example.org/")


def test_schema_prints_the_schema_that_is_committed(tmp_path: Path) -> None:
    printed = parley(tmp_path, "schema").stdout
    assert printed == (ROOT / "schema" / "schema.graphql").read_text(encoding="utf-8")


def test_the_version_is_one_and_the_same_everywhere(tmp_path: Path, folder: Path) -> None:
    assert parley(tmp_path, "--version").stdout == f"parley {__version__}\n"
    with serving(folder) as server:
        assert f'"version":"{__version__}"' in server.ask("{ serverInfo { version } }")


@pytest.mark.parametrize("command", ["serve", "migrate", "token", "seed", "schema"])
def test_every_command_explains_itself(tmp_path: Path, command: str) -> None:
    done = parley(tmp_path, command, "--help")
    assert done.returncode == 0
    assert f"parley {command}" in done.stdout
    assert "Examples:" in done.stdout


def test_migrate_works_alone(folder: Path) -> None:
    assert parley(folder, "migrate").stdout == "The database has the current schema.\n"


def test_seed_works_beside_a_server_and_writes_once(folder: Path) -> None:
    with serving(folder):
        assert parley(folder, "seed").stdout == "There are users already: nothing is written.\n"


def test_servers_that_start_together_on_one_database_take_turns_migrating(empty: Path) -> None:
    with EmbeddedPostgres(empty, options={"fsync": "off"}) as cluster:
        url = cluster.url().replace("+asyncpg", "")
        with serving(empty / "one", DB_URL=url) as one, serving(empty / "two", DB_URL=url) as two:
            assert httpx.get(f"{one.url}/readyz").status_code == 200
            assert httpx.get(f"{two.url}/readyz").status_code == 200
            cluster.stop()
            assert httpx.get(f"{one.url}/healthz").status_code == 200
            assert httpx.get(f"{one.url}/readyz").status_code == 503


def test_a_wrong_login_is_told_at_once_in_one_line(folder: Path) -> None:
    with EmbeddedPostgres(folder) as cluster:
        url = cluster.url().replace("parley@", "mallory:sesame@")
        line = refusal(folder, "migrate", DB_URL=url)
    assert line == 'Cannot reach the database of DB_URL (/parley): role "mallory" does not exist.'


def test_pages_of_allowed_origins_may_call_and_no_others(folder: Path) -> None:
    asking = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    with serving(folder, CORS_ALLOW_ORIGINS="https://chat.example.org") as server:
        allowed, other = (
            httpx.options(f"{server.url}/graphql", headers={"origin": origin, **asking})
            for origin in ("https://chat.example.org", "https://evil.example.org")
        )
        assert allowed.headers["access-control-allow-origin"] == "https://chat.example.org"
        assert "access-control-allow-credentials" not in allowed.headers
        assert "access-control-allow-origin" not in other.headers
        assert "server" not in allowed.headers
        assert httpx.get(server.url).headers["location"] == "/graphql"


def ordinary_python() -> str:
    """A Python like ours that any user may run, where root's own may lie in a folder closed to others."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(name, path="/usr/local/bin:/usr/bin") or name):
        with suppress(PermissionError, FileNotFoundError):
            trial = subprocess.run(
                [candidate, "-c", "import app.main"], cwd="/", env={"PYTHONPATH": PACKAGES}, user=NOBODY, check=False
            )
            if trial.returncode == 0:
                return candidate
    pytest.skip("no Python here that an ordinary user may run with the packages of this one")


def test_an_ordinary_user_can_run_it(empty: Path) -> None:
    if os.geteuid() != 0:
        return  # all the other tests showed it
    os.chown(empty.parent, NOBODY, NOBODY)
    program = (ordinary_python(), "-m", "app")
    with serving(empty, user=NOBODY, program=program, PYTHONPATH=PACKAGES) as server:
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        assert (empty / "postgres").stat().st_uid == NOBODY
