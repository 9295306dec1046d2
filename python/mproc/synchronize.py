"""Synchronisation between processes: words of the arena, no names, no descriptors.

When the holder of a lock dies, its waiters do not hang: exactly one later taker gets
OwnerDiedError, and the lock is free then.
"""

from __future__ import annotations

import os

from . import _mproc, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .context import BaseContext

__all__ = ["Event", "Lock", "Semaphore"]

SEM_VALUE_MAX = 2**31 - 1


class _Shared:
    """What all of them share: they are pickled only for a child that is being started."""

    _is_fork_ctx = False

    def _belong_to(self, ctx: BaseContext | None) -> None:
        if ctx is not None and ctx._name == "fork":
            self._is_fork_ctx = True

    @property
    def _semlock(self) -> Any:
        """Stands for itself: there is no other object behind it."""
        return self

    def __getstate__(self) -> Any:
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        from . import reduction

        return reduction.reduce_handle(self)


def _name_of_owner(owner: tuple[int, int] | None) -> str:
    """Word who holds a lock, as seen from the calling thread."""
    if owner is None:
        return "None"
    pid, tid = owner
    if pid != os.getpid():
        return "SomeOtherProcess"
    import threading

    if tid != threading.get_native_id():
        return "SomeOtherThread"
    name = process.current_process().name
    thread = threading.current_thread().name
    return name if thread == "MainThread" else f"{name}|{thread}"


class Lock(_Shared, _mproc.Lock):
    """A lock that is not recursive, between all threads of all processes.

    Any thread of any process may release it.
    """

    def __new__(cls, *, ctx: BaseContext | None = None) -> Lock:
        self = super().__new__(cls)
        self._belong_to(ctx)
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(owner={_name_of_owner(self._owner())})>"


class Semaphore(_Shared, _mproc.Semaphore):
    """A number of permits, at first `value`.

    The permits of a process that dies are not given back, for a semaphore may be a signal, and who
    releases it need not be who acquired it.
    """

    def __new__(cls, value: int = 1, *, ctx: BaseContext | None = None) -> Semaphore:
        self = super().__new__(cls, value)
        self._belong_to(ctx)
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self.get_value()})>"


class Event(_Shared, _mproc.Event):
    """A flag, at first not set, that threads of all processes can wait for."""

    def __new__(cls, *, ctx: BaseContext | None = None) -> Event:
        self = super().__new__(cls)
        self._belong_to(ctx)
        return self

    def __repr__(self) -> str:
        state = "set" if self.is_set() else "unset"
        return f"<{type(self).__name__} at {id(self):#x} {state}>"
