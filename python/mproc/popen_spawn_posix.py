"""The popen object of start method spawn.

First what the child needs is pickled. An object that is more than its bytes asks
context.get_spawning_popen() for the popen object then. It says which descriptors
(duplicate_for_child) and which holds on shared objects (hold_for) the child must get. The child is
started when all that has succeeded.
"""

from __future__ import annotations

from . import popen_fork, spawn
from ._cpython import spawn_of_others
from ._current import flush_std_streams
from ._mproc import SPAWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .process import BaseProcess

__all__ = ["Popen"]


class _DupFd:
    """A descriptor that has the same number in the child."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def detach(self) -> int:
        """Return the descriptor. The caller owns it from now on."""
        return self.fd


class Popen(popen_fork.Popen):
    """A child process that is a fresh interpreter."""

    method = "spawn"
    DupFd = _DupFd

    def __init__(self, process_obj: BaseProcess) -> None:
        self._fds: list[int] = []
        flush_std_streams()
        self._launch(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Pass a descriptor to the child; return its number there."""
        self._fds.append(fd)
        return fd

    def _launch(self, process_obj: BaseProcess) -> None:
        try:
            payload = spawn.dump_process(process_obj, self)
            argv = spawn.get_command_line()
            name, daemon, by = process_obj._name, process_obj.daemon, spawn_of_others()
            options: Any = {"by": by, "quiet": process_obj._quiet, "process": process_obj}
            self.launch(SPAWN, name, daemon, payload, self._fds, argv, **options)
        finally:
            self._close_given()
