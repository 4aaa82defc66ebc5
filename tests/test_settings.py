"""What the environment and `.env` may say, and what a bad value is answered."""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from app.settings import Settings, SettingsError, load_settings


def load(**environ: str) -> Settings:
    return load_settings(environ, env_file=None)


def problem(**environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(**environ)
    return str(caught.value)


def test_nothing_has_to_be_set() -> None:
    settings = load()
    assert (settings.host, settings.port, settings.db_url, settings.loopback) == ("127.0.0.1", 8000, None, True)
    assert (settings.max_websocket_connections_per_user, settings.max_total_websocket_connections) == (5, 1000)
    assert (settings.aws_s3_region, settings.max_file_size_mb) == ("us-east-1", 50)
    assert "image/png" in settings.allowed_file_types


def test_an_empty_value_counts_as_unset() -> None:
    assert load(PORT="", AUTH0_DOMAIN=" ") == load()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# a comment\nPORT=9001\nHOST='::1'\n", encoding="utf-8")
    settings = load_settings({"PORT": "9002"}, env_file=file)
    assert (settings.port, settings.host, settings.loopback) == (9002, "::1", True)


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"PORT=\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings({}, env_file=file)


@pytest.mark.parametrize(
    "name,value,expected",
    [
        ("PORT", "abc", "a whole number from 0 to 65535"),
        ("PORT", "65536", "a whole number from 0 to 65535"),
        ("PORT", "8000 # comment", "a whole number from 0 to 65535"),
        ("DB_POOL_SIZE", "0", "a whole number from 1 to 1000"),
        ("EVENT_RETENTION_DAYS", "0", "a whole number from 1"),
        ("MAX_FILE_SIZE_MB", "-1", "a whole number from 1"),
        ("HOST", "http://localhost", "an address or a host name"),
        ("AUTH0_DOMAIN", "https://tenant.auth0.com", "without https://"),
        ("AUTH0_DOMAIN", "tenant.auth0.com/path", "without a path"),
        ("AUTH0_DOMAIN", "tenant..auth0.com", "a host name"),
        ("AUTH0_DOMAIN", "tenant.auth0.com.", "a host name"),
        ("AUTH0_DOMAIN", "tenant-.auth0.com", "a host name"),
        ("AUTH0_DOMAIN", "x" * 64 + ".auth0.com", "a host name"),
        ("AUTH0_DOMAIN", "tenant.auth0.com:0", "with a port"),
        ("AUTH0_DOMAIN", "tenant.auth0.com:0443", "with a port"),
        ("AUTH0_DOMAIN", "tenant.auth0.com:65536", "with a port"),
        ("AUTH0_DOMAIN", "tenant.auth0.com:99999", "with a port"),
        ("CORS_ALLOW_ORIGINS", "*", "a comma-separated list of origins"),
        ("CORS_ALLOW_ORIGINS", "https://a.example,https://b.example/", "without a path"),
        ("TRUSTED_PROXIES", "proxy.example.org", "addresses or networks"),
        ("GRAPHIQL", "maybe", "on or off"),
        ("LOG_LEVEL", "loud", "one of debug, info, warning, error"),
        ("REACTION_CREATION", "nobody", "one of admin, anyone"),
        ("ALLOWED_FILE_TYPES", "image/png,pdf", "a comma-separated list of media types"),
        ("AWS_S3_BUCKET_NAME", "My_Bucket", "the name of a bucket"),
        ("AWS_S3_REGION", "us east", "the name of a region"),
    ],
)
def test_a_bad_value_names_its_variable_and_what_was_expected(name: str, value: str, expected: str) -> None:
    line = problem(**{name: value}).splitlines()[0]
    assert line.startswith(f"{name} is '{value}', but must be ")
    assert expected in line


@pytest.mark.parametrize(
    "given_domain,expected",
    [
        ("Tenant.EU.auth0.com", "tenant.eu.auth0.com"),
        ("Issuer.example.org:65535", "issuer.example.org:65535"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("localhost:1", "localhost:1"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_domain_of_the_issuer_is_taken_in_lower_case(given_domain: str, expected: str) -> None:
    assert load(AUTH0_DOMAIN=given_domain, AUTH0_API_IDENTIFIER="parley").auth0_domain == expected


def test_all_bad_values_are_reported_at_once() -> None:
    lines = problem(PORT="x", GRAPHIQL="y", DB_URL="z").splitlines()
    assert [line.split()[0] for line in lines] == ["DB_URL", "PORT", "GRAPHIQL"]


@pytest.mark.parametrize("name", ["AUTH0_DOMAIN", "AUTH0_API_IDENTIFIER", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_of_a_pair_is_a_problem(name: str) -> None:
    assert problem(**{name: "value"}).startswith(f"{name} is set, so set ")


@pytest.mark.parametrize(
    "given_url,expected",
    [
        ("postgresql://u:p@h/db", "postgresql+asyncpg://u:p@h/db"),
        ("postgres://u:p@h:5433/db", "postgresql+asyncpg://u:p@h:5433/db"),
        ("postgresql+asyncpg://u:p@h/db", "postgresql+asyncpg://u:p@h/db"),
        ("postgresql://u:p%40s%2Fs@h/db", "postgresql+asyncpg://u:p%40s%2Fs@h/db"),
        ("postgresql://u:p@ss@h/db", "postgresql+asyncpg://u:p%40ss@h/db"),
        ("postgresql://[::1]:5432/db", "postgresql+asyncpg://[::1]:5432/db"),
        ("postgresql:///db", "postgresql+asyncpg:///db"),
        ("postgresql://u@/db?host=/run/postgresql", "postgresql+asyncpg://u@/db?host=/run/postgresql"),
        ("postgresql://u@%2Frun%2Fpostgresql/db", "postgresql+asyncpg://u@/db?host=/run/postgresql"),
        ("postgresql://u:p@h/db?sslmode=require", "postgresql+asyncpg://u:p@h/db?ssl=require"),
    ],
)
def test_urls_of_databases_are_brought_to_one_form(given_url: str, expected: str) -> None:
    assert load(DB_URL=given_url).db_url == expected


@given(user=st.text(min_size=1), password=st.text(min_size=1), database=st.text(min_size=1))
def test_a_login_survives_the_way_to_the_driver(user: str, password: str, database: str) -> None:
    login = ":".join(quote(text, safe="") for text in (user, password))
    settings = load(DB_URL=f"postgresql://{login}@h:5432/{quote(database, safe='')}")
    assert settings.db_url is not None
    read = make_url(settings.db_url)
    assert (read.username, read.password, read.host, read.port) == (user, password, "h", 5432)
    assert read.database == database


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:sesame@h/db",
        "postgresql+psycopg://u:sesame@h/db",
        "postgresql://u:sesame@h",
        "postgresql://u:sesame/x@h:5432/db",
        "postgresql://u:sesame#x@h/db",
        "postgresql://u:sesame@h:port/db",
        "postgresql://u:sesame@[::1/db",
        "postgresql://u:sesame@h/db?sslmode=maybe",
        "postgresql://u:sesame@h/db?sslrootcert=/ca.pem",
        "postgresql://u:sesame@h/db?port=70000",
        "postgresql://u:sesame@h/db?port=0",
        "postgresql://u:sesame@h/db?port=²",
    ],
)
def test_a_bad_url_is_answered_without_its_password(url: str) -> None:
    line = problem(DB_URL=url)
    assert line.startswith("DB_URL has a wrong value (not shown: it may hold a secret), but must be a URL ")
    assert "sesame" not in line


def test_redis_wants_its_own_scheme() -> None:
    assert load(REDIS_URL="rediss://:p@h:6379/0").redis_url == "rediss://:p@h:6379/0"
    for url in ("http://h", "redis://", "redis://[::1", "redis://h:port", "redis://h:0", "redis://h:70000"):
        line = problem(REDIS_URL=url)
        assert line.startswith(
            "REDIS_URL has a wrong value (not shown: it may hold a secret), but must be a URL such as"
        )


def test_secrets_stay_out_of_the_representation() -> None:
    shown = repr(
        load(
            DB_URL="postgresql://u:sesame@h/db",
            REDIS_URL="redis://:sesame@h",
            AWS_ACCESS_KEY_ID="sesame",
            AWS_SECRET_ACCESS_KEY="sesame",
        )
    )
    assert "sesame" not in shown
    assert "us-east-1" in shown


@pytest.mark.parametrize(
    "host,loopback",
    [
        ("localhost", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("example.org", False),
    ],
)
def test_only_loopback_addresses_count_as_this_machine(host: str, loopback: bool) -> None:
    assert load(HOST=host).loopback is loopback


def test_every_setting_is_documented() -> None:
    text = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text(encoding="utf-8")
    names = {"PARLEY_DATA_DIR" if name == "data_dir" else name.upper() for name in Settings.__dataclass_fields__}
    assert {name for name in names if f"`{name}`" not in text} == set()
