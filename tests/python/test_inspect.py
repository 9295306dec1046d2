"""mproc.inspect and `python -m mproc ps`: what is seen of a running family from outside."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
import xml.dom.minidom
from collections.abc import Callable
from typing import Any

import pytest

import mproc
from mproc import inspect


def until(condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Look at the own family until it is as expected; the test's watchdog ends it otherwise."""
    while not condition(seen := inspect.family()):
        time.sleep(0.005)
    return seen


def look(*arguments: str, cwd: os.PathLike[str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mproc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def acquire_both(first: Any, second: Any, mine: Any, theirs: Any) -> None:
    with first:
        mine.set()
        theirs.wait()
        second.acquire()


def test_crossed_locks_are_named() -> None:
    context = mproc.get_context("fork")
    a, b = context.Lock(), context.Lock()
    one, other = context.Event(), context.Event()
    children = [
        context.Process(target=acquire_both, args=(a, b, one, other), name="first"),
        context.Process(target=acquire_both, args=(b, a, other, one), name="second"),
    ]
    for child in children:
        child.start()
    try:
        seen = until(lambda seen: seen["deadlocks"] == 1)
        stuck = [w for w in seen["waits"] if w["deadlock"] is not None]
        first, second = (child.pid for child in children)
        assert {(w["pid"], w["blames"]) for w in stuck} == {(first, second), (second, first)}
        held = [o for o in seen["objects"] if o["held_by"] in (first, second)]
        ages = {m["pid"]: m["age"] for m in seen["members"]}
        assert len(held) == 2
        assert all(0 <= o["held"] <= ages[o["held_by"]] for o in held)
        told = look("locks", str(os.getpid()))
        assert told.returncode == 3
        assert "DEADLOCK of 2" in told.stdout.splitlines()[1]
        since = rf"^lock @\w+, held by first \(pid {first}\) for [\d.]+ s or longer$"
        assert re.search(since, told.stdout, re.MULTILINE)
        ps = look("ps", str(os.getpid())).stdout
        assert re.search(
            rf"^ *{first} .* holds, for [\d.]+ s; holds .* or longer$", ps, re.MULTILINE
        )
    finally:
        for child in children:
            child.kill()
            child.join()


class Shared:
    event: Any = None


def wait_for_event() -> None:
    Shared.event.wait()


def set_event() -> None:
    Shared.event.set()


def run_pool() -> None:
    with mproc.get_context("fork").Pool(2) as pool:
        waits = [pool.apply_async(wait_for_event) for _ in range(2)]
        pool.apply_async(set_event)
        waits[0].get()


def test_a_pool_that_its_own_tasks_starve_is_named() -> None:
    context = mproc.get_context("fork")
    Shared.event = context.Event()
    child = context.Process(target=run_pool, name="owner")
    child.start()
    Shared.event = None  # nobody but the pool's processes is left who could set it
    try:
        seen = until(lambda seen: seen["deadlocks"] == 1)
        (starved,) = [o for o in seen["objects"] if o["starved"]]
        assert starved["kind"] == "task queue"
        told = look("locks", str(os.getpid()))
        while told.returncode != 3:  # its owner may have looked after the pool just then
            told = look("locks", str(os.getpid()))
        assert "the pool" in told.stdout.splitlines()[1]
        assert "each of its 2 workers has a task that waits" in told.stdout
    finally:
        child.kill()
        child.join()


def test_a_queue_is_measured() -> None:
    queue: Any = mproc.Queue(5)
    queue.put(b"x" * 100)
    queue.put(b"y" * 20000)
    (seen,) = [o for o in inspect.family()["objects"] if o["kind"] == "queue" and o["bound"] == 5]
    assert (seen["count"], seen["total"]) == (2, 2)
    assert 20100 <= seen["bytes"] < 21000
    assert seen["members"] == [os.getpid()]


MAKERS: list[tuple[str, tuple[Any, ...]]] = [
    ("Lock", ()),
    ("RLock", ()),
    ("Semaphore", (2,)),
    ("BoundedSemaphore", (2,)),
    ("Condition", ()),
    ("Event", ()),
    ("Barrier", (2,)),
    ("Queue", (3,)),
    ("JoinableQueue", ()),
    ("SimpleQueue", ()),
]


@pytest.mark.parametrize(("maker", "arguments"), MAKERS)
def test_an_object_is_made_with_a_name(maker: str, arguments: tuple[Any, ...]) -> None:
    shared = getattr(mproc, maker)(*arguments, name="órders")
    assert inspect.name_of(shared) == "órders"
    named = [o for o in inspect.family()["objects"] if o["name"] == "órders"]
    assert [o["origin"] for o in named] == [None]
    with pytest.raises(ValueError, match="at most 127 bytes"):
        getattr(mproc, maker)(*arguments, name="ó" * 64)
    with pytest.raises(TypeError):
        getattr(mproc, maker)(*arguments, name=b"orders")


def test_names_are_given_later() -> None:
    value = mproc.Value("i")
    for shared in (mproc.Dict(), mproc.List(), mproc.Set(), mproc.Namespace(), value):
        assert inspect.name_of(shared) is None
        inspect.set_name(shared, "stock")
        assert inspect.name_of(shared) == "stock"
        inspect.set_name(shared, None)
        assert inspect.name_of(shared) is None
    assert inspect.name_of(value.get_lock()) is None
    with pytest.raises(ValueError, match="null character"):
        inspect.set_name(value, "a\0b")
    with pytest.raises(TypeError, match="int is no shared object"):
        inspect.set_name(3, "three")
    with pytest.raises(TypeError):
        inspect.name_of(mproc.Namespace)


MAKES_ONE = """
import mproc, os
from mproc import inspect

def make():
    return mproc.Lock(name="orders")

lock = make()
print(inspect.origin_of(lock))
print([o["origin"] for o in inspect.family()["objects"] if o["name"] == "orders"])
"""


@pytest.mark.parametrize("origin", ["1", "0"])
def test_origins_are_lines_of_the_program(tmp_path: pathlib.Path, origin: str) -> None:
    script = tmp_path / "shop.py"
    script.write_text(MAKES_ONE)
    environment = {**os.environ, "MPROC_ORIGIN": origin}
    told = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True
    )
    place = f"{script}:6" if origin == "1" else None
    assert told.stdout.splitlines() == [str(place), str([place])]


MAKES_A_POOL = """
import mproc, sys
from mproc import inspect

if __name__ == "__main__":
    context = mproc.get_context(sys.argv[1])
    with context.Pool(1) as pool:
        print([o["origin"] for o in inspect.family()["objects"] if o["kind"] == "pool"])
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pools_origin_is_a_line_of_the_program(tmp_path: pathlib.Path, method: str) -> None:
    script = tmp_path / "shop.py"
    script.write_text(MAKES_A_POOL)
    told = subprocess.run(
        [sys.executable, str(script), method],
        env={**os.environ, "MPROC_ORIGIN": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == [str([f"{script}:7"])]


def test_the_module_is_there_without_an_import_of_its_own() -> None:
    command = [sys.executable, "-c", "import mproc; print(mproc.inspect.PROGRAM)"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout == inspect.PROGRAM + "\n"


def test_tasks_that_have_failed_are_counted() -> None:
    with mproc.get_context("fork").Pool(1) as pool:
        assert pool.apply(abs, (-1,)) == 1
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                pool.apply(divmod, (1, 0))
        (tasks,) = [o for o in inspect.family()["objects"] if o["kind"] == "task queue"]
        assert tasks["failed"] == 2
        assert "; 3 done, of which 2 failed" in look("queues", str(os.getpid())).stdout


ONLY_WAITS = """
import mproc, subprocess, sys
from mproc import inspect

def wait(begun, event):
    begun.set()
    while not event.wait(0.01):
        pass

context = mproc.get_context("fork")
begun, event = context.Event(), context.Event()
child = context.Process(target=wait, args=(begun, event))
child.start()
begun.wait()
command = [inspect.PROGRAM, "record", "-o", sys.argv[1], "--for", "0.1", str(child.pid)]
told = ""
while not told:  # until the child has waited while somebody recorded
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
print(told)
event.set()
child.join()
"""


def test_waits_of_who_has_no_ring_are_missing_and_that_is_told(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "waits.py"
    script.write_text(ONLY_WAITS)
    command = [sys.executable, str(script), str(tmp_path / "trace.json")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert " events are lost: " in told
    assert "or their threads have no ring" in told


def test_failures_are_told() -> None:
    with pytest.raises(inspect.InspectError, match="no such process"):
        inspect.family(2**22 + 1)
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        with pytest.raises(inspect.InspectError, match="in no family"):
            inspect.family(stranger.pid)
    finally:
        stranger.kill()
        stranger.wait()


def test_a_page_is_written(tmp_path: pathlib.Path) -> None:
    queue: Any = mproc.Queue(5)
    queue.put(1)
    page = tmp_path / "report.html"
    assert look("report", "-o", str(page), str(os.getpid())).returncode == 0
    text = page.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert f"family of {os.getpid()}: 1 member, " in text
    assert ": 1 message, " in text
    assert text.endswith("</body></html>\n")
    nowhere = look("report", "-o", str(tmp_path / "no" / "page"), str(os.getpid()))
    assert nowhere.returncode == 1
    assert "No such file" in nowhere.stderr


@pytest.fixture
def two_families(program: Any) -> Any:
    """Have two families run: a program that is given no PID cannot know which one is meant."""
    program.write(
        "family.py", "import mproc, sys\nmproc.Lock()\nprint(flush=True)\nsys.stdin.read()\n"
    )
    command = [sys.executable, "family.py"]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with contextlib.ExitStack() as families:
        for _ in range(2):
            started = subprocess.Popen(command, cwd=program.folder, env=program.env, **pipes)
            family = families.enter_context(started)
            assert family.stdout is not None and family.stdout.readline() == b"\n"
        yield


@pytest.mark.usefixtures("two_families")
def test_a_graph_is_drawn() -> None:
    lock: Any = mproc.Lock()
    assert "nobody waits" in look("graph", str(os.getpid())).stdout
    assert look("graph", "--dot", str(os.getpid())).stdout.startswith("digraph")
    xml.dom.minidom.parseString(look("graph", "--svg", str(os.getpid())).stdout)
    assert look("graph", "--svg").returncode == 2  # of which family?
    assert look("graph", "--jsn").returncode == 2
    (drawn,) = json.loads(look("graph", "--json", str(os.getpid())).stdout)
    assert drawn["waits"] == []
    assert look("report").returncode == 2
    del lock


def test_usage() -> None:
    assert look("ps", "--help").stdout.startswith("usage: mproc")
    assert look("ps", "many").returncode == 2


def test_a_script_of_that_name_is_run(tmp_path: Any) -> None:
    (tmp_path / "ps").write_text("print('a script')\n")
    assert look("ps", cwd=tmp_path).stdout == "a script\n"


CROSSED = """
import mproc, os, sys, time
from mproc import inspect

def acquire_both(first, second, mine, theirs, pause):
    with first:
        mine.set()
        theirs.wait()
        time.sleep(pause)
        second.acquire()

if __name__ == "__main__":
    context = mproc.get_context("fork")
    a, b = context.Lock(name="left"), context.Lock(name="right")
    one, other = context.Event(), context.Event()
    if sys.argv[1:] == ["call"]:
        mproc.log_deadlocks(1.0, abort=True)
        mproc.log_deadlocks(1.0)  # there is one already
    child = context.Process(target=acquire_both, args=(a, b, one, other, 0.5), name="child")
    child.start()
    acquire_both(b, a, other, one, 0)
"""


@pytest.mark.parametrize("way", ["call", "environment"])
def test_a_watchdog_tells_and_ends_the_family(tmp_path: pathlib.Path, way: str) -> None:
    """One of the two waits is old enough before the other is; both are told."""
    script = tmp_path / "crossed.py"
    script.write_text(CROSSED)
    environment = {**os.environ, "MPROC_WATCHDOG": "1=abort" if way == "environment" else ""}
    ended = subprocess.run(
        [sys.executable, str(script), way], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == -signal.SIGABRT
    assert ended.stderr.count("mproc: somebody has waited for 1.0 s or longer") == 1
    assert "DEADLOCK of 2: they wait for each other" in ended.stderr
    assert re.search('child .* waits for the lock "right" @', ended.stderr)
    for name in ("left", "right"):
        since = rf'^lock "{name}" @\w+, held by .* for [\d.]+ s or longer$'
        assert re.search(since, ended.stderr, re.MULTILINE)
    assert "stacks of child (pid " in ended.stderr
    assert ended.stderr.endswith("mproc: the family is ended, as it has asked for\n")


def test_a_watchdog_ends_with_its_family(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "short.py"
    script.write_text("import mproc\nmproc.Lock()\n")
    environment = {**os.environ, "MPROC_WATCHDOG": "3600"}
    # Who reads stderr to its end waits for the watchdog, too.
    ended = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")


KILLS_ITS_WATCHDOG = """
import mproc, os, signal

def watchdog():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\\0")
        except OSError:
            continue  # it has ended
        if words[:2] == [b"mproc", b"watch"] and str(os.getpid()).encode() in words:
            return int(pid)

lock = mproc.Lock()
mproc.log_deadlocks(3600)
os.kill(watchdog(), signal.SIGKILL)
with lock:
    print("alive")
while watchdog() is not None:
    pass
while watchdog() is None:
    mproc.log_deadlocks(3600)
print("another")
"""


def test_a_killed_watchdog_harms_nobody(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "kills.py"
    script.write_text(KILLS_ITS_WATCHDOG)
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "alive\nanother\n", "")


STOPS_ITS_WATCHDOG = (
    KILLS_ITS_WATCHDOG.split("os.kill")[0]
    + """
import subprocess, sys, time
from mproc import inspect

def look(*words):
    words = [inspect.PROGRAM, *words, str(os.getpid())]
    return subprocess.run(words, capture_output=True, text=True).stderr

def signal_it(number, stopped):
    os.kill(pid, number)
    end = time.monotonic() + 60
    while (open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "T") != stopped:
        if time.monotonic() > end:
            sys.exit(f"the watchdog has not obeyed signal {number} in 60 s")

pid = watchdog()
words = f"mproc: the family's watchdog, process {pid}, is stopped: "
verbs = (
    ["ps"], ["locks"], ["locks", "--json"], ["queues"], ["graph"], ["report", "-o", "page.html"],
    ["record", "-o", "trace.json", "--for", "0.01"], ["watch"],
)
print("while it runs:", [verb for verb in verbs if words in look(*verb)])
signal_it(signal.SIGSTOP, True)
print("silent while it is stopped:", [verb for verb in verbs if words not in look(*verb)])
signal_it(signal.SIGCONT, False)
print("when it goes on:", [verb for verb in verbs if words in look(*verb)])
"""
)


def test_a_stopped_watchdog_is_told_of(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "stops.py"
    script.write_text(STOPS_ITS_WATCHDOG)
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        "while it runs: []",
        "silent while it is stopped: []",
        "when it goes on: []",
    ]


MEMBER_CALLED_WATCH = """
import mproc, os, signal, subprocess
from mproc import inspect

lock = mproc.Lock()
pid = os.fork()
if pid == 0:
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(0)
os.waitid(os.P_PID, pid, os.WSTOPPED)
words = [inspect.PROGRAM, "locks", str(os.getpid())]
looked = subprocess.run(words, capture_output=True, text=True)
print(looked.returncode, repr(looked.stderr))
os.kill(pid, signal.SIGCONT)
os.waitpid(pid, 0)
"""


def test_a_stopped_member_is_no_watchdog(tmp_path: pathlib.Path) -> None:
    (tmp_path / "watch").write_text(MEMBER_CALLED_WATCH)
    ended = subprocess.run([sys.executable, "watch"], capture_output=True, text=True, cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "0 ''\n", "")


def test_those_who_have_what_is_waited_for_are_counted_once() -> None:
    context = mproc.get_context("fork")
    queue = context.SimpleQueue()
    children = [context.Process(target=queue.get) for _ in range(6)]
    for child in children:
        child.start()
    until(lambda seen: sum(wait["for"] == "it" for wait in seen["waits"]) == 6)
    pid = str(os.getpid())
    text, dot = (
        subprocess.run([inspect.PROGRAM, *words, pid], capture_output=True, text=True).stdout
        for words in (["graph"], ["graph", "--dot"])
    )
    for _ in children:
        queue.put(1)
    for child in children:
        child.join()
    assert (text.count("-- others have it -->"), dot.count("style=dashed")) == (4, 4)
    assert "  ... and 3 more that have it\n" in text
    assert 'label="... and 3 more dashed lines"' in dot


@pytest.mark.usefixtures("two_families")
def test_a_watchdog_refuses_nonsense(tmp_path: pathlib.Path) -> None:
    for nothing in (0, 1e-10):
        with pytest.raises(ValueError, match="number of seconds"):
            mproc.log_deadlocks(nothing)
    for words in (
        *(["--after", "soon", "1"], ["--after", "-1", "1"], [], ["1", "2"]),
        *(["--behind", "x"], ["--behind", "--after"], ["--behind", "--after", "1", "5", "6"]),
    ):
        assert look("watch", *words).returncode == 2
    assert "no such process" in look("watch", str(2**22 + 1)).stderr


@pytest.mark.parametrize(
    "value",
    [
        "soon",
        "0",
        "-1",
        "nan",
        "inf",
        "1e-300",
        "1e9",
        "10s",
        "10=",
        "=abort",
        "10=ABORT",
        "9" * 5000,
    ],
)
def test_a_watchdogs_variable_is_named(tmp_path: pathlib.Path, value: str) -> None:
    script = tmp_path / "short.py"
    script.write_text("import mproc\nmproc.Lock()\n")
    environment = {**os.environ, "MPROC_WATCHDOG": value}
    ended = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0
    assert ended.stderr.startswith(f'mproc: MPROC_WATCHDOG is "{value}": it takes seconds, as 10')


WATCHED = """
import mproc, os, subprocess
from mproc import inspect
lock = mproc.Lock()
mproc.log_deadlocks(3600)
mproc.log_deadlocks(3600)  # who asks twice has asked
raise SystemExit(subprocess.call([inspect.PROGRAM, "watch", str(os.getpid())]))
"""


def test_a_second_watchdog_says_that_there_is_one() -> None:
    told = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.count("\n") == 1
    assert "the family has a watchdog already" in told.stderr


@pytest.mark.usefixtures("two_families")
def test_stacks_are_shown() -> None:
    lock: Any = mproc.Lock()
    told = look("stacks", str(os.getpid()))
    assert told.returncode == 0
    assert f"(pid {os.getpid()}):" in told.stdout
    assert look("stacks").returncode == 2  # of which family?
    del lock


def test_top_prints_pictures_where_there_is_no_terminal():
    queue = mproc.Queue(name="orders")
    queue.put(1)
    told = look("top", "-n", "2", "-d", "0.1", "-o", "M", str(os.getpid()))
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.count("MESSAGES") == 2
    assert '"orders"' in told.stdout
    assert "\x1b" not in told.stdout


@pytest.mark.usefixtures("two_families")
@pytest.mark.parametrize(
    "wrong", [("-d", "0"), ("-d", "soon"), ("-n", "-1"), ("-o", "X"), ("-o", "PM"), ("some",), ()]
)
def test_top_says_what_it_takes(wrong):
    assert look("top", *wrong).returncode == 2


def test_top_ends_with_the_family(program):
    program.write("ends.py", "import mproc, sys\nmproc.Lock()\nsys.stdin.read()\n")
    with subprocess.Popen(
        [sys.executable, "ends.py"], cwd=program.folder, stdin=subprocess.PIPE, env=program.env
    ) as family:
        while look("ps", str(family.pid)).returncode != 0:
            time.sleep(0.01)
        command = [str(inspect.PROGRAM), "top", "-d", "0.1", str(family.pid)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as top:
            assert top.stdout is not None
            assert top.stdout.readline().startswith(f"family of {family.pid}")
            family.communicate()
            assert top.stdout.read().endswith("the family has ended\n")
    assert top.returncode == 0


class Screen:
    """A terminal of 10 lines with `mproc top` of this process's family on it."""

    def __init__(self) -> None:
        pid, self.fd = pty.fork()
        if pid == 0:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 60, 0, 0))
            os.execl(inspect.PROGRAM, "mproc", "top", "-d", "0.1", str(os.getppid()))
        self.pid = pid
        self.shown = b""

    def until(self, text: bytes) -> bytes:
        """Read until a frame has that text, and return the frame."""
        self.shown = b""
        while text not in self.shown:
            self.shown += os.read(self.fd, 65536)
        return self.shown

    def end(self) -> int:
        """The exit status, after the cursor and the first screen have come back."""
        self.until(b"\x1b[?25h\x1b[?1049l")
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return status


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_top_has_the_screen_until_a_key_is_pressed(key):
    keep = [mproc.Queue() for _ in range(30)]
    screen = Screen()
    screen.until(b"[P]rocessor")
    os.write(screen.fd, b"m")
    frame = screen.until(b"[M]emory")
    assert frame.rsplit(b"\x1b[H", 1)[1].count(b"\n") == 9  # and the line of the keys
    os.write(screen.fd, key)
    assert screen.end() == 0
    del keep


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_top_gives_the_screen_back_when_a_signal_ends_it(number):
    mproc.Lock()
    screen = Screen()
    screen.until(b"[P]rocessor")
    os.kill(screen.pid, number)
    assert screen.end() == 0
