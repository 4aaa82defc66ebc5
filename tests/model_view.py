"""What somebody must see of the model, in the shape of the API's answers, and the documents that ask for it."""

from typing import Any

from tests.model import Channel, Chat, Message, Role, User

PERMISSIONS = (
    "post",
    "invite",
    "manageMembers",
    "manageRoles",
    "editChannel",
    "changePrivacy",
    "seeJoinCode",
    "deleteAnyMessage",
    "deleteChannel",
)
MESSAGES = """{
  pageInfo { hasNextPage endCursor }
  nodes {
    id seq content revision createdAt updatedAt deletedAt clientKey replyCount
    author { id } channel { id } parent { id } reply { id }
    reactions { count viewerHasReacted reaction { code } users(first: 5) { nodes { id } } }
  }
}"""
PAGE = 25
OVERVIEW = """{
  viewer {
    user { id name bio isActive }
    joined: channels(first: 100) { nodes { id } }
    put_away: channels(first: 100, archived: true) { nodes { id } }
    direct: channels(first: 100, isDm: true) { nodes { id } }
  }
  in_use: channels(first: 100) { nodes { id } }
  archived: channels(first: 100, archived: true) { nodes { id } }
  users(first: 100) { nodes { id name bio isActive } }
}"""
CHANNELS = f"""query ($ids: [ID!]!) {{ nodes(ids: $ids) {{ ... on Channel {{
  id name description isPrivate isDm archivedAt memberCount joinCode owner {{ id }}
  viewerCan {{ {" ".join(PERMISSIONS)} }}
  members(first: 5) {{ nodes {{ role user {{ id }} }} }}
  messages(first: {PAGE}) {MESSAGES}
}} }} }}"""
MORE = (
    f"query ($id: ID!, $after: String) {{ channel(id: $id) {{ messages(first: {PAGE}, after: $after) {MESSAGES} }} }}"
)
CHAINS = "query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Message { id replyChain(first: 50) { nodes { id } } } } }"


def plain(shown: Any) -> Any:
    """An answer without what only the server can know: numbers of messages, and of times only whether there is one."""
    if isinstance(shown, list):
        return [plain(item) for item in shown]
    if not isinstance(shown, dict):
        return shown
    return {
        name: value is not None if name.endswith("At") else plain(value)
        for name, value in shown.items()
        if name not in {"seq", "pageInfo"}
    }


def nodes(things: list[Any]) -> dict[str, Any]:
    return {"nodes": [{"id": thing.id} for thing in things]}


def reference(thing: User | Message | None) -> dict[str, str] | None:
    return {"id": thing.id} if thing else None


def user_view(user: User) -> dict[str, Any]:
    return {"id": user.id, "name": user.name, "bio": user.bio, "isActive": user.is_active}


def overview(viewer: User, chat: Chat, users: list[User]) -> dict[str, Any]:
    joined = [channel for channel in chat.channels if viewer in channel.members and not channel.is_deleted]
    listed = [channel for channel in chat.channels if channel.name is not None and chat.sees(viewer, channel)]
    listed.sort(key=lambda channel: str(channel.name).lower())
    return {
        "viewer": {
            "user": user_view(viewer),
            "joined": nodes([channel for channel in joined if not channel.is_archived]),
            "put_away": nodes([channel for channel in joined if channel.is_archived]),
            "direct": nodes([channel for channel in joined if channel.name is None]),
        },
        "in_use": nodes([channel for channel in listed if not channel.is_archived]),
        "archived": nodes([channel for channel in listed if channel.is_archived]),
        "users": {"nodes": [user_view(user) for user in sorted(users, key=lambda user: user.name)]},
    }


def channel_view(viewer: User, chat: Chat, channel: Channel) -> dict[str, Any] | None:
    if not chat.sees(viewer, channel):
        return None
    permissions = {name: chat.may(viewer, channel, name) for name in PERMISSIONS}
    owner = next((user for user, role in channel.members.items() if role is Role.OWNER), None)
    return {
        "id": channel.id,
        "name": channel.name,
        "description": channel.description,
        "isPrivate": channel.is_private,
        "isDm": channel.name is None,
        "archivedAt": channel.is_archived,
        "memberCount": len(channel.members),
        "joinCode": channel.join_code if permissions["seeJoinCode"] else None,
        "owner": reference(owner),
        "viewerCan": permissions,
        "members": {user.id: role.name for user, role in channel.members.items()},
        "messages": [message_view(viewer, message) for message in channel.messages],
    }


def message_view(viewer: User, message: Message) -> dict[str, Any]:
    people: dict[str, list[User]] = {}
    for code, user in message.reactions:
        people.setdefault(code, []).append(user)
    return {
        "id": message.id,
        "content": message.content,
        "revision": message.revision,
        "createdAt": True,
        "updatedAt": message.revision > 1,
        "deletedAt": message.content is None,
        "clientKey": message.client_key if viewer is message.author else None,
        "replyCount": len(message.chain()),
        "author": reference(message.author),
        "channel": {"id": message.channel.id},
        "parent": reference(message.parent),
        "reply": reference(message.reply),
        "reactions": [
            {
                "count": len(users),
                "viewerHasReacted": viewer in users,
                "reaction": {"code": code},
                "users": nodes(users),
            }
            for code, users in people.items()
        ],
    }
