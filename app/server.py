"""Running the app in this process: the listening socket, uvicorn, and what the person at the terminal reads."""

import asyncio
import errno
import logging
import shlex
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from starlette.applications import Starlette
from uvicorn import Config, Server

from app.settings import DATA_DIR, Settings, StartError

# With the database's own stop (app/embedded.py) less than 5 s, in which everything must be over.
GRACE_SECONDS = 2
BACKLOG = 2048
WATCH_SECONDS = 1


def listen(settings: Settings) -> socket.socket:
    """Take the address before anything slow starts; clients that come early wait in the backlog."""
    host, port = settings.host, settings.port
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: f"Port {port} is taken by another program. Stop that, or set PORT to another number.",
            errno.EACCES: f"This user may not listen on port {port}. Set PORT to a number above 1023.",
        }
        other = f"Cannot listen on HOST '{host}': {error.strerror}. Set HOST to an address of this machine."
        raise StartError(reasons.get(error.errno or 0, other)) from None


def serve(app: Starlette, settings: Settings, listener: socket.socket, alive: Callable[[], bool]) -> None:
    """Serve until a signal says stop, or until `alive` (asked once a second) says that the database has gone."""
    _configure_logging(settings)

    async def watch() -> None:
        if not alive():
            server.should_exit = True

    config = Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=settings.log_level if settings.log_level != "info" else "warning",
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=GRACE_SECONDS,
        callback_notify=watch,
        timeout_notify=WATCH_SECONDS,
    )
    server = _AnnouncingServer(config, lambda: print(_welcome(settings, listener), flush=True))  # noqa: T201 # for the terminal
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup leaves it
        signal.signal(signal.SIGHUP, server.handle_exit)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets=[listener]))
    # What is left to stop is soon done; a second Ctrl-C would only leave it to be cleared up by the next start.
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, signal.SIG_IGN)


class _AnnouncingServer(Server):
    """uvicorn, telling when it really listens."""

    def __init__(self, config: Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 # what signal.signal calls
        # uvicorn's own would raise the signal again at the end, when it has been dealt with.
        self.should_exit = True


def _configure_logging(settings: Settings) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=settings.log_level.upper())
    if settings.log_level == "info":
        # A line per outgoing request and per migration says little.
        for chatty in ("alembic", "httpx"):
            logging.getLogger(chatty).setLevel(logging.WARNING)


def _welcome(settings: Settings, listener: socket.socket) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{listener.getsockname()[1]}/graphql"
    lines = [f"Parley listens on {url}" + (" (in a browser: GraphiQL)" if settings.graphiql else "")]
    token = "<token>"  # noqa: S105 # a placeholder
    if settings.auth0_domain is None:
        command = _command(settings)
        lines.append(f"A token for alice (any name makes a user):  {command} token alice")
        token = f"$({command} token alice)"
    else:
        lines.append(f"Tokens come from https://{settings.auth0_domain}/ for {settings.auth0_api_identifier}")
    query = '{"query": "{ viewer { user { name } channels(first: 5) { nodes { name } } } }"}'
    lines += [
        "A first request:",
        f"  curl {url} -H 'content-type: application/json' \\",
        f'    -H "authorization: Bearer {token}" \\',
        f"    -d '{query}'",
        "Stop with Ctrl-C.",
    ]
    return "\n".join(lines)


def _command(settings: Settings) -> str:
    # In another terminal the variable may be missing, and another folder holds another key.
    folder = "" if settings.data_dir == DATA_DIR else f"PARLEY_DATA_DIR={shlex.quote(str(settings.data_dir))} "
    program = Path(sys.executable).with_name("parley")
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    return f"{folder}{shlex.quote(str(program))}"
