"""What libmagic and imagesize make of the beginning of a file. Nothing is decoded, decompressed or run.

Import it where it is needed only: finding libmagic takes 50 ms and two processes.
"""

import codecs
import ctypes
import os
import re
from importlib import import_module
from io import BytesIO

import imagesize

from app.storage.file_types import ACTIVE, DOCUMENTS, PLAIN, UNKNOWN, canonical

# Where browsers would see a page (https://mimesniff.spec.whatwg.org/, section 7.1), and what is like it.
MARKUP = re.compile(
    rb"<(?:!--|\?xml|!doctype|(?:html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p"
    rb"|embed|form|img|link|math|meta|object|svg)[\s/>])",
    re.IGNORECASE,
)
CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")  # "binary data bytes" of the same standard
BEFORE_MARKUP = b" \t\n\r\f\v" + codecs.BOM_UTF8 + codecs.BOM_UTF16
TEXT = frozenset({"application/xhtml+xml", "image/svg+xml"})
LARGEST_INT = 2**31 - 1  # of GraphQL

try:
    import magic

    _magic = magic.Magic(mime=True)
except ImportError:  # the system has no libmagic; the wheel has one, with rules of its own version
    before, constructor = dict(os.environ), ctypes.CDLL.__init__
    wheel = import_module("pylibmagic")  # first: magic finds its library then
    import magic

    _magic = magic.Magic(mime=True, magic_file=str(wheel.data / "magic.mgc"))
    # For that, pylibmagic changes how any library is loaded, here and in processes that are started from here.
    ctypes.CDLL.__init__ = constructor  # type: ignore[method-assign]  # as it was
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


def content_type(head: bytes) -> str:
    """The media type of what begins like this."""
    try:
        found = canonical(_magic.from_buffer(head))
    except magic.MagicException:
        found = UNKNOWN
    if found == UNKNOWN and head.startswith(b"ID3"):
        return "audio/mpeg"  # behind a cover picture that is larger than the head, libmagic finds no sound
    if found in DOCUMENTS or not (found in TEXT or found.startswith("text/") or _is_text(found, head)):
        return found
    # Of pages, the standard decides: libmagic takes a manual with a table in it for one, and not each fragment.
    # Without NUL, UTF-16 looks like ASCII.
    if MARKUP.match(head.replace(b"\0", b"").lstrip(BEFORE_MARKUP)):
        return found if found in ACTIVE else "text/html"
    return PLAIN


def dimensions(head: bytes) -> tuple[int, int] | None:
    """Width and height of an image as it is shown, after the rotation of EXIF, in pixels."""
    width, height = imagesize.get(BytesIO(head), exif_rotation=True)
    return (width, height) if 0 < width <= LARGEST_INT and 0 < height <= LARGEST_INT else None


def _is_text(found: str, head: bytes) -> bool:
    """Whether it is UTF-8, perhaps cut off: of a single byte, and of some formats, libmagic does not say so."""
    if not found.startswith("application/"):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return CONTROLS.search(head) is None
