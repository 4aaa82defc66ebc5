"""Whom PostgreSQL runs as. It refuses to run as root, so root lends it a system user and a way to its files."""

import os
import pwd
import stat
import struct
import subprocess
import time
from pathlib import Path

SYSTEM_USER = "parley-postgres"

# struct posix_acl_xattr_header and posix_acl_xattr_entry of linux/posix_acl_xattr.h, version 2.
ACL_ATTRIBUTE = "system.posix_acl_access"
ACL_HEADER = struct.Struct("<I")
ACL_ENTRY = struct.Struct("<HHI")
ACL_VERSION, NO_ID = 2, 0xFFFFFFFF
USER_OBJECT, USER, GROUP_OBJECT, MASK, OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
SEARCH = 1


def database_user(cluster: Path) -> tuple[int, int] | None:
    """The (uid, gid) to run PostgreSQL as: for root the cluster's owner or else a system user; None: as ourselves."""
    if os.geteuid() != 0:
        return None
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return owner.st_uid, owner.st_gid
    entry = _system_user()
    return entry.pw_uid, entry.pw_gid


def _system_user() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    problem = ""
    # useradd fails while another process holds the lock of /etc/passwd, for instance a second Parley that starts now.
    for _ in range(20):
        try:
            return pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            problem = subprocess.run(command, check=False, capture_output=True, text=True).stderr.strip()
        if problem:
            time.sleep(0.1)
    raise PermissionError(f"PostgreSQL refuses to run as root, and the user {SYSTEM_USER} cannot be added: {problem}")


def open_way(target: Path, uid: int) -> list[Path]:
    """Let `uid` pass through the folders above `target` that are closed to others, such as /root; those opened now."""
    opened = []
    for folder in reversed(target.resolve().parents):
        status = folder.stat()
        if not status.st_mode & stat.S_IXOTH and status.st_uid != uid and _grant_search(folder, uid, status.st_mode):
            opened.append(folder)
    return opened


def open_files(tree: Path) -> None:
    """Make installed program files readable by others, as they are not when root installed them with umask 077."""
    for path in (tree, *tree.rglob("*")):
        mode = path.stat().st_mode
        wanted = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
        if wanted != mode:
            path.chmod(wanted)


def _grant_search(folder: Path, uid: int, mode: int) -> bool:
    # An access list names one user; chmod o+x would let everybody walk into, say, /root with its .env files.
    group = mode >> 3 & 7
    try:
        packed = os.getxattr(folder, ACL_ATTRIBUTE)
        entries = {(tag, who): bits for tag, bits, who in ACL_ENTRY.iter_unpack(packed[ACL_HEADER.size :])}
    except OSError:
        entries = {(USER_OBJECT, NO_ID): mode >> 6 & 7, (GROUP_OBJECT, NO_ID): group, (OTHER, NO_ID): mode & 7}
    if entries.get((USER, uid), 0) & entries.get((MASK, NO_ID), 0) & SEARCH:
        return False  # without the mask the entry is void: a chmod since then has closed the folder again
    entries[USER, uid] = entries.get((USER, uid), 0) | SEARCH
    entries[MASK, NO_ID] = entries.get((MASK, NO_ID), group) | SEARCH
    rows = [ACL_ENTRY.pack(tag, bits, who) for (tag, who), bits in sorted(entries.items())]
    try:
        os.setxattr(folder, ACL_ATTRIBUTE, ACL_HEADER.pack(ACL_VERSION) + b"".join(rows))
    except OSError:  # a file system without access lists
        folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
    return True
