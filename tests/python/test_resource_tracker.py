"""resource_tracker: a program's own names are removed when everybody is dead, others are not."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import mproc
from mproc import resource_tracker
from mproc.shared_memory import SharedMemory

PLACE = Path("/dev/shm")

PROGRAM = """
    import os, signal, sys
    from pathlib import Path
    from mproc import resource_tracker
    from mproc.shared_memory import SharedMemory
    name = sys.argv[1]
    other = SharedMemory(create=True, size=1)  # what is removed in any case
    {what}
    print(other.name, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def run(what, name):
    """Run a program that does so much and is killed; return what its watcher says in the end."""
    code = textwrap.dedent(PROGRAM).format(what=what)
    environment = {**os.environ, "PYTHONPATH": str(Path(mproc.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, "-c", code, name],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert not (PLACE / result.stdout.strip()).exists()
    return result.stderr


@pytest.fixture
def name():
    """A name on /dev/shm, made by nobody that mproc knows."""
    name = f"mproc_tracked_{os.getpid()}_{time.monotonic_ns()}"
    (PLACE / name).write_bytes(b"x")
    yield name
    (PLACE / name).unlink(missing_ok=True)


def test_what_was_registered_is_removed(name):
    err = run("resource_tracker.register('/' + name, 'shared_memory')", name)
    assert not (PLACE / name).exists()
    assert f"'/{name}'" in err


def test_what_was_not_registered_stays(name):
    run("resource_tracker.ensure_running()", name)
    assert (PLACE / name).exists()


def test_what_was_unregistered_stays(name):
    what = (
        "resource_tracker.register(name, 'shared_memory');"
        "resource_tracker.unregister(name, 'shared_memory');"
        "resource_tracker.unregister(name, 'shared_memory')"
    )
    run(what, name)
    assert (PLACE / name).exists()


def test_a_semaphore(name):
    file = PLACE / f"sem.{name}"
    file.write_bytes(b"x")
    run("resource_tracker.register('/' + name, 'semaphore')", name)
    assert not file.exists()
    assert (PLACE / name).exists()


def test_unregistering_what_mproc_made_does_no_harm():
    run("resource_tracker.unregister(other._name, 'shared_memory')", "")  # which is removed


def test_unregistering_after_attaching_does_no_harm():
    shm = SharedMemory(create=True, size=1)
    other = SharedMemory(shm.name)
    resource_tracker.unregister(other._name, "shared_memory")
    other.close()
    shm.close()
    shm.unlink()


def test_unregistering_what_is_gone(name):
    resource_tracker.register(name, "shared_memory")
    (PLACE / name).unlink()
    resource_tracker.unregister(name, "shared_memory")


def test_bad_input():
    with pytest.raises(ValueError, match="'socket'; there are shared_memory, semaphore"):
        resource_tracker.register("x", "socket")
    with pytest.raises(ValueError, match="'socket'"):
        resource_tracker.unregister("x", "socket")
    with pytest.raises(FileNotFoundError, match="mproc_nobody"):
        resource_tracker.register("mproc_nobody", "shared_memory")
