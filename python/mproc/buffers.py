# mypy: disable-error-code="import-not-found,import-untyped,no-any-return,unused-ignore"
"""Large data that all processes of the family share: Buffer, and numpy arrays over it.

What lies in a Buffer goes to another process by reference, however large it is: by a queue, by a
Pipe, and as an argument of a process that is started, by whatever method. Its receiver has the same
memory, and each sees what the others write. The memory is free when the last process has no use for
it any more, or has died. docs/large_data.md is the chapter.

A pickle for anybody else (pickle.dumps, a socket, a file) has a copy of the contents.

numpy is imported when empty() or asarray() is first called.
"""

from __future__ import annotations

import pickle
import sys
from math import prod

from . import _mproc, context, reduction
from ._mproc import Buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Literal

__all__ = ["Buffer", "asarray", "empty"]


def empty(shape: int | Sequence[int], dtype: Any = float, order: Literal["C", "F"] = "C") -> Any:
    """Return a numpy array in the family's shared memory; contents undefined, as numpy.empty().

    order: "C" or "F". TypeError: the dtype has Python objects. MemoryError.
    """
    import numpy

    kind = numpy.dtype(dtype)
    if kind.hasobject:
        raise TypeError(f"arrays of {kind} hold Python objects: no other process has these")
    lengths = (shape,) if isinstance(shape, int) else tuple(shape)
    if min(lengths, default=0) < 0:
        raise ValueError("negative dimensions are not allowed")
    know_arrays()
    size = prod(lengths) * kind.itemsize
    if size > sys.maxsize:
        raise MemoryError(f"an array of shape {lengths} and dtype {kind} has {size} bytes")
    buffer = Buffer(size, zero=False)
    array: Any = numpy.ndarray(lengths, kind, memoryview(buffer), order=order)
    return array


def asarray(a: Any, dtype: Any = None) -> Any:
    """Return a numpy array in the family's shared memory with the contents of anything array-like.

    An array that lies there already, and has that dtype, is returned itself; anything else is
    copied, once. TypeError: the dtype has Python objects. MemoryError.
    """
    import numpy

    array = numpy.asarray(a)
    kind = array.dtype if dtype is None else numpy.dtype(dtype)
    if array.dtype == kind and _place(array) is not None:
        return array
    order: Literal["C", "F"] = (
        "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    )
    shared = empty(array.shape, kind, order)
    shared[...] = array
    return shared


# ---- arrays on their way


def know_arrays() -> None:
    """Have arrays that lie in a Buffer go by reference from now on."""
    from numpy import ndarray

    _mproc.know_arrays(ndarray, reduce_array)


def _place(array: Any) -> tuple[Buffer, int] | None:
    """Return the Buffer that an array lies in, and the place of its first item; None: in none."""
    if array.size == 0 or array.dtype.hasobject:
        return None
    return _mproc.buffer_at(array.__array_interface__["data"][0])


def reduce_array(array: Any) -> Any:
    """Return what an array in a Buffer is pickled as; NotImplemented: it is in none."""
    place = _place(array)
    if place is None:
        return NotImplemented
    strides = None if array.flags.c_contiguous else array.strides
    return _array, (*place, array.dtype, array.shape, strides, array.flags.writeable)


def reducers() -> dict[type, Callable[[Any], Any]]:
    """Return what a pickler should know that does not call reduce_array()."""
    numpy = sys.modules.get("numpy")
    return {} if numpy is None else {numpy.ndarray: _reduce_any_array}


def _reduce_any_array(array: Any) -> Any:
    reduced = reduce_array(array)
    return array.__reduce__() if reduced is NotImplemented else reduced


def _array(
    buffer: Buffer, offset: int, dtype: Any, shape: Any, strides: Any, writable: bool
) -> Any:
    import numpy

    know_arrays()
    array: Any = numpy.ndarray(shape, dtype, memoryview(buffer), offset, strides)
    array.flags.writeable = writable
    return array


def array_over(
    items: Any, kind: str, item_size: int, shape: tuple[int, ...], fortran: bool, readonly: bool
) -> Any:
    """Return an array that has come with a message, over what its items lie in."""
    import numpy

    if isinstance(items, (Buffer, memoryview)):  # shared with others
        know_arrays()
        items = memoryview(items)
    order: Literal["C", "F"] = "F" if fortran else "C"
    array: Any = numpy.ndarray(shape, f"{kind}{item_size}", items, order=order)
    if readonly:
        array.flags.writeable = False
    return array


# ---- Buffers on their way


def _reduce(buffer: Buffer, protocol: int) -> Any:
    """Return what a Buffer is pickled as: for a child that is being started, or for a message."""
    if context.get_spawning_popen() is not None:
        return _adopted, (reduction.give_to_child(buffer.address),)
    context.check_leaving(buffer)
    return _received, (pickle.PickleBuffer(buffer) if protocol >= 5 else bytes(buffer),)


def _adopted(address: int) -> Buffer:
    return Buffer.adopt(address)


def _received(memory: Any) -> Buffer:
    """Return the Buffer that has come with a message, or one with the contents of a pickle."""
    if isinstance(memory, Buffer):
        return memory
    copy = Buffer(len(memory), zero=False)
    memoryview(copy)[:] = memory
    return copy
