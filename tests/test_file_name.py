"""Names of files: what is kept of what clients send, and what headers are made of it."""

import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.storage.file_name import clean_name, content_disposition


@pytest.mark.parametrize(
    "sent,kept",
    [
        ("report.pdf", "report.pdf"),
        ("  spaced name .pdf ", "spaced name .pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\alice\\photo.png", "photo.png"),
        ("/", "file"),
        ("folder/", "file"),
        ("", "file"),
        ("..", "file"),
        (" . . ", "file"),
        (".htaccess", "htaccess"),
        ("evil.html.", "evil.html"),
        ("evil.html. .", "evil.html"),
        ("a\0b.png", "ab.png"),
        ("a\r\nSet-Cookie: x.png", "aSet-Cookie: x.png"),
        ("exe.\u202egnp.scr", "exe.gnp.scr"),
        ("\u2066a\u2069.txt", "a.txt"),
        ("\ufeffa\u200b.txt", "a.txt"),
        ("\u200d", "file"),
        ("a\ud800.txt", "a.txt"),
        ("cafe\u0301.txt", "caf\u00e9.txt"),
        ("👩\u200d💻.png", "👩\u200d💻.png"),
        ("日本語.txt", "日本語.txt"),
        ("x" * 5000 + ".png", "x" * 251 + ".png"),
        ("x" * 5000, "x" * 255),
        ("x." + "y" * 5000, "x." + "y" * 253),
    ],
)
def test_names_are_cleaned(sent: str, kept: str) -> None:
    assert clean_name(sent) == kept


@given(st.text(max_size=600))
def test_any_name_becomes_one_that_can_be_shown(sent: str) -> None:
    name = clean_name(sent)
    assert 1 <= len(name) <= 255
    assert not {"/", "\\"} & set(name)
    assert not {"Cc", "Cs", "Zl", "Zp"} & {unicodedata.category(char) for char in name}
    assert clean_name(name) == name


@given(st.text(max_size=300).map(clean_name), st.booleans())
def test_a_header_holds_the_whole_name_and_nothing_else(name: str, inline: bool) -> None:
    value = content_disposition(name, inline=inline)
    assert value.isascii()
    assert value.isprintable()
    kind, fallback, extended = value.split("; ", 2) if value.count("; ") == 2 else value.split("; ")
    assert kind == ("inline" if inline else "attachment")
    assert fallback.startswith('filename="')
    assert fallback.endswith('"')
    assert not {'"', "\\", "%", ";", "/"} & set(fallback.removeprefix('filename="')[:-1])
    assert unquote(extended.removeprefix("filename*=UTF-8''"), errors="strict") == name


@pytest.mark.parametrize(
    "name,value",
    [
        ("a b.txt", "attachment; filename=\"a b.txt\"; filename*=UTF-8''a%20b.txt"),
        (
            'a"; filename=evil.html',
            "attachment; filename=\"a__ filename=evil.html\"; filename*=UTF-8''a%22%3B%20filename%3Devil.html",
        ),
        ("r\u00e9sum\u00e9.pdf", "attachment; filename=\"resume.pdf\"; filename*=UTF-8''r%C3%A9sum%C3%A9.pdf"),
        ("100%.txt", "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
    ],
)
def test_headers_that_clients_have_trouble_with(name: str, value: str) -> None:
    assert content_disposition(name) == value
