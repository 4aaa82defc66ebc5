"""A server process that a test may kill: `python -m tests.live_process`, with a line of JSON on standard input.

It writes its port when it listens.
"""

import json
import sys
from pathlib import Path

from app.events.times import Times
from app.main import create_app
from app.server import listen, serve
from app.settings import Settings


def main() -> None:
    given = json.loads(sys.stdin.readline())
    settings = Settings(port=0, data_dir=Path(given["data_dir"]), redis_url=given["redis_url"])
    app = create_app(settings, given["url"], keeps_house=False, times=Times(**given["times"]))
    listener = listen(settings)

    def announce() -> None:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()

    serve(app, settings, listener, alive=lambda: True, announce=announce)


if __name__ == "__main__":
    main()
