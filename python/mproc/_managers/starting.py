"""How a manager's server process is started, what it does first, and how it is ended.

The starter has one end of a pipe, and the server the other. By it the server tells its address, or
what prevents it from serving, and by it the starter says that it is enough.
"""

from __future__ import annotations

from .. import connection, managers, process
from .._cpython import text_of
from ..util import Finalize, debug, info

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from .._mproc import Connection
    from .life import Life


def start(
    manager: managers.BaseManager,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    """Start a manager with a server; raise what prevents that from serving."""
    server, ours = start_server(manager, manager._new_process(), initializer, initargs)
    manager._state.value = managers.State.STARTED
    manager._know_key()
    manager.shutdown = Finalize(
        manager,
        type(manager)._finalize_manager,
        args=(server, manager._state, ours, manager._shutdown_timeout),
        exitpriority=0,
    )


def start_server(
    manager: managers.BaseManager,
    new: process.BaseProcess,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
) -> tuple[process.BaseProcess, Connection]:
    """Start the server in a new process; return this, and what it is told its end by."""
    ours, theirs = connection.Pipe()
    try:
        _start_process(manager, new, theirs, initializer, initargs)
        theirs.close()
        manager._address = _address_from(ours, new)
    except BaseException:
        ours.close()
        theirs.close()
        raise
    manager._process = new
    manager._the_peer = None
    return new, ours


def _start_process(
    manager: managers.BaseManager,
    new: process.BaseProcess,
    theirs: Connection,
    initializer: Callable[..., object] | None,
    initargs: Any,
) -> None:
    if manager._ctx._name == "fork":
        _ = manager._Server  # imported here, once, instead of by every child
    new._args = (
        manager._registry,
        managers._some_address() if manager._address is None else manager._address,
        bytes(manager._authkey),
        manager._serializer,
        theirs,
        initializer,
        initargs,
        None if manager._late is None else manager._late.life,
    )
    new.start()


def _address_from(ours: Connection, server: process.BaseProcess) -> Any:
    """Wait until the server tells its address; raise what prevented that."""
    # The server's end may also be open in other children, so there need not be an end of file.
    if ours not in connection.wait([ours, server.sentinel]) and not ours.poll():
        server.join()
        raise EOFError(f"{server.name} ended before it served, with exit code {server.exitcode}")
    try:
        kind, what, *text = ours.recv()
    except EOFError:
        server.join()
        raise EOFError(
            f"{server.name} ended before it served, with exit code {server.exitcode}"
        ) from None
    if kind == "serving":
        return what
    server.join()
    if kind == "text":
        from .wire import RemoteError

        raise RemoteError(*text)
    what.add_note(f"in {server.name}:\n{text[0]}")
    raise what


def run(
    cls: type[managers.BaseManager],
    registry: dict[str, Any],
    address: Any,
    authkey: bytes,
    serializer: str,
    starter: Connection,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    life: Life | None,
) -> None:
    """Be the server, until the starter says that it is enough, or has gone.

    life: that of the manager, if it has objects in the family's shared memory.
    """
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if initializer is not None:
            initializer(*initargs)
        process.current_process().authkey = authkey
        server = cls._Server(registry, address, authkey, serializer)
        server.life = life
        if life is not None:
            from .life import give_back_inherited

            give_back_inherited(life)
    except Exception as error:
        _send_error(starter, error)
        raise SystemExit(1) from None
    debug("manager serving at %r", server.address)
    process.current_process()._manager_server = server  # type: ignore[attr-defined]
    starter.send(("serving", server.address))
    parent = process.parent_process()
    server.serve(starter, *(() if parent is None else (parent.sentinel,)))


def _send_error(starter: Connection, error: Exception) -> None:
    """Tell the starter why there is no server; as text, if it cannot be sent otherwise."""
    from ..reduction import ForkingPickler

    text = text_of(error)
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
        starter.send(("error", error, text))
    except Exception:
        starter.send(("text", None, text))


def end(
    server: process.BaseProcess, state: managers.State, starter: Connection, timeout: float
) -> None:
    """End the server process: by asking, SIGTERM, SIGKILL."""
    state.value = managers.State.SHUTDOWN
    _ask_to_stop(starter)
    if server.is_alive():
        server.join(timeout)
        for force in (server.terminate, server.kill):
            if server.is_alive():
                info("manager still alive after %s s", timeout)
                force()
                server.join(timeout if force == server.terminate else None)


def _ask_to_stop(starter: Connection) -> None:
    """Tell the server that it is enough. Closing alone would not: children may have copies."""
    try:
        starter.send("stop")
    except OSError:
        return  # it has ended
    finally:
        starter.close()


# ---- what makes connections


def listener_client(serializer: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return what makes listeners and clients of that serializer."""
    table = vars(managers).get("listener_client") or make_listener_client()
    found: tuple[Callable[..., Any], Callable[..., Any]] = table[serializer]
    return found


def make_listener_client() -> dict[str, tuple[Callable[..., Any], Callable[..., Any]]]:
    """Return what makes connections, by serializer; programs may add to it."""
    return {
        "pickle": (connection.Listener, connection.Client),
        "xmlrpclib": (connection.XmlListener, connection.XmlClient),
    }
