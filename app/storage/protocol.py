"""What Parley asks of a storage: four things, of S3 and of a local disk alike."""

from collections.abc import Sequence
from typing import BinaryIO, Protocol

from starlette.routing import BaseRoute


class Storage(Protocol):
    """Objects under keys that the server makes up; what is stored under one never changes.

    Nothing here blocks the event loop, and each call ends in bounded time. What the storage cannot do now raises
    StorageUnavailable.
    """

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """What the server itself must serve for the URLs to work."""

    async def start(self) -> None:
        """Raises StartError, in a sentence for whoever runs the server, where it cannot work."""

    async def stop(self) -> None: ...

    async def put(self, key: str, content: BinaryIO, *, size: int, content_type: str) -> None:
        """Store the whole of it, durably, or nothing that is ever served.

        It is read from its beginning, and not any more when this has returned or raised.
        """

    async def remove(self, key: str) -> None:
        """Also what an interrupted `put` left. What is not there is removed already."""

    async def url(self, key: str, *, name: str, content_type: str, seconds: int, inline: bool = False) -> str:
        """An address that anybody can read the object from, for so long.

        It is answered with this type and name, as an attachment unless `inline`, whatever the client asks for.
        """
