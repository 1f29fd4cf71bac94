"""Until when a link can be relied on: as an answer tells it, and as the link's own signature does."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl

from prefect_genvideo.providers.answers import as_figure, as_time, names, url_parts
from prefect_genvideo.providers.evidence import keyed

# Seconds; a longer life is a figure in another unit, or garbage.
_LONGEST = 365 * 24 * 3600.0
# Fields of an answer, without case and separators. A figure is a life in seconds, or a moment.
_FIELDS = names("expires expiresin expiresat expireat expiretime expiration expiry ttl")
# Signers that write a date and a life into a link: Amazon S3, Volcengine TOS, Alibaba OSS, Google.
_SIGNERS = names("x-amz- x-tos- x-oss- x-goog-")
_SIGNED_DATE = "%Y%m%dT%H%M%S%z"
# Names under which other links have the moment itself.
_MOMENTS = names("expires x-expires expire e")


def reliable_until(answer: Any, url: str, planned: timedelta) -> datetime:
    """Return until when an uploaded asset's link can be used.

    Args:
        answer: What named the link.
        url: The link. A signature that ends sooner than is told counts; a past end is another clock's, or no end.
        planned: What is relied on where nothing is told.
    """
    now = datetime.now(timezone.utc)
    places = (keyed(answer), keyed(keyed(answer).get("data")))
    told = (_told(place.get(name), now) for place in places for name in _FIELDS)
    until = next((moment for moment in told if moment is not None), now + planned)
    signed = _signed_until(url)
    return min(until, signed) if signed is not None and signed > now else until


def _told(value: Any, now: datetime) -> datetime | None:
    seconds = as_figure(value)
    if seconds and seconds <= _LONGEST:
        return now + timedelta(seconds=seconds)
    moment = as_time(value)
    return moment if moment is not None and now < moment <= now + timedelta(seconds=_LONGEST) else None


def _signed_until(url: str) -> datetime | None:
    """When the link's own signature ends."""
    query = {name.lower(): value for name, value in parse_qsl(url_parts(url).query)}
    for signer in _SIGNERS:
        life = as_figure(query.get(f"{signer}expires"))
        if life is not None and life <= _LONGEST:
            try:
                since = datetime.strptime(query.get(f"{signer}date", "").replace("Z", "+0000"), _SIGNED_DATE)
            except ValueError:
                return None
            return since + timedelta(seconds=life)
    return next(filter(None, (as_time(query.get(name)) for name in _MOMENTS)), None)
