"""Ctrl-C, at any moment of a pool's or executor's work: one traceback, and nothing is left."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from conftest import wait_until

import mproc
from mproc import _mproc

PROGRAM = """
import sys, time
import mproc
from mproc import shared_memory

def work(n):
    end = time.perf_counter() + 0.001
    while time.perf_counter() < end:
        pass
    return n

def by_map(pool):
    pool.map(work, range(10**6), 1)

def by_imap(pool):
    for _ in pool.imap(work, iter(range(10**6))):
        pass

def by_imap_unordered(pool):
    for _ in pool.imap_unordered(work, range(10**6), 3, progress=True):
        pass

def by_apply_async(pool):
    for result in [pool.apply_async(work, (n,)) for n in range(10**5)]:
        result.get()

def by_submit(executor):
    for future in [executor.submit(work, n) for n in range(10**5)]:
        future.result()

def by_executors_map(executor):
    list(executor.map(work, range(10**5)))

def by_wait(executor):
    import concurrent.futures
    concurrent.futures.wait([executor.submit(work, n) for n in range(10**5)])

def main(method, way):
    ctx = mproc.get_context(method)
    segment = shared_memory.SharedMemory(create=True, size=100)
    print("begun", segment.name, flush=True)
    way = globals()[way]
    if way in (by_submit, by_executors_map, by_wait):
        with mproc.ProcessPoolExecutor(2, ctx) as executor:
            way(executor)
    else:
        with ctx.Pool(2) as pool:
            way(pool)

if __name__ == "__main__":
    main(*sys.argv[1:])
"""
WAYS = (
    "by_map",
    "by_imap",
    "by_imap_unordered",
    "by_apply_async",
    "by_submit",
    "by_executors_map",
    "by_wait",
)
LATEST = 1.0  # seconds after its beginning, when a program is interrupted
NOTE = "Error calling __set_name__"  # Python's own, of one that comes while it makes a class
CONTEXT = "During handling of the above exception, another exception occurred:"


def in_group(group):
    """The processes of a group that have not ended."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            with open(f"/proc/{int(name)}/stat") as file:
                state, _, its_group = file.read().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                found.append(int(name))
    return found


def interrupt(path, *arguments):
    """Run a program in a group of its own, and interrupt that as a terminal does.

    If a busy machine lets some milliseconds pass between the workers' interrupt and the program's,
    a worker may have ended by then, and so broken its executor. That is rare, and alike with the
    interpreter's lock and without.

    Return its process, what it said, and the name of its segment.
    """
    child = subprocess.Popen(
        [sys.executable, path, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    with child:
        try:
            begun, name = child.stdout.readline().split()
            assert begun == "begun"
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(random.uniform(0, LATEST))
            os.killpg(child.pid, signal.SIGINT)
            _, said = child.communicate(timeout=60)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
    return child, said, name


def told_errors(said):
    """How many errors a program told of.

    An error that came while another one was handled is told of with that one before it. Python
    handles errors of its own as it imports a module.
    """
    return said.count("Traceback (most recent call last)") - said.count(CONTEXT)


def check_end(child, said, name):
    assert child.returncode == -signal.SIGINT, said
    assert told_errors(said) == 1, said
    last, told = [line for line in said.splitlines() if not line.startswith(NOTE)][-2:]
    assert last == "KeyboardInterrupt" and "1 leaked shared_memory objects" in told, said
    assert wait_until(lambda: not in_group(child.pid)), said
    assert wait_until(lambda: not os.path.exists(f"/dev/shm/{name}")), said


@pytest.mark.parametrize("way", WAYS)
def test_at_any_moment(program, method, way):
    path = program.write("program.py", PROGRAM)
    for _ in range(2):
        check_end(*interrupt(path, method, way))


def test_an_executor_without_with_ends_too(program, method):
    """The interpreter's end waits for what workers have, and not for what waits."""
    code = PROGRAM.replace(
        "        with mproc.ProcessPoolExecutor(2, ctx) as executor:\n            way(executor)",
        "        way(mproc.ProcessPoolExecutor(2, ctx))",
    )
    check_end(*interrupt(program.write("program.py", code), method, "by_submit"))


def own_interrupt(_=None):
    os.kill(os.getpid(), signal.SIGINT)


def blocks_interrupts(_=None):
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_tasks_can_be_interrupted(ctx):
    """What a worker is started with does not reach its tasks."""
    with ctx.Pool(1) as pool:
        assert pool.apply(blocks_interrupts) is False
        with pytest.raises(mproc.pool.WorkerDiedError, match="exited with code 1"):
            pool.apply(own_interrupt)
        assert pool.apply(blocks_interrupts) is False
    with mproc.ProcessPoolExecutor(1, ctx) as executor:
        assert executor.submit(blocks_interrupts).result() is False
        assert isinstance(executor.submit(own_interrupt).exception(), KeyboardInterrupt)
    process = ctx.Process(target=own_interrupt)
    process.start()
    process.join()
    assert process.exitcode == 1


def test_a_worker_says_nothing(program, method):
    code = (
        "import mproc, os, signal\n"
        "def interrupt(_=None): os.kill(os.getpid(), signal.SIGINT)\n"
        "if __name__ == '__main__':\n"
        f"    ctx = mproc.get_context({method!r})\n"
        "    with ctx.Pool(1) as pool:\n"
        "        try: pool.apply(interrupt)\n"
        "        except mproc.pool.WorkerDiedError: print('died')\n"
        "    with mproc.ProcessPoolExecutor(1, ctx, initializer=interrupt) as executor:\n"
        "        print(type(executor.submit(int).exception()).__name__)\n"
        "    process = ctx.Process(target=interrupt, name='Mule')\n"
        "    process.start()\n"
        "    process.join()\n"
    )
    done = program.run(program.write("program.py", code))
    assert done.stdout == "died\nBrokenProcessPool\n"
    assert done.stderr.startswith("Process Mule:\n"), done.stderr  # any other process tells
    assert done.stderr.count("Traceback") == 1


def test_who_interrupts_does_not_wait_for_what_waits(fork):
    executor = mproc.ProcessPoolExecutor(1, fork)
    with pytest.raises(KeyboardInterrupt), executor:
        futures = [executor.submit(time.sleep, 0.05) for _ in range(1000)]
        raise KeyboardInterrupt
    assert any(future.cancelled() for future in futures)
    with pytest.raises(LookupError), mproc.ProcessPoolExecutor(1, fork) as executor:
        futures = [executor.submit(os.getpid) for _ in range(100)]
        raise LookupError
    assert all(future.done() and not future.cancelled() for future in futures)


class InterruptedAfter:
    """The tasks of an engine. An interrupt comes when one is queued, and even done."""

    def __init__(self, tasks):
        self._tasks = tasks

    def __getattr__(self, name):
        return getattr(self._tasks, name)

    def submit_map(self, *arguments):
        self._tasks.submit_map(*arguments)
        while self._tasks.open:
            self._tasks.pump(None, 0.1)
        raise KeyboardInterrupt

    submit = submit_map


def test_an_interrupt_of_who_submits_what_is_done(fork):
    executor = mproc.ProcessPoolExecutor(1, fork)
    with executor:
        assert executor.submit(int).result() == 0
        tasks = executor._engine._tasks
        executor._engine._tasks = InterruptedAfter(tasks)
        with pytest.raises(KeyboardInterrupt) as caught:
            executor.map(int, [1])
        assert caught.value.__context__ is None
        executor._engine._tasks = tasks


HOOKS = """
import mproc, os, signal, sys, threading, time

class Alarm(Exception): pass
def on_alarm(number, frame): raise Alarm
def strike():
    if armed:
        os.kill(os.getpid(), {number})
        end = time.monotonic() + 0.02
        while time.monotonic() < end:  # a handler runs between two instructions
            pass

signal.signal(signal.SIGALRM, on_alarm)
armed = False
os.register_at_fork({when}=strike)
ctx = mproc.get_context("fork")
if {thread}:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
for _ in range(3):
    process = ctx.Process(target=int)
    armed = True
    try:
        process.start()
        for _ in range(100): pass
    except (KeyboardInterrupt, Alarm) as error:
        print(type(error).__name__)
    armed = False
    print(process.ident is not None and process.join())
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
except KeyboardInterrupt:
    print("still heard")
"""


@pytest.mark.parametrize("when", ["before", "after_in_parent"])
@pytest.mark.parametrize(
    ("signal_name", "raised"), [("SIGINT", "KeyboardInterrupt"), ("SIGALRM", "Alarm")]
)
def test_no_hook_around_a_fork_swallows_a_signal(program, when, signal_name, raised):
    thread = signal_name == "SIGINT"  # which the kernel may choose, while the main one blocks it
    code = HOOKS.format(number=f"signal.{signal_name}", when=when, thread=thread)
    done = program.run(program.write("program.py", code))
    assert done.stderr == ""
    assert done.stdout == f"{raised}\nNone\n" * 3 + "set()\nTrue\nstill heard\n"


def test_a_childs_hooks_swallow_no_interrupt(program):
    code = (
        "import mproc, os, signal\n"
        "def strike():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    for _ in range(1000): pass\n"
        "os.register_at_fork(after_in_child=strike)\n"
        "process = mproc.get_context('fork').Process(target=print, args=('not here',))\n"
        "process.start()\n"
        "process.join()\n"
        "print(process.exitcode)\n"
    )
    done = program.run(program.write("program.py", code))
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.fixture
def fork():
    return mproc.get_context("fork")


def test_holding_interrupts():
    _mproc.hold_interrupts(True)
    try:
        os.kill(os.getpid(), signal.SIGINT)
        assert signal.SIGINT in signal.sigpending()
        with pytest.raises(KeyboardInterrupt):
            _mproc.hold_interrupts(False)
        assert not blocks_interrupts()
    finally:
        _mproc.hold_interrupts(False)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_start_leaves_the_callers_mask_as_it_was(method):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with mproc.get_context(method).Pool(1) as pool:
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
        pool.apply(os.getpid)


DEAF = """
import multiprocessing as mp, os, signal, sys

def child():
    print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("goes on", flush=True)

if __name__ == "__main__":
    process = mp.get_context(sys.argv[1]).Process(target=child)
    process.start()
    process.join()
    print(process.exitcode)
"""


def test_a_program_in_the_background_has_children_there(program, method):
    """What a shell starts with `&` ignores SIGINT, and so does what it starts."""
    path = program.write("program.py", DEAF)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        done = program.run("-m", "mproc", path, method)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (done.stdout, done.stderr) == ("True\ngoes on\n0\n", "")


PRELOADS = """
import multiprocessing as mp, os, signal, sys

def child():
    os.kill(os.getpid(), signal.SIGINT)

if __name__ == "__main__":
    ctx = mp.get_context("forkserver")
    ctx.set_forkserver_preload(["handles_interrupts"])
    process = ctx.Process(target=child)
    process.start()
    process.join()
    print(process.exitcode)
"""


def test_a_handler_of_a_preloaded_module_is_the_childs(program):
    program.write(
        "handles_interrupts.py",
        "import signal, sys\nsignal.signal(signal.SIGINT, lambda *_: sys.exit(5))\n",
    )
    done = program.run("-m", "mproc", program.write("program.py", PRELOADS))
    assert (done.stdout, done.stderr) == ("5\n", "")
