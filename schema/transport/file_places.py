"""Where in a request its files go: `operations` and `map` of the GraphQL multipart request specification.

https://github.com/jaydenseric/graphql-multipart-request-spec. Every mistake in them raises Refused.
"""

import re
from dataclasses import dataclass
from typing import Any

from app.storage import Incoming
from schema.transport.refusal import Refused
from schema.transport.request import SentRequest, check_request, read_json

OPERATIONS, MAP = "operations", "map"
MAX_FILES = 10
# What clients are shown of their own texts.
_SHOWN = 50
_INDEX = re.compile(r"0|[1-9][0-9]{0,3}")
_HOW_TO_MAP = (
    "'map' must be a JSON object with the name of each file's part and an array of the one path where the file goes, "
    'such as {"0": ["variables.file"]}.'
)


@dataclass(frozen=True, slots=True)
class _Place:
    holder: Any  # an object or array of the variables; it has null under `key`
    key: str | int


def read_operations(text: bytes) -> SentRequest:
    return check_request(read_json(text, f"'{OPERATIONS}'"), f"'{OPERATIONS}'")


class FilePlaces:
    """The places in one request's variables. Each takes one file, each file goes to one."""

    def __init__(self, request: SentRequest, map_: bytes) -> None:
        given = read_json(map_, f"'{MAP}'")
        if not isinstance(given, dict) or not all(isinstance(paths, list) for paths in given.values()):
            raise Refused(400, _HOW_TO_MAP)
        if len(given) > MAX_FILES:
            raise Refused(400, f"A request has at most {MAX_FILES} files. Send the others with another one.")
        self._places: dict[str, _Place] = {}
        taken: set[tuple[int, str | int]] = set()
        for name, paths in given.items():
            if name in {OPERATIONS, MAP} or len(paths) != 1 or not isinstance(paths[0], str):
                raise Refused(400, _HOW_TO_MAP)
            place = _find(request.variables, name, paths[0])
            where = id(place.holder), place.key
            if where in taken:
                raise Refused(400, f"'{MAP}' sends two files to '{paths[0][:_SHOWN]}'. A place takes one.")
            taken.add(where)
            self._places[name] = place

    def check(self, name: str) -> None:
        """Whether a file's part of this name may come now."""
        if name not in self._places:
            raise Refused(
                400,
                f"The part '{name[:_SHOWN]}' came twice, or has no entry in '{MAP}'. Apart from '{OPERATIONS}' and "
                f"'{MAP}' there is one part for each entry.",
            )

    def put(self, name: str, file: Incoming) -> None:
        place = self._places.pop(name)
        place.holder[place.key] = file

    def check_complete(self) -> None:
        if self._places:
            names = ", ".join(f"'{name[:_SHOWN]}'" for name in self._places)
            raise Refused(400, f"'{MAP}' has entries whose parts did not come: {names}.")


def _find(variables: dict[str, Any] | None, name: str, path: str) -> _Place:
    root, *steps = path.split(".")
    if root != "variables" or not steps:
        raise Refused(400, f"'{MAP}' sends the part '{name[:_SHOWN]}' to '{path[:_SHOWN]}', not into the variables.")
    place, value = None, variables
    for step in steps:
        place = _step(value, step)
        if place is None:
            break
        value = place.holder[place.key]
    if place is None or value is not None:
        raise Refused(
            400,
            f"'{MAP}' sends the part '{name[:_SHOWN]}' to '{path[:_SHOWN]}', but '{OPERATIONS}' has no null there. "
            "Put null where a file goes.",
        )
    return place


def _step(holder: Any, step: str) -> _Place | None:
    if isinstance(holder, dict) and step in holder:
        return _Place(holder, step)
    if isinstance(holder, list) and _INDEX.fullmatch(step) and int(step) < len(holder):
        return _Place(holder, int(step))
    return None
