"""A look into running families from outside: members, waits, objects, deadlocks, as data.

The facts are those of `python -m mproc ps`, `locks` and `queues`. They are read by another process,
which takes no lock and delays no member. docs/inspect.md says what each field means.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

__all__ = ["PROGRAM", "InspectError", "families", "family"]

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mproc")
"""Path of the program that looks."""


class InspectError(OSError):
    """A family could not be looked at; the text says why."""


def family(pid: int | None = None) -> dict[str, Any]:
    """Return what is seen of the family that a process is a member of; None: the caller's.

    Raises InspectError if there is no such process, if it is in no family, if this user may not
    look at it, or if its family runs on another version of mproc.
    """
    found = _look([str(os.getpid() if pid is None else pid)])
    return found[0]


def families() -> list[dict[str, Any]]:
    """Return what is seen of each family that this user may look at."""
    return _look([])


def _look(arguments: list[str]) -> list[dict[str, Any]]:
    done = subprocess.run([PROGRAM, "ps", "--json", *arguments], capture_output=True, check=False)
    if done.returncode != 0:
        raise InspectError(done.stderr.decode(errors="replace").strip())
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
