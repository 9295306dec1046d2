"""How a program ends whose ranks mproc has started, and what is left when somebody is killed."""

import contextlib
import importlib.util
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from family import await_end_of, children, with_variable

SECONDS = 100  # for what waits for nobody
SILENT = 20  # seconds without a sign of life, after which a rank is lost
SPARE = 40
PROGRAM = [sys.executable, "-m", "mproc", "--engine"]

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("mpi4py") is None, reason="mpi4py is not installed"
    ),
    pytest.mark.skipif(shutil.which("mpirun") is None, reason="no mpirun is installed"),
]


@pytest.fixture
def room(tmp_path, monkeypatch):
    """The folder of temporary files, in which a job leaves none."""
    place = tmp_path / "room"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
    return place


@pytest.fixture
def write(tmp_path):
    def write(source):
        path = tmp_path / "script.py"
        path.write_text(source)
        return path

    return write


ENDS = """
import multiprocessing, os, signal, sys

def square(x):
    return x * x

if __name__ == "__main__":
    with multiprocessing.Pool() as pool:
        print(pool.map(square, range(4)))
    print("to stderr", file=sys.stderr)
    sys.stdout.flush()
    exec(sys.argv[1])
"""


def run(engine, *words, **how):
    return subprocess.run(
        [*PROGRAM, engine, "--workers", "2", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        **how,
    )


@pytest.mark.parametrize(
    "last",
    [
        "pass",
        "raise ValueError('no')",
        "sys.exit(3)",
        "sys.exit('a text')",
        "sys.exit(255)",
        "print(sys.stdin.read()); sys.exit(4)",
        "raise KeyboardInterrupt",
    ],
)
def test_it_ends_as_on_one_machine(room, write, last):
    """The exit status is the same, and all that was printed."""
    script = write(ENDS)
    here, there = (run(engine, script, last, input="a line") for engine in ("local", "mpi"))
    assert (there.returncode, there.stdout) == (here.returncode, here.stdout), there.stderr
    assert there.stderr == here.stderr
    assert not list(room.iterdir())


@pytest.mark.parametrize(
    "last, ending",
    [
        ("os._exit(7)", 7),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("os.abort()", -signal.SIGABRT),
    ],
)
def test_it_ends_without_its_last_words(room, write, last, ending):
    """MPI itself may say something then."""
    done = run("mpi", write(ENDS), last)
    assert (done.returncode, done.stdout) == (ending, "[0, 1, 4, 9]\n"), done.stderr
    assert "to stderr" in done.stderr
    assert not list(room.iterdir())


def test_shell_sees_what_it_sees_of_any_program(room, write):
    words = [*PROGRAM, "mpi", str(write(ENDS)), "os.kill(os.getpid(), signal.SIGTERM)"]
    done = subprocess.run(
        ["sh", "-c", '"$@"; echo "status $?"', "sh", *words],
        stdout=subprocess.PIPE,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.stdout.endswith(f"status {128 + signal.SIGTERM}\n")


def test_program_that_makes_no_pool(room, write):
    done = run("mpi", write("import sys; print('alone'); sys.exit(5)"))
    assert (done.returncode, done.stdout) == (5, "alone\n"), done.stderr


def test_no_mpirun_that_starts(room, write):
    """What mpirun says and ends with is told as it is."""
    done = run("mpi", write(ENDS), "pass", env={**os.environ, "OMPI_MCA_plm": "none_of_these"})
    assert done.returncode > 0
    assert "mpirun" in done.stderr or "plm" in done.stderr


def test_end_of_the_job_by_the_rules_of_mpi(room, write):
    """Where a lost rank is to end the job, it does, and the exit code is the program's, too."""
    strict = {**os.environ, "OMPI_MCA_orte_enable_recovery": "0"}
    assert run("mpi", write(ENDS), "sys.exit(3)", env=strict).returncode == 3


@pytest.mark.parametrize(
    "value, goes_on", [("1", True), ("true", True), ("0", False), ("false", False), (None, False)]
)
def test_whether_a_job_goes_on_without_a_rank(monkeypatch, value, goes_on):
    from mproc.engines import mpi

    monkeypatch.delenv(mpi.RECOVERY, raising=False)
    if value is not None:
        monkeypatch.setenv(mpi.RECOVERY, value)
    assert mpi._goes_on() is goes_on


def test_rank_that_never_comes():
    """Where MPI would wait for it for ever."""
    program = (
        "import threading; from mproc.engines import mpi; mpi.START = 0.1;"
        "mpi._give_up(threading.Event())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert "not all ranks of this MPI job have begun" in done.stderr


def test_rank_whose_starter_has_gone():
    """It starts nothing, and ends its parent, which would be mpirun."""
    from mproc.engines import mpi_rank

    parent = (
        "import subprocess, sys, time\n"
        "rank = subprocess.run([sys.executable, sys.argv[1], sys.executable, '-c', 'print(1)'])\n"
        "time.sleep(100)\n"
    )
    nobody = {mpi_rank.STARTER: f"{socket.gethostname()}:nobody", mpi_rank.RANKS[0]: "0"}
    done = subprocess.run(
        [sys.executable, "-c", parent, mpi_rank.__file__],
        capture_output=True,
        timeout=SECONDS,
        env={**os.environ, **nobody},
        check=False,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, b"")


def test_rank_0_on_another_machine():
    """It is the program: nobody can be told how it ends."""
    from mproc.engines import mpi_rank

    elsewhere = {mpi_rank.STARTER: "elsewhere.invalid:name", mpi_rank.RANKS[0]: "0"}
    done = subprocess.run(
        [sys.executable, mpi_rank.__file__, sys.executable, "-c", "raise SystemExit(3)"],
        timeout=SECONDS,
        env={**os.environ, **elsewhere},
        check=False,
    )
    assert done.returncode == 3


# ---- signals and deaths


WAITS = """
import json, multiprocessing, os, signal, sys, time

def parents(_):
    with open(f"/proc/{os.getppid()}/stat") as stat:
        rank = int(stat.read().rsplit(")", 1)[1].split()[1])
    time.sleep(0.05)
    return os.getppid(), rank

def told(number, frame):
    print("told", number, flush=True)
    sys.exit(9)

if __name__ == "__main__":
    if "heeds" in sys.argv:
        signal.signal(signal.SIGTERM, told)
    with multiprocessing.Pool() as pool:
        processes = {pid for pair in pool.map(parents, range(60), 1) for pid in pair}
        print(json.dumps([os.getpid(), os.getppid(), *processes]), flush=True)
        try:
            for _ in pool.imap_unordered(time.sleep, [1000] * 8):
                pass
        except Exception as error:
            print(type(error).__name__, flush=True)
            sys.exit(6)
"""


@contextlib.contextmanager
def started(write, *words):
    """Have a program that waits, in a group of its own, as a terminal's job is."""
    with subprocess.Popen(
        [*PROGRAM, "mpi", "--workers", "2", str(write(WAITS)), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process):
    """Return the processes of the job: the program, what started it, agents and other ranks."""
    line = process.stdout.readline()
    assert line, process.communicate(timeout=SECONDS)[1]
    return json.loads(line)


def mpirun_of(process):
    """Return the pid of mpirun, the starter's child."""
    (pid,) = children(process.pid)
    return pid


def test_interrupt(room, write):
    """A terminal sends it to the whole group: the program alone gets it, and once."""
    with started(write) as process:
        pids = [*said(process), mpirun_of(process)]
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == -signal.SIGINT
        assert errors.count("KeyboardInterrupt") == 1, errors
        await_end_of(pids, SPARE)
    assert not list(room.iterdir())


def test_sigterm_is_the_programs(room, write):
    with started(write, "heeds") as process:
        pids = [*said(process), mpirun_of(process)]
        process.terminate()
        output, errors = process.communicate(timeout=SECONDS)
        assert (output, process.returncode) == (f"told {int(signal.SIGTERM)}\n", 9), errors
        await_end_of(pids, SPARE)
    assert not list(room.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_that_the_program_does_not_heed(room, write, number):
    with started(write) as process:
        pids = [*said(process), mpirun_of(process)]
        process.send_signal(number)
        process.communicate(timeout=SECONDS)
        assert process.returncode == -number
        await_end_of(pids, SPARE)
    assert not list(room.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", [0.2, 0.4, 0.6, 0.8, 1.2])
def test_signal_while_the_job_is_started(room, write, number, after):
    with started(write) as process:
        time.sleep(after)
        os.killpg(process.pid, number)
        errors = process.communicate(timeout=SECONDS)[1]
    in_its_start = number == signal.SIGINT and "init_import_site" in errors  # as Python ends then
    assert process.returncode == (1 if in_its_start else -number), errors
    await_end_in(room)


def await_end_in(room):
    """Wait until no process has its temporary files in a folder: that of a job is in no other."""
    end = time.monotonic() + SILENT + SPARE
    while left := with_variable("TMPDIR", room):
        assert time.monotonic() < end, f"these still run: {left}"
        time.sleep(0.1)


@pytest.mark.parametrize("after", [0.1, 0.3, 0.5, 0.8, None])
def test_starter_that_is_killed(room, write, after):
    """mpirun ends, and so do all ranks and agents, at whatever moment it was."""
    with started(write) as process:
        if after is None:
            said(process)
        else:
            time.sleep(after)
        process.kill()
        process.communicate(timeout=SECONDS)
        await_end_in(room)


def test_mpirun_that_is_killed(room, write):
    with started(write) as process:
        pids = said(process)
        os.kill(mpirun_of(process), signal.SIGKILL)
        process.communicate(timeout=SECONDS)
        assert process.returncode != 0
        await_end_of(pids, SILENT + SPARE)


@pytest.mark.parametrize("who", ["program", "its parent"])
def test_rank_0_that_is_killed(room, write, who):
    with started(write) as process:
        pids = [*said(process), mpirun_of(process)]
        os.kill(pids[0 if who == "program" else 1], signal.SIGKILL)
        process.communicate(timeout=SECONDS)
        assert process.returncode == -signal.SIGKILL
        await_end_of(pids, SILENT + SPARE)
    assert not list(room.iterdir())


def test_another_rank_that_is_stopped(room, write):
    """Its tasks are lost, and the program ends as it says: nobody waits for that rank then."""
    with started(write) as process:
        program, parent, *others = said(process)
        ranks = set(children(mpirun_of(process))) - {parent}
        assert len(ranks) == 2 and ranks < set(others)
        os.kill(min(ranks), signal.SIGSTOP)
        output, errors = process.communicate(timeout=SILENT + SECONDS)
        assert (output, process.returncode) == ("WorkerLostError\n", 6), errors
        await_end_of([program, parent, *others], SPARE)


@pytest.mark.parametrize("seed", range(6))
def test_any_process_of_a_job_that_is_killed_at_any_time(room, write, seed):
    """Everything ends; a rank that begins has longest for it, since others wait for it."""
    chance = random.Random(seed)
    with started(write) as process:
        time.sleep(chance.uniform(0.1, 1.5))
        victim = chance.choice(with_variable("TMPDIR", room))
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        time.sleep(0.5)
        process.terminate()  # the job may well go on without an agent, or a rank
        process.communicate(timeout=SECONDS)
        assert process.returncode != 0
        await_end_in(room)
