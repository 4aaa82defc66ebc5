"""One of several server processes: what app/workers.py starts as `python -m app.worker DESCRIPTOR NUMBER`.

The descriptor is the listening socket, the number counts the processes from 0 on. Standard input brings the settings,
the manifest of persisted documents and the database's URL in one line, and its end means that the parent is gone.
Standard output takes a byte for every second that this process runs well.
"""

import os
import pickle
import signal
import socket
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from app.errors import AppError
from app.main import create_app
from app.manifest import PersistedDocument
from app.server import serve
from app.settings import Settings, StartError
from app.workers import STOP_SECONDS
from schema.persisted.served import served_schema


def main() -> None:
    """Serve until the parent says stop, or ends."""
    signs = os.dup(1)
    os.set_blocking(signs, False)
    os.dup2(2, 1)  # whatever prints must not look like a sign of life
    settings: Settings
    manifest: Sequence[PersistedDocument] | None
    settings, manifest, url = pickle.loads(b64decode(sys.stdin.buffer.readline()))  # noqa: S301 - of the parent, by a pipe
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def beat() -> bool:
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(signs, b".")
        return True

    try:
        listener = socket.socket(fileno=int(sys.argv[1]))
        if settings.metrics_port is not None:
            settings = replace(settings, metrics_port=settings.metrics_port + int(sys.argv[2]))
        app = create_app(settings, url, served=served_schema(settings, manifest))
        serve(app, settings, listener, alive=beat)
    except (StartError, AppError) as error:
        sys.exit(f"parley: {error}")


def _end_with_parent() -> None:
    # Not through sys.stdin: at exit Python would wait for its lock, which this thread never gives back.
    with suppress(OSError):
        os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
