"""Managers of named shared memory: segments that are unlinked when their manager ends.

The client that asks for a segment makes it. Its name is noted in the record of the manager's Life
(life.py), and the segment is unlinked when the manager shuts down. A manager with a server has it
note the names; it unlinks the segments when it ends. If the process that does this is killed, a
segment is unlinked when the family that made it has ended.
"""

from __future__ import annotations

from .. import shared_memory
from ..managers import BaseManager, State
from .late import note_segment
from .server import Server, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def unlink_segment(name: str) -> None:
    """Unlink a segment, unless it has been unlinked."""
    try:
        segment = shared_memory.SharedMemory(name)
    except FileNotFoundError:
        return
    segment.close()
    segment.unlink()


class _SharedMemoryTracker:
    """The names of the segments of a manager."""

    def __init__(self, name: str, segment_names: Iterable[str] = ()) -> None:
        self.shared_memory_context_name = name
        self.segment_names = list(segment_names)

    def register_segment(self, segment_name: str) -> None:
        """Note a segment."""
        self.segment_names.append(segment_name)

    def destroy_segment(self, segment_name: str) -> None:
        """Unlink a segment, unless it has been unlinked. ValueError: it was not noted."""
        self.segment_names.remove(segment_name)
        unlink_segment(segment_name)

    def unlink(self) -> None:
        """Unlink all segments."""
        for name in self.segment_names[:]:
            try:
                self.destroy_segment(name)
            except ValueError:
                continue  # a client has just released it

    def __del__(self) -> None:
        self.unlink()

    def __getstate__(self) -> tuple[str, list[str]]:
        return self.shared_memory_context_name, self.segment_names

    def __setstate__(self, state: tuple[str, list[str]]) -> None:
        self.__init__(*state)  # type: ignore[misc]


class SharedMemoryServer(Server):
    """A server that knows its manager's segments."""

    public = (*Server.public, "track_segment", "release_segment", "list_segments")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        from ..process import current_process

        self.shared_memory_context = _SharedMemoryTracker(f"shm_{current_process().pid}")

    def track_segment(self, c: Session, segment_name: str) -> None:
        """Note a segment, to be unlinked at the server's end."""
        self.shared_memory_context.register_segment(segment_name)

    def release_segment(self, c: Session, segment_name: str) -> None:
        """Unlink a segment."""
        self.shared_memory_context.destroy_segment(segment_name)

    def list_segments(self, c: Session) -> list[str]:
        """Return the names of the segments."""
        return list(self.shared_memory_context.segment_names)

    def serve(self, *until: Any) -> None:
        """As Server.serve(); at the end, unlink the segments."""
        try:
            super().serve(*until)
        finally:
            self.shared_memory_context.unlink()


class SharedMemoryManager(BaseManager):
    """A manager whose segments of shared memory are unlinked when it shuts down."""

    _Server = SharedMemoryServer

    def _can_be_late(self) -> bool:
        return (
            type(self) is SharedMemoryManager
            and self._address is None
            and self._may_have_life()
            and not self._registry
        )

    def SharedMemory(self, size: int) -> shared_memory.SharedMemory:
        """Return a new segment of that size in bytes."""
        self._check_serving()
        segment = shared_memory.SharedMemory(None, create=True, size=size)
        self._track(segment)
        return segment

    def ShareableList(self, sequence: Iterable[Any] | None) -> shared_memory.ShareableList:
        """Return a new ShareableList of the items in a sequence."""
        self._check_serving()
        shared = shared_memory.ShareableList(sequence)
        self._track(shared.shm)
        return shared

    def _check_serving(self) -> None:
        if self._state.value != State.STARTED:
            if self._state.value == State.INITIAL:
                raise ValueError("start or connect the SharedMemoryManager first")
            raise ValueError("the SharedMemoryManager has shut down")

    def _track(self, segment: shared_memory.SharedMemory) -> None:
        try:
            if self._late is None or not note_segment(self._late, segment.name):
                self._peer().ask("track_segment", segment.name)
        except BaseException:
            segment.close()
            segment.unlink()
            raise
