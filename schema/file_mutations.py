"""What can be done with files."""

from datetime import datetime
from typing import Annotated, Any

import strawberry

from app.services.files import MAX_FILES, MAX_URL_SECONDS, create_download_url, delete_file, files_by_id
from app.services.uploads import upload_file, upload_files
from schema.context import Info, event_cursor
from schema.files import File, shown_file
from schema.ids import key_of
from schema.payloads import FileId, Payload, argument, mutation
from schema.scalars import URL, Upload

DEFAULT_URL_SECONDS = 300


@strawberry.type(description="A file that came or went.")
class FilePayload(Payload):
    """After a change of a file."""

    file: File | None = strawberry.field(description="The file; null once deleted.", default=None)
    deduplicated: bool = strawberry.field(
        description="True for a retry: the file was uploaded by an earlier request with this client key.",
        default=False,
    )


@strawberry.type(description="Files that came.")
class FilesPayload(Payload):
    """After an upload of several."""

    files: list[File] = strawberry.field(
        description="The files, in the order in which they were given.", default_factory=list
    )


@strawberry.type(description="Where to get a file from, for a while.")
class DownloadUrl:
    """Never in an event, nor in a log."""

    url: URL = strawberry.field(
        description="Whoever has it can read the file, without a token. A browser saves the file and never runs it."
    )
    expires_at: datetime = strawberry.field(description="Until when it works.")


@strawberry.type(description="An address to download a file from.")
class DownloadUrlPayload(Payload):
    """After one was made."""

    download: DownloadUrl | None = strawberry.field(description="The address.", default=None)
    file: File | None = strawberry.field(description="The file.", default=None)


@strawberry.input(description="A new file.")
class UploadFileInput:
    """Sent as multipart/form-data."""

    channel_id: strawberry.ID = strawberry.field(description="The channel to upload it to.")
    file: Upload = strawberry.field(description="The file, up to `serverInfo.maxFileSizeBytes`.")
    client_key: str | None = strawberry.field(
        default=None,
        description=(
            "Chosen by you, unique among your files: a retry with the same key returns the first result and stores "
            "nothing."
        ),
    )


@strawberry.input(description="New files.")
class UploadFilesInput:
    """All or none."""

    channel_id: strawberry.ID = strawberry.field(description="The channel to upload them to.")
    files: list[Upload] = strawberry.field(
        description=f"1 to {MAX_FILES} files, each up to `serverInfo.maxFileSizeBytes`."
    )


@strawberry.type
class FileMutation:
    """Mutations of files."""

    @mutation(
        "Upload a file to a channel, for a message to carry it within a day. Members only. Needs multipart/form-data.",
        FilePayload,
    )
    async def upload_file(self, info: Info, input: Annotated[UploadFileInput, argument("The file.")]) -> FilePayload:
        actor, services = await info.context.actor(), info.context.services
        written, deduplicated = await upload_file(
            services.database,
            services.storage,
            actor,
            key_of(input.channel_id, "Channel"),
            input.file,
            key=input.client_key,
            allowed=services.settings.allowed_file_types,
        )
        file = await shown_file(info.context, written.value.id)
        return FilePayload(file=file, deduplicated=deduplicated, cursor=event_cursor(actor, written.positions))

    @mutation("Upload several files to a channel, all or none. Members only. Needs multipart/form-data.", FilesPayload)
    async def upload_files(
        self, info: Info, input: Annotated[UploadFilesInput, argument("The files.")]
    ) -> FilesPayload:
        actor, services = await info.context.actor(), info.context.services
        written = await upload_files(
            services.database,
            services.storage,
            actor,
            key_of(input.channel_id, "Channel"),
            input.files,
            allowed=services.settings.allowed_file_types,
        )
        ids = [file.id for file in written.value]
        found: dict[int, Any] = {**await files_by_id(info.context.reader, actor, ids)}
        shown = [found[key] for key in ids if key in found]
        return FilesPayload(files=shown, cursor=event_cursor(actor, written.positions))

    @mutation("Delete a file, wherever it is: its uploader, or MODERATOR and above.", FilePayload)
    async def delete_file(self, info: Info, file_id: FileId) -> FilePayload:
        key = key_of(file_id, "File")
        _, cursor = await info.context.write(lambda write, actor: delete_file(write, actor, key))
        return FilePayload(cursor=cursor)

    @mutation("Make an address to download a file from. Members only; it works to its end.", DownloadUrlPayload)
    async def create_download_url(
        self,
        info: Info,
        file_id: FileId,
        ttl_seconds: Annotated[
            int | None, argument(f"For how many seconds, up to {MAX_URL_SECONDS}.")
        ] = DEFAULT_URL_SECONDS,
    ) -> DownloadUrlPayload:
        actor, services = await info.context.actor(), info.context.services
        written, url, expires_at = await create_download_url(
            services.database,
            services.storage,
            actor,
            key_of(file_id, "File"),
            seconds=DEFAULT_URL_SECONDS if ttl_seconds is None else ttl_seconds,
        )
        file = await shown_file(info.context, written.value.id)
        download = DownloadUrl(url=URL(url), expires_at=expires_at)
        return DownloadUrlPayload(download=download, file=file, cursor=event_cursor(actor, written.positions))
