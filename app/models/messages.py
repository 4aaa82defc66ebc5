"""Messages and their reply chains.

A message has at most one direct reply, so everything below a message is a line. `chain_id` names the message at the
top of the line and `chain_pos` the place in it (0 at the top, where `chain_id` is null): a page of a chain, its
length and its tail are each one index look-up, where following `parent_id` would cost a look-up per reply.
"""

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.models.declarative import Base


class Message(Base):
    """One message. A deleted one stays as a tombstone: `content` is gone, place and replies remain."""

    __tablename__ = "messages"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    channel_id: Mapped[int] = mapped_column(ForeignKey("channels.id"))
    # The position in the channel's event stream of the event that created the message; other events leave gaps.
    seq: Mapped[int]
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    content: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    updated_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    revision: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    parent_id: Mapped[int | None] = mapped_column(unique=True)
    chain_id: Mapped[int | None]
    chain_pos: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    client_key: Mapped[str | None]
    client_digest: Mapped[bytes | None] = mapped_column(LargeBinary)

    __table_args__ = (
        UniqueConstraint("channel_id", "seq"),
        # What the foreign keys below point at: a parent, and the top of a chain, in the same channel.
        UniqueConstraint("id", "channel_id"),
        ForeignKeyConstraint(["parent_id", "channel_id"], ["messages.id", "messages.channel_id"]),
        ForeignKeyConstraint(["chain_id", "channel_id"], ["messages.id", "messages.channel_id"]),
        CheckConstraint("(content IS NULL) = (deleted_at IS NOT NULL)", name="tombstone"),
        CheckConstraint(
            "(parent_id IS NULL) = (chain_id IS NULL) AND (parent_id IS NULL) = (chain_pos = 0) AND chain_pos >= 0",
            name="chain",
        ),
        CheckConstraint("(client_key IS NULL) = (client_digest IS NULL)", name="client_digest"),
        Index(
            "uq_messages_chain_id_chain_pos",
            "chain_id",
            "chain_pos",
            unique=True,
            postgresql_where=text("chain_id IS NOT NULL"),
        ),
        Index(
            "uq_messages_author_id_client_key",
            "author_id",
            "client_key",
            unique=True,
            postgresql_where=text("client_key IS NOT NULL"),
        ),
    )
