"""The laboratory for exceptions of signals' handlers, of pools: one at each place of an operation.

    python tests/python/interrupted.py [--all] [--seed N] [NAME ...]

How it works. The interpreter runs handlers where a function begins, behind a call, and where a loop
goes back. A trace function counts these places of the package in the thread that does an operation,
and has a handler raise at the k-th: KeyboardInterrupt or an Exception. What the operation
has been asked for is then taken, or asked for again. Whatever the place, no result is missing, no
task stays open, and close() and join() come to their end.

An exception behind a call belongs to the call. Where the next instruction is in another try than
the call was, a trace function cannot raise it, and the place is left out. What handlers raise while
C waits is tried by interrupts.py.

Without --all a sample of the places is tried, where one takes long.
"""

import contextlib
import dis
import functools
import gc
import os
import random
import signal
import sys
import threading
import time

import mproc
from mproc import futures
from mproc.pool import ThreadPool

LONG = 30  # seconds that no wait takes: after them something is wrong
ITEMS = 150  # of a map or imap
SAMPLE = 25  # places of an operation whose pool has processes

PACKAGE = os.path.dirname(mproc.__file__) + os.sep

# Instructions with which handlers run, and what begins like them and runs none.
_CHECKS = ("RESUME", "CALL", "JUMP_BACKWARD")
_NO_CHECKS = ("CALL_INTRINSIC", "JUMP_BACKWARD_NO_INTERRUPT")


class Heard(Exception):
    """What a handler raises that is no KeyboardInterrupt."""


# ---- places


@functools.cache
def _places(code):
    """Return the offsets of a function's instructions that run handlers, and all by their try."""
    names = {i.offset: i.opname for i in dis.get_instructions(code)}
    checks = {
        offset
        for offset, name in names.items()
        if name.startswith(_CHECKS) and not name.startswith(_NO_CHECKS)
    }
    entries = dis.Bytecode(code).exception_entries
    guards = {
        offset: next((e.target for e in entries if e.start <= offset < e.end), None)
        for offset in names
    }
    return checks, guards


class Interrupter:
    """Raises an exception at a place of the package, the at-th that this thread comes to."""

    def __init__(self, at, error):
        self.seen = 0
        self.where = None  # it has raised there
        self._at = at
        self._error = error
        self._last = {}  # by frame, the instruction before
        self._pid = os.getpid()

    def __enter__(self):
        gc.disable()  # what is raised while an object is freed is nobody's
        self._before = signal.signal(signal.SIGUSR1, self._raise)
        sys.settrace(self._begin)
        return self

    def __exit__(self, *exc_info):
        sys.settrace(None)
        signal.signal(signal.SIGUSR1, self._before)
        gc.enable()
        self._last.clear()

    def _raise(self, number, frame):
        raise self._error

    def _begin(self, frame, event, arg):
        if not self._is_mine() or not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        return self._go_on

    def _is_mine(self):
        """Return whether this is no forked child, and have none traced."""
        if os.getpid() == self._pid:
            return True
        sys.settrace(None)
        return False

    def _go_on(self, frame, event, arg):
        if not self._is_mine():
            return None
        if event == "opcode":
            self._step(frame, self._last.get(frame), frame.f_lasti)
        elif event != "line":
            self._last.pop(frame, None)  # it returns, or goes on behind what was raised
        return self._go_on

    def _step(self, frame, before, now):
        self._last[frame] = now
        checks, guards = _places(frame.f_code)
        if before not in checks or guards[before] != guards[now]:
            return
        if self.seen == self._at:
            code = frame.f_code
            self.where = f"{code.co_filename}:{frame.f_lineno}, {code.co_qualname}"
            self.seen += 1
            signal.raise_signal(signal.SIGUSR1)
        self.seen += 1


# ---- faces: each is a context manager that yields what tasks are given to; its end has to come


def _ends(end, what):
    """Have a thread call end(); what it waits for has to come."""
    raised = []

    def call():
        try:
            end()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(LONG)
    assert not thread.is_alive(), f"{what} does not return"
    assert raised == []


@contextlib.contextmanager
def _closed(pool):
    yield pool
    pool.close()
    _ends(pool.join, "join()")
    assert pool._tasks.open == 0
    assert pool._feeding == pool._unsent == []


def threads():
    """Return a pool of threads."""
    return _closed(ThreadPool(2))


def processes():
    """Return a pool of forked processes."""
    return _closed(mproc.get_context("fork").Pool(2))


@contextlib.contextmanager
def executor():
    """Yield an executor with forked processes."""
    made = futures.ProcessPoolExecutor(2, mproc.get_context("fork"))
    yield made
    _ends(made.shutdown, "shutdown()")
    assert made._engine._tasks.open == len(made._engine._backlog) == 0


@contextlib.contextmanager
def joblib():
    """Yield a function that has joblib make calls in forked processes."""
    from joblib import Parallel, delayed, parallel_config

    import mproc.joblib

    mproc.joblib.register()

    def call(n):
        with parallel_config(backend="mproc", n_jobs=2, start_method="fork"):
            return Parallel()(delayed(abs)(i) for i in range(-n, 0))

    yield call
    gc.collect()  # a backend that was interrupted goes with the exception
    _ends(mproc.joblib.shutdown, "shutdown()")
    assert mproc.joblib._kept == {}


# ---- operations: each does something under an interrupter, and judges what has come of it


class Trial:
    """An operation that may be interrupted once."""

    def __init__(self, at=-1, kind=Heard):
        self._error = kind()
        self.interrupter = Interrupter(at, self._error)

    def __call__(self, function, *args):
        """Return whether the call has returned, and what."""
        try:
            with self.interrupter:
                result = function(*args)
        except BaseException as error:
            if error is not self._error:
                raise
            return False, None
        finally:
            self._error.__traceback__ = self._error.__context__ = None  # they hold what was called
        return True, result

    def taken(self, get):
        """Return what get() returns; 1 if the task that was being made has got the interrupt."""
        try:
            return get(LONG)
        except Heard as error:
            if error is not self._error:
                raise
            return 1


def _range(n):
    return list(range(n, 0, -1))


def apply(pool, trial):
    done, result = trial(pool.apply, abs, (-1,))
    assert not done or result == 1


def apply_async(pool, trial):
    heard = threading.Event()

    def hear(_):
        heard.set()

    def call():
        return pool.apply_async(abs, (-1,), callback=hear, error_callback=hear)

    done, result = trial(call)
    if done:
        result.wait(LONG)
        assert heard.is_set()
        assert trial.taken(result.get) == 1


def unsent(pool, trial):
    """What cannot be sent is told to a callback."""
    heard = []
    lock = threading.Lock()

    def call():
        return pool.map_async(abs, [lock], error_callback=heard.append)

    done, result = trial(call)
    if done:
        result.wait(LONG)
        assert result.ready() and len(heard) == 1


def get(pool, trial):
    result = pool.apply_async(time.sleep, (0.02,))
    done, _ = trial(result.get)
    assert done or result.get(LONG) is None


def map(pool, trial):
    done, results = trial(pool.map, abs, range(-ITEMS, 0), 4)
    assert not done or results == _range(ITEMS)


def _imap(pool, trial, method, items, chunk):
    results = []
    done, taken = trial(getattr(pool, method), abs, items, chunk)
    if not done:
        return

    def take():
        while True:
            results.append(taken.next(LONG))

    for _ in range(2):  # who was interrupted goes on
        with contextlib.suppress(StopIteration):
            trial(take)
    assert sorted(results, reverse=True) == _range(ITEMS)
    assert method != "imap" or results == _range(ITEMS)


def imap(pool, trial):
    _imap(pool, trial, "imap", range(-ITEMS, 0), 1)


def imap_unordered(pool, trial):
    _imap(pool, trial, "imap_unordered", list(range(-ITEMS, 0)), 4)


def imap_of_a_set(pool, trial):
    """Of a container whose items are taken one by one."""
    _imap(pool, trial, "imap_unordered", set(range(-ITEMS, 0)), 2)


def imap_of_a_generator(pool, trial):
    """Read by a thread of its own."""
    _imap(pool, trial, "imap", (n for n in range(-ITEMS, 0)), 3)


def close(pool, trial):
    result = pool.map_async(abs, range(-ITEMS, 0))
    trial(pool.close)
    pool.close()
    assert result.get(LONG) == _range(ITEMS)


def join(pool, trial):
    result = pool.map_async(abs, range(-ITEMS, 0))
    pool.close()
    trial(pool.join)
    assert result.get(LONG) == _range(ITEMS)


def terminate(pool, trial):
    result = pool.map_async(time.sleep, [0.001] * 20, 1)
    trial(pool.terminate)
    if pool._state == "RUN":  # it had not begun
        pool.terminate()
    _ends(pool.join, "join()")
    result.wait(LONG)
    assert result.ready()


def submit(made, trial):
    done, future = trial(made.submit, abs, -1)
    assert not done or trial.taken(future.result) == 1


def result(made, trial):
    future = made.submit(time.sleep, 0.02)
    done, _ = trial(future.result)
    assert done or future.result(LONG) is None


def map_of_executor(made, trial):
    done, results = trial(lambda: list(made.map(abs, range(-ITEMS, 0), chunksize=4)))
    assert not done or results == _range(ITEMS)


def map_with_buffer(made, trial):
    done, results = trial(lambda: list(made.map(abs, range(-20, 0), buffersize=3)))
    assert not done or results == _range(20)


def shutdown(made, trial):
    waiting = [made.submit(abs, -1) for _ in range(20)]
    trial(made.shutdown)
    assert [future.result(LONG) for future in waiting] == [1] * 20


def cancel(made, trial):
    waiting = [made.submit(time.sleep, 0.001) for _ in range(20)]
    trial(lambda: made.shutdown(wait=False, cancel_futures=True))
    made.shutdown(wait=False, cancel_futures=True)
    for future in waiting:
        assert future.cancelled() or future.result(LONG) is None


def parallel(call, trial):
    done, results = trial(call, 20)
    assert not done or results == _range(20)
    assert call(3) == [3, 2, 1]


POOL = (
    apply, apply_async, get, map, imap, imap_unordered, imap_of_a_set, imap_of_a_generator,
    close, join, terminate,
)  # fmt: skip

FACES = {
    threads: POOL,
    processes: (*POOL, unsent),
    executor: (submit, result, map_of_executor, map_with_buffer, shutdown, cancel),
    joblib: (parallel,),
}


# ---- the laboratory


def try_at(face, operation, at, kind):
    """Interrupt an operation at a place; return the trial. AssertionError: something is left."""
    trial = Trial(at, kind)
    try:
        with face() as made:
            operation(made, trial)
    except BaseException as error:
        error.add_note(f"interrupted by {kind.__name__} at place {at}: {trial.interrupter.where}")
        raise
    return trial


def places(face, operation):
    """Return how many places an operation has, at least one; a first one imports more."""
    try_at(face, operation, -1, Heard)
    return max(1, try_at(face, operation, -1, Heard).interrupter.seen)


def run(face, operation, choose):
    """Interrupt an operation at the places that choose(count) returns; return their number."""
    chosen = choose(places(face, operation))
    for at in chosen:
        try_at(face, operation, at, KeyboardInterrupt if at % 2 else Heard)
    return len(chosen)


def sample(draw):
    """Return what chooses a sample of places, without an order."""

    def choose(count):
        stride = max(1, count // SAMPLE)
        return range(draw.randrange(stride), count, stride)

    return choose


def main(args):
    """Run the laboratory; return the exit code."""
    everything, seed, names = False, int(time.time()), []
    while args:
        arg = args.pop(0)
        if arg == "--all":
            everything = True
        elif arg == "--seed":
            seed = int(args.pop(0))
        else:
            names.append(arg)
    print(f"seed {seed}")
    failed = 0
    for face, operations in FACES.items():
        for operation in operations:
            name = f"{face.__name__} {operation.__name__}"
            if names and not any(word in name for word in names):
                continue
            choose = range if everything or face is threads else sample(random.Random(seed))
            for at in choose(count := places(face, operation)):
                try:
                    try_at(face, operation, at, KeyboardInterrupt if at % 2 else Heard)
                except Exception as error:
                    failed += 1
                    print(f"  FAILED {name}: {error!r}, {error.__notes__}", flush=True)
            print(f"{name:32} {count:5} places", flush=True)
    print(f"{failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
