"""What can go wrong with a task: the exceptions that Pool and ProcessPoolExecutor share.

Their home, for whoever sees their names, is `mproc.pool`.
"""

from __future__ import annotations

import sys
from errno import ECANCELED, ETIMEDOUT

from .. import _mproc
from .._cpython import text_of
from ..context import ProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from .._engine import Engine

__all__ = [
    "ExceptionWithTraceback",
    "MaybeEncodingError",
    "RemoteTraceback",
    "TaskMemoryError",
    "TaskTimeoutError",
    "Where",
    "WorkerDiedError",
    "add_note",
    "describe",
    "describe_barely",
    "excuse",
    "explain",
    "explain_result",
    "explain_unknown",
    "failure",
    "note_item",
    "rebuild",
    "representation",
    "what_broke",
]

if TYPE_CHECKING:
    Where = tuple[Callable[..., Any], int] | None  # the function of a map and an item's number
else:
    Where = tuple


class WorkerDiedError(ProcessError):
    """A worker process ended while it had the task. The pool goes on with a new worker.

    Attributes: task, the task's number in its pool; pid and exitcode of the worker.
    """

    __module__ = "mproc.pool"

    def __init__(self, name: str, pid: int, exitcode: int, task: int | None) -> None:
        super().__init__(name, pid, exitcode, task)
        self.name = name
        self.pid = pid
        self.exitcode = exitcode
        self.task = task

    def __str__(self) -> str:
        if self.exitcode < 0:
            import signal

            try:
                how = f"was ended by {signal.Signals(-self.exitcode).name}"
            except ValueError:
                how = f"was ended by signal {-self.exitcode}"
        else:
            how = f"exited with code {self.exitcode}"
        when = "" if self.task is None else f" while it ran task {self.task}"
        return f"worker {self.name} (pid {self.pid}) {how}{when}"


class TaskTimeoutError(ProcessError):
    """A task ran longer than its timeout, and its worker was ended. The pool goes on.

    It is no TimeoutError: that says that who waited for a result has waited long enough, and may
    go on waiting. Attributes: task, the task's number in its pool; pid of the worker; seconds that
    the task had run.
    """

    __module__ = "mproc.pool"

    def __init__(self, pid: int, seconds: float, task: int) -> None:
        super().__init__(pid, seconds, task)
        self.pid = pid
        self.seconds = seconds
        self.task = task

    def __str__(self) -> str:
        return (
            f"task {self.task} timed out after {self.seconds:.3f} s"
            f" in the worker with pid {self.pid}, which was ended"
        )


class TaskMemoryError(ProcessError):
    """A task's worker used more memory than the task may, and was ended. The pool goes on.

    Attributes: task, the task's number in its pool; pid of the worker; peak, the most private
    memory that was seen, in bytes.
    """

    __module__ = "mproc.pool"

    def __init__(self, pid: int, peak: int, task: int) -> None:
        super().__init__(pid, peak, task)
        self.pid = pid
        self.peak = peak
        self.task = task

    def __str__(self) -> str:
        return (
            f"task {self.task} used too much memory, {self.peak / (1 << 20):.1f} MiB,"
            f" in the worker with pid {self.pid}, which was ended"
        )


def representation(value: object) -> str:
    """Return the repr of anything, also of what fails to have one."""
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__} object at {id(value):#x}, repr: {type(error).__name__}>"


class MaybeEncodingError(Exception):
    """A result or an exception could not be sent back, or not be read when it came."""

    __module__ = "mproc.pool"

    def __init__(self, exc: object, value: object) -> None:
        self.exc = representation(exc)
        self.value = representation(value)
        super().__init__(self.exc, self.value)

    def __str__(self) -> str:
        return f"Error sending result: '{self.value}'. Reason: '{self.exc}'"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"


class RemoteTraceback(Exception):
    """The traceback of the worker, as the cause of an exception."""

    __module__ = "mproc.pool"

    def __init__(self, tb: str) -> None:
        super().__init__(tb)
        self.tb = tb

    def __str__(self) -> str:
        return self.tb


class AbruptEnd(WorkerDiedError, RemoteTraceback):
    """The cause of a BrokenProcessPool from Python 3.15 on, whose own is a RemoteTraceback.

    Attribute: tb, what that says there. The text of the exception is a WorkerDiedError's.
    """

    def __init__(self, name: str, pid: int, exitcode: int, task: int | None) -> None:
        Exception.__init__(self, name, pid, exitcode, task)
        self.name = name
        self.pid = pid
        self.exitcode = exitcode
        self.task = task
        self.tb = f"Process {pid} terminated abruptly with exit code {exitcode}"


class ExceptionWithTraceback:
    """An exception on its way: it arrives with the worker's traceback as its cause.

    It is pickled by itself, so that one that cannot be unpickled says what it was all the same.
    """

    __module__ = "mproc.pool"

    def __init__(self, exc: BaseException, tb: TracebackType | None, where: Where = None) -> None:
        if where is not None:
            note_item(exc, where)
        text = text_of(exc.with_traceback(tb))
        self.exc = exc.with_traceback(None)
        self.tb = f'\n"""\n{text}"""'

    def instead(self, exc: BaseException) -> ExceptionWithTraceback:
        """Return another exception on its way, with the traceback of this one."""
        other = object.__new__(type(self))
        other.exc = exc
        other.tb = self.tb
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        return self._rebuild, (_message_of(self.exc), self.tb, representation(self.exc))

    @staticmethod
    def _rebuild(message: bytes, tb: str, name: str) -> BaseException:
        return rebuild(message, tb, lambda error: MaybeEncodingError(error, _Text(name)))


def note_item(exc: BaseException, where: tuple[Any, int]) -> None:
    """Say in an exception at which item a map has failed."""
    function, number = where
    add_note(exc, f"{_name_of(function)}() failed at item {number}, counted from 0")


def add_note(exc: BaseException, note: str) -> None:
    """Add a note to an exception, unless that does not let itself be changed."""
    try:
        exc.add_note(note)
    except Exception:
        return


def _name_of(function: Any) -> str:
    while type(function).__name__ in ("partial", "_Returning"):
        function = function.func
    try:
        return str(function.__qualname__)
    except Exception:
        return type(function).__qualname__


def _sealer() -> Any:
    """Return the module that sends by value if this worker's pool does, else None."""
    sealer = sys.modules.get("mproc._cloudpickle")
    return sealer if sealer is not None and sealer.serves() else None


def _message_of(exc: BaseException) -> bytes:
    try:
        return _mproc.dumps(exc)
    except Exception:
        sealer = _sealer()
        if sealer is None:
            raise
        return sealer.message_of(exc)  # type: ignore[no-any-return]


class _Text:
    """Something whose repr was made elsewhere."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


# ---- what does not travel


def explain(
    error: BaseException,
    parts_of: str,
    *what: Any,
    by_value: Callable[[Any], object] | None = None,
) -> None:
    """Say in an error which part of what was to be sent cannot be pickled; see `_culprit.py`."""
    from .. import _culprit

    _culprit.explain(error, getattr(_culprit, parts_of)(*what), by_value)


def explain_result(error: BaseException, value: object, first: int | None) -> None:
    """Say in an error which part of a result, or of an exception, cannot be pickled."""
    sealer = _sealer()
    if sealer is None:
        explain(error, "parts_of_result", value, first)
    else:
        value = sealer.contents(value)
        explain(error, "parts_of_result", value, first, by_value=sealer.dumps)


def explain_unknown(error: BaseException) -> None:
    """Say in an error that a task could not be unpickled what to do, if that is known."""
    if isinstance(error, AttributeError):
        from .. import _culprit

        _culprit.explain_unknown(error)


def rebuild(
    message: bytes, tb: str, replace: Callable[[BaseException], BaseException]
) -> BaseException:
    """Return an exception as it was sent, or what replaces one that cannot be unpickled.

    Many classes cannot be called with the args that their instances have, as unpickling does. An
    exception of such a class is made without its __init__(), and has the attributes that it had.
    """
    try:
        exc: BaseException = _mproc.loads(message)
    except Exception as error:
        exc = _without_init(message) or replace(error)
    exc.__cause__ = RemoteTraceback(tb)
    return exc


def _without_init(message: bytes) -> BaseException | None:
    """Unpickle an exception in whose place another one is made; None: neither can be."""
    from .bare import load

    try:
        return load(message)
    except Exception:
        return None


# ---- of an engine


def what_broke(engine: Engine, error: BaseException | None) -> BaseException:
    """Return why an engine has no workers any more; error: what a task failed with."""
    if isinstance(error, WorkerDiedError):
        return WorkerDiedError(error.name, error.pid, error.exitcode, None)
    if error is not None and getattr(error, "errno", None) != ECANCELED:
        return engine._start_error or error
    for old in engine._started_workers():
        if old.exitcode:
            return WorkerDiedError(old.name, old.pid or 0, old.exitcode, None)
    return engine._start_error or RuntimeError("the pool has given up")


def failure(
    engine: Engine,
    error: BaseException,
    code: int,
    task: int,
    pid: int,
    exitcode: int,
    tries: int,
    ran: float,
    memory: int,
) -> BaseException:
    """Return what a task fails with; error is what its code stands for."""
    if pid and code == _mproc.EDIED:
        names = [old.name for old in engine._started_workers() if old.pid == pid]
        error = WorkerDiedError(names[0] if names else "Process", pid, exitcode, task)
    elif pid and code == -ETIMEDOUT:
        error = TaskTimeoutError(pid, ran, task)
    elif pid and code == _mproc.EMEMORY:
        error = TaskMemoryError(pid, memory, task)
    if tries > 1:
        add_note(error, f"The task was tried {tries} times")
    if not engine._tasks.broken or code in (-ETIMEDOUT, _mproc.EMEMORY):
        return error
    return engine._failure_of_all(error)


# ---- of a worker


def describe(exc: BaseException, called: bool, where: Where = None) -> ExceptionWithTraceback:
    """Return what is sent for an exception of a task; called: it is the function's own."""
    if not called:
        explain_unknown(exc)
    return ExceptionWithTraceback(exc, exc.__traceback__, where)


def describe_barely(exc: BaseException, called: bool, where: Where = None) -> BaseException:
    """Do the same for a pool that wraps no exceptions."""
    if where is not None:
        note_item(exc, where)
    return exc


def excuse(value: object, exc: BaseException, first: int | None) -> object:
    """Return what is sent instead of a result, or an exception, that cannot be pickled."""
    wrapped = value if isinstance(value, ExceptionWithTraceback) else None
    sent = value if wrapped is None else wrapped.exc
    explain_result(exc, sent, first)
    error = MaybeEncodingError(exc, sent)
    for note in getattr(exc, "__notes__", ()):
        error.add_note(note)
    return error if wrapped is None else wrapped.instead(error)
