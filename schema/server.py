"""What clients need to know of the server."""

import strawberry

from app import __version__
from schema.context import Info
from schema.fields import query


@strawberry.type(description="What clients need to know of the server.")
class ServerInfo:
    """Limits that a client can check before it sends."""

    version: str = strawberry.field(description="The version of Parley.")
    max_message_length: int = strawberry.field(description="How many characters a message may have.")


@strawberry.type
class ServerQuery:
    """`serverInfo`."""

    @query("What clients need to know of the server. Needs no token.")
    def server_info(self, info: Info) -> ServerInfo:
        settings = info.context.services.settings
        return ServerInfo(version=__version__, max_message_length=settings.max_message_length)
