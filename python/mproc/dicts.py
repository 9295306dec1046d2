"""Dicts that all processes of a family share, without a server.

A Dict has a dict's own methods. Each call that names a key is one step, and what it has set is
there when it returns. What is read is a copy: a list in a shared dict is changed by setting it
again, or by update_with().

Keys are the same if the codec makes the same bytes of them. True, 1 and 1.0 are the same key, as
they are in a dict; other objects that are equal and of different types are not.
"""

from __future__ import annotations

from collections.abc import ItemsView, KeysView, MutableMapping, ValuesView
from typing import Any, TypeVar

from . import _mproc
from ._recursion import shown_once
from .context import _owner_died

_mproc._add_containers()

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    from .context import BaseContext

__all__ = ["ANY", "Dict"]

_K = TypeVar("_K")
_V = TypeVar("_V")


class _Any:
    """The type of ANY."""

    def __repr__(self) -> str:
        return "mproc.dicts.ANY"


ANY: Any = _Any()  # in the place of a key: whichever it is
_NOW = 2**64 - 1  # a version that nothing ever has
_MISSING: Any = object()


class _Keys(KeysView[_K]):
    _mapping: Dict[_K, Any]

    def __iter__(self) -> Iterator[_K]:
        return iter(self._mapping._list_keys())

    def __reversed__(self) -> Iterator[_K]:
        keys: list[_K] = self._mapping._list_keys()
        return reversed(keys)

    def __repr__(self) -> str:
        return f"dict_keys({list(self)!r})"


class _Values(ValuesView[_V]):
    _mapping: Dict[Any, _V]

    def __iter__(self) -> Iterator[_V]:
        return iter(self._mapping._list_values())

    def __contains__(self, value: object) -> bool:
        return value in self._mapping._list_values()

    def __reversed__(self) -> Iterator[_V]:
        values: list[_V] = self._mapping._list_values()
        return reversed(values)

    def __repr__(self) -> str:
        return f"dict_values({list(self)!r})"


class _Items(ItemsView[_K, _V]):
    _mapping: Dict[_K, _V]

    def __iter__(self) -> Iterator[tuple[_K, _V]]:
        return iter(self._mapping._list_items())

    def __reversed__(self) -> Iterator[tuple[_K, _V]]:
        items: list[tuple[_K, _V]] = self._mapping._list_items()
        return reversed(items)

    def __repr__(self) -> str:
        return f"dict_items({list(self)!r})"


class _Locked:
    """A key that is locked as long as the with statement runs."""

    def __init__(self, shared: Dict[Any, Any], key: Any, timeout: float | None, recover: bool):
        self._dict, self._key = shared, key
        self._timeout, self._recover = timeout, recover

    def __enter__(self) -> None:
        got = self._dict._lock(self._key, self._timeout)
        if got is False:
            raise TimeoutError(f"the key {self._key!r} was not unlocked in {self._timeout} s")
        if got is None and not self._recover:
            error = _owner_died(*self._dict._dead_owner(self._key))
            error.add_note(f"the lock is that of the key {self._key!r} of a shared dict")
            self._dict._unlock(self._key)
            raise error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._dict._unlock(self._key)


class Dict(_mproc.Dict, MutableMapping[_K, _V]):
    """A dict for all processes of the family; made as dict() is.

    keys(), values(), items() and iteration go over a copy, made at that moment: others may insert
    and delete meanwhile.
    """

    _is_fork_ctx = False

    def __init__(self, other: Any = (), /, **kwargs: _V) -> None:
        """Begin with the entries of a mapping or an iterable of pairs, and of keywords."""
        self.update(other, **kwargs)

    @classmethod
    def fromkeys(cls, keys: Iterable[_K], value: Any = None) -> Dict[_K, Any]:
        """Return a new shared dict with these keys, all with that value."""
        return cls(dict.fromkeys(keys, value))

    def _belong_to(self, ctx: BaseContext) -> None:
        if ctx._name == "fork":
            self._is_fork_ctx = True

    # ---- looking

    def __iter__(self) -> Iterator[_K]:
        return iter(self._list_keys())

    def __reversed__(self) -> Iterator[_K]:
        keys: list[_K] = self._list_keys()
        return reversed(keys)

    def keys(self) -> KeysView[_K]:
        """Return a view of the keys, in the order of their insertion."""
        return _Keys(self)

    def values(self) -> ValuesView[_V]:
        """Return a view of the values, in the order of the keys."""
        return _Values(self)

    def items(self) -> ItemsView[_K, _V]:
        """Return a view of the pairs, in the order of the keys."""
        return _Items(self)

    def copy(self) -> dict[_K, _V]:
        """Return an ordinary dict with the entries of this one."""
        copied: dict[_K, _V] = self._copy()
        return copied

    def __repr__(self) -> str:
        return shown_once(self.address, lambda: repr(self.copy()), "{...}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (dict, Dict)):
            return NotImplemented
        return self.copy() == (other.copy() if isinstance(other, Dict) else other)

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: Mapping[_K, _V]) -> dict[_K, _V]:
        if not isinstance(other, (dict, Dict)):
            return NotImplemented
        return self.copy() | dict(other.items())

    def __ror__(self, other: Mapping[_K, _V]) -> dict[_K, _V]:
        if not isinstance(other, (dict, Dict)):
            return NotImplemented
        return dict(other.items()) | self.copy()

    def __ior__(self, other: Any) -> Dict[_K, _V]:  # type: ignore[misc]
        self.update(other)
        return self

    # ---- several steps as one

    def add(self, key: _K, n: Any = 1) -> Any:
        """Add n to the key's value, 0 if it is not there; return the sum. One step."""
        total = self._add(key, n)
        if total is NotImplemented:
            total = self.update_with(key, lambda value: value + n, 0)
        return total

    def update_with(
        self,
        key: _K,
        fn: Callable[[Any], Any],
        default: Any = _MISSING,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Give the key the value that fn makes of its old one, and return the new one.

        The key is locked meanwhile, so that updates follow each other. If another call changes the
        value between, fn is called again with that. default stands for the value of a key that is
        not there; without it that is KeyError. TimeoutError: others had the key locked for so many
        seconds.
        """
        with self.lock(key, timeout, on_owner_death="recover"):
            while True:
                found = self._read(key)
                if found is None and default is _MISSING:
                    raise KeyError(key)
                old, version = found if found is not None else (default, 0)
                new = fn(old)
                if self._put(key, new, version):
                    return new

    def lock(
        self, key: _K, timeout: float | None = None, *, on_owner_death: str = "raise"
    ) -> _Locked:
        """Return what locks a key in a with statement; the key need not be there.

        It keeps out others that lock the key or call update_with() with it, and nobody else. A
        thread may lock a key again. TimeoutError: not in so many seconds. OwnerDiedError: the
        thread that had locked it died; the key is not locked then. With on_owner_death="recover"
        the lock is taken over instead.
        """
        if on_owner_death not in ("raise", "recover"):
            raise ValueError(f"on_owner_death is 'raise' or 'recover', not {on_owner_death!r}")
        return _Locked(self, key, timeout, on_owner_death == "recover")

    def version(self, key: Any = ANY) -> int:
        """Return a number that each change of the key's value changes; 0: it is not there.

        Without a key, a number that each change of the dict changes.
        """
        version = self._wait(_NOW, 0) if key is ANY else self._wait(_NOW, 0, key)
        assert version is not None
        return version

    def wait(
        self, key: Any = ANY, version: int | None = None, timeout: float | None = None
    ) -> int | None:
        """Wait until the key's value, or without a key anything, has another version.

        version: the one that the caller has seen; None: the present one. Returns the new one, or
        None if that did not happen within timeout seconds.
        """
        if version is None:
            version = self.version(key)
        if key is ANY:
            return self._wait(version, timeout)
        return self._wait(version, timeout, key)

    # ---- for children that are being started

    def __getstate__(self) -> Any:
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        from . import reduction

        return reduction.reduce_handle(self)
