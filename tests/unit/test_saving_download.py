"""How a video comes across: cuts are resumed, other files begun again, dead links renewed, and all of it ends."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from prefect_genvideo.errors import (
    AuthenticationError,
    DownloadError,
    LinkExpiredError,
    RateLimitedError,
    TransientError,
)
from prefect_genvideo.models import StoredVideo
from prefect_genvideo.pipeline.save import SaveJob, save_generation
from prefect_genvideo.pipeline.transfer import Patience
from prefect_genvideo.storage import LocalStore
from tests.fixtures.expected import failing
from tests.fixtures.mp4 import mp4
from tests.fixtures.scripted_source import LINK, Answer, ScriptedSource, generation

VIDEO = mp4(10_000)
FRESH = LINK.replace("first", "second")


class Saving:
    """Saves one task into a directory and keeps what happened."""

    def __init__(self, folder: Path, source: ScriptedSource, link: str | None = LINK) -> None:
        self.store = LocalStore(folder)
        self.source = source
        self.link = link
        self.slept: list[float] = []

    async def run(self, patience: Patience | None = None) -> StoredVideo:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        job = SaveJob(generation(link=self.link), "v/task_1.mp4", "sd-2")
        return await save_generation(self.source, self.store, job, patience=patience, sleep=sleep)

    async def visible(self) -> list[str]:
        return [info.key async for info in self.store.list()]


def spread_over(slept: Sequence[float], pauses: Sequence[float]) -> bool:
    """Whether these are the pauses, each with up to a quarter on top, so that many that failed come back apart."""
    return len(slept) == len(pauses) and all(
        pause <= seconds <= 1.25 * pause for seconds, pause in zip(slept, pauses, strict=True)
    )


async def test_an_unbroken_stream_is_saved(tmp_path: Path) -> None:
    """One open, no waiting."""
    saving = Saving(tmp_path, ScriptedSource([Answer(VIDEO)]))
    stored = await saving.run()
    assert (stored.size, stored.sha256) == (len(VIDEO), hashlib.sha256(VIDEO).hexdigest())
    assert (tmp_path / "v/task_1.mp4").read_bytes() == VIDEO
    assert saving.slept == []


async def test_bytes_behind_the_last_box_are_saved_and_noted(tmp_path: Path) -> None:
    """The file is kept as it came, also when it came in pieces; its manifest says what is no part of the video."""
    padded = VIDEO + b"\r\n"
    source = ScriptedSource([Answer(padded, stop=3000), Answer(padded)])
    stored = await Saving(tmp_path, source).run()
    assert (stored.size, stored.sha256) == (len(padded), hashlib.sha256(padded).hexdigest())
    assert json.loads((tmp_path / "v/task_1.json").read_text())["video"]["surplus"] == 2


async def test_a_cut_stream_is_gone_on_with(tmp_path: Path) -> None:
    """A range from the next byte, bound to the ETag: nothing is fetched twice, and the hash is that of the whole."""
    source = ScriptedSource([Answer(VIDEO, stop=3000), Answer(VIDEO, stop=7000), Answer(VIDEO)])
    stored = await Saving(tmp_path, source).run()
    assert stored.sha256 == hashlib.sha256(VIDEO).hexdigest()
    etag = source.opened[1][2]
    assert source.opened == [(LINK, 0, None), (LINK, 3000, etag), (LINK, 7000, etag)]
    assert etag is not None


@pytest.mark.parametrize("broken", [Answer(VIDEO, stop=3000, ranges=False), Answer(VIDEO, stop=3000, known=False)])
async def test_without_ranges_or_a_length_it_begins_again(tmp_path: Path, broken: Answer) -> None:
    """Going on is only safe where the server can prove that it is the same file."""
    source = ScriptedSource([broken, Answer(VIDEO)])
    stored = await Saving(tmp_path, source).run()
    assert stored.sha256 == hashlib.sha256(VIDEO).hexdigest()
    assert [offset for _, offset, _ in source.opened] == [0, 0]


async def test_a_file_that_has_changed_is_begun_again(tmp_path: Path) -> None:
    """The server answers the range with a whole other file: what came before is dropped."""
    other = mp4(9000, filling=b"\x66")
    source = ScriptedSource([Answer(VIDEO, stop=3000), Answer(other)])
    stored = await Saving(tmp_path, source).run()
    assert stored.sha256 == hashlib.sha256(other).hexdigest()


async def test_two_files_are_never_joined(tmp_path: Path) -> None:
    """A server that goes on with another file under the same ETag is caught by the length."""
    other = mp4(9000, filling=b"\x66")
    first = Answer(VIDEO, stop=3000, etag='"same"')
    source = ScriptedSource([first, Answer(other, etag='"same"'), Answer(other, etag='"same"')])
    stored = await Saving(tmp_path, source).run()
    assert stored.sha256 == hashlib.sha256(other).hexdigest()
    assert [offset for _, offset, _ in source.opened] == [0, 3000, 0]


async def test_a_dead_link_is_renewed(tmp_path: Path) -> None:
    """The task is asked for another link; the same file behind it is gone on with."""
    dead = LinkExpiredError("The link is refused (HTTP 403).", status_code=403)
    source = ScriptedSource([Answer(VIDEO, stop=3000), dead, Answer(VIDEO)], links=[FRESH])
    stored = await Saving(tmp_path, source).run()
    assert stored.sha256 == hashlib.sha256(VIDEO).hexdigest()
    assert source.asked == ["task_1"]
    assert [(url, offset) for url, offset, _ in source.opened] == [(LINK, 0), (LINK, 3000), (FRESH, 3000)]


async def test_a_link_to_another_place_begins_again(tmp_path: Path) -> None:
    """An ETag speaks for one resource; another path may hold another file under the same one."""
    moved = "https://mirror.example.com/other.mp4"
    dead = LinkExpiredError("refused", status_code=403)
    source = ScriptedSource([Answer(VIDEO, stop=3000), dead, Answer(VIDEO)], links=[moved])
    await Saving(tmp_path, source).run()
    assert source.opened[-1] == (moved, 0, None)


async def test_the_same_link_refused_again_is_the_end(tmp_path: Path) -> None:
    """It is asked for once and tried once more, then only a person can help."""
    saving = Saving(tmp_path, ScriptedSource([LinkExpiredError("refused", status_code=404)], links=[LINK]))
    with failing(LinkExpiredError, "link expired") as caught:
        await saving.run()
    assert not caught.value.retryable
    assert caught.value.task_id == "task_1"
    assert len(saving.source.opened) == 2
    assert await saving.visible() == []
    assert "signature" not in str(caught.value)


async def test_no_other_link_is_the_end(tmp_path: Path) -> None:
    """The provider has forgotten the file."""
    saving = Saving(tmp_path, ScriptedSource([LinkExpiredError("refused", status_code=404)], links=[None]))
    with failing(LinkExpiredError, "link expired"):
        await saving.run()


async def test_without_a_link_the_task_is_asked_first(tmp_path: Path) -> None:
    """As after a restart, when only the task id is known."""
    source = ScriptedSource([Answer(VIDEO)], links=[FRESH])
    await Saving(tmp_path, source, link=None).run()
    assert source.opened == [(FRESH, 0, None)]


async def test_a_query_that_says_nothing_is_repeated(tmp_path: Path) -> None:
    """A hiccup of the API while asking for a link counts like one of the file server."""
    source = ScriptedSource([Answer(VIDEO)], links=[TransientError("HTTP 502"), FRESH])
    saving = Saving(tmp_path, source, link=None)
    await saving.run()
    assert len(saving.slept) == 1


async def test_a_refused_key_is_told_at_once(tmp_path: Path) -> None:
    """Nobody can ask for a link with a dead key."""
    saving = Saving(tmp_path, ScriptedSource([Answer(VIDEO)], links=[AuthenticationError("no")]), link=None)
    with pytest.raises(AuthenticationError):
        await saving.run()
    assert saving.slept == []


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("html", Answer(b"<html>" + b"x" * 5000)),
        ("empty", Answer(b"")),
        ("inside a box", Answer(VIDEO[:-1])),
        ("no moov", Answer(VIDEO[: VIDEO.index(b"moov") - 4])),
        ("too short", Answer(VIDEO, size=20_000)),
        ("too long", Answer(VIDEO, size=9_000)),
    ],
)
async def test_what_is_no_whole_video_is_never_visible(tmp_path: Path, name: str, answer: Answer) -> None:
    """Every kind of broken file is tried a few times, then told; the destination stays empty."""
    saving = Saving(tmp_path, ScriptedSource([answer]))
    with pytest.raises(DownloadError) as caught:
        await saving.run()
    assert caught.value.retryable
    assert caught.value.task_id == "task_1"
    assert len(saving.source.opened) == 5
    assert await saving.visible() == []


async def test_a_broken_file_can_come_right(tmp_path: Path) -> None:
    """A CDN that serves a half-written file serves the whole one a moment later."""
    source = ScriptedSource([Answer(VIDEO[:-100]), Answer(VIDEO)])
    stored = await Saving(tmp_path, source).run()
    assert stored.sha256 == hashlib.sha256(VIDEO).hexdigest()


async def test_what_cannot_be_mended_is_not_repeated(tmp_path: Path) -> None:
    """A refused address or a file that is too large: at once."""
    saving = Saving(
        tmp_path, ScriptedSource([DownloadError("gone", retryable=False, status_code=410, reason="HTTP 410")])
    )
    with failing(DownloadError, "HTTP 410"):
        await saving.run()
    assert len(saving.source.opened) == 1


async def test_new_bytes_renew_the_patience(tmp_path: Path) -> None:
    """Nine cuts are no failure as long as each brings the file further."""
    cuts: list[Answer | Exception] = [Answer(VIDEO, stop=1000 * step) for step in range(1, 10)]
    source = ScriptedSource([*cuts, Answer(VIDEO)])  # pyright: ignore[reportArgumentType] - list is invariant
    saving = Saving(tmp_path, source)
    await saving.run()
    assert len(saving.slept) == 9
    assert spread_over(saving.slept, [1] * 9)


async def test_standing_still_ends_it(tmp_path: Path) -> None:
    """Five failures without a new byte, with growing pauses; the text says how far it came."""
    saving = Saving(tmp_path, ScriptedSource([Answer(VIDEO, stop=3000)]))
    with failing(DownloadError, "connection lost") as caught:
        await saving.run()
    assert caught.value.retryable
    assert spread_over(saving.slept, [1, 2, 4, 8])


async def test_crawling_ends_it_too(tmp_path: Path) -> None:
    """A server that gives one piece more each time is left after a bounded number of tries."""
    script = [Answer(VIDEO, stop=700 * step) for step in range(1, 12)]
    saving = Saving(tmp_path, ScriptedSource(list(script)))
    with failing(DownloadError, "connection lost"):
        await saving.run(Patience(total=6))


async def test_the_servers_wish_comes_before_our_pause(tmp_path: Path) -> None:
    """Retry-After is heeded, up to five minutes."""
    source = ScriptedSource(
        [DownloadError("busy", retry_after=17), DownloadError("busy", retry_after=9999), Answer(VIDEO)]
    )
    saving = Saving(tmp_path, source)
    await saving.run()
    assert spread_over(saving.slept, [17, 300])


async def test_a_rate_limited_query_waits_as_long_as_it_says(tmp_path: Path) -> None:
    """The same for the API that gives the links."""
    source = ScriptedSource([Answer(VIDEO)], links=[RateLimitedError("slow down", retry_after=3), FRESH])
    saving = Saving(tmp_path, source, link=None)
    await saving.run()
    assert spread_over(saving.slept, [3])
