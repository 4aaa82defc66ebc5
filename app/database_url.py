"""From the URL that people have (`postgres://...?sslmode=require`) to the one that SQLAlchemy and asyncpg take."""

import re
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

EXPECTED = "a URL such as postgresql://user:password@host:5432/database"
ESCAPES = "in the password write '/' as %2F, '?' as %3F, '#' as %23, '@' as %40"
SCHEMES = frozenset({"postgresql", "postgres", "postgresql+asyncpg"})
# libpq's name for a parameter -> the name of asyncpg.connect's argument.
PARAMETERS = {name: name for name in ("host", "port", "ssl", "target_session_attrs")} | {"sslmode": "ssl"}
SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
LARGEST_PORT = 65_535


def database_url(url: str) -> str:
    """`url` as postgresql+asyncpg://...; raises ValueError saying what is expected, without repeating the password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"{EXPECTED}; {ESCAPES}") from None
    if parts.scheme not in SCHEMES:
        raise ValueError(EXPECTED)
    if parts.fragment:
        raise ValueError(f"{EXPECTED}; {ESCAPES}")
    if not parts.path.strip("/"):
        raise ValueError(f"{EXPECTED}; it names no database")
    query = _query(parts.query)

    login = "" if parts.username is None else quote(unquote(parts.username), safe="")
    if parts.password is not None:
        login += ":" + quote(unquote(parts.password), safe="")
    host = unquote(parts.hostname or "")
    if host.startswith("/"):  # libpq also takes the folder of a socket in the host's place
        query, host = {"host": host, **query}, ""
    elif ":" in host:
        host = f"[{host}]"
    address = host if port is None else f"{host}:{port}"
    database = quote(unquote(parts.path[1:]), safe="")
    where = f"{login}@{address}" if login else address
    return f"postgresql+asyncpg://{where}/{database}" + (f"?{urlencode(query, safe='/')}" if query else "")


def _query(query: str) -> dict[str, str]:
    found = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(found.keys() - PARAMETERS.keys()):
        advice = "; for a root certificate set PGSSLROOTCERT" if "sslrootcert" in unknown else ""
        raise ValueError(f"a URL whose parameters are among {', '.join(PARAMETERS)}, not {', '.join(unknown)}{advice}")
    translated = {PARAMETERS[name]: value for name, value in found.items()}
    if translated.get("ssl", "prefer") not in SSL_MODES:
        raise ValueError(f"a URL whose sslmode is one of {', '.join(sorted(SSL_MODES))}")
    port = translated.get("port", "1")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) <= LARGEST_PORT:
        raise ValueError(f"a URL whose port is a number from 1 to {LARGEST_PORT}")
    return translated
