"""Where the threads of a member are: sys.remote_exec() runs this file in it, for `mproc stacks`.

It is run in a namespace of its own, imports nothing that the program would notice, and waits for
nothing. The looker listens at a socket that has the member's pid in its name
(src/system/os_answer.c). Where nobody listens, or somebody of another user, nothing is said.
"""

from __future__ import annotations

import _thread
import sys

from mproc._cpython import socket_of_c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import Any

__all__: list[str] = []

_socket = socket_of_c()
_MOST = 100_000  # bytes, which a socket takes at once


def _lines(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        if frame.f_globals is not globals():
            yield f"  {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
        frame = frame.f_back


def _threads() -> Iterator[str]:
    threads = dict(getattr(sys.modules.get("threading"), "_active", {}))
    for ident, frame in sys._current_frames().items():
        # The interpreter's first thread runs this, also where nobody has imported threading.
        first = "MainThread" if ident == _thread.get_ident() else f"{ident:#x}"
        name = getattr(threads.get(ident), "name", None) or first
        yield f"thread {name}:"
        yield from _lines(frame)


def _may_know(looker: Any) -> bool:
    import posix

    peer = looker.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(peer[4:8], sys.byteorder) in (0, posix.geteuid())


def _tell() -> None:
    import posix

    looker = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        looker.setblocking(False)
        looker.connect(f"\0mproc-stacks-{posix.getpid()}")
        if _may_know(looker):
            looker.send("\n".join(_threads()).encode("utf-8", "replace")[:_MOST])
    except OSError:
        pass
    finally:
        looker.close()


_tell()
