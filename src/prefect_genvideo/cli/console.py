"""Output, errors and exit codes that all commands share."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markdown import Markdown

from prefect_genvideo.errors import GenVideoError, InvalidRequestError, UnknownOutcomeError, printable
from prefect_genvideo.models import StoredVideo
from prefect_genvideo.pipeline.play import PlayLink, PlayLinks
from prefect_genvideo.storage import ObjectStore

if TYPE_CHECKING:
    from pydantic import BaseModel

# Keys and reasons are shown as they are: `a:100:b` holds no emoji, and `[x]` is no markup.
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, markup=False)
out = Console(highlight=False, soft_wrap=True, emoji=False, markup=False)

FAILED, USAGE, DECIDE, AGAIN, STOPPED = 1, 2, 3, 4, 130
"""Exit codes: it failed; the command line is wrong; a person has to decide; the same again may work; Ctrl-C."""


@Parameter(name="*")
@dataclass(frozen=True)
class Output:
    """How a command speaks.

    Args:
        json: One JSON object a line on stdout and nothing else; an error is one on stderr.
        quiet: Results and errors alone.
    """

    json: Annotated[bool, Parameter(negative=())] = False
    quiet: Annotated[bool, Parameter(negative=())] = False


WORDS = Output()
"""What a person at a terminal gets."""
_output: ContextVar[Output] = ContextVar("prefect_genvideo_output", default=WORDS)


def is_plain() -> bool:
    """Whether words beside the results are wanted."""
    return _output.get() == WORDS


def is_json() -> bool:
    """Whether results are JSON."""
    return _output.get().json


def is_watched() -> bool:
    """Whether words are wanted and somebody sits at a terminal, where lines can change."""
    return is_plain() and err.is_terminal


def say(text: object) -> None:
    """Print lines for people, with visible escapes for what would drive the terminal: names and reasons are others'."""
    if is_plain():
        out.print(_shown(text))


def give(text: object, facts: Mapping[str, Any], *, markdown: bool = False) -> None:
    """Print a result: lines, or the same as a JSON object.

    Args:
        text: For people.
        facts: For programs.
        markdown: The text is Markdown, tables and all.
    """
    if is_json():
        say_json(facts)
    elif markdown:
        out.print(Markdown(_shown(text)), soft_wrap=False)
    else:
        out.print(_shown(text))


def complain(text: object, style: str = "red") -> None:
    """Print lines to stderr as `say` does.

    Args:
        text: What is wrong.
        style: Colour, as rich names it.
    """
    err.print(_shown(text), style=style)


def _shown(text: object) -> str:
    return "\n".join(printable(line) for line in str(text).split("\n"))


def say_json(facts: Mapping[str, Any] | BaseModel, indent: int | None = None, console: Console = out) -> None:
    """Print an object as JSON, readable and harmless: characters that are not printable are escaped as JSON does.

    Args:
        facts: The object; a model without its fields that are None.
        indent: Blanks a level; None: one line.
        console: Where to.
    """
    if isinstance(facts, Mapping):
        text = json.dumps(facts, ensure_ascii=False, indent=indent, default=str)
    else:
        text = facts.model_dump_json(indent=indent, exclude_none=True)
    escapes = {char: json.dumps(char)[1:-1] for char in set(text) if not char.isprintable() and char != "\n"}
    console.out(text.translate(str.maketrans(escapes)), highlight=False)


def show(
    columns: Sequence[str], rows: Iterable[Sequence[object]], facts: Iterable[Mapping[str, Any]] | None = None
) -> None:
    """Print a table, or its rows as JSON objects. Nothing is cut, however narrow the terminal: keys are to be copied.

    Args:
        columns: Its headings.
        rows: Cells, one a column; their texts may be others'.
        facts: The rows for programs; the cells by their headings when not given.
    """
    if is_json():
        for one in facts if facts is not None else (dict(zip(columns, row, strict=True)) for row in rows):
            say_json(one)
        return
    table = [columns, *([printable(str(cell)) for cell in row] for row in rows)]
    # Rich's own table takes 1 ms a row, which is too much for a batch.
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    heading, *lines = (
        " ".join(f" {set_cell_size(cell, width)}" for cell, width in zip(row, widths, strict=True)) + " "
        for row in table
    )
    out.out(heading, style="bold", highlight=False)
    if lines:
        out.out("\n".join(lines), highlight=False)


@contextmanager
def plain_errors(output: Output = WORDS) -> Generator[None]:
    """Show what is known to go wrong as one message, with an exit code. The rest is a fault of ours, with its stack.

    Args:
        output: How this command speaks.
    """
    from pydantic import ValidationError

    token = _output.set(output)
    try:
        yield
    except (GenVideoError, OSError) as error:
        _report(error)
        sys.exit(exit_code(error))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        lines = [f"- {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults]
        if output.json:
            say_json({"error": type(error).__name__, "message": f"{error.title}: {' '.join(lines)}"}, console=err)
        else:
            complain("\n".join([f"{error.title} cannot be made of what was given:", *lines]))
        sys.exit(FAILED)
    except Exception as error:
        told = _of_prefect(error)
        if told is None:
            raise
        _report(told)
        sys.exit(exit_code(told))
    except KeyboardInterrupt:
        complain("Stopped. What was paid for goes on at the provider; the same key, or reconciling, takes it up again.")
        sys.exit(STOPPED)
    finally:
        _output.reset(token)


def exit_code(error: Exception) -> int:
    """What a program may do about an error: decide (a person), again (the same command later), or mend it first."""
    if isinstance(error, UnknownOutcomeError):
        return DECIDE
    return AGAIN if isinstance(error, GenVideoError) and error.retryable else FAILED


def _of_prefect(error: BaseException) -> GenVideoError | None:
    """What to say of an error of Prefect's client, which tells of its server in stacks; None where it is none."""
    import httpx
    from prefect.settings import get_current_settings

    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, httpx.HTTPError):
        behind = behind.__cause__
    named = get_current_settings().api.url
    if behind is None or not named:
        return None
    status = behind.response.status_code if isinstance(behind, httpx.HTTPStatusError) else None
    if status in (401, 403):
        advice = "check PREFECT_API_KEY, or PREFECT_API_AUTH_STRING"
        return GenVideoError(f"The Prefect server {named} refuses (HTTP {status}): {advice}", status_code=status)
    if status is not None and status < 500:
        return None
    failed = f"HTTP {status}" if status else type(behind).__name__
    advice = "start it, mend PREFECT_API_URL, or unset it for a temporary server. What was paid for is in the ledger"
    return GenVideoError(f"The Prefect server {named} does not answer ({failed}): {advice}", retryable=True)


def _report(error: Exception) -> None:
    if not is_json():
        complain(f"{type(error).__name__}: {error}")
        return
    facts: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, GenVideoError):
        known = ("reason", "retryable", "provider", "task_id", "status_code")
        facts |= {name: getattr(error, name) for name in known if getattr(error, name) is not None}
    if isinstance(error, InvalidRequestError) and error.problems:
        facts["problems"] = [{"field": one.field, "value": one.value, "limit": one.limit} for one in error.problems]
    say_json(facts, console=err)


def needs(extra: str, *modules: str) -> None:
    """Check that an extra of the package is installed.

    Args:
        extra: Its name.
        modules: What it brings.

    Raises:
        InvalidRequestError: Some of it is missing; the message has the line that installs it.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        line = f'pip install "prefect-genvideo[{extra}]"'
        raise InvalidRequestError(f"This command needs more than is installed ({', '.join(missing)} missing): {line}")


def command(work: Callable[..., Any]) -> Callable[..., None]:
    """Make a command of a function, which may be a coroutine's: it takes --json and --quiet too.

    See `plain_errors` for what becomes of errors.
    """

    @wraps(work)
    def run(*given: Any, output: Output = WORDS, **named: Any) -> None:
        with plain_errors(output):
            done = work(*given, **named)
            if inspect.iscoroutine(done):
                # A private server takes longer to start on a busy machine than Prefect's default of 20 s.
                os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
                # Its first statistics meet the run's own writes, and Prefect logs 80 lines of a locked database.
                os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
                loggers = [logging.getLogger(name) for name in ("prefect.flow_runs", "prefect.task_runs")]
                # What Prefect says of a run that failed is left out: the command itself says it, once.
                with passing(loggers, lambda record: record.levelno < logging.ERROR):
                    asyncio.run(done)

    asked = inspect.signature(work)
    own = inspect.Parameter("output", inspect.Parameter.KEYWORD_ONLY, default=WORDS, annotation="Output")
    vars(run)["__signature__"] = asked.replace(parameters=[*asked.parameters.values(), own])
    run.__annotations__ = work.__annotations__ | {"output": Output}
    return run


@contextmanager
def passing(places: Iterable[logging.Filterer], wanted: Callable[[logging.LogRecord], bool]) -> Generator[None]:
    """Let only some records pass meanwhile.

    Args:
        places: Loggers or handlers.
        wanted: Which records pass.
    """
    held = list(places)
    for place in held:
        place.addFilter(wanted)
    try:
        yield
    finally:
        for place in held:
            place.removeFilter(wanted)


async def links_of(
    links: PlayLinks, store: ObjectStore, videos: Sequence[StoredVideo | None], *, asked: bool = False
) -> list[PlayLink | None]:
    """Links that may be printed. Those that are secrets only where somebody looks: what is piped ends in logs.

    Args:
        links: How the destination makes them.
        store: Where the videos are.
        videos: Those that are there.
        asked: The command's very purpose is the link.
    """
    if not (links.lasting or asked or out.is_terminal):
        return [None] * len(videos)
    return await links.to(store, videos)


def link_line(link: PlayLink | None) -> str:
    """A line for people; empty without a link."""
    if link is None:
        return ""
    return f"play {link.url}" + (f" (for {link.hours:g} h, whoever has it)" if link.hours else "")


def link_facts(link: PlayLink | None) -> dict[str, Any]:
    """Fields for programs; none without a link."""
    return {} if link is None else {"link": link.url} | ({"link_hours": link.hours} if link.hours else {})
