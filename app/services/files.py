"""Files: attaching, deleting, downloading, reading. Uploading is in uploads.py."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, bindparam, delete, select, true, update
from sqlalchemy.dialects.postgresql import ARRAY

from app.db import Database, Statements, Write, Written, among
from app.errors import Invalid, NotFound
from app.events.log import EventType, channel_stream, emit, rely_on
from app.models import Channel, File, Message, StoredObject
from app.pages import Page, PerParent, Slice
from app.permissions import Permission, Standing, decide
from app.services.access import VIEWER, Actor, standing_of, viewer, visible_to, with_standing
from app.services.stored_objects import release
from app.storage import Storage

MAX_FILES = 10  # of a message, and of an upload
MAX_URL_SECONDS = 3600


async def access_file(session: Statements, actor: Actor, file_id: int | None) -> tuple[File, Standing, int]:
    """The file, how the actor stands to its channel, and the revision of the rights. Raises NotFound."""
    statement = with_standing(select(File).join(Channel, Channel.id == File.channel_id), actor)
    found = await session.tuples(statement.where(File.id == file_id, visible_to(actor))) if file_id is not None else []
    if not found:
        raise NotFound("file", field=["fileId"])
    row: Any = found[0]
    return row, standing_of(row, actor), row.rights_revision


async def access_unattached(
    write: Write, actor: Actor, channel_id: int, file_ids: Sequence[int | None]
) -> Sequence[File]:
    """The actor's own files in this channel that no message carries yet, locked with their objects until the commit."""
    if not file_ids:
        return []
    field = ["fileIds"]
    if len(file_ids) > MAX_FILES or len(set(file_ids)) < len(file_ids):
        raise Invalid(f"A message carries at most {MAX_FILES} files, each once.", field=field)
    statement = (
        select(File)
        .join(Channel, Channel.id == File.channel_id)
        .join(StoredObject, StoredObject.key == File.object_key)
        .where(among(File.id, [key for key in file_ids if key is not None]), File.uploader_id == actor.id)
        .where(visible_to(actor))
        .order_by(File.id)
        .with_for_update(of=(File, StoredObject))
    )
    found = await write.rows(statement)
    if len(found) < len(file_ids):
        raise NotFound("file", field=field)
    if any(file.channel_id != channel_id for file in found):
        raise Invalid("A file can only be attached in the channel where it was uploaded.", field=field)
    if any(file.message_id is not None for file in found):
        raise Invalid("Another message carries this file already. Upload it again.", field=field)
    return found


async def attach(write: Write, files: Sequence[File], message: Message) -> None:
    if files:
        attached = update(File).where(among(File.id, [file.id for file in files]))
        await write.run(attached.values(message_id=message.id))
        objects = update(StoredObject).where(among(StoredObject.key, [file.object_key for file in files]))
        await write.run(objects.values(remove_after=None))


async def has_files(session: Statements, message_id: int) -> bool:
    return await session.first(select(File.id).where(File.message_id == message_id).limit(1)) is not None


async def delete_file(write: Write, actor: Actor, file_id: int | None) -> int:
    """Its uploader, or a moderator. The file is gone at once, its object a little later."""
    file, standing, revision = await access_file(write, actor, file_id)
    # Members only, even the uploader: after somebody's MEMBER_LEFT nothing in the channel's stream is by them.
    own = file.uploader_id == actor.id and standing.role is not None
    denial = None if own else decide(Permission.FILE_DELETE_ANY, standing)
    if denial is not None:
        raise denial
    rely_on(write, channel_stream(file.channel_id), revision)
    if not await delete_files(write, actor, file.channel_id, delete(File).where(File.id == file.id)):
        raise NotFound("file", field=["fileId"])  # somebody else was faster
    return file.id


async def delete_files_of(write: Write, actor: Actor, message: Message) -> None:
    """Nothing is left of what a deleted message carried."""
    await delete_files(write, actor, message.channel_id, delete(File).where(File.message_id == message.id))


async def delete_files(write: Write, actor: Actor, channel_id: int, statement: Any) -> int:
    """Run a delete of files of this channel, and tell of it. How many."""
    deleted: Sequence[Any] = await write.tuples(statement.returning(File.id, File.object_key))
    await release(write, [file.object_key for file in deleted])
    for file_id in sorted(file.id for file in deleted):
        emit(write, channel_stream(channel_id), EventType.FILE_DELETED, actor.id, {"file": file_id})
    return len(deleted)


async def create_download_url(
    database: Database, storage: Storage, actor: Actor, file_id: int | None, *, seconds: int
) -> tuple[Written[File], str, datetime]:
    """The file, where to get it from, and until when. It is not given out before its event is in the log."""
    if not 1 <= seconds <= MAX_URL_SECONDS:
        raise Invalid(f"Use 1 to {MAX_URL_SECONDS} seconds.", field=["ttlSeconds"])
    async with database.read() as reader:
        file = await access_download(reader, actor, file_id)
    expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
    url = await storage.url(file.object_key, name=file.name, content_type=file.content_type, seconds=seconds)

    async def tell(write: Write) -> File:
        found = await access_download(write, actor, file_id)
        payload = {"file": found.id, "expires_at": expires_at.isoformat()}
        emit(write, channel_stream(found.channel_id), EventType.FILE_DOWNLOAD_URL_CREATED, actor.id, payload)
        return found

    return await database.write(tell), url, expires_at


async def access_download(session: Statements, actor: Actor, file_id: int | None) -> File:
    file, standing, revision = await access_file(session, actor, file_id)
    denial = decide(Permission.FILE_DOWNLOAD, standing)
    if denial is not None:
        raise denial
    if isinstance(session, Write):
        rely_on(session, channel_stream(file.channel_id), revision)
    return file


BY_ID = (
    select(File)
    .join(Channel, Channel.id == File.channel_id)
    .where(among(File.id, bindparam("file_ids", type_=ARRAY(BigInteger))), visible_to(VIEWER))
)
BY_MESSAGE = (
    select(File)
    .where(among(File.message_id, bindparam("message_ids", type_=ARRAY(BigInteger))))
    .order_by(File.message_id, File.id)
)


async def files_by_id(session: Statements, actor: Actor, file_ids: Sequence[int | None]) -> dict[int, File]:
    """Those of these files that are there, and that the actor may see."""
    wanted = {file_id for file_id in file_ids if file_id is not None}
    if not wanted:
        return {}
    found = await session.rows(BY_ID, {"file_ids": list(wanted), **viewer(actor)})
    return {file.id: file for file in found}


async def files_by_message(session: Statements, message_ids: Sequence[int]) -> dict[int, list[File]]:
    """What each of these messages carries, in the order of the uploads. Who sees a message sees its files."""
    files: dict[int, list[File]] = {message_id: [] for message_id in message_ids}
    for file in await session.rows(BY_MESSAGE, {"message_ids": list(files)}):
        if file.message_id is not None:
            files[file.message_id].append(file)
    return files


IN_CHANNEL = PerParent(
    lambda channel: (select(File).where(File.channel_id == channel.id), [File.id]), key=lambda row: (row.id,)
)


async def files_pages(session: Statements, channel_ids: Sequence[int], page: Page) -> dict[int, Slice[File]]:
    """A page of the files of each channel, newest first."""
    backwards = Page(size=page.size, before=page.after, from_end=True)
    found = await IN_CHANNEL.pages(session, {"id": channel_ids}, backwards)
    return {
        channel_id: Slice(each.rows[::-1], each.keys[::-1], has_next=each.has_previous, has_previous=each.has_next)
        for channel_id, each in found.items()
    }


async def delete_files_of_deleted_channels(write: Write, limit: int) -> int:
    """Delete a batch of them. How many."""
    some = select(File.id).where(File.channel_id == Channel.id).order_by(File.id).limit(limit).lateral("some")
    each = select(some.c.id).join_from(Channel, some, true()).where(Channel.deleted_at.is_not(None))
    doomed = await write.rows(each.limit(limit))
    if doomed:
        deleted = await write.rows(delete(File).where(among(File.id, doomed)).returning(File.object_key))
        await release(write, deleted)
    return len(doomed)
