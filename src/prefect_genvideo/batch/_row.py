"""One row of a batch: plain values become a request and its alternatives, with every broken rule named."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timezone
from pathlib import PurePath
from typing import Any, cast

from pydantic import ValidationError

from prefect_genvideo.batch.model import (
    DEFAULT_KINDS,
    FALLBACK_KINDS,
    REQUEST_FIELDS,
    Alternative,
    FallbackKind,
    ManifestRow,
    near,
    problem,
)
from prefect_genvideo.batch.templates import is_template, render
from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.ledger.record import check_key
from prefect_genvideo.models import Problem, VideoRequest
from prefect_genvideo.providers import provider_names

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TEXTS = ("prompt", "first_frame", "last_frame")
_TEXT_LISTS = ("images", "videos", "audios")
_SCOPE_FIELDS = ("model", "provider", "duration", "aspect_ratio", "resolution", "timeout", "tags")
_MAX_DEPTH = 24
_MAX_INT = 2**63
_MAX_VARS = 64 * 1024
_MAX_VAR_TEXT = 20_000
_MAX_ASSETS = 100
_MAX_ALTERNATIVES = 8
_DUE = re.compile(
    r"\d{4}-\d\d-\d\d(?P<time>[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?P<zone>Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)
_DUE_LIMIT = "must be a date (2026-11-22) or a time with its zone (2026-11-22T09:00+01:00), 2000 to 2099"
_EXPECTED: Mapping[str, str] = {
    "model": "must be the model's name, 1 to 200 characters",
    "prompt": "must be a text of at most 20,000 characters",
    "duration": "must be a number of seconds",
    "timeout": "must be a whole number of seconds",
    "images": "must be a list of links, s3:// URIs, data URLs or paths",
    "videos": "must be a list of links, s3:// URIs, data URLs or paths",
    "audios": "must be a list of links, s3:// URIs, data URLs or paths",
    "options": "must be an object of the vendor's fields",
}


class Fault(ValueError):
    """A value that no row can hold."""

    def __init__(self, path: str, value: Any, limit: str) -> None:
        super().__init__(limit)
        self.problem = problem(path, value, limit)


class Faults(list[Problem]):
    """The problems of one row."""

    def __init__(self, found: Iterable[Problem] = ()) -> None:
        super().__init__(found)
        self.rendered = set[int]()

    def note(self, path: str, value: Any, limit: str, *, rendered: bool = False) -> None:
        """Add a broken rule; `rendered` when it is the row's own even where a default brought the template."""
        if rendered:
            self.rendered.add(len(self))
        self.append(problem(path, value, limit))


def plain(path: str, value: Any, depth: int = 0) -> tuple[Any, int]:
    """Return a copy of JSON-like data and its size in characters and values.

    Raises:
        ValueError: It holds what JSON cannot, or what nobody can store: NaN, numbers beyond 64 bits, half characters.
    """
    if value is None or isinstance(value, bool):
        return value, 1
    if isinstance(value, str):
        return _plain_text(path, value), 1 + len(value)
    if isinstance(value, int | float):
        if not abs(value) < _MAX_INT:  # so that NaN does not pass
            raise Fault(path, "(number)", "must be a finite number within 64 bits")
        return value, 1
    if isinstance(value, date | PurePath):
        return value.isoformat() if isinstance(value, date) else str(value), 1
    if depth >= _MAX_DEPTH:
        raise Fault(path, "(nested)", f"must not be nested deeper than {_MAX_DEPTH}")
    if isinstance(value, Mapping):
        items = [
            (_plain_text(path, name), *plain(f"{path}.{name}" if depth < 2 else path, item, depth + 1))
            for name, item in cast("Mapping[Any, Any]", value).items()
        ]
        return {name: item for name, item, _ in items}, 1 + sum(len(name) + size for name, _, size in items)
    if isinstance(value, list | tuple):
        made = [plain(f"{path}[{i}]", item, depth + 1) for i, item in enumerate(cast("list[Any]", value))]
        return [item for item, _ in made], 1 + sum(size for _, size in made)
    raise Fault(path, type(value).__name__, "must be text, a number, true, false, null, a list or an object")


def _plain_text(path: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Fault(path, repr(value)[:80], "names must be texts")
    if "\0" in value or not (value.isascii() or value.encode(errors="ignore").decode() == value):
        raise Fault(path, value, "must be text without NUL and half characters (lone surrogates)")
    return value


class RowBuilder:
    """Builds one row, noting every fault on the way."""

    def __init__(self, fields: Mapping[str, Any], position: int, today: date, faults: Faults) -> None:
        self._fields = fields
        self._faults = faults
        self._due = self._moment(fields.get("due"))
        self._tags = self._words(fields.get("tags"))
        self._vars = self._variables(fields.get("vars"))
        self._scope = self._variables_of_templates(position, today)

    def build(self, number: int) -> ManifestRow | None:
        """The row, or None when it has no request or alternatives worth the name."""
        wanted = {name: self._fields[name] for name in REQUEST_FIELDS if name in self._fields}
        request = self._request(wanted, "", frozenset(REQUEST_FIELDS))
        provider = self._provider(self._fields.get("provider"), "provider")
        key = self._key(self._fields.get("key"))
        fallback = tuple(self._alternatives(wanted, self._fields.get("fallback")))
        if request is None:
            return None
        return ManifestRow(number, key, request, provider, self._due, fallback, self._tags, self._vars)

    def _variables_of_templates(self, position: int, today: date) -> dict[str, Any]:
        day = self._due.date() if self._due else today
        fields = {name: self._fields[name] for name in _SCOPE_FIELDS if name in self._fields}
        due = {"due": self._due} if self._due else {}
        computed = {"row": position, "today": today, "date": day, "weekday": _WEEKDAYS[day.weekday()]}
        return {**computed, **fields, **due, "vars": self._vars, **self._vars}

    def _request(self, wanted: Mapping[str, Any], prefix: str, told: frozenset[str]) -> VideoRequest | None:
        """Render and validate; only problems of the fields in `told` are noted."""
        fields = dict(wanted)
        before = len(self._faults)
        for name in _TEXTS:
            if name in fields:
                fields[name] = self._rendered(fields[name], f"{prefix}{name}", name in told)
        for name in _TEXT_LISTS:
            if name in fields:
                fields[name] = self._assets(fields[name], f"{prefix}{name}", name in told)
        try:
            return VideoRequest.model_validate(fields)
        except ValidationError as error:
            for name, value in _broken(error, fields):
                top = re.split(r"[\[]", name)[0]
                seen = any(noted.field == f"{prefix}{name}" for noted in self._faults[before:])
                if top in told and not seen:
                    self._faults.note(f"{prefix}{name}", value, _EXPECTED.get(top, "must be a text"))
            return None

    def _assets(self, value: Any, path: str, told: bool) -> Any:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list):
            return items
        known = cast("list[Any]", items)
        if len(known) > _MAX_ASSETS:
            self._faults.note(path, f"{len(known)} items", f"must be at most {_MAX_ASSETS}")
            return []
        return [self._rendered(item, f"{path}[{i}]", told) for i, item in enumerate(known)]

    def _rendered(self, value: Any, path: str, told: bool) -> Any:
        if not isinstance(value, str) or not is_template(value):
            return value
        try:
            return render(value, self._scope)
        except InvalidRequestError as error:
            if told:
                self._faults.note(path, value, str(error), rendered=True)
            return ""

    def _key(self, value: Any) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str | int) or isinstance(value, bool):
            self._faults.note("key", value, "must be a text")
            return None
        before = len(self._faults)
        key = str(self._rendered(str(value), "key", told=True))
        if len(self._faults) > before:
            return None
        try:
            check_key(key)
        except InvalidRequestError as error:
            self._faults.note("key", key, error.problems[0].limit, rendered=True)
            return None
        return key

    def _provider(self, value: Any, path: str) -> str | None:
        if value is not None and value not in _providers():
            self._faults.note(path, value, f"is no provider; there are {', '.join(_providers())}")
            return None
        return value

    def _moment(self, value: Any) -> datetime | None:
        if value is None:
            return None
        found = _DUE.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None or (found["time"] and not found["zone"]):
            self._faults.note("due", value, _DUE_LIMIT)
            return None
        # Python 3.10 reads neither `Z` nor `+0100` nor fractions of any other length than six.
        text = re.sub(r"\.(\d+)", lambda m: "." + m[1].ljust(6, "0"), found[0].replace("Z", "+00:00"))
        text = re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text) if found["time"] else text
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = datetime.min
        if not 2000 <= moment.year < 2100:
            self._faults.note("due", value, _DUE_LIMIT)
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)

    def _words(self, value: Any) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else value or []
        known = cast("list[Any]", items) if isinstance(items, list) else [None]
        words = tuple(word for word in known if isinstance(word, str) and len(word) <= 200)
        if len(known) > _MAX_ASSETS or len(words) != len(known):
            self._faults.note("tags", value, f"must be at most {_MAX_ASSETS} texts of at most 200 characters")
        return words

    def _variables(self, value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._faults.note("vars", value, "must be an object of variables")
            return {}
        known = cast("dict[str, Any]", value)
        for name, item in known.items():
            size = plain(name, item)[1]
            if size > _MAX_VARS or (isinstance(item, str) and len(item) > _MAX_VAR_TEXT):
                self._faults.note(f"vars.{name[:60]}", item, f"must be at most {_MAX_VAR_TEXT} characters")
                return {}
        return known

    def _alternatives(self, wanted: Mapping[str, Any], value: Any) -> Iterable[Alternative]:
        listed: Any = [value] if isinstance(value, str | dict) else value or []
        items = cast("list[Any]", listed) if isinstance(listed, list) else None
        if items is None or len(items) > _MAX_ALTERNATIVES:
            self._faults.note("fallback", value, f"must be a list of at most {_MAX_ALTERNATIVES} alternatives")
            return
        for index, item in enumerate(items):
            path = f"fallback[{index}]"
            fields = {"model": item} if isinstance(item, str) else item
            if not isinstance(fields, dict):
                self._faults.note(path, item, "must be a model's name or an object of fields")
                continue
            made = self._alternative(wanted, cast("dict[str, Any]", fields), path)
            if made is not None:
                yield made

    def _alternative(self, wanted: Mapping[str, Any], fields: dict[str, Any], path: str) -> Alternative | None:
        changes = {name: value for name, value in fields.items() if name in REQUEST_FIELDS}
        for name, value in fields.items():
            if name not in changes and name not in {"provider", "on"}:
                meant = near(name, (*REQUEST_FIELDS, "provider", "on"))
                hint = f"; did you mean {meant}?" if meant else ""
                self._faults.note(f"{path}.{name}", value, f"is no field of an alternative{hint}")
        kinds = self._kinds(fields.get("on"), f"{path}.on")
        provider = self._provider(fields.get("provider"), f"{path}.provider")
        if not changes and provider is None:
            self._faults.note(path, "(nothing else)", "must name another model, provider or other field")
        merged = {name: value for name, value in {**wanted, **changes}.items() if value is not None}
        request = self._request(merged, f"{path}.", frozenset(changes))
        return None if request is None else Alternative(kinds, request, provider)

    def _kinds(self, value: Any, path: str) -> frozenset[FallbackKind]:
        if value is None:
            return DEFAULT_KINDS
        items = cast("list[Any]", value if isinstance(value, list) else [value])
        known: frozenset[FallbackKind] = frozenset(kind for kind in FALLBACK_KINDS if kind in items)
        for item in items:
            if item not in FALLBACK_KINDS:
                never = "is never tried elsewhere" if item == "moderation" else "is no kind of failure"
                self._faults.note(path, item, f"{never}; there are {', '.join(FALLBACK_KINDS)}")
        if not items:
            self._faults.note(path, value, f"must name at least one of {', '.join(FALLBACK_KINDS)}")
        return known


@functools.lru_cache(maxsize=1)
def _providers() -> tuple[str, ...]:
    # Looking through everything that is installed takes some 50 ms; a process's plugins do not change.
    return tuple(provider_names())


def _broken(error: ValidationError, fields: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """The broken fields of a request, each once, with what was given."""
    found: dict[str, Any] = {}
    for fault in error.errors(include_url=False, include_context=False):
        top, *rest = fault["loc"]
        name = f"{top}[{rest[0]}]" if rest and isinstance(rest[0], int) else str(top)
        found.setdefault(name, fault["input"] if rest or top in fields else "(not given)")
    return found.items()
