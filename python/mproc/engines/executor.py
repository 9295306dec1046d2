"""The engine of a ProcessPoolExecutor whose tasks are done on other machines."""

from __future__ import annotations

from .. import _mproc
from .._pool.executor import ExecutorEngine, Future, _Call
from .tasks import EngineTasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._pool.limits import TaskOptions
    from .cluster import Cluster

__all__ = ["OnEngine"]

ROOM = 256  # tasks on their way at least, for the way is long; they cannot be cancelled


class OnEngine(ExecutorEngine):
    """The books of an executor, and its seats on an engine; wanted: processes, None: all."""

    def __init__(self, cluster: Cluster, wanted: int | None, *how: Any) -> None:
        self._cluster = cluster
        self._processes_in_all = wanted
        super().__init__(*how)
        self._backlog = _mproc.Backlog(Future, _Call, max(ROOM, 2 * self._seats))
        self._all_at_once = True

    def _make_tasks(self, seats: int) -> Any:
        how = (self._initializer, self._initargs, self._limit, self._context)
        return EngineTasks(self, self._processes_in_all, self._cluster, how, self._is_fragile)

    @staticmethod
    def _options_for(options: TaskOptions) -> Any:
        return options.priority or 0, options.given()
