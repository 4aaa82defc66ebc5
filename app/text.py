"""What text from a client may look like before it is stored."""

import unicodedata
from collections.abc import Sequence
from urllib.parse import urlsplit

from app.errors import Invalid

# Bidirectional overrides and isolates can make a name read as another one (Trojan Source, CVE-2021-42574).
BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
MAX_URL_LENGTH = 2048


def is_visible(text: str) -> bool:
    """Whether there is a letter, digit, sign or symbol in it: spaces and joiners alone look like nothing.

    What this Python's Unicode does not know (Cn) or leaves to others (Co) may be the emoji of tomorrow.
    """
    return any((category := unicodedata.category(char))[0] in "LNPS" or category in {"Cn", "Co"} for char in text)


def clean_line(value: str, field: Sequence[str], *, maximum: int, minimum: int = 1) -> str:
    """One line: trimmed, NFC, no control characters, `minimum` to `maximum` characters."""
    line = unicodedata.normalize("NFC", value).strip()
    if any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} or char in BIDI_CONTROLS for char in line):
        raise Invalid("Remove line breaks and control characters.", field=field)
    if not minimum <= len(line) <= maximum:
        raise Invalid(f"Use {minimum} to {maximum} characters, not {len(line)}.", field=field)
    if line and not is_visible(line):
        raise Invalid("Use characters that can be seen.", field=field)
    return line


def clean_text(value: str, field: Sequence[str], *, maximum: int) -> str:
    """Text of several lines, kept as it is.

    Refused where PostgreSQL could not store it, or above `maximum` characters.
    """
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise Invalid("Remove NUL characters and unpaired surrogates.", field=field)
    if len(value) > maximum:
        raise Invalid(f"Use at most {maximum} characters, not {len(value)}.", field=field)
    return value


def clean_url(value: str, field: Sequence[str]) -> str:
    """An https address.

    The server stores it for clients and never fetches it, so a `file:` or metadata address has no use here.
    """
    address = clean_line(value, field, maximum=MAX_URL_LENGTH)
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise Invalid("This is not a valid address.", field=field) from None
    if parts.scheme != "https" or not host or parts.username is not None or " " in address:
        raise Invalid("Use an https:// address without user name or spaces.", field=field)
    return address
