"""Pickling for other processes, and passing descriptors to them.

ForkingPickler is pickle with more types. What is registered here (`register(type, reduce)`) holds
for queues and connections, too: their pickler uses the same table.
"""

from __future__ import annotations

import copyreg
import io
import os
import sys

from . import _cpython, _mproc, context
from ._mproc import Child, choose_pickler, hold, reducers

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from pickle import Pickler, loads
    from typing import Any, Protocol

    class _Writable(Protocol):
        def write(self, data: bytes, /) -> object: ...

    class _HasFileno(Protocol):
        def fileno(self) -> int: ...

    class _Detachable(Protocol):
        def detach(self) -> int: ...

else:
    Pickler = _cpython.pickle().Pickler
    loads = _cpython.pickle().loads

__all__ = [
    "HAVE_SEND_HANDLE",
    "DupFd",
    "ForkingPickler",
    "dump",
    "recv_handle",
    "recvfds",
    "register",
    "send_handle",
    "sendfds",
]

HAVE_SEND_HANDLE = True
ACKNOWLEDGE = False  # for programs that ask: nothing is sent back for a descriptor


class _Replaceable(type):
    """Has queues and connections use the dumps or loads that a program sets in ForkingPickler."""

    def __setattr__(cls, name: str, value: object) -> None:
        super().__setattr__(name, value)
        chosen = context._default_context.reducer
        if cls is ForkingPickler is chosen.ForkingPickler and name in ("dumps", "loads"):
            use_pickler(cls)


class ForkingPickler(Pickler, metaclass=_Replaceable):
    """A pickler with the types that were registered by register()."""

    _extra_reducers = reducers

    def __init__(self, file: _Writable, protocol: int | None = None) -> None:
        super().__init__(file, protocol)
        know_sockets()
        buffers = sys.modules.get("mproc.buffers")  # arrays over these go by reference
        of_arrays = {} if buffers is None else buffers.reducers()
        self.dispatch_table = {**of_arrays, **copyreg.dispatch_table, **reducers}

    @classmethod
    def register(cls, type: type, reduce: Callable[[Any], Any]) -> None:
        """Have objects of exactly that type pickled as what reduce(object) returns."""
        reducers[type] = reduce

    @classmethod
    def dumps(cls, obj: object, protocol: int | None = None) -> memoryview:
        """Return the pickle of an object as a buffer."""
        file = io.BytesIO()
        cls(file, protocol).dump(obj)
        return file.getbuffer()

    loads = staticmethod(loads)


register = ForkingPickler.register


_as_made = (vars(ForkingPickler)["dumps"], vars(ForkingPickler)["loads"])


def use_pickler(cls: Any) -> None:
    """Have dumps() and loads() of a class pickle all messages, as a context's `reducer` wants."""
    own = cls is ForkingPickler and (vars(cls)["dumps"], vars(cls)["loads"]) == _as_made
    choose_pickler(None if own else cls)


def dump(obj: object, file: _Writable, protocol: int | None = None) -> None:
    """Write the pickle of an object to a file."""
    ForkingPickler(file, protocol).dump(obj)


# ---- objects of the arena


def refuse_fork_context(obj: object) -> None:
    """Raise RuntimeError if an object that is being pickled was made in the fork context."""
    if getattr(obj, "_is_fork_ctx", False):
        raise RuntimeError(
            "A SemLock created in a fork context is being shared with a process in a spawn"
            " context. This is not supported. Please use the same context to create"
            " multiprocessing objects and Process."
        )


def reduce_handle(handle: Any) -> tuple[Any, ...]:
    """Return what a handle of an arena object is pickled as, for a child that is being started.

    The hold that the child's handle will own is taken here, for the child. As the value of a shared
    container the object is held by that.
    RuntimeError: no child is being started, for only such a child can be given a hold; or the
    object was made in the fork context, since programs rely on that error.
    """
    if _mproc.goes_into_container(handle):
        from pickle import PickleBuffer

        share = PickleBuffer(_mproc.Share(handle.address))
        return rebuild_shared, (type(handle), share), handle.__getstate__() or None
    if (shared := context.share(handle)) is not None:
        return shared
    context.assert_spawning(handle)
    refuse_fork_context(handle)
    address = give_to_child(handle.address)
    # The state comes when the handle is there: it may lead back to it, as a bound method does.
    return rebuild_handle, (type(handle), address), handle.__getstate__() or None


def give_to_child(address: int) -> Any:
    """Take a hold on an object for the child that is being started; return the address to pickle.

    The popen object of a program's own knows nothing of holds. What it starts may be a copy of this
    process, and takes its hold when it unpickles; until then this process has one in its stead,
    as long as the popen object exists.
    """
    popen: Any = context.get_spawning_popen()
    if hasattr(popen, "hold_for"):
        popen.hold_for(address)
        return address
    stead = vars(popen).get("_mproc_holds")
    if stead is None:
        stead = popen._mproc_holds = Child.__new__(Child)
    stead.hold_for(address)
    return _Given(address)


class _Given:
    """The address of an object, for a child that mproc does not start."""

    def __init__(self, address: int) -> None:
        self._address = address

    def __reduce__(self) -> tuple[Any, ...]:
        return _take_given, (_family, self._address)


def _take_given(family: bytes, address: int) -> int:
    """Take the hold that a handle at an address needs, in a child that mproc has not started."""
    if family != _family:
        raise RuntimeError(
            "an object in shared memory cannot be sent to a program that mproc has not started:"
            " only processes that mproc starts, and copies of such, have that memory"
        )
    hold(address)
    return address


_family = os.urandom(16)  # the same in copies of this process


def rebuild_handle(cls: Any, address: int) -> Any:
    """Return the child's handle, without its state."""
    return cls.adopt(address)


def rebuild_shared(cls: Any, share: _mproc.Share) -> Any:
    """Return the reader's handle of an object that a container holds, without its state."""
    hold(share.address)
    return cls.adopt(share.address)


# ---- descriptors


def sendfds(sock: socket.socket, fds: Sequence[int]) -> None:
    """Send descriptors over a Unix socket."""
    import array
    import socket

    data = array.array("i", fds)
    sock.sendmsg([bytes([len(data) % 256])], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, data)])


def recvfds(sock: socket.socket, size: int) -> list[int]:
    """Receive `size` descriptors over a Unix socket.

    EOFError: the other end has disconnected. RuntimeError: other descriptors were sent.
    """
    import array
    import socket

    fds = array.array("i")
    room = socket.CMSG_SPACE(size * fds.itemsize)
    message, ancillary, _, _ = sock.recvmsg(1, room)
    if not message and not ancillary:
        raise EOFError
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    if len(fds) != size or message[0] != len(fds) % 256:
        for fd in fds:
            os.close(fd)
        raise RuntimeError(f"received {len(fds)} descriptors instead of {size}")
    return list(fds)


def _socket_of(conn: _HasFileno) -> socket.socket:
    import socket

    return socket.fromfd(conn.fileno(), socket.AF_UNIX, socket.SOCK_STREAM)


def send_handle(conn: _HasFileno, handle: int, destination_pid: int | None) -> None:
    """Send a descriptor over a connection, which must be a Unix socket. OSError."""
    with _socket_of(conn) as sock:
        sendfds(sock, [handle])


def recv_handle(conn: _HasFileno) -> int:
    """Receive a descriptor over a connection, as recvfds() does. The caller owns it."""
    with _socket_of(conn) as sock:
        return recvfds(sock, 1)[0]


def DupFd(fd: int) -> _Detachable:
    """Return an object to be pickled; its detach() returns a descriptor of the other process."""
    popen = context.get_spawning_popen()
    if popen is not None:
        return popen.DupFd(popen.duplicate_for_child(fd))  # type: ignore[attr-defined, no-any-return]
    from . import resource_sharer

    return resource_sharer.DupFd(fd)


# ---- sockets


def _reduce_socket(sock: socket.socket) -> tuple[Any, ...]:
    return _rebuild_socket, (DupFd(sock.fileno()), sock.family, sock.type, sock.proto)


def _rebuild_socket(duplicate: _Detachable, family: int, type: int, proto: int) -> socket.socket:
    import socket

    return socket.socket(family, type, proto, fileno=duplicate.detach())


def know_sockets() -> None:
    """Make sockets picklable, if the program can have any."""
    if "socket" in sys.modules:
        _register_sockets()


def _register_sockets() -> None:
    """Make sockets picklable; called when the program has imported them."""
    import socket

    reducers.setdefault(socket.socket, _reduce_socket)


def _rebuild_partial(func: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    from functools import partial

    return partial(func, *args, **keywords)


def _reduce_partial(p: Any) -> tuple[Any, ...]:
    """Return what a functools.partial is pickled as, for programs that register it themselves."""
    return _rebuild_partial, (p.func, p.args, p.keywords or {})


def _reduce_method(m: Any) -> tuple[Any, ...]:
    """The same of a bound method."""
    return getattr, (m.__self__, m.__func__.__name__)


def _reduce_method_descriptor(m: Any) -> tuple[Any, ...]:
    """The same of a method of a type that is made in C."""
    return getattr, (m.__objclass__, m.__name__)


class AbstractReducer:
    """The base of objects with another ForkingPickler, which can be a context's `reducer`."""

    ForkingPickler = ForkingPickler
    register = staticmethod(register)
    dump = staticmethod(dump)
    send_handle = staticmethod(send_handle)
    recv_handle = staticmethod(recv_handle)
    sendfds = staticmethod(sendfds)
    recvfds = staticmethod(recvfds)
    DupFd = staticmethod(DupFd)
    _reduce_socket = staticmethod(_reduce_socket)
    _rebuild_socket = staticmethod(_rebuild_socket)
    _reduce_method = staticmethod(_reduce_method)
    _reduce_method_descriptor = staticmethod(_reduce_method_descriptor)
    _rebuild_partial = staticmethod(_rebuild_partial)
