"""Where threads wait in Python, as those see who look from outside without any other tool."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import mproc
from mproc import inspect

NO_TOOLS = {**os.environ, "PATH": ""}


def stacks(pid: int) -> list[list[str]]:
    return [w["stack"] for w in inspect.family()["waits"] if w["pid"] == pid and w["stack"]]


def until_told(pid: int, count: int = 1) -> list[list[str]]:
    """Look until so many threads tell where they wait; the test's watchdog ends it otherwise."""
    while len(told := stacks(pid)) != count:
        time.sleep(0.01)
    return told


def line_of(function: Any, further: int) -> str:
    return f"{__file__}:{function.__code__.co_firstlineno + further}"


def take(lock: Any) -> None:
    lock.acquire()


def serve(lock: Any) -> None:
    take(lock)


@contextlib.contextmanager
def serving(context: Any, lock: Any) -> Iterator[Any]:
    child = context.Process(target=serve, args=(lock,), name="server")
    child.start()
    try:
        yield child
    finally:
        child.kill()
        child.join()


def test_a_child_tells_where_it_waits(ctx: Any) -> None:
    lock = ctx.Lock()
    with lock, serving(ctx, lock) as child:
        (told,) = until_told(child.pid)
        assert told[:2] == [f"take ({line_of(take, 1)})", f"serve ({line_of(serve, 1)})"]
        assert not [line for line in told if "mproc/process.py" in line]


def look(*arguments: str) -> str:
    command = [inspect.PROGRAM, *arguments, str(os.getpid())]
    done = subprocess.run(command, env=NO_TOOLS, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


def test_every_form_says_it_without_a_tool(tmp_path: Any) -> None:
    context = mproc.get_context("fork")
    lock = context.Lock()
    with lock, serving(context, lock) as child:
        until_told(child.pid)
        place, outer = f"take ({line_of(take, 1)})", f"serve ({line_of(serve, 1)})"
        assert f"\n    in {place}\n" in look("locks")
        assert f"\n    {place}\n    {outer}\n" in look("stacks")
        (seen,) = json.loads(look("ps", "--json"))
        assert [place, outer] in [(w["stack"] or [])[:2] for w in seen["waits"]]
        look("report", "-o", str(tmp_path / "page.html"))
        assert f"    {place}\n    {outer}\n" in (tmp_path / "page.html").read_text()


def test_a_watchdog_tells_it() -> None:
    program = (
        "import mproc\n"
        "def jam(lock):\n"
        "    lock.acquire()\n"
        "lock = mproc.get_context('fork').Lock()\n"
        "lock.acquire()\n"
        "mproc.log_deadlocks(after=0.3, abort=True)\n"
        "jam(lock)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], env=NO_TOOLS, capture_output=True, text=True, check=False
    )
    assert told.returncode == -signal.SIGABRT
    assert "    jam (<string>:3)\n    <module> (<string>:7)\n" in told.stderr


def test_threads_tell_each_for_itself_and_take_it_back() -> None:
    event: Any = mproc.Event()
    threads = [threading.Thread(target=event.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    told = until_told(os.getpid(), 3)
    assert all("threading.py" in lines[0] for lines in told)
    assert inspect.family()["arena"]["kinds"]["stack"]["blocks"] == 3
    event.set()
    for thread in threads:
        thread.join()
    assert "stack" not in inspect.family()["arena"]["kinds"]


def test_short_waits_tell_nothing() -> None:
    event: Any = mproc.Event()
    for _ in range(5):
        event.wait(0.02)
        assert "stack" not in inspect.family()["arena"]["kinds"]


def test_a_handler_that_waits_tells_of_itself() -> None:
    outer: Any = mproc.Event()
    inner: Any = mproc.Event()

    def in_handler(*_: Any) -> None:
        inner.wait()

    seen: list[list[list[str]]] = []

    def look_on() -> None:
        seen.append(until_told(os.getpid()))
        os.kill(os.getpid(), signal.SIGUSR1)
        while "in_handler" not in (told := until_told(os.getpid()))[0][0]:
            time.sleep(0.01)
        seen.append(told)
        inner.set()
        while "in_handler" in (told := until_told(os.getpid()))[0][0]:
            time.sleep(0.01)
        seen.append(told)
        outer.set()

    before = signal.signal(signal.SIGUSR1, in_handler)
    onlooker = threading.Thread(target=look_on)
    onlooker.start()
    try:
        outer.wait()
    finally:
        onlooker.join()
        signal.signal(signal.SIGUSR1, before)
    first, _, last = seen
    assert first == last
    assert "stack" not in inspect.family()["arena"]["kinds"]


def test_names_that_are_no_text_and_long_ones_do_no_harm() -> None:
    event: Any = mproc.Event()
    scope: dict[str, Any] = {}
    for name in ("x" * 300 + ".py", "\udcff.py"):
        exec(compile("def far(event):\n    event.wait()\n", name, "exec"), scope)
        thread = threading.Thread(target=scope["far"], args=(event,))
        thread.start()
        (told,) = until_told(os.getpid())
        assert told[0].startswith("far (") and told[0].endswith(":2)")
        event.set()
        thread.join()
        event.clear()


@pytest.mark.parametrize("depth", [5, 300])
def test_deep_stacks_are_cut_off_at_their_outer_end(depth: int) -> None:
    event: Any = mproc.Event()

    def dive(left: int) -> None:
        if left > 0:
            dive(left - 1)
        else:
            event.wait()

    thread = threading.Thread(target=dive, args=(depth,))
    thread.start()
    (told,) = until_told(os.getpid())
    event.set()
    thread.join()
    assert told[0].split(" ")[0].endswith("dive")
    assert len("\n".join(told)) <= 1000


def test_a_thread_that_waits_while_the_interpreter_ends_keeps_nobody() -> None:
    program = (
        "import mproc, threading, time\n"
        "event = mproc.Event()\n"
        "for _ in range(4):\n"
        "    threading.Thread(target=event.wait, daemon=True).start()\n"
        "time.sleep(0.06)\n"
    )
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=50)
        assert (done.returncode, done.stderr) == (0, b"")


def fork_and_end(event: Any) -> None:
    event.wait(0.3)


def test_a_child_that_is_forked_meanwhile_gives_the_words_back_with_its_end() -> None:
    context = mproc.get_context("fork")
    event = context.Event()
    thread = threading.Thread(target=event.wait)
    thread.start()
    until_told(os.getpid())
    child = context.Process(target=fork_and_end, args=(context.Event(),))
    child.start()
    event.set()
    thread.join()
    child.join()
    assert "stack" not in inspect.family()["arena"]["kinds"]
