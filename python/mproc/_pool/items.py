"""Parts of the standard executor that programs import from `concurrent.futures.process`.

Here the executor uses none of them: a task is a message of the core's pool. They are for programs
that have an executor or a queue of their own made of these.
"""

from __future__ import annotations

from .._cpython import text_of
from .._queues.telling import TellingQueue
from .errors import RemoteTraceback
from .shown import rebuild_exc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

__all__ = ["CallItem", "ResultItem", "SafeQueue", "WorkItem", "rebuild_exc", "sendback_result"]


class WorkItem:
    """A call and the future that is to have its result."""

    def __init__(self, future: Future[Any], fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.future = future
        self.fn = fn
        self.args = args
        self.kwargs = kwargs


class CallItem:
    """A call on its way to a worker, and its number."""

    def __init__(self, work_id: int, fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.work_id = work_id
        self.fn = fn
        self.args = args
        self.kwargs = kwargs


class ResultItem:
    """What has become of a call; exit_pid: of a worker that ends after it."""

    def __init__(
        self,
        work_id: int,
        exception: BaseException | None = None,
        result: Any = None,
        exit_pid: int | None = None,
    ) -> None:
        self.work_id = work_id
        self.exception = exception
        self.result = result
        self.exit_pid = exit_pid


class SafeQueue(TellingQueue):
    """A queue of calls: one that cannot be pickled fails, and its future has the exception."""

    def __init__(
        self,
        max_size: int = 0,
        *,
        ctx: Any,
        pending_work_items: dict[int, WorkItem],
        shutdown_lock: Any = None,
        thread_wakeup: Any = None,
    ) -> None:
        self.pending_work_items = pending_work_items
        self.shutdown_lock = shutdown_lock
        self.thread_wakeup = thread_wakeup
        super().__init__(max_size, ctx=ctx)

    def _on_queue_feeder_error(self, e: Exception, obj: object) -> None:  # type: ignore[override]
        """Fail the call, if it is one."""
        if not isinstance(obj, CallItem):
            super()._on_queue_feeder_error(e, obj)
            return
        e.__cause__ = RemoteTraceback(f'\n"""\n{text_of(e)}"""')
        item = self.pending_work_items.pop(obj.work_id, None)
        if self.thread_wakeup is not None:
            self.thread_wakeup.wakeup()
        if item is not None:
            item.future.set_exception(e)


def sendback_result(
    result_queue: Any,
    work_id: int,
    result: Any = None,
    exception: BaseException | None = None,
    exit_pid: int | None = None,
) -> None:
    """Put what has become of a call into a queue, or the exception of trying to."""
    try:
        result_queue.put(ResultItem(work_id, exception, result, exit_pid))
    except BaseException as error:
        from .errors import ExceptionWithTraceback

        told: Any = ExceptionWithTraceback(error, error.__traceback__)
        result_queue.put(ResultItem(work_id, told, None, exit_pid))
