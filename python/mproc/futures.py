"""ProcessPoolExecutor: the one of concurrent.futures, on mproc's workers.

Under `python -m mproc`, or after `mproc.install()`, this module is `concurrent.futures.process`.
It has what the standard library's versions up to 3.15 have, and the private names that programs
read. The futures are concurrent.futures' own: wait(), as_completed() and asyncio take them.
"""

from __future__ import annotations

import itertools
import sys
from _thread import allocate_lock as _allocate_lock
from concurrent.futures import Executor
from functools import partial
from time import monotonic as _monotonic
from weakref import WeakKeyDictionary as _WeakKeyDictionary

from . import _current, context
from ._engine import HasOptions, place_for
from ._mproc import getpid as _getpid
from ._pool.errors import ExceptionWithTraceback as _ExceptionWithTraceback  # noqa: F401
from ._pool.errors import RemoteTraceback as _RemoteTraceback  # noqa: F401
from ._pool.executor import (
    BrokenProcessPool,
    ExecutorEngine,
    Future,
    UnreadableError,
)
from ._pool.executor import ManagerThread as _ExecutorManagerThread  # noqa: F401
from ._pool.executor import finish_all as _python_exit  # noqa: F401
from ._pool.executor import run_worker as _process_worker  # noqa: F401

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future as _Future
    from queue import Queue
    from typing import Any, Self, TypeVar

    from ._pool.limits import TaskOptions
    from ._pool.progress import Progress
    from .context import BaseContext
    from .process import BaseProcess

    _T = TypeVar("_T")

__all__ = ["BrokenProcessPool", "ProcessPoolExecutor", "UnreadableError"]

_current.use_begins()

EXTRA_QUEUED_CALLS = 1
_TERMINATE, _KILL = "terminate", "kill"  # the methods of a worker's process
_MAX_WINDOWS_WORKERS = 61
_global_shutdown = False
_threads_wakeups: _WeakKeyDictionary[threading.Thread, _ThreadWakeup] = _WeakKeyDictionary()


class ProcessPoolExecutor(HasOptions, Executor):
    """Calls functions in worker processes.

    max_workers: how many, by default one for each CPU that the process may use. mp_context: how
    they are started. initializer(*initargs) runs in each first. A worker is replaced after
    max_tasks_per_child tasks.

    heal: a worker that dies fails only the task that it had, with WorkerDiedError, and is replaced.
    Otherwise it breaks the executor: what is open fails with BrokenProcessPool, and no more is
    taken.

    pickler: "cloudpickle" sends functions, arguments and results that have no name by value.

    engine: "dask", "ray" or "mpi" has the workers on the machines of such an engine, "local" on
    this one whatever set_engine() has chosen; see engines.Choice.
    ValueError, TypeError, ImportError, engines.EngineError.
    """

    _cancel_pending_futures = False  # shutdown() does that at once
    _for_backlog: tuple[int, tuple[int, int, int]] | None = None  # options of all tasks

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        heal: bool = False,
        pickler: str | None = None,
        engine: Any = None,
    ) -> None:
        wanted = max_workers
        cluster, max_workers = place_for(max_workers, engine)
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if mp_context is None:
            method = None if max_tasks_per_child is None else "spawn"
            mp_context = context._default_context.get_context(method)
        elif not isinstance(mp_context, context.BaseContext):
            raise TypeError(f"mp_context must be a context of mproc, not {mp_context!r}")
        if pickler is not None:
            mp_context = mp_context.get_context(pickler=pickler)
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_tasks_per_child is not None:
            _check_limit(max_tasks_per_child, mp_context)
        self._max_workers = max_workers
        self._mp_context = mp_context
        self._initializer = initializer
        self._initargs = initargs
        self._max_tasks_per_child = max_tasks_per_child
        self._shutdown_thread = False
        self._shutdown_lock = _allocate_lock()
        sent = () if initializer is None else tuple(initargs)
        how = (mp_context, initializer, sent, max_tasks_per_child, heal)
        if cluster is None:
            self._engine = ExecutorEngine(max_workers, *how)
        else:
            from .engines.executor import OnEngine

            self._engine = OnEngine(cluster, wanted, max_workers, *how)
        self._executor_manager_thread_wakeup: _ThreadWakeup | None = _ThreadWakeup()
        self._call_queue: _Face | None = _Face(self._engine)
        self._result_queue: _Face | None = _Face(self._engine)

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> _Future[_T]:
        """Have fn(*args, **kwargs) called; return the Future of its result.

        RuntimeError: after shutdown(), or at the interpreter's end. BrokenProcessPool.
        """
        engine = self._engine
        if engine._refuses or engine._owner != _getpid():
            engine._check()
        return engine._submit(fn, args, kwargs, self._for_backlog)

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        progress: Any = None,
    ) -> Iterator[_T]:
        """Return an iterator over fn(*items) for the items of the iterables side by side, in order.

        timeout: seconds from now within which each result must come, or TimeoutError. chunksize:
        items per task. buffersize: tasks under way whose results have not been taken; by default
        all are submitted at once. progress: True, "tqdm" or a callable shows how many results have
        been taken; see pool.Pool.map(). ValueError, TypeError, ImportError.
        """
        _check_sizes(chunksize, buffersize)
        deadline = None if timeout is None else _monotonic() + timeout
        shown = _watch(progress, iterables, self._engine) if progress else None
        items = zip(*iterables)  # noqa: B905 # the shortest ends it
        more = None  # only where there is more to submit do the results hold the executor
        seen = type(self).submit is not ProcessPoolExecutor.submit  # a subclass sees each call
        futures: list[Any]  # of Future
        if buffersize is None and not seen:
            futures = self._engine._submit_chunks(fn, items, chunksize, self._for_backlog)
        else:
            chunks = iter(lambda: list(itertools.islice(items, chunksize)), [])
            numbered = zip(chunks, itertools.count(0, chunksize))
            submit = self._submit_seen if seen else self._submit_chunk
            rest = itertools.starmap(partial(submit, fn), numbered)
            futures = list(itertools.islice(rest, buffersize))
            more = rest if buffersize is not None else None
        futures.reverse()
        if shown is not None:
            return shown.count(_results(futures, more, deadline, shown.take(_take)))
        return _results(futures, more, deadline)

    def _submit_chunk(self, fn: Callable[..., Any], chunk: list[Any], first: int) -> _Future[Any]:
        engine = self._engine
        if engine._refuses or engine._owner != _getpid():
            engine._check()
        return engine._submit_chunk(fn, chunk, first, self._for_backlog)

    def _submit_seen(self, fn: Callable[..., Any], chunk: list[Any], _first: int) -> _Future[Any]:
        return self.submit(_call_each, fn, chunk)

    def _with_options(self, options: TaskOptions) -> Self:
        from ._pool.limits import executor_with_options

        return executor_with_options(self, options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; wait for those that are open, and for the workers' end.

        cancel_futures: cancel what no worker has been given yet.
        """
        self._shutdown_thread = True
        self._engine._shut_down(wait, cancel_futures)
        self._executor_manager_thread_wakeup = None
        self._call_queue = self._result_queue = None

    def __exit__(self, kind: Any, *exc_info: object) -> None:
        # A user who interrupts does not want all that waits to be done first. Subclasses know the
        # other argument only.
        if kind is KeyboardInterrupt:
            self.shutdown(wait=True, cancel_futures=True)
        else:
            self.shutdown(wait=True)

    def terminate_workers(self) -> None:
        """End the workers at once with SIGTERM. What they have not done fails, also if it heals."""
        self._force_shutdown(operation=_TERMINATE)

    def kill_workers(self) -> None:
        """End the workers at once with SIGKILL. What they have not done fails, also if it heals."""
        self._force_shutdown(operation=_KILL)

    def _force_shutdown(self, operation: str) -> None:
        if operation not in (_TERMINATE, _KILL):
            raise ValueError(f"operation must be {_TERMINATE!r} or {_KILL!r}, not {operation!r}")
        self.shutdown(wait=False, cancel_futures=True)
        self._engine._end_workers_by(operation)

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is not None and not self._shutdown_thread:
            engine._shut_down(False, False)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    # -- what others call: programs that want their workers early

    def _adjust_process_count(self) -> None:
        """Start another worker, unless there are max_workers."""
        self._engine._start_one_more()

    def _spawn_process(self) -> None:
        """Do the same."""
        self._engine._start_one_more()

    def _launch_processes(self) -> None:
        """Start all workers that there may be."""
        for _ in range(len(self._engine._workers()), self._max_workers):
            self._engine._start_one_more()

    def _start_executor_manager_thread(self) -> None:
        """Start the helper, if it does not run."""
        self._engine._need_helper()

    # -- what others read

    @property
    def _processes(self) -> dict[int, BaseProcess] | None:
        """The workers by pid; None after shutdown()."""
        return None if self._shutdown_thread else self._engine._workers()

    @property
    def _executor_manager_thread(self) -> threading.Thread | None:
        """The helper; None before it is needed, and after shutdown()."""
        return None if self._shutdown_thread else self._engine._helper

    @property
    def _broken(self) -> str | bool:
        """Why no task is done any more; False: it works."""
        return self._engine._broken or False

    @property
    def _pending_work_items(self) -> dict[int, Future]:
        """What has been submitted and no worker has been given yet."""
        return dict(enumerate(self._engine._backlog.futures()))

    @property
    def _work_ids(self) -> Queue[int]:
        """The numbers of these."""
        from queue import Queue

        numbers: Queue[int] = Queue()
        for number in self._pending_work_items:
            numbers.put(number)
        return numbers

    @property
    def _idle_worker_semaphore(self) -> threading.Semaphore:
        """As many permits as workers have nothing to do."""
        import threading

        busy = self._engine._tasks.open
        return threading.Semaphore(max(len(self._engine._workers()) - busy, 0))

    @property
    def _safe_to_dynamically_spawn_children(self) -> bool:
        """Whether workers are started one by one, as they are needed."""
        return not self._engine._all_at_once

    @property
    def _queue_count(self) -> int:
        """How many tasks have been submitted."""
        return self._engine._backlog.submitted


def _call_each(fn: Callable[..., Any], chunk: list[tuple[Any, ...]]) -> list[Any]:
    """Return the results of a chunk of a map."""
    return [fn(*items) for items in chunk]


def _check_limit(limit: object, mp_context: BaseContext) -> None:
    if not isinstance(limit, int):
        raise TypeError("max_tasks_per_child must be an integer")
    if limit <= 0:
        raise ValueError("max_tasks_per_child must be >= 1")
    if mp_context.get_start_method(allow_none=False) == "fork":
        raise ValueError(
            "max_tasks_per_child is incompatible with the 'fork' multiprocessing start method;"
            " supply a different mp_context."
        )


def _check_sizes(chunksize: int, buffersize: int | None) -> None:
    if buffersize is not None and not isinstance(buffersize, int):
        raise TypeError("buffersize must be an integer or None")
    if buffersize is not None and buffersize < 1:
        raise ValueError("buffersize must be None or > 0")
    if chunksize < 1:
        raise ValueError("chunksize must be >= 1.")


def _watch(asked: Any, iterables: tuple[Iterable[Any], ...], engine: ExecutorEngine) -> Progress:
    from ._pool.progress import make, size_of

    return make(asked, size_of(*iterables), engine)


def _results(
    futures: list[Any],
    more: Iterator[Any] | None,
    deadline: float | None,
    take: Callable[[list[_Future[Any]], float | None], list[Any]] | None = None,
) -> Iterator[Any]:
    """Yield what the futures, the last one first, have got, and that of more futures."""
    try:
        if more is None and deadline is None and take is None:
            while futures:
                values = _take_last(futures)
                values.reverse()
                while values:
                    yield values.pop()
        while futures:
            values = (take or _take)(futures, None if deadline is None else deadline - _monotonic())
            for future in itertools.islice(more or (), 1):
                futures.insert(0, future)
            values.reverse()
            while values:
                yield values.pop()
    finally:
        for future in futures:
            future.cancel()


def _take_last(futures: list[_Future[Any]]) -> list[Any]:
    """Return what the last future has got, and forget it, without a timeout."""
    try:
        values: list[Any] = futures[-1].result()
    except BaseException:
        futures.pop().cancel()
        raise
    del futures[-1]
    return values


def _take(futures: list[_Future[Any]], timeout: float | None) -> list[Any]:
    """Return what the last future has got, and forget it."""
    future = futures.pop()
    try:
        return future.result(timeout)  # type: ignore[no-any-return]
    finally:
        future.cancel()
        del future  # the traceback of an exception must not hold its future


# ---- parts of the standard executor, for programs that use them


def _get_chunks(*iterables: Iterable[Any], chunksize: int) -> Iterator[tuple[Any, ...]]:
    """Yield tuples of chunksize arguments of a call each, the last of what is left."""
    items = zip(*iterables)  # noqa: B905 # the shortest ends it
    while chunk := tuple(itertools.islice(items, chunksize)):
        yield chunk


def _process_chunk(fn: Callable[..., Any], chunk: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Call a function for each item of such a chunk."""
    return list(itertools.starmap(fn, chunk))


def _chain_from_iterable_of_lists(iterable: Iterable[list[Any]]) -> Iterator[Any]:
    """Yield the items of lists, which are emptied."""
    for items in iterable:
        items.reverse()
        while items:
            yield items.pop()


class _ThreadWakeup:
    """Wakes a thread of the standard executor; here nobody needs to be woken."""

    def wakeup(self) -> None: ...

    def clear(self) -> None: ...

    def close(self) -> None: ...


_ITEMS = {
    "_CallItem": "CallItem",
    "_ResultItem": "ResultItem",
    "_SafeQueue": "SafeQueue",
    "_WorkItem": "WorkItem",
    "_rebuild_exc": "rebuild_exc",
    "_sendback_result": "sendback_result",
}

if not TYPE_CHECKING:

    def __getattr__(name):
        """Import what programs know by this module's name when they first ask for it."""
        if name in ("mp", "multiprocessing"):
            return sys.modules[__package__]
        if name not in _ITEMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from ._pool import items

        return globals().setdefault(name, getattr(items, _ITEMS[name]))

    def __dir__():
        return sorted({*globals(), "mp", *_ITEMS})


class _Face:
    """Stands for a queue of the standard executor."""

    def __init__(self, engine: ExecutorEngine) -> None:
        self._engine = engine

    def qsize(self) -> int:
        """Return how many tasks are open."""
        return int(self._engine._tasks.open)

    def empty(self) -> bool:
        """Return whether no task is open."""
        return self.qsize() == 0

    def close(self) -> None: ...

    def join_thread(self) -> None: ...

    def cancel_join_thread(self) -> None: ...


def _check_system_limits() -> None:
    """Do nothing: what the executor needs is always there."""
