"""Valid documents over the whole schema, thought of by Hypothesis: see tests/writer.py."""

from hypothesis import strategies as st

from tests.given_values import Pools, Values
from tests.writer import CORE, DEPTH, Writer, Written, everything_allowed, requested


@st.composite
def queries(draw: st.DrawFn, pools: Pools) -> Written:
    values = Values(draw, pools)
    writer = Writer(values, everything_allowed)
    name = "One" if values.chance(30) else ""
    text = writer.query(name, values.one((2, 3, 4, DEPTH, DEPTH, 1, 0)))
    if not values.chance(7):
        return requested(text, writer, operation_name=name or None)
    other = Writer(values, everything_allowed, prefix="other")
    second = other.query("Other", 2)
    # Without a name on either side nobody knows which one is meant.
    text = f"{text} {second}" if name else second
    chosen = values.one(("Other", "One" if name else "Other")) if values.chance(90) else None
    return requested(text, writer if name else other, other, operation_name=chosen)


@st.composite
def subscriptions(draw: st.DrawFn, pools: Pools, root: str | None = None) -> Written:
    """Of one of the root fields, or of this one."""
    values = Values(draw, pools)
    assert CORE.subscription_type is not None
    writer = Writer(values, everything_allowed)
    return requested(writer.subscription(root or values.one(CORE.subscription_type.fields), DEPTH - 1), writer)


@st.composite
def selections(draw: st.DrawFn, pools: Pools, typename: str) -> tuple[str, Writer]:
    """What can be selected from this type, and the writer who knows its variables and fragments."""
    writer = Writer(Values(draw, pools), everything_allowed)
    return writer.selection(CORE.type_map[typename], DEPTH - 1), writer
