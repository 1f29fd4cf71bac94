"""The Ark side of the simulator says what the documents and the recordings say."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_genvideo.simulator import Fault, Simulator
from tests.fixtures.pictures import jpeg_url
from tests.fixtures.simulator_calls import Calls

LINK = "https://example.com/a.jpg"
RUNNING = {
    "id", "model", "status", "created_at", "updated_at", "service_tier", "execution_expires_after", "generate_audio",
    "draft", "priority",
}  # fmt: skip
SUCCEEDED = RUNNING | {"content", "usage", "seed", "resolution", "ratio", "duration", "framespersecond"}
SEEDANCE_25 = "doubao-seedance-2-5-260628"
SEEDANCE_15 = "doubao-seedance-1-5-pro-251215"
SEEDANCE_10 = "doubao-seedance-1-0-pro-250528"


def image(role: str | None, url: str = LINK) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}} | ({"role": role} if role else {})


def reference(kind: str) -> dict[str, Any]:
    return {"type": f"{kind}_url", f"{kind}_url": {"url": LINK}, "role": f"reference_{kind}"}


def told(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, code and type of a refusal."""
    error = answer.json()["error"]
    assert re.search(r" Request id: \w{40,}$", error["message"])
    return answer.status_code, error["code"], error["type"]


def test_create_answers_with_the_id_alone(sim: Simulator, calls: Calls) -> None:
    """An id that tells the time, one generation billed; a `safety_identifier` is given back."""
    answer = calls.ark_create()
    assert answer.status_code == 200
    assert list(answer.json()) == ["id"]
    assert re.fullmatch(r"cgt-\d{14}-[a-z0-9]{5}", answer.json()["id"])
    assert answer.headers["x-request-id"]
    assert sim.billed == 1
    assert calls.ark_create(safety_identifier="0123abcd").json()["safety_identifier"] == "0123abcd"


def test_a_task_goes_from_queued_to_a_film(sim: Simulator, calls: Calls) -> None:
    """Flat objects; prompt and media are never told; `updated_at` moves at the end; the link opens without the key."""
    sim.configure(polls_to_finish=5)
    task_id = calls.ark_id()
    records = [calls.ark_status(task_id).json() for _ in range(5)]
    assert [record["status"] for record in records] == ["queued", "queued", "queued", "running", "succeeded"]
    assert [set(record) for record in records] == [RUNNING] * 4 + [SUCCEEDED]
    assert {record["id"] for record in records} == {task_id}
    assert all(record["updated_at"] == record["created_at"] for record in records[:4])
    film = records[-1]
    assert (film["resolution"], film["ratio"], film["duration"], film["framespersecond"]) == ("720p", "16:9", 5, 24)
    assert film["usage"] == {"completion_tokens": 108_900, "total_tokens": 108_900}
    assert list(film["content"]) == ["video_url"]
    assert "X-Tos-Expires=86400" in film["content"]["video_url"]
    assert httpx.get(film["content"]["video_url"]).content[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("tokens", "changes"),
    [
        (108_900, {}),
        (246_840, {"model": SEEDANCE_10, "resolution": "1080p", "frames": 121, "duration": None}),
        (218_266, {"ratio": "3:4", "duration": 10}),
        (245_025, {"model": SEEDANCE_25, "resolution": "1080p"}),
    ],
)
def test_tokens_are_those_that_were_recorded(
    tokens: int, changes: dict[str, Any], sim: Simulator, calls: Calls
) -> None:
    """By pixels and frames; with `frames` asked, the answer has them instead of a duration."""
    film = calls.ark_done(calls.ark_id(**changes))
    assert film["usage"]["completion_tokens"] == tokens
    assert ("frames" in film, "duration" in film) == ("frames" in changes, "frames" not in changes)
    assert sim.tokens == {sim.key: tokens}
    assert sim.snapshot()["tokens"] == {sim.key: tokens}


def test_only_films_are_paid(sim: Simulator, calls: Calls) -> None:
    """Tokens are billed for successes alone, and a task that was cancelled while it waited was no purchase."""
    sim.configure(clock="manual")
    made, failed, cancelled = calls.ark_id(), calls.ark_id(), calls.ark_id()
    sim.finish(made)
    sim.fail(failed, "OutputVideoSensitiveContentDetected")
    assert calls.ark_delete(cancelled).json() == {}
    assert (sim.billed, sim.tokens) == (2, {sim.key: 108_900})


def test_what_was_asked_is_echoed(sim: Simulator, calls: Calls) -> None:
    """By its real values; an endpoint's id is told as the model behind it, and 1.0 knows neither sound nor priority."""
    asked = {"execution_expires_after": 172_111, "priority": 3, "generate_audio": False, "seed": 7}
    film = calls.ark_done(calls.ark_id(**asked, model="ep-20260101-abcde", return_last_frame=True, tools=[]))
    assert {name: film[name] for name in (*asked, "tools")} == {**asked, "tools": []}
    assert film["model"] == "doubao-seedance-2-0-260128"
    assert httpx.get(film["content"]["last_frame_url"]).content.startswith(b"\xff\xd8\xff")
    old = calls.ark_status(calls.ark_id(model=SEEDANCE_10, service_tier="flex")).json()
    assert (set(old), old["service_tier"]) == (RUNNING - {"generate_audio", "draft", "priority"}, "flex")
    left_out = dict.fromkeys(("ratio", "duration"))
    draft = {"type": "draft_task", "draft_task": {"id": film["id"]}}
    final = calls.ark_create(model=SEEDANCE_25, content=[draft], resolution="1080p", **left_out)
    record = calls.ark_done(final.json()["id"])
    assert (record["draft_task_id"], record["output_format"]) == (film["id"], "mp4")


def test_an_adaptive_ratio_follows_the_picture(sim: Simulator, calls: Calls) -> None:
    """The nearest of the table is told and billed; without a picture it is 16:9."""
    tall = calls.ark_done(calls.ark_id(image(None, jpeg_url(300, 500)), ratio="adaptive"))
    assert (tall["ratio"], tall["usage"]["completion_tokens"]) == ("9:16", 108_900)
    assert calls.ark_done(calls.ark_id(ratio=None))["ratio"] == "16:9"


DRAFT = {"type": "draft_task", "draft_task": {"id": "cgt-1"}}
BROKEN: list[tuple[str, list[dict[str, Any]], dict[str, Any]]] = [
    ("content[1].type", [{"type": "smell"}], {}),
    ("content[1].draft_task.id", [{"type": "draft_task", "draft_task": "cgt-1"}], {}),
    ("content[1].image_url.url", [{"type": "image_url", "image_url": LINK}], {}),
    ("content", [{"type": "video_url", "video_url": {"url": LINK}}], {}),
    ("content[1].image_url.url", [image("first_frame", "ftp://x/y")], {}),
    ("content[1].image_url.url", [image("first_frame", "data:image/png;base64,%%%")], {}),
    ("content", [image("first_frame"), image("reference_image")], {}),
    ("task_type", [image("last_frame")], {}),
    ("task_type", [image("first_frame"), image("last_frame")], {"model": "doubao-seedance-1-0-pro-fast-251015"}),
    ("task_type", [image("reference_image")], {"model": SEEDANCE_15}),
    ("content", [image(None), image(None)], {}),
    ("content", [image("reference_image")] * 10, {}),
    ("content", [reference("video")] * 4, {}),
    ("content", [reference("audio")], {}),
    ("resolution", [], {"resolution": "2k"}),
    ("resolution", [], {"model": "doubao-seedance-2-0-fast-260128", "resolution": "1080p"}),
    ("ratio", [], {"ratio": "2:1"}),
    ("ratio", [], {"model": SEEDANCE_10, "ratio": "adaptive"}),
    ("duration", [], {"duration": 16}),
    ("duration", [], {"duration": 5.0}),
    ("duration", [], {"model": SEEDANCE_10, "duration": -1}),
    ("frames", [], {"frames": 121}),
    ("frames", [], {"model": SEEDANCE_10, "frames": 120}),
    ("execution_expires_after", [], {"execution_expires_after": 3599}),
    ("seed", [], {"seed": 2**31}),
    ("draft", [], {"draft": "yes"}),
    ("output_format", [], {"model": SEEDANCE_25, "output_format": "avi"}),
    ("resolution", [], {"model": SEEDANCE_25, "draft": True, "resolution": "720p"}),
    ("content", [DRAFT], {"model": SEEDANCE_25}),
    ("safety_identifier", [], {"safety_identifier": "x" * 65}),
    ("callback_url", [], {"callback_url": "javascript:1"}),
    ("tools", [], {"tools": [{"type": "code"}]}),
    ("omni_reference_task_type", [], {"model": SEEDANCE_25, "omni_reference_task_type": "dub"}),
    ("priority", [], {"priority": 10}),
]


@pytest.mark.parametrize(("param", "content", "changes"), BROKEN)
def test_broken_rules_are_refused(
    sim: Simulator, calls: Calls, param: str, content: list[dict[str, Any]], changes: dict[str, Any]
) -> None:
    """A refusal names the field and costs nothing."""
    answer = calls.ark_create(*content, **changes)
    assert told(answer) == (400, "InvalidParameter", "BadRequest")
    assert answer.json()["error"]["param"] == param
    assert sim.billed == 0


TAKEN: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
    ([], {"duration": -1}),
    ([], {"resolution": "4k"}),
    ([], {"tools": [{"type": "web_search"}], "safety_identifier": "x" * 64, "draft": False, "seed": None}),
    ([], {"model": "dreamina-seedance-2-0-260128"}),
    ([], {"model": "seedance-1-0-pro-250528", "frames": 29}),
    ([image(None)], {}),
    ([image("first_frame"), image("last_frame")], {}),
    ([image("first_frame"), image("last_frame")], {"model": SEEDANCE_15}),
    ([image("reference_image"), reference("video"), reference("audio")], {}),
    ([reference("audio")], {"model": SEEDANCE_25}),
    ([image("reference_image", "asset://asset-20261101120000-aaaaa")], {}),
]


@pytest.mark.parametrize(("content", "changes"), TAKEN)
def test_what_is_documented_is_taken(
    sim: Simulator, calls: Calls, content: list[dict[str, Any]], changes: dict[str, Any]
) -> None:
    """Every mode and each kind of medium, by the models that have them."""
    assert calls.ark_create(*content, **changes).status_code == 200
    assert sim.billed == 1


def test_other_refusals(sim: Simulator, calls: Calls) -> None:
    """Models, tiers, keys, money, ids, addresses and sizes have words of their own."""
    assert told(calls.ark_create(model="seedance-9")) == (404, "InvalidEndpointOrModel.NotFound", "NotFound")
    assert told(calls.ark_create(content=None)) == (400, "MissingParameter", "BadRequest")
    unsupported: tuple[dict[str, Any], ...] = (
        {"service_tier": "flex"},
        {"draft": True},
        {"output_format": "mov"},
        {"model": SEEDANCE_10, "priority": 1},
        {"model": SEEDANCE_10, "generate_audio": True},
        {"model": SEEDANCE_15, "tools": [{"type": "web_search"}]},
    )
    for changes in unsupported:
        assert told(calls.ark_create(**changes)) == (400, "InvalidParameter.UnsupportedParameter", "BadRequest")
    for content in ([reference("video")], [reference("image")], [image("first_frame")]):
        edit = calls.ark_create(*content, omni_reference_task_type="edit", model=SEEDANCE_25)
        assert told(edit) == (400, "InvalidParameter.TaskTypeConstraint", "BadRequest")
    frames = calls.ark_create(image("first_frame"), omni_reference_task_type="reference", model=SEEDANCE_25)
    assert told(frames) == (400, "InvalidParameter.TaskTypeConstraint", "BadRequest")
    assert told(calls.http.post(calls.ark_tasks, content=b"{")) == (400, "InvalidParameter", "BadRequest")
    assert calls.http.post(calls.ark_tasks, content=b" " * (64 * 1024 * 1024 + 1)).status_code == 413
    assert told(calls.ark_status("cgt-1")) == (404, "ResourceNotFound", "NotFound")
    assert told(calls.http.get(f"{sim.url}/ark/v3/tasks")) == (404, "InvalidAction", "NotFound")
    with Calls(sim, "sk-sim-broke") as broke:
        assert told(broke.ark_create()) == (403, "AccountOverdueError", "Forbidden")
    with Calls(sim, "sk-sim-expired") as bad:
        assert told(bad.ark_create()) == (401, "AuthenticationError", "Unauthorized")
    assert sim.billed == 0


JUNK: tuple[Any, ...] = (
    None, True, -1, 2**70, 1.5, "", "\ud800", "https://[", [], {}, [None], {"url": "data:image/png;base64,A"},
    {"id": 3},
)  # fmt: skip
FIELDS = (
    "model", "content", "resolution", "ratio", "duration", "frames", "seed", "priority", "service_tier", "draft",
    "tools", "callback_url", "safety_identifier", "execution_expires_after", "output_format",
    "omni_reference_task_type",
)  # fmt: skip

PARTS = ("type", "image_url", "draft_task", "role", "text")


@given(
    model=st.sampled_from(["doubao-seedance-2-0-260128", SEEDANCE_25, SEEDANCE_10, "ep-1"]),
    fields=st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(JUNK), max_size=3),
    items=st.lists(st.dictionaries(st.sampled_from(PARTS), st.sampled_from((*JUNK, *PARTS))), max_size=1),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_sent_is_taken_or_refused(
    model: str, fields: dict[str, Any], items: list[Any], sim: Simulator, calls: Calls
) -> None:
    """And what is taken can be asked for."""
    body = json.dumps({"model": model, "content": [{"type": "text", "text": "x"}, *items], **fields})
    answer = calls.http.post(calls.ark_tasks, content=body)
    assert answer.status_code in (200, 400, 404)
    if answer.status_code == 200:
        assert calls.ark_status(answer.json()["id"]).status_code == 200


def test_frames_with_a_ratio_fail_late_on_25(sim: Simulator, calls: Calls) -> None:
    """The task is made, and ends with the breach as its error: neither film nor usage."""
    record = calls.ark_done(calls.ark_id(image("first_frame"), model=SEEDANCE_25))
    assert (record["status"], record["error"]["code"]) == ("failed", "InvalidParameter.TaskTypeConstraint")
    assert not {"content", "usage"} & set(record)
    assert sim.billed == 1


def test_a_list_has_the_newest_first(sim: Simulator, calls: Calls) -> None:
    """The same objects as the queries' in pages, filtered by status, id, model and tier; others' tasks are not told."""
    sim.configure(list_every_s=0, clock="manual")
    first, second, third = calls.ark_id(), calls.ark_id(model=SEEDANCE_10, service_tier="flex"), calls.ark_id()
    film = calls.ark_done(first)
    with Calls(sim, "sk-sim-other") as other:
        assert other.ark_list().json() == {"total": 0, "items": []}
        assert told(other.ark_status(first))[0] == 404

    def ids(**query: Any) -> list[str]:
        return [item["id"] for item in calls.ark_list(**query).json()["items"]]

    assert ids() == [third, second, first]
    assert calls.ark_list(**{"filter.status": "succeeded"}).json() == {"total": 1, "items": [film]}
    assert ids(**{"filter.task_ids": [first, third]}) == [third, first]
    assert ids(**{"filter.model": SEEDANCE_10}) == ids(**{"filter.service_tier": "flex"}) == [second]
    assert ids(page_num=2, page_size=2) == [first]
    assert calls.ark_list(page_num=3, page_size=2).json() == {"total": 3, "items": []}
    for wrong in ({"page_num": 0}, {"page_size": 501}, {"page_size": "all"}, {"page_num": "²"}):
        assert told(calls.ark_list(**wrong)) == (400, "InvalidParameter", "BadRequest")


def test_the_list_is_given_once_a_second(sim: Simulator, calls: Calls) -> None:
    """To each key; the question moves no task on."""
    task_id = calls.ark_id()
    assert calls.ark_list().json()["items"][0]["status"] == "queued"
    assert told(calls.ark_list()) == (429, "APIAccountRpmRateLimitExceeded", "TooManyRequests")
    with Calls(sim, "sk-sim-other") as other:
        assert other.ark_list().status_code == 200
    assert sim.by_id[task_id].polls == 0


def test_questions_are_answered_so_many_times_a_second(sim: Simulator, calls: Calls) -> None:
    """Each key has windows of its own for questions and for deletions; what is refused moves no task on."""
    sim.configure(queries_per_s=2, polls_to_finish=9)
    task_id = calls.ark_id()
    assert [calls.ark_status(task_id).status_code for _ in range(2)] == [200, 200]
    assert told(calls.ark_status(task_id)) == (429, "APIAccountRpmRateLimitExceeded", "TooManyRequests")
    assert sim.by_id[task_id].polls == 2
    assert [calls.ark_delete("cgt-1").status_code for _ in range(3)] == [404, 404, 429]
    with Calls(sim, "sk-sim-other") as other:
        assert other.ark_status("cgt-1").status_code == 404


def test_delete_cancels_what_waits_and_forgets_what_is_over(sim: Simulator, calls: Calls) -> None:
    """The answer is the same; what runs stays, what was made is lost with its link, what was cancelled still shows."""
    sim.configure(clock="manual")
    waits, runs, made = calls.ark_id(), calls.ark_id(), calls.ark_id()
    for _ in range(3):
        sim.advance(runs)
    film = calls.ark_done(made)
    assert calls.ark_delete(waits).json() == calls.ark_delete(made).json() == {}
    assert told(calls.ark_delete(runs)) == (409, "TaskRunningCannotCancel", "Conflict")
    assert told(calls.ark_delete(made)) == told(calls.ark_status(made)) == (404, "ResourceNotFound", "NotFound")
    assert httpx.get(film["content"]["video_url"]).status_code == 404
    assert set(calls.ark_status(waits).json()) == RUNNING
    assert calls.ark_status(waits).json()["status"] == "cancelled"
    assert calls.ark_delete(waits).status_code == 409
    assert [item["status"] for item in calls.ark_list().json()["items"]] == ["running", "cancelled"]


def test_a_task_can_wait_too_long(sim: Simulator, calls: Calls) -> None:
    """It is expired, with neither error nor film."""
    task_id = calls.ark_id()
    assert calls.http.post(f"{sim.url}/_sim/tasks/{task_id}/expire").status_code == 200
    record = calls.ark_status(task_id).json()
    assert (record["status"], set(record)) == ("expired", RUNNING)


def test_more_than_the_places_wait(sim: Simulator, calls: Calls) -> None:
    """What is over the concurrency is queued; by priority, then by age, the next one runs when a place is free."""
    sim.configure(max_concurrency=1, polls_to_finish=2)
    first, second, urgent = calls.ark_id(), calls.ark_id(), calls.ark_id(priority=9)

    def words() -> list[str]:
        return [calls.ark_status(task_id).json()["status"] for task_id in (first, second, urgent)]

    assert words() == ["running", "queued", "queued"]
    assert words() == ["succeeded", "queued", "running"]
    assert words() == ["succeeded", "queued", "succeeded"]
    assert words() == ["succeeded", "running", "succeeded"]
    assert words() == ["succeeded"] * 3
    assert sim.billed == 3


def test_a_queue_has_an_end(sim: Simulator, calls: Calls) -> None:
    """Then a create is refused, and nothing was made."""
    sim.configure(max_concurrency=1, clock="manual")
    assert {calls.ark_create().status_code for _ in range(121)} == {200}
    full = calls.ark_create()
    assert told(full) == (429, "QuotaExceeded", "TooManyRequests")
    assert "queued" in full.json()["error"]["message"]
    assert sim.billed == 121


def test_links_and_records_die(sim: Simulator, calls: Calls) -> None:
    """A link lives from the end of its task on, however often one asks; a record for days, a cancelled one for less."""
    film = calls.ark_done(calls.ark_id())
    link = film["content"]["video_url"]
    sim.expire_links()
    dead = httpx.get(link)
    assert (dead.status_code, dead.json()["Code"], dead.json()["Message"]) == (
        403,
        "AccessDenied",
        "Request has expired",
    )
    assert dead.headers["x-tos-request-id"]
    fresh = calls.ark_status(film["id"]).json()["content"]["video_url"]
    assert httpx.get(fresh).status_code == 200
    assert httpx.get(fresh.replace("X-Tos-Expires=86400", "X-Tos-Expires=864000")).status_code == 403
    sim.configure(link_lifetime_s=0)
    assert httpx.get(calls.ark_status(film["id"]).json()["content"]["video_url"]).status_code == 403
    sim.configure(record_lifetime_s=0)
    assert told(calls.ark_status(film["id"]))[0] == 404
    assert calls.ark_list().json()["total"] == 0


def test_faults_have_arks_shapes(sim: Simulator, calls: Calls) -> None:
    """The kinds of the other sides, in Ark's envelope; a code of one's own may be given."""
    kinds = {
        "500_e1": (500, "InternalServiceError"),
        "429": (429, "APIAccountRpmRateLimitExceeded"),
        "quota": (403, "AccountOverdueError"),
        "concurrency": (429, "QuotaExceeded"),
    }
    sim.faults.add(*[Fault(kind, "create", times=1, provider="ark") for kind in kinds])
    assert [told(calls.ark_create())[:2] for _ in kinds] == list(kinds.values())
    sim.faults.add(Fault("429", "create", times=1, params={"code": "ServerOverloaded", "retry_after": 3}))
    overloaded = calls.ark_create()
    assert (overloaded.json()["error"]["code"], overloaded.headers["retry-after"]) == ("ServerOverloaded", "3")
    sim.faults.add(Fault("html_200", "create", times=1), Fault("502_html", "create", times=1))
    assert [calls.ark_create().text.partition("<title>")[2].partition("<")[0] for _ in range(2)] == [
        "Console",
        "502 Bad Gateway",
    ]
    assert sim.billed == 0


def test_lost_answers_and_odd_words(sim: Simulator, calls: Calls) -> None:
    """Cut after the task was made, an unknown word, a success without a link, a refused output."""
    sim.faults.add(Fault("lost_after", "create", times=1), Fault("cut_answer", "create", times=1))
    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            calls.ark_create()
    assert sim.billed == 2
    sim.faults.add(Fault("moderation", "create", times=1))
    refused = calls.ark_done(calls.ark_id())
    assert (refused["status"], refused["error"]["code"]) == ("failed", "OutputVideoSensitiveContentDetected")
    task_id = calls.ark_id()
    sim.finish(task_id)
    sim.faults.add(Fault("unknown_word", "status", times=1), Fault("empty_creations", "status", times=1))
    odd, empty, right = (calls.ark_status(task_id).json() for _ in range(3))
    assert (odd["status"], set(odd) & {"content", "usage"}) == ("processing", set())
    assert (empty["status"], empty["content"]) == ("succeeded", {})
    assert right["content"]["video_url"]
    sim.faults.add(Fault("expired_link", times=1), Fault("lost_after", "delete", times=1))
    assert httpx.get(right["content"]["video_url"]).json()["Code"] == "AccessDenied"
    with pytest.raises(httpx.TransportError):
        calls.ark_delete(task_id)
    assert calls.ark_status(task_id).status_code == 404
