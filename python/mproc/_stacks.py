"""A process that says where its threads are when it is asked by a signal: for `mproc stacks`.

A looker sends SIGURG to a process that has a file "mproc-stacks" of memory open and handles that
signal, and reads what faulthandler writes into the file (src/system/os_answer.c). The signal is one
that is ignored by who has no handler, and the system sends it for urgent data of sockets only, to
programs that ask for it. Children that are forked have the file and the handler, too.
"""

from __future__ import annotations

import os

__all__ = ["answer", "answer_if_asked"]

_SIGNAL = 23  # SIGURG: enum members cost the start of each program
_file = -1


def answer() -> None:
    """Answer from now on. RuntimeError: the program handles SIGURG itself."""
    global _file
    if _file >= 0 and _is_ours(_file):
        return
    if _handles(_SIGNAL):
        raise RuntimeError("mproc: stacks cannot be asked for: this process handles SIGURG itself")
    import faulthandler
    import fcntl

    from . import _mproc

    file = _mproc.memfd_create("mproc-stacks")
    if file < 3:  # what is written to a stream that the program closed does not belong there
        low, file = file, fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(low)
    # A looker empties it before it asks.
    fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)
    faulthandler.register(_SIGNAL, file=file, all_threads=True)
    _file = file


def answer_if_asked(wanted: str) -> None:
    """Answer if MPROC_STACKS, with that value, asks for it. What is wrong is a warning."""
    import warnings

    if wanted == "1":
        try:
            answer()
        except (OSError, RuntimeError) as error:
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)
    elif wanted not in ("", "0"):
        warnings.warn(
            f"mproc: MPROC_STACKS is {wanted!r}: 1 lets `mproc stacks` ask the program, 0 does not",
            RuntimeWarning,
            stacklevel=2,
        )


def _handles(number: int) -> bool:
    """Return whether there is a handler, also one that was not made by `signal`."""
    with open("/proc/self/status") as status:
        caught = next((line for line in status if line.startswith("SigCgt:")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def _is_ours(file: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{file}").startswith("/memfd:mproc-stacks")
    except OSError:
        return False
