"""Uploading files: who may, what they are, into the storage, then into the channel."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from sqlalchemy import func, insert, select

from app.db import Database, Position, Statements, Write, Written
from app.errors import Invalid, NotFound
from app.events.log import EventType, channel_stream, emit, rely_on
from app.models import Channel, File, StreamHead
from app.permissions import Permission
from app.services.access import Actor, access_channel, visible_to
from app.services.files import MAX_FILES
from app.services.idempotency import ClientKey, KeyReused, client_key, is_made_by, once
from app.services.stored_objects import ORPHAN, keep, let_go, stored
from app.storage import Incoming, Storage
from app.storage.content import Content, inspect
from app.storage.file_name import clean_name

NO_KEY = client_key(None)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that may be stored: what came, and what it was found to be."""

    incoming: Incoming
    found: Content

    @property
    def content(self) -> BinaryIO:
        return self.incoming.content

    @property
    def size(self) -> int:
        return self.incoming.size

    @property
    def content_type(self) -> str:
        return self.found.content_type


async def upload_file(
    database: Database,
    storage: Storage,
    actor: Actor,
    channel_id: int | None,
    incoming: Incoming,
    *,
    key: str | None,
    allowed: frozenset[str],
) -> tuple[Written[File], bool]:
    """The second value is True for a retry of an earlier call with this client key."""
    if key is not None:
        earlier = await find_earlier(database, actor, channel_id, incoming, key)
        if earlier is not None:
            return earlier, True
    await access_upload(database, actor, channel_id)
    upload = await check(incoming, allowed, ["file"])
    keyed = await content_key(key, channel_id, incoming)
    async with stored(database, storage, [upload]) as keys:

        async def unit(write: Write) -> File:
            [file] = await insert_files(write, actor, channel_id, dict(zip(keys, [upload], strict=True)), keyed)
            return file

        written, is_retry = await once(database, keyed, unit, lambda session: keyed_file(session, actor, keyed))
        if is_retry:  # the other request came between
            await let_go(database, keys)
    return written, is_retry


async def find_earlier(
    database: Database, actor: Actor, channel_id: int | None, incoming: Incoming, key: str
) -> Written[File] | None:
    """Before anything is stored once more, and also where it could not be uploaded any more."""
    async with database.read() as reader:
        earlier = await keyed_file(reader, actor, client_key(key))
    if earlier is not None and not is_made_by(earlier.value, await content_key(key, channel_id, incoming)):
        raise KeyReused
    return earlier


async def upload_files(
    database: Database,
    storage: Storage,
    actor: Actor,
    channel_id: int | None,
    incoming: Sequence[Incoming],
    *,
    allowed: frozenset[str],
) -> Written[list[File]]:
    """All of them or none."""
    if not 1 <= len(incoming) <= MAX_FILES:
        raise Invalid(f"Upload 1 to {MAX_FILES} files at once.", field=["files"])
    await access_upload(database, actor, channel_id)
    uploads = [await check(each, allowed, ["files", str(place)]) for place, each in enumerate(incoming)]
    async with stored(database, storage, uploads) as keys:
        by_key = dict(zip(keys, uploads, strict=True))
        return await database.write(lambda write: insert_files(write, actor, channel_id, by_key, NO_KEY))


async def access_upload(database: Database, actor: Actor, channel_id: int | None) -> None:
    """No connection is held while bytes go anywhere."""
    async with database.read() as reader:
        await access_channel(reader, actor, channel_id, Permission.FILE_UPLOAD)


async def check(incoming: Incoming, allowed: frozenset[str], field: list[str]) -> Upload:
    return Upload(incoming, await inspect(incoming, allowed, field=field))


async def content_key(key: str | None, channel_id: int | None, incoming: Incoming) -> ClientKey:
    if key is None:
        return NO_KEY
    digest = await asyncio.to_thread(sha256, incoming.content)
    return client_key(key, channel_id, clean_name(incoming.name), incoming.size, digest)


def sha256(content: BinaryIO) -> str:
    content.seek(0)
    digest = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]  # a file is what it wants
    content.seek(0)
    return digest


async def insert_files(
    write: Write, actor: Actor, channel_id: int | None, uploads: Mapping[str, Upload], key: ClientKey
) -> list[File]:
    """They are in the channel from this commit on, if the actor may still upload there. `uploads` is by object."""
    access = await access_channel(write, actor, channel_id, Permission.FILE_UPLOAD)
    stream = channel_stream(access.channel.id)
    rely_on(write, stream, access.rights_revision)
    await keep(write, [*uploads], waits=ORPHAN)
    files = []
    for object_key, upload in uploads.items():
        statement = insert(File).values(
            channel_id=access.channel.id,
            uploader_id=actor.id,
            object_key=object_key,
            name=clean_name(upload.incoming.name),
            content_type=upload.content_type,
            size=upload.size,
            width=upload.found.width,
            height=upload.found.height,
            client_key=key.key,
            client_digest=key.digest,
        )
        file = await write.first(statement.returning(File))
        if file is None:
            raise NotFound("file")
        emit(write, stream, EventType.FILE_UPLOADED, actor.id, {"file": file.id})
        files.append(file)
    return files


async def keyed_file(session: Statements, actor: Actor, key: ClientKey) -> Written[File] | None:
    """What an earlier try under this key uploaded, and where the channel's stream stands: past its event."""
    statement = (
        select(File, StreamHead.epoch, StreamHead.head_seq)
        .join(Channel, Channel.id == File.channel_id)
        .join(StreamHead, StreamHead.stream_id == func.concat("c", File.channel_id))
        .where(visible_to(actor), File.uploader_id == actor.id, File.client_key == key.key)
    )
    found: Sequence[Any] = await session.tuples(statement)
    if not found:
        return None
    file: Any = found[0]
    return Written(file, {channel_stream(file.channel_id): Position(file.epoch, file.head_seq)})
