"""Values for arguments: drawn from pools by the argument's name and type, so that new fields find theirs."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    get_named_type,
    is_list_type,
    is_non_null_type,
    is_required_input_field,
)
from hypothesis import strategies as st

from tests.documents import global_id

# Of which type the ids of an argument are. Any other id is of anything.
ID_TYPES = {
    "userId": "User",
    "userIds": "User",
    "memberIds": "User",
    "channelId": "Channel",
    "messageId": "Message",
    "parentId": "Message",
    "around": "Message",
    "reactionId": "Reaction",
    "fileId": "File",
    "fileIds": "File",
}
IDS_OF_NOTHING = [*(global_id(f"{name}:999999") for name in ("User", "Channel", "Message")), "", "nonsense", "\0é"]
SIZES = [0, 1, 1, 2, 2, 2, 3, 3, 5, 10, 20]
IMPOSSIBLE_SIZES = [-1, 101, 501, 2**31 - 1]
BAD_CURSORS = ["", "nonsense", "\0", "W10"]
TEXTS = ["", "a", "e", "hall", "%", "_", "é 🦓", 'q"\\\n', "zebra", "heart"]


@dataclass
class Pools:
    """What there is, whoever may see it."""

    ids: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # by type
    places: dict[str, list[str]] = field(
        default_factory=lambda: defaultdict(list)
    )  # cursors, by the connection's field
    cursors: list[str] = field(default_factory=list)  # of events
    codes: list[str] = field(default_factory=list)  # join codes

    def learn(self, value: Any, name: str = "") -> None:
        """Take what the fields `__typename`, `id`, `cursor` and `joinCode` of a part of an answer say."""
        if isinstance(value, list):
            for each in value:
                self.learn(each, name)
        if not isinstance(value, dict):
            return
        cursor = value.get("cursor")
        if cursor is not None:
            kept = self.places[name] if "node" in value else self.cursors
            kept.append(cursor)
        if "id" in value and "__typename" in value and value["id"] not in self.ids[value["__typename"]]:
            self.ids[value["__typename"]].append(value["id"])
        if value.get("joinCode"):
            self.codes.append(value["joinCode"])
        for key, inner in value.items():
            self.learn(inner, name if key in {"edges", "nodes", "pageInfo", "node"} else key)


@cache
def one_of(values: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


@dataclass(frozen=True)
class Values:
    """Draws values of input types."""

    draw: Callable[[st.SearchStrategy[Any]], Any]
    pools: Pools

    def one(self, values: Any) -> Any:
        return self.draw(one_of(tuple(values)))

    def chance(self, percent: int) -> bool:
        """False is the simpler one."""
        return bool(self.draw(one_of(tuple(range(100)))) >= 100 - percent)

    def of(self, type_: Any, name: str, holder: str) -> Any:
        """A value as in variables, for the argument or input field `name` of the field `holder`."""
        if is_non_null_type(type_):
            return self._present(type_.of_type, name, holder)
        return None if self.chance(8) else self._present(type_, name, holder)

    def _present(self, type_: Any, name: str, holder: str) -> Any:
        if is_list_type(type_):
            return [self.of(type_.of_type, name, holder) for _ in range(self.one((1, 2, 3, 4, 0)))]
        if isinstance(type_, GraphQLEnumType):
            return self.one(type_.values)
        if isinstance(type_, GraphQLInputObjectType):
            return {
                key: self.of(inner.type, key, holder)
                for key, inner in type_.fields.items()
                # No value in JSON is a file.
                if is_required_input_field(inner) or (get_named_type(inner.type).name != "Upload" and self.chance(50))
            }
        kinds: dict[str, Callable[[], Any]] = {
            "Boolean": lambda: self.one((False, True)),
            "Int": lambda: self.one(IMPOSSIBLE_SIZES if self.chance(2) else SIZES),
            "ID": lambda: self._id(name, holder),
            "EventCursor": lambda: self.one(BAD_CURSORS if self.chance(5) else self.pools.cursors),
            "DateTime": lambda: "2026-11-23T15:04:05Z",
            "URL": lambda: "https://x.example/image.png",
            "String": lambda: self._text(name, holder),
        }
        return kinds[type_.name]()

    def _id(self, name: str, holder: str) -> str:
        ids = self.pools.ids
        typename = ID_TYPES.get(name, holder.capitalize())
        if typename in ids and not self.chance(12):
            return str(self.one(ids[typename]))
        if self.chance(30):
            return str(self.one(IDS_OF_NOTHING))
        return str(self.one([each for some in ids.values() for each in some]))

    def _text(self, name: str, holder: str) -> str:
        if name in {"after", "before"}:
            places = self.pools.places
            if holder in places and not self.chance(8):
                return str(self.one(places[holder]))
            return str(self.one([*BAD_CURSORS, *(some[0] for some in places.values() if some)]))
        if name == "joinCode" and not self.chance(40):
            return str(self.one(self.pools.codes))
        return str(self.one(TEXTS))


def literal(value: Any, type_: Any) -> str:
    """The value as it is written in a document."""
    if value is None:
        return "null"
    if isinstance(value, list):
        inner = (type_.of_type if is_non_null_type(type_) else type_).of_type
        return f"[{', '.join(literal(each, inner) for each in value)}]"
    named = get_named_type(type_)
    if isinstance(named, GraphQLEnumType):
        return str(value)
    if isinstance(value, dict):
        assert isinstance(named, GraphQLInputObjectType)
        return f"{{{', '.join(f'{key}: {literal(each, named.fields[key].type)}' for key, each in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)
