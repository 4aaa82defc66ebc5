"""Files, and the objects in the storage that their bytes are."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OBJECTS = (
    """
    CREATE TABLE stored_objects (
        key text NOT NULL,
        remove_after timestamptz,
        failures integer NOT NULL DEFAULT 0,
        CONSTRAINT pk_stored_objects PRIMARY KEY (key)
    )
    """,
    "CREATE INDEX ix_stored_objects_remove_after ON stored_objects (remove_after) WHERE remove_after IS NOT NULL",
)

FILES = (
    """
    CREATE TABLE files (
        id bigint GENERATED ALWAYS AS IDENTITY,
        channel_id bigint NOT NULL,
        uploader_id bigint NOT NULL,
        message_id bigint,
        object_key text NOT NULL,
        name text NOT NULL,
        content_type text NOT NULL,
        size bigint NOT NULL,
        width integer,
        height integer,
        client_key text,
        client_digest bytea,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT pk_files PRIMARY KEY (id),
        CONSTRAINT fk_files_channel_id FOREIGN KEY (channel_id) REFERENCES channels (id),
        CONSTRAINT fk_files_uploader_id FOREIGN KEY (uploader_id) REFERENCES users (id),
        CONSTRAINT fk_files_message_id_channel_id FOREIGN KEY (message_id, channel_id)
            REFERENCES messages (id, channel_id),
        CONSTRAINT fk_files_object_key FOREIGN KEY (object_key) REFERENCES stored_objects (key),
        CONSTRAINT uq_files_object_key UNIQUE (object_key),
        CONSTRAINT ck_files_size CHECK (size > 0),
        CONSTRAINT ck_files_dimensions CHECK ((width IS NULL) = (height IS NULL)),
        CONSTRAINT ck_files_client_digest CHECK ((client_key IS NULL) = (client_digest IS NULL))
    )
    """,
    "CREATE INDEX ix_files_channel_id_id ON files (channel_id, id)",
    "CREATE INDEX ix_files_message_id_id ON files (message_id, id) WHERE message_id IS NOT NULL",
    """
    CREATE UNIQUE INDEX uq_files_uploader_id_client_key ON files (uploader_id, client_key)
    WHERE client_key IS NOT NULL
    """,
)

REACTIONS = (
    "ALTER TABLE reactions ADD COLUMN image_key text",
    """
    ALTER TABLE reactions ADD CONSTRAINT fk_reactions_image_key
        FOREIGN KEY (image_key) REFERENCES stored_objects (key)
    """,
    "CREATE UNIQUE INDEX uq_reactions_image_key ON reactions (image_key) WHERE image_key IS NOT NULL",
)


def upgrade() -> None:
    for statement in (*OBJECTS, *FILES, *REACTIONS):
        op.execute(statement)


def downgrade() -> None:
    # What is in the storage stays there: list the keys of stored_objects first, if it is to go.
    op.drop_column("reactions", "image_key")
    op.drop_table("files")
    op.drop_table("stored_objects")
