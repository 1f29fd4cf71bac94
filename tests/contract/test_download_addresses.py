"""No answer of a provider can make a worker fetch from its own network."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Any

import pytest

from prefect_genvideo.errors import DownloadError
from prefect_genvideo.providers import SudashuiClient, download, http
from prefect_genvideo.providers import ssrf as addresses
from prefect_genvideo.providers.ssrf import is_public, literal_address
from tests.contract.cases import KEY
from tests.contract.server import Answer, HostMap, ScriptedServer, mp4
from tests.contract.test_downloads import failure, fetch

FILE = mp4()

PRIVATE = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "10.0.0.8",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "0",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "198.18.0.1",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:10.0.0.1]",
    "[::127.0.0.1]",
    "[fe80::1]",
    "[fc00::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[2002:7f00:1::]",
    "[64:ff9b::127.0.0.1]",
    "[2001:db8::1]",
    "localhost",
    "LOCALHOST.",
    "db.localhost",
]


@pytest.mark.parametrize("host", PRIVATE)
async def test_private_hosts_are_refused_in_every_spelling(host: str, server: ScriptedServer, network: HostMap) -> None:
    """As a link and as a redirect's target, even where an injected transport makes the connections."""
    server.handler = lambda _: Answer(302, {"Location": f"http://{host}/latest/meta-data"})
    async with SudashuiClient(KEY, transport=network) as client:
        direct = await failure(client, f"http://{host}/v.mp4")
        assert network.hosts == []
        redirected = await failure(client, "https://files.sudashuiapi.com/v.mp4")
    assert not direct.retryable
    assert not redirected.retryable
    assert network.hosts == ["files.sudashuiapi.com"]


@pytest.mark.parametrize("host", ["8.8.8.8", "1.1.1.1", "[2606:4700::1111]", "files.example"])
async def test_public_hosts_are_reached(host: str, server: ScriptedServer, network: HostMap) -> None:
    """The guard stands only before what is private."""
    server.handler = lambda _: Answer(200, {}, FILE)
    async with SudashuiClient(KEY, transport=network) as client:
        assert await fetch(client, f"https://{host}/v.mp4") == FILE


async def test_hosts_that_the_operator_named_are_trusted(server: ScriptedServer) -> None:
    """A simulator on 127.0.0.1 works because its address is configured, be it as API or as file host."""
    server.handler = lambda _: Answer(200, {}, FILE)
    async with SudashuiClient(KEY, files_url=server.url) as client:
        assert await fetch(client, f"{server.url}/v.mp4") == FILE
    async with SudashuiClient(KEY) as client:
        assert (await failure(client, f"{server.url}/v.mp4")).reason == "private address refused"
    async with SudashuiClient(KEY, allow_private=True) as client:
        assert await fetch(client, f"{server.url}/v.mp4") == FILE


class Names:
    """A resolver whose answers can change between two look-ups."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(2, 1, 6, "", (address, port)) for address in found]


@pytest.mark.parametrize("found", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::ffff:10.0.0.1"], ["fe80::1%eth0"]])
async def test_every_address_of_a_name_must_be_public(found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One private address among public ones is enough."""
    monkeypatch.setattr(addresses.anyio, "getaddrinfo", Names(found).getaddrinfo)
    async with SudashuiClient(KEY) as client:
        error = await failure(client, "https://rebind.example/v.mp4")
    assert (error.reason, error.retryable) == ("private address refused", False)


async def test_a_name_that_does_not_resolve_may_do_so_later() -> None:
    """`.invalid` never resolves; a resolver's fault looks the same."""
    async with SudashuiClient(KEY) as client:
        for host in ("no-such-host.invalid", "a" * 64 + ".example"):
            assert (await failure(client, f"https://{host}/v.mp4")).reason == "host not found"


def pretend_loopback_is_public(monkeypatch: pytest.MonkeyPatch, names: Names) -> None:
    monkeypatch.setattr(addresses.anyio, "getaddrinfo", names.getaddrinfo)
    monkeypatch.setattr(addresses, "is_public", lambda address: str(address) == "127.0.0.1")  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]


async def test_the_connection_goes_to_the_checked_address(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that says something else at the second look-up gains nothing: there is none."""
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    pretend_loopback_is_public(monkeypatch, names)
    server.handler = lambda _: Answer(200, {}, FILE)
    async with SudashuiClient(KEY) as client:
        assert await fetch(client, f"http://rebind.example:{server.port}/v.mp4?a=1") == FILE
    assert names.asked == ["rebind.example"]
    assert server.received[0].host == f"rebind.example:{server.port}"
    assert server.received[0].target == "/v.mp4?a=1"


async def test_the_next_address_is_tried_when_one_does_not_answer(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a resolver's usual clients do."""
    names = Names(["127.0.0.2", "127.0.0.1"])
    monkeypatch.setattr(addresses.anyio, "getaddrinfo", names.getaddrinfo)
    monkeypatch.setattr(addresses, "is_public", lambda _: True)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    server.handler = lambda _: Answer(200, {}, FILE)
    async with SudashuiClient(KEY) as client:
        assert await fetch(client, f"http://video.example:{server.port}/v.mp4") == FILE


def certificate(host: str, folder: Path) -> Path:
    """A self-signed certificate and its key for one name."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.timezone.utc)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / f"{host}.pem"
    path.write_bytes(signed.public_bytes(pem) + private)
    return path


@pytest.mark.parametrize(("name", "works"), [("video.example", True), ("other.example", False)])
async def test_a_pinned_connection_still_proves_the_name(
    name: str, works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS asks for the link's name, although the connection goes to a number."""
    issued = certificate("video.example", tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(issued)
    trusting = ssl.create_default_context(cafile=str(issued))
    monkeypatch.setattr(http, "tls_context", lambda: trusting)
    pretend_loopback_is_public(monkeypatch, Names(["127.0.0.1"]))
    async with ScriptedServer(lambda _: Answer(200, {}, FILE), tls=serving) as server, SudashuiClient(KEY) as client:
        url = f"https://{name}:{server.port}/v.mp4"
        if works:
            assert await fetch(client, url) == FILE
        else:
            assert (await failure(client, url)).reason == "not connected"


async def test_behind_a_proxy_names_are_the_proxys(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes the connections and resolves; spelled-out private addresses are refused all the same."""
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    server.handler = lambda _: Answer(200, {}, FILE)
    async with SudashuiClient(KEY) as client:
        assert await fetch(client, "http://video.example/v.mp4") == FILE
        assert server.received[0].target == "http://video.example/v.mp4"
        assert (await failure(client, "http://10.0.0.1/v.mp4")).reason == "private address refused"
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("1.2.3.4.", "1.2.3.4"),
        ("0x1020304", "1.2.3.4"),
        ("[::1]", "::1"),
        ("fe80::1%e", "fe80::1"),
    ],
)
def test_addresses_in_any_spelling(host: str, address: str) -> None:
    """Whatever a resolver would take for a number is one."""
    assert literal_address(host) == ipaddress.ip_address(address)


@pytest.mark.parametrize("host", ["example.com", "1.2.3.4.example", "999.1.1.1.1", "0x", "4294967296", "a1", ""])
def test_names_are_no_addresses(host: str) -> None:
    """What no resolver would take for a number goes to the resolver."""
    assert literal_address(host) is None


def test_the_embedded_address_decides() -> None:
    """A public IPv4 address stays public inside IPv6."""
    assert is_public(ipaddress.ip_address("::ffff:8.8.8.8"))
    assert is_public(ipaddress.ip_address("64:ff9b::808:808"))
    assert not is_public(ipaddress.ip_address("2001:0:1:1:1:1:80ff:fffe"))


def test_the_rules_do_not_show_the_key() -> None:
    """They may end up in a traceback."""
    rules = download.DownloadRules(origin="https://api.example", key=KEY)
    assert KEY not in repr(rules)
    assert issubclass(download.LinkExpiredError, DownloadError)
