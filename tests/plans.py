"""What PostgreSQL really does for a statement: its plan, executed, and how much that read."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

SCANS = frozenset({"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan"})
LOOKED_AT = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")


@dataclass(frozen=True, slots=True)
class Sent:
    """A statement as it went to the driver, with `$1` for the first parameter."""

    sql: str
    parameters: Sequence[Any]

    @property
    def values(self) -> int:
        """How many values it carries, those inside arrays too."""
        return sum(len(value) if isinstance(value, list) else 1 for value in self.parameters)


@dataclass(frozen=True, slots=True)
class Plan:
    """An executed plan."""

    sent: Sent
    mode: str
    root: dict[str, Any] = field(repr=False)

    def nodes(self) -> Iterator[dict[str, Any]]:
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.get("Plans", [])

    @property
    def rows(self) -> int:
        return int(self.root["Actual Rows"])

    @property
    def rows_read(self) -> int:
        """How many rows of tables were looked at, kept or not."""
        scans = (node for node in self.nodes() if node["Node Type"] in SCANS)
        return int(sum(sum(node.get(name, 0) for name in LOOKED_AT) * node["Actual Loops"] for node in scans))

    @property
    def pages(self) -> int:
        """How many pages of 8 KB were looked at, tables' and indexes'."""
        return int(self.root["Shared Hit Blocks"] + self.root["Shared Read Blocks"])

    @property
    def full_scans(self) -> set[str]:
        """Tables that were read from one end to the other."""
        return {node["Relation Name"] for node in self.nodes() if node["Node Type"] == "Seq Scan"}

    def __str__(self) -> str:
        lines = [f"{self.rows} rows out of {self.rows_read}, {self.pages} pages ({self.mode}): {self.sent.sql}"]
        for node in self.nodes():
            place = " ".join(str(node[key]) for key in ("Relation Name", "Index Name") if key in node)
            removed = node.get("Rows Removed by Filter", 0)
            counts = f"{node['Actual Rows']} rows, {removed} removed, {node['Actual Loops']} times"
            lines.append(f"  {node['Node Type']} {place}: {counts}")
        return "\n".join(lines)


recorder: ContextVar[list[Sent] | None] = ContextVar("recorder", default=None)


@contextmanager
def recorded(engine: AsyncEngine) -> Iterator[list[Sent]]:
    """The statements that the tasks begun inside the block send, and not those of the server's own housekeeping."""
    sent: list[Sent] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if recorder.get() is sent:
            sent.append(Sent(statement, tuple(parameters)))

    token = recorder.set(sent)
    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)
        recorder.reset(token)


async def explain(connection: AsyncConnection, sent: Sequence[Sent]) -> list[Plan]:
    """Run the statements once more, in the connection's transaction.

    Each is planned as the connection is set to. If that leaves PostgreSQL the choice it may, from the sixth run on,
    keep one plan for all values, so then both plans are shown: with the values known, and without.
    """
    plans = []
    for statement in sent:
        if "set_config" in statement.sql:
            await connection.exec_driver_sql(statement.sql, tuple(statement.parameters))
            continue
        mode: str = (await connection.exec_driver_sql("SHOW plan_cache_mode")).scalar_one()
        modes = [mode] if mode != "auto" else ["force_custom_plan", "force_generic_plan"]
        plans += [await explain_in(connection, statement, each) for each in modes]
        await connection.exec_driver_sql(f"SET LOCAL plan_cache_mode = {mode}")
    return plans


async def explain_in(connection: AsyncConnection, sent: Sent, mode: str) -> Plan:
    await connection.exec_driver_sql(f"SET LOCAL plan_cache_mode = {mode}")
    await connection.exec_driver_sql(f"PREPARE explained AS {sent.sql}")
    values = f"({', '.join(map(literal, sent.parameters))})" if sent.parameters else ""
    found = (await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE explained{values}")).scalar_one()
    await connection.exec_driver_sql("DEALLOCATE explained")
    return Plan(sent, mode, (json.loads(found) if isinstance(found, str) else found)[0]["Plan"])


def literal(value: Any) -> str:
    """A value as SQL text; its type follows from where it stands."""
    if value is None:
        return "NULL"
    if isinstance(value, list):
        quoted = ('"{}"'.format(str(part).replace("\\", "\\\\").replace('"', '\\"')) for part in value)
        value = "{" + ",".join(quoted) + "}"
    if isinstance(value, datetime):
        value = value.isoformat()
    return "'" + str(value).replace("'", "''") + "'"
