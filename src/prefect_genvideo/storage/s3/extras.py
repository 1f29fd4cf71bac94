"""What videos are written with beside their bytes, such as object tags: whether a store takes it.

A refusal that shows when the video is saved comes after the payment.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.storage.base import CLASS_REFUSED, ENCRYPTION_REFUSED, TAGS_REFUSED
from prefect_genvideo.storage.s3.promises import PROBES
from prefect_genvideo.storage.threads import finish

if TYPE_CHECKING:
    from prefect_genvideo.storage.s3.store import S3Store

logger = logging.getLogger(__name__)


class _Refusal(NamedTuple):
    reason: str
    words: str
    advice: str


# By the parameter of boto3's `put_object`.
_REFUSALS: Mapping[str, _Refusal] = {
    "Tagging": _Refusal(
        TAGS_REFUSED,
        "takes no object tags",
        "grant s3:PutObjectTagging, or switch `object_tags` of the destination off",
    ),
    "StorageClass": _Refusal(
        CLASS_REFUSED,
        "does not take the storage class of the videos",
        "choose another `storage_class` of the destination; every store has STANDARD",
    ),
    "ServerSideEncryption": _Refusal(
        ENCRYPTION_REFUSED,
        "does not encrypt as it is asked to",
        "set up encryption in the store, or set `encryption` of the destination to `none`",
    ),
}
# Extras that a process remembers as taken.
_MOST = 64
_taken: OrderedDict[tuple[Hashable, str, str], None] = OrderedDict()


async def try_extras(store: S3Store, identity: Hashable, extras: Mapping[str, str]) -> None:
    """See that a store takes what its videos are written with; each is tried once per process.

    Args:
        store: The store.
        identity: Of the store: settings, bucket and prefix.
        extras: Parameters of boto3's `put_object`, with values.

    Raises:
        DestinationError: It refuses one, or a permission is missing; nothing was spent.
    """
    for name, value in extras.items():
        if (identity, name, value) in _taken:
            continue
        await _try(store, name, value)
        _taken[identity, name, value] = None
        if len(_taken) > _MOST:
            _taken.popitem(last=False)


async def _try(store: S3Store, name: str, value: str) -> None:
    key, extra = f"{PROBES}0-{uuid4().hex}", dict[str, Any]({name: value})
    try:
        answer = await store.send_body("put_object", key, b"1", **extra)
    except DestinationError as error:
        if error.retryable:
            raise
        refusal = _REFUSALS[name]
        raise DestinationError(
            f"{store.uri('')} {refusal.words} ({error.reason}): {refusal.advice}. {error}",
            status_code=error.status_code,
            reason=refusal.reason,
        ) from error
    if name == "ServerSideEncryption" and not answer.get(name):
        logger.warning(
            "%s confirms no encryption, though %s is asked for: it may keep everything as it is", store.uri(""), value
        )
    await finish(_removed(store, key))


async def _removed(store: S3Store, key: str) -> None:
    try:
        await store.call("delete_object", key)
    except DestinationError as error:  # roles without s3:DeleteObject keep everything; a later sweep removes it
        logger.info("A probe of one byte stays in the store: %s", error)
