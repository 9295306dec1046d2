"""Objects of a manager that lie in the arena: each call is made by the process that makes it.

A Direct stands for such an object in a process: a proxy of it calls `call()`, where any other proxy
sends a request to a server. It does what the server's object of that type does, with the same
results and errors. Values are copies, pickled by who sets them and unpickled by who gets them.

What waits does so in slices, and looks after each whether the manager has been shut down.

Keys of a dict. The table of a dict (mproc.Dict) compares bytes. Most keys are equal exactly if
their bytes are (_is_plain). Any other key is looked for among all that the dict has, by == and
hash(), and the first of equal keys stays, as in any dict: where the table would give back another
one (True is written as 1), it is kept with the value (_Keyed). A table with such a key is odd, and
its manager is ODD. So are those with a key that no table takes: one with a set, of a class of
__main__, or of too many bytes. In the table a stand-in has its place, and it is kept with the
value. Only an odd table may have to be searched for a plain key.
"""

from __future__ import annotations

from time import monotonic as _monotonic

from .. import _mproc
from .._mproc import Buffer
from ..context import get_spawning_popen
from . import life as _life
from .life import ODD, PLAIN, Dict, Life, riding
from .proxies import _PLAIN_VALUES, _Keyed, direct_proxy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar

SLICE = 0.1  # seconds of waiting between two looks whether the manager lives
_PREFIX = "_do_"  # begins the name of what does a method
_MISSING: Any = object()
_STAND_IN = "\0stand-in"  # begins the key of a table that stands for one that no table takes
_SET_OPCODES = b"\x8f\x90\x91"  # of pickle: EMPTY_SET, ADDITEMS, FROZENSET
_MAINS = b"__main__", b"__mp_main__"
_SHORT = 2000  # characters or bytes that any table takes


class Direct:
    """An object of a manager, as a process has it."""

    __slots__ = ("__weakref__", "ident", "life", "parts", "state", "token", "typeid")

    exposed: ClassVar[frozenset[str]] = frozenset()
    shown: ClassVar[tuple[str, ...]] = ()  # the methods of its proxies, if they have no type

    def __init__(
        self, life: Life, typeid: str, ident: str, token: Buffer, parts: Any, state: Any
    ) -> None:
        self.life = life
        self.typeid = typeid
        self.ident = ident
        self.token = token
        self.parts = parts  # handles of the objects of the arena that it is made of
        self.state = state  # what else each process has to know of it
        _life.know(self)

    @classmethod
    def made(cls, life: Life, typeid: str, *args: Any, **kwds: Any) -> Direct:
        """Return a new object. Errors are those of making one of the arguments."""
        parts, state = cls.make(*args, **kwds)
        ident, token = _life.keep(life, parts)
        direct = cls(life, typeid, ident, token, parts, state)
        direct.fill(*args, **kwds)
        return direct

    @staticmethod
    def make(*args: Any, **kwds: Any) -> tuple[Any, Any]:
        """Return the parts and the state of a new object."""
        raise NotImplementedError

    def fill(self, *args: Any, **kwds: Any) -> None:
        """Give a new object its contents."""

    def call(self, name: str, args: Any, kwds: Mapping[str, Any]) -> Any:
        """Call a method. RemoteError: there is no such; ConnectionError: the manager has ended."""
        self.life.check()
        if name in self.exposed:
            return getattr(self, _PREFIX + name)(*args, **kwds)
        if name in ("__repr__", "__str__"):
            return self.text()
        if name == "#GETVALUE":
            return self.copy()
        from .wire import RemoteError

        known = sorted(self.exposed)
        raise RemoteError(
            f"AttributeError: method {name!r} of {self.typeid!r} object is not in exposed={known}\n"
        )

    def text(self) -> str:
        """Return the object's repr()."""
        return f"<{self.typeid} {self.ident} of a manager>"

    def copy(self) -> Any:
        """Return a copy of the object. RemoteError: objects of the type have none."""
        from .wire import RemoteError

        raise RemoteError(f"Unserializable message: a {self.typeid} cannot be copied\n")

    def wait(self, attempt: Callable[[float], Any], seconds: float | None) -> bool:
        """Call attempt(seconds) until it is true or the time is over; return whether it was."""
        deadline = None if seconds is None else _monotonic() + seconds
        while True:
            left = SLICE if deadline is None else min(SLICE, deadline - _monotonic())
            if attempt(max(left, 0)):
                return True
            self.life.check()
            if deadline is not None and _monotonic() >= deadline:
                return False

    # ---- on the way

    def reduce(self, kind: Any) -> tuple[Any, ...]:
        """Return what a proxy is pickled as; kind: its type, or the methods that it exposes."""
        life = self.life
        popen = get_spawning_popen()
        about = kind, type(self), self.typeid, self.ident, self.state, life.nonce, life.keeper
        where = life.buffer.address, life.record.address
        parts = tuple((type(part), part.address) for part in self.parts)
        if popen is not None:
            from ..reduction import give_to_child

            return _given, (
                *about,
                tuple(give_to_child(address) for address in where),
                give_to_child(self.token.address),
                tuple((cls, give_to_child(address)) for cls, address in parts),
            )
        serial = _life.count_pickle(self)
        return _sent, (*about, life.buffer, where, self.token, self.token.address, parts, serial)


def _given(
    kind: Any, cls: Any, typeid: str, ident: str, state: Any, nonce: bytes,
    keeper: tuple[int, int], where: tuple[int, int], token: int, parts: Any,
) -> Any:  # fmt: skip
    """Return the proxy that a child which was started has been given."""
    life = _life.adopt_life(nonce, where, keeper)
    mine = Buffer.adopt(token)
    handles = tuple(kind.adopt(address) for kind, address in parts)
    direct = _life.known(ident)
    if direct is None:
        direct = cls(life, typeid, ident, mine, handles, state)
    return direct_proxy(kind, direct)


def _sent(
    kind: Any, cls: Any, typeid: str, ident: str, state: Any, nonce: bytes,
    keeper: tuple[int, int], buffer: Buffer, where: tuple[int, int], token: Buffer, token_at: int,
    parts: Any, serial: int,
) -> Any:  # fmt: skip
    """Return the proxy that was pickled."""
    life = _life.life_of(nonce, buffer, where, keeper)

    def make(mine: Buffer, handles: Any) -> Direct:
        return cls(life, typeid, ident, mine, handles, state)  # type: ignore[no-any-return]

    return direct_proxy(kind, _life.arrive(life, ident, token, token_at, parts, serial, make))


def _methods(cls: type) -> frozenset[str]:
    for name, method in vars(cls).items():
        if name.startswith(_PREFIX):  # by this name, the interpreter tells of wrong arguments
            kind = cls.__name__.removesuffix("Direct")
            method.__qualname__ = f"{kind}.{name.removeprefix(_PREFIX)}"
    names = (name for base in cls.__mro__ for name in vars(base))
    return frozenset(n.removeprefix(_PREFIX) for n in names if n.startswith(_PREFIX))


class _OnTable(Direct):
    """What is kept in one container of the arena."""

    __slots__ = ("table",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        (self.table,) = self.parts


class _OnLock(Direct):
    """What one lock or semaphore of the arena is."""

    __slots__ = ("lock",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        (self.lock,) = self.parts


# ---- dicts


def _is_plain(key: Any) -> bool:
    """Return whether exactly the same keys are equal to it as have its bytes."""
    kind = type(key)
    if kind is tuple:
        return all(map(_is_plain, key))
    return (
        kind is str
        or kind is int
        or kind is bytes
        or key is None
        or (kind is float and not key.is_integer() and key == key)
    )


def _as_plain(key: Any) -> Any:
    """Return a key of a built-in type that is equal; _MISSING if there may be none."""
    kind = type(key)
    if kind in (bool, float):
        return key
    if kind is tuple:
        items = tuple(item if _is_plain(item) else _as_plain(item) for item in key)
        return _MISSING if any(item is _MISSING for item in items) else items
    for base, plain in (
        (str, lambda: str.__str__(key)),
        (bytes, lambda: bytes.join(b"", (key,))),
        (tuple, lambda: tuple(key)),
    ):
        if isinstance(key, base):
            found = plain()
            return found if found == key and hash(found) == hash(key) else _MISSING
    for number in (int, float):
        try:
            value = number(key)
            if value == key and hash(value) == hash(key):
                return value
        except Exception:
            continue
    return _MISSING


def _may_vary(key: Any) -> bool:
    """Return whether the pickle may differ from process to process.

    The order of a set does, and the name by which a program's main module goes.
    """
    if type(key) in (bool, float):
        return False
    made = bytes(_pickle(key))
    return any(opcode in made for opcode in _SET_OPCODES) or any(name in made for name in _MAINS)


def _is_stand_in(place: Any) -> bool:
    return type(place) is tuple and place[:1] == (_STAND_IN,)


class _OnKeys(_OnTable):
    """What is kept in one table, by keys that are equal as those of a dict are."""

    __slots__ = ()

    def _is_odd(self) -> bool:
        """Return whether it may have keys that are not what they are stored as."""
        return self.life.flags[0] == ODD and bool(memoryview(self.token)[_life.ODD_AT])

    def _fits(self, key: Any) -> bool:
        """Return whether a table takes the key, as the same bytes in all processes."""
        if type(key) in (str, bytes) and len(key) <= _SHORT:
            return True
        try:
            key in self.table  # noqa: B015 - raises, if it is too long or cannot be told from others
            return _is_plain(key) or not _may_vary(key)
        except (TypeError, ValueError):
            return False

    def _is_simple(self, key: Any) -> bool:
        """Return whether the key is the table's own, without a look at the others."""
        return _is_plain(key) and not self._is_odd() and self._fits(key)

    def _find(self, key: Any) -> Any:
        """Return the table's key that is equal, and would be if it were there."""
        if self._is_simple(key):
            return key
        wanted = hash(key)
        plain = key if _is_plain(key) else _as_plain(key)
        if plain is not _MISSING and not self._fits(plain):
            plain = _MISSING
        if plain is not _MISSING and plain in self.table:
            return plain
        for other in self.table._list_keys():
            real = self._key_of(other)
            if hash(real) == wanted and (real is key or real == key):
                return other
        if plain is not _MISSING:
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
        if not _is_stand_in(place):
            return place
        found = self.table.get(place)
        return found.key if type(found) is _Keyed else place

    def _value_of(self, found: Any) -> Any:
        return found.value if type(found) is _Keyed else found

    def _pairs(self) -> list[tuple[Any, Any]]:
        pairs: list[tuple[Any, Any]] = self.table._list_items()
        if not self._is_odd():
            return pairs
        return [(v.key, v.value) if type(v) is _Keyed else (k, v) for k, v in pairs]

    def _set_odd(self, key: Any, value: Any) -> None:
        memoryview(self.token)[_life.ODD_AT] = 1  # before the manager's, which is looked at first
        if self.life.flags[0] == PLAIN:
            self.life.flags[0] = ODD
        while True:
            place = self._find(key)
            old, version = self.table._read(place) or (None, 0)
            if type(old) is _Keyed:
                if _is_stand_in(place) and old.key != key:
                    continue  # another key of the same hash has come meanwhile
                new = _Keyed(old.key, value)
            elif _is_stand_in(place):
                new = _Keyed(key, value)
            elif version or _is_plain(key) or _as_plain(key) is _MISSING:
                new = value
            else:
                new = _Keyed(key, value)
            if self.table._put(place, new, version):
                return

    def _list_keys(self) -> list[Any]:
        return [key for key, _ in self._pairs()] if self._is_odd() else self.table._list_keys()


class DictDirect(_OnKeys):
    """A dict."""

    __slots__ = ()

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
        found = self.table.pop(self._find(key), *(default or (_MISSING,)))
        if found is _MISSING:
            raise KeyError(key)
        return self._value_of(found)

    def _do_popitem(self) -> tuple[Any, Any]:
        key, value = self.table.popitem()
        return (value.key, value.value) if type(value) is _Keyed else (key, value)

    def _do_setdefault(self, key: Any, default: Any = None, /) -> Any:
        with riding(True):
            if self._is_simple(key):
                return self.table.setdefault(key, default)
            while True:
                found = self.table.get(self._find(key), _MISSING)
                if found is not _MISSING:
                    return self._value_of(found)
                self._set_odd(key, default)

    def _do_update(self, *args: Any, **kwds: Any) -> None:
        new = dict(*args, **kwds)
        if not _PLAIN_VALUES.issuperset(map(type, new.values())):
            with riding(True):  # nothing is changed if something cannot be pickled
                _pickle(new)
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
        return _KeyIterator(self, "dictionary")

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


class _KeyIterator:
    """Goes over the keys that a dict or set has now, and says so when it has more or fewer."""

    def __init__(self, direct: _OnKeys, what: str) -> None:
        keys = direct._list_keys()
        self._direct, self._what, self._count, self._keys = direct, what, len(keys), iter(keys)

    def __iter__(self) -> _KeyIterator:
        return self

    def __next__(self) -> Any:
        self._direct.life.check()
        if len(self._direct.table) != self._count:
            raise RuntimeError(f"{self._what} changed size during iteration")
        return next(self._keys)


# ---- sets


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
        getattr(self, _PREFIX + change)(other)
        return None

    return method


class SetDirect(_OnKeys):
    """A set: the keys of a table."""

    __slots__ = ()

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
        return _KeyIterator(self, "Set")

    def _do_add(self, value: Any, /) -> None:
        with riding(True):
            if self._is_simple(value):
                self.table.setdefault(value, None)
            elif self._find(value) not in self.table:
                self._set_odd(value, None)

    def _do_discard(self, value: Any, /) -> None:
        self.table.pop(self._find_element(value), None)

    def _do_remove(self, value: Any, /) -> None:
        if self.table.pop(self._find_element(value), _MISSING) is _MISSING:
            raise KeyError(value)

    def _do_pop(self) -> Any:
        try:
            key, value = self.table.popitem()
        except KeyError:
            raise KeyError("pop from an empty set") from None
        return value.key if type(value) is _Keyed else key

    def _do_clear(self) -> None:
        self.table.clear()

    def _do_update(self, *others: Any) -> None:
        new = dict.fromkeys(value for other in others for value in other)
        if not all(map(_is_plain, new)):
            with riding(True):  # nothing is changed if something cannot be pickled
                _pickle(list(new))
        for value in new:
            self._do_add(value)

    def _do_difference_update(self, *others: Any) -> None:
        for value in set().union(*others):
            self._do_discard(value)

    def _do_intersection_update(self, *others: Any) -> None:
        mine = self._do_copy()
        for value in mine - mine.intersection(*others):
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
    setattr(SetDirect, _PREFIX + _name, _on_copy(_name))
del _name


# ---- lists


class ListDirect(_OnTable):
    """A list."""

    __slots__ = ()

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


def _pickle(obj: object) -> Any:
    from ..reduction import ForkingPickler

    return ForkingPickler.dumps(obj)


# ---- arrays


class ArrayDirect(_OnTable):
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
        item = self._array((value,))[0]
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


# ---- Value and Namespace


class ValueDirect(_OnTable):
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
        from .values import Value

        return Value(self.state, self._do_get())


class NamespaceDirect(_OnTable):
    """A Namespace: a table of its attributes."""

    __slots__ = ()

    @staticmethod
    def make(**kwds: Any) -> tuple[Any, Any]:
        return (Dict(),), None

    def fill(self, **kwds: Any) -> None:
        for key, value in kwds.items():
            self._do___setattr__(key, value)

    def _do___getattribute__(self, key: str, /) -> Any:
        found = self.table.get(key, _MISSING)
        return getattr(self.copy(), key) if found is _MISSING else found

    def _do___setattr__(self, key: str, value: Any, /) -> None:
        if not isinstance(key, str):
            raise TypeError(f"attribute name must be string, not {type(key).__name__!r}")
        with riding(True):
            self.table[str.__str__(key)] = value

    def _do___delattr__(self, key: str, /) -> None:
        if self.table.pop(key, _MISSING) is _MISSING:
            delattr(self.copy(), key)

    def text(self) -> str:
        return repr(self.copy())

    def copy(self) -> Any:
        from .values import Namespace

        return Namespace(**self.table._copy())


# ---- locks, semaphores, events


def _seconds(blocking: bool, timeout: float | None) -> float | None:
    from .referents import _seconds as seconds

    return seconds(blocking, timeout)


class LockDirect(_OnLock):
    """A Lock."""

    __slots__ = ()
    kind: ClassVar[Any] = _mproc.Lock

    @classmethod
    def make(cls) -> tuple[Any, Any]:
        return (cls.kind(),), None

    def _do_acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        seconds = _seconds(blocking, timeout)
        return self.lock.acquire(False) or self.wait(
            lambda seconds: self.lock.acquire(True, seconds), seconds
        )

    def _do_release(self) -> None:
        try:
            self.lock.release()
        except ValueError:
            raise RuntimeError("release unlocked lock") from None
        except AssertionError:
            raise RuntimeError("cannot release un-acquired lock") from None

    def _do_locked(self) -> bool:
        return self.lock.locked()  # type: ignore[no-any-return]


class RLockDirect(LockDirect):
    """An RLock."""

    __slots__ = ()
    kind = _mproc.RLock


class SemaphoreDirect(_OnLock):
    """A Semaphore."""

    __slots__ = ()
    kind: ClassVar[Any] = _mproc.Semaphore

    @classmethod
    def make(cls, value: int = 1) -> tuple[Any, Any]:
        if type(value) is not int:
            raise TypeError
        return (cls.kind(value),), None

    def _do_acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        if not blocking and timeout is not None:
            raise ValueError("can't specify timeout for non-blocking acquire")
        return self.lock.acquire(False) or bool(
            blocking and self.wait(lambda seconds: self.lock.acquire(True, seconds), timeout)
        )

    def _do_release(self, n: int = 1) -> None:
        if n < 1:
            raise ValueError("n must be one or more")
        for _ in range(n):
            self._release()

    def _release(self) -> None:
        self.lock.release()

    def _do_locked(self) -> bool:
        return self.lock.locked()  # type: ignore[no-any-return]


class BoundedSemaphoreDirect(SemaphoreDirect):
    """A BoundedSemaphore."""

    __slots__ = ()
    kind = _mproc.BoundedSemaphore

    def _release(self) -> None:
        try:
            self.lock.release()
        except ValueError:
            raise ValueError("Semaphore released too many times") from None


class EventDirect(Direct):
    """An Event."""

    __slots__ = ("event",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        (self.event,) = self.parts

    @staticmethod
    def make() -> tuple[Any, Any]:
        return (_mproc.Event(),), None

    def _do_is_set(self) -> bool:
        return self.event.is_set()  # type: ignore[no-any-return]

    def _do_set(self) -> None:
        self.event.set()

    def _do_clear(self) -> None:
        self.event.clear()

    def _do_wait(self, timeout: float | None = None) -> bool:
        return self.event.is_set() or self.wait(self.event.wait, timeout)


# ---- queues


class QueueDirect(Direct):
    """A Queue or a JoinableQueue."""

    __slots__ = ("empty", "full", "queue")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        from queue import Empty, Full

        (self.queue,) = self.parts
        self.queue._maxsize = self.state  # which an adopted handle does not know
        self.empty, self.full = Empty, Full

    @staticmethod
    def make(maxsize: int = 0) -> tuple[Any, Any]:
        if type(maxsize) is not int:
            raise TypeError
        from ..queues import JoinableQueue

        queue: JoinableQueue[Any] = JoinableQueue(maxsize)
        return (queue,), queue._maxsize

    def _do_put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        _check(block, timeout)
        if type(item) in _PLAIN_VALUES:
            self._put(item, block, timeout)
        else:
            with riding(False):
                self._put(item, block, timeout)

    def _put(self, item: Any, block: bool, timeout: float | None) -> None:
        try:
            self.queue.put(item, False)
        except self.full:
            if not block or not self.wait(lambda s: self._put_within(item, s), timeout):
                raise

    def _put_within(self, item: Any, seconds: float) -> bool:
        try:
            self.queue.put(item, True, seconds)
        except self.full:
            return False
        return True

    def _do_put_nowait(self, item: Any) -> None:
        self._do_put(item, False)

    def _do_get(self, block: bool = True, timeout: float | None = None) -> Any:
        _check(block, timeout)
        try:
            return self.queue.get(False)
        except self.empty:
            found: list[Any] = []
            if not block or not self.wait(lambda s: self._get_within(found, s), timeout):
                raise
        return found[0]

    def _get_within(self, found: list[Any], seconds: float) -> bool:
        try:
            found.append(self.queue.get(True, seconds))
        except self.empty:
            return False
        return True

    def _do_get_nowait(self) -> Any:
        return self._do_get(False)

    def _do_qsize(self) -> int:
        return self.queue.qsize()  # type: ignore[no-any-return]

    def _do_empty(self) -> bool:
        return self.queue.empty()  # type: ignore[no-any-return]

    def _do_full(self) -> bool:
        return self.queue.full()  # type: ignore[no-any-return]

    def _do_task_done(self) -> None:
        self.queue.task_done()

    def _do_join(self) -> None:
        if not self.queue._all_done():
            self.wait(self.queue._all_done, None)


def _check(block: bool, timeout: float | None) -> None:
    if block and timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")


TYPES: dict[str, type[Direct]] = {
    "dict": DictDirect,
    "list": ListDirect,
    "set": SetDirect,
    "Array": ArrayDirect,
    "Value": ValueDirect,
    "Namespace": NamespaceDirect,
    "Lock": LockDirect,
    "RLock": RLockDirect,
    "Semaphore": SemaphoreDirect,
    "BoundedSemaphore": BoundedSemaphoreDirect,
    "Event": EventDirect,
    "Queue": QueueDirect,
    "JoinableQueue": QueueDirect,
}

for _type in set(TYPES.values()):
    _type.exposed = _methods(_type)
QueueDirect.shown = tuple(sorted(QueueDirect.exposed))
