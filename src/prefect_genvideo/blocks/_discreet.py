"""What all blocks share: they take no unknown fields and do not repeat what they were given.

Validation errors would carry keys into logs, states and results.
"""

from __future__ import annotations

import functools
from abc import ABC
from copy import deepcopy
from typing import TYPE_CHECKING, Any, cast

from prefect.blocks.core import Block
from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

# Of no type that a checker knows: Prefect declares URLs of pydantic's here and takes texts.
DOCS: Any = "https://github.com/prefect-genvideo/prefect-genvideo#readme"
"""Page that Prefect's UI links from a block."""


def logo(name: str) -> Any:
    """Address of a block's picture in Prefect's UI; `name` is that of its file."""
    return f"https://raw.githubusercontent.com/prefect-genvideo/prefect-genvideo/main/docs/img/{name}.png"


if TYPE_CHECKING:
    from typing import Generic, TypeVar

    _Read = TypeVar("_Read")
    _Written = TypeVar("_Written")

    # For type checkers a field of a descriptor's type takes in the constructor what `__set__` does.
    class Given(Generic[_Read, _Written]):
        """A field that is read as one type and may be given as another, as pydantic converts it."""

        def __get__(self, owner: object, kind: type | None = None) -> _Read: ...
        def __set__(self, owner: object, value: _Written) -> None: ...

    Secret = Given[SecretStr, SecretStr | str]
else:
    Given = None
    Secret = SecretStr

_NOT_SHOWN = "(not shown)"
# What Prefect adds to the data of a block that it dumps.
_DUMPED = frozenset({"_block_document_id", "_block_document_name", "_is_anonymous"})
# What pydantic calls a kind of block whose errors come through the validator below.
_WRAPPER = "function-wrap["


class PlainForm(BaseModel):
    """A model that is a form in Prefect's pages."""

    model_config = ConfigDict(hide_input_in_errors=True, extra="forbid")

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The pages show backticks as they are, so descriptions are without."""
        schema = handler(core_schema)
        for field in handler.resolve_ref_schema(schema).get("properties", {}).values():
            if "description" in field:
                field["description"] = field["description"].replace("`", "")
        return schema


class DiscreetBlock(PlainForm, Block, ABC):  # with ABC among its bases, a class is no block type of its own
    """A block whose validation errors hold field and rule, never the value.

    `hide_input_in_errors` alone leaves the values in the error, and pickled into result storage with it.
    """

    @classmethod
    @functools.cache
    def _json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return super().model_json_schema(*args, **kwargs)

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the schema, made once a class: Prefect asks for it once for each field whenever it dumps a block.

        Args:
            *args: As pydantic takes them.
            **kwargs: Likewise.
        """
        return deepcopy(cls._json_schema(*args, **kwargs))

    @model_validator(mode="before")
    @classmethod
    def _without_what_prefect_adds(cls, values: Any) -> Any:
        """Take out what a dumped block says of itself; other unknown fields are slips."""
        if not isinstance(values, dict):
            return values
        given = cast("dict[str, Any]", values)
        own = {"block_type_slug"} if given.get("block_type_slug") == cls.get_block_type_slug() else set[str]()
        return {name: value for name, value in given.items() if name not in _DUMPED | own}

    @model_validator(mode="wrap")
    @classmethod
    def _tell_no_values(cls, data: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        try:
            return handler(data)
        except ValidationError as error:
            raise without_values(error) from None


def without_values(error: ValidationError) -> ValidationError:
    """Return the error with its fields and rules, without what was given, each problem once."""
    lines: dict[tuple[Any, ...], InitErrorDetails] = {}
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        loc = tuple(part for part in fault["loc"] if not str(part).startswith(_WRAPPER))
        told = PydanticCustomError(fault["type"], "{told}", {"told": fault["msg"]})  # pyright: ignore[reportArgumentType] - a literal for its own use
        lines[loc, fault["type"], fault["msg"]] = InitErrorDetails(type=told, loc=loc, input=_NOT_SHOWN)
    return ValidationError.from_exception_data(error.title, list(lines.values()), hide_input=True)
