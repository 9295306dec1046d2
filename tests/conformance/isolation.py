"""Isolates a run: a /dev/shm of its own, tripwires over the standard package, its orphans adopted.

In a mount namespace of its own the run sees no other program's shared memory, and even the real
interpreter finds the tripwires in place of its multiprocessing. Where the system forbids such a
namespace, /dev/shm is compared before and after, and the tripwires in the shadow remain.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
PR_SET_CHILD_SUBREAPER = 36
SHM = Path("/dev/shm")

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *args: object) -> None:
    if getattr(libc, name)(*args) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [text.encode() if text is not None else None for text in (source, target, kind)]
    call("mount", *encoded, ctypes.c_ulong(flags), data.encode() if data else None)


def enter_namespace() -> None:
    """Enters a new mount namespace, within a new user namespace where that is necessary."""
    try:
        call("unshare", CLONE_NEWNS)
        return
    except PermissionError:
        uid, gid = os.getuid(), os.getgid()
    call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def enter() -> str:
    """Isolates this process; returns what it could not do, or an empty string."""
    call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        enter_namespace()
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        mount("tmpfs", str(SHM), "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    except OSError as error:
        return f"no private mount namespace ({error}): /dev/shm is shared with other programs"
    return ""


def lay_wires(wires: Path, standard: Path) -> None:
    """From now on any interpreter that imports the standard package meets a tripwire."""
    mount(str(wires), str(standard), None, MS_BIND)


def shm_names() -> set[str]:
    return set(os.listdir(SHM)) if SHM.exists() else set()
