"""What clients need to know of the server."""

from importlib.metadata import version

import strawberry

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
        return ServerInfo(
            version=version("parley"), max_message_length=info.context.services.settings.max_message_length
        )
