"""Plain values on a queue: numpy arrays among them, as docs/value_format.md has them."""

from __future__ import annotations

import copyreg
import pickle
import struct
from typing import Any

import pytest

import mproc
from mproc import _mproc, reduction

np = pytest.importorskip("numpy", reason="numpy is not installed")

PLAIN = {
    "integers": np.arange(10),
    "grid": np.arange(12.0).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "number": np.array(5.0),
    "empty": np.zeros((0, 5)),
    "truth": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "single_complex": np.array([1j], dtype="c8"),
    "half": np.array([1.5, np.nan], dtype="f2"),
    "bytes": np.arange(256, dtype="u1"),
    "column": np.arange(6, dtype="i2").reshape(6, 1),
    "page": np.zeros(4096, dtype="u1"),
    "slice": np.arange(10)[::2],
    "backwards": np.arange(10)[::-1],
    "broadcast": np.broadcast_to(np.arange(3), (4, 3)),
    "columns": np.arange(100_000).reshape(1000, 100)[:, 3:60:2],
    "large": np.arange(20_000.0),
    "large_fortran": np.asfortranarray(np.arange(40_000.0).reshape(200, 200)),
}
OTHERS = {
    "texts": np.array(["a", "bc"]),
    "objects": np.array([1, "x", None], dtype=object),
    "dates": np.array(["2020-01-01"], dtype="M8[D]"),
    "big_endian": np.arange(4, dtype=">i4"),
    "longlong": np.arange(4, dtype="q"),
    "longdouble": np.array([1.5], dtype="g"),
    "records": np.zeros(3, dtype=[("a", "i4"), ("b", "f8")]),
    "dimensions": np.zeros((1,) * 33),
}


def through(obj: Any) -> Any:
    queue = mproc.SimpleQueue()
    queue.put(obj)
    return queue.get()


def check_same(a: Any, b: Any) -> None:
    assert type(b) is np.ndarray
    assert (a.dtype, a.dtype.char, a.shape) == (b.dtype, b.dtype.char, b.shape)
    assert a.tobytes() == b.tobytes() or a.dtype == object
    assert (a.flags.c_contiguous, a.flags.f_contiguous) == (
        b.flags.c_contiguous,
        b.flags.f_contiguous,
    )
    assert a.flags.writeable == b.flags.writeable


@pytest.mark.parametrize("name", [*PLAIN, *OTHERS])
def test_arrays_are_what_a_pickle_would_make(name: str) -> None:
    array = {**PLAIN, **OTHERS}[name]
    unpickled = pickle.loads(pickle.dumps(array, 5))
    check_same(unpickled, through(array))
    check_same(unpickled, through({"x": [1, (array,)]})["x"][1][0])


def test_read_only_arrays_stay_so() -> None:
    for n in (5, 50_000):
        array = np.arange(n)
        array.flags.writeable = False
        check_same(array, through(array))


def test_received_arrays_are_the_receivers_own() -> None:
    for n in (5, 50_000):
        array = np.arange(n)
        got = through(array)
        got[0] = 77
        assert array[0] == 0
        got += 1
        assert got[0] == 78


def test_an_array_that_occurs_twice_is_one() -> None:
    array = np.arange(100)
    a, b = through([array, array])
    assert a is b


def test_many_arrays_in_one_message() -> None:
    arrays = [np.full(10_000, i) for i in range(100)]
    for i, got in enumerate(through(arrays)):
        assert (got == i).all()


def test_shared_arrays_go_by_reference() -> None:
    shared = mproc.empty((100, 100))
    shared[:] = 1
    _, part, whole = through((1, shared[10:20], shared))
    part[0, 0] = 5
    assert shared[10, 0] == 5
    whole[0, 0] = 6
    assert shared[0, 0] == 6
    again = through(whole)  # who has received it sends it by reference, too
    again[1, 1] = 7
    assert shared[1, 1] == 7


def test_a_class_of_its_own_is_pickled() -> None:
    class Mine(np.ndarray):  # type: ignore[type-arg]
        pass

    with pytest.raises((AttributeError, pickle.PicklingError)):
        mproc.Queue().put(np.arange(3).view(Mine))


def test_registered_reducers_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        reduction.ForkingPickler._extra_reducers, np.ndarray, lambda a: (str, ("mine",))
    )
    assert through(np.arange(3)) == "mine"


def test_reducers_of_copyreg_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(copyreg.dispatch_table, np.ndarray, lambda a: (str, ("everybody's",)))
    assert through(np.arange(3)) == "everybody's"


@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: {"a": [a]}], ids=["alone", "inside"])
def test_a_dtype_keeps_its_metadata(wrap: Any) -> None:
    kind = np.dtype("i4", metadata={"unit": "mm"})
    got = through(wrap(np.zeros(3, kind)))
    array = got if isinstance(got, np.ndarray) else got["a"][0]
    want = pickle.loads(pickle.dumps(wrap(np.zeros(3, kind)), protocol=5))
    want = want if isinstance(want, np.ndarray) else want["a"][0]
    assert array.dtype.metadata == want.dtype.metadata


def head(kind: bytes, size: int, flags: int, *shape: int) -> bytes:
    return kind + bytes([size, flags, len(shape)]) + struct.pack(f"<{len(shape)}Q", *shape)


def extension(payload: bytes) -> bytes:
    return b"\xc8" + struct.pack(">H", len(payload)) + b"A" + payload


def test_arrays_have_the_documented_bytes() -> None:
    array = _mproc.loads(extension(head(b"i", 2, 1, 2, 2) + struct.pack("<4h", 1, 2, 3, 4)))
    assert array.tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        head(b"O", 8, 0, 0),
        head(b"f", 3, 0, 1) + bytes(3),
        head(b"i", 4, 0, 2) + bytes(7),
        head(b"i", 4, 0, 2) + bytes(9),
        head(b"i", 4, 8, 1) + bytes(4),
        head(b"i", 4, 0x80, 1) + bytes(8),
        head(b"u", 1, 0, 2**63, 2**63) + bytes(4),
        b"u\x01\x00\x21" + bytes(8 * 33),
    ],
)
def test_arrays_that_are_none(payload: bytes) -> None:
    with pytest.raises(ValueError, match="corrupt message"):
        _mproc.loads(extension(payload))


def test_parts_that_are_nowhere() -> None:
    value = extension(head(b"u", 1, 0x80, 1) + bytes(8))
    with pytest.raises(ValueError, match="corrupt message"):
        _mproc.loads(b"\xd7V" + struct.pack(">Q", len(value)) + value)


def test_an_array_for_which_there_is_no_room(tmp_path: Any) -> None:
    import os
    import subprocess
    import sys

    program = """
import mproc, numpy
queue = mproc.Queue()
try:
    queue.put([numpy.zeros(1 << 20), numpy.zeros(1 << 22)])
except MemoryError as error:
    print("no room" in str(error), queue.qsize())
queue.put(numpy.arange(100_000))
print(queue.get().sum())
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "MPROC_ARENA_LIMIT": "24M"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "True 0\n4999950000\n", result.stderr
