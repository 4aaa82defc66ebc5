"""Somebody who catches up with what has happened, page by page."""

from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Any

from app.db import Position
from app.events import cursor
from tests.conftest import Person

EVENT = """fragment event on Event {
    __typename id type stream cursor at channelId actor { name }
    ... on MessageEvent { message { content id deletedAt author { name } } }
    ... on ReactionEvent { message { content id } reaction { code } user { name } }
    ... on ChannelEvent { channel { name } changedFields }
    ... on ChannelPrivacyEvent { channel { name } wasPrivate isPrivate }
    ... on MemberEvent { channel { name } user { name } role previousRole }
    ... on FileEvent { file { name } fileId expiresAt }
    ... on UserEvent { user { name } }
    ... on CatalogueEvent { reaction { code } }
}"""
SINCE = f"""query ($after: [EventCursor!]!, $first: Int = 500) {{ eventsSince(after: $after, first: $first) {{
    cursor hasMore resyncRequired events {{ ...event }}
}} }} {EVENT}"""
COMMON = {"__typename", "id", "type", "stream", "cursor", "at", "channelId", "actor"}


@dataclass(slots=True)
class Follower:
    """Where somebody is: `after` is what they give next."""

    person: Person
    after: list[str]

    async def page(self, first: int = 500) -> dict[str, Any]:
        page: dict[str, Any] = await self.person.ask(SINCE, after=self.after, first=first)
        self.after = [page["cursor"]]
        return page

    async def events(self) -> list[dict[str, Any]]:
        """All of them, which must fit one page."""
        page = await self.page()
        assert (page["hasMore"], page["resyncRequired"]) == (False, False)
        events: list[dict[str, Any]] = page["events"]
        return events

    async def types(self) -> list[tuple[str, str]]:
        """Stream and type of each."""
        return [(stream(event), event["type"]) for event in await self.events()]


async def following(person: Person) -> Follower:
    """From now on, everything that they follow."""
    return Follower(person, [(await person.ask("{ viewer { cursor } }"))["cursor"]])


def at(**seqs: int) -> str:
    """The cursor of these positions in the first epoch."""
    return cursor.encode({stream: Position(1, seq) for stream, seq in seqs.items()})


def positions(text: str) -> dict[str, int]:
    return {stream: position.seq for stream, position in cursor.decode(text).items()}


def stream(event: dict[str, Any]) -> str:
    """The name that the server itself uses."""
    return urlsafe_b64decode(event["stream"] + "==").decode().removeprefix("Stream:")


def named(value: Any) -> Any:
    """An object by the field that was asked for first."""
    return next(iter(value.values())) if isinstance(value, dict) else value


def brief(event: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Type, actor, and what only this type has."""
    own = {name: named(value) for name, value in event.items() if name not in COMMON}
    return event["type"], event["actor"]["name"], own
