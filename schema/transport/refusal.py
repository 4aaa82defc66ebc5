"""What is wrong with a request before GraphQL looks at it."""

from collections.abc import Mapping

from schema.errors import TopLevelCode


class Refused(Exception):
    """The request ends with this status. `message` says what is wrong and what to do instead."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: TopLevelCode = TopLevelCode.BAD_REQUEST,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
