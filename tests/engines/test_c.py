"""C programs over Open MPI, as ranks of this machine: the tests of engines, an example, deaths."""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/engines"
TESTS = BUILD / "tests/c/test_engine"
WORDCOUNT = BUILD / "examples/c/wordcount"
# Those that do not ask how many nodes there are, or kill one.
NAMES = [
    "engine_reports_tasks_that_kill_their_worker",
    "engine_tells_what_a_task_returned",
    "engine_brings_large_results",
    "engine_ends_tasks_whose_time_is_up",
    "engine_ends_tasks_that_use_too_much",
    "engine_tries_again",
    "engine_cancels_and_kills",
    "engine_keeps_priorities",
    "engine_maps",
    "engine_gives_bytes_to_the_handler",
    "engine_begins_its_workers",
    "engine_serves_several_pools",
    "engine_closes_and_joins_a_pool",
    "engine_has_a_descriptor",
    "engine_refuses_what_does_not_travel",
]

pytestmark = [
    pytest.mark.skipif(shutil.which("mpirun") is None, reason="no mpirun is installed"),
    pytest.mark.skipif(not TESTS.exists(), reason="build/engines is not built: scripts/engines.sh"),
]


PLUGIN = {"LD_LIBRARY_PATH": str(BUILD / "src/mpi")}


def mpirun(*arguments, ranks=2, before=(), **more):
    roots = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return subprocess.run(
        ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *before]
        + [str(a) for a in arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **PLUGIN, **roots, **more},
        check=False,
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_test_of_engines_passes_over_mpi(name):
    done = mpirun(TESTS, name, MPROC_TEST_ENGINE="mpi")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ok 1 - {name}" in done.stdout


@functools.cache
def counted_here():
    paths = [ROOT / "scripts", ROOT / "tests"]
    done = subprocess.run([WORDCOUNT, *paths], capture_output=True, check=True)
    return done.stdout.decode()


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_wordcount_says_the_same_over_mpi(ranks):
    done = mpirun(WORDCOUNT, "--engine", "mpi", ROOT / "scripts", ROOT / "tests", ranks=ranks)
    assert done.returncode == 0, done.stderr
    assert done.stdout == counted_here()


def test_an_engine_without_mpirun_has_one_node():
    done = subprocess.run(
        [WORDCOUNT, "--engine", "mpi", ROOT / "scripts", ROOT / "tests"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **PLUGIN},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == counted_here()


def test_a_rank_that_dies_fails_its_tasks_and_no_others():
    name = "engine_loses_a_rank"
    done = mpirun(TESTS, name, MPROC_TEST_ENGINE="mpi", before=["--enable-recovery"])
    assert re.search(rf"ok 1 - {name}\n1 passed, 0 failed", done.stdout), done.stdout + done.stderr
