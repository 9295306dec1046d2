"""Results, arguments and entries of a GiB and more, and ten million entries.

MPROC_TEST_BIG=1 runs them, one after another: 12 GiB.
"""

import gc
import os

import pytest
from conftest import in_arena

import mproc
from mproc.futures import ProcessPoolExecutor

LONG = 1200  # seconds
pytestmark = [
    pytest.mark.timeout(LONG),
    pytest.mark.skipif(
        not os.environ.get("MPROC_TEST_BIG"), reason="needs 12 GiB; MPROC_TEST_BIG=1 runs it"
    ),
]


def make(size):
    return bytes(size)


def measure(data):
    return len(data), data[0], data[-1]


def in_pool(ctx):
    pool = ctx.Pool(1)
    return pool, lambda *call: pool.apply_async(call[0], call[1:]).get(LONG)


def in_executor(ctx):
    pool = ProcessPoolExecutor(1, ctx)
    return pool, lambda *call: pool.submit(*call).result(LONG)


def end(pool):
    if isinstance(pool, ProcessPoolExecutor):
        pool.shutdown()
    else:
        pool.close()
        pool.join()


@pytest.fixture(params=[in_pool, in_executor])
def call(request):
    """Has a function called by a worker."""
    pool, call = request.param(mproc.get_context("fork"))
    yield call
    end(pool)


def test_a_result_of_five_gib(call):
    assert len(call(make, 5 << 30)) == 5 << 30
    assert call(measure, b"a..z") == (4, ord("a"), ord("z"))


def test_an_argument_of_three_gib(call):
    assert call(measure, bytes(3 << 30)) == (3 << 30, 0, 0)
    assert call(measure, b"a..z") == (4, ord("a"), ord("z"))


# ---- containers

MANY = 10_000_000


def test_a_dict_of_ten_million_entries():
    shared = mproc.Dict()
    before = in_arena()
    for i in range(MANY):
        shared[i] = -i
    assert len(shared) == MANY
    assert all(shared[i] == -i for i in range(0, MANY, 997))
    assert MANY not in shared
    for i in range(0, MANY, 2):
        del shared[i]
    assert len(shared) == MANY // 2
    assert shared[1] == -1 and 2 not in shared
    shared.clear()
    assert len(shared) == 0
    assert in_arena() < before + 1_000_000


def test_a_list_of_ten_million_elements():
    shared = mproc.List()
    before = in_arena()
    for i in range(0, MANY, 1000):
        shared.extend(range(i, i + 1000))
    assert len(shared) == MANY
    assert all(shared[i] == i for i in range(0, MANY, 997))
    shared.insert(MANY // 2, "in between")
    assert shared.pop(MANY // 2) == "in between"
    assert shared[MANY // 2] == MANY // 2
    shared.clear()
    assert in_arena() < before + 1_000_000


@pytest.mark.parametrize(
    "make_one", [lambda value: mproc.Dict({0: value}), lambda value: mproc.List([value])]
)
def test_an_entry_of_a_gib(make_one):
    before = in_arena()
    shared = make_one(bytes(1 << 30))
    assert measure(shared[0]) == (1 << 30, 0, 0)
    shared.clear()
    gc.collect()
    assert in_arena() < before + 1_000_000
