"""What only looks like a deadlock is none in `mproc locks`."""

from __future__ import annotations

import ctypes
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import mproc
from mproc import inspect

# ---------------------------------------------------------------- what the programs do


def start(target: Callable[..., None], *args: Any) -> int:
    process = mproc.get_context("fork").Process(target=target, args=args, daemon=True)
    process.start()
    pid = process.pid
    assert pid is not None
    return pid


def ready() -> None:
    print("ready", flush=True)


def wait_until_seen(pid: int, words: str) -> None:
    while not any(w["pid"] == pid and words in w["words"] for w in inspect.family()["waits"]):
        time.sleep(0.01)


def sleep_long() -> None:
    threading.Event().wait()


def stop_a_waiter(wait: Callable[[], Any], words: str) -> int:
    pid = start(wait)
    wait_until_seen(pid, words)
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    return pid


def join(pid: int) -> None:
    ready()
    for child in mproc.active_children():
        if child.pid == pid:
            child.join()


def have_a_handler() -> None:
    """A server waits for SIGTERM in this way, and a program for its alarm."""
    event = mproc.Event()
    signal.signal(signal.SIGTERM, lambda *_: event.set())
    ready()
    event.wait()


def hold_a_lock_that_a_handler_gives_back() -> None:
    lock = mproc.Lock()
    signal.signal(signal.SIGTERM, lambda *_: lock.release())
    lock.acquire()
    ready()
    lock.acquire()


def wait_for_an_alarm() -> None:
    event = mproc.Event()
    signal.signal(signal.SIGALRM, lambda *_: event.set())
    event.wait()


def have_alarms_in_both(method: str) -> None:
    """A child that was not forked has its handler from nobody."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    child = mproc.get_context(method).Process(target=wait_for_an_alarm, daemon=True)
    child.start()
    ready()
    child.join()


def spawn_one_with_an_alarm() -> None:
    have_alarms_in_both("spawn")


def have_one_forked_elsewhere_with_an_alarm() -> None:
    have_alarms_in_both("forkserver")


def have_a_handler_elsewhere() -> None:
    """Another process that waits, too, sets it by a handler."""
    asked, other = mproc.Event(), mproc.Event()

    def handle() -> None:
        signal.signal(signal.SIGUSR1, lambda *_: asked.set())
        other.wait()

    start(handle)
    ready()
    asked.wait()


def notify_one_that_is_stopped() -> None:
    condition = mproc.Condition()

    def wait() -> None:
        with condition:
            condition.wait()

    pid = stop_a_waiter(wait, "waits until it is notified")
    with condition:
        condition.notify()
    join(pid)


def set_and_clear() -> None:
    event = mproc.Event()
    pid = stop_a_waiter(event.wait, "waits until the event")
    event.set()
    event.clear()
    join(pid)


def come_to_one_that_is_stopped() -> None:
    barrier = mproc.Barrier(2)
    pid = stop_a_waiter(barrier.wait, "waits at the barrier")
    barrier.wait()
    join(pid)


def hold_and_die_slowly() -> None:
    """The first thread has ended, and another one of its process will set the event."""
    event = mproc.Event()

    def end_first_thread() -> None:
        threading.Thread(target=sleep_long).start()
        ctypes.CDLL(None).pthread_exit(None)

    pid = os.fork()
    if pid == 0:
        end_first_thread()
    while pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
        time.sleep(0.01)
    ready()
    event.wait()


IN_A_CHILD = r"event .*, which a signal's handler in \S+-1 \(pid \d+\) may do"

APPARENT: list[tuple[Callable[[], None], str]] = [
    (have_a_handler, r"waits until the event .*, which a signal's handler in main \(pid \d+\) may"),
    (
        hold_a_lock_that_a_handler_gives_back,
        r"the lock .*, which it already holds, which a signal's handler in main .* may give",
    ),
    (spawn_one_with_an_alarm, IN_A_CHILD),
    (have_one_forked_elsewhere_with_an_alarm, IN_A_CHILD),
    (have_a_handler_elsewhere, IN_A_CHILD),
    (notify_one_that_is_stopped, r"STOPPED: "),
    (set_and_clear, r"STOPPED: "),
    (come_to_one_that_is_stopped, r"STOPPED: "),
    (hold_and_die_slowly, r"waits until the event .* \(others have it: "),
]


# ---------------------------------------------------------------- the looks


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Any:
    """The pid of a program that has come to its situation."""
    command = [sys.executable, __file__, request.param.__name__]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            yield str(program.pid)
        finally:
            os.killpg(program.pid, signal.SIGKILL)


def look(pid: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [inspect.PROGRAM, "locks", pid], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("stage", "words"),
    APPARENT,
    indirect=["stage"],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_a_look_cannot_know_is_no_deadlock(stage: str, words: str) -> None:
    while not re.search(words, (told := look(stage)).stdout):
        assert "DEADLOCK" not in told.stdout
        time.sleep(0.01)
    for _ in range(5):
        told = look(stage)
        assert (told.returncode, told.stderr) == (0, "")
        assert "DEADLOCK" not in told.stdout


if __name__ == "__main__":
    globals()[sys.argv[1]]()
