"""First and last frames, covers and facts: what a player shows, exactly."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from PIL import Image

from prefect_genvideo.media import cover_of, last_frame
from prefect_genvideo.media import frames as pictures
from tests.fixtures.expected import refusing
from tests.fixtures.film_clips import make_clip, number_of, numbered, with_edit, with_matrix


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("bframes", ["0", "2", "4"])
@pytest.mark.parametrize("count", [1, 2, 8, 9, 23])
def test_the_last_displayed_frame(tmp_path: Path, bframes: str, count: int) -> None:
    """Frames are stored in another order than they are shown in, and keyframes lie anywhere before the end."""
    clip = make_clip(tmp_path / "clip.mp4", range(50, 50 + count), options={"bf": bframes})
    assert number_of(opened(last_frame(clip))) == 50 + count - 1


def test_a_frame_is_a_png_in_full_resolution(tmp_path: Path) -> None:
    """It loses nothing: the next shot begins with it."""
    clip = make_clip(tmp_path / "clip.mp4", [7], size=(256, 144))
    assert (opened(last_frame(clip)).format, opened(last_frame(clip)).size) == ("PNG", (256, 144))


def test_a_png_beyond_the_providers_limit_comes_as_a_jpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both providers refuse pictures of 30 MB; a large frame loses a little instead of failing the next shot."""
    noise = Image.effect_noise((128, 72), 80).convert("RGB")
    clip = make_clip(tmp_path / "clip.mp4", [noise], options={"crf": "1"})
    monkeypatch.setattr(pictures, "MAX_PICTURE", len(last_frame(clip)))
    small = last_frame(clip)
    assert (opened(small).format, opened(small).size) == ("JPEG", (128, 72))
    monkeypatch.setattr(pictures, "MAX_PICTURE", 10)
    with refusing(reason="frame too large"):
        last_frame(clip)


def test_an_edit_list_hides_frames(tmp_path: Path) -> None:
    """What an edit list cuts off is not shown, so it is neither first nor last."""
    clip = make_clip(tmp_path / "clip.mp4", range(24))
    edited = with_edit(clip, tmp_path / "edited.mp4", skip=3, frames=13)
    assert number_of(opened(cover_of(edited))) == 3
    assert number_of(opened(last_frame(edited))) == 15
    # The last keyframe is behind the cut: decoding from there gives nothing, and all is decoded.
    ended = with_edit(clip, tmp_path / "ended.mp4", skip=0, frames=4)
    assert number_of(opened(last_frame(ended))) == 3


def test_a_variable_frame_rate(tmp_path: Path) -> None:
    """A last frame that stands for long is the last frame all the same."""
    clip = make_clip(tmp_path / "clip.mp4", range(6), times=[0, 1, 2, 20, 21, 60])
    assert number_of(opened(last_frame(clip))) == 5


# Corners of the display matrix, what a player does with the stored picture.
TURNS = [
    ((0, 1, -1, 0), Image.Transpose.ROTATE_270),
    ((-1, 0, 0, -1), Image.Transpose.ROTATE_180),
    ((0, -1, 1, 0), Image.Transpose.ROTATE_90),
    ((-1, 0, 0, 1), Image.Transpose.FLIP_LEFT_RIGHT),
    ((1, 0, 0, -1), Image.Transpose.FLIP_TOP_BOTTOM),
    ((0, 1, 1, 0), Image.Transpose.TRANSPOSE),
    ((0, -1, -1, 0), Image.Transpose.TRANSVERSE),
]


@pytest.mark.parametrize(("corners", "seen"), TURNS)
def test_rotation_metadata(tmp_path: Path, corners: tuple[int, int, int, int], seen: Image.Transpose) -> None:
    """Phones and some models store the picture lying and a matrix beside it; the frame comes upright."""
    stored = make_clip(tmp_path / "stored.mp4", [0b00101101])
    turned = with_matrix(stored, tmp_path / "turned.mp4", corners)
    expected = opened(last_frame(stored)).transpose(seen)
    frame = opened(last_frame(turned))
    assert frame.size == expected.size
    middle = [(x * frame.width // 16, y * frame.height // 16) for x in range(1, 16, 2) for y in range(1, 16, 2)]
    assert all(abs(level(frame, at) - level(expected, at)) < 12 for at in middle)


def level(image: Image.Image, at: tuple[int, int]) -> int:
    value = image.convert("L").getpixel(at)
    assert isinstance(value, int)
    return value


def test_colours_are_those_of_the_tagged_matrix(tmp_path: Path) -> None:
    """The same stored numbers are other colours by another matrix; a wrong one would make every shot drift."""
    red = Image.new("RGB", (128, 72), (200, 60, 30))
    for matrix, expected in {None: (200, 60, 30), 5: (200, 60, 30), 6: (200, 60, 30), 1: (212, 73, 28)}.items():
        clip = make_clip(tmp_path / "clip.mp4", [red], matrix=matrix, options={"crf": "1"})
        colour = opened(last_frame(clip)).getpixel((5, 5))
        assert isinstance(colour, tuple)
        assert all(abs(one - other) <= 3 for one, other in zip(colour, expected, strict=True)), (matrix, colour)


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    """A clip stored narrow and shown wide gives a wide picture."""
    clip = make_clip(tmp_path / "clip.mp4", [9], options={"aspect": "2:1"})
    assert opened(last_frame(clip)).size == (256, 72)


def test_a_cover_is_not_black(tmp_path: Path) -> None:
    """Many clips fade in; their first frame says nothing."""
    black = Image.new("RGB", (128, 72))
    dim = Image.new("RGB", (128, 72), (9, 9, 9))
    clip = make_clip(tmp_path / "clip.mp4", [black, black, dim, 3, 4, 5])
    cover = opened(cover_of(clip))
    assert (cover.format, number_of(cover)) == ("JPEG", 3)
    assert opened(cover_of(clip, side=64)).size == (64, 36)
    night = make_clip(tmp_path / "night.mp4", [black, dim, black])
    assert level(opened(cover_of(night)), (64, 36)) > 4


@pytest.mark.parametrize(("module", "name"), [("av", "PyAV"), ("PIL", "Pillow")])
def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> None:
    """The error says what to install."""
    clip = make_clip(tmp_path / "clip.mp4", [0])
    numbered(0)
    monkeypatch.setitem(sys.modules, module, None)
    with refusing(reason=f"{name} is missing"):
        last_frame(clip)
