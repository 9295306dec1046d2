"""Barrier: apart from the other primitives, since being a threading.Barrier needs threading."""

from __future__ import annotations

import threading

from . import _mproc
from .synchronize import _Shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .context import BaseContext

__all__ = ["Barrier"]


class Barrier(_Shared, _mproc.Barrier, threading.Barrier):
    """A number of parties, threads of any processes, that wait for each other.

    action: called by the last one to come, before all pass. timeout: of wait(), in seconds, unless
    that is given one. A party that dies while it waits breaks the barrier.
    """

    def __new__(
        cls,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: BaseContext | None = None,
    ) -> Barrier:
        self = super().__new__(cls, parties)
        self._action = action
        self._timeout = timeout
        self._belong_to(ctx)
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is left to do; threading.Barrier's own state is not used."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for all parties; return the order of coming, from 0.

        threading.BrokenBarrierError: the barrier is or was broken meanwhile, or time has passed,
        which breaks it. An exception of the action breaks it, too.
        """
        if timeout is None:
            timeout = self._timeout
        if self._action is None:
            return self._pass(timeout)
        index, last = self._arrive(timeout)
        if last:
            try:
                self._action()
            except BaseException:
                self.abort()
                raise
            self._open()
        return index

    def __getstate__(self) -> Any:
        return self._action, self._timeout

    def __setstate__(self, state: Any) -> None:
        self._action, self._timeout = state

    def __repr__(self) -> str:
        state = "broken" if self.broken else f"waiters={self.n_waiting}/{self.parties}"
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} at {id(self):#x}: {state}>"
