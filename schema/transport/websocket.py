"""GraphQL over WebSocket: graphql-transport-ws. docs/websocket.md lists what is decided here, and why.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

import asyncio
from typing import cast

import orjson
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from app.errors import TokenExpired, Unauthenticated, UserInactive
from schema.context import Context, Services
from schema.errors import TopLevelCode, coded, settle_exception
from schema.guard import ParleySchema
from schema.transport.handshake import SUBPROTOCOL, may_connect, token_of
from schema.transport.refusal import Refused
from schema.transport.request import SentRequest, check_request
from schema.transport.sessions import EXPIRED, FORBIDDEN, NOTICE_SECONDS, TRY_AGAIN, Session, TooManySessions
from schema.transport.socket_messages import (
    BAD_MESSAGE,
    Complete,
    ConnectionInit,
    Ping,
    Pong,
    Subscribe,
    Violation,
    read_message,
)
from schema.transport.socket_operation import Socket, SocketOperation
from schema.transport.socket_operation import Subscribe as StartSubscription

INIT_SECONDS = 10.0
MAX_OPERATIONS = 100  # that one socket may have at a time, subscriptions and others
AT_ONCE = 10  # of them may be executing or starting; the others wait
WRONG_ORIGIN = b"This page's origin may not connect. Add it to CORS_ALLOW_ORIGINS.\n"


class SocketEndpoint:
    """The ASGI application for WebSockets at /graphql. It finds its services in `app.state.services`."""

    def __init__(
        self,
        schema: ParleySchema,
        subscribe: StartSubscription,
        *,
        init_seconds: float = INIT_SECONDS,
        notice_seconds: float = NOTICE_SECONDS,
    ) -> None:
        self.schema = schema
        self.subscribe = subscribe
        self.init_seconds = init_seconds
        self._notice_seconds = notice_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services: Services = scope["app"].state.services
        socket = cast("Socket", scope["extensions"]["parley.socket"])
        await receive()  # websocket.connect
        if not may_connect(Headers(scope=scope), services.settings.cors_allow_origins):
            await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
            await send({"type": "websocket.http.response.body", "body": WRONG_ORIGIN})
            return
        if SUBPROTOCOL not in scope["subprotocols"]:
            await send({"type": "websocket.accept"})
            socket.close(4406, f"Subprotocol not acceptable: use {SUBPROTOCOL}")
            return
        address = scope["client"][0] if scope["client"] else None
        session = Session(services, None, address, socket.close, notice_seconds=self._notice_seconds)
        try:
            services.sessions.add(session)
        except TooManySessions as refused:
            await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
            socket.close(refused.code, refused.reason)
            return
        try:
            await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
            await SocketConnection(self, socket, session).run(receive)
        finally:
            session.end()


class SocketConnection:
    """One socket: what the client sends, in order."""

    __slots__ = ("_endpoint", "_init_timer", "_operations", "_session", "_socket", "_tasks", "_waiting")

    def __init__(self, endpoint: SocketEndpoint, socket: Socket, session: Session) -> None:
        self._endpoint = endpoint
        self._socket = socket
        self._session = session
        self._init_timer: asyncio.TimerHandle | None = None
        self._operations: dict[str, SocketOperation] = {}
        self._waiting: dict[str, SentRequest] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, receive: Receive) -> None:
        """Until the socket is closed, by whichever side."""
        self._init_timer = asyncio.get_running_loop().call_later(
            self._endpoint.init_seconds, self._socket.close, 4408, "Connection initialisation timeout"
        )
        self._socket.on_congested = self._congest
        self._socket.on_drained = self._start_waiting
        try:
            while (message := await receive())["type"] == "websocket.receive" and self._socket.is_open:
                await self._take(message.get("text"))
        except Violation as violation:
            self._socket.close(violation.code, violation.reason)
        except Exception as error:  # noqa: BLE001 - a fault of ours: the log has it, and the client may try again
            self._socket.close(TRY_AGAIN, settle_exception(error).message)
        finally:
            self._end()
        if self._tasks:
            # Mutations that run on. The server waits for this task before it lets go of the database.
            await asyncio.wait(self._tasks)

    def _end(self) -> None:
        self._socket.on_congested = self._socket.on_drained = None
        if self._init_timer is not None:
            self._init_timer.cancel()
        self._waiting.clear()
        for operation in list(self._operations.values()):
            operation.end()
        self._session.end()

    async def _take(self, text: str | None) -> None:
        if text is None:
            raise Violation(BAD_MESSAGE, "Messages are JSON in text frames, not binary ones.")
        match read_message(text):
            case ConnectionInit(payload):
                await self._begin(payload)
            case Ping(payload):
                echo = {} if payload is None else {"payload": payload}
                self._socket.send_text(orjson.dumps({"type": "pong", **echo}))
            case Pong():
                pass
            case Subscribe(id, payload):
                self._subscribe(id, payload)
            case Complete(id):
                if id in self._operations:  # else it has crossed our own `complete`
                    self._operations[id].end()

    async def _begin(self, payload: dict[str, object]) -> None:
        if self._init_timer is None:
            raise Violation(4429, "Too many initialisation requests")
        self._init_timer.cancel()
        self._init_timer = None
        session = self._session
        services = session.services
        try:
            claims = await services.authenticator.verify(token_of(payload))
            version = services.known_users.version
            async with Context(services, claims, session.address) as context:
                user = await context.user()
            services.sessions.identify(session, user, version=version)
        except TokenExpired:
            raise Violation(FORBIDDEN, EXPIRED) from None
        except (Unauthenticated, UserInactive) as error:
            raise Violation(FORBIDDEN, error.message) from None
        except TooManySessions as refused:
            raise Violation(refused.code, refused.reason) from None
        except Exception as error:  # noqa: BLE001 - the issuer or the database is down; else the log has it
            raise Violation(TRY_AGAIN, settle_exception(error).message) from None
        session.begin(claims, user)
        self._socket.send_text(b'{"type":"connection_ack"}')

    def _subscribe(self, id: str, payload: dict[str, object]) -> None:
        if self._session.user is None:
            raise Violation(4401, "Unauthorized")
        if id in self._operations:
            raise Violation(4409, f"Subscriber for {id} already exists")
        operation = SocketOperation(id, self._socket, self._session, self._forget)
        try:
            request = check_request(payload)
        except Refused as refused:
            operation.fail([coded(refused.message, refused.code)])
            return
        if len(self._operations) >= MAX_OPERATIONS:
            message = f"This socket has its {MAX_OPERATIONS} operations. Complete one first."
            operation.fail([coded(message, TopLevelCode.SUBSCRIPTION_LIMIT)])
            return
        self._operations[id] = operation
        self._waiting[id] = request
        self._start_waiting()

    def _start_waiting(self) -> None:
        """Not while the client does not take the answers that it has."""
        while self._waiting and len(self._tasks) < AT_ONCE and not self._socket.congested:
            first = next(iter(self._waiting))
            request = self._waiting.pop(first)
            running = self._operations[first].run(request, self._endpoint.schema, self._endpoint.subscribe)
            task = asyncio.create_task(running)
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._start_waiting()

    def _forget(self, operation: SocketOperation) -> None:
        if self._operations.get(operation.id) is operation:
            del self._operations[operation.id]
            self._waiting.pop(operation.id, None)

    def _congest(self) -> None:
        for operation in list(self._operations.values()):
            operation.congest()
