"""Results and arguments of several GiB. MPROC_TEST_BIG=1 runs them, one after another: 12 GiB."""

import os

import pytest

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
