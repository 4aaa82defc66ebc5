"""Everything that can be configured, read once from the environment and `.env`. docs/configuration.md describes it."""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from starlette.config import Config

from app.database_url import LARGEST_PORT, database_url

T = TypeVar("T")

SWITCH = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
ORIGIN = r"https?://[^/\s*]+"
MEDIA_TYPE = r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*"  # RFC 6838, section 4.2, in lower case
LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"  # RFC 1123, section 2.1
DATA_DIR = Path(".parley")
FILE_TYPES = frozenset(
    {
        *("image/gif", "image/jpeg", "image/png", "image/webp"),
        *("audio/mpeg", "audio/ogg", "video/mp4", "video/webm"),
        *("application/pdf", "application/zip", "text/plain"),
    }
)
TOGETHER = (("AUTH0_DOMAIN", "AUTH0_API_IDENTIFIER"), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))


class StartError(Exception):
    """A command cannot do its work: one line for the person at the terminal, what is wrong and what to do."""


class SettingsError(StartError):
    """One line per problem: the variable, what it has, what was expected."""


# A parser turns the text of a variable into its value; its ValueError completes the sentence "PORT must be ...".


def _number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(text)

    return parse


def _choice(*words: str) -> Callable[[str], Any]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError("one of " + ", ".join(words))
        return text.lower()

    return parse


def _matching(pattern: str, expected: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(expected)
        return text

    return parse


def _list(parse: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    return lambda text: tuple(parse(item.strip()) for item in text.split(",") if item.strip())


def _switch(text: str) -> bool:
    if text.lower() not in SWITCH:
        raise ValueError("on or off")
    return SWITCH[text.lower()]


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # `~name` of somebody whom this system does not know
        raise ValueError("a path; there is no such home folder") from None


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError("a comma-separated list of addresses or networks, such as 10.0.0.0/8") from None


_origin = _matching(ORIGIN, "a comma-separated list of origins such as https://chat.example.org, without a path")
_base = _matching(ORIGIN, "an address such as https://chat.example.org, without a path")
_media_type = _matching(MEDIA_TYPE, "a comma-separated list of media types such as image/png,application/pdf")


def _domain(text: str) -> str:
    parts = re.fullmatch(rf"{LABEL}(\.{LABEL})*(:(?P<port>[1-9][0-9]{{0,4}}))?", text)
    if parts is None or int(parts["port"] or 1) > LARGEST_PORT:
        expected = "a host name, with a port if need be, such as tenant.eu.auth0.com"
        raise ValueError(f"{expected}, without https:// and without a path")
    return text.lower()  # as issuers write their `iss`, which is compared to the letter


def _redis_url(text: str) -> str:
    expected = "a URL such as redis://:password@host:6379/0, or rediss:// for TLS"
    try:
        parts = urlsplit(text)
        if parts.scheme in {"redis", "rediss"} and parts.hostname and parts.port != 0:
            return text
    except ValueError:  # in the words of urllib, about brackets or the port
        pass
    raise ValueError(expected)


def _setting(parse: Callable[[str], Any], default: T, *, secret: bool = False, name: str | None = None) -> T:
    # repr: what may hold a secret must not reach a log.
    found: T = field(default=default, repr=not secret, metadata={"parse": parse, "secret": secret, "name": name})
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Each field is the variable of the same name in capitals (`data_dir`: PARLEY_DATA_DIR)."""

    db_url: str | None = _setting(database_url, None, secret=True)
    db_pool_size: int = _setting(_number(1, 1000), 10)
    redis_url: str | None = _setting(_redis_url, None, secret=True)
    data_dir: Path = _setting(_path, DATA_DIR, name="PARLEY_DATA_DIR")  # noqa: RUF009 # a field

    auth0_domain: str | None = _setting(_domain, None)
    auth0_api_identifier: str | None = _setting(str, None)

    host: str = _setting(_matching(r"[A-Za-z0-9.:_-]+", "an address or a host name, such as 0.0.0.0"), "127.0.0.1")
    port: int = _setting(_number(0, LARGEST_PORT), 8000)
    metrics_port: int | None = _setting(_number(1, LARGEST_PORT), None)
    public_url: str | None = _setting(_base, None)
    trusted_proxies: tuple[str, ...] = _setting(_list(_network), ())
    cors_allow_origins: tuple[str, ...] = _setting(_list(_origin), ())
    graphiql: bool = _setting(_switch, default=True)
    introspection: bool = _setting(_switch, default=True)
    persisted_documents: Path | None = _setting(_path, None)  # noqa: RUF009 # a field
    persisted_documents_only: bool = _setting(_switch, default=False)
    automatic_persisted_queries: bool = _setting(_switch, default=False)
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        _choice("debug", "info", "warning", "error"), "info"
    )

    # A request body is at most 128 KB, and a character in JSON up to 12 bytes.
    max_message_length: int = _setting(_number(1, 10_000), 8000)
    event_retention_days: int = _setting(_number(1, 36_500), 7)
    reaction_creation: Literal["admin", "anyone"] = _setting(_choice("admin", "anyone"), "admin")
    max_websocket_connections_per_user: int = _setting(_number(1, 1_000_000), 5)
    max_total_websocket_connections: int = _setting(_number(1, 1_000_000), 1000)

    aws_access_key_id: str | None = _setting(str, None, secret=True)
    aws_secret_access_key: str | None = _setting(str, None, secret=True)
    aws_session_token: str | None = _setting(str, None, secret=True)
    # The rules of S3 for the names of buckets.
    aws_s3_bucket_name: str | None = _setting(
        _matching(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "the name of a bucket, such as parley-files"), None
    )
    # boto3 reads it too, but not from `.env`.
    aws_endpoint_url_s3: str | None = _setting(
        _matching(rf"{ORIGIN}(/\S*)?", "a URL such as https://s3.example.org"), None
    )
    # What clients use where that differs.
    aws_s3_public_url: str | None = _setting(_base, None)
    aws_s3_region: str = _setting(_matching(r"[a-z0-9-]+", "the name of a region, such as eu-central-1"), "us-east-1")
    max_file_size_mb: int = _setting(_number(1, 2047), 50)  # in bytes it is an Int of GraphQL
    allowed_file_types: frozenset[str] = _setting(lambda text: frozenset(_list(_media_type)(text.lower())), FILE_TYPES)

    @property
    def base_url(self) -> str:
        """Where clients reach the server, without a slash at the end."""
        if self.public_url is not None:
            return self.public_url
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not listened on
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def max_file_size_bytes(self) -> int:
        return self.max_file_size_mb * 1024 * 1024

    @property
    def loopback(self) -> bool:
        """Whether `host` lets only programs of this machine in."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def load_settings(environ: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")) -> Settings:
    """Read and check all settings; the environment wins over the file, and an empty value counts as unset.

    Raises SettingsError with every problem that there is.
    """
    if env_file is not None and not env_file.exists():
        env_file = None
    try:
        config = Config(env_file, environ=os.environ if environ is None else environ)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The settings file {env_file} cannot be read: {error}.") from None

    problems: list[str] = []
    values: dict[str, Any] = {}
    for entry in fields(Settings):
        name = entry.metadata["name"] or entry.name.upper()
        text = _text(config, name)
        if not text:
            continue
        try:
            values[entry.name] = entry.metadata["parse"](text)
        except ValueError as expected:
            has = "has a wrong value (not shown: it may hold a secret)" if entry.metadata["secret"] else f"is '{text}'"
            problems.append(f"{name} {has}, but must be {expected}.")
    for pair in TOGETHER:
        given = [name for name in pair if _text(config, name)]
        if len(given) == 1:
            problems.append(f"{given[0]} is set, so set {' and '.join(set(pair) - set(given))} too.")
    problems += _contradictions(values)
    if problems:
        raise SettingsError("\n".join(problems))
    return Settings(**values)


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    if not values.get("persisted_documents_only"):
        return []
    problems = []
    if "persisted_documents" not in values:
        advice = "so set PERSISTED_DOCUMENTS too, to the manifest of the documents that may run."
        problems.append(f"PERSISTED_DOCUMENTS_ONLY is on, {advice}")
    if values.get("automatic_persisted_queries"):
        advice = "which lets clients add documents, cannot be on together. Switch one of them off."
        problems.append(f"PERSISTED_DOCUMENTS_ONLY and AUTOMATIC_PERSISTED_QUERIES, {advice}")
    return problems


def _text(config: Config, name: str) -> str:
    return config(name, default="").strip()
