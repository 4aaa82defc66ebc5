"""Files: what they are, and where they are found."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app import models
from app.services.files import files_by_id, files_by_message
from app.services.messages import messages_by_id
from schema.channels import Channel
from schema.context import Context, Info
from schema.fields import NoArguments, attribute, batched, in_order, leaf, query
from schema.ids import id_of, key_of
from schema.memberships import channels_of
from schema.node import Node
from schema.payloads import FileId
from schema.users import User

if TYPE_CHECKING:
    from schema.messages import Message

LazyMessage = Annotated["Message", strawberry.lazy("schema.messages")]


async def uploaders(parents: Sequence[models.File], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    uploader_ids = [file.uploader_id for file in parents]
    return in_order(await info.context.users(uploader_ids), uploader_ids)


async def carriers(parents: Sequence[models.File], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    message_ids = [file.message_id for file in parents]
    found = await messages_by_id(info.context.reader, await info.context.actor(), message_ids)
    return in_order(found, message_ids)


@strawberry.type(description="A file in a channel. Its content is at the address that `createDownloadUrl` makes.")
class File(Node):
    """Visible to whoever sees its channel."""

    id: strawberry.ID = leaf(id_of("File"), "Opaque, and unique among all objects of the server.")
    name: str = attribute("What its uploader called it, to show: without folders, and not unique.")
    content_type: str = attribute("Its media type, as its content says: image/png.")
    size: int = attribute("Its size in bytes.")
    width: int | None = attribute(
        "The width of an image in pixels, as it is shown, for the layout before it is loaded; null for what is no "
        "image, and for an image that does not tell. It is what the file says of itself, so be prepared for another."
    )
    height: int | None = attribute("The height, likewise; null whenever the width is.")
    uploader: User = batched(uploaders, "Who uploaded it.")
    channel: Channel = batched(channels_of, "The channel that it was uploaded to.")
    message: LazyMessage | None = batched(
        carriers, "The message that carries it; null until one does. Without one it is deleted after a day."
    )
    created_at: datetime = attribute("When it was uploaded.")


async def files_of(parents: Sequence[models.Message], args: NoArguments, info: Info) -> list[Any]:  # noqa: ARG001
    found = await files_by_message(info.context.reader, [message.id for message in parents])
    return [found[message.id] for message in parents]


async def shown_file(context: Context, file_id: int) -> Any:
    return await context.shown(lambda reader, actor: files_by_id(reader, actor, [file_id]), file_id)


@strawberry.type
class FileQuery:
    """Queries about files."""

    @query("A file by id.")
    async def file(self, info: Info, id: FileId) -> File | None:
        key = key_of(id, "File")
        found: dict[Any, Any] = {**await files_by_id(info.context.reader, await info.context.actor(), [key])}
        return found.get(key)
