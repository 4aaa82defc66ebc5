"""The event log: one stream per channel (`c12`), per user (`u7`), and one for the workspace (`w`).

A stream's head row is its counter. It is locked by the statement that appends and released by the commit, so in one
stream the order of numbers is the order of commits and there are no gaps: any reader can prove by arithmetic that
nothing is missing. The table is not partitioned by day: PostgreSQL would then want the day in the primary key, and
(stream, seq) would no longer be unique by construction; at seven days of retention, deleting in batches by the BRIN
index is cheap enough.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Integer, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.declarative import Base


class StreamHead(Base):
    """Where a stream stands."""

    __tablename__ = "stream_heads"

    stream_id: Mapped[str] = mapped_column(primary_key=True)
    head_seq: Mapped[int] = mapped_column(server_default=text("0"))
    # Events at or below the floor are gone; a cursor below it must resynchronise.
    floor_seq: Mapped[int] = mapped_column(server_default=text("0"))
    # Changes when the numbering restarts (a restored backup): cursors of another epoch are refused.
    epoch: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    # Rises whenever somebody may lose a right in this channel. A write that was authorized under an older number is
    # started over.
    rights_revision: Mapped[int] = mapped_column(server_default=text("0"))

    # Head rows are updated all the time: free space in the page keeps those updates off the index (HOT).
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)


class StreamEvent(Base):
    """What happened, by whom, to which ids.

    Content is never stored here, so a deleted message leaves nothing behind.
    """

    __tablename__ = "stream_events"

    stream_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str]
    actor_id: Mapped[int | None]
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    payload: Mapped[dict[str, Any]]

    __table_args__ = (Index(None, "at", postgresql_using="brin"),)
