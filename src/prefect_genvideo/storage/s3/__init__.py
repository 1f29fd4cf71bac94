"""Amazon S3 and what speaks its protocol."""

from prefect_genvideo.storage.s3.store import S3Store

__all__ = ["S3Store"]
