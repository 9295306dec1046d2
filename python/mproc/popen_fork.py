"""The popen object of start method fork, and the base of the others.

A popen object is the C type Child (pid, sentinel, returncode, poll, wait, close) that starts
itself: the constructor returns when the child runs, and in the child never.
"""

from __future__ import annotations

import signal

from ._current import flush_std_streams
from ._mproc import Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._mproc import Connection
    from .process import BaseProcess
    from .util import Finalize

__all__ = ["Popen"]


class Popen(Child):
    """A started child process."""

    method = "fork"
    finalizer: Finalize | None = None

    _launch = Child.fork

    def __init__(self, process_obj: BaseProcess) -> None:
        flush_std_streams()
        self._launch(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Return the number under which the child has our descriptor."""
        return fd

    def lend(self, connection: Connection) -> None:
        """Have a connection, of which the child gets the descriptor, closed here afterwards."""
        self.__dict__.setdefault("_lent", []).append(connection)

    def _close_lent(self) -> None:
        for connection in self.__dict__.pop("_lent", ()):
            connection.close()

    def terminate(self) -> None:
        """Send SIGTERM, unless the child has ended."""
        self._send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, unless the child has ended."""
        self._send_signal(signal.SIGKILL)

    def interrupt(self) -> None:
        """Send SIGINT, unless the child has ended."""
        self._send_signal(signal.SIGINT)
