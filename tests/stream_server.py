"""Event streams behind a real server on a real database, with a toy schema and subscriptions that tests drive."""

import asyncio
from pathlib import Path
from typing import Any

from schema.execution.sink import Sink
from schema.transport.http import GraphQLEndpoint
from schema.transport.http_subscription import HttpSubscriptions
from schema.transport.request import GraphQLRequest
from schema.transport.sessions import Session
from tests.socket_server import SocketServer, Toy


class StreamServer(SocketServer):
    """The server that sockets are tested with; `requests` are those of its toys, begun or waiting for `may_start`."""

    def __init__(
        self,
        data_dir: Path,
        url: str,
        *,
        keep_alive_seconds: float = 12,
        notice_seconds: float = 60,
        **options: Any,
    ) -> None:
        super().__init__(data_dir, url, notice_seconds=notice_seconds, **options)
        self.requests: list[GraphQLRequest] = []
        self.may_start = True
        subscriptions = HttpSubscriptions(
            self._subscribe, keep_alive_seconds=keep_alive_seconds, notice_seconds=notice_seconds
        )
        endpoint = GraphQLEndpoint(self._schema, subscriptions=subscriptions)
        self.app.shortest = endpoint

    async def _subscribe(self, request: GraphQLRequest, session: Session, sink: Sink) -> Toy:
        self.requests.append(request)
        while not self.may_start:  # noqa: ASYNC110 - set from another thread
            await asyncio.sleep(0.01)
        return await super()._subscribe(request, session, sink)
