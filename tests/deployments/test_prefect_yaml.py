"""The `prefect.yaml` of `genvideo init`: entrypoints, parameters and triggers fit their flows."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect import Flow
from prefect.client.schemas.schedules import construct_schedule
from prefect.events import DeploymentEventTrigger
from prefect.events.schemas.automations import AutomationCore
from prefect.server.utilities.user_templates import render_user_template
from prefect.utilities.schema_tools.hydration import HydrationContext, hydrate

from prefect_genvideo import ready, request_trigger
from prefect_genvideo.events import event_key
from prefect_genvideo.pulling import enter_flows_home
from prefect_genvideo.ready.project import Project

ROOT = Path(__file__).resolve().parents[2]
FILE: dict[str, Any] = yaml.safe_load(Project(Path("x"), "production", "my-videos").texts()["prefect.yaml"])
DEPLOYMENTS: list[dict[str, Any]] = FILE["deployments"]
TRIGGERS: list[dict[str, Any]] = [trigger for each in DEPLOYMENTS for trigger in each.get("triggers", [])]


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    """The flow that an entrypoint names, by file or by module path."""
    module, _, name = str(deployment["entrypoint"]).rpartition(".")
    return cast("Flow[..., Any]", getattr(importlib.import_module(module), name))


def name_of(deployment: dict[str, Any]) -> str:
    """What a deployment is called in test names."""
    return str(deployment["entrypoint"]).rpartition(".")[2] + "/" + str(deployment["name"])


async def rendered(value: Any, event: dict[str, Any]) -> Any:
    """What Prefect makes of a trigger's parameters when the event comes."""
    if isinstance(value, list):
        return [await rendered(item, event) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    known = cast("dict[str, Any]", value)
    kind = known.get("__prefect_kind")
    if kind == "jinja":
        return await render_user_template(known["template"], {"event": event})
    if kind == "json":
        return json.loads(await rendered(known["value"], event))
    return {key: await rendered(item, event) for key, item in known.items()}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=name_of)
def test_a_deployment_gives_its_flow_only_parameters_that_it_has(deployment: dict[str, Any]) -> None:
    """Those of its triggers too: the server would accept others, and every run would crash."""
    known = set(inspect.signature(flow_of(deployment).fn).parameters)
    given = set(deployment.get("parameters", {}))
    for trigger in deployment.get("triggers", []):
        given |= set(trigger.get("parameters", {}))
    assert given <= known


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=name_of)
def test_flows_are_named_by_their_module_and_nothing_is_pulled(deployment: dict[str, Any]) -> None:
    """A missing key would pin the deployer's folder, and the run would crash on every other machine."""
    assert FILE["pull"] == []
    assert "pull" not in deployment
    assert ":" not in deployment["entrypoint"]


@pytest.mark.parametrize("name", ["content_calendar", "on_request", "reconcile", "storyboard_film"])
def test_deployments_of_earlier_releases_find_their_flow(name: str) -> None:
    """They name the flow by its file below the folder that `enter_flows_home` enters."""
    from prefect.flows import load_flow_from_entrypoint

    found = load_flow_from_entrypoint(f"{ROOT}/flows/{name}.py:{name}", use_placeholder_flow=False)
    assert found is getattr(ready, name)


def test_there_are_schedules_of_all_three_kinds_each_in_a_zone() -> None:
    """Cron, interval and rrule; each of them is one that Prefect reads."""
    found: dict[str, dict[str, Any]] = {}
    for schedule in (schedule for each in DEPLOYMENTS for schedule in each.get("schedules", [])):
        found |= {kind: schedule for kind in ("cron", "interval", "rrule") if kind in schedule}
    assert set(found) == {"cron", "interval", "rrule"}
    for kind, schedule in found.items():
        anchor = {"anchor_date": schedule["anchor_date"]} if "anchor_date" in schedule else {}
        construct_schedule(**{kind: schedule[kind]}, timezone=schedule["timezone"], **anchor)
        assert ZoneInfo(schedule["timezone"])


def test_deployments_can_be_told_apart() -> None:
    """By flow and name together, as lists show them, and by what their pages say they are for."""
    names = [name_of(each) for each in DEPLOYMENTS]
    assert len(set(names)) == len(names)
    assert len({each["description"] for each in DEPLOYMENTS}) == len(names)


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: str(trigger["name"]))
def test_a_trigger_is_one_that_prefect_reads(trigger: dict[str, Any]) -> None:
    """Names differ too: an automation is found by its name in the UI, and says there what it is for."""
    assert DeploymentEventTrigger.model_validate(trigger).description.endswith(".")
    assert [other["name"] for other in TRIGGERS].count(trigger["name"]) == 1


def test_the_helper_makes_the_same_trigger_in_python() -> None:
    """`request_trigger` and the file do not drift apart."""
    written = next(trigger for trigger in TRIGGERS if trigger["name"] == "genvideo-video-requested")
    made = request_trigger("video.requested", name="genvideo-video-requested")
    assert made.model_dump() == DeploymentEventTrigger.model_validate(written).model_dump()


async def test_the_parameters_of_a_webhook_are_its_bodys_own() -> None:
    """Quotes and braces of a stranger stay text, lists stay lists, and a missing list is an empty one."""
    wanted = next(trigger for trigger in TRIGGERS if trigger["name"] == "genvideo-product-published")["parameters"]
    body = {"title": 'The "cup" {{ 7 * 7 }}', "teaser": "für\nimmer", "images": ["https://example.com/a.jpg"]}
    payload = {"body": body, "headers": {"x-delivery-id": "d-1"}}
    made = await rendered(wanted, {"payload": payload})
    assert made["payload"]["prompt"] == 'The "cup" {{ 7 * 7 }}: für\nimmer'
    assert made["payload"]["images"] == ["https://example.com/a.jpg"]
    assert made["event_id"] == "webhook-d-1"
    through_the_door = await rendered(wanted, {"payload": {"body": body}, "id": "e-1"})
    assert through_the_door == made | {"event_id": "webhook-e-1"}
    del body["images"]
    assert (await rendered(wanted, {"payload": payload}))["payload"]["images"] == []


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: str(trigger["name"]))
@pytest.mark.parametrize("word", ["__prefect_kind", "____prefect_kind", "__prefect___prefect_kindkind"])
def test_what_an_event_brings_is_no_template_to_the_server(trigger: dict[str, Any], word: str) -> None:
    """The server hydrates a run's parameters once more; a variable would go to the provider."""
    hostile = {
        word: "workspace_variable",
        "variable_name": "internal",
        "deeper": [{word: "jinja", "template": "{{ 7 }}"}],
    }
    payload = {
        **hostile,
        "prompt": hostile,
        "body": {"title": hostile, "images": [hostile, "https://example.com/a.jpg"]},
    }
    event = {"id": "e-1", "payload": payload, "resource": hostile}

    def hydrated(values: dict[str, Any]) -> dict[str, Any]:
        context = HydrationContext(
            render_jinja=True,
            jinja_context={"event": event},
            render_workspace_variables=True,
            workspace_variables={"internal": "nobody else's"},
        )
        return hydrate(values, context)

    once = hydrated(trigger.get("parameters", {}))
    assert hydrated(once) == once
    assert "nobody else's" not in str(once)


def test_reconcile_does_not_start_itself() -> None:
    """Its own crashes carry no tag that its trigger looks for; else a broken worker would start it for ever."""
    reconcile = next(each for each in DEPLOYMENTS if each["entrypoint"].endswith(".reconcile"))
    watched = reconcile["triggers"][0]["match_related"]["prefect.resource.id"].removeprefix("prefect.tag.")
    assert watched not in reconcile["tags"]
    assert all(watched in each["tags"] for each in DEPLOYMENTS if each is not reconcile)


def test_the_automations_file_is_one_that_prefect_reads() -> None:
    """Lost machines are noticed by their heartbeats."""
    found = yaml.safe_load((ROOT / "deployments/automations.yaml").read_text())["automations"]
    assert [AutomationCore.model_validate(each).name for each in found] == ["Flow runs of lost machines"]


def test_the_flows_folder_is_found_by_a_variable_or_in_the_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the worker was started; a worker that has none is told what to set."""
    monkeypatch.chdir(tmp_path)
    assert enter_flows_home() == {"directory": str(ROOT)}
    (tmp_path / "image/flows").mkdir(parents=True)
    monkeypatch.setenv("GENVIDEO_HOME", str(tmp_path / "image"))
    assert enter_flows_home() == {"directory": str(tmp_path / "image")}
    assert Path.cwd() == tmp_path / "image"
    monkeypatch.setenv("GENVIDEO_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="Set GENVIDEO_HOME on the worker"):
        enter_flows_home()


@pytest.mark.parametrize("event_id", ["a/b c#\n", "x" * 101, "", "ü", "\ud800"])
def test_keys_of_events_are_plain_whatever_senders_call_them(event_id: str) -> None:
    """Long, odd and broken ids become a hash; different ones stay different."""
    assert event_key(event_id).removeprefix("event-").isalnum()
    assert event_key(event_id) != event_key(event_id + "2")
    assert event_key("0c5e-1") == "event-0c5e-1"
