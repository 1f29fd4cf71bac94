"""No answer of a provider can make a worker fetch from its own network."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from prefect_genvideo.errors import DownloadError, TransientError
from prefect_genvideo.providers import SudashuiClient, download, http, network
from prefect_genvideo.providers import ssrf as addresses
from prefect_genvideo.providers.network import environment_proxy
from prefect_genvideo.providers.ssrf import Guard, is_public, literal_address
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
    "168.63.129.16",
    "192.0.0.192",
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
    "[64:ff9b:1::8.8.8.8]",
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
async def test_a_checked_connection_still_proves_the_name(
    name: str, works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS asks for the link's name, although the connection goes to a number."""
    issued = certificate("video.example", tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(issued)
    trusting = ssl.create_default_context(cafile=str(issued))
    monkeypatch.setattr(network, "tls_context", lambda: trusting)
    pretend_loopback_is_public(monkeypatch, Names(["127.0.0.1"]))
    async with ScriptedServer(lambda _: Answer(200, {}, FILE), tls=serving) as server, SudashuiClient(KEY) as client:
        url = f"https://{name}:{server.port}/v.mp4"
        if works:
            assert await fetch(client, url) == FILE
        else:
            assert (await failure(client, url)).reason == "not connected"


async def test_a_certificate_that_is_not_trusted_is_named_as_what_keeps_a_request_back(tmp_path: Path) -> None:
    """A company's proxy that opens TLS shows one of its own; nobody finds that behind "not sent"."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate("video.example", tmp_path))
    async with (
        ScriptedServer(lambda _: Answer(200, {}, FILE), tls=serving) as server,
        SudashuiClient(KEY, f"https://127.0.0.1:{server.port}") as client,
    ):
        with pytest.raises(TransientError, match=r"certificate of 127\.0\.0\.1") as caught:
            await client.models()
    assert caught.value.reason == "not sent"


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


def resolver_says(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> None:
    """Replace the operating system's resolver, whoever asks it; each name's answers are given one after the other."""
    real = socket.getaddrinfo

    def answer(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in names:
            host = names[name].pop(0) if len(names[name]) > 1 else names[name][0]
        return real(host, port, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


NO_PROXY = [
    "",
    "*",
    "localhost,*",
    "inner.example",
    ".example",
    "*.example",
    "inner.example:{port}",
    "http://inner.example",
    "other.example, inner.example",
    "INNER.example",
]


@pytest.mark.parametrize("exceptions", NO_PROXY)
@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
async def test_no_reading_of_no_proxy_opens_a_way_to_a_private_address(
    variable: str, exceptions: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name of this machine: either the proxy is asked for it, or the guard stands before the connection."""
    resolver_says(monkeypatch, {"inner.example": ["127.0.0.1"]})
    server.handler = lambda _: Answer(200, {}, b"a secret of this machine")
    async with ScriptedServer(lambda _: Answer(403)) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        monkeypatch.setenv("no_proxy", exceptions.format(port=server.port))
        async with SudashuiClient(KEY) as client:
            error = await failure(client, f"http://inner.example:{server.port}/v.mp4")
    assert server.connections == 0
    assert (error.reason == "private address refused") == (exceptions != "")
    assert len(proxy.received) == (exceptions == "")


async def test_nothing_happens_between_the_check_and_the_connection(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is public when it is checked and private right after: the operating system is asked only once."""
    resolver_says(monkeypatch, {"rebind.example": ["192.88.99.1", "127.0.0.1"]})
    monkeypatch.setattr(http, "CONNECT_TIMEOUT", 0.2)
    server.handler = lambda _: Answer(200, {}, FILE)
    async with SudashuiClient(KEY) as client:
        error = await failure(client, f"http://rebind.example:{server.port}/v.mp4")
    assert server.connections == 0
    assert error.reason in {"not connected", "private address refused"}


async def test_a_kept_connection_is_used_again_without_another_look(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was proved of a connection holds as long as it does, and only for the host that it was made for."""
    names = Names(["127.0.0.1"], ["127.0.0.1"], ["10.0.0.1"])
    pretend_loopback_is_public(monkeypatch, names)
    server.handler = lambda _: Answer(200, {}, FILE)
    async with SudashuiClient(KEY) as client:
        for host in ("one.example", "one.example", "two.example", "two.example"):
            assert await fetch(client, f"http://{host}:{server.port}/v.mp4") == FILE
        assert (server.connections, names.asked) == (2, ["one.example", "two.example"])
        assert (await failure(client, f"http://three.example:{server.port}/v.mp4")).reason == "private address refused"


async def test_a_resolver_that_does_not_answer_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking a name up is part of connecting, and as long as that may take."""

    async def hang(*_: Any, **__: Any) -> list[Any]:
        await anyio.sleep(60)
        return []

    monkeypatch.setattr(addresses.anyio, "getaddrinfo", hang)
    monkeypatch.setattr(http, "CONNECT_TIMEOUT", 0.05)
    async with SudashuiClient(KEY) as client:
        assert (await failure(client, "https://slow.example/v.mp4")).reason == "not connected"


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://a.example/", None),
        ({"https_proxy": "http://p:1"}, "https://a.example/", "http://p:1"),
        ({"https_proxy": "p:1"}, "https://a.example/", "http://p:1"),
        ({"https_proxy": "http://p:1"}, "http://a.example/", None),
        ({"all_proxy": "http://p:1"}, "http://a.example/", "http://p:1"),
        ({"all_proxy": "http://p:1", "no_proxy": "a.example"}, "http://b.a.example/", None),
        ({"all_proxy": "http://p:1", "no_proxy": "a.example"}, "http://ba.example/", "http://p:1"),
        ({"all_proxy": "http://p:1", "no_proxy": "https://a.example"}, "http://a.example/", "http://p:1"),
        ({"all_proxy": "http://p:1", "no_proxy": "a.example:8080"}, "http://a.example/", "http://p:1"),
        ({"all_proxy": "http://p:1", "no_proxy": "a.example:443"}, "https://a.example/", None),
        ({"all_proxy": "http://p:1", "no_proxy": "10.0.0.1,[::1]"}, "https://10.0.0.1/", None),
        ({"all_proxy": "http://p:1", "no_proxy": "10.0.0.1,[::1]"}, "https://[::1]/", None),
    ],
)
def test_which_proxy(environment: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As widely as users write it."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
        if name in environment:
            monkeypatch.setenv(name, environment[name])
    assert environment_proxy(httpx.URL(url)) == proxy


@pytest.mark.parametrize("proxy", ["socks5://u:p4ssw0rd@127.0.0.1:9", "gopher://127.0.0.1:9"])
async def test_a_proxy_that_cannot_be_used_is_an_error_like_any_other(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the network, before anything was sent; its password is not shown."""
    monkeypatch.setenv("all_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    async with SudashuiClient(KEY) as client:
        error = await failure(client, "http://video.example/v.mp4")
        with pytest.raises(TransientError):
            await client.models()
    assert error.reason == "not connected"
    assert "p4ssw0rd" not in f"{error!r}{error.__context__!r}{error.__cause__!r}"


def test_the_operator_s_hosts_are_known_in_every_spelling() -> None:
    """A name of another script is one host, written either way."""
    guard = Guard({"Bücher.example", "[::1]"})
    assert guard.trusts("bücher.example")
    assert guard.trusts("xn--bcher-kva.example")
    assert guard.trusts("::1")
    assert not guard.trusts("example")


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
