"""What tasks and programs do that is not only to compute, on each engine: see habits.py."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from family import await_end_of, descendants
from test_real import need, run

HERE = Path(__file__).resolve().parent
SPARE = 40
SCENES = ["printing", "environment", "forking", "unpicklable", "large", "again", "two", "waiting"]


@functools.cache
def told(engine):
    """What the scenes have come to, and the process that ran them."""
    done = run(engine, HERE / "habits.py", *SCENES, "refused")
    scenes = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            scenes.update(json.loads(line))
    return scenes, done


@pytest.fixture(params=["dask", "ray", "mpi"])
def engine(request):
    need(request.param)
    return request.param


def of(engine, scene):
    scenes, done = told(engine)
    assert scene in scenes, done.stderr[-4000:]
    return scenes[scene]


def test_task_that_prints(engine):
    assert of(engine, "printing") == 18
    done = told(engine)[1]
    assert "a task has said so" in done.stdout + done.stderr


def test_task_that_changes_the_environment(engine):
    """It changes that of its worker, and of nobody else."""
    assert of(engine, "environment") == [True, None, None]


def test_task_that_forks(engine):
    assert of(engine, "forking") == [[0, 3, 4], 2]


def test_exception_that_cannot_be_pickled(engine):
    assert of(engine, "unpicklable") == [[True] * 4, 9, 9]


def test_large_arguments_and_results(engine):
    """100 MB each way, without a word of the engine's."""
    assert of(engine, "large") == [True, True]
    assert "Sending large graph" not in told(engine)[1].stderr


def test_pools_again_and_again(engine):
    assert of(engine, "again") is True


def test_two_pools_at_once(engine):
    assert of(engine, "two") == [True, 20]


def test_functions_that_wait_for_several_futures(engine):
    assert of(engine, "waiting") == [True] * 6


def test_node_with_another_key(engine):
    assert of(engine, "refused") == "AuthenticationError"
    assert told(engine)[1].returncode == 0


STARTS = """
import multiprocessing, time
if __name__ == "__main__":
    with multiprocessing.Pool() as pool:
        pool.map(time.sleep, [100] * 2)
"""


@pytest.mark.parametrize("after", [1.5, 3, 5, 8])
def test_interrupt_while_ray_is_started(tmp_path, after):
    """Ctrl-C is for the whole group; what Ray has started by then is gone when the program is."""
    need("ray")
    script = tmp_path / "starts.py"
    script.write_text(STARTS)
    started = set()
    with subprocess.Popen(
        [sys.executable, "-m", "mproc", "--engine", "ray", "--workers", "2", str(script)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        end = time.monotonic() + after
        while time.monotonic() < end:
            started.update(descendants(program.pid))
            time.sleep(0.02)
        os.killpg(program.pid, signal.SIGINT)
        said = program.communicate(timeout=60)[1]
        # The interpreter forgets what has ended it when anything is evaluated from text after that,
        # which modules that Ray imports so late do.
        assert program.returncode in (-signal.SIGINT, 1), said
        assert "KeyboardInterrupt" in said
        await_end_of(started, SPARE)
