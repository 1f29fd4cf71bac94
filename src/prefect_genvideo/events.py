"""Requests that come with an event: the trigger that starts them, and what their sender may ask for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, cast
from urllib.parse import urlsplit

import anyio
from prefect.events import DeploymentEventTrigger
from pydantic import ValidationError

from prefect_genvideo.errors import DownloadError, InvalidRequestError, shown
from prefect_genvideo.media.inspect import asset_kind
from prefect_genvideo.models import Problem, VideoRequest
from prefect_genvideo.providers.ssrf import public_addresses, refuse_literal
from prefect_genvideo.stated import problems_of

OPEN_FIELDS = frozenset({"prompt", "duration", "aspect_ratio", "images", "first_frame", "last_frame"})
"""What a stranger may decide. Model, options and everything else come from the deployment unless it says otherwise."""
# Characters of a prompt, references, and characters of a link that an event may bring.
_MAX_PROMPT = 4_000
_MAX_ASSETS = 12
_MAX_LINK = 2_048
_SOURCE = "untrusted parameters"
# Characters at which programs that read links disagree about where the host ends.
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")
_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


def event_key(event_id: str) -> str:
    """Idempotency key of an event: `event-<id>`, or `event-<sha256>` for ids that are no plain short words.

    Keys of events cannot meet those of other flows, whatever a sender calls its events.
    """
    plain = _PLAIN_ID.fullmatch(event_id)
    return f"event-{event_id if plain else hashlib.sha256(event_id.encode('utf-8', 'surrogatepass')).hexdigest()}"


async def request_from_event(
    payload: Mapping[str, Any],
    defaults: Mapping[str, Any],
    *,
    open_fields: frozenset[str] = OPEN_FIELDS,
    s3_prefixes: Sequence[str] = (),
    max_duration: float = 0,
    resolve: bool = True,
) -> VideoRequest:
    """Build a request from an event's payload over the deployment's defaults.

    Fields of the payload that are not open are ignored, so that any webhook's body can be passed on. Assets must be
    public http(s) links, or S3 objects below a prefix that the deployment names.

    Args:
        payload: The event's payload.
        defaults: Fields of `VideoRequest` set by the deployment; `model` must be among them or open.
        open_fields: Fields that the payload may set.
        s3_prefixes: `s3://bucket/prefix/` places that references may be read from.
        max_duration: Longest video in seconds, whatever payload and defaults say; 0 is no ceiling.
        resolve: Look names of hosts up and refuse private addresses; off in tests without a network.

    Returns:
        The request; `validate()` of the provider's client has the rules of the model.

    Raises:
        InvalidRequestError: All problems at once. Nothing was read or sent.
    """
    if not isinstance(payload, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - senders do not read types
        problems = [_problem("payload", payload, "an object of fields")]
        raise InvalidRequestError("The event's request cannot be used; nothing was sent.", problems=problems)
    wanted = {**defaults, **{key: value for key, value in payload.items() if key in open_fields and value is not None}}
    request, problems = _shaped(wanted)
    if request is not None:
        problems += _excesses(request, max_duration)
        for field, asset in list(request.assets().items())[: _MAX_ASSETS + 1]:
            trusted = asset in (defaults.get(field), *_list(defaults.get(field.partition("[")[0])))
            if not trusted:
                problems += await _asset_problems(field, asset, s3_prefixes, resolve)
    if problems or request is None:
        raise InvalidRequestError("The event's request cannot be used; nothing was sent.", problems=problems)
    return request


def flat_parameters(request: VideoRequest) -> dict[str, Any]:
    """Return a request as the flat parameters of `generate_video`, where empty values stand for what is not given."""
    given = request.model_dump(exclude={"timeout"}, exclude_none=True)
    return {"aspect_ratio": "default", **given}


def _excesses(request: VideoRequest, max_duration: float) -> list[Problem]:
    """What is more than any event may ask for."""
    prompt, assets, duration = len(request.prompt), len(request.assets()), request.duration or 0
    bounds = (
        ("prompt", f"{prompt} characters", prompt > _MAX_PROMPT, f"at most {_MAX_PROMPT}"),
        ("assets", str(assets), assets > _MAX_ASSETS, f"at most {_MAX_ASSETS}"),
        (
            "duration",
            duration,
            # 0 stands for the model's default; below it, the model would choose as it likes.
            bool(max_duration and duration) and not 0 < duration <= max_duration,
            f"at most {max_duration:g} seconds here",
        ),
    )
    return [_problem(field, value, limit) for field, value, excess, limit in bounds if excess]


def _shaped(wanted: Mapping[str, Any]) -> tuple[VideoRequest | None, list[Problem]]:
    try:
        return VideoRequest.model_validate(dict(wanted)), []
    except ValidationError as error:
        return None, problems_of(error, "payload", _SOURCE)
    except RecursionError:
        return None, [_problem("payload", "nested too deeply", "plain fields")]


async def _asset_problems(field: str, asset: str, s3_prefixes: Sequence[str], resolve: bool) -> list[Problem]:
    if len(asset) > _MAX_LINK:
        return [_problem(field, f"{len(asset)} characters", f"a link of at most {_MAX_LINK}")]
    kind = asset_kind(asset)
    if kind == "s3":
        refusal = _s3_refusal(asset, s3_prefixes)
    elif kind == "http":
        refusal = await _link_refusal(asset, resolve)
    else:
        refusal = "a public http(s) link; files of the worker and inline data are not open to events"
    return [_problem(field, asset, refusal)] if refusal else []


def _s3_refusal(uri: str, s3_prefixes: Sequence[str]) -> str:
    """What an S3 reference of a stranger must be, when it is not."""
    below = any(prefix and uri.startswith(prefix.rstrip("/") + "/") for prefix in s3_prefixes)
    if below and ".." not in uri.split("/"):
        return ""
    return f"an object below {', '.join(s3_prefixes) or '(no S3 prefix is open here)'}"


async def _link_refusal(link: str, resolve: bool) -> str:
    """What a link of a stranger must be, when it is not."""
    try:
        parts = urlsplit(link)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        if not host or "@" in parts.netloc or _AMBIGUOUS.search(link):
            return "a plain http(s) link: no user, backslash, space or control character"
        refuse_literal(host)
        if resolve:
            with anyio.fail_after(10):
                await public_addresses(host, port)
    except (DownloadError, ValueError, TimeoutError) as error:
        return f"a public http(s) link ({error})"
    return ""


def _list(value: Any) -> tuple[Any, ...]:
    return tuple(cast("Sequence[Any]", value)) if isinstance(value, list | tuple) else ()


def _problem(field: str, value: Any, limit: str) -> Problem:
    return Problem(field, shown(value), limit, _SOURCE)


# The server reads a run's parameters for templates and variables once more after the trigger has filled them in: what a
# stranger wrote so would be carried out there. A mark that is in no such word cannot make one of what is around it.
WHOLE_PAYLOAD: dict[str, Any] = {
    "__prefect_kind": "json",
    "value": {
        "__prefect_kind": "jinja",
        "template": "{{ event.payload | tojson | replace('__prefect_kind', 'prefect-kind') }}",
    },
}
"""An event's whole payload as a dict. A plain Jinja string would arrive as text; this arrives as what it is.

Prefect's own word for templates and variables is taken out of it, for it would be obeyed."""
EVENT_ID: dict[str, Any] = {"__prefect_kind": "jinja", "template": "{{ event.id }}"}
"""An event's id, as a parameter of the run."""


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
        "description": f"Each event {event} becomes one video.",
        "posture": "Reactive",
        "threshold": 1,
        "within": within,
        "parameters": {"payload": WHOLE_PAYLOAD, "event_id": EVENT_ID, **(parameters or {})},
    }
    return DeploymentEventTrigger.model_validate(trigger | ({"name": name} if name else {}))
