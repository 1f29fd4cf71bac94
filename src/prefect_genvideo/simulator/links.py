"""Signed links that expire: made when an answer gives one out, checked when somebody opens it."""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Literal

LinkKind = Literal["result", "upload"]
_TOS_TIME = "%Y%m%dT%H%M%SZ"


class Links:
    """The signatures of one simulator's links, in the two forms that its sides have."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._ages: Counter[str] = Counter()

    def expire(self, kind: LinkKind) -> None:
        """Let every link that was given out so far be refused from now on."""
        self._ages[kind] += 1

    def plain(self, kind: LinkKind, path: str, lifetime: float) -> str:
        """A path with its end and its signature.

        Args:
            kind: A result's or an upload's link.
            path: Path of the link.
            lifetime: Seconds from now; 0 = dead at once.
        """
        expires = math.ceil(time.time() + lifetime) if lifetime else 0
        return f"{path}?expires={expires}&sig={self._signature(kind, path, str(expires))}"

    def plain_is_good(self, kind: LinkKind, path: str, query: Mapping[str, str]) -> bool:
        """Whether a link is ours, unchanged and still alive.

        Args:
            kind: A result's or an upload's link.
            path: Path of the link.
            query: What stands behind it.
        """
        return self._is_good(kind, path, query.get("expires", ""), query.get("sig", ""))

    def tos(self, path: str, since: float, lifetime: float) -> str:
        """A path as Volcengine's object store signs it: at one time, for so many seconds.

        Args:
            path: Path of the link.
            since: Unix time of the signature.
            lifetime: Seconds from then; 0 = dead at once.
        """
        at, life = datetime.fromtimestamp(int(since), tz=timezone.utc), int(lifetime)
        sig = self._signature("result", path, str(int(since) + life))
        signed = f"X-Tos-Date={at:{_TOS_TIME}}&X-Tos-Expires={life}&X-Tos-SignedHeaders=host&X-Tos-Signature={sig}"
        return f"{path}?X-Tos-Algorithm=TOS4-HMAC-SHA256&{signed}"

    def tos_is_good(self, path: str, query: Mapping[str, str]) -> bool:
        """Whether a link of the object store is ours, unchanged and still alive.

        Args:
            path: Path of the link.
            query: What stands behind it.
        """
        try:
            since = datetime.strptime(query.get("X-Tos-Date", ""), _TOS_TIME).replace(tzinfo=timezone.utc)
            expires = int(since.timestamp()) + int(query.get("X-Tos-Expires", ""))
        except ValueError:
            return False
        return self._is_good("result", path, str(expires), query.get("X-Tos-Signature", ""))

    def _is_good(self, kind: LinkKind, path: str, expires: str, sig: str) -> bool:
        alive = expires.isdigit() and time.time() < int(expires)
        return alive and hmac.compare_digest(sig.encode(), self._signature(kind, path, expires).encode())

    def _signature(self, kind: LinkKind, path: str, expires: str) -> str:
        text = f"{kind}\n{self._ages[kind]}\n{path}\n{expires}"
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()[:40]
