"""Messages and their reply chains."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import strawberry

from app import models
from app.services.files import MAX_FILES
from app.services.idempotency import client_key
from app.services.messages import (
    ReplyExists,
    chain_lengths,
    chain_pages,
    delete_message,
    edit_message,
    messages_by_id,
    replies,
    reply_to_message,
    send_message,
)
from schema.channels import Channel
from schema.context import Info, event_cursor
from schema.enums import described
from schema.fields import NoArguments, attribute, batched, in_order, leaf, query
from schema.files import File, files_of
from schema.ids import id_of, key_of, keys_of
from schema.memberships import channels_of
from schema.node import Node
from schema.pagination import After, Before, Connection, First, KeyList, Last
from schema.payloads import MessageId, Payload, argument, failed, mutation
from schema.reactions import ReactionGroup, reaction_groups_of, shown_message
from schema.users import User

CHAIN = KeyList("replies", (int,))
LazyMessage = Annotated["Message", strawberry.lazy("schema.messages")]


class ChainArguments(NamedTuple):
    """A page of a reply chain, from either end."""

    first: First = None
    after: After = None
    last: Last = None
    before: Before = None


async def authors(parents: Sequence[models.Message], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    author_ids = [message.author_id for message in parents]
    return in_order(await info.context.users(author_ids), author_ids)


async def answered(parents: Sequence[models.Message], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    parent_ids = [message.parent_id for message in parents]
    found = await messages_by_id(info.context.reader, await info.context.actor(), parent_ids)
    return in_order(found, parent_ids)


async def answers(parents: Sequence[models.Message], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    message_ids = [message.id for message in parents]
    return in_order(await replies(info.context.reader, message_ids), message_ids)


async def chains(parents: Sequence[models.Message], args: ChainArguments, info: Info) -> list[Any]:
    page = CHAIN.page(args.first, args.after, args.last, args.before)
    found = await chain_pages(info.context.reader, parents, page)
    return [CHAIN.connection(found[message.id]) for message in parents]


async def reply_counts(parents: Sequence[models.Message], args: NoArguments, info: Info) -> list[int]:  # noqa: ARG001
    found = await chain_lengths(info.context.reader, parents)
    return [found[message.id] for message in parents]


async def client_keys(parents: Sequence[models.Message], args: NoArguments, info: Info) -> list[str | None]:  # noqa: ARG001
    actor = await info.context.actor()
    return [message.client_key if message.author_id == actor.id else None for message in parents]


@strawberry.type(description="A message. A deleted one stays as a tombstone, so that places and chains stay whole.")
class Message(Node):
    """Visible to whoever sees its channel."""

    id: strawberry.ID = leaf(id_of("Message"), "Opaque, and unique among all objects of the server.")
    seq: int = attribute("Its position in the channel; rises, with gaps.")
    channel: Channel = batched(channels_of, "Where it was posted.")
    author: User = batched(authors, "Who wrote it.")
    content: str | None = attribute("The text; empty if it carries files only, null once deleted.")
    created_at: datetime = attribute("When it was posted.")
    updated_at: datetime | None = attribute("When it was last edited.")
    deleted_at: datetime | None = attribute("When it was deleted.")
    revision: int = attribute("1, and one more with every edit.")
    parent: LazyMessage | None = batched(answered, "The message that this one answers.")
    reply: LazyMessage | None = batched(answers, "The direct reply; there is at most one.")
    reply_chain: Connection[LazyMessage] = batched(
        chains,
        "Everything below this message, in order: its reply, the reply to that, and so on.",
        arguments=ChainArguments,
    )
    reply_count: int = batched(reply_counts, "The length of that chain.")
    reactions: list[ReactionGroup] = batched(
        reaction_groups_of, "Who reacted with what, in the order in which the reactions were first used. At most 50."
    )
    files: list[File] = batched(files_of, f"What it carries, in the order of the uploads. At most {MAX_FILES}.")
    client_key: str | None = batched(
        client_keys,
        "The key you chose when you sent it, to match your optimistic copy; null for everybody else.",
        viewer=True,
    )


@strawberry.type(description="A message that was posted or changed.")
class MessagePayload(Payload):
    """After a change of a message."""

    message: Message | None = strawberry.field(description="The message as it is now.", default=None)
    deduplicated: bool = strawberry.field(
        description="True for a retry: the message was posted by an earlier request with this client key.",
        default=False,
    )
    existing_reply: Message | None = strawberry.field(
        description="With REPLY_EXISTS: the reply that is there.", default=None
    )


class OnReplyExists(StrEnum):
    """An answer goes below the parent, or nowhere, or to the end."""

    FAIL = "FAIL"
    APPEND_TO_TAIL = "APPEND_TO_TAIL"


described(
    OnReplyExists,
    "What to do if the message has its one direct reply already.",
    {
        OnReplyExists.FAIL: "Refuse with REPLY_EXISTS, and return the existing reply.",
        OnReplyExists.APPEND_TO_TAIL: "Answer the last message of the chain instead.",
    },
)
TEXT = "The text, up to `serverInfo.maxMessageLength` characters; with files it may be empty."
FILE_IDS = f"Up to {MAX_FILES} files that you have uploaded to the channel, and that no message carries yet."
CLIENT_KEY = (
    "Chosen by you, unique among your messages: a retry with the same key returns the first result and writes nothing."
)


@strawberry.input(description="A new message.")
class SendMessageInput:
    """For a message that answers none."""

    channel_id: strawberry.ID = strawberry.field(description="Where to post it.")
    content: str = strawberry.field(description=TEXT)
    file_ids: list[strawberry.ID] | None = strawberry.field(default=None, description=FILE_IDS)
    client_key: str | None = strawberry.field(default=None, description=CLIENT_KEY)


@strawberry.input(description="An answer to a message.")
class ReplyInput:
    """It goes to the parent's channel."""

    parent_id: strawberry.ID = strawberry.field(description="The message to answer.")
    content: str = strawberry.field(description=TEXT)
    file_ids: list[strawberry.ID] | None = strawberry.field(default=None, description=FILE_IDS)
    on_reply_exists: OnReplyExists = strawberry.field(
        default=OnReplyExists.FAIL, description="What to do if there is a reply already."
    )
    client_key: str | None = strawberry.field(default=None, description=CLIENT_KEY)


@strawberry.input(description="A new text for a message.")
class EditMessageInput:
    """Authors only."""

    message_id: strawberry.ID = strawberry.field(description="The message.")
    content: str = strawberry.field(description="The new text.")
    expected_revision: int | None = strawberry.field(
        default=None, description="The revision that you edited: another one is refused with EDIT_CONFLICT."
    )


def digested(file_ids: list[strawberry.ID] | None) -> list[Any]:
    """As a part of what a client key stands for; without files nothing, so that older keys still mean the same."""
    return [[*file_ids]] if file_ids else []


@strawberry.type
class MessageQuery:
    """Queries about messages."""

    @query("A message by id.")
    async def message(self, info: Info, id: MessageId) -> Message | None:
        key = key_of(id, "Message")
        found: dict[Any, Any] = {**await messages_by_id(info.context.reader, await info.context.actor(), [key])}
        return found.get(key)


@strawberry.type
class MessageMutation:
    """Mutations of messages."""

    @mutation("Post a message. Members only.", MessagePayload)
    async def send_message(
        self, info: Info, input: Annotated[SendMessageInput, argument("The message.")]
    ) -> MessagePayload:
        actor, services = await info.context.actor(), info.context.services
        written, deduplicated = await send_message(
            services.database,
            actor,
            key_of(input.channel_id, "Channel"),
            content=input.content,
            file_ids=keys_of(input.file_ids or [], "File"),
            key=client_key(input.client_key, input.channel_id, input.content, *digested(input.file_ids)),
            max_length=services.settings.max_message_length,
        )
        message = await shown_message(info.context, written.value.id)
        cursor = event_cursor(actor, written.positions)
        return MessagePayload(message=message, deduplicated=deduplicated, cursor=cursor)

    @mutation("Answer a message. Members only.", MessagePayload)
    async def reply_to_message(
        self, info: Info, input: Annotated[ReplyInput, argument("The answer.")]
    ) -> MessagePayload:
        actor, services = await info.context.actor(), info.context.services
        facts = input.parent_id, input.content, input.on_reply_exists.value, *digested(input.file_ids)
        try:
            written, deduplicated = await reply_to_message(
                services.database,
                actor,
                key_of(input.parent_id, "Message"),
                content=input.content,
                file_ids=keys_of(input.file_ids or [], "File"),
                to_tail=input.on_reply_exists is OnReplyExists.APPEND_TO_TAIL,
                key=client_key(input.client_key, *facts),
                max_length=services.settings.max_message_length,
            )
        except ReplyExists as error:
            existing: Any = await messages_by_id(info.context.reader, actor, [error.reply_id])
            return failed(MessagePayload, error, existing_reply=existing.get(error.reply_id))
        message = await shown_message(info.context, written.value.id)
        cursor = event_cursor(actor, written.positions)
        return MessagePayload(message=message, deduplicated=deduplicated, cursor=cursor)

    @mutation("Change the text of an own message.", MessagePayload)
    async def edit_message(
        self, info: Info, input: Annotated[EditMessageInput, argument("The new text.")]
    ) -> MessagePayload:
        key, max_length = key_of(input.message_id, "Message"), info.context.services.settings.max_message_length
        message, cursor = await info.context.write(
            lambda write, actor: edit_message(
                write,
                actor,
                key,
                content=input.content,
                expected_revision=input.expected_revision,
                max_length=max_length,
            )
        )
        return MessagePayload(message=await shown_message(info.context, message.id), cursor=cursor)

    @mutation("Delete a message: its author, or MODERATOR and above. Deleting again is no error.", MessagePayload)
    async def delete_message(self, info: Info, message_id: MessageId) -> MessagePayload:
        key = key_of(message_id, "Message")
        message, cursor = await info.context.write(lambda write, actor: delete_message(write, actor, key))
        return MessagePayload(message=await shown_message(info.context, message.id), cursor=cursor)
