"""Keeps the S3 client's debug log silent about our own requests: it holds signed headers and assumed roles' keys.

Only what is logged while one of our requests is made is dropped, and only below INFO: what the user's own boto3 code
logs stays as it is.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module

# boto3 and what it stands on.
_LIBRARIES = frozenset({"boto3", "botocore", "s3transfer", "urllib3", "awscrt"})
# Set in the thread in which a request of ours is made.
_asking: ContextVar[bool] = ContextVar("prefect_genvideo_asks_s3", default=False)


class _Silence(logging.Filter):
    """Drops what is said about our requests. A logger's filter does not see what its children log, so each has it."""

    modules_seen = 0

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.INFO or not _asking.get()

    def spread(self) -> None:
        """Reach every logger of the libraries; new ones come with the modules that log."""
        there = len(sys.modules)
        if there == self.modules_seen:
            return
        for name, logger in list(logging.root.manager.loggerDict.items()):
            if name.partition(".")[0] in _LIBRARIES and isinstance(logger, logging.Logger):
                logger.addFilter(self)
        self.modules_seen = there  # only now: another thread may be about to make a request


_silence = _Silence()


@contextmanager
def untold() -> Generator[None]:
    """Let the S3 client log nothing below INFO for the length of the context, in this thread."""
    # Else its loggers would come with the first request, behind the filter.
    import_module("boto3.session")
    token = _asking.set(True)
    _silence.spread()
    try:
        yield
    finally:
        _asking.reset(token)
