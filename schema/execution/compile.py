"""From a valid operation to its plan. What is odd about it raises Uncovered, and the reference executor answers."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, cast

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLUnionType,
    ListValueNode,
    ObjectValueNode,
    VariableNode,
    get_argument_values,
    get_named_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetails, collect_fields, collect_subfields
from strawberry import Schema
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

from schema.execution.leaves import Uncovered, expression, function
from schema.execution.plan import Batched, Inner, ObjectPlan
from schema.execution.root import Root, RootField, Typename
from schema.execution.run import Run
from schema.execution.shapes import Abstract, Leaves, Lists, Nullable, Objects, Shape


class Compiler:
    """For one operation. `executor` is built for it: its @skip and @include are decided by the variables therein."""

    def __init__(self, schema: Schema, executor: Executor[Any]) -> None:
        self._schema = schema
        self._executor = executor

    def roots(self) -> list[Root]:
        executor = self._executor
        type_ = executor.schema.get_root_type(executor.operation.operation)
        if type_ is None:
            raise Uncovered("no such operation")
        collected = collect_fields(
            executor.schema, executor.fragments, executor.variable_values, type_, executor.operation
        )
        if collected.new_defer_usages:
            raise Uncovered("@defer")
        return [self._root(type_, key, details) for key, details in collected.grouped_field_set.items()]

    def shape(self, type_: GraphQLOutputType, details: Sequence[FieldDetails]) -> Shape:
        """How values of this type are completed, with what `details` select from them."""
        if is_leaf_type(get_named_type(type_)) and not is_list_type(_nullable(type_)):
            return Leaves(function(type_))
        if not is_non_null_type(type_):
            return Nullable(self._present(type_, details))
        return self._present(_nullable(type_), details)

    def _present(self, type_: Any, details: Sequence[FieldDetails]) -> Shape:
        if is_list_type(type_):
            return Lists(self.shape(type_.of_type, details))
        if isinstance(type_, GraphQLObjectType):
            return Objects(self._objects(type_, details))
        if isinstance(type_, GraphQLInterfaceType | GraphQLUnionType):
            possible = self._executor.schema.get_possible_types(type_)
            plans = {each.name: self._objects(each, details) for each in possible}
            return Abstract(_typename(type_, possible), plans)
        raise Uncovered(f"the type {type_}")

    def _objects(self, type_: GraphQLObjectType, details: Sequence[FieldDetails]) -> ObjectPlan:
        executor = self._executor
        collected = collect_subfields(
            executor.schema, executor.fragments, executor.variable_values, executor.operation, type_, list(details)
        )
        if collected.new_defer_usages:
            raise Uncovered("@defer")
        names: dict[str, Any] = {}
        entries: list[str] = []
        children: list[Inner | Batched] = []
        for number, (key, inner) in enumerate(collected.grouped_field_set.items()):
            node = inner[0].node
            if node.name.value == "__typename":
                entries.append(f"{key!r}: {type_.name!r}")
                continue
            field = type_.fields[node.name.value]
            definition = _definition(field)
            leaf, batch = definition.metadata.get("leaf"), definition.metadata.get("batch")
            if batch is not None:
                entries.append(f"{key!r}: None")
                arguments = self._arguments(field, definition, inner[0])
                children.append(Batched(key, batch, arguments, self.shape(field.type, inner)))
                continue
            if leaf is None and not definition.is_basic_field:
                raise Uncovered(f"the resolver of {type_.name}.{node.name.value}")
            if is_leaf_type(get_named_type(field.type)) and not is_list_type(_nullable(field.type)):
                source = f"parent.{definition.python_name}"
                if leaf is not None:
                    names[f"leaf{number}"] = leaf
                    source = f"leaf{number}(parent)"
                entries.append(f"{key!r}: {expression(field.type, source, names)}")
                continue
            entries.append(f"{key!r}: None")
            get = leaf or attrgetter(definition.python_name)
            children.append(Inner(key, get, self.shape(field.type, inner)))
        # No comprehension, which would have a scope of its own: names are found faster in one.
        each = f"{{{', '.join(entries)}}}"
        code = f"def build(parents):\n all = []\n for parent in parents: all.append({each})\n return all"
        exec(code, names)  # noqa: S102 - made of names that GraphQL's grammar and the schema allow, quoted
        return ObjectPlan(names["build"], tuple(children))

    def _root(self, parent: GraphQLObjectType, key: str, details: list[FieldDetails]) -> Root:
        name = details[0].node.name.value
        if name == "__typename":
            return Typename(key, parent.name)
        if name not in parent.fields:
            raise Uncovered("introspection")
        field = parent.fields[name]
        nodes = [each.node for each in details]
        if any(each.fragment_variable_values is not None for each in details):
            raise Uncovered("arguments of fragments")
        return RootField(key, field, nodes, parent, self._executor, self.shape(field.type, details))

    def _arguments(
        self, field: GraphQLField, definition: StrawberryField, detail: FieldDetails
    ) -> Callable[[Run], Any]:
        """What the batch function gets: worked out now, where no variable is in it."""
        if detail.fragment_variable_values is not None:
            raise Uncovered("arguments of fragments")
        node, made = detail.node, definition.metadata["arguments"]
        registry, config = self._schema.schema_converter.scalar_registry, self._schema.config

        def read(variables: Any) -> Any:
            try:
                values = get_argument_values(field, node, variables)
            except GraphQLError as error:
                raise Uncovered("an argument") from error
            return made(**convert_arguments(values, definition.arguments, registry, config))

        if _has_variable(node):
            return lambda run: read(run.variables)
        fixed = read(None)
        return lambda _: fixed


def _typename(type_: GraphQLInterfaceType | GraphQLUnionType, possible: Sequence[GraphQLObjectType]) -> Any:
    """What tells of which type an object is. Our own functions, which look at the object alone."""
    if isinstance(type_, GraphQLInterfaceType) and type_.resolve_type is not None:
        resolve: Any = type_.resolve_type
        return lambda value: resolve(value, None, type_)
    checks: list[tuple[str, Any]] = [(each.name, each.is_type_of) for each in possible if each.is_type_of is not None]
    return lambda value: next((name for name, check in checks if check(value, None)), None)


def _nullable(type_: Any) -> Any:
    return type_.of_type if is_non_null_type(type_) else type_


def _definition(field: GraphQLField) -> StrawberryField:
    return cast("StrawberryField", field.extensions[GraphQLCoreConverter.DEFINITION_BACKREF])


def _has_variable(node: FieldNode) -> bool:
    stack: list[Any] = [argument.value for argument in node.arguments or ()]
    while stack:
        value = stack.pop()
        if isinstance(value, VariableNode):
            return True
        if isinstance(value, ListValueNode):
            stack.extend(value.values)
        elif isinstance(value, ObjectValueNode):
            stack.extend(field.value for field in value.fields)
    return False
