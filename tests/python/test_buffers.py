"""Large data: arrays in shared memory, and large parts of messages that are not copied."""

import gc
import os
import pickle
import signal

import pytest
from conftest import wait_until

import mproc
from mproc import _mproc

np = pytest.importorskip("numpy", reason="numpy is not installed")

LONG = 30  # seconds that no wait takes
LARGE = 1 << 20


def in_arena():
    _mproc.reap()
    gc.collect()
    return _mproc.arena_stat()["used"]


def comes_below(size):
    """Whether there is less in the arena soon.

    Without the interpreter's lock, what a pool's helper has made is freed when that runs again.
    """
    return wait_until(lambda: in_arena() < size)


def serve(requests, replies):
    """Change what comes, and send it back, until None comes."""
    while (array := requests.get(timeout=LONG)) is not None:
        if array.flags.writeable:
            array += 1
        replies.put(array)


@pytest.fixture
def service():
    """A function that sends an array to another process, which adds 1 and sends it back."""
    ctx = mproc.get_context("fork")
    requests, replies = ctx.Queue(), ctx.SimpleQueue()
    process = ctx.Process(target=serve, args=(requests, replies))
    process.start()

    def ask(array):
        requests.put(array)
        return replies.get()

    yield ask
    requests.put(None)
    process.join(LONG)
    assert process.exitcode == 0


# ---- arrays in shared memory


def test_empty_is_an_array_in_shared_memory():
    array = mproc.empty((3, 5), "i4")
    assert (array.shape, array.dtype, array.flags.c_contiguous) == ((3, 5), np.int32, True)
    assert type(array) is np.ndarray
    assert mproc.empty((3, 5), order="F").flags.f_contiguous
    assert mproc.empty(7).shape == (7,)
    assert mproc.empty(()).shape == ()
    assert mproc.empty((4, 0, 2)).size == 0
    assert mproc.empty(3, [("a", "i2"), ("b", "f8")]).dtype.names == ("a", "b")


def test_empty_refuses():
    with pytest.raises(TypeError, match="Python objects"):
        mproc.empty(3, object)
    with pytest.raises(ValueError, match="negative"):
        mproc.empty((3, -1))
    with pytest.raises(MemoryError):
        mproc.empty(1 << 50)
    with pytest.raises(MemoryError, match=r"shape \(1099511627776, 1099511627776\) and dtype int8"):
        mproc.empty((1 << 40, 1 << 40), "i1")
    with pytest.raises(TypeError, match="Python objects"):
        mproc.asarray([None])


def test_asarray_copies_once_and_only_what_is_not_there():
    private = np.asfortranarray(np.arange(12).reshape(3, 4))
    shared = mproc.asarray(private)
    assert (shared == private).all()
    assert shared.flags.f_contiguous
    private[0] = 100
    assert shared[0, 0] == 0
    assert mproc.asarray(shared) is shared
    part = shared[1:, ::2]
    assert mproc.asarray(part) is part
    assert mproc.asarray(shared, "f4").dtype == np.float32
    assert list(mproc.asarray([1, 2, 3])) == [1, 2, 3]


@pytest.mark.parametrize(
    "part",
    [
        lambda a: a,
        lambda a: a[10:20],
        lambda a: a[::3, 1::2],
        lambda a: a[::-1, ::-7],
        lambda a: a.T,
        lambda a: a[5],
        lambda a: a[:, 5],
        lambda a: a.view("u1"),
        lambda a: a.reshape(-1)[3:4],
    ],
    ids=["all", "rows", "steps", "backwards", "transposed", "row", "column", "bytes", "item"],
)
def test_shared_array_goes_by_reference(service, part):
    array = mproc.empty((100, 100), "i8")
    array[...] = 7
    sent = part(array)
    before = sent.copy()
    got = service(sent)
    assert np.shares_memory(got, sent)
    assert (got.shape, got.dtype, got.strides) == (sent.shape, sent.dtype, sent.strides)
    assert (sent == (before + 1).astype(sent.dtype)).all()  # what the other process has written


def test_shared_array_that_is_read_only(service):
    array = mproc.empty(LARGE, "u1")
    array[...] = 1
    array.flags.writeable = False
    for sent in array, array[::2]:
        got = service(sent)
        assert not got.flags.writeable
        assert np.shares_memory(got, array)


def test_shared_array_of_dates(service):
    array = mproc.empty(10, "M8[s]")
    array[...] = "2020-01-01"
    assert service(array)[0] == np.datetime64("2020-01-01T00:00:01")
    assert array[9] == np.datetime64("2020-01-01T00:00:01")


def change(array, queue):
    array[...] = 5
    queue.put((array, queue.get(timeout=LONG) + 1))


def test_shared_array_as_an_argument_and_in_a_queue(ctx):
    array, queue = mproc.empty((10, 10)), ctx.Queue()
    array[...] = 0
    queue.put(np.ones(LARGE))
    process = ctx.Process(target=change, args=(array[::2].T, queue))
    process.start()
    process.join(LONG)
    assert process.exitcode == 0
    assert (array[::2] == 5).all()
    assert (array[1::2] == 0).all()
    shared, plain = queue.get()
    assert np.shares_memory(shared, array)
    assert (plain == 2).all()


def test_many_references_in_one_object():
    class_of = mproc.empty(100)
    class_of[...] = 1
    queue = mproc.Queue()
    queue.put({"a": class_of, "b": [class_of[:50], class_of], "c": np.zeros(LARGE)})
    got = queue.get()
    assert got["a"] is got["b"][1]
    assert np.shares_memory(got["b"][0], class_of)
    assert got["c"].shape == (LARGE,)
    queue.put_many([class_of, 1, class_of, np.ones(LARGE), 2])
    items = []
    while len(items) < 5:
        items += queue.get_many(5, timeout=LONG)
    assert [np.ndim(item) for item in items] == [1, 0, 1, 1, 0]


def test_buffer():
    buffer = mproc.Buffer(10)
    assert bytes(buffer) == bytes(10)
    assert len(buffer) == 10
    queue = mproc.Queue()
    queue.put(buffer)
    other = queue.get()
    memoryview(other)[2:4] = b"hi"
    assert bytes(buffer) == b"\0\0hi\0\0\0\0\0\0"
    with pytest.raises(ValueError, match="negative"):
        mproc.Buffer(-1)
    with pytest.raises(MemoryError):
        mproc.Buffer(1 << 60)
    queue.put(mproc.Buffer(0))
    assert len(queue.get()) == 0
    queue.put(pickle.PickleBuffer(buffer))
    assert bytes(queue.get())[2:4] == b"hi"


def test_byte_changes_in_one_step():
    buffer = mproc.Buffer(4)
    assert buffer._change(1, 0, 7) and bytes(buffer) == b"\0\7\0\0"
    assert not buffer._change(1, 0, 9) and bytes(buffer) == b"\0\7\0\0"
    for place in (-1, 4):
        with pytest.raises(IndexError, match=f"a Buffer of 4 bytes has none at {place}"):
            buffer._change(place, 0, 1)
    with pytest.raises(OverflowError):
        buffer._change(0, 0, 256)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickles_for_others_are_copies(protocol):
    buffer = mproc.Buffer(10)
    array = mproc.asarray(np.arange(5))
    assert bytes(pickle.loads(pickle.dumps(buffer, protocol))) == bytes(10)
    copy = pickle.loads(pickle.dumps(array, protocol))
    assert (copy == array).all()
    assert not np.shares_memory(copy, array)


# ---- plain arrays


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.arange(100000.0),
        lambda: np.asfortranarray(np.arange(100000.0).reshape(100, 1000)),
        lambda: np.arange(200000.0)[::2],
        lambda: np.arange(100000.0)[::-1],
        lambda: np.zeros((5, 0)),
        lambda: np.arange(10.0),
        lambda: np.arange(100000, dtype="c16"),
    ],
    ids=["plain", "fortran", "steps", "backwards", "empty", "small", "complex"],
)
def test_plain_array_is_the_receivers_own(service, make):
    sent, like = make(), make()
    got = service(sent)
    assert (sent == like).all()
    assert (got == like + 1).all()
    assert (got.shape, got.dtype) == (like.shape, like.dtype)
    assert got.flags.writeable
    got[...] = 3
    assert (sent == like).all()


def test_plain_array_as_it_was_when_it_was_put():
    queue = mproc.Queue()
    array = np.zeros(LARGE)
    queue.put(array)
    array[...] = 1
    got = queue.get()
    assert not got.any()
    queue.put(got)  # a view of the arena is sent on as a copy, too
    got[...] = 2
    assert not queue.get().any()


def test_read_only_array_and_objects(service):
    array = np.zeros(LARGE)
    array.flags.writeable = False
    assert not service(array).flags.writeable
    queue = mproc.Queue()
    queue.put(np.array([None, 1, "x"] * 100000, dtype=object))
    assert list(queue.get()[-3:]) == [None, 1, "x"]


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes_stay_what_they_are(kind):
    queue = mproc.Queue()
    data = kind(os.urandom(LARGE))
    queue.put([data, {1}])  # a set: it is pickled
    got, _ = queue.get()
    assert type(got) is kind
    assert got == data


def test_pickle_buffers_of_any_kind():
    queue = mproc.Queue()
    data = bytearray(os.urandom(LARGE))
    with pytest.raises(pickle.PicklingError, match="non-contiguous"):
        queue.put(pickle.PickleBuffer(memoryview(data)[::2]))
    queue.put(pickle.PickleBuffer(data))
    queue.put(pickle.PickleBuffer(bytes(data)))
    data.clear()  # nobody keeps it
    writable, read_only = memoryview(queue.get()), memoryview(queue.get())
    assert (len(writable), writable.readonly) == (LARGE, False)
    assert (len(read_only), read_only.readonly) == (LARGE, True)
    assert writable == read_only


def test_own_pickler_is_used_as_before():
    class Own:
        dumps = staticmethod(pickle.dumps)
        loads = staticmethod(pickle.loads)

    queue = mproc.Queue()
    queue.put(np.ones(LARGE))
    _mproc.choose_pickler(Own)
    try:
        assert queue.get().all()  # though another class reads by now
        queue.put(np.ones(LARGE))
        assert queue.get().all()
    finally:
        _mproc.choose_pickler(None)


# ---- forks


def write_to(array):
    assert (array == 1).all()
    array[...] = 2


def test_received_array_is_copied_on_write_by_forks():
    queue = mproc.Queue()
    queue.put(np.ones(LARGE))
    array = queue.get()
    process = mproc.get_context("fork").Process(target=write_to, args=(array,))
    process.start()
    process.join(LONG)
    assert process.exitcode == 0
    assert (array == 1).all()


# ---- memory


def test_views_keep_their_memory_and_no_more():
    queue = mproc.Queue()
    before = in_arena()
    queue.put([np.ones(LARGE, "u1"), np.ones(3 * LARGE, "u1")])
    small, _ = queue.get()
    del _
    assert LARGE <= in_arena() - before < 2 * LARGE
    part = small[5:10].copy()
    del small
    assert in_arena() == before
    assert part.all()


def test_large_memory_goes_back_to_the_system():
    size = _mproc.arena_stat()["limit"] // 32
    array = mproc.empty(size, "u1")
    array[:4096] = 1
    del array
    assert _mproc.arena_stat()["warm"] < size


def take_and_wait(queue, ready):
    arrays = [queue.get(), queue.get()]
    ready.set()
    signal.pause()
    del arrays


def test_views_of_a_killed_process():
    ctx = mproc.get_context("fork")
    queue, ready = ctx.Queue(), ctx.Event()
    shared = mproc.empty(LARGE)
    before = in_arena()
    process = ctx.Process(target=take_and_wait, args=(queue, ready))
    process.start()
    queue.put(shared)
    queue.put(np.ones(LARGE))
    assert ready.wait(LONG)
    process.kill()
    process.join()
    shared[...] = 1
    process.close()
    del process
    assert in_arena() == before


def put_and_die(queue):
    queue.put([np.ones(LARGE), mproc.asarray(np.ones(LARGE))])
    os.kill(os.getpid(), signal.SIGKILL)


def test_arrays_of_a_killed_process():
    ctx = mproc.get_context("fork")
    queue = ctx.Queue()
    process = ctx.Process(target=put_and_die, args=(queue,))
    process.start()
    process.join()
    _mproc.reap()
    plain, shared = queue.get(timeout=LONG)
    assert plain.all()
    assert shared.all()
    shared[...] = 0


def test_queue_that_nobody_reads_keeps_nothing():
    before = in_arena()
    queue = mproc.Queue()
    queue.put(mproc.empty(LARGE))
    queue.put(np.ones(LARGE))
    del queue
    assert in_arena() == before


FULL = """
import numpy, mproc
queue = mproc.Queue()
array = numpy.ones(8 << 20, "u1")
n = 0
try:
    while n < 100:
        queue.put(array)
        n += 1
except MemoryError as e:
    print(type(e).__name__, 4 <= n < 8)
try:
    mproc.empty(32 << 20)
except MemoryError:
    print("neither")
got = queue.get()
print(got.all(), n - queue.qsize())
del got
queue.put(array)
print(queue.qsize() == n)
"""


def test_full_arena(program):
    env = {**program.env, "MPROC_ARENA_LIMIT": "64M"}
    out = program.output("-c", FULL, env=env)
    assert out == "MemoryError True\nneither\nTrue 1\nTrue\n"


# ---- executors


def add_one(array):
    array += 1
    return array


@pytest.fixture
def executor():
    from mproc.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1, mp_context=mproc.get_context("fork")) as one:
        yield one


def test_executor_plain_arrays(executor):
    array = np.zeros(LARGE)
    result = executor.submit(add_one, array).result()
    assert not array.any()
    assert result.all()
    assert result.flags.writeable
    results = list(executor.map(add_one, [array, array[::2], np.zeros(3)]))
    assert [(r == 1).all() for r in results] == [True] * 3
    before = in_arena()
    del result, results
    assert comes_below(before - LARGE * 8 + 1)


def test_executor_shared_arrays(executor):
    array = mproc.empty(LARGE)
    array[...] = 0
    results = [executor.submit(add_one, array).result(), *executor.map(add_one, [array[:5]])]
    assert all(np.shares_memory(result, array) for result in results)
    assert list(array[3:7]) == [2, 2, 1, 1]


def die_once(array, flag):
    array[...] += 1
    if flag[0] == 0:
        flag[0] = 1
        os.kill(os.getpid(), signal.SIGKILL)
    return array


def test_task_that_is_tried_again_has_its_arguments_as_they_were(executor):
    flag = mproc.empty(1)
    flag[0] = 0
    array = np.zeros(LARGE)
    result = executor.options(retries=1).submit(die_once, array, flag).result()
    assert flag[0] == 1
    assert (result == 1).all()


def test_task_whose_arrays_nobody_takes(executor):
    before = in_arena()
    for _ in range(3):
        executor.submit(add_one, np.zeros(LARGE)).cancel()
        executor.submit(add_one, np.zeros(LARGE))
    executor.submit(len, []).result()
    gc.collect()
    assert comes_below(before + LARGE * 8 * 2)


# ---- pools


@pytest.fixture
def pool():
    with mproc.get_context("fork").Pool(1) as one:
        yield one
    one.join()


def calls_of(pool):
    """Every way to call a function of one argument."""
    return [
        lambda f, x: pool.apply(f, (x,)),
        lambda f, x: pool.map(f, [x])[0],
        lambda f, x: pool.starmap(f, [(x,)])[0],
        lambda f, x: next(pool.imap(f, [x])),
        lambda f, x: next(pool.imap_unordered(f, iter([x]))),
    ]


def test_pool_plain_arrays(pool):
    array = np.zeros(LARGE)
    before = in_arena()
    for call in calls_of(pool):
        result = call(add_one, array)
        assert result.all() and result.flags.writeable
        assert in_arena() >= before + LARGE * 8  # it lies there: nobody has copied it
        del result
        assert comes_below(before + LARGE * 8)
    assert not array.any()


def test_pool_shared_arrays(pool):
    array = mproc.empty(LARGE)
    array[...] = 0
    for n, call in enumerate(calls_of(pool), 1):
        assert np.shares_memory(call(add_one, array), array)
        assert (array == n).all()


def test_arrays_of_an_imap_that_nobody_takes(pool):
    before = in_arena()
    results = pool.imap(add_one, [np.zeros(LARGE)] * 3)
    next(results)
    del results
    pool.apply(len, ([],))
    gc.collect()
    assert comes_below(before + LARGE * 8)


TOO_MUCH = """
import numpy, mproc
from mproc.futures import ProcessPoolExecutor

with ProcessPoolExecutor(1, mp_context=mproc.get_context("fork")) as executor:
    for call in (numpy.zeros, 1 << 28, "u1"), (numpy.copy, numpy.zeros(1 << 28, "u1")):
        try:
            executor.submit(*call).result()
        except MemoryError:
            print("MemoryError")
    print(len(executor.submit(numpy.zeros, 1 << 20).result()))
"""


def test_executor_with_too_little_memory(program):
    env = {**program.env, "MPROC_ARENA_LIMIT": "64M"}
    assert program.output("-c", TOO_MUCH, env=env) == "MemoryError\nMemoryError\n1048576\n"


# ---- more than 4 GiB


def mark(queue, replies):
    array = queue.get()
    array[-1] = 7
    replies.put((array.nbytes, int(array[0]), int(array[1 << 32]), int(array[-1])))
    del array
    replies.put(None)


@pytest.mark.skipif(
    not os.environ.get("MPROC_TEST_BIG"), reason="needs 6 GiB; MPROC_TEST_BIG=1 runs it"
)
@pytest.mark.parametrize("make", [lambda n: np.zeros(n, "u1"), lambda n: mproc.empty(n, "u1")])
def test_five_gib(make):
    ctx = mproc.get_context("fork")
    queue, replies = ctx.Queue(), ctx.Queue()
    before = in_arena()
    process = ctx.Process(target=mark, args=(queue, replies))
    process.start()
    array = make(5 << 30)  # its pages are touched where it is copied
    array[0], array[1 << 32], array[-1] = 1, 2, 3
    queue.put(array)
    assert replies.get(timeout=300) == (5 << 30, 1, 2, 7)
    assert replies.get(timeout=LONG) is None
    process.join(LONG)
    del array
    assert in_arena() == before
