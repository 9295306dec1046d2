"""Sets that all processes of a family share, without a server.

A Set has a set's own methods. It is the keys of a shared dict: what it can contain, and which
elements are equal, is as docs/dicts.md says of keys. add(), remove(), discard(), pop() and clear()
are one step each. What takes several elements changes one after the other.
"""

from __future__ import annotations

from collections.abc import MutableSet
from typing import Any, TypeVar

from . import _mproc, context

_mproc._add_containers()

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from .context import BaseContext

__all__ = ["Set"]

_T = TypeVar("_T")


class Set(MutableSet[_T]):
    """A set for all processes of the family; made as set() is.

    Iteration goes over a copy, made at that moment, in the order of insertion: others may add and
    discard elements meanwhile. What the operators give is an ordinary set.
    """

    _keys: _Keys

    def __init__(self, iterable: Iterable[_T] = (), /) -> None:
        """Begin with these elements."""
        self._keys = _Keys()
        self.update(iterable)

    def _belong_to(self, ctx: BaseContext) -> None:
        if ctx._name == "fork":
            self._keys._is_fork_ctx = True

    # ---- looking

    def copy(self) -> set[_T]:
        """Return an ordinary set with the elements of this one."""
        return set(self._keys._list_keys())

    def __contains__(self, value: object) -> bool:
        return value in self._keys

    def __iter__(self) -> Iterator[_T]:
        return iter(self._keys._list_keys())

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return repr(self.copy())

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> set[Any]:
        return set(it)

    def issubset(self, other: Iterable[Any], /) -> bool:
        """Return whether all elements are in other."""
        return self.copy().issubset(other)

    def issuperset(self, other: Iterable[Any], /) -> bool:
        """Return whether all elements of other are here."""
        return self.copy().issuperset(other)

    def union(self, *others: Iterable[Any]) -> set[Any]:
        """Return an ordinary set with the elements of this one and of all others."""
        return self.copy().union(*others)

    def intersection(self, *others: Iterable[Any]) -> set[_T]:
        """Return an ordinary set with the elements that are in all others, too."""
        return self.copy().intersection(*others)

    def difference(self, *others: Iterable[Any]) -> set[_T]:
        """Return an ordinary set with the elements that are in none of the others."""
        return self.copy().difference(*others)

    def symmetric_difference(self, other: Iterable[Any], /) -> set[Any]:
        """Return an ordinary set with the elements that are in one of the two."""
        return self.copy().symmetric_difference(other)

    # ---- changing

    def add(self, value: _T) -> None:
        """Add an element; nothing happens if it is there."""
        self.insert(value)

    def insert(self, value: _T) -> bool:
        """Add an element; return whether it was not there. Of several who do so, one is told so."""
        return self._keys._put(value, None, 0)

    def discard(self, value: Any) -> None:
        """Take an element out; nothing happens if it is not there."""
        self._keys.pop(value, None)

    def remove(self, value: Any) -> None:
        """Take an element out. KeyError: it is not there."""
        del self._keys[value]

    def pop(self) -> _T:
        """Take out and return the element that was added last. KeyError: there is none."""
        try:
            element: _T = self._keys.popitem()[0]
        except KeyError:
            raise KeyError("pop from an empty set") from None
        return element

    def clear(self) -> None:
        """Take everything out, in one step."""
        self._keys.clear()

    def update(self, *others: Iterable[_T]) -> None:
        """Add the elements of all others."""
        for other in others:
            for value in list(other):
                self.add(value)

    def difference_update(self, *others: Iterable[Any]) -> None:
        """Take out the elements of all others."""
        for other in others:
            for value in list(other):
                self.discard(value)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        """Take out the elements that are not in all others."""
        self.difference_update(self.copy() - self.intersection(*others))

    def symmetric_difference_update(self, other: Iterable[Any], /) -> None:
        """Take out the elements that are in other, and add those that were not here."""
        mine, theirs = self.copy(), set(other)
        self.difference_update(theirs & mine)
        self.update(theirs - mine)

    def __ior__(self, other: AbstractSet[Any]) -> Set[_T]:  # type: ignore[misc]
        self.update(other)
        return self

    def __iand__(self, other: AbstractSet[Any]) -> Set[_T]:
        self.intersection_update(other)
        return self

    def __isub__(self, other: AbstractSet[Any]) -> Set[_T]:
        self.difference_update(other)
        return self

    def __ixor__(self, other: AbstractSet[Any]) -> Set[_T]:  # type: ignore[misc]
        self.symmetric_difference_update(other)
        return self

    # ---- for children that are being started

    def __getstate__(self) -> Any:
        if not _mproc.goes_into_container(self):
            context.assert_spawning(self)
        return self._keys

    def __setstate__(self, keys: _Keys) -> None:
        self._keys = keys


class _Keys(_mproc.Dict):
    """The dict whose keys are a set's elements."""

    _is_fork_ctx = False

    def __getstate__(self) -> Any:
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        from . import reduction

        return reduction.reduce_handle(self)
