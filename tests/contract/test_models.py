"""What an account can use, and what is known of each model: live list, tables, statements of the user, price list."""

from __future__ import annotations

import json

import pytest

from prefect_genvideo.errors import AuthenticationError
from prefect_genvideo.providers import ModelLimits, ModelRules, SenseAudioClient, SudashuiClient
from tests.contract.cases import KEY
from tests.contract.server import Answer, Received, ScriptedServer

LISTED = ("sd-2-720p", "sd-2-1080p", "sdas-2-pro", "ld-new", "gpt-x")
PRICES = {
    "success": True,
    "data": [
        {"model_name": "sd-2-720p", "quota_type": 1, "model_price": 0.5, "model_ratio": 0},
        {"model_name": "gpt-x", "quota_type": 0, "model_price": 0, "model_ratio": 1.5},
        {"model_name": "ld-new", "quota_type": 1},
        {"model_name": 7, "quota_type": 1, "model_price": 1},
        "junk",
    ],
}


def answering(prices: Answer, listed: tuple[str, ...] = LISTED) -> ScriptedServer:
    def handle(request: Received) -> Answer:
        if request.target.startswith("/api/pricing"):
            return prices
        data = [{"id": name, "object": "model"} for name in listed]
        return Answer(200, {}, json.dumps({"object": "list", "data": data}).encode())

    return ScriptedServer(handle)


async def test_what_is_known_of_each_model_and_how() -> None:
    """Documented, stated by the user, likely from its family, or nothing; a price where the gateway shows one."""
    stated = ModelRules((("sdas-2-*", ModelLimits(seconds=(15, 30))), ("sd-2-1080p", ModelLimits(images=12))))
    async with (
        answering(Answer(200, {}, json.dumps(PRICES).encode())) as server,
        SudashuiClient(KEY, server.url, model_rules=stated) as client,
    ):
        found = {model.name: model for model in await client.catalog()}
    assert {name: (model.basis, model.price) for name, model in found.items()} == {
        "sd-2-720p": ("documented", "0.5 a video"),
        "sd-2-1080p": ("stated", ""),
        "sdas-2-pro": ("stated", ""),
        "ld-new": ("family", ""),
        "gpt-x": ("", "ratio 1.5"),
    }
    assert (found["sd-2-1080p"].limits.images, found["sd-2-1080p"].limits.videos) == (12, 3)
    assert (found["sdas-2-pro"].limits.seconds, found["sdas-2-pro"].limits.videos) == ((15, 30), 10)
    assert found["gpt-x"].limits == ModelLimits()


@pytest.mark.parametrize(
    "prices",
    [
        Answer(403, {}, b'{"success": false, "message": "off"}'),
        Answer(200, {}, b"<!doctype html><html>"),
        Answer(200, {}, b'{"success": true, "data": null}'),
        Answer(200, {}, b"", reset=True),
    ],
    ids=["off", "page", "null", "lost"],
)
async def test_a_price_list_is_a_favour(prices: Answer) -> None:
    """Where it is switched off or broken, the models are listed without; the key is not sent to it."""
    async with answering(prices) as server, SudashuiClient(KEY, server.url) as client:
        assert {model.price for model in await client.catalog()} == {""}
        (asked,) = [request for request in server.received if request.target.startswith("/api/pricing")]
        assert "authorization" not in asked.headers


async def test_the_other_provider_has_no_price_list() -> None:
    """Its models are listed alike."""
    async with (
        answering(Answer(500), ("doubao-seedance-2-0-260128", "doubao-seedance-2-5-260628", "kling-3")) as server,
        SenseAudioClient(KEY, server.url) as client,
    ):
        assert [model.basis for model in await client.catalog()] == ["documented", "family", ""]
        assert len(server.received) == 1


async def test_a_refused_key_is_said() -> None:
    """The list itself is no favour."""
    async with (
        ScriptedServer(lambda _: Answer(401, {}, b'{"error": {"message": "bad", "type": "new_api_error"}}')) as server,
        SudashuiClient(KEY, server.url) as client,
    ):
        with pytest.raises(AuthenticationError):
            await client.catalog()
