"""The futures of a ProcessPoolExecutor.

What they do is python/_mproc/future.c. This module says what they are: futures of
concurrent.futures, for wait(), as_completed() and asyncio take no others.
"""

from __future__ import annotations

from concurrent.futures import Future as _Future

from .. import _mproc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .executor import ExecutorEngine

__all__ = ["Future", "Released", "Waiters"]

_mproc._add_executor()


class Waiters(list[Any] if TYPE_CHECKING else list):  # type: ignore[misc]
    """The foreign waiters of a future: the first one calls for somebody who collects."""

    engine: ExecutorEngine | None = None

    def append(self, waiter: Any) -> None:
        super().append(waiter)
        if self.engine is not None:
            self.engine._serve_others()


class Released:
    """A recursive lock, of which this thread lets go for a while if it has it."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._depth: Any = None

    def __enter__(self) -> None:
        if self._lock._is_owned():
            self._depth = self._lock._release_save()

    def __exit__(self, *exc_info: object) -> None:
        if self._depth is not None:
            self._lock._acquire_restore(self._depth)


class Future(_mproc.Future, _Future[Any] if TYPE_CHECKING else _Future):  # type: ignore[misc]
    """A concurrent.futures.Future whose waiters collect results themselves."""

    __slots__ = ()
