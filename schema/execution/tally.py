"""How results came about: "plan", or why the reference executor had to answer. Subscriptions count each result."""

from collections import Counter

from schema.execution.leaves import Uncovered

answered: Counter[str] = Counter()


def reason(error: Exception) -> str:
    """A word or two; never with anything that a client sent."""
    return str(error) if isinstance(error, Uncovered) else type(error).__name__
