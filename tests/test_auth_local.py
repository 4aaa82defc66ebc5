"""The local issuer: its key file, and the tokens that `parley token` prints."""

import asyncio
import hashlib
import json
import stat
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.auth import Authenticator, LocalIssuer, Profile, create_authenticator
from app.errors import Invalid, Unauthenticated
from app.settings import load_settings
from tests.oidc_issuer import base64url, rsa_key


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / "made" / "on demand"


@pytest.fixture(scope="module")
def issuer(folder: Path) -> LocalIssuer:
    return LocalIssuer(folder)


def authenticator_in(folder: Path) -> Authenticator:
    return create_authenticator(load_settings({"PARLEY_DATA_DIR": str(folder)}, env_file=None))


async def test_a_local_token_says_who_is_asking(issuer: LocalIssuer, folder: Path) -> None:
    authenticator = authenticator_in(folder)
    claims = await authenticator.verify(issuer.issue(" Alice "))
    assert (claims.subject, claims.name, claims.permissions) == ("local|alice", "Alice", frozenset())
    assert await authenticator.profile(claims) == Profile(name="Alice", email=None, email_verified=False, picture=None)
    await authenticator.aclose()


async def test_an_admin_token_carries_the_workspace_permission(issuer: LocalIssuer, folder: Path) -> None:
    claims = await authenticator_in(folder).verify(issuer.issue("alice", admin=True))
    assert claims.permissions == {"workspace:admin"}


async def test_a_name_is_one_user_however_it_is_typed(issuer: LocalIssuer, folder: Path) -> None:
    authenticator = authenticator_in(folder)
    subjects = {(await authenticator.verify(issuer.issue(name))).subject for name in ("Zoë", "zoë ", "ZOE\u0308")}
    assert subjects == {"local|zoë"}


async def test_a_token_of_another_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Unauthenticated, match="parley token NAME"):
        await authenticator_in(folder).verify(LocalIssuer(tmp_path).issue("alice"))


@pytest.mark.parametrize("name", ["", "  ", "x" * 81, "a\x00b", "a\nb", "a\x1bb", "a\u2028b", "a\u202eb", "a\udcffb"])
async def test_a_bad_name_gets_no_token(issuer: LocalIssuer, name: str) -> None:
    with pytest.raises(Invalid, match="1 to 80 characters"):
        issuer.issue(name)


@pytest.mark.parametrize("ttl", [0, -1, 10 * 365 * 86_400 + 1])
async def test_a_bad_ttl_gets_no_token(issuer: LocalIssuer, ttl: int) -> None:
    with pytest.raises(Invalid, match="10 years"):
        issuer.issue("alice", ttl=ttl)


@pytest.mark.parametrize("name", ["İ" * 80, "H\u0331", "👩‍🚀" * 26, "a|b", "local|alice"])
async def test_any_good_name_gets_a_token_that_verifies(issuer: LocalIssuer, folder: Path, name: str) -> None:
    claims = await authenticator_in(folder).verify(issuer.issue(name, ttl=10 * 365 * 86_400))
    assert claims.name == name


async def test_the_key_set_is_public_and_named_by_its_thumbprint(issuer: LocalIssuer) -> None:
    (jwk,) = issuer.jwks()["keys"]
    assert jwk.keys() == {"kty", "use", "alg", "kid", "n", "e"}
    canonical = f'{{"e":"{jwk["e"]}","kty":"RSA","n":"{jwk["n"]}"}}'
    assert jwk["kid"] == base64url(hashlib.sha256(canonical.encode()).digest())


async def test_the_key_is_the_owner_s_alone_and_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    issuer = LocalIssuer(tmp_path)
    assert not caplog.records  # it was never open to others, not even at first
    assert stat.S_IMODE((tmp_path / "issuer.pem").stat().st_mode) == 0o600
    assert LocalIssuer(tmp_path).jwks() == issuer.jwks()


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    program = (
        "import json, pathlib, sys\n"
        "from app.auth import LocalIssuer\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(json.dumps(LocalIssuer(pathlib.Path(sys.argv[1])).jwks()))\n"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, tmp_path, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    key_sets = [json.loads(output) for output, _ in answers]
    assert key_sets == [LocalIssuer(tmp_path).jwks()] * 4
    assert names_in(tmp_path) == ["issuer.pem"]


async def test_a_key_that_others_can_read_is_closed_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    LocalIssuer(tmp_path)
    key_file = tmp_path / "issuer.pem"
    key_file.chmod(0o644)
    LocalIssuer(tmp_path)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert "could be read by other users" in caplog.text


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("content", ["junk", "", "elliptic", "short"])
async def test_a_file_that_is_no_key_is_named(content: str, tmp_path: Path) -> None:
    contents = {
        "elliptic": pem(ec.generate_private_key(ec.SECP256R1())),
        "short": pem(rsa_key(1, 1024)),
    }
    key_file = tmp_path / "issuer.pem"
    key_file.touch(0o600)
    key_file.write_bytes(contents.get(content, content.encode()))
    with pytest.raises(Invalid, match=r"issuer\.pem is not an RSA key.*Delete it"):
        LocalIssuer(tmp_path)


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Invalid, match="PARLEY_DATA_DIR"):
        LocalIssuer(tmp_path / "file" / "data")
