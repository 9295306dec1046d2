"""The connections of a process to the servers of managers, and the references that it has there.

How it works. A Peer stands for a server as this process sees it. Each thread that calls has a
connection of its own to the server, a *line*, since a call may block, and since a lock belongs to
the thread of the server that acquired it. One more connection lives as long as the process, the
*anchor*. The server counts every reference for the *holder* that the anchor stands for, and drops
all of them when the anchor is at its end. So a process that is killed leaves no reference behind,
and no process has to count for another.

References are taken over a line, with a reply. They are dropped over the anchor, without a reply:
finalizers drop them, which may run at any point, also within a call over the same line, and must
not wait for a lock. A finalizer notes what is to be dropped, and the thread that uses the anchor
sends it.

A proxy on its way, in a queue for example, has a reference too. Each pickling has a serial number,
which travels with the pickle, and is said over the anchor. The server keeps the object until a
reference is taken by the pickle that was the last to be made, whatever becomes of its sender. A
pickle that is never loaded keeps it as long as the server runs.

A forked child has copies of its parent's proxies. It needs an anchor of its own, with the same
references. The parent makes that before the fork: a pair of sockets, of which the child inherits
one, and of which the server gets the other in a message over the parent's anchor. What the parent
drops later is said behind it, so no reference can be dropped before the child has its own. Nobody
waits for the server, which may be stopped: the child learns its number when it first needs it. To a
server of another machine no socket can be sent; there the parent opens the anchor, and waits. The
child closes its copies of the parent's own connections: as long as they are open, the server
believes that the parent lives. A spawned child gets an anchor with the references of those proxies
that it was given.

A line is closed when a call over it fails half-way (the server has ended, KeyboardInterrupt), so no
call ever gets the reply of another one.

Shared state. Peer._anchor is set once, by the first thread that opens one (dict.setdefault). Any
thread appends to Anchor._noted, and only the thread that has Anchor._sending takes from it, in
order. Its items are idents, and sockets for the anchors of children. Serial numbers are noted in
rising order, under Anchor._numbering. Peer._received counts references that came with a new object;
only the thread that made the object knows its ident.

A server of the standard library knows no holders. It answers one question a connection, and counts
references without a holder: the references of a killed process remain there (PlainAnchor).

If a process dies at any point, the kernel closes its connections, and the server does the rest. If
the server dies, a call gets EOFError or a ConnectionError, and dropping does nothing.
"""

from __future__ import annotations

import os
from _thread import allocate_lock as _allocate_lock
from itertools import count as _count

from .. import process, util
from .._cpython import RLock, ThreadLocal, WeakSet, ref
from .._current import manager_keys
from ..managers import hashable
from .known import Known
from .wire import RemoteError, attend, convert_to_error, wire_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from socket import socket as Socket
    from typing import Any

    from .._mproc import Connection
    from .server import Server
    from .wire import Reply, Token

SENT = "+"  # begins what is said of a pickle; no ident has it
FORK = "fork"  # is said with the server's end of a child's anchor
PATIENCE = 5.0  # seconds that an exit waits for a server's reply, and a fork for one over TCP
NOTES_MAX = 100  # in a message that is sent without waiting: as a whole, or not at all
EXIT_PRIORITY = 10  # of dropping all references at exit: before managers end their servers

_NOTHING: Mapping[str, Any] = {}


class Reference:
    """Keeps an object at its server as long as this object lives."""

    __slots__ = ("_ident", "_peer")

    def __init__(self, peer: Peer, ident: str) -> None:
        self._peer = peer
        self._ident = ident

    def __del__(self) -> None:
        self._peer.drop(self._ident)


class Anchor:
    """The connection that the references of a process at a server depend on."""

    def __init__(self, peer: Peer, connection: Connection, number: int = 0) -> None:
        self.connection = connection
        self._number = number  # of the holder, at the server; 0: it says so first
        self._peer_wire = peer._wire
        self._noted: list[str | Socket] = []
        self._sending = _allocate_lock()
        self._numbering = RLock()
        self._serials = _count(1)

    @property
    def number(self) -> int:
        """The holder's number. EOFError or OSError: the server has ended."""
        with self._numbering:
            if not self._number:
                self._number = _result(self._peer_wire.read(self.connection.recv_bytes()))
            return self._number

    def taken(self, ident: str) -> None:
        """Do nothing: the server counts the references that were taken."""

    def drop(self, ident: str) -> None:
        """Drop a reference, or leave that to the thread that uses the anchor. Waits for no lock."""
        self._noted.append(ident)
        self._say()

    def sent(self, ident: str) -> tuple[int, int] | None:
        """Note that a proxy is being pickled; return what its pickle is told from others by."""
        with self._numbering:
            number, serial = self.number, next(self._serials)
            self._noted.append(f"{SENT}{serial:x}{SENT}{ident}")
        self._say()
        return number, serial

    def child(self) -> Connection | None:
        """Return a connection for a child's anchor, with a copy of the references. Does not wait.

        None: the server takes nothing at the moment.
        """
        from socket import socketpair

        from .._mproc import Connection

        childs, servers = socketpair()
        self._noted.append(servers)
        taken = True
        while taken and self._noted and self._sending.acquire(False):
            try:
                taken = self._send_at_once()
                if not taken and servers in self._noted:
                    self._noted.remove(servers)
                    servers.close()
                    childs.close()
                    return None
            finally:
                self._sending.release()
        return Connection(childs.detach())

    def _say(self) -> None:
        while self._noted and self._sending.acquire(False):
            try:
                self._send_noted()
            finally:
                self._sending.release()

    def _send_noted(self) -> None:
        try:
            while self._noted:
                first = self._noted[0]
                if isinstance(first, str):
                    self._peer_wire.send(self.connection, self._take_idents())
                else:
                    self._send_socket(first)
                    del self._noted[0]
                    first.close()
        except OSError:
            self._forget_noted()  # the server has ended, and all references with it
        except IndexError:
            return  # another thread has closed the anchor, and forgotten what was noted

    def _take_idents(self, most: int | None = None) -> list[str]:
        idents: list[str] = []
        for note in self._noted[:most]:
            if not isinstance(note, str):
                break
            idents.append(note)
        del self._noted[: len(idents)]
        return idents

    def _send_at_once(self) -> bool:
        """Send what was noted. False: the server does not take all of it without waiting."""
        from socket import MSG_DONTWAIT

        try:
            while self._noted:
                first = self._noted[0]
                if not isinstance(first, str):
                    self._send_socket(first, MSG_DONTWAIT)
                    del self._noted[0]
                    first.close()
                    continue
                idents = self._take_idents(NOTES_MAX)
                try:
                    self._send_frame(idents, (), MSG_DONTWAIT)
                except BlockingIOError:
                    self._noted[:0] = idents
                    return False
        except BlockingIOError:
            return False
        except OSError:
            self._forget_noted()
        return True

    def _send_socket(self, servers: Socket, flags: int = 0) -> None:
        self._send_frame(FORK, (servers.fileno(),), flags)

    def _send_frame(self, what: object, fds: tuple[int, ...], flags: int) -> None:
        """Send a message as a connection does, in one piece, with descriptors."""
        import array
        import socket

        message = self._peer_wire.write(what)
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=self.connection.fileno())
        try:
            head = len(message).to_bytes(4, "big")
            sock.sendmsg([head, message], passed, flags | socket.MSG_NOSIGNAL)
        finally:
            sock.detach()

    def _forget_noted(self) -> None:
        while self._noted:
            try:
                note = self._noted.pop(0)
            except IndexError:
                return  # another thread has done it
            if not isinstance(note, str):
                note.close()

    def close(self) -> None:
        """Close this process' descriptors of the connection, and of those of children."""
        self._forget_noted()
        self.connection.close()

    def settle(self, word: str) -> None:
        """Wait until the server has dropped what was to be dropped; "bye" drops everything."""
        with self._sending:
            self._send_noted()
            try:
                self._peer_wire.send(self.connection, word)
                if not self._number and self.connection.poll(PATIENCE):
                    self.number  # noqa: B018 # it comes before the reply
                if self.connection.poll(PATIENCE):
                    self.connection.recv_bytes()
            except (OSError, EOFError):
                return


class PlainAnchor(Anchor):
    """Stands for the anchor at a server of the standard library.

    Proxies that were copied by a fork have no references of their own there. So this object knows
    which references its own process has taken.
    """

    def __init__(self, peer: Peer) -> None:
        self._known = ref(peer)
        self._taken: list[str] = []

    @property
    def number(self) -> int:
        """0: the server counts for nobody."""
        return 0

    def taken(self, ident: str) -> None:
        """Note that a reference was taken."""
        self._taken.append(ident)

    def drop(self, ident: str) -> None:
        """Drop a reference."""
        peer = self._known()
        try:
            if peer is not None:
                self._taken.remove(ident)
                peer.ask("decref", ident)
        except ValueError:
            return  # the reference is the parent's
        except (OSError, EOFError, RemoteError):
            return  # the server or the object has gone

    def sent(self, ident: str) -> None:
        """Do nothing: the server has no references of proxies on their way."""

    def settle(self, word: str) -> None:
        """Do nothing: drop() has waited."""

    def close(self) -> None:
        """Do nothing: there is no connection."""


class _Reading(ThreadLocal):
    """Whose reply the thread is unpickling, and how idents of that server begin."""

    peer: Peer | None = None
    nonce = ""
    arriving: tuple[str, int, int] | None = None  # ident, holder, serial of the proxy's pickle


_reading = _Reading()


def complete(token: Token, kwds: dict[str, Any]) -> None:
    """Say how the object of a pickled proxy is reached, for the key does not travel with it.

    A server may have another address for others than for itself: a proxy that it sends is reached
    as it is reached. For any other the key is looked for among those that this process knows.
    """
    peer = _reading.peer
    if peer is not None and (
        token.address == peer.address or token.id.partition("-")[0] == _reading.nonce
    ):
        token.address = peer.address
        kwds.setdefault("authkey", peer._authkey)
        return
    key = manager_keys.get(hashable(token.address))
    if key is not None:
        kwds.setdefault("authkey", key)


class arrival:
    """With it, a proxy is being made of a pickle, which sent() has told from others."""

    def __init__(self, ident: str, number: int, serial: int) -> None:
        self._what = ident, number, serial

    def __enter__(self) -> None:
        self._outer, _reading.arriving = _reading.arriving, self._what

    def __exit__(self, *error: object) -> None:
        _reading.arriving = self._outer


def arriving(ident: str) -> tuple[int, ...]:
    """Return what sent() has returned for the pickle of which the thread makes a proxy, if any."""
    what = _reading.arriving
    return what[1:] if what is not None and what[0] == ident else ()


class Peer:
    """A server, as this process sees it."""

    def __init__(self, address: Any, serializer: str, authkey: bytes) -> None:
        self.address = address
        self._serializer = serializer
        self._authkey = authkey
        self._wire = wire_of(serializer)
        self._received: dict[str, int] = {}
        self._next_anchor: Anchor | None = None
        self._plain = False  # whether the server is the standard library's
        self._inherited: dict[int, Anchor] = {}
        self._begin()

    def _begin(self) -> None:
        self._local = ThreadLocal()
        self._lines: WeakSet[Connection] = WeakSet()
        self._anchor: Anchor | None
        self.__dict__.pop("_anchor", None)

    # -- calls

    def request(
        self, ident: str | None, name: str, args: Any = (), kwds: Mapping[str, Any] = _NOTHING
    ) -> Reply:
        """Send a request over the calling thread's line; return the reply.

        EOFError or OSError: the server has ended, or there was none.
        """
        line: Connection
        if ident is None and self._plain:
            return self._request_once((ident, name, args, kwds))
        mine = self._local.__dict__
        line = mine.pop("line", None) or self._open_line()
        try:
            self._wire.send(line, (ident, name, args, kwds))
        except OSError as error:
            line.close()
            raise self._gone(error) from None
        except Exception:
            mine["line"] = line  # an object that cannot be pickled has not been sent
            raise
        except BaseException:
            line.close()
            raise
        message = self._receive(line)
        mine["line"] = line  # before unpickling: a proxy takes its reference over the line
        return self._read(message, ident)

    def _request_once(self, request: tuple[Any, ...]) -> Reply:
        """Have a server of the standard library answer a question."""
        connection = self._connect()
        try:
            self._wire.send(connection, request)
            message = self._receive(connection)
        finally:
            connection.close()
        return self._read(message, None)

    def _read(self, message: bytes, ident: str | None) -> Reply:
        """Return a reply; `ident` is that of the object that was asked."""
        outer = _reading.peer, _reading.nonce
        _reading.peer, _reading.nonce = self, (ident or "").partition("-")[0]
        try:
            kind, result = self._wire.read(message)
        finally:
            _reading.peer, _reading.nonce = outer
        return kind, result

    def ask(self, name: str, *args: Any) -> Any:
        """Call a function of the server."""
        self._need_anchor()  # opening it shows what kind of server it is
        return _result(self.request(None, name, args))

    def _receive(self, line: Connection) -> bytes:
        try:
            return line.recv_bytes()
        except (EOFError, OSError) as error:
            line.close()
            raise self._gone(error) from None
        except BaseException:
            line.close()  # the next call would get the reply that is still to come
            raise

    def _gone(self, error: EOFError | OSError) -> EOFError | OSError:
        text = f"the manager's server at {self.address!r} has ended, or closed the connection"
        if isinstance(error, EOFError):
            return EOFError(text)
        error.add_note(text)
        return error

    # -- connecting

    def _connect(self, patience: float | None = None) -> Connection:
        """Connect. TimeoutError: the server says nothing for `patience` seconds."""
        from ..authentication import greet_server
        from ..connection import SocketClient

        connection = None
        try:
            connection = SocketClient(self.address)
            attend(connection, self.address)
            _await(connection, patience)
            greet_server(connection, self._authkey)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if not isinstance(error, (EOFError, OSError)):
                raise
            if isinstance(error, EOFError):
                raise self._gone(error) from None
            error.add_note(f"while connecting to the manager's server at {self.address!r}")
            raise
        return connection

    def _open_line(self) -> Connection:
        number = self._number_of_anchor()
        line = self._connect()
        try:
            name = process.current_process().name
            more = () if self._plain else (number, os.getpid())
            self._ask_over(line, "accept_connection", name, *more)
        except BaseException:
            line.close()
            raise
        self._lines.add(line)
        return line

    def _open_anchor(self, copy_of: int = 0, patience: float | None = None) -> Anchor:
        """Open an anchor, without references, or with a copy of those of the holder `copy_of`."""
        connection = self._connect(patience)
        try:
            number = self._ask_over(connection, "hold", copy_of, patience=patience)
        except BaseException:
            connection.close()
            raise
        return Anchor(self, connection, number)

    def _ask_over(
        self, connection: Connection, name: str, *args: Any, patience: float | None = None
    ) -> Any:
        self._wire.send(connection, (None, name, args, {}))
        _await(connection, patience)
        kind, result = self._wire.read(self._receive(connection))
        return _result((kind, result))

    def _need_anchor(self) -> Anchor:
        anchor: Anchor | None = self.__dict__.get("_anchor")
        if anchor is None:
            mine = self._open_first_anchor()
            anchor = self.__dict__.setdefault("_anchor", mine)
            if anchor is not mine:
                mine.close()
            _at_exit()
        return anchor

    def _number_of_anchor(self) -> int:
        """Return the number of this process' holder; begin without references if that has ended."""
        anchor = self._need_anchor()
        try:
            return anchor.number
        except (EOFError, OSError):
            if self.__dict__.get("_anchor") is anchor:
                self.__dict__.pop("_anchor", None)
            anchor.close()
            return self._need_anchor().number

    def _open_first_anchor(self) -> Anchor:
        try:
            return PlainAnchor(self) if self._plain else self._open_anchor()
        except RemoteError:
            self._plain = True  # the server has no function "hold"
            return PlainAnchor(self)

    # -- references

    def create(self, typeid: str, args: tuple[Any, ...], kwds: dict[str, Any]) -> tuple[str, Any]:
        """Have the server make an object; return its ident and what it exposes.

        The reference that comes with it is for the first proxy; see drop_received().
        """
        self._need_anchor()
        ident, exposed = _result(self.request(None, "create", (typeid, *args), kwds))
        self.received(ident)
        return ident, exposed

    def received(self, ident: str) -> None:
        """Note that a reference has come with an ident."""
        self._need_anchor().taken(ident)
        self._received[ident] = self._received.get(ident, 0) + 1

    def drop_received(self, ident: str) -> None:
        """Drop the reference that came with an ident, if no proxy has taken it."""
        if self._received.pop(ident, 0):
            self.drop(ident)

    def take(self, ident: str) -> Reference:
        """Take a reference. RemoteError: there is no such object any more."""
        unused = self._received.pop(ident, 0)
        if unused > 1:
            self._received[ident] = unused - 1
        elif not unused:
            self.ask("incref", ident, *arriving(ident))
            self._need_anchor().taken(ident)
        return Reference(self, ident)

    def drop(self, ident: str) -> None:
        """Drop a reference."""
        anchor: Anchor | None = self.__dict__.get("_anchor")
        if anchor is not None:
            anchor.drop(ident)

    def sent(self, ident: str) -> tuple[int, int] | None:
        """Have the server keep an object until the pickle that is being made is loaded."""
        anchor: Anchor | None = self.__dict__.get("_anchor")
        return anchor.sent(ident) if anchor is not None else None

    def settle(self) -> None:
        """Wait until the server has dropped what this process has dropped."""
        self._need_anchor().settle("settle")

    # -- at exit

    def drop_all(self) -> None:
        """Drop all references, and wait until they are dropped."""
        anchor: Anchor | None = self.__dict__.pop("_anchor", None)
        for old in {anchor, *self._inherited.values()}:
            if old is not None:
                old.settle("bye")
                old.close()
        self._inherited.clear()

    # -- children

    def give_to_child(self, ident: str, popen: Any) -> tuple[Any, int] | None:
        """Give a child that is being spawned a reference; return what it finds its anchor by.

        None: the child gets no reference, since the server is the standard library's, or the popen
        object another package's.
        """
        if self._plain or not hasattr(popen, "close_after_start"):
            return None
        anchors: dict[Peer, tuple[Any, int]] = popen.__dict__.setdefault("_anchors", {})
        if self not in anchors:
            anchor = self._open_anchor()
            popen.close_after_start(anchor.connection)
            from ..reduction import DupFd

            anchors[self] = DupFd(anchor.connection.fileno()), anchor.number
        duplicate, number = anchors[self]
        self.ask("give", number, ident)
        return duplicate, number

    def inherit(self, ident: str, duplicate: Any, number: int) -> None:
        """Take over, in a spawned child, a reference and the anchor that it depends on."""
        anchor = self._inherited.get(number)
        if anchor is None:
            from .._mproc import Connection

            anchor = Anchor(self, Connection(duplicate.detach()), number)
            self._inherited[number] = anchor  # keeps the references, also beside another anchor
            if self.__dict__.setdefault("_anchor", anchor) is anchor:
                _at_exit()
        if self.__dict__.get("_anchor") is anchor:
            self.received(ident)

    def before_fork(self) -> None:
        """Open the anchor of the child that is about to be forked."""
        anchor: Anchor | None = self.__dict__.get("_anchor")
        if anchor is not None and not self._plain:
            try:
                self._next_anchor = self._anchor_of_child(anchor)
            except Exception as error:
                util.info("no anchor for the child at %s: %s", self.address, error)

    def _anchor_of_child(self, anchor: Anchor) -> Anchor | None:
        if isinstance(self.address, tuple):
            return self._open_anchor(anchor.number, PATIENCE)
        connection = anchor.child()
        if connection is None:
            util.info("no anchor for the child at %s, which takes nothing", self.address)
            return None
        return Anchor(self, connection)

    def after_fork_in_parent(self) -> None:
        """Close the child's anchor, which the child has by now."""
        childs, self._next_anchor = self._next_anchor, None
        if childs is not None:
            childs.close()

    def after_fork_in_child(self) -> None:
        """Close the copies of the parent's connections; begin with the anchor made for this."""
        mine, self._next_anchor = self._next_anchor, None
        anchor: Anchor | None = self.__dict__.get("_anchor")
        for line in list(self._lines):
            line.close()
        self._begin()
        for old in {anchor, *self._inherited.values()}:
            if old is not None:
                old.close()
        self._inherited.clear()
        if mine is not None:
            self._anchor = mine


def _await(connection: Connection, patience: float | None) -> None:
    """Wait until there is something to receive. TimeoutError: there was nothing in time."""
    if patience is not None and not connection.poll(patience):
        raise TimeoutError(f"the manager's server has said nothing for {patience} s")


def _result(reply: Reply) -> Any:
    kind, result = reply
    if kind == "#RETURN":
        return result
    try:
        raise convert_to_error(kind, result)
    finally:
        del result, reply


# ---- all peers of this process

_peers: Known[tuple[Any, str, bytes], Peer] = Known()


def peer_of(address: Any, serializer: str, authkey: bytes) -> Peer:
    """Return what stands for the server at an address."""
    address = hashable(address)
    key = (address, serializer, bytes(authkey))
    peer = _peers.get(key)
    if peer is None:
        peer = _peers.first(key, Peer(address, serializer, bytes(authkey)))
    return peer


def _all_peers() -> list[Peer]:
    return [peer for _, peer in _peers.items()]


# ---- servers in this process: their objects need no connection

_servers: dict[str, Server] = {}


def server_of(ident: str) -> Server | None:
    """Return the server with an object of that ident, if it is in this process."""
    return _servers.get(ident.partition("-")[0]) if _servers else None


def register_server(server: Server) -> None:
    """Let proxies in this process reach the server's objects without a connection."""
    _servers[server.nonce] = server


def forget_server(server: Server) -> None:
    """Undo register_server()."""
    _servers.pop(server.nonce, None)


def pickled(ident: str, reference: object) -> None:
    """Tell a server of this process, if it is what sends it, that a proxy was pickled."""
    for server in [*_servers.values()]:
        server.pickled(ident, reference)
        return  # any of them knows what its thread sends


# ---- exit and fork


def _at_exit() -> None:
    """Have all references dropped at exit, before the managers end their servers."""
    global _finalizer
    if _finalizer is None:
        util.register_after_fork(_child, _Child.after_fork)
    if _finalizer is None or not _finalizer.still_active():
        _finalizer = util.Finalize(None, _drop_all, exitpriority=EXIT_PRIORITY)


_finalizer: util.Finalize | None = None


def _drop_all() -> None:
    for peer in _all_peers():
        peer.drop_all()


class _Child:
    """Has a child drop its references at its exit; the parent's finalizers are not the child's."""

    def after_fork(self) -> None:
        if any("_anchor" in peer.__dict__ for peer in _all_peers()):
            _at_exit()


_child = _Child()


def _before_fork() -> None:
    for peer in _all_peers():
        peer.before_fork()


def _after_fork_in_parent() -> None:
    for peer in _all_peers():
        peer.after_fork_in_parent()


def _after_fork_in_child() -> None:
    for server in list(_servers.values()):
        server.after_fork_in_child()
    _servers.clear()
    for peer in _all_peers():
        peer.after_fork_in_child()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
