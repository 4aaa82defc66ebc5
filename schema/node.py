"""Relay's `Node`: any object by its global id."""

from typing import Annotated, Any

import strawberry
from strawberry.types.info import Info as AnyInfo

from app.errors import BadRequest
from app.services.channels import channels_by_id
from app.services.files import files_by_id
from app.services.memberships import visible_members
from app.services.messages import messages_by_id
from app.services.reactions import reactions_by_id
from app.services.users import users_by_id
from schema.context import Context, Info
from schema.fields import query
from schema.ids import decode

MAX_NODES = 100


@strawberry.interface(description="Anything with a global id.")
class Node:
    """Rows stand behind the types that implement this, so a row alone does not say of which type it is."""

    id: strawberry.ID = strawberry.field(description="Opaque, and unique among all objects of the server.")

    @classmethod
    def is_type_of(cls, obj: Any, info: AnyInfo[Any, Any]) -> bool:  # noqa: ARG003 - the signature is graphql-core's
        """A field of an object type gets rows of that type; only `node` and `nodes` mix them, wrapped in `Found`."""
        return not isinstance(obj, Found) or obj.typename == cls.__name__

    @classmethod
    def resolve_type(cls, obj: Any, info: AnyInfo[Any, Any], abstract: Any) -> str:  # noqa: ARG003 - likewise
        return str(obj.typename)


class Found:
    """A row together with the name of its type."""

    __slots__ = ("row", "typename")

    def __init__(self, typename: str, row: Any) -> None:
        self.typename = typename
        self.row = row

    def __getattr__(self, name: str) -> Any:
        return getattr(self.row, name)


async def find_nodes(context: Context, global_ids: list[str]) -> list[Found | None]:
    """One statement per type among the ids, whatever their number."""
    actor, reader = await context.actor(), context.reader
    wanted = [decode(global_id) for global_id in global_ids]

    def keys(typename: str, length: int = 1) -> list[Any]:
        return [key[1] for key in wanted if key is not None and key[0] == typename and len(key[1]) == length]

    def single(typename: str) -> list[int | None]:
        return [key[0] for key in keys(typename)]

    found: dict[tuple[str, tuple[int, ...]], Any] = {}
    for typename, rows in (
        ("User", await users_by_id(reader, single("User"))),
        ("Channel", await channels_by_id(reader, actor, single("Channel"))),
        ("Message", await messages_by_id(reader, actor, single("Message"))),
        ("File", await files_by_id(reader, actor, single("File"))),
        ("Reaction", await reactions_by_id(reader, single("Reaction"))),
    ):
        found.update({(typename, (key,)): row for key, row in rows.items()})
    members = await visible_members(reader, actor, keys("ChannelMember", 2))
    found.update({("ChannelMember", key): row for key, row in members.items()})
    return [Found(key[0], found[key]) if key is not None and key in found else None for key in wanted]


@strawberry.type
class NodeQuery:
    """`node` and `nodes`."""

    @query("An object by its id; null if it is not there or not visible.")
    async def node(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The object's id.")]
    ) -> Node | None:
        return (await find_nodes(info.context, [id]))[0]  # type: ignore[return-value]  # a row behind the type

    @query(f"Up to {MAX_NODES} objects in the order of the ids; null for what is not there or not visible.")
    async def nodes(
        self, info: Info, ids: Annotated[list[strawberry.ID], strawberry.argument(description="The objects' ids.")]
    ) -> list[Node | None]:
        if len(ids) > MAX_NODES:
            raise BadRequest(f"Ask for at most {MAX_NODES} nodes at once.")
        return await find_nodes(info.context, [*ids])  # type: ignore[return-value]  # rows behind the types
