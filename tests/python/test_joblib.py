"""joblib on mproc: the backend, and arrays by reference. Skipped without joblib or numpy."""

import gc
import glob
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
from mproc._pool.by_reference import Sharer, load  # noqa: E402

LARGE = 300_000  # numbers of 8 bytes: more than what is sent as a copy


def segments():
    return set(glob.glob("/dev/shm/psm_*"))


@pytest.fixture(autouse=True)
def nothing_left(nothing_left):
    """The tests of this file keep workers, which the last of each ends."""
    backend.register()
    yield
    backend.shutdown()


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


def fail(x):
    raise KeyError(x)


def die(x):
    os.kill(os.getpid(), signal.SIGKILL)


def variable(name):
    return os.environ.get(name)


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
    assert len(kept.pool._pool) == 3 and kept.users == 0


def test_one_job_runs_here():
    assert Parallel(n_jobs=1, backend="mproc")([delayed(os.getpid)()]) == [os.getpid()]


# ---- arrays by reference


def test_large_arrays_are_looked_at_and_not_copied(two):
    before = segments()
    array = numpy.arange(float(LARGE))
    for i, (total, array_is) in enumerate(Parallel()(delayed(about)(array, i) for i in range(6))):
        assert total == array.sum() + i and array_is == (True, False, False)
    assert segments() <= before


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


def test_arrays_that_come_and_go_leave_nothing(two):
    before = segments()
    sums = Parallel()(delayed(about)(numpy.full(LARGE, i), 0) for i in range(30))
    assert [total for total, _ in sums] == [LARGE * i for i in range(30)]
    assert segments() <= before


def shared_by(sharer):
    return [shared.segment.name for _, shared in sharer._by_id.values()]


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
    from mproc._pool import by_reference

    def no_room(*args, **kwds):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(by_reference, "SharedMemory", no_room)
    sharer = Sharer(backend.CloudPickler, 1000)
    array = numpy.arange(1000.0)
    sent = sharer.pickle(array)
    assert sent.used == [] and (load(sent.message) == array).all()


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
