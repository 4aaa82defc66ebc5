"""What benchmarks/execution asks.

The variables of a case are several sets, which take turns. Their ids are made by the caller's function, since each
server has its own form of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from app.db import Position
from app.events.cursor import encode as cursor_of

Ids: TypeAlias = Callable[[str, int], str]  # of a type and a number
Variables: TypeAlias = list[dict[str, Any]]

PARLEY = ("compiled", "reference")
PYTHON = (*PARLEY, "plain")
PEERS = ("mercurius", "yoga", "apollo")
CHANNELS = 100
SMALL, LARGE = 50, 100
KEPT_EVENTS = 200  # of each channel

FRAGMENTS = {
    "event": "fragment event on Event { id type stream cursor at channelId actor { ...person } "
    "... on MessageEvent { message { id content createdAt } } }",
    "channel": "fragment channel on Channel { id name description isPrivate isDm createdAt archivedAt memberCount "
    "owner { ...person } }",
    "message": "fragment message on Message { id content createdAt updatedAt parent { id } author { ...person } "
    "reactions { reaction { code } count viewerHasReacted } }",
    "person": "fragment person on User { id name picture }",
}


class Case(NamedTuple):
    """`rows` is how long the longest list of an answer is: without it the answer is not the one that was meant.

    `complete` makes a document of `operation`.
    """

    name: str
    title: str
    operation: str
    variables: Callable[[Ids, int], Variables]  # given the number of messages too
    rows: int
    servers: tuple[str, ...] = PARLEY


def complete(operation: str) -> str:
    """With the fragments that it uses, and those that they use."""
    document = operation
    for name, fragment in FRAGMENTS.items():
        if f"...{name} " in document:
            document += f" {fragment}"
    return document


def channels_by_turns(size: int) -> Callable[[Ids, int], Variables]:
    return lambda ids, _: [{"c": ids("Channel", number), "n": size} for number in range(1, CHANNELS + 1)]


def only(size: int = LARGE) -> Callable[[Ids, int], Variables]:
    return lambda _, __: [{"n": size}]


def of(typename: str, number: int, size: int = LARGE) -> Callable[[Ids, int], Variables]:
    return lambda ids, _: [{"c": ids(typename, number), "n": size}]


def events(_: Ids, messages: int) -> Variables:
    before = Position(1, messages // CHANNELS - KEPT_EVENTS)
    return [{"c": cursor_of({f"c{number}": before}), "n": LARGE} for number in range(1, CHANNELS + 1)]


def texts(ids: Ids, _: int) -> Variables:
    text = "A new message with some realistic amount of text in it, maybe some ninety characters in all"
    return [{"c": ids("Channel", number), "text": text, "key": None} for number in range(1, CHANNELS + 1)]


def page(name: str, what: str, operation: str, variables: Callable[[Ids, int], Variables]) -> Case:
    return Case(f"page-{name}", f"{LARGE} {what}", operation, variables, LARGE)


CASES = (
    Case(
        "timeline",
        "timeline: 50 messages with authors and reactions",
        "query ($c: ID!, $n: Int!) { channel(id: $c) { messages(last: $n) { edges { cursor node { ...message } } } } }",
        channels_by_turns(SMALL),
        SMALL,
        (*PYTHON, *PEERS),
    ),
    Case(
        "channels",
        "50 channels with 20 members each and their roles",
        "query ($n: Int!) { channels(first: $n) { nodes { id name description isPrivate createdAt "
        "members(first: 20) { nodes { role joinedAt user { ...person } } } } } }",
        only(SMALL),
        SMALL,
        PYTHON,
    ),
    Case(
        "chain",
        "message with a reply chain of 100 and the authors",
        "query ($c: ID!, $n: Int!) { message(id: $c) { id content author { ...person } replyChain(first: $n) "
        "{ edges { cursor node { id content createdAt author { ...person } } } } } }",
        of("Message", 1),
        LARGE,
        PYTHON,
    ),
    Case(
        "send",
        "sendMessage with its event",
        "mutation ($c: ID!, $text: String!, $key: String) { sendMessage(input: {channelId: $c, content: $text, "
        "clientKey: $key}) { message { id seq content createdAt author { ...person } } errors { code } } }",
        texts,
        0,
        PYTHON,
    ),
    Case("least", "the viewer's id: what any request costs", "{ viewer { user { id } } }", lambda _, __: [{}], 0),
    page(
        "messages",
        "messages of a channel with all of a timeline",
        "query ($c: ID!, $n: Int!) "
        "{ channel(id: $c) { messages(last: $n) { edges { cursor node { ...message replyCount } } } } }",
        channels_by_turns(LARGE),
    ),
    page(
        "channels",
        "channels with their owners",
        "query ($n: Int!) { channels(first: $n) { edges { cursor node { ...channel } } } }",
        only(),
    ),
    page(
        "own-channels",
        "of the viewer's channels with their owners",
        "query ($n: Int!) { viewer { channels(first: $n) { edges { cursor node { ...channel cursor } } } } }",
        only(),
    ),
    page(
        "members",
        "members of a channel",
        "query ($c: ID!, $n: Int!) { channel(id: $c) { members(first: $n) "
        "{ edges { cursor node { id role joinedAt user { ...person } } } } } }",
        channels_by_turns(LARGE),
    ),
    page(
        "files",
        "files of a channel with their uploaders",
        "query ($c: ID!, $n: Int!) { channel(id: $c) { files(first: $n) { edges { cursor node "
        "{ id name contentType size width height createdAt uploader { ...person } } } } } }",
        of("Channel", 1),
    ),
    page(
        "users",
        "users",
        "query ($n: Int!) { users(first: $n) { edges { cursor node { ...person email bio isActive createdAt } } } }",
        only(),
    ),
    page(
        "reactions",
        "entries of the catalogue",
        "query ($n: Int!) { reactions(first: $n) { edges { cursor node { id code kind imageUrl } } } }",
        only(),
    ),
    page(
        "reacting",
        "people who reacted to a message",
        "query ($c: ID!, $n: Int!) { message(id: $c) { reactions { count users(first: $n) "
        "{ edges { cursor node { ...person } } } } } }",
        of("Message", 5),
    ),
    page(
        "events",
        "events of a channel with their messages",
        "query ($c: EventCursor!, $n: Int!) "
        "{ eventsSince(after: [$c], first: $n) { cursor hasMore events { ...event } } }",
        events,
    ),
)

# Measured with sockets, so not by a document and its variables: see execution_events.py.
SUBSCRIBERS = 500
EVENTS = "event"
SUBSCRIPTION = complete(
    "subscription ($channel: ID!) { channelEvents(channelId: $channel) { "
    "... on Event { id cursor at actor { ...person } } "
    "... on MessageEvent { message { ...message channel { id name } } } } }"
)
