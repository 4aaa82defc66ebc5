"""From a result to bytes."""

from collections.abc import Sequence
from typing import Any

import orjson
from graphql import GraphQLError

from schema.errors import settle_exception


def encode_result(data: Any, errors: Sequence[GraphQLError] | None) -> bytes:
    """One ExecutionResult as JSON. The errors are settled; a value that is no JSON becomes one."""
    errors = errors or []
    # An error that belongs to no field was found before execution: then there is no `data` entry, not even null.
    executed = data is not None or not errors or any(error.path is not None for error in errors)
    payload: dict[str, Any] = {"data": data} if executed else {}
    if errors:
        payload["errors"] = [error.formatted for error in errors]
    try:
        return orjson.dumps(payload)
    except orjson.JSONEncodeError as error:
        return encode_result(None, [settle_exception(error)])
