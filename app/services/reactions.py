"""Reactions: the catalogue, and who reacted with what."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Select, bindparam, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from app.db import Database, Statements, Write, Written, among, has_text, search, violated
from app.errors import Conflict, ErrorCode, Forbidden, Invalid, NotFound
from app.events.log import WORKSPACE, EventType, channel_stream, emit
from app.models import Message, MessageReaction, Reaction, ReactionKind, User
from app.pages import Kind, Page, PerParent, Slice, cut, parameters, window
from app.permissions import Permission
from app.services.access import Actor, access_message
from app.services.reaction_images import check_image, image_path
from app.services.stored_objects import keep, release, stored
from app.storage import Incoming, Storage
from app.text import clean_url

CODE = re.compile(r"[a-z0-9][a-z0-9_+-]{0,31}", re.ASCII)
# `Message.reactions` is a plain list, so its length needs a bound.
MAX_DIFFERENT_PER_MESSAGE = 50


async def access_reaction(session: Statements, code: str) -> Reaction:
    found = None
    if CODE.fullmatch(code):
        found = await session.first(select(Reaction).where(Reaction.code == code, Reaction.deleted_at.is_(None)))
    if found is None:
        raise Invalid("There is no such reaction in the catalogue.", code=ErrorCode.REACTION_UNKNOWN, field=["code"])
    return found


async def add_reaction(write: Write, actor: Actor, message_id: int | None, code: str) -> tuple[Message, Reaction, bool]:
    """The last value is False if the actor had reacted so before."""
    access = await access_message(write, actor, message_id, Permission.MESSAGE_REACT)
    message = access.message
    reaction = await access_reaction(write, code)
    if message.deleted_at is not None:
        raise Conflict(ErrorCode.MESSAGE_DELETED, "The message was deleted.", field=["messageId"])
    shown = (
        select(MessageReaction.reaction_id)
        .join(Reaction, Reaction.id == MessageReaction.reaction_id)
        .where(MessageReaction.message_id == message.id, Reaction.deleted_at.is_(None))
    )
    different = set(await write.rows(shown.distinct()))
    if reaction.id not in different and len(different) >= MAX_DIFFERENT_PER_MESSAGE:
        raise Invalid(f"A message has at most {MAX_DIFFERENT_PER_MESSAGE} different reactions.", field=["code"])
    added = await write.run(
        upsert(MessageReaction)
        .values(message_id=message.id, reaction_id=reaction.id, user_id=actor.id)
        .on_conflict_do_nothing()
    )
    if added:
        tell(write, actor, message, reaction, EventType.REACTION_ADDED)
    return message, reaction, bool(added)


async def remove_reaction(
    write: Write, actor: Actor, message_id: int | None, code: str
) -> tuple[Message, Reaction, bool]:
    """The last value is False if there was nothing to remove."""
    # Members only, although it is their own: after somebody's MEMBER_LEFT nothing in the channel's stream is by them.
    access = await access_message(write, actor, message_id, Permission.MESSAGE_REACT)
    reaction = await access_reaction(write, code)
    removed = await write.run(
        delete(MessageReaction).where(
            MessageReaction.message_id == access.message.id,
            MessageReaction.reaction_id == reaction.id,
            MessageReaction.user_id == actor.id,
        )
    )
    if removed:
        tell(write, actor, access.message, reaction, EventType.REACTION_REMOVED)
    return access.message, reaction, bool(removed)


def tell(write: Write, actor: Actor, message: Message, reaction: Reaction, event: EventType) -> None:
    payload = {"message": message.id, "reaction": reaction.id, "user": actor.id}
    emit(write, channel_stream(message.channel_id), event, actor.id, payload)


async def create_reaction(
    database: Database,
    storage: Storage,
    actor: Actor,
    *,
    code: str,
    image_url: str | None,
    image: Incoming | None,
    by_anyone: bool,
) -> Written[Reaction]:
    """With an image at an address elsewhere, or one that is uploaded."""
    if not (actor.is_workspace_admin or by_anyone):
        raise Forbidden("Only a workspace admin can add reactions.")
    if not CODE.fullmatch(code):
        raise Invalid("Use 1 to 32 of a-z, 0-9, '_', '+' and '-', beginning with a letter or digit.", field=["code"])
    if (image is None) == (image_url is None):
        raise Invalid("A reaction needs an image: either 'image' or 'imageUrl'.", field=["imageUrl"])
    if image is None:
        return await insert_reaction(database, actor, code, clean_url(image_url or "", ["imageUrl"]))
    upload = await check_image(image, ["image"])
    async with stored(database, storage, [upload]) as [key]:
        return await insert_reaction(database, actor, code, image_path(key, upload.content_type), key)


async def insert_reaction(
    database: Database, actor: Actor, code: str, image_url: str, image_key: str | None = None
) -> Written[Reaction]:
    values = {
        "code": code,
        "kind": ReactionKind.CUSTOM.value,
        "image_url": image_url,
        "image_key": image_key,
        "creator_id": actor.id,
    }

    async def unit(write: Write) -> Reaction:
        if image_key is not None:
            await keep(write, [image_key], waits=None)
        reaction = await write.first(insert(Reaction).values(**values).returning(Reaction))
        if reaction is None:
            raise NotFound("reaction")
        emit(write, WORKSPACE, EventType.REACTION_CATALOGUE_CHANGED, actor.id, {"reaction": reaction.id})
        return reaction

    try:
        return await database.write(unit)
    except IntegrityError as error:
        if violated(error) != "uq_reactions_code":
            raise
        raise Conflict(
            ErrorCode.REACTION_CODE_TAKEN, "There is a reaction with this code already.", field=["code"]
        ) from error


async def delete_reaction(write: Write, actor: Actor, reaction_id: int | None) -> int:
    """It vanishes from the catalogue and from every message that has it."""
    statement = select(Reaction).where(Reaction.id == reaction_id, Reaction.deleted_at.is_(None))
    reaction = await write.first(statement.with_for_update(key_share=True))
    if reaction is None:
        raise NotFound("reaction", field=["reactionId"])
    if reaction.kind == ReactionKind.SYSTEM:
        raise Conflict(ErrorCode.SYSTEM_REACTION_IMMUTABLE, "The reactions of the system stay.", field=["reactionId"])
    if not actor.is_workspace_admin and reaction.creator_id != actor.id:
        raise Forbidden("Only its creator or a workspace admin can delete a reaction.", field=["reactionId"])
    values: dict[str, Any] = {"deleted_at": func.now()}
    if reaction.image_key is not None:
        values |= {"image_url": None, "image_key": None}
        await release(write, [reaction.image_key])
    await write.run(update(Reaction).where(Reaction.id == reaction.id).values(**values))
    emit(write, WORKSPACE, EventType.REACTION_CATALOGUE_CHANGED, actor.id, {"reaction": reaction.id})
    return reaction.id


EVER_BY_ID = select(Reaction).where(among(Reaction.id, bindparam("reaction_ids", type_=ARRAY(BigInteger))))
BY_ID = EVER_BY_ID.where(Reaction.deleted_at.is_(None))


async def reactions_by_id(
    session: Statements, reaction_ids: Sequence[int | None], *, with_deleted: bool = False
) -> dict[int, Reaction]:
    """Those of these reactions that are in the catalogue, or ever were."""
    wanted = {reaction_id for reaction_id in reaction_ids if reaction_id is not None}
    if not wanted:
        return {}
    statement = EVER_BY_ID if with_deleted else BY_ID
    return {reaction.id: reaction for reaction in await session.rows(statement, {"reaction_ids": list(wanted)})}


@cache
def reactions_listed(kind: Kind, *, of_kind: ReactionKind | None, is_search: bool) -> Select[*tuple[Any, ...]]:
    statement = select(Reaction).where(Reaction.deleted_at.is_(None))
    if of_kind is not None:
        statement = statement.where(Reaction.kind == of_kind.value)
    if is_search:
        statement = statement.where(has_text(Reaction.code))
    return window(statement, [Reaction.code], kind)


async def reactions_page(
    session: Statements, page: Page, *, kind: ReactionKind | None = None, code_contains: str | None = None
) -> Slice[Reaction]:
    """The catalogue, by code."""
    statement = reactions_listed(Kind.of(page), of_kind=kind, is_search=bool(code_contains))
    rows = await search(session, statement, parameters(page), code_contains)
    return cut(rows, [(row.code,) for row in rows], page)


MESSAGES = bindparam("message_ids", type_=ARRAY(BigInteger))
GROUPS = (
    select(
        MessageReaction.message_id,
        MessageReaction.reaction_id,
        func.count().label("count"),
        func.bool_or(MessageReaction.user_id == bindparam("viewer_id", type_=BigInteger)).label("viewer_has_reacted"),
        func.min(MessageReaction.id).label("first_used"),
    )
    .join(Reaction, Reaction.id == MessageReaction.reaction_id)
    .where(among(MessageReaction.message_id, MESSAGES), Reaction.deleted_at.is_(None))
    .group_by(MessageReaction.message_id, MessageReaction.reaction_id)
    .order_by(text("first_used"))
)


async def reaction_groups(session: Statements, actor: Actor, message_ids: Sequence[int]) -> dict[int, list[Any]]:
    """For each message its reactions with their counts, in the order in which they were first used.

    A group is a row of `message_id`, `reaction_id`, `count` and `viewer_has_reacted`.
    """
    groups: dict[int, list[Any]] = {message_id: [] for message_id in message_ids}
    for row in await session.tuples(GROUPS, {"message_ids": list(groups), "viewer_id": actor.id}):
        groups[row.message_id].append(row)
    return groups


REACTING = PerParent(
    lambda group: (
        select(User, MessageReaction.id.label("reacted_id"))
        .join(MessageReaction, MessageReaction.user_id == User.id)
        .where(MessageReaction.message_id == group.message, MessageReaction.reaction_id == group.reaction),
        [MessageReaction.id],
    ),
    key=lambda row: (row.reacted_id,),
    parents=("id", "message", "reaction"),
)


async def reacting_users_pages(session: Statements, groups: Sequence[Any], page: Page) -> list[Slice[User]]:
    """A page of the people of each group, in the order in which they reacted."""
    columns = {
        "id": list(range(len(groups))),
        "message": [group.message_id for group in groups],
        "reaction": [group.reaction_id for group in groups],
    }
    found = await REACTING.pages(session, columns, page)
    return [found[place] for place in range(len(groups))]
