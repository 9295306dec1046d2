"""Keys of a dict or set in the arena.

The table of a dict (mproc.Dict) compares bytes. Most keys are equal exactly if their bytes are
(is_plain). Any other key is looked for among all that the dict has, by == and hash(), and the first
of equal keys stays, as in any dict: where the table would give back another one (True is written as
1), it is kept with the value (Keyed). A table with such a key is odd, and its manager is ODD. So
are those with a key that no table takes: one with a set, of a class of __main__, or of too many
bytes. In the table a stand-in has its place, and it is kept with the value. Only an odd table may
have to be searched for a plain key.
"""

from __future__ import annotations

from .. import life as _life
from ..life import ODD, PLAIN
from ..proxies import Keyed
from .base import MISSING, OnTable, pickled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STAND_IN = "\0stand-in"  # begins the key of a table that stands for one that no table takes
_SET_OPCODES = b"\x8f\x90\x91"  # of pickle: EMPTY_SET, ADDITEMS, FROZENSET
_MAINS = b"__main__", b"__mp_main__"
_SHORT = 2000  # characters or bytes that any table takes


def is_plain(key: Any) -> bool:
    """Return whether exactly the same keys are equal to it as have its bytes."""
    kind = type(key)
    if kind is tuple:
        return all(map(is_plain, key))
    return (
        kind is str
        or kind is int
        or kind is bytes
        or key is None
        or (kind is float and not key.is_integer() and key == key)
    )


def has_nan(key: Any) -> bool:
    """Return whether it is, or has in it, a number that a copy is not equal to."""
    kind = type(key)
    return (kind is float and key != key) or (kind is tuple and any(map(has_nan, key)))


def _as_plain(key: Any) -> Any:
    """Return a key of a built-in type that is equal; MISSING if there may be none."""
    kind = type(key)
    if kind in (bool, float):
        return MISSING if key != key else key
    if kind is tuple:
        items = tuple(item if is_plain(item) else _as_plain(item) for item in key)
        return MISSING if any(item is MISSING for item in items) else items
    for base, plain in (
        (str, lambda: str.__str__(key)),
        (bytes, lambda: bytes.join(b"", (key,))),
        (tuple, lambda: tuple(key)),
    ):
        if isinstance(key, base):
            found = plain()
            return found if found == key and hash(found) == hash(key) else MISSING
    for number in (int, float):
        try:
            value = number(key)
            if value == key and hash(value) == hash(key):
                return value
        except Exception:
            continue
    return MISSING


def _may_vary(key: Any) -> bool:
    """Return whether the pickle may differ from process to process.

    The order of a set does, and the name by which a program's main module goes.
    """
    if type(key) in (bool, float):
        return False
    made = bytes(pickled(key))
    return any(opcode in made for opcode in _SET_OPCODES) or any(name in made for name in _MAINS)


def is_stand_in(place: Any) -> bool:
    return type(place) is tuple and type(next(iter(place), 0)) is str and place[0] == _STAND_IN


def _are_equal(real: Any, key: Any) -> bool:
    """Return whether a dict takes one for the other; `!=` need not be the opposite of `==`."""
    return real is key or bool(real == key)


class OnKeys(OnTable):
    """What is kept in one table, by keys that are equal as those of a dict are."""

    __slots__ = ()

    def _is_odd(self) -> bool:
        """Return whether it may have keys that are not what they are stored as."""
        return self.life.flags[0] == ODD and bool(memoryview(self.token)[_life.ODD_AT])

    def _fits(self, key: Any) -> bool:
        """Return whether a table takes the key, as the same bytes in all processes."""
        if type(key) in (str, bytes) and len(key) <= _SHORT:
            return True
        if is_stand_in(key) or has_nan(key):
            return False  # the first is a program's own of that form; another one stands in for it
        try:
            key in self.table  # noqa: B015 - raises, if it is too long or cannot be told from others
            return is_plain(key) or not _may_vary(key)
        except (TypeError, ValueError):
            return False

    def _is_simple(self, key: Any) -> bool:
        """Return whether the key is the table's own, without a look at the others."""
        return is_plain(key) and not self._is_odd() and self._fits(key)

    def _find(self, key: Any) -> Any:
        """Return the table's key that is equal, and would be if it were there."""
        if self._is_simple(key):
            return key
        wanted = hash(key)
        plain = key if is_plain(key) else _as_plain(key)
        if plain is not MISSING and not self._fits(plain):
            plain = MISSING
        if plain is not MISSING and plain in self.table:
            return plain
        for other in self.table._list_keys():
            real = self._key_of(other)
            if hash(real) == wanted and _are_equal(real, key):
                return other
        if plain is not MISSING:
            return plain
        return key if self._fits(key) else self._free_stand_in(wanted)

    def _free_stand_in(self, number: int) -> Any:
        """Return a stand-in for a key of that hash; for equal keys, forks choose the same."""
        found: tuple[Any, ...] = _STAND_IN, number
        while found in self.table:
            found = (*found, 0)
        return found

    def _key_of(self, place: Any) -> Any:
        """Return the key for which the table has one; if it has gone meanwhile, any other one."""
        if not is_stand_in(place):
            return place
        found = self.table.get(place)
        return found.key if type(found) is Keyed else place

    def _value_of(self, found: Any) -> Any:
        return found.value if type(found) is Keyed else found

    def _pairs(self) -> list[tuple[Any, Any]]:
        pairs: list[tuple[Any, Any]] = self.table._list_items()
        if not self._is_odd():
            return pairs
        return [(v.key, v.value) if type(v) is Keyed else (k, v) for k, v in pairs]

    def _set_odd(self, key: Any, value: Any, *, only_new: bool = False) -> Any:
        """Set a key that may be odd; return the value that it has now.

        only_new: a key that is there keeps its value. A key that is not equal to itself, such as
        NaN, is never there.
        """
        memoryview(self.token)[_life.ODD_AT] = 1  # before the manager's, which is looked at first
        self.life.buffer._change(0, PLAIN, ODD)  # in one step: it may become DEAD meanwhile
        while True:
            place = self._find(key)
            old, version = self.table._read(place) or (None, 0)
            if version and only_new and not is_stand_in(place):
                return self._value_of(old)
            if type(old) is Keyed:
                if is_stand_in(place) and not _are_equal(old.key, key):
                    continue  # another key of the same hash has come meanwhile
                if only_new:
                    return old.value
                new = Keyed(old.key, value)
            elif is_stand_in(place):
                new = Keyed(key, value)
            elif version or is_plain(key) or _as_plain(key) is MISSING:
                new = value
            else:
                new = Keyed(key, value)
            if self.table._put(place, new, version):
                return value

    def _list_keys(self) -> list[Any]:
        return [key for key, _ in self._pairs()] if self._is_odd() else self.table._list_keys()


class KeyIterator:
    """Goes over the keys that a dict or set has now, and says so when it has more or fewer."""

    def __init__(self, direct: OnKeys, what: str) -> None:
        keys = direct._list_keys()
        self._direct, self._what, self._count, self._keys = direct, what, len(keys), iter(keys)

    def __iter__(self) -> KeyIterator:
        return self

    def __next__(self) -> Any:
        self._direct.life.check()
        if len(self._direct.table) != self._count:
            raise RuntimeError(f"{self._what} changed size during iteration")
        return next(self._keys)
