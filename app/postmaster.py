"""A PostgreSQL process seen from outside: its pid file, how to reach it, how to end it, why it did not start."""

import ctypes
import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from app.settings import StartError

OWNER = "parley"
DATABASE = "parley"

PR_SET_PDEATHSIG = 1  # prctl(2)
ORPHAN_STEPS = ((signal.SIGINT, 5.0), (signal.SIGQUIT, 2.0), (signal.SIGKILL, 2.0))


# Loaded here: in a forked child before exec as little as possible may happen.
_libc = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class PidFile:
    """What postmaster.pid says: lines 1, 5 and 8 of it (miscadmin.h, "LOCK_FILE_LINE")."""

    pid: int
    socket_folder: Path
    ready: bool


def read_pid_file(cluster: Path) -> PidFile | None:
    """The pid file of a cluster, None while there is none or it is not yet complete."""
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        return PidFile(int(lines[0]), Path(lines[4]), ready=lines[7].strip() == "ready")
    except (FileNotFoundError, IndexError, ValueError):
        return None


def remove_orphan(cluster: Path) -> None:
    """End a PostgreSQL that outlived its Parley, and clear the pid file it left. The caller holds the folder's lock."""
    left = read_pid_file(cluster)
    for step, seconds in ORPHAN_STEPS:
        if left is None or not _serves(left.pid, cluster):
            break
        os.kill(left.pid, step)
        deadline = time.monotonic() + seconds
        while _serves(left.pid, cluster) and time.monotonic() < deadline:
            time.sleep(0.02)
    if left is None:
        return
    # After a restart of the machine or container the number may belong to another process, and PostgreSQL would refuse.
    (cluster / "postmaster.pid").unlink(missing_ok=True)
    if left.socket_folder != cluster and left.socket_folder.name.startswith("parley-"):
        shutil.rmtree(left.socket_folder, ignore_errors=True)


def _serves(pid: int, cluster: Path) -> bool:
    # The command line, since in a container root may not read the links in /proc of another user's process.
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[0].endswith(b"postgres") and os.fsencode(cluster) in words


def socket_url(folder: Path, database: str = DATABASE) -> str:
    """The SQLAlchemy URL of a database behind the Unix socket in `folder`."""
    return f"postgresql+asyncpg://{OWNER}@/{quote(database, safe='')}?host={quote(str(folder), safe='/')}"


def running_url(folder: Path, seconds: float = 10.0) -> str:
    """The URL of the database that another process runs in `folder`; waits up to `seconds` for one that is starting."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = read_pid_file(folder.absolute() / "postgres")
        if state is not None and state.ready:
            return socket_url(state.socket_folder)
        time.sleep(0.05)
    raise StartError(f"The process that uses {folder} does not get its database ready. Look at its output.")


def reason(log: Path, begin: int) -> str:
    """The last fatal line that PostgreSQL wrote to its log after position `begin`."""
    with log.open("rb") as source:
        source.seek(begin)
        lines = source.read().decode(errors="replace").splitlines()
    fatal = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    last = (fatal or lines or ["it wrote nothing."])[-1]
    return last.rpartition("FATAL:")[2].strip()


def end_with_parent() -> None:
    """Between fork and exec: have Linux ask PostgreSQL for a fast shutdown when its parent dies, by kill -9 too."""
    _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGINT))
