"""A look into running families from outside: members, waits, objects, deadlocks, as data.

The facts are those of `python -m mproc ps`, `locks` and `queues`. They are read by copies of the
arena: that takes no lock and delays no member. docs/inspect.md says what each field means.
"""

from __future__ import annotations

import json
import os
from typing import Any

from . import _mproc, _stacks

__all__ = [
    "PROGRAM",
    "InspectError",
    "answer_stacks",
    "families",
    "family",
    "log_deadlocks",
    "name_of",
    "origin_of",
    "set_name",
]

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mproc")
"""Path of the program that looks."""


class InspectError(OSError):
    """A family could not be looked at; the text says why."""


def family(pid: int | None = None) -> dict[str, Any]:
    """Return what is seen of the family that a process is a member of; None: the caller's.

    Raises InspectError if there is no such process, if it is in no family, if this user may not
    look at it, or if its family runs on another version of mproc.
    """
    who = os.getpid() if pid is None else pid
    code, told = _mproc.inspect_json(who)
    if code != 0:
        raise InspectError(f"mproc: {who}: {told}")
    found: dict[str, Any] = json.loads(told)
    return found


def families() -> list[dict[str, Any]]:
    """Return what is seen of each family that this user may look at.

    One that cannot be looked at is left out. OSError: there is no /proc to look for them.
    """
    looks = [_mproc.inspect_json(pid) for pid in _mproc.inspect_families()]
    return [json.loads(told) for code, told in looks if code == 0]


def log_deadlocks(after: float = 10, abort: bool = False) -> None:
    """Have this family tell on stderr when somebody has waited `after` seconds, and why.

    Told are threads that nobody will wake, and those that wait for a lock or a stopped process,
    with stacks as far as they can be had; each wait once. abort: a family that has a deadlock is
    then ended by SIGABRT. A process of its own looks from outside, until the family has ended; the
    first call of a family counts. MPROC_WATCHDOG=10 or 10=abort in the environment does the same.
    ValueError: no time. OSError: the process could not be started.
    """
    _mproc.log_deadlocks(after, abort)


def answer_stacks() -> None:
    """Have this process, and the children that it forks, tell `mproc stacks` where its threads are.

    The looker asks by SIGURG, which faulthandler then handles. Only Python before 3.14 needs it,
    and a process whose main thread does not come to run Python. MPROC_STACKS=1 in the environment
    does the same for all processes of a program. RuntimeError: the program handles SIGURG itself.
    """
    _stacks.answer()


# ---- names


def name_of(shared: Any) -> str | None:
    """Return the name of a shared object, or None. TypeError: it is none that has one."""
    return _mproc.get_name(_address(shared))


def set_name(shared: Any, name: str | None) -> None:
    """Give a name to a shared object: a lock, queue, dict, ...; None: none any more.

    It takes the place of an earlier one, for all processes. That of a Value or Array is its lock's.
    ValueError: it has more than 127 bytes in UTF-8, or a null character. TypeError.
    """
    _mproc.set_name(_address(shared), name)


def origin_of(shared: Any) -> str | None:
    """Return "file:line" of where an object was made; None: without MPROC_ORIGIN=1. TypeError."""
    return _mproc.get_origin(_address(shared))


def _address(shared: Any) -> int:
    inside = getattr(shared, "__dict__", {})
    lock = shared.get_lock() if hasattr(type(shared), "get_lock") else None
    for inner in (shared, inside.get("_keys"), inside.get("_shared"), lock):
        address = getattr(inner, "address", None)
        if isinstance(address, int):
            return address
    raise TypeError(f"{type(shared).__name__} is no shared object that can have a name")
