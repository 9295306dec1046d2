"""What the standard library gets wrong, and bad input: never a hang, a clear error, nothing lost.

Each test has a watchdog, which ends it where the standard library would wait for ever.
"""

import concurrent.futures
import contextlib
import os
import pickle
import queue
import re
import signal
import subprocess
import sys
import threading

import errands
import pytest
from conftest import not_for_ever, wait_until

import mproc
from mproc.futures import BrokenProcessPool, ProcessPoolExecutor
from mproc.pool import WorkerDiedError

pytestmark = pytest.mark.timeout(90)

LONG = 60  # seconds that no wait takes: after them something is wrong


def keep_queue(q):
    errands.state.append(q)


def stay_put():
    errands.stay(errands.state[0])


def stay_put_at(n):
    if n == 5:
        stay_put()
    return n


def hold(lock, connection):
    lock.acquire()
    connection.send("held")
    while True:
        signal.pause()


def gone(pid):
    return not os.path.exists(f"/proc/{pid}")


# ---- workers die


def test_r1_the_worker_that_runs_the_job_is_killed(ctx):
    """Standard library: the result of map_async() never comes."""
    with ctx.Pool(2, keep_queue, (q := ctx.Queue(),)) as pool:
        result = pool.map_async(stay_put_at, range(10), chunksize=1)
        pid = q.get(timeout=LONG)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerDiedError) as caught:
            result.get(LONG)
        assert (caught.value.pid, caught.value.exitcode) == (pid, -signal.SIGKILL)
        assert "SIGKILL while it ran task" in str(caught.value)
        assert pool.map(errands.square, range(10)) == [n * n for n in range(10)]


def test_r1b_all_idle_workers_are_killed(ctx):
    """Standard library: a dead worker holds the queue's read lock, and no task is ever run."""
    with ctx.Pool(2) as pool:
        assert pool.apply(errands.square, (2,)) == 4
        for process in pool._pool:
            os.kill(process.pid, signal.SIGKILL)
        assert pool.apply_async(errands.square, (3,)).get(LONG) == 9


def test_r2_an_exception_that_does_not_unpickle(ctx):
    """Standard library: the thread that reads results dies; get() hangs, then terminate()."""
    pool = ctx.Pool(1)
    result = pool.apply_async(errands.raise_two_arguments)
    with pytest.raises(errands.TwoArguments):
        result.get(LONG)
    assert pool.apply(errands.square, (2,)) == 4
    pool.terminate()
    pool.join()


# ---- locks and queues


def test_r3_the_holder_of_a_lock_is_killed(ctx):
    """Standard library: the lock is lost for ever."""
    lock = ctx.Lock()
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=hold, args=(lock, writer))
        process.start()
        assert reader.recv() == "held"
        process.kill()
        process.join()
    with pytest.raises(mproc.OwnerDiedError) as caught:
        lock.acquire(timeout=LONG)
    assert caught.value.pid == process.pid
    with lock:
        pass


def asleep(pid):
    """Whether a process sleeps on a word of shared memory."""
    with open(f"/proc/{pid}/wchan") as place:
        return "futex" in place.read()


def wait_for_ever(condition, connection):
    with condition:
        connection.send("waiting")  # it has the lock, so the next owner knows that it waits
        condition.wait()


def wait_and_tell(condition, connection):
    with condition:
        connection.send("waiting")
        connection.send(condition.wait(LONG))


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_r4_a_waiter_is_killed(ctx, kind):
    """Standard library: notify_all() waits for the dead to say that they are awake."""
    condition = ctx.Condition(getattr(ctx, kind)())
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        targets = (wait_for_ever, wait_and_tell, wait_for_ever)
        processes = [ctx.Process(target=target, args=(condition, writer)) for target in targets]
        for process in processes:
            process.start()
            assert reader.recv() == "waiting"
        with condition:
            pass  # now the last one waits, too
        for process in (processes[0], processes[2]):
            process.kill()
            process.join()
        with condition:
            condition.notify_all()
        assert reader.poll(LONG)
        assert reader.recv() is True
        processes[1].join()
        assert processes[1].exitcode == 0
        with condition:
            assert condition.wait(0) is False


def wait_and_pass(barrier, connection):
    try:
        barrier.wait(LONG)
    except threading.BrokenBarrierError:
        connection.send("broken")
    else:
        connection.send("passed")


def test_r4_a_party_of_a_barrier_is_killed(ctx):
    """Standard library: the others wait for ever, since no process notices the death."""
    barrier = ctx.Barrier(3)
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        processes = [ctx.Process(target=wait_and_pass, args=(barrier, writer)) for _ in range(2)]
        for process in processes:
            process.start()
        assert wait_until(lambda: barrier.n_waiting == 2, LONG)
        processes[0].kill()
        assert reader.poll(LONG)
        assert reader.recv() == "broken"
        with pytest.raises(threading.BrokenBarrierError):
            barrier.wait(LONG)
        for process in processes:
            process.join()
        barrier.reset()
        assert (barrier.broken, barrier.n_waiting) == (False, 0)
        again = [ctx.Process(target=wait_and_pass, args=(barrier, writer)) for _ in range(2)]
        for process in again:
            process.start()
        barrier.wait(LONG)
        assert [reader.recv() for _ in again] == ["passed", "passed"]
        for process in again:
            process.join()


def wait_for_event(event, connection):
    connection.send(event.wait(LONG))


def test_r4_waiters_of_an_event_are_killed(ctx):
    """Standard library: an Event is a Condition inside, so set() blocks."""
    event = ctx.Event()
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        processes = [ctx.Process(target=wait_for_event, args=(event, writer)) for _ in range(3)]
        for process in processes:
            process.start()
        assert wait_until(lambda: all(asleep(process.pid) for process in processes), LONG)
        for process in processes[:2]:
            process.kill()
            process.join()
        event.set()
        assert reader.poll(LONG)
        assert reader.recv() is True
        processes[2].join()
        event.clear()
        assert event.wait(0) is False


def acquire_and_tell(semaphore, connection):
    connection.send(semaphore.acquire(timeout=LONG))


def hold_all(semaphore, connection):
    while semaphore.acquire(False):
        pass
    connection.send("held")
    while True:
        signal.pause()


def test_r4_a_waiter_of_a_semaphore_is_killed(ctx):
    """No permit is lost with it, and another waiter gets the one that is released."""
    semaphore = ctx.Semaphore(0)
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        processes = [
            ctx.Process(target=acquire_and_tell, args=(semaphore, writer)) for _ in range(2)
        ]
        for process in processes:
            process.start()
        assert wait_until(lambda: all(asleep(process.pid) for process in processes), LONG)
        processes[0].kill()
        processes[0].join()
        semaphore.release()
        assert reader.poll(LONG)
        assert reader.recv() is True
        processes[1].join()
        assert semaphore.acquire(False) is False


def test_r4_the_holder_of_all_permits_is_killed(ctx):
    """Standard library: its permits are lost for ever."""
    semaphore = ctx.BoundedSemaphore(2)
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=hold_all, args=(semaphore, writer))
        process.start()
        assert reader.recv() == "held"
        assert semaphore.acquire(False) is False
        process.kill()
        assert semaphore.acquire(timeout=LONG) is True
        assert semaphore.acquire(timeout=LONG) is True
        process.join()
        semaphore.release()
        semaphore.release()
        with pytest.raises(ValueError, match="released too many times"):
            semaphore.release()


def send_much(q):
    q.put(b"x" * 1_000_000)
    q.put("done")


def test_r5_join_before_the_queue_is_drained(ctx):
    """Standard library: a deadlock, for the child's feeder thread waits for room in a pipe."""
    q = ctx.Queue()
    process = ctx.Process(target=send_much, args=(q,))
    process.start()
    process.join(LONG)
    assert process.exitcode == 0
    assert q.get() == b"x" * 1_000_000
    assert q.get() == "done"


def put_lambda(q):
    try:
        q.put(lambda: 1)
    except (pickle.PicklingError, AttributeError):
        q.put("refused")


def test_r8_what_does_not_pickle_is_put(ctx):
    """Standard library: put() succeeds, and the item vanishes."""
    q = ctx.Queue()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        q.put(lambda: 1)
    with pytest.raises(queue.Empty):
        q.get_nowait()
    process = ctx.Process(target=put_lambda, args=(q,))
    process.start()
    process.join(LONG)
    assert q.get_nowait() == "refused"


def test_r6_an_imap_does_not_read_ahead(ctx):
    """Standard library: tens of thousands of items are read for one result."""
    read = []

    def items():
        for n in range(100_000):
            read.append(n)
            yield n

    with ctx.Pool(2) as pool:
        results = pool.imap(errands.square, items(), buffersize=8)
        assert next(results) == 0
        assert pool.map(errands.square, range(1000)) == [n * n for n in range(1000)]
        assert next(results) == 1
        assert len(read) <= 2 + 8 + 1


@pytest.mark.parametrize("heal", [False, True])
def test_r9_one_task_of_thirteen_ends_its_worker(ctx, heal):
    """Standard library: 8 of 13 fail, and the executor for good; that stays the default."""
    with ProcessPoolExecutor(2, ctx, heal=heal) as pool:
        calls = [(errands.exit_hard, 1) if n == 6 else (errands.square, n) for n in range(13)]
        futures = []
        with contextlib.suppress(BrokenProcessPool):
            futures.extend(pool.submit(*call) for call in calls)
        errors = [future.exception(LONG) for future in futures]
        for n, future in enumerate(futures):
            assert errors[n] is not None or future.result() == n * n
        if heal:
            assert [n for n in range(13) if errors[n] is not None] == [6]
            assert type(errors[6]) is WorkerDiedError and errors[6].exitcode == 1
            assert pool.submit(errands.square, 4).result(LONG) == 16
        else:
            assert {type(error) for error in errors} <= {BrokenProcessPool, type(None)}
            assert type(errors[6]) is BrokenProcessPool
            assert "exited with code 1 while it ran task 6" in str(errors[6].__cause__)
            with pytest.raises(BrokenProcessPool):
                pool.submit(errands.square, 4)


# ---- what a pool costs, and what it leaves


def threads_of_the_system():
    """The threads that there are, and those that have been joined and are ending still."""
    return set(os.listdir("/proc/self/task"))


def test_r10_a_pool_is_cheap(ctx):
    """Standard library: 14 or 15 descriptors and 3 threads for four workers."""
    with ctx.Pool(1):
        pass  # what is made once for all, as the forkserver, is made
    descriptors, threads = len(os.listdir("/proc/self/fd")), threads_of_the_system()
    with ctx.Pool(4) as pool:
        assert pool.map(errands.square, range(100)) == [n * n for n in range(100)]
        assert pool.apply(errands.square, (2,)) == 4
        assert threads_of_the_system() <= threads
        # What is submitted without a wait starts the one helper: perhaps nobody will wait for it.
        assert pool.apply_async(errands.square, (2,)).get(LONG) == 4
        assert len(threads_of_the_system() - threads) <= 1
        assert len(os.listdir("/proc/self/fd")) - descriptors <= 4 + 1


def test_r10_an_executor_is_cheap(ctx):
    """The helper lives only where somebody waits who cannot collect results himself."""
    with ProcessPoolExecutor(1, ctx) as pool:
        pool.submit(errands.square, 2).result(LONG)
    descriptors, threads = len(os.listdir("/proc/self/fd")), threads_of_the_system()
    with ProcessPoolExecutor(4, ctx) as pool:
        assert list(pool.map(errands.square, range(100))) == [n * n for n in range(100)]
        assert concurrent.futures.wait([pool.submit(errands.square, 2)], LONG).not_done == set()
        assert len(threads_of_the_system() - threads) <= 1
        assert len(os.listdir("/proc/self/fd")) - descriptors <= 4 + 1


ORPHANS = """\
import os, signal, sys
import mproc

def stay(n):
    os.write(1, b"%d\\n" % os.getpid())
    while True:
        signal.pause()

if __name__ == "__main__":
    with mproc.get_context(sys.argv[1]).Pool(3) as pool:
        pool.map_async(stay, range(2), 1)  # two are busy, one is idle
        os.write(1, b"%s\\n" % b" ".join(b"%d" % process.pid for process in pool._pool))
        while True:
            signal.pause()
"""


def test_r11_the_parent_is_killed(program, method):
    """Standard library: busy workers go on for ever, as orphans."""
    script = program.write("orphans.py", ORPHANS)
    with (
        subprocess.Popen(
            [sys.executable, str(script), method],
            stdout=subprocess.PIPE,
            text=True,
            env=program.env,
        ) as child,
        not_for_ever(child),
    ):
        lines = [child.stdout.readline() for _ in range(3)]
    pids = {pid for line in lines for pid in line.split()}
    assert len(pids) == 3
    assert wait_until(lambda: all(map(gone, pids)), LONG)


CREATOR = """\
import os, signal, sys
import mproc
from mproc.shared_memory import SharedMemory

def use(shm, connection):
    shm.buf[1] = 2
    connection.send(os.getpid())
    connection.recv()
    shm.close()

if __name__ == "__main__":
    here, there = mproc.Pipe()
    shm = SharedMemory(create=True, size=100)
    shm.buf[0] = 1
    child = mproc.get_context(sys.argv[1]).Process(target=use, args=(shm, there))
    child.start()
    print(shm.name, here.recv(), flush=True)
    sys.stdin.readline()
    assert bytes(shm.buf[:3]) == b"\\1\\2\\3"
    here.send("end")
    child.join()
    shm.close()
    shm.unlink()
"""

STRANGER = """\
import sys
from mproc.shared_memory import SharedMemory
shm = SharedMemory(sys.argv[1])
assert bytes(shm.buf[:2]) == b"\\1\\2"
shm.buf[2] = 3
if sys.argv[2] == "close":
    shm.close()
"""


@pytest.mark.parametrize("end", ["unlink", "kill"])
def test_r7_an_unrelated_process_attaches_and_ends(program, method, end):
    """Standard library: its tracker unlinks the segment under its creator, and warns of a leak."""
    creator, stranger = program.write("creator.py", CREATOR), program.write("other.py", STRANGER)
    command = [sys.executable, str(creator), method]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=program.env, **pipes) as child:
        with not_for_ever(child):
            name, worker = child.stdout.readline().split()
            for how in ("close", "leave"):
                assert program.output(stranger, name, how) == ""
                assert os.path.exists(f"/dev/shm/{name}")
            if end == "kill":
                os.kill(int(worker), signal.SIGKILL)  # first: it would tell of its parent's end
                child.kill()
            _, err = child.communicate("\n", timeout=LONG)  # to the end of the family's watcher
        assert not os.path.exists(f"/dev/shm/{name}")
    if end == "unlink":
        assert (child.returncode, err) == (0, "")
    else:
        assert err.count("\n") == 1
        assert f"1 leaked shared_memory objects to clean up at shutdown: {{'/{name}'}}" in err


# ---- bad input


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize(
    "options", [{"target": lambda: 1}, {"target": errands.echo, "args": (threading.Lock(),)}]
)
def test_a_process_that_does_not_pickle(method, options):
    process = mproc.get_context(method).Process(**options)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        process.start()
    assert mproc.active_children() == []


def test_started_twice(ctx):
    process = ctx.Process()
    process.start()
    with pytest.raises(AssertionError, match="cannot start a process twice"):
        process.start()
    process.join()


def join_stranger(process, connection):
    try:
        process.join()
    except AssertionError as error:
        connection.send(str(error))


def test_joined_by_a_stranger():
    ctx = mproc.get_context("fork")
    process = ctx.Process()
    process.start()
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        stranger = ctx.Process(target=join_stranger, args=(process, writer))
        stranger.start()
        assert reader.recv() == "can only join a child process"
        stranger.join()
    process.join()


def test_a_closed_queue():
    q = mproc.Queue()
    q.close()
    with pytest.raises(ValueError, match="is closed"):
        q.put(1)
    with pytest.raises(ValueError, match="is closed"):
        q.get()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_script_without_a_guard(program, method):
    """One child is started, and says what is wrong; it starts none itself."""
    script = program.write(
        "bomb.py",
        "import multiprocessing, os\n"
        "os.write(2, b'run\\n')\n"
        f"process = multiprocessing.get_context('{method}').Process(target=print)\n"
        "process.start()\n"
        "process.join()\n"
        "print(process.exitcode)\n",
    )
    done = program.run("-m", "mproc", script)
    assert "RuntimeError" in done.stderr
    assert "if __name__ == '__main__':" in done.stderr
    # The program, the child, and the forkserver's template, which tries to have the module ready.
    assert done.stderr.count("run\n") == (2 if method == "spawn" else 3)
    assert done.stdout in ("1\n", "")


def test_a_script_that_does_not_exist(program):
    done = program.run("-m", "mproc", "absent.py")
    assert done.returncode == 2
    assert re.search(r"can't open file '.*absent\.py': \[Errno 2\] No such file", done.stderr)


TEN_THOUSAND = """\
import gc, os, sys
import mproc
from mproc import _mproc

def work():
    pass

def state():
    gc.collect()
    with open("/proc/self/maps") as maps:
        mappings = {line.split()[0] + line.split()[-1] for line in maps if "[" not in line}
    return os.listdir("/proc/self/fd"), _mproc.arena_stat()["used"], len(mappings)

def start_and_join(number):
    for _ in range(number):
        process = ctx.Process(target=work)
        process.start()
        process.join()
        assert process.exitcode == 0

ctx = mproc.get_context("fork")
start_and_join(500)
before, blocks = state(), sys.getallocatedblocks()
start_and_join(9500)
assert state() == before, (state(), before)
assert sys.getallocatedblocks() - blocks < 500, sys.getallocatedblocks() - blocks
assert mproc.active_children() == []
_mproc.arena_check()
"""


@pytest.mark.timeout(300)
def test_ten_thousand_processes(program):
    assert program.output(program.write("many.py", TEN_THOUSAND), timeout=280) == ""
