"""What clients call files: for display only, never a path."""

import re
import unicodedata
from urllib.parse import quote

from app.text import BIDI_CONTROLS, is_visible

LONGEST_NAME = 255  # characters
LONGEST_EXTENSION = 20  # what is longer after a dot is no extension
NAMELESS = "file"

JOINERS = frozenset("\u200c\u200d")  # Persian words and emoji of several parts need them
ATTR_CHAR = "!#$&+-.^_`|~"  # RFC 8187, section 3.2.1, with letters and digits


def clean_name(name: str) -> str:
    """The last part of a path of any system, in NFC, without what cannot be seen; at most 255 characters."""
    last = re.split(r"[/\\]", name)[-1]
    shown = "".join(filter(_is_shown, unicodedata.normalize("NFC", last))).strip(" .\u00a0\u3000")
    if len(shown) > LONGEST_NAME:
        stem, extension = split_extension(shown)
        shown = stem[: LONGEST_NAME - len(extension)].rstrip(" .") + extension
    return shown if is_visible(shown) else NAMELESS


def split_extension(name: str) -> tuple[str, str]:
    """The name before its extension, and the extension with its dot; "" if there is none."""
    stem, dot, extension = name.rpartition(".")
    if not stem or not 0 < len(extension) < LONGEST_EXTENSION:
        return name, ""
    return stem, dot + extension


def content_disposition(name: str, *, inline: bool = False) -> str:
    """The header's value (RFC 6266): what is not ASCII is in `filename*`, and approximated for old clients."""
    letters = [char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char)]
    # Without quotes, escapes and percent signs: clients differ in what they make of them.
    fallback = re.sub(r'[^ -~]|["\\%?*:<>|/;]', "_", "".join(letters))
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe=ATTR_CHAR)}"


def _is_shown(char: str) -> bool:
    category = unicodedata.category(char)
    hidden = category in {"Cc", "Cs", "Zl", "Zp"} or (category == "Cf" and char not in JOINERS)
    return not hidden and char not in BIDI_CONTROLS
