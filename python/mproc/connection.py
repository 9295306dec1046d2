"""Pipes: Connection, Pipe, and wait() for many at once; Listener and Client.

The format of the messages is the standard library's, so the other end of a connection may use that.
Listeners, clients and authentication are modules of their own, which are imported when one of their
names is first used: most programs only use pipes, which need neither sockets nor cryptography.
"""

from __future__ import annotations

import sys

from . import _current, _mproc
from ._mproc import Connection as Connection
from .context import AuthenticationError as AuthenticationError
from .context import BufferTooShort as BufferTooShort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .authentication import answer_challenge as answer_challenge
    from .authentication import deliver_challenge as deliver_challenge
    from .listener import Client as Client
    from .listener import ConnectionWrapper as ConnectionWrapper
    from .listener import Listener as Listener
    from .listener import SocketClient as SocketClient
    from .listener import SocketListener as SocketListener
    from .listener import XmlClient as XmlClient
    from .listener import XmlListener as XmlListener
    from .listener import address_type as address_type
    from .listener import arbitrary_address as arbitrary_address
    from .reduction import _Detachable
    from .resource_sharer import SharedEnd

__all__ = ["Client", "Listener", "Pipe", "wait"]

_current.use_begins()

BUFSIZE = 65536  # for programs that ask; messages are read in one piece
CONNECTION_TIMEOUT = 20.0  # seconds; for programs that ask

default_family = "AF_UNIX"
families = ["AF_INET", "AF_UNIX"]

_ConnectionBase = Connection
_with_luggage = _mproc.with_luggage  # by this name messages with shared arrays are pickled

# Names of other modules, and what they are called there.
_ELSEWHERE = {
    "listener": (
        "Client",
        "ConnectionWrapper",
        "Listener",
        "SocketClient",
        "SocketListener",
        "XmlClient",
        "XmlListener",
        "_validate_family",
        "_xml_dumps",
        "_xml_loads",
        "address_type",
        "arbitrary_address",
    ),
    "authentication": (
        "MESSAGE_LENGTH",
        "_ALLOWED_DIGESTS",
        "_CHALLENGE",
        "_FAILURE",
        "_LEGACY_LENGTHS",
        "_MD5ONLY_MESSAGE_LENGTH",
        "_MD5_DIGEST_LEN",
        "_WELCOME",
        "_create_response",
        "_get_digest_name_and_payload",
        "_verify_challenge",
        "answer_challenge",
        "deliver_challenge",
    ),
}
_UNDERSCORED = ("CHALLENGE", "FAILURE", "WELCOME")  # without one until 3.11


if not TYPE_CHECKING:

    def __getattr__(name):
        own_name = f"_{name}" if name in _UNDERSCORED else name
        for module, names in _ELSEWHERE.items():
            if own_name in names:
                full_name = f"{__package__}.{module}"
                __import__(full_name)
                return globals().setdefault(name, getattr(sys.modules[full_name], own_name))
        if name == "_ForkingPickler":
            from .reduction import ForkingPickler

            return globals().setdefault(name, ForkingPickler)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        late = [name for names in _ELSEWHERE.values() for name in names]
        return sorted({*globals(), "_ForkingPickler", *late})


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:
    """Return two connected Connections.

    duplex: False returns one that only receives and one that only sends. OSError: the process has
    no descriptor left.
    """
    return _mproc.pipe(duplex)


def _send(self: Connection, buf: Any, write: Any = None) -> None:
    """Write bytes to the descriptor, for programs that make messages by themselves."""
    from ._overriding import connections

    connections.write_all(self, buf)


def _recv(self: Connection, size: int, read: Any = None) -> Any:
    """Read so many bytes from the descriptor, and return them in an io.BytesIO."""
    from ._overriding import connections

    return connections.read_all(self, size)


for _part in (_send, _recv):
    setattr(Connection, _part.__name__, _part)
    del globals()[_part.__name__]


def wait(object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """Wait until objects in the list are ready; return those, in the list's order.

    The objects are Connections, sockets, descriptors (such as Process.sentinel) or have a fileno().
    An object is ready when it has something to receive, or is at its end. The list is empty if
    nothing was ready within `timeout` seconds; None waits for ever, and a negative timeout is 0.
    """
    return _mproc.wait(object_list, timeout)


def reduce_connection(conn: Connection) -> tuple[Any, ...]:
    """Return what a connection is pickled as; the other process gets a descriptor of its own.

    A child that is being started has the memory of a Pipe's end, too. Another process that
    unpickles it has that if it is a member of the family, which is seen when it fetches the end.
    """
    from . import context, reduction

    context.check_leaving(conn, "open on")
    popen = context.get_spawning_popen()
    end = conn._end() if popen is None or hasattr(popen, "hold_for") else None
    if end is None:
        return rebuild_connection, (reduction.DupFd(conn.fileno()), conn.readable, conn.writable)
    if popen is None:
        from . import resource_sharer

        return _fetch_end, (resource_sharer.SharedEnd(conn, end),)
    handle, address, side = end
    duplicate = reduction.DupFd(handle)
    address = reduction.give_to_child(address)
    return _adopt_end, (duplicate, conn.readable, conn.writable, address, side)


def rebuild_connection(duplicate: _Detachable, readable: bool, writable: bool) -> Connection:
    """Return the connection that reduce_connection() has described."""
    return Connection(duplicate.detach(), readable, writable)


def _adopt_end(
    duplicate: _Detachable, readable: bool, writable: bool, address: int, side: int
) -> Connection:
    return Connection._adopt(duplicate.detach(), readable, writable, address, side)


def _fetch_end(shared: SharedEnd) -> Connection:
    return shared.detach()
