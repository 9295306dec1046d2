"""Segments of shared memory for the arrays of one sharer, taken and given back.

What costs time is memory that is new: the system finds its pages one by one, for who writes it and
for each worker that looks at it. So a segment that is given back serves another array.

Invariants, of each Memory:
1. Its number is given once. What a worker has mapped under a number is that memory.
2. It is idle, or one array's, or dropped.
3. It is idle only if no worker looks at it: `kept` is False, and no call under way names it.
4. If it is dropped while no worker looks at it, its memory is free at once, although workers may
   have it mapped.
"""

from __future__ import annotations

import contextlib
import os

from ..shared_memory import SharedMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Memory", "Segments"]


class Memory:
    """A segment, and whether a worker may look at it although no call names it."""

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.size = size
        self.kept = False
        self._dropped = self._written = False
        self._segment = SharedMemory(create=True, size=size)
        self.name = self._segment.name

    def fits(self, size: int) -> bool:
        """Tell whether so many bytes fill most of it."""
        return size <= self.size <= 2 * size

    def write(self, array: Any, order: Any) -> None:
        """Write the contents. OSError: the system has no room.

        The first ones are not written through a mapping: its pages would be cleared before. Later
        ones are, since a mapping whose pages are there takes half the time of a system call.
        """
        data = array.reshape(-1, order=order).view("u1")
        if self._written:
            self._write_mapped(data)
        else:
            self._write_new(data)
            self._written = True

    def _write_new(self, data: Any) -> None:
        done = 0
        while done < data.nbytes:
            done += os.pwrite(self._segment._fd, data[done:], done)

    def _write_mapped(self, data: Any) -> None:
        import numpy

        numpy.copyto(numpy.ndarray(data.nbytes, "u1", self._segment.buf), data)

    def drop(self) -> None:
        """Remove the name, once; workers that look at the memory keep it.

        The name is first: what is interrupted behind that goes with the process at the latest.
        """
        if not self._dropped:
            with contextlib.suppress(FileNotFoundError):  # a call before this was interrupted
                self._segment.unlink()
            self._dropped = True
            if not self.kept:
                os.ftruncate(self._segment._fd, 0)
            self._segment.close()


class Segments:
    """The segments of a sharer: those that are idle, those that are not, how many there were."""

    def __init__(self) -> None:
        self._idle: list[Memory] = []
        self._lent: set[Memory] = set()
        self._made = 0
        self._over = False

    def take(self, size: int) -> Memory | None:
        """Return an idle one that so many bytes fit into, or None."""
        for memory in self._idle:
            if memory.fits(size):
                self._idle.remove(memory)
                self._lent.add(memory)
                return memory
        return None

    def make(self, size: int) -> Memory:
        """Return a new one; those that are idle did not fit, and are dropped. OSError: no room."""
        self._drop_idle()
        self._made += 1
        memory = Memory(self._made, size)
        self._lent.add(memory)
        return memory

    def give_back(self, memory: Memory) -> None:
        """Take one back that belonged to an array, and that no call names."""
        self._lent.discard(memory)
        if memory.kept or self._over:
            memory.drop()
        else:
            self._idle.append(memory)

    def drop(self, memory: Memory) -> None:
        """Drop one that was lent and could not be written."""
        self._lent.discard(memory)
        memory.drop()

    def end(self) -> None:
        """Drop all of them. Calls may be under way that look at those that are lent."""
        self._over = True
        self._drop_idle()
        for memory in self._lent:
            memory.kept = True
            memory.drop()

    def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for memory in idle:
            memory.drop()
