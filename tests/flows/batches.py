"""Batches in a test's own place: rows, and how many generations were under way at the same time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prefect_genvideo import VideoRequest, generate_videos
from prefect_genvideo.batch.report import BatchReport
from prefect_genvideo.simulator import Task
from tests.flows.conftest import Place

MODEL, SENSE_MODEL = "sd-2-fast-720p", "Seedance-2.0"
Rows = list[VideoRequest | dict[str, Any]]


def wanted(*prompts: str, **facts: Any) -> Rows:
    """Rows for Sudashui."""
    return [{"model": MODEL, "prompt": prompt, "duration": 4, **facts} for prompt in prompts]


def sense(*prompts: str, **facts: Any) -> Rows:
    """Rows for SenseAudio."""
    usual = {"model": SENSE_MODEL, "duration": 4, "resolution": "480p"}
    return [{**usual, "prompt": prompt, **facts} for prompt in prompts]


async def make(place: Place, requests: str | Rows, **facts: Any) -> Any:
    """Run a batch with both accounts and return its report; bad videos do not fail it unless the test says so."""
    given: dict[str, Any] = {"idempotency_key": "batch", "fail_on": "never", **facts}
    flow: Any = generate_videos  # its overloads take `Any` for `return_state=True`
    return await flow(requests, place.sudashui, place.destination, more_credentials=[place.senseaudio], **given)


def states(report: BatchReport) -> dict[str, str]:
    """State by prompt."""
    return {row.prompt: row.state for row in report.rows}


def bill(place: Place) -> dict[str, int]:
    """Generations that were paid, by provider."""
    return {key.rpartition("-")[2]: count for key, count in place.sim.by_account.items()}


def at_once(tasks: Iterable[Task]) -> int:
    """Most generations that were under way at one moment, by the provider's clock `time`."""
    spans = [(task.created, task.created + task.run_s) for task in tasks]
    return max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans)
