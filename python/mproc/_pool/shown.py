"""What a pool shows of the standard pool's parts, to programs that look at them.

The standard pool has three threads and two queues. A pool on the arena has neither, and programs
that only look are shown what is true of it: the threads live as long as the pool does, and nothing
is on its way in the queues. Recipes that put the tasks of an imap of their own into the queue of
tasks find one, and the functions that make such tasks.
"""

from __future__ import annotations

from itertools import islice as _islice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from ..pool import Pool

__all__ = ["mapstar", "part", "starmapstar"]

_QUEUES = ("_inqueue", "_outqueue")


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


for _function in (mapstar, starmapstar):
    _function.__module__ = "mproc.pool"  # by which tasks name them


_OF_A_CLASS = {"_get_tasks": _batches, "_guarded_task_generation": _tasks}


def part(pool: Pool | None, name: str) -> Any:
    """Return the part of that name of a pool, or of the class. AttributeError: that has it not."""
    if name in _OF_A_CLASS:
        return _OF_A_CLASS[name]
    if pool is None:
        raise AttributeError(f"only a pool that has been made has {name}")
    if name == "_cache":
        return dict.fromkeys(range(pool._tasks.open))  # an entry for each open task
    if name == "_taskqueue":
        return _TaskQueue(pool)
    if name not in _QUEUES:
        return _Handler(pool, name)
    queue = pool._ctx.SimpleQueue()
    setattr(pool, name, queue)
    return queue
