"""Which processes a process has started, and whether they have ended: for the tests beside this."""

import contextlib
import os
import time
from pathlib import Path


def children(pid):
    """Return the children of a process."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def descendants(pid):
    """Return its children, theirs, and so on."""
    return [one for child in children(pid) for one in (child, *descendants(child))]


def with_variable(name, value):
    """Return the processes that were started with a variable of the environment."""
    wanted = f"{name}={value}".encode()
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(int(pid))
    return sorted(found)


def is_alive(pid):
    """Return whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def await_end_of(pids, seconds):
    """Wait until none of the processes runs."""
    end = time.monotonic() + seconds
    while alive := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < end, f"these still run after {seconds} s: {alive}"
        time.sleep(0.1)
