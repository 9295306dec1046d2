"""Pipes, listeners and clients between threads: pairs of queues."""

from __future__ import annotations

from queue import Empty, Queue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

__all__ = ["Client", "Listener", "Pipe"]

families = [None]


class Connection:
    """One end of a pipe between threads."""

    def __init__(self, _in: Queue[Any], _out: Queue[Any]) -> None:
        self._in = _in
        self._out = _out
        self.send = self.send_bytes = _out.put
        self.recv = self.recv_bytes = _in.get

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Return whether there is something to receive within `timeout` seconds."""
        if self._in.qsize() > 0:
            return True
        if timeout is not None and timeout <= 0:
            return False
        try:
            first = self._in.get(timeout=timeout)
        except Empty:
            return False
        with self._in.mutex:
            self._in.queue.appendleft(first)
            self._in.not_empty.notify()
        return True

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:
    """Return two connected ends."""
    there: Queue[Any] = Queue()
    back: Queue[Any] = Queue()
    return Connection(there, back), Connection(back, there)


class Listener:
    """A listener for clients in the same process; its address is a queue."""

    def __init__(self, address: Any = None, family: Any = None, backlog: int = 1) -> None:
        self._backlog: Queue[Any] | None = Queue(backlog)

    def accept(self) -> Connection:
        """Wait for a client; return the listener's end."""
        if self._backlog is None:
            raise OSError("listener is closed")
        return Connection(*self._backlog.get())

    def close(self) -> None:
        """Accept no more."""
        self._backlog = None

    @property
    def address(self) -> Queue[Any] | None:
        """The address that a client gives to Client()."""
        return self._backlog

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def Client(address: Queue[Any]) -> Connection:
    """Connect to a listener; return the client's end."""
    there: Queue[Any] = Queue()
    back: Queue[Any] = Queue()
    address.put((there, back))
    return Connection(back, there)
