"""What can go wrong with tasks on an engine, beyond what can with a pool on this machine."""

from __future__ import annotations

from .._pool.errors import WorkerDiedError
from ..context import ProcessError

__all__ = ["EngineError", "WorkerLostError"]


class EngineError(ProcessError):
    """An engine cannot be used, or cannot be used any more: what is open fails with this."""

    __module__ = "mproc.engines"


class WorkerLostError(WorkerDiedError):
    """A worker process was lost while it had the task. The pool goes on.

    It is a WorkerDiedError, so programs that expect one need not know of engines. Attributes: host
    and pid of the worker, 0 if nobody knows it; reason, a text; exitcode, 0 if nobody knows it;
    task, None.
    """

    __module__ = "mproc.engines"

    def __init__(self, host: str, pid: int, reason: str, exitcode: int = 0) -> None:
        Exception.__init__(self, host, pid, reason, exitcode)
        self.name = f"worker on {host}"
        self.host = host
        self.pid = pid
        self.reason = reason
        self.exitcode = exitcode
        self.task = None

    def __str__(self) -> str:
        return f"a worker on host {self.host} (pid {self.pid}) was lost: {self.reason}"
