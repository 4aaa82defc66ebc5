"""What the sender of a file may put into it and call it: the real program, with both storages."""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

from tests.file_places import (  # noqa: F401 - with fixtures
    STRICT,
    TO_FILE,
    Place,
    clean_place,
    either_place,
    files_in_s3,
    files_on_disk,
    make_node,
    on_the_disk,
    placed,
)
from tests.forms import Part, operations
from tests.nodes import running
from tests.served import code
from tests.test_content import png, zipped
from tests.uploads import UPLOAD, Sent, send_file, send_form, upload

KEY = re.compile(r"[a-z0-9]{32}")
DISPOSITION = re.compile(r"attachment; filename=\"([^\"]*)\"; filename\*=UTF-8''([^; ]*)")
CREATE_REACTION = (
    "mutation ($input: CreateReactionInput!) "
    "{ createReaction(input: $input) { reaction { imageUrl } errors { code field } } }"
)
HTML = b"<!DOCTYPE html><html><body><script>alert(1)</script></body></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
GIF = b"GIF89a/*\x01\x00\x01\x00*/=1;<script>alert(1)</script>"
PDF = b"%PDF-1.7\n1 0 obj\n<</Type/Catalog/OpenAction<</S/JavaScript/JS(app.alert\\(1\\))>>>>\nendobj\n%%EOF\n"


# ---------------------------------------------------------------- what is in it
REFUSED: dict[str, tuple[Sent, str]] = {
    "HTML as an image": (Sent(HTML, "cat.png", "image/png"), "FILE_TYPE_MISMATCH"),
    "HTML as text": (Sent(HTML, "cat.txt", "text/plain"), "FILE_TYPE_NOT_ALLOWED"),
    "HTML behind spaces": (Sent(b" " * 3000 + HTML, "cat.txt", "text/plain"), "FILE_TYPE_NOT_ALLOWED"),
    "HTML behind spaces as an image": (Sent(b" " * 3000 + HTML, "cat.png", "image/png"), "FILE_TYPE_MISMATCH"),
    "HTML as itself": (Sent(HTML, "cat.html", "text/html"), "FILE_TYPE_NOT_ALLOWED"),
    "HTML in UTF-16": (Sent(HTML.decode().encode("utf-16"), "cat.txt", "text/plain"), "FILE_TYPE_NOT_ALLOWED"),
    "SVG with a script": (Sent(SVG, "cat.svg", "image/svg+xml"), "FILE_TYPE_NOT_ALLOWED"),
    "SVG as an image": (Sent(SVG, "cat.png", "image/png"), "FILE_TYPE_MISMATCH"),
    "SVG in XML": (Sent(b"<?xml version='1.0'?>\n" + SVG, "cat.xml", "text/xml"), "FILE_TYPE_NOT_ALLOWED"),
    "an image for a page": (Sent(GIF, "cat.html", "text/html"), "FILE_TYPE_MISMATCH"),
    "an image for a script": (Sent(GIF, "cat.js", "image/gif"), "FILE_TYPE_MISMATCH"),
    "nothing": (Sent(b"", "cat.png", "image/png"), "FILE_EMPTY"),
    "nothing of no type": (Sent(b"", "cat", ""), "FILE_EMPTY"),
    "a program as an image": (Sent(b"MZ" + bytes(300), "cat.png", "image/png"), "FILE_TYPE_MISMATCH"),
    "a script as PDF": (
        Sent(b"#!/bin/sh\nrm -rf ~\n", "cat.pdf", "application/pdf"),
        "FILE_TYPE_MISMATCH",
    ),
}


@pytest.mark.parametrize("sent, refusal", [pytest.param(*case, id=name) for name, case in REFUSED.items()])
async def test_content_that_may_not_come_is_refused_and_not_kept(place: Place, sent: Sent, refusal: str) -> None:
    there = place.objects()
    payload = await send_file(place.alice, place.channel, sent)
    assert ([error["code"] for error in payload["errors"]], payload["file"]) == ([refusal], None)
    assert place.objects() == there


@pytest.mark.parametrize(
    "sent, content_type",
    [
        pytest.param(Sent(GIF, "cat.gif", "image/gif"), "image/gif", id="GIF with a script"),
        pytest.param(Sent(PDF, "cat.pdf", "application/pdf"), "application/pdf", id="PDF with a script"),
        pytest.param(Sent(b"a < b\n" + HTML, "cat.txt", "text/plain"), "text/plain", id="text with HTML in it"),
        pytest.param(Sent(zipped("x.html") + HTML, "cat.zip", ""), "application/zip", id="ZIP with HTML behind it"),
    ],
)
async def test_what_is_two_things_at_once_is_only_ever_saved(place: Place, sent: Sent, content_type: str) -> None:
    """Whatever a page asks for, and whoever asks."""
    file_id = await upload(place.alice, place.channel, sent)
    for headers in ({}, {"accept": "text/html"}, {"range": f"bytes={sent.content.index(b'<')}-"}):
        answer = await place.get(file_id, **headers)
        assert answer.status_code in {200, 206}
        assert sent.content.endswith(answer.content)
        assert answer.headers["content-type"].split(";")[0] == content_type
        assert DISPOSITION.fullmatch(answer.headers["content-disposition"])
        assert "set-cookie" not in answer.headers
        if place.node.url in str(answer.url):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"


async def test_pages_that_an_operator_allows_are_saved_too(tmp_path: Path, new_database: Callable[[str], str]) -> None:
    folder, url = tmp_path / "open", new_database("parley_hostile_open")
    async with running(make_node(folder, url, ALLOWED_FILE_TYPES="text/html,image/svg+xml", **STRICT)) as (node,):
        place = await placed(node, on_the_disk(folder))
        for sent in (Sent(HTML, "a.html", "text/html"), Sent(SVG, "a.svg", "image/svg+xml")):
            answer = await place.get(await upload(place.alice, place.channel, sent), accept="text/html")
            assert answer.content == sent.content
            assert DISPOSITION.fullmatch(answer.headers["content-disposition"])
            assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        # As an image of everybody's they stay out.
        given = {"code": "cat", "image": None}
        root = await node.person("root", admin=True)
        body = await send_form(root, CREATE_REACTION, {"input.image": Sent(SVG, "a.svg", "image/svg+xml")}, input=given)
        [error] = body["data"]["createReaction"]["errors"]
        assert (error["code"], error["field"]) == ("FILE_TYPE_NOT_ALLOWED", ["image"])


async def test_an_image_that_is_shown_is_nothing_but_an_image(place: Place) -> None:
    """Everybody in the workspace sees it, and by its address anybody: as what it is, whatever else is in it."""
    root = await place.node.person("root", admin=True)
    refused = {
        "FILE_TYPE_NOT_ALLOWED": [
            Sent(SVG, "a.svg", "image/svg+xml"),
            Sent(HTML, "a.html", ""),
            Sent(PDF, "a.pdf", ""),
        ],
        "FILE_TYPE_MISMATCH": [Sent(HTML, "a.png", "image/png"), Sent(SVG, "a", "image/png")],
        "FILE_TOO_LARGE": [Sent(png(9, 9) + bytes(512 * 1024), "a.png", "image/png")],
        "INVALID_INPUT": [
            Sent(png(1025, 5), "a.png", "image/png"),
            Sent(png(0, 0), "a.png", "image/png"),
            Sent(GIF, "a.gif", ""),
        ],
        "FILE_EMPTY": [Sent(b"", "a.png", "image/png")],
    }
    there, given = place.objects(), {"code": "cat", "image": None}
    for code_, files in refused.items():
        for sent in files:
            body = await send_form(root, CREATE_REACTION, {"input.image": sent}, input=given)
            [error] = body["data"]["createReaction"]["errors"]
            assert (error["code"], error["field"]) == (code_, ["image"]), sent
    assert place.objects() == there
    two = Sent(png(9, 9) + HTML, "a.png", "image/png")
    body = await send_form(root, CREATE_REACTION, {"input.image": two}, input=given)
    address = httpx.URL(body["data"]["createReaction"]["reaction"]["imageUrl"])
    async with httpx.AsyncClient() as reader:
        moved = await reader.get(address, headers={"accept": "text/html"})
        assert moved.status_code == 302
        shown = await reader.get(moved.headers["location"], headers={"accept": "text/html"})
        assert (shown.status_code, shown.content, shown.headers["content-type"]) == (200, two.content, "image/png")
        if place.node.url in str(shown.url):
            assert shown.headers["x-content-type-options"] == "nosniff"
            assert shown.headers["content-security-policy"] == "default-src 'none'; sandbox"
        for other in ("x.png", "%2e%2e/graphql", "x%00.png", address.path[17:].replace("png", "html")):
            assert (
                await reader.get(address.copy_with(raw_path=b"/reaction-images/" + other.encode()))
            ).status_code == 404


# ---------------------------------------------------------------- what it is called
NAMES: dict[str, tuple[bytes, str]] = {
    "traversal": (b"../../etc/x.txt", "x.txt"),
    "traversal of another system": (rb"..\\..\\windows\\x.txt", "x.txt"),
    "absolute": (b"/etc/passwd", "passwd"),
    "dots": (b"..", "file"),
    "a parameter": (b'a\\"; filename=evil.txt', 'a"; filename=evil.txt'),
    "a parameter, as browsers write it": (b"a%22; filename=evil.txt", 'a"; filename=evil.txt'),
    "a header, as browsers write it": (b"a%0D%0AX-Evil: 1.txt", "aX-Evil: 1.txt"),
    "NUL": (b"a\0.html\0.txt", "a.html.txt"),
    "escapes": (b"a\x1b[31mred\x07.txt", "a[31mred.txt"),
    "written from the right": ("photo\u202etxt.png.txt".encode(), "phototxt.png.txt"),
    "isolates": ("\u2066a\u2069\u200f.txt".encode(), "a.txt"),
    "long": (b"x" * 3900 + b".txt", "x" * 251 + ".txt"),
    "long in Unicode": ("日".encode() * 1300 + b".txt", "日" * 251 + ".txt"),
    "an extension of any length": (b"x." + b"y" * 3000, "x." + "y" * 253),
    "emoji": ("🏊 cat 👩\u200d💻.txt".encode(), "🏊 cat 👩\u200d💻.txt"),
    "nothing that is seen": ("\u200b\ufeff\u202e".encode(), "file"),
    "markup": (b"<img src=x onerror=alert(1)>.txt", "<img src=x onerror=alert(1)>.txt"),
    "a formula of a shell": (b"$(id)`id`;id|id.txt", "$(id)`id`;id|id.txt"),
    "percent": (b"100%2e%2e%2fx.txt", "100%2e%2e%2fx.txt"),
}


@pytest.mark.parametrize("sent, name", [pytest.param(*case, id=title) for title, case in NAMES.items()])
async def test_a_name_is_shown_and_nothing_else(place: Place, sent: bytes, name: str) -> None:
    there = place.objects()
    head = b'Content-Disposition: form-data; name="a"; filename="%s"\r\nContent-Type: text/plain' % sent
    file_id, stored = await place.stored_name(Part("a", b"Hello!", head=head))
    assert stored == name
    assert stored.isprintable() or "\u200d" in stored
    assert len(stored) <= 255
    [key] = place.objects() - there
    assert KEY.fullmatch(key), "the server's own"
    answer = await place.get(file_id)
    assert (answer.status_code, answer.content) == (200, b"Hello!")
    match = DISPOSITION.fullmatch(answer.headers["content-disposition"])
    assert match, answer.headers["content-disposition"]
    assert match[0].isascii()
    assert unquote(match[2], errors="strict") == stored
    assert not {"/", "\\", "%", "\r", "\n"} & {*match[1]}
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize("sent", [b"\xff\xfe.txt", b"a\r\nX-Evil: 1\r\n\r\nb.txt", b"x" * 5000, b"x" * 20_000])
async def test_a_name_that_cannot_be_read_is_a_bad_request(place: Place, sent: bytes) -> None:
    there = place.objects()
    head = b'Content-Disposition: form-data; name="a"; filename="%s"' % sent
    given = {"channelId": place.channel, "file": None}
    answer = await place.raw(operations(UPLOAD, input=given), TO_FILE, Part("a", b"Hello!", head=head))
    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")
    assert place.objects() == there
