"""The errors of this package, sorted by what the caller must do about them.

```
GenVideoError
├── InvalidRequestError        a rule is broken; nothing was sent         → mend the request
├── RejectedError              the provider refused; nothing was made     → mend, do not resend
│   ├── AuthenticationError    the key
│   ├── QuotaError             the money or the account
│   └── ModelUnavailableError  the model
├── TransientError             nothing was made, or nothing was said      → again, bounded
│   └── RateLimitedError
├── UnknownOutcomeError        a create went out; its fate is not known   → a person decides
├── GenerationFailedError      the provider ended the task                → another request
│   └── NoVideoError           it "succeeded" without a video
├── GenerationTimeoutError     our deadline passed; the task id is kept   → resume
├── TaskLostError              the provider does not know the id          → a person decides
├── DownloadError              the file did not come whole                → again
│   └── LinkExpiredError       the link is refused                        → ask for a fresh one
└── DestinationError           the store refused or failed
```

Every text that enters an error is redacted first: keys and the query strings of signed links never leave.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from prefect_genvideo.models import Problem

# Zero-width joiners: not printable to Python, and part of emoji and of several scripts.
_JOINERS: Final = "\u200c\u200d"
# Characters of a value that are looked through for secrets before it is cut: a longer one is shown by its beginning.
_MAX_SHOWN: Final = 4096
# Characters of a text that are looked through; what is behind them is cut.
_MAX_REDACTED: Final = 64 * 1024
_LINK = re.compile(r"https?(?::(?:\\?/){2}|%3a%2f%2f)[^\s\"'<>`]+", re.IGNORECASE)
# Where the secret part of a link begins, also in a link that is percent-encoded inside another one.
_QUERY = re.compile(r"[?#]|%3f|%23", re.IGNORECASE)
_CLOSING = ")]}.,;:!"
_FULL_STOP = re.compile("[，。；：、！）】」』]")
# Names whose values are secrets wherever they stand: headers, JSON fields, parameters of a link that was torn apart.
_NAMES = (
    r"x-api-key|api[-_]?key|access[-_]?key(?:[-_]?id)?|secret(?:[-_]access)?[-_]?key|(?:access|auth|security)[-_]?token"
    r"|authorization|password|passwd|x-amz-(?:signature|credential|security-token)|signature"
)
_SECRETS = (
    # Base64 may be broken over lines: better a word too many is hidden than a line of the content shown. A media type
    # has few parameters: without a bound, each of many `data:` would be looked through to the end of the text.
    (
        re.compile(
            r"(\bdata:[a-z0-9.+/\-]{0,200}(?:;[^;,\"'<>]{0,60}){0,10};\s*base64\s*,)[A-Za-z0-9+/=_\-%\s]+", re.I
        ),
        r"\1***",
    ),
    (re.compile(r"(\bdata:[a-z]+/[a-z0-9.+\-]+(?:;[^;,\s\"'<>]{0,60}){0,10},)[^\s\"'<>*]+", re.I), r"\1***"),
    (re.compile(r"(?i)\b(bearer)\s+[^\s\"',;]+"), r"\1 ***"),
    # Not every word behind "basic": one that looks like base64.
    (re.compile(r"\b((?i:basic))\s+(?=\S*(?:[0-9=+/]|[a-z][A-Z]))[A-Za-z0-9+/_\-]{6,}={0,2}"), r"\1 ***"),
    (
        re.compile(rf"(?i)\b({_NAMES})(\\?[\"']?\s*[:=]\s*\\?[\"']?)(?!(?:bearer|basic)\s|\*\*\*)[^\s\"',;&\\]+"),
        r"\1\2***",
    ),
    (re.compile(r"\bsk-[A-Za-z0-9_\-*.]+"), "sk-***"),
)


def _without_secrets(match: re.Match[str]) -> str:
    """A link without user, password, query and fragment."""
    link = match[0].replace("\\/", "/")
    if "://" not in link:
        link = unquote(link)
    scheme, _, rest = link.partition("://")
    query = _QUERY.search(rest)
    host, slash, path = (rest[: query.start()] if query else rest).partition("/")
    _, at, name = host.rpartition("@")
    if at:
        host = f"***@{name}"
    else:
        named = host if slash or query else host.rstrip(_CLOSING)  # what ends a link there belongs to the sentence
        if ":" in named and not named.startswith("[") and not named.rpartition(":")[2].rstrip(_CLOSING).isdigit():
            # No port stands there but a password, with a slash or a question mark in it.
            host, slash, path = "***", "", ""
    hidden = f"{query[0]}***{_behind(rest[query.end() :])}" if query else ""
    return f"{scheme}://{host}{slash}{path}{hidden}"


def _behind(query: str) -> str:
    """What belongs to the sentence around a link: closing punctuation, and words behind Chinese punctuation."""
    last = query[max(map(query.rfind, "=&?#%")) + 1 :]
    stop = _FULL_STOP.search(last)
    return last[stop.start() :] if stop else last[len(last.rstrip(_CLOSING)) :]


def redact(text: str, limit: int = 500) -> str:
    """Return `text` without keys, and links in it without users, queries and fragments; data URLs without content.

    Args:
        text: Anything that a provider said or that is about to be shown.
        limit: Longest result in characters; the rest is cut.

    Returns:
        The text, safe to log, store and show.
    """
    text = _LINK.sub(_without_secrets, text[:_MAX_REDACTED])
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return shorten(text, limit)


def printable(text: str) -> str:
    """Return `text` with visible escapes for what drives a terminal, turns the direction of writing or is no character.

    A stranger's text may not forge a line of a log or hide what it says.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in _JOINERS else ascii(char)[1:-1] for char in text)


def shorten(text: str, limit: int = 60) -> str:
    """Return `text` as one printable line, for labels, logs and tables.

    Args:
        text: A prompt, a title, a provider's words.
        limit: Longest result in characters; a longer text is cut and ends in an ellipsis.
    """
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its words, e.g. `1 video`, `1,200 videos`.

    Args:
        number: How many.
        one: The words behind 1.
        many: The words behind other numbers; `one` and an s when not given.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def shown(value: object) -> str:
    """Return a value as it may appear in an error: one line of at most 80 characters without secrets."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # a number of more digits than Python prints, a nest deeper than it goes
        text = type(value).__name__
    return redact(text[:_MAX_SHOWN], 80) or "(empty)"


class GenVideoError(Exception):
    """The root of the tree; catch it to catch everything this package raises.

    Attributes:
        retryable: Whether the same step may be done again by a machine.
        provider: Name of the provider, when one was involved.
        task_id: The provider's id of the generation, when there is one. It is what a resume needs.
        status_code: HTTP status of the answer, when there was one.
        reason: The provider's own word or slug for the cause, redacted.
        retry_after: Seconds the provider asked us to wait.
        moderation: Whether it was refused for what the video shows or would show. No other provider may then be asked.
        request_id: The provider's own id of the call, which its support and its log go by.
    """

    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        retryable: bool | None = None,
        provider: str | None = None,
        task_id: str | None = None,
        status_code: int | None = None,
        reason: str | None = None,
        retry_after: float | None = None,
        moderation: bool = False,
        request_id: str | None = None,
    ) -> None:
        super().__init__("\n".join(redact(line, 1000) for line in message.splitlines()))
        if retryable is not None:
            self.retryable = retryable
        self.provider = provider
        self.task_id = task_id
        self.status_code = status_code
        self.reason = redact(reason) if reason else None
        self.retry_after = retry_after
        self.moderation = moderation
        self.request_id = redact(request_id, 200) if request_id else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep every attribute when the error is pickled into a result store or sent to another process."""
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))


def _rebuild(cls: type[GenVideoError], args: tuple[Any, ...], state: dict[str, Any]) -> GenVideoError:
    error = cls.__new__(cls)
    Exception.__init__(error, *args)
    error.__dict__.update(state)
    return error


class InvalidRequestError(GenVideoError):
    """One or more documented rules are broken. Nothing was sent, nothing was paid.

    Attributes:
        problems: Every broken rule: field, value, limit and the rule's source. Empty where no field is known, e.g. for
            a file that is looked at by itself; `reason` then says what is wrong with it.
    """

    def __init__(
        self,
        message: str,
        *,
        problems: Sequence[Problem] = (),
        provider: str | None = None,
        reason: str | None = None,
    ) -> None:
        lines = [message, *(f"- {problem}" for problem in problems)]
        super().__init__("\n".join(lines), provider=provider, reason=reason)
        self.problems = list(problems)


class RejectedError(GenVideoError):
    """The provider refused. Nothing was made; the same request will be refused again."""


class AuthenticationError(RejectedError):
    """The key is missing, wrong, expired or exhausted. Check the credentials block."""


class QuotaError(RejectedError):
    """No money, a frozen account, or a limit of the key. Stop sending for this account."""


class ModelUnavailableError(RejectedError):
    """The model is unknown to the provider or not served now; another model may be."""


class TransientError(GenVideoError):
    """It is proven that nothing was made, or the answer says nothing. Doing it again is safe, bounded."""

    retryable = True


class RateLimitedError(TransientError):
    """Too many requests or too many running tasks; wait (`retry_after` when the provider said so)."""


class UnknownOutcomeError(GenVideoError):
    """A create went out and its fate is not known. A machine never sends it again."""


class GenerationFailedError(GenVideoError):
    """The provider ended the task without a video; `reason` says why."""


class NoVideoError(GenerationFailedError):
    """The provider reported success and gave no usable link within the grace period."""


class GenerationTimeoutError(GenVideoError):
    """Our own deadline passed. The task goes on at the provider; run again to resume it."""


class TaskLostError(GenVideoError):
    """The provider does not know the task id."""


class DownloadError(GenVideoError):
    """The video did not arrive whole and proved. Never a reason for a new create."""

    retryable = True


class LinkExpiredError(DownloadError):
    """The link was refused (401, 403, 404); query the task for a fresh one."""


class DestinationError(GenVideoError):
    """The destination store refused or failed; the video is still at the provider."""
