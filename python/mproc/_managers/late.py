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
"""

from __future__ import annotations

import os
from _thread import allocate_lock as _allocate_lock

from .. import _current, managers, process, util
from .._cpython import WeakSet, ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._mproc import Connection
    from .life import Life


_SEGMENT = "n"  # begins the key of the record that a segment's name is noted under


class Late:
    """What a manager has whose server is started when it is first needed."""

    def __init__(self, manager: managers.BaseManager) -> None:
        self._pid = os.getpid()
        self._starting = _allocate_lock()
        _lates.add(self)
        self._server: tuple[process.BaseProcess, Connection] | None = None
        self._waiting: process.BaseProcess | None = manager._new_process()
        self._state = manager._state
        self._life: Life | None = None
        self._address: Any = manager._address
        self._known_address = manager._address
        if self._address is None:
            self._address = managers._some_address()
            self._known_address = self._address.encode()  # as the server will call it
            manager._address = self._known_address
            manager._know_key()
        manager._state.value = managers.State.STARTED
        manager.shutdown = util.Finalize(
            manager, self._shut_down, args=(manager._shutdown_timeout,), exitpriority=0
        )
        known = ref(manager)

        def start() -> None:
            found = known()
            if found is not None and os.getpid() == self._pid:
                self.need_server(found)

        self.start_server = start
        _current.before_listing.append(start)

    @classmethod
    def start(cls, manager: managers.BaseManager) -> None:
        """Start a manager; one with an address has a server at once. OSError: there is none."""
        wanted = manager._address
        late = manager._late = cls(manager)
        if wanted is None:
            return
        try:
            late.need_server(manager)
            manager._know_key()
        except BaseException:
            manager.shutdown()
            del manager.shutdown
            manager._late, manager._address = None, wanted
            manager._state.value = managers.State.INITIAL
            raise

    @property
    def life(self) -> Life:
        """The manager's Life, which begins now if it has not. ConnectionRefusedError: too late."""
        if self._life is None:
            from . import life

            mine = life.begin(self._known_address)
            begun: Life = self.__dict__.setdefault("_begun", mine)  # a lock could be ours already
            self._life = begun
            if self._state.value != managers.State.STARTED:
                begun.end()
                life.raise_dead()
        return self._life

    def _shut_down(self, timeout: float) -> None:
        self._state.value = managers.State.SHUTDOWN
        if self._life is not None:
            self._unlink_segments(self._life)
            self._life.end()
        self._waiting = None
        _current.before_listing.remove(self.start_server)
        if self._server is not None:
            server, starter = self._server
            managers.BaseManager._finalize_manager(server, self._state, starter, timeout)

    # -- the server

    def has_server(self) -> bool:
        """Return whether the server has been started, as far as this process knows."""
        return self._server is not None or (
            self._life is not None and self._life.record.get("server") is not None
        )

    def need_server(self, manager: managers.BaseManager) -> None:
        """Start the server, unless it has been started or the manager has been shut down."""
        if self._server is not None or self._state.value != managers.State.STARTED:
            return
        with self._starting:
            if self._server is None and self.life.record.get("server") is None:
                if os.getpid() == self._pid:
                    assert self._waiting is not None
                    manager._address = self._address
                    self._server = manager._start_server(self._waiting)
                    self.life.record["address"] = manager._address
                    self.life.record["server"] = True
                    self._hand_over_segments(manager)
                else:
                    self._start_own(manager)

    def _start_own(self, manager: managers.BaseManager) -> None:
        """Start a server for a forked child that the manager's process has no server for."""
        manager._address = None
        mine = process.current_process()._config
        daemon = mine.pop("daemon", None)  # a worker of a pool may have this child
        try:
            self._server = server, starter = manager._start_server(manager._new_process())
        finally:
            if daemon is not None:
                mine["daemon"] = daemon
        manager._know_key()
        util.Finalize(
            manager,
            managers.BaseManager._finalize_manager,
            args=(server, managers.State(), starter, manager._shutdown_timeout),
            exitpriority=0,
        )

    # -- segments of a SharedMemoryManager

    def note_segment(self, name: str) -> bool:
        """Note the name of a segment, unless there is a server to do it; return whether noted."""
        if self.has_server():
            return False
        self.life.record[_SEGMENT + name] = True
        return True

    def _take_segments(self, life: Life) -> list[str]:
        """Return the names that were noted, and forget them."""
        noted = [key for key in life.record._list_keys() if key.startswith(_SEGMENT)]
        taken = [key for key in noted if life.record.pop(key, None)]
        return [key.removeprefix(_SEGMENT) for key in taken]

    def _hand_over_segments(self, manager: managers.BaseManager) -> None:
        """Have the server note what was noted before it was started."""
        for name in self._take_segments(self.life):
            manager._peer().ask("track_segment", name)

    def _unlink_segments(self, life: Life) -> None:
        for name in self._take_segments(life):
            from .shared import unlink_segment

            unlink_segment(name)

    # -- objects

    def make(self, manager: managers.BaseManager, typeid: str, args: Any, kwds: Any) -> Any:
        """Return a proxy of a new object in the arena; None: the server has to make it."""
        from .direct import type_of
        from .proxies import direct_proxy

        kind = type_of(typeid)
        registered = manager._registry.get(typeid)
        if (
            kind is None
            or registered is not managers._own_registry()[typeid]
            or self._state.value != managers.State.STARTED
        ):
            return None
        try:
            direct = kind.made(self.life, typeid, *args, **kwds)
        except Exception:
            if any(hasattr(arg, "__next__") for arg in args):
                raise  # an iterator has nothing more to give
            return None  # the server raises what is right
        return direct_proxy(kind.shown or registered[-1], direct, manager)

    def _objects(self) -> list[str]:
        if self._life is None:
            return []
        from .life import objects_of

        return objects_of(self._life)

    def number_of_objects(self) -> int:
        """Return the number of objects in the arena that this process knows of."""
        return len(self._objects())

    def debug_info(self) -> str:
        """Return a text about these objects."""
        lines = []
        for ident in self._objects():
            from .life import known

            direct = known(ident)
            text = "" if direct is None else direct.text()[:75]
            lines.append(f"  {ident}:       refcount=1\n    {text}\n")
        return "".join(lines)


_lates: WeakSet[Late] = WeakSet()


def need_server(life: Life) -> None:
    """Start a manager's server if this is the manager's process, as for whoever asks for it."""
    for late in [*_lates]:
        if late._life is life:
            late.start_server()


def _before_fork() -> None:
    for late in [*_lates]:
        if late._state.value == managers.State.STARTED:
            try:
                _ = late.life
            except ConnectionRefusedError:
                continue  # another thread has shut it down


def _after_fork_in_child() -> None:
    for late in _lates:
        late._starting = _allocate_lock()  # another thread of the parent may have had it


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
