"""How long what is not stored lasts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """In seconds. Tests, which cannot wait that long, have others."""

    # Somebody types, unless that is renewed. Renewals that come sooner than `renewal` are not told.
    typing: float = 6.0
    renewal: float = 2.0
    # Somebody without a connection stays as they were. graphql-ws, the reference client, comes back after 1.3 to 4 s.
    absence: float = 5.0
    # Processes say that they are there, and, less often, all who are connected to them.
    beat: float = 2.0
    summary: float = 10.0
    # A process that says nothing: after so long nobody is connected to it any more, ...
    silence: float = 30.0
    # ... unless it is the broker that is away; then after so long.
    outage: float = 300.0
    # `User.lastSeenAt` of who is connected is written this often.
    seen: float = 60.0
    tick: float = 0.5
