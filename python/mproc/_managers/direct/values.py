"""Values of a manager that lie in the arena."""

from __future__ import annotations

from ..life import Dict, riding
from .base import OnTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ValueDirect(OnTable):
    """A Value: the only entry of a table."""

    __slots__ = ()

    @staticmethod
    def make(typecode: Any, value: Any, lock: bool = True) -> tuple[Any, Any]:
        return (Dict(),), typecode

    def fill(self, typecode: Any, value: Any, lock: bool = True) -> None:
        self._do_set(value)

    def _do_get(self) -> Any:
        return self.table[""]

    def _do_set(self, value: Any, /) -> None:
        with riding(True):
            self.table[""] = value

    def text(self) -> str:
        return repr(self.copy())

    def copy(self) -> Any:
        from ..values import Value

        return Value(self.state, self._do_get())
