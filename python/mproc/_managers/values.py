"""Namespace, Value and Array of a manager."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import array
    from collections.abc import Iterable
    from typing import Any


class Namespace:
    """An object to set attributes on."""

    __module__ = "mproc.managers"

    def __init__(self, /, **kwds: Any) -> None:
        self.__dict__.update(kwds)

    def __repr__(self) -> str:
        items = [f"{k}={v!r}" for k, v in sorted(self.__dict__.items()) if k[:1] != "_"]
        return f"{type(self).__name__}({', '.join(items)})"


class Value:
    """An object with a value. The typecode is of no use but in its repr()."""

    __module__ = "mproc.managers"

    def __init__(self, typecode: Any, value: Any, lock: bool = True) -> None:
        self._typecode = typecode
        self._value = value

    def get(self) -> Any:
        """Return the value."""
        return self._value

    def set(self, value: Any) -> None:
        """Set the value."""
        self._value = value

    value = property(get, set)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._typecode!r}, {self._value!r})"


def Array(typecode: str, sequence: Iterable[Any], lock: bool = True) -> array.array[Any]:
    """Return an array of the standard library's array module."""
    import array

    return array.array(typecode, sequence)
