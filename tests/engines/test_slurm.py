"""Programs that Slurm starts: one node, with srun, sbatch and mpirun inside of a job."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import slurm

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build/engines"
C_WORDCOUNT = BUILD / "examples/c/wordcount"
WORDCOUNT = ROOT / "examples/python/wordcount.py"
TASKS = int(os.environ.get("MPROC_TASKS", "2000"))
PLUGIN = {"LD_LIBRARY_PATH": str(BUILD / "src/mpi")}
ROOTS = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
SRUN = ["srun", "--mpi=pmix"]
MPROC = [sys.executable, "-m", "mproc", "--engine", "mpi"]


@pytest.fixture(scope="module")
def cluster():
    with slurm.running() as started:
        yield started


@pytest.fixture
def for_python():
    if importlib.util.find_spec("mpi4py") is None:
        pytest.skip("mpi4py is not installed")
    if shutil.which("mpirun") is None:
        pytest.skip("no mpirun is installed")


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_c_program_by_srun(cluster):
    if not C_WORDCOUNT.exists():
        pytest.skip("build/engines is not built: scripts/engines.sh")
    program = [C_WORDCOUNT, "--engine", "mpi", ROOT / "scripts", ROOT / "tests"]
    done = cluster.run(*SRUN, "-n", 2, *program, **PLUGIN)
    assert done.returncode == 0, done.stderr
    assert done.stdout == output_of(C_WORDCOUNT, ROOT / "scripts", ROOT / "tests")


def test_python_program_by_srun(cluster, for_python):
    done = cluster.run(*SRUN, "-n", 3, *MPROC, WORDCOUNT, ROOT / "scripts", ROOT / "tests")
    assert done.returncode == 0, done.stderr
    assert done.stdout == output_of(sys.executable, WORDCOUNT, ROOT / "scripts", ROOT / "tests")


def test_tasks_that_kill_their_worker_under_srun(cluster, for_python):
    done = cluster.run(*SRUN, "-n", 3, *MPROC, HERE / "everything.py", "killers")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {"killers": {"done": TASKS - 40, "lost": 40, "else": 0}}


def test_mpirun_in_a_job_of_sbatch(cluster, for_python, tmp_path):
    """The command of one machine, in a batch script: mpirun takes the job's nodes by itself."""
    script, out = tmp_path / "job.sh", tmp_path / "out"
    command = [*MPROC, "--workers", 2, WORDCOUNT, ROOT / "scripts", ROOT / "tests"]
    script.write_text("#!/bin/sh\nexec " + " ".join(map(str, command)) + "\n")
    done = cluster.run(
        "sbatch", "--wait", "-n", 3, "-o", out, "-e", tmp_path / "errors", script, **ROOTS
    )
    assert done.returncode == 0, (tmp_path / "errors").read_text()
    assert out.read_text() == output_of(sys.executable, WORDCOUNT, ROOT / "scripts", ROOT / "tests")


def test_workers_of_dask_by_srun(cluster):
    """The scheduler is started beside Slurm, its workers by a step."""
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("distributed is not installed")
    (port,) = slurm.free_ports(1)
    address = f"tcp://127.0.0.1:{port}"
    python = [sys.executable, "-m"]
    scheduler = [*python, "distributed.cli.dask_scheduler", "--no-dashboard"]
    workers = [*python, "distributed.cli.dask_worker", address, "--no-dashboard", "--no-nanny"]
    program = [*python, "mproc", "--engine", "dask", "--address", address, WORDCOUNT]
    how = {"env": {**os.environ, **cluster.environment}, "stderr": subprocess.DEVNULL}
    with (
        subprocess.Popen([*scheduler, "--host", "127.0.0.1", "--port", str(port)], **how) as head,
        subprocess.Popen(["srun", "-n", "2", *workers, "--nthreads", "1"], **how) as step,
    ):
        try:
            await_port(port)
            done = cluster.run(*program, ROOT / "scripts", ROOT / "tests")
        finally:
            step.terminate()
            step.wait(30)
            head.terminate()
    assert done.returncode == 0, done.stderr
    assert done.stdout == output_of(sys.executable, WORDCOUNT, ROOT / "scripts", ROOT / "tests")


def await_port(port):
    end = time.monotonic() + slurm.START
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            assert time.monotonic() < end, "no scheduler has begun"
            time.sleep(0.2)


KILL = """
import multiprocessing, os, signal, time

def kill_the_rank(_):
    with open(f"/proc/{os.getppid()}/stat") as stat:
        os.kill(int(stat.read().rsplit(")", 1)[1].split()[1]), signal.SIGKILL)
    time.sleep(100)

if __name__ == "__main__":
    multiprocessing.Pool().map(kill_the_rank, [1])
"""


def test_a_rank_that_dies_ends_the_step(cluster, for_python, tmp_path):
    """Slurm ends a step one of whose processes was killed: nobody waits for what that had."""
    script = tmp_path / "kill.py"
    script.write_text(KILL)
    done = cluster.run(*SRUN, "-n", 3, *MPROC, script, seconds=90)
    assert done.returncode != 0
