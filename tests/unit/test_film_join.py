"""Films: copied bit by bit where the clips agree, encoded where they do not, and every frame once either way."""

from __future__ import annotations

import math
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any, cast

import av
import pytest
from PIL import Image

from prefect_genvideo.errors import DestinationError, InvalidRequestError
from prefect_genvideo.media import JoinInfo, join
from prefect_genvideo.media._join_plan import parameter_sets
from tests.fixtures.film_clips import (
    boxes,
    facts_of,
    loudness,
    make_clip,
    make_webm,
    packet_times,
    shown,
    shown_numbers,
    with_edit,
    with_matrix,
)

_pyav = cast("Any", av)  # its types are incomplete


def at_24(numbers: list[int]) -> list[tuple[float, int]]:
    return [(round(place / 24, 4), number) for place, number in enumerate(numbers)]


def packets(path: Path) -> list[bytes]:
    with _pyav.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("bframes", ["0", "2", "4"])
def test_clips_alike_are_copied_bit_by_bit(tmp_path: Path, bframes: str) -> None:
    """Every packet of every clip is in the film, unchanged, and every frame is shown once at its time."""
    clips = [
        make_clip(tmp_path / f"{first}.mp4", range(first, first + count), options={"bf": bframes})
        for first, count in ((0, 24), (100, 7), (50, 30))
    ]
    info = join(clips, tmp_path / "film.mp4")
    assert info == JoinInfo(False, "", 61 / 24, [1.0, 31 / 24], video="copied", audio="none")
    assert shown(tmp_path / "film.mp4") == at_24([*range(24), *range(100, 107), *range(50, 80)])
    assert packets(tmp_path / "film.mp4") == [packet for clip in clips for packet in packets(clip)]
    assert facts_of(tmp_path / "film.mp4").seconds == pytest.approx(61 / 24, abs=0.001)


def test_times_rise_and_the_head_comes_first(tmp_path: Path) -> None:
    """Decode times rise across seams, nothing is shown before it is decoded, and a browser can start at once."""
    clips = [make_clip(tmp_path / f"{n}.mp4", range(n, n + 9), sound=[0.3] * 5) for n in (0, 20, 40)]
    join(clips, tmp_path / "film.mp4")
    for kind in ("video", "audio"):
        times = packet_times(tmp_path / "film.mp4", kind)
        decode = [dts for dts, _, _ in times]
        assert decode == sorted(set(decode))
        assert all(pts >= dts for dts, pts, _ in times)
    assert boxes(tmp_path / "film.mp4")[:2] == ["ftyp", "moov"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.mp4", "20.mp4", "40.mp4", "film.mp4"]


def test_clips_with_other_clocks_are_copied(tmp_path: Path) -> None:
    """A time base is only a way of writing times down; the film's holds those of all clips exactly."""
    one = make_clip(tmp_path / "one.mp4", range(12))
    other = make_clip(tmp_path / "other.mp4", range(30, 42), muxer={"video_track_timescale": "90000"})
    assert not join([one, other, one], tmp_path / "film.mp4").reencoded
    assert shown(tmp_path / "film.mp4") == at_24([*range(12), *range(30, 42), *range(12)])


def test_reordering_that_differs_only_in_depth(tmp_path: Path) -> None:
    """Clips with and without B-frames do not share parameter sets; encoding keeps every frame all the same."""
    one = make_clip(tmp_path / "one.mp4", range(12), options={"bf": "0"})
    other = make_clip(tmp_path / "other.mp4", range(30, 42))
    info = join([one, other], tmp_path / "film.mp4")
    assert (info.reencoded, info.reason) == (True, "clip 2 differs from the first one in its parameter sets")
    assert shown(tmp_path / "film.mp4") == at_24([*range(12), *range(30, 42)])


def test_sound_alike_is_copied_without_a_gap(tmp_path: Path) -> None:
    """Packets follow one another without a hole, and no clip's sound slips from its pictures: nothing adds up."""
    loud, quiet = [0.6] * 7, [0.2] * 7
    clips = [make_clip(tmp_path / f"{n}.mp4", range(14), sound=quiet if n % 2 else loud) for n in range(8)]
    info = join(clips, tmp_path / "film.mp4")
    assert (info.video, info.audio) == ("copied", "copied")
    times = packet_times(tmp_path / "film.mp4", "audio")
    steps = {later[0] - this[0] for this, later in pairwise(times)}
    assert steps == {1024}
    # Each clip is seven twelfths long. The tone's loudness is its height over the root of two.
    expected = [round(value / math.sqrt(2), 2) for n in range(8) for value in (quiet if n % 2 else loud)]
    assert loudness(tmp_path / "film.mp4") == pytest.approx(expected, abs=0.08)


def test_a_clip_without_sound_gets_silence_and_keeps_its_pictures(tmp_path: Path) -> None:
    """Only the sound is encoded: pictures that agree are still copied bit by bit."""
    sung = make_clip(tmp_path / "sung.mp4", range(12), sound=[0.5] * 6)
    silent = make_clip(tmp_path / "silent.mp4", range(20, 32))
    info = join([silent, sung, silent, sung], tmp_path / "film.mp4")
    assert (info.reencoded, info.video, info.audio) == (True, "copied", "encoded")
    assert info.reason == "clip 1 has no sound and others have"
    assert packets(tmp_path / "film.mp4") == [p for c in (silent, sung, silent, sung) for p in packets(c)]
    assert loudness(tmp_path / "film.mp4") == pytest.approx(([0] * 6 + [0.35] * 6) * 2, abs=0.04)


def test_sound_shorter_or_longer_than_the_pictures(tmp_path: Path) -> None:
    """A clip lasts as long as its pictures: missing sound is silence, sound that is left is cut."""
    short = make_clip(tmp_path / "short.mp4", range(12), sound=[0.5] * 3)
    long = make_clip(tmp_path / "long.mp4", range(12), sound=[0.5] * 9)
    info = join([short, long, short], tmp_path / "film.mp4")
    assert (info.video, info.audio) == ("copied", "encoded")
    assert info.reason == "clip 1: its sound does not last as long as its pictures"
    expected = [0.35] * 3 + [0] * 3 + [0.35] * 6 + [0.35] * 3 + [0] * 3
    assert loudness(tmp_path / "film.mp4") == pytest.approx(expected, abs=0.04)
    assert join([long, long], tmp_path / "film.mp4").audio == "copied"
    assert facts_of(tmp_path / "film.mp4").seconds == pytest.approx(1.0)


def test_sound_of_another_rate_is_encoded(tmp_path: Path) -> None:
    """The first sound's rate holds; the other clip keeps its pitch and its place."""
    one = make_clip(tmp_path / "one.mp4", range(12), sound=[0.5] * 6)
    other = make_clip(tmp_path / "other.mp4", range(12), sound=[0.1, 0.1, 0.1, 0.6, 0.6, 0.6], rate=44_100)
    info = join([one, other], tmp_path / "film.mp4")
    assert (info.video, info.reason) == ("copied", "the sound of clip 2 differs in its sample rate")
    assert facts_of(tmp_path / "film.mp4").rate == 48_000
    expected = [0.35] * 6 + [0.07] * 3 + [0.42] * 3
    assert loudness(tmp_path / "film.mp4") == pytest.approx(expected, abs=0.08)


def test_another_size_is_encoded_between_black_bars(tmp_path: Path) -> None:
    """The first clip's size and rate hold; a clip of another ratio is fitted in, not stretched."""
    wide = make_clip(tmp_path / "wide.mp4", range(12))
    square = make_clip(tmp_path / "square.mp4", range(30, 42), size=(96, 96))
    info = join([wide, square], tmp_path / "film.mp4")
    assert (info.video, info.reason) == ("encoded", "clip 2 differs from the first one in its size")
    assert facts_of(tmp_path / "film.mp4").sides == (128, 72)
    assert shown(tmp_path / "film.mp4")[:12] == at_24(list(range(12)))
    inside = shown(tmp_path / "film.mp4", size=(72, 72))
    assert [number for _, number in inside[12:]] == list(range(30, 42))
    assert picture(tmp_path / "film.mp4", 12).crop((2, 2, 20, 70)).getextrema()[0][1] < 12


def picture(path: Path, number: int) -> Any:
    with _pyav.open(str(path)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    return frames[number]


def test_another_rate_is_stretched_evenly(tmp_path: Path) -> None:
    """At twice the rate every frame is shown twice, at half the rate every other one; seams stay where they are."""
    slow, fast = make_clip(tmp_path / "slow.mp4", range(6), fps=12), make_clip(tmp_path / "fast.mp4", range(24))
    info = join([fast, slow, fast], tmp_path / "film.mp4")
    assert info.seams == [1.0, 1.5]
    assert shown(tmp_path / "film.mp4") == at_24([*range(24), *(n // 2 for n in range(12)), *range(24)])
    join([slow, fast], tmp_path / "film.mp4")
    assert shown_numbers(tmp_path / "film.mp4") == [*range(6), *range(0, 24, 2)]


def test_a_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    """Copied, times stay as they are; encoded, each frame stands until the next one."""
    times = [0, 1, 2, 6, 7, 11]
    one = make_clip(tmp_path / "one.mp4", range(6), times=times)
    join([one, one], tmp_path / "film.mp4")
    starts = [round(time / 24, 4) for time in times]
    assert [time for time, _ in shown(tmp_path / "film.mp4")[:6]] == starts
    steady = make_clip(tmp_path / "steady.mp4", range(50, 62), size=(96, 54))
    join([steady, one], tmp_path / "film.mp4")
    assert shown_numbers(tmp_path / "film.mp4")[12:24] == [0, 1, 2, 2, 2, 2, 3, 4, 4, 4, 4, 5]


def test_every_clip_begins_with_a_keyframe(tmp_path: Path) -> None:
    """An encoded film can be cut or entered at its seams."""
    clips = [make_clip(tmp_path / f"{n}.mp4", range(n, n + 10), options={"bf": str(n // 20)}) for n in (0, 20, 40)]
    assert join(clips, tmp_path / "film.mp4").video == "encoded"
    with _pyav.open(str(tmp_path / "film.mp4")) as container:
        keys = [frame.time for frame in container.decode(video=0) if frame.key_frame]
    assert [round(time * 24) for time in keys] == [0, 10, 20]


def test_frames_hidden_by_an_edit_list_stay_hidden(tmp_path: Path) -> None:
    """Copied, they would come to light in the middle of the film; so the film is encoded."""
    plain = make_clip(tmp_path / "plain.mp4", range(24))
    edited = with_edit(plain, tmp_path / "edited.mp4", skip=3, frames=13)
    info = join([plain, edited, plain], tmp_path / "film.mp4")
    assert info.reason == "clip 2: an edit list hides some of its frames"
    assert shown_numbers(tmp_path / "film.mp4") == [*range(24), *range(3, 16), *range(24)]


def test_rotation_is_kept_or_applied(tmp_path: Path) -> None:
    """Clips turned alike stay as they are, with the matrix; otherwise all come upright."""
    plain = make_clip(tmp_path / "plain.mp4", [0b00101101] * 4)
    turned = with_matrix(plain, tmp_path / "turned.mp4", (-1, 0, 0, -1))
    assert not join([turned, turned], tmp_path / "film.mp4").reencoded
    assert abs(facts_of(tmp_path / "film.mp4").turned) == 180
    info = join([turned, plain], tmp_path / "film.mp4")
    assert info.reason == "clip 2 differs from the first one in its orientation"
    assert shown_numbers(tmp_path / "film.mp4") == [0b10110100] * 4 + [0b00101101] * 4


def test_colours_are_kept_and_named(tmp_path: Path) -> None:
    """A clip in another colour matrix is converted, so that its red stays the same red."""
    red = Image.new("RGB", (128, 72), (200, 60, 30))
    old = make_clip(tmp_path / "old.mp4", [red] * 3, matrix=6, options={"crf": "1"})
    new = make_clip(tmp_path / "new.mp4", [0, red, red], matrix=1, options={"crf": "1"})
    info = join([new, old], tmp_path / "film.mp4")
    assert info.reason == "clip 2 differs from the first one in its colours"
    with _pyav.open(str(tmp_path / "film.mp4")) as container:
        frame = list(container.decode(video=0))[-1]
        colour = [bytes(plane)[0] for plane in frame.planes]
    assert frame.colorspace == 1
    # BT.709 of (200, 60, 30), by its definition.
    assert colour == pytest.approx([91, 99, 188], abs=3)


MARK, OTHER_MARK = '{"Label":"1","ContentProducer":"A"}', '{"Label":"2","ContentProducer":"B"}'
CLIPS: dict[str, dict[str, str]] = {
    "marked": {"AIGC": MARK, "comment": "made by a model"},
    "bare": {},
    "other": {"AIGC": OTHER_MARK, "title": "the other"},
}


@pytest.mark.parametrize("order", list(permutations(CLIPS)), ids="-".join)
@pytest.mark.parametrize("size", [(128, 72), (96, 96)], ids=["copied", "encoded"])
def test_the_words_of_all_clips_are_kept(tmp_path: Path, order: tuple[str, ...], size: tuple[int, int]) -> None:
    """No label that marks generated content is lost by joining, wherever its shot stands."""
    clips = [
        make_clip(tmp_path / f"{name}.mp4", range(4), metadata=CLIPS[name], size=(128, 72) if place else size)
        for place, name in enumerate(order)
    ]
    join(clips, tmp_path / "film.mp4")
    words = facts_of(tmp_path / "film.mp4").words
    marks = [CLIPS[name]["AIGC"] for name in order if name != "bare"]
    assert [words["AIGC"], words["AIGC-2"]] == marks
    assert (words["comment"], words["title"]) == ("made by a model", "the other")
    join([clips[order.index("bare")], tmp_path / "film.mp4", clips[order.index("other")]], tmp_path / "longer.mp4")
    words = facts_of(tmp_path / "longer.mp4").words
    assert [words["AIGC"], words["AIGC-2"], words.get("AIGC-3")] == [*marks, None]


def test_one_label_for_all_stands_once(tmp_path: Path) -> None:
    """The first clip's word counts where the clips say different things; a label alike is one label."""
    one = make_clip(tmp_path / "one.mp4", range(4), metadata={"AIGC": MARK, "title": "one", "odd": "x" * 100_000})
    two = make_clip(tmp_path / "two.mp4", range(4), metadata={"title": "two", "AIGC": MARK})
    join([one, two, one], tmp_path / "film.mp4")
    words = facts_of(tmp_path / "film.mp4").words
    assert {name: words.get(name) for name in ("AIGC", "AIGC-2", "title", "odd")} == {
        "AIGC": MARK,
        "AIGC-2": None,
        "title": "one",
        "odd": None,
    }


@pytest.mark.parametrize("order", list(permutations(["opus", "aac", "silent"])), ids="-".join)
def test_sounds_of_differing_clocks_are_joined(tmp_path: Path, order: tuple[str, ...]) -> None:
    """Opus of 48 kHz on the clock of WebM, AAC of 44.1 kHz, and none: each clip's sound in its place."""
    makers = {
        "opus": lambda: make_webm(tmp_path / "opus.webm"),
        "aac": lambda: make_clip(tmp_path / "aac.mp4", range(12), sound=[0.5] * 6, rate=44_100),
        "silent": lambda: make_clip(tmp_path / "silent.mp4", range(12)),
    }
    info = join([makers[name]() for name in order], tmp_path / "film.mp4")
    assert info.audio == "encoded"
    rate = 44_100 if order.index("aac") < order.index("opus") else 48_000
    assert facts_of(tmp_path / "film.mp4").rate == rate
    expected = [level for name in order for level in ([0.0] if name == "silent" else [0.35]) * 6]
    assert loudness(tmp_path / "film.mp4", rate) == pytest.approx(expected, abs=0.05)


def test_words_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    """Metadata in another encoding is kept as well as can be; the film is what counts."""
    data = make_clip(tmp_path / "clip.mp4", metadata={"comment": "made by a model"}).read_bytes()
    (tmp_path / "clip.mp4").write_bytes(data.replace(b"made by a model", b"made by\xc4\xe3 model"))
    join([tmp_path / "clip.mp4"] * 2, tmp_path / "film.mp4")
    assert shown_numbers(tmp_path / "film.mp4") == [*range(12), *range(12)]


@pytest.mark.parametrize("codec", ["libx265", "libsvtav1"])
def test_other_codecs_are_copied_too(tmp_path: Path, codec: str) -> None:
    """HEVC and AV1 clips need not become H.264."""
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {"preset": "12", "svtav1-params": "lp=1"}
    one = make_clip(tmp_path / "one.mp4", range(8), codec=codec, options=options)
    assert not join([one, one], tmp_path / "film.mp4").reencoded
    assert shown_numbers(tmp_path / "film.mp4") == [*range(8), *range(8)]
    plain = make_clip(tmp_path / "plain.mp4", range(8))
    assert join([plain, one], tmp_path / "film.mp4").reason == "clip 2 differs from the first one in its codec"
    assert shown_numbers(tmp_path / "film.mp4") == [*range(8), *range(8)]


def test_wishes_that_make_no_sense(tmp_path: Path) -> None:
    """No clips, one path instead of a list, a film in the place of its clip."""
    clip: Any = make_clip(tmp_path / "clip.mp4")
    for paths, out in (([], "film.mp4"), (clip, "film.mp4"), ([clip], "clip.mp4")):
        with pytest.raises(InvalidRequestError):
            join(paths, tmp_path / out)
    assert shown_numbers(clip) == list(range(12))


def test_a_film_that_cannot_be_written(tmp_path: Path) -> None:
    """The store is at fault, not the clips; nothing is left behind."""
    clip = make_clip(tmp_path / "clip.mp4")
    with pytest.raises(DestinationError):
        join([clip], tmp_path / "missing" / "film.mp4")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DestinationError):
        join([clip], tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "folder"]


def test_parameter_sets_are_compared_by_what_counts() -> None:
    """The optional bytes at the end of an avcC record may be there or not; the sets must be equal."""
    record = bytes([1, 100, 0, 31, 0xFF, 0xE1, 0, 2, 9, 9, 1, 0, 1, 7])
    assert parameter_sets("h264", record) == (3, b"\t\t", b"\x07")
    assert parameter_sets("h264", record + bytes([0xFD, 0xF8, 0xF8, 0])) == (3, b"\t\t", b"\x07")
    assert parameter_sets("h264", record[:-1] + b"\x08") != parameter_sets("h264", record)
    assert parameter_sets("hevc", record) == record
    assert parameter_sets("h264", record[:9]) is not None
