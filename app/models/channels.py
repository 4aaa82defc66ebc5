"""Channels, who is in them, and with which role.

The database itself keeps owner and roles in step: a channel's owner must hold its OWNER row, and an OWNER row must be
the channel's owner. Both directions are deferred foreign keys over generated columns, so no trigger is needed.
"""

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.models.declarative import Base


class Channel(Base):
    """A public channel, a private one, or a direct message (`is_dm`)."""

    __tablename__ = "channels"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str | None]
    description: Mapped[str | None]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    owner_role: Mapped[str] = mapped_column(Computed("'OWNER'::text", persisted=True))
    creator_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    is_private: Mapped[bool] = mapped_column(server_default=text("false"))
    is_dm: Mapped[bool] = mapped_column(server_default=text("false"))
    # The sorted user ids of a direct message: unique, so one set of people has one DM however many ask at once.
    dm_key: Mapped[str | None]
    join_code: Mapped[str | None] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    archived_at: Mapped[datetime | None]
    # Hidden at once, emptied in the background (app.services.housekeeping): deleting 300,000 messages takes longer
    # than a request may.
    deleted_at: Mapped[datetime | None]
    client_key: Mapped[str | None]
    client_digest: Mapped[bytes | None] = mapped_column(LargeBinary)

    __table_args__ = (
        CheckConstraint("is_private OR NOT is_dm", name="dm_is_private"),
        CheckConstraint("(join_code IS NOT NULL) = (is_private AND NOT is_dm)", name="join_code_of_private"),
        CheckConstraint("(name IS NULL) = is_dm", name="name_unless_dm"),
        CheckConstraint("(owner_id IS NULL) = is_dm", name="owner_unless_dm"),
        CheckConstraint("(dm_key IS NOT NULL) = is_dm", name="key_of_dm"),
        CheckConstraint("(client_key IS NULL) = (client_digest IS NULL)", name="client_digest"),
        ForeignKeyConstraint(
            ["id", "owner_id", "owner_role"],
            ["channel_roles.channel_id", "channel_roles.user_id", "channel_roles.role"],
            name="fk_channels_owner_holds_role",
            deferrable=True,
            initially="DEFERRED",
            use_alter=True,
        ),
        UniqueConstraint("id", "owner_id"),
        Index("uq_channels_dm_key", "dm_key", unique=True, postgresql_where=text("deleted_at IS NULL")),
        # Names of private channels may repeat: refusing one would tell a stranger that it exists.
        Index(
            "uq_channels_public_name",
            func.lower(text("name")),
            unique=True,
            postgresql_where=text("NOT is_private AND deleted_at IS NULL"),
        ),
        Index(
            "uq_channels_creator_id_client_key",
            "creator_id",
            "client_key",
            unique=True,
            postgresql_where=text("client_key IS NOT NULL"),
        ),
        # `channels` lists public channels by name, archived ones apart. Private ones are found through their members.
        Index(
            "ix_channels_public_name",
            func.lower(text("name")),
            "id",
            postgresql_where=text("NOT is_private AND deleted_at IS NULL AND archived_at IS NULL"),
        ),
        Index(
            "ix_channels_archived_name",
            func.lower(text("name")),
            "id",
            postgresql_where=text("NOT is_private AND deleted_at IS NULL AND archived_at IS NOT NULL"),
        ),
        Index(
            "ix_channels_name_trigrams",
            func.lower(text("name")).label("name_trigrams"),
            postgresql_using="gin",
            postgresql_ops={"name_trigrams": "gin_trgm_ops"},
        ),
        Index("ix_channels_deleted_at", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    )


class Membership(Base):
    """One person in one channel."""

    __tablename__ = "memberships"

    channel_id: Mapped[int] = mapped_column(ForeignKey("channels.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    joined_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    # Where the channel's event stream stood: what follows is theirs to see, beginning with their own MEMBER_JOINED.
    joined_seq: Mapped[int] = mapped_column(server_default=text("0"))

    __table_args__ = (
        # The viewer's own channels, and one membership without a look at the table.
        Index(None, "user_id", "channel_id", postgresql_include=["joined_at"]),
        Index(None, "channel_id", "joined_at", "user_id"),  # a channel's members, in the order of joining
    )


class ChannelRole(Base):
    """A role above MEMBER. A member without a row here is a plain MEMBER."""

    __tablename__ = "channel_roles"

    channel_id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(primary_key=True)
    role: Mapped[str]
    assigned_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    # Spelled as PostgreSQL gives it back: Alembic would take any other spelling for a change.
    owner_user_id: Mapped[int | None] = mapped_column(
        Computed("CASE WHEN role = 'OWNER'::text THEN user_id ELSE NULL::bigint END", persisted=True)
    )

    __table_args__ = (
        CheckConstraint("role IN ('OWNER', 'ADMIN', 'MODERATOR')", name="role"),
        ForeignKeyConstraint(
            ["channel_id", "user_id"], ["memberships.channel_id", "memberships.user_id"], ondelete="CASCADE"
        ),
        ForeignKeyConstraint(
            ["channel_id", "owner_user_id"],
            ["channels.id", "channels.owner_id"],
            name="fk_channel_roles_owner_is_named",
            deferrable=True,
            initially="DEFERRED",
        ),
        UniqueConstraint("channel_id", "user_id", "role"),
        Index("uq_channel_roles_owner", "channel_id", unique=True, postgresql_where=text("role = 'OWNER'")),
    )
