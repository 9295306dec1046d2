"""Eight threads at one object of the extension, for interpreters with and without the GIL."""

import contextlib
import ctypes
import functools
import os
import threading
from queue import Empty

import numpy as np
import pytest
from conftest import wait_until

import mproc
from mproc import _mproc

try:
    import _testcapi
except ImportError:
    _testcapi = None

THREADS = 8
PATIENCE = 120


def at_once(*jobs):
    """Each job in a thread of its own, begun together; what one raises is raised."""
    start, errors = threading.Barrier(len(jobs)), []

    def run(job):
        start.wait(PATIENCE)
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    for error in errors:
        raise error


def changing(change, times):
    def job():
        for i in range(times):
            change(i)

    return job


def in_step(n, *works):
    """As at_once(): each work at 0, at 1, and so on; none goes on before all have done theirs."""
    step = threading.Barrier(len(works))

    def job(work):
        for i in range(n):
            step.wait(PATIENCE)
            work(i)

    at_once(*[functools.partial(job, work) for work in works])


# ---- messages


def test_list_that_changes_while_it_is_sent():
    shared = [[i, str(i)] for i in range(50)]

    def change(i):
        shared.append([i, "new"])
        del shared[:2]
        shared.insert(0, [i, "first"])

    def send(_):
        for item in _mproc.loads(_mproc.dumps(shared)):
            assert len(item) == 2

    at_once(*[changing(send, 300)] * 6, *[changing(change, 300)] * 2)


def test_no_import_runs_while_a_list_with_an_array_is_walked(program):
    """It would let a program's own import change the list, or another thread."""
    program.write(
        "walk.py",
        """
import builtins
import numpy as np
from mproc import SimpleQueue
numbers = [np.arange(3)] + [[i, i + 1] for i in range(2000)]
real, kept = builtins.__import__, []

def changing(name, *args, **kwds):
    del numbers[1:]
    kept.extend(object() for _ in range(100_000))
    return real(name, *args, **kwds)

queue = SimpleQueue()
queue.put([0, 1])
queue.get()
builtins.__import__ = changing
queue.put(numbers)
builtins.__import__ = real
print(len(queue.get()))
""",
    )
    assert program.output("walk.py").strip() == "2001"


def test_dict_that_changes_while_it_is_sent():
    shared = {f"k{i}": [i] for i in range(50)}

    def change(i):
        shared[f"n{i}"] = [i]
        shared.pop(f"k{i % 50}", None)
        shared.pop(f"n{i - 5}", None)

    def send(_):
        for key, value in _mproc.loads(_mproc.dumps(shared)).items():
            assert isinstance(key, str)
            assert len(value) == 1

    at_once(*[changing(send, 300)] * 6, *[changing(change, 300)] * 2)


def test_nested_values_are_plain():
    """A copy that is walked adds a reference, which must not count as another place."""
    value = {"a": [[i, {"b": [i]}] for i in range(100)], "t": ([1], ([2], {"c": [3]}))}
    assert _mproc.is_plain(value)
    assert _mproc.loads(_mproc.dumps(value)) == value
    twice = [1]
    assert not _mproc.is_plain([twice, twice])


def test_keys_are_whole_in_all_threads():
    sent = [_mproc.dumps({f"key{i}": i for i in range(j, j + 300)}) for j in range(0, 2_400, 300)]

    def read(i):
        j = i % len(sent) * 300
        assert _mproc.loads(sent[i % len(sent)]) == {f"key{k}": k for k in range(j, j + 300)}

    at_once(*[changing(read, 64)] * THREADS)


def test_pickler_is_one_threads():
    def send(i):
        value = {i, (i, "x" * 40), frozenset([i])}
        assert _mproc.loads(_mproc.dumps(value)) == value

    at_once(*[changing(send, 500)] * THREADS)


class Chosen:
    """What a program has pickle instead of pickle itself."""

    @staticmethod
    def dumps(_object):
        return b"\x80\x05K\x07."  # 7

    @staticmethod
    def loads(_data):
        return 7


def test_another_pickler_is_chosen_meanwhile():
    def choose(i):
        _mproc.choose_pickler(type("C", (Chosen,), {}) if i % 2 else None)

    def send(i):
        assert _mproc.loads(_mproc.dumps({i})) in ({i}, 7)

    try:
        at_once(*[changing(send, 300)] * 6, *[changing(choose, 300)] * 2)
    finally:
        _mproc.choose_pickler(None)


# ---- buffers


def test_buffers_come_and_go():
    """The list of those that there are is searched, and changed, by all threads."""

    def make(_):
        mine = mproc.Buffer(1_000)
        address = np.frombuffer(mine, np.uint8).__array_interface__["data"][0]
        found, offset = _mproc.buffer_at(address + 10)
        assert (len(found), offset) == (1_000, 10)

    at_once(*[changing(make, 300)] * THREADS)


def test_a_buffer_is_looked_up_while_it_goes():
    addresses = [0] * THREADS

    def make(i):
        mine = mproc.Buffer(256)
        addresses[i % THREADS] = np.frombuffer(mine, np.uint8).__array_interface__["data"][0]

    def look(i):
        found = _mproc.buffer_at(addresses[i % THREADS] or 1)
        assert found is None or len(found[0]) == 256

    at_once(*[changing(make, 500)] * 4, *[changing(look, 500)] * 4)
    assert _mproc.arena_check() is None


@pytest.mark.parametrize("size", [10, 100_000])
def test_arrays_through_a_queue(size):
    queue = mproc.Queue()

    def talk(i):
        queue.put(np.full(size, i))
        got = queue.get(timeout=PATIENCE)
        assert (got == got[0]).all()

    at_once(*[changing(talk, 40)] * THREADS)


# ---- the module


def test_types_are_added_by_all_threads_at_once(program):
    """Each is made once, whoever asks for it first."""
    program.write(
        "late.py",
        """
import threading
from mproc import _mproc
NAMES = ["Lock", "RLock", "Event", "Condition", "Barrier", "Queue", "SemLock", "Memory"]
ADD = ["_add_containers", "_add_pool", "_add_executor", "_add_imap", "_add_threads", "_add_watch"]
found, start = [], threading.Barrier(8)
def ask():
    start.wait()
    for add in ADD:
        getattr(_mproc, add)()
    found.append([getattr(_mproc, name) for name in NAMES] + [_mproc.Dict, _mproc.Engine])
threads = [threading.Thread(target=ask) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
print(len(found), all(types == found[0] for types in found))
""",
    )
    assert program.output("late.py").strip() == "8 True"


# ---- locks


@pytest.mark.parametrize(("kind", "value"), [(0, 1), (1, 1), (1, 3)])
def test_semlock_counts_what_all_threads_hold(kind, value):
    lock = _mproc.SemLock(kind, value, value, f"/mproc-threads-{os.getpid()}", True)

    def take(_):
        with lock:
            if kind == 0:
                with lock:
                    assert lock._is_mine()

    at_once(*[changing(take, 2_000)] * THREADS)
    assert (lock._count(), lock._get_value()) == (0, value)


# ---- objects that are made anew


def held(kind, address):
    """A handle of what stands at an address, which somebody holds."""
    _mproc.hold(address)
    return kind.adopt(address)


class OwnLock(_mproc.Lock):
    """Is made a second time by its __init__()."""

    def __init__(self):
        super().__init__()


def test_a_lock_that_is_made_anew_stays_for_those_who_wait():
    lock = OwnLock()
    address = lock.address
    lock.acquire()
    lock.__init__()
    assert not lock.locked()
    old = held(_mproc.Lock, address)
    assert old.locked()
    del old, lock
    with pytest.raises(OSError, match="Invalid argument"):  # nothing stands there
        _mproc.hold(address)


def test_a_barrier_that_is_made_anew_while_a_thread_waits_at_it():
    barrier, passed = _mproc.Barrier(2), []
    address = barrier.address

    def wait():
        passed.append(barrier._pass(None))

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    assert wait_until(lambda: barrier.n_waiting == 1)
    barrier._make(3)
    old = held(_mproc.Barrier, address)
    assert old._pass(None) == 1
    thread.join(PATIENCE)
    assert (passed, barrier.parties) == ([0], 3)


@pytest.mark.skipif(not hasattr(_testcapi, "set_nomemory"), reason="needs CPython's _testcapi")
@pytest.mark.parametrize(
    ("new", "make"),
    [
        (OwnLock, lambda made: made.__init__()),
        (lambda: _mproc.Barrier(2), lambda made: made._make(3)),
        (_mproc.Queue, lambda made: made._make(1)),
    ],
    ids=["lock", "barrier", "queue"],
)
def test_without_memory_an_object_is_not_made_anew(new, make):
    made = new()
    address, failures = made.address, 0
    for n in range(100):
        _testcapi.set_nomemory(n, n + 1)
        try:
            make(made)
            break
        except MemoryError:
            failures += 1
        finally:
            _testcapi.remove_mem_hooks()
        assert made.address == address
    assert failures > 0
    assert made.address != address


def test_locks_are_made_anew_while_all_threads_use_them():
    lock = OwnLock()

    def make(_):
        lock.__init__()

    def use(_):
        lock.acquire(False)
        lock.locked()

    at_once(*[changing(make, 300)] * 4, *[changing(use, 1_000)] * 4)


def test_a_barrier_is_made_anew_while_all_threads_use_it():
    barrier = _mproc.Barrier(1)

    def make(_):
        barrier._make(1)

    def use(_):
        assert barrier._pass(None) == 0
        assert (barrier.parties, barrier.n_waiting) == (1, 0)

    at_once(*[changing(make, 300)] * 4, *[changing(use, 1_000)] * 4)


# ---- queues


def test_a_queue_that_is_made_anew_stays_for_those_who_wait():
    queue = _mproc.Queue()
    address = queue.address
    queue.put(1)
    queue.__init__(2)
    assert queue.empty()
    assert held(_mproc.Queue, address).get() == 1


@pytest.mark.parametrize("kind", [_mproc.Queue, _mproc.SimpleQueue])
def test_a_queue_is_made_and_closed_while_all_threads_use_it(kind):
    queue = kind()

    def make(_):
        queue.__init__()

    def close(_):
        queue.close()

    def use(i):
        with contextlib.suppress(ValueError, OSError, Empty):  # it was closed, or is another one
            queue.put([i])
            assert len(queue._try_get()) == 1
            queue._another().empty()

    at_once(*[changing(make, 300)] * 2, *[changing(close, 300)] * 2, *[changing(use, 1_000)] * 4)


# ---- the condition


def test_a_condition_is_bound_anew_while_a_thread_waits():
    gone, results = [], []

    class Lock(_mproc.Lock):
        def __del__(self):
            gone.append(True)

    condition = _mproc.Condition(Lock())

    def wait():
        condition.acquire()
        results.append(condition.wait())

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    assert wait_until(lambda: condition._waiting() == 1)
    condition.__setstate__(_mproc.RLock())
    assert not gone  # it is acquired again at the end of the wait
    with condition:
        condition.notify()
    thread.join(PATIENCE)
    assert (results, gone) == ([True], [True])


def test_a_condition_is_bound_anew_while_all_threads_use_it():
    condition = _mproc.Condition(_mproc.Lock())

    def bind(i):
        condition.__setstate__(_mproc.Lock() if i % 2 else _mproc.RLock())

    def use(_):
        with pytest.raises(AssertionError):
            condition.notify()
        with pytest.raises(AssertionError):
            condition.wait()
        assert isinstance(condition._lock, _mproc.Lock | _mproc.RLock)
        assert callable(condition.acquire)

    at_once(*[changing(bind, 1_000)] * 4, *[changing(use, 1_000)] * 4)


# ---- connections


def test_connections_are_closed_once():
    ends = [end for _ in range(200) for end in _mproc.pipe(True)]

    def close(i):
        ends[i].close()

    in_step(len(ends), *[close] * THREADS)
    assert all(end.closed for end in ends)


def test_connections_are_closed_while_all_threads_use_them():
    pairs = [_mproc.pipe(i % 2) for i in range(200)]

    def close(i):
        for end in pairs[i]:
            end.close()

    def use(i):
        first, second = pairs[i]
        with contextlib.suppress(OSError):
            second.send(i)
            first.poll()
            assert first.fileno() >= 0
            second.send([i])
            assert _mproc.wait([first], 0) in ([], [first])

    in_step(len(pairs), *[use] * 6, *[close] * 2)


@pytest.mark.parametrize("plain", [False, True])
def test_messages_of_many_threads_are_whole(plain):
    receiver, sender = _mproc.pipe(False)
    if plain:
        sender.fileno()
    got = []

    def send(i):
        sender.send([i, "x" * (i % 100)])

    def receive(_):
        i, text = receiver.recv()
        assert text == "x" * (i % 100)
        got.append(i)

    at_once(*[changing(send, 500)] * 7, changing(receive, 7 * 500))
    assert sorted(got) == sorted(list(range(500)) * 7)


# ---- named memory


def segments(n):
    made = [_mproc.Segment.create(None, 4_096, False, 0o600) for _ in range(n)]
    for segment in made:
        _mproc.Segment.unlink(segment.name)
    return made


def test_segments_are_closed_while_all_threads_use_them():
    made = segments(200)

    def close(i):
        with contextlib.suppress(BufferError):
            made[i].close()

    def use(i):
        with contextlib.suppress(ValueError), memoryview(made[i]) as view:
            assert view[0] == 0
            assert (made[i].size, made[i].fd >= 0) == (4_096, True)
            made[i].commit()

    def ask(i):
        with contextlib.suppress(ValueError):
            assert made[i].name.startswith("psm_")
            assert made[i].size == 4_096
            made[i].commit()

    in_step(len(made), *[use] * 3, *[ask] * 3, *[close] * 2)
    for segment in made:
        segment.close()
        assert segment.fd == -1


def listed(values):
    segment = _mproc.ShareableList._create(None, values, False, 0o600)
    _mproc.Segment.unlink(segment.name)
    return segment


class ListOf(_mproc.ShareableList):
    """A list in a segment."""

    def __init__(self, segment):
        self._bind(segment)


def test_lists_are_closed_while_all_threads_use_them():
    made = [listed([1, "text", b"bytes", 2.5, None, True]) for _ in range(200)]
    lists = [ListOf(segment) for segment in made]

    def close(i):
        made[i].close()

    def use(i):
        with contextlib.suppress(TypeError):
            assert lists[i][1] == "text"
            lists[i][0] = i
            assert len(lists[i]) == 6
            assert lists[i].index(2.5) == 3
            assert lists[i]._get_packing_format(0) == "q"

    in_step(len(made), *[use] * 6, *[close] * 2)
    for segment in made:
        segment.close()


def test_a_list_is_bound_anew_while_all_threads_use_it():
    shared = ListOf(listed([1, 2, 3]))

    def bind(_):
        shared._bind(listed([1, 2, 3]))

    def use(_):
        assert (shared[0], len(shared), shared.count(3)) == (1, 3, 1)

    at_once(*[changing(bind, 100)] * 2, *[changing(use, 1_000)] * 6)


# ---- synchronized values


def test_a_value_is_made_once():
    values = [_mproc.Synchronized() for _ in range(500)]
    number, lock, made = ctypes.c_int(7), _mproc.RLock(), []

    def make(i):
        try:
            values[i]._wrap(number, lock, "i")
        except TypeError:
            return
        made.append(i)

    def use(i):
        with contextlib.suppress(TypeError):  # it is not made yet
            assert values[i]._value == 7

    in_step(len(values), *[make] * 6, *[use] * 2)
    assert sorted(made) == list(range(len(values)))


def numbers(n):
    array = _mproc.SynchronizedArray()
    array._wrap((ctypes.c_long * n)(*range(n)), _mproc.RLock(), "l")
    return array


def test_all_threads_go_through_an_array_together():
    way, got = iter(numbers(20_000)), []

    def walk():
        got.extend(way)

    at_once(*[walk] * THREADS)
    assert sorted(got) == list(range(20_000))


def test_a_slice_is_assigned_of_a_list_that_changes():
    array, shared = numbers(100), [10**6 + i for i in range(100)]

    def change(i):
        shared[:] = [10**6 + i + j for j in range(100)]
        assert all(isinstance(number, float) for number in [j / 3 for j in range(100)])

    def assign(_):
        with contextlib.suppress(ValueError):  # it had another size just then
            array[:] = shared
            assert min(array[:]) >= 10**6

    array[:] = shared
    at_once(*[changing(assign, 3_000)] * 4, *[changing(change, 3_000)] * 4)
