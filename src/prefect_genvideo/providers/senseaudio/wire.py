"""What SenseAudio's answers mean: codes, error tables, status words.

Errors are `{"code": slug or prose, "message"?, "ref_code"?, "ref_scope"?}`; the `ref_code` decides, then the HTTP
status; of the prose only what it says of money and content counts. Older answers have the number in `code` or nest
everything in `error`.
"""

from __future__ import annotations

from prefect_genvideo.errors import (
    AuthenticationError,
    ModelUnavailableError,
    QuotaError,
    RateLimitedError,
    RejectedError,
    TaskLostError,
    TransientError,
)
from prefect_genvideo.providers.classify import (
    BARRED_QUERY,
    CREATED_WITHOUT_ID,
    ERROR,
    IN_4XX,
    NOT_LISTED,
    REFUSED_BY_STATUS,
    SAYS_NOTHING,
    Row,
)

BUSY = "500000"
"""Busy, and also an invalid model: only the list of models tells them apart."""

# Seconds; a used-up quota window does not come back quickly.
_USAGE_WAIT = 300.0
# 400001 and 400900-400902: balance, account.
_MONEY_CODES = frozenset({"400001", "400900", "400901", "400902"})

_LIMITS: tuple[Row, ...] = (
    Row(
        RateLimitedError,
        "too many generations at once; nothing was made",
        codes=("400015",),
        reason="max concurrency",
    ),
    Row(RateLimitedError, "too many requests", codes=("429000",), reason="rate_limited"),
    Row(
        RateLimitedError,
        "the usage limit is reached",
        codes=("429002",),
        reason="limit reached",
        retry_after=_USAGE_WAIT,
    ),
)
_RATE = Row(RateLimitedError, "too many requests", statuses=IN_4XX, codes=("429",), reason="rate_limited")

# FAQ `common_problems`: 401 comes for both.
_KEY_OR_ACCOUNT = "the key is missing or wrong, or its account has no money or is blocked"

CREATE: tuple[Row, ...] = (
    # By ref_code, whatever the status
    *_LIMITS,
    Row(QuotaError, "no money, or the account is not in order", codes=_MONEY_CODES),
    Row(ModelUnavailableError, "the model does not exist or cannot do this", codes=("400033", "400034")),
    _RATE,
    Row(RejectedError, "the parameters are refused", codes=("4xxxxx",)),
    # By status
    Row(AuthenticationError, _KEY_OR_ACCOUNT, statuses=(401,)),
    Row(QuotaError, "no money", statuses=(402,)),
    Row(QuotaError, "no money", statuses=(400, 403), money=True),
    Row(RejectedError, "the account is not allowed to do this", statuses=(403,)),
    *REFUSED_BY_STATUS,
    *CREATED_WITHOUT_ID,
)
"""Meaning of a create's answer that brought no task id. `BUSY` is settled before this table."""

BUSY_OFFERED = Row(TransientError, "busy; nothing was made", reason="busy")
"""`BUSY` for a model that is on the list."""
BUSY_NOT_OFFERED = Row(
    ModelUnavailableError,
    "the model is not offered (the API calls that busy)",
    reason="model not offered (looks like busy)",
)
"""`BUSY` for one that is not."""

QUERY: tuple[Row, ...] = (
    Row(TaskLostError, "the task id is unknown", codes=("404000",)),
    Row(TaskLostError, "the task id is unknown", statuses=(404,), envelopes=(ERROR,)),
    Row(AuthenticationError, _KEY_OR_ACCOUNT, statuses=(401,), reason="credentials"),
    BARRED_QUERY,
    *_LIMITS,
    _RATE,
    Row(TransientError, "busy", codes=(BUSY,), reason="busy"),
    *SAYS_NOTHING,
)
"""Meaning of a query's answer that says nothing usable about the task."""

MODELS: tuple[Row, ...] = (
    *_LIMITS,
    Row(QuotaError, "no money, or the account is not in order", codes=_MONEY_CODES),
    _RATE,
    Row(AuthenticationError, _KEY_OR_ACCOUNT, statuses=(401,)),
    *NOT_LISTED,
)
"""Meaning of an answer without a list of models."""


VIDEO_LINKS: tuple[tuple[str, ...], ...] = (("videourl",),)
"""Where the result's link stands, from the task's object on."""
