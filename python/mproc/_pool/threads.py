"""ThreadPool, and its tasks: what `_mproc.Pool` is to a Pool, for workers that are threads.

How it works. Tasks (`_mproc.Task`) go to the workers as they are, through one queue of the
interpreter, and come back through another one. Results are booked by whoever pumps, as those of
processes are, so that callbacks and waiting are the same for both kinds of pool. The thread that
pumps looks after the workers, too.

Shared state, all under the interpreter's lock.
  _waiting   tasks that no worker has taken; None at its end: a worker that takes it puts it back.
  _results   tasks that are done, with what came of them. None: a notice.
  _served    seats whose worker has begun to serve.
  _vacant    seats without a worker, each with the one that has left it: None, if there was none.
             Filled by the thread whose turn _seating is.
  broken     no worker is started any more, and nothing that is open will be done.
The open tasks are in the books (`_mproc.Books`), and each step of theirs is one call.

A thread dies only with its process, or of what its initializer raises: then it has served nothing.
Ends without use are counted by the core (`_mproc.Restarts`), as those of processes are.
"""

from __future__ import annotations

import errno
from queue import Empty
from queue import SimpleQueue as _SimpleQueue
from time import monotonic as _monotonic

from .. import _mproc
from .._cpython import ref as _reference
from .._engine import RESTART
from ..pool import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from .._engine import Engine
    from ..context import BaseContext

    _Done = tuple[_mproc.Task, bool, Any]  # whether it has failed, and what has come of it

__all__ = ["ThreadPool", "ThreadTasks"]

_mproc._add_imap()  # of a pool of threads, too
_mproc._add_threads()

LOOK = 0.01  # seconds between two looks at the workers


class ThreadTasks(_mproc.Books):
    """A queue of tasks for threads, and the books of those that are open."""

    broken = False
    _target = 0  # workers that are wanted
    _looked = 0.0

    def __init__(self, engine: Engine, seats: int, patience: float) -> None:
        self._engine = _reference(engine)
        self._patience = patience
        self._restarts = _mproc.Restarts()
        self._vacant: dict[int, Any] = {}
        self._seating = _mproc.Turn()
        self._waiting: _SimpleQueue[_mproc.Task | None] = _SimpleQueue()
        self._results: _SimpleQueue[_Done | None] = _SimpleQueue()
        self._served: set[int] = set()
        self._told = False  # the workers, that no task comes any more

    # -- the owner's side

    @property
    def waiting(self) -> int:
        """How many tasks no worker has taken."""
        return self._waiting.qsize()

    def note_wait(self) -> bool:
        """Say nothing: no looker from outside sees threads of Python; see _mproc.Pool."""
        return False

    @staticmethod
    def note_end() -> None:
        """Say nothing."""

    def pump(self, job: _mproc.Job | None, timeout: float | None, patient: bool = False) -> bool:
        """Book results until the job is ready; see _mproc.Pool.pump()."""
        if self.broken and self.open:
            self._fail_open()  # who broke the pool has been interrupted
        ready = self._pump(job, timeout)
        if _monotonic() - self._looked > LOOK:
            self._look()
        return ready

    def _pump(self, job: _mproc.Job | None, timeout: float | None) -> bool:
        booked = False
        while job is None or not job._ready:
            try:
                self._book_next(timeout is None or timeout > 0, timeout or None)
            except Empty:
                break
            booked = True
            self._book_others()
            if job is None or isinstance(job, _mproc.Stream):
                break  # what has come may be another thread's already
        return booked if job is None else job._ready

    def _book_next(self, block: bool, timeout: float | None = None) -> None:
        self._take_next(self._results.get, block, timeout)

    def _book_others(self) -> None:
        """Book what has come meanwhile: each by itself would cost a thread's turn."""
        try:
            for _ in range(self._results.qsize()):
                self._book_next(False)
        except Empty:
            pass  # a callback has pumped

    def notify(self) -> None:
        """Have the thread that pumps look again at what it waits for; see _mproc.Pool.notify()."""
        self._results.put(None)

    # -- the workers, as the owner sees them

    def resize(self, workers: int) -> None:
        """Have so many workers from now on; those that are missing start."""
        self._vacant.update((seat, None) for seat in range(self._target, workers))
        self._target = workers
        self._look()

    def _look(self) -> None:
        """Notice workers that have ended, and put others in their place."""
        self._looked = _monotonic()
        engine = self._engine()
        if engine is None or self.broken:
            return
        for seat, old in enumerate(engine._pool):
            if seat not in self._vacant and old.exitcode is not None:
                self._count_end(engine, seat, old)
                self._vacant[seat] = old
        if self._vacant and not self._closed:
            with self._seating as depth:
                if depth == 1:
                    self._fill(engine)

    def _count_end(self, engine: Engine, seat: int, old: Any) -> None:
        if self._was_of_use(seat, old):
            self._restarts.ready()
            return
        self._restarts.ended()
        if self._restarts.hopeless(self._target):
            self._give_up(engine, engine._what_broke_it(self._death_of(engine, old)))

    def _was_of_use(self, seat: int, old: Any) -> bool:
        """Return whether a worker that has ended began to serve."""
        begun = seat in self._served
        self._served.discard(seat)
        return begun

    def _death_of(self, engine: Engine, old: Any, task: int | None = None) -> BaseException:
        from .errors import WorkerDiedError

        return WorkerDiedError(old.name, engine._owner, old.exitcode or 1, task)

    def _fill(self, engine: Engine) -> None:
        for seat, gone in sorted(self._vacant.items()):
            started = self._start(engine, seat, gone)
            if isinstance(started, int):
                self._do_without(engine)
                return
            self._vacant.pop(seat, None)
            self._restarts.started()
            if isinstance(started, tuple):
                raise started[1]

    @staticmethod
    def _start(engine: Engine, seat: int, gone: Any) -> Any:
        """Start a worker, unless one was when an interrupt kept that from being noted."""
        for old in engine._pool[seat : seat + 1]:
            if old is not gone:
                return old
        return engine._start_in_seat(seat)

    def _do_without(self, engine: Engine) -> None:
        """Note that no worker can be started now; give up when that has lasted too long."""
        if len(self._vacant) == self._target and engine._started:
            self._restarts.missing(self._target, self._patience)
            if self._restarts.hopeless(self._target) and not self.broken:
                self._give_up(engine, engine._what_broke_it(engine._start_error))

    def _give_up(self, engine: Engine, reason: BaseException) -> None:
        self.broken = True
        engine._break(reason)

    def has_worker(self, seat: int) -> bool:
        """Return whether a seat has a worker that has not been missed."""
        return seat < self._target and seat not in self._vacant

    def abandon(self) -> None:
        """Fail every open job, and start no worker any more. To be repeated, if interrupted."""
        self.broken = True
        self.drop_waiting()
        self._fail_open()

    def _fail_open(self) -> None:
        engine = self._engine()
        if engine is not None:
            self._fail_all(engine._failure_of_all(RuntimeError("abandoned")))

    def close(self) -> None:
        """Take no more tasks: workers do what waits, then end."""
        self._closed = True
        if not self._told:
            self._waiting.put(None)
            self._told = True

    def drop_waiting(self) -> None:
        """Have the workers end as soon as they can: what waits is not done."""
        self._closed = True
        self._told = False
        try:
            while True:
                self._waiting.get_nowait()
        except Empty:
            pass
        finally:
            self.close()

    # -- the workers' side

    def serve(
        self,
        seat: int,
        limit: int,
        describe: Callable[[BaseException, bool], Any],
        excuse: Callable[[object, BaseException], object],
        everything: bool = False,
    ) -> int:
        """Run tasks until there are no more, or as many as the limit are done."""
        self._served.add(seat)
        done = 0
        while limit == 0 or done < limit:
            task = self._waiting.get()
            if task is None:
                self._waiting.put(None)  # for the others
                break
            self._results.put(self._do(task, describe))
            task = None
            done += 1
        return done

    @staticmethod
    def _do(task: _mproc.Task, describe: Callable[[BaseException, bool], Any]) -> _Done:
        try:
            return task, False, task.run()
        except BaseException as error:  # a thread that ends would leave its task undone
            return task, True, describe(error, True)


class ThreadPool(Pool):
    """A pool whose workers are threads: functions, arguments and results need not be picklable.

    terminate() does not wait for tasks that run, since nothing can end a thread; join() does.
    """

    __module__ = "mproc.pool"

    _wrap_exception = False
    _may_leave = False

    @staticmethod
    def Process(ctx: BaseContext, *args: Any, **kwds: Any) -> Any:
        """Make a worker's thread, which has the interface of a process."""
        from ..dummy import Process

        return Process(*args, **kwds)

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None:
        super().__init__(processes, initializer, initargs)

    def _make_tasks(self, seats: int) -> Any:
        tasks: Any = ThreadTasks(self, seats, RESTART)
        self._place = tasks
        return tasks

    def _queue_to_show(self) -> Any:
        return _SimpleQueue()

    def _message_of(self, function: Callable[..., Any]) -> tuple[Any, bool]:
        return function, True  # threads share it

    def _start(self, new: Any) -> None:
        try:
            new.start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from None  # there may be room later

    def _end_workers(self) -> None:
        self._tasks.drop_waiting()
