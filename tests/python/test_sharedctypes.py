"""Values and arrays: types, slices, locks, atomic operations, memory, children and deaths."""

import array
import ctypes
import gc
import operator
import os
import pickle
import signal
import subprocess
import sys
import sysconfig
import threading
import weakref
from pathlib import Path

import pytest

import mproc
from mproc import _mproc, sharedctypes

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
LIMITS = {
    "b": (-(2**7), 2**7 - 1),
    "B": (0, 2**8 - 1),
    "h": (-(2**15), 2**15 - 1),
    "H": (0, 2**16 - 1),
    "i": (-(2**31), 2**31 - 1),
    "I": (0, 2**32 - 1),
    "l": (-(2**63), 2**63 - 1),
    "L": (0, 2**64 - 1),
    "q": (-(2**63), 2**63 - 1),
    "Q": (0, 2**64 - 1),
}
FLOATS = "fd"


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]


class Place(Point):
    _fields_ = [("name", ctypes.c_char * 10), ("grid", ctypes.c_short * 3)]


class Both(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("bytes", ctypes.c_ubyte * 4)]


class OtherLock:
    """A lock that is not ours, and counts."""

    def __init__(self):
        self.acquired = self.released = 0

    def acquire(self):
        self.acquired += 1
        return True

    def release(self):
        self.released += 1

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *exception):
        self.release()


def run(ctx, target, *args):
    process = ctx.Process(target=target, args=args)
    process.start()
    process.join()
    code = process.exitcode
    process.close()
    return code


# ---- values


@pytest.mark.parametrize("code", LIMITS)
def test_integers(code):
    low, high = LIMITS[code]
    for make in (mproc.Value, mproc.RawValue):
        value = make(code)
        assert (value.value, type(value.value)) == (0, int)
        for number in (low, high, 1):
            value.value = number
            assert value.value == number
        value.value = high + 1  # cut, as ctypes does
        assert value.value == low
        for bad in (1.5, "1", None):
            with pytest.raises(TypeError):
                value.value = bad
        assert value.value == low


@pytest.mark.parametrize("code", FLOATS)
def test_floats(code):
    value = mproc.Value(code, 1.5)
    assert value.value == 1.5
    value.value = 3
    assert (value.value, type(value.value)) == (3.0, float)
    with pytest.raises(TypeError):
        value.value = "x"
    assert mproc.Value("f", 0.1).value == ctypes.c_float(0.1).value


def test_other_types():
    assert mproc.Value("c", b"x").value == b"x"
    assert mproc.Value("u", "x").value == "x"
    truth = mproc.Value(ctypes.c_bool, 5)
    assert truth.value is True
    truth.value = []
    assert truth.value is False
    swapped = mproc.Value(ctypes.c_int.__ctype_be__, 1)
    assert (swapped.value, bytes(swapped.get_obj())) == (1, b"\0\0\0\1")
    assert mproc.Value(ctypes.c_longdouble, 2.5).value == 2.5

    class Own(ctypes.c_int):
        pass

    assert mproc.Value(Own, 7).value == 7


def test_structures():
    place = mproc.Value(Place, 1, 2.5, b"home")
    assert (place.x, place.y, place.name, list(place.grid)) == (1, 2.5, b"home", [0, 0, 0])
    place.x, place.name = 9, b"away"
    assert (place.get_obj().x, place.get_obj().name) == (9, b"away")
    assert type(place) is type(mproc.Value(Place))
    assert type(place).__name__ == "SynchronizedPlace"
    both = mproc.Value(Both)
    both.number = 258
    assert list(both.bytes) == [2, 1, 0, 0]
    points = mproc.Array(Point, [(1, 2.0), (3, 4.0)])
    points[1].x = 5
    assert [(p.x, p.y) for p in points] == [(1, 2.0), (5, 4.0)]
    rows = mproc.Array(ctypes.c_int * 3, 2)
    rows[1][2] = 7
    assert [list(row) for row in rows] == [[0, 0, 0], [0, 0, 7]]


class Named(ctypes.Structure):
    _anonymous_ = ("both", "point")
    _fields_ = [("both", Both), ("point", Point), ("last", ctypes.c_short)]


def test_fields_of_anonymous_members():
    """They are got and set as those of the structure itself."""
    value = mproc.Value(Named)
    names = {field[0] for kind in (Both, Point) for field in kind._fields_}
    for number, name in enumerate(sorted(names - {"bytes"}), 1):
        setattr(value, name, number)
        assert getattr(value, name) == getattr(value.get_obj(), name) == number
    assert list(value.bytes) == list(value.get_obj().bytes)
    assert value.both.__class__ is Both


@pytest.mark.parametrize("kind", [Point, Place, Both, Named])
def test_a_field_that_is_not_there(kind):
    """To set it is an error: it would be shared with nobody."""
    value = mproc.Value(kind)
    with pytest.raises(AttributeError, match=f"{kind.__name__!r} has no field 'xx'") as caught:
        value.xx = 5
    assert caught.value.name == "xx"
    with pytest.raises(AttributeError):
        value.xx  # noqa: B018
    value._private = 1  # of a subclass, say
    assert value._private == 1


@pytest.mark.parametrize("bad", ["w", "", "ii", None, 5, len])
def test_bad_types(bad):
    for make in (mproc.Value, mproc.RawValue):
        with pytest.raises(TypeError, match=r"bad typecode .*: no typecode and no ctypes type"):
            make(bad)
    for make in (mproc.Array, mproc.RawArray):
        with pytest.raises(TypeError, match=r"bad typecode .*: no typecode and no ctypes type"):
            make(bad, 3)


# ---- arrays


@pytest.mark.parametrize("code", [*LIMITS, *FLOATS])
def test_arrays_read_and_write(code):
    for make in (mproc.Array, mproc.RawArray):
        numbers = make(code, range(10))
        assert len(numbers) == 10
        assert list(numbers) == numbers[:] == list(range(10))
        assert (numbers[3], numbers[-1], numbers[2:8:3], numbers[::-4]) == (3, 9, [2, 5], [9, 5, 1])
        numbers[0], numbers[-1] = 100, 101
        numbers[4:8] = array.array("i", [1, 2, 3, 4])
        assert numbers[:] == [100, 1, 2, 3, 1, 2, 3, 4, 8, 101]
        numbers[::2] = [7] * 5
        assert numbers[:] == [7, 1, 7, 3, 7, 2, 7, 4, 7, 101]
        numbers[3:3] = []


def test_arrays_refuse():
    numbers = mproc.Array("i", range(5))
    for index in (5, -6, 1 << 70):
        with pytest.raises(IndexError):
            numbers[index]
        with pytest.raises(IndexError):
            numbers[index] = 1
    for index in ("a", 1.5, None):
        with pytest.raises(TypeError):
            numbers[index]
        with pytest.raises(TypeError):
            numbers[index] = 1
    for values, error in (([1, 2], ValueError), (5, ValueError), ([1, "x", 3], TypeError)):
        with pytest.raises(error):
            numbers[1:4] = values
    with pytest.raises(TypeError):
        del numbers[0]
    assert numbers[:] == [0, 1, 2, 3, 4]
    for size in (-1, 1 << 62):
        with pytest.raises((ValueError, MemoryError, OverflowError)):
            mproc.Array("d", size)
    with pytest.raises(TypeError):
        mproc.Array("d", 1.5)


def test_a_list_that_changes_while_it_is_assigned():
    numbers = mproc.Array("d", 3)

    class Evil:
        def __float__(self):
            values.clear()
            return 1.0

    values = [Evil(), 2.0, 3.0]
    if FREE_THREADED:  # lists are read as copies
        numbers[:] = values
        assert (numbers[:], values) == ([1.0, 2.0, 3.0], [])
        return
    with pytest.raises(ValueError, match="changed"):
        numbers[:] = values
    assert numbers[:] == [0.0, 0.0, 0.0]


def test_memory_that_was_used_is_zero():
    for _ in range(5):
        numbers = mproc.Array("i", 1000)
        assert not any(numbers)
        numbers[:] = range(1, 1001)


def test_strings():
    text = mproc.Array("c", 20)
    text.value = b"hello"
    assert (text.value, text.raw, len(text)) == (b"hello", b"hello".ljust(20, b"\0"), 20)
    assert (text[0], text[1:4]) == (b"h", b"ell")
    text[0] = b"j"
    text.value *= 2
    assert text.value == b"jellojello"
    assert mproc.Array("c", b"abc").value == b"abc"
    assert mproc.Array("u", "äöü")[:] == "äöü"


def test_empty_arrays():
    for make in (mproc.Array, mproc.RawArray):
        assert list(make("i", 0)) == list(make("d", [])) == []


@pytest.mark.parametrize("make", [mproc.Array, mproc.RawArray])
def test_iteration(make):
    numbers = make("i", range(4))
    cursor = iter(numbers)
    assert next(cursor) == 0
    numbers[1] = 10
    assert operator.length_hint(cursor) == 3
    assert list(cursor) == [10, 2, 3]
    numbers[3] = 4
    with pytest.raises(StopIteration):
        next(cursor)
    assert (2 in numbers, 5 in numbers, sum(numbers)) == (True, False, 16)


def test_iteration_of_other_arrays():
    class Doubled(sharedctypes.SynchronizedArray):
        def __getitem__(self, i):
            return 2 * super().__getitem__(i)

    numbers = mproc.RawArray("i", [1, 2])
    assert list(Doubled(numbers)) == [2, 4]
    points = mproc.Array(Point, 2)
    assert [point.x for point in points] == [0, 0]
    with pytest.raises(TypeError):
        iter(_mproc.SynchronizedArray())


def test_iteration_takes_the_lock_for_each_item():
    lock = OtherLock()
    numbers = mproc.Array("i", [1, 2, 3], lock=lock)
    cursor = iter(numbers)
    next(cursor)
    assert (lock.acquired, lock.released) == (1, 1)
    assert (list(cursor), lock.acquired, lock.released) == ([2, 3], 3, 3)


def test_a_cursor_keeps_its_array():
    cursor = iter(mproc.Array("i", [1, 2]))
    assert list(cursor) == [1, 2]
    numbers = mproc.Array("i", 2)
    numbers.itself = iter(numbers)
    gone = weakref.ref(numbers)
    del numbers
    gc.collect()
    assert gone() is None


def test_views_are_no_copies():
    numbers = mproc.Array("d", range(4))
    view = memoryview(numbers.get_obj()).cast("B").cast("d")
    view[0] = 5.5
    assert numbers[0] == 5.5
    np = pytest.importorskip("numpy")
    as_numpy = np.frombuffer(numbers.get_obj())
    as_numpy *= 2
    assert numbers[:] == [11.0, 2.0, 4.0, 6.0]
    raw = mproc.RawArray("i", 6)
    np.frombuffer(raw, dtype=np.int32).reshape(2, 3)[1, 0] = 9
    assert raw[3] == 9


def test_a_view_outlives_the_array():
    view = memoryview(mproc.RawArray("B", b"hello"))
    for _ in range(10):
        mproc.RawArray("B", 5)
    assert bytes(view) == b"hello"


def test_copy():
    point = Point(2, 5.0)
    shared = sharedctypes.copy(point)
    point.x = 0
    assert (shared.x, shared.y) == (2, 5.0)
    numbers = sharedctypes.copy(mproc.RawArray("i", [1, 2]))
    assert list(numbers) == [1, 2]


# ---- locks


def test_which_lock():
    for make in (lambda **k: mproc.Value("i", 5, **k), lambda **k: mproc.Array("i", 5, **k)):
        assert type(make().get_lock()) is type(mproc.RLock())
        assert type(make(lock=None).get_lock()) is type(mproc.RLock())
        for lock in (mproc.Lock(), mproc.RLock(), OtherLock()):
            value = make(lock=lock)
            assert value.get_lock() is lock
            assert value.acquire() is True
            value.release()
            with value:
                pass
        for method in ("get_lock", "get_obj"):
            assert not hasattr(make(lock=False), method)
        for bad in ("navalue", 5):
            with pytest.raises(AttributeError, match="has no method 'acquire'"):
                make(lock=bad)


def test_a_foreign_lock_is_used():
    lock = OtherLock()
    value, numbers = mproc.Value("i", 0, lock=lock), mproc.Array("i", 3, lock=lock)
    value.value = 1
    numbers[0] = value.value
    numbers[1:] = numbers[:2]
    with pytest.raises(TypeError):
        value.value = "x"
    assert lock.acquired == lock.released > 0
    lock.release = lambda: 1 / 0
    value = mproc.Value("i", 0, lock=lock)
    with pytest.raises(ZeroDivisionError):
        value.value  # noqa: B018
    with pytest.raises(ZeroDivisionError):
        value.value = 1


def test_the_lock_is_recursive_and_respected():
    value = mproc.Value("i", 0)
    seen = []
    with value.get_lock():
        value.value += 1
        thread = threading.Thread(target=lambda: seen.append(value.value))
        thread.start()
        value.value += 1
    thread.join()
    assert seen == [2]
    with value:
        assert value.value == 2


def test_synchronized():
    number = ctypes.c_int(5)
    value = sharedctypes.synchronized(number)
    value.value = 6
    assert (number.value, value.get_obj()) == (6, number)
    with pytest.raises(TypeError, match="already synchronized"):
        sharedctypes.synchronized(value)
    assert repr(value) == "<Synchronized wrapper for c_int(6)>"
    with pytest.raises(TypeError):
        _mproc.Synchronized()._value  # noqa: B018
    with pytest.raises(TypeError):
        len(_mproc.SynchronizedArray())
    with pytest.raises(TypeError, match="made already"):
        value._wrap(number, mproc.RLock(), "i")


def increment(value, times):
    for _ in range(times):
        with value.get_lock():
            value.value += 1


def test_increments_under_the_lock(ctx):
    value = ctx.Value("i", 0)
    processes = [ctx.Process(target=increment, args=(value, 1000)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        process.close()
    assert value.value == 2000


# ---- atomic operations


@pytest.mark.parametrize("code", LIMITS)
def test_atomic_operations(code):
    low, high = LIMITS[code]
    value = mproc.Value(code, high)
    assert value.add(1) == high
    assert value.value == low
    assert value.exchange(5) == low
    assert value.compare_exchange(6, 7) is False
    assert value.compare_exchange(5, 7) is True
    numbers = mproc.Array(code, [1, 2, 3])
    assert numbers.add(-1, 5) == 3
    assert numbers.exchange(0, 9) == 1
    assert numbers.compare_exchange(1, 2, 4) is True
    assert numbers[:] == [9, 4, 8]


def test_atomic_operations_are_for_integers():
    for make in (lambda: mproc.Value("d"), lambda: mproc.Value(Point), lambda: mproc.Value("c")):
        with pytest.raises(TypeError, match="for integers"):
            make().add(1)
    value, numbers = mproc.Value("i"), mproc.Array("i", 3)
    for arguments in ((), (1, 2), (1.5,), ("x",)):
        with pytest.raises(TypeError):
            value.add(*arguments)
    for arguments in ((1,), (0, 1.5), ("x", 1)):
        with pytest.raises(TypeError):
            numbers.add(*arguments)
    for index in (3, -4):
        with pytest.raises(IndexError):
            numbers.add(index, 1)
    with value.get_lock():
        thread = threading.Thread(target=value.add, args=(1,))  # needs no lock
        thread.start()
        thread.join()
        assert value.value == 1


def add_many(value, numbers):
    for i in range(1000):
        value.add(1)
        numbers.add(i % 2, 1)


def test_additions_in_children(ctx):
    value, numbers = ctx.Value("q"), ctx.Array("h", 2)
    processes = [ctx.Process(target=add_many, args=(value, numbers)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        process.close()
    assert (value.value, numbers[:]) == (3000, [1500, 1500])


# ---- other processes


def change(value, raw, place, numbers, text, rows):
    value.value *= 2
    raw.value += 0.5
    place.x += 1
    place.name = b"child"
    numbers[:] = [n * 2 for n in numbers]
    text.value *= 2
    rows[1][0] = 7


@pytest.mark.parametrize("lock", [True, False])
def test_children_change_everything(ctx, lock):
    value = ctx.Value("i", 7, lock=lock)
    raw = ctx.RawValue("d", 1.5)
    place = ctx.Value(Place, 3, lock=lock)
    numbers = ctx.Array("d", range(100), lock=lock)
    text = ctx.Array("c", 20, lock=lock)
    rows = ctx.RawArray(ctypes.c_int * 2, 2)
    text.value = b"hello"
    assert run(ctx, change, value, raw, place, numbers, text, rows) == 0
    assert (value.value, raw.value, place.x, place.name) == (14, 2.0, 4, b"child")
    assert (list(numbers), text.value) == ([n * 2 for n in range(100)], b"hellohello")
    assert list(rows[1]) == [7, 0]


def test_only_children_inherit():
    words = "should only be shared between processes through inheritance"
    for shared in (
        mproc.Value("i"),
        mproc.RawValue("i"),
        mproc.Array("i", 2),
        mproc.RawArray("i", 2),
    ):
        with pytest.raises(RuntimeError, match=words):
            mproc.reduction.ForkingPickler.dumps(shared)
        queue = mproc.SimpleQueue()
        with pytest.raises(RuntimeError, match=words):
            queue.put(shared)
        queue.close()
    with pytest.raises(TypeError, match="Memory"):
        pickle.dumps(mproc.RawValue("i"))


def test_private_objects_do_not_travel(ctx, method):
    mproc.RawValue("i")
    if method == "fork":
        return
    with pytest.raises(ValueError, match="not in shared memory"):
        run(ctx, increment, sharedctypes.synchronized(ctypes.c_int(5)), 1)


def keep_and_die(value, numbers):
    mproc.RawArray("d", 10000)
    value.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_dead_holder_is_told_of_once(ctx):
    value, numbers = ctx.Value("i", 5), ctx.Array("i", [1, 2])
    assert run(ctx, keep_and_die, value, numbers) == -signal.SIGKILL
    with pytest.raises(mproc.OwnerDiedError):
        value.value += 1
    value.value += 1
    assert value.value == 6
    assert run(ctx, keep_and_die, numbers, value) == -signal.SIGKILL
    with pytest.raises(mproc.OwnerDiedError):
        numbers[:] = [3, 4]
    assert numbers[:] == [1, 2]
    numbers[0] = 9
    assert numbers[:] == [9, 2]


def set_value(value, number):
    value.value = number


@pytest.mark.parametrize("use", [operator.attrgetter("value"), lambda v: set_value(v, 7)])
def test_a_dead_holder_is_told_of_by_a_single_number(ctx, use):
    value, numbers = ctx.Value("i", 5), ctx.Array("i", [1, 2])
    assert run(ctx, keep_and_die, value, numbers) == -signal.SIGKILL
    with pytest.raises(mproc.OwnerDiedError):
        use(value)
    assert value.value == 5


def test_a_dead_holder_is_told_of_by_a_cursor(ctx):
    value, numbers = ctx.Value("i", 5), ctx.Array("i", [1, 2])
    cursor = iter(numbers)
    assert run(ctx, keep_and_die, numbers, value) == -signal.SIGKILL
    with pytest.raises(mproc.OwnerDiedError):
        next(cursor)
    assert list(cursor) == [1, 2]


def test_memory_comes_back():
    before = _mproc.arena_stat()
    kept = [mproc.Array("d", 1000) for _ in range(50)]
    views = [memoryview(numbers.get_obj()) for numbers in kept]
    del kept
    assert _mproc.arena_stat()["used"] >= before["used"] + 50 * 8000
    views.clear()
    assert _mproc.arena_stat()["used"] == before["used"]


def test_values_are_made_without_the_parts_that_pickle_them():
    code = """
import sys
import mproc
from mproc import sharedctypes

mproc.Value("i", 1), mproc.Array("d", 3), mproc.RawValue("i")
assert not {"mproc.reduction", "_pickle", "pickle"} & set(sys.modules)
assert sharedctypes.reduction is sys.modules["mproc.reduction"]
try:
    sharedctypes.nothing
except AttributeError as error:
    assert str(error) == "module 'mproc.sharedctypes' has no attribute 'nothing'", error
else:
    raise AssertionError("sharedctypes.nothing")
"""
    where = {**os.environ, "PYTHONPATH": str(Path(mproc.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=where, timeout=60, check=False)
    assert done.returncode == 0
