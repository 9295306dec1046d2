"""Named shared memory: bytes that unrelated processes find by name.

Segments and lists have the format of the standard library, so other processes may use that. The
cleaning up is different. A segment belongs to the family of processes that made it, and is unlinked
when the last of them has ended, also by SIGKILL. A process that only attaches never unlinks.
"""

from __future__ import annotations

import os
from types import GenericAlias

from . import _current, _mproc
from ._mproc import Segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from mmap import mmap
    from typing import Any, ClassVar, TypeAlias

    _Maker: TypeAlias = Callable[[str | None, Any, bool, int], Segment]

__all__ = ["ShareableList", "SharedMemory"]

_current.use_begins()

_USE_POSIX = True
_O_CREX = os.O_CREAT | os.O_EXCL
_O_CREX_RDWR = _O_CREX | os.O_RDWR
_SHM_SAFE_NAME_LENGTH = 14
_SHM_NAME_PREFIX = "/psm_"


def _make_filename() -> str:
    """Return a name that is probably free. A program may put another function in its place."""
    return _SHM_NAME_PREFIX + os.urandom(4).hex()


_make_no_filename = _make_filename


class SharedMemory:
    """A segment of shared memory, made (create=True) or attached by its name.

    name: without a slash; None makes one up. size: in bytes; used only when a segment is made.
    track: False lets a segment that is made here outlive this process and its family; it has no
    meaning when a segment is attached.

    ValueError: a bad name or size. FileExistsError, FileNotFoundError. OSError (ENOSPC): /dev/shm
    has no room. The room is checked when the segment is made, and reserved when the process that
    made it first uses `buf` or pickles the object.
    """

    _name: str | None = None
    _flags = os.O_RDWR
    _mode = 0o600
    _prepend_leading_slash = True
    _track = True
    _buf: memoryview | None = None
    _second_mapping: mmap | None = None
    _segment: Segment
    _size: int

    def __init__(
        self, name: str | None = None, create: bool = False, size: int = 0, *, track: bool = True
    ) -> None:
        if not size > 0:
            if not size >= 0:
                raise ValueError("'size' must be a positive integer")
            if create:
                raise ValueError("'size' must be a positive number different from zero")
        if not track:
            self._track = False
        if create:
            self._flags = _O_CREX_RDWR
            self._create(Segment.create, name, size)
        elif name is None and not self._flags & os.O_EXCL:
            raise ValueError("'name' can only be None if create=True")
        else:
            self._name = "/" + name if self._prepend_leading_slash else name  # type: ignore[operator]
            self._segment = Segment.attach(self._name)  # type: ignore[arg-type]
            self._size = self._segment.size

    def _create(self, make: _Maker, name: str | None, content: Any) -> None:
        """Make the segment by make(name, content, kept, mode); name: None makes one up."""
        kept = not self._track
        if name is not None:
            self._name = "/" + name if self._prepend_leading_slash else name
            self._segment = segment = make(self._name, content, kept, self._mode)
        elif _make_filename is _make_no_filename:
            self._segment = segment = make(None, content, kept, self._mode)
            self._name = f"/{segment.name}" if self._prepend_leading_slash else segment.name
        else:
            self._segment = segment = self._create_made_up(make, content, kept)
        self._size = segment.size

    def _create_made_up(self, make: _Maker, content: Any, kept: bool) -> Segment:
        while True:
            name = _make_filename()
            try:
                segment = make(name, content, kept, self._mode)
            except FileExistsError:
                continue
            self._name = name
            return segment

    def __reduce__(self) -> tuple[Any, ...]:
        from .context import check_leaving

        check_leaving(self)
        if self._segment.fd >= 0:
            self._segment.commit()
        return self.__class__, (self.name, False, self._size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, size={self._size})"

    @property
    def buf(self) -> memoryview | None:
        """The memory; None once closed."""
        if self._buf is None and self._segment.fd >= 0:
            self._buf = memoryview(self._segment)
        return self._buf

    @property
    def name(self) -> str:
        """The name by which others attach the segment."""
        name = self._name or ""
        return name[1:] if self._prepend_leading_slash and name.startswith("/") else name

    @property
    def size(self) -> int:
        """The segment's size in bytes."""
        return self._size

    @property
    def _fd(self) -> int:
        return self._segment.fd

    @property
    def _mmap(self) -> mmap | None:
        """The memory as an mmap object, for programs that want one; None once closed."""
        if self._second_mapping is None and self._segment.fd >= 0:
            from mmap import mmap

            self._segment.commit()
            self._second_mapping = mmap(self._segment.fd, self._size)
        return self._second_mapping

    def close(self) -> None:
        """Give up the access of this object; the segment stays.

        BufferError: a memoryview made of `buf` (a slice, a cast) is still in use. An object that
        has only taken an address from it, as a numpy array does, must not be used afterwards.
        """
        if self._buf is not None:
            self._buf.release()
            self._buf = None
        if self._second_mapping is not None:
            self._second_mapping.close()
            self._second_mapping = None
        self._segment.close()

    def unlink(self) -> None:
        """Remove the name: no process can attach any more, and the last that closes it frees it.

        FileNotFoundError: it has been removed already.
        """
        if self._name:
            Segment.unlink(self._name)


class ShareableList(_mproc.ShareableList):
    """A list of fixed length in shared memory: ints of 64 bits, floats, bools, str, bytes and None.

    It is made of a sequence, or attached by its name. An item can be changed, also to another type,
    if the new one fits. A place that was made with a str or bytes has room for as many bytes,
    rounded up to a multiple of 8; any other has room for 8. NULs at the end of a str or bytes are
    lost if it has more than 999,999 bytes.

    KeyError: an item of another type. struct.error: an int of more than 64 bits. ValueError: an
    item that does not fit. TypeError: the list's memory is closed.
    """

    __class_getitem__ = classmethod(GenericAlias)  # type: ignore[var-annotated]

    _alignment = 8
    _types_mapping: ClassVar[dict[type, str]] = {
        int: "q",
        float: "d",
        bool: "xxxxxxx?",
        str: "%ds",
        bytes: "%ds",
        type(None): "xxxxxx?x",
    }

    def __init__(self, sequence: Iterable[Any] | None = None, *, name: str | None = None) -> None:
        if name is None or sequence is not None:
            self.shm = shm = SharedMemory.__new__(SharedMemory)
            shm._flags = _O_CREX_RDWR
            shm._create(self._create, name, () if sequence is None else sequence)
        else:
            self.shm = shm = SharedMemory(name)
        self._bind(shm._segment)
        if sequence is None:
            len(self)  # ValueError: the segment holds no list

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach_list, (self.__class__, self.shm.name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)}, name={self.shm.name!r})"

    @property
    def format(self) -> str:
        """The items' formats, one after the other, in the terms of struct."""
        return "".join(map(self._get_packing_format, range(len(self))))

    # Where the parts of the segment are, for programs that read it by themselves: the number of
    # items, n; where the room of each begins and that of the last ends, from the data's start; the
    # data; a format and a code for each.

    @property
    def _list_len(self) -> int:
        return len(self)

    @property
    def _format_size_metainfo(self) -> str:
        return "q" * (len(self) + 1)

    @property
    def _format_packing_metainfo(self) -> str:
        return "8s" * len(self)

    @property
    def _format_back_transform_codes(self) -> str:
        return "b" * len(self)

    @property
    def _allocated_offsets(self) -> list[int]:
        count = len(self) + 1
        parts: Any = self.shm.buf
        return list(parts[8 : 8 + 8 * count].cast("q"))

    @property
    def _offset_data_start(self) -> int:
        return (len(self) + 2) * 8

    @property
    def _offset_packing_formats(self) -> int:
        return self._offset_data_start + self._allocated_offsets[-1]

    @property
    def _offset_back_transform_codes(self) -> int:
        return self._offset_packing_formats + len(self) * 8


def _attach_list(cls: type[ShareableList], name: str) -> ShareableList:
    return cls(name=name)
