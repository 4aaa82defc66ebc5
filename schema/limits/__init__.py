"""What a document may ask for. Counted before anything runs, so that no document is expensive to refuse."""

from schema.limits.cost import check_cost
from schema.limits.prices import MAX_COST
from schema.limits.shape import MAX_LENGTH, MAX_TOKENS, check_shape

__all__ = ["MAX_COST", "MAX_LENGTH", "MAX_TOKENS", "check_cost", "check_shape"]
