"""Interpreters that are started by path and module, and some that end with their starter.

A process that `start_tied()` starts has the reading end of a pipe, whose writing end only its
starter has. When that has gone, whatever has ended it, a thread of the process kills it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import Any

__all__ = ["command", "main", "start_tied"]


def command(module: str, *arguments: str) -> list[str]:
    """Return the command line of an interpreter that finds this package and runs a module."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    program = (
        f"import sys, runpy; sys.path[:] = [*filter(None, sys.path), {root!r}];"
        f" del sys.argv[0]; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", program, module, *arguments]


def start_tied(module: str, *arguments: str, **how: Any) -> subprocess.Popen[bytes]:
    """Start an interpreter that runs a module and ends with this process."""
    import subprocess

    reader, writer = os.pipe()
    try:
        words = command(__name__, str(reader), module, *arguments)
        process = subprocess.Popen(words, pass_fds=[reader], **how)
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    process.tie = writer  # type: ignore[attr-defined]
    return process


def main() -> None:
    """Run the module that the command line names, tied to the pipe that it names first."""
    import runpy
    import threading

    reader = int(sys.argv[1])
    threading.Thread(target=_watch, args=(reader,), name="mproc-tether", daemon=True).start()
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _watch(reader: int) -> None:
    os.read(reader, 1)
    os.kill(os.getpid(), 9)


if __name__ == "__main__":
    main()
