"""Connections whose subclass overrides a part, such as _send_bytes().

The methods of such a one are the functions of this module: they use the checks and the parts by
name. The C type calls them for objects of a class that has `_by_parts`.
"""

from __future__ import annotations

import io
import os

from .._mproc import Connection
from ..context import BufferTooShort
from ..reduction import ForkingPickler
from . import overrides

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Buffer

__all__ = [
    "complete_connection",
    "poll",
    "read_all",
    "recv",
    "recv_bytes",
    "recv_bytes_into",
    "send",
    "send_bytes",
    "write_all",
]


def _may_send(conn: Connection) -> None:
    conn._check_closed()
    conn._check_writable()


def _may_receive(conn: Connection) -> None:
    conn._check_closed()
    conn._check_readable()


def send(conn: Connection, obj: object) -> None:
    """Send a (picklable) object."""
    _may_send(conn)
    conn._send_bytes(ForkingPickler.dumps(obj))


def send_bytes(conn: Connection, buf: Buffer, offset: int = 0, size: int | None = None) -> None:
    """Send the bytes of a bytes-like object as one message."""
    _may_send(conn)
    view = memoryview(buf).cast("B")
    if offset < 0:
        raise ValueError("offset is negative")
    if len(view) < offset:
        raise ValueError("buffer length < offset")
    if size is None:
        size = len(view) - offset
    elif size < 0:
        raise ValueError("size is negative")
    elif len(view) < offset + size:
        raise ValueError("buffer length < offset + size")
    conn._send_bytes(view[offset : offset + size])


def recv(conn: Connection) -> Any:
    """Receive a (picklable) object."""
    _may_receive(conn)
    return ForkingPickler.loads(conn._recv_bytes().getbuffer())


def recv_bytes(conn: Connection, maxlength: int | None = None) -> bytes:
    """Receive a message as bytes. OSError if it is longer than maxlength."""
    _may_receive(conn)
    if maxlength is not None and maxlength < 0:
        raise ValueError("negative maxlength")
    message = conn._recv_bytes(maxlength)
    if message is None:  # what an overriding method may say of one that is too long
        conn.close()
        raise OSError("bad message length")
    return message.getvalue()


def recv_bytes_into(conn: Connection, buf: Buffer, offset: int = 0) -> int:
    """Receive a message into a writable bytes-like object and return its length."""
    _may_receive(conn)
    room = memoryview(buf).cast("B")
    if offset < 0:
        raise ValueError("negative offset")
    if offset > len(room):
        raise ValueError("offset too large")
    message = conn._recv_bytes().getvalue()
    if len(message) > len(room) - offset:
        raise BufferTooShort(message)
    room[offset : offset + len(message)] = message
    return len(message)


def poll(conn: Connection, timeout: float | None = 0.0) -> bool:
    """Return whether there is something to receive, within timeout seconds."""
    _may_receive(conn)
    return conn._poll(timeout)


def write_all(conn: Connection, buf: Buffer) -> None:
    """Write bytes to a connection's descriptor: no message, but perhaps a part of one."""
    rest = memoryview(buf).cast("B")
    while rest:
        rest = rest[os.write(conn.fileno(), rest) :]


def read_all(conn: Connection, size: int) -> io.BytesIO:
    """Read so many bytes from a connection's descriptor. EOFError, OSError: it has ended."""
    read = io.BytesIO()
    while (left := size - read.tell()) > 0:
        piece = os.read(conn.fileno(), left)
        if not piece and read.tell() == 0:
            raise EOFError
        if not piece:
            raise OSError("got end of file during message")
        read.write(piece)
    return read


_PARTS = (
    "_send_bytes",
    "_recv_bytes",
    "_poll",
    "_check_closed",
    "_check_readable",
    "_check_writable",
    "close",
)


def complete_connection(cls: type) -> None:
    """Give a subclass of Connection what it relies on."""
    if overrides(cls, Connection, *_PARTS):
        cls._by_parts = True  # type: ignore[attr-defined]
