"""Lists of a manager that lie in the arena."""

from __future__ import annotations

from ... import _mproc
from ..life import riding
from .base import OnTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ListDirect(OnTable):
    """A list."""

    __slots__ = ()
    like = list

    @staticmethod
    def make(iterable: Any = (), /) -> tuple[Any, Any]:
        return (_mproc.List(),), None

    def fill(self, iterable: Any = (), /) -> None:
        self._do_extend(iterable)

    def _do_copy(self) -> list[Any]:
        values: list[Any] = self.table._copy()[0]
        return values

    copy = _do_copy

    def text(self) -> str:
        return repr(self._do_copy())

    def _do___len__(self) -> int:
        return len(self.table)

    def _do___getitem__(self, key: Any, /) -> Any:
        return self.table[key]

    def _do___setitem__(self, key: Any, value: Any, /) -> None:
        new = self._fitting(key, value) if isinstance(key, slice) else value
        with riding(True):
            self.table[key] = new

    def _fitting(self, key: slice, values: Any) -> list[Any]:
        """Return what a slice is to become; raise what a list raises for what it cannot become."""
        try:
            iter(values)
        except TypeError:
            [None][key] = values
            raise
        new = list(values)
        if key.step not in (None, 1):
            like: list[Any] = [None] * len(self.table)
            like[key] = new
        return new

    def _do___delitem__(self, key: Any, /) -> None:
        del self.table[key]

    def _do___contains__(self, value: Any, /) -> bool:
        return value in self._do_copy()

    def _do___reversed__(self) -> Any:
        return reversed(self._do_copy())

    def _do___add__(self, other: Any, /) -> Any:
        return self._do_copy().__add__(other)

    def _do___mul__(self, times: Any, /) -> Any:
        return self._do_copy().__mul__(times)

    def _do___rmul__(self, times: Any, /) -> Any:
        return self._do_copy().__rmul__(times)

    def _do___imul__(self, times: Any, /) -> None:
        n = len([None].__mul__(times))
        if n == 0:
            self.table.clear()
        elif n > 1:
            self._do_extend(self._do_copy() * (n - 1))

    def _do_append(self, value: Any, /) -> None:
        with riding(True):
            self.table.append(value)

    def _do_extend(self, iterable: Any, /) -> None:
        values = list(iterable)
        with riding(True):
            self.table.extend(values)

    def _do_insert(self, index: Any, value: Any, /) -> None:
        like: list[Any] = []
        like.insert(index, None)  # raises what a list does
        with riding(True):
            self.table.insert(index, value)

    def _do_pop(self, *index: Any) -> Any:
        return self.table.pop(*index)

    def _do_remove(self, value: Any, /) -> None:
        while True:
            values = self._do_copy()
            i = next((i for i, v in enumerate(values) if v is value or v == value), None)
            if i is None:
                [].remove(value)  # raises what a list does
            try:
                found, version = self.table._read(i)
            except IndexError:
                continue  # there are fewer meanwhile
            if (found is value or found == value) and self.table._delete(i, version):
                return

    def _do_clear(self) -> None:
        self.table.clear()

    def _do_count(self, value: Any, /) -> int:
        return self._do_copy().count(value)

    def _do_index(self, value: Any, /, *bounds: Any) -> int:
        return self._do_copy().index(value, *bounds)

    def _do_reverse(self) -> None:
        self.table.reverse()

    def _do_sort(self, *, key: Any = None, reverse: Any = False) -> None:
        while True:
            values, version = self.table._copy()
            keys = values if key is None else [*map(key, values)]
            order = sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse)
            if self.table._arrange(order, version):
                return
