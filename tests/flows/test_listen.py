"""The event door as its own process, over HTTP, before the session's Prefect server."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from benchmarks.listen import (
    EVENTS,
    LEAK,
    SECRET,
    SECRETS,
    TOKEN,
    Listener,
    deliveries,
    drained,
    events_of,
    judged,
    send,
    signed,
)
from benchmarks.servers import free_port
from prefect_genvideo.cli.listen import listen
from prefect_genvideo.listen.config import variable
from prefect_genvideo.listen.metrics import Metrics
from prefect_genvideo.listen.queue import DeliveryQueue
from prefect_genvideo.listen.sender import Sender
from prefect_genvideo.listen.shapes import Event
from tests.fixtures.lossy_proxy import Fault, LossyProxy
from tests.fixtures.prefect import PrefectServer
from tests.fixtures.runs import until

NOWHERE = "http://127.0.0.1:9/api"
"""An API that is away."""
JSON = {"content-type": "application/json"}


@pytest.fixture
def proxy(prefect_server: PrefectServer) -> Iterator[LossyProxy]:
    """The way to the Prefect server."""
    with LossyProxy(prefect_server.api_url.removesuffix("/api")) as running:
        yield running


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Callable[..., Listener]]:
    """Starts listeners and ends them."""
    running: list[Listener] = []

    def start(api_url: str = NOWHERE, config: str = "", **environment: str) -> Listener:
        made = Listener(tmp_path, api_url, config, SECRETS | environment)
        made.start()
        running.append(made)
        return made

    yield start
    for each in running:
        if not each.ended:
            each.stop(signal.SIGKILL)


def post(
    listener: Listener, body: dict[str, Any], delivery_id: str, source: str = "webhook", **signing: Any
) -> httpx.Response:
    """Send a signed webhook."""
    content = json.dumps(body).encode()
    return httpx.post(
        f"{listener.url}/hooks/{source}", content=content, headers=signed(content, delivery_id, **signing)
    )


def test_each_wanted_delivery_is_one_event_whatever_dies(
    proxy: LossyProxy, prefect_server: PrefectServer, listener: Callable[..., Listener]
) -> None:
    """Repeats, forgeries and replays, while answers of the API are lost, the API is away and the listener is killed."""
    run = f"run{uuid4().hex[:8]}"
    plan, door = deliveries(60, run), listener(f"{proxy.url}/api")
    away = Fault("POST", "/events", times=0, status=503)
    proxy.faults += [Fault("POST", "/events", times=2), away]

    def reached(number: int) -> None:
        if number in steps:
            steps[number]()

    steps: dict[int, Callable[[], object]] = {
        len(plan) // 4: lambda: setattr(away, "times", 10**6),
        len(plan) // 2: lambda: (door.stop(signal.SIGKILL), door.start()),
        len(plan) * 3 // 4: lambda: setattr(away, "times", 0),
    }
    answers = send(door, plan, reached)
    drained(door)
    assert judged(plan, events_of(prefect_server.api_url, EVENTS, run)) == {
        "wanted": 60,
        "once": 60,
        "lost": 0,
        "twice": 0,
        "unwanted": 0,
        "with_strangers_fields": 0,
    }
    assert answers["forged 401"]
    assert answers["replayed 401"]
    assert door.stop() == 0
    assert [word for word in (*SECRETS.values(), TOKEN, LEAK, f"{run} teapot") if word in door.log] == []


def test_every_answer_and_nothing_of_a_refused_delivery_is_kept(listener: Callable[..., Listener]) -> None:
    """While the API is away, which is no reason to refuse."""
    door = listener(config="body_kib: 2\nsources:\n  webhook: {shape: webhook}\n  s3: {shape: s3}\n")
    good = {"prompt": "a cup"}
    assert (taken := post(door, good, "d1")).status_code == 202
    assert taken.json() == {"accepted": 1, "repeated": 0, "ignored": 0, "unusable": 0}
    repeat = post(door, good, "d1")
    assert (repeat.status_code, repeat.json()["repeated"]) == (200, 1)
    assert post(door, good, "d2", secret="of-another-sender").status_code == 401
    assert post(door, good, "d3", age=900).json() == {"error": "replay"}
    assert post(door, {"prompt": "x" * 3000}, "d4").status_code == 413
    hook, token = f"{door.url}/hooks/s3", {"authorization": TOKEN}
    assert httpx.post(hook, content=iter([b" " * 1500] * 2), headers=JSON | token).status_code == 413, (
        "no length is told"
    )
    assert httpx.post(hook, content=b"[]", headers=JSON | token).status_code == 400
    assert httpx.post(hook, content=b"{}", headers=token | {"content-type": "text/html"}).status_code == 415
    assert httpx.post(hook, content=b'{"Event": "s3:TestEvent"}', headers=JSON | token).status_code == 200
    assert httpx.post(hook, content=b"{}", headers=JSON).status_code == 401
    assert httpx.post(f"{hook}/{TOKEN}", content=b"{}", headers=JSON).status_code == 401
    assert httpx.post(f"{door.url}/hooks/fax", content=b"{}", headers=JSON).status_code == 404
    assert httpx.get(hook).status_code == 405
    state = httpx.get(f"{door.url}/readyz").json()
    assert (state["events"], state["api_up"]) == ({"waiting": 1}, False)
    counted = door.metrics()
    assert counted['genvideo_listen_deliveries_total{outcome="accepted",source="webhook"}'] == 1
    assert counted['genvideo_listen_deliveries_total{outcome="repeated",source="webhook"}'] == 1
    assert counted['genvideo_listen_deliveries_total{outcome="unauthorised",source="webhook"}'] == 2
    assert counted['genvideo_listen_queue_events{state="waiting"}'] == 1
    assert counted["genvideo_listen_api_up"] == 0
    assert "fax" not in str(counted), "labels are no stranger's words"


def test_a_full_queue_says_so_and_takes_again_when_the_api_is_back(
    proxy: LossyProxy, listener: Callable[..., Listener]
) -> None:
    """What it had taken is delivered first."""
    away = Fault("POST", "/events", times=10**6, status=503)
    proxy.faults.append(away)
    door = listener(f"{proxy.url}/api", "queue_events: 2\nsources:\n  webhook: {shape: webhook}\n")
    names = [f"{uuid4()}" for _ in range(3)]
    assert [post(door, {"prompt": name}, name).status_code for name in names] == [202, 202, 503]
    refused = post(door, {"prompt": "x"}, names[2])
    assert int(refused.headers["retry-after"]) > 0
    assert httpx.get(f"{door.url}/readyz").status_code == 503
    assert httpx.get(f"{door.url}/healthz").status_code == 200
    away.times = 0
    drained(door)
    assert post(door, {"prompt": names[2]}, names[2]).status_code == 202
    assert httpx.get(f"{door.url}/readyz").status_code == 200


PUBLISHED = f"shop.{uuid4().hex[:8]}.published"


@pytest.fixture(scope="module")
def shop(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    """A listener with a sender of the usual kind and one whose deliveries a file describes."""
    config = (
        f"sources:\n  webhook: {{shape: webhook}}\n  shop:\n    shape: webhook\n    event: {PUBLISHED}\n"
        "    resource: 'shop.product.{body.id}'\n    fields: {body.id: product.id, body.title: product.title}\n"
        "    when: {type: product.published}\n"
    )
    secrets = SECRETS | {variable("shop"): SECRET}
    door = Listener(tmp_path_factory.mktemp("shop"), prefect_server.api_url, config, secrets)
    door.start()
    yield door
    door.stop(signal.SIGKILL)


def test_a_file_says_what_is_passed_on_and_as_what(prefect_server: PrefectServer, shop: Listener) -> None:
    """And which deliveries are wanted."""
    product = {"id": 42, "title": "A cup", "price": LEAK}
    published = {"type": "product.published", "product": product}
    assert post(shop, published, PUBLISHED, source="shop").status_code == 202
    removed = {"type": "product.removed", "product": product}
    assert post(shop, removed, f"{PUBLISHED}2", source="shop").json()["ignored"] == 1
    drained(shop)
    (event,) = events_of(prefect_server.api_url, [PUBLISHED], PUBLISHED)
    assert event["payload"] == {"body": {"id": 42, "title": "A cup"}}
    assert event["resource"] == {"prefect.resource.id": "shop.product.42", "genvideo.source": "shop"}


def test_what_cannot_start_says_why_in_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The API, the configuration, the port and the queue."""

    def said(api_url: str, port: int) -> str:
        with temporary_settings({PREFECT_API_URL: api_url}), pytest.raises(SystemExit) as ended:
            listen(port=port, queue=tmp_path / "queue.sqlite")
        assert ended.value.code == 1
        told = capfd.readouterr().err
        assert "Traceback" not in told
        assert SECRET not in told
        return told

    assert variable("webhook") in said(NOWHERE, 8788)
    monkeypatch.setenv(variable("webhook"), SECRET)
    assert "PREFECT_API_URL" in said("", 8788)
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert "in use" in said(NOWHERE, other.getsockname()[1])
    owner = DeliveryQueue(tmp_path / "queue.sqlite")
    assert "another listener" in said(NOWHERE, free_port())
    owner.close()


def wanted(name: str = "video.requested") -> Event:
    """An event of this test alone."""
    event_id = uuid4()
    return Event(event_id, name, {"prefect.resource.id": f"listen.{event_id}"}, {"prompt": "x"})


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeliveryQueue]:
    """An empty queue, whose sender looks as often as the session's server writes events down."""
    for seconds in ("_FIRST_LOOK_S", "_LOOK_EVERY_S"):
        monkeypatch.setattr(f"prefect_genvideo.listen.sender.{seconds}", 0.4)
    opened = DeliveryQueue(tmp_path / "own.sqlite")
    yield opened
    opened.close()


async def sending(sender: Sender, api_url: str, done: Callable[[], object]) -> None:
    """Let a sender work until something holds."""
    with temporary_settings({PREFECT_API_URL: api_url}):
        async with anyio.create_task_group() as group:
            group.start_soon(sender.run)
            await until(done, "the sender")
            group.cancel_scope.cancel()


async def test_an_event_that_the_server_took_and_lost_is_sent_again(proxy: LossyProxy, queue: DeliveryQueue) -> None:
    """A server says 204 before it has written the event down; one that shows it late is sent it more than twice."""
    proxy.faults.append(Fault("POST", "/events", status=204))
    queue.add([wanted()])
    metrics = Metrics()
    sender = Sender(queue, metrics, remember=60, give_up=60, lost_after=0.5)
    await sending(sender, f"{proxy.url}/api", lambda: queue.depth().counts.get("confirmed"))
    told = metrics.text(queue).decode()
    sent, again = (int(re.findall(rf'events_total{{outcome="{word}"}} (\d+)', told)[0]) for word in ("sent", "resent"))
    assert sent == again + 1 >= 2


async def test_an_event_that_the_server_refuses_holds_nothing_up(proxy: LossyProxy, queue: DeliveryQueue) -> None:
    """It is set aside, and the others of its batch are delivered."""
    refused = wanted("x" * 2000)
    queue.add([wanted(), refused, wanted()])
    sender = Sender(queue, Metrics(), remember=60, give_up=60)
    await sending(sender, f"{proxy.url}/api", lambda: queue.depth().counts == {"confirmed": 2, "dead": 1})
    assert queue.add([refused]) == 1, "it is the one"


async def test_an_event_that_is_never_shown_is_set_aside_in_the_end(proxy: LossyProxy, queue: DeliveryQueue) -> None:
    """A wait without a bound would fill the queue."""
    nothing = b'{"events": [], "total": 0, "next_page": null}'
    proxy.faults += [Fault("POST", "/filter", status=200, body=b"<html>")]
    proxy.faults += [Fault("POST", "/events", times=10**6, status=200, body=nothing)]
    queue.add([wanted()])
    sender = Sender(queue, Metrics(), remember=60, give_up=0, lost_after=0.1)
    await sending(sender, f"{proxy.url}/api", lambda: queue.depth().counts == {"dead": 1})


def test_the_snippet_of_the_page_is_taken(shop: Listener) -> None:
    """Signed by openssl, sent by curl."""
    page = (Path(__file__).parents[2] / "docs" / "listen.md").read_text(encoding="utf-8")
    snippet = page.partition("## Sending")[2].partition("```sh\n")[2].partition("```")[0]
    program = snippet.replace("http://127.0.0.1:8788", shop.url)
    ran = subprocess.run(
        ["bash", "-euc", program],
        env={"PATH": "/usr/bin:/bin", "GENVIDEO_LISTEN_WEBHOOK_SECRETS": SECRET},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout)["accepted"] == 1
