"""Scheduled: fetch what a crash, a deadline or a lost link left behind. Sends no create, so it costs nothing."""

from prefect import flow

from prefect_genvideo.flows import reconcile_videos


@flow(name="reconcile")
async def reconcile(
    credentials: str = "sudashui-credentials/production",
    destination: str = "s3-video-destination/production",
    fail_on_unknown: bool = True,
) -> dict[str, int]:
    """Save what is ready, report the rest, and fail when a person has to decide, so that alerts fire.

    Args:
        credentials: Saved credentials block.
        destination: Saved destination block.
        fail_on_unknown: End as Failed while there are creates whose fate is not known.

    Returns:
        How many records ended in which outcome.
    """
    rows = await reconcile_videos(credentials, destination, fail_on_unknown=fail_on_unknown)
    return {outcome: sum(row.outcome == outcome for row in rows) for outcome in {row.outcome for row in rows}}
