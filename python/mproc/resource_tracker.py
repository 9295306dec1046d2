"""Names in the system that are to be removed when everybody who could do it is dead.

What mproc makes itself needs none of this: the family knows its segments, and its watcher removes
what is left of them when the last of its processes has ended, SIGKILL included. This module lets
programs put other names under the same care: a segment made by shm_open(), a named semaphore.

It is not the standard library's tracker: there is no process of its own, and attaching a
SharedMemory registers nothing. So the well-known unregister() after attaching is not needed, and
does no harm.
"""

from __future__ import annotations

from contextlib import suppress

from ._mproc import Segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ensure_running", "register", "unregister"]

# Where in /dev/shm a resource of each type has its file.
_FILE_OF: dict[str, Callable[[str], str]] = {
    "shared_memory": lambda name: name,
    "semaphore": lambda name: f"sem.{name.lstrip('/')}",
}

_registered: set[tuple[str, str]] = set()


def _file_of(name: str, rtype: str) -> str:
    if rtype not in _FILE_OF:
        raise ValueError(f"unknown resource type {rtype!r}; there are {', '.join(_FILE_OF)}")
    return _FILE_OF[rtype](name)


def register(name: str, rtype: str) -> None:
    """Have a name removed when this process and its family have ended, unless it is gone by then.

    rtype: "shared_memory" or "semaphore". The name has to be there, and stays as long as any member
    of the family lives. ValueError: another rtype. FileNotFoundError: there is no such name.
    """
    file = _file_of(name, rtype)
    Segment.claim(file)
    _registered.add((file, rtype))


def unregister(name: str, rtype: str) -> None:
    """Take a register() back that this process has made, or one that it was forked from.

    Of names that nobody has registered, such as those of segments that mproc made, nothing changes.
    ValueError: an rtype that there is not.
    """
    entry = (_file_of(name, rtype), rtype)
    if entry in _registered:
        _registered.discard(entry)
        with suppress(FileNotFoundError):
            Segment.keep(entry[0])


def ensure_running() -> None:
    """Do nothing: the watcher is started by what it has to watch, and anew if it was killed."""
