"""Functions and classes that go to workers by their names: which do, and what a worker finds."""

import functools
import sys
import types

import errands
import pytest

import mproc.pool  # adds what pools need
from mproc import _mproc
from mproc._mproc import name_of


class Outer:
    class Inner:
        def __new__(cls, value):
            return value

    @staticmethod
    def double(x):
        return 2 * x

    def method(self):
        pass


class Meta(type):
    pass


class Special(metaclass=Meta):
    pass


def test_what_goes_by_its_name():
    assert name_of(errands.square) == "errands:square"
    assert name_of(Outer) == f"{__name__}:Outer"
    assert name_of(Outer.Inner) == f"{__name__}:Outer.Inner"
    assert name_of(Outer.double) == f"{__name__}:Outer.double"
    assert name_of(int) == "builtins:int"


def local():
    def inner():
        pass

    return inner


def moved(**attributes):
    """A function whose attributes say that it is somewhere else."""
    function = types.FunctionType(local.__code__, {}, "moved")
    for name, value in attributes.items():
        setattr(function, name, value)
    return function


OTHERS = [
    lambda: 0,
    local(),
    len,
    Outer().method,
    functools.partial(errands.square),
    type(None),
    Special,
    "errands:square",
    moved(__module__="errands"),
    moved(__module__="absent", __qualname__="moved"),
    moved(__module__=None),
    moved(__module__="errands", __qualname__="square.absent"),
    moved(__module__="errands", __qualname__="square"),
]


@pytest.mark.parametrize("other", OTHERS)
def test_what_has_to_be_pickled(other):
    assert name_of(other) is None


def test_a_module_whose_name_cannot_be_told_from_the_function(monkeypatch):
    module = types.ModuleType("odd:module")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.moved = moved(__module__=module.__name__)
    assert name_of(module.moved) is None


def test_a_pickler_of_the_programs_own_sees_functions():
    class Chosen:
        pass

    _mproc.choose_pickler(Chosen)
    try:
        assert name_of(errands.square) is None
    finally:
        _mproc.choose_pickler(None)
    assert name_of(errands.square) is not None


# ---- in workers


@pytest.mark.parametrize("function", [Outer.double, Outer.Inner, float])
def test_a_worker_finds_it(ctx, function):
    with ctx.Pool(1) as pool:
        assert pool.map(function, [3, 4]) == [function(3), function(4)]
        assert pool.apply(function, (5,)) == function(5)


@pytest.fixture
def fork():
    return mproc.get_context("fork")


def forget(name):
    delattr(errands, name)


def test_a_function_that_the_worker_has_not(fork):
    with fork.Pool(1, forget, ("square",)) as pool:
        for _ in range(2):
            with pytest.raises(AttributeError, match=r"Can't get attribute 'square' on <module 'e"):
                pool.apply(errands.square, (1,))
        assert pool.apply(errands.add, (1, 2)) == 3


def forget_module():
    sys.modules["errands"] = None


def test_a_module_that_the_worker_has_not(fork):
    with fork.Pool(1, forget_module) as pool, pytest.raises(ModuleNotFoundError, match="errands"):
        pool.apply(errands.square, (1,))


def test_text_is_no_function(fork):
    with fork.Pool(1) as pool:
        for text in ("errands:square", "x"):
            with pytest.raises(TypeError, match="not callable"):
                pool.apply(text, (1,))


PLAIN = """
import sys
import mproc

def loaded(_):
    return [name for name in ("pickle", "_pickle", "mproc._pool.errors") if name in sys.modules]

if __name__ == "__main__":
    with mproc.get_context("fork").Pool(2) as pool:
        print(pool.map(loaded, [1, 2]), loaded(0))
"""


def test_plain_tasks_need_no_pickle(program):
    assert program.output("-c", PLAIN) == "[[], []] []\n"


def test_workers_of_a_program_with_threads_have_all_that_they_may_need(program):
    started = PLAIN.replace("    with", "    import threading, time\n    with").replace(
        "    with",
        "    threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n    with",
    )
    out = program.output("-c", started)
    assert "_pickle" in out and out.count("mproc._pool.errors") == 3
