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
    max_file_size_bytes: int = strawberry.field(description="How many bytes a file may have.")
    allowed_file_types: list[str] = strawberry.field(
        description="The media types that files may have, as their content says."
    )
    max_sockets_per_user: int = strawberry.field(description="How many WebSockets a user may have open at a time.")
    event_retention_days: int = strawberry.field(
        description="For how many days a cursor of events can be resumed. After that, read everything anew."
    )


@strawberry.type
class ServerQuery:
    """`serverInfo`."""

    @query("What clients need to know of the server. Needs no token.")
    def server_info(self, info: Info) -> ServerInfo:
        settings = info.context.services.settings
        return ServerInfo(
            version=__version__,
            max_message_length=settings.max_message_length,
            max_file_size_bytes=settings.max_file_size_bytes,
            allowed_file_types=sorted(settings.allowed_file_types),
            max_sockets_per_user=settings.max_websocket_connections_per_user,
            event_retention_days=settings.event_retention_days,
        )
