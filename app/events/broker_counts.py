"""What the broker counts."""

from dataclasses import dataclass


@dataclass(slots=True)
class BrokerCounts:
    """Since the start of the process. Each message published ends in one of the first three, or still waits."""

    published: int = 0  # taken by Redis, or by the memory
    failed: int = 0  # tried, and not confirmed in time: it may have arrived all the same
    dropped: int = 0  # not even tried: Redis is away, or too many wait
    received: int = 0  # handed to the listeners, this process's own ones too
    malformed: int = 0  # heard on our channels, and no message of ours
    reconnects: int = 0  # Redis is there after it was not
