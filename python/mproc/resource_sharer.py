"""Passing descriptors to processes that run already.

A descriptor cannot be written into a pickle. A DupFd keeps a duplicate of it in this process. It is
pickled as the address of a Unix socket of this process, and a secret. The process that unpickles it
connects, sends the secret, and gets the descriptor. The socket's address is abstract, so no file is
left behind. A thread in the background serves the socket, from the first DupFd on until stop(), or
until the process ends.

A secret is good for processes of the same user only, which is checked, and only once. The answer is
one byte: 1 and the descriptor, or 0 for a secret that is good no more.

A process that dies closes its sockets a moment before others can see that it has ended. A program
that meets the lost connection asks which of its processes died, and must find one. So the error is
raised when the death can be seen.
"""

from __future__ import annotations

import os
import threading

from . import reduction, util
from ._descriptor import kept, kept_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

__all__ = ["DupFd", "stop"]

_SECRET = 16  # bytes
_REFUSED = b"\0"
_ENDS_WITHIN = 1000  # ms from the loss of a connection to the end of the process that had it


class DupFd:
    """A descriptor that another process can fetch, once."""

    def __init__(self, fd: int) -> None:
        self._address, self._secret = _resource_sharer.register(kept(os.dup(fd)))
        self._owner = os.getpid()

    def detach(self) -> int:
        """Fetch the descriptor. The caller owns it from now on.

        OSError (ConnectionRefusedError): the process that has it has ended. ValueError: it has been
        fetched already.
        """
        try:
            return self._fetch()
        except ConnectionError:
            _wait_for_end(self._owner)
            raise

    def _fetch(self) -> int:
        import errno
        import socket

        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            try:
                sock.connect(self._address)
            except ConnectionRefusedError as error:
                raise _sender_is_gone(error) from None
            sock.sendall(self._secret)
            answer = sock.recv(1, socket.MSG_PEEK)
            if answer == _REFUSED:
                raise ValueError(
                    "the descriptor has been fetched already: pickle it again for each process"
                )
            if not answer:
                raise ConnectionResetError(
                    errno.ECONNRESET,
                    f"process {self._owner}, which has the descriptor, closed the connection",
                )
            return reduction.recvfds(sock, 1)[0]


def _wait_for_end(pid: int) -> None:
    """Return when a process has ended, or does not seem to."""
    import select

    if pid == os.getpid():
        return
    try:
        pidfd = os.pidfd_open(pid)
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
    """The descriptors that wait to be fetched, and the thread that hands them out."""

    def __init__(self) -> None:
        self._reset()
        util.register_after_fork(self, _ResourceSharer._after_fork)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._fds: dict[bytes, int] = {}
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def _after_fork(self) -> None:
        """Close a forked child's copies of the descriptors, which the parent hands out."""
        for fd in self._fds.values():
            os.close(fd)
        if self._listener is not None:
            self._listener.close()
        self._reset()

    def register(self, fd: int) -> tuple[bytes, bytes]:
        """Keep a descriptor until it is fetched; return the address and the secret."""
        secret = os.urandom(_SECRET)
        with self._lock:
            if self._listener is None:
                self._start()
            assert self._listener is not None
            self._fds[secret] = fd
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
            fds, self._fds = self._fds, {}
        for fd in fds.values():
            os.close(fd)

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
        if _user_of(sock) not in (os.geteuid(), 0):
            return
        secret = b""
        while len(secret) < _SECRET:
            piece = sock.recv(_SECRET - len(secret))
            if not piece:
                return
            secret += piece
        with self._lock:
            fd = self._fds.pop(secret, None)
        if fd is None:
            sock.sendall(_REFUSED)
            return
        try:
            reduction.sendfds(sock, [fd])
        finally:
            os.close(fd)


def _user_of(sock: socket.socket) -> int:
    """Return the user id of the process at the other end."""
    import socket
    import struct

    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


_resource_sharer = _ResourceSharer()
stop = _resource_sharer.stop
