"""Where videos and ledger records live: an S3 bucket or a directory, behind one seam."""

from prefect_genvideo.storage._local_files import CONTAINER_LAYERS
from prefect_genvideo.storage.base import ObjectInfo, ObjectStore, PreconditionFailedError, Upload, UploadLostError
from prefect_genvideo.storage.keys import clean_key
from prefect_genvideo.storage.ledgers import CreateOnlyStore, StoreAround
from prefect_genvideo.storage.local import LocalStore
from prefect_genvideo.storage.s3.direct import direct_writes
from prefect_genvideo.storage.s3.settings import Addressing, bucket_fault, endpoint_fault, split_uri
from prefect_genvideo.storage.s3.store import S3Store, find_object

__all__ = [
    "CONTAINER_LAYERS",
    "Addressing",
    "CreateOnlyStore",
    "LocalStore",
    "ObjectInfo",
    "ObjectStore",
    "PreconditionFailedError",
    "S3Store",
    "StoreAround",
    "Upload",
    "UploadLostError",
    "bucket_fault",
    "clean_key",
    "direct_writes",
    "endpoint_fault",
    "find_object",
    "split_uri",
]
