"""Calls that a process sends to others with their large numpy arrays by reference.

A Sharer pickles calls. What is large and an array is copied into a segment of shared memory once,
and from then on sent as the segment's name; a call is then a few hundred bytes. load() in the
worker looks at the segment itself: its pages are mapped, not copied.

How long a segment lives. Until the array has gone, or been changed in size, and every call is
over that names it; or until drop(). Workers that still have the array keep its memory, not its
name. If the sharer dies, the family's watcher removes the names.

Shared state: none but the segments' contents, which are written before the name is sent. A Sharer
is used by several threads: _lock guards _by_id and each _Shared.

What it does not do: notice that the program changes an array between two calls. The first contents
are sent, as joblib does with its files.
"""

from __future__ import annotations

import io
import os
import pickle
import weakref
from _thread import RLock

from .._mproc import Segment
from ..shared_memory import SharedMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Sent", "Sharer", "dump", "load"]


class _Shared:
    """A segment with the contents of an array."""

    def __init__(self, array: Any) -> None:
        self.order = "C" if array.flags.c_contiguous or not array.flags.f_contiguous else "F"
        self.users = 0  # calls under way that name it
        self.gone = False  # the array has: nobody will name it again
        self.dropped = False
        self.segment = SharedMemory(create=True, size=array.nbytes)
        self.args = (self.segment.name, array.dtype, array.shape, self.order)
        try:
            self._write(array)
        except BaseException:
            self.drop()
            raise

    def _write(self, array: Any) -> None:
        """Write the contents, not through a mapping: its pages would be cleared first."""
        data = array.reshape(-1, order=self.order).view("u1")
        done = 0
        while done < array.nbytes:
            done += os.pwrite(self.segment._fd, data[done:], done)

    def drop(self) -> None:
        """Remove the name, once; workers that look at the memory keep it."""
        if not self.dropped:
            self.dropped = True
            self.segment.close()
            self.segment.unlink()


class Sent:
    """A pickled call, and the segments that it names."""

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
        self._lock = RLock()  # an array may go, and say so, at any instruction
        self._by_id: dict[int, tuple[Any, _Shared]] = {}  # by the array's id; with a weak reference
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

    def over(self, sent: Sent) -> None:
        """Say that a call is done, or will not be."""
        with self._lock:
            for shared in sent.used:
                shared.users -= 1
                self._drop_unused(shared)
            sent.used = []

    def drop(self) -> None:
        """Remove all segments."""
        with self._lock:
            all_of_them, self._by_id = self._by_id, {}
            for _, shared in all_of_them.values():
                shared.gone = True
                shared.drop()

    def reduce(self, array: Any, used: list[_Shared]) -> Any:
        """Return what an array is pickled as; NotImplemented: it is not shared."""
        if array.dtype.hasobject or array.nbytes <= self._least:
            return NotImplemented
        with self._lock:
            try:
                shared = self._shared_of(array)
            except OSError:
                return NotImplemented  # the system has no room: it is copied
            if shared not in used:
                shared.users += 1
                used.append(shared)
        return _look_at, (*shared.args, self._writable)

    def _shared_of(self, array: Any) -> _Shared:
        key = id(array)
        known = self._by_id.get(key)
        if known is not None and known[0]() is array and known[1].args[2] == array.shape:
            return known[1]
        shared = _Shared(array)
        if known is not None:  # the array had another shape
            self._forget(known[1])
        self._by_id[key] = weakref.ref(array, lambda dead: self._array_has_gone(key, dead)), shared
        return shared

    def _array_has_gone(self, key: int, dead: Any) -> None:
        with self._lock:
            known = self._by_id.get(key)
            if known is not None and known[0] is dead:
                del self._by_id[key]
                self._forget(known[1])

    def _forget(self, shared: _Shared) -> None:
        """Note that nobody will name a segment again."""
        shared.gone = True
        self._drop_unused(shared)

    def _drop_unused(self, shared: _Shared) -> None:
        if shared.gone and shared.users == 0:
            shared.drop()


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


def _look_at(name: str, dtype: Any, shape: tuple[int, ...], order: Any, writable: bool) -> Any:
    """Return the array that lies in a segment, which is mapped as long as the array is there."""
    import numpy

    memory = memoryview(Segment.attach("/" + name))
    array = numpy.ndarray(shape, dtype, memory, order=order)
    array.flags.writeable = writable
    return array


def load(message: bytes) -> Any:
    """Return the call that was pickled."""
    return pickle.loads(message)


def dump(obj: object, pickler: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """Pickle a result by a pickler class: its large parts apart, so that they are copied once."""
    file = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    pickler(file, pickle.HIGHEST_PROTOCOL, buffer_callback=buffers.append).dump(obj)
    return file.getvalue(), buffers
