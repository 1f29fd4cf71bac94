"""Looks for secrets in whatever was written anywhere, in each form in which programs write texts."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

SIGNATURES = (
    re.compile(rb"(?i)\bsig(?:nature)?(?:=|%3d|\\u003d)[0-9a-f]{16,}"),
    re.compile(rb"(?i)x-amz-signature(?:=|%3d|\\u003d)[0-9a-f]{16,}"),
    re.compile(rb"(?i)aws4-hmac-sha256 credential[^,]*,[^,]*,\s*signature=[0-9a-f]{16,}"),
)
"""Signatures of links and requests: of the simulator's, of S3's."""


def forms(secret: str) -> set[bytes]:
    """A secret as it stands in texts, JSON, links, Python's repr, and base64 at each of three alignments.

    Args:
        secret: At least eight characters, or it would be found everywhere.
    """
    plain = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret).replace("/", "\\/")[1:-1],
        repr(secret)[1:-1],
        quote(secret),
        quote(secret, safe=""),
        quote(quote(secret, safe=""), safe=""),
    }
    found = {text.encode() for text in plain}
    for shift in range(3):
        packed = base64.b64encode(b"x" * shift + secret.encode())
        # Characters at both ends depend on what stands beside the secret.
        inner = packed[(0, 2, 3)[shift] : len(packed.rstrip(b"=")) - 2]
        found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def opened(data: bytes) -> bytes:
    """Bytes with everything in them that base64 hides: Prefect's result files are JSON around a pickle in base64."""
    runs = re.findall(rb"[A-Za-z0-9+/]{24,}(?:\\n|[A-Za-z0-9+/])*", data)
    plain = (run.replace(b"\\n", b"") for run in runs)
    return data + b"\n".join(base64.b64decode(run[: len(run) // 4 * 4]) for run in plain)


def leaks(written: Mapping[str, bytes], secrets: Iterable[str]) -> list[str]:
    """Where secrets and signatures stand: the name of what was written, and what is around the first one.

    Args:
        written: Content by name.
        secrets: What must not be there in any form.
    """
    wanted = {form for secret in secrets for form in forms(secret)}
    found = list[str]()
    for name, data in written.items():
        whole = opened(data)
        places = [whole.find(form) for form in wanted]
        places += [match.start() for pattern in SIGNATURES if (match := pattern.search(whole))]
        at = min((place for place in places if place >= 0), default=-1)
        if at >= 0:
            found.append(f"{name}: {whole[max(0, at - 200) : at + 80]!r}")
    return found
