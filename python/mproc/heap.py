"""Blocks of shared memory of any size, for programs that use multiprocessing.heap.

The package's own objects do not need it, for the family's arena has an allocator of its own. A Heap
takes a few large pieces (Arena) of the family's memory, and cuts blocks out of them.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque

from . import _current, _mproc, context, reduction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["BufferWrapper"]

_current.use_begins()

PAGESIZE = 4096
_ALIGNMENT = 16


class Arena:
    """A large piece of shared memory. ValueError: a descriptor was given; it has none."""

    def __init__(self, size: int, fd: int = -1) -> None:
        if fd != -1:
            raise ValueError("an arena is no file: it has no descriptor")
        self.size = size
        self.memory = _mproc.Memory("B", size)
        self.buffer = memoryview(self.memory)

    def __reduce__(self) -> tuple[Any, ...]:
        context.assert_spawning(self)
        return _rebuild_arena, (self.size, reduction.give_to_child(self.memory.address))


def _rebuild_arena(size: int, address: int) -> Arena:
    arena = Arena.__new__(Arena)
    arena.size = size
    arena.memory = _mproc.Memory.adopt(address)
    arena.buffer = memoryview(arena.memory)
    return arena


_Block = tuple[Arena, int, int]


class Heap:
    """Blocks out of arenas: the smallest free one that fits, neighbours joined when freed.

    The garbage collector may call free() while the same thread is in malloc(). Then free() only
    notes the block, and the next call that has the lock frees it.
    """

    _DISCARD_FREE_SPACE_LARGER_THAN = 4 * 1024**2

    def __init__(self, size: int = PAGESIZE) -> None:
        self._lock = threading.Lock()
        self._size = size
        self._arenas: list[Arena] = []
        self._len_to_seq: dict[int, list[_Block]] = {}
        self._start_to_block: dict[tuple[Arena, int], _Block] = {}
        self._stop_to_block: dict[tuple[Arena, int], _Block] = {}
        self._allocated_blocks: defaultdict[Arena, set[tuple[int, int]]] = defaultdict(set)
        self._pending_free_blocks: deque[_Block] = deque()
        self._n_mallocs = 0
        self._n_frees = 0

    def malloc(self, size: int) -> _Block:
        """Return a block. ValueError: a negative size. OverflowError: 2**62 bytes or more."""
        if size < 0:
            raise ValueError(f"Size {size} out of range")
        if size >= 1 << 62:
            raise OverflowError(f"Size {size} too large")
        with self._lock:
            self._free_pending()
            self._n_mallocs += 1
            length = max(-(-size // _ALIGNMENT), 1) * _ALIGNMENT
            arena, start, stop = self._take(length)
            if start + length < stop:
                self._add_free((arena, start + length, stop))
            self._allocated_blocks[arena].add((start, start + length))
            return arena, start, start + length

    def free(self, block: _Block) -> None:
        """Give a block back."""
        if not self._lock.acquire(False):
            self._pending_free_blocks.append(block)
            return
        try:
            self._n_frees += 1
            self._free_pending()
            self._release(block)
        finally:
            self._lock.release()

    def _take(self, length: int) -> _Block:
        """Take a free block of at least that length out of the lists, or a whole new arena."""
        fitting = [n for n in self._len_to_seq if n >= length]
        if fitting:
            block = self._len_to_seq[min(fitting)][-1]
            self._remove_free(block)
            return block
        self._size = max(self._size, -(-length // PAGESIZE) * PAGESIZE)
        arena = Arena(self._size)
        if self._size < self._DISCARD_FREE_SPACE_LARGER_THAN:
            self._size *= 2
        self._arenas.append(arena)
        return arena, 0, arena.size

    def _add_free(self, block: _Block) -> None:
        arena, start, stop = block
        self._len_to_seq.setdefault(stop - start, []).append(block)
        self._start_to_block[arena, start] = self._stop_to_block[arena, stop] = block

    def _remove_free(self, block: _Block) -> None:
        arena, start, stop = block
        same = self._len_to_seq[stop - start]
        same.remove(block)
        if not same:
            del self._len_to_seq[stop - start]
        del self._start_to_block[arena, start], self._stop_to_block[arena, stop]

    def _release(self, block: _Block) -> None:
        arena, start, stop = block
        used = self._allocated_blocks[arena]
        used.remove((start, stop))
        if not used:
            del self._allocated_blocks[arena]
        before, after = (
            self._stop_to_block.get((arena, start)),
            self._start_to_block.get((arena, stop)),
        )
        if before is not None:
            self._remove_free(before)
            start = before[1]
        if after is not None:
            self._remove_free(after)
            stop = after[2]
        if stop - start == arena.size and arena.size >= self._DISCARD_FREE_SPACE_LARGER_THAN:
            self._arenas.remove(arena)
        else:
            self._add_free((arena, start, stop))

    def _free_pending(self) -> None:
        while self._pending_free_blocks:
            self._n_frees += 1
            self._release(self._pending_free_blocks.pop())


class BufferWrapper:
    """A block of shared memory, which is given back when this object is collected."""

    _heap = Heap()

    def __init__(self, size: int) -> None:
        self._owner = self._heap
        self._block = self._heap.malloc(size)
        self._size = size

    def __del__(self) -> None:
        block = self.__dict__.pop("_block", None)
        if block is not None and self._owner is not None:
            self._owner.free(block)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_wrapper, (self._block, self._size)

    def create_memoryview(self) -> memoryview:
        """Return a memoryview of the block."""
        arena, start, _ = self._block
        return arena.buffer[start : start + self._size]


def _rebuild_wrapper(block: _Block, size: int) -> BufferWrapper:
    wrapper = BufferWrapper.__new__(BufferWrapper)
    wrapper._owner = None  # type: ignore[assignment]
    wrapper._block, wrapper._size = block, size
    return wrapper
