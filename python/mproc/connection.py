"""Pipes: Connection, Pipe, and wait() for many at once.

The messages are those of the standard library, so one end may belong to it.
"""

from __future__ import annotations

from . import _mproc
from ._mproc import Connection
from .context import AuthenticationError as AuthenticationError
from .context import BufferTooShort as BufferTooShort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .reduction import _Detachable

__all__ = ["Pipe", "wait"]

_ConnectionBase = Connection


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:
    """Return two connected Connections.

    Unless duplex, the first one can only receive and the second one only send.
    """
    return _mproc.pipe(duplex)


def wait(object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """Wait until objects in the list are ready; return those, in the list's order.

    The objects are Connections, sockets, descriptors (such as Process.sentinel) or have a fileno().
    Ready means that there is something to receive, or the end. The list is empty if nothing was
    ready within `timeout` seconds; a negative timeout is 0.
    """
    return _mproc.wait(object_list, timeout)


def reduce_connection(conn: Connection) -> tuple[Any, ...]:
    """Return how to pickle a connection: the other process gets a descriptor of its own."""
    from .reduction import DupFd

    return rebuild_connection, (DupFd(conn.fileno()), conn.readable, conn.writable)


def rebuild_connection(duplicate: _Detachable, readable: bool, writable: bool) -> Connection:
    """Return the connection that reduce_connection() told of."""
    return Connection(duplicate.detach(), readable, writable)
