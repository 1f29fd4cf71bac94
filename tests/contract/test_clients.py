"""What makes a client: key, addresses, account, and the registry that finds it by name."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.providers import (
    ArkClient,
    SenseAudioClient,
    SudashuiClient,
    VideoClient,
    get_provider,
    provider_names,
    registry,
)
from tests.contract.cases import CLIENTS, KEY
from tests.fixtures.expected import refusing


@pytest.mark.parametrize("cls", CLIENTS.values())
@pytest.mark.parametrize("key", ["", "  ", "two words", "密钥", "a\x00b", "a\nb"])
def test_a_key_that_no_header_can_carry_is_refused(cls: type[VideoClient], key: str) -> None:
    """At once, rather than by an encoding error in the middle of a create."""
    with pytest.raises(InvalidRequestError) as caught:
        cls(key)
    assert key.strip() not in str(caught.value) or not key.strip()


def test_blanks_around_a_key_are_forgiven() -> None:
    """They come from copying."""
    assert SudashuiClient(f" {KEY}\n").account == SudashuiClient(KEY).account


@pytest.mark.parametrize("cls", CLIENTS.values())
@pytest.mark.parametrize(
    "url",
    [
        "ftp://e.com",
        "e.com",
        "https://",
        "https://u:p@e.com",
        "https://e.com?a=1",
        "https://e.com/#a",
        "http://[",
        "https://e.com:port",
    ],
)
def test_a_base_url_is_a_plain_one(cls: type[VideoClient], url: str) -> None:
    """Without credentials, query or fragment."""
    with refusing("base_url"):
        cls(KEY, url)


@pytest.mark.parametrize("given", ["https://e.com", "https://e.com/", "https://e.com/v1", " https://e.com/v1/ "])
def test_a_base_url_may_end_in_v1(given: str) -> None:
    """Many documents print it so."""
    assert SudashuiClient(KEY, given).base_url == "https://e.com"


def test_a_files_url_is_checked_alike() -> None:
    """By its own name."""
    with refusing("files_url"):
        SudashuiClient(KEY, files_url="nowhere")


def test_accounts_are_told_apart_without_showing_the_key() -> None:
    """By key and address; stable across processes."""
    accounts = {
        SudashuiClient(KEY).account,
        SudashuiClient("sk-other").account,
        SudashuiClient(KEY, "https://other.example").account,
        SenseAudioClient(KEY).account,
    }
    assert len(accounts) == 4
    assert SudashuiClient(KEY).account == SudashuiClient(KEY).account
    assert all(len(account) == 16 and int(account, 16) >= 0 for account in accounts)
    assert KEY not in repr(SudashuiClient(KEY))


def test_polling_floors_and_uploads_are_facts() -> None:
    """Others plan by them."""
    assert (SudashuiClient.poll_floor, SenseAudioClient.poll_floor) == (15.0, 5.0)
    assert SudashuiClient.uploads
    assert SudashuiClient.upload_lifetime
    assert SenseAudioClient.upload_lifetime is None


def test_the_built_in_providers_are_known_by_name() -> None:
    """Also while the package is not installed."""
    assert get_provider("sudashui") is SudashuiClient
    assert get_provider("senseaudio") is SenseAudioClient
    assert get_provider("ark") is ArkClient
    assert {"sudashui", "senseaudio", "ark"} <= set(provider_names())


class Plugin(SudashuiClient):
    """A third party's client."""

    name: ClassVar[str] = "plugin"


class NotAClient:
    """A third party's mistake."""


def install(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> None:
    found = [EntryPoint(name, f"{__name__}:{value}", registry.ENTRY_POINT_GROUP) for name, value in points]
    monkeypatch.setattr(registry, "entry_points", lambda group: found)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]


def test_a_plugin_joins_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same one listed twice is one."""
    install(monkeypatch, ("plugin", "Plugin"), ("plugin", "Plugin"))
    assert get_provider("plugin") is Plugin
    assert provider_names() == ["ark", "plugin", "senseaudio", "sudashui"]


def test_a_plugin_does_not_replace_a_built_in_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever installs a package does not hand it the keys of another."""
    install(monkeypatch, ("sudashui", "Plugin"))
    assert get_provider("sudashui") is SudashuiClient


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([("plugin", "Plugin"), ("plugin", "NotAClient")], "several"),
        ([("plugin", "NotAClient")], "no subclass"),
        ([("plugin", "Missing")], "broken"),
        ([("other", "Plugin")], "another name"),
    ],
)
def test_a_broken_plugin_is_named(points: list[tuple[str, str]], reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that its user knows what to uninstall."""
    install(monkeypatch, *points)
    with refusing(reason=reason) as caught:
        get_provider(points[0][0])
    assert f"tests.contract.test_clients:{points[0][1]}" in str(caught.value)


def test_a_provider_that_nobody_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the names of those there are."""
    install(monkeypatch)
    with refusing("provider", limit="senseaudio, sudashui"):
        get_provider("plugin")
