"""The Sudashui side of the simulator says what the document and the recordings say."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from prefect_genvideo.simulator import Simulator
from tests.fixtures.simulator_calls import TEXT_PAYLOAD, Calls

LINK = "https://example.com/a.jpg"
ROW_KEYS = {
    "id", "created_at", "updated_at", "task_id", "platform", "user_id", "group", "channel_id", "quota", "action",
    "status", "fail_reason", "submit_time", "start_time", "finish_time", "progress", "properties", "data",
}  # fmt: skip


def test_create_answers_with_the_documented_task_object(sim: Simulator, calls: Calls) -> None:
    """A valid create is billed once and answered flat, queued, at 0 %."""
    answer = calls.sudashui_create()
    body = answer.json()
    assert answer.status_code == 200
    assert list(body) == ["id", "task_id", "object", "model", "status", "progress", "created_at"]
    assert re.fullmatch(r"task_[A-Za-z0-9]{32}", body["task_id"])
    assert (body["id"], body["status"], body["progress"]) == (body["task_id"], "queued", 0)
    assert sim.billed == 1
    assert sim.by_account == {sim.key: 1}


def test_rows_walk_through_the_recorded_words(sim: Simulator, calls: Calls) -> None:
    """With five polls to the end, every recorded word is seen once, with its progress."""
    sim.configure(polls_to_finish=5)
    task_id = calls.sudashui_id()
    rows = [calls.sudashui_status(task_id).json() for _ in range(6)]
    seen = [(row["data"]["status"], row["data"]["progress"]) for row in rows]
    assert seen == [
        ("NOT_START", "0%"),
        ("SUBMITTED", "10%"),
        ("QUEUED", "20%"),
        ("IN_PROGRESS", "30%"),
        ("SUCCESS", "100%"),
        ("SUCCESS", "100%"),
    ]
    assert rows[0]["data"]["data"] is None
    assert rows[1]["data"]["data"] == {"state": "queueing", "message": "", "err_code": "", "creations": []}
    assert all(row["code"] == "success" and row["message"] == "" for row in rows)
    assert all(set(row["data"]) >= ROW_KEYS for row in rows)


def test_a_success_holds_the_link_twice_and_a_cover(calls: Calls) -> None:
    """`result_url` and the first creation agree; links are fresh and signed."""
    row = calls.sudashui_done(calls.sudashui_id())
    (creation,) = row["data"]["creations"]
    assert row["result_url"] == creation["url"]
    assert re.search(r"/output\.mp4\?expires=\d+&sig=[0-9a-f]{40}$", creation["url"])
    assert httpx.get(creation["cover_url"]).content.startswith(b"\xff\xd8\xff")


def test_a_failure_repeats_its_reason_as_the_document_shows(sim: Simulator, calls: Calls) -> None:
    """The error text stands in four places, one of them `result_url`."""
    task_id = calls.sudashui_id()
    sim.fail(task_id, "Real human faces are not supported.")
    row = calls.sudashui_status(task_id).json()["data"]
    reason = "Real human faces are not supported."
    assert (row["status"], row["progress"]) == ("FAILURE", "100%")
    assert (row["fail_reason"], row["result_url"]) == (reason, reason)
    assert row["data"] == {"state": "failed", "message": reason, "err_code": reason, "creations": []}


BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("duration must be from 4 to 15 seconds.", {"duration": 3}),
    ("duration must be from 4 to 15 seconds.", {"duration": 16}),
    ("duration must be from 4 to 15 seconds.", {"duration": "4"}),
    ("duration must be from 4 to 15 seconds.", {"duration": None}),
    ("Do not pass top-level images, imageUrls, videoUrls, audioUrls.", {"images": [LINK]}),
    ("Do not pass top-level firstFrameUrl, lastFrameUrl, aspectRatio, mode, resolution.", {"resolution": "720p"}),
    ("metadata.payload is required.", {"metadata": {}}),
    (
        "metadata.payload.aspectRatio must be one of 1:1, 3:4, 4:3, 9:16, 16:9, 21:9, adaptive.",
        {"payload": {"aspectRatio": "2:1"}},
    ),
    ("metadata.payload.mode must be one of references, frames.", {"payload": {"mode": "text"}}),
    ("metadata.payload.imageUrls must contain at most 9 items.", {"payload": {"imageUrls": [LINK] * 10}}),
    ("metadata.payload.videoUrls must contain at most 3 items.", {"payload": {"videoUrls": [LINK] * 4}}),
    ("metadata.payload.imageUrls must contain valid URLs.", {"payload": {"imageUrls": ["data:image/png;base64,AA=="]}}),
    ("metadata.payload.imageUrls must contain valid URLs.", {"payload": {"imageUrls": ["https://["]}}),
    (
        "metadata.payload.imageUrls is not allowed when mode is frames.",
        {"payload": {"mode": "frames", "imageUrls": []}},
    ),
    (
        "metadata.payload.lastFrameUrl is required when mode is frames.",
        {"payload": {"mode": "frames", "firstFrameUrl": LINK}},
    ),
    ("metadata.payload.firstFrameUrl is not allowed when mode is references.", {"payload": {"firstFrameUrl": LINK}}),
    ("Do not pass model, resolution, duration, prompt in metadata.payload.", {"payload": {"prompt": "x"}}),
    (
        "The total number of imageUrls, videoUrls and audioUrls must be at most 12.",
        {"payload": {"imageUrls": [LINK] * 9, "videoUrls": [LINK] * 3, "audioUrls": [LINK]}},
    ),
]


@pytest.mark.parametrize(("words", "changes"), BROKEN)
def test_broken_rules_are_refused_in_the_providers_words(
    sim: Simulator, calls: Calls, words: str, changes: dict[str, Any]
) -> None:
    """A refusal is JSON inside JSON, with 400, and costs nothing."""
    answer = calls.sudashui_create(**changes)
    body = answer.json()
    assert (answer.status_code, body["code"], body["data"]) == (400, "fail_to_fetch_task", None)
    inner = json.loads(body["message"])
    assert inner == {"state": "failed", "err_code": "invalid_request", "message": words, "creations": []}
    assert sim.billed == 0


def test_gateway_errors_keep_their_envelopes(sim: Simulator, calls: Calls) -> None:
    """Routing and relay have different envelopes; nothing is billed by any of them."""
    unknown = calls.sudashui_create(model="sd-9")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (503, "model_not_found")
    blank = calls.sudashui_create(prompt=" ")
    assert (blank.status_code, blank.json()["code"], blank.json()["message"]) == (
        400,
        "invalid_request",
        "prompt is required",
    )
    as_object = calls.sudashui_create(metadata={"payload": TEXT_PAYLOAD})
    assert (as_object.status_code, as_object.json()["code"]) == (500, "build_request_failed")
    url = f"{sim.sudashui_url}/v1/video/generations"
    no_json = calls.http.post(url, content=b'{"model":')
    assert (no_json.status_code, no_json.json()["error"]["type"]) == (400, "new_api_error")
    lost = calls.sudashui_status("task_nobody")
    assert (lost.status_code, lost.json()["code"]) == (400, "task_not_exist")
    assert sim.billed == 0


def test_keys_decide_who_is_asked(sim: Simulator) -> None:
    """Keys that start with `sk-sim` are accounts of their own; two of them have troubles; others are strangers."""
    with Calls(sim, "sk-sim-a") as one, Calls(sim, "sk-sim-b") as two:
        task_id = one.sudashui_id()
        assert two.sudashui_status(task_id).json()["code"] == "task_not_exist"
    with Calls(sim, "sk-sim-broke") as broke:
        answer = broke.sudashui_create()
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_user_quota")
        assert broke.upload().status_code == 200
    for key in ("sk-sim-expired", "sk-real"):
        with Calls(sim, key) as bad:
            answer = bad.sudashui_create()
            assert answer.status_code == 401
            assert answer.json()["error"]["message"].startswith("无效的令牌")
            assert bad.upload().json() == {"error": "unauthorized"}
    bare = httpx.get(f"{sim.sudashui_url}/v1/models")
    assert bare.json()["error"]["message"].startswith("未提供令牌")
    assert sim.by_account == {"sk-sim-a": 1}


def test_uploads_are_kept_and_read_back_by_signed_link_only(sim: Simulator, calls: Calls) -> None:
    """The answer holds one signed link of the recorded form; without the signature it is refused."""
    answer = calls.upload("D:\\Pictures\\004.jpg", b"picture")
    assert list(answer.json()) == ["url"]
    url = answer.json()["url"]
    assert re.search(r"/proxy/(\d+)/\1-004\.jpg\?expires=\d+&sig=[0-9a-f]+$", url)
    assert httpx.get(url).content == b"picture"
    assert httpx.get(url.split("?")[0]).status_code == 403
    sim.expire_links("upload")
    assert httpx.get(url).status_code == 403


def test_uploads_have_limits(calls: Calls) -> None:
    """The documented types pass; a missing field, another type and an oversized file do not."""
    assert calls.upload("a.exe").status_code == 400
    assert calls.upload("a.wav", b"\0" * (15 * 1024 * 1024)).status_code == 413
    assert calls.http.post(calls.sim.sudashui_files_url, data={"x": "y"}).status_code == 400


def test_a_dead_reference_fails_the_task_inside_only(sim: Simulator, calls: Calls) -> None:
    """An upload link of ours that has expired is found out while generating; the reason stands inside."""
    link = calls.upload().json()["url"]
    sim.expire_links("upload")
    task_id = calls.sudashui_id({"imageUrls": [link]})
    row = calls.sudashui_done(task_id)
    assert (row["status"], row["fail_reason"], row["data"]["message"]) == ("FAILURE", "", "asset download failed")


def test_a_path_without_v1_gets_the_gateways_web_page(sim: Simulator, calls: Calls) -> None:
    """A wrong base URL is answered 200 with HTML, as recorded; below `/v1` an unknown path is JSON."""
    page = calls.http.post(f"{sim.sudashui_url}/video/generations", json={})
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "<title>New API</title>" in page.text
    assert calls.http.get(f"{sim.sudashui_url}/v1/nothing").status_code == 404


def test_models_and_the_content_link(sim: Simulator, calls: Calls) -> None:
    """The list has the six documented models; the gateway's own link redirects once the task is done."""
    ids = [item["id"] for item in calls.http.get(f"{sim.sudashui_url}/v1/models").json()["data"]]
    assert len(ids) == 6
    task_id = calls.sudashui_id()
    url = f"{sim.sudashui_url}/v1/videos/{task_id}/content"
    early = calls.http.get(url)
    assert (early.status_code, early.json()["error"]["type"]) == (400, "invalid_request_error")
    sim.finish(task_id)
    assert calls.http.get(url).status_code == 302
    assert calls.http.get(url, follow_redirects=True).content[4:8] == b"ftyp"
    assert calls.http.get(f"{sim.sudashui_url}/v1/videos/task_x/content").status_code == 404


def test_other_models_can_be_offered_without_the_documented_limits(sim: Simulator, calls: Calls) -> None:
    """As live lists do; what is no limit of the documented models holds for them too."""
    assert calls.sudashui_create(model="sdas-2-pro", duration=30).status_code == 503
    calls.http.post(f"{sim.url}/_sim/config", json={"models": ["sdas-2-pro"]})
    listed = calls.http.get(f"{sim.sudashui_url}/v1/models").json()["data"]
    assert listed[-1]["id"] == "sdas-2-pro"
    links = [f"https://e.example/{n}.jpg" for n in range(30)]
    assert calls.sudashui_create({"imageUrls": links}, model="sdas-2-pro", duration=30).status_code == 200
    assert calls.sudashui_create(duration=30).status_code == 400
    assert calls.sudashui_create({"aspectRatio": "2:1"}, model="sdas-2-pro").status_code == 400
    assert sim.billed == 1
