"""A client that holds everything its user can see, and keeps it up to date by events alone."""

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import Any

from websockets.exceptions import ConnectionClosed

from tests.conftest import Person
from tests.documents import number
from tests.eventually import eventually
from tests.follower import positions
from tests.live import item
from tests.socket_client import SocketClient, connected

MESSAGE = "message { id content revision deletedAt author { id } parent { id } files { id } }"
FILE = "file { id name size contentType width height message { id } }"
CHANNEL = "channel { id name description isPrivate archivedAt owner { id } }"
USER = "user { id name bio picture isActive }"
EVENTS = f"""subscription ($after: [EventCursor!]) {{ viewerEvents(after: $after) {{
    ... on StreamNotice {{ kind cursor recovered channelId }}
    ... on Event {{ id type stream cursor channelId }}
    ... on MessageEvent {{ {MESSAGE} }}
    ... on ReactionEvent {{ message {{ id }} reaction {{ id }} user {{ id }} }}
    ... on ChannelEvent {{ {CHANNEL} }}
    ... on ChannelPrivacyEvent {{ isPrivate }}
    ... on FileEvent {{ fileId {FILE} }}
    ... on MemberEvent {{ role user {{ id }} }}
    ... on UserEvent {{ {USER} }}
    ... on CatalogueEvent {{ reaction {{ id }} }}
}} }}"""
START = """{ viewer { cursor user { id }
    inUse: channels(first: 100) { nodes { id } } archived: channels(first: 100, archived: true) { nodes { id } }
} }"""
ONE = f"""query ($id: ID!) {{ {CHANNEL.replace("channel {", "channel(id: $id) {").removesuffix(" }")}
    uploads: files(first: 100) {{ nodes {{ {FILE.removeprefix("file {").removesuffix(" }")} }} }}
    members(first: 100) {{ nodes {{ role user {{ id }} }} }}
    messages(first: 50) {{ pageInfo {{ hasNextPage }} nodes {{
        {MESSAGE.removeprefix("message {").removesuffix(" }")}
        reactions {{ reaction {{ id }} users(first: 5) {{ nodes {{ id }} }} }}
    }} }}
}} }}"""
USERS = f"{{ users(first: 100) {{ nodes {{ {USER.removeprefix('user {')} }} }}"
CATALOGUE = "{ reactions(first: 100) { nodes { id } pageInfo { hasNextPage } } }"


class Mirror:
    """`positions` is how far it is in each stream; `cursors` is what it would resume with."""

    def __init__(self, person: Person, port: int) -> None:
        self.person = person
        self.id = ""
        self.channels: dict[str, dict[str, Any]] = {}
        self.users: dict[str, dict[str, Any]] = {}
        self.catalogue: set[str] = set()
        self.cursors: dict[str, str] = {}
        self.positions: dict[str, int] = {}
        self.resyncs = 0
        self.trouble: BaseException | None = None
        self._port = port
        self._seen: set[str] = set()
        self._following: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ fetching

    async def fetch(self) -> str:
        """Everything anew; the cursor from which on events are needed."""
        viewer = await self.person.ask(START)
        self.id = viewer["user"]["id"]
        ids = [each["id"] for name in ("inUse", "archived") for each in viewer[name]["nodes"]]
        self.channels = {}
        for channel_id in ids:
            await self.fetch_channel(channel_id)
        self.users = {each["id"]: each for each in (await self.person.ask(USERS))["nodes"]}
        await self.fetch_catalogue()
        return str(viewer["cursor"])

    async def fetch_channel(self, channel_id: str) -> None:
        found = await self.person.ask(ONE, id=channel_id)
        members = {each["user"]["id"]: each["role"] for each in found["members"]["nodes"]} if found else {}
        if self.id not in members:
            self.channels.pop(channel_id, None)  # gone again meanwhile
            return
        assert not found["messages"]["pageInfo"]["hasNextPage"]
        messages = {each["id"]: each for each in found["messages"]["nodes"]}
        for each in messages.values():
            each["reactions"] = {
                (group["reaction"]["id"], user["id"]) for group in each["reactions"] for user in group["users"]["nodes"]
            }
        files = {each["id"]: each for each in found.pop("uploads")["nodes"]}
        self.channels[channel_id] = {**found, "members": members, "messages": messages, "files": files}

    async def fetch_catalogue(self) -> None:
        page = await self.person.ask(CATALOGUE)
        assert not page["pageInfo"]["hasNextPage"]
        self.catalogue = {each["id"] for each in page["nodes"]}

    # ------------------------------------------------------------ following

    async def follow(self) -> None:
        """Unless it does, connect, and go on after what is known; from nothing, fetch first."""
        if self._following is not None and not self._following.done():
            return
        if not self.cursors:
            self.take_cursor("", await self.fetch())
        ready = asyncio.Event()
        self._following = asyncio.create_task(self._follow(ready))
        await asyncio.wait([self._following, asyncio.ensure_future(ready.wait())], return_when="FIRST_COMPLETED")

    async def leave(self) -> None:
        """The connection is cut, wherever it is."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following

    async def _follow(self, ready: asyncio.Event) -> None:
        try:
            async with connected(self._port, self.person.token) as client:
                await client.subscribe("mirror", EVENTS, variables={"after": list(self.cursors.values())})
                with suppress(ConnectionClosed):
                    await self._take_all(client, ready)
        except Exception as error:  # noqa: BLE001 - for the test to raise
            self.trouble = error
        finally:
            ready.set()

    async def _take_all(self, client: SocketClient, ready: asyncio.Event) -> None:
        async for message in client.connection:
            text = message.encode() if isinstance(message, str) else message
            head, is_next, payload = text.partition(b'"next","payload":')
            assert is_next, head
            shown = item(payload[:-1])
            await (self._notice(shown) if "kind" in shown else self._event(shown))
            # After it was dealt with: whoever resumes in the middle has it again.
            self.take_cursor("" if "kind" in shown else shown["stream"], shown["cursor"])
            self._seen.add(shown.get("id", ""))
            ready.set()

    def take_cursor(self, stream: str, cursor: str) -> None:
        if not stream:
            self.cursors.clear()
        self.cursors[stream] = cursor
        for name, seq in positions(cursor).items():
            assert seq >= self.positions.get(name, 0), (name, seq, self.positions)
            self.positions[name] = seq

    async def _notice(self, notice: dict[str, Any]) -> None:
        match notice["kind"]:
            case "RESYNC_REQUIRED":
                self.resyncs += 1
                await self.fetch()
            case "ACCESS_REVOKED":
                self.channels.pop(notice["channelId"], None)

    async def _event(self, event: dict[str, Any]) -> None:
        assert event["id"] not in self._seen, event
        kind, channel = event["type"], self.channels.get(event["channelId"])
        if kind == "USER_UPDATED":
            self.users[event["user"]["id"]] = event["user"]
        elif kind == "REACTION_CATALOGUE_CHANGED":
            await self.fetch_catalogue()  # the event does not say whether it came or went
        elif kind == "MEMBER_JOINED" and event["user"]["id"] == self.id:
            await self.fetch_channel(event["channelId"])
        elif kind == "CHANNEL_DELETED" or (kind == "MEMBER_LEFT" and event["user"]["id"] == self.id):
            self.channels.pop(event["channelId"], None)
        elif channel is not None and "fileId" in event:
            self._change_files(channel, event)
        elif channel is not None:
            self._change(channel, kind, event)

    def _change_files(self, channel: dict[str, Any], event: dict[str, Any]) -> None:
        if event["file"] is not None:
            channel["files"][event["fileId"]] = event["file"]
            return
        # Also before FILE_DELETED has come: what it was uploaded for shows it no more.
        channel["files"].pop(event["fileId"], None)
        for message in channel["messages"].values():
            message["files"] = [each for each in message["files"] if each["id"] != event["fileId"]]

    def _change(self, channel: dict[str, Any], kind: str, event: dict[str, Any]) -> None:
        messages, members = channel["messages"], channel["members"]
        match kind:
            case "MESSAGE_CREATED" | "MESSAGE_UPDATED":
                known = messages.get(event["message"]["id"], {})
                for carried in event["message"]["files"]:
                    channel["files"][carried["id"]]["message"] = {"id": event["message"]["id"]}
                messages[event["message"]["id"]] = {"reactions": set(), **known, **event["message"]}
            case "MESSAGE_DELETED":
                messages[event["message"]["id"]] = {**event["message"], "reactions": set()}
            case "REACTION_ADDED":
                messages[event["message"]["id"]]["reactions"].add((event["reaction"]["id"], event["user"]["id"]))
            case "REACTION_REMOVED":
                messages[event["message"]["id"]]["reactions"].discard((event["reaction"]["id"], event["user"]["id"]))
            case "MEMBER_JOINED" | "MEMBER_ROLE_CHANGED":
                members[event["user"]["id"]] = event["role"]
            case "MEMBER_LEFT":
                members.pop(event["user"]["id"], None)
            case "CHANNEL_PRIVACY_CHANGED":
                channel["isPrivate"] = event["isPrivate"]
            case _ if event["channel"] is not None:
                channel.update(event["channel"])

    # ------------------------------------------------------------ comparing

    async def has_reached(self, other: "Mirror", cursor: str) -> None:
        """Wait until everything up to there has come, of what the other one has; deleted channels end anywhere."""
        live = {f"c{number(channel)}" for channel in other.channels}
        wanted = {name: seq for name, seq in positions(cursor).items() if name in live or name[0] != "c"}
        await eventually(
            lambda: self.trouble or all(self.positions.get(name, -1) >= seq for name, seq in wanted.items())
        )
        if self.trouble is not None:
            raise self.trouble

    def shown(self) -> dict[str, Any]:
        """What the user would see. Reactions that are in no catalogue (yet, or any more) are not shown."""
        channels = defaultdict(dict, self.channels)
        for name, channel in self.channels.items():
            messages = {
                key: {**each, "reactions": {found for found in each["reactions"] if found[0] in self.catalogue}}
                for key, each in channel["messages"].items()
            }
            channels[name] = {**channel, "messages": messages}
        return {"channels": dict(channels), "users": self.users, "catalogue": self.catalogue}
