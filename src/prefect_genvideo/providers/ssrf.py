"""Which addresses a result may be fetched from: the public internet, and hosts that the operator named.

A provider's answer names the link. Without this guard, whoever can bend an answer could make a worker read its own
cloud's metadata service or a database beside it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable

import anyio
import httpx

from prefect_genvideo.errors import DownloadError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Everything inet_aton would take for an address: 127.1, 0x7f.1, 017700000001, 2130706433.
_NUMERIC = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]*|[0-9]+)){0,3}\.?")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_V4_COMPATIBLE = ipaddress.ip_network("::/96")
# Global by the registries, yet never a file host: services of the cloud that the worker runs in, protocol assignments
# (a cloud's metadata is at 192.0.0.192), and translation to addresses that only the local network knows.
_LOCAL_SERVICES = tuple(map(ipaddress.ip_network, ("168.63.129.16/32", "192.0.0.0/24", "64:ff9b:1::/48")))


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, seen through every way of embedding IPv4 in IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    if any(address in network for network in _LOCAL_SERVICES):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if address.teredo:
        return address.teredo[1]
    if address in _NAT64 or (address in _V4_COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def literal_address(host: str) -> Address | None:
    """Return the address that a host spells out in any form a resolver would take, or None for a name."""
    bare = host.strip("[]").partition("%")[0]
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        pass
    if not _NUMERIC.fullmatch(bare):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(bare.rstrip(".")))
    except (OSError, ValueError):
        return None


class Guard:
    """Which hosts may be private: those that the operator named, or all. Everything else must be public."""

    def __init__(self, trusted: Iterable[str] = (), *, allow_private: bool = False) -> None:
        """Make a guard.

        Args:
            trusted: Host names that may be private: those of the URLs that the operator configured.
            allow_private: Whether every host may be private.
        """
        self._trusted = frozenset(map(_ascii, trusted))
        self._allow_private = allow_private

    def trusts(self, host: str) -> bool:
        """Whether the host may be private."""
        return self._allow_private or _ascii(host) in self._trusted

    def check_literal(self, host: str) -> None:
        """Refuse a host that spells out a private address, unless it is trusted.

        Raises:
            DownloadError: Not retryable.
        """
        if not self.trusts(host):
            refuse_literal(host)


def _ascii(host: str) -> str:
    """The one spelling of a host that is compared: lower case, names of other scripts as IDNA."""
    bare = host.strip("[]").lower()
    try:
        return bare if bare.isascii() else httpx.URL(scheme="https", host=bare).raw_host.decode("ascii")
    except httpx.InvalidURL:
        return bare


def refuse_literal(host: str) -> None:
    """Refuse a host that spells out a private address, or this machine by name.

    Raises:
        DownloadError: Not retryable.
    """
    address = literal_address(host)
    local = host.rstrip(".").lower()
    if (address and not is_public(address)) or local == "localhost" or local.endswith(".localhost"):
        raise _refused(host)


async def public_addresses(host: str, port: int) -> list[str]:
    """Resolve a host and return its addresses, after all of them have been found public.

    The caller connects to one of these and not to the name: a second look-up could say something else.

    Args:
        host: Name or address.
        port: TCP port.

    Raises:
        DownloadError: Not retryable when any address is not public; retryable when the name does not resolve.
    """
    refuse_literal(host)
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise DownloadError(f"The host {host} does not resolve.", reason="host not found")
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in addresses:
        address = literal_address(text)
        if address is None or not is_public(address):
            raise _refused(host)
    return addresses


def _refused(host: str) -> DownloadError:
    return DownloadError(
        f"The link leads to {host}, a private or local address; such results are refused unless the operator "
        "allows private hosts.",
        retryable=False,
        reason="private address refused",
    )
