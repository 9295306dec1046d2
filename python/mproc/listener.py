"""Listeners and clients: connections between processes that need not belong to one family.

They connect sockets. The address of a Unix socket is a path or an abstract name (str or bytes that
begin with a NUL), that of an Internet socket is a tuple (host, port). If there is a key, both ends
prove to each other that they know it (authentication.py), before any message is unpickled: to
unpickle the message of an unknown process is to run its program. The other end may be the standard
library's.

A listener removes its path when it is closed or collected, or when its process ends, unless another
listener has taken the path over meanwhile. A process that is killed leaves the path behind.

A client that connects and sends nothing keeps nobody waiting. accept() sends each client its
challenge at once and goes on with the first one that answers; the others wait in `_Waiting`. The
oldest of more than WAITING_MAX is disconnected.

Any threads may accept at one listener, and close it. What is made or given up once for all of them
is put into the listener's dictionary, or taken out of it, by one step (setdefault, pop).
"""

from __future__ import annotations

import os
import socket

from . import util
from ._descriptor import kept, kept_socket
from ._mproc import Connection
from .connection import default_family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self

__all__ = [
    "Client",
    "ConnectionWrapper",
    "Listener",
    "SocketClient",
    "SocketListener",
    "XmlClient",
    "XmlListener",
    "address_type",
    "arbitrary_address",
]


# ---- addresses


def arbitrary_address(family: str) -> Any:
    """Return a free address of the family. ValueError: a family that has none."""
    if family == "AF_INET":
        return ("localhost", 0)
    if family == "AF_UNIX":
        return os.path.join(util.get_temp_dir(), f"sock-{os.urandom(6).hex()}")
    raise ValueError(
        f"unrecognized family {family!r}: free addresses are of AF_INET or AF_UNIX only"
    )


def address_type(address: Any) -> str:
    """Return the family that an address has the form of. ValueError, TypeError: of none."""
    if isinstance(address, tuple):
        return "AF_INET"
    if isinstance(address, str) and address.startswith("\\\\"):
        return "AF_PIPE"
    if isinstance(address, str) or util.is_abstract_socket_namespace(address):
        return "AF_UNIX"
    raise ValueError(f"address type of {address!r} unrecognized")


def _validate_family(family: str) -> None:
    """Raise ValueError unless this system has the family."""
    if not (family.startswith("AF_") and hasattr(socket, family)):
        raise ValueError(f"Family {family} is not recognized. AF_UNIX and AF_INET are.")


def _family_of(address: Any) -> str:
    """Return the family of an address to connect to; an IPv6 address has four parts."""
    if isinstance(address, tuple) and len(address) == 4:
        return "AF_INET6"
    return address_type(address)


def _check_key(authkey: bytes | None) -> None:
    if authkey is not None and not isinstance(authkey, bytes):
        raise TypeError(f"authkey should be a byte string, not {type(authkey).__name__}")


# ---- listening


class Listener:
    """An address where other processes can connect.

    address: None stands for a free one, a path in the package's temporary directory unless the
    family is "AF_INET". backlog: the number of clients that may connect before they are accepted.
    authkey: bytes that a client must know; empty ones are a key, too.

    ValueError, TypeError: a bad address, family or key. OSError: as socket.bind() raises it.
    """

    _listener: SocketListener | None = None

    def __init__(
        self,
        address: Any = None,
        family: str | None = None,
        backlog: int = 1,
        authkey: bytes | None = None,
    ) -> None:
        _check_key(authkey)
        family = family or (address and address_type(address)) or default_family
        _validate_family(family)
        address = address or arbitrary_address(family)
        self._listener = SocketListener(address, family, backlog)
        self._authkey = authkey
        self._waiting: dict[int, _Waiting] = {}  # by process

    def accept(self) -> Connection:
        """Wait for a client; return the connection.

        AuthenticationError: the client does not know the key. OSError, EOFError: it sends something
        else, or has disconnected. After an error the listener can accept the next client.
        """
        if self._authkey is None:
            return self._open().accept()
        from . import authentication

        client = self._next_answer(self._authkey)
        try:
            authentication.finish_welcome(client.connection, self._authkey, client.message)
        except BaseException:
            client.connection.close()
            raise
        self._open()._last_accepted = client.address
        return client.connection

    def _next_answer(self, authkey: bytes) -> _Challenged:
        """Challenge the clients that come, until one has answered or disconnected; return it."""
        listener = self._open()
        waiting = self._waiting_for(listener)
        while True:
            client, comes = waiting.next(listener.timeout())
            if client is not None:
                return client
            if comes:
                self._challenge_next(listener, waiting, authkey)

    def _waiting_for(self, listener: SocketListener) -> _Waiting:
        pid = os.getpid()
        waiting = self._waiting.get(pid)
        if waiting is None:
            listener.never_block()
            mine = _Waiting(listener)
            waiting = self._waiting.setdefault(pid, mine)
            if waiting is not mine:  # another thread was faster
                mine.close()
            for other in [*self._waiting]:  # a forked child has clients of its own
                if other != pid:
                    self._waiting.pop(other, None)
            if self._listener is None:  # another thread has closed it, and perhaps looked before
                self._drop_waiting()
                self._open()
        return waiting

    def _challenge_next(self, listener: SocketListener, waiting: _Waiting, authkey: bytes) -> None:
        from . import authentication

        try:
            connection, address = listener.accept_from()
        except BlockingIOError:  # another thread was faster, or the client has gone
            return
        try:
            message = authentication.challenge_client(connection, authkey)
        except BaseException:
            connection.close()
            raise
        waiting.add(_Challenged(connection, address, message))

    def close(self) -> None:
        """Accept no more; remove the path. Closing it again does nothing."""
        listener = self.__dict__.pop("_listener", None)
        self._drop_waiting()
        if listener is not None:
            listener.close()

    def _drop_waiting(self) -> None:
        for pid in [*self._waiting]:
            waiting = self._waiting.pop(pid, None)
            if waiting is not None and pid == os.getpid():  # a child shares its parent's epoll
                waiting.close()

    @property
    def address(self) -> Any:
        """The address that a client gives to Client()."""
        return self._open()._address

    @property
    def last_accepted(self) -> Any:
        """The address of the client accepted last; None if there was none yet."""
        return self._open()._last_accepted

    def _open(self) -> SocketListener:
        listener = self._listener
        if listener is None:
            raise OSError("listener is closed")
        return listener

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


WAITING_MAX = 128  # clients that have not answered their challenge: descriptors, and little else


class _Challenged:
    """A client that has been sent a challenge."""

    def __init__(self, connection: Connection, address: Any, message: bytes) -> None:
        self.connection = connection
        self.address = address
        self.message = message


class _Waiting:
    """The clients of a listener that have not answered, for any threads that accept.

    They wait at one epoll, so a thread that sleeps there sees what another one adds. Each client is
    taken once, by a removal from the dictionary.
    """

    def __init__(self, listener: SocketListener) -> None:
        import select

        self._clients: dict[int, _Challenged] = {}
        made = select.epoll()
        self._poll = select.epoll.fromfd(kept(os.dup(made.fileno())))
        made.close()
        self._listening = listener._socket.fileno()
        self._poll.register(self._listening, select.EPOLLIN)

    def add(self, client: _Challenged) -> None:
        """Wait for a client's answer, too; the oldest of too many is disconnected."""
        import select

        fd = client.connection.fileno()
        self._clients[fd] = client
        self._poll.register(fd, select.EPOLLIN)
        if len(self._clients) > WAITING_MAX:
            for oldest in [*self._clients][:1]:
                self._disconnect(oldest)

    def _take(self, fd: int) -> _Challenged | None:
        client = self._clients.pop(fd, None)
        if client is not None:
            self._poll.unregister(fd)
        return client

    def _disconnect(self, fd: int) -> None:
        client = self._take(fd)
        if client is not None:
            client.connection.close()

    def next(self, timeout: float | None) -> tuple[_Challenged | None, bool]:
        """Return a client that has answered or gone, else whether a new one comes.

        TimeoutError: neither, for so many seconds.
        """
        events = self._poll.poll(timeout)
        if not events:
            raise TimeoutError("timed out")
        for fd, _ in events:
            client = self._take(fd)
            if client is not None and client.connection.poll(0):
                return client, False
            if client is not None:  # the number was another's when the event came
                self.add(client)
        return None, any(fd == self._listening for fd, _ in events)

    def close(self) -> None:
        """Disconnect all."""
        for fd in list(self._clients):
            self._disconnect(fd)
        self._poll.close()


class SocketListener:
    """The socket of a Listener."""

    _unlink: util.Finalize | None = None
    _last_accepted: Any = None

    def __init__(self, address: Any, family: str, backlog: int = 1) -> None:
        self._family = family
        self._socket = kept_socket(socket.socket(getattr(socket, family)))
        try:
            self._bind(address)
            self._socket.listen(backlog)
        except BaseException:
            self.close()
            raise

    def _bind(self, address: Any) -> None:
        _block(self._socket)
        if self._family != "AF_UNIX":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(address)
        self._address = self._socket.getsockname()
        if self._family == "AF_UNIX" and not util.is_abstract_socket_namespace(self._address):
            path = os.path.abspath(self._address)
            self._unlink = util.Finalize(
                self, _remove_socket, args=(path, _identity(path)), exitpriority=0
            )

    def never_block(self) -> None:
        """Have accept() raise BlockingIOError when there is no client, unless it has a timeout."""
        os.set_blocking(self._socket.fileno(), False)

    def timeout(self) -> float | None:
        """Return the seconds that accept() waits, None for ever: programs set it."""
        return self._socket.gettimeout()

    def accept(self) -> Connection:
        """Wait for a client; return the connection, without authentication."""
        return self.accept_from()[0]

    def accept_from(self) -> tuple[Connection, Any]:
        """As accept(), and return the client's address, too."""
        sock, address = self._socket.accept()
        self._last_accepted = address
        return _connection_of(sock), address

    def close(self) -> None:
        """Close the socket and remove its path."""
        try:
            self._socket.close()
        finally:
            unlink = self.__dict__.pop("_unlink", None)
            if unlink is not None:
                unlink()


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path, follow_symlinks=False)
    return found.st_dev, found.st_ino


def _remove_socket(path: str, identity: tuple[int, int]) -> None:
    """Remove a listener's path, unless it is gone or another listener's by now."""
    try:
        if _identity(path) == identity:
            os.unlink(path)
    except FileNotFoundError:
        pass


# ---- connecting


def Client(address: Any, family: str | None = None, authkey: bytes | None = None) -> Connection:
    """Connect to a listener's address; return the connection.

    AuthenticationError: the listener does not know the key, or rejects ours. OSError, EOFError:
    there is no such listener, or it has disconnected.
    """
    _check_key(authkey)
    family = family or _family_of(address)
    _validate_family(family)
    connection = SocketClient(address, family)
    if authkey is not None:
        from . import authentication

        _authenticate(authentication.greet_server, connection, authkey)
    return connection


def SocketClient(address: Any, family: str | None = None) -> Connection:
    """Connect to an address, without authentication."""
    sock = socket.socket(getattr(socket, family or _family_of(address)))
    try:
        _block(sock)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return _connection_of(sock)


def _connection_of(sock: socket.socket) -> Connection:
    """Return the connection that owns a socket from now on."""
    _block(sock)
    return Connection(kept(sock.detach()))


def _block(sock: socket.socket) -> None:
    """Make a socket blocking, whatever socket.setdefaulttimeout() says."""
    if sock.gettimeout() is not None:
        sock.setblocking(True)


def _authenticate(
    handshake: Callable[[Connection, bytes], None], connection: Connection, authkey: bytes
) -> None:
    try:
        handshake(connection, authkey)
    except BaseException:
        connection.close()
        raise


# ---- objects as XML


class ConnectionWrapper:
    """A connection that sends and receives objects by dumps() and loads() of its own."""

    def __init__(
        self,
        conn: Connection,
        dumps: Callable[[Any], bytes],
        loads: Callable[[bytes], Any],
    ) -> None:
        self._conn = conn
        self._dumps = dumps
        self._loads = loads
        self.fileno = conn.fileno
        self.close = conn.close
        self.poll = conn.poll
        self.recv_bytes = conn.recv_bytes
        self.send_bytes = conn.send_bytes

    def send(self, obj: Any) -> None:
        """Send an object."""
        self._conn.send_bytes(self._dumps(obj))

    def recv(self) -> Any:
        """Receive an object."""
        return self._loads(self._conn.recv_bytes())


def _xml_dumps(obj: Any) -> bytes:
    """Return an object as the only parameter of a call in XML-RPC, which has no more types."""
    import xmlrpc.client

    return xmlrpc.client.dumps((obj,), allow_none=True).encode("utf-8")


def _xml_loads(data: bytes) -> Any:
    import xmlrpc.client

    (obj,), _ = xmlrpc.client.loads(data.decode("utf-8"))
    return obj


class XmlListener(Listener):
    """A Listener whose connections send and receive XML instead of pickles."""

    def accept(self) -> ConnectionWrapper:  # type: ignore[override]
        """Wait for a client; return the connection."""
        return ConnectionWrapper(super().accept(), _xml_dumps, _xml_loads)


def XmlClient(*args: Any, **kwargs: Any) -> ConnectionWrapper:
    """Connect to an XmlListener, as Client() does."""
    return ConnectionWrapper(Client(*args, **kwargs), _xml_dumps, _xml_loads)
