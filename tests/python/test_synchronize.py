"""Lock: between threads, between processes, and when its holder dies."""

import gc
import inspect
import os
import pickle
import signal
import sys
import threading
import time

import pytest
from conftest import alarmed

import mproc
from mproc import _mproc, synchronize

LONG = 30  # seconds that no wait takes: after them something is wrong
FOREIGN = "Lock objects should only be shared between processes through inheritance"

# ---- what children run


def add(lock, path, times):
    """Add to the number in a file, which is right only under a lock."""
    for _ in range(times):
        with lock:
            number = int(path.read_text())
            path.write_text(str(number + 1))


def hold(lock, connection):
    lock.acquire()
    connection.send(os.getpid())
    connection.recv()
    lock.release()


def hold_for_ever(lock, connection):
    lock.acquire()
    connection.send(threading.get_native_id())
    while True:
        signal.pause()


def try_it(lock, connection):
    connection.send((lock.acquire(False), lock.acquire(True, 0.01), lock.locked(), repr(lock)))


def release(lock):
    lock.release()


def take_and_tell(lock, connection):
    connection.send("waiting")
    try:
        lock.acquire()
    except mproc.OwnerDiedError as error:
        connection.send(("died", error.pid))
    else:
        connection.send("taken")
        lock.release()


def pass_on(ctx, lock, connection):
    """Give the lock to a child of one's own."""
    process = ctx.Process(target=try_it, args=(lock, connection))
    process.start()
    process.join()


# ---- helpers


def run(ctx, target, *args):
    process = ctx.Process(target=target, args=args)
    process.start()
    process.join(LONG)
    assert process.exitcode == 0
    process.close()


def answer(ctx, target, *args):
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        run(ctx, target, *args, writer)
        return reader.recv()


def killed(process):
    process.kill()
    process.join(LONG)
    assert process.exitcode == -signal.SIGKILL
    process.close()


def in_thread(function, *args):
    """What the function returns in another thread."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(function(*args)), name="Other")
    thread.start()
    thread.join(LONG)
    return answers[0]


@pytest.fixture
def lock():
    return mproc.Lock()


# ---- one process


def test_module():
    assert "Lock" in synchronize.__all__
    assert isinstance(mproc.Lock(), synchronize.Lock)


def test_acquire_and_release(lock):
    assert lock.acquire() is True
    assert lock.acquire(False) is False
    assert lock.acquire(block=False) is False
    assert lock.release() is None
    assert lock.acquire(True, None) is True
    lock.release()


def test_is_not_recursive(lock):
    with lock:
        assert lock.acquire(timeout=0.01) is False


def test_locked(lock):
    assert lock.locked() is False
    with lock:
        assert lock.locked() is True
    assert lock.locked() is False


def test_with_gives_what_acquire_returns(lock):
    with lock as value:
        assert value is True


def test_with_releases_after_an_exception(lock):
    with pytest.raises(ZeroDivisionError), lock:
        raise ZeroDivisionError
    assert not lock.locked()


def test_released_too_many_times(lock):
    with pytest.raises(ValueError, match=r"^semaphore or lock released too many times$"):
        lock.release()
    lock.acquire()
    lock.release()
    with pytest.raises(ValueError, match=r"^semaphore or lock released too many times$"):
        lock.release()
    assert lock.acquire(False)
    lock.release()


@pytest.mark.parametrize("timeout", [0, 0.0, -1, -0.5, float("-inf"), 0.02])
def test_a_timeout_passes(lock, timeout):
    with lock:
        began = time.monotonic()
        assert lock.acquire(True, timeout) is False
        assert time.monotonic() - began >= timeout


@pytest.mark.parametrize("timeout", [0, -1, 5, None, 1e9, 1e10, 2**62])
def test_a_free_lock_needs_no_time(lock, timeout):
    assert lock.acquire(True, timeout) is True
    lock.release()


@pytest.mark.parametrize("timeout", [1e100, float("inf")])
def test_an_absurd_timeout(lock, timeout):
    with pytest.raises(OverflowError):
        lock.acquire(timeout=timeout)
    assert not lock.locked()


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((True, "1"), {}),
        ((), {"timeout": []}),
        ((True, 1, 1), {}),
        ((), {"blocking": True}),
        ((True,), {"block": True}),
    ],
)
def test_wrong_arguments(lock, args, kwargs):
    with pytest.raises(TypeError):
        lock.acquire(*args, **kwargs)
    assert not lock.locked()


def test_not_a_number_is_no_timeout(lock):
    with pytest.raises(ValueError, match="NaN"):
        lock.acquire(True, float("nan"))
    assert not lock.locked()


def test_a_timeout_of_a_call_that_does_not_block_is_ignored(lock):
    assert lock.acquire(False, 100) is True
    assert lock.acquire(False, 100) is False
    lock.release()


def test_any_thread_may_release(lock):
    lock.acquire()
    in_thread(lock.release)
    assert not lock.locked()


def test_threads_exclude_each_other(lock):
    inside, most, turns = 0, 0, []

    def work():
        nonlocal inside, most
        for _ in range(200):
            with lock:
                inside += 1
                most = max(most, inside)
                turns.append(1)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert (most, len(turns)) == (1, 800)


def test_a_waiting_thread_lets_others_run(lock):
    lock.acquire()
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    while thread.is_alive() and not lock.locked():
        pass
    lock.release()  # by a thread that had the interpreter while the other waited
    thread.join(LONG)
    assert lock.locked()
    lock.release()


def test_repr(lock):
    assert repr(lock) == "<Lock(owner=None)>"
    with lock:
        assert repr(lock) == "<Lock(owner=MainProcess)>"
        assert in_thread(repr, lock) == "<Lock(owner=SomeOtherThread)>"

    def with_it():
        with lock:
            return repr(lock)

    assert in_thread(with_it) == "<Lock(owner=MainProcess|Other)>"
    assert repr(lock) == "<Lock(owner=None)>"


@pytest.mark.parametrize("kind", [synchronize.Semaphore, synchronize.BoundedSemaphore])
def test_repr_of_a_semaphore_that_hides_its_value(kind):
    class Hidden(kind):
        def get_value(self):
            raise PermissionError

    said = repr(Hidden(2, ctx=mproc.get_context()))
    assert ("value=unknown" if sys.version_info >= (3, 14) else "value=2") in said


def test_is_not_pickled_for_nobody(lock):
    with pytest.raises(RuntimeError, match=f"^{FOREIGN}$"):
        pickle.dumps(lock)


def test_is_not_sent_through_a_queue(lock):
    queue = mproc.Queue()
    with pytest.raises(RuntimeError, match=f"^{FOREIGN}\n"):
        queue.put(lock)
    assert queue.empty()


def test_a_subclass_is_a_lock():
    class Named(synchronize.Lock):
        name = "mine"

    lock = Named(ctx=mproc.get_context("spawn"))
    with lock:
        assert repr(lock) == "<Named(owner=MainProcess)>"


KINDS = ["Lock", "RLock", "Event", "Semaphore", "BoundedSemaphore"]


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_fork_context_marks_what_it_makes(kind):
    make = getattr(synchronize, kind)
    assert make(ctx=mproc.get_context("fork"))._is_fork_ctx is True
    assert make(ctx=mproc.get_context("spawn"))._is_fork_ctx is False
    assert make(ctx=None)._is_fork_ctx is make()._is_fork_ctx is False


@pytest.mark.parametrize("kind", KINDS)
def test_a_constructor_refuses_other_arguments(kind):
    make = getattr(synchronize, kind)
    for args, kwargs in [((1, 2), {}), ((), {"unknown": 1}), (({},), {}), ((1,), {"value": 1})]:
        with pytest.raises(TypeError):
            make(*args, **kwargs)
    with pytest.raises(AttributeError):
        make(ctx=object())


@pytest.mark.parametrize("kind", KINDS)
def test_a_constructor_shows_its_signature(kind):
    names = list(inspect.signature(getattr(synchronize, kind)).parameters)
    assert names[-1] == {"Lock": "on_owner_death", "RLock": "on_owner_death"}.get(kind, "ctx")


@pytest.mark.parametrize("make", [synchronize.Lock, synchronize.RLock])
def test_on_owner_death_is_one_of_two_words(make):
    for word in ("", "Raise", 1, None):
        with pytest.raises(ValueError, match=r"^on_owner_death is 'raise' or 'recover', not "):
            make(on_owner_death=word)


def test_a_signal_handler_runs_while_a_lock_is_waited_for(lock):
    seen = []
    old = signal.signal(signal.SIGALRM, lambda *_: (seen.append(1), lock.release()))
    lock.acquire()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert lock.acquire(True, LONG) is True
    finally:
        signal.signal(signal.SIGALRM, old)
    assert seen == [1]
    lock.release()


def test_a_signal_handler_that_raises_ends_the_wait(lock):
    def interrupt(*_):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    lock.acquire()
    try:
        with pytest.raises(KeyboardInterrupt):
            alarmed(0.05, lock.acquire)
    finally:
        signal.signal(signal.SIGALRM, old)
    lock.release()
    assert lock.acquire(False)


def test_many_locks_leave_nothing():
    locks = [mproc.Lock() for _ in range(10_000)]
    for each in locks:
        assert each.acquire(False)


# ---- several processes


def test_processes_exclude_each_other(ctx, tmp_path):
    path, lock = tmp_path / "number", ctx.Lock()
    path.write_text("0")
    processes = [ctx.Process(target=add, args=(lock, path, 100)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONG)
        assert process.exitcode == 0
    assert path.read_text() == "300"
    assert not lock.locked()


def test_a_child_finds_it_taken(ctx):
    lock = ctx.Lock()
    with lock:
        tried = answer(ctx, try_it, lock)
    assert tried == (False, False, True, "<Lock(owner=SomeOtherProcess)>")


def test_a_child_takes_it(ctx):
    lock = ctx.Lock()
    ours, its = ctx.Pipe()
    with ours, its:
        process = ctx.Process(target=hold, args=(lock, its))
        process.start()
        assert ours.recv() == process.pid
        assert lock.locked()
        assert lock.acquire(False) is False
        assert lock.acquire(True, 0.02) is False
        assert repr(lock) == "<Lock(owner=SomeOtherProcess)>"
        ours.send(None)
        assert lock.acquire(True, LONG) is True
        process.join(LONG)
        assert process.exitcode == 0
    lock.release()


def test_a_child_may_release_it(ctx):
    lock = ctx.Lock()
    lock.acquire()
    run(ctx, release, lock)
    assert not lock.locked()


def test_a_grandchild_gets_it(ctx):
    lock = ctx.Lock()
    with lock:
        reader, writer = ctx.Pipe(duplex=False)
        with reader, writer:
            run(ctx, pass_on, ctx, lock, writer)
            assert reader.recv()[0] is False


@pytest.mark.parametrize("made_by", ["fork", "spawn", "forkserver"])
def test_any_context_but_fork_gives_it_to_any(method, made_by):
    """Programs rely on the refusal, which came with the standard library's names."""
    lock = mproc.get_context(made_by).Lock()
    if made_by == "fork" != method:
        process = mproc.get_context(method).Process(target=release, args=(lock,))
        with pytest.raises(RuntimeError, match="A SemLock created in a fork context is being"):
            process.start()
        return
    with lock:
        assert answer(mproc.get_context(method), try_it, lock)[0] is False


def test_outlives_the_one_who_made_it(ctx):
    """The parent's handle goes before the child uses its own."""
    ours, its = ctx.Pipe()
    with ours, its:
        process = ctx.Process(target=hold, args=(ctx.Lock(), its))
        process.start()
        ours.send(None)
        assert ours.recv() == process.pid
        process.join(LONG)
        assert process.exitcode == 0


# ---- when the holder dies


def test_the_holder_dies(ctx):
    lock = ctx.Lock()
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=hold_for_ever, args=(lock, writer))
        process.start()
        tid, pid = reader.recv(), process.pid
        killed(process)
    with pytest.raises(mproc.OwnerDiedError) as caught:
        lock.acquire(True, LONG)
    assert (caught.value.pid, caught.value.tid) == (pid, tid)
    assert (caught.value.name, caught.value.exitcode) == (None, None)  # it is closed
    assert str(caught.value) == f"process {pid} died while it held the lock (thread {tid})"
    assert isinstance(caught.value, mproc.ProcessError)
    assert lock.acquire(False) is True  # one taker was told: for the others it is a lock
    lock.release()


def test_a_poll_sees_the_lock_of_a_killed_process_as_free(ctx):
    for lock in ctx.Lock(), ctx.RLock():
        reader, writer = ctx.Pipe(duplex=False)
        with reader, writer:
            process = ctx.Process(target=hold_for_ever, args=(lock, writer))
            process.start()
            reader.recv()
            assert lock.locked()
            killed(process)
        deadline = time.monotonic() + LONG
        while lock.locked():
            assert time.monotonic() < deadline
        with pytest.raises(mproc.OwnerDiedError):
            lock.acquire(True, LONG)


def take(lock):
    assert lock.acquire(False)


def test_a_lock_that_a_child_left_taken_is_taken(ctx):
    lock, rlock = ctx.Lock(), ctx.RLock()
    for each in lock, rlock:
        process = ctx.Process(target=take, args=(each,))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert each.locked()
        assert "SomeOther" in repr(each)
        with pytest.raises(mproc.OwnerDiedError):
            each.acquire(True, LONG)
        assert not each.locked()


def test_with_tells_of_a_dead_holder(ctx):
    lock = ctx.Lock()
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=hold_for_ever, args=(lock, writer))
        process.start()
        reader.recv()
        killed(process)
    with pytest.raises(mproc.OwnerDiedError), lock:
        pytest.fail("the holder is dead")
    with lock:
        assert repr(lock) == "<Lock(owner=MainProcess)>"


def test_the_holder_dies_while_others_wait(ctx):
    lock = ctx.Lock()
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        holder = ctx.Process(target=hold_for_ever, args=(lock, writer))
        holder.start()
        reader.recv()
        takers = [ctx.Process(target=take_and_tell, args=(lock, writer)) for _ in range(3)]
        for taker in takers:
            taker.start()
        assert [reader.recv() for _ in takers] == ["waiting"] * 3
        pid = holder.pid
        killed(holder)
        told = [reader.recv() for _ in takers]
        for taker in takers:
            taker.join(LONG)
            assert taker.exitcode == 0
    assert sorted(map(str, told)) == sorted(["taken", "taken", str(("died", pid))])
    assert not lock.locked()


def test_a_waiter_dies(ctx):
    lock = ctx.Lock()
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer, lock:
        process = ctx.Process(target=take_and_tell, args=(lock, writer))
        process.start()
        assert reader.recv() == "waiting"
        killed(process)
    assert lock.acquire(False)
    lock.release()


def test_a_dead_holder_of_a_lock_that_nobody_takes_leaves_nothing(ctx):
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=hold_for_ever, args=(ctx.Lock(), writer))
        process.start()
        reader.recv()
        killed(process)


def test_owner_died_error_pickles():
    error = pickle.loads(pickle.dumps(mproc.OwnerDiedError(12, 34)))
    assert (error.pid, error.tid, error.name, error.exitcode) == (12, 34, None, None)
    assert str(error) == "process 12 died while it held the lock (thread 34)"
    error = pickle.loads(pickle.dumps(mproc.OwnerDiedError(12, 34, "A", 3)))
    assert str(error) == "process 12 (A, exit code 3) died while it held the lock (thread 34)"


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_a_lock_may_be_inherited_in_silence(ctx, kind):
    lock = getattr(ctx, kind)(on_owner_death="recover")
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=hold_for_ever, args=(lock, writer))
        process.start()
        reader.recv()
        killed(process)
        assert answer(ctx, try_it, lock)[:2] == (True, kind == "RLock")  # and ends holding it
    with lock:
        assert lock.locked()
    assert not lock.locked()


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_wrong_wishes_about_a_dead_owner(kind):
    with pytest.raises(ValueError, match=r"^on_owner_death is 'raise' or 'recover', not 'hope'$"):
        getattr(mproc, kind)(on_owner_death="hope")


def use_all(locks, counter):
    for lock in locks:
        with lock:
            counter.value += 1


def test_a_hundred_thousand():
    """Two processes use them all; what stays is nothing."""
    ctx = mproc.get_context("fork")
    descriptors, used = os.listdir("/proc/self/fd"), _mproc.arena_stat()["used"]
    counter = ctx.Value("q")
    locks = [ctx.Lock() for _ in range(100_000)]
    process = ctx.Process(target=use_all, args=(locks, counter))
    process.start()
    for lock in locks:
        with lock:
            pass
    process.join()
    assert (process.exitcode, counter.value) == (0, len(locks))
    process.close()
    assert os.listdir("/proc/self/fd") == descriptors
    del locks, lock, counter, process
    gc.collect()
    _mproc.reap()
    assert _mproc.arena_stat()["used"] == used
