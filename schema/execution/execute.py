"""Answering a query or mutation: by its plan, or by graphql-core where the plan does not say.

The reference executor alone knows errors, their paths, and how far a null reaches. What it repeats after a plan gave up
is reading, in the same snapshot; a mutation's root fields that ran are not run again (`Context.outcomes`).
"""

import asyncio
from collections.abc import Mapping
from typing import Any, TypeAlias

import orjson
from graphql import OperationDefinitionNode, get_variable_values
from graphql.execution import Executor
from graphql.execution.values import VariableValues
from strawberry.types.execution import ExecutionResult
from strawberry.types.graphql import OperationType

from schema.context import Context
from schema.execution.compile import Compiler
from schema.execution.documents import Document
from schema.execution.leaves import Uncovered
from schema.execution.root import Root
from schema.execution.run import Run
from schema.execution.sink import OperationFailed
from schema.execution.tally import answered, reason
from schema.execution.variables import sizes
from schema.guard import ParleySchema
from schema.limits import check_cost
from schema.transport.request import GraphQLRequest

# The whole body of an answer without errors, or a result that the transport encodes.
Answer: TypeAlias = bytes | ExecutionResult


async def execute(
    schema: ParleySchema, request: GraphQLRequest, context: Context, allowed: tuple[OperationType, ...]
) -> Answer:
    """Raises what Strawberry's `execute` does for a type of operation that is not allowed."""
    try:
        document, operation = schema.operation(request.query, request.operation_name)
        if operation.operation.value in {kind.value.lower() for kind in allowed}:
            check(schema, document, operation, request.variables or {})
            answer = await _by_plan(schema, document, operation, request, context)
            answered["plan"] += 1
            return answer
        why = "an operation that is not allowed here"
    except OperationFailed as failed:
        return ExecutionResult(data=None, errors=failed.errors)
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - the reference executor meets it again, and says what it is
        why = reason(error)
    answered[why] += 1
    context.release()
    return await schema.execute(
        request.query,
        variable_values=request.variables,
        context_value=context,
        operation_name=request.operation_name,
        allowed_operation_types=allowed,
    )


def check(
    schema: ParleySchema, document: Document, operation: OperationDefinitionNode, variables: Mapping[str, Any]
) -> None:
    """Refuse what costs too much. Raises OperationFailed."""
    # Those that it declares: the others do not matter, and their names may be of any length.
    declared = {each.variable.name.value for each in operation.variable_definitions or ()}
    given = {name: value for name, value in variables.items() if name in declared}
    key = (operation.name.value if operation.name else None, sizes(given))
    if document.costs.recall(key):
        return
    errors = check_cost(schema.core, document.node, operation, variables)
    if errors:
        raise OperationFailed(errors)
    document.costs.remember(key, "affordable")


async def _by_plan(
    schema: ParleySchema,
    document: Document,
    operation: OperationDefinitionNode,
    request: GraphQLRequest,
    context: Context,
) -> bytes:
    variables = get_variable_values(schema.core, operation.variable_definitions or (), request.variables or {})
    if not isinstance(variables, VariableValues):
        raise Uncovered("variables")
    roots = _plan(schema, document, request, variables)
    run = Run(context, variables)
    # In turn, as mutations must be, and queries may: they read through one connection.
    data = {root.key: await root.answer(run) for root in roots}
    return orjson.dumps({"data": data})


def _plan(schema: ParleySchema, document: Document, request: GraphQLRequest, variables: VariableValues) -> list[Root]:
    key = (request.operation_name, tuple(variables.coerced.get(name) for name in document.switches))
    plan = document.plans.recall(key)
    if plan is None:
        executor = Executor.build(
            schema.core,
            document.node,
            raw_variable_values=request.variables,
            operation_name=request.operation_name,
            hide_suggestions=not schema.introspection,
        )
        if isinstance(executor, list):
            raise Uncovered("variables")
        try:
            plan = Compiler(schema, executor).roots()
        except Uncovered as uncovered:
            plan = uncovered
        document.plans.remember(key, plan)
    if isinstance(plan, Uncovered):
        raise Uncovered(str(plan))
    return plan
