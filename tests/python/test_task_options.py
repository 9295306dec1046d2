"""executor.options(): timeouts, retries, memory and priorities of single tasks."""

import gc
import os
import pickle
import random
import signal
import threading
import time
import weakref

import errands
import pytest
from conftest import wait_until

import mproc
from mproc.futures import ProcessPoolExecutor
from mproc.pool import TaskMemoryError, TaskTimeoutError, WorkerDiedError

LONG = 60  # seconds that no wait takes: after them something is wrong
SHORT = 0.05  # seconds after which a task is ended that would never end by itself
FAIR = 2.0  # seconds in which a small task is done


@pytest.fixture
def fork():
    return mproc.get_context("fork")


@pytest.fixture(params=[False, True], ids=["breaks", "heals"])
def heal(request):
    return request.param


def tried(path):
    """Say that a try has begun; return how many have by now."""
    with open(path, "a") as file:
        file.write("x")
    return os.path.getsize(path)


def die_until(path, good):
    """Kill the worker until the try with that number comes."""
    if (n := tried(path)) < good:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def stay_until(path, good):
    if (n := tried(path)) < good:
        errands.wait_for("/nowhere")
    return n


def fill_memory(size):
    kept = b"x" * size
    errands.wait_for("/nowhere")
    return len(kept)


def private_memory():
    with open("/proc/self/statm") as file:
        _, resident, shared, *_ = map(int, file.read().split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def keep(queue):
    errands.state.append(queue)


def say(value):
    errands.state[0].put(value)


def say_and_wait(path):
    say("begun")
    errands.wait_for(path)


# ---- what options() takes


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"timeout": 0}, ValueError, "timeout must be more than 0 seconds, not 0"),
        ({"timeout": -1.5}, ValueError, "timeout must be more than 0 seconds, not -1.5"),
        ({"timeout": float("nan")}, ValueError, "timeout must be more than 0 seconds"),
        ({"timeout": float("inf")}, ValueError, "timeout of inf seconds is too long"),
        ({"timeout": "1"}, TypeError, "timeout must be a number of seconds, not str"),
        ({"timeout": True}, TypeError, "timeout must be a number of seconds, not bool"),
        ({"retries": -1}, ValueError, "retries must be 0 or more, not -1"),
        ({"retries": 1.5}, TypeError, "retries must be an integer, not float"),
        ({"retries": True}, TypeError, "retries must be an integer, not bool"),
        ({"retries": 1 << 31}, ValueError, "retries must be less than"),
        ({"memory": 0}, ValueError, "memory must be 1 or more, not 0"),
        ({"memory": -5}, ValueError, "memory must be 1 or more, not -5"),
        ({"memory": "1G"}, TypeError, "memory must be an integer, not str"),
        ({"memory": 1 << 64}, ValueError, "memory must be less than"),
        ({"priority": 0.5}, TypeError, "priority must be an integer, not float"),
        ({"priority": 1 << 40}, ValueError, "priority must be less than"),
        ({"priority": -(1 << 40)}, ValueError, "priority must be -2147483648 or more"),
        ({"tries": 1}, TypeError, "tries"),
    ],
)
def test_refuses(fork, options, error, words):
    with ProcessPoolExecutor(1, fork) as pool:
        with pytest.raises(error, match=words):
            pool.options(**options)
        with pytest.raises(error, match=words):
            pool.options(timeout=1).options(**options)


def test_options_are_added_up(fork):
    with ProcessPoolExecutor(1, fork) as pool:
        once = pool.options(timeout=LONG, retries=2)
        twice = once.options(retries=0, memory=1 << 40, priority=-3)
        assert "timeout=60.0, retries=0, memory=1099511627776, priority=-3" in repr(twice)
        assert "timeout=60.0, retries=2>" in repr(once)
        assert twice.submit(errands.square, 3).result(LONG) == 9
        assert list(twice.map(errands.square, range(5), chunksize=2)) == [0, 1, 4, 9, 16]


def test_the_least_timeout_is_one(fork):
    with ProcessPoolExecutor(1, fork) as pool:
        future = pool.options(timeout=1e-300).submit(errands.wait_for, "/nowhere")
        assert isinstance(future.exception(LONG), TaskTimeoutError)


# ---- the same executor


def test_it_is_the_same_executor(fork):
    pool = ProcessPoolExecutor(2, fork)
    urgent = pool.options(priority=1)
    assert isinstance(urgent, ProcessPoolExecutor)
    assert urgent.submit(errands.pid).result(LONG) in pool._processes
    assert urgent._processes == pool._processes
    assert urgent._max_workers == 2
    with urgent:
        pass
    assert pool._processes is None and urgent._processes is None
    for either in (pool, urgent):
        with pytest.raises(RuntimeError, match="after shutdown"):
            either.submit(errands.square, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        list(urgent.map(errands.square, [1]))


class Derived(ProcessPoolExecutor):
    """Sees each call."""

    seen = 0

    def submit(self, fn, /, *args, **kwargs):
        self.seen += 1
        return super().submit(fn, *args, **kwargs)

    def square(self, n):
        return self.submit(errands.square, n)


def test_of_a_class_that_derives(fork):
    with Derived(1, fork) as pool:
        hasty = pool.options(timeout=SHORT)
        assert type(pool).__name__ == type(hasty).__name__
        assert isinstance(hasty, Derived)
        assert hasty.options(priority=2).square(3).result(LONG) == 9
        assert isinstance(
            hasty.submit(errands.wait_for, "/nowhere").exception(LONG), TaskTimeoutError
        )
        assert list(hasty.map(errands.square, range(3))) == [0, 1, 4]
        assert pool.square(2).result(LONG) == 4
        assert pool.seen == hasty.seen == 6


def test_who_drops_it_does_not_end_the_executor(fork):
    with ProcessPoolExecutor(1, fork) as pool:
        pool.options(retries=1)
        gc.collect()
        assert pool.submit(errands.square, 2).result(LONG) == 4


def test_it_keeps_the_executor(fork):
    pool = ProcessPoolExecutor(1, fork)
    reference, urgent = weakref.ref(pool), pool.options(priority=1)
    del pool
    gc.collect()
    assert urgent.submit(errands.square, 2).result(LONG) == 4
    urgent.shutdown()
    del urgent
    assert reference() is None


def test_workers_are_ended_through_it(fork):
    pool = ProcessPoolExecutor(1, fork)
    future = pool.options(timeout=LONG).submit(errands.wait_for, "/nowhere")
    pool.options(retries=1).terminate_workers()
    assert isinstance(future.exception(LONG), mproc.futures.BrokenProcessPool)


def test_a_forked_child_has_no_use_for_it(fork):
    with ProcessPoolExecutor(1, fork) as pool:
        assert pool.submit(errands.square, 2).result(LONG) == 4
        child = fork.Process(target=use_what_is_not_ours, args=(pool.options(retries=1),))
        child.start()
        child.join()
        assert child.exitcode == 0
        child.close()


def use_what_is_not_ours(pool):
    with pytest.raises(RuntimeError, match="belongs to process"):
        pool.submit(errands.square, 2)


# ---- timeouts


def test_a_timeout(ctx, heal):
    with ProcessPoolExecutor(2, ctx, heal=heal) as pool:
        pid = pool.submit(errands.pid).result(LONG)
        late = pool.options(timeout=SHORT).submit(errands.wait_for, "/nowhere")
        error = late.exception(LONG)
        assert type(error) is TaskTimeoutError
        assert not isinstance(error, TimeoutError)
        assert error.task == 1 and error.seconds >= SHORT and error.pid > 0
        words = f"task 1 timed out after {error.seconds:.3f} s in the worker with pid {error.pid}"
        assert words in str(error)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        with pytest.raises(ProcessLookupError):
            os.kill(error.pid, 0)
        assert pool.submit(errands.square, 2).result(LONG) == 4
        assert pid > 0 and not pool._broken


def test_a_timeout_counts_from_the_beginning_of_its_task(fork, tmp_path):
    """Not from when it is submitted: a task that waits for a worker does not run yet."""
    with ProcessPoolExecutor(1, fork) as pool:
        slow = pool.submit(errands.wait_for, tmp_path / "go")
        submitted = time.monotonic()
        many = [pool.options(timeout=FAIR).submit(errands.square, n) for n in range(3)]
        assert wait_until(lambda: time.monotonic() - submitted > FAIR, LONG)
        (tmp_path / "go").write_text("")
        assert slow.result(LONG) is None
        assert [future.result(LONG) for future in many] == [0, 1, 4]


def test_a_timeout_fails_no_other_task(ctx):
    with ProcessPoolExecutor(2, ctx) as pool:
        limited = pool.options(timeout=SHORT)
        late = [limited.submit(errands.wait_for, "/nowhere") for _ in range(3)]
        good = [pool.submit(errands.square, n) for n in range(50)]
        assert [future.result(LONG) for future in good] == [n * n for n in range(50)]
        errors = [future.exception(LONG) for future in late]
        assert {type(error) for error in errors} == {TaskTimeoutError}
        assert len({error.pid for error in errors}) == 3


def test_a_timeout_though_nobody_waits(fork):
    called = threading.Event()
    with ProcessPoolExecutor(1, fork) as pool:
        late = pool.options(timeout=SHORT).submit(errands.wait_for, "/nowhere")
        late.add_done_callback(lambda future: called.set())
        assert called.wait(LONG)
        assert type(late.exception(0)) is TaskTimeoutError


def test_a_map_with_a_timeout(fork):
    with ProcessPoolExecutor(1, fork) as pool:
        results = pool.options(timeout=FAIR).map(errands.wait_for, ["/", "/nowhere"])
        assert next(results) is None
        with pytest.raises(TaskTimeoutError):
            next(results)


def test_shutdown_waits_for_a_timeout(fork):
    pool = ProcessPoolExecutor(1, fork)
    late = pool.options(timeout=SHORT).submit(errands.wait_for, "/nowhere")
    pool.shutdown()
    assert type(late.exception(0)) is TaskTimeoutError


# ---- retries


def test_retries_after_deaths(ctx, heal, tmp_path):
    with ProcessPoolExecutor(2, ctx, heal=heal) as pool:
        future = pool.options(retries=3).submit(die_until, tmp_path / "tries", 3)
        others = [pool.submit(errands.square, n) for n in range(20)]
        assert future.result(LONG) == 3
        assert [other.result(LONG) for other in others] == [n * n for n in range(20)]


def test_retries_that_do_not_suffice(ctx, heal, tmp_path):
    with ProcessPoolExecutor(1, ctx, heal=heal) as pool:
        error = pool.options(retries=1).submit(die_until, tmp_path / "tries", 9).exception(LONG)
        assert type(error) is WorkerDiedError
        assert error.exitcode == -signal.SIGKILL
        assert error.__notes__ == ["The task was tried 2 times"]
        assert os.path.getsize(tmp_path / "tries") == 2
        assert pool.submit(errands.square, 2).result(LONG) == 4


def test_retries_after_timeouts(fork, tmp_path):
    with ProcessPoolExecutor(1, fork) as pool:
        patient = pool.options(timeout=FAIR, retries=2)
        assert patient.submit(stay_until, tmp_path / "good", 3).result(LONG) == 3
        error = patient.submit(stay_until, tmp_path / "bad", 9).exception(LONG)
        assert type(error) is TaskTimeoutError
        assert error.__notes__ == ["The task was tried 3 times"]


def test_what_a_call_raises_is_not_tried_again(fork, tmp_path):
    with ProcessPoolExecutor(1, fork) as pool:
        future = pool.options(retries=5).submit(fail_after_try, tmp_path / "tries")
        assert isinstance(future.exception(LONG), ZeroDivisionError)
        assert os.path.getsize(tmp_path / "tries") == 1


def fail_after_try(path):
    tried(path)
    errands.fail()


def test_shutdown_waits_for_retries(fork, tmp_path):
    pool = ProcessPoolExecutor(1, fork)
    future = pool.options(retries=2).submit(die_until, tmp_path / "tries", 3)
    pool.shutdown()
    assert future.result(0) == 3


def test_workers_that_are_killed_at_random(fork):
    """Each task ends once, with its result: none is lost, and none ends another one."""
    with ProcessPoolExecutor(4, fork, heal=True) as pool:
        stubborn = pool.options(retries=1000, timeout=LONG)
        many = [stubborn.submit(errands.square, n) for n in range(4000)]
        over = threading.Event()
        killer = threading.Thread(target=kill_workers, args=(pool, over))
        killer.start()
        try:
            results = [future.result(LONG) for future in many]
        finally:
            over.set()
            killer.join()
        assert results == [n * n for n in range(4000)]


def kill_workers(pool, over):
    while not over.wait(0.005):
        for worker in random.sample(list(pool._processes.values()), 1):
            worker.kill()


# ---- memory


def test_memory(ctx, heal):
    with ProcessPoolExecutor(1, ctx, heal=heal) as pool:
        limit = pool.submit(private_memory).result(LONG) + (64 << 20)
        error = pool.options(memory=limit).submit(fill_memory, 128 << 20).exception(LONG)
        assert type(error) is TaskMemoryError
        assert error.task == 1 and error.pid > 0 and error.peak > limit
        words = f"task 1 used too much memory, {error.peak / (1 << 20):.1f} MiB"
        assert words in str(error) and str(error.pid) in str(error)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        assert pool.submit(errands.square, 3).result(LONG) == 9


# ---- priorities


def test_priorities(ctx, tmp_path):
    queue = ctx.Queue()
    with ProcessPoolExecutor(1, ctx, keep, (queue,)) as pool:
        pool.submit(say_and_wait, tmp_path / "go")
        assert queue.get(timeout=LONG) == "begun"
        pool.submit(say, "next")  # the one task that is given to the workers ahead
        for n in range(3):
            for priority in (0, -1, 5, 1):
                pool.options(priority=priority).submit(say, (priority, n))
        pool.submit(say, (0, 3))
        (tmp_path / "go").write_text("")
        said = [queue.get(timeout=LONG) for _ in range(14)]
    expected = [(priority, n) for priority in (5, 1, 0, -1) for n in range(3)]
    expected.insert(9, (0, 3))
    assert said == ["next", *expected]


def test_what_waits_by_its_priority_is_cancelled(fork, tmp_path):
    queue = fork.Queue()
    with ProcessPoolExecutor(1, fork, keep, (queue,)) as pool:
        pool.submit(say_and_wait, tmp_path / "go")
        assert queue.get(timeout=LONG) == "begun"
        pool.submit(say, "next")
        futures = [pool.options(priority=n % 3).submit(say, n) for n in range(12)]
        assert all(future.cancel() for future in futures[::2])
        (tmp_path / "go").write_text("")
        said = [queue.get(timeout=LONG) for _ in range(7)]
    assert said == ["next", 5, 11, 1, 7, 3, 9]


# ---- by value


def test_what_travels_by_value_has_options_too(ctx):
    pytest.importorskip("cloudpickle")
    with ProcessPoolExecutor(1, ctx, pickler="cloudpickle") as pool:
        limited = pool.options(timeout=SHORT, priority=1)
        late = limited.submit(lambda: errands.wait_for("/nowhere"))
        assert type(late.exception(LONG)) is TaskTimeoutError
        some = pool.options(timeout=LONG, retries=1).map(lambda n: n + 1, range(3))
        assert list(some) == [1, 2, 3]
