"""The processes of one trial: leader, its group, and orphans that this process has adopted.

Nothing else is ever signalled. The leader is reaped last, so its number, which is also the group's,
cannot belong to another process before that. A process is signalled through a pidfd, and only after
it was found to belong to the trial while the pidfd was open. A group must be led by a child of this
process: numbers such as 0, the group of init and of kernel threads, are refused.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from pathlib import Path

KILL_TIME = 10.0  # s after which processes that survive SIGKILL are given up


class NotOurs(Exception):
    """The group is not led by a child of this process."""


def stat_fields(pid: int) -> tuple[str, str, int, int] | None:
    """Command, state, parent and group of a process; None if it has gone."""
    try:
        text = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return None
    command, _, rest = text.partition("(")[2].rpartition(")")
    state, parent, group = rest.split()[:3]
    return command, state, int(parent), int(group)


def check_leader(leader: int) -> None:
    """Raises NotOurs unless it is an unreaped child of this process that leads its own group."""
    facts = stat_fields(leader) if leader > 1 else None
    if facts is None or facts[2] != os.getpid() or facts[3] != leader:
        raise NotOurs(f"process {leader} is not a group leader started here")


def is_ours(pid: int, leader: int) -> bool:
    """Whether it lives and is in the leader's group, or is an orphan that this process adopted."""
    facts = stat_fields(pid)
    if facts is None or pid == leader or facts[1] in "ZX":
        return False
    # check_leader refuses groups 0 and 1 already; this refuses them a second time.
    return facts[2] == os.getpid() or (leader > 1 and facts[3] == leader)


def living(leader: int) -> list[int]:
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if is_ours(pid, leader)]


def reap(leader: int) -> None:
    """Takes the exit codes of dead orphans."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        facts = stat_fields(int(name))
        if facts and facts[1] == "Z" and facts[2] == os.getpid() and int(name) != leader:
            os.waitpid(int(name), os.WNOHANG)


def describe(pid: int) -> str:
    try:
        words = Path("/proc", str(pid), "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        words = ""
    return f"process {pid}: {words.replace(chr(0), ' ').strip()[:150]}"


def kill(pid: int, leader: int) -> None:
    """Kills a process of the trial; another process that has its number by now gets no signal."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if is_ours(pid, leader):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def end_all(leader: int, grace: float) -> list[str]:
    """Waits until the leader's processes have ended; kills those that do not, and names them."""
    check_leader(leader)
    late = [describe(pid) for pid in wait_gone(leader, grace)]
    deadline = time.monotonic() + KILL_TIME
    while (alive := living(leader)) and time.monotonic() < deadline:
        for pid in alive:
            kill(pid, leader)
        time.sleep(0.02)
    reap(leader)
    return late


def wait_gone(leader: int, grace: float) -> list[int]:
    deadline = time.monotonic() + grace
    while (alive := living(leader)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive


def exited(process: subprocess.Popen[bytes], timeout: float) -> bool:
    """Whether the child ends within the time; it is not reaped."""
    pidfd = os.pidfd_open(process.pid)
    try:
        return bool(select.select([pidfd], [], [], timeout)[0])
    finally:
        os.close(pidfd)


def ask_for_tracebacks(process: subprocess.Popen[bytes], patience: float) -> None:
    """SIGABRT, at which faulthandler prints tracebacks; then SIGKILL."""
    process.send_signal(signal.SIGABRT)
    if not exited(process, patience):
        process.kill()
        exited(process, patience)
