"""How a simulator behaves: its clock, its clips, its faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast

from prefect_genvideo.simulator.faults import Fault

SMALLEST_CLIP = 4096
"""Bytes; no playable clip is smaller."""


@dataclass(frozen=True)
class SimulatorConfig:
    """Everything that can be chosen; each has a default that suits tests.

    Attributes:
        clock: `immediate`: each query moves the task on; `manual`: only control calls do; `time`: real durations.
        polls_to_finish: With `immediate`, the query that reports the end, counted from 1.
        scale: With `time`, simulated seconds are multiplied by this; 0 = done at the first query.
        refresh_s: With `time`, Sudashui's rows are refreshed this often (simulated seconds); 0 = always fresh.
        duration_kind: Distribution of the durations with `time`: `lognormal`, `uniform` or `fixed`.
        duration_median_s: Median duration in simulated seconds.
        duration_spread: Sigma of the log-normal; half width of the uniform as a fraction of the median.
        seed: Seeds durations and faults.
        link_lifetime_s: Seconds until Sudashui's result links are refused; 0 = at once.
        upload_lifetime_s: Seconds until upload links are refused.
        full_size: Render in the asked resolution instead of a preview with a short side of 320 pixels.
        fps: Frames per second of the clips.
        clip_bytes: Every clip has exactly this many bytes (4096 or more); None = as small as it comes.
        cache_bytes: Rendered clips and covers kept in memory.
        max_concurrency: Unfinished tasks per account before SenseAudio answers 400015; None = no limit.
        models: Names that Sudashui offers beside the documented ones, without their limits, e.g. `sdas-2-pro`.
        faults: Faults that are on from the start.
    """

    clock: Literal["immediate", "manual", "time"] = "immediate"
    polls_to_finish: int = 2
    scale: float = 1.0
    refresh_s: float = 15.0
    duration_kind: Literal["lognormal", "uniform", "fixed"] = "lognormal"
    duration_median_s: float = 130.0
    duration_spread: float = 0.3
    seed: int = 0
    link_lifetime_s: float = 3600.0
    upload_lifetime_s: float = 7200.0
    full_size: bool = False
    fps: int = 8
    clip_bytes: int | None = None
    cache_bytes: int = 64 * 1024 * 1024
    max_concurrency: int | None = None
    models: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        words = {"clock": ("immediate", "manual", "time"), "duration_kind": ("lognormal", "uniform", "fixed")}
        for name, allowed in words.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        least = {
            "polls_to_finish": 1, "scale": 0, "refresh_s": 0, "duration_median_s": 0, "duration_spread": 0,
            "link_lifetime_s": 0, "upload_lifetime_s": 0, "fps": 1, "clip_bytes": SMALLEST_CLIP,
            "cache_bytes": 0, "max_concurrency": 1,
        }  # fmt: skip
        for name, limit in least.items():
            value = getattr(self, name)
            if value is None and name in ("clip_bytes", "max_concurrency"):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < limit:
                raise ValueError(f"{name} must be a number from {limit}, not {value!r}")

    def changed(self, changes: Mapping[str, Any]) -> SimulatorConfig:
        """Return a copy with other values, as they come in JSON.

        Raises:
            ValueError: A name or a value is not known.
        """
        values = known_only(self, changes)
        if "faults" in values:
            values["faults"] = tuple(parse_fault(item) for item in values["faults"])
        if "models" in values:
            values["models"] = tuple(map(str, values["models"]))
        return replace(self, **values)


def known_only(settings: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return changes to a dataclass of settings as a dict of their own.

    Args:
        settings: What is to be changed.
        changes: Values by name.

    Raises:
        ValueError: A name is not known.
    """
    known = {entry.name for entry in fields(settings)}
    if unknown := sorted(set(changes) - known):
        raise ValueError(f"unknown: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    return dict(changes)


def parse_fault(item: object) -> Fault:
    """Make a fault of a JSON object (or pass one through).

    Raises:
        ValueError: A name or a value is not known.
    """
    if isinstance(item, Fault):
        return item
    if not isinstance(item, Mapping):
        raise ValueError(f"a fault is an object with kind, op, times …, not {item!r}")
    try:
        return Fault(**cast("Mapping[str, Any]", item))
    except TypeError as error:
        raise ValueError(str(error)) from None
