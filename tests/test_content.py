"""What is said of files by their content, and which are refused; of all that a browser or a person may be fooled by."""

import io
import os
import struct
import subprocess
import sys
import time
import zipfile
import zlib

import pytest

from app.errors import Invalid
from app.settings import FILE_TYPES
from app.storage import Incoming
from app.storage.content import Content, inspect
from tests.processes import ROOT


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)) + b"\0" * 50


def jpeg(width: int, height: int, *, orientation: int = 1, padding: int = 0) -> bytes:
    tiff = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + b"\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    segments = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    segments += (b"\xff\xe2" + struct.pack(">H", 60_002) + b"\0" * 60_000) * padding
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\x01\x11\0\x02\x11\0\x03\x11\0"
    return b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0" + segments + frame + b"\0" * 50


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0;"


def zipped(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return content.getvalue()


PNG, JPEG, GIF, PDF = png(40, 30), jpeg(40, 30), gif(40, 30), b"%PDF-1.7\n%\xe2\xe3\n1 0 obj\n"
WEBP = b"RIFF\x24\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x27\0\0\x1d\0\0" + b"\0" * 20
MP3 = b"ID3\x04\0\0\0\x1f\x7f\x7f\x7fAPIC" + os.urandom(70_000)
OGG = b"OggS\0\x02" + b"\0" * 8 + b"\x01\0\0\0\0\0\0\0\0\0\0\0\x01\x1e\x01vorbis\0\0\0\0\x02\x44\xac\0\0"
MP4 = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2\0\0\0\x08free"
WEBM = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82\x84webm\x42\x87"
ZIP = zipped("a.txt")
HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
PROGRAM = b"MZ" + b"\0" * 58 + b"\x40\0\0\0PE\0\0\x4c\x01"


async def look(content: bytes, name: str = "x", declared: str | None = None, *allowed: str) -> Content:
    incoming = Incoming(io.BytesIO(content), len(content), name, declared)
    found = await inspect(incoming, frozenset(allowed) or FILE_TYPES, field=["file"])
    assert incoming.content.tell() == 0
    return found


async def refusal(content: bytes, name: str = "x", declared: str | None = None, *allowed: str) -> str:
    with pytest.raises(Invalid) as caught:
        await look(content, name, declared, *allowed)
    assert caught.value.field == ["file"]
    return caught.value.code


@pytest.mark.parametrize(
    "content,name,declared,content_type",
    [
        (PNG, "a.png", "image/png", "image/png"),
        (PNG, "a.PNG", None, "image/png"),
        (PNG, "no extension", "application/octet-stream", "image/png"),
        (PNG, "photo.backup", "IMAGE/PNG; x=y", "image/png"),
        (JPEG, "a.jpg", "image/jpg", "image/jpeg"),
        (JPEG, "a.jfif", "image/pjpeg", "image/jpeg"),
        (GIF, "a.gif", "image/gif", "image/gif"),
        (WEBP, "a.webp", "image/webp", "image/webp"),
        (b"GIF89a/*<script>alert(1)</script>*/", "a.gif", "image/gif", "image/gif"),
        (PDF, "a.pdf", "application/x-pdf", "application/pdf"),
        (ZIP, "a.zip", "application/x-zip-compressed", "application/zip"),
        (MP3, "cover picture.mp3", "audio/mp3", "audio/mpeg"),
        (OGG, "a.ogg", "video/ogg", "audio/ogg"),
        (OGG, "a.opus", "audio/opus", "audio/ogg"),
        (MP4, "a.mp4", "video/mp4", "video/mp4"),
        (MP4, "a.m4a", "audio/x-m4a", "video/mp4"),
        (WEBM, "voice.weba", "audio/webm", "video/webm"),
        (b"a", "a.txt", "text/plain", "text/plain"),
        (b"\n", "a", None, "text/plain"),
        ("Grüße 日本 👋".encode(), "a.txt", "text/plain; charset=utf-8", "text/plain"),
        ("\ufeffwide".encode("utf-16"), "a.txt", None, "text/plain"),
        ("é".encode() * 40_000, "a.txt", None, "text/plain"),
        ("caf\xe9 cr\xe8me".encode("latin-1"), "a.txt", None, "text/plain"),
        (b"# T\n\n<table><tr><td>x</table>\n", "README.md", "text/markdown", "text/plain"),
        (b"a,b\n1,2\n", "a.csv", "application/vnd.ms-excel", "text/plain"),
        (b'{"a": 1}', "a.json", "application/json", "text/plain"),
        (b"#!/usr/bin/env python3\nimport os\n", "a.py", "text/x-python-script", "text/plain"),
        (b"const a = () => 1;\nexport default a;\n", "a.ts", "video/mp2t", "text/plain"),
        (b"#!/bin/sh\necho\n", "a.sh", "application/x-sh", "text/plain"),
        (b"a: 1\n", "a.yaml", "application/yaml", "text/plain"),
        (b"if a < b and c > d:\n", "a.txt", None, "text/plain"),
        (b"<alice> hello\n<bob> hi\n", "chat.log", None, "text/plain"),
    ],
)
async def test_accepted(content: bytes, name: str, declared: str | None, content_type: str) -> None:
    assert (await look(content, name, declared)).content_type == content_type


@pytest.mark.parametrize(
    "content,name,declared",
    [
        (HTML, "a.png", "image/png"),
        (SVG, "a.png", None),
        (b"hello", "a.png", "image/png"),
        (os.urandom(500) + b"\0", "a.png", "image/png"),
        (PNG, "a.jpg", None),
        (PNG, "a.png", "image/jpeg"),
        (PNG, "a.html", "image/png"),
        (PNG, "a.png.html", None),
        (PNG, "a.svg", None),
        (PNG, "a.txt", None),
        (PNG, "a.exe", None),
        (PNG, "a.html. ", None),
        (PNG, "a", "text/html"),
        (GIF, "a.js", "image/gif"),
        (PDF, "a.txt", "text/plain"),
        (PDF, "a", "application/msword"),
        (ZIP, "a.docx", None),
        (ZIP, "a.jar", None),
        (PROGRAM, "a.pdf", "application/pdf"),
        (b"plain", "a.pdf", None),
        (b"plain", "a.exe", None),
        (b"plain", "a", "audio/mpeg"),
    ],
)
async def test_what_claims_to_be_something_else(content: bytes, name: str, declared: str | None) -> None:
    assert await refusal(content, name, declared) == "FILE_TYPE_MISMATCH"


@pytest.mark.parametrize(
    "content,name,declared",
    [
        (HTML, "a.html", "text/html"),
        (HTML, "a.txt", "text/plain"),
        (HTML, "a", None),
        (b" " * 3000 + HTML, "a.txt", "text/plain"),
        (b"\n\t\f " * 10_000 + HTML, "a.txt", "text/plain"),
        (b"\xef\xbb\xbf<html>", "a.txt", None),
        ("<html><script>".encode("utf-16"), "a.txt", None),
        ("<html><script>".encode("utf-16-be"), "a", None),
        (b"<!-- x --><script>alert(1)</script>", "a.txt", None),
        (b"<ScRiPt>alert(1)</ScRiPt>", "a.txt", None),
        (b"<b>bold</b>", "a.txt", None),
        (b"<img src=x onerror=alert(1)>", "a.txt", None),
        (b"<iframe/src=x>", "a.md", "text/markdown"),
        (SVG, "a.svg", "image/svg+xml"),
        (SVG, "a.txt", None),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "a.xml", "text/xml"),
        (b"<!DOCTYPE svg>", "a", None),
        (b'<?xml version="1.0"?><a/>', "a.xml", "application/xml"),
        (b"plain", "a.html", None),
        (b"plain", "a.hta", None),
        (b"plain", "a", "image/svg+xml"),
        (b"alert(1)", "a.js", None),
        (b"alert(1)", "a.txt", "application/javascript"),
        (b"{\\rtf1 x}", "a.rtf", "application/rtf"),
        (b"%!PS-Adobe-3.0\n", "a.ps", None),
        (b"From: <Saved by Blink>\nMIME-Version: 1.0\nContent-Type: multipart/related;\n\n", "a.mhtml", None),
        (PROGRAM, "a.exe", "application/x-msdownload"),
        (b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x02\0\x3e\0", "a", None),
        (os.urandom(500) + b"\0", "a.bin", None),
        (b"\0", "a", None),
        (zipped("[Content_Types].xml", "_rels/.rels", "word/document.xml"), "a.docx", None),
    ],
)
async def test_what_is_not_accepted(content: bytes, name: str, declared: str | None) -> None:
    assert await refusal(content, name, declared) == "FILE_TYPE_NOT_ALLOWED"


async def test_empty() -> None:
    assert await refusal(b"", "a.png", "image/png") == "FILE_EMPTY"


async def test_the_list_of_the_settings_decides() -> None:
    assert (await look(SVG, "a.svg", None, "image/svg+xml")) == Content("image/svg+xml")
    assert (await look(JPEG, "a.jpg", None, "image/jpg")).content_type == "image/jpeg"
    assert (await look(b"alert(1)", "a.js", None, "text/javascript")).content_type == "text/javascript"
    assert await refusal(PNG, "a.png", None, "text/plain") == "FILE_TYPE_NOT_ALLOWED"
    assert await refusal(b"x", "a.txt", None, "image/png") == "FILE_TYPE_NOT_ALLOWED"
    with pytest.raises(
        Invalid, match=r"application/gzip are not accepted\. Accepted are: application/pdf, application/zip"
    ):
        await look(b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "a.gz")


@pytest.mark.parametrize(
    "content,size",
    [
        (png(40, 30), (40, 30)),
        (png(50_000, 50_000), (50_000, 50_000)),
        (jpeg(40, 30), (40, 30)),
        (jpeg(40, 30, orientation=6), (30, 40)),
        (jpeg(40, 30, padding=3), (40, 30)),
        (gif(40, 30), (40, 30)),
        (WEBP, (40, 30)),
        (png(0, 30), None),
        (png(2**32 - 1, 30), None),
        (png(40, 30)[:20], None),
        (jpeg(40, 30, padding=20), None),  # further than is looked
        (PDF, None),
        (b"text", None),
    ],
)
async def test_dimensions_as_shown_or_none(content: bytes, size: tuple[int, int] | None) -> None:
    found = await look(content)
    assert (found.width, found.height) == (size or (None, None))


async def test_hostile_headers_cost_little() -> None:
    tiny_segments = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0" + b"\xff\xe1\0\x02" * 5_000_000
    begun = time.process_time()
    assert await look(tiny_segments) == Content("image/jpeg")
    bomb = zipped(*(f"{number}.txt" for number in range(1000))) + b"\0" * 20_000_000
    assert await look(bomb) == Content("application/zip")
    assert time.process_time() - begun < 5


def test_the_wheel_serves_systems_without_libmagic() -> None:
    program = """
import ctypes.util, os
constructor, before = ctypes.CDLL.__init__, dict(os.environ)
ctypes.util.find_library = lambda name: None  # as where there is none
load = ctypes.CDLL.__init__
def only_by_path(self, name, *arguments, **options):
    if name == "libmagic.so.1":
        raise OSError("no such library")
    load(self, name, *arguments, **options)
ctypes.CDLL.__init__ = only_by_path
from app.storage import sniffing
assert ctypes.CDLL.__init__ is only_by_path, "left as it was"
assert dict(os.environ) == before, "left as it was"
print(sniffing.magic.libmagic._name, sniffing.content_type(b"GIF89a" + bytes(20)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    library, found = done.stdout.split()
    assert "pylibmagic" in library
    assert found == "image/gif"


def test_the_start_waits_for_none_of_it() -> None:
    program = "import sys, app.main; print(*sorted({'magic', 'boto3', 'botocore', 'imagesize'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""
