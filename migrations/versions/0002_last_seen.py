"""When somebody was last seen."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE users ADD COLUMN last_seen_at timestamptz")
    # For pages from here on: the column is written all the time, and the new row should fit beside the old one.
    op.execute("ALTER TABLE users SET (fillfactor = 70)")


def downgrade() -> None:
    op.execute("ALTER TABLE users RESET (fillfactor)")
    op.execute("ALTER TABLE users DROP COLUMN last_seen_at")
