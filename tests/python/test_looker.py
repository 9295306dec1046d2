"""The program mproc where names, terminals, disks and processes are bad ones."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.metadata
import json
import os
import pathlib
import pty
import re
import resource
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import xml.dom.minidom
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import descriptors
from other_user import NOBODY, as_nobody, program_for_all

import mproc
from mproc import inspect

BAD = "\x1b[2J\x07\x9b31m\u202etxt\u2066\u2028<script>alert(1)</script>&'\"\\\ufffe\x7f"


def look(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [inspect.PROGRAM, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def wait(held: Any, lock: Any) -> None:
    with held:
        lock.acquire()


@pytest.fixture
def badly_named() -> Iterator[str]:
    """A family of this process whose objects and members have names of what a terminal obeys."""
    context = mproc.get_context("fork")
    lock, held = context.Lock(name=BAD), context.Lock(name="a\\")
    lock.acquire()
    child = context.Process(target=wait, args=(held, lock), name=BAD[:40])
    child.start()
    while not any(w["pid"] == child.pid for w in inspect.family()["waits"]):
        time.sleep(0.005)
    yield str(os.getpid())
    child.kill()
    child.join()


def is_obeyed(character: str) -> bool:
    code = ord(character)
    return (
        (code < 32 and character != "\n")
        or 0x7F <= code <= 0x9F
        or 0x2028 <= code <= 0x202E
        or 0x2066 <= code <= 0x2069
    )


@pytest.mark.parametrize(
    "verb",
    ["ps", "locks", "queues", "graph", "graph --dot", "graph --svg", "ps --json", "top -n 1"],
)
def test_no_name_commands_a_terminal(badly_named: str, verb: str) -> None:
    told = look(*verb.split(), badly_named)
    assert told.stderr == ""
    assert [c for c in told.stdout if is_obeyed(c)] == []


def test_bad_names_are_whole_as_data(badly_named: str) -> None:
    (seen,) = json.loads(look("ps", "--json", badly_named).stdout)
    assert BAD in [o["name"] for o in seen["objects"]]
    assert BAD[:20] in [m["name"][:20] for m in seen["members"]]


def test_bad_names_spoil_no_drawing(badly_named: str, tmp_path: pathlib.Path) -> None:
    xml.dom.minidom.parseString(look("graph", "--svg", badly_named).stdout)
    label = "<script>alert(1)</script>&amp;'\\\"\\\\"  # graphviz knows the characters of HTML
    assert label in look("graph", "--dot", badly_named).stdout
    page = tmp_path / "page.html"
    assert look("report", "-o", str(page), badly_named).returncode == 0
    text = page.read_text()
    assert "alert(1)" in text
    assert "<script" not in text
    assert [c for c in text if is_obeyed(c)] == []


BUSY = """
import mproc, sys, threading, time

if __name__ == "__main__":
    lock = mproc.Lock(name="often")
    with mproc.get_context("fork").Pool(2) as pool:
        end = threading.Thread(target=sys.stdin.read)
        end.start()
        print("ready", flush=True)
        while end.is_alive():
            with lock:
                pool.map(abs, range(4), chunksize=1)
            time.sleep(0.001)
"""


@pytest.fixture
def busy() -> Iterator[str]:
    """A family of its own, whose rings end with it."""
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as family:
        assert family.stdout is not None
        assert family.stdout.readline() == "ready\n"
        yield str(family.pid)
        family.communicate()


# ---- outputs that take nothing


@pytest.mark.parametrize(
    "verb", ["ps", "locks", "queues", "ps --json", "graph", "top -n 2", "stacks"]
)
def test_what_cannot_be_written_is_a_failure(verb: str) -> None:
    lock: Any = mproc.Lock()
    command = [inspect.PROGRAM, *verb.split(), str(os.getpid())]
    with open("/dev/full", "w") as full:
        told = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert told.returncode == 1
    assert told.stderr == "mproc: standard output: No space left on device\n"
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert closed.returncode == 1
    assert closed.stderr == "mproc: standard output: Bad file descriptor\n"
    del lock


def test_a_reader_who_goes_ends_the_looker_quietly() -> None:
    lock: Any = mproc.Lock()
    for command in ([inspect.PROGRAM], [sys.executable, "-m", "mproc"]):
        ours, theirs = os.pipe()
        os.close(ours)
        told = subprocess.run(
            [*command, "ps", str(os.getpid())], stdout=theirs, stderr=subprocess.PIPE, check=False
        )
        os.close(theirs)
        assert (told.returncode, told.stderr) == (-signal.SIGPIPE, b"")
    del lock


LITTLE_MEMORY = (
    pathlib.Path(__file__).resolve().parents[2] / "build/test/tests/python/liblittle_memory.so"
)


@pytest.mark.parametrize("verb", ["ps", "top -n 1"])
def test_members_are_shown_without_memory_for_what_they_hold(verb: str) -> None:
    lock = mproc.Lock()
    with lock, mproc.get_context("fork").Pool(12):
        pids = {str(member["pid"]) for member in inspect.family()["members"]}
        assert "; holds the lock @" in look(*verb.split(), str(os.getpid())).stdout
        room = (len(pids) + 1) * 4
        told = look(
            *verb.split(),
            str(os.getpid()),
            env={**os.environ, "LD_PRELOAD": str(LITTLE_MEMORY), "REFUSED": str(room)},
        )
    assert (told.returncode, told.stderr) == (0, "")
    assert "there is no memory to say who holds which locks\n" in told.stdout
    assert "; holds" not in told.stdout
    assert pids <= {line.split()[0] for line in told.stdout.splitlines() if line.split()}


def allow_files_of(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_page_that_cannot_be_written_takes_nothing(tmp_path: pathlib.Path) -> None:
    lock: Any = mproc.Lock()
    page = tmp_path / "page.html"
    page.write_text("an earlier one")
    gone = look("report", "-o", str(page), str(2**22 + 1))
    assert (gone.returncode, page.read_text()) == (1, "an earlier one")
    # Python ignores SIGXFSZ, and so does what it starts this way: as a disk that is full.
    small = look(
        "report",
        "-o",
        str(page),
        str(os.getpid()),
        preexec_fn=allow_files_of(100),
        restore_signals=False,
    )
    assert (small.returncode, page.read_text()) == (1, "an earlier one")
    assert small.stderr == f"mproc: {page}: File too large\n"
    assert os.listdir(tmp_path) == ["page.html"]
    full = look("report", "-o", "/dev/full", str(os.getpid()))
    assert (full.returncode, full.stderr) == (1, "mproc: /dev/full: No space left on device\n")
    assert look("report", "-o", "/dev/stdout", str(os.getpid())).stdout.endswith("</html>\n")
    assert look("report", "-o", str(page), str(os.getpid())).returncode == 0
    assert page.read_text().endswith("</html>\n")
    del lock


def test_a_recording_on_a_full_disk_is_whole_as_far_as_it_goes(
    busy: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "trace.json"
    told = look(
        "record",
        "-o",
        str(path),
        busy,
        preexec_fn=allow_files_of(100000),
        restore_signals=False,
    )
    assert (told.returncode, told.stderr) == (1, f"mproc: {path}: File too large\n")
    assert json.loads(path.read_text())["traceEvents"]


def test_a_recording_is_no_stream(busy: str) -> None:
    told = look("record", "-o", "/dev/stdout", "--for", "0.1", busy)
    assert told.returncode == 1
    assert "a recording needs a regular" in told.stderr


# ---- recorders


def test_two_recorders_do_not_disturb_each_other(busy: str, tmp_path: pathlib.Path) -> None:
    command = [inspect.PROGRAM, "record", "-o"]
    long, short = tmp_path / "long.json", tmp_path / "short.json"
    with subprocess.Popen([*command, str(long), "--for", "1.5", busy]) as first:
        with subprocess.Popen([*command, str(short), "--for", "0.3", busy]) as second:
            assert second.wait() == 0
        assert first.wait() == 0  # it records on, although the other one has ended
    for path, least in ((long, 1.0), (short, 0.1)):
        events = json.loads(path.read_text())["traceEvents"]
        times = [e["ts"] for e in events if "often" in e.get("name", "")]
        assert max(times) - min(times) > least * 1e6


def test_a_page_draws_what_was_recorded(busy: str, tmp_path: pathlib.Path) -> None:
    page = tmp_path / "page.html"
    assert look("report", "-o", str(page), busy).returncode == 0
    assert "Nothing is recorded of it" in page.read_text()
    with subprocess.Popen([inspect.PROGRAM, "record", "-o", str(tmp_path / "t"), busy]) as recorder:
        while 'class="task"' not in page.read_text():
            assert look("report", "-o", str(page), busy).returncode == 0
        recorder.terminate()
    text = page.read_text()
    assert "<title>abs, " in text
    assert "s until now: tasks blue, waits yellow" in text
    for drawing in re.findall("<svg.*?</svg>", text, re.DOTALL):
        xml.dom.minidom.parseString(drawing)
    assert look("report", "-o", str(page), busy).returncode == 0
    assert "s, before the recording ended" in page.read_text()


# ---- who is looked at


@pytest.mark.parametrize("pid", ["0", "-1", "-o", "99999999999999999999", "1.5", "1x", "--jsonn"])
def test_wrong_usage_names_the_culprit(pid: str) -> None:
    for verb in ("ps", "locks", "graph", "stacks", "record", "watch", "top"):
        told = look(verb, pid)
        assert (told.returncode, told.stdout) == (2, "")
        assert told.stderr.startswith(f"mproc {verb}: what is {pid}? It takes ")


@pytest.mark.parametrize(
    ("verb", "option", "value"),
    [
        ("watch", "--after", "soon"),
        ("watch", "--after", "1e-300"),
        ("record", "--for", "-1"),
        ("top", "-d", "0"),
        ("top", "-n", "many"),
        ("top", "-o", "PM"),
    ],
)
def test_a_wrong_value_is_named(verb: str, option: str, value: str) -> None:
    told = look(verb, option, value, "1")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith(f"mproc {verb}: what is {option} {value}? It takes ")
    lacks = look(verb, option)
    assert lacks.stderr.startswith(f"mproc {verb}: what is {option}? It takes ")


def test_what_it_complains_of_commands_no_terminal(busy: str) -> None:
    bad = "\x1b[31m/no\n"
    for words in ([bad], ["ps", bad], ["watch", "--after", bad], ["report", "-o", bad, busy]):
        told = look(*words)
        assert "?[31m/no?" in told.stderr
        assert "\x1b" not in told.stderr


def test_what_is_missing_is_said() -> None:
    for verb in ("report", "record"):
        assert f"mproc {verb}: -o FILE is missing" in look(verb).stderr
    told = look("pss")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == "mproc: there is no verb pss; mproc --help has the usage\n"


def test_it_tells_its_version() -> None:
    told = look("--version")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout == f"mproc {importlib.metadata.version('mproc')}\n"


def test_no_process_that_cannot_be_looked_at_is_a_riddle() -> None:
    assert "there is no such process" in look("ps", str(2**31 - 1)).stderr
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    assert "in no family" in look("ps", str(zombie.pid)).stderr
    zombie.wait()


ALONE = 65533  # a user who has no process but one test's


def in_namespace(mount: str, *words: str, user: int = 0) -> subprocess.CompletedProcess[str]:
    """A look where something else is mounted at /proc."""
    become = f"setpriv --reuid {user} --regid {user} --clear-groups " if user else ""
    script = f'{mount} && exec {become}"$0" "$@"'
    with program_for_all() as program:
        command = ["unshare", "--mount", "sh", "-c", script, program, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def may_mount() -> None:
    mount = "mount -t tmpfs nothing /proc && mount -t proc nothing /proc"
    if subprocess.run(["unshare", "--mount", "sh", "-c", mount], check=False).returncode != 0:
        pytest.skip("this user may mount nothing")


@pytest.mark.usefixtures("may_mount")
def test_without_proc_that_is_the_reason(busy: str) -> None:
    """Not that there is no family, or no process."""
    for words in (["ps"], ["ps", "--json"], ["locks", busy], ["record", "-o", "/dev/full", busy]):
        told = in_namespace("mount -t tmpfs nothing /proc", *words)
        assert told.returncode == 1
        assert "no /proc is mounted here" in told.stderr


@pytest.mark.usefixtures("may_mount")
def test_a_process_that_proc_hides_is_another_users(busy: str) -> None:
    mount = "mount -t proc -o hidepid=invisible nothing /proc"
    assert in_namespace(mount, "ps", busy).returncode == 0
    told = in_namespace(mount, "ps", busy, user=NOBODY)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == f"mproc: {busy}: this user may not look at the process\n"
    assert "no such process" in in_namespace(mount, "ps", str(2**31 - 1), user=NOBODY).stderr


def become(user: int) -> None:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: others of that user may look


def wait_as(user: int, event: Any) -> None:
    become(user)
    event.wait()


@pytest.mark.usefixtures("may_mount")
def test_a_member_that_proc_hides_has_not_ended() -> None:
    """The one that may set the event is another user's, who does not see it."""
    context = mproc.get_context("fork")
    event = context.Event()
    child = context.Process(target=wait_as, args=(NOBODY, event))
    child.start()
    try:
        while not any(w["pid"] == child.pid for w in inspect.family()["waits"]):
            time.sleep(0.005)
        mount = "mount -t proc -o hidepid=invisible nothing /proc"
        told = in_namespace(mount, "locks", str(child.pid), user=NOBODY)
        assert (told.returncode, told.stderr) == (0, "")
        assert f"others have it: main (pid {os.getpid()})" in told.stdout
        assert "DEADLOCK" not in told.stdout
    finally:
        event.set()
        child.join()


ONE_FAMILY_VERBS = [
    ["top", "-n", "1"],
    ["stacks"],
    ["graph", "--dot"],
    ["graph", "--svg"],
    ["record", "--for", "0.01", "-o", "/dev/null"],
    ["watch"],
]


FAMILY = """
import os, sys
sys.path.insert(0, sys.argv[1])
import mproc, test_looker
event = mproc.Event()
pid = os.fork()
if pid == 0:
    test_looker.become(int(sys.argv[2]))
    print(os.getpid(), flush=True)
    event.wait()
    os._exit(0)
sys.stdin.read()
event.set()
os.waitpid(pid, 0)
"""


@contextlib.contextmanager
def family_of(user: int) -> Iterator[int]:
    """The pid of its one process; its first process is the caller's user's."""
    here = str(pathlib.Path(__file__).parent)
    command = [sys.executable, "-c", FAMILY, here, str(user)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as outer:
        assert outer.stdout is not None
        yield int(outer.stdout.readline())
        outer.communicate()


@pytest.mark.usefixtures("may_mount")
@pytest.mark.parametrize("verb", ONE_FAMILY_VERBS, ids=" ".join)
def test_no_pid_is_needed_where_one_family_runs(verb: list[str]) -> None:
    name = " ".join(verb[:1])
    told = in_namespace("true", *verb, user=ALONE)
    assert (told.returncode, told.stdout) == (1, "")
    nothing = "no family of mproc is running that this user may look at\n"
    assert told.stderr == f"mproc {name}: {nothing}"
    with family_of(ALONE) as one:
        if name != "watch":  # which ends when the family does
            told = in_namespace("true", *verb, user=ALONE)
            assert told.returncode == 0, told.stderr
            assert name == "record" or str(one) in told.stdout
        with family_of(ALONE) as two:
            told = in_namespace("true", *verb, user=ALONE)
            assert (told.returncode, told.stdout) == (2, "")
            both = "|".join(f"{a}, {b}" for a, b in ((one, two), (two, one)))
            assert re.fullmatch(
                rf"mproc {name}: 2 families are running: give the pid of a process of one "
                rf"\(({both})\); `mproc ps` shows them\n",
                told.stderr,
            )


def test_a_family_that_counts_pids_otherwise_is_refused(tmp_path: pathlib.Path) -> None:
    source = "import mproc, os, sys\nmproc.Lock()\nprint('ready', flush=True)\nsys.stdin.read()\n"
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", source]
    if subprocess.run(["unshare", "--pid", "--fork", "true"], check=False).returncode != 0:
        pytest.skip("this user may not make a namespace of pids")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as outer:
        assert outer.stdout is not None
        assert outer.stdout.readline() == "ready\n"
        children = pathlib.Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text()
        for verb in (["ps"], ["record", "-o", str(tmp_path / "t.json")], ["top"]):
            told = look(*verb, children.strip())
            assert told.returncode == 1
            assert "counts pids in a namespace of its own" in told.stderr
        outer.communicate()


VERBS = [
    "ps", "locks", "queues", "graph", "graph --svg", "stacks", "top -n 1", "report -o", "record -o",
    "watch",
]  # fmt: skip


def command_of(verb: str, file: pathlib.Path, pid: int) -> list[str]:
    return [*verb.split(), *([str(file)] if verb.endswith("-o") else []), str(pid)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_users_family_is_refused_by_every_verb(busy: str) -> None:
    with program_for_all(0o777) as program:
        place = os.path.dirname(program)
        for verb in VERBS:
            told = as_nobody(program, *command_of(verb, pathlib.Path(place, "file"), int(busy)))
            assert (told.returncode, told.stdout) == (1, "")
            assert told.stderr == f"mproc: {busy}: this user may not look at the process\n"
            assert os.listdir(place) == [os.path.basename(program)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_file_that_may_not_be_made_is_told_of_so() -> None:
    with program_for_all() as program:
        page = os.path.join(os.path.dirname(program), "page.html")
        told = as_nobody(program, "report", "-o", page)
        assert told.returncode == 1
        assert told.stderr == f"mproc: {page}: Permission denied\n"


ARENA_LAYOUT = 32  # the fifth word of an arena says which build it is of


def test_another_version_is_refused_by_every_verb(busy: str, tmp_path: pathlib.Path) -> None:
    files = descriptors(busy)
    (arena,) = (fd for fd, what in files.items() if what == "/memfd:mproc (deleted)")
    with open(f"/proc/{busy}/fd/{arena}", "r+b", buffering=0) as words:
        before = os.pread(words.fileno(), 8, ARENA_LAYOUT)
        os.pwrite(words.fileno(), b"another!", ARENA_LAYOUT)
        try:
            for verb in VERBS:
                told = look(*command_of(verb, tmp_path / "file", int(busy)))
                assert (told.returncode, told.stdout) == (1, "")
                assert "the family runs on another version of mproc than this" in told.stderr
                assert not (tmp_path / "file").exists()
        finally:
            os.pwrite(words.fileno(), before, ARENA_LAYOUT)


ENDS = """
import mproc, sys, time

def wait(lock):
    lock.acquire()

lock = mproc.Lock()
lock.acquire()
context = mproc.get_context("fork")
children = [context.Process(target=wait, args=(lock,)) for _ in range(20)]
for child in children:
    child.start()
print("ready", flush=True)
sys.stdin.read()
for child in children:
    child.kill()
"""


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "stacks"])
def test_a_family_may_end_while_it_is_looked_at(verb: str, tmp_path: pathlib.Path) -> None:
    ended = ("there is no such process", "in no family", "no member has the descriptor")
    for delay in (0, 0.001, 0.003, 0.01):
        with subprocess.Popen(
            [sys.executable, "-c", ENDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as family:
            assert family.stdout is not None
            assert family.stdout.readline() == b"ready\n"
            looker = subprocess.Popen(
                [inspect.PROGRAM, *command_of(verb, tmp_path / "file", family.pid)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            time.sleep(delay)  # any moment is as good as another
            family.communicate()
        told = looker.communicate()
        # 3: who is being killed waits for its parent until it is dead, and that joins it.
        assert looker.returncode in ((0, 1, 3) if verb == "locks" else (0, 1))
        assert looker.returncode != 1 or any(words in told[1] for words in ended), told


# ---- terminals


class Terminal:
    """`mproc top` of this process's family on a terminal of its own."""

    def __init__(self, rows: int, columns: int, term: str | None = "xterm", every: str = "0.1"):
        lock: Any = mproc.Lock()
        self.keep = lock
        environment = {name: value for name, value in os.environ.items() if name != "TERM"}
        if term is not None:
            environment["TERM"] = term
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            self.resize_fd(1, rows, columns)
            command = ["mproc", "top", "-d", every, str(os.getppid())]
            os.execve(inspect.PROGRAM, command, environment)
        self.shown = b""

    @staticmethod
    def resize_fd(fd: int, rows: int, columns: int) -> None:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds: float) -> bool:
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            self.shown += os.read(self.fd, 65536)
        except OSError:  # the other side is closed
            return False
        return True

    def until(self, text: bytes) -> None:
        while text not in self.shown:
            self.read(1)

    def frames(self, n: int) -> None:
        start = self.shown.count(b"\x1b[H")
        while self.shown.count(b"\x1b[H") < start + n:
            self.read(1)

    def status(self) -> int:
        while (
            self.read(0.2)
            or os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        ):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def end(self) -> None:
        os.write(self.fd, b"q")
        assert self.status() == 0
        assert self.shown.endswith(b"\x1b[?7h\x1b[?25h\x1b[?1049l")
        os.close(self.fd)


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (1, 1), (2, 3), (200, 500), (65535, 65535)])
def test_top_on_a_terminal_of_any_size(rows: int, columns: int) -> None:
    terminal = Terminal(rows, columns)
    terminal.frames(3)
    if rows == 1:
        frame = terminal.shown.rsplit(b"\x1b[H", 2)[1]
        assert frame.replace(b"\r\x1b[J\x1b[7m", b"").replace(b"\x1b[0m", b"") == b" "
    terminal.end()


def test_top_counts_what_a_small_terminal_has_no_room_for() -> None:
    kept: list[Any] = [mproc.Queue() for _ in range(202)]
    terminal = Terminal(6, 60)
    terminal.until(b" more lines")
    frame = terminal.shown.rsplit(b"\x1b[H", 1)[1]
    assert re.search(rb"\.\.\. and \d+ more lines", frame)
    terminal.end()
    told = subprocess.run(
        [inspect.PROGRAM, "top", "-n", "1", str(os.getpid())], capture_output=True, text=True
    ).stdout
    assert re.search(r"^\.\.\. and \d+ more queues$", told, re.MULTILINE)
    del kept


def test_top_follows_a_terminal_that_is_resized() -> None:
    terminal = Terminal(24, 80, every="1000")
    terminal.frames(1)
    for rows, columns in ((1, 1), (60, 200), (5, 10)):
        terminal.resize_fd(terminal.fd, rows, columns)  # which sends a SIGWINCH
        terminal.frames(1)
    terminal.end()


@pytest.mark.parametrize("term", ["dumb", "", None])
def test_top_writes_no_commands_to_what_is_no_screen(term: str | None) -> None:
    terminal = Terminal(24, 80, term)
    terminal.until(b"METHOD")
    terminal.until(b"HOLDS  NAME")
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.status() == -signal.SIGTERM
    assert b"\x1b" not in terminal.shown
    os.close(terminal.fd)


@pytest.mark.parametrize("way", ["key", "signal"])
def test_top_stops_and_goes_on(way: str) -> None:
    terminal = Terminal(24, 80, every="1000")
    terminal.frames(1)
    if way == "key":
        os.write(terminal.fd, b"\x1a")
    else:
        os.kill(terminal.pid, signal.SIGTSTP)
    stopped = os.waitpid(terminal.pid, os.WUNTRACED)[1]
    assert os.WIFSTOPPED(stopped)
    terminal.until(b"\x1b[?7h\x1b[?25h\x1b[?1049l")
    assert termios.tcgetattr(terminal.fd)[3] & termios.ICANON
    os.kill(terminal.pid, signal.SIGCONT)
    terminal.frames(1)
    assert not termios.tcgetattr(terminal.fd)[3] & termios.ICANON
    terminal.end()


def test_top_takes_its_terminal_again_after_a_stop_that_it_did_not_see() -> None:
    terminal = Terminal(24, 80, every="1000")
    terminal.frames(1)
    usual = termios.tcgetattr(terminal.fd)
    os.kill(terminal.pid, signal.SIGSTOP)
    os.waitpid(terminal.pid, os.WUNTRACED)
    usual[3] |= termios.ICANON | termios.ECHO  # as a shell does
    termios.tcsetattr(terminal.fd, termios.TCSANOW, usual)
    os.kill(terminal.pid, signal.SIGCONT)
    terminal.frames(1)
    assert not termios.tcgetattr(terminal.fd)[3] & termios.ICANON
    terminal.end()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT, signal.SIGINT, signal.SIGTERM])
def test_top_ends_at_once_when_it_is_asked(number: signal.Signals) -> None:
    terminal = Terminal(24, 80, every="1000")
    terminal.frames(1)
    os.kill(terminal.pid, number)
    assert terminal.status() == 0
    os.close(terminal.fd)


def test_top_ends_with_its_terminal() -> None:
    terminal = Terminal(24, 80)
    terminal.frames(1)
    os.close(terminal.fd)
    assert os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1]) in (0, 1)
