"""Types of block fields that are read as one type and may be given as another, as pydantic converts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import SecretStr

if TYPE_CHECKING:
    from typing import Generic, TypeVar

    _Read = TypeVar("_Read")
    _Written = TypeVar("_Written")

    # For type checkers a field of a descriptor's type takes in the constructor what `__set__` does.
    class Given(Generic[_Read, _Written]):
        """A field that is read as one type and may be given as another."""

        def __get__(self, owner: object, kind: type | None = None) -> _Read: ...
        def __set__(self, owner: object, value: _Written) -> None: ...

    Secret = Given[SecretStr, SecretStr | str]
else:
    Given = None
    Secret = SecretStr
