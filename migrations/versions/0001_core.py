"""The chat: people, channels, roles, messages, reactions, and the event log.

Revision: 0001, the first
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The reactions that every workspace has, by their common short names.
SYSTEM_REACTIONS = [
    "thumbsup",
    "thumbsdown",
    "heart",
    "joy",
    "tada",
    "eyes",
    "fire",
    "rocket",
    "pray",
    "clap",
    "wave",
    "muscle",
    "ok_hand",
    "raised_hands",
    "point_up",
    "smile",
    "grin",
    "sweat_smile",
    "rofl",
    "wink",
    "blush",
    "heart_eyes",
    "thinking",
    "neutral_face",
    "unamused",
    "cry",
    "sob",
    "scream",
    "angry",
    "sunglasses",
    "partying_face",
    "shrug",
    "facepalm",
    "handshake",
    "brain",
    "bulb",
    "star",
    "sparkles",
    "hundred",
    "check",
    "x",
    "question",
    "exclamation",
    "warning",
    "lock",
    "bug",
    "wrench",
    "hammer",
    "hourglass",
    "calendar",
    "pushpin",
    "memo",
    "package",
    "chart_up",
    "gift",
    "cake",
    "coffee",
    "beer",
    "pizza",
    "sun",
    "moon",
    "rainbow",
]


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.create_table(
        "stream_events",
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("stream_id", "seq", name=op.f("pk_stream_events")),
    )
    op.create_index(op.f("ix_stream_events_at"), "stream_events", ["at"], unique=False, postgresql_using="brin")
    op.create_table(
        "stream_heads",
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.Column("head_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("floor_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("epoch", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("rights_revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("stream_id", name=op.f("pk_stream_heads")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("auth0_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("picture", sa.Text(), nullable=True),
        sa.Column("bio", sa.Text(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("auth0_id", name=op.f("uq_users_auth0_id")),
    )
    op.create_index("ix_users_name", "users", [sa.literal_column("lower(name)"), "id"], unique=False)
    op.create_index(
        "ix_users_name_trigrams",
        "users",
        [sa.literal_column("lower(name)").label("name_trigrams")],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"name_trigrams": "gin_trgm_ops"},
    )
    op.create_index("uq_users_email", "users", [sa.literal_column("lower(email)")], unique=True)
    op.create_table(
        "channels",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("owner_id", sa.BigInteger(), nullable=True),
        sa.Column("owner_role", sa.Text(), sa.Computed("'OWNER'::text", persisted=True), nullable=False),
        sa.Column("creator_id", sa.BigInteger(), nullable=False),
        sa.Column("is_private", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_dm", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("dm_key", sa.Text(), nullable=True),
        sa.Column("join_code", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("client_key", sa.Text(), nullable=True),
        sa.Column("client_digest", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("(client_key IS NULL) = (client_digest IS NULL)", name=op.f("ck_channels_client_digest")),
        sa.CheckConstraint("(dm_key IS NOT NULL) = is_dm", name=op.f("ck_channels_key_of_dm")),
        sa.CheckConstraint(
            "(join_code IS NOT NULL) = (is_private AND NOT is_dm)", name=op.f("ck_channels_join_code_of_private")
        ),
        sa.CheckConstraint("(name IS NULL) = is_dm", name=op.f("ck_channels_name_unless_dm")),
        sa.CheckConstraint("(owner_id IS NULL) = is_dm", name=op.f("ck_channels_owner_unless_dm")),
        sa.CheckConstraint("is_private OR NOT is_dm", name=op.f("ck_channels_dm_is_private")),
        sa.ForeignKeyConstraint(["creator_id"], ["users.id"], name=op.f("fk_channels_creator_id")),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_channels_owner_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channels")),
        sa.UniqueConstraint("dm_key", name=op.f("uq_channels_dm_key")),
        sa.UniqueConstraint("id", "owner_id", name=op.f("uq_channels_id_owner_id")),
        sa.UniqueConstraint("join_code", name=op.f("uq_channels_join_code")),
    )
    op.create_index(
        "ix_channels_deleted_at",
        "channels",
        ["deleted_at"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_index(
        "ix_channels_name",
        "channels",
        [sa.literal_column("lower(name)"), "id"],
        unique=False,
        postgresql_where=sa.text("NOT is_dm AND deleted_at IS NULL"),
    )
    op.create_index(
        "ix_channels_name_trigrams",
        "channels",
        [sa.literal_column("lower(name)").label("name_trigrams")],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"name_trigrams": "gin_trgm_ops"},
    )
    op.create_index(
        "uq_channels_creator_id_client_key",
        "channels",
        ["creator_id", "client_key"],
        unique=True,
        postgresql_where=sa.text("client_key IS NOT NULL"),
    )
    op.create_index(
        "uq_channels_public_name",
        "channels",
        [sa.literal_column("lower(name)")],
        unique=True,
        postgresql_where=sa.text("NOT is_private AND deleted_at IS NULL"),
    )
    op.create_table(
        "reactions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), server_default=sa.text("'CUSTOM'"), nullable=False),
        sa.Column("image_url", sa.Text(), nullable=True),
        sa.Column("creator_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind = 'CUSTOM' OR deleted_at IS NULL", name=op.f("ck_reactions_system_stays")),
        sa.CheckConstraint("kind IN ('SYSTEM', 'CUSTOM')", name=op.f("ck_reactions_kind")),
        sa.ForeignKeyConstraint(["creator_id"], ["users.id"], name=op.f("fk_reactions_creator_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reactions")),
    )
    op.create_index(
        "ix_reactions_code_trigrams",
        "reactions",
        ["code"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"code": "gin_trgm_ops"},
    )
    op.create_index(
        "uq_reactions_code", "reactions", ["code"], unique=True, postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.create_table(
        "memberships",
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("joined_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channels.id"], name=op.f("fk_memberships_channel_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memberships_user_id")),
        sa.PrimaryKeyConstraint("channel_id", "user_id", name=op.f("pk_memberships")),
    )
    op.create_index(
        op.f("ix_memberships_channel_id_joined_at_user_id"),
        "memberships",
        ["channel_id", "joined_at", "user_id"],
        unique=False,
    )
    op.create_index(op.f("ix_memberships_user_id_channel_id"), "memberships", ["user_id", "channel_id"], unique=False)
    op.create_table(
        "messages",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("chain_id", sa.BigInteger(), nullable=True),
        sa.Column("chain_pos", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("client_key", sa.Text(), nullable=True),
        sa.Column("client_digest", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("(client_key IS NULL) = (client_digest IS NULL)", name=op.f("ck_messages_client_digest")),
        sa.CheckConstraint("(content IS NULL) = (deleted_at IS NOT NULL)", name=op.f("ck_messages_tombstone")),
        sa.CheckConstraint(
            "(parent_id IS NULL) = (chain_id IS NULL) AND (parent_id IS NULL) = (chain_pos = 0) AND chain_pos >= 0",
            name=op.f("ck_messages_chain"),
        ),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name=op.f("fk_messages_author_id")),
        sa.ForeignKeyConstraint(
            ["chain_id", "channel_id"],
            ["messages.id", "messages.channel_id"],
            name=op.f("fk_messages_chain_id_channel_id"),
        ),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name=op.f("fk_messages_channel_id")),
        sa.ForeignKeyConstraint(
            ["parent_id", "channel_id"],
            ["messages.id", "messages.channel_id"],
            name=op.f("fk_messages_parent_id_channel_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint("channel_id", "seq", name=op.f("uq_messages_channel_id_seq")),
        sa.UniqueConstraint("id", "channel_id", name=op.f("uq_messages_id_channel_id")),
        sa.UniqueConstraint("parent_id", name=op.f("uq_messages_parent_id")),
    )
    op.create_index(
        "uq_messages_author_id_client_key",
        "messages",
        ["author_id", "client_key"],
        unique=True,
        postgresql_where=sa.text("client_key IS NOT NULL"),
    )
    op.create_index(
        "uq_messages_chain_id_chain_pos",
        "messages",
        ["chain_id", "chain_pos"],
        unique=True,
        postgresql_where=sa.text("chain_id IS NOT NULL"),
    )
    op.create_table(
        "channel_roles",
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column(
            "assigned_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "owner_user_id",
            sa.BigInteger(),
            sa.Computed("CASE WHEN role = 'OWNER' THEN user_id END", persisted=True),
            nullable=True,
        ),
        sa.CheckConstraint("role IN ('OWNER', 'ADMIN', 'MODERATOR')", name=op.f("ck_channel_roles_role")),
        sa.ForeignKeyConstraint(
            ["channel_id", "owner_user_id"],
            ["channels.id", "channels.owner_id"],
            name="fk_channel_roles_owner_is_named",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["channel_id", "user_id"],
            ["memberships.channel_id", "memberships.user_id"],
            name=op.f("fk_channel_roles_channel_id_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("channel_id", "user_id", name=op.f("pk_channel_roles")),
        sa.UniqueConstraint("channel_id", "user_id", "role", name=op.f("uq_channel_roles_channel_id_user_id_role")),
    )
    op.create_index(
        "uq_channel_roles_owner",
        "channel_roles",
        ["channel_id"],
        unique=True,
        postgresql_where=sa.text("role = 'OWNER'"),
    )
    op.create_table(
        "message_reactions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("reaction_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name=op.f("fk_message_reactions_message_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["reaction_id"], ["reactions.id"], name=op.f("fk_message_reactions_reaction_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_message_reactions_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message_reactions")),
        sa.UniqueConstraint(
            "message_id", "reaction_id", "user_id", name=op.f("uq_message_reactions_message_id_reaction_id_user_id")
        ),
    )
    op.create_index(
        op.f("ix_message_reactions_message_id_reaction_id_id"),
        "message_reactions",
        ["message_id", "reaction_id", "id"],
        unique=False,
    )

    op.create_foreign_key(
        "fk_channels_owner_holds_role",
        "channels",
        "channel_roles",
        ["id", "owner_id", "owner_role"],
        ["channel_id", "user_id", "role"],
        deferrable=True,
        initially="DEFERRED",
    )
    op.execute("INSERT INTO stream_heads (stream_id) VALUES ('w')")
    reactions = sa.table("reactions", sa.column("code"), sa.column("kind"))
    op.bulk_insert(reactions, [{"code": code, "kind": "SYSTEM"} for code in SYSTEM_REACTIONS])


def downgrade() -> None:
    op.drop_constraint("fk_channels_owner_holds_role", "channels", type_="foreignkey")
    for table in (
        "message_reactions",
        "channel_roles",
        "messages",
        "memberships",
        "reactions",
        "channels",
        "users",
        "stream_heads",
        "stream_events",
    ):
        op.drop_table(table)
    # The extension stays: another application in the same database may use it by now.
