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

__all__ = ["Lock"]


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


class Lock(_mproc.Lock):
    """A lock that is not recursive, between all threads of all processes.

    Any thread of any process may release it.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(owner={_name_of_owner(self._owner())})>"

    def __getstate__(self) -> None:
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        from . import reduction

        return reduction.reduce_handle(self)
