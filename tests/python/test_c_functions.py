"""c_function(): functions of shared libraries, called by Python and by the workers of pools."""

import pickle
import shutil
from pathlib import Path

import pytest

import mproc
from mproc import c_functions
from mproc.futures import BrokenProcessPool, ProcessPoolExecutor

np = pytest.importorskip("numpy", reason="numpy is not installed")

LIBRARY = Path(__file__).resolve().parents[2] / "build/test/tests/python/libfunctions.so"


def test_plain_values():
    add = mproc.c_function(LIBRARY, "add")
    assert add() == 0
    assert add(1, 2.5, 3) == 6.5
    assert add(1, np.arange(4.0)) == 7
    assert mproc.c_function(LIBRARY, "say_nothing")(1) is None


def test_a_function_is_made_once(monkeypatch):
    """Another thread asks for it while it is made."""
    found = []

    def make(*key):
        if not found:
            found.append(None)
            found.append(mproc.c_function(LIBRARY, "add"))
        return list(key)

    monkeypatch.setattr(c_functions, "_functions", {})
    monkeypatch.setattr(c_functions, "CFunction", make)
    assert mproc.c_function(LIBRARY, "add") is found[1]
    assert mproc.c_function(LIBRARY, "add") is found[1]


def test_bytes():
    twice = mproc.c_function(LIBRARY, "twice", raw=True)
    assert twice(b"ab") == b"abab"
    assert twice(bytearray(b"")) == b""
    assert twice(memoryview(bytes(100_000))) == bytes(200_000)
    assert mproc.c_function(LIBRARY, "large", raw=True)(b"") == b"0123456789" * 10_000
    with pytest.raises(TypeError):
        twice("text")
    with pytest.raises(ValueError, match="values to unpack"):
        twice()


def test_errors_of_the_function():
    with pytest.raises(mproc.CFunctionError, match=r"refuse\(\) of .* returned 7: no, thank") as e:
        mproc.c_function(LIBRARY, "refuse")()
    assert (e.value.code, e.value.function, e.value.text) == (7, "refuse", "no, thank you")
    assert str(pickle.loads(pickle.dumps(e.value))) == str(e.value)
    with pytest.raises(mproc.CFunctionError, match="an array is wanted"):
        mproc.c_function(LIBRARY, "add")("text")


def test_arguments_that_are_not_plain():
    with pytest.raises(TypeError, match=r"args\[1\]"):
        mproc.c_function(LIBRARY, "add")(1, {1, 2})


def test_what_is_not_there():
    with pytest.raises(OSError, match="libnowhere"):
        mproc.c_function("libnowhere.so", "work")
    with pytest.raises(AttributeError, match=r"libfunctions\.so has no function 'work'"):
        mproc.c_function(LIBRARY, "work")


def test_it_is_made_once(monkeypatch):
    add = mproc.c_function(LIBRARY, "add")
    monkeypatch.chdir(LIBRARY.parent)
    assert mproc.c_function("./libfunctions.so", "add") is add
    assert pickle.loads(pickle.dumps(add)) is add
    assert repr(add) == f"<CFunction add of {LIBRARY}>"


def test_pools_take_it(ctx):
    add = mproc.c_function(LIBRARY, "add")
    with ctx.Pool(1) as pool:
        assert pool.map(add, range(5)) == [0, 1, 2, 3, 4]
        assert pool.starmap(add, [(1, 2), (3, 4)]) == [3, 7]
        assert pool.apply(add, (np.ones(20_000),)) == 20_000
        with pytest.raises(mproc.CFunctionError, match="returned 7"):
            pool.apply(mproc.c_function(LIBRARY, "refuse"))
    with ProcessPoolExecutor(1, mp_context=ctx) as executor:
        assert executor.submit(add, 1, 2).result() == 3
        assert list(executor.map(mproc.c_function(LIBRARY, "twice", raw=True), [b"a", b"b"])) == [
            b"aa",
            b"bb",
        ]


def test_a_crash_is_a_workers_death():
    crash = mproc.c_function(LIBRARY, "crash")
    with ProcessPoolExecutor(1, mp_context=mproc.get_context("fork")) as executor:
        future = executor.submit(crash)
        with pytest.raises(BrokenProcessPool):
            future.result()


def test_a_library_that_the_worker_does_not_find(tmp_path):
    maps = Path("/proc/self/maps").read_text().split()
    copy = tmp_path / "libgone.so"
    shutil.copy(next(word for word in maps if "/libm.so" in word or "/libm-" in word), copy)
    with mproc.get_context("spawn").Pool(1) as pool:
        pool.apply(abs, (1,))
        gone = mproc.c_function(copy, "cos")
        copy.unlink()
        with pytest.raises(OSError, match="libgone"):
            pool.apply(gone, (1,))
