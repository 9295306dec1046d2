"""Dicts of a manager that lie in the arena."""

from __future__ import annotations

from ..life import Dict, riding
from ..proxies import PLAIN_VALUES, Keyed
from .base import MISSING, pickled
from .keys import KeyIterator, OnKeys, is_stand_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class DictDirect(OnKeys):
    """A dict."""

    __slots__ = ()
    like = {None: None}.copy  # an empty one's pop() does not look at its key

    @staticmethod
    def make(*args: Any, **kwds: Any) -> tuple[Any, Any]:
        return (Dict(),), None

    def fill(self, *args: Any, **kwds: Any) -> None:
        self._do_update(*args, **kwds)

    def _do___setitem__(self, key: Any, value: Any, /) -> None:
        with riding(True):
            if self._is_simple(key):
                self.table[key] = value
            else:
                self._set_odd(key, value)

    def _do___getitem__(self, key: Any, /) -> Any:
        try:
            return self._value_of(self.table[self._find(key)])
        except KeyError:
            raise KeyError(key) from None

    def _do_get(self, key: Any, default: Any = None, /) -> Any:
        return self._value_of(self.table.get(self._find(key), default))

    def _do___contains__(self, key: Any, /) -> bool:
        return self._find(key) in self.table

    def _do___delitem__(self, key: Any, /) -> None:
        try:
            del self.table[self._find(key)]
        except KeyError:
            raise KeyError(key) from None

    def _do_pop(self, key: Any, /, *default: Any) -> Any:
        if len(default) > 1:
            raise TypeError(f"pop expected at most 2 arguments, got {1 + len(default)}")
        found = default[0] if default else MISSING
        if len(self.table):  # an empty dict does not ask for the key's hash
            found = self.table.pop(self._find(key), found)
        if found is MISSING:
            raise KeyError(key)
        return self._value_of(found)

    def _do_popitem(self) -> tuple[Any, Any]:
        key, value = self.table.popitem()
        return (value.key, value.value) if type(value) is Keyed else (key, value)

    def _do_setdefault(self, key: Any, default: Any = None, /) -> Any:
        with riding(True):
            if self._is_simple(key):
                return self.table.setdefault(key, default)
            place = self._find(key)
            found = MISSING if is_stand_in(place) else self.table.get(place, MISSING)
            if found is not MISSING:
                return self._value_of(found)
            return self._set_odd(key, default, only_new=True)

    def _do_update(self, *args: Any, **kwds: Any) -> None:
        new = dict(*args, **kwds)
        if not PLAIN_VALUES.issuperset(map(type, new.values())):
            with riding(True):  # nothing is changed if something cannot be pickled
                pickled(new)
        for key, value in new.items():
            self._do___setitem__(key, value)

    def _do___len__(self) -> int:
        return len(self.table)

    def _do_clear(self) -> None:
        self.table.clear()

    def _do_copy(self) -> dict[Any, Any]:
        copied: dict[Any, Any] = self.table._copy()
        return dict(self._pairs()) if self._is_odd() else copied

    copy = _do_copy

    def text(self) -> str:
        return repr(self._do_copy())

    def _do_keys(self) -> list[Any]:
        return self._list_keys()

    def _do_values(self) -> list[Any]:
        return [value for _, value in self._pairs()]

    def _do_items(self) -> list[tuple[Any, Any]]:
        return self._pairs()

    def _do___iter__(self) -> Any:
        return KeyIterator(self, "dictionary")

    def _do___reversed__(self) -> Any:
        return iter([*reversed(self._do_keys())])

    def _do_fromkeys(self, keys: Any, value: Any = None, /) -> dict[Any, Any]:
        return dict.fromkeys(keys, value)

    def _do___or__(self, other: Any, /) -> Any:
        return self._do_copy().__or__(other)

    def _do___ror__(self, other: Any, /) -> Any:
        return self._do_copy().__ror__(other)

    def _do___ior__(self, other: Any, /) -> None:
        self._do_update(other)
