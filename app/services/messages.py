"""Messages: posting, answering, editing, deleting, reading."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, bindparam, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY

from app.db import Database, Position, Stale, Statements, Write, Written, among
from app.errors import Conflict, ErrorCode, Forbidden, Invalid, NotFound
from app.events.log import EventType, LoggedEvent, channel_stream, emit, note
from app.models import Channel, Message, MessageReaction, StreamHead
from app.pages import Page, PerParent, Slice
from app.permissions import Permission, decide
from app.services.access import VIEWER, Actor, access_channel, access_message, viewer, visible_to
from app.services.files import access_unattached, attach, delete_files_of, has_files
from app.services.idempotency import ClientKey, once
from app.text import clean_text, is_visible

# Counter, message and event in one statement: the stream's counter row is locked from here to the commit only.
# Without a row the rights have changed since they were checked.
POST = text("""
WITH head AS (
    UPDATE stream_heads SET head_seq = head_seq + 1
    WHERE stream_id = :stream AND rights_revision = :revision
    RETURNING head_seq, epoch
), posted AS (
    INSERT INTO messages (channel_id, seq, author_id, content, parent_id, chain_id, chain_pos, client_key,
    client_digest) SELECT :channel_id, head_seq, :author_id, :content, CAST(:parent_id AS bigint), CAST(:chain_id AS
    bigint), :chain_pos, CAST(:client_key AS text), CAST(:client_digest AS bytea) FROM head RETURNING *
), logged AS (
    INSERT INTO stream_events (stream_id, seq, type, actor_id, at, payload)
    SELECT :stream, seq, 'MESSAGE_CREATED', author_id, created_at, jsonb_build_object('message', id) FROM posted
)
SELECT posted.*, head.epoch FROM posted, head
""").columns(*Message.__table__.columns, StreamHead.epoch)


class ReplyExists(Conflict):
    """Somebody has answered this message already; `reply_id` is that answer."""

    def __init__(self, reply_id: int) -> None:
        super().__init__(
            ErrorCode.REPLY_EXISTS, "This message has a reply already. Answer that one.", field=["parentId"]
        )
        self.reply_id = reply_id


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that may be posted: checked content, and the rights under which that was decided."""

    channel_id: int
    rights_revision: int
    content: str
    file_ids: Sequence[int | None]
    key: ClientKey


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a reply chain a message goes. The default: at the top of its own."""

    parent_id: int | None = None
    chain_id: int | None = None
    chain_pos: int = 0


def clean_content(content: str, maximum: int, *, may_be_empty: bool = False) -> str:
    if len(content) > maximum:
        raise Invalid(
            f"A message has at most {maximum} characters, not {len(content)}.",
            code=ErrorCode.MESSAGE_TOO_LONG,
            field=["content"],
        )
    cleaned = clean_text(content, ["content"], maximum=maximum)
    if not is_visible(cleaned) and not (may_be_empty and not cleaned):
        raise Invalid("Write something.", field=["content"])
    return cleaned


async def post(write: Write, actor: Actor, draft: Draft, place: Place) -> Message:
    stream = channel_stream(draft.channel_id)
    # Before the stream's counter is locked: whoever waits for a file must not hold up the channel.
    files = await access_unattached(write, actor, draft.channel_id, draft.file_ids)
    posted = await write.constant(
        POST,
        {
            "stream": stream,
            "revision": draft.rights_revision,
            "channel_id": draft.channel_id,
            "author_id": actor.id,
            "content": draft.content,
            "parent_id": place.parent_id,
            "chain_id": place.chain_id,
            "chain_pos": place.chain_pos,
            "client_key": draft.key.key,
            "client_digest": draft.key.digest,
        },
    )
    if not posted:
        raise Stale
    message: Message = posted[0]
    payload = {"message": message.id}
    created = LoggedEvent(
        stream, posted[0].epoch, message.seq, EventType.MESSAGE_CREATED, actor.id, message.created_at, payload
    )
    note(write, [created])
    await attach(write, files, message)
    return message


async def keyed_message(session: Statements, actor: Actor, key: ClientKey) -> Written[Message] | None:
    """What an earlier try under this key posted, with the position of its event."""
    statement = (
        select(Message, StreamHead.epoch)
        .join(Channel, Channel.id == Message.channel_id)
        .join(StreamHead, StreamHead.stream_id == func.concat("c", Message.channel_id))
        .where(visible_to(actor), Message.author_id == actor.id, Message.client_key == key.key)
    )
    found: Sequence[Any] = await session.tuples(statement)
    if not found:
        return None
    message: Any = found[0]
    return Written(message, {channel_stream(message.channel_id): Position(message.epoch, message.seq)})


async def send_message(
    database: Database,
    actor: Actor,
    channel_id: int | None,
    *,
    content: str,
    file_ids: Sequence[int | None] = (),
    key: ClientKey,
    max_length: int,
) -> tuple[Written[Message], bool]:
    """The second value is True for a retry of an earlier call. With files, the text may be empty."""
    cleaned = clean_content(content, max_length, may_be_empty=bool(file_ids))

    async def unit(write: Write) -> Message:
        access = await access_channel(write, actor, channel_id, Permission.MESSAGE_POST)
        draft = Draft(access.channel.id, access.rights_revision, cleaned, file_ids, key)
        return await post(write, actor, draft, Place())

    return await once(database, key, unit, lambda session: keyed_message(session, actor, key))


async def reply_to_message(
    database: Database,
    actor: Actor,
    parent_id: int | None,
    *,
    content: str,
    file_ids: Sequence[int | None] = (),
    to_tail: bool,
    key: ClientKey,
    max_length: int,
) -> tuple[Written[Message], bool]:
    """Answer a message. If it has an answer: ReplyExists, or with `to_tail` go to the end of its chain."""
    cleaned = clean_content(content, max_length, may_be_empty=bool(file_ids))

    async def unit(write: Write) -> Message:
        place, channel_id, revision = await access_place(write, actor, parent_id, to_tail=to_tail)
        return await post(write, actor, Draft(channel_id, revision, cleaned, file_ids, key), place)

    return await once(database, key, unit, lambda session: keyed_message(session, actor, key))


async def access_place(write: Write, actor: Actor, parent_id: int | None, *, to_tail: bool) -> tuple[Place, int, int]:
    """The place of an answer, its channel, and the revision of the rights.

    All who answer in one chain take turns from here on.
    """
    root = select(func.coalesce(Message.chain_id, Message.id)).join(Channel, Channel.id == Message.channel_id)
    root_id = await write.first(root.where(Message.id == parent_id, visible_to(actor)))
    if root_id is not None:
        # The top of the chain before any message in it: one order of locking for everybody.
        await write.rows(select(Message.id).where(Message.id == root_id).with_for_update(key_share=True))
    access = await access_message(write, actor, parent_id, Permission.MESSAGE_POST, field="parentId")
    parent = access.message
    if parent.deleted_at is not None:
        raise Conflict(ErrorCode.PARENT_DELETED, "The message that you answer was deleted.", field=["parentId"])
    last = parent
    reply_id = await write.first(select(Message.id).where(Message.parent_id == parent.id))
    if reply_id is not None:
        if not to_tail:
            raise ReplyExists(reply_id)
        tail = select(Message).where(Message.chain_id == root_id).order_by(Message.chain_pos.desc()).limit(1)
        last = await write.first(tail) or parent
    place = Place(parent_id=last.id, chain_id=root_id, chain_pos=last.chain_pos + 1)
    return place, parent.channel_id, access.rights_revision


async def edit_message(
    write: Write, actor: Actor, message_id: int | None, *, content: str, expected_revision: int | None, max_length: int
) -> Message:
    """Authors only. `expected_revision` refuses an edit that was begun on an older text."""
    cleaned = clean_content(content, max_length, may_be_empty=True)
    access = await access_message(write, actor, message_id, Permission.CHANNEL_READ)
    message = access.message
    if message.author_id != actor.id:
        raise Forbidden("Only its author can edit a message.", field=["messageId"])
    denial = decide(Permission.MESSAGE_POST, access.standing)
    if denial is not None:
        raise denial
    if message.deleted_at is not None:
        raise Conflict(ErrorCode.MESSAGE_DELETED, "The message was deleted.", field=["messageId"])
    if expected_revision is not None and expected_revision != message.revision:
        raise Conflict(
            ErrorCode.EDIT_CONFLICT,
            f"The message is at revision {message.revision} by now. Look at it, then edit again.",
            field=["expectedRevision"],
        )
    if not cleaned and not await has_files(write, message.id):
        raise Invalid("Write something: only a message with files has no text.", field=["content"])
    if cleaned == message.content:
        return message
    values = {"content": cleaned, "updated_at": func.clock_timestamp(), "revision": Message.revision + 1}
    return await change_message(write, actor, message, values, EventType.MESSAGE_UPDATED)


async def delete_message(write: Write, actor: Actor, message_id: int | None) -> Message:
    """Its author, or a moderator. What remains is a tombstone; deleting again is no error."""
    access = await access_message(write, actor, message_id, Permission.CHANNEL_READ)
    message = access.message
    # Members only, even the author: after somebody's MEMBER_LEFT nothing in the channel's stream is by them.
    own = message.author_id == actor.id and access.standing.role is not None
    denial = None if own else decide(Permission.MESSAGE_DELETE_ANY, access.standing)
    if denial is not None:
        raise denial
    if message.deleted_at is not None:
        return message
    await write.run(delete(MessageReaction).where(MessageReaction.message_id == message.id))
    values: dict[str, Any] = {"content": None, "deleted_at": func.clock_timestamp()}
    if message.client_key is not None:
        values["client_digest"] = b""  # a digest of the text would let somebody who guesses it be sure
    deleted = await change_message(write, actor, message, values, EventType.MESSAGE_DELETED)
    await delete_files_of(write, actor, message)
    return deleted


async def change_message(
    write: Write, actor: Actor, message: Message, values: dict[str, Any], event: EventType
) -> Message:
    changed = await write.first(update(Message).where(Message.id == message.id).values(**values).returning(Message))
    if changed is None:
        raise NotFound("message", field=["messageId"])
    emit(write, channel_stream(message.channel_id), event, actor.id, {"message": message.id})
    return changed


BY_ID = (
    select(Message)
    .join(Channel, Channel.id == Message.channel_id)
    .where(among(Message.id, bindparam("message_ids", type_=ARRAY(BigInteger))), visible_to(VIEWER))
)


async def messages_by_id(session: Statements, actor: Actor, message_ids: Sequence[int | None]) -> dict[int, Message]:
    """Those of these messages that the actor may see."""
    wanted = {message_id for message_id in message_ids if message_id is not None}
    if not wanted:
        return {}
    found = await session.rows(BY_ID, {"message_ids": list(wanted), **viewer(actor)})
    return {message.id: message for message in found}


ANSWERING = select(Message).where(among(Message.parent_id, bindparam("message_ids", type_=ARRAY(BigInteger))))


async def replies(session: Statements, message_ids: Sequence[int]) -> dict[int, Message]:
    """The direct reply to each of these messages, by the id of the message answered.

    A reply is seen by whoever sees its parent.
    """
    found = await session.rows(ANSWERING, {"message_ids": list(set(message_ids))})
    return {message.parent_id: message for message in found if message.parent_id is not None}


TIMELINES = PerParent(
    lambda channel: (select(Message).where(Message.channel_id == channel.id), [Message.seq]),
    key=lambda row: (row.seq,),
)


async def messages_pages(
    session: Statements, channel_ids: Sequence[int], page: Page, *, around: int | None = None
) -> dict[int, Slice[Message]]:
    """A page of the timeline of each channel, oldest first.

    With `around`, the page that has this message in its middle.
    """
    if around is None:
        return await TIMELINES.pages(session, {"id": channel_ids}, page)
    anchor = await session.tuples(select(Message.channel_id, Message.seq).where(Message.id == around))
    if not anchor or anchor[0].channel_id not in channel_ids:
        return {}
    channel_id, seq = anchor[0]
    only = {"id": [channel_id]}
    newer = page.size // 2
    older_page = Page(size=page.size - newer, before=(seq + 1,), from_end=True)
    before = (await TIMELINES.pages(session, only, older_page))[channel_id]
    after = (await TIMELINES.pages(session, only, Page(size=newer, after=(seq,))))[channel_id]
    return {
        channel_id: Slice([*before.rows, *after.rows], [*before.keys, *after.keys], after.has_next, before.has_previous)
    }


# What lies below a message in its reply chain: `root` is the message at the top, `pos` the message's own place.
CHAINS = PerParent(
    lambda above: (
        select(Message).where(Message.chain_id == above.root, Message.chain_pos > above.pos),
        [Message.chain_pos],
    ),
    key=lambda row: (row.chain_pos,),
    parents=("id", "root", "pos"),
)
TAILS = PerParent(
    lambda above: (select(Message.chain_pos).where(Message.chain_id == above.root), [Message.chain_pos]),
    key=lambda row: (row.chain_pos,),
    parents=("id", "root"),
)


async def chain_pages(session: Statements, messages: Sequence[Message], page: Page) -> dict[int, Slice[Message]]:
    """A page of what lies below each of these messages in its reply chain."""
    places = {**chain_tops(messages), "pos": [message.chain_pos for message in messages]}
    return await CHAINS.pages(session, places, page)


def chain_tops(messages: Sequence[Message]) -> dict[str, list[int]]:
    return {
        "id": [message.id for message in messages],
        "root": [message.chain_id or message.id for message in messages],
    }


async def chain_lengths(session: Statements, messages: Sequence[Message]) -> dict[int, int]:
    """How many messages lie below each of these in its chain."""
    found = await TAILS.pages(session, chain_tops(messages), Page(size=1, from_end=True))
    return {
        message.id: max(0, found[message.id].rows[-1].chain_pos - message.chain_pos) if found[message.id].rows else 0
        for message in messages
    }
