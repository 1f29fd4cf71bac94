"""A film of shots, each from the last frame of the one before; keyed by its title, so that a rerun resumes it."""

from datetime import datetime, timezone

from prefect import flow
from prefect.runtime import flow_run

from prefect_genvideo.errors import shorten
from prefect_genvideo.flows import AspectRatio, Resolution, storyboard
from prefect_genvideo.flows.names import parameters
from prefect_genvideo.pipeline import Shot, StoredFilm


def _run_name() -> str:
    return f"film {shorten(dated(str(parameters().get('title', ''))))}"


def dated(title: str) -> str:
    """The title with `{week}` and `{date}` filled in, which stay the same when the run is tried again that day."""
    when = flow_run.scheduled_start_time or datetime.now(timezone.utc)
    return title.replace("{week}", f"{when:%G-W%V}").replace("{date}", f"{when:%Y-%m-%d}")


@flow(name="storyboard-film", flow_run_name=_run_name)
async def storyboard_film(
    title: str,
    shots: list[Shot],
    credentials: str = "senseaudio-credentials/production",
    destination: str = "s3-video-destination/production",
    model: str = "doubao-seedance-2-0-260128",
    duration: float = 5,
    aspect_ratio: AspectRatio = "16:9",
    resolution: Resolution = "720p",
) -> StoredFilm:
    """Make a film. Run it again with a mended prompt and only that shot and those that follow from it are made anew.

    Args:
        title: Name of the film; one title stands for one film. {week} and {date} are filled in from the run's
            scheduled time, e.g. 2026-W48 and 2026-11-23, so that a schedule makes a new film each time.
        shots: The shots in order, e.g. {"prompt": "A lighthouse at dawn"}, {"prompt": "The lamp", "cut": true}.
        credentials: Saved credentials block.
        destination: Saved destination block.
        model: Model of shots that name none.
        duration: Seconds of shots that name none.
        aspect_ratio: Width to height.
        resolution: Of the picture; at Sudashui the model name decides.

    Returns:
        Where the film and its shots are.
    """
    return await storyboard(
        shots,
        credentials,
        destination,
        model,
        duration=duration,
        aspect_ratio=aspect_ratio,
        resolution=resolution,
        idempotency_key=f"film-{dated(title)}",
    )
