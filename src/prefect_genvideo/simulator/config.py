"""How a simulator behaves: its clock, its clips, its faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from prefect_genvideo.simulator.faults import Fault

SMALLEST_CLIP = 4096
"""Bytes; no playable clip is smaller."""
SettingsT = TypeVar("SettingsT")
_Positive = Annotated[int, Field(ge=1, strict=True)]
_Amount = Annotated[float, Field(ge=0, strict=True)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SimulatorConfig:
    """Everything that can be chosen; each has a default that suits tests.

    Attributes:
        clock: `immediate`: each query moves the task on; `manual`: only control calls do; `time`: real durations.
        polls_to_finish: With `immediate`, the query that reports the end, counted from 1.
        scale: With `time`, simulated seconds are multiplied by this; 0 = done at the first query.
        refresh_s: With `time`, Sudashui's rows are refreshed this often (simulated seconds); 0 = always fresh.
        duration_kind: Distribution of the durations with `time`: `lognormal` or `fixed`.
        duration_median_s: Median duration in simulated seconds.
        seed: Seeds durations and faults.
        link_lifetime_s: Seconds until result links are refused (SenseAudio's never are); 0 = at once, None = an hour
            at Sudashui and a day at Ark.
        full_size: Render in the asked resolution instead of a preview with a short side of 320 pixels.
        fps: Frames per second of the clips.
        clip_bytes: Every clip has exactly this many bytes (4096 or more); None = as small as it comes.
        max_concurrency: Unfinished tasks per account before SenseAudio answers 400015, and running ones before Ark
            lets others wait; None = no limit.
        record_lifetime_s: Seconds for which Ark knows a task, seven times as long as a cancelled one.
        list_every_s: Seconds between two questions for the list of Ark's tasks that a key may ask.
        queries_per_s: Questions for a task that Ark answers a key in a second, and as many deletions; the real one 20;
            0 = no limit.
        models: Names that are offered beside the documented ones, at Sudashui without their limits, e.g. `sdas-2-pro`.
        faults: Faults that are on from the start.
    """

    clock: Literal["immediate", "manual", "time"] = "immediate"
    polls_to_finish: _Positive = 2
    scale: _Amount = 1.0
    refresh_s: _Amount = 15.0
    duration_kind: Literal["lognormal", "fixed"] = "lognormal"
    duration_median_s: _Amount = 130.0
    seed: int = 0
    link_lifetime_s: _Amount | None = None
    full_size: bool = False
    fps: _Positive = 8
    clip_bytes: Annotated[int, Field(ge=SMALLEST_CLIP, strict=True)] | None = None
    max_concurrency: _Positive | None = None
    record_lifetime_s: _Amount = 7 * 86_400.0
    list_every_s: _Amount = 1.0
    queries_per_s: Annotated[int, Field(ge=0, strict=True)] = 0
    models: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


def changed(settings: SettingsT, changes: Mapping[str, Any]) -> SettingsT:
    """Return a copy of settings with other values, as they come in JSON.

    Args:
        settings: What is to be changed.
        changes: Values by name.

    Raises:
        ValueError: A name or a value is not known.
    """
    known = {entry.name for entry in fields(cast("Any", settings))}
    if unknown := sorted(set(changes) - known):
        raise ValueError(f"unknown: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    return replace(cast("Any", settings), **changes)
