"""What changes something is done once per operation, whichever executor asks for its result."""

from collections.abc import Callable, Iterable
from inspect import isawaitable
from typing import Any

from graphql import GraphQLField, GraphQLResolveInfo, GraphQLSchema
from strawberry.schema.schema_converter import GraphQLCoreConverter


def resolve_once(schema: GraphQLSchema) -> None:
    """Have all mutations, and the queries made with `once`, remember what they returned or raised.

    In `Context.outcomes`, by response name.
    """
    for field in (*_mutations(schema), *_queries(schema)):
        if field.resolve is not None:
            field.resolve = _once(field.resolve)


def _mutations(schema: GraphQLSchema) -> Iterable[GraphQLField]:
    return schema.mutation_type.fields.values() if schema.mutation_type is not None else ()


def _queries(schema: GraphQLSchema) -> Iterable[GraphQLField]:
    fields = schema.query_type.fields.values() if schema.query_type is not None else ()
    for field in fields:
        definition = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        if definition is not None and definition.metadata.get("once"):
            yield field


def _once(resolve: Callable[..., Any]) -> Callable[..., Any]:
    async def resolve_or_recall(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        outcomes, name = info.context.outcomes, info.path.key
        if name not in outcomes:
            try:
                value = resolve(source, info, **arguments)
                outcomes[name] = await value if isawaitable(value) else value
            except Exception as error:  # noqa: BLE001 - raised below, here and wherever it is asked for again
                outcomes[name] = error
        found = outcomes[name]
        if isinstance(found, Exception):
            raise found
        return found

    return resolve_or_recall
