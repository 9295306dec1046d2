"""Calls that a process sends to others with their large numpy arrays by reference.

A Sharer pickles calls. What is large and an array is copied into a segment of shared memory once,
and from then on sent as the segment's name; a call is then a few hundred bytes. The worker looks at
the segment itself: its pages are mapped, not copied, and stay mapped for later calls.

How long an array has its segment. Until the array has gone, or been changed in size, and every call
is over that names it; or until drop(). An array that was sent once, and whose call is over, gives
its segment to another array that needs one, unless workers may write; if it is sent again, it is
written again. A segment that no worker looks at serves the next array. Workers that still have an
array keep its memory, not its name. If the sharer dies, the family's watcher removes the names.

Shared state: none but the segments' contents, which are written before the name is sent. A Sharer
is used by several threads: _lock guards all that it has, each _Shared, and the segments. Only _dead
is not guarded: an array may go at any instruction, also of who has the lock, who sees to it later.

What it does not do: notice that the program changes an array between two calls. The first contents
are sent, as joblib does with its files.
"""

from __future__ import annotations

import io
import os
import pickle
import weakref
from _thread import allocate_lock

from .._mproc import Segment
from .segments import Segments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from .segments import Memory

__all__ = ["Sent", "Sharer", "forget", "load", "run"]


class _Shared:
    """An array's contents in a segment."""

    def __init__(self, key: int, array: Any, memory: Memory) -> None:
        self.key = key
        self.users = 0  # calls under way that name it
        self.sends = 0  # calls that have named it
        self.gone = False  # the array has: nobody will name it again
        self.shape = array.shape
        self.memory = memory
        order = "C" if array.flags.c_contiguous or not array.flags.f_contiguous else "F"
        self.args = (memory.number, memory.name, array.dtype, array.shape, order)
        memory.write(array, order)


class Sent:
    """A pickled call, and the arrays that it names."""

    def __init__(self, message: bytes, used: list[_Shared]) -> None:
        self.message = message
        self.used = used


class Sharer:
    """Pickles calls by a pickler class, and shares arrays of more than `least` bytes.

    writable: the workers' arrays can be written to, and all see what one writes.
    """

    def __init__(self, pickler: type, least: int, writable: bool = False) -> None:
        self._least = least
        self._writable = writable
        self._owner = os.getpid()
        self._name = os.urandom(8)  # workers know by it whose segments the numbers are
        self._lock = allocate_lock()
        self._dead: list[tuple[int, Any]] = []  # keys and weak references of arrays that have gone
        self._by_id: dict[int, tuple[Any, _Shared]] = {}  # by the array's id; with a weak reference
        self._sent_once: dict[_Shared, None] = {}  # and not named any more, the oldest first
        self._segments = Segments()
        self._pickler = _sharing(pickler)

    def pickle(self, call: Callable[[], object]) -> Sent:
        """Pickle a call. The segments that it names stay until over() is told."""
        file = io.BytesIO()
        used: list[_Shared] = []
        try:
            self._pickler(file, self, used).dump(call)
        except BaseException:
            self.over(Sent(b"", used))
            raise
        return Sent(file.getvalue(), used)

    def over(self, sent: Sent, kept: Collection[int] | None = None) -> None:
        """Say that a call is done, or will not be.

        kept: the numbers of the segments that the worker goes on to look at, as run() has returned
        them; None: it is not known.
        """
        with self._lock:
            self._forget_dead()
            used, sent.used = sent.used, []
            for shared in used:
                shared.users -= 1
                if kept is None or shared.memory.number in kept:
                    shared.memory.kept = True
                self._settle(shared)

    def drop(self) -> None:
        """Remove all segments."""
        with self._lock:
            all_of_them, self._by_id = self._by_id, {}
            for _, shared in all_of_them.values():
                self._forget(shared)
            self._segments.end()

    def reduce(self, array: Any, used: list[_Shared]) -> Any:
        """Return what an array is pickled as; NotImplemented: it is not shared."""
        if array.dtype.hasobject or array.nbytes <= self._least:
            return NotImplemented
        with self._lock:
            self._forget_dead()
            try:
                shared = self._shared_of(array)
            except OSError:
                return NotImplemented  # the system has no room: it is copied
            if shared not in used:
                self._sent_once.pop(shared, None)
                shared.users += 1
                shared.sends += 1
                used.append(shared)
        return _look_at, (self._name, *shared.args, self._writable)

    def _shared_of(self, array: Any) -> _Shared:
        key = id(array)
        known = self._by_id.get(key)
        if known is not None and known[0]() is array and known[1].shape == array.shape:
            return known[1]
        if known is not None:  # the array had another shape, or is another one
            del self._by_id[key]
            self._forget(known[1])
        memory = self._memory_for(array.nbytes)
        try:
            shared = _Shared(key, array, memory)
        except BaseException:
            self._segments.drop(memory)
            raise
        self._by_id[key] = weakref.ref(array, lambda dead: self._array_has_gone(key, dead)), shared
        return shared

    def _memory_for(self, size: int) -> Memory:
        memory = self._segments.take(size)
        if memory is not None:
            return memory
        for shared in self._sent_once:
            if shared.memory.fits(size):
                del self._sent_once[shared], self._by_id[shared.key]
                return shared.memory
        return self._segments.make(size)

    def _array_has_gone(self, key: int, dead: Any) -> None:
        self._dead.append((key, dead))
        if self._lock.acquire(False):
            try:
                self._forget_dead()
            finally:
                self._lock.release()

    def _forget_dead(self) -> None:
        """Forget the arrays that have gone, except in a forked child: it has no part in them."""
        while self._dead:
            key, dead = self._dead.pop()
            known = self._by_id.get(key)
            if known is not None and known[0] is dead and self._owner == os.getpid():
                del self._by_id[key]
                self._forget(known[1])

    def _forget(self, shared: _Shared) -> None:
        """Note that nobody will name an array again."""
        shared.gone = True
        self._sent_once.pop(shared, None)
        self._settle(shared)

    def _settle(self, shared: _Shared) -> None:
        """See to an array that no call under way may name."""
        if shared.users > 0:
            return
        if shared.gone:
            self._segments.give_back(shared.memory)
        elif shared.sends == 1 and not self._writable and not shared.memory.kept:
            self._sent_once[shared] = None


def _sharing(pickler: Any) -> Any:
    """Return a class derived from a pickler class, which shares arrays."""
    from numpy import ndarray

    class SharingPickler(pickler):  # type: ignore[misc]
        def __init__(self, file: io.BytesIO, sharer: Sharer, used: list[_Shared]) -> None:
            super().__init__(file, pickle.HIGHEST_PROTOCOL)
            self._sharer = sharer
            self._used = used

        def reducer_override(self, obj: Any) -> Any:
            if type(obj) is ndarray:
                reduced = self._sharer.reduce(obj, self._used)
                if reduced is not NotImplemented:
                    return reduced
            return super().reducer_override(obj)

    return SharingPickler


# ---- in the worker

_MAPPED = 16  # segments of one sharer that stay mapped

_sharer = b""  # whose segments are mapped
_mapped: dict[int, Segment] = {}  # by their numbers
_shown: list[tuple[int, Any]] = []  # what the call under way looks at; with weak references


def _look_at(
    sharer: bytes,
    number: int,
    name: str,
    dtype: Any,
    shape: tuple[int, ...],
    order: Any,
    writable: bool,
) -> Any:
    """Return the array that lies in a segment."""
    import numpy

    memory = memoryview(_segment(sharer, number, name))
    array = numpy.ndarray(shape, dtype, memory, order=order)
    array.flags.writeable = writable
    _shown.append((number, weakref.ref(array)))  # it lives as long as all that is made of it
    return array


def _segment(sharer: bytes, number: int, name: str) -> Segment:
    global _sharer
    if sharer != _sharer:
        _mapped.clear()
        _sharer = sharer
    segment = _mapped.pop(number, None) or Segment.attach("/" + name)
    _mapped[number] = segment  # the last that was used is the last to be forgotten
    if len(_mapped) > _MAPPED:
        del _mapped[next(iter(_mapped))]
    return segment


def forget() -> None:
    """Keep no segment for later calls: what the sharer is told of this one does not say which."""
    _mapped.clear()


def load(message: bytes) -> Any:
    """Return the call that was pickled."""
    _shown.clear()
    return pickle.loads(message)


def run(message: bytes, pickler: Any) -> tuple[bytes, list[pickle.PickleBuffer], list[int]]:
    """Make a call that was pickled. Return its result, and the segments that are still looked at.

    The result is pickled by a pickler class, with its large parts apart, so that they are copied
    once.
    """
    result = load(message)()
    file = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    pickler(file, pickle.HIGHEST_PROTOCOL, buffer_callback=buffers.append).dump(result)
    del result
    kept = [number for number, array in _shown if array() is not None]
    for number in kept:
        _mapped.pop(number, None)  # the sharer does not use it again
    return file.getvalue(), buffers, kept
