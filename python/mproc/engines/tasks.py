"""The books of a pool whose tasks are done on an engine: what `_mproc.Pool` is to another pool.

Calls are pickled by who submits them, and results unpickled by who pumps; in between a Dispatcher
has them, as bytes. The pool's workers are seats: they stand for processes on the engine's nodes,
and end when the session does.
"""

from __future__ import annotations

from queue import Empty

from .. import _mproc
from .._cpython import is_of_a_signal
from .._cpython import ref as _reference
from .._pool.threads import ThreadTasks
from ..context import Leaving
from ..pool import Pool
from . import session
from .dispatch import Dispatcher, Task
from .node import DIED, DONE, RAISED
from .shared import Sharing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..context import BaseContext
    from .cluster import Cluster

__all__ = ["EngineTasks"]


class Seat:
    """Stands for a process on a node, with the interface of a process."""

    pid: int | None = None
    ident = 0
    _closed = False

    def __init__(self, number: int, dispatcher: Dispatcher) -> None:
        self.name = f"EngineWorker-{number}"
        self._dispatcher = dispatcher

    @property
    def exitcode(self) -> int | None:
        """None as long as the session goes on."""
        return None if self._dispatcher.is_alive() else 0

    def is_alive(self) -> bool:
        """Return whether the session goes on."""
        return self._dispatcher.is_alive()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the session's end."""
        self._dispatcher.join(timeout)

    def terminate(self) -> None:
        """End the session at once."""
        self._dispatcher.end(True)

    kill = terminate


class _Message(bytes):
    """The message of a function that has shared objects in it, and these."""

    shared: list[Any]

    def __new__(cls, message: bytes, shared: list[Any]) -> _Message:
        self = super().__new__(cls, message)
        self.shared = shared
        return self


class EngineTasks(ThreadTasks):
    """The books of a pool's calls that are done on an engine."""

    _reason: BaseException | None = None

    def __init__(
        self, engine: Any, seats: int | None, cluster: Cluster, how: tuple[Any, ...], fragile: bool
    ) -> None:
        """Make the books. seats: processes in all; None: those of the engine.

        how: initializer, its arguments, tasks of a worker, context. fragile: an executor's rule
        holds, that a worker which dies ends all.
        """
        super().__init__(engine, 0, cluster.patience)
        self._of_executor = not isinstance(engine, Pool)
        self._fragile = fragile
        self._limit = cluster.limit
        self._sealer = engine._sealer
        self._sharing = sharing = Sharing(cluster)
        results, tell = self._results, _reference(self)

        def give_up(reason: BaseException) -> None:
            tasks = tell()
            if tasks is not None:
                tasks._reason = reason
            results.put(None)

        self._dispatcher = Dispatcher(
            cluster,
            seats,
            _teller(sharing, *how),
            lambda task, kind, value: results.put((task.owner, kind != DONE, (task, kind, value))),
            give_up,
            sharing.close,
        )

    @property
    def waiting(self) -> int:
        """How many calls no node has been given."""
        return self._dispatcher.waiting

    # -- submitting

    def submit(
        self,
        job: _mproc.Job,
        function: Any,
        named: bool,
        arguments: tuple[Any, Any],
        options: Any = None,
        /,
    ) -> None:
        """Send one call. RuntimeError: after close(). Raises what pickling raises."""
        message, shared = self._dumps(arguments)
        what = ("call", function, message, 0, self._of_executor)
        self._add(job, function, arguments, lambda part: self._send(part, what, options, shared))

    def submit_map(
        self,
        job: _mproc.Job,
        function: Any,
        named: bool,
        star: bool,
        items: list[Any],
        chunk: int,
        first: int = 0,
        options: Any = None,
        awaited: bool = False,
        /,
    ) -> None:
        """Send a call per item of a list, chunk of them per task."""
        starts = range(0, len(items), chunk)
        messages = [self._dumps(items[start : start + chunk]) for start in starts]
        kind = "starmap" if star else "map"
        left = zip(starts, messages, strict=True)

        def send(part: _mproc.Task) -> None:
            start, (message, shared) = next(left)
            what = (kind, function, message, first + start, self._of_executor)
            self._send(part, what, options, shared)

        self._add_map(job, function, star, items, chunk, send)

    def message_of_function(self, function: Callable[..., Any]) -> bytes:
        """Return the message that tells workers of a function."""
        with Leaving(self._sharing) as leaving:
            if self._sealer is not None:
                message = self._sealer.dumps_function(function)
            else:
                message = _mproc.dumps(function)
        return _Message(message, leaving.shared) if leaving.shared else message

    def _dumps(self, arguments: Any) -> tuple[bytes, list[Any]]:
        with Leaving(self._sharing) as leaving:
            dumps = _mproc.dumps if self._sealer is None else self._sealer.message_of
            message: bytes = dumps(arguments)
        if self._limit is not None and len(message) > self._limit:
            raise ValueError(
                f"a task of {len(message)} bytes is larger than a message may be: {self._limit}"
            )
        return message, leaving.shared

    def _send(
        self, part: _mproc.Task, what: tuple[Any, ...], options: Any, shared: list[Any]
    ) -> None:
        kind, function, *rest = what
        if isinstance(function, _Message):
            shared = shared + function.shared
            what = (kind, bytes(function), *rest)
        self._dispatcher.put(Task(part, what, options, shared))

    # -- booking

    def _book_next(self, block: bool, timeout: float | None = None) -> None:
        self._take_next(self._results.get, block, timeout, self._read)

    def _read(self, part: _mproc.Task, failed: bool, result: Any) -> tuple[bool, Any]:
        """Return what is to be booked; see `_mproc.Books`. Called again if it is interrupted."""
        if part not in self._open:
            return failed, None
        task, kind, value = result
        if kind == DIED:
            if self._fragile and task.options is None and (engine := self._engine()) is not None:
                self._give_up(engine, value)  # and nothing is open any more
            return failed, value
        try:
            if kind == RAISED:
                return True, _mproc.loads(value)
            failed, value = _mproc.loads(value)
        except Exception as error:
            if is_of_a_signal(error):
                raise
            job: Any = part.job
            return True, job._unreadable(error)
        return failed, value

    # -- workers

    def resize(self, workers: int) -> None:
        """Have so many seats from now on."""
        engine = self._engine()
        if engine is None:
            return
        seats = [Seat(number, self._dispatcher) for number in range(1, workers + 1)]
        engine._pool[: len(seats)] = seats
        engine._started = True
        self._target = workers

    def _look(self) -> None:
        """Break the pool if nothing will be done any more."""
        engine = self._engine()
        if self._reason is not None and engine is not None and not self.broken:
            self._give_up(engine, self._reason)

    def has_worker(self, seat: int) -> bool:
        """Return whether a seat has a worker."""
        return seat < self._target and self._dispatcher.is_alive()

    def close(self) -> None:
        """Take no more calls: the session ends when all are done."""
        self._closed = True
        self._dispatcher.end(False)

    def drop_waiting(self) -> None:
        """End the session at once: what waits is not done."""
        self._closed = True
        self._dispatcher.end(True)
        try:
            while True:
                self._results.get_nowait()
        except Empty:
            self._results.put(None)


def _teller(
    sharing: Sharing,
    initializer: Any,
    initargs: tuple[Any, ...],
    limit: int | None,
    context: BaseContext,
) -> Callable[[int], bytes]:
    """Return what makes the message for an agent that is to have so many processes."""
    with Leaving(sharing) as leaving:
        first = _mproc.dumps((initializer, initargs))
    shared = leaving.shared
    told = {
        "program": session.of_program(),
        "first": first,
        "limit": limit,
        "method": context.get_start_method(allow_none=False),
    }

    def tell(slots: int, _: Any = shared) -> bytes:
        return _mproc.dumps({**told, "slots": slots})

    return tell
