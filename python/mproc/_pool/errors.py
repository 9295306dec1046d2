"""What can go wrong with a task: the exceptions that Pool and ProcessPoolExecutor share.

Their home, for whoever sees their names, is `mproc.pool`.
"""

from __future__ import annotations

from .. import _mproc
from ..context import ProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

__all__ = [
    "ExceptionWithTraceback",
    "MaybeEncodingError",
    "RemoteTraceback",
    "WorkerDiedError",
    "rebuild",
]


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


def _name(value: object) -> str:
    """Return the repr of anything, also of what fails to have one."""
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__} object at {id(value):#x}, repr: {type(error).__name__}>"


class MaybeEncodingError(Exception):
    """A result or an exception could not be sent back, or not be read when it came."""

    __module__ = "mproc.pool"

    def __init__(self, exc: object, value: object) -> None:
        self.exc = _name(exc)
        self.value = _name(value)
        super().__init__(self.exc, self.value)

    def __str__(self) -> str:
        return f"Error sending result: {self.value!r}. Reason: {self.exc!r}"

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


class ExceptionWithTraceback:
    """An exception on its way: it arrives with the worker's traceback as its cause.

    It is pickled by itself, so that one that cannot be unpickled says what it was all the same.
    """

    __module__ = "mproc.pool"

    def __init__(self, exc: BaseException, tb: TracebackType | None) -> None:
        import traceback

        text = "".join(traceback.format_exception(type(exc), exc, tb))
        self.exc = exc.with_traceback(None)
        self.tb = f'\n"""\n{text}"""'

    def __reduce__(self) -> tuple[Any, ...]:
        return self._rebuild, (_mproc.dumps(self.exc), self.tb, _name(self.exc))

    @staticmethod
    def _rebuild(message: bytes, tb: str, name: str) -> BaseException:
        return rebuild(message, tb, lambda error: MaybeEncodingError(error, _Text(name)))


class _Text:
    """Something whose repr was made elsewhere."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def rebuild(
    message: bytes, tb: str, replace: Callable[[BaseException], BaseException]
) -> BaseException:
    """Return an exception as it was sent, or what replaces one that cannot be unpickled."""
    try:
        exc: BaseException = _mproc.loads(message)
    except Exception as error:
        exc = replace(error)
    exc.__cause__ = RemoteTraceback(tb)
    return exc
