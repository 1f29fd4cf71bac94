"""Broken and hostile files: one of two errors, soon, and never one of FFmpeg's."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prefect_genvideo.errors import DownloadError, InvalidRequestError
from prefect_genvideo.media import _join_plan, cover_of, join, last_frame
from prefect_genvideo.media import clip as source
from tests.fixtures.expected import refusing
from tests.fixtures.film_clips import make_clip, shown_numbers


def joined(path: Path) -> Any:
    return join([path, path], path.with_name("film.mp4"))


READERS: list[Callable[[Path], Any]] = [last_frame, cover_of, joined]

NO_VIDEOS = {
    "empty": b"",
    "text": b"<html>Request has expired</html>",
    "playlist": b"ffconcat version 1.0\nfile /etc/hosts\n",
    "hls": b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/x.ts\n",
    "picture": b"\xff\xd8\xff\xe0" + b"\0" * 100,
}


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_video_is_refused(tmp_path: Path, reader: Callable[[Path], Any]) -> None:
    """Fetching it again would change nothing; a playlist must not make FFmpeg open other files."""
    file = tmp_path / "file.mp4"
    with refusing(reason="no regular file"):
        reader(file)
    for content in NO_VIDEOS.values():
        file.write_bytes(content)
        with refusing(reason="unknown kind of file"):
            reader(file)
    with refusing(reason="no regular file"):
        reader(tmp_path)


@pytest.mark.parametrize("front", [True, False])
def test_a_cut_file_is_damaged(tmp_path: Path, front: bool) -> None:
    """Wherever it is cut, and whether its head comes first or last, no reader takes the rest for the whole."""
    options = {} if front else {"movflags": "use_metadata_tags"}
    data = make_clip(tmp_path / "clip.mp4", sound=[0.1] * 6, muxer=options).read_bytes()
    cut = tmp_path / "cut.mp4"
    for length in range(64, len(data), len(data) // 20):
        cut.write_bytes(data[:length])
        for reader in READERS:
            with pytest.raises(DownloadError):
                reader(cut)
    assert not (tmp_path / "film.mp4").exists()


def test_a_film_fails_as_a_whole(tmp_path: Path) -> None:
    """One damaged clip: no film, nothing left behind, and the film of yesterday stays."""
    clip = make_clip(tmp_path / "clip.mp4")
    film = tmp_path / "film.mp4"
    join([clip], film)
    data = bytearray(clip.read_bytes())
    at = data.index(b"mdat") + 4
    data[at:] = random.Random(1).randbytes(len(data) - at)
    (tmp_path / "noise.mp4").write_bytes(data)
    square = make_clip(tmp_path / "square.mp4", size=(96, 96))
    for others in ([clip], [clip, square]):
        with pytest.raises(DownloadError):
            join([*others, tmp_path / "noise.mp4"], film)
    assert shown_numbers(film) == list(range(12))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "film.mp4", "noise.mp4", "square.mp4"]


def test_changed_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    """Sixty clips with a few wrong bytes, most of them in the head: read well, or refused with our own errors."""
    data = make_clip(tmp_path / "clip.mp4", sound=[0.1] * 6).read_bytes()
    head = data.index(b"mdat")
    dice = random.Random(7)
    broken = tmp_path / "broken.mp4"
    refused = 0
    for _ in range(60):
        changed = bytearray(data)
        for _ in range(dice.choice((1, 2, 5, 30))):
            changed[dice.randrange(8, head if dice.random() < 0.7 else len(data))] = dice.choice((0, 255, 127))
        broken.write_bytes(changed)
        for reader in (last_frame, joined):
            # Anything but these two errors ends the test.
            try:
                reader(broken)
            except (InvalidRequestError, DownloadError):
                refused += 1
    assert refused > 20


def test_no_picture_track(tmp_path: Path) -> None:
    """A file of sound only is no clip."""
    clip = make_clip(tmp_path / "clip.mp4", [], sound=[0.1] * 6)
    with pytest.raises((InvalidRequestError, DownloadError)):
        last_frame(clip)


def test_endless_and_huge_clips_are_refused(tmp_path: Path) -> None:
    """Two frames a day apart would be a day of film; a frame of a gigapixel would be the machine's memory."""
    clip = make_clip(tmp_path / "clip.mp4", range(2), times=[0, 24 * 3601])
    with refusing(reason="clip too long"):
        join([clip], tmp_path / "film.mp4")
    with refusing(reason="frames too large"):
        source.check_size(100_000, 100_000)


def test_a_film_is_not_encoded_for_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two frames far apart are a small file, and at the first clip's rate many frames to encode."""
    slow = make_clip(tmp_path / "slow.mp4", range(2), times=[0, 24 * 300])
    other = make_clip(tmp_path / "other.mp4", size=(96, 96))
    assert join([slow, slow], tmp_path / "film.mp4").video == "copied"
    monkeypatch.setattr(_join_plan, "MAX_ENCODED_PIXELS", 96 * 96 * 24 * 299)
    with refusing(reason="film too long"):
        join([other, slow], tmp_path / "other-film.mp4")
    assert not (tmp_path / "other-film.mp4").exists()
