"""Which storage the settings ask for."""

from app.settings import Settings
from app.storage.local import LocalStorage
from app.storage.protocol import Storage


def create_storage(settings: Settings) -> Storage:
    """S3 where a bucket is named, else the data folder."""
    if settings.aws_s3_bucket_name is None:
        return LocalStorage(settings.data_dir / "files", settings.base_url)
    from app.storage.s3 import S3Storage  # noqa: PLC0415 - boto3 would add half a second to the start without S3

    return S3Storage(settings)
