"""Where videos and ledger records live: an S3 bucket or a directory, behind one seam."""

from prefect_genvideo.storage.base import ObjectInfo, ObjectStore, PreconditionFailedError, Upload
from prefect_genvideo.storage.keys import clean_key, clean_prefix
from prefect_genvideo.storage.local import LocalStore
from prefect_genvideo.storage.s3.store import S3Store

__all__ = [
    "LocalStore",
    "ObjectInfo",
    "ObjectStore",
    "PreconditionFailedError",
    "S3Store",
    "Upload",
    "clean_key",
    "clean_prefix",
]
