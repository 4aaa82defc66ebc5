"""Reactions: the catalogue, and reacting to messages."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app import models
from app.models import ReactionKind
from app.services.messages import messages_by_id
from app.services.reactions import (
    add_reaction,
    create_reaction,
    delete_reaction,
    reacting_users_pages,
    reaction_groups,
    reactions_page,
    remove_reaction,
)
from schema.context import Context, Info, event_cursor
from schema.enums import described
from schema.fields import NoArguments, attribute, batched, in_order, leaf, query
from schema.ids import encode, id_of, key_of
from schema.node import Node
from schema.pagination import After, Connection, First, KeyList, PageArguments
from schema.payloads import DeletedPayload, MessageId, Payload, argument, mutation
from schema.scalars import URL, Upload
from schema.users import User

if TYPE_CHECKING:
    from schema.messages import Message

REACTIONS = KeyList("reactions", (str,))
REACTING_USERS = KeyList("reacting-users", (int,))
LazyMessage = Annotated["Message", strawberry.lazy("schema.messages")]

described(
    ReactionKind,
    "Where a reaction comes from.",
    {
        ReactionKind.SYSTEM: "Comes with the server.",
        ReactionKind.CUSTOM: "Made in this workspace.",
    },
)


async def image_urls(parents: Sequence[models.Reaction], args: NoArguments, info: Info) -> list[str | None]:  # noqa: ARG001
    base_url = info.context.services.settings.base_url
    # What was uploaded is on this server, at a path.
    addresses = [reaction.image_url for reaction in parents]
    return [base_url + address if address is not None and address[0] == "/" else address for address in addresses]


@strawberry.type(description="An entry of the catalogue of reactions.")
class Reaction(Node):
    """One for the whole workspace."""

    id: strawberry.ID = leaf(id_of("Reaction"), "Opaque, and unique among all objects of the server.")
    code: str = attribute("Its unique name, without colons: thumbsup.")
    kind: ReactionKind = attribute("Where it comes from.")
    image_url: URL | None = batched(
        image_urls, "Its image; null for those of the system, and for deleted ones whose image was uploaded."
    )
    created_at: datetime = attribute("When it was added.")


async def reactions_of(parents: Sequence[Any], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    reaction_ids = [group.reaction_id for group in parents]
    return in_order(await info.context.reactions(reaction_ids), reaction_ids)


async def reacting_users(parents: Sequence[Any], args: PageArguments, info: Info) -> list[Any]:
    found = await reacting_users_pages(info.context.reader, parents, REACTING_USERS.page(args.first, args.after))
    return [REACTING_USERS.connection(page) for page in found]


@strawberry.type(description="All who reacted to a message in the same way.")
class ReactionGroup:
    """A row of `app.services.reactions.reaction_groups`."""

    reaction: Reaction = batched(reactions_of, "The reaction.")
    count: int = attribute("How many people.")
    users: Connection[User] = batched(
        reacting_users, "The people, in the order in which they reacted.", arguments=PageArguments
    )
    viewer_has_reacted: bool = attribute("Whether you are among them.", viewer=True)


async def reaction_groups_of(parents: Sequence[models.Message], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    context = info.context
    found = await reaction_groups(context.reader, await context.actor(), [message.id for message in parents])
    return [found[message.id] for message in parents]


async def shown_message(context: Context, message_id: int) -> Any:
    return await context.shown(lambda reader, actor: messages_by_id(reader, actor, [message_id]), message_id)


@strawberry.type(description="A reaction to a message that was added or removed.")
class ReactPayload(Payload):
    """After reacting."""

    message: LazyMessage | None = strawberry.field(description="The message.", default=None)
    reaction: Reaction | None = strawberry.field(description="The reaction.", default=None)
    changed: bool = strawberry.field(description="False if it was so already.", default=False)


@strawberry.type(description="A new entry of the catalogue.")
class ReactionPayload(Payload):
    """After a change of the catalogue."""

    reaction: Reaction | None = strawberry.field(description="The reaction.", default=None)


@strawberry.input(description="A new entry of the catalogue.")
class CreateReactionInput:
    """Codes are unique in the workspace."""

    code: str = strawberry.field(description="1 to 32 of a-z, 0-9, '_', '+' and '-'.")
    image: Upload | None = strawberry.field(
        default=None,
        description=(
            "Its image: PNG, GIF, WebP or JPEG, up to 512 KB and 1,024 by 1,024 pixels. Needs multipart/form-data."
        ),
    )
    image_url: URL | None = strawberry.field(
        default=None, description="The https address of its image. Give this or `image`."
    )


ReactionCode = Annotated[str, argument("The reaction's code, without colons.")]


@strawberry.type
class ReactionQuery:
    """The catalogue."""

    @query("The catalogue of reactions, by code.")
    async def reactions(
        self,
        info: Info,
        kind: Annotated[ReactionKind | None, argument("Only of this kind.")] = None,
        code_contains: Annotated[str | None, argument("Only codes with this in them.")] = None,
        first: First = None,
        after: After = None,
    ) -> Connection[Reaction]:
        await info.context.actor()
        page = REACTIONS.page(first, after)
        found = await reactions_page(info.context.reader, page, kind=kind, code_contains=code_contains)
        return REACTIONS.connection(found)


@strawberry.type
class ReactionMutation:
    """Reacting, and the catalogue."""

    @mutation("React to a message. Members only. A repeat changes nothing.", ReactPayload)
    async def add_reaction(self, info: Info, message_id: MessageId, code: ReactionCode) -> ReactPayload:
        key = key_of(message_id, "Message")
        (message, reaction, changed), cursor = await info.context.write(
            lambda write, actor: add_reaction(write, actor, key, code)
        )
        shown = await shown_message(info.context, message.id)
        return ReactPayload(message=shown, reaction=reaction, changed=changed, cursor=cursor)

    @mutation("Take back an own reaction. A repeat changes nothing.", ReactPayload)
    async def remove_reaction(self, info: Info, message_id: MessageId, code: ReactionCode) -> ReactPayload:
        key = key_of(message_id, "Message")
        (message, reaction, changed), cursor = await info.context.write(
            lambda write, actor: remove_reaction(write, actor, key, code)
        )
        shown = await shown_message(info.context, message.id)
        return ReactPayload(message=shown, reaction=reaction, changed=changed, cursor=cursor)

    @mutation(
        "Add a reaction to the catalogue. Workspace admins; with REACTION_CREATION=anyone, everybody.", ReactionPayload
    )
    async def create_reaction(
        self, info: Info, input: Annotated[CreateReactionInput, argument("The reaction.")]
    ) -> ReactionPayload:
        actor, services = await info.context.actor(), info.context.services
        written = await create_reaction(
            services.database,
            services.storage,
            actor,
            code=input.code,
            image_url=input.image_url,
            image=input.image,
            by_anyone=services.settings.reaction_creation == "anyone",
        )
        reaction: Any = written.value
        return ReactionPayload(reaction=reaction, cursor=event_cursor(actor, written.positions))

    @mutation(
        "Remove a reaction from the catalogue and from every message. Its creator, or a workspace admin.",
        DeletedPayload,
    )
    async def delete_reaction(
        self, info: Info, reaction_id: Annotated[strawberry.ID, argument("The reaction.")]
    ) -> DeletedPayload:
        key = key_of(reaction_id, "Reaction")
        deleted, cursor = await info.context.write(lambda write, actor: delete_reaction(write, actor, key))
        return DeletedPayload(deleted_id=strawberry.ID(encode("Reaction", deleted)), cursor=cursor)
