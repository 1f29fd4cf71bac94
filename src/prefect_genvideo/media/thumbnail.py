"""Strangers' pictures made small: bounded in pixels before anything is decoded, and never an error."""

from __future__ import annotations

import importlib
import io
from typing import Any

from prefect_genvideo.media._image_header import image_sides
from prefect_genvideo.media._kinds import HEAD, sniff

MAX_PIXELS = 40_000_000
"""Pixels of a picture that is decoded; 8K has 33 million. One of more would cost gigabytes, whatever its bytes."""

# Pillow's parsers by media type; no other is tried.
_FORMATS = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
}


def picture_sides(data: bytes) -> tuple[int, int] | None:
    """Width and height of a picture in pixels; None for what is none that is made small here."""
    media_type = sniff(data[:HEAD]) or ""
    return image_sides(io.BytesIO(data), media_type) if media_type in _FORMATS else None


def thumbnail(data: bytes, size: tuple[int, int], *, enlarge: bool = False) -> Any:
    """Decode a picture and fit it into a frame, its ratio kept.

    Args:
        data: JPEG, PNG, GIF, WebP, BMP or TIFF.
        size: Width and height of the frame in pixels.
        enlarge: Whether a smaller picture is made larger.

    Returns:
        An RGB image of Pillow's; None for what is no picture, broken or of more than `MAX_PIXELS`, or without Pillow.
    """
    sides = picture_sides(data)
    if sides is None or sides[0] * sides[1] > MAX_PIXELS:
        return None
    scale = min(size[0] / sides[0], size[1] / sides[1])
    scale = scale if enlarge else min(scale, 1.0)
    try:
        pillow: Any = importlib.import_module("PIL.Image")
        with pillow.open(io.BytesIO(data), formats=(_FORMATS[sniff(data[:HEAD]) or ""],)) as image:
            if image.width * image.height > MAX_PIXELS:  # the parser's word counts, whatever the header said to us
                return None
            image.draft("RGB", size)
            small = image.convert("RGB")
        return small.resize((max(1, round(sides[0] * scale)), max(1, round(sides[1] * scale))))
    except Exception:
        # Pillow's parsers raise whatever a broken picture makes them trip over, and a missing Pillow an ImportError.
        return None
