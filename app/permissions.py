"""Who may do what in a channel: one table, and pure functions over it.

`decide` answers for mutations (through the `access_*` functions) and for `viewerCan` alike, so the two cannot disagree.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from app.errors import AppError, Conflict, ErrorCode, Forbidden

# The permission in a token that makes its user a workspace admin.
WORKSPACE_ADMIN = "workspace:admin"


class Role(IntEnum):
    """Roles in a channel; each includes the one before it."""

    MEMBER = 1
    MODERATOR = 2
    ADMIN = 3
    OWNER = 4


class Permission(StrEnum):
    """`resource:action`, alphabetical."""

    CHANNEL_ARCHIVE = "channel:archive"
    CHANNEL_DELETE = "channel:delete"
    CHANNEL_EDIT = "channel:edit"
    CHANNEL_READ = "channel:read"
    CHANNEL_SET_PRIVACY = "channel:set_privacy"
    FILE_DELETE_ANY = "file:delete_any"
    FILE_DOWNLOAD = "file:download"
    FILE_UPLOAD = "file:upload"
    JOIN_CODE_ROTATE = "join_code:rotate"
    JOIN_CODE_SEE = "join_code:see"
    MEMBER_ADD = "member:add"
    MEMBER_LEAVE = "member:leave"
    MEMBER_REMOVE = "member:remove"
    MEMBER_SET_ROLE = "member:set_role"
    MESSAGE_DELETE_ANY = "message:delete_any"
    MESSAGE_POST = "message:post"
    MESSAGE_REACT = "message:react"
    TYPING_SEE = "typing:see"


# The lowest role that may; None: anyone who sees the channel.
GRANTS: dict[Permission, Role | None] = {
    Permission.CHANNEL_READ: None,
    Permission.FILE_DOWNLOAD: Role.MEMBER,
    Permission.FILE_UPLOAD: Role.MEMBER,
    Permission.MEMBER_LEAVE: Role.MEMBER,
    Permission.MESSAGE_POST: Role.MEMBER,
    Permission.MESSAGE_REACT: Role.MEMBER,
    Permission.TYPING_SEE: Role.MEMBER,
    Permission.FILE_DELETE_ANY: Role.MODERATOR,
    Permission.MEMBER_ADD: Role.MODERATOR,
    Permission.MEMBER_REMOVE: Role.MODERATOR,
    Permission.MESSAGE_DELETE_ANY: Role.MODERATOR,
    Permission.CHANNEL_ARCHIVE: Role.ADMIN,
    Permission.CHANNEL_EDIT: Role.ADMIN,
    Permission.CHANNEL_SET_PRIVACY: Role.ADMIN,
    Permission.JOIN_CODE_ROTATE: Role.ADMIN,
    Permission.JOIN_CODE_SEE: Role.ADMIN,
    Permission.MEMBER_SET_ROLE: Role.ADMIN,
    Permission.CHANNEL_DELETE: Role.OWNER,
}

# An archived channel is read-only; leaving, moderating and handing over stay possible.
CLOSED_BY_ARCHIVING = frozenset(
    {
        Permission.CHANNEL_EDIT,
        Permission.CHANNEL_SET_PRIVACY,
        Permission.FILE_UPLOAD,
        Permission.JOIN_CODE_ROTATE,
        Permission.MEMBER_ADD,
        Permission.MESSAGE_POST,
        Permission.MESSAGE_REACT,
    }
)

# A direct message is its people: nobody comes, goes, or ranks above the others.
REFUSED_IN_DM: dict[Permission, tuple[ErrorCode, str]] = {
    Permission.CHANNEL_SET_PRIVACY: (ErrorCode.DM_MUST_BE_PRIVATE, "A direct message is always private."),
    Permission.JOIN_CODE_ROTATE: (ErrorCode.JOIN_CODE_NOT_ALLOWED, "A direct message has no join code."),
    Permission.MEMBER_ADD: (
        ErrorCode.DM_MEMBERSHIP_FIXED,
        "The people of a direct message do not change. Open another.",
    ),
    Permission.MEMBER_LEAVE: (ErrorCode.DM_MEMBERSHIP_FIXED, "The people of a direct message do not change."),
    Permission.MEMBER_REMOVE: (ErrorCode.DM_MEMBERSHIP_FIXED, "The people of a direct message do not change."),
    Permission.MEMBER_SET_ROLE: (ErrorCode.DM_MEMBERSHIP_FIXED, "A direct message has no roles."),
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How somebody stands to a channel. `role` is None for a non-member."""

    role: Role | None
    is_private: bool
    is_dm: bool = False
    is_archived: bool = False
    is_workspace_admin: bool = False

    @property
    def sees(self) -> bool:
        return self.role is not None or not self.is_private


def decide(permission: Permission, standing: Standing) -> AppError | None:
    """None if allowed, else the error that says why not. Visibility is decided before, by `standing.sees`."""
    if permission is Permission.CHANNEL_DELETE and standing.is_workspace_admin:
        return None
    needed = GRANTS[permission]
    if needed is not None and standing.role is None:
        return Forbidden("Join the channel first.", code=ErrorCode.NOT_MEMBER)
    if standing.is_dm and permission in REFUSED_IN_DM:
        return Conflict(*REFUSED_IN_DM[permission])
    if needed is not None and standing.role is not None and standing.role < needed:
        advice = f"This needs the role {needed.name} or above in the channel."
        if standing.is_dm:
            advice = "Nobody in a direct message may do this: it has no roles."
        return Forbidden(advice, code=ErrorCode.ROLE_TOO_LOW)
    if standing.is_archived and permission in CLOSED_BY_ARCHIVING:
        return Conflict(
            ErrorCode.CHANNEL_ARCHIVED, "The channel is archived. An admin of the channel can bring it back."
        )
    return None


def allowed(permission: Permission, standing: Standing) -> bool:
    return standing.sees and decide(permission, standing) is None
