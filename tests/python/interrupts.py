"""The laboratory for signals, of Python's waits: one after each instruction.

    python tests/python/interrupts.py [--all] [--seed N] [NAME ...]

How it works. A victim is a fork of the laboratory. It stops itself, is stepped k instructions far
by ptrace, and gets a signal whose handler raises (SIGUSR1), or which is KeyboardInterrupt (SIGINT).

A *wait* ends by nothing else. Its window begins before the call, in the interpreter, and goes on
through the first slice of the sleep into the second; one more point is in the sleep. The exception
has to come. A victim that has not ended after PATIENCE sleeps on: its signal is lost.

A *step* is a call that need not wait. Whatever the instruction, it has been done as a whole or not
at all, what it works on is whole, and the exception comes.

Pools wait a twentieth of a second at a time, to look after their workers; that is over before a
stepped process comes to its sleep. So the pools of victims have slices of an hour: what ends their
waits is the signal, or the shorter slices of the sleep itself. concurrent.futures.wait() and
as_completed() are not here: they wait for an Event of the interpreter's, which sleeps in one piece.
Nor are the awaitables of mproc.aio: what sleeps there is the interpreter's event loop.

Without --all a sample is tried, and always the instructions before a sleep. Linux on x86-64 only.
"""

import contextlib
import ctypes
import os
import queue
import random
import select
import signal
import sys
import time

import mproc

PATIENCE = 10.0  # seconds
SAMPLE = 12
DELICATE = 12  # instructions before a sleep that are always points
SLEEPS = 2
MOST = 400_000  # instructions of a window

_TRACEME, _PEEKTEXT, _PEEKUSER, _SINGLESTEP, _DETACH = 0, 1, 3, 9, 17
_RAX, _RSI, _RIP = 10 * 8, 13 * 8, 16 * 8
_SYSCALL = 0x050F
_FUTEX, _PPOLL = 202, 271

RAISED, RETURNED, BEFORE = 7, 3, 9  # exit codes of victims

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_ptrace = _libc.ptrace


class Heard(Exception):
    """What the handler raises."""


def _raise(number, frame):
    raise Heard


def _peek(request, pid, where):
    return _ptrace(request, pid, where, None)


# ---- victims


class Ended(Exception):
    """The victim has ended; args[0] is its wait status."""


class Victim:
    """A fork that waits to be stepped through a call."""

    def __init__(self, prepare, call):
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _be_victim(prepare, call)
        self.at = 0
        self._await_stop(signal.SIGSTOP)

    def _await_stop(self, number):
        _, status = os.waitpid(self.pid, 0)
        if not os.WIFSTOPPED(status) or os.WSTOPSIG(status) != number:
            raise Ended(status)

    def step(self):
        """Run one instruction; return whether the window goes on behind it."""
        _ptrace(_SINGLESTEP, self.pid, None, None)
        _, status = os.waitpid(self.pid, 0)
        if not os.WIFSTOPPED(status):
            raise Ended(status)
        self.at += 1
        return os.WSTOPSIG(status) == signal.SIGTRAP

    def is_at_sleep(self):
        """Return whether the next instruction is a system call that may sleep."""
        rip = _peek(_PEEKUSER, self.pid, _RIP)
        if _peek(_PEEKTEXT, self.pid, rip) & 0xFFFF != _SYSCALL:
            return False
        number = _peek(_PEEKUSER, self.pid, _RAX)
        verb = _peek(_PEEKUSER, self.pid, _RSI) & 0x7F
        return number == _PPOLL or (number == _FUTEX and verb in (0, 9))

    def let_go(self, number=0):
        """Let it run; it gets a signal first, unless that is 0."""
        _ptrace(_DETACH, self.pid, None, number)

    def await_sleep(self):
        """Wait until it sleeps."""
        while True:
            with open(f"/proc/{self.pid}/syscall") as file:
                if file.read().split()[0] in (str(_FUTEX), str(_PPOLL)):
                    return
            time.sleep(0.0002)

    def end(self):
        """Wait for its end; return the exit code, None if it had to be killed."""
        fd = os.pidfd_open(self.pid)
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            ended = bool(poll.poll(PATIENCE * 1000))
        finally:
            os.close(fd)
        if not ended:
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status) if ended else None


def _be_victim(prepare, call):
    code = RETURNED
    try:
        signal.signal(signal.SIGUSR1, _raise)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        call = prepare(call)
        _ptrace(_TRACEME, 0, None, None)
        pid, begin, end = os.getpid(), signal.SIGSTOP, signal.SIGURG
        try:
            os.kill(pid, begin)
            call()
            os.kill(pid, end)  # seen by a tracer only
        except (Heard, KeyboardInterrupt):
            code = RAISED
    except BaseException:
        code = BEFORE
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


# ---- waits


@contextlib.contextmanager
def queue_get(ctx):
    yield ctx.Queue().get


@contextlib.contextmanager
def queue_put(ctx):
    full = ctx.Queue(1)
    full.put(1)
    yield lambda: full.put(2)
    assert full.get() == 1


@contextlib.contextmanager
def queue_put_bytes(ctx):
    full = ctx.Queue(maxbytes=1 << 16)
    full.put(bytes(1 << 15))
    yield lambda: full.put(bytes(1 << 15))
    assert full.get() == bytes(1 << 15)


@contextlib.contextmanager
def simple_queue_get(ctx):
    yield ctx.SimpleQueue().get


@contextlib.contextmanager
def queue_join(ctx):
    undone = ctx.JoinableQueue()
    undone.put(1)
    yield undone.join


@contextlib.contextmanager
def lock(ctx):
    with held(ctx.Lock()) as taken:
        yield taken.acquire


@contextlib.contextmanager
def held(taken):
    taken.acquire()
    yield taken
    taken.release()


@contextlib.contextmanager
def with_lock(ctx):
    def enter():
        with taken:
            pass

    with held(ctx.Lock()) as taken:
        yield enter


@contextlib.contextmanager
def rlock(ctx):
    with held(ctx.RLock()) as taken:
        yield taken.acquire


@contextlib.contextmanager
def semaphore(ctx):
    yield ctx.Semaphore(0).acquire


@contextlib.contextmanager
def bounded_semaphore(ctx):
    with held(ctx.BoundedSemaphore(1)) as taken:
        yield taken.acquire


@contextlib.contextmanager
def event(ctx):
    yield ctx.Event().wait


@contextlib.contextmanager
def condition(ctx):
    meeting = ctx.Condition(ctx.Lock())

    def wait():
        with meeting:
            meeting.wait()

    yield wait
    assert meeting.acquire(timeout=PATIENCE)
    meeting.release()


@contextlib.contextmanager
def barrier(ctx):
    meeting = ctx.Barrier(2)
    yield meeting.wait


@contextlib.contextmanager
def connection_recv(ctx):
    reader, writer = ctx.Pipe()
    with reader, writer:
        yield reader.recv


@contextlib.contextmanager
def connection_poll(ctx):
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        yield lambda: reader.poll(None)


@contextlib.contextmanager
def connection_wait(ctx):
    from mproc.connection import wait

    reader, writer = ctx.Pipe()
    with reader, writer:
        yield lambda: wait([reader])


@contextlib.contextmanager
def connection_send(ctx):
    reader, writer = ctx.Pipe(duplex=False)
    data = bytes(1 << 20)  # now: filling it with zeros may be a million rounds of one instruction
    with reader, writer:
        yield lambda: writer.send_bytes(data)


@contextlib.contextmanager
def connection_send_offered(ctx):
    """A receiver has been seen in the ring: what is too large for the kernel is offered."""
    reader, writer = ctx.Pipe()
    data = bytes(1 << 20)
    with reader, writer:
        for _ in range(4):
            writer.send(1)
            assert reader.recv() == 1
        yield lambda: writer.send_bytes(data)


@contextlib.contextmanager
def dict_wait(ctx):
    shared = mproc.Dict()
    yield shared.wait


@contextlib.contextmanager
def dict_wait_key(ctx):
    shared = mproc.Dict(a=1)
    yield lambda: shared.wait("a")


@contextlib.contextmanager
def dict_lock(ctx):
    shared = mproc.Dict(a=1)

    def enter():
        with shared.lock("a"):
            pass

    with shared.lock("a"):
        yield enter


class InVictim:
    """A wait for what the victim has to make itself: make(ctx) returns the call."""

    def __init__(self, ctx, make):
        self._ctx, self._make = ctx, make

    def prepare(self):
        return self._make(self._ctx)


def _started(ctx):
    child = ctx.Process(target=time.sleep, args=(3600,), daemon=True)
    child.start()
    return child.join


@contextlib.contextmanager
def process_join(ctx):
    yield InVictim(ctx, _started)


def _without_slices():
    from mproc._engine import Engine

    assert Engine._slice > 0  # or this changes what nobody looks at
    Engine._slice = 3600.0


def _pool(ctx):
    """Return a pool that has done each kind of call: what is imported once is not in the window."""
    _without_slices()
    pool = ctx.Pool(1)
    pool.apply(time.sleep, (0,))
    pool.map(time.sleep, [0])
    list(pool.imap(time.sleep, [0]))
    list(pool.imap_unordered(time.sleep, [0]))
    return pool


def _executor(ctx):
    from mproc.futures import ProcessPoolExecutor

    _without_slices()
    executor = ProcessPoolExecutor(1, ctx)
    executor.submit(time.sleep, 0).result()
    return executor


def _applied(ctx):
    pool = _pool(ctx)
    return lambda: pool.apply(time.sleep, (3600,))


def _mapped(ctx):
    pool = _pool(ctx)
    return lambda: pool.map(time.sleep, [3600])


def _got(ctx):
    return _pool(ctx).apply_async(time.sleep, (3600,)).get


def _taken_in_order(ctx):
    return _pool(ctx).imap(time.sleep, [3600]).next


def _taken_in_any_order(ctx):
    return _pool(ctx).imap_unordered(time.sleep, [3600]).next


def _joined(ctx):
    pool = _pool(ctx)
    pool.apply_async(time.sleep, (3600,))
    pool.close()
    return pool.join


def _result(ctx):
    return _executor(ctx).submit(time.sleep, 3600).result


def _shut_down(ctx):
    executor = _executor(ctx)
    executor.submit(time.sleep, 3600)
    return executor.shutdown


@contextlib.contextmanager
def pool_apply(ctx):
    yield InVictim(ctx, _applied)


@contextlib.contextmanager
def pool_map(ctx):
    yield InVictim(ctx, _mapped)


@contextlib.contextmanager
def pool_result(ctx):
    yield InVictim(ctx, _got)


@contextlib.contextmanager
def pool_imap(ctx):
    yield InVictim(ctx, _taken_in_order)


@contextlib.contextmanager
def pool_imap_unordered(ctx):
    yield InVictim(ctx, _taken_in_any_order)


@contextlib.contextmanager
def pool_join(ctx):
    yield InVictim(ctx, _joined)


@contextlib.contextmanager
def pool_future(ctx):
    yield InVictim(ctx, _result)


@contextlib.contextmanager
def pool_shutdown(ctx):
    yield InVictim(ctx, _shut_down)


WAITS = (
    queue_get, queue_put, simple_queue_get, queue_join,
    lock, with_lock, rlock, semaphore,
    bounded_semaphore, event, condition, barrier, process_join,
    connection_recv, connection_poll, connection_wait, connection_send,
    dict_wait, dict_wait_key, dict_lock,
    pool_apply, pool_map, pool_result, pool_imap, pool_imap_unordered, pool_join,
    pool_future, pool_shutdown,
)  # fmt: skip

# Seconds for each point: only who runs this file tries them.
SLOW_WAITS = (queue_put_bytes, connection_send_offered)


# ---- steps: each makes an object and returns a call and what judges that; `raised` says whether
# the exception came within the call


def step_get(ctx):
    q = ctx.Queue()
    for i in range(3):
        q.put([i])

    def judge(raised):
        left = []
        with contextlib.suppress(queue.Empty):
            while True:
                left.append(q.get_nowait()[0])
        return left == [1, 2] or (raised and left == [0, 1, 2])

    return q.get, judge


def step_put(ctx):
    q = ctx.Queue()
    q.put(0)

    def judge(raised):
        left = []
        with contextlib.suppress(queue.Empty):
            while True:
                left.append(q.get_nowait())
        return left == [0, ["x", {"y": 1}]] or (raised and left == [0])

    return lambda: q.put(["x", {"y": 1}]), judge


def step_lock(ctx):
    free = ctx.Lock()

    def judge(raised):
        try:
            return free.acquire(timeout=PATIENCE) and raised
        except mproc.OwnerDiedError:
            return True  # the victim has ended with it

    return free.acquire, judge


def step_with_lock(ctx):
    free, value = ctx.Lock(), ctx.Value("i", lock=False)

    def add():
        with free:
            value.value += 1

    def judge(raised):
        try:
            got = free.acquire(timeout=PATIENCE)
        except mproc.OwnerDiedError:
            got = raised
        return got and (value.value == 1 or (raised and value.value == 0))

    return add, judge


def step_semaphore(ctx):
    permits = ctx.Semaphore(2)

    def judge(raised):
        left = permits.get_value()
        return left == 1 or (raised and left == 2)

    return permits.acquire, judge


STEPS = (step_get, step_put, step_lock, step_with_lock, step_semaphore)


# ---- the laboratory


def _measure(victim, sleeps):
    """Step a victim into its last sleep; return after how many instructions each comes."""
    found = []
    while True:
        if sleeps and victim.is_at_sleep():
            found.append(victim.at)
            if len(found) == sleeps:
                return found
        if not victim.step():
            return [*found, victim.at]
        if victim.at > MOST:
            victim.let_go(signal.SIGKILL)
            victim.end()
            raise AssertionError("the window has no end")


class Choice:
    """Which points are tried: a sample, and the last instructions before a sleep; or all."""

    def __init__(self, seed, sample=SAMPLE, delicate=DELICATE, everything=False):
        self._draw = random.Random(seed)
        self._sample, self._delicate, self._everything = sample, delicate, everything

    def points(self, count, sleeps):
        """Return the points of a window of `count` instructions."""
        if self._everything:
            return list(range(count + 1))
        stride = max(1, count // self._sample)
        chosen = set(range(self._draw.randrange(stride), count + 1, stride))
        for end in sleeps:
            chosen.update(range(max(0, end - self._delicate), end + 1))
        return sorted(chosen)


def _prepared(call):
    return call.prepare() if isinstance(call, InVictim) else call


def _deliver(call, window, point, number):
    """Return the exit code of a victim that got the signal at a point; None: it sleeps on."""
    victim = Victim(_prepared, call)
    asleep = point > window[-1]
    while victim.at < (window[0] if asleep else point):
        victim.step()
    victim.let_go(0 if asleep else number)
    if asleep:
        victim.await_sleep()
        os.kill(victim.pid, number)
    return victim.end()


def _signal_for(point):
    return signal.SIGINT if point % 2 else signal.SIGUSR1


def run_wait(make, ctx, choice):
    """Interrupt a wait at its points; return (points, all points, [(point, what happened)])."""
    failures = []
    with make(ctx) as call:
        victim = Victim(_prepared, call)
        window = _measure(victim, SLEEPS)
        victim.let_go(signal.SIGUSR1)
        victim.end()
        points = [*choice.points(window[-1], window), window[-1] + 1]
        for point in points:
            code = _deliver(call, window, point, _signal_for(point))
            if code != RAISED:
                failures.append((point, "lost" if code is None else f"exit code {code}"))
    return len(points), window[-1] + 2, failures


def run_step(make, ctx, choice):
    """Interrupt a step at its points; return the same as run_wait()."""
    failures = []
    call, _ = make(ctx)
    victim = Victim(_prepared, call)
    (count,) = _measure(victim, 0)
    victim.let_go(signal.SIGKILL)
    victim.end()
    points = choice.points(count - 1, ())
    for point in points:
        call, judge = make(ctx)
        victim = Victim(_prepared, call)
        while victim.at < point and victim.step():
            pass
        victim.let_go(_signal_for(point))
        code = victim.end()
        if code not in (RAISED, RETURNED) or not judge(code == RAISED):
            failures.append((point, f"exit code {code}"))
    return len(points), count, failures


def _report(name, outcome):
    points, count, failures = outcome
    lost = sum(what == "lost" for _, what in failures)
    sample = "" if points >= count else f", a sample of {count}"
    print(f"{name:32} {points:6} signal points{sample}, {lost} lost", flush=True)
    for point, what in failures:
        print(f"  FAILED {name}, signal after instruction {point}: {what}", flush=True)


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
    choice, ctx = Choice(seed, everything=everything), mproc.get_context("fork")
    passed = failed = 0
    for make in (*WAITS, *SLOW_WAITS, *STEPS):
        name = make.__name__
        if not names or any(word in name for word in names):
            run = run_step if make in STEPS else run_wait
            outcome = run(make, ctx, choice)
            _report(name, outcome)
            failed += bool(outcome[2])
            passed += not outcome[2]
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
