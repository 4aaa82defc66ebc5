"""Subscriptions over HTTP: from a request to a stream of events that has begun, or to why there is none."""

from datetime import UTC, datetime
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from strawberry.types.execution import ExecutionResult

from app.auth import Claims
from app.errors import TokenExpired, Unauthenticated
from schema.context import Context, Services
from schema.errors import TopLevelCode
from schema.execution.sink import OperationFailed
from schema.transport.accept import EVENT_STREAM
from schema.transport.event_stream import KEEP_ALIVE_SECONDS, EventStream
from schema.transport.refusal import Refused
from schema.transport.request import GraphQLRequest
from schema.transport.response import Encoded, is_service_error, respond_errors, respond_result
from schema.transport.sessions import FORBIDDEN, NOTICE_SECONDS, Session, TooManySessions
from schema.transport.socket_operation import Subscribe

# Nothing becomes free by itself, but streams end, and servers are replaced.
RETRY_SECONDS = 5

Answer: TypeAlias = Response | Encoded | EventStream


class HttpSubscriptions:
    """Each stream is a session of its own, like a socket, with one operation."""

    def __init__(
        self,
        subscribe: Subscribe,
        *,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
        notice_seconds: float = NOTICE_SECONDS,
    ) -> None:
        self._subscribe = subscribe
        self._keep_alive_seconds = keep_alive_seconds
        self._notice_seconds = notice_seconds

    async def answer(
        self, request: Request, read: GraphQLRequest, claims: Claims | None, address: str | None, media_type: str
    ) -> Answer:
        """The stream, begun; or the errors that are the operation's own, as a stream of one result.

        Raises Refused or AppError. `media_type` is for other errors.
        """
        connection = request.scope.get("extensions", {}).get("parley.http")
        stream = EventStream(request.receive, connection, keep_alive_seconds=self._keep_alive_seconds)
        services: Services = request.app.state.services
        session = Session(services, claims, address, stream.close, notice_seconds=self._notice_seconds)
        try:
            await _begin(session, claims)
            # Not cancelled if the client leaves meanwhile: what is being executed would be left half done.
            stream.start(session, await self._subscribe(read, session, stream))
        except BaseException as error:
            stream.cancel()
            session.end()
            if isinstance(error, OperationFailed):
                return _failed(error, media_type)
            raise
        return stream


async def _begin(session: Session, claims: Claims | None) -> None:
    if claims is None:
        raise Unauthenticated
    if datetime.now(UTC) >= claims.expires_at:  # what is still good for a request is not for a session
        raise TokenExpired
    sessions = session.services.sessions
    try:
        sessions.add(session)
        version = session.services.known_users.version
        async with Context(session.services, claims, session.address) as context:
            user = await context.user()
        sessions.identify(session, user, version=version)
    except TooManySessions as refused:
        own = refused.code == FORBIDDEN
        raise Refused(
            429 if own else 503,
            refused.reason,
            code=TopLevelCode.SUBSCRIPTION_LIMIT if own else TopLevelCode.UNAVAILABLE,
            # The next attempt may reach another server.
            headers={"Retry-After": str(RETRY_SECONDS), **({} if own else {"Connection": "close"})},
        ) from None
    session.begin(claims, user)


def _failed(failed: OperationFailed, media_type: str) -> Response | Encoded:
    """What the same request would get again is a result; a status would make clients repeat it."""
    if is_service_error(failed.errors):
        return respond_errors(failed.errors, media_type)
    return respond_result(ExecutionResult(data=None, errors=failed.errors), EVENT_STREAM)
