"""Ends what Ray leaves behind when the program that has started it is killed.

usage: python -m mproc.engines.ray_watch PID

Ray has its servers end with the program. But the agents that its raylet has started notice that by
themselves, and wait for a minute then for the server of the head, which has ended, too. This is a
process that the program starts before Ray. It notes what the raylets of the program have started,
again and again until stdin says STARTED; when that says ENDED, or the program has ended, it kills
what is left.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from pathlib import Path

from .. import _mproc

__all__ = ["ENDED", "STARTED", "main"]

STARTED, ENDED = b"+", b"-"
LOOK = 0.1  # seconds between two looks while Ray starts
RAYLET = "raylet"


def main() -> None:
    """Watch the process that the command line names, which is the parent."""
    program = int(sys.argv[1])
    end = _mproc.pidfd_open(program)
    if os.getppid() != program:
        return
    kept: dict[int, int] = {}
    news = sys.stdin.fileno()
    pause: float | None = LOOK
    while True:
        ready, _, _ = select.select([end, news], [], [], pause)
        if pause is not None:
            _note(program, kept)
        if end in ready or (news in ready and os.read(news, 1) != STARTED):
            break
        if ready:
            pause = None
    for descriptor in kept.values():
        with contextlib.suppress(OSError):
            _mproc.pidfd_send_signal(descriptor, signal.SIGKILL)


def _note(program: int, kept: dict[int, int]) -> None:
    """Keep descriptors of what the program's raylets have started."""
    for raylet in _children(program):
        if _name(raylet) == RAYLET:
            for pid in _children(raylet):
                if pid not in kept:
                    with contextlib.suppress(OSError):
                        kept[pid] = _mproc.pidfd_open(pid)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
