"""The popen object of start method forkserver."""

from __future__ import annotations

from . import forkserver, popen_fork, spawn
from ._current import flush_std_streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .process import BaseProcess

__all__ = ["Popen"]


class _DupFd:
    """A descriptor that was passed to the child: `ind` is its place among those passed."""

    def __init__(self, ind: int) -> None:
        self.ind = ind

    def detach(self) -> int:
        """Return the descriptor. The caller owns it from now on."""
        return forkserver.get_inherited_fds()[self.ind]


class Popen(popen_fork.Popen):
    """A child process that is a copy of the template."""

    method = "forkserver"
    DupFd = _DupFd

    def __init__(self, process_obj: BaseProcess) -> None:
        self._fds: list[int] = []
        flush_std_streams()
        self._launch(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Pass a descriptor to the child; return its place among those passed."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def _launch(self, process_obj: BaseProcess) -> None:
        try:
            changes = forkserver._forkserver.environment_changes()
            payload = spawn.dump_process(process_obj, self, environ=changes)
            forkserver._forkserver.launch(self, process_obj, payload, self._fds)
        finally:
            self._close_given()
