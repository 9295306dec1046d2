"""The messages between a manager's server and its clients: requests, replies, tokens.

A request is (ident, name, args, kwds): the server calls that method of the object, or if ident is
None that function of its own. The reply is (kind, result):

    #RETURN          the result of the call
    #PROXY           (exposed, token) of an object that stays at the server
    #ERROR           the exception that the method raised
    #TRACEBACK       the text of another error at the server
    #UNSERIALIZABLE  the text of a result that cannot be sent

A message is sent as a whole or not at all, and received as a whole before it is read. So an object
that cannot be pickled or unpickled is an error of one call, and the connection remains usable.
"""

from __future__ import annotations

from .._cpython import pickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Protocol

    from .._mproc import Connection

    class Wire(Protocol):
        """How objects are sent over a connection."""

        has_exceptions: bool  # whether exceptions can be sent

        @staticmethod
        def send(connection: Connection, obj: object, /) -> None: ...

        @staticmethod
        def write(obj: object, /) -> bytes: ...

        @staticmethod
        def read(message: bytes, /) -> Any: ...

    Reply = tuple[str, Any]


SILENCE = 30  # seconds without a sign of life, after which the other end is lost
_PROBE = 5  # seconds between two questions whether it is there


def attend(connection: Connection, address: Any) -> None:
    """Have the system end a connection over TCP whose other end is cut off: nobody says so then."""
    if not isinstance(address, tuple):
        return
    import os
    import socket

    with socket.socket(fileno=os.dup(connection.fileno())) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            (socket.TCP_KEEPIDLE, _PROBE),
            (socket.TCP_KEEPINTVL, _PROBE),
            (socket.TCP_KEEPCNT, SILENCE // _PROBE - 1),
            (socket.TCP_USER_TIMEOUT, SILENCE * 1000),
            (socket.TCP_NODELAY, 1),
        ):
            sock.setsockopt(socket.IPPROTO_TCP, name, value)


class Token:
    """Names an object: its type's id, its server's address, its id there."""

    __module__ = "mproc.managers"
    __slots__ = ("address", "id", "typeid")

    def __init__(self, typeid: str, address: Any, id: str) -> None:
        self.typeid, self.address, self.id = typeid, address, id

    def __getstate__(self) -> tuple[str, Any, str]:
        return self.typeid, self.address, self.id

    def __setstate__(self, state: tuple[str, Any, str]) -> None:
        self.typeid, self.address, self.id = state

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}(typeid={self.typeid!r}, address={self.address!r}, id={self.id!r})"


class RemoteError(Exception):
    """An error at the server that is no exception of the method called; args[0] is its text."""

    __module__ = "mproc.managers"

    def __str__(self) -> str:
        line = "-" * 75
        return f"\n{line}\n{self.args[0]}{line}"


def convert_to_error(kind: str, result: Any) -> BaseException:
    """Return the exception that a reply stands for."""
    if kind == "#ERROR":
        if isinstance(result, BaseException):
            return result
        return TypeError(f"the server sent {result!r} as an exception")
    if kind == "#TRACEBACK":
        return RemoteError(str(result))
    if kind == "#UNSERIALIZABLE":
        return RemoteError(f"Unserializable message: {result}\n")
    return ValueError(f"Unrecognized message type {kind!r}")


def dispatch(
    c: Any,
    id: str | None,
    methodname: str | None,
    args: Iterable[Any] = (),
    kwds: Mapping[str, Any] = {},
) -> Any:
    """Send a request over a connection; return the result or raise the error."""
    c.send((id, methodname, args, kwds))
    kind, result = c.recv()
    if kind == "#RETURN":
        return result
    try:
        raise convert_to_error(kind, result)
    finally:
        del result  # or it would be in a cycle with its traceback


class Pickled:
    """Objects are sent as pickles."""

    has_exceptions = True

    @staticmethod
    def send(connection: Connection, obj: object) -> None:
        connection.send(obj)

    @staticmethod
    def write(obj: object) -> bytes:
        return pickle().dumps(obj)  # type: ignore[no-any-return]

    @staticmethod
    def read(message: bytes) -> Any:
        loads = pickle().loads
        Pickled.read = staticmethod(loads)  # type: ignore[method-assign]
        return loads(message)


class Xml:
    """Objects are sent in the format of XML-RPC, which refuses those that it cannot express."""

    has_exceptions = False

    @staticmethod
    def send(connection: Connection, obj: object) -> None:
        connection.send_bytes(Xml.write(obj))

    @staticmethod
    def write(obj: object) -> bytes:
        import xmlrpc.client as xml

        return xml.dumps((obj,), allow_none=True).encode()  # type: ignore[arg-type]

    @staticmethod
    def read(message: bytes) -> Any:
        import xmlrpc.client as xml

        (obj,), _ = xml.loads(message.decode(), use_builtin_types=False)
        return obj


_WIRES: dict[str, Any] = {"pickle": Pickled, "xmlrpclib": Xml}


def wire_of(serializer: str) -> Wire:
    """Return how a serializer sends objects. KeyError: there is no such serializer."""
    try:
        return _WIRES[serializer]  # type: ignore[no-any-return]
    except KeyError:
        known = ", ".join(map(repr, _WIRES))
        raise KeyError(f"{serializer!r} is no serializer of managers: {known} are") from None
