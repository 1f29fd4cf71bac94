"""Why no connection came about, in our own words: an exception's text may hold a link, or a proxy's password."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx

# The first that fits counts, so special ones come first.
_CAUSES: tuple[tuple[type[BaseException], str], ...] = (
    (httpx.ProxyError, "the environment's proxy did not pass it on to {host}"),
    (httpx.PoolTimeout, "all connections were in use"),
    (httpx.UnsupportedProtocol, "the address does not begin with https:// or http://"),
    (socket.gaierror, "the name {host} does not resolve"),
    (ssl.SSLCertVerificationError, "the certificate of {host} is not trusted on this machine"),
    (ssl.SSLError, "no TLS with {host}"),
    (ConnectionRefusedError, "{host} refuses the connection"),
    (httpx.TimeoutException, "{host} did not answer in time"),
    (httpx.InvalidURL, "the address is no URL"),
    (httpx.TransportError, "no connection to {host}"),
)
# Errors that may stand behind one another.
_DEEPEST = 10


def cause_of(error: BaseException, url: httpx.URL | str) -> str:
    """Return what kept a request from being sent, for a person who has to mend it.

    Args:
        error: That the request ended with, or that kept it from being made.
        url: Where it should have gone; its host alone is named.
    """
    try:
        host = urlsplit(str(url)).hostname or "the host"
    except ValueError:
        host = "the host"
    chain = list(_behind(error))
    for kind, words in _CAUSES:
        if any(isinstance(one, kind) for one in chain):
            return words.format(host=host[:100])
    return "the address or the key cannot be put into a request"


def _behind(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it came from, also where it was raised `from None`."""
    last: BaseException | None = error
    for _ in range(_DEEPEST):
        if last is None:
            return
        yield last
        last = last.__cause__ or last.__context__
