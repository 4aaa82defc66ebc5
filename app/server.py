"""Running the app in one process: the listening socket, uvicorn, and what the person at the terminal reads."""

import asyncio
import errno
import gc
import logging
import shlex
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType

from starlette.applications import Starlette
from uvicorn import Config, Server

from app.http_connection import HttpConnection
from app.metrics import metrics
from app.settings import DATA_DIR, Settings, StartError
from app.sockets import SOCKETS

# With the database's own stop (app/embedded.py) less than 5 s, in which everything must be over.
GRACE_SECONDS = 1
BACKLOG = 2048
TICKS = 10  # of uvicorn, in a second
COLLECTED_AFTER = (1_000, 20, 100)
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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


def serve(
    app: Starlette,
    settings: Settings,
    listener: socket.socket,
    *,
    alive: Callable[[], bool],
    announce: Callable[[], None] = lambda: None,
) -> None:
    """Serve until a signal says stop, or until `alive` says that the database has gone.

    Raises StartError. `announce` is called when the server listens, `alive` then and every second from then on.
    """
    configure_logging(settings)
    config = Config(
        app,
        loop="uvloop",
        http=HttpConnection,
        **SOCKETS,
        lifespan="on",
        log_config=None,
        log_level=settings.log_level if settings.log_level != "info" else "warning",
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    # There are services from the start on, not before.
    server = _WatchedServer(config, alive, announce, lambda: app.state.services.sessions.drain())  # noqa: PLW0108 - as said
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup leaves it
        signal.signal(signal.SIGHUP, server.handle_exit)
    counted = metrics(settings.metrics_port, lambda: getattr(app.state, "services", None))
    with counted, asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(app.state.prepare())
        runner.run(server.serve(sockets=[listener]))
    ignore_stop_signals()


def ignore_stop_signals() -> None:
    """What is left to stop is soon done; a second Ctrl-C would only leave it to be cleared up by the next start."""
    for stop in STOP_SIGNALS:
        signal.signal(stop, signal.SIG_IGN)


class _WatchedServer(Server):
    """uvicorn, asking whether to go on, telling when it really listens, and the live sessions before it stops."""

    def __init__(
        self,
        config: Config,
        alive: Callable[[], bool],
        announce: Callable[[], None],
        drain: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(config)
        self._alive = alive
        self._announce = announce
        self._drain = drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # Modules, types and the schema are for ever. Unfrozen, each full collection walks all of them: a pause of 70
        # to 170 ms, and the 99th percentile of the time from a message to its delivery.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECTED_AFTER)
        if self.started:
            self._announce()

    async def on_tick(self, counter: int) -> bool:
        # uvicorn's `callback_notify` goes by the time of day, and pauses for hours when that is set back.
        if counter % TICKS == 0 and not self._alive():
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        if self.started:
            await self._drain()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 # what signal.signal calls
        # uvicorn's own would raise the signal again at the end, when it has been dealt with.
        self.should_exit = True


def configure_logging(settings: Settings) -> None:
    form = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(format=form, level=settings.log_level.upper())
    if settings.log_level == "info":
        # A line per outgoing request and per migration says little.
        for chatty in ("alembic", "httpx"):
            logging.getLogger(chatty).setLevel(logging.WARNING)


def welcome(settings: Settings, listener: socket.socket) -> str:
    """What a person at the terminal wants to know when it all runs."""
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
    listening = '{"query": "subscription { viewerEvents { __typename ... on Event { type at actor { name } } } }"}'
    headers = f"""-H 'content-type: application/json' -H "authorization: Bearer {token}\""""
    lines += [
        "A first request:",
        f"  curl {url} {headers} \\",
        f"    -d '{query}'",
        "Listening to what happens:",
        f"  curl -N {url} {headers} \\",
        f"    -H 'accept: text/event-stream' -d '{listening}'",
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
