"""Barrier. It has a module of its own, since it derives from threading.Barrier."""

from __future__ import annotations

import threading

from . import _mproc
from .synchronize import _Belonging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from .context import BaseContext

__all__ = ["Barrier"]


class Barrier(_mproc.Barrier, _Belonging, threading.Barrier):
    """A number of parties, threads of any processes, that wait for each other.

    action: is called by the last party that arrives, before all pass. timeout: that of wait(), in
    seconds, unless it is given one. A party that dies while it waits breaks the barrier.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Barrier:
        if cls.__init__ is not Barrier.__init__:  # a subclass may take other arguments
            return super().__new__(cls, 1)
        return cls._made(*args, **kwargs)

    @classmethod
    def _made(
        cls,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: BaseContext | None = None,
    ) -> Barrier:
        self = super().__new__(cls, parties)
        self._action, self._timeout = action, timeout
        self._belong_to(ctx)
        return self

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: BaseContext | None = None,
    ) -> None:
        """Make it of these arguments; the state of threading.Barrier is not used."""
        if type(self).__init__ is not Barrier.__init__:  # else it has been made so
            self._make(parties)
            self._action, self._timeout = action, timeout
            self._belong_to(ctx)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for all parties; return how many had arrived before, from 0.

        threading.BrokenBarrierError: the barrier is broken, or is broken while this waits, or
        `timeout` seconds have passed, which breaks it. An exception of the action breaks it, too.
        """
        if timeout is None:
            timeout = self._timeout
        if self._action is None:
            return self._pass(timeout)
        index, last = self._arrive(timeout)
        if last:
            self._act()
        return index

    def _act(self) -> None:
        """Run the action for all, and let them pass."""
        try:
            if self._action is not None:
                self._action()
        except BaseException:
            _mproc.Barrier.abort(self)
            raise
        self._open()

    def await_(self) -> Coroutine[Any, Any, int]:
        """Wait for all parties, in an asyncio program: `await barrier.await_()`; as wait()."""
        from . import aio

        return aio.wait(self)

    def __getstate__(self) -> Any:
        return self._action, self._timeout

    def __setstate__(self, state: Any) -> None:
        self._action, self._timeout = state

    def __repr__(self) -> str:
        state = "broken" if self.broken else f"waiters={self.n_waiting}/{self.parties}"
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} at {id(self):#x}: {state}>"
