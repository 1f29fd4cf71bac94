"""What a model takes, as plain figures: for what a user states in a file, and for families of which little is known.

A statement is used like the built-in tables. Where both speak of the same fact, the user's replaces the built-in one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from prefect_genvideo.providers import rules as r
from prefect_genvideo.providers.rules import Check, Rule
from prefect_genvideo.stated import stated_by_provider

_MAX_SECONDS = 3600
_SPAN = re.compile(r"([0-9]{1,4}) ?[-–] ?([0-9]{1,4})")


def _seconds(value: Any) -> Any:
    """Read `"4-30"`, `15` or `[15, 30]`; what is none of these is left to the type."""
    if isinstance(value, str) and (span := _SPAN.fullmatch(value.strip())):
        return tuple(range(int(span[1]), int(span[2]) + 1))
    return (value,) if isinstance(value, int) else value


class ModelLimits(BaseModel):
    """What is known of one model or family. None is not known, and then not checked.

    Attributes:
        seconds: Whole seconds that it takes; stated as `"4-30"`, `15` or `[15, 30]`.
        aspect_ratios: `width:height`, or the provider's own words such as `adaptive`.
        resolutions: e.g. `720p`.
        images: Most reference images; 0 takes none.
        videos: Most reference videos.
        audios: Most reference audios.
        references: Most references of all kinds together.
        open_length: Whether it takes -1 for a duration that it chooses itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: Annotated[
        tuple[Annotated[int, Field(ge=1, le=_MAX_SECONDS, strict=True)], ...] | None,
        BeforeValidator(_seconds),
        Field(min_length=1),
    ] = None
    aspect_ratios: Annotated[tuple[str, ...], Field(min_length=1, max_length=50)] | None = None
    resolutions: Annotated[tuple[str, ...], Field(min_length=1, max_length=50)] | None = None
    images: int | None = Field(default=None, ge=0)
    videos: int | None = Field(default=None, ge=0)
    audios: int | None = Field(default=None, ge=0)
    references: int | None = Field(default=None, ge=0)
    open_length: bool | None = None

    def rules(self, source: str, sections: Mapping[str, str] = MappingProxyType({})) -> tuple[Rule, ...]:
        """Return the limits as rules.

        Args:
            source: Where they come from, for the problems.
            sections: The same for single fields, where they come from elsewhere.
        """
        return tuple(Rule(check, limit, sections.get(field, source), field) for field, check, limit in self._checks())

    def _checks(self) -> Iterator[tuple[str, Check, str]]:
        if self.seconds:
            allowed = (*self.seconds, -1) if self.open_length else self.seconds
            yield "seconds", r.whole_seconds(allowed, required=False), self._length_in_words()
        for fact, field in (("aspect_ratios", "aspect_ratio"), ("resolutions", "resolution")):
            words: tuple[str, ...] | None = getattr(self, fact)
            if words:
                yield fact, r.one_of(field, words, required=False), ", ".join(words)
        for fact in ("images", "videos", "audios"):
            most: int | None = getattr(self, fact)
            if most is not None:
                yield fact, r.at_most(fact, most), f"at most {most}" if most else "left out"
        if self.references is not None:
            yield "references", r.at_most_together(self.references), f"at most {self.references} assets together"

    def over(self, other: ModelLimits) -> ModelLimits:
        """Return these limits, and those of `other` where these say nothing."""
        return other.model_copy(update=self.model_dump(exclude_none=True))

    def __str__(self) -> str:
        """Say it in one line, e.g. `4-15 s, 16:9 9:16, 9 images, 3 videos`; empty when nothing is known."""
        spoken = [
            self._length_in_words(),
            " ".join(self.aspect_ratios or ()),
            " ".join(self.resolutions or ()),
            *(
                f"{most or 'no'} {fact}"
                for fact in ("images", "videos", "audios")
                if (most := getattr(self, fact)) is not None
            ),
        ]
        return ", ".join(filter(None, spoken))

    def _length_in_words(self) -> str:
        words = seconds_in_words(self.seconds) if self.seconds else ""
        return f"{words}, or -1" if words and self.open_length else words

    def fitting(self, usual: Mapping[str, Any]) -> dict[str, Any]:
        """Return defaults that these limits allow: the usual ones, else the shortest duration and the first word.

        Args:
            usual: Default by field of the request, `duration`, `aspect_ratio` or `resolution`.
        """
        allowed: dict[str, tuple[Any, ...]] = {
            "duration": (*sorted(self.seconds or ()), *((-1,) if self.seconds and self.open_length else ())),
            "aspect_ratio": self.aspect_ratios or (),
            "resolution": self.resolutions or (),
        }
        return {
            field: allowed[field][0] if allowed[field] and value not in allowed[field] else value
            for field, value in usual.items()
        }


NOTHING_KNOWN = ModelLimits()
"""Of a model that no table speaks of."""


@dataclass(frozen=True)
class ModelFacts:
    """One model that an account is offered, and what is known of it.

    Attributes:
        name: As the provider lists it.
        limits: What it takes.
        basis: How that is known: `documented`, `stated` by the user, `family` (likely, not known), or empty.
        price: What the provider's price list says of it, in its own words; empty when it says nothing.
    """

    name: str
    limits: ModelLimits = NOTHING_KNOWN
    basis: str = ""
    price: str = ""


@dataclass(frozen=True)
class ModelRules:
    """What a user states of the models of one provider.

    Attributes:
        entries: Pairs of a model's name, in which `*` and `?` stand for any text and letter, and its limits.
        source: Where they were stated.
    """

    entries: tuple[tuple[str, ModelLimits], ...] = ()
    source: str = ""

    def of(self, model: str) -> ModelLimits:
        """Return what is stated of a model: by its own name, else by the first pattern that fits."""
        exact = next((limits for name, limits in self.entries if name == model), None)
        fitting = (limits for pattern, limits in self.entries if fnmatchcase(model, pattern))
        return exact or next(fitting, NOTHING_KNOWN)


def seconds_in_words(seconds: tuple[int, ...] | range) -> str:
    """Say which durations are allowed."""
    low, high = min(seconds), max(seconds)
    if len(seconds) > 2 and len(set(seconds)) == high - low + 1:
        return f"a whole number of seconds from {low} to {high}"
    return f"{' or '.join(map(str, sorted(set(seconds))))} seconds"


_FILE = TypeAdapter(dict[str, dict[str, ModelLimits]])


def read_model_rules(stated: str) -> dict[str, ModelRules]:
    """Read the rules that a user states of models, by provider.

    Args:
        stated: A JSON or YAML object, or the path of a file that holds one: `{"sudashui": {"sdas-2-*": {"seconds":
            "4-30", "aspect_ratios": ["16:9"], "images": 30}}}`. See `ModelLimits` for the fields.

    Raises:
        InvalidRequestError: It cannot be read or breaks the form; every broken field is named.
    """
    found, source = stated_by_provider(stated, "model_rules", _FILE)
    return {provider: ModelRules(tuple(models.items()), source) for provider, models in found.items()}
