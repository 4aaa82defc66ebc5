"""Where the bytes of files are, and what can be said of them before they are kept."""

from app.storage.incoming import Incoming
from app.storage.protocol import Storage

__all__ = ["Incoming", "Storage"]
