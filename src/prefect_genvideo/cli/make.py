"""`genvideo generate`, `check` and `batch`: one video, a manifest without costs, a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from prefect_genvideo.batch import BatchFailedError, BatchReport, load_manifest
from prefect_genvideo.cli.console import FAILED, command, complain, give, link_facts, link_line, links_of, say, show
from prefect_genvideo.cli.targets import batch_key_of, credentials_from, destination_from, provider_of, providers_of
from prefect_genvideo.errors import InvalidRequestError, counted, shorten
from prefect_genvideo.models import Problem, StoredVideo, VideoRequest, duration_or_default, word_or_default
from prefect_genvideo.prices import Estimate, EstimateTotal, total_of
from prefect_genvideo.providers import get_provider

if TYPE_CHECKING:
    from prefect_genvideo.blocks import VideoDestination
    from prefect_genvideo.pipeline.play import PlayLink

# Of a manifest, of which every row may have the same one.
_SHOWN_WARNINGS = 20


@command
async def generate(
    prompt: str,
    /,
    *,
    to: str,
    model: str = "",
    image: Annotated[list[str] | None, Parameter(negative=())] = None,
    video: Annotated[list[str] | None, Parameter(negative=())] = None,
    audio: Annotated[list[str] | None, Parameter(negative=())] = None,
    first_frame: str = "",
    last_frame: str = "",
    duration: float = 0,
    aspect_ratio: str = "16:9",
    resolution: str = "default",
    provider: str | None = None,
    credentials: str | None = None,
    key: str = "",
) -> None:
    """Generate one video and land it in the destination.

    Args:
        prompt: What the video shows.
        to: s3://bucket/prefix, a folder, or a saved block as block-type-slug/name.
        model: Model name; the provider's default model when only --provider is given.
        image: Reference image; may be given several times. Named @image1, @image2 … in the prompt.
        video: Reference video; may be given several times.
        audio: Reference audio; may be given several times.
        first_frame: Image that the video starts with.
        last_frame: Image that the video ends with.
        duration: Seconds; 0 takes the model's default.
        aspect_ratio: Width to height; default leaves it to the model.
        resolution: Where the model name does not decide it.
        provider: Name of the provider, see `genvideo providers`; known from the model's name where it is documented,
            and from the key that is at hand where several providers document it.
        credentials: Saved credentials block; else the key comes from the environment, see `genvideo providers`.
        key: Idempotency key; the same key never pays twice.
    """
    from prefect_genvideo.blocks import resolve_credentials, resolve_destination
    from prefect_genvideo.cli.progress import shown_progress
    from prefect_genvideo.events import flat_parameters
    from prefect_genvideo.flows import generate_video

    named = provider or provider_of(model, credentials)
    payer = await resolve_credentials(credentials_from(named, credentials))
    request = VideoRequest.model_validate(
        {
            "model": model or get_provider(named).default_model,
            "prompt": prompt,
            "duration": duration_or_default(duration),
            "aspect_ratio": word_or_default(aspect_ratio),
            "resolution": word_or_default(resolution),
            **{"images": image or (), "videos": video or (), "audios": audio or ()},
            **{"first_frame": first_frame or None, "last_frame": last_frame or None},
        }
    )
    # The form's own choices would hide what else is wrong: here all of it is said at once.
    if problems := payer.get_client().validate(request):
        raise InvalidRequestError("The request breaks rules; nothing was sent.", problems=problems, provider=named)
    target = await resolve_destination(destination_from(to))
    flow: Any = generate_video
    with shown_progress(target.get_ledger()):
        stored: StoredVideo = await flow(
            credentials=payer, destination=target, idempotency_key=key, **flat_parameters(request)
        )
    [link] = await links_of(target.get_links(), target.get_store(), [stored])
    if link is not None:
        say(link_line(link))
    give(stored.uri, stored.model_dump(mode="json", exclude_none=True) | link_facts(link))


@command
async def check(manifest: Path, /, *, provider: str | None = None) -> None:
    """Hold every row of a manifest against the rules of its model: without a key, a network or costs.

    References that are links or in S3 are not looked at.

    Args:
        manifest: JSONL, JSON, CSV or YAML file.
        provider: Of rows that name none and whose model no provider documents.
    """
    found = await load_manifest(manifest)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    estimates: list[Estimate] = []
    for row in found.rows:
        for number, wanted in enumerate(row.alternatives()):
            client, faults = _judged(wanted.request, wanted.provider or provider)
            problems += found.of_row(row, number, faults)
            if client is not None:
                warnings += found.of_row(row, number, client.warnings(wanted.request))
            if client is not None and not number:
                estimates.append(client.estimate(wanted.request))
    found.check(problems)
    for warning in warnings[:_SHOWN_WARNINGS]:
        say(f"The provider may refuse this: {warning}")
    if len(warnings) > _SHOWN_WARNINGS:
        say(f"… and {len(warnings) - _SHOWN_WARNINGS} more of this kind")
    total = total_of(estimates)
    give(
        f"{counted(len(found.rows), 'video')}, every rule kept. Cost: {_total_text(total)}",
        {
            "rows": len(found.rows),
            "warnings": list(map(str, warnings[:_SHOWN_WARNINGS])),
            "cost": [one.model_dump(mode="json") for one in total.sums],
            "unknown": total.unknown,
        },
    )


def _judged(request: VideoRequest, provider: str | None) -> tuple[Any, list[Problem]]:
    """The client whose rules count, without a key of anybody's; and every rule that the request breaks."""
    try:
        client: Any = get_provider(provider or provider_of(request.model))("not-a-key")
    except InvalidRequestError as error:
        return None, list(error.problems) or [Problem("provider", str(provider), str(error))]
    return client, client.validate(request)


def _total_text(total: EstimateTotal) -> str:
    known = " + ".join(map(str, total.sums))
    if not total.unknown:
        return known or "nothing"
    return f"{known} and {total.unknown} unknown" if known else "unknown; a price table makes it known"


@command
async def batch(
    manifest: str,
    /,
    *,
    to: str,
    provider: str | None = None,
    credentials: str | None = None,
    max_in_flight: Annotated[int, Parameter(validator=Number(gte=1, lte=2000))] = 20,
    fail_on: Literal["any", "never"] = "any",
    wait: Literal["finish", "collect"] = "finish",
    rows: str = "",
    key: str = "",
    plan: str = "",
) -> None:
    """Generate the videos of a manifest. The same command again makes only what is missing.

    Args:
        manifest: JSONL, JSON, CSV or YAML: a path, a link or an s3:// URI.
        to: s3://bucket/prefix, a folder, or a saved block as block-type-slug/name.
        provider: Of rows that name none and whose model no provider documents.
        credentials: Saved credentials block of the provider; else keys come from the environment.
        max_in_flight: Generations under way at most.
        fail_on: End with exit code 1 on any bad video, or never.
        wait: `collect` submits and ends; `genvideo ledger reconcile` fetches the videos.
        rows: Only these, e.g. 201-400.
        key: Key of the batch; the manifest's place when not given, so that the same command resumes.
        plan: Hash of a plan by `genvideo plan` of the same rows, which must still hold; the key is taken from it.
    """
    from prefect_genvideo.blocks import resolve_destination
    from prefect_genvideo.cli.progress import shown_progress
    from prefect_genvideo.flows import generate_videos

    target = await resolve_destination(destination_from(to))
    first, *others = await providers_of(manifest, target.get_store(), provider, credentials)
    flow: Any = generate_videos
    failed: BatchFailedError | None = None
    with shown_progress(target.get_ledger()):
        try:
            report: BatchReport = await flow(
                manifest,
                credentials_from(first, credentials),
                target,
                max_in_flight=max_in_flight,
                fail_on=fail_on,
                wait=wait,
                rows=rows,
                idempotency_key=key or batch_key_of(manifest),
                plan=plan,
                more_credentials=[credentials_from(name, None) for name in others],
            )
        except BatchFailedError as error:
            failed, report = error, error.report
    # Where lines still change, a table would be written between them.
    await _print(report, target)
    if failed is not None:
        complain(failed)
        raise SystemExit(FAILED)


async def _print(report: BatchReport, target: VideoDestination) -> None:
    # A link that lasts opens what the place only names; the report has both.
    cells = (
        (row.number, row.state, shorten(row.prompt, 40), row.link or row.uri or row.reason or row.next_step)
        for row in report.rows
    )
    facts = (row.model_dump(mode="json") for row in report.rows)
    show(("row", "state", "prompt", "video, or why not"), cells, facts)
    for row, link in zip(report.rows, await _secret_links(report, target), strict=False):
        if link is not None:
            say(f"{row.number}: {link_line(link)}")
    say(f"{report.summary()} {report.report_uri or ''}".rstrip())


# Rows whose links are printed one by one.
_LINKED = 20


async def _secret_links(report: BatchReport, target: VideoDestination) -> list[PlayLink | None]:
    """Links of the first rows that the report itself must not keep."""
    links = target.get_links()
    shown = [] if links.lasting else [row.video for row in report.rows[:_LINKED]]
    return await links_of(links, target.get_store(), shown)
