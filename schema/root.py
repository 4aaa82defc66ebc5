"""The schema: every noun's queries and mutations in one."""

from collections.abc import Iterable

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
)
from strawberry.schema.config import StrawberryConfig

from schema.channel_mutations import ChannelMutation
from schema.channels import ChannelQuery
from schema.events_since import EventQuery
from schema.file_mutations import FileMutation
from schema.files import FileQuery
from schema.guard import ParleySchema
from schema.memberships import MembershipMutation
from schema.messages import MessageMutation, MessageQuery
from schema.node import NodeQuery
from schema.presence import PresenceMutation
from schema.reactions import ReactionMutation, ReactionQuery
from schema.scalars import SCALARS
from schema.server import ServerQuery
from schema.session import SessionMutation
from schema.subscriptions import Subscription
from schema.typists import TypingMutation
from schema.users import UserMutation, UserQuery
from schema.viewer import ViewerQuery


@strawberry.type(description="Reading. One query is answered from one snapshot of the database.")
class Query(
    NodeQuery,
    ViewerQuery,
    UserQuery,
    ChannelQuery,
    MessageQuery,
    FileQuery,
    ReactionQuery,
    EventQuery,
    ServerQuery,
):
    """All queries."""


@strawberry.type(description="Writing. Each field is a transaction of its own; expected failures are in its `errors`.")
class Mutation(
    UserMutation,
    PresenceMutation,
    ChannelMutation,
    MembershipMutation,
    MessageMutation,
    FileMutation,
    TypingMutation,
    ReactionMutation,
    SessionMutation,
):
    """All mutations."""


def omit_null_defaults(built: GraphQLSchema) -> None:
    """In the contract, what may be left out has no default; Strawberry writes down Python's None as `= null`."""
    for type_ in built.type_map.values():
        if isinstance(type_, GraphQLInputObjectType):
            clear(type_.fields.values())
        elif isinstance(type_, GraphQLObjectType):
            for field in type_.fields.values():
                clear(field.args.values())


def clear(values: Iterable[GraphQLArgument | GraphQLInputField]) -> None:
    for value in values:
        if value.default_value is None:
            value.default_value = Undefined


schema = ParleySchema(
    query=Query, mutation=Mutation, subscription=Subscription, config=StrawberryConfig(scalar_map=SCALARS)
)
omit_null_defaults(schema._schema)  # noqa: SLF001 - graphql-core's schema has no public name
