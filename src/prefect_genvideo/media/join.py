"""Clips joined into one film."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from prefect_genvideo.errors import DestinationError, InvalidRequestError
from prefect_genvideo.media._join_plan import Plan, plan_film
from prefect_genvideo.media._join_sound import CopiedSound, EncodedSound
from prefect_genvideo.media._join_video import CopiedVideo, EncodedVideo, FilmTrack
from prefect_genvideo.media.clip import Clip, load_pyav, open_clip

Handling = Literal["copied", "encoded", "none"]

# `use_metadata_tags` keeps words outside iTunes' list, such as the label that marks generated content.
_MUXER = {"movflags": "+faststart+use_metadata_tags"}


@dataclass(frozen=True)
class JoinInfo:
    """How a film was made.

    Attributes:
        reencoded: Whether anything was encoded again, pictures or sound.
        reason: Why; empty when everything was copied.
        seconds: Length of the film's pictures.
        seams: Film time in seconds at which the second clip begins, the third, and so on.
        video: `copied` or `encoded`.
        audio: `copied`, `encoded` or `none`.
    """

    reencoded: bool
    reason: str
    seconds: float
    seams: list[float]
    video: Handling
    audio: Handling


def join(paths: Sequence[str | Path], out: str | Path) -> JoinInfo:
    """Join local clips into one MP4, `moov` first, in constant memory.

    What is equal is copied bit by bit: pictures where codec, size, pixel format, orientation, colours and parameter
    sets are the same; sound where all clips have it alike. Otherwise the pictures become H.264 in the size and at the
    rate of the first clip, black bars where the ratio differs, and the sound AAC, silence where a clip has none: one
    clip without sound costs no picture. A clip lasts as long as its pictures; sound that is longer is cut.

    Args:
        paths: The clips in order. Each is opened several times, one at a time.
        out: The film. It appears when it is complete, and replaces what was there.

    Returns:
        How it was made.

    Raises:
        InvalidRequestError: There are no clips, one is no video or longer than an hour, or `out` is one of them.
        DownloadError: A clip is cut off or damaged.
        DestinationError: The film cannot be written.
    """
    target = Path(out).expanduser()
    plan = plan_film(paths)
    if any(shot.path.resolve() == target.resolve() for shot in plan.shots):
        raise InvalidRequestError("The film cannot replace one of its clips.", reason="film is a clip")
    with _part(target) as part:
        _write(plan, part)
    return _info(plan)


def _info(plan: Plan) -> JoinInfo:
    encoded = bool(plan.video_reason or plan.audio_reason)
    return JoinInfo(
        reencoded=encoded,
        reason=plan.video_reason or plan.audio_reason,
        seconds=float(plan.seams[-1]),
        seams=[float(seam) for seam in plan.seams[1:-1]],
        video="encoded" if plan.video_reason else "copied",
        audio="none" if plan.sound is None else "encoded" if plan.audio_reason else "copied",
    )


@contextlib.contextmanager
def _part(target: Path) -> Generator[str]:
    """A file beside the target that takes its place when all went well, and is gone otherwise."""
    # The absolute path cannot be taken for a protocol of FFmpeg.
    part = target.absolute().parent / f".{target.name[:64]}.{uuid4().hex}.part"
    try:
        yield str(part)
        with _storing():
            part.replace(target)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


@contextlib.contextmanager
def _storing() -> Generator[None]:
    try:
        yield
    except (OSError, ValueError, load_pyav().error.FFmpegError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise DestinationError(f"The film cannot be written: {why}.", reason=why) from error


def _write(plan: Plan, part: str) -> None:
    with _storing():
        out = load_pyav().open(part, "w", format="mp4", options=_MUXER)
    try:
        out.metadata.update(plan.metadata)
        _fill(out, plan)
        with _storing():
            out.close()
    finally:
        # The second close does nothing; after an error it frees the file, and what it writes is thrown away.
        with contextlib.suppress(Exception):
            out.close()


def _fill(out: Any, plan: Plan) -> None:
    tracks: list[FilmTrack] = []
    for number, shot in enumerate(plan.shots):
        with open_clip(shot.path) as clip:
            tracks = tracks or _tracks(out, plan, clip)
            for track in tracks:
                track.begin(number, clip)
            for packet in clip.packets():
                # A sound track of hidden packets only counts as none, and has no place in the film.
                for track in tracks[:1] if packet.stream is clip.video else tracks[1:]:
                    _mux(out, track.feed(packet))
            for track in tracks:
                _mux(out, track.end())
    with _storing():
        for track in tracks:
            _mux(out, track.flush())


def _tracks(out: Any, plan: Plan, first: Clip) -> list[FilmTrack]:
    tracks: list[FilmTrack] = [EncodedVideo(out, plan) if plan.video_reason else CopiedVideo(out, plan, first)]
    if plan.sound is not None:
        tracks.append(EncodedSound(out, plan, plan.sound) if plan.audio_reason else CopiedSound(out, plan, first))
    return tracks


def _mux(out: Any, packets: Iterator[Any]) -> None:
    for packet in packets:
        with _storing():
            out.mux(packet)
