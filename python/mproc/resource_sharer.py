"""Passing descriptors to processes that run already.

A descriptor cannot be written into a pickle. A DupFd keeps a duplicate of it in this process. It is
pickled as the address of a Unix socket of this process, and a secret. The process that unpickles it
connects, sends the secret, and gets the descriptor. The socket's address is abstract, so no file is
left behind. A thread in the background serves the socket, from the first DupFd on until stop(), or
until the process ends.

A secret is good for processes of the same user only, which is checked, and only once. The answer is
one byte: 1 and the descriptor, or 0 for a secret that is good no more.

An end of a Pipe() is offered as a SharedEnd, which keeps a hold on the channel, too. Both processes
look whether the other one is a member of their family. If so, the end keeps its memory: the
receiver takes its own hold while the sender still has one, and the sender gives that back when it
has said so. If not, the sender makes the end plain before it hands the descriptor out.

    receiver: secret, 1: you are of my family, or 0
    sender:   1 and the descriptor; then 1: keep the channel, or 0: the end is plain
    receiver: 1: I have the hold        (this and the next only for a channel)
    sender:   1: I was there then

A process that dies closes its sockets a moment before others can see that it has ended. A program
that meets the lost connection asks which of its processes died, and must find one. So the error is
raised when the death can be seen.
"""

from __future__ import annotations

import os
import threading

from . import _mproc, reduction, util
from ._descriptor import kept, kept_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

    from ._mproc import Connection

__all__ = ["DupFd", "SharedEnd", "stop"]

_SECRET = 16  # bytes
_REFUSED = b"\0"
_NO, _YES = b"\0", b"\1"
_ENDS_WITHIN = 1000  # ms from the loss of a connection to the end of the process that had it


class _Offer:
    """Something of this process that another one can fetch, once."""

    def __init__(self, kept: _Descriptor | _End) -> None:
        self._address, self._secret = _resource_sharer.register(kept)
        self._owner = os.getpid()

    def _fetch(self, receive: Callable[[socket.socket], Any]) -> Any:
        """Connect, and receive it by that function, which sends the secret first."""
        import socket

        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                try:
                    sock.connect(self._address)
                except ConnectionRefusedError as error:
                    raise _sender_is_gone(error) from None
                return receive(sock)
        except ConnectionError as error:
            _wait_for_end(self._owner)
            if isinstance(error, ConnectionRefusedError):
                raise
            raise self._lost() from None  # broken pipe, reset: whichever the end is noticed by

    def _receive_fd(self, sock: socket.socket, more: bytes = b"") -> int:
        import socket

        sock.sendall(self._secret + more)
        answer = sock.recv(1, socket.MSG_PEEK)
        if answer == _REFUSED:
            raise ValueError(
                "the descriptor has been fetched already: pickle it again for each process"
            )
        if not answer:
            raise self._lost()
        return reduction.recvfds(sock, 1)[0]

    def _lost(self) -> ConnectionResetError:
        import errno

        return ConnectionResetError(
            errno.ECONNRESET,
            f"process {self._owner}, which has the descriptor, closed the connection",
        )


class DupFd(_Offer):
    """A descriptor that another process can fetch, once."""

    def __init__(self, fd: int) -> None:
        super().__init__(_Descriptor(kept(os.dup(fd))))

    def detach(self) -> int:
        """Fetch the descriptor. The caller owns it from now on.

        OSError (ConnectionRefusedError): the process that has it has ended. ValueError: it has been
        fetched already.
        """
        fd: int = self._fetch(self._receive_fd)
        return fd


class SharedEnd(_Offer):
    """An end of a Pipe() that another process can fetch, once."""

    def __init__(self, connection: Connection, end: tuple[int, int, int]) -> None:
        super().__init__(_End(_copy_of(connection, end)))
        self._end = connection.readable, connection.writable, *end[1:]

    def detach(self) -> Connection:
        """Fetch it, with its memory if both processes are of one family. Raises as DupFd's."""
        connection: Connection = self._fetch(self._receive)
        return connection

    def _receive(self, sock: socket.socket) -> Connection:
        pid, _ = _peer(sock)
        fd = self._receive_fd(sock, _YES if _mproc.is_member(pid) else _NO)
        try:
            answer = sock.recv(1)
            if answer == _YES:
                _mproc.hold(self._end[2])
        except BaseException:
            os.close(fd)
            raise
        if answer == _YES:
            return self._confirm(sock, _mproc.Connection._adopt(fd, *self._end))
        connection = _mproc.Connection(fd, *self._end[:2])
        if not answer:
            connection.close()
            raise self._lost()
        return connection

    def _confirm(self, sock: socket.socket, owned: Connection) -> Connection:
        """Return it, if the sender held the channel when this process took its hold."""
        try:
            sock.sendall(_YES)
            if sock.recv(1) != _YES:
                raise self._lost()
        except BaseException:
            owned.close()
            raise
        return owned


def _copy_of(connection: Connection, end: tuple[int, int, int]) -> Connection:
    fd = kept(os.dup(end[0]))
    try:
        _mproc.hold(end[1])
    except BaseException:
        os.close(fd)
        raise
    return _mproc.Connection._adopt(fd, connection.readable, connection.writable, *end[1:])


class _Descriptor:
    """What a DupFd keeps in its process."""

    def __init__(self, owned: int) -> None:
        self._fd = owned

    def hand_out(self, sock: socket.socket) -> None:
        reduction.sendfds(sock, [self._fd])

    def close(self) -> None:
        os.close(self._fd)


class _End:
    """What a SharedEnd keeps in its process."""

    def __init__(self, owned: Connection) -> None:
        self._connection = owned

    def hand_out(self, sock: socket.socket) -> None:
        pid, _ = _peer(sock)
        end = self._connection._end()
        if sock.recv(1) != _YES or end is None or not _mproc.is_member(pid):
            reduction.sendfds(sock, [self._connection.fileno()])  # it is plain from now on
            sock.sendall(_NO)
            return
        reduction.sendfds(sock, [end[0]])
        sock.sendall(_YES)
        if sock.recv(1) == _YES:
            sock.sendall(_YES)

    def close(self) -> None:
        self._connection.close()


def _wait_for_end(pid: int) -> None:
    """Return when a process has ended, or does not seem to."""
    import select

    if pid == os.getpid():
        return
    try:
        pidfd = _mproc.pidfd_open(pid)
    except OSError:
        return  # it has ended, and its parent knows
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(_ENDS_WITHIN)
    finally:
        os.close(pidfd)


def _sender_is_gone(error: OSError) -> ConnectionRefusedError:
    return ConnectionRefusedError(
        error.errno,
        "the process that sent this descriptor has ended, and the descriptor with it: it must live"
        " until the receiver has the socket or connection",
    )


class _ResourceSharer:
    """What waits to be fetched, and the thread that hands it out."""

    def __init__(self) -> None:
        self._reset()
        util.register_after_fork(self, _ResourceSharer._after_fork)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[bytes, _Descriptor | _End] = {}
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def _after_fork(self) -> None:
        """Close a forked child's copies of what the parent hands out."""
        for waiting in self._kept.values():
            waiting.close()
        if self._listener is not None:
            self._listener.close()
        self._reset()

    def register(self, owned: _Descriptor | _End) -> tuple[bytes, bytes]:
        """Keep something until it is fetched; return the address and the secret."""
        secret = os.urandom(_SECRET)
        with self._lock:
            if self._listener is None:
                self._start()
            assert self._listener is not None
            self._kept[secret] = owned
            address: bytes = self._listener.getsockname()
        return address, secret

    def stop(self, timeout: float | None = None) -> None:
        """End the thread, waiting `timeout` seconds at most; close what was not fetched."""
        import socket

        with self._lock:
            listener, thread = self._listener, self._thread
            self._listener = self._thread = None
        if listener is not None and thread is not None:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout)
            if thread.is_alive():
                util.sub_warning("_ResourceSharer thread did not stop when asked")
            listener.close()
        with self._lock:
            left, self._kept = self._kept, {}
        for waiting in left.values():
            waiting.close()

    def _start(self) -> None:
        import socket

        listener = kept_socket(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(b"")  # the system chooses an abstract address
        listener.listen(128)
        self._listener = listener
        self._thread = threading.Thread(target=self._serve, args=(listener,), daemon=True)
        self._thread.start()

    def _serve(self, listener: socket.socket) -> None:
        import signal

        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return  # stop() has shut the listener down
            with sock:
                try:
                    sock.settimeout(10)
                    self._hand_out(sock)
                except OSError as error:
                    util.sub_warning("a descriptor could not be handed out: %s", error)

    def _hand_out(self, sock: socket.socket) -> None:
        _, user = _peer(sock)
        if user not in (os.geteuid(), 0):
            return
        secret = b""
        while len(secret) < _SECRET:
            piece = sock.recv(_SECRET - len(secret))
            if not piece:
                return
            secret += piece
        with self._lock:
            kept = self._kept.pop(secret, None)
        if kept is None:
            sock.sendall(_REFUSED)
            return
        try:
            kept.hand_out(sock)
        finally:
            kept.close()


def _peer(sock: socket.socket) -> tuple[int, int]:
    """Return the id and the user's id of the process at the other end."""
    import socket
    import struct

    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, user, _ = struct.unpack("3i", credentials)
    return pid, user


_resource_sharer = _ResourceSharer()
stop = _resource_sharer.stop
