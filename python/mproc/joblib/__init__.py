# mypy: disable-error-code="import-not-found,import-untyped,misc,no-any-return,unused-ignore"
"""joblib on mproc: register(), then parallel_config(backend="mproc") or Parallel(backend="mproc").

Batching, dispatch and nesting are joblib's own. What differs from its loky backend: large arrays
go to the workers by reference, in shared memory and not in memory-mapped files; batches and results
through the arena; a worker that dies fails its own batch, and another one takes its place. If
the program has chosen an engine (mproc.set_engine()), the workers are the engine's, on all its
machines, and arrays are copied.

Workers are started by `spawn` (start_method= says otherwise), serve later calls of Parallel, too,
and end with the process or by shutdown(). joblib's cloudpickle pickles functions and results.

ImportError: joblib is not installed (`pip install mproc[joblib]`).
"""

from __future__ import annotations

import io
import multiprocessing
import os
import threading
import warnings
from pickle import loads as _loads
from weakref import WeakSet

from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
    cpu_count,
    register_parallel_backend,
)

try:
    from joblib.externals.cloudpickle import CloudPickler
except ImportError:  # from joblib 1.6 on it is a package of its own, which joblib requires
    from cloudpickle import CloudPickler

from .. import engines, get_context
from .._current import current_process
from .._pool import by_reference
from .._pool.errors import ExceptionWithTraceback
from .._pool.told import Told
from ..pool import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._pool.by_reference import Sent
    from ..context import BaseContext
    from ..pool import AsyncResult
    from ..process import BaseProcess

__all__ = ["MprocBackend", "register", "shutdown"]

NAME = "mproc"
LEAST = 1 << 20  # bytes of an array from which on it is sent by reference, unless max_nbytes says


def register(make_default: bool = False) -> None:
    """Have joblib know the backend; with make_default also use it where none is named."""
    register_parallel_backend(NAME, MprocBackend, make_default=make_default)


# ---- the workers


class _KeptPool:
    """A pool, the backends of the calls of Parallel that use it, and the process it belongs to."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.users: WeakSet[MprocBackend] = WeakSet()
        self.owner = os.getpid()


_kept: dict[Any, _KeptPool] = {}
_keeping = threading.Lock()


def _after_fork_in_child() -> None:
    global _keeping
    _keeping = threading.Lock()  # a thread of the parent may have had it


os.register_at_fork(after_in_child=_after_fork_in_child)


class _Environment:
    """The environment of the workers: set around each start, because libraries read it early."""

    def __init__(self, variables: dict[str, str], context: BaseContext) -> None:
        self._variables = variables
        self._context = context

    def __call__(self, context: BaseContext, *args: Any, **kwds: Any) -> BaseProcess:
        process = self._context.Process(*args, **kwds)
        start = process.start

        def start_with_variables() -> None:
            del process.start  # type: ignore[method-assign]
            before = {name: os.environ.get(name) for name in self._variables}
            os.environ.update(self._variables)
            try:
                start()
            finally:
                for name, value in before.items():
                    if value is None:
                        del os.environ[name]
                    else:
                        os.environ[name] = value

        process.start = start_with_variables  # type: ignore[method-assign]
        return process


def _start_pool(n_jobs: int, method: str, variables: dict[str, str], first: bytes) -> Pool:
    context = get_context(method)
    kind = type("WorkerPool", (Pool,), {"Process": _Environment(variables, context)})
    key = bytes(multiprocessing.current_process().authkey)
    elsewhere = variables if engines.chosen(None) is not None else {}
    return kind(n_jobs, _begin, (key, first, elsewhere), context=context)


def _begin(key: bytes, first: bytes, variables: dict[str, str]) -> None:
    """Prepare a worker: what it has in common with the owner, then the call that is to come first.

    key: with which proxies of a manager of the standard library authenticate. variables: of the
    environment, of a worker on an engine, which was not started in it.
    """
    os.environ.update(variables)
    register()
    multiprocessing.current_process().authkey = key
    if first:
        initializer, initargs = _loads(first)
        initializer(*initargs)


def _take_pool(
    user: MprocBackend, n_jobs: int, method: str, variables: dict[str, str], first: bytes
) -> _KeptPool:
    """Return a pool like that, kept or new. Others that nobody uses are ended."""
    key = (n_jobs, method, first, engines.chosen(None), *sorted(variables.items()))
    with _keeping:
        for other, kept in list(_kept.items()):
            mine = kept.owner == os.getpid()
            if not mine or kept.pool._state != "RUN":
                del _kept[other]
            elif other != key and not kept.users:
                del _kept[other]
                _end(kept.pool)
        if key not in _kept:
            _kept[key] = _KeptPool(_start_pool(n_jobs, method, variables, first))
        _kept[key].users.add(user)
        return _kept[key]


def _end(pool: Pool) -> None:
    pool.terminate()
    pool.join()


def shutdown() -> None:
    """End the workers that are kept for later calls, except those that are in use."""
    with _keeping:
        for key, kept in list(_kept.items()):
            if not kept.users:
                del _kept[key]
                if kept.owner == os.getpid():
                    _end(kept.pool)


def _run(message: bytes) -> Any:
    """Run a batch; in a worker. What is no Exception, which would end the worker, is returned."""
    try:
        return by_reference.run(message, CloudPickler)
    except Exception:
        by_reference.forget()
        raise
    except BaseException as error:
        by_reference.forget()
        return ExceptionWithTraceback(error, error.__traceback__)


# ---- the backend


class MprocBackend(AutoBatchingMixin, ParallelBackendBase):
    """The backend "mproc". start_method: how its workers are started.

    initializer(*initargs) runs in each worker first; Parallel() may give another one.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True

    _workers: _KeptPool | None = None

    def __init__(
        self,
        start_method: str = "spawn",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        get_context(start_method)  # ValueError: there is no such method
        self._method = start_method
        self._initializer = initializer
        self._initargs = initargs

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many workers there will be: one, and no process, where nesting forbids more.

        ValueError: n_jobs is 0.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or n_jobs == 1:
            return 1
        why = self._why_alone()
        if why is not None:
            warnings.warn(f"n_jobs is 1: {why}", stacklevel=3)
            return 1
        if n_jobs > 0:
            return n_jobs
        cluster = engines.chosen(None)
        most = cpu_count() if cluster is None else cluster.slots()
        return max(most + 1 + n_jobs, 1)

    def _why_alone(self) -> str | None:
        if current_process().daemon:
            return "a worker of a pool has no workers of its own"
        if not (self.nesting_level == 0 or self.in_main_thread()):
            return "a thread of a parallel call has no processes of its own"
        return None

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        max_nbytes: int | None = LEAST,
        mmap_mode: str | None = "r",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        **others: Any,
    ) -> int:
        """Get the workers for a call; return their number.

        max_nbytes: size from which on an array is sent by reference; None: none is. mmap_mode: "r"
        has the workers read it only, "r+" and "w+" let them write, None and "c" send copies.
        """
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        if initializer is None:
            initializer, initargs = self._initializer, self._initargs
        first = b"" if initializer is None else _dumps((initializer, tuple(initargs)))
        variables = self._prepare_worker_env(n_jobs=n_jobs)
        self._workers = _take_pool(self, n_jobs, self._method, variables, first)
        shares = max_nbytes is not None and mmap_mode not in (None, "c")
        shares = shares and engines.chosen(None) is None  # there is no memory in common
        self._sharer = _make_sharer(max_nbytes if shares else None, mmap_mode != "r")
        return n_jobs

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], None]) -> AsyncResult:
        """Have a worker run a batch; the callback gets what comes of it."""
        assert self._workers is not None
        sharer = self._sharer
        sent = sharer.pickle(func)

        def done(out: Any) -> None:
            sharer.over(sent, None if isinstance(out, BaseException) else out[2])
            callback(out)

        def failed(error: Any) -> None:
            sharer.over(sent)
            callback(error)

        pool = self._workers.pool
        return pool.apply_async(_run, (sent.message,), callback=done, error_callback=Told(failed))

    apply_async = submit  # its name in joblib before 1.5

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return the results of a batch, or raise what it raised."""
        if isinstance(out, BaseException):
            raise out
        data, buffers, _ = out
        return _loads(data, buffers=buffers)

    def terminate(self) -> None:
        """Give the workers back, and the memory of the call's arrays."""
        workers, self._workers = self._workers, None
        if workers is not None:
            with _keeping:
                workers.users.discard(self)
            self._sharer.drop()
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the workers and what they do; get others if ensure_ready."""
        if self._workers is not None:
            _end(self._workers.pool)
        self.terminate()
        if ensure_ready:
            self.configure(self.parallel.n_jobs, self.parallel, **_options_of(self.parallel))


def _options_of(parallel: Any) -> dict[str, Any]:
    """Return what Parallel has its backend configured with."""
    options: dict[str, Any] | None = getattr(parallel, "_backend_kwargs", None)
    return parallel._backend_args if options is None else options  # its name before joblib 1.5


def _dumps(value: object) -> bytes:
    file = io.BytesIO()
    CloudPickler(file).dump(value)
    return file.getvalue()


class _Copier:
    """In place of a Sharer: sends arrays as copies."""

    def pickle(self, call: Callable[[], object]) -> Sent:
        return by_reference.Sent(_dumps(call), [])

    def over(self, sent: Sent, kept: Any = None) -> None:
        """Do nothing: nothing was shared."""

    def drop(self) -> None:
        """Do nothing: nothing was shared."""


def _make_sharer(least: int | None, writable: bool) -> Any:
    try:
        if least is not None:
            return by_reference.Sharer(CloudPickler, least, writable)
    except ImportError:
        pass  # without numpy there are no arrays
    return _Copier()
