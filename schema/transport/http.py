"""GraphQL over HTTP, after the specification of that name. docs/http.md lists what is decided here, and why.

An endpoint of our own rather than Strawberry's view: that answers any request whose Accept lists text/event-stream by
an event stream (urql lists it on every query), knows neither the specification's media type nor its statuses, and lets
malformed bodies raise (realtime.md, B.3 and B.6).
"""

import asyncio
from dataclasses import replace
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.execution import ExecutionResult
from strawberry.types.graphql import OperationType

from app.auth import Claims
from app.errors import Unauthenticated
from schema.context import Context, Services
from schema.errors import TopLevelCode, coded, settle_exception
from schema.execution.execute import execute
from schema.execution.operation import is_subscription
from schema.execution.sink import OperationFailed
from schema.execution.subscribe import subscribe
from schema.guard import ParleySchema
from schema.persisted.resolve import resolve
from schema.transport.accept import JSON, choose, prefers_html, takes_events
from schema.transport.body import Body, answer_early
from schema.transport.graphiql import graphiql_page
from schema.transport.handshake import BEARER
from schema.transport.http_subscription import Answer, HttpSubscriptions
from schema.transport.multipart import Forms
from schema.transport.refusal import Refused
from schema.transport.request import BODY_SECONDS, FORM, GraphQLRequest, check_content, read_body, read_query_string
from schema.transport.response import COMMON_HEADERS, Encoded, respond_errors, respond_result

METHODS = "GET, HEAD, POST, OPTIONS"
ACCEPT_LIMIT = 1_000
DOCUMENTS = {"query", "documentId", "extensions"}  # the parameters that bring or name one
NOT_ACCEPTABLE = (
    "Answers are application/graphql-response+json or application/json, those of subscriptions text/event-stream. "
    "Accept one."
)
HOW_TO_SUBSCRIBE = (
    "A subscription is answered by a stream of events: send it as JSON with 'Accept: text/event-stream', or use a "
    "WebSocket (graphql-transport-ws) at the same address."
)
STOPPING = "The server stops. Send the request again, with the same client key if it had one."
_ALLOWED = {"POST": (OperationType.QUERY, OperationType.MUTATION), "GET": (OperationType.QUERY,)}


class GraphQLEndpoint:
    """The ASGI application at /graphql. It finds its services in `app.state.services`."""

    def __init__(
        self,
        schema: ParleySchema,
        *,
        introspection: bool = True,
        graphiql: bool = True,
        body_seconds: float = BODY_SECONDS,
        subscriptions: HttpSubscriptions | None = None,
        forms: Forms | None = None,
    ) -> None:
        self._body_seconds = body_seconds
        self._schema = schema if introspection else schema.without_introspection()
        self._page = graphiql_page() if graphiql else None
        self._forms = forms or Forms()
        self._subscriptions = subscriptions or HttpSubscriptions(partial(subscribe, self._schema))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            if _has_form(request):
                await self._respond_to_form(scope, receive, send)
                return
            response = await self._respond(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _respond_to_form(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Perhaps before all of the body has come. Of JSON there is never so much that it would matter."""
        body = Body(receive)
        try:
            response = await self._respond(Request(scope, body.receive))
        except asyncio.CancelledError:
            # The server stops, and its patience has ended, as while a storage is slow.
            response = respond_errors([coded(STOPPING, TopLevelCode.UNAVAILABLE)], JSON)
            await response(scope, receive, send)
            return
        if not body.is_complete and isinstance(response, Response):
            await answer_early(response, body.receive, send)
        else:
            await response(scope, receive, send)

    async def _respond(self, request: Request) -> Answer:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": METHODS})
        # Several Accept headers mean the same as one list. Real ones have 150 characters, and answers are remembered.
        accept = ", ".join(request.headers.getlist("accept"))[:ACCEPT_LIMIT]
        media_type = choose(accept)
        try:
            is_visit = request.method in {"GET", "HEAD"} and prefers_html(accept)
            if is_visit and not request.query_params.keys() & DOCUMENTS:
                return self._page or PlainTextResponse("There is no explorer on this server.", 404, COMMON_HEADERS)
            return await self._answer(request, accept)
        except OperationFailed as failed:
            return respond_result(ExecutionResult(data=None, errors=failed.errors), media_type or JSON)
        except Refused as refused:
            error = coded(refused.message, refused.code)
            return respond_errors([error], media_type or JSON, refused.status, refused.headers)
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets JSON and the log its traceback
            return respond_errors([settle_exception(error)], media_type or JSON)

    async def _answer(self, request: Request, accept: str) -> Answer:
        media_type = choose(accept)
        if media_type is None:
            raise Refused(406, NOT_ACCEPTABLE)
        services: Services = request.app.state.services
        method = "GET" if request.method == "HEAD" else request.method
        if method not in _ALLOWED:
            raise Refused(405, f"Use GET or POST, not {method}.", headers={"Allow": METHODS})
        is_form = method == "POST" and check_content(request.headers)
        # Before the body: whoever cannot say who they are need not send 128 KB.
        claims = await _authenticate(request, services)
        address = request.client.host if request.client is not None else None
        if is_form:
            return await self._answer_form(request, claims, address, media_type)
        if method == "GET":
            sent = read_query_string(request.scope["query_string"])
        else:
            sent = await read_body(request.receive, seconds=self._body_seconds)
        read = resolve(self._schema, sent)
        # The word is looked for first, so that the text of a query is not checked twice.
        if takes_events(accept) and request.method != "HEAD" and "subscription" in read.query:
            _, operation = self._schema.operation(read.query, read.operation_name)
            if is_subscription(operation):
                read = replace(read, last_event_id=request.headers.get("last-event-id") or None)
                return await self._subscriptions.answer(request, read, claims, address, media_type)
        async with Context(services, claims, address) as context:
            return await self._execute(read, method, context, media_type)

    async def _answer_form(
        self, request: Request, claims: Claims | None, address: str | None, media_type: str
    ) -> Response | Encoded:
        services: Services = request.app.state.services
        # Nobody but an active user may fill the disk. Another context, because a slow body must not hold a snapshot.
        async with Context(services, claims, address) as context:
            user_id = (await context.actor()).id
        async with (
            self._forms.read(request, user_id, services.settings.max_file_size_bytes) as sent,
            Context(services, claims, address) as context,
        ):
            return await self._execute(resolve(self._schema, sent), "POST", context, media_type)

    async def _execute(
        self, read: GraphQLRequest, method: str, context: Context, media_type: str
    ) -> Response | Encoded:
        try:
            result = await execute(self._schema, read, context, _ALLOWED[method])
        except InvalidOperationTypeError as error:
            if error.operation_type is OperationType.MUTATION:
                raise Refused(405, "Mutations need POST.", headers={"Allow": "POST"}) from None
            result = _refused(HOW_TO_SUBSCRIBE)
        except CannotGetOperationTypeError as error:
            name = error.operation_name
            result = _refused(f"The document has no operation '{name}'." if name else "The document has no operation.")
        return respond_result(result, media_type)


def _has_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith(FORM)


def _refused(message: str) -> ExecutionResult:
    return ExecutionResult(data=None, errors=[coded(message, TopLevelCode.BAD_REQUEST)])


async def _authenticate(request: Request, services: Services) -> Claims | None:
    """None without an Authorization header. One that is there must be good: to ignore it would hide the mistake."""
    headers = request.headers.getlist("authorization")
    if not headers:
        return None
    match = BEARER.fullmatch(headers[0])
    if match is None or len(headers) > 1:
        raise Unauthenticated("The Authorization header must be 'Bearer <token>', once.")
    return await services.authenticator.verify(match[1])
