"""Objects of anybody's, named by an `s3://` URI."""

from __future__ import annotations

from prefect_genvideo.storage.base import ObjectStore
from prefect_genvideo.storage.keys import foreign_key
from prefect_genvideo.storage.s3.settings import split_uri
from prefect_genvideo.storage.s3.store import S3Store


def find_object(uri: str, home: ObjectStore | None = None) -> tuple[ObjectStore, str]:
    """Where the object of an `s3://bucket/key` is: the store to read from and the key in it.

    Args:
        uri: Of an object of anybody's.
        home: A store whose account and endpoint read it; else boto3's own chain does.

    Raises:
        InvalidRequestError: It is no URI of an object.
    """
    bucket, key = split_uri(uri)
    foreign_key(key)
    store = home.other_bucket(bucket) if home is not None else None
    return store or S3Store(bucket).other_bucket(bucket), key
