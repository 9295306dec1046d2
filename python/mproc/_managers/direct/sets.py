"""Sets of a manager that lie in the arena: the keys of a table."""

from __future__ import annotations

from ..life import Dict, riding
from ..proxies import Keyed
from .base import MISSING, PREFIX, expose, pickled
from .keys import KeyIterator, OnKeys, has_nan, is_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _on_copy(name: str) -> Callable[..., Any]:
    """Return what does a method of sets that changes nothing: a copy does it."""

    def method(self: SetDirect, *args: Any) -> Any:
        return getattr(self._do_copy(), name)(*args)

    return method


def _in_place(change: str) -> Callable[..., Any]:
    """Return what does an operator that changes a set, and takes nothing but sets."""

    def method(self: SetDirect, other: Any, /) -> Any:
        if not isinstance(other, (set, frozenset)):
            return NotImplemented
        getattr(self, PREFIX + change)(other)
        return None

    return method


class SetDirect(OnKeys):
    """A set: the keys of a table."""

    __slots__ = ()
    like = set

    @staticmethod
    def make(iterable: Any = (), /) -> tuple[Any, Any]:
        return (Dict(),), None

    def fill(self, iterable: Any = (), /) -> None:
        self._do_update(iterable)

    def _do_copy(self) -> set[Any]:
        return set(self._list_keys())

    copy = _do_copy

    def text(self) -> str:
        return repr(self._do_copy())

    def _find_element(self, value: Any) -> Any:
        """Return the table's key. A set is looked for as a frozenset, as in any set."""
        return self._find(frozenset(value) if isinstance(value, set) else value)

    def _do___contains__(self, value: Any, /) -> bool:
        return self._find_element(value) in self.table

    def _do___len__(self) -> int:
        return len(self.table)

    def _do___iter__(self) -> Any:
        return KeyIterator(self, "Set")

    def _do_add(self, value: Any, /) -> None:
        with riding(True):
            if self._is_simple(value):
                self.table.setdefault(value, None)
            elif self._find(value) not in self.table:
                self._set_odd(value, None)

    def _do_discard(self, value: Any, /) -> None:
        self.table.pop(self._find_element(value), None)

    def _do_remove(self, value: Any, /) -> None:
        if self.table.pop(self._find_element(value), MISSING) is MISSING:
            raise KeyError(value)

    def _do_pop(self) -> Any:
        try:
            key, value = self.table.popitem()
        except KeyError:
            raise KeyError("pop from an empty set") from None
        return value.key if type(value) is Keyed else key

    def _do_clear(self) -> None:
        self.table.clear()

    def _do_update(self, *others: Any) -> None:
        new = dict.fromkeys(value for other in others for value in other)
        if not all(map(is_plain, new)):
            with riding(True):  # nothing is changed if something cannot be pickled
                pickled(list(new))
        for value in new:
            self._do_add(value)

    def _do_difference_update(self, *others: Any) -> None:
        for value in set().union(*others):
            self._do_discard(value)

    def _do_intersection_update(self, *others: Any) -> None:
        mine = [(v.key if type(v) is Keyed else k, k) for k, v in self.table._list_items()]
        kept = {value for value, _ in mine}.intersection(*others)
        for value, place in mine:
            if value not in kept and has_nan(value):  # which discard() does not find
                self.table.pop(place, None)
            elif value not in kept:
                self._do_discard(value)

    def _do_symmetric_difference_update(self, other: Any, /) -> None:
        theirs = set(other)
        added = theirs - self._do_copy()
        for value in theirs - added:
            self._do_discard(value)
        self._do_update(added)

    _do___iand__ = _in_place("intersection_update")
    _do___ior__ = _in_place("update")
    _do___isub__ = _in_place("difference_update")
    _do___ixor__ = _in_place("symmetric_difference_update")


for _name in (
    "__and__", "__ge__", "__gt__", "__le__", "__lt__", "__or__", "__rand__", "__ror__", "__rsub__",
    "__rxor__", "__sub__", "__xor__", "difference", "intersection", "isdisjoint", "issubset",
    "issuperset", "symmetric_difference", "union",
):  # fmt: skip
    setattr(SetDirect, PREFIX + _name, _on_copy(_name))
del _name
expose(SetDirect)
