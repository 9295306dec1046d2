"""Queues of a manager that lie in the arena."""

from __future__ import annotations

import contextlib
import sys

from ..life import riding
from ..proxies import PLAIN_VALUES
from .base import Direct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class QueueDirect(Direct):
    """A Queue or a JoinableQueue."""

    __slots__ = ("empty", "full", "queue")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        from queue import Empty, Full

        (self.queue,) = self.parts
        self.queue._maxsize = self.state  # which an adopted handle does not know
        self.empty, self.full = Empty, Full

    @staticmethod
    def make(maxsize: int = 0) -> tuple[Any, Any]:
        if type(maxsize) is not int:
            raise TypeError
        from ...queues import JoinableQueue

        queue: JoinableQueue[Any] = JoinableQueue(maxsize)
        return (queue,), max(maxsize, 0)

    def _do_put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if self.state > 0:  # otherwise it never waits
            _check(block, timeout)
        if type(item) in PLAIN_VALUES:
            self._put(item, block, timeout)
        else:
            with riding(False):
                self._put(item, block, timeout)

    def _put(self, item: Any, block: bool, timeout: float | None) -> None:
        try:
            self.queue.put(item, False)
        except self.full:
            if not block:
                raise
            self.waiting(self.queue.put, item, True, timeout)

    def _do_put_nowait(self, item: Any) -> None:
        self._do_put(item, False)

    def _do_get(self, block: bool = True, timeout: float | None = None) -> Any:
        _check(block, timeout)
        try:
            return self.queue.get(False)
        except self.empty:
            if not block:
                raise
        return self.waiting(self.queue.get, True, timeout)

    def _do_get_nowait(self) -> Any:
        return self._do_get(False)

    def undo(self, name: str, result: Any) -> Callable[[], object] | None:
        return (lambda: self._put_back(result)) if name in ("get", "get_nowait") else None

    def _put_back(self, item: Any) -> None:
        """Put an item back that nobody has got. It is the last one then.

        A queue that was shut down meanwhile takes nothing: the item is dropped, and counts as done.
        """
        from ..._queues.shut import ShutDown

        with contextlib.suppress(ShutDown):
            self._do_put(item)
        self.queue.task_done()  # it was counted when it was put first

    def _do_qsize(self) -> int:
        return self.queue.qsize()  # type: ignore[no-any-return]

    def _do_empty(self) -> bool:
        return self.queue.empty()  # type: ignore[no-any-return]

    def _do_full(self) -> bool:
        return self.queue.full()  # type: ignore[no-any-return]

    def _do_task_done(self) -> None:
        self.queue.task_done()

    def _do_join(self) -> None:
        if not self.queue._all_done():
            self.waiting(self.queue._all_done, None)

    if sys.version_info >= (3, 13):  # as queue.Queue

        def _do_shutdown(self, immediate: bool = False) -> None:
            self.queue.shutdown(immediate)


def _check(block: bool, timeout: float | None) -> None:
    if block and timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")


QueueDirect.shown = tuple(sorted(QueueDirect.exposed))
