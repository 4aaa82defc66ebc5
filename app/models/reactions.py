"""The catalogue of reactions, and who reacted with which to what."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.declarative import Base


class ReactionKind(StrEnum):
    """Where a reaction comes from."""

    SYSTEM = "SYSTEM"
    CUSTOM = "CUSTOM"


class Reaction(Base):
    """One entry of the catalogue. A deleted one stays as a tombstone, and its code becomes free."""

    __tablename__ = "reactions"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    code: Mapped[str]
    kind: Mapped[str] = mapped_column(server_default=text("'CUSTOM'"))
    image_url: Mapped[str | None]  # or, of an image that was uploaded, its path on this server
    creator_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]
    image_key: Mapped[str | None] = mapped_column(ForeignKey("stored_objects.key"))

    __table_args__ = (
        CheckConstraint("kind IN ('SYSTEM', 'CUSTOM')", name="kind"),
        CheckConstraint("kind = 'CUSTOM' OR deleted_at IS NULL", name="system_stays"),
        Index("uq_reactions_image_key", "image_key", unique=True, postgresql_where=text("image_key IS NOT NULL")),
        Index("uq_reactions_code", "code", unique=True, postgresql_where=text("deleted_at IS NULL")),
        Index(None, "kind", "code", postgresql_where=text("deleted_at IS NULL")),  # the catalogue's entries of one kind
        Index(
            "ix_reactions_code_trigrams",
            "code",
            postgresql_using="gin",
            postgresql_ops={"code": "gin_trgm_ops"},
        ),
    )


class MessageReaction(Base):
    """One person's reaction to one message. `id` gives the order in which people reacted."""

    __tablename__ = "message_reactions"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    message_id: Mapped[int] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"))
    reaction_id: Mapped[int] = mapped_column(ForeignKey("reactions.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        UniqueConstraint("message_id", "user_id", "reaction_id"),  # in this order it also finds what one user did
        Index(None, "message_id", "reaction_id", "id"),  # who reacted, in order
    )
