"""joblib on mproc: the backend, and arrays by reference. Skipped without joblib or numpy."""

import gc
import multiprocessing
import os
import pickle
import signal
import threading

import pytest

import mproc
from mproc.pool import WorkerDiedError

joblib = pytest.importorskip("joblib", reason="joblib is not installed")
numpy = pytest.importorskip("numpy", reason="numpy is not installed")

from joblib import Parallel, delayed, parallel_config  # noqa: E402

import mproc.joblib as backend  # noqa: E402 # what stands above it decides whether there is one
from mproc._pool import by_reference  # noqa: E402
from mproc._pool.by_reference import Sent, Sharer, load, run  # noqa: E402
from mproc._pool.segments import Memory  # noqa: E402

LARGE = 300_000  # numbers of 8 bytes: more than what is sent as a copy


@pytest.fixture
def own_files(monkeypatch):
    """The files of the segments that this process makes in a test."""
    files = []
    make = Memory.__init__

    def noted(memory, number, size):
        make(memory, number, size)
        files.append(f"/dev/shm/{memory.name}")

    monkeypatch.setattr(Memory, "__init__", noted)
    return files


@pytest.fixture(autouse=True)
def nothing_left(nothing_left):
    """The tests of this file keep workers, which the last of each ends."""
    backend.register()
    yield
    backend.shutdown()
    by_reference.forget()


@pytest.fixture
def two():
    with parallel_config(backend="mproc", n_jobs=2):
        yield


def double(x):
    return 2 * x


def about(array, number):
    array_is = type(array) is numpy.ndarray, array.flags.writeable, array.flags.owndata
    return float(array.sum()) + number, array_is


def nested(x):
    return sum(Parallel(n_jobs=2)(delayed(double)(i) for i in range(x)))


def nested_in_processes(x):
    return Parallel(n_jobs=2, backend="mproc")(delayed(os.getpid)() for _ in range(x)), os.getpid()


def fail(x, error=KeyError):
    raise error(x)


def die(x):
    os.kill(os.getpid(), signal.SIGKILL)


def variable(name):
    return os.environ.get(name)


def set_variable(name, value):
    os.environ[name] = value


def write(array, place):
    array[place] = place


class Thing:
    def __init__(self, number):
        self.number = number


def test_calls_share_workers(two):
    pids = [set(Parallel()(delayed(variable)("HOME") for _ in range(2))) for _ in range(2)]
    assert pids[0] == pids[1] == {os.environ.get("HOME")}
    first = set(Parallel()(delayed(os.getpid)() for _ in range(20)))
    second = set(Parallel()(delayed(os.getpid)() for _ in range(20)))
    assert first | second <= {old.pid for kept in backend._kept.values() for old in kept.pool._pool}
    assert os.getpid() not in first and len(backend._kept) == 1


def test_many_small_tasks(two):
    assert Parallel()(delayed(double)(i) for i in range(3000)) == [2 * i for i in range(3000)]


def test_generators(two):
    for order, wanted in (("generator", list), ("generator_unordered", sorted)):
        calls = (delayed(double)(i) for i in range(50))
        assert wanted(Parallel(return_as=order)(calls)) == [2 * i for i in range(50)]


def test_functions_and_results_without_a_name(two):
    things = Parallel()(delayed(lambda x: (Thing(x), lambda: x))(i) for i in range(3))
    assert [thing.number for thing, _ in things] == [0, 1, 2]
    assert type(things[0][0]) is Thing and things[2][1]() == 2


def test_large_results(two):
    for i, array in enumerate(Parallel()(delayed(numpy.full)(LARGE, i) for i in range(3))):
        assert array.flags.writeable and array.shape == (LARGE,) and (array == i).all()


def test_nested_parallelism_is_joblibs(two):
    assert Parallel()(delayed(nested)(i) for i in range(4)) == [0, 0, 2, 6]


def test_workers_have_no_workers(two):
    for pids, pid in Parallel()(delayed(nested_in_processes)(2) for _ in range(2)):
        assert set(pids) == {pid}


def test_threads_of_a_parallel_call_have_no_processes():
    it = backend.MprocBackend(nesting_level=1)
    answers = []

    def ask():
        with pytest.warns(UserWarning, match="n_jobs is 1"):
            answers.append(it.effective_n_jobs(2))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert answers == [1] and it.effective_n_jobs(2) == 2 and it.effective_n_jobs(None) == 1
    assert it.effective_n_jobs(-1) == joblib.cpu_count()
    with pytest.raises(ValueError, match="n_jobs == 0"):
        it.effective_n_jobs(0)


def test_an_exception_ends_the_call_and_the_next_one_works(two):
    with pytest.raises(KeyError) as caught:
        Parallel()(delayed(fail)(i) for i in range(10))
    assert "in fail" in str(caught.value.__cause__)
    assert Parallel()(delayed(double)(i) for i in range(4)) == [0, 2, 4, 6]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_does_not_end_the_worker(two, error):
    with pytest.raises(error) as caught:
        Parallel()(delayed(fail)(i, error) for i in range(10))
    assert "in fail" in str(caught.value.__cause__)


def test_workers_that_are_managed_go_on_after_an_exception(two):
    with Parallel() as parallel:
        with pytest.raises(KeyError):
            parallel(delayed(fail)(i) for i in range(10))
        assert parallel(delayed(double)(i) for i in range(4)) == [0, 2, 4, 6]


def test_an_initializer_of_the_backend():
    with parallel_config("mproc", n_jobs=2, initializer=set_variable, initargs=("FIRST", "1")):
        assert Parallel()([delayed(variable)("FIRST")] * 2) == ["1", "1"]
        assert Parallel(initializer=set_variable, initargs=("FIRST", "2"))(
            [delayed(variable)("FIRST")] * 2
        ) == ["2", "2"]
    with parallel_config("mproc", n_jobs=2):
        assert Parallel()([delayed(variable)("FIRST")] * 2) == [None, None]


def test_an_initializer_without_a_name():
    def first():
        os.environ["FIRST"] = "3"

    with parallel_config("mproc", n_jobs=2, initializer=first):
        assert Parallel()([delayed(variable)("FIRST")] * 2) == ["3", "3"]


def test_proxies_of_the_standard_library_authenticate(two):
    with multiprocessing.get_context("fork").Manager() as manager:
        numbers = manager.list()
        Parallel()(delayed(numbers.append)(i) for i in range(4))
        assert sorted(numbers) == [0, 1, 2, 3]


def test_a_worker_that_dies(two):
    with pytest.raises(WorkerDiedError, match="SIGKILL"):
        Parallel()(delayed(die)(i) for i in range(2))
    assert Parallel()(delayed(double)(i) for i in range(4)) == [0, 2, 4, 6]


def test_what_cannot_be_sent(two):
    with pytest.raises(TypeError, match="pickle"):
        Parallel()(delayed(double)(threading.Lock()) for _ in range(2))
    assert Parallel()(delayed(double)(i) for i in range(2)) == [0, 2]


def test_number_of_inner_threads():
    with parallel_config(backend="mproc", n_jobs=2, inner_max_num_threads=3):
        assert Parallel()([delayed(variable)("OMP_NUM_THREADS")] * 2) == ["3", "3"]
    assert os.environ.get("OMP_NUM_THREADS") is None


@pytest.mark.parametrize("start_method", ["fork", "forkserver"])
def test_another_start_method(start_method):
    with parallel_config(backend="mproc", n_jobs=2, start_method=start_method):
        assert Parallel()(delayed(double)(i) for i in range(4)) == [0, 2, 4, 6]
    with pytest.raises(ValueError):
        backend.MprocBackend(start_method="thread")


def test_another_number_of_workers_replaces_those_that_nobody_uses():
    for n in (2, 3):
        Parallel(n_jobs=n, backend="mproc")(delayed(double)(i) for i in range(4))
    (kept,) = backend._kept.values()
    assert len(kept.pool._pool) == 3 and not kept.users


def test_a_child_that_is_forked_while_a_thread_takes_a_pool():
    with backend._keeping:
        child = mproc.get_context("fork").Process(target=backend.shutdown)
        child.start()
    child.join(60)
    assert child.exitcode == 0


def test_one_job_runs_here():
    assert Parallel(n_jobs=1, backend="mproc")([delayed(os.getpid)()]) == [os.getpid()]


# ---- arrays by reference


def test_large_arrays_are_looked_at_and_not_copied(two, own_files):
    array = numpy.arange(float(LARGE))
    for i, (total, array_is) in enumerate(Parallel()(delayed(about)(array, i) for i in range(6))):
        assert total == array.sum() + i and array_is == (True, False, False)
    assert own_files and not any(map(os.path.exists, own_files))


def test_arrays_of_every_layout(two):
    square = numpy.arange(float(LARGE)).reshape(500, -1)
    dates = numpy.zeros(LARGE, "datetime64[s]")
    for array in (square, square.T, numpy.asfortranarray(square), square[::2, ::-1], dates):
        for same, contiguous in Parallel()([delayed(looks_like)(array, array[:1].copy())] * 2):
            assert same and contiguous


def looks_like(array, first):
    return (array[:1] == first).all(), array.flags.c_contiguous or array.flags.f_contiguous


def test_arrays_of_objects_and_small_ones_are_copied(two):
    objects = numpy.array([Thing(1)] * LARGE)
    assert Parallel()(delayed(len)(array) for array in (objects, numpy.zeros(5))) == [LARGE, 5]
    copies = Parallel(max_nbytes=None)(delayed(about)(numpy.ones(LARGE), 0) for _ in range(2))
    assert (
        copies == [(LARGE, (True, True, False))] * 2 or copies == [(LARGE, (True, True, True))] * 2
    )


def test_workers_may_write_if_they_are_let(two):
    results = Parallel(mmap_mode="r+")(delayed(about)(numpy.ones(LARGE), 0) for _ in range(2))
    assert [array_is[1] for _, array_is in results] == [True, True]
    with pytest.raises(ValueError, match="read-only"):
        Parallel()(delayed(write)(numpy.ones(LARGE), 0) for _ in range(2))


def test_arrays_that_come_and_go_leave_nothing(two, own_files):
    sums = Parallel()(delayed(about)(numpy.full(LARGE, i), 0) for i in range(30))
    assert [total for total, _ in sums] == [LARGE * i for i in range(30)]
    assert own_files and not any(map(os.path.exists, own_files))


def shared_by(sharer):
    return [shared.memory.name for _, shared in sharer._by_id.values()]


def test_how_long_a_segment_lives():
    sharer = Sharer(backend.CloudPickler, 1000)
    array, small = numpy.arange(1000.0), numpy.zeros(10)
    first, second = sharer.pickle((array, small)), sharer.pickle([array, array])
    (name,) = shared_by(sharer)
    again, _ = load(first.message)
    assert (again == array).all()
    del array
    gc.collect()
    sharer.over(first)
    assert os.path.exists(f"/dev/shm/{name}")  # the second call names it
    sharer.over(second)
    sharer.over(second)
    assert not os.path.exists(f"/dev/shm/{name}") and shared_by(sharer) == []
    assert again[999] == 999.0  # who looks at it keeps its memory


class First:
    """A call that returns the first number of an array, and may keep the array."""

    def __init__(self, array, keeps=None):
        self.array = array
        self.keeps = keeps

    def __call__(self):
        if self.keeps is not None:
            kept_by_calls.append(self.array)
        return float(self.array[0])


kept_by_calls = []


@pytest.fixture
def sharer():
    sharer = Sharer(backend.CloudPickler, 1000)
    yield sharer
    sharer.drop()
    kept_by_calls.clear()


def made(sharer):
    return sharer._segments._made


def send(sharer, array, keeps=None):
    """Have a call run, in this process; return its result."""
    sent = sharer.pickle(First(array, keeps))
    data, buffers, kept = run(sent.message, backend.CloudPickler)
    sharer.over(sent, kept)
    return pickle.loads(data, buffers=buffers)


def test_a_segment_serves_the_next_array(sharer):
    for i in range(20):
        assert send(sharer, numpy.full(1000 - i, float(i))) == i
    assert made(sharer) == 1
    assert send(sharer, numpy.full(400, 20.0)) == 20.0  # most of the segment would be empty
    assert made(sharer) == 2 and len(sharer._segments._idle) == 1


def test_a_segment_serves_arrays_of_another_layout(sharer):
    for dtype, order in (("i8", "C"), ("f4", "F"), ("c16", "C"), ("u1", "F"), ("M8[s]", "C")):
        array = numpy.arange(8000 // numpy.dtype(dtype).itemsize).astype(dtype)
        array = numpy.asarray(array.reshape(-1, 20), order=order)
        sent = sharer.pickle(lambda array=array: array.copy("A"))
        data, buffers, kept = run(sent.message, backend.CloudPickler)
        sharer.over(sent, kept)
        came = pickle.loads(data, buffers=buffers)
        assert came.dtype == array.dtype and (came == array).all()
        assert came.flags.f_contiguous == array.flags.f_contiguous
    assert made(sharer) == 1


def test_an_array_that_was_sent_once_gives_its_segment_to_another(sharer):
    arrays = [numpy.full(1000, float(i)) for i in range(5)]
    for _ in range(2):
        assert [send(sharer, array) for array in arrays] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert made(sharer) == 1


def test_an_array_that_was_sent_twice_keeps_its_segment(sharer):
    array = numpy.zeros(1000)
    assert send(sharer, array) == send(sharer, array) == 0.0
    array[0] = 5.0
    assert send(sharer, numpy.ones(1000)) == 1.0 and send(sharer, array) == 0.0
    assert made(sharer) == 2


def test_an_array_that_is_under_way_keeps_its_segment(sharer):
    first = sharer.pickle(First(numpy.zeros(1000)))
    assert send(sharer, numpy.ones(1000)) == 1.0
    assert load(first.message)() == 0.0


def test_what_workers_write_is_not_given_away():
    sharer = Sharer(backend.CloudPickler, 1000, writable=True)
    arrays = [numpy.zeros(1000) for _ in range(2)]
    assert [send(sharer, array) for array in arrays] == [0.0, 0.0]
    assert made(sharer) == 2
    sharer.drop()


def test_what_a_worker_keeps_stays_as_it_is(sharer):
    for i in range(30):
        assert send(sharer, numpy.full(1000, float(i)), keeps=i % 3 == 0 or None) == i
    assert [array[999] for array in kept_by_calls] == [float(i) for i in range(0, 30, 3)]
    assert made(sharer) == 11
    sharer.drop()
    assert [array[999] for array in kept_by_calls] == [float(i) for i in range(0, 30, 3)]


def test_a_view_in_the_result_is_what_it_was(sharer):
    arrays = [numpy.full(1000, float(i)) for i in range(3)]
    outs = []
    for array in arrays:
        sent = sharer.pickle(Same(array))
        data, buffers, kept = run(sent.message, backend.CloudPickler)
        sharer.over(sent, kept)
        outs.append((data, buffers))
    for array, (data, buffers) in zip(arrays, outs, strict=True):
        assert (pickle.loads(data, buffers=buffers) == array).all()


class Same(First):
    def __call__(self):
        return self.array


def test_the_memory_is_free_when_the_call_is_over(sharer):
    """Although the workers have it mapped."""
    array = numpy.zeros(1000)
    send(sharer, array)
    (segment,) = by_reference._mapped.values()
    assert os.fstat(segment.fd).st_size >= array.nbytes
    sharer.drop()
    assert os.fstat(segment.fd).st_size == 0


def test_what_is_under_way_when_the_call_is_over_stays(sharer):
    sent = sharer.pickle(First(numpy.ones(1000)))
    call = load(sent.message)
    sharer.drop()
    assert call() == 1.0
    sharer.over(sent)
    assert call() == 1.0


def test_workers_have_few_segments_mapped(sharer):
    sent = [sharer.pickle(First(numpy.full(1000, float(i)))) for i in range(40)]
    assert [load(one.message)() for one in sent] == list(range(40))
    assert len(by_reference._mapped) == by_reference._MAPPED
    assert [load(one.message)() for one in sent] == list(range(40))
    other = Sharer(backend.CloudPickler, 1000)
    assert send(other, numpy.full(1000, 7.0)) == 7.0  # its segments have the same numbers
    assert len(by_reference._mapped) == 1
    other.drop()


def test_an_array_may_go_while_the_sharer_is_at_work(sharer):
    array = numpy.zeros(1000)
    sharer.over(sharer.pickle(First(array)))
    (name,) = shared_by(sharer)
    with sharer._lock:
        del array
        gc.collect()
    assert os.path.exists(f"/dev/shm/{name}")
    sharer.over(Sent(b"", []))
    assert not os.path.exists(f"/dev/shm/{name}") and shared_by(sharer) == []


def keep_and_look(array, i):
    if i % 5 == 0:
        kept_by_calls.append((array, float(i)))
    return float(array.sum()), all(kept[0] == kept[-1] == i for kept, i in kept_by_calls)


def test_arrays_that_workers_keep_between_calls(two):
    for _ in range(2):
        arrays = [numpy.full(LARGE, float(i)) for i in range(20)]
        results = Parallel()(delayed(keep_and_look)(array, i) for i, array in enumerate(arrays))
        assert results == [(LARGE * float(i), True) for i in range(20)]


def test_what_cannot_be_pickled_lends_nothing():
    sharer = Sharer(backend.CloudPickler, 1000)
    array = numpy.arange(1000.0)
    with pytest.raises((TypeError, pickle.PicklingError)):
        sharer.pickle((array, threading.Lock()))
    (name,) = shared_by(sharer)
    del array
    gc.collect()
    assert not os.path.exists(f"/dev/shm/{name}")


def test_an_array_whose_shape_has_changed_is_sent_anew():
    sharer = Sharer(backend.CloudPickler, 1000)
    array = numpy.arange(1000.0)
    first = sharer.pickle(array)
    (name,) = shared_by(sharer)
    array.shape = 10, 100
    second = sharer.pickle(array)
    assert load(second.message).shape == (10, 100) and load(first.message).shape == (1000,)
    sharer.over(first)
    assert not os.path.exists(f"/dev/shm/{name}")
    sharer.over(second)
    sharer.drop()


def test_without_room_an_array_is_copied(monkeypatch):
    from mproc._pool import segments

    def no_room(*args, **kwds):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segments, "SharedMemory", no_room)
    sharer = Sharer(backend.CloudPickler, 1000)
    array = numpy.arange(1000.0)
    sent = sharer.pickle(array)
    assert sent.used == [] and (load(sent.message) == array).all()


@pytest.mark.parametrize("place", ["unlink", "ftruncate"])
def test_an_interrupt_leaves_no_name_of_what_is_dropped(monkeypatch, place):
    def interrupted(*_):
        raise KeyboardInterrupt

    memory = Memory(1, 1000)
    with monkeypatch.context() as patch:
        patch.setattr(os if place == "ftruncate" else memory._segment, place, interrupted)
        with pytest.raises(KeyboardInterrupt):
            memory.drop()
    memory.drop()
    assert not os.path.exists(f"/dev/shm/{memory.name}")


def test_nothing_is_left_of_what_is_dropped():
    sharer = Sharer(backend.CloudPickler, 1000)
    array = numpy.arange(1000.0)
    sent = sharer.pickle(array)
    (name,) = shared_by(sharer)
    sharer.drop()
    assert not os.path.exists(f"/dev/shm/{name}")
    sharer.over(sent)
    del array
    gc.collect()
    assert isinstance(mproc.joblib.MprocBackend(), backend.MprocBackend)
