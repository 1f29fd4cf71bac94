"""What a key may look like, so that no value can leave the store's prefix."""

from __future__ import annotations

from prefect_genvideo.errors import InvalidRequestError, shown
from prefect_genvideo.models import Problem

MAX_KEY_BYTES = 1024
"""Longest key of an S3 object, UTF-8."""


def clean_key(key: str, *, prefix: str = "") -> str:
    """Return the key below `prefix`, or refuse it.

    Args:
        key: Relative key, segments separated by `/`, e.g. `2026-11-22/model/task_1.mp4`.
        prefix: Already cleaned prefix of the store.

    Raises:
        InvalidRequestError: An empty, `.` or `..` segment, a leading or trailing `/`, a backslash, a control
            character, or more than 1024 bytes with the prefix.
    """
    full = f"{prefix}/{key}" if prefix else key
    _require("key", key, _fault(key.split("/"), full))
    return full


def clean_prefix(prefix: str) -> str:
    """Return a store's prefix without slashes at its ends; the same rules as for keys."""
    stripped = prefix.strip("/")
    _require("prefix", prefix, _fault(stripped.split("/"), stripped) if stripped else None)
    return stripped


def foreign_key(key: str) -> str:
    """Return a key of somebody else's object, which may hold what our own may not, e.g. `photos//cat.jpg`.

    Raises:
        InvalidRequestError: An empty key, a control character, or more than 1024 bytes.
    """
    _require("key", key, _text_fault(key) if key else "not empty")
    return key


def clean_listing(prefix: str) -> str:
    """Return the text that a listing starts with; it may end in the middle of a name or with `/`."""
    *folders, _ = prefix.split("/")
    _require("prefix", prefix, _fault(folders or ["-"], prefix))
    return prefix


def _fault(segments: list[str], full: str) -> str | None:
    if any(segment in {"", ".", ".."} for segment in segments):
        return "relative, without empty, `.` or `..` segments"
    return "without backslashes" if "\\" in full else _text_fault(full)


def _text_fault(full: str) -> str | None:
    if any(ord(character) < 32 or ord(character) == 127 for character in full):
        return "without control characters"
    try:
        size = len(full.encode())
    except UnicodeEncodeError:
        return "text that UTF-8 can express"
    return f"at most {MAX_KEY_BYTES} bytes with the store's prefix" if size > MAX_KEY_BYTES else None


def _require(field: str, value: str, broken: str | None) -> None:
    if broken:
        problem = Problem(field, shown(value), f"must be {broken}", "rules for keys of a destination")
        raise InvalidRequestError(f"this {field} cannot name an object in the destination", problems=[problem])
