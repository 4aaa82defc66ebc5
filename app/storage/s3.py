"""Files in a bucket of S3, or of what speaks its language."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
)
from starlette.routing import BaseRoute
from urllib3.exceptions import HTTPError

from app.errors import StorageUnavailable
from app.settings import Settings, StartError
from app.storage.calls import THREADS, Body, Calls
from app.storage.file_name import content_disposition

CONFIG = Config(
    signature_version="s3v4",
    connect_timeout=3,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=2 * THREADS,
    # Checksums beyond the signature are what S3-compatible servers differ in.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
# The last: where any address answers 301, as for HTTP instead of HTTPS, botocore looks for the region again and again.
ERRORS = (BotoCoreError, ClientError, HTTPError, OSError, RecursionError)
KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"

# Their debug lines hold signatures and presigned addresses.
for chatty in ("boto3", "botocore", "urllib3"):
    logging.getLogger(chatty).setLevel(logging.INFO)


class S3Storage:
    """The object `abcd...` has this key in the bucket. Clients read it from S3 directly, by presigned addresses."""

    def __init__(self, settings: Settings) -> None:
        assert settings.aws_s3_bucket_name is not None  # noqa: S101 - app/storage/choice.py
        self._bucket = settings.aws_s3_bucket_name
        self._region = settings.aws_s3_region
        session = boto3.Session(
            aws_access_key_id=settings.aws_access_key_id,
            aws_secret_access_key=settings.aws_secret_access_key,
            aws_session_token=settings.aws_session_token if settings.aws_access_key_id else None,
            region_name=self._region,
        )
        try:
            self._client = session.client("s3", config=CONFIG, endpoint_url=settings.aws_endpoint_url_s3)
            self._signer = self._client
            if settings.aws_s3_public_url is not None:
                # The signature covers the host that clients use.
                self._signer = session.client("s3", config=CONFIG, endpoint_url=settings.aws_s3_public_url)
        except (BotoCoreError, ValueError) as error:
            raise StartError(f"S3 cannot be used: {error}") from None
        self._endpoint = self._client.meta.endpoint_url
        self._calls = Calls(f"the bucket {self._bucket} at {self._endpoint}", ERRORS, _describe)

    @property
    def routes(self) -> Sequence[BaseRoute]:
        return ()

    async def start(self) -> None:
        # Where S3 does not answer, the log has it, and the chat starts: it must not be down for as long as S3 is.
        with suppress(StorageUnavailable):
            await self._calls.run(self._check)

    async def stop(self) -> None:
        self._client.close()
        self._signer.close()

    async def put(self, key: str, content: BinaryIO, *, size: int, content_type: str) -> None:
        await self._calls.upload(partial(self._put, key, size, content_type), content, size)

    async def remove(self, key: str) -> None:
        await self._calls.run(partial(self._client.delete_object, Bucket=self._bucket, Key=key))

    async def url(self, key: str, *, name: str, content_type: str, seconds: int, inline: bool = False) -> str:
        parameters = {
            "Bucket": self._bucket,
            "Key": key,
            "ResponseContentType": content_type,
            "ResponseContentDisposition": content_disposition(name, inline=inline),
        }
        # In a thread: credentials of a role expire, and are fetched anew.
        sign = partial(self._signer.generate_presigned_url, "get_object", Params=parameters, ExpiresIn=seconds)
        address: str = await self._calls.run(sign)
        return address

    def _put(self, key: str, size: int, content_type: str, body: Body) -> None:
        # One request: memory stays flat, and S3 keeps nothing of a broken one, where a multipart upload would stay.
        self._client.put_object(
            Bucket=self._bucket,
            Key=key,
            Body=body,
            ContentLength=size,
            ContentType=content_type,
            ContentDisposition="attachment",  # also where somebody makes the bucket public
        )

    def _check(self) -> None:
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except (NoCredentialsError, CredentialRetrievalError):
            raise StartError(f"S3 needs credentials: set {KEYS}, or give this machine a role.") from None
        except ClientError as error:
            refusal = self._refused(error)
            raise refusal or error from None

    def _refused(self, error: ClientError) -> StartError | None:
        """What to set, if it is a matter of settings."""
        status = _status(error)
        region = error.response["ResponseMetadata"].get("HTTPHeaders", {}).get("x-amz-bucket-region")
        if region not in {None, self._region}:
            return StartError(f"The bucket {self._bucket} is in another region: set AWS_S3_REGION to {region}.")
        if status == 404:  # noqa: PLR2004 - of HTTP
            advice = "Make it, or set AWS_S3_BUCKET_NAME to another one."
            return StartError(f"There is no bucket {self._bucket} at {self._endpoint}. {advice}")
        if status in {400, 401, 403}:
            advice = f"Check {KEYS}, AWS_S3_REGION, and that they may use the bucket."
            return StartError(f"S3 at {self._endpoint} refuses the bucket {self._bucket} ({status}). {advice}")
        return None


def _describe(error: Exception) -> str:
    """In words without addresses of objects, which may be signed."""
    if isinstance(error, ClientError):
        return f"{error.response.get('Error', {}).get('Code', 'error')} ({_status(error)})"
    if isinstance(error, EndpointConnectionError):
        return "no connection"
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "no answer in time"
    if isinstance(error, RecursionError):
        return "redirected to elsewhere"
    cause: Any = error.kwargs.get("error") if isinstance(error, HTTPClientError) else None
    return type(cause or error).__name__


def _status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"].get("HTTPStatusCode", 0))
