"""The client's rules of Ark and the simulator's were written apart: they must take and refuse the same requests."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers import ArkClient
from prefect_genvideo.providers.ark.rules import MODELS
from prefect_genvideo.simulator.ark_rules import ARK_MODELS, ark_problem, fails_later

CLIENT = ArkClient("sk-sim")
# Fields about which the client is stricter on purpose: neither is documented for the models that it is refused for.
STRICTER = {("options.service_tier",), ("options.draft",)}


def links(kind: str, count: int) -> tuple[str, ...]:
    return tuple(f"https://example.com/{number}.{kind}" for number in range(count))


MEDIA: tuple[dict[str, Any], ...] = (
    {},
    {"first_frame": "https://example.com/a.jpg"},
    {"first_frame": "https://example.com/a.jpg", "last_frame": "https://example.com/b.jpg"},
    {"last_frame": "https://example.com/b.jpg"},
    *({"images": links("jpg", count)} for count in (1, 9, 10, 31)),
    *({"videos": links("mp4", count)} for count in (1, 4, 11)),
    {"audios": links("mp3", 1)},
    {"images": links("jpg", 1), "audios": links("mp3", 1)},
    {"images": links("jpg", 9), "videos": links("mp4", 3), "audios": links("mp3", 4)},
)
FORMS = (
    *product((None, "480p", "1080p", "4k", "2k"), (None, "16:9", "adaptive", "2:1"), (None, -1, 4, 12)),
    *product(("480p",), ("16:9",), (1, 2, 3, 13, 15, 16, 30, 31)),
)
OPTIONS: tuple[dict[str, Any], ...] = (
    *({"service_tier": tier} for tier in ("flex", "default")),
    *({"frames": frames} for frames in (25, 29, 57, 58, 289, 293)),
    *({"priority": priority} for priority in (0, 9, 10)),
    *({"seed": seed} for seed in (-2, -1, 2**31 - 1, 2**31)),
    *({name: True} for name in ("generate_audio", "watermark", "return_last_frame")),
    *({"output_format": name} for name in ("mp4", "mov", "avi")),
    *({"tools": [{"type": kind}]} for kind in ("web_search", "code")),
    *({"safety_identifier": text} for text in ("x" * 64, "x" * 65, "é")),
    {"priority": 1, "service_tier": "flex"},
    *({"omni_reference_task_type": kind} for kind in ("reference", "edit", "extend")),
)


def requests(model: str) -> Iterator[VideoRequest]:
    """Every medium with every form; each option and each expiry by itself and with media."""
    for media, (resolution, ratio, seconds) in product(MEDIA, FORMS):
        yield VideoRequest(
            model=model, prompt="x", resolution=resolution, aspect_ratio=ratio, duration=seconds, **media
        )
    for media, options, seconds in product(MEDIA, OPTIONS, (None, 5)):
        yield VideoRequest(model=model, prompt="x", options=options, duration=seconds, **media)
    drafts: tuple[dict[str, Any], ...] = ({"draft": True}, {"draft": False}, {"draft_task_id": "cgt-1"})
    for options, prompt, resolution, ratio in product(drafts, ("x", ""), (None, "480p", "1080p"), (None, "16:9")):
        yield VideoRequest(model=model, prompt=prompt, options=options, resolution=resolution, aspect_ratio=ratio)
    for name, value in (("seed", 1), ("generate_audio", False), ("return_last_frame", True), ("priority", 1)):
        yield VideoRequest(model=model, options={"draft_task_id": "cgt-1", name: value}, resolution="1080p")
    for timeout in (3599, 3600, 259_200, 259_201):
        yield VideoRequest(model=model, prompt="x", timeout=timeout)


def test_the_same_models_are_known() -> None:
    """By the same names, in China and abroad."""
    assert set(MODELS) == set(ARK_MODELS)


@pytest.mark.parametrize("model", sorted(name for name in MODELS if name.startswith("doubao-")))
def test_what_the_client_lets_pass_is_taken(model: str) -> None:
    """And made; what it refuses is refused, but for fields about which it is stricter."""
    differing = list[tuple[VideoRequest, tuple[str, ...], str]]()
    for request in requests(model):
        ours = tuple(problem.field for problem in CLIENT.validate(request))
        body = CLIENT.body(request)
        refused = ark_problem(body, ARK_MODELS[model])
        theirs = refused.message if refused else fails_later(body, ARK_MODELS[model])
        unsent = ours == ("aspect_ratio",) and body["ratio"] != request.aspect_ratio
        if bool(ours) != bool(theirs) and ours not in STRICTER and not unsent:
            differing.append((request, ours, theirs))
    assert differing == []
