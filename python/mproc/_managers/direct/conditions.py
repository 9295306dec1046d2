"""Conditions of a manager that lie in the arena: those over an RLock.

A condition over a Lock is at the server: there a thread may wait that has not acquired it itself.
"""

from __future__ import annotations

from ... import _mproc
from ...context import OwnerDiedError
from ..proxies import AcquirerProxy
from .base import Direct, check_time
from .locks import RLockDirect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class ConditionDirect(RLockDirect):
    """A Condition."""

    __slots__ = ("condition",)

    def __init__(self, *args: Any) -> None:
        Direct.__init__(self, *args)
        self.condition, self.lock = self.parts
        self.condition.__setstate__(self.lock)  # which an adopted handle does not know

    @classmethod
    def make(cls, lock: Any = None) -> tuple[Any, Any]:
        if lock is None:
            handle = cls.kind()
        elif isinstance(lock, AcquirerProxy) and type(lock._direct) is RLockDirect:
            handle = lock._direct.lock
        else:
            raise TypeError
        return (_mproc.Condition(handle), handle), None

    def _do_wait(self, timeout: float | None = None) -> bool:
        self._check_owned("wait on")
        check_time(timeout)
        try:
            return self.waiting(self.condition.wait, timeout)  # type: ignore[no-any-return]
        except OwnerDiedError:
            return True  # a waiter learns what it waits for, and not of the lock's owner

    def _do_notify(self, n: int = 1) -> None:
        self._check_owned("notify on")
        number, waiting = 0, self.condition._waiting()
        while number < waiting and n > number:
            number += 1
        self.condition.notify(number)

    def _do_notify_all(self) -> None:
        self._check_owned("notify on")
        self.condition.notify_all()

    def undo(self, name: str, result: Any) -> Callable[[], object] | None:
        return self._do_notify if name == "wait" and result else None

    def _check_owned(self, verb: str) -> None:
        if not self.lock._is_mine():
            raise RuntimeError(f"cannot {verb} un-acquired lock")
