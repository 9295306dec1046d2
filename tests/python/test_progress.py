"""progress=: how far a map is, on a terminal, in a log, by tqdm, and for a callable."""

import functools
import io
import os
import pty
import re
import threading
from types import SimpleNamespace

import errands
import pytest

import mproc
from mproc._pool import progress
from mproc.pool import ThreadPool

LINE = re.compile(r"(\d+)/(\d+) items, (\d+)%, [\d.]+/s, ((\d+:)?\d+:\d\d left, )?(\d+) workers")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream))
    return stream


@pytest.fixture
def log(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream))
    return stream


@pytest.fixture
def always(monkeypatch):
    """Each look is due."""
    monkeypatch.setattr(progress.Progress, "interval", 0)
    monkeypatch.setattr(progress._Log, "interval", 0)


def fail_at(n, bad):
    if n == bad:
        raise LookupError(n)
    return n


def time_out(n):
    raise mproc.TimeoutError(n)


def ways(pool):
    """Each way of mapping, and what it returns."""
    return [
        functools.partial(pool.map, errands.square),
        functools.partial(pool.map, errands.square, chunksize=3),
        lambda items, **how: pool.starmap(errands.square, [(n,) for n in items], **how),
        lambda items, **how: list(pool.imap(errands.square, items, 2, **how)),
        lambda items, **how: sorted(pool.imap_unordered(errands.square, items, **how)),
    ]


# ---- what is shown


def test_a_terminal_has_one_line(terminal, ctx, always):
    with ctx.Pool(2) as pool:
        for way in ways(pool):
            terminal.truncate(0)
            terminal.seek(0)
            assert way(range(20), progress=True) == [n * n for n in range(20)]
            text = terminal.getvalue()
            assert text.startswith("\r") and text.endswith("\n") and text.count("\n") == 1
            last = LINE.match(text[:-1].split("\r")[-1])
            assert last and last.groups() == ("20", "20", "100", "0:00 left, ", None, "2")
            assert all(len(line) < 100 for line in text.split("\r"))


def test_a_terminal_of_the_system(program):
    """A real one, of 30 columns."""
    master, slave = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 30, 0, 0))
    code = (
        "import mproc\n"
        "with mproc.get_context('fork').Pool(1) as pool: pool.map(abs, [1, 2], progress=True)\n"
    )
    path = program.write("program.py", code)
    done = program.run(
        "-c",
        f"import os, sys; os.dup2({slave}, 2); exec(open({str(path)!r}).read())",
        pass_fds=[slave],
    )
    os.close(slave)
    text = os.read(master, 1000).decode()
    os.close(master)
    assert done.returncode == 0
    assert "\r2/2 items, 100%, " in text and text.endswith("\x1b[K\r\n")
    assert all(len(line) < 30 for line in text.replace("\x1b[K", "").split("\r"))


def test_a_log_has_whole_lines(log, ctx, always):
    with ctx.Pool(2) as pool:
        for way in ways(pool):
            log.truncate(0)
            log.seek(0)
            assert way(range(20), progress=True) == [n * n for n in range(20)]
            lines = log.getvalue().splitlines()
            assert all(LINE.fullmatch(line) for line in lines)
            assert LINE.fullmatch(lines[-1])[1] == "20"


def test_a_log_is_written_seldom(log):
    with mproc.get_context("fork").Pool(1) as pool:
        pool.map(errands.square, range(100), progress=True)
    assert len(log.getvalue().splitlines()) == 1


def test_an_executor(terminal, ctx, always):
    with mproc.ProcessPoolExecutor(2, ctx) as executor:
        for options in ({}, {"chunksize": 3}, {"chunksize": 2, "buffersize": 2}, {"timeout": 60}):
            results = executor.map(errands.square, range(20), progress=True, **options)
            assert list(results) == [n * n for n in range(20)]
            text = terminal.getvalue()
            assert "\r20/20 items, 100%" in text and text.endswith("\n")
            terminal.truncate(0)
            terminal.seek(0)


def test_a_callable_is_told():
    seen = []
    with ThreadPool(2) as pool:
        pool.map(errands.square, range(7), 2, progress=lambda p: seen.append((p.done, p.total)))
        assert seen[-1] == (7, 7)
        pool.map(errands.square, [], progress=lambda p: seen.append((p.done, str(p))))
        assert seen[-1][0] == 0 and seen[-1][1].startswith("0/0 items, 100%")
        squares = pool.imap(errands.square, (n for n in range(3)), progress=seen.append)
        assert list(squares) == [0, 1, 4]
    last = seen[-1]
    assert (last.done, last.total, last.left) == (3, None, None)
    assert str(last).startswith("3 items, ") and last.rate > 0


def test_what_it_says():
    shown = progress.Progress(200, lambda: 3)
    assert str(shown) == "0/200 items, 0%, 0.0/s, 3 workers"
    shown._begun -= 1000
    shown.done = 50
    assert (shown.rate, shown.left) == (pytest.approx(0.05, 0.1), pytest.approx(3000, 0.1))
    assert re.fullmatch(r"50/200 items, 25%, 0\.\d/s, \d+:\d\d left, 3 workers", str(shown))
    shown.done = 1
    assert " left" in str(shown) and progress._clock(3661) == "1:01:01"
    assert progress._clock(59.6) == "1:00"


def test_sizes():
    assert progress.size_of([1, 2], range(3)) == 2
    assert progress.size_of(iter([1, 2])) == 2
    assert progress.size_of([1], (n for n in "ab")) is None


def test_tqdm(log):
    tqdm = pytest.importorskip("tqdm").tqdm
    tqdm.monitor_interval = 0  # it starts no thread
    tqdm.set_lock(
        threading.RLock()
    )  # its own, of the standard library, may start a resource tracker
    with mproc.get_context("fork").Pool(2) as pool:
        assert pool.map(errands.square, range(9), progress="tqdm") == [n * n for n in range(9)]
        assert list(pool.imap(errands.square, [3], progress="tqdm")) == [9]
    assert "9/9" in log.getvalue() and "workers=2" in log.getvalue() and "1/1" in log.getvalue()


def test_tqdm_is_not_installed(program):
    code = (
        "import sys, mproc; sys.modules['tqdm'] = sys.modules['tqdm.auto'] = None\n"
        "with mproc.get_context('fork').Pool(1) as pool:\n"
        "    try: pool.map(abs, [1], progress='tqdm')\n"
        "    except ImportError as error: print(error)\n"
    )
    expected = 'progress="tqdm" needs the package tqdm: pip install tqdm\n'
    assert program.output("-c", code) == expected


def test_nothing_is_imported_unless_asked_for(program):
    code = (
        "import sys, mproc\n"
        "with mproc.get_context('fork').Pool(1) as pool: pool.map(abs, [1], progress=False)\n"
        "print('mproc._pool.progress' in sys.modules)\n"
    )
    assert program.output("-c", code) == "False\n"


# ---- what ends a line


def test_an_exception_ends_the_line(terminal, ctx, always):
    call = functools.partial(fail_at, bad=7)
    with ctx.Pool(2) as pool:
        with pytest.raises(LookupError):
            pool.map(call, range(10), 1, progress=True)
        assert terminal.getvalue().endswith("\n")
        results = pool.imap(call, range(10), progress=True)
        assert [next(results) for _ in range(7)] == list(range(7))
        with pytest.raises(LookupError):
            next(results)
        assert terminal.getvalue().endswith("\n")
        assert list(results) == [8, 9]
        assert terminal.getvalue().endswith("\n")
    with mproc.ProcessPoolExecutor(2, ctx) as executor:
        with pytest.raises(LookupError):
            list(executor.map(call, range(10), progress=True))
        assert terminal.getvalue().endswith("\n")


def test_who_takes_no_more_ends_the_line(terminal, always):
    with mproc.get_context("fork").Pool(1) as pool:
        for n in pool.imap(errands.square, range(10), progress=True):
            if n:
                break
        assert "\r1/10" in terminal.getvalue() and terminal.getvalue().endswith("\n")
    with mproc.ProcessPoolExecutor(1, mproc.get_context("fork")) as executor:
        results = executor.map(errands.square, range(10), progress=True)
        next(results)
        results.close()
    assert terminal.getvalue().endswith("\n")


INTERRUPTED = """
import os, signal, sys, threading
import mproc
from mproc._pool import progress

def wait(n):
    import time
    time.sleep(60 * n)

class Terminal:
    def isatty(self): return True
    def write(self, text): sys.stdout.write(text)
    def flush(self): sys.stdout.flush()
    def fileno(self): raise OSError

progress.Progress.interval = 0
shown = progress._Line._show
def interrupt(self):
    shown(self)
    if self.done: os.kill(os.getpid(), signal.SIGINT)
progress._Line._show = interrupt
ctx = mproc.get_context("fork")
sys.stderr = Terminal()
with ctx.Pool(2) as pool, mproc.ProcessPoolExecutor(2, ctx) as executor:
    for way in (
        lambda: pool.map(wait, [0, 1], 1, progress=True),
        lambda: list(pool.imap(wait, [0, 1], progress=True)),
        lambda: list(executor.map(wait, [0, 1], progress=True)),
    ):
        try: way()
        except KeyboardInterrupt: print("interrupted")
    executor.kill_workers()
"""


def test_an_interrupt_ends_the_line(program):
    printed = program.output("-c", INTERRUPTED)
    assert printed.count("interrupted\n") == printed.count("\x1b[K\ninterrupted\n") == 3


# ---- bad input, and streams that are not there


@pytest.mark.parametrize("bad", [1, "bar", 2.5, ["tqdm"]])
def test_what_progress_may_be(bad):
    with ThreadPool(1) as pool:
        for call in (pool.map, pool.starmap, pool.imap, pool.imap_unordered):
            with pytest.raises(TypeError, match='progress must be True, "tqdm" or a callable'):
                call(errands.square, [(1,)], progress=bad)
    with (
        mproc.ProcessPoolExecutor(1, mproc.get_context("fork")) as executor,
        pytest.raises(TypeError, match="progress must be"),
    ):
        executor.map(errands.square, [1], progress=bad)


@pytest.mark.parametrize("stream", [None, io.StringIO(), Terminal()])
def test_what_cannot_be_written_is_left_out(monkeypatch, stream, always):
    if stream is not None:
        stream.close()  # one of the two says then that it is no terminal, and the other one raises
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream))
    with ThreadPool(1) as pool:
        assert pool.map(errands.square, [2], progress=True) == [4]


def test_what_a_callable_raises_is_raised():
    def refuse(_):
        raise LookupError("not now")

    with ThreadPool(1) as pool, pytest.raises(LookupError, match="not now"):
        pool.map(errands.square, [1], progress=refuse)


def test_timeouts(ctx, always, log):
    """A timeout that a task raised is a result; one of next() is not."""
    with ctx.Pool(1) as pool:
        results = pool.imap(time_out, [1, 2], progress=True)
        for n in (1, 2):
            with pytest.raises(mproc.TimeoutError, match=str(n)):
                next(results)
        with pytest.raises(StopIteration):
            next(results)
    event = threading.Event()
    with ThreadPool(1) as pool:
        results = pool.imap(event.wait, [60], progress=True)
        with pytest.raises(mproc.TimeoutError):
            results.next(0.01)
        with pytest.raises(mproc.TimeoutError):
            results.next(timeout=0.15)
        event.set()
        assert results.next(60) is True


def test_an_executors_timeout(ctx, log):
    barrier = ctx.Barrier(2)
    with mproc.ProcessPoolExecutor(1, ctx, errands.remember, (barrier,)) as executor:
        results = executor.map(wait_at, [60], timeout=0.2, progress=True)
        with pytest.raises(TimeoutError):
            next(results)
        barrier.wait(60)


def wait_at(seconds):
    errands.state[-1][0].wait(seconds)


def test_a_cancelled_future(log):
    shown = progress.Progress(1, lambda: 0)
    future = mproc.futures.Future()
    future.cancel()
    shown._await(future, 0)
    assert not log.getvalue()
