"""Generating a video from a saved preset, by a form."""

from prefect import flow

from prefect_genvideo.blocks.job import VideoJob
from prefect_genvideo.events import flat_parameters
from prefect_genvideo.flows.generate import generate_video
from prefect_genvideo.flows.names import parameters, run_name
from prefect_genvideo.models import StoredVideo


def _run_name() -> str:
    given = parameters()
    preset = given.get("preset")
    own = str(getattr(preset, "prompt", ""))
    return run_name(str(given.get("prompt") or own), str(getattr(preset, "model", ""))) or "preset"


@flow(name="run-preset", flow_run_name=_run_name, persist_result=False)
async def run_preset(preset: VideoJob, prompt: str = "", idempotency_key: str = "") -> StoredVideo:
    """Generate a video from a saved preset: its model, account, destination and options. Paid once.

    Args:
        preset: The saved preset: a Video Job block.
        prompt: What this video shows. It goes where the preset's prompt says {prompt}, else behind it.
        idempotency_key: One key stands for one paid video. Empty: this flow run is the key.

    Returns:
        Where the video is, its size, hash and manifest.

    Raises:
        GenVideoError: See `prefect_genvideo.errors`; each says what to do.
    """
    return await generate_video.fn(
        credentials=preset.credentials,
        destination=preset.destination,
        idempotency_key=idempotency_key,
        **flat_parameters(preset.request(prompt)),
    )
