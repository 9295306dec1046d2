"""The workers' side: where they find tasks, and what a worker process runs."""

from __future__ import annotations

from . import _mproc
from ._cpython import pickle
from ._current import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["Workplace", "import_for_workers", "worker"]

_mproc._add_pool()

_DEBUG = 10


class Workplace(_mproc.Workplace):
    """What a pool shares with its workers: there they find tasks and hand in results."""

    def __getstate__(self) -> None:
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        from . import reduction

        return reduction.reduce_handle(self)


def import_for_workers() -> None:
    """Import what a worker may need before that can be too late.

    An initializer may give up the right to read files, or change the root directory. And a worker
    that is forked while another thread imports something would wait for that thread for ever.
    """
    import traceback  # noqa: F401

    from . import _culprit  # noqa: F401
    from .pool import ExceptionWithTraceback, MaybeEncodingError, RemoteTraceback  # noqa: F401

    pickle()


# Functions of `_pool.errors`, which is imported when one is called: by what has failed. They stand
# here, since each that a worker makes is pages to be copied.


def _describe(*args: Any) -> Any:
    from ._pool import errors

    return errors.describe(*args)


def _describe_barely(*args: Any) -> Any:
    from ._pool import errors

    return errors.describe_barely(*args)


def _excuse(*args: Any) -> Any:
    from ._pool import errors

    return errors.excuse(*args)


def worker(
    tasks: Any,
    seat: Any,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[Any] = (),
    maxtasks: int | None = None,
    wrap_exception: bool = True,
) -> None:
    """Run tasks until there are no more, or maxtasks are done.

    tasks and seat: the pool's workplace and the worker's seat there; or, in a pool that sets up
    queues of its own, the queues of tasks and of results.
    """
    if not hasattr(tasks, "serve"):
        from ._pool.piped import serve_queues

        done = serve_queues(tasks, seat, initializer, initargs, maxtasks, wrap_exception)
        log(_DEBUG, "worker exiting after %d tasks", done)
        return
    if initializer is not None:
        import_for_workers()
        initializer(*initargs)
    describe = _describe if wrap_exception else _describe_barely
    done = tasks.serve(seat, maxtasks or 0, describe, _excuse)
    log(_DEBUG, "worker exiting after %d tasks", done)
