"""Triggers for deployments: an event comes in, one video goes out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from prefect.events import DeploymentEventTrigger

#: An event's whole payload as a dict. A plain Jinja string would arrive as text; this arrives as what it is.
WHOLE_PAYLOAD: dict[str, Any] = {
    "__prefect_kind": "json",
    "value": {"__prefect_kind": "jinja", "template": "{{ event.payload | tojson }}"},
}
EVENT_ID: dict[str, Any] = {"__prefect_kind": "jinja", "template": "{{ event.id }}"}


def request_trigger(
    event: str,
    *,
    match: dict[str, str | list[str]] | None = None,
    parameters: dict[str, Any] | None = None,
    within: timedelta = timedelta(0),
    name: str | None = None,
) -> DeploymentEventTrigger:
    """Return a trigger that starts a run of the `on_request` flow for each matching event.

    The run gets the event's payload as `payload` and its id as `event_id`, which becomes the idempotency key: a trigger
    that fires twice for one event makes one video. Payloads are untrusted; the flow checks them.

    Args:
        event: Event name, e.g. `video.requested`; a trailing `*` matches a family.
        match: Labels that the event's resource must have, e.g. `{"prefect.resource.id": "shop.product.*"}`.
        parameters: Further parameters of the run, e.g. `{"credentials": "sudashui-credentials/production"}`.
        within: Window of the trigger; 0 reacts to every event at once.
        name: Name of the automation.

    Returns:
        A trigger for `flow.to_deployment(triggers=[...])` or `serve`.
    """
    trigger: dict[str, Any] = {
        "expect": {event},
        "match": match or {"prefect.resource.id": "*"},
        "posture": "Reactive",
        "threshold": 1,
        "within": within,
        "parameters": {"payload": WHOLE_PAYLOAD, "event_id": EVENT_ID, **(parameters or {})},
    }
    return DeploymentEventTrigger.model_validate(trigger | ({"name": name} if name else {}))
