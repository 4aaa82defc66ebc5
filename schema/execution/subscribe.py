"""Starting a subscription, on whatever transport."""

from dataclasses import replace

from sqlalchemy.exc import SQLAlchemyError

from app.errors import AppError, CursorInvalid
from app.events import cursor
from schema.errors import settle_exception
from schema.execution.operation import Operation, prepare
from schema.execution.sink import OperationFailed, Running, Sink
from schema.guard import ParleySchema
from schema.transport.request import GraphQLRequest
from schema.transport.sessions import Session


async def subscribe(schema: ParleySchema, request: GraphQLRequest, session: Session, sink: Sink) -> Running:
    """Results go to `sink` from here on, perhaps before this returns. Raises OperationFailed, and has sent nothing."""
    operation = prepare(schema, request.query, request.operation_name, request.variables)
    try:
        if request.last_event_id is not None:
            operation = _resumed(operation, request.last_event_id)
        return await operation.start(operation, session, sink)
    except (AppError, SQLAlchemyError, OSError) as error:
        raise OperationFailed([settle_exception(error)]) from error


def _resumed(operation: Operation, last_event_id: str) -> Operation:
    if "after" not in operation.arguments:
        return operation
    try:
        cursor.decode(last_event_id)
    except CursorInvalid as error:
        raise CursorInvalid("Last-Event-ID") from error
    after = [*(operation.arguments["after"] or ()), last_event_id]
    return replace(operation, arguments={**operation.arguments, "after": after})
