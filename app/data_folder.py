"""The folder of an embedded server: one process at a time works in it."""

import fcntl
import os
from pathlib import Path

from app.settings import StartError


class DataFolderInUse(StartError):
    """Another process holds the data folder."""


def lock_folder(folder: Path) -> int:
    """Make the folder if need be, and hold it until the returned descriptor is closed or this process ends."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        advice = "Stop it, or set PARLEY_DATA_DIR to another folder."
        raise DataFolderInUse(f"The data folder {folder} is in use by process {holder}. {advice}") from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock
