"""Files, and the objects in the storage that their bytes are."""

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.models.declarative import Base


class StoredObject(Base):
    """One object that is in the storage, or may be.

    The row is there before the object and goes after it, so whatever ends in between leaves nothing that nobody knows
    of. `remove_after` is null for what is in use; after it, the object is removed, with as many tries as it takes
    (app/services/stored_objects.py).
    """

    __tablename__ = "stored_objects"

    key: Mapped[str] = mapped_column(primary_key=True)
    remove_after: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))

    __table_args__ = (Index(None, "remove_after", postgresql_where=text("remove_after IS NOT NULL")),)


class File(Base):
    """One file in a channel. `message_id` is null until a message carries it. A deleted one is gone."""

    __tablename__ = "files"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    channel_id: Mapped[int] = mapped_column(ForeignKey("channels.id"))
    uploader_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    message_id: Mapped[int | None]
    object_key: Mapped[str] = mapped_column(ForeignKey("stored_objects.key"), unique=True)
    name: Mapped[str]  # as the client called it, cleaned; for display only
    content_type: Mapped[str]  # as the content says
    size: Mapped[int]  # bytes
    width: Mapped[int | None] = mapped_column(Integer)  # pixels, as shown: after the rotation that EXIF asks for
    height: Mapped[int | None] = mapped_column(Integer)
    client_key: Mapped[str | None]
    client_digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())

    __table_args__ = (
        ForeignKeyConstraint(["message_id", "channel_id"], ["messages.id", "messages.channel_id"]),
        CheckConstraint("size > 0", name="size"),
        CheckConstraint("(width IS NULL) = (height IS NULL)", name="dimensions"),
        CheckConstraint("(client_key IS NULL) = (client_digest IS NULL)", name="client_digest"),
        Index(None, "channel_id", "id"),
        Index(None, "message_id", "id", postgresql_where=text("message_id IS NOT NULL")),
        Index(
            "uq_files_uploader_id_client_key",
            "uploader_id",
            "client_key",
            unique=True,
            postgresql_where=text("client_key IS NOT NULL"),
        ),
    )
