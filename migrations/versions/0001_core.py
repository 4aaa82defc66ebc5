"""The chat: people, channels, roles, messages, reactions, and the event log.

Plain SQL, table by table, so that what the database itself forbids can be read off: each rule is a named constraint.
tests/test_migrations.py holds the result equal to app/models.
"""

from alembic import op
from sqlalchemy import column, table

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

USERS = (
    """
    CREATE TABLE users (
        id bigint GENERATED ALWAYS AS IDENTITY,
        auth0_id text NOT NULL,
        email text,
        name text NOT NULL,
        picture text,
        bio text,
        is_active boolean DEFAULT true NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT pk_users PRIMARY KEY (id),
        CONSTRAINT uq_users_auth0_id UNIQUE (auth0_id)
    )
    """,
    "CREATE UNIQUE INDEX uq_users_email ON users (lower(email))",
    "CREATE INDEX ix_users_name ON users (lower(name), id)",
    "CREATE INDEX ix_users_name_trigrams ON users USING gin (lower(name) gin_trgm_ops)",
)

CHANNELS = (
    """
    CREATE TABLE channels (
        id bigint GENERATED ALWAYS AS IDENTITY,
        name text,
        description text,
        owner_id bigint,
        owner_role text GENERATED ALWAYS AS ('OWNER'::text) STORED NOT NULL,
        creator_id bigint NOT NULL,
        is_private boolean DEFAULT false NOT NULL,
        is_dm boolean DEFAULT false NOT NULL,
        dm_key text,
        join_code text,
        created_at timestamptz DEFAULT now() NOT NULL,
        archived_at timestamptz,
        deleted_at timestamptz,
        client_key text,
        client_digest bytea,
        CONSTRAINT pk_channels PRIMARY KEY (id),
        CONSTRAINT fk_channels_creator_id FOREIGN KEY (creator_id) REFERENCES users (id),
        CONSTRAINT fk_channels_owner_id FOREIGN KEY (owner_id) REFERENCES users (id),
        CONSTRAINT uq_channels_id_owner_id UNIQUE (id, owner_id),
        CONSTRAINT uq_channels_join_code UNIQUE (join_code),
        CONSTRAINT ck_channels_dm_is_private CHECK (is_private OR NOT is_dm),
        CONSTRAINT ck_channels_join_code_of_private CHECK ((join_code IS NOT NULL) = (is_private AND NOT is_dm)),
        CONSTRAINT ck_channels_name_unless_dm CHECK ((name IS NULL) = is_dm),
        CONSTRAINT ck_channels_owner_unless_dm CHECK ((owner_id IS NULL) = is_dm),
        CONSTRAINT ck_channels_key_of_dm CHECK ((dm_key IS NOT NULL) = is_dm),
        CONSTRAINT ck_channels_client_digest CHECK ((client_key IS NULL) = (client_digest IS NULL))
    )
    """,
    "CREATE UNIQUE INDEX uq_channels_dm_key ON channels (dm_key) WHERE deleted_at IS NULL",
    # Names of private channels may repeat: refusing one would tell a stranger that it exists.
    """
    CREATE UNIQUE INDEX uq_channels_public_name ON channels (lower(name))
        WHERE NOT is_private AND deleted_at IS NULL
    """,
    """
    CREATE UNIQUE INDEX uq_channels_creator_id_client_key ON channels (creator_id, client_key)
        WHERE client_key IS NOT NULL
    """,
    """
    CREATE INDEX ix_channels_public_name ON channels (lower(name), id)
        WHERE NOT is_private AND deleted_at IS NULL AND archived_at IS NULL
    """,
    """
    CREATE INDEX ix_channels_archived_name ON channels (lower(name), id)
        WHERE NOT is_private AND deleted_at IS NULL AND archived_at IS NOT NULL
    """,
    "CREATE INDEX ix_channels_name_trigrams ON channels USING gin (lower(name) gin_trgm_ops)",
    "CREATE INDEX ix_channels_deleted_at ON channels (deleted_at) WHERE deleted_at IS NOT NULL",
)

MEMBERSHIPS = (
    """
    CREATE TABLE memberships (
        channel_id bigint NOT NULL,
        user_id bigint NOT NULL,
        joined_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        joined_seq bigint DEFAULT 0 NOT NULL,
        CONSTRAINT pk_memberships PRIMARY KEY (channel_id, user_id),
        CONSTRAINT fk_memberships_channel_id FOREIGN KEY (channel_id) REFERENCES channels (id) ON DELETE CASCADE,
        CONSTRAINT fk_memberships_user_id FOREIGN KEY (user_id) REFERENCES users (id)
    )
    """,
    "CREATE INDEX ix_memberships_user_id_channel_id ON memberships (user_id, channel_id) INCLUDE (joined_at)",
    "CREATE INDEX ix_memberships_channel_id_joined_at_user_id ON memberships (channel_id, joined_at, user_id)",
)

CHANNEL_ROLES = (
    """
    CREATE TABLE channel_roles (
        channel_id bigint NOT NULL,
        user_id bigint NOT NULL,
        role text NOT NULL,
        assigned_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        owner_user_id bigint GENERATED ALWAYS AS (CASE WHEN role = 'OWNER' THEN user_id END) STORED,
        CONSTRAINT pk_channel_roles PRIMARY KEY (channel_id, user_id),
        CONSTRAINT uq_channel_roles_channel_id_user_id_role UNIQUE (channel_id, user_id, role),
        CONSTRAINT fk_channel_roles_channel_id_user_id FOREIGN KEY (channel_id, user_id)
            REFERENCES memberships (channel_id, user_id) ON DELETE CASCADE,
        CONSTRAINT ck_channel_roles_role CHECK (role IN ('OWNER', 'ADMIN', 'MODERATOR'))
    )
    """,
    "CREATE UNIQUE INDEX uq_channel_roles_owner ON channel_roles (channel_id) WHERE role = 'OWNER'",
    # The next two say together: a channel's owner holds its OWNER role, and nobody else does. Deferred, because handing
    # a channel over takes two statements.
    """
    ALTER TABLE channel_roles ADD CONSTRAINT fk_channel_roles_owner_is_named FOREIGN KEY (channel_id, owner_user_id)
        REFERENCES channels (id, owner_id) DEFERRABLE INITIALLY DEFERRED
    """,
    """
    ALTER TABLE channels ADD CONSTRAINT fk_channels_owner_holds_role FOREIGN KEY (id, owner_id, owner_role)
        REFERENCES channel_roles (channel_id, user_id, role) DEFERRABLE INITIALLY DEFERRED
    """,
)

MESSAGES = (
    """
    CREATE TABLE messages (
        id bigint GENERATED ALWAYS AS IDENTITY,
        channel_id bigint NOT NULL,
        seq bigint NOT NULL,
        author_id bigint NOT NULL,
        content text,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        updated_at timestamptz,
        deleted_at timestamptz,
        revision integer DEFAULT 1 NOT NULL,
        parent_id bigint,
        chain_id bigint,
        chain_pos integer DEFAULT 0 NOT NULL,
        client_key text,
        client_digest bytea,
        CONSTRAINT pk_messages PRIMARY KEY (id),
        CONSTRAINT fk_messages_channel_id FOREIGN KEY (channel_id) REFERENCES channels (id),
        CONSTRAINT fk_messages_author_id FOREIGN KEY (author_id) REFERENCES users (id),
        CONSTRAINT uq_messages_channel_id_seq UNIQUE (channel_id, seq),
        CONSTRAINT uq_messages_parent_id UNIQUE (parent_id),
        CONSTRAINT uq_messages_id_channel_id UNIQUE (id, channel_id),
        CONSTRAINT fk_messages_parent_id_channel_id FOREIGN KEY (parent_id, channel_id)
            REFERENCES messages (id, channel_id),
        CONSTRAINT fk_messages_chain_id_channel_id FOREIGN KEY (chain_id, channel_id)
            REFERENCES messages (id, channel_id),
        CONSTRAINT ck_messages_chain CHECK (
            (parent_id IS NULL) = (chain_id IS NULL) AND (parent_id IS NULL) = (chain_pos = 0) AND chain_pos >= 0
        ),
        CONSTRAINT ck_messages_tombstone CHECK ((content IS NULL) = (deleted_at IS NOT NULL)),
        CONSTRAINT ck_messages_client_digest CHECK ((client_key IS NULL) = (client_digest IS NULL))
    )
    """,
    """
    CREATE UNIQUE INDEX uq_messages_chain_id_chain_pos ON messages (chain_id, chain_pos)
        WHERE chain_id IS NOT NULL
    """,
    """
    CREATE UNIQUE INDEX uq_messages_author_id_client_key ON messages (author_id, client_key)
        WHERE client_key IS NOT NULL
    """,
)

REACTIONS = (
    """
    CREATE TABLE reactions (
        id bigint GENERATED ALWAYS AS IDENTITY,
        code text NOT NULL,
        kind text DEFAULT 'CUSTOM' NOT NULL,
        image_url text,
        creator_id bigint,
        created_at timestamptz DEFAULT now() NOT NULL,
        deleted_at timestamptz,
        CONSTRAINT pk_reactions PRIMARY KEY (id),
        CONSTRAINT fk_reactions_creator_id FOREIGN KEY (creator_id) REFERENCES users (id),
        CONSTRAINT ck_reactions_kind CHECK (kind IN ('SYSTEM', 'CUSTOM')),
        CONSTRAINT ck_reactions_system_stays CHECK (kind = 'CUSTOM' OR deleted_at IS NULL)
    )
    """,
    "CREATE UNIQUE INDEX uq_reactions_code ON reactions (code) WHERE deleted_at IS NULL",
    "CREATE INDEX ix_reactions_kind_code ON reactions (kind, code) WHERE deleted_at IS NULL",
    "CREATE INDEX ix_reactions_code_trigrams ON reactions USING gin (code gin_trgm_ops)",
    """
    CREATE TABLE message_reactions (
        id bigint GENERATED ALWAYS AS IDENTITY,
        message_id bigint NOT NULL,
        reaction_id bigint NOT NULL,
        user_id bigint NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT pk_message_reactions PRIMARY KEY (id),
        CONSTRAINT fk_message_reactions_message_id FOREIGN KEY (message_id) REFERENCES messages (id) ON DELETE CASCADE,
        CONSTRAINT fk_message_reactions_reaction_id FOREIGN KEY (reaction_id) REFERENCES reactions (id),
        CONSTRAINT fk_message_reactions_user_id FOREIGN KEY (user_id) REFERENCES users (id),
        CONSTRAINT uq_message_reactions_message_id_user_id_reaction_id UNIQUE (message_id, user_id, reaction_id)
    )
    """,
    """
    CREATE INDEX ix_message_reactions_message_id_reaction_id_id
        ON message_reactions (message_id, reaction_id, id)
    """,
)

STREAMS = (
    # Head rows are updated with every write: free space in the page keeps those updates off the index (HOT).
    """
    CREATE TABLE stream_heads (
        stream_id text NOT NULL,
        head_seq bigint DEFAULT 0 NOT NULL,
        floor_seq bigint DEFAULT 0 NOT NULL,
        epoch integer DEFAULT 1 NOT NULL,
        rights_revision bigint DEFAULT 0 NOT NULL,
        CONSTRAINT pk_stream_heads PRIMARY KEY (stream_id)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE stream_events (
        stream_id text NOT NULL,
        seq bigint NOT NULL,
        type text NOT NULL,
        actor_id bigint,
        at timestamptz DEFAULT clock_timestamp() NOT NULL,
        payload jsonb NOT NULL,
        CONSTRAINT pk_stream_events PRIMARY KEY (stream_id, seq)
    )
    """,
    "CREATE INDEX ix_stream_events_at ON stream_events USING brin (at)",
    # The workspace's own stream. Channels and users bring theirs with them.
    "INSERT INTO stream_heads (stream_id) VALUES ('w')",
)

# The reactions that every workspace has, by their common short names.
SYSTEM_REACTIONS = """
    thumbsup thumbsdown heart joy tada eyes fire rocket pray clap wave muscle ok_hand raised_hands point_up smile grin
    sweat_smile rofl wink blush heart_eyes thinking neutral_face unamused cry sob scream angry sunglasses
    partying_face shrug facepalm handshake brain bulb star sparkles hundred check x question exclamation warning lock
    bug wrench hammer hourglass calendar pushpin memo package chart_up gift cake coffee beer pizza sun moon rainbow
"""

# Children first.
TABLES = (
    "stream_events",
    "stream_heads",
    "message_reactions",
    "reactions",
    "messages",
    "channel_roles",
    "memberships",
    "channels",
    "users",
)


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    for statement in (*USERS, *CHANNELS, *MEMBERSHIPS, *CHANNEL_ROLES, *MESSAGES, *REACTIONS, *STREAMS):
        op.execute(statement)
    op.bulk_insert(
        table("reactions", column("code"), column("kind")),
        [{"code": code, "kind": "SYSTEM"} for code in SYSTEM_REACTIONS.split()],
    )


def downgrade() -> None:
    # The extension stays: another application in the same database may use it by now.
    op.drop_constraint("fk_channels_owner_holds_role", "channels", type_="foreignkey")
    for name in TABLES:
        op.drop_table(name)
