"""The key and the addresses of an account, held to what HTTP can carry. Errors do not repeat them."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from prefect_genvideo.providers.answers import is_link

# Consoles and examples show the whole header; people copy it.
_SCHEME = re.compile(r"\Abearer\s+", re.IGNORECASE)


def checked_key(api_key: str) -> str:
    """Return the key without blanks around it and without a pasted `Bearer`.

    Raises:
        ValueError: It is empty, or holds what no HTTP header can carry.
    """
    key = _SCHEME.sub("", api_key.strip())
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("must be a key without spaces, as the provider's console shows it")
    return key


def checked_address(url: str) -> str:
    """Return an API address without a trailing slash or `/v1`.

    Raises:
        ValueError: No http(s) URL with a host; one with a user, query or fragment; or plain http to a public host,
            over which the key would travel in the clear.
    """
    cleaned = url.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    if not is_link(cleaned):
        raise ValueError("must be an http(s) address with a host")
    parts = urlsplit(cleaned)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must not hold a user, a query or a fragment: the key belongs into api_key")
    if parts.scheme == "http" and not _is_local(parts.hostname or ""):
        raise ValueError("must be https: the key would cross the network in the clear")
    return cleaned


def _is_local(host: str) -> bool:
    """Loopback and private addresses, and names without a dot (a service beside ours), may be spoken to in plain."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))
