"""Arrays of a manager that lie in the arena."""

from __future__ import annotations

from ... import _mproc
from .base import OnTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ArrayDirect(OnTable):
    """An Array: a list of what an array of that typecode makes of its items."""

    __slots__ = ()

    @staticmethod
    def make(typecode: Any, sequence: Any, lock: bool = True) -> tuple[Any, Any]:
        import array

        return (_mproc.List(),), array.array(typecode).typecode

    def fill(self, typecode: Any, sequence: Any, lock: bool = True) -> None:
        import array

        self.table.extend(array.array(typecode, sequence).tolist())

    def _array(self, items: Any) -> Any:
        import array

        return array.array(self.state, items)

    def _do___len__(self) -> int:
        return len(self.table)

    def _do___getitem__(self, key: Any, /) -> Any:
        if isinstance(key, slice):
            return self._array(self.table[key])
        try:
            return self.table[key]
        except (IndexError, TypeError):
            pass
        return self._array(())[key]  # raises what an array does

    def _do___setitem__(self, key: Any, value: Any, /) -> None:
        if isinstance(key, slice):
            self._set_slice(key, value)
            return
        try:
            item = self._array((value,))[0]
        except (TypeError, OverflowError, ValueError):
            self.copy()[key] = value  # raises what an array does, which looks at the key first
            raise
        try:
            self.table[key] = item
            return
        except (IndexError, TypeError):
            pass
        self._array(())[key] = item  # raises what an array does

    def _set_slice(self, key: slice, value: Any) -> None:
        new = value.tolist() if type(value) is type(self._array(())) else None
        like = self._array(())
        if key.step not in (None, 1):
            like = self.copy()
        if new is None or value.typecode != self.state or len(like):
            like[key] = value  # raises what an array does
        self.table[key] = new

    def text(self) -> str:
        return repr(self.copy())

    def copy(self) -> Any:
        return self._array(self.table._copy()[0])
