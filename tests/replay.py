"""The event log read back: its events, applied in order to nothing, must tell what the tables hold."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import select, text

from app.db import Database
from app.models import StreamEvent, StreamHead

MEMBERS = """
SELECT concat('c', channel_id), user_id, coalesce(role, 'MEMBER')
FROM memberships LEFT JOIN channel_roles USING (channel_id, user_id)
"""
MESSAGES = """
SELECT concat('c', channel_id), messages.seq, messages.id, messages.deleted_at IS NOT NULL
FROM messages JOIN channels ON channels.id = channel_id WHERE channels.deleted_at IS NULL
"""
REACTIONS = """
SELECT message_id, reaction_id, user_id FROM message_reactions JOIN messages ON messages.id = message_id
JOIN channels ON channels.id = channel_id WHERE channels.deleted_at IS NULL
"""
CHANNELS = "SELECT concat('c', id), owner_id, is_private, archived_at IS NOT NULL, deleted_at IS NOT NULL FROM channels"


@dataclass
class Told:
    """What the events of one stream say."""

    members: dict[int, str] = field(default_factory=dict)
    messages: dict[int, int] = field(default_factory=dict)  # by sequence number
    deleted: set[int] = field(default_factory=set)
    reactions: set[tuple[int, int, int]] = field(default_factory=set)
    is_archived: bool = False
    is_deleted: bool = False

    def apply(self, event: StreamEvent) -> None:
        payload = event.payload
        match event.type:
            case "MEMBER_JOINED":
                # In a user's own stream it is the channel that they joined.
                key = payload.get("channel", payload["user"])
                assert key not in self.members, event
                self.members[key] = payload["role"]
            case "MEMBER_LEFT":
                left = self.members.pop(payload.get("channel", payload["user"]))
                assert "channel" in payload or left == payload["previous_role"], event
            case "MEMBER_ROLE_CHANGED":
                assert self.members[payload["user"]] == payload["previous_role"] != payload["role"], event
                self.members[payload["user"]] = payload["role"]
            case "MESSAGE_CREATED":
                self.messages[event.seq] = payload["message"]
            case "MESSAGE_DELETED":
                assert payload["message"] not in self.deleted, event
                self.deleted.add(payload["message"])
                self.reactions = {reaction for reaction in self.reactions if reaction[0] != payload["message"]}
            case "REACTION_ADDED" | "REACTION_REMOVED":
                reaction = payload["message"], payload["reaction"], payload["user"]
                assert payload["message"] not in self.deleted, event
                assert (reaction in self.reactions) == (event.type == "REACTION_REMOVED"), event
                self.reactions ^= {reaction}
            case "CHANNEL_ARCHIVED" | "CHANNEL_UNARCHIVED":
                assert self.is_archived == (event.type == "CHANNEL_UNARCHIVED"), event
                self.is_archived = not self.is_archived
            case "CHANNEL_DELETED":
                assert not self.is_deleted, event
                self.is_deleted = True
                # What is in it goes sometime later, without further events.
                self.messages, self.reactions = {}, set()


async def stream(database: Database, stream_id: str) -> Sequence[StreamEvent]:
    """All events of a stream, in order."""
    async with database.read() as reader:
        statement = select(StreamEvent).where(StreamEvent.stream_id == stream_id)
        return await reader.rows(statement.order_by(StreamEvent.seq))


async def check_log(database: Database) -> None:
    """Numbers without gaps up to each head, and the same members, messages and reactions as in the tables."""
    async with database.read() as reader:
        heads = await reader.tuples(select(StreamHead.stream_id, StreamHead.head_seq))
        events = await reader.rows(select(StreamEvent).order_by(StreamEvent.stream_id, StreamEvent.seq))
        members = await reader.tuples(text(MEMBERS).columns())
        channels = await reader.tuples(text(CHANNELS).columns())
        messages = await reader.tuples(text(MESSAGES).columns())
        reactions = await reader.tuples(text(REACTIONS).columns())
    told: dict[str, Told] = defaultdict(Told)
    numbers: dict[str, list[int]] = defaultdict(list)
    for event in events:
        numbers[event.stream_id].append(event.seq)
        told[event.stream_id].apply(event)
    assert {stream_id: list(range(1, head + 1)) for stream_id, head in heads if head} == numbers
    in_channels = {stream_id: found for stream_id, found in told.items() if stream_id[0] == "c"}
    in_users = {stream_id: found for stream_id, found in told.items() if stream_id[0] == "u"}
    assert {(stream_id, *member) for stream_id, found in in_channels.items() for member in found.members.items()} == {
        (stream_id, user, role) for stream_id, user, role in members
    }
    assert {(f"c{channel}", stream_id) for stream_id, found in in_users.items() for channel in found.members} == {
        (stream_id, f"u{user}") for stream_id, user, _ in members
    }
    assert {
        (stream_id, seq, message, message in found.deleted)
        for stream_id, found in in_channels.items()
        for seq, message in found.messages.items()
    } == {tuple(row) for row in messages}
    assert set().union(*(found.reactions for found in in_channels.values())) == {tuple(row) for row in reactions}
    assert {(stream_id, found.is_archived, found.is_deleted) for stream_id, found in in_channels.items()} == {
        (stream_id, is_archived, is_deleted) for stream_id, _, _, is_archived, is_deleted in channels
    }
    owners = {(stream_id, user) for stream_id, user, role in members if role == "OWNER"}
    assert owners == {(stream_id, owner) for stream_id, owner, *_ in channels if owner is not None}
