"""One operation of a socket, from `subscribe` to `complete` or `error`."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

import orjson
from graphql import GraphQLError
from strawberry.types.graphql import OperationType

from schema.context import Context
from schema.errors import coded, settle_exception
from schema.execution.encode import encode_result
from schema.execution.execute import Answer, execute
from schema.execution.operation import is_subscription
from schema.execution.sink import OperationFailed, Running, Sink
from schema.guard import ParleySchema
from schema.persisted.resolve import resolve
from schema.transport.refusal import Refused
from schema.transport.request import GraphQLRequest, SentRequest
from schema.transport.sessions import Session

Subscribe: TypeAlias = Callable[[GraphQLRequest, Session, Sink], Awaitable[Running]]


class Socket(Protocol):
    """What the server gives for a WebSocket beside ASGI's `receive` (app/sockets.py). Nothing here waits or raises."""

    is_open: bool
    congested: bool
    on_congested: Callable[[], None] | None
    on_drained: Callable[[], None] | None

    def push(self, prefix: bytes, payload: bytes) -> None:
        """Send prefix, payload and a closing brace as one text."""

    def send_text(self, text: bytes) -> None: ...

    def close(self, code: int, reason: str = "") -> None: ...

    async def drained(self) -> None: ...


class SocketOperation:
    """The Sink of a subscription, and the way out for the one result of a query or mutation."""

    __slots__ = ("_forget", "_prefix", "_push", "_running", "_session", "_socket", "id")

    def __init__(self, id: str, socket: Socket, session: Session, forget: Callable[["SocketOperation"], None]) -> None:
        """`forget` is called once, when the id is free again."""
        self.id = id
        self._socket = socket
        self._session = session
        self._forget: Callable[[SocketOperation], None] | None = forget
        self._prefix = b'{"id":' + orjson.dumps(id) + b',"type":"next","payload":'
        self._push: Callable[[bytes, bytes], None] = socket.push
        self._running: Running | None = None

    @property
    def is_over(self) -> bool:
        return self._forget is None

    async def run(self, sent: SentRequest, schema: ParleySchema, subscribe: Subscribe) -> None:
        """Answer a query or mutation; start a subscription, which then needs no task."""
        try:
            request = resolve(schema, sent)
            _, operation = schema.operation(request.query, request.operation_name)
            if is_subscription(operation):
                self._started(await subscribe(request, self._session, self))
            else:
                self._answer(await self._execute(request, schema))
        except OperationFailed as failed:
            self.fail(failed.errors)
        except Refused as refused:
            self.fail([coded(refused.message, refused.code)])
        except Exception as error:  # noqa: BLE001 - the client is told, and the log has the traceback
            self.fail([settle_exception(error)])

    async def _execute(self, request: GraphQLRequest, schema: ParleySchema) -> Answer:
        session = self._session
        async with Context(session.services, session.claims, session.address, session) as context:
            return await execute(schema, request, context, (OperationType.QUERY, OperationType.MUTATION))

    def _answer(self, result: Answer) -> None:
        if isinstance(result, bytes):
            self.next(result)
            self.complete()
            return
        if result.errors and result.data is None and all(error.path is None for error in result.errors):
            self.fail(result.errors)
            return
        self.next(encode_result(result.data, result.errors))
        self.complete()

    def _started(self, running: Running) -> None:
        if self.is_over:
            running.stop()
            return
        self._running = running
        self._session.add(running)
        if self._socket.congested:
            running.congest()

    # The Sink.

    def begin(self, cursor: Callable[[], str]) -> None:
        """What clients of sockets resume by is in the results."""

    def next(self, payload: bytes) -> None:
        self._push(self._prefix, payload)

    def complete(self) -> None:
        if not self.is_over:
            self._socket.send_text(orjson.dumps({"id": self.id, "type": "complete"}))
            self.end()

    @property
    def congested(self) -> bool:
        return self._socket.congested

    async def drained(self) -> None:
        await self._socket.drained()

    # What the connection calls.

    def fail(self, errors: Sequence[GraphQLError]) -> None:
        """The operation did not start, or ends here: the client gets an `error`, after which nothing follows."""
        if not self.is_over:
            payload = [error.formatted for error in errors]
            self._socket.send_text(orjson.dumps({"id": self.id, "type": "error", "payload": payload}))
            self.end()

    def congest(self) -> None:
        if self._running is not None:
            self._running.congest()

    def end(self) -> None:
        """Send nothing more.

        A subscription stops (one that is just starting, when it has); a query or mutation runs on unheard, since it may
        have written.
        """
        forget, self._forget = self._forget, None
        if forget is None:
            return
        self._push = _nowhere
        running, self._running = self._running, None
        if running is not None:
            self._session.discard(running)
            running.stop()
        forget(self)


def _nowhere(_prefix: bytes, _payload: bytes) -> None:
    """Where the results of an operation go that is over."""
