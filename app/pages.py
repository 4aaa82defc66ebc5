"""Key-set pages: a page starts after a row, not after a number of rows, so it stays in place while others insert."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import BigInteger, Select, SQLColumnExpression, bindparam, func, select, true, tuple_
from sqlalchemy.dialects.postgresql import ARRAY
from typing_extensions import TypeVarTuple

from app.db import Statements

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 100

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """`size` rows of a list, strictly between `after` and `before`, counted from the front or `from_end`."""

    size: int = DEFAULT_PAGE_SIZE
    after: Key | None = None
    before: Key | None = None
    from_end: bool = False


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """One page of rows in list order, with the key of each."""

    rows: Sequence[T]
    keys: Sequence[Key]
    has_next: bool
    has_previous: bool


def window(statement: Select[*Ts], order: Sequence[SQLColumnExpression[Any]], page: Page) -> Select[*Ts]:
    """The statement cut to the page, and one row more, which tells whether the list goes on."""
    key = tuple_(*order)
    if page.after is not None:
        statement = statement.where(key > tuple_(*page.after))
    if page.before is not None:
        statement = statement.where(key < tuple_(*page.before))
    directed = [column.desc() for column in order] if page.from_end else list(order)
    return statement.order_by(*directed).limit(page.size + 1)


def cut(rows: Sequence[T], keys: Sequence[Key], page: Page) -> Slice[T]:
    """The slice of what `window` selected (in the order in which it came)."""
    more = len(rows) > page.size
    rows, keys = rows[: page.size], keys[: page.size]
    if page.from_end:
        return Slice(rows[::-1], keys[::-1], has_next=page.before is not None, has_previous=more)
    return Slice(rows, keys, has_next=more, has_previous=page.after is not None)


async def slices(
    session: Statements,
    parents: Mapping[str, Sequence[int]],
    build: Callable[[Any], Select[*tuple[Any, ...]]],
    page: Page,
    *,
    key: Callable[[Any], Key],
) -> dict[int, Slice[Any]]:
    """One page of a list for each of many parents, by one statement.

    `parents` are the columns of the parents, `id` first; `build` makes the page's statement for one of them.
    PostgreSQL runs it per parent (LATERAL), so each page stops after its own rows.
    """
    # A parent may stand in several places of the answer; its page is fetched once.
    distinct = {row[0]: row for row in zip(*parents.values(), strict=True)}.values()
    arrays = [
        bindparam(f"parent_{name}", value=[row[place] for row in distinct], type_=ARRAY(BigInteger))
        for place, name in enumerate(parents)
    ]
    parent = func.unnest(*arrays).table_valued(*parents, name="parent").render_derived()
    listed = build(parent.c).lateral("listed")
    grouped: dict[int, list[Any]] = defaultdict(list)
    for row in await session.tuples(select(parent.c.id.label("parent_key"), listed).join(listed, true())):
        grouped[row.parent_key].append(row)
    found = {}
    for parent_id in parents["id"]:
        rows = sorted(grouped[parent_id], key=key, reverse=page.from_end)
        found[parent_id] = cut(rows, [key(row) for row in rows], page)
    return found
