"""A subscription operation, checked and prepared: its root field's arguments, and what decides who may share it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    Node,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_argument_values,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import collect_fields
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from schema.errors import TopLevelCode, coded, settle_errors
from schema.execution.compile import Compiler
from schema.execution.leaves import Uncovered
from schema.execution.root import RootField
from schema.execution.shapes import Shape
from schema.execution.sink import OperationFailed
from schema.fields import ViewerDirective
from schema.guard import ParleySchema
from schema.limits import check_cost


@dataclass(frozen=True, slots=True)
class Operation:
    """`executor` is ready to run the operation on a root value; `shared_by` is equal for equal results."""

    executor: Executor[Any]
    start: Callable[..., Any]  # what the root field is made with: schema.fields.streamed
    response_name: str  # its alias, or its name
    arguments: Mapping[str, Any]
    is_private: bool  # something selected depends on the viewer
    shared_by: tuple[Any, ...]
    compile: Callable[[], Shape]

    def shape(self) -> Shape | None:
        """How a value of the root field becomes its result; None for what no plan covers. Takes milliseconds."""
        try:
            return self.compile()
        except (Uncovered, GraphQLError):  # the latter by a null that decides what to select: an error of each result
            return None


def prepare(schema: ParleySchema, text: str, name: str | None, variables: Mapping[str, Any] | None) -> Operation:
    """Raises OperationFailed with settled errors."""
    found, operation = schema.operation(text, name)
    document = found.node
    errors = check_cost(schema.core, document, operation, dict(variables or {}))
    if errors:
        raise OperationFailed(errors)
    executor = Executor.build(
        schema.core,
        document,
        raw_variable_values=dict(variables or {}),
        operation_name=name,
        hide_suggestions=not schema.introspection,
    )
    if isinstance(executor, list):
        raise _failed(schema, name, executor)
    try:
        node, response_name = _root_field(executor)
        field = schema.core.subscription_type.fields[node.name.value]  # type: ignore[union-attr]  # validation saw to it
        arguments = get_argument_values(field, node, executor.variable_values)
    except GraphQLError as error:
        raise _failed(schema, name, [error]) from None
    nodes = list(_below(node, document))
    # `after` is where one client stands, `channelId` where its events come from: the rest makes the result.
    used = {part.name.value for part in nodes if isinstance(part, VariableNode)}
    coerced = executor.variable_values.coerced
    shared_by = (
        text,
        name,
        tuple(sorted((name, repr(coerced[name])) for name in used if name in coerced)),
        # Directives on the root field may use variables too.
        tuple(repr(coerced.get(part.name.value)) for part in _variables(node.directives or ())),
    )
    private = any(isinstance(part, FieldNode) and part.name.value in viewer_fields(schema.core) for part in nodes)
    start = field.extensions[GraphQLCoreConverter.DEFINITION_BACKREF].metadata["start"]
    given = {argument: arguments.get(argument) for argument in field.args}

    def compile() -> Shape:  # noqa: A001 - what it does
        return next(root.shape for root in Compiler(schema, executor).roots() if isinstance(root, RootField))

    return Operation(executor, start, response_name, given, private, shared_by, compile)


def viewer_fields(schema: GraphQLSchema) -> frozenset[str]:
    """The names of all fields marked @viewer, on whatever type: one that another type has too is rather private."""
    known = schema.extensions.get("parley.viewer_fields")
    if known is None:
        known = frozenset(
            name
            for type_ in schema.type_map.values()
            if isinstance(type_, GraphQLObjectType)
            for name, field in type_.fields.items()
            if _is_viewers(field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF))
        )
        schema.extensions["parley.viewer_fields"] = known
    return cast("frozenset[str]", known)


def _is_viewers(definition: Any) -> bool:
    if not isinstance(definition, StrawberryField):
        return False
    return any(isinstance(directive, ViewerDirective) for directive in definition.directives)


def _root_field(executor: Executor[Any]) -> tuple[FieldNode, str]:
    root = executor.schema.subscription_type
    assert root is not None  # noqa: S101 - the operation is valid, and is a subscription
    fields = collect_fields(
        executor.schema, executor.fragments, executor.variable_values, root, executor.operation, hide_suggestions=True
    ).grouped_field_set
    for response_name, details in fields.items():
        if not details[0].node.name.value.startswith("__"):
            return details[0].node, response_name
    raise coded("Nothing is left to subscribe to once @skip and @include are done.", TopLevelCode.BAD_REQUEST)


def _below(node: FieldNode, document: DocumentNode) -> Iterator[Node]:
    """Everything selected below the field, fragments included. Their number is limited, and no fragment is circular."""
    fragments = {part.name.value: part for part in document.definitions if isinstance(part, FragmentDefinitionNode)}
    seen: set[str] = set()
    stack: list[SelectionSetNode | None] = [node.selection_set]
    while stack:
        selected = stack.pop()
        for part in selected.selections if selected is not None else ():
            yield part
            yield from _variables([*(part.directives or ()), *(getattr(part, "arguments", None) or ())])
            if isinstance(part, FragmentSpreadNode):
                if part.name.value not in seen:
                    seen.add(part.name.value)
                    stack.append(fragments[part.name.value].selection_set)
            else:
                stack.append(cast("Any", part).selection_set)


def _variables(nodes: Any) -> Iterator[VariableNode]:
    """All variables in these directives and arguments."""
    stack = list(nodes)
    while stack:
        part = stack.pop()
        if isinstance(part, VariableNode):
            yield part
            continue
        stack.extend(getattr(part, "arguments", None) or ())
        for name in ("value", "values", "fields"):
            inner = getattr(part, name, None)
            if isinstance(inner, Node):
                stack.append(inner)
            elif isinstance(inner, list | tuple):
                stack.extend(inner)


def _failed(schema: ParleySchema, name: str | None, errors: list[GraphQLError]) -> OperationFailed:
    settle_errors(errors, operation=name, suggestions=schema.introspection)
    return OperationFailed(errors)


def is_subscription(operation: OperationDefinitionNode) -> bool:
    return operation.operation.value == "subscription"
