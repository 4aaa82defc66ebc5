"""People."""

from datetime import datetime

from sqlalchemy import Identity, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.declarative import Base


class User(Base):
    """One person, known by the subject of their access token (`auth0_id`)."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    auth0_id: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str | None]
    name: Mapped[str]
    picture: Mapped[str | None]
    bio: Mapped[str | None]
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # To the minute while they are connected; null before they ever were.
    last_seen_at: Mapped[datetime | None]

    __table_args__ = (
        # Two spellings of one address are one mailbox everywhere that matters.
        Index("uq_users_email", func.lower(text("email")), unique=True),
        # `users` is listed by name, and searched by part of a name.
        Index("ix_users_name", func.lower(text("name")), "id"),
        Index(
            "ix_users_name_trigrams",
            func.lower(text("name")).label("name_trigrams"),
            postgresql_using="gin",
            postgresql_ops={"name_trigrams": "gin_trgm_ops"},
        ),
        # `last_seen_at` is written all the time: free space in the page keeps that off the indexes (HOT).
        {"postgresql_with": {"fillfactor": 70}},
    )
