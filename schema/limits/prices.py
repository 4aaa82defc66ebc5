"""What each field of an answer costs. 1 is about 0.1 ms of the event loop, or 2 KB of the answer.

Measured on one of 2 cores, with the real schema and PostgreSQL on the same machine: an object in a list takes 0.04 ms,
one behind a batch (an author, a reaction) 0.09 ms; a plain leaf 0.003 to 0.01 ms, a date 0.014, a batched leaf 0.075.

The biggest documents that clients need:
- 100 channels with last message and author, each with 20 members and their users: 4,500 objects and 2,200 pictures
  are 6,700, with contents, names and ids 8,200.
- 50 channels with 50 messages each and their authors, for a client that fills its cache: 15,100.
- 50 messages (a page) with a dozen reactions each and three of the people in every group, counts, codes and authors:
  about 6,500.

The worst that are allowed, by measurements at 10,000: 16,000 objects of lists 0.7 s, as many of which half are batched
or dates 1 to 1.5 s; 2,600 contents of 8,000 letters are 21 MB. The way to less is a faster executor, not smaller pages.
"""

from graphql import GraphQLField, get_named_type, is_introspection_type, is_leaf_type, is_list_type, is_non_null_type
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

MAX_COST = 16_000
# Prices are whole tenths: sums of fractions would depend on their order.
TENTHS = 10
_OBJECT = 10
# A timeline has thousands of them.
_OBJECTS = {"ReactionGroup": 4, "Reaction": 8}
_LEAF = 1
_BATCHED_LEAF = 8
# Texts of up to 8,000, 1,000 and 2,048 characters. Images are what workspace admins choose, 50 to a message.
_TEXTS = {"content": 50, "bio": 10, "description": 10, "picture": 10, "imageUrl": 8}
# By type: dates are formatted, ids are encoded.
_SCALARS = {"DateTime": 2, "ID": 2}


def is_list(field: GraphQLField) -> bool:
    return is_list_type(field.type.of_type if is_non_null_type(field.type) else field.type)


def field_price(name: str, field: GraphQLField) -> int:
    """Tenths for one object or leaf that the field returns, whatever is selected from it.

    Nothing for what is no object of its own: edges, page infos, and in introspection all but the objects of lists.
    """
    type_ = get_named_type(field.type)
    if is_introspection_type(type_):
        return _OBJECT if is_list(field) and not is_leaf_type(type_) else 0
    if is_leaf_type(type_):
        return max(_TEXTS.get(name, _LEAF), _SCALARS.get(type_.name, _LEAF), _BATCHED_LEAF if _is_batched(field) else 0)
    if type_.name.endswith("Edge") or type_.name == "PageInfo":
        return 0
    return _OBJECTS.get(type_.name, _OBJECT)


def _is_batched(field: GraphQLField) -> bool:
    """Whether a leaf waits for a statement: all that is asynchronous does."""
    definition = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    return isinstance(definition, StrawberryField) and definition.is_async
