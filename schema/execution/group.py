"""Subscriptions that ask for the same thing: each event is executed and encoded once for all of them.

What decides is the operation: its document, its variables (but for where one client stands) and, where something
selected is marked @viewer, the viewer. Everything else must be the same for all who may see the event's channel.
"""

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any, cast

import orjson
from graphql import ExecutionResult

from app.db import Reader
from app.errors import Unavailable
from app.events.group import Notice
from app.events.log import EventType, LoggedEvent
from app.services.access import Actor
from schema.context import Context, Services
from schema.errors import settle_errors
from schema.execution.encode import encode_result
from schema.execution.leaves import Uncovered
from schema.execution.operation import Operation
from schema.execution.run import Run
from schema.execution.tally import answered, reason
from schema.faults import is_outage

_numbers = count(1)


class Group:
    """`viewer` is set where something selected depends on who asks."""

    def __init__(
        self, services: Services, operation: Operation, types: frozenset[EventType] | None, viewer: Actor | None
    ) -> None:
        self.number = next(_numbers)
        self.types = types
        self.executions = 0  # of events; what tests/test_shared_execution.py counts
        self._services = services
        self._operation = operation
        self._viewer = viewer
        self._shape = operation.shape()

    def wants(self, event: LoggedEvent) -> bool:
        return self.types is None or event.type in self.types

    async def render(self, reader: Reader, stream_id: str, events: Sequence[Any]) -> list[bytes]:
        """The encoded result of each value of the root field, executed together: what they select is loaded at once.

        Raises Unavailable while the database is away: that is no result, the caller tries again.
        """
        self.executions += len(events)
        context = Context.for_delivery(self._services, reader, self._viewer or audience_of(stream_id))
        try:
            return [self._frame(value) for value in await self._complete(events, context)]
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the reference executor meets it again, and says what it is
            answered[reason(error)] += len(events)
        results = [self._execute(context, event) for event in events]
        waiting = [result for result in results if not isinstance(result, ExecutionResult)]
        done = iter(await asyncio.gather(*waiting))
        context.release()
        complete = [result if isinstance(result, ExecutionResult) else next(done) for result in results]
        if any(is_outage(error) for result in complete for error in result.errors or ()):
            raise Unavailable
        return [self._encode(result) for result in complete]

    def render_notice(self, notice: Notice) -> bytes | None:
        # Notices are made of plain attributes, so nothing waits.
        try:
            (shown,) = self._start([notice], None)[0]
            return self._frame(shown) if shown else None
        except Exception as error:  # noqa: BLE001 - as above
            answered[reason(error)] += 1
        result = self._execute(None, notice)
        if result.data is not None and not result.data[self._operation.response_name]:
            return None
        return self._encode(result)

    async def _complete(self, values: Sequence[Any], context: Context) -> Sequence[Any]:
        results, run = self._start(values, context)
        await run.finish()
        return results

    def _start(self, values: Sequence[Any], context: Context | None) -> tuple[Sequence[Any], Run]:
        if self._shape is None:
            raise Uncovered("a subscription without a plan")
        run = Run(cast("Context", context), self._operation.executor.variable_values)
        return self._shape.complete(values, run), run

    def _frame(self, value: Any) -> bytes:
        answered["plan"] += 1
        return orjson.dumps({"data": {self._operation.response_name: value}})

    def _execute(self, context: Context | None, value: Any) -> Any:
        executor = self._operation.executor.build_per_event_executor(value)
        executor.context_value = context
        return executor.execute_operation(False)  # noqa: FBT003 - graphql-core's

    def _encode(self, result: ExecutionResult) -> bytes:
        if result.errors:
            name = self._operation.executor.operation.name
            settle_errors(result.errors, operation=name.value if name else None, suggestions=False)
        return encode_result(result.data, result.errors)


def group_of(
    services: Services, operation: Operation, viewer: Actor, types: frozenset[EventType] | None = None
) -> Group:
    """The group of this operation, with those who asked for the same before."""
    private = viewer if operation.is_private else None
    key = operation.shared_by, types, private
    group = services.groups.get(key)
    if group is None:
        group = services.groups[key] = Group(services, operation, types, private)
    return cast("Group", group)


def audience_of(stream_id: str) -> Actor:
    """Everybody to whom a stream is delivered, as one."""
    number = int(stream_id[1:] or 0)
    # A user's own stream has one reader.
    return Actor(number) if stream_id[0] == "u" else Actor(0, audience=number or None)
