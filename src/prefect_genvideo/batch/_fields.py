"""Pydantic models of one row of a batch, and the problems that their errors become."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Annotated, Any, Final, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from prefect_genvideo.batch._values import Copy
from prefect_genvideo.batch.model import (
    DEFAULT_KINDS,
    FALLBACK_KINDS,
    REQUEST_FIELDS,
    FallbackKind,
    closest_name,
    problem,
)
from prefect_genvideo.batch.templates import Meter, is_template, render
from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.ledger.record import check_key
from prefect_genvideo.models import Problem, VideoRequest
from prefect_genvideo.providers import provider_names

# Variables of a row, and the weight and characters of one: templates work on words, not on files.
_MAX_VARIABLES: Final = 1_000
_MAX_VARIABLE: Final = 128 * 1024
_MAX_VARIABLE_TEXT: Final = 20_000
# What a moment begins with; a text of these ten characters alone is a day.
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT: Final = TypeAdapter(datetime)
# Lists whose faults are told of the list as a whole.
_WHOLE: Final = frozenset({"tags", "on"})
# References of one kind, and tags, that a row may have: beyond what any model takes.
_MAX_ASSETS: Final = 100
# Characters of a tag.
_MAX_TAG: Final = 200
# Alternatives that a row may have: beyond what anybody waits for.
_MAX_ALTERNATIVES: Final = 8
_ASSETS_LIMIT: Final = f"must be a list of at most {_MAX_ASSETS} links, s3:// URIs, data URLs or paths"
# What the fields of a row and of its alternatives must be, in words.
_LIMITS: Final[Mapping[str, str]] = {
    "model": "must be the model's name, 1 to 200 characters",
    "prompt": "must be a text of at most 20,000 characters",
    "duration": "must be a number of seconds",
    "timeout": "must be a whole number of seconds",
    "images": _ASSETS_LIMIT,
    "videos": _ASSETS_LIMIT,
    "audios": _ASSETS_LIMIT,
    "options": "must be an object of the vendor's fields",
    "due": "must be a date (2026-11-22) or a time with its zone (2026-11-22T09:00+01:00), 2000 to 2099",
    "tags": f"must be at most {_MAX_ASSETS} texts of at most {_MAX_TAG} characters",
    "vars": f"must be an object of at most {_MAX_VARIABLES} variables",
    "fallback": f"must be a list of at most {_MAX_ALTERNATIVES} alternatives",
    "on": f"must name at least one of {', '.join(FALLBACK_KINDS)}",
}


@dataclass
class Place:
    """What the validators of one row know of the batch around it.

    Attributes:
        number: The row's number.
        numbering: What the number counts.
        wanted: The row's request as it was given.
        scope: Variables of its templates.
        keys: Keys of the batch so far, with their rows.
        meter: What all templates of the row may cost together.
        texts: Templates that have been rendered; alternatives have most of them from their row.
        key: The row's own key, once it is rendered.
        changes: Fields that each alternative names itself.
    """

    number: int
    numbering: str
    wanted: Mapping[str, Any]
    scope: Mapping[str, Any]
    keys: dict[str, int]
    meter: Meter = field(default_factory=Meter)
    texts: dict[str, str] = field(default_factory=dict[str, str])
    key: str | None = None
    changes: list[frozenset[str]] = field(default_factory=list[frozenset[str]])


def _refused(limit: str, *, of_row: bool = False, **facts: Any) -> PydanticCustomError:
    """A broken rule in our own words; `of_row` when a row's variables decide, whoever wrote the template."""
    return PydanticCustomError("rendered" if of_row else "limit", "{limit}", {"limit": limit, **facts})


def _rendered(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str) or not is_template(value):
        return value
    place = cast("Place", info.context)
    if value not in place.texts:
        try:
            place.texts[value] = render(value, place.scope, place.meter)
        except InvalidRequestError as error:
            raise _refused(str(error), of_row=True) from None
    return place.texts[value]


def _list_of(most: int, *single: type) -> BeforeValidator:
    """A list of at most `most` items, of which one may stand alone. Checked before any item is looked at."""

    def check(value: Any, info: ValidationInfo) -> Any:
        items = [value] if isinstance(value, single) else value
        if not isinstance(items, list) or len(cast("list[Any]", items)) > most:
            raise _refused(_LIMITS[str(info.field_name)])
        return cast("list[Any]", items)

    return BeforeValidator(check)


# Looking through everything that is installed takes some 50 ms; a process's plugins do not change.
_providers = functools.lru_cache(maxsize=1)(provider_names)


def _known_provider(name: Any) -> Any:
    if name not in _providers():
        raise _refused(f"is no provider; there are {', '.join(_providers())}")
    return name


def _moment(value: Any) -> datetime:
    text = value.strip() if isinstance(value, str) else ""
    try:
        # Only texts that begin with a date: pydantic takes numbers for seconds since 1970.
        moment = _MOMENT.validate_python(
            f"{text}T00:00Z" if _DATE.fullmatch(text) else text if _DATE.match(text) else ""
        )
    except ValidationError:
        moment = datetime.min
    shift = moment.utcoffset()
    # Without a zone it would mean another moment on every machine.
    if shift is None or not 2000 <= moment.year < 2100:
        raise _refused(_LIMITS["due"])
    return moment.replace(tzinfo=timezone(shift) if shift else timezone.utc)


def _small(value: Any) -> Any:
    if Copy("", value).weight > _MAX_VARIABLE or (isinstance(value, str) and len(value) > _MAX_VARIABLE_TEXT):
        raise _refused(f"must be at most {_MAX_VARIABLE_TEXT} characters")
    return value


def _kind(value: Any) -> Any:
    if value not in FALLBACK_KINDS:
        never = "is never tried elsewhere" if value == "moderation" else "is no kind of failure"
        raise _refused(f"{never}; there are {', '.join(FALLBACK_KINDS)}", value=value)
    return value


def _filled(value: Any, info: ValidationInfo) -> dict[str, Any]:
    """An alternative with the row's fields where it names none; null takes a field away."""
    place = cast("Place", info.context)
    fields = {"model": value} if isinstance(value, str) else value
    own = cast("dict[str, Any]", fields) if isinstance(fields, dict) else None
    place.changes.append(frozenset(own or ()))
    if own is None:
        raise _refused("must be a model's name or an object of fields")
    if own.keys() <= {"on"}:
        raise _refused("must name another model, provider or other field")
    return {name: item for name, item in {**place.wanted, **own}.items() if item is not None}


_Text = Annotated[str, BeforeValidator(_rendered)]
_Assets = Annotated[tuple[_Text, ...], _list_of(_MAX_ASSETS, str)]
_Tag = Annotated[str, Field(max_length=_MAX_TAG)]


class Facts(BaseModel):
    """What templates may use beside the request's fields; checked first."""

    due: Annotated[datetime | None, BeforeValidator(_moment)] = None
    tags: Annotated[tuple[_Tag, ...], _list_of(_MAX_ASSETS, str)] = ()
    vars: Annotated[dict[str, Annotated[Any, AfterValidator(_small)]], Field(max_length=_MAX_VARIABLES)] = {}


class _Wanted(VideoRequest):
    """A request whose texts may be templates, and whose provider may be named."""

    images: _Assets = ()
    videos: _Assets = ()
    audios: _Assets = ()
    provider: Annotated[str | None, BeforeValidator(_known_provider)] = None

    @field_validator("prompt", "first_frame", "last_frame", mode="before")
    @classmethod
    def _render(cls, value: Any, info: ValidationInfo) -> Any:
        return _rendered(value, info)

    def request(self) -> VideoRequest:
        """The request alone, with the fields that were set."""
        return VideoRequest.model_validate(self.model_dump(include=self.model_fields_set & set(REQUEST_FIELDS)))


class _Alternative(_Wanted):
    """Fields of an alternative: those that replace fields of the row."""

    on: Annotated[
        frozenset[Annotated[FallbackKind, BeforeValidator(_kind)]],
        _list_of(_MAX_ALTERNATIVES, str),
        Field(min_length=1),
    ] = DEFAULT_KINDS


class Row(_Wanted):
    """All of a row but its `Facts`."""

    key: str | None = None
    fallback: Annotated[
        tuple[Annotated[_Alternative, BeforeValidator(_filled)], ...], _list_of(_MAX_ALTERNATIVES, str, dict)
    ] = ()

    @field_validator("key", mode="before")
    @classmethod
    def _usable(cls, value: Any, info: ValidationInfo) -> str:
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise _refused("must be a text")
        place, key = cast("Place", info.context), str(_rendered(str(value), info))
        try:
            check_key(key)
        except InvalidRequestError as error:
            raise _refused(error.problems[0].limit, of_row=True, value=key) from None
        place.key = key
        first = place.keys.setdefault(key, place.number)
        if first != place.number:
            limit = f"must be of one row only; {place.numbering} {first} has it too"
            raise _refused(limit, of_row=True, value=key)
        return key


# From pydantic's findings to problems.


@dataclass(frozen=True)
class Fault:
    """A broken rule; `of_row` when the row brought it even where a default holds the field."""

    problem: Problem
    of_row: bool = False


def faults_of(error: ValidationError, changes: list[frozenset[str]]) -> Iterator[Fault]:
    """What is broken, each place once. An alternative does not repeat the faults that it has from its row.

    Args:
        error: Pydantic's findings.
        changes: Fields that each alternative names itself.
    """
    lines = error.errors(include_url=False)
    broken = {line["loc"][0] for line in lines}
    told = set[str]()
    for line in lines:
        prefix, loc = "", list(line["loc"])
        if loc[0] == "fallback" and len(loc) > 2:
            index, name = cast("int", loc[1]), str(loc[2])
            if name not in changes[index] and name in broken:
                continue
            prefix, loc = f"fallback[{index}].", loc[2:]
        path = f"{prefix}{_path(loc)}"
        if path not in told:
            told.add(path)
            yield Fault(problem(path, *_found(line, str(loc[0]))), of_row=line["type"] == "rendered")


def _path(loc: list[int | str]) -> str:
    first, *rest = loc
    if rest and isinstance(rest[0], int) and first not in _WHOLE:
        return f"{first}[{rest[0]}]"
    return f"vars.{rest[0]}" if rest and first == "vars" else str(first)


def _found(line: ErrorDetails, name: str) -> tuple[Any, str]:
    """What was given, and what is allowed."""
    if line["type"] in {"limit", "rendered"}:
        return line.get("ctx", {}).get("value", line["input"]), line["msg"]
    if line["type"] == "extra_forbidden":
        meant = closest_name(name, (*REQUEST_FIELDS, "provider", "on"))
        return line["input"], "is no field of an alternative" + (f"; did you mean {meant}?" if meant else "")
    return "(not given)" if line["type"] == "missing" else line["input"], _LIMITS.get(name, "must be a text")


def read_facts(fields: Mapping[str, Any], faults: list[Fault]) -> Facts:
    """Return the facts that are right: a broken date is no reason to call the row's variables unknown.

    Args:
        fields: The row's, with its defaults.
        faults: Takes what is wrong with the others.
    """
    given = {name: fields[name] for name in Facts.model_fields if name in fields}
    try:
        return Facts.model_validate(given)
    except ValidationError as error:
        faults += faults_of(error, [])
        broken = {line["loc"][0] for line in error.errors(include_url=False)}
        return Facts.model_validate({name: value for name, value in given.items() if name not in broken})
