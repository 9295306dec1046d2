"""Programs on real engines, started on this machine; one that is not installed is skipped.

Each engine is started once for all that is asked of it: that takes longer than all else.
"""

import functools
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
WORDCOUNT = HERE.parents[1] / "examples/python/wordcount.py"
C_WORDCOUNT = HERE.parents[1] / "build/engines/examples/c/wordcount"
PACKAGES = {"local": "mproc", "dask": "distributed", "ray": "ray", "mpi": "mpi4py"}
ENGINES = list(PACKAGES)
SECONDS = 150
SCENES = ["methods", "error", "executor", "shared", "local", "parallel"]
LAST = {"local": [], "mpi": ["own", "holder", "killers"]}  # those that not every engine can
ON_OTHERS = ["own", "holder", "killers", "worker_killed", "all_killed"]
TASKS = int(os.environ.get("MPROC_TASKS", "2000"))


def need(engine):
    if importlib.util.find_spec(PACKAGES[engine]) is None:
        pytest.skip(f"{PACKAGES[engine]} is not installed")
    if engine == "mpi" and shutil.which("mpirun") is None:
        pytest.skip("no mpirun is installed")


def run(engine, *arguments, **more):
    """Run a program on two workers of an engine."""
    need(engine)
    roots = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return subprocess.run(
        [sys.executable, "-m", "mproc", "--engine", engine, "--workers", "2", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, **roots, **more},
        check=False,
    )


@functools.cache
def told(engine):
    """What the scenes have come to, and the process that ran them."""
    done = run(engine, HERE / "everything.py", *SCENES, *LAST.get(engine, ON_OTHERS))
    scenes = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            scenes.update(json.loads(line))
    return scenes, done


def of(engine, scene):
    scenes, done = told(engine)
    assert scene in scenes, done.stderr[-4000:]
    return scenes[scene]


@pytest.fixture(params=ENGINES)
def engine(request):
    need(request.param)
    return request.param


def test_methods(engine):
    assert of(engine, "methods") == [
        [0, 2, 4, 6, 8],
        [0, 2, 4, 6, 8],
        [0, 2, 4, 6, 8],
        [8],
        8,
    ]


def test_exception_of_a_task(engine):
    assert of(engine, "error") == ["not 3", True]


def test_executor(engine):
    assert of(engine, "executor") == [[0, 2, 4, 6, 8], 8]


def test_processes_stay_here_and_say_so_once(engine):
    assert of(engine, "local") == [0, 1, 2]
    said = told(engine)[1].stderr.count("stay on this machine")
    assert said == (0 if engine == "local" else 1)


def test_joblib(engine):
    assert of(engine, "parallel") == [engine == "local", [10, 3 << 20]]


def test_objects_of_a_manager(engine):
    numbers = list(range(6))
    assert of(engine, "shared") == [numbers, numbers, 6, True]


@pytest.mark.parametrize("engine", ["dask", "ray", "mpi"])
def test_objects_that_the_program_has_made(engine):
    assert of(engine, "own") == [list(range(6)), 6, list(map(float, range(6))), True]


@pytest.mark.parametrize("engine", ["dask", "ray", "mpi"])
def test_lock_whose_holder_dies(engine):
    assert of(engine, "holder") == ["WorkerLostError", "OwnerDiedError", "mine"]


@pytest.mark.parametrize("engine", ["dask", "ray", "mpi"])
def test_those_that_kill_their_worker_are_lost_and_no_other(engine):
    assert of(engine, "killers") == {"done": TASKS - 40, "lost": 40, "else": 0}


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_tasks_of_a_killed_worker_of_the_engine_are_done_elsewhere(engine):
    assert of(engine, "worker_killed") == [2, 200]


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_no_worker_of_the_engine_left(engine):
    assert of(engine, "all_killed") in ("EngineError", "WorkerLostError")


def test_program_ends_well(engine):
    assert told(engine)[1].returncode == 0


OPEN = """
import multiprocessing, time

def name(_):
    return multiprocessing.Pool.__module__, multiprocessing.current_process().name[:-1]

if __name__ == "__main__":
    pool = multiprocessing.Pool(2)
    print(pool.apply(name, (1,)))
    pool.map_async(time.sleep, [0.05] * 1000, 1)
"""


def test_program_that_leaves_its_pool_open_ends(engine, tmp_path):
    """At once, and without a word. And `multiprocessing` is mproc in its tasks, too."""
    script = tmp_path / "open.py"
    script.write_text(OPEN)
    done = run(engine, script)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.splitlines() == ["('mproc.context', 'ForkPoolWorker-')"]
    assert "Traceback" not in done.stderr and "shutdown" not in done.stderr, done.stderr


@functools.cache
def counted(engine):
    """What the example prints, and the file that it writes, on two workers of an engine."""
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts"
        done = run(engine, WORDCOUNT, "--counts", counts, HERE.parent / "python")
        assert done.returncode == 0, done.stderr
        return done.stdout, counts.read_bytes()


def test_wordcount_unedited(engine):
    assert len(counted(engine)[1]) > 1000
    assert counted(engine) == counted("local")


def test_program_of_the_chapter(tmp_path):
    """The one in docs/engines.md about what tasks share."""
    chapter = (HERE.parents[1] / "docs/engines.md").read_text()
    script = tmp_path / "script.py"
    script.write_text(re.search(r"```python\n(.*?)```", chapter, re.DOTALL)[1])
    done = run("mpi", script)
    assert (done.stdout, done.returncode) == (f"45 {list(range(10))}\n", 0), done.stderr


def test_wordcount_in_c(tmp_path):
    """It says the same; test_c.py has it over MPI."""
    if not C_WORDCOUNT.exists():
        pytest.skip("build/engines is not built: scripts/engines.sh")
    command = [C_WORDCOUNT, "--counts", tmp_path / "counts", HERE.parent / "python"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, (tmp_path / "counts").read_bytes()) == counted("local")


def test_no_scheduler_at_the_address():
    need("dask")
    began = time.monotonic()
    program = "import multiprocessing; multiprocessing.Pool()"
    where = ["--engine", "dask", "--address", "tcp://127.0.0.1:9"]
    done = subprocess.run(
        [sys.executable, "-m", "mproc", *where, "-c", program],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert "EngineError: no scheduler of Dask answers at tcp://127.0.0.1:9" in done.stderr
    assert "dask scheduler" in done.stderr
    assert time.monotonic() - began < SECONDS / 2


@pytest.mark.parametrize("after", [0.6, 1.0, 1.4, 2.0])
def test_interrupt_while_dask_is_started(tmp_path, after):
    """Ctrl-C is for the whole group, the scheduler that is being started among it."""
    need("dask")
    script = tmp_path / "open.py"
    script.write_text(OPEN.replace("print(", "import time; time.sleep(60); print("))
    program = subprocess.Popen(
        [sys.executable, "-m", "mproc", "--engine", "dask", "--workers", "2", str(script)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(after)
    os.killpg(program.pid, signal.SIGINT)
    said = program.communicate(timeout=30)[1]
    assert program.returncode == -signal.SIGINT, said
    assert "KeyboardInterrupt" in said


def test_scheduler_of_dask_that_ends_at_once():
    need("dask")
    from mproc.engines import dask
    from mproc.engines.errors import EngineError

    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as scheduler:
        scheduler.wait()
        with pytest.raises(EngineError, match="ended at once, with exit code 3"):
            dask._await_scheduler(scheduler, "tcp://127.0.0.1:1")
