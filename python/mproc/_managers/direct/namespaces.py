"""Namespaces of a manager that lie in the arena."""

from __future__ import annotations

from ..life import Dict, riding
from .base import MISSING, OnTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class NamespaceDirect(OnTable):
    """A Namespace: a table of its attributes."""

    __slots__ = ()

    @staticmethod
    def make(**kwds: Any) -> tuple[Any, Any]:
        return (Dict(),), None

    def fill(self, **kwds: Any) -> None:
        for key, value in kwds.items():
            self._do___setattr__(key, value)

    def _do___getattribute__(self, key: str, /) -> Any:
        found = self.table.get(key, MISSING)
        return getattr(self.copy(), key) if found is MISSING else found

    def _do___setattr__(self, key: str, value: Any, /) -> None:
        if not isinstance(key, str):
            raise TypeError(f"attribute name must be string, not {type(key).__name__!r}")
        with riding(True):
            self.table[str.__str__(key)] = value

    def _do___delattr__(self, key: str, /) -> None:
        if self.table.pop(key, MISSING) is MISSING:
            delattr(self.copy(), key)

    def text(self) -> str:
        return repr(self.copy())

    def copy(self) -> Any:
        from ..values import Namespace

        return Namespace(**self.table._copy())
