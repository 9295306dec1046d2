"""Tasks that do what tasks should not: use their own pool, become another program, leave children.

The same for a Pool and for a ProcessPoolExecutor.
"""

import os
import signal
import sys
import time

import errands
import pytest
from conftest import wait_until

import mproc
from mproc import ProcessError
from mproc.futures import BrokenProcessPool, ProcessPoolExecutor
from mproc.pool import ThreadPool, WorkerDiedError

LONG = 60.0


def submit_to_pool(pool, function, *args):
    return pool.apply_async(function, args).get


def submit_to_executor(pool, function, *args):
    return pool.submit(function, *args).result


FACES = {
    "Pool": (lambda ctx, n: ctx.Pool(n), submit_to_pool),
    "executor": (lambda ctx, n: ProcessPoolExecutor(n, ctx), submit_to_executor),
    "healing": (lambda ctx, n: ProcessPoolExecutor(n, ctx, heal=True), submit_to_executor),
}


@pytest.fixture(params=FACES)
def face(request):
    return FACES[request.param]


own = None  # the pool that tasks use


def use_own(submit, name):
    try:
        if name == "end":
            return own.terminate() if hasattr(own, "terminate") else own.shutdown()
        if name == "map":
            return list(own.map(errands.square, [2]))
        return submit(own, errands.square, 2)(LONG)
    except (ValueError, RuntimeError) as error:
        return str(error)


@pytest.fixture
def owned(face):
    """A pool that its worker knows: that was forked when there was one."""
    global own
    make, submit = face
    with make(mproc.get_context("fork"), 1) as own:
        if submit is submit_to_pool:
            os.kill(submit(own, os.getpid)(LONG), signal.SIGKILL)
        yield own
    own = None


@pytest.mark.parametrize("name", ["submit", "map", "end"])
def test_a_task_uses_its_own_pool(owned, face, name):
    """It has a copy, as a forked child has. An executor's copy may be ended."""
    submit = face[1]
    said = submit(owned, use_own, submit, name)(LONG)
    if name != "end" or submit is submit_to_pool:
        assert "belongs to process" in said
    assert submit(owned, errands.square, 3)(LONG) == 9


def become(*argv):
    os.execv(argv[0], argv)


@pytest.mark.parametrize("code", [0, 7])
def test_a_task_becomes_another_program(ctx, face, code):
    make, submit = face
    with make(ctx, 1) as pool:
        program = f"import sys; sys.exit({code})"
        get = submit(pool, become, sys.executable, "-c", program)
        with pytest.raises((WorkerDiedError, BrokenProcessPool)) as caught:
            get(LONG)
        died = caught.value
        if isinstance(died, BrokenProcessPool):
            died = died.__cause__
        assert f"exited with code {code} while it ran task 0" in str(died)
        if make is not FACES["executor"][0]:
            assert submit(pool, errands.square, 3)(LONG) == 9


def test_a_pool_is_ended_though_its_worker_is_another_program():
    with mproc.get_context("fork").Pool(1) as pool:
        worker = pool.apply(os.getpid)
        pool.apply_async(become, ("/bin/sleep", "600"))
        wait_until(lambda: b"sleep" in command_of(worker))
    pool.join()
    assert not os.path.exists(f"/proc/{worker}")


def command_of(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def leave_a_child(seconds):
    pid = os.fork()
    if pid == 0:
        time.sleep(seconds)
        os._exit(0)
    return os.getpid(), pid


def test_a_task_leaves_a_child(ctx, face):
    """Neither the result, nor the end of the pool, waits for it."""
    make, submit = face
    begun = time.monotonic()
    with make(ctx, 1) as pool:
        worker, child = submit(pool, leave_a_child, 600)(LONG)
        assert submit(pool, os.getpid)(LONG) == worker
    try:
        if hasattr(pool, "join"):
            pool.join()
        assert time.monotonic() - begun < 300
    finally:
        os.kill(child, signal.SIGKILL)


def kill_worker_and_stay(path):
    """Have a child that the worker's death does not end, as one that setsid()s."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        errands.wait_for(path)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_death_is_noticed_though_a_child_lives_on(ctx, face, tmp_path):
    """The child has copies of all descriptors of the worker."""
    make, submit = face
    with make(ctx, 1) as pool:
        with pytest.raises((WorkerDiedError, BrokenProcessPool)):
            submit(pool, kill_worker_and_stay, tmp_path / "go")(LONG)
        (tmp_path / "go").touch()


class Ends:
    """Ends the pool that it is pickled for."""

    def __init__(self, pool, how):
        self.end = getattr(pool, how)

    def __reduce__(self):
        self.end()
        return int, (1,)


@pytest.mark.parametrize("start", ["apply_async", "map_async"])
@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [("close", ValueError, "Pool not running"), ("terminate", ProcessError, "was terminated")],
)
def test_a_pool_that_ends_while_a_task_is_pickled_says_so(how, kind, said, start):
    with mproc.get_context("fork").Pool(1) as pool:
        result = getattr(pool, start)(errands.square, [Ends(pool, how)])
        with pytest.raises(kind, match=said):
            result.get(LONG)


class EndsAndFails(Ends):
    """Ends the pool, and cannot be pickled."""

    def __reduce__(self):
        self.end()
        raise ValueError("the true reason")


@pytest.mark.parametrize("start", ["apply_async", "map_async"])
@pytest.mark.parametrize("how", ["close", "terminate"])
def test_what_fails_to_be_pickled_says_why_although_the_pool_has_ended(how, start):
    with mproc.get_context("fork").Pool(1) as pool:
        result = getattr(pool, start)(errands.square, [EndsAndFails(pool, how)])
        with pytest.raises(ValueError, match="the true reason"):
            result.get(LONG)


@pytest.mark.parametrize("kind", ["Pool", "ThreadPool"])
def test_a_forked_child_leaves_the_block_of_its_parents_pool(kind):
    """What ended the block is not hidden, and the parent's pool goes on."""
    pool = (mproc.get_context("fork").Pool if kind == "Pool" else ThreadPool)(1)
    child = mproc.get_context("fork").Process(target=pool.__exit__, args=(None, None, None))
    with pool:
        child.start()
        child.join(LONG)
        assert child.exitcode == 0
        assert pool.apply(errands.square, (3,)) == 9
