"""A manager that needs no server until somebody needs one.

Its objects lie in the arena (direct/), but for those of types that only a server has, and those
that cannot be made there. The server is started for the first of these, for a program that asks
for its address or process, and when a proxy is pickled for what may be another family. It is also
started when active_children() is called: a program that counts its children finds it. Its name, its
number among the processes and its address are chosen at once.

A manager's Life (life.py) begins with the first object, or before the first fork, so that the
children have the same one.

Only a SyncManager without an initializer and types of one's own is such a manager, or a
SharedMemoryManager without an address: otherwise a program could tell when its server is started. A
SyncManager with an address has its server at once: who knows the address may connect.

A forked child has a copy of the manager. If the server has not been started when it first needs it,
it starts one of its own, which ends with it.

What each such manager has is a `managers.Late`. Here is what not all of them need.
"""

from __future__ import annotations

import os

from .. import managers, process
from .._current import Finalize
from . import starting
from .registry import own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .life import Life

_SEGMENT = "n"  # begins the key of the record that a segment's name is noted under


# ---- its beginning


def begin(late: managers.Late) -> None:
    """Begin the manager's Life, unless another thread has. ConnectionRefusedError: too late."""
    from . import life

    mine = life.begin(late._known_address)
    begun: Life = late.__dict__.setdefault("_begun", mine)  # a lock could be ours already
    late._life = begun
    if late._state.value != managers.State.STARTED:
        begun.end()
        life.raise_dead()


def serve_at(late: managers.Late, manager: managers.BaseManager, address: Any) -> None:
    """Start the server of a manager that a program has given an address. OSError: there is none."""
    try:
        late.need_server(manager)
        manager._know_key()
    except BaseException:
        manager.shutdown()
        del manager.shutdown
        manager._late, manager._address = None, address
        manager._state.value = managers.State.INITIAL
        raise


# ---- the server


def start_server(late: managers.Late, manager: managers.BaseManager) -> None:
    """Start the server of a manager that runs, unless it has been started meanwhile."""
    with late._starting:
        if late._server is None and late.life.record.get("server") is None:
            if os.getpid() == late._pid:
                assert late._waiting is not None
                manager._address = late._address
                late._server = starting.start_server(manager, late._waiting)
                late.life.record["address"] = manager._address
                late.life.record["server"] = True
                _hand_over_segments(late, manager)
            else:
                _start_own(late, manager)


def _start_own(late: managers.Late, manager: managers.BaseManager) -> None:
    """Start a server for a forked child that the manager's process has no server for."""
    manager._address = None
    mine = process.current_process()._config
    daemon = mine.pop("daemon", None)  # a worker of a pool may have this child
    try:
        late._server = server, starter = starting.start_server(manager, manager._new_process())
    finally:
        if daemon is not None:
            mine["daemon"] = daemon
    manager._know_key()
    Finalize(
        manager,
        managers.BaseManager._finalize_manager,
        args=(server, managers.State(), starter, manager._shutdown_timeout),
        exitpriority=0,
    )


def need_server(life: Life) -> None:
    """Start a manager's server if this is the manager's process, as for whoever asks for it."""
    for late in managers.known_lates():
        if late._life is life:
            late.start_server()


# ---- segments of a SharedMemoryManager


def note_segment(late: managers.Late, name: str) -> bool:
    """Note the name of a segment, unless there is a server to do it; return whether noted."""
    if late.has_server():
        return False
    late.life.record[_SEGMENT + name] = True
    return True


def _take_segments(life: Life) -> list[str]:
    """Return the names that were noted, and forget them."""
    noted = [key for key in life.record._list_keys() if key.startswith(_SEGMENT)]
    taken = [key for key in noted if life.record.pop(key, None)]
    return [key.removeprefix(_SEGMENT) for key in taken]


def _hand_over_segments(late: managers.Late, manager: managers.BaseManager) -> None:
    """Have the server note what was noted before it was started."""
    for name in _take_segments(late.life):
        manager._peer().ask("track_segment", name)


# ---- objects


def make(
    late: managers.Late, manager: managers.BaseManager, typeid: str, args: Any, kwds: Any
) -> Any:
    """Return a proxy of a new object in the arena; None: the server has to make it."""
    from .direct import type_of
    from .proxies import direct_proxy

    kind = type_of(typeid)
    registered = manager._registry.get(typeid)
    if (
        kind is None
        or registered is not own()[typeid]
        or late._state.value != managers.State.STARTED
    ):
        return None
    try:
        direct = kind.made(late.life, typeid, *args, **kwds)
    except Exception:
        if any(hasattr(arg, "__next__") for arg in args):
            raise  # an iterator has nothing more to give
        return None  # the server raises what is right
    return direct_proxy(kind.shown or registered[-1], direct, manager)


def end_objects(life: Life) -> None:
    """Unlink the segments that were noted, and end the Life, when its manager shuts down."""
    for name in _take_segments(life):
        from .shared import unlink_segment

        unlink_segment(name)
    life.end()


def _objects(late: managers.Late | None) -> list[str]:
    if late is None or late._life is None:
        return []
    from .life import objects_of

    return objects_of(late._life)


def _has_server(manager: managers.BaseManager) -> bool:
    """Return whether there is a server to be asked, too, which has settled what is on its way."""
    if manager._late is not None and not manager._late.has_server():
        return False
    manager._peer().settle()
    return True


def number_of_objects(manager: managers.BaseManager) -> Any:
    """Return the number of a manager's objects, those in the arena that this process knows of."""
    number = len(_objects(manager._late))
    return number + (manager._peer().ask("number_of_objects") if _has_server(manager) else 0)


def debug_info(manager: managers.BaseManager) -> Any:
    """Return a text about these objects."""
    lines = []
    for ident in _objects(manager._late):
        from .life import known

        direct = known(ident)
        text = "" if direct is None else direct.text()[:75]
        lines.append(f"  {ident}:       refcount=1\n    {text}\n")
    text = "".join(lines)
    return text + (manager._peer().ask("debug_info") if _has_server(manager) else "")
