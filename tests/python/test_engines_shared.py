"""Shared objects of a program in its tasks on an engine, which is that of test_engines."""

import ctypes
import functools
import gc
import os
import queue
import signal
import time
from threading import BrokenBarrierError

import pytest
from conftest import wait_until
from test_engines import Here

import mproc
from mproc import AuthenticationError, OwnerDiedError
from mproc._cpython import FREE_THREADED
from mproc.connection import Client
from mproc.engines import WorkerLostError, shared
from mproc.managers import RemoteError

SECONDS = 60


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]


@pytest.fixture
def pool():
    with mproc.Pool(4, engine=Here(nodes=2)) as pool:
        yield pool
    pool.join()
    wait_until(nothing_is_shared)  # the server's threads are ending
    assert nothing_is_shared()


def nothing_is_shared():
    gc.collect()
    return not shared._entries


def fails_with(kind, call, *args):
    try:
        call(*args)
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


# ---- what each of them does in a task


def use_queue(q):
    q.put("a")
    q.put_nowait("b")
    seen = [q.qsize(), q.full(), q.empty()]
    fails_with(queue.Full, q.put, "c", True, 0.01)
    fails_with(queue.Full, q.put_nowait, "c")
    got = [q.get(), *q.get_many(5)]
    fails_with(queue.Empty, q.get, True, 0.01)
    fails_with(queue.Empty, q.get_nowait)
    q.put_many(x for x in "de")
    q.close()
    q.join_thread()
    return seen, got


def test_queue(pool):
    q = mproc.Queue(2)
    assert pool.apply(use_queue, (q,)) == ([2, True, False], ["a", "b"])
    assert [q.get(), q.get()] == ["d", "e"]


def work_off(q):
    while (item := q.get()) is not None:
        q.task_done()
    return item


def test_joinable_queue(pool):
    q = mproc.JoinableQueue()
    q.put_many([*range(5), None])
    result = pool.apply_async(work_off, (q,))
    assert result.get(SECONDS) is None
    q.task_done()
    assert pool.apply_async(q.join).get(SECONDS) is None
    with pytest.raises(ValueError, match="too many"):
        pool.apply(q.task_done)


def use_simple_queue(q):
    q.put(1)
    q.put_many([2, 3])
    return q.get(), q.get_many(1), q.empty()


def test_simple_queue(pool):
    q = mproc.SimpleQueue()
    assert pool.apply(use_simple_queue, (q,)) == (1, [2], False)
    assert q.get() == 3


def count_up(lock, value, n):
    for _ in range(n):
        with lock:
            value.value += 1


@pytest.mark.parametrize("kind", [mproc.Lock, mproc.RLock, mproc.Condition, mproc.Semaphore])
def test_lock_excludes_tasks_and_the_program(pool, kind):
    lock, value = kind(), mproc.Value("i", 0)
    result = pool.starmap_async(count_up, [(lock, value, 50)] * 6, 1)
    count_up(lock, value, 50)
    result.get(SECONDS)
    assert value.value == 350


def use_lock(lock):
    return lock.acquire(False), lock.acquire(True, 0.01), lock.locked()


def test_lock_that_the_program_has(pool):
    lock = mproc.Lock()
    with lock:
        assert pool.apply(use_lock, (lock,)) == (False, False, True)
    with pytest.raises(ValueError, match="released too many times"):
        pool.apply(lock.release)


def use_rlock(lock):
    with lock, lock:
        return lock.acquire(False), lock.release()


def test_rlock_is_its_tasks(pool):
    lock = mproc.RLock()
    assert pool.apply(use_rlock, (lock,)) == (True, None)
    with lock, pytest.raises(AssertionError, match="not owned"):
        pool.apply(lock.release)
    assert lock.acquire(False)
    lock.release()


def use_semaphore(semaphore):
    taken = [semaphore.acquire(), semaphore.acquire(False), semaphore.acquire(timeout=0.01)]
    seen = semaphore.get_value(), semaphore.locked()
    semaphore.release()
    semaphore.release()
    return taken, seen


@pytest.mark.parametrize("kind", [mproc.Semaphore, mproc.BoundedSemaphore])
def test_semaphore(pool, kind):
    semaphore = kind(2)
    assert pool.apply(use_semaphore, (semaphore,)) == ([True, True, False], (0, True))
    assert semaphore.get_value() == 2
    if kind is mproc.BoundedSemaphore:
        with pytest.raises(ValueError, match="released too many times"):
            pool.apply(semaphore.release)


def wait_for_value(condition, value):
    with condition:
        return condition.wait_for(lambda: value.value, SECONDS), condition.wait(0.01)


def test_condition(pool):
    condition, value = mproc.Condition(), mproc.Value("i", 0)
    result = pool.apply_async(wait_for_value, (condition, value))
    time.sleep(0.1)
    with condition:
        value.value = 5
        condition.notify_all()
    assert result.get(SECONDS) == (5, False)


def use_event(event):
    before = event.is_set(), event.wait(0.01)
    event.set()
    return before, event.wait(), event.clear(), event.is_set()


def test_event(pool):
    event = mproc.Event()
    assert pool.apply(use_event, (event,)) == ((False, False), True, None, False)
    result = pool.apply_async(event.wait)
    event.set()
    assert result.get(SECONDS) is True


def meet(barrier):
    return barrier.wait(), barrier.parties, barrier.broken


def give_up(barrier):
    barrier.abort()
    fails_with(BrokenBarrierError, barrier.wait)
    barrier.reset()
    return barrier.n_waiting


def test_barrier(pool):
    barrier = mproc.Barrier(3)
    result = pool.map_async(meet, [barrier] * 2, 1)
    mine = barrier.wait()
    assert sorted([mine, *(index for index, *_ in result.get(SECONDS))]) == [0, 1, 2]
    assert [rest for _, *rest in result.get()] == [[3, False]] * 2
    assert pool.apply(give_up, (barrier,)) == 0


def use_value(value):
    value.value = 3
    with value.get_lock():
        value.value += 1
    with value:
        value.value += 1
    return value.value, value.add(5), value.exchange(7), value.compare_exchange(7, 8)


def test_value(pool):
    value = mproc.Value("i", 0)
    assert pool.apply(use_value, (value,)) == (5, 5, 10, True)
    assert value.value == 8


def use_array(array):
    array[0], array[1:3] = 7, [8, 9]
    return len(array), list(array), array[-1], array[:2], sum(array)


@pytest.mark.parametrize("kind", [mproc.Array, mproc.RawArray])
def test_array(pool, kind):
    array = kind("i", 4)
    assert pool.apply(use_array, (array,)) == (4, [7, 8, 9, 0], 0, [7, 8], 24)
    assert array[:] == [7, 8, 9, 0]
    with pytest.raises(IndexError):
        pool.apply(array.__getitem__, (4,)) if kind is mproc.RawArray else array[4]


def use_raw(value, text, point):
    value.value += 1
    text.value = b"there"
    point.x, point.y = 3, 0.5
    return value.value, text.raw, point.x + point.y


def test_text_structures_and_values_without_lock(pool):
    value, text, point = mproc.RawValue("i", 1), mproc.Array("c", 6), mproc.Value(Point)
    assert pool.apply(use_raw, (value, text, point)) == (2, b"there\0", 3.5)
    assert (value.value, text.value, point.x) == (2, b"there", 3)


def reach_for_memory(array, points):
    return (
        fails_with(TypeError, array.get_obj),
        fails_with(TypeError, points.__getitem__, 0),
        fails_with(AttributeError, getattr, array, "nothing"),
    )


def test_memory_itself_stays_with_the_program(pool):
    memory, item, name = pool.apply(reach_for_memory, (mproc.Array("i", 2), mproc.Array(Point, 2)))
    assert "c_int_Array_2 is on 127.0.0.1" in memory
    assert "Point is itself in the memory" in item
    assert "nothing" in name


# ---- on the way


def same(x):
    return x


def test_object_comes_home_as_itself(pool):
    q, value = mproc.Queue(), mproc.Value("i", 0)
    assert pool.apply(same, (q,)) is q
    back = pool.map(same, [value] * 3)
    assert all(one is value for one in back)


def put(q, x):
    q.put(x)


def test_object_in_the_function(pool):
    q = mproc.Queue()
    pool.map(functools.partial(put, q), range(3))
    assert list(pool.imap(functools.partial(put, q), range(3))) == [None] * 3
    assert sorted(q.get_many(6)) == [0, 0, 1, 1, 2, 2]


def remember(q):
    global remembered
    remembered = q


def use_remembered(x):
    remembered.put(x)


def test_object_of_the_initializer():
    q = mproc.Queue()
    with mproc.Pool(2, remember, (q,), engine=Here()) as pool:
        pool.map(use_remembered, range(4))
    pool.join()
    assert sorted(q.get_many(4)) == [0, 1, 2, 3]


def test_executor():
    q = mproc.Queue()
    with mproc.ProcessPoolExecutor(2, engine=Here()) as executor:
        assert list(executor.map(put, [q] * 3, range(3))) == [None] * 3
    assert sorted(q.get_many(3)) == [0, 1, 2]


def test_object_that_the_program_has_dropped(pool):
    """The task has it as long as it runs, and nothing keeps it afterwards."""
    assert pool.apply(use_queue, (mproc.Queue(2),)) == ([2, True, False], ["a", "b"])
    for _ in range(2 * 64):  # more than a process keeps
        pool.apply(same, (mproc.Event(),))
    assert wait_until(lambda: shared_now() < 2 * 64 + 1)


def shared_now():
    """How many objects are. Without the interpreter's lock the collector alone frees functions."""
    if FREE_THREADED:
        gc.collect()
    return len(shared._entries)


def die_first(q, path):
    q.put(os.getpid())
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) < 2:
        os.kill(os.getpid(), signal.SIGKILL)


def test_object_of_a_task_that_is_begun_anew(pool, tmp_path):
    q = mproc.Queue()
    pool.options(retries=1).apply(die_first, (q, str(tmp_path / "tries")))
    assert len({q.get(), q.get()}) == 2


def test_what_a_task_puts_has_to_be_pickled(pool):
    q = mproc.Queue()
    with pytest.raises(Exception, match="lambda"):
        pool.apply(put_lambda, (q,))
    assert q.empty()


def put_lambda(q):
    q.put(lambda: 0)


def get_total(q):
    return float(q.get().sum())


def test_arrays_through_a_queue(pool):
    numpy = pytest.importorskip("numpy")
    q = mproc.Queue()
    q.put(numpy.ones(1 << 20))
    assert pool.apply(get_total, (q,)) == 1 << 20


# ---- deaths


def take_and_die(lock, value):
    lock.acquire()
    value.value = 1
    os.kill(os.getpid(), signal.SIGKILL)


def take(lock):
    with lock:
        return "mine"


@pytest.mark.parametrize("kind", [mproc.Lock, mproc.RLock, mproc.Condition])
def test_lock_whose_holder_dies(pool, kind):
    """The next task is told so, once; then the lock is free."""
    lock = kind()
    waiting = hold_and_wait(pool, lock)
    with pytest.raises(OwnerDiedError, match="died while it held the lock"):
        waiting.get(SECONDS)
    assert pool.apply(take, (lock,)) == "mine"


def hold_and_wait(pool, lock):
    """Have a task die with the lock for which another one waits; return that one's result."""
    value = mproc.Value("i", 0)
    with lock:
        first = pool.apply_async(take_and_die, (lock, value))
    while not value.value:
        time.sleep(0.01)
    waiting = pool.apply_async(take, (lock,))
    with pytest.raises(WorkerLostError):
        first.get(SECONDS)
    return waiting


def test_lock_whose_holder_dies_and_that_nobody_waits_for(pool):
    lock, value = mproc.Lock(), mproc.Value("i", 0)
    with pytest.raises(WorkerLostError):
        pool.apply(take_and_die, (lock, value))
    with pytest.raises(OwnerDiedError):
        pool.apply(take, (lock,))
    assert pool.apply(take, (lock,)) == "mine"


def test_lock_whose_holder_dies_and_that_the_program_waits_for(pool):
    lock, value = mproc.Lock(), mproc.Value("i", 0)
    first = pool.apply_async(take_and_die, (lock, value))
    while not value.value:
        time.sleep(0.01)
    assert lock.acquire(timeout=SECONDS)
    lock.release()
    first.wait(SECONDS)


def test_lock_that_recovers(pool):
    assert hold_and_wait(pool, mproc.Lock(on_owner_death="recover")).get(SECONDS) == "mine"


def take_and_leave(lock):
    lock.acquire()
    return os.getpid()


def kill(pid):
    os.kill(pid, signal.SIGKILL)


def test_death_of_a_process_that_has_the_lock_no_more(pool):
    """What it took, another process has released, and a third one has taken."""
    lock = mproc.Lock()
    pid = pool.apply(take_and_leave, (lock,))
    lock.release()
    with lock:
        kill(pid)
        time.sleep(0.3)
        assert not lock.acquire(False)


def test_permits_of_a_process_that_dies(pool):
    bounded, signal_ = mproc.BoundedSemaphore(1), mproc.Semaphore(1)
    for semaphore, left in ((bounded, True), (signal_, False)):
        value = mproc.Value("i", 0)
        with pytest.raises(WorkerLostError):
            pool.apply(take_and_die, (semaphore, value))
        assert semaphore.acquire(timeout=SECONDS if left else 0.3) is left


def wait_and_tell(q, value):
    value.value = os.getpid()
    return q.get()


def test_process_that_dies_while_it_waits_takes_nothing(pool):
    q, value = mproc.Queue(), mproc.Value("i", 0)
    result = pool.apply_async(wait_and_tell, (q, value))
    while not value.value:
        time.sleep(0.01)
    time.sleep(0.2)
    kill(value.value)
    with pytest.raises(WorkerLostError):
        result.get(SECONDS)
    q.put("kept")
    assert q.get(timeout=SECONDS) == "kept"


def test_party_of_a_barrier_that_dies(pool):
    barrier, value = mproc.Barrier(2), mproc.Value("i", 0)
    result = pool.apply_async(wait_at_and_tell, (barrier, value))
    while not barrier.n_waiting:
        time.sleep(0.01)
    kill(value.value)
    with pytest.raises(WorkerLostError):
        result.get(SECONDS)
    while barrier.n_waiting:  # the server looks for its clients now and then
        time.sleep(0.01)
    with pytest.raises(BrokenBarrierError):
        barrier.wait(1)


def wait_at_and_tell(barrier, value):
    value.value = os.getpid()
    return barrier.wait()


def test_pool_that_is_terminated_while_tasks_wait():
    event = mproc.Event()
    with mproc.Pool(2, engine=Here()) as pool:
        results = pool.map_async(event.wait, [None] * 2, 1)
        time.sleep(0.3)
    pool.join()
    assert not results.ready() or not results.successful()


# ---- who may


def address_of(pool):
    return pool._tasks._sharing.server().address


def test_program_of_another_key_is_refused(pool):
    with pytest.raises(AuthenticationError):
        Client(address_of(pool), authkey=b"not the program's")


@pytest.mark.parametrize("name", ["create", "shutdown", "number_of_objects"])
def test_server_does_nothing_else(pool, name):
    client = Client(address_of(pool), authkey=bytes(mproc.current_process().authkey))
    with client:
        client.send((None, name, (), {}))
        kind, text = client.recv()
    assert kind == "#TRACEBACK" and "is no function" in text


def reach_in(q):
    q._callmethod("_close_ends")


def test_no_other_method_is_called(pool):
    with pytest.raises(RemoteError, match="is not in exposed"):
        pool.apply(reach_in, (mproc.Queue(),))


def test_connection_over_tcp_is_attended(pool):
    """One that is cut off ends by itself; test_cables.py cuts one."""
    import socket

    event = mproc.Event()
    pool.apply(event.set)
    (session, *_) = pool._tasks._sharing.server()._sessions
    with socket.socket(fileno=os.dup(session.connection.fileno())) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30000
