"""What a process knows by a key for as long as it lives: weak references, for any threads.

Threads that come with the same key at the same time get the same object. What is removed from the
dictionary is a dead reference, and nothing that has taken its place meanwhile. Both are single
steps of the dictionary, in CPython: no lock is needed, and finalizers, which run at any point, wait
for none. (Another interpreter may take a live one out for a moment: see remove_dead().)
"""

from __future__ import annotations

from .._cpython import ref, remove_dead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Generic, TypeVar

    _K = TypeVar("_K")
    _V = TypeVar("_V")

    class _Base(Generic[_K, _V]): ...

else:
    _K = _V = ...
    _Base = {(_K, _V): object}

__all__ = ["Known"]


class Known(_Base[_K, _V]):
    """Objects by their keys. gone: is called with the key of one that has gone."""

    def __init__(self, gone: Callable[[Any], object] | None = None) -> None:
        self._references: dict[_K, ref[_V]] = {}
        self._gone = gone
        self._itself = ref(self)

    def _reference_to(self, key: _K, obj: _V) -> ref[_V]:
        itself, remove = self._itself, remove_dead

        def forget(_: object) -> None:
            known = itself()  # None: the interpreter ends, and has taken the module apart
            if known is not None:
                remove(known._references, key)
                if known._gone is not None:
                    known._gone(key)

        return ref(obj, forget)

    def get(self, key: _K) -> _V | None:
        """Return what has the key; None: nothing that lives."""
        found = self._references.get(key)
        return None if found is None else found()

    def put(self, key: _K, obj: _V) -> None:
        """Give an object the key, whatever had it before."""
        self._references[key] = self._reference_to(key, obj)

    def first(self, key: _K, obj: _V) -> _V:
        """Return what has the key: the object, unless another one that lives had it before."""
        mine = self._reference_to(key, obj)
        while True:
            found = self._references.setdefault(key, mine)()
            if found is not None:
                return found
            remove_dead(self._references, key)

    def pop(self, key: _K) -> None:
        """Forget what has the key."""
        self._references.pop(key, None)

    def items(self) -> list[tuple[_K, _V]]:
        """Return what lives, with the keys."""
        references = self._references.copy()  # by one step, and finalizers may run behind it
        found = [(key, known()) for key, known in references.items()]
        return [(key, obj) for key, obj in found if obj is not None]
