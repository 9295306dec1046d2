"""`mproc stacks` without a tool: interpreters say themselves where their threads are."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from other_user import NOBODY, as_nobody, program_for_all

import mproc
from mproc import _stacks, inspect

REMOTE = sys.version_info >= (3, 14)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")

SPIN = """
import mproc, signal, sys, time

def spin(*words):
    print(*words, end="", flush=True)
    while True:
        for i in range(1000):
            pass

lock = mproc.Lock()
"""
BUSY = SPIN + "spin('ready\\n')\n"  # it spins already when it says so


@contextlib.contextmanager
def running(source: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A program that is there once it has said so; MPROC_STACKS is what is given."""
    environment = {name: v for name, v in os.environ.items() if name != "MPROC_STACKS"}
    with subprocess.Popen(
        [sys.executable, "-c", source],
        env={**environment, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        try:
            yield program
        finally:
            program.kill()
            program.communicate()


def look(pid: int, *options: str, tools: str = "") -> subprocess.CompletedProcess[str]:
    """What `mproc stacks` says where the only tools are those in the folder `tools`."""
    command = [inspect.PROGRAM, "stacks", *options, str(pid)]
    return subprocess.run(command, env={"PATH": tools}, capture_output=True, text=True, check=False)


def stacks(pid: int, tools: str = "") -> dict[int, Any]:
    told = look(pid, "--json", tools=tools)
    assert (told.returncode, told.stderr) == (0, "")
    (family,) = json.loads(told.stdout)
    return {stack["pid"]: stack for stack in family["stacks"]}


def lines_once_told(pid: int) -> list[str]:
    """Those of a program that may be told to come late: the machine may be busy."""
    while True:
        stack = stacks(pid)[pid]
        if stack["tool"] is not None:
            assert stack["reason"] is None
            return list(stack["lines"])
        assert "5 s" in stack["reason"]


# ---- each way


@pytest.mark.skipif(REMOTE, reason="Python 3.14 needs no signal")
def test_a_program_answers_that_allows_it() -> None:
    with running(BUSY, MPROC_STACKS="1") as program:
        assert any(" in spin" in line for line in lines_once_told(program.pid))
        assert stacks(program.pid)[program.pid]["tool"] == "faulthandler"
        assert " in spin" in look(program.pid).stdout


def test_a_program_that_refuses_scripts_answers_a_signal() -> None:
    with running(BUSY, MPROC_STACKS="1", PYTHON_DISABLE_REMOTE_DEBUG="1") as program:
        assert any(" in spin" in line for line in lines_once_told(program.pid))
        assert stacks(program.pid)[program.pid]["tool"] == "faulthandler"


@pytest.mark.skipif(not REMOTE, reason="sys.remote_exec() is new in Python 3.14")
def test_python_3_14_answers_without_being_prepared() -> None:
    with running(BUSY) as program:
        assert any(line.startswith("  spin (<string>:") for line in lines_once_told(program.pid))
        assert stacks(program.pid)[program.pid]["tool"] == "sys.remote_exec"
        told = look(program.pid).stdout
        assert "  thread MainThread:\n    spin (<string>:" in told
        assert "_stacks_script" not in told


THREADS = (
    SPIN
    + """
import threading
threading.Thread(target=spin, name="worker", daemon=True).start()
event = mproc.Event()
print("ready", flush=True)
event.wait()
"""
)


@pytest.mark.parametrize("stacks_wanted", ["0", "1"])
def test_the_other_threads_of_one_that_waits_are_told(stacks_wanted: str) -> None:
    if stacks_wanted == "0" and not REMOTE:
        pytest.skip("before Python 3.14 a process answers only if it is allowed to")
    with running(THREADS, MPROC_STACKS=stacks_wanted) as program:
        assert any("spin" in line for line in lines_once_told(program.pid))


def spin() -> None:
    while True:
        for _ in range(1000):
            pass


def spin_when_ready(event: Any) -> None:
    _stacks.answer()
    event.set()
    spin()


def test_children_of_each_method_answer(ctx: Any) -> None:
    event = ctx.Event()
    child = ctx.Process(target=spin_when_ready, args=(event,))
    child.start()
    try:
        event.wait()
        while (stack := stacks(os.getpid())[child.pid])["tool"] is None:
            assert "5 s" in stack["reason"]
        assert any("spin" in line for line in stack["lines"])
    finally:
        child.kill()
        child.join()


FORKS = (
    SPIN
    + """
def work(event):
    event.set()
    spin()

context = mproc.get_context("fork")
events = [context.Event() for _ in range(3)]
for event in events:
    context.Process(target=work, args=(event,), daemon=True).start()
for event in events:
    event.wait()
print("ready", flush=True)
sys.stdin.read()
"""
)


@pytest.mark.skipif(REMOTE, reason="scripts are given to one after the other")
def test_lookers_at_once_get_answers_that_are_whole() -> None:
    with running(FORKS, MPROC_STACKS="1") as program:
        command = [inspect.PROGRAM, "stacks", str(program.pid)]
        lookers = [
            subprocess.Popen(command, env={"PATH": ""}, stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        for looker in lookers:
            told = looker.communicate()[0].split("stacks of ")
            for member in told[1:]:
                if "for 5 s" not in member:
                    assert member.count("Current thread") == 1
                    assert member.rstrip().endswith("in <module>")


# ---- who is not asked


COUNTS = (
    SPIN
    + """
count = 0
def note(*_):
    global count
    count += 1

signal.signal(signal.SIGURG, note)
print("ready", flush=True)
sys.stdin.readline()
print(count, flush=True)
"""
)


def test_no_signal_comes_to_who_has_not_allowed_it() -> None:
    with running(COUNTS, PYTHON_DISABLE_REMOTE_DEBUG="1") as program:
        told = look(program.pid)
        assert told.returncode == 0
        assert "faulthandler: its program has not allowed it (MPROC_STACKS=1" in told.stdout
        assert program.communicate("\n")[0] == "0\n"
        assert program.returncode == 0


GIVEN_UP = (
    SPIN
    + """
import faulthandler
mproc.inspect.answer_stacks()
faulthandler.unregister(signal.SIGURG)
print("ready", flush=True)
spin()
"""
).replace("import mproc,", "import mproc.inspect,")


def test_one_that_has_its_handler_no_more_is_not_asked() -> None:
    with running(GIVEN_UP, PYTHON_DISABLE_REMOTE_DEBUG="1") as program:
        assert "has not allowed it" in stacks(program.pid)[program.pid]["reason"]
        assert program.poll() is None


def test_a_stopped_member_is_named_and_not_asked() -> None:
    with running(BUSY, MPROC_STACKS="1") as program:
        program.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, program.pid, os.WSTOPPED)
        reason = stacks(program.pid)[program.pid]["reason"]
        assert f"it is stopped, and answers once it goes on (kill -CONT {program.pid})" in reason
        assert "it is stopped, and answers once it goes on" in look(program.pid).stdout
        program.send_signal(signal.SIGCONT)
        assert lines_once_told(program.pid)


def test_a_member_that_has_ended_is_left_out() -> None:
    context = mproc.get_context("fork")
    child = context.Process(target=time.sleep, args=(0,))
    child.start()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert child.pid not in stacks(os.getpid())
    child.join()
    gone = look(child.pid)
    assert gone.returncode == 1
    assert "there is no such process" in gone.stderr


@as_root
def test_another_users_process_is_not_asked() -> None:
    with program_for_all() as program, running(BUSY, MPROC_STACKS="1") as family:
        told = as_nobody(program, "stacks", str(family.pid))
        assert (told.returncode, told.stdout) == (1, "")
        assert "this user may not look at the process" in told.stderr
        assert family.poll() is None


def become_nobody_and_spin(event: Any) -> None:
    os.setuid(NOBODY)
    event.set()
    spin()


def become_nobody_and_answer(event: Any) -> None:
    _stacks.answer()
    become_nobody_and_spin(event)


@as_root
def test_another_users_file_is_not_opened_by_root() -> None:
    context = mproc.get_context("fork")
    event = context.Event()
    child = context.Process(target=become_nobody_and_answer, args=(event,))
    child.start()
    try:
        event.wait()
        stack = stacks(os.getpid())[child.pid]
        assert stack["tool"] is None
        assert "faulthandler: it is another user's" in stack["reason"]
    finally:
        child.kill()
        child.join()


@as_root
@pytest.mark.skipif(not REMOTE, reason="sys.remote_exec() is new in Python 3.14")
def test_another_users_interpreter_is_not_run_by_root() -> None:
    context = mproc.get_context("fork")
    event = context.Event()
    child = context.Process(target=become_nobody_and_spin, args=(event,))
    child.start()
    try:
        event.wait()
        stack = stacks(os.getpid())[child.pid]
        assert stack["tool"] is None
        assert "it is another user's, whose programs are not run" in stack["reason"]
    finally:
        child.kill()
        child.join()


# ---- tools


def tool(folder: pathlib.Path, name: str, says: str, status: int = 0) -> None:
    """A tool that says something, and ends so."""
    path = folder / name
    said = folder / f"{name}.said"
    said.write_text(says)
    copies = f"while read -r line; do printf '%s\\n' \"$line\"; done <'{said}'"
    path.write_text(f"#!/bin/sh\n{copies}\nexit {status}\n")
    path.chmod(0o755)


GDB = """[New LWP 7]
warning: a library is not there
Using host libthread_db library "/lib/libthread_db.so.1".
0x00007f00 in read () at read.c:12
12\tread.c: No such file or directory.

Thread 2 (Thread 0x7f00 (LWP 7) "worker"):
#0  read () at read.c:12
[New LWP 8]
#1  0x0000 in main ()
[Inferior 1 (process 6) detached]
"""
GDB_LINES = [
    'Thread 2 (Thread 0x7f00 (LWP 7) "worker"):',
    "#0  read () at read.c:12",
    "#1  0x0000 in main ()",
]
ELFUTILS = "PID 6 - process\nTID 6:\n#0  0x0000 read\neu-stack: no matching range\n"
SPY = "Process 6: python\nPython v3.11.2\n\nThread 6 (idle): MainThread\nf (a.py:1)\n"
FAILS = "Could not attach to process.\nptrace: Operation not permitted.\n"


@pytest.mark.parametrize(
    ("name", "says", "status", "lines"),
    [
        ("gdb", GDB, 0, GDB_LINES),
        ("eu-stack", ELFUTILS, 1, ELFUTILS.splitlines()),  # one frame is not found
        ("pstack", "6: python\n0x7f00: read\n", 0, ["0x7f00: read"]),
        ("py-spy", SPY, 0, [line for line in SPY.splitlines() if line]),
    ],
)
def test_of_a_tool_its_stacks_are_shown(
    tmp_path: pathlib.Path, name: str, says: str, status: int, lines: list[str]
) -> None:
    tool(tmp_path, name, says, status)
    with running(BUSY, PYTHON_DISABLE_REMOTE_DEBUG="1") as program:
        stack = stacks(program.pid, str(tmp_path))[program.pid]
        assert stack == {"pid": program.pid, "tool": name, "lines": lines, "reason": None}
        told = look(program.pid, tools=str(tmp_path)).stdout.splitlines()
        assert told[2:] == [f"  {line}" for line in lines]


@pytest.mark.parametrize("status", [0, 1])
@pytest.mark.parametrize("name", ["gdb", "eu-stack", "pstack", "py-spy"])
def test_a_tools_own_error_is_no_stack(tmp_path: pathlib.Path, name: str, status: int) -> None:
    """Whatever its exit status is: gdb's is 0 when it may not look at the process."""
    tool(tmp_path, name, FAILS, status)
    words = f"what tools have said: {name}: ptrace: Operation not permitted."
    with running(BUSY, PYTHON_DISABLE_REMOTE_DEBUG="1") as program:
        stack = stacks(program.pid, str(tmp_path))[program.pid]
        assert (stack["tool"], stack["lines"]) == (None, [])
        assert stack["reason"].endswith(f"; {words}")
        told = look(program.pid, tools=str(tmp_path)).stdout.splitlines()
        assert told[-1] == f"  {words}"


def test_each_tool_that_fails_says_why(tmp_path: pathlib.Path) -> None:
    tool(tmp_path, "gdb", "", 1)
    tool(tmp_path, "pstack", "")
    tool(tmp_path, "eu-stack", "\x1b[31mno\n\n", 2)
    words = "said: eu-stack: {}[31mno; gdb: it has failed; pstack: it has printed nothing"
    with running(BUSY, PYTHON_DISABLE_REMOTE_DEBUG="1") as program:
        reason = stacks(program.pid, str(tmp_path))[program.pid]["reason"]
        assert reason.endswith(words.format("\x1b"))
        assert words.format("?") in look(program.pid, tools=str(tmp_path)).stdout


# ---- programs that are no interpreters


@contextlib.contextmanager
def copied(interpreter: pathlib.Path) -> Iterator[subprocess.Popen[str]]:
    """A busy program whose file is a copy of the interpreter, as one is that has Python in it."""
    shutil.copy(os.path.realpath(sys.executable), interpreter)
    variables = {
        "PYTHONHOME": f"{sys.base_prefix}:{sys.base_exec_prefix}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "MPROC_STACKS": "0",
    }
    with subprocess.Popen(
        [interpreter, "-c", BUSY],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        try:
            yield program
        finally:
            program.kill()


@pytest.mark.skipif(not REMOTE, reason="sys.remote_exec() is new in Python 3.14")
def test_a_program_that_has_python_in_it_is_not_run(tmp_path: pathlib.Path) -> None:
    server = tmp_path / "server"
    with copied(server) as program:
        reason = stacks(program.pid)[program.pid]["reason"]
        assert f"its program {server} is not called as an interpreter" in reason


@pytest.mark.skipif(not REMOTE, reason="sys.remote_exec() is new in Python 3.14")
@pytest.mark.parametrize("change", ["removed", "replaced"])
def test_what_lies_where_the_interpreter_was_is_not_run(
    tmp_path: pathlib.Path, change: str
) -> None:
    interpreter = tmp_path / "python3"
    with copied(interpreter) as program:
        interpreter.unlink()
        if change == "replaced":
            tool(tmp_path, "python3", "")
        reason = stacks(program.pid)[program.pid]["reason"]
        assert f"its program is not at {interpreter}" in reason


# ---- those who listen


def listen(pid: int) -> socket.socket:
    ear = socket.socket(socket.AF_UNIX)
    ear.bind(f"\0mproc-stacks-{pid}")
    ear.listen()
    return ear


@pytest.mark.skipif(not REMOTE, reason="sys.remote_exec() is new in Python 3.14")
def test_a_second_looker_says_that_there_is_another() -> None:
    with running(BUSY) as program, listen(program.pid):
        reason = stacks(program.pid)[program.pid]["reason"]
        assert "sys.remote_exec: somebody else asks it at this moment" in reason


SLEEPS = SPIN + "print('ready', flush=True)\nsys.stdin.readline()\n"


@pytest.mark.skipif(not REMOTE, reason="sys.remote_exec() is new in Python 3.14")
def test_what_comes_late_says_nothing() -> None:
    with running(SLEEPS) as program:
        reason = stacks(program.pid)[program.pid]["reason"]
        assert "it has not answered for 5 s: its main thread runs no Python" in reason
        assert program.communicate("\n") == ("", "")
        assert program.returncode == 0


@pytest.mark.skipif(not REMOTE, reason="sys.remote_exec() is new in Python 3.14")
@as_root
def test_another_user_who_listens_is_told_nothing() -> None:
    program = f"""
import os, socket, sys
script = sys.argv[1]
ear = socket.socket(socket.AF_UNIX)
ear.bind("\\0mproc-stacks-%d" % os.getpid())
ear.listen()
os.setresuid({NOBODY}, {NOBODY}, 0)
ear.listen()  # the listener's user is noted here
os.setresuid(0, 0, 0)
exec(compile(open(script).read(), script, "exec"), {{"__name__": "script"}})
print(repr(ear.accept()[0].recv(100)))
"""
    script = os.path.join(os.path.dirname(_stacks.__file__), "_stacks_script.py")
    command = [sys.executable, "-c", program, script]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (told.stdout, told.stderr) == ("b''\n", "")


# ---- allowing it


def test_a_program_that_handles_the_signal_is_told() -> None:
    assert not _stacks._handles(signal.SIGURG)
    before = signal.signal(signal.SIGURG, lambda *_: None)
    try:
        with pytest.raises(RuntimeError, match="handles SIGURG itself"):
            inspect.answer_stacks()
    finally:
        signal.signal(signal.SIGURG, before)


@pytest.mark.parametrize(
    ("value", "words"),
    [("1", "handles SIGURG itself"), ("yes", "MPROC_STACKS is 'yes': 1 lets"), ("0", ""), ("", "")],
)
def test_what_is_wrong_with_the_variable_is_a_warning(value: str, words: str) -> None:
    source = (
        "import faulthandler, signal, sys\n"
        "faulthandler.register(signal.SIGURG, file=sys.stderr)\n"
        "import mproc\n"
    )
    environment = {**os.environ, "MPROC_STACKS": value}
    told = subprocess.run(
        [sys.executable, "-c", source], env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0
    assert words in told.stderr
    assert ("RuntimeWarning" in told.stderr) == (words != "")


def test_allowing_it_twice_is_once() -> None:
    try:
        inspect.answer_stacks()
        mine = _stacks._file
        inspect.answer_stacks()
        assert _stacks._file == mine >= 3
        assert stacks(os.getpid())[os.getpid()]["tool"] is not None
    finally:
        faulthandler.unregister(signal.SIGURG)
        os.close(_stacks._file)
        _stacks._file = -1
