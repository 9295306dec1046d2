"""Descriptors that the package keeps.

A program that was started without standard input, output or error gets their numbers from the
system for whatever it opens next. Nothing that is kept may be there: what the program writes to its
standard error would go into it. The C library sees to its own descriptors.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

__all__ = ["kept", "kept_pipe", "kept_socket"]

_FIRST = 3  # the first number that is none of a standard stream


def kept(owned: int) -> int:
    """Return the descriptor, or another one for the same thing, whose number is 3 or higher.

    The one given is closed then. OSError: there is no such number left.
    """
    if owned >= _FIRST:
        return owned
    import fcntl

    try:
        return fcntl.fcntl(owned, fcntl.F_DUPFD_CLOEXEC, _FIRST)
    finally:
        os.close(owned)


def kept_pipe() -> tuple[int, int]:
    """Return the reading and the writing end of a new pipe."""
    reader, writer = os.pipe()
    return kept(reader), kept(writer)


def kept_socket(owned: socket.socket) -> socket.socket:
    """The same for a socket that has just been made."""
    if owned.fileno() >= _FIRST:
        return owned
    return type(owned)(owned.family, owned.type, owned.proto, kept(owned.detach()))
