"""Object tags: what S3 takes of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote, urlencode

logger = logging.getLogger(__name__)

MOST_TAGS = 10
"""Tags of one object (Amazon S3 User Guide, "Categorizing your objects using tags")."""
LONGEST_NAME = 128
"""Characters of a tag's key, by the same source."""
LONGEST_VALUE = 256
"""Characters of a tag's value, by the same source."""
# Beside letters, digits and blanks, which every service that reads tags takes.
_MARKS = frozenset("+-=._:/@")
# Names that begin so are Amazon's own.
_RESERVED = "aws:"


def tagging(tags: Mapping[str, str]) -> str:
    """Return the tags that S3 takes as its header has them, `name=value&…`; each that does not fit is told once.

    Args:
        tags: Values by name, the most wanted first.
    """
    fitting = {name: value for name, value in tags.items() if _fits(name, value)}
    kept = dict(list(fitting.items())[:MOST_TAGS])
    for name in tags:
        if name not in kept:
            _leave_out(name)
    return urlencode(kept, quote_via=quote, safe="")  # a blank as `+` is read as a plus sign by Ceph


def _fits(name: str, value: str) -> bool:
    sized = 0 < len(name) <= LONGEST_NAME and len(value) <= LONGEST_VALUE
    plain = all(char.isalnum() or char == " " or char in _MARKS for char in name + value)
    # Blanks at an end do not survive every store, and two names would become one.
    return sized and plain and name == name.strip() and not name.lower().startswith(_RESERVED)


@lru_cache(maxsize=1_000)
def _leave_out(name: str) -> None:
    logger.warning(
        "No object tag %r: S3 takes %s of %s letters, digits, blanks and + - = . _ : / @ (values: %s). "
        "The ledger has it all the same.",
        name,
        MOST_TAGS,
        LONGEST_NAME,
        LONGEST_VALUE,
    )
