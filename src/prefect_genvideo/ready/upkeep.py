"""Scheduled: fetch what a crash, a deadline or a lost link left behind. Sends no create, so it costs nothing."""

from prefect import flow

from prefect_genvideo.artifacts import show_decisions
from prefect_genvideo.errors import UnknownOutcomeError, counted
from prefect_genvideo.flows import reconcile_videos
from prefect_genvideo.flows.names import upkeep_name


@flow(name="reconcile", flow_run_name=upkeep_name)
async def reconcile(
    credentials: str = "sudashui-credentials/production",
    destination: str = "s3-video-destination/production",
    fail_on_unknown: bool = True,
) -> dict[str, int]:
    """Save what is ready, report the rest, and fail once for each create that a person has to decide about.

    What waits for a person stands in the artifact `generations-to-decide` until it is decided, and is told by an event
    `genvideo.generation.unknown` once a day.

    Args:
        credentials: Saved credentials block.
        destination: Saved destination block.
        fail_on_unknown: End as Failed when a create of unknown fate is seen for the first time, so that alerts fire.

    Returns:
        How many records ended in which outcome.

    Raises:
        UnknownOutcomeError: There are creates whose fate is not known, and nobody was told before.
    """
    rows = await reconcile_videos(credentials, destination)
    undecided = [row for row in rows if row.outcome == "unknown"]
    await show_decisions(undecided)
    first = [row.key for row in undecided if row.first]
    if first and fail_on_unknown:
        waiting = counted(len(undecided), "generation waits", "generations wait")
        raise UnknownOutcomeError(
            f"{waiting} for a person, new: {', '.join(first[:20])}",
            reason="unknown outcome",
        )
    return {outcome: sum(row.outcome == outcome for row in rows) for outcome in {row.outcome for row in rows}}
