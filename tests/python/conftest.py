"""The fixtures of the package's tests; each test is followed by a check of what it has left."""

import contextlib
import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import mproc
from mproc import _mproc

METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture(params=METHODS)
def method(request):
    """Each start method in turn."""
    return request.param


@pytest.fixture
def ctx(method):
    """The context of each start method in turn."""
    return mproc.get_context(method)


@pytest.fixture
def manager(ctx):
    """A manager, under each start method in turn."""
    with ctx.Manager() as started:
        yield started


@pytest.fixture
def fast():
    """A manager, where the start method makes no difference."""
    with mproc.get_context("fork").Manager() as started:
        yield started


@pytest.fixture
def served():
    """A manager all of whose objects are at its server, since it could have types of its own."""
    from managed import Served

    with Served(ctx=mproc.get_context("fork")) as started:
        yield started


def descriptors(pid="self"):
    """A process' open descriptors and what they are."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile, as the listing's is
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found


def is_stopped(pid):
    """Whether all threads of a process are: one that runs still reads what comes."""
    states = []
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(FileNotFoundError):  # the thread has just ended
            states.append(path.read_text().rpartition(")")[2].split()[0])
    return {*states} == {"T"}


def wait_until(condition, seconds=60):
    """Wait until the condition holds, or that long; return whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():  # once is enough: what sleeps wakes now and then
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.005)
    return True


def in_thread(call, *args):
    """What a call returns in another thread, to which this one's locks do not belong."""
    found = []
    thread = threading.Thread(target=lambda: found.append(call(*args)))
    thread.start()
    thread.join()
    return found[0]


def alarmed(seconds, call, *args):
    """Make a call during which a SIGALRM comes; on a busy machine it comes before the call.

    So what the handler raises may be raised anywhere in here, and nowhere else.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return call(*args)


@contextlib.contextmanager
def not_for_ever(child):
    """Kill a program at last, so that a test that fails does not wait for it."""
    try:
        yield child
    finally:
        child.kill()


def in_arena():
    """The family's bytes of shared memory."""
    return _mproc.arena_stat()["used"]


@pytest.fixture(scope="session", autouse=True)
def family():
    """What happens once in a process does not happen in the middle of a test.

    It becomes a member of a family; libffi, where it makes callbacks so, opens its own file.
    """
    ctypes.CFUNCTYPE(None)(lambda: None)
    process = mproc.get_context("fork").Process()
    process.start()
    process.join()
    process.close()


def stop_template():
    forkserver = sys.modules.get("mproc.forkserver")
    if forkserver is not None:
        forkserver._forkserver._stop()


def children_of_threads():
    """Our children's pids. A thread that ends gives its own to another: then all are asked anew."""
    while True:
        try:
            tasks = Path("/proc/self/task").iterdir()
            return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            pass  # a thread that was joined may be ending still


def end_children():
    """Ends the children that a test has left, which are no other test's fault, and says which."""
    left = []
    for pid in children_of_threads():
        what = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        left.append((pid, what or Path(f"/proc/{pid}/stat").read_text()))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return left


@pytest.fixture(autouse=True)
def nothing_left(request):
    """No descriptor, child, thread or byte of the arena outlives its test."""
    stop_template()
    before, threads, arena = descriptors(), threading.active_count(), in_arena()
    yield
    request.node.funcargs.clear()  # they would live until the next test
    gc.collect()
    wait_until(lambda: threading.active_count() <= threads)  # helpers of what has gone
    stop_template()  # not before: a helper that replaces workers would start another one
    mproc.active_children()
    gc.collect()
    wait_until(lambda: descriptors() == before)  # a server sees later that its clients have gone
    assert descriptors() == before
    assert threading.active_count() == threads
    wait_until(lambda: _mproc.reap() == 0 and in_arena() == arena)  # grandchildren may be ending
    assert in_arena() == arena
    _mproc.arena_check()
    assert end_children() == []


class Program:
    """Runs Python programs in a directory of their own."""

    def __init__(self, folder: Path):
        self.folder = folder
        package = str(Path(mproc.__file__).parent.parent)
        self.env = {**os.environ, "PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1"}

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *arguments, timeout=60, **options):
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=options.pop("cwd", self.folder),
            env=options.pop("env", self.env),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **options,
        )

    def output(self, *arguments, **options):
        """What a program prints that succeeds and says nothing on stderr."""
        done = self.run(*arguments, **options)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout


@pytest.fixture
def program(tmp_path):
    return Program(tmp_path)
