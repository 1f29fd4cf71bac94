"""References to assets inside a prompt: `@image1`, `@video2`, `@audio1`, counted from 1, each kind by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from prefect_genvideo.errors import counted
from prefect_genvideo.providers.rules import Broken, Check, Wanted

_KINDS = {
    "image": ("image", "images", "img", "pic", "picture", "photo", "图片", "图像", "照片", "图", "圖片", "圖"),
    "video": ("video", "videos", "视频", "影片", "視頻"),
    "audio": ("audio", "audios", "音频", "音頻"),
}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words}
# Not the middle of a mail address or of a longer word.
_BEFORE, _AFTER = r"(?<![A-Za-z0-9_.@])", r"(?![A-Za-z0-9_])"
_WRITTEN = re.compile(
    rf"{_BEFORE}[@＠﹫] ?(?P<word>{'|'.join(sorted(_KIND_OF, key=len, reverse=True))})[ _#-]?"
    rf"(?P<number>[0-9０-９]{{1,40}}){_AFTER}",
    re.IGNORECASE,
)


def references_exist() -> Check:
    """Every `@image2` in the prompt has its asset."""

    def check(wanted: Wanted) -> Iterator[Broken]:
        request = wanted.request
        given = {"image": request.images, "video": request.videos, "audio": request.audios}
        for found, kind, number in written(request.prompt):
            count = len(given[kind])
            if found == f"@{kind}{number}" and not 1 <= number <= count:
                yield "prompt", f"{found} with {counted(count, kind)}"

    return check


def references_well_written() -> Check:
    """No reference is written in a way that the provider would take for plain text, such as `@Image1` or `@图片1`."""

    def check(wanted: Wanted) -> Iterator[Broken]:
        for found, kind, number in written(wanted.request.prompt):
            if found != f"@{kind}{number}":
                yield "prompt", f"{found}: write @{kind}{number}"

    return check


def rewritten(prompt: str, write: Callable[[str, int], str]) -> str:
    """Return the prompt with every reference in the words of another API.

    Args:
        prompt: As the caller gave it.
        write: Takes the kind (`image`, `video`, `audio`) and the number, and returns the words.
    """
    return _WRITTEN.sub(lambda match: write(_KIND_OF[match["word"].lower()], int(match["number"])), prompt)


def written(prompt: str) -> Iterator[tuple[str, str, int]]:
    """Yield each reference once: as it is written, its kind and its number."""
    for match in {match[0]: match for match in _WRITTEN.finditer(prompt)}.values():
        yield match[0], _KIND_OF[match["word"].lower()], int(match["number"])
