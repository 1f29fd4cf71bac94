"""Checks who sent a delivery: signatures of Standard Webhooks, and tokens of senders that cannot sign."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from contextlib import suppress

from prefect_genvideo.listen.shapes import Auth

ID_HEADER, TIME_HEADER, SIGNATURE_HEADER = "webhook-id", "webhook-timestamp", "webhook-signature"
"""The headers of Standard Webhooks: the delivery's id, seconds since 1970, and `v1,<Base64>` words."""
MAX_ID = 256
"""Longest delivery id in characters."""
# A sender that rotates its secret signs with both; more than a handful is no sender.
_MAX_SIGNATURES = 8
_PREFIX = "whsec_"


def secret_bytes(secret: str) -> bytes:
    """The bytes of a secret: Base64 behind `whsec_`, as Standard Webhooks write it, else the text itself."""
    if secret.startswith(_PREFIX):
        with suppress(binascii.Error):
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    return secret.encode()


def sign(secret: str, delivery_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a delivery, e.g. `v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=`.

    Args:
        secret: Shared with the receiver.
        delivery_id: The same whenever this delivery is repeated.
        timestamp: Seconds since 1970.
        body: The very bytes that are sent.
    """
    content = b"%s.%d." % (delivery_id.encode(), timestamp) + body
    digest = hmac.new(secret_bytes(secret), content, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def signature_refusal(
    secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: float, window: float
) -> str:
    """Why a signature does not prove its sender; empty when it does.

    Args:
        secrets: All that are valid now; while one is replaced by another, both are.
        headers: Of the request, names in lower case.
        body: The bytes that came.
        now: Seconds since 1970.
        window: Seconds that the delivery's time may be off, into the past and the future.
    """
    delivery_id, stamp = headers.get(ID_HEADER, ""), headers.get(TIME_HEADER, "")
    given = headers.get(SIGNATURE_HEADER, "").split()
    if not (0 < len(delivery_id) <= MAX_ID and stamp.isascii() and stamp.isdigit() and len(stamp) <= 12 and given):
        return "unsigned"
    proved = False
    for secret in secrets:
        expected = sign(secret, delivery_id, int(stamp), body)
        for signature in given[:_MAX_SIGNATURES]:
            # Every pair is compared, and each in constant time: how long it takes says nothing of how near a guess is.
            proved |= hmac.compare_digest(expected.encode(), signature.encode())
    if not proved:
        return "signature"
    return "" if abs(now - int(stamp)) <= window else "replay"


def token_refusal(secrets: Sequence[str], headers: Mapping[str, str], in_path: str, auth: Auth) -> str:
    """Why a token does not prove its sender; empty when it does.

    Args:
        secrets: All that are valid now.
        headers: Of the request, names in lower case.
        in_path: What stands behind the source's name in the address.
        auth: `path` looks there alone, `token` at the headers alone.
    """
    given = [in_path] if auth == "path" else _tokens(headers)
    proved = False
    for secret in secrets:
        for token in given:
            # Digests have one length, so that the comparison does not tell the secret's.
            proved |= hmac.compare_digest(_digest(secret), _digest(token))
    return "" if proved else "token"


def _tokens(headers: Mapping[str, str]) -> list[str]:
    """Tokens as the stores send them: bearer, bare (MinIO), the password of a user (Ceph), or an API key."""
    scheme, _, rest = headers.get("authorization", "").strip().partition(" ")
    found = [
        headers.get("x-api-key", ""),
        rest.strip() if scheme.lower() == "bearer" else "",
        scheme if not rest else "",
    ]
    if scheme.lower() == "basic":
        with suppress(ValueError):
            found.append(base64.b64decode(rest, validate=True).decode().partition(":")[2])
    return [token for token in found if token]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
