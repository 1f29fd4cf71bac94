"""Hold what this package says of media files against ffprobe: `python benchmarks/media_facts.py FOLDER`.

Every file below the folder is looked at with `inspect_file` and with ffprobe, which must be installed (it comes with
FFmpeg). Printed is where they differ: in kind, in seconds by more than 0.1, or in sides. Files that are refused here
although ffprobe decodes a frame of them are listed apart: most are cut, and play up to the cut. The last line is

    RESULT {"files": …, "alike": …, "differ": …, "refused": …, "refused_but_decodable": …, "unknown_to_both": …}
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.media.inspect import MediaInfo, inspect_file

TOLERANCE = 0.1
"""Seconds."""

_TIMEOUT = 60
_SHOWN = "stream=codec_type,width,height,duration,nb_read_frames:stream_disposition=attached_pic:format=duration"


@dataclass(frozen=True)
class Judged:
    """What ffprobe says of a file; `decodes` is whether a frame comes out of it."""

    kind: str
    seconds: float | None
    sides: tuple[int, int] | None
    decodes: bool


def main(folder: str) -> int:
    """Compare every file; the exit status is 1 where any differs."""
    if shutil.which("ffprobe") is None:
        print("ffprobe is not installed (it comes with FFmpeg)", file=sys.stderr)
        return 2
    counts: Counter[str] = Counter(files=0, alike=0, differ=0, refused=0, refused_but_decodable=0, unknown_to_both=0)
    for path in sorted(one for one in Path(folder).rglob("*") if one.is_file()):
        counts["files"] += 1
        verdict, words = compared(path)
        counts[verdict] += 1
        counts["refused"] += verdict == "refused_but_decodable"
        if words:
            print(f"{verdict}: {path}: {words}")
    print("RESULT", json.dumps(counts))
    return 1 if counts["differ"] else 0


def compared(path: Path) -> tuple[str, str]:
    """How a file compares, in a word of the result line, and what is to be said of it."""
    judged = judge(path)
    try:
        info = inspect_file(path, digest=False)
    except InvalidRequestError as error:
        if judged is None or not judged.decodes:
            return ("unknown_to_both" if judged is None else "refused"), ""
        return "refused_but_decodable", str(error)
    if judged is None:
        return "differ", f"{info.media_type} here, nothing for ffprobe"
    words = "; ".join(differences(info, judged))
    return ("differ" if words else "alike"), words


def differences(info: MediaInfo, judged: Judged) -> list[str]:
    """What is not the same; a fact that is unknown here differs from none."""
    found: list[str] = []
    kind = "video" if info.kind == "image" else info.kind  # a picture is a video of one frame to ffprobe
    if kind != judged.kind:
        found.append(f"{info.kind} here, {judged.kind} there")
    sides = (info.width, info.height) if info.width and info.height else None
    if sides and judged.sides and sides != judged.sides:
        found.append(f"{sides[0]}x{sides[1]} here, {judged.sides[0]}x{judged.sides[1]} there")
    if info.kind != "image" and info.seconds and judged.seconds and abs(info.seconds - judged.seconds) > TOLERANCE:
        found.append(f"{info.seconds:.3f} s here, {judged.seconds:.3f} s there")
    return found


def judge(path: Path) -> Judged | None:
    """Ask ffprobe, which decodes the first frame; None where it finds no stream."""
    command = ["ffprobe", "-v", "error", "-of", "json", "-count_frames", "-read_intervals", "%+#1"]
    ran = subprocess.run(
        [*command, "-show_entries", _SHOWN, str(path.resolve())],
        capture_output=True,
        timeout=_TIMEOUT,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(ran.stdout or b"{}")
    except ValueError:
        return None
    streams = [one for one in answer.get("streams", []) if not one.get("disposition", {}).get("attached_pic")]
    main_one = next((one for kind in ("video", "audio") for one in streams if one.get("codec_type") == kind), None)
    if main_one is None:
        return None
    length = main_one.get("duration") or answer.get("format", {}).get("duration")
    width, height = int(main_one.get("width") or 0), int(main_one.get("height") or 0)
    return Judged(
        str(main_one["codec_type"]),
        float(length) if length else None,
        (width, height) if width and height else None,
        int(main_one.get("nb_read_frames") or 0) > 0,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) if len(sys.argv) == 2 else print(__doc__) or 2)
