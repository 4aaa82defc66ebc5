"""Connections after the Relay cursor specification, with a `nodes` shortcut.

Cursors are keys of rows, never offsets.
"""

from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import orjson
import strawberry

from app.errors import BadRequest, CursorInvalid
from app.pages import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Key, Page, Slice

T = TypeVar("T")

NUMBER = (int,)
URL_SAFE = str.maketrans("+/", "-_")

First = Annotated[
    int | None,
    strawberry.argument(
        description=f"How many, from the front: 0 to {MAX_PAGE_SIZE}. Without it, {DEFAULT_PAGE_SIZE}."
    ),
]
After = Annotated[str | None, strawberry.argument(description="Only what follows the item with this cursor.")]
Last = Annotated[int | None, strawberry.argument(description=f"How many, from the end: 0 to {MAX_PAGE_SIZE}.")]
Before = Annotated[str | None, strawberry.argument(description="Only what precedes the item with this cursor.")]


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    """Relay's PageInfo."""

    has_next_page: bool = strawberry.field(description="Whether more items follow this page.")
    has_previous_page: bool = strawberry.field(description="Whether items precede this page.")
    start_cursor: str | None = strawberry.field(description="The cursor of the page's first item.")
    end_cursor: str | None = strawberry.field(description="The cursor of the page's last item.")


@strawberry.type(description="An item in a list, with its place.")
class Edge(Generic[T]):
    """Relay's edge."""

    cursor: str = strawberry.field(description="The item's place, for `after` and `before`.")
    node: T = strawberry.field(description="The item.")


@strawberry.type(description="A page of a list.")
class Connection(Generic[T]):
    """Relay's connection."""

    edges: list[Edge[T]] = strawberry.field(description="The items with their cursors.")
    nodes: list[T] = strawberry.field(description="The items alone.")
    page_info: PageInfo = strawberry.field(description="Where the page stands in the list.")


class PageArguments(NamedTuple):
    """A page counted from the front."""

    first: First = None
    after: After = None


@dataclass(frozen=True, slots=True)
class KeyList:
    """A kind of list: its name, which its cursors carry, and the types of its keys."""

    name: str
    types: tuple[type[Any], ...]

    def cursor(self, key: Key) -> str:
        if self.types == NUMBER:
            return b2a_base64(b'["%b",%d]' % (self.name.encode(), *key), newline=False).decode().rstrip("=")
        text = b2a_base64(orjson.dumps([self.name, *key]), newline=False).decode().rstrip("=")
        # In the URL-safe alphabet, which names may need, and numbers never do.
        return text.translate(URL_SAFE) if "+" in text or "/" in text else text

    def key(self, cursor: str, argument: str) -> Key:
        try:
            name, *parts = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            if name == self.name:
                return tuple(read_part(part, wanted) for part, wanted in zip(parts, self.types, strict=True))
        except (ValueError, TypeError, OverflowError) as error:
            raise CursorInvalid(argument) from error
        raise CursorInvalid(argument)

    def page(
        self,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        *,
        newest_first: bool = False,
    ) -> Page:
        """The page that these arguments mean.

        With `newest_first`, none of `first`, `last` and `after` means the last page.
        """
        if first is not None and last is not None:
            raise BadRequest("Give 'first' or 'last', not both.")
        for name, size in (("first", first), ("last", last)):
            if size is not None and not 0 <= size <= MAX_PAGE_SIZE:
                raise BadRequest(f"'{name}' must be from 0 to {MAX_PAGE_SIZE}. Get more with the next page.")
        from_end = last is not None or (first is None and newest_first and after is None)
        size = next((given for given in (first, last) if given is not None), DEFAULT_PAGE_SIZE)
        return Page(
            size=size,
            after=self.key(after, "after") if after is not None else None,
            before=self.key(before, "before") if before is not None else None,
            from_end=from_end,
        )

    def connection(self, found: Slice[Any] | None) -> Any:
        """What stands behind a `Connection` of these rows; without a slice, an empty one."""
        return ConnectionValue(self, found or Slice((), (), has_next=False, has_previous=False))


def read_part(part: Any, wanted: type[Any]) -> Any:
    if wanted is datetime:
        moment = datetime.fromisoformat(part)
        if moment.tzinfo is None:
            raise ValueError(part)
        return moment.astimezone(UTC)  # overflows at the ends of time, which PostgreSQL could not take either
    if type(part) is not wanted or (wanted is int and not 0 <= part < 2**63) or (wanted is str and "\0" in part):
        raise ValueError(part)
    return part


class EdgeValue(NamedTuple):
    """What is behind an `Edge`."""

    cursor: str
    node: Any


class ConnectionValue:
    """What is behind a `Connection`: the slice, and edges and cursors only for whoever asks for them."""

    __slots__ = ("_list", "_slice")

    def __init__(self, key_list: KeyList, found: Slice[Any]) -> None:
        self._list = key_list
        self._slice = found

    @property
    def nodes(self) -> Sequence[Any]:
        return self._slice.rows

    @property
    def edges(self) -> list["EdgeValue"]:
        cursors = map(self._list.cursor, self._slice.keys)
        return list(map(EdgeValue._make, zip(cursors, self._slice.rows, strict=True)))

    @property
    def page_info(self) -> PageInfo:
        keys = self._slice.keys
        return PageInfo(
            has_next_page=self._slice.has_next,
            has_previous_page=self._slice.has_previous,
            start_cursor=self._list.cursor(keys[0]) if keys else None,
            end_cursor=self._list.cursor(keys[-1]) if keys else None,
        )
