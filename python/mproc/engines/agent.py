"""The agent of a session at a node: a process with a pool of mproc that does the session's tasks.

It is a fresh interpreter, which becomes like the program as a child by `spawn` does, and then makes
a pool by the program's start method. Its main thread takes tasks from a socket, the pool's helper
notes what is done, and a third thread sends that back, as much at a time as there is.

If the engine's worker dies, or ends the session, the socket closes, and the agent ends at once,
whatever it is at; its pool's workers end with it. What it needs of files is in a directory that the
engine's worker has made for it: who of the two ends last removes it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading

from .. import _mproc
from .._mproc import Connection
from .node import DIED, DONE, RAISED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from ..pool import Pool

__all__ = ["main", "run"]

TRIES = 3  # failures of an initializer in a row, when it has succeeded before


# ---- in the pool's workers


def run(kind: str, function: bytes, arguments: bytes, first: int, of_executor: bool) -> bytes:
    """Do a task, and return the message of what came of it: (failed, value).

    As on one machine, what ends a process (SystemExit) is the result of an executor's task, and
    ends a worker of a pool.
    """
    told = BaseException if of_executor else Exception
    done: list[Any] = []
    call = None
    try:
        call, values = _mproc.loads(function), _mproc.loads(arguments)
        if kind == "call":
            value = call(*values[0], **(values[1] or {}))
        else:
            value = done
            for one in values:
                done.append(call(*one) if kind == "starmap" else call(one))
    except told as error:
        where = None if kind == "call" or call is None else (call, first + len(done))
        return _described(error, call is not None, where, of_executor)
    try:
        return _mproc.dumps((False, value))
    except Exception as error:
        number = None if kind == "call" else first
        return _mproc.dumps((True, _maker("excuse", of_executor)(value, error, number)))


def _described(error: BaseException, called: bool, where: Any, of_executor: bool) -> bytes:
    if isinstance(error, ModuleNotFoundError) and not called:
        import socket

        error.add_note(
            f"Worker processes on {socket.gethostname()} do not find it: install it there, or have"
            " it beside the script and import it before the pool is made"
        )
    told = _maker("describe", of_executor)(error, called, where)
    try:
        return _mproc.dumps((True, told))
    except Exception as why:
        return _mproc.dumps((True, _maker("excuse", of_executor)(told, why, None)))


def _maker(name: str, of_executor: bool) -> Callable[..., Any]:
    """Return what makes the errors of a pool, or of an executor."""
    if of_executor:
        from .._pool import executor

        return getattr(executor, f"_{name}")  # type: ignore[no-any-return]
    from .._pool import errors

    return getattr(errors, name)  # type: ignore[no-any-return]


class First:
    """A pool's initializer, and a queue by which the agent hears of each call how it has ended."""

    def __init__(self, initializer: Callable[..., object], news: Any) -> None:
        self._initializer = initializer
        self._news = news

    def __call__(self, *args: Any) -> None:
        """Call the initializer. What it raises ends the worker, as on one machine."""
        try:
            self._initializer(*args)
        except BaseException as error:
            self._news.put(_failure(self._initializer, error))
            raise
        self._news.put(None)


def _failure(initializer: Callable[..., object], error: BaseException) -> bytes:
    """Return the message about an initializer that has failed: (what, the exception or None)."""
    import socket

    from .._pool.errors import describe, representation

    name = getattr(initializer, "__qualname__", None) or representation(initializer)
    what = (
        f"the initializer {name} of the pool has failed on {socket.gethostname()}"
        f" (pid {os.getpid()}): {representation(error)}"
    )
    try:
        return _mproc.dumps((what, _mproc.dumps(describe(error, True, None))))
    except Exception:  # it cannot be pickled, so its text has to do
        return _mproc.dumps((what, None))


# ---- the agent


class Outbox:
    """What is done and not sent yet."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._news = threading.Condition()
        self._results: list[Any] = []

    def put(self, result: tuple[int, int, Any]) -> None:
        """Take a result to be sent."""
        with self._news:
            self._results.append(result)
            self._news.notify()

    def run(self) -> None:
        """Send results for ever: the thread that does."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._results)
                results, self._results = self._results, []
            try:
                self._connection.send_bytes(_mproc.dumps(results))
            except OSError:
                return  # the main thread sees the end, too


def _submit(pool: Pool, box: Outbox, task: tuple[Any, ...]) -> None:
    from .._pool.errors import WorkerDiedError
    from .._pool.told import Told

    number, call, options = task

    def fail(error: BaseException) -> None:
        if isinstance(error, WorkerDiedError):
            how = str(error).split(")", 1)[-1].strip()
            box.put((number, DIED, (error.pid, error.exitcode, f"it {how}")))
        else:
            box.put((number, RAISED, _mproc.dumps(error)))

    chosen = pool if options is None else pool.options(**options)
    chosen.apply_async(
        run,
        call,
        callback=lambda message: box.put((number, DONE, message)),
        error_callback=Told(fail),
    )


def _make_pool(told: dict[str, Any], connection: Connection) -> Pool:
    from ..context import _default_context

    initializer, initargs = _mproc.loads(told["first"])
    context = _default_context.get_context(told["method"])
    if initializer is not None:
        news = context.SimpleQueue()
        initializer = First(initializer, news)
        threading.Thread(
            target=_judge, args=(news, connection), name="mproc-agent-first", daemon=True
        ).start()
    return context.Pool(told["slots"], initializer, initargs, told["limit"])


def _judge(news: Any, connection: Connection) -> None:
    """Tell the node when the initializer fails, after which no pool is to be expected here.

    That is at once if it has never succeeded; later on, when it fails TRIES times in a row.
    """
    left = 1
    while left:
        failure = news.get()
        left = TRIES if failure is None else left - 1
    with contextlib.suppress(OSError):
        connection.send_bytes(failure)


def _serve(connection: Connection, room: str) -> None:
    from . import session

    told = _mproc.loads(connection.recv_bytes())
    session.adopt(told["program"], room)
    pool = _make_pool(told, connection)
    box = Outbox(connection)
    threading.Thread(target=box.run, name="mproc-agent", daemon=True).start()
    while True:
        for task in _mproc.loads(connection.recv_bytes()):
            _submit(pool, box, task)


def _end_with(connection: Connection, room: str) -> None:
    """End when the socket closes: a thread does, for an import of the program may take long."""
    import select

    there = select.poll()
    there.register(connection.fileno(), select.POLLRDHUP)
    there.poll()
    _end(room)


def _end(room: str) -> NoReturn:
    """End, whatever runs in the pool."""
    import shutil

    shutil.rmtree(room, ignore_errors=True)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(0)


def main() -> None:
    """Serve the session whose socket and directory the command line names, until that is closed."""
    connection, room = Connection(int(sys.argv[1])), sys.argv[2]
    threading.Thread(
        target=_end_with, args=(connection, room), name="mproc-agent-end", daemon=True
    ).start()
    try:
        _serve(connection, room)
    except (EOFError, ConnectionError):
        pass
    except BaseException as error:
        with contextlib.suppress(OSError):  # the session may have ended meanwhile
            connection.send_bytes(_mproc.dumps(f"its agent could not begin: {error!r}"))
        raise
    _end(room)


if __name__ == "__main__":
    from mproc.engines.agent import main as main_of_module

    main_of_module()
