"""The popen object of start method fork, and the base of the others.

A popen object is the C type Child (pid, sentinel, returncode, poll, wait, terminate, close). Its
constructor starts the child: it returns in the parent when the child runs, and never in the child.
"""

from __future__ import annotations

from . import _current
from ._cpython import child_intent, fork_of_others, warn_of_threads
from ._current import flush_std_streams, standard_tracker
from ._mproc import Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._mproc import Connection
    from .process import BaseProcess
    from .util import Finalize

__all__ = ["Popen"]

_current.use_begins()


class Popen(Child):
    """A started child process."""

    method = "fork"
    finalizer: Finalize | None = None

    def __init__(self, process_obj: BaseProcess) -> None:
        flush_std_streams()
        self._launch(process_obj)

    def _launch(self, process_obj: BaseProcess) -> None:
        by = fork_of_others()
        if by is None:
            warn_of_threads()
        intent = child_intent(standard_tracker())
        if intent is None:
            self.fork(process_obj, by)
            return
        intent.preserve_fd = True
        try:
            self.fork(process_obj, by)
        finally:
            intent.preserve_fd = False

    def duplicate_for_child(self, fd: int) -> int:
        """Return the number that a descriptor of this process has in the child."""
        return fd

    def close_after_start(self, connection: Connection) -> None:
        """Close a connection once the child has been started, which gets its descriptor."""
        self.__dict__.setdefault("_closed_after_start", []).append(connection)

    def _close_given(self) -> None:
        for connection in self.__dict__.pop("_closed_after_start", ()):
            connection.close()
