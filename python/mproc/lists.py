"""Lists that all processes of a family share, without a server.

A List has a list's own methods. Each of them is one step, and what it has changed is there when it
returns. What is read is a copy: a dict in a shared list is changed by setting it again, or by
update_with().
"""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any, TypeVar

from . import _mproc
from ._recursion import shown_once

_mproc._add_containers()

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .context import BaseContext

__all__ = ["List"]

_T = TypeVar("_T")


class List(_mproc.List, MutableSequence[_T]):
    """A list for all processes of the family; made as list() is.

    Iteration goes over a copy of one moment: others may change the list meanwhile. A slice of it
    is an ordinary list.
    """

    _is_fork_ctx = False

    def __init__(self, iterable: Iterable[_T] = (), /) -> None:
        """Begin with these elements."""
        self.extend(iterable)

    def _belong_to(self, ctx: BaseContext) -> None:
        if ctx._name == "fork":
            self._is_fork_ctx = True

    # ---- looking

    def copy(self) -> list[_T]:
        """Return an ordinary list with the elements of this one, all of one moment."""
        elements: list[_T] = self._copy()[0]
        return elements

    def __iter__(self) -> Iterator[_T]:
        return iter(self.copy())

    def __reversed__(self) -> Iterator[_T]:
        return reversed(self.copy())

    def __contains__(self, value: object) -> bool:
        return value in self.copy()

    def index(self, value: Any, start: int = 0, stop: int = 2**63 - 1, /) -> int:
        """Return the index of the first element equal to value. ValueError: there is none."""
        return self.copy().index(value, start, stop)

    def count(self, value: Any, /) -> int:
        """Return how many elements are equal to value."""
        return self.copy().count(value)

    def __repr__(self) -> str:
        return shown_once(self.address, lambda: repr(self.copy()), "[...]")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, List)):
            return NotImplemented
        return self.copy() == _plain(other)

    def __lt__(self, other: Any) -> bool:
        if not isinstance(other, (list, List)):
            return NotImplemented
        return self.copy() < _plain(other)

    def __le__(self, other: Any) -> bool:
        if not isinstance(other, (list, List)):
            return NotImplemented
        return self.copy() <= _plain(other)

    def __gt__(self, other: Any) -> bool:
        if not isinstance(other, (list, List)):
            return NotImplemented
        return self.copy() > _plain(other)

    def __ge__(self, other: Any) -> bool:
        if not isinstance(other, (list, List)):
            return NotImplemented
        return self.copy() >= _plain(other)

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Any) -> list[Any]:
        if not isinstance(other, (list, List)):
            return NotImplemented
        return self.copy() + _plain(other)

    def __radd__(self, other: Any) -> list[Any]:
        if not isinstance(other, list):
            return NotImplemented
        return other + self.copy()

    def __mul__(self, times: Any) -> list[_T]:
        return self.copy() * times  # type: ignore[no-any-return]

    __rmul__ = __mul__

    # ---- changing

    def __iadd__(self, values: Iterable[_T]) -> List[_T]:  # type: ignore[misc]
        self.extend(values)
        return self

    def __imul__(self, times: int) -> List[_T]:  # type: ignore[misc]
        if times <= 0:
            self.clear()
        else:
            self.extend(self.copy() * (times - 1))
        return self

    def remove(self, value: Any, /) -> None:
        """Take out the first element that is equal to value. ValueError: there is none."""
        while True:
            try:
                i = self.copy().index(value)
            except ValueError:
                raise ValueError("list.remove(x): x not in list") from None
            try:
                found, version = self._read(i)
            except IndexError:
                continue
            if found == value and self._delete(i, version):
                return

    def sort(self, *, key: Callable[[_T], Any] | None = None, reverse: bool = False) -> None:
        """Put the elements in order, as list.sort() does, in one step.

        If others change the list while it is sorted, it is sorted again, as it is then.
        """
        while True:
            values, version = self._copy()
            keys = values if key is None else [key(value) for value in values]
            order = sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse)
            if self._arrange(order, version):
                return

    # ---- several steps as one

    def add(self, index: int, n: Any = 1) -> Any:
        """Add n to an element; return the sum. One step. IndexError: there is none."""
        return self.update_with(index, lambda value: value + n)

    def update_with(self, index: int, fn: Callable[[Any], Any]) -> Any:
        """Give an element the value that fn makes of its old one, and return the new one.

        If another call changes what is at that index meanwhile, fn is called again with that.
        """
        while True:
            old, version = self._read(index)
            new = fn(old)
            if self._put(index, new, version):
                return new

    # ---- for children that are being started

    def __getstate__(self) -> Any:
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        from . import reduction

        return reduction.reduce_handle(self)


def _plain(values: Any) -> list[Any]:
    return values.copy() if isinstance(values, List) else values
