"""A process' connections to the servers of managers, and the references it holds there.

How it works. A Peer stands for a server as this process sees it. Each thread that calls has a
connection to it of its own, a *line*, since a call may block, and a lock belongs to the server's
thread that acquired it. Besides there is one connection that is there as long as the process, the
*anchor*. The server books every reference on the *holder* that the anchor stands for, and drops
them all when the anchor is at its end. So a process that is killed leaves nothing behind, and none
need count for another.

References are taken over a line, with an answer; they are dropped over the anchor, without one, for
that happens in finalizers: these may run at any point, also within a call over the same line, and
must not wait for a lock. What is to be dropped is noted, and sent by whoever has the anchor then.

A child that is a copy of this process has copies of its proxies. It inherits an *heir*: an anchor
that was opened before the fork, with the same references booked on it, so that nothing can be
dropped before the child has begun. What it must not keep are the parent's own connections: the
server would take the parent for alive. A spawned child inherits an heir with those references that
it was given proxies of.

A line on which something went wrong half-way (the server has gone, KeyboardInterrupt) is closed, so
that no call ever gets the answer of another one.

Shared state. Peer._anchor: set once, by the thread that was first (dict.setdefault). Anchor._noted:
a list that anybody appends to, and who has Anchor._sending takes from. Peer._claims: references
that came with an object that was made; only the thread that made it knows its ident.

A server of the standard library knows no holders. It answers one question a connection, and counts
references for nobody in particular: with it, a killed process' references remain (PlainAnchor).

If a process dies here: at any point the kernel closes its connections, and the server does the
rest. If the server dies: a call gets EOFError or a ConnectionError, dropping does nothing.
"""

from __future__ import annotations

import os
from _thread import allocate_lock as _allocate_lock

from .. import process, util
from .._cpython import ThreadLocal, WeakSet, ref
from .wire import RemoteError, convert_to_error, wire_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .._mproc import Connection
    from .server import Server
    from .wire import Reply

PATIENCE = 5.0  # seconds for a server's answer where nobody may be kept waiting: at fork, at exit
EXIT_PRIORITY = 10  # of dropping all references at exit: before managers end their servers

_NOTHING: Mapping[str, Any] = {}


class Reference:
    """Keeps an object at its server, as long as this object lives."""

    __slots__ = ("_ident", "_peer")

    def __init__(self, peer: Peer, ident: str) -> None:
        self._peer = peer
        self._ident = ident

    def __del__(self) -> None:
        self._peer.drop(self._ident)


class Anchor:
    """The connection that a process' references at a server depend on."""

    def __init__(self, peer: Peer, connection: Connection, number: int) -> None:
        self.connection = connection
        self.number = number  # of the holder, at the server
        self._peer_wire = peer._wire
        self._noted: list[str] = []
        self._sending = _allocate_lock()

    def taken(self, ident: str) -> None:
        """Note that a reference was taken: the server does."""

    def drop(self, ident: str) -> None:
        """Drop a reference: now, or when who has the anchor is done. Never waits for a lock."""
        self._noted.append(ident)
        while self._noted and self._sending.acquire(False):
            try:
                self._send_noted()
            finally:
                self._sending.release()

    def _send_noted(self) -> None:
        idents = []
        while self._noted:
            idents.append(self._noted.pop())
        if idents:
            try:
                self._peer_wire.send(self.connection, idents)
            except OSError:
                return  # the server has gone, and all references with it

    def close(self) -> None:
        """Close the connection; here, or for good."""
        self.connection.close()

    def settle(self, word: str) -> None:
        """Wait until the server has dropped what was to be dropped; "bye": all there is."""
        with self._sending:
            self._send_noted()
            try:
                self._peer_wire.send(self.connection, word)
                if self.connection.poll(PATIENCE):
                    self.connection.recv_bytes()
            except (OSError, EOFError):
                return


class PlainAnchor(Anchor):
    """Stands for the anchor at a server of the standard library.

    Proxies that were copied by a fork have no references of their own there: it knows what it took.
    """

    def __init__(self, peer: Peer) -> None:
        self.number = 0
        self._known = ref(peer)
        self._taken: list[str] = []

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
            return  # it is the parent's
        except (OSError, EOFError, RemoteError):
            return  # there is nothing to be dropped any more

    def settle(self, word: str) -> None:
        """Do nothing: drop() has waited."""

    def close(self) -> None:
        """Do nothing: there is no connection."""


class Peer:
    """A server, as this process sees it."""

    def __init__(self, address: Any, serializer: str, authkey: bytes) -> None:
        self.address = address
        self._serializer = serializer
        self._authkey = authkey
        self._wire = wire_of(serializer)
        self._claims: dict[str, int] = {}
        self._heir: Anchor | None = None
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

        EOFError or OSError: the server has gone, or never was there.
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
            mine["line"] = line  # what cannot be written has not been sent
            raise
        except BaseException:
            line.close()
            raise
        message = self._receive(line)
        mine["line"] = line  # before reading: a proxy that is read takes its reference
        kind, result = self._wire.read(message)
        return kind, result

    def _request_once(self, request: tuple[Any, ...]) -> Reply:
        """Have a server of the standard library answer a question."""
        connection = self._connect()
        try:
            self._wire.send(connection, request)
            message = self._receive(connection)
        finally:
            connection.close()
        kind, result = self._wire.read(message)
        return kind, result

    def ask(self, name: str, *args: Any) -> Any:
        """Call a function of the server."""
        self._need_anchor()  # which tells what kind of server it is
        return _result(self.request(None, name, args))

    def _receive(self, line: Connection) -> bytes:
        try:
            return line.recv_bytes()
        except (EOFError, OSError) as error:
            line.close()
            raise self._gone(error) from None
        except BaseException:
            line.close()  # the answer to come would be taken for that of the next call
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
        number = self._need_anchor().number
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

    def _open_anchor(self, heir_of: int = 0, patience: float | None = None) -> Anchor:
        """Open a connection that references are booked on: none yet, or copies of another's."""
        connection = self._connect(patience)
        try:
            number = self._ask_over(connection, "hold", heir_of, patience=patience)
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

    def _open_first_anchor(self) -> Anchor:
        try:
            return PlainAnchor(self) if self._plain else self._open_anchor()
        except RemoteError:
            self._plain = True  # it knows no function "hold"
            return PlainAnchor(self)

    # -- references

    def create(self, typeid: str, args: tuple[Any, ...], kwds: dict[str, Any]) -> tuple[str, Any]:
        """Have the server make an object; return its ident and what it exposes.

        The reference that comes with it is for the first proxy; see waive().
        """
        self._need_anchor()
        ident, exposed = _result(self.request(None, "create", (typeid, *args), kwds))
        self.claim(ident)
        return ident, exposed

    def claim(self, ident: str) -> None:
        """Note that a reference has come with an ident."""
        self._need_anchor().taken(ident)
        self._claims[ident] = self._claims.get(ident, 0) + 1

    def waive(self, ident: str) -> None:
        """Drop the reference that came with an ident, if no proxy has taken it."""
        if self._claims.pop(ident, 0):
            self.drop(ident)

    def take(self, ident: str) -> Reference:
        """Take a reference. RemoteError: there is no such object any more."""
        claimed = self._claims.pop(ident, 0)
        if claimed > 1:
            self._claims[ident] = claimed - 1
        elif not claimed:
            self.ask("incref", ident)
            self._need_anchor().taken(ident)
        return Reference(self, ident)

    def drop(self, ident: str) -> None:
        """Drop a reference."""
        anchor: Anchor | None = self.__dict__.get("_anchor")
        if anchor is not None:
            anchor.drop(ident)

    def settle(self) -> None:
        """Wait until the server has dropped what this process has dropped."""
        self._need_anchor().settle("settle")

    # -- at exit

    def say_goodbye(self) -> None:
        """Drop all references, and wait until they are dropped."""
        anchor: Anchor | None = self.__dict__.pop("_anchor", None)
        for old in {anchor, *self._inherited.values()}:
            if old is not None:
                old.settle("bye")
                old.close()
        self._inherited.clear()

    # -- children

    def bequeath(self, ident: str, popen: Any) -> tuple[Any, int] | None:
        """Give a child that is being spawned a reference; return how it gets its heir.

        None: it gets none. Whoever spawns, or the server, does not know how.
        """
        if self._plain or not hasattr(popen, "lend"):
            return None
        heirs: dict[Peer, tuple[Any, int]] = popen.__dict__.setdefault("_heirs", {})
        if self not in heirs:
            heir = self._open_anchor()
            popen.lend(heir.connection)
            from ..reduction import DupFd

            heirs[self] = DupFd(heir.connection.fileno()), heir.number
        duplicate, number = heirs[self]
        self.ask("give", number, ident)
        return duplicate, number

    def inherit(self, ident: str, duplicate: Any, number: int) -> None:
        """Take over, as a child that was spawned, a reference and the anchor it is booked on."""
        heir = self._inherited.get(number)
        if heir is None:
            from .._mproc import Connection

            heir = Anchor(self, Connection(duplicate.detach()), number)
            self._inherited[number] = heir  # it keeps the references, even if it is not our anchor
            if self.__dict__.setdefault("_anchor", heir) is heir:
                _at_exit()
        if self.__dict__.get("_anchor") is heir:
            self.claim(ident)

    def before_fork(self) -> None:
        """Open the anchor of the child."""
        anchor: Anchor | None = self.__dict__.get("_anchor")
        if anchor is not None and not self._plain:
            try:
                self._heir = self._open_anchor(anchor.number, PATIENCE)
            except Exception as error:
                util.info("no heir for %s: %s", self.address, error)

    def after_fork_in_parent(self) -> None:
        """Leave the heir to the child."""
        heir, self._heir = self._heir, None
        if heir is not None:
            heir.close()

    def after_fork_in_child(self) -> None:
        """Leave the connections to the parent."""
        heir, self._heir = self._heir, None
        anchor: Anchor | None = self.__dict__.get("_anchor")
        for line in list(self._lines):
            line.close()
        self._begin()
        for old in {anchor, *self._inherited.values()}:
            if old is not None:
                old.close()
        self._inherited.clear()
        if heir is not None:
            self._anchor = heir


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

_peers: dict[tuple[Any, str, bytes], ref[Peer]] = {}


def peer_of(address: Any, serializer: str, authkey: bytes) -> Peer:
    """Return what stands for the server at an address."""
    if isinstance(address, list):  # a tuple that came as XML
        address = tuple(address)
    key = (address, serializer, bytes(authkey))
    known = _peers.get(key)
    peer = known() if known is not None else None
    if peer is None:
        peer = Peer(address, serializer, bytes(authkey))
        _peers[key] = ref(peer, lambda gone: _forget(key, gone))
    return peer


def _forget(key: tuple[Any, str, bytes], gone: ref[Peer]) -> None:
    if _peers.get(key) is gone:
        del _peers[key]


def _all_peers() -> list[Peer]:
    found = [known() for known in list(_peers.values())]
    return [peer for peer in found if peer is not None]


# ---- servers in this process: their objects need no connection

_servers: dict[str, Server] = {}


def server_of(ident: str) -> Server | None:
    """Return the server in this very process that an ident is of, if it is."""
    return _servers.get(ident.partition("-")[0]) if _servers else None


def register_server(server: Server) -> None:
    """Have proxies of the server's objects, in this process, reach them without a connection."""
    _servers[server.nonce] = server


def forget_server(server: Server) -> None:
    """Undo register_server()."""
    _servers.pop(server.nonce, None)


# ---- exit and fork


def _at_exit() -> None:
    """Have all references dropped at exit, and seen to be."""
    global _finalizer
    if _finalizer is None:
        util.register_after_fork(_child, _Child.after_fork)
    if _finalizer is None or not _finalizer.still_active():
        _finalizer = util.Finalize(None, _say_goodbye, exitpriority=EXIT_PRIORITY)


_finalizer: util.Finalize | None = None


def _say_goodbye() -> None:
    for peer in _all_peers():
        peer.say_goodbye()


class _Child:
    """Registers a child's own goodbye, when it has forgotten its parent's finalizers."""

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
