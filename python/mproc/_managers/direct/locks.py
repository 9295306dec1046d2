"""Locks of a manager that lie in the arena."""

from __future__ import annotations

from ... import _mproc
from .base import OnLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar


def _seconds(blocking: bool, timeout: float | None) -> float | None:
    """Return how long to wait. What a lock of threading raises for such arguments is raised."""
    if timeout is None:
        timeout = -1
    if type(blocking) is not bool or timeout != -1:
        from _thread import allocate_lock

        allocate_lock().acquire(blocking, timeout)
    return 0 if not blocking else None if timeout == -1 else timeout


class LockDirect(OnLock):
    """A Lock."""

    __slots__ = ()
    kind: ClassVar[Any] = _mproc.Lock

    @classmethod
    def make(cls) -> tuple[Any, Any]:
        return (cls.kind(),), None

    def _do_acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        seconds = _seconds(blocking, timeout)
        got: bool = self.lock.acquire(False)
        return got or bool(self.waiting(self.lock.acquire, True, seconds))

    def _do_release(self) -> None:
        try:
            self.lock.release()
        except ValueError:
            raise RuntimeError("release unlocked lock") from None
        except AssertionError:
            raise RuntimeError("cannot release un-acquired lock") from None

    def abandon(self, session: Any, number: int) -> None:
        """Release the lock, if the client had it: another may have released and taken it."""
        while self.lock._is_mine():
            self.lock.release()

    def _do_locked(self) -> bool:
        return self.lock.locked()  # type: ignore[no-any-return]


class RLockDirect(LockDirect):
    """An RLock."""

    __slots__ = ()
    kind = _mproc.RLock
