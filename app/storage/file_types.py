"""What names and declared types of files claim, in one spelling of each media type."""

from app.storage.file_name import split_extension

PLAIN = "text/plain"
UNKNOWN = "application/octet-stream"
PROGRAM = "application/vnd.microsoft.portable-executable"

# What browsers, operating systems and versions of libmagic also say.
ALIASES = {
    "application/javascript": "text/javascript",
    "application/mp4": "video/mp4",
    "application/rtf": "text/rtf",
    "application/x-dosexec": PROGRAM,
    "application/x-gzip": "application/gzip",
    "application/x-javascript": "text/javascript",
    "application/x-msdos-program": PROGRAM,
    "application/x-msdownload": PROGRAM,
    "application/x-pdf": "application/pdf",
    "application/x-zip": "application/zip",
    "application/x-zip-compressed": "application/zip",
    "application/xml": "text/xml",
    "audio/m4a": "audio/mp4",
    "audio/mp3": "audio/mpeg",
    "audio/mpeg3": "audio/mpeg",
    "audio/opus": "audio/ogg",
    "audio/vnd.wave": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/x-aac": "audio/aac",
    "audio/x-flac": "audio/flac",
    "audio/x-hx-aac-adts": "audio/aac",
    "audio/x-m4a": "audio/mp4",
    "audio/x-mp3": "audio/mpeg",
    "audio/x-mpeg": "audio/mpeg",
    "audio/x-wav": "audio/wav",
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/vnd.microsoft.icon": "image/x-icon",
    "image/x-ms-bmp": "image/bmp",
    "image/x-png": "image/png",
    "video/avi": "video/x-msvideo",
    "video/msvideo": "video/x-msvideo",
    "video/x-m4v": "video/mp4",
}

# Said of any content: it claims nothing.
MEANINGLESS = frozenset({"", UNKNOWN, "application/x-octet-stream", "binary/octet-stream"})

# One container each: what is in it, libmagic cannot always say, nor can the name.
KIN = (
    frozenset({"application/ogg", "audio/ogg", "video/ogg"}),
    frozenset({"audio/3gpp", "audio/mp4", "video/3gpp", "video/mp4", "video/quicktime"}),
    frozenset({"audio/webm", "audio/x-matroska", "video/webm", "video/x-matroska"}),
)

# Text that is run, or shown as a page, by what opens it. It never passes as plain text.
ACTIVE = frozenset(
    {"application/xhtml+xml", "image/svg+xml", "message/rfc822", "text/html", "text/javascript", "text/xml"}
)
# Documents that may be in ASCII only, and are no plain text either.
DOCUMENTS = frozenset({"application/pdf", "application/postscript", "text/rtf"})

# Of texts, Windows with Excel says the first (.csv), and browsers the others (.ts, .m3u).
CLAIMED_OF_TEXT = frozenset({"application/vnd.ms-excel", "audio/x-mpegurl", "video/mp2t"})

OPEN_XML = "application/vnd.openxmlformats-officedocument."
OPEN_DOCUMENT = "application/vnd.oasis.opendocument."

# Extensions that are not here claim nothing.
EXTENSIONS = {
    extension: content_type
    for content_type, extensions in {
        "application/epub+zip": "epub",
        "application/gzip": "gz tgz",
        "application/java-archive": "jar",
        "application/msword": "doc",
        "application/pdf": "pdf",
        "application/postscript": "ai eps ps",
        "application/vnd.android.package-archive": "apk",
        "application/vnd.ms-excel": "xls",
        "application/vnd.ms-powerpoint": "ppt",
        "application/vnd.rar": "rar",
        "application/x-7z-compressed": "7z",
        "application/x-bzip2": "bz2",
        "application/x-iso9660-image": "iso",
        "application/x-ms-shortcut": "lnk url",
        "application/x-msi": "msi",
        "application/x-shockwave-flash": "swf",
        "application/x-tar": "tar",
        "application/x-xz": "xz",
        "application/xhtml+xml": "xht xhtml",
        "application/zip": "zip",
        "audio/aac": "aac",
        "audio/flac": "flac",
        "audio/mp4": "m4a m4b",
        "audio/mpeg": "mp3",
        "audio/ogg": "oga ogg opus",
        "audio/wav": "wav",
        "audio/webm": "weba",
        "image/avif": "avif",
        "image/bmp": "bmp dib",
        "image/gif": "gif",
        "image/heic": "heic heif",
        "image/jpeg": "jfif jpe jpeg jpg",
        "image/png": "apng png",
        "image/svg+xml": "svg svgz",
        "image/tiff": "tif tiff",
        "image/webp": "webp",
        "image/x-icon": "ico",
        "message/rfc822": "eml mht mhtml",
        "text/html": "hta htm html shtml",
        "text/javascript": "cjs js jse mjs",
        "text/rtf": "rtf",
        "text/xml": "rdf rss xml xsd xsl xslt",
        "video/3gpp": "3gp",
        "video/mp4": "m4v mp4",
        "video/mpeg": "mpeg mpg",
        "video/ogg": "ogv",
        "video/quicktime": "mov qt",
        "video/webm": "webm",
        "video/x-matroska": "mkv",
        "video/x-msvideo": "avi",
        OPEN_DOCUMENT + "presentation": "odp",
        OPEN_DOCUMENT + "spreadsheet": "ods",
        OPEN_DOCUMENT + "text": "odt",
        OPEN_XML + "presentationml.presentation": "pptx",
        OPEN_XML + "spreadsheetml.sheet": "xlsx",
        OPEN_XML + "wordprocessingml.document": "docx",
        PLAIN: "bat c cfg cmd conf cpp cs css csv diff go h hpp ics ini java json jsonl jsx kt log lua md patch php pl "
        "ps1 py r rb rs rst sh sql srt swift tex text toml ts tsv tsx txt vcf vtt yaml yml",
        PROGRAM: "com cpl dll exe scr sys",
    }.items()
    for extension in extensions.split()
}


def canonical(content_type: str) -> str:
    """The one spelling, without parameters."""
    essence = content_type.partition(";")[0].strip().lower()
    return ALIASES.get(essence, essence)


def claims(name: str, declared: str | None) -> list[str]:
    """The types that a file claims to be of: by its extension, and by its declared type."""
    extension = split_extension(name)[1][1:].lower()
    found = [EXTENSIONS.get(extension, ""), canonical(declared or "")]
    return [claim for claim in found if claim not in MEANINGLESS]


def agrees(claim: str, content_type: str) -> bool:
    """Whether content of this type may claim that."""
    if claim == content_type or any({claim, content_type} <= kin for kin in KIN):
        return True
    return (content_type == PLAIN or content_type in ACTIVE) and _is_textual(claim)


def _is_textual(claim: str) -> bool:
    if claim.startswith("text/") or claim in ACTIVE | CLAIMED_OF_TEXT:
        return claim not in DOCUMENTS
    # Every language and format has one of its own: application/json, application/x-sh, application/toml ...
    return claim.startswith("application/") and claim not in EXTENSIONS.values()
