"""Semaphores of a manager that lie in the arena."""

from __future__ import annotations

from ... import _mproc
from .base import OnLock, as_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar


class SemaphoreDirect(OnLock):
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
            blocking and self.waiting(self.lock.acquire, True, as_seconds(timeout))
        )

    def _do_release(self, n: int = 1) -> None:
        if n < 1:
            raise ValueError("n must be one or more")
        self._check_room(n)
        for _ in range(n):
            self._release()

    def _check_room(self, n: int) -> None:
        """Raise ValueError if so many permits cannot be given back."""

    def _release(self) -> None:
        self.lock.release()

    def undo(self, name: str, result: Any) -> Callable[[], object] | None:
        return self.lock.release if name == "acquire" and result else None

    def owned_by(self, name: str, result: Any) -> int:
        """Return 0: a semaphore may be a signal, which one client releases and another acquires."""
        return 0

    def _do_locked(self) -> bool:
        return self.lock.locked()  # type: ignore[no-any-return]


class BoundedSemaphoreDirect(SemaphoreDirect):
    """A BoundedSemaphore."""

    __slots__ = ()
    kind = _mproc.BoundedSemaphore

    def undo(self, name: str, result: Any) -> None:
        """Return None: what a client that has died has taken is given back."""

    def owned_by(self, name: str, result: Any) -> int:
        return OnLock.owned_by(self, name, result)

    def _check_room(self, n: int) -> None:
        if self.lock.get_value() + n > self.lock.maxvalue:
            raise ValueError("Semaphore released too many times")

    def _release(self) -> None:
        try:
            self.lock.release()
        except ValueError:
            raise ValueError("Semaphore released too many times") from None
