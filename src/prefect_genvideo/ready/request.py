"""Event-triggered: one video per event, keyed by the event's id. The payload is hostile until checked."""

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from prefect_genvideo.blocks import open_pipeline, resolve_credentials, resolve_destination
from prefect_genvideo.events import event_key, flat_parameters, request_from_event
from prefect_genvideo.flows import generate_video
from prefect_genvideo.flows.names import parameters
from prefect_genvideo.ledger.budget import NO_BUDGET, Budget, BudgetGiven
from prefect_genvideo.models import StoredVideo


def _run_name() -> str:
    event_id = str(parameters().get("event_id", ""))
    return f"request {event_key(event_id)}" if event_id else "request by hand"


@flow(name="on-request", flow_run_name=_run_name)
async def on_request(
    payload: dict[str, Any],
    event_id: Annotated[str, Field(max_length=2000)] = "",
    credentials: str = "sudashui-credentials/production",
    destination: str = "s3-video-destination/production",
    defaults: dict[str, Any] | None = None,
    s3_prefixes: list[str] | None = None,
    max_duration: Annotated[float, Field(ge=0)] = 15,
    budget: BudgetGiven = NO_BUDGET,
) -> StoredVideo:
    """Generate the video that an event asks for. The same event twice is one video.

    Args:
        payload: Of it count prompt, duration, aspect_ratio, images, first_frame and last_frame; the rest is ignored.
        event_id: The event's id, which is the idempotency key. Empty, as when a person starts it: the run is the key.
        credentials: Saved credentials block.
        destination: Saved destination block.
        defaults: What the payload does not say, and all it may not say, e.g. {"model": "sd-2-fast-720p"}.
        s3_prefixes: Places in S3 that the payload may name references from, e.g. s3://shop-photos/new/.
        max_duration: Longest video in seconds that an event may ask for; 0 is no ceiling.
        budget: Caps of the account's day, whoever asks, e.g. {"day_generations": 200}; 0 is no cap.

    Raises:
        InvalidRequestError: The payload cannot be used, or the budget is spent. Nothing was sent.
    """
    fixed = {"model": "sd-2-fast-720p", **(defaults or {})}
    request = await request_from_event(payload, fixed, s3_prefixes=s3_prefixes or [], max_duration=max_duration)
    payer, target = await resolve_credentials(credentials), await resolve_destination(destination)
    # What is opened here with a budget is what the flow below spends from.
    async with open_pipeline(payer, target, budget=Budget.model_validate(budget)):
        video: Any = generate_video.with_options(name="requested-video")
        return await video(
            credentials=payer,
            destination=target,
            idempotency_key=event_key(event_id) if event_id else "",
            **flat_parameters(request),
        )
