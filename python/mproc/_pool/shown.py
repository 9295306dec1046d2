"""What a pool shows of the standard pool's parts, to programs that look at them.

The standard pool has three threads and two queues. A pool on the arena has neither, and programs
that only look are shown what is true of it: the threads live as long as the pool does, and nothing
is on its way in the queues. Recipes that put the tasks of an imap of their own into the queue of
tasks find one, and the functions that make such tasks.
"""

from __future__ import annotations

from itertools import count as _count
from itertools import islice as _islice

from .._current import finalizers
from .._mproc import AsyncResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from ..pool import Pool

__all__ = ["job_counter", "mapstar", "part", "rebuild_exc", "reraise", "starmapstar"]

job_counter = _count()  # for recipes that number what they put into the queue of tasks

_QUEUES = ("_change_notifier", "_inqueue", "_outqueue")


class _Handler:
    """What stands for one of the threads."""

    daemon = True

    def __init__(self, pool: Pool, name: str) -> None:
        self._pool = pool
        self.name = name

    @property
    def _state(self) -> str:
        return self._pool._state

    def is_alive(self) -> bool:
        """Return whether the pool has workers that run."""
        return any(old is not None and old.is_alive() for old in self._pool._pool)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the workers have ended, each for at most that long."""
        for old in self._pool._pool:
            old.join(timeout)


def _batches(
    func: Callable[..., Any], it: Iterable[Any], size: int
) -> Iterator[tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Yield a function with some items each, until there are no more items."""
    items = iter(it)
    while batch := tuple(_islice(items, size)):
        yield func, batch


def _tasks(
    job: object, func: Callable[..., Any], iterable: Iterable[Any]
) -> Iterator[tuple[Any, ...]]:
    """Yield a task, as the standard pool knows them, for each item."""
    for number, item in enumerate(iterable):
        yield job, number, func, (item,), {}


class _TaskQueue:
    """What recipes put the tasks of an imap of their own into."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def qsize(self) -> int:
        """Return how many tasks no worker has taken."""
        return int(self._pool._tasks.waiting)

    def empty(self) -> bool:
        """Return whether workers have taken all tasks."""
        return self.qsize() == 0

    def put(self, tasks_and_length: tuple[Iterable[tuple[Any, ...]], Any]) -> None:
        """Have tasks run, for the IMapIterator whose _set_length comes with them."""
        tasks, set_length = tasks_and_length
        set_length.__self__._begin_imap(_run_task, tasks, 1, None)


def _run_task(task: tuple[Any, ...]) -> Any:
    _, _, function, args, kwds = task
    return function(*args, **kwds)


def mapstar(args: tuple[Callable[..., Any], Iterable[Any]]) -> list[Any]:
    """Return the results of a function for some items."""
    return list(map(*args))


def starmapstar(args: tuple[Callable[..., Any], Iterable[Iterable[Any]]]) -> list[Any]:
    """Return the results of a function for some tuples of arguments."""
    function, items = args
    return [function(*item) for item in items]


def reraise(exc: BaseException) -> None:
    """Raise an exception, as the task of an iterable that has failed does."""
    raise exc


def rebuild_exc(exc: BaseException, tb: str) -> BaseException:
    """Return an exception whose cause tells of its traceback elsewhere."""
    from .errors import RemoteTraceback

    exc.__cause__ = RemoteTraceback(tb)
    return exc


for _function in (mapstar, starmapstar):
    _function.__module__ = "mproc.pool"  # by which tasks name them


def _sentinels_of(workers: Iterable[Any]) -> list[int]:
    """Return what becomes readable when a worker ends; a thread has nothing of the kind."""
    return [worker.sentinel for worker in workers if hasattr(worker, "sentinel")]


def _join_exited(workers: Iterable[Any]) -> bool:
    """Return whether a worker has ended, and wait for these."""
    ended = [worker for worker in workers if worker.exitcode is not None]
    for worker in ended:
        worker.join()
    return bool(ended)


class _Termination:
    """What terminates a pool: at the end of the process, or when it is called."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __call__(self) -> None:
        self._pool.terminate()

    def cancel(self) -> None:
        """Have the pool not terminated at exit."""
        finalizers.pop(self._pool._at_exit, None)

    def still_active(self) -> bool:
        """Return whether the pool will be terminated at exit."""
        return self._pool._at_exit in finalizers


class _Ready:
    """The event of a result: set once that has come."""

    def __init__(self, result: AsyncResult) -> None:
        self._result = result

    def is_set(self) -> bool:
        """Return whether the result has come."""
        return self._result.ready()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the result, or for that many seconds; return whether it has come."""
        self._result.wait(timeout)
        return self._result.ready()


_OF_A_CLASS: dict[str, Callable[..., Any]] = {
    "_get_tasks": _batches,
    "_get_worker_sentinels": _sentinels_of,
    "_guarded_task_generation": _tasks,
    "_join_exited_workers": _join_exited,
}

# How a pool that has been made shows a part. Others, which end in "_handler", are its threads.
_OF_A_POOL: dict[str, Callable[[Any], Any]] = {
    "_cache": lambda pool: dict.fromkeys(range(pool._tasks.open)),  # an entry for each open task
    "_get_sentinels": lambda pool: lambda: [pool._change_notifier._reader],
    "_quick_get": lambda pool: pool._outqueue.get,
    "_quick_put": lambda pool: pool._inqueue.put,
    "_taskqueue": _TaskQueue,
    "_terminate": _Termination,
}

_OF_A_RESULT: dict[str, Callable[[Any], Any]] = {
    "_cache": lambda result: result._pool._cache,
    "_event": _Ready,
    "_job": id,
    "_success": lambda result: not result._failed,
}


def part(whole: Any, name: str) -> Any:
    """Return the part of that name of a pool, of a result, or of the class.

    AttributeError: a class has it not.
    """
    if name in _OF_A_CLASS:
        return _OF_A_CLASS[name]
    if whole is None:
        raise AttributeError(f"only what has been made has {name}")
    if isinstance(whole, AsyncResult):
        return _OF_A_RESULT[name](whole)
    if name in _OF_A_POOL:
        return _OF_A_POOL[name](whole)
    if name not in _QUEUES:
        return _Handler(whole, name)
    queue = whole._queue_to_show()
    setattr(whole, name, queue)
    return queue
