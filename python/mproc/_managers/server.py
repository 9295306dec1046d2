"""The server of a manager: it keeps the objects, and calls their methods for other processes.

How it works. One thread accepts connections; each connection has a thread of its own, which
authenticates it and then answers one request after the other (wire.py). The thread that called
serve() waits until the server is told to stop.

Objects and references. An object is known by its ident. No later object gets the same ident, not
even at a later server, so a proxy that outlives its object gets an error and not another object.
References are counted per *holder*, which is a client process: `Server._held` has the objects that
some holder refers to. A holder ends with its anchor, the connection that it began with (peers.py).
Its references are dropped then, however the process ended. References that come over a connection
without a holder belong to holder 0, which never ends. A client that forks sends the server's end of
its child's anchor over its own one.

A reply may contain proxies of objects that nothing here contains any more: pop() and get() remove
what they return. The session keeps such objects (`Session.on_its_way`) until the client has taken a
reference to each, or calls the next method, which it does when it has read the reply, or has gone.
A proxy of another server's object keeps its reference there in the same way.

A proxy that is on its way elsewhere, from one client to another, is said by its sender, and has a
reference of the holder `_on_their_way` until the last of its pickles is loaded. What the sender
says and what the receiver says come over two connections, in any order: Holder.said and
Holder.early tell whether an arrival was announced.

An object that another object contains as a proxy needs no count: in the server such a proxy keeps
the object itself. So a list that contains its own proxy is garbage like any other cycle.

Shared state. `Server._mutex` guards _held, _holders, Entry.count, Entry.sent, Holder.counts,
Holder.said and Holder.early. It is
recursive, since the garbage collector may bring the thread back here. `_entries` needs no guard
(known.py).

If a client dies during its request, the request is still carried out, unless it waits for
something, and the reply is not read. If the server dies, its clients' connections are at their end.
A child of the server (a worker of a managed Pool) closes its copies of these connections first:
otherwise the clients would not notice the server's death.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from _thread import start_new_thread as _start_new_thread
from itertools import count as _count

from .. import process, util
from .._cpython import FREE_THREADED, RLock
from .._descriptor import kept_pipe
from .._mproc import Connection, reducers
from ..connection import wait
from ..context import AuthenticationError
from ..listener import Listener
from . import calls, peers
from .known import Known
from .wire import Token, attend, wire_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from .direct.base import Direct
    from .life import Life
    from .wire import Reply

    Registration = tuple[
        Callable[..., Any] | None, Iterable[str] | None, Mapping[str, str] | None, Any
    ]

BACKLOG = 128  # connections that may wait to be accepted
ACCEPT_PAUSE = 0.05  # seconds until the next try, when the process has no descriptor left
FREEING_PAUSE = 1.0  # seconds until an idle thread frees what others have dropped: FREE_THREADED
_INT = 4  # bytes of a descriptor's number

# Operators whose result is the object itself: the client has its proxy, and needs no copy.
_IN_PLACE = frozenset(("__iand__", "__imul__", "__ior__", "__isub__", "__ixor__"))


class Entry:
    """An object of the server."""

    __slots__ = ("__weakref__", "count", "exposed", "method_to_typeid", "obj", "sent")

    def __init__(
        self, obj: object, exposed: frozenset[str], method_to_typeid: Mapping[str, str]
    ) -> None:
        self.obj = obj
        self.exposed = exposed
        self.method_to_typeid = method_to_typeid
        self.count = 0  # references of all holders
        self.sent: dict[int, int] = {}  # the last pickle on its way, by the number of its sender


class Holder:
    """A client process: how many references it has, by ident, and which locks it has."""

    __slots__ = ("counts", "early", "ended", "name", "number", "owned", "pid", "said")

    def __init__(self, number: int) -> None:
        self.number = number
        self.counts: dict[str, int] = {}
        self.owned: dict[Any, None] = {}  # their _owner_died() is called; see referents.py
        self.said = 0  # the serial number of its last pickle that is known here
        self.early: set[int] = set()  # those of later ones that have been loaded already
        self.ended = False
        self.name: str | None = None
        self.pid = 0


class Session:
    """A connection, and the holder of the references that come over it."""

    __slots__ = (
        "_socket", "anchors", "born", "connection", "holder", "on_its_way", "owned", "then",
        "undo",
    )  # fmt: skip

    def __init__(self, connection: Connection | None, holder: Holder) -> None:
        self.connection = connection
        self.holder = holder
        self.anchors = False  # whether the holder ends with this connection
        self.born = -1  # the descriptor of a child's anchor, which came with the request
        self.then: Callable[[], object] | None = None  # is called when the reply has been sent
        self.undo: Callable[[], object] | None = None  # is called if the reply is never read
        self.on_its_way: dict[str, object] = {}  # references of the proxies in the last reply
        self.owned: dict[Direct, int] = {}  # locks of shared memory that it has, and how often
        self._socket: socket.socket | None = None  # the connection's, once it has been needed

    def alive(self) -> bool:
        """Return whether the client still waits for the reply: it sends nothing meanwhile."""
        return self.connection is None or not self.connection.poll(0)

    def receive(self, connection: Connection) -> bytes:
        """Return the next request.

        EOFError: there is no further request. ConnectionResetError: nor was the last reply read;
        this is found out only if there is something to undo then.
        """
        if self.undo is not None:
            connection.poll(None)
            self._check_reset(connection)
        if FREE_THREADED:
            self._wait_and_free(connection)
        if self.anchors:
            self._look_for_descriptor(connection)
        return connection.recv_bytes()

    @staticmethod
    def _wait_and_free(connection: Connection) -> None:
        """Wait for a request; meanwhile run now and then, which frees what others have dropped.

        A client may drop its last reference over another connection than that by which it came:
        the object would stay until the next request, or the end, of whoever had it first.
        """
        while not connection.poll(FREEING_PAUSE):
            pass

    def _look_for_descriptor(self, connection: Connection) -> None:
        """Wait for a request, and take the descriptor that comes with it."""
        sock = self._the_socket(connection)
        flags = socket.MSG_PEEK | socket.MSG_CMSG_CLOEXEC
        _, passed, _, _ = sock.recvmsg(1, socket.CMSG_LEN(_INT), flags)
        for level, kind, data in passed:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self.forget_descriptor()
                self.born = int.from_bytes(data[:_INT], sys.byteorder)

    def forget_descriptor(self) -> None:
        """Close the descriptor that came with a request which makes nothing of it."""
        born, self.born = self.born, -1
        if born >= 0:
            os.close(born)

    def _the_socket(self, connection: Connection) -> socket.socket:
        if self._socket is None:  # options and messages are the same in every family
            self._socket = socket.socket(
                socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=connection.fileno()
            )
        return self._socket

    def _check_reset(self, connection: Connection) -> None:
        """Raise ConnectionResetError if the client has gone and has not read the last reply.

        Over TCP, a reply that comes when the client has gone is refused, and the error is EPIPE if
        the end of the connection was here before. Until the refusal comes, a part of the reply is
        not acknowledged, though all that the client had got when it went is.
        """
        sock = self._the_socket(connection)
        unknown = _unacknowledged(sock)  # asked first: a refusal clears it
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error in (errno.ECONNRESET, errno.EPIPE) or (unknown and _is_at_end(sock)):
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

    def close(self) -> None:
        """Close the connection."""
        self.forget_descriptor()
        if self._socket is not None:
            self._socket.detach()
        if self.connection is not None:
            self.connection.close()


def _unacknowledged(sock: socket.socket) -> bool:
    """Return whether the other end of a TCP connection may lack something that was sent."""
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) == socket.AF_UNIX:
        return False  # a socket of this machine knows at once
    from fcntl import ioctl
    from termios import TIOCOUTQ

    return ioctl(sock, TIOCOUTQ, bytes(_INT)) != bytes(_INT)


def _is_at_end(sock: socket.socket) -> bool:
    """Return whether the other end has closed the connection, and all that it sent is read."""
    return sock.recv(1, socket.MSG_PEEK) == b""


def all_methods(obj: object) -> list[str]:
    """Return the names of an object's methods."""
    return [name for name in dir(obj) if callable(getattr(obj, name))]


def public_methods(obj: object) -> list[str]:
    """Return the names of an object's methods that do not begin with an underscore."""
    return [name for name in all_methods(obj) if name[0] != "_"]


class Server:
    """Serves the objects of the types in a registry, at an address, to those who know the key."""

    public: tuple[str, ...] = (
        "shutdown",
        "create",
        "accept_connection",
        "get_methods",
        "debug_info",
        "number_of_objects",
        "dummy",
        "incref",
        "decref",
        "hold",
        "give",
    )

    def __init__(
        self, registry: dict[str, Registration], address: Any, authkey: bytes, serializer: str
    ) -> None:
        if not isinstance(authkey, bytes):
            raise TypeError(f"Authkey {authkey!r} is type {type(authkey)!s}, not bytes")
        self.registry = registry
        self.authkey = process.AuthenticationString(authkey)
        self._wire = wire_of(serializer)
        self.listener = Listener(address=address, backlog=BACKLOG)
        self.address = self.listener.address
        self.nonce = os.urandom(4).hex()
        self._numbers = _count(1)
        self._mutex = RLock()
        self._entries: Known[str, Entry] = Known()
        self._held: dict[str, Entry] = {}
        self._holders = {0: Holder(0)}
        self._local = Session(None, Holder(-1))
        self._on_their_way = Holder(-2)
        self._sessions: set[Session] = set()
        self._stop: tuple[int, int] | None = None
        self.life: Life | None = None  # of a manager with objects in its family's shared memory

    # -- serving

    def serve_forever(self) -> None:
        """Serve until a client or SIGINT ends that; then raise SystemExit(0)."""
        process.current_process()._manager_server = self  # type: ignore[attr-defined]
        try:
            self.serve()
        except KeyboardInterrupt:
            raise SystemExit(0) from None
        raise SystemExit(0)

    def serve(self, *until: Any) -> None:
        """Serve until shutdown, or until connection.wait() finds one of these objects ready.

        AuthenticationError, OSError: as Listener() raises them.
        """
        self._stop = kept_pipe()
        peers.register_server(self)
        try:
            _start_new_thread(self._accept, ())
            wait([self._stop[0], *until])
        finally:
            peers.forget_server(self)
            self._close()

    def stop(self) -> None:
        """Make serve() return."""
        if self._stop is not None:
            os.write(self._stop[1], b"x")

    def _close(self) -> None:
        stop, self._stop = self._stop, None
        listener = self.listener._listener
        if listener is not None:
            with contextlib.suppress(OSError):
                listener._socket.shutdown(socket.SHUT_RDWR)  # closing alone does not wake _accept()
        self.listener.close()
        if stop is not None:
            util.close_fds(*stop)
        for session in list(self._sessions):
            _hang_up(session.connection)

    def after_fork_in_child(self) -> None:
        """Close the copies of the server's descriptors that this child has."""
        listener = self.listener._listener
        if listener is not None:
            listener._socket.close()  # the path stays
        stop, self._stop = self._stop, None
        if stop is not None:
            util.close_fds(*stop)
        for session in list(self._sessions):
            session.close()

    def _accept(self) -> None:
        while True:
            try:
                connection = self.listener.accept()
            except OSError as error:
                if self._stop is None:
                    return
                util.info("cannot accept a connection: %s", error)
                _sleep(ACCEPT_PAUSE)
                continue
            try:
                _start_new_thread(self._serve, (connection,))
            except RuntimeError as error:  # no more threads
                util.info("cannot serve a connection: %s", error)
                connection.close()

    def _serve(self, connection: Connection) -> None:
        """Authenticate a connection; answer its requests until its end."""
        # Imported here: a server can be there before the cryptography is.
        from ..authentication import welcome_client

        def welcome() -> None:
            attend(connection, self.address)
            welcome_client(connection, self.authkey)

        self._converse(Session(connection, self._holders[0]), connection, welcome)

    def _serve_child(self, session: Session, connection: Connection) -> None:
        """Tell a forked child its number; answer the requests over its anchor."""

        def welcome() -> None:
            self._wire.send(connection, ("#RETURN", session.holder.number))

        self._converse(session, connection, welcome)

    def _converse(
        self, session: Session, connection: Connection, welcome: Callable[[], None]
    ) -> None:
        self._sessions.add(session)
        try:
            welcome()
            while True:
                self._answer(session, connection, session.receive(connection))
        except ConnectionResetError:
            calls.lost(session)
        except (EOFError, OSError, AuthenticationError, calls.ClientGone) as error:
            util.debug("a connection of the manager's server ended: %r", error)
        except (MemoryError, OverflowError) as error:  # a length that the client made up, or meant
            util.info("a request to the manager's server is too long: %r", error)
        finally:
            self._sessions.discard(session)
            session.close()
            calls.session_ended(session)
            if session.anchors:
                self._end_holder(session.holder)

    def _answer(self, session: Session, connection: Connection, message: bytes) -> None:
        session.undo = None  # a client that sends the next request has read the last reply
        try:
            request = self._wire.read(message)
        except Exception:
            reply: Reply = ("#TRACEBACK", calls.text_of_error("a request could not be read"))
        else:
            if session.anchors:
                self._serve_anchor(session, connection, request)
                return
            reply = self._reply_to(session, request)
        self._send(session, connection, reply)
        then, session.then = session.then, None
        if then is not None:
            then()

    def _reply_to(self, session: Session, request: Any) -> Reply:
        try:
            ident, name, args, kwds = request
        except (TypeError, ValueError):
            return "#TRACEBACK", f"{request!r} is no request: (ident, name, args, kwds) are\n"
        if ident is not None:  # while a client unpickles a reply it calls functions of the server
            session.on_its_way.clear()
        return self.answer(session, ident, name, args, kwds)

    def _send(self, session: Session, connection: Connection, reply: Reply) -> None:
        try:
            if reply[0] == "#ERROR" and not self._wire.has_exceptions:
                reply = "#TRACEBACK", f"{type(reply[1]).__name__}: {reply[1]}\n"
            with calls.sending(session):
                self._wire.send(connection, reply)
        except Exception as error:
            calls.lost(session)
            if isinstance(error, OSError) and not session.alive():
                raise
            self._wire.send(connection, calls.excuse(reply, error))

    def _serve_anchor(self, session: Session, connection: Connection, request: Any) -> None:
        """Drop references, without a reply, or reply that all earlier ones are dropped."""
        if isinstance(request, list):
            self.drop(session.holder, [ident for ident in request if isinstance(ident, str)])
            return
        if request == peers.FORK:
            self._begin_child(session)
            return
        if request == "bye":
            self._end_holder(session.holder)
        self._wire.send(connection, ("#RETURN", None))

    def _begin_child(self, parent: Session) -> None:
        """Serve the anchor of a client's child, which has copies of the client's references."""
        if parent.born < 0:
            return  # this process had no descriptor left: the child finds the other end closed
        connection = Connection(parent.born)
        parent.born = -1
        session = Session(connection, self._new_holder(parent.holder))
        session.anchors = True
        try:
            _start_new_thread(self._serve_child, (session, connection))
        except RuntimeError as error:  # no more threads
            util.info("cannot serve a forked child: %s", error)
            self._end_holder(session.holder)
            connection.close()

    # -- requests

    def answer(self, session: Session, ident: str | None, name: str, args: Any, kwds: Any) -> Reply:
        """Carry out a request; return the reply."""
        try:
            if ident is None:
                if name not in self.public:
                    raise AttributeError(f"{name!r} is no function of a manager's server")
                return "#RETURN", getattr(self, name)(session, *args, **kwds)
            entry = self.find(ident)
            function = calls.method_of(entry, name)
        except Exception:
            return "#TRACEBACK", calls.text_of_error()
        reply = calls.call(session, function, args, kwds)
        if reply[0] != "#RETURN":
            return reply
        typeid = entry.method_to_typeid.get(name)
        if typeid:
            try:
                new, exposed = self.create(session, typeid, reply[1])
            except Exception:
                return "#TRACEBACK", calls.text_of_error()
            return "#PROXY", (exposed, Token(typeid, self.address, new))
        if name in _IN_PLACE and reply[1] is entry.obj:
            return "#RETURN", None
        return reply

    def create(self, c: Session, typeid: str, /, *args: Any, **kwds: Any) -> tuple[str, Any]:
        """Make an object of a registered type; return its ident and the methods it exposes."""
        try:
            make, exposed, method_to_typeid, _ = self.registry[typeid]
        except KeyError:
            raise KeyError(f"this manager has no type {typeid!r}") from None
        if make is not None:
            obj = make(*args, **kwds)
        elif kwds or len(args) != 1:
            raise ValueError("Without callable, must have one non-keyword argument")
        else:
            obj = args[0]
        names = list(public_methods(obj) if exposed is None else exposed)
        names += method_to_typeid or ()
        entry = Entry(obj, frozenset(names), method_to_typeid or {})
        ident = f"{self.nonce}-{next(self._numbers):x}"
        self._entries.put(ident, entry)
        self._take(c.holder, ident, entry, 1)
        util.debug("%r object was made with id %r", typeid, ident)
        return ident, tuple(dict.fromkeys(names))

    def get_methods(self, c: Session, token: Token) -> tuple[str, ...]:
        """Return the methods that an object exposes."""
        return tuple(self.find(token.id).exposed)

    def accept_connection(self, c: Session, name: str, holder: int = 0, pid: int = 0) -> None:
        """Count the references that come over this connection for that holder."""
        util.debug("%s has connected to the manager's server", name)
        c.holder = self._holders[holder]
        if holder:
            c.holder.name, c.holder.pid = name, pid

    def dummy(self, c: Session) -> None:
        """Do nothing: a client that gets here is connected and knows the key."""

    def shutdown(self, c: Session) -> None:
        """Stop serving, when the reply has been sent."""
        util.debug("manager received shutdown message")
        c.then = self.stop

    def number_of_objects(self, c: Session) -> int:
        """Return the number of objects here that clients refer to."""
        return len(self._own())

    def debug_info(self, c: Session) -> str:
        """Return a text about the objects here that clients refer to."""
        lines = []
        for ident, entry in self._own():
            lines.append(f"  {ident}:       refcount={entry.count}\n    {str(entry.obj)[:75]}")
        return "\n".join(lines)

    def _own(self) -> list[tuple[str, Entry]]:
        """Return what clients refer to, but for the family's: the manager knows those."""
        with self._mutex:
            held = sorted(self._held.items())
        return [item for item in held if not isinstance(item[1].obj, calls.Served)]

    # -- references

    def find(self, ident: str) -> Entry:
        """Return the object of that ident. KeyError if it is gone."""
        entry = self._held.get(ident)
        if entry is None:
            entry = self._entries.get(ident)
            if entry is None:
                entry = self._find_in_arena(ident)
            if entry is None:
                raise KeyError(f"there is no object {ident!r} here; its last reference was dropped")
        return entry

    def _find_in_arena(self, ident: str) -> Entry | None:
        """Return an object that lies in the family's shared memory, for a client of another one."""
        if not self._is_of_arena(ident):
            return None
        from . import life

        assert self.life is not None
        direct = life.find(self.life, ident)
        if direct is None:
            return None
        _, exposed, method_to_typeid, _ = self.registry[direct.typeid]
        names = frozenset(exposed or direct.exposed)
        return self._entries.first(
            ident, Entry(calls.Served(direct), names, method_to_typeid or {})
        )

    def _is_of_arena(self, ident: str) -> bool:
        return self.life is not None and ident.startswith(f"{self.life.nonce.hex()}-")

    def incref(self, c: Session, ident: str, sender: int = 0, serial: int = 0) -> None:
        """Take a reference to an object, by a proxy that a client has sent to another, if so."""
        self._take(c.holder, ident, self.find(ident), 1)
        c.on_its_way.pop(ident, None)
        if serial and self._is_of_arena(ident):
            from .life import note_loaded

            assert self.life is not None
            note_loaded(self.life, ident, serial)
        else:
            self._arrived(ident, sender, serial)

    def decref(self, c: Session, ident: str) -> None:
        """Drop a reference to an object."""
        self.drop(c.holder, [ident])

    def hold(self, c: Session, copy_of: int = 0) -> int:
        """Make this connection the anchor of a new holder; return its number.

        It begins with a copy of the references of the holder `copy_of`, unless that is 0.
        """
        c.holder = self._new_holder(self._holders.get(copy_of) if copy_of else None)
        c.anchors = True
        return c.holder.number

    def _new_holder(self, source: Holder | None) -> Holder:
        with self._mutex:
            holder = Holder(next(self._numbers))
            for ident, number in source.counts.items() if source is not None else ():
                self._take(holder, ident, self._held[ident], number)
            self._holders[holder.number] = holder
        return holder

    def give(self, c: Session, holder: int, ident: str) -> None:
        """Take a reference for another holder."""
        self._take(self._holders[holder], ident, self.find(ident), 1)

    def _take(self, holder: Holder, ident: str, entry: Entry, number: int) -> None:
        with self._mutex:
            holder.counts[ident] = holder.counts.get(ident, 0) + number
            entry.count += number
            self._held[ident] = entry

    def drop(self, holder: Holder, idents: Iterable[str]) -> None:
        """Drop one of the holder's references to each of these objects, if it has any."""
        dead = []
        with self._mutex:
            for ident in idents:
                if ident[:1] == peers.SENT:
                    self._sent(holder, *ident[1:].split(peers.SENT, 1))
                    continue
                number = holder.counts.pop(ident, 0)
                if number:
                    if number > 1:
                        holder.counts[ident] = number - 1
                    dead.append(self._less(ident, 1))
        del dead  # with the mutex free: an object's destructor may call anything

    def _sent(self, sender: Holder, serial: str, ident: str) -> None:
        number = sender.said = int(serial, 16)
        if number in sender.early:
            sender.early.remove(number)
            self._arrived(ident, sender.number, number)  # what was sent before it counts no more
            return
        entry = self._entries.get(ident)
        if entry is not None:
            if sender.number not in entry.sent:
                self._take(self._on_their_way, ident, entry, 1)
            entry.sent[sender.number] = number

    def _arrived(self, ident: str, number: int, serial: int) -> None:
        with self._mutex:
            entry = self._held.get(ident)
            sender = self._holders.get(number) if number else None
            if sender is not None and serial > sender.said:
                sender.early.add(serial)
            if entry is None or entry.sent.get(number, serial + 1) > serial:
                return
            del entry.sent[number]
        self.drop(self._on_their_way, [ident])

    def _end_holder(self, holder: Holder) -> None:
        dead = []
        with self._mutex:
            self._holders.pop(holder.number, None)
            holder.ended = True
            counts, holder.counts = holder.counts, {}
            for ident, number in counts.items():
                dead.append(self._less(ident, number))
        calls.holder_ended(holder)
        del dead

    def _less(self, ident: str, number: int) -> Entry:
        entry = self._held[ident]
        entry.count -= number
        if entry.count == 0:
            del self._held[ident]
        return entry

    # -- what proxies in this process use instead of a Peer

    def request(
        self, ident: str | None, name: str, args: Any = (), kwds: Mapping[str, Any] | None = None
    ) -> Reply:
        """Carry out a request of this process; return the reply."""
        return self.answer(self._local, ident, name, args, kwds or {})

    def ask(self, name: str, *args: Any) -> Any:
        """Call a function of the server."""
        return getattr(self, name)(self._local, *args)

    def received(self, ident: str) -> None:
        """Do nothing: an object that was just made here has a reference of the local holder."""

    def drop_received(self, ident: str) -> None:
        """Drop the reference that came with an object made here."""
        self.drop(self._local.holder, [ident])

    def take(self, ident: str) -> Entry:
        """Return the object: it lives as long as a proxy refers to it, without being counted."""
        entry = self.find(ident)
        arriving = peers.arriving(ident)
        if arriving:
            self._arrived(ident, *arriving)
        return entry

    def sent(self, ident: str) -> tuple[int, int] | None:
        """Keep an object that this process sends elsewhere than to a client, until it arrives."""
        if calls.addressee() is not None:
            return None
        with self._mutex:
            sender = self._local.holder
            serial = sender.said + 1
            self._sent(sender, f"{serial:x}", ident)
        return sender.number, serial

    @staticmethod
    def pickled(ident: str, reference: object) -> None:
        """Keep what a proxy that is being sent to a client refers to until the client has it."""
        session = calls.addressee()
        if session is not None:
            session.on_its_way[ident] = reference


def _reduce_view(view: Iterable[Any]) -> tuple[Any, ...]:
    """Have keys(), values() and items() sent as lists."""
    return list, (list(view),)


_kind: type[Any]
for _kind in (type({}.keys()), type({}.values()), type({}.items())):
    reducers.setdefault(_kind, _reduce_view)


def _hang_up(connection: Connection | None) -> None:
    """End a connection that another thread may be waiting on: closing it would not wake that."""
    if connection is not None and not connection.closed:
        try:
            with socket.socket(fileno=os.dup(connection.fileno())) as sock:
                sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


def _sleep(seconds: float) -> None:
    import time

    time.sleep(seconds)
