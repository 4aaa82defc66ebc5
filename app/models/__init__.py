"""All tables, one file per noun.

Statements are built from these classes; rows are read without ORM sessions (see `app.db`).
"""

from app.models.channels import Channel, ChannelRole, Membership
from app.models.declarative import Base
from app.models.files import File, StoredObject
from app.models.messages import Message
from app.models.reactions import MessageReaction, Reaction, ReactionKind
from app.models.streams import StreamEvent, StreamHead
from app.models.users import User

__all__ = [
    "Base",
    "Channel",
    "ChannelRole",
    "File",
    "Membership",
    "Message",
    "MessageReaction",
    "Reaction",
    "ReactionKind",
    "StoredObject",
    "StreamEvent",
    "StreamHead",
    "User",
]
