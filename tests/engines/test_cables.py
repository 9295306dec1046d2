"""Hosts that are cut off, processes that are stopped or killed: everything ends, and in time.

The hosts are network namespaces (hosts.py). What docs/engines.md promises is asked for here, with
SPARE seconds more, since this machine may have other work.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import hosts
import pytest
from family import await_end_of, descendants

HERE = Path(__file__).resolve().parent
SPARE = 25
LOST = 30  # seconds in which an engine or a node of it is known to be lost
SILENT = 20  # the same for a rank of MPI
CALLS, NAP = 60, 0.2
START = 120
ROOTS = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
PROGRAM = [sys.executable, "-m", "mproc", "--engine"]


def need(package, program=None):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    if program is not None and shutil.which(program) is None:
        pytest.skip(f"no {program} is installed")


def script(retries="-"):
    return [HERE / "cables.py", CALLS, NAP, retries]


def say_go(process):
    """Let the program go on, and return what it tells, and how long it took to its end."""
    began = time.monotonic()
    process.stdin.write("\n")
    process.stdin.flush()
    line = process.stdout.readline()
    process.wait(LOST + SPARE)
    took = time.monotonic() - began
    assert line, f"the program has ended with {process.returncode}"
    return json.loads(line), took


def agents_of(process, number=2):
    """Return the agents, and the processes that have started them, when all is under way."""
    line = process.stdout.readline()
    assert line, f"the program has ended with {process.wait()}"
    agents = {int(agent): parent for agent, parent in json.loads(line).items()}
    assert len(agents) == number
    return agents


# ---- Dask


@contextlib.contextmanager
def dask_on(net, *workers):
    """Have a scheduler on the host "head", and workers on others."""
    need("distributed")
    python = [sys.executable, "-m"]
    address = net.addresses["head"]
    with contextlib.ExitStack() as stack:
        scheduler = [*python, "distributed.cli.dask_scheduler", "--no-dashboard", "--host", address]
        stack.enter_context(hosts.running(net.on("head", *scheduler)))
        for name in workers:
            worker = [*python, "distributed.cli.dask_worker", f"tcp://{address}:8786", "--no-nanny"]
            how = ["--nthreads", 1, "--no-dashboard", "--host", net.addresses[name]]
            stack.enter_context(hosts.running(net.on(name, *worker, *how)))
        await_nodes(net, WAIT_FOR_DASK, f"tcp://{address}:8786", len(workers))
        yield [*PROGRAM, "dask", "--address", f"tcp://{address}:8786"]


WAIT_FOR_DASK = """
import sys, time
from distributed import Client
for _ in range(100):
    try:
        client = Client(sys.argv[1], timeout=2)
        break
    except OSError:
        time.sleep(0.2)
client.wait_for_workers(int(sys.argv[2]), timeout=100)
"""


def await_nodes(net, program, address, number, **how):
    command = [sys.executable, "-c", program, address, number]
    with hosts.running(net.on("head", *command), **how) as waiting:
        assert waiting.wait(START) == 0


def test_dask_worker_cut_off():
    with (
        hosts.laid("head", "mine", "one", "two") as net,
        dask_on(net, "one", "two") as on_dask,
        hosts.running(net.on("mine", *on_dask, *script())) as program,
    ):
        agents_of(program)
        net.cut("two")
        told, took = say_go(program)
    assert told["ends"] == {"done": CALLS}
    assert took < LOST + CALLS * NAP + SPARE


def test_lock_whose_holder_is_cut_off():
    """Whoever waits for a lock of the program is told, and the lock is free then."""
    with (
        hosts.laid("head", "mine", "one", "two") as net,
        dask_on(net, "one", "two") as on_dask,
        hosts.running(net.on("mine", *on_dask, HERE / "holder.py")) as program,
    ):
        net.cut(json.loads(program.stdout.readline()))
        told, _ = say_go(program)
    assert told["ends"] == ["OwnerDiedError", "mine", "WorkerLostError"]
    assert told["seconds"] < LOST + SPARE


def test_dask_worker_stopped_and_no_retry():
    with (
        hosts.laid("head", "mine", "one", "two") as net,
        dask_on(net, "one", "two") as on_dask,
        hosts.running(net.on("mine", *on_dask, *script(0))) as program,
    ):
        os.kill(min(agents_of(program).values()), signal.SIGSTOP)
        told, took = say_go(program)
    assert set(told["ends"]) == {"done", "WorkerLostError"}
    assert took < LOST + CALLS * NAP + SPARE


@pytest.mark.parametrize("what", ["killed", "stopped", "cut off"])
def test_dask_scheduler(what):
    with (
        hosts.laid("head", "mine", "one") as net,
        dask_on(net, "one") as on_dask,
        hosts.running(net.on("mine", *on_dask, *script())) as program,
    ):
        agents_of(program, 1)
        if what == "cut off":
            net.cut("head")
        for pid in net.pids("head") if what != "cut off" else []:
            os.kill(pid, signal.SIGKILL if what == "killed" else signal.SIGSTOP)
        told, took = say_go(program)
    assert set(told["ends"]) <= {"done", "EngineError"}
    assert "EngineError" in told["ends"]
    assert took < (1 if what == "killed" else LOST) + SPARE


# ---- Ray


RAY = ["--num-cpus", "1", "--disable-usage-stats"]


@contextlib.contextmanager
def ray_on(net, *nodes):
    """Have a head node on the host "head", and nodes on others."""
    need("ray")
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *RAY]
    slowly = {"RAY_raylet_start_wait_time_s": "120"}  # a busy machine takes long
    open_to_all = {**os.environ, **slowly, "RAY_AUTH_MODE": "disabled"}
    room = f"/tmp/mproc-ray-{os.getpid()}"  # a socket's path is short
    head = net.addresses["head"]
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, room, True)
        first = [*start, "--head", "--include-dashboard", "false", "--temp-dir", room]
        first += ["--node-ip-address", head, "--port", 6379]
        stack.enter_context(
            hosts.running(net.on("head", *first), stdout=sys.stderr, env=open_to_all)
        )
        for name in nodes:
            other = [*start, "--address", f"{head}:6379"]
            other += ["--node-ip-address", net.addresses[name]]
            stack.enter_context(
                hosts.running(net.on(name, *other), stdout=sys.stderr, env=open_to_all)
            )
        await_nodes(net, WAIT_FOR_RAY, f"{head}:6379", 1 + len(nodes), env=open_to_all)
        yield ["env", "RAY_AUTH_MODE=disabled", *PROGRAM, "ray", "--address", f"{head}:6379"]


WAIT_FOR_RAY = """
import sys, time, ray
for _ in range(100):
    try:
        ray.init(address=sys.argv[1], logging_level="error")
        break
    except ConnectionError:
        time.sleep(0.2)
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]):
    time.sleep(0.2)
"""


def test_ray_node_cut_off():
    with (
        hosts.laid("head", "one") as net,
        ray_on(net, "one") as on_ray,
        hosts.running(net.on("head", *on_ray, *script())) as program,
    ):
        agents_of(program)
        net.cut("one")
        told, took = say_go(program)
    assert told["ends"] == {"done": CALLS}
    assert took < LOST + CALLS * NAP + SPARE


def test_ray_worker_stopped_and_no_retry():
    need("ray")
    with hosts.running([*PROGRAM, "ray", "--workers", 2, *script(0)]) as program:
        victim = min(agents_of(program).values())
        os.kill(victim, signal.SIGSTOP)
        told, took = say_go(program)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    assert set(told["ends"]) == {"done", "WorkerLostError"}
    assert took < LOST + CALLS * NAP + SPARE


def test_ray_head_killed():
    """The calls take longer than it takes until the head is known to be lost."""
    need("ray")
    long = [HERE / "cables.py", 2 * LOST, 2, "-"]
    with hosts.running([*PROGRAM, "ray", "--workers", 2, *long]) as program:
        agents_of(program)
        os.kill(child_named("gcs_server", program.pid), signal.SIGKILL)
        told, took = say_go(program)
    assert set(told["ends"]) <= {"done", "EngineError"}
    assert "EngineError" in told["ends"]
    assert told["seconds"] < LOST + SPARE
    assert took < LOST + SPARE


def child_named(name, parent):
    """Return the pid of a child; the kernel keeps 15 bytes of a name."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            before, after = path.read_text().rsplit(")", 1)
            if before.split("(", 1)[1] == name[:15] and int(after.split()[1]) == parent:
                return int(before.split()[0])
    pytest.fail(f"no child of {parent} is named {name}")


def test_program_killed_that_has_started_ray():
    """Ray's servers, its agents and the pool's agents end at once, not after Ray's own minute."""
    need("ray")
    with hosts.running([*PROGRAM, "ray", "--workers", 2, *script()]) as program:
        agents_of(program)
        started = descendants(program.pid)
        assert len(started) > 6
        program.kill()
        await_end_of(started, SPARE)


@pytest.mark.parametrize("after", [1, 2, 3, 5])
def test_program_killed_while_it_starts_ray(after):
    need("ray")
    started = set()
    with hosts.running([*PROGRAM, "ray", "--workers", 2, *script()]) as program:
        end = time.monotonic() + after
        while time.monotonic() < end:
            started.update(descendants(program.pid))
            time.sleep(0.02)
        program.kill()
        await_end_of(started, SPARE)


# ---- MPI


C_TESTS = HERE.parents[1] / "build/engines/tests/c/test_engine"
PLUGIN = HERE.parents[1] / "build/engines/src/mpi"


def mpirun_on(net, tmp_path, *nodes):
    """Return the command that starts a program on a host, with ranks on others."""
    names = tmp_path / "hosts"
    names.write_text("".join(f"{net.addresses[name]} slots=1\n" for name in nodes))
    remote = net.remote_shell(tmp_path / "remote")
    how = ["--hostfile", names, "--mca", "plm_rsh_agent", remote, "--mca", "btl", "tcp,self"]
    how += ["--mca", "btl_tcp_if_include", "eth0", "--mca", "oob_tcp_if_include", "eth0"]
    how += ["--mca", "orte_enable_recovery", "1", "--bind-to", "none", "-n", len(nodes)]
    return net.on(nodes[0], "mpirun", *how)


def test_mpi_node_cut_off(tmp_path):
    need("mpi4py", "mpirun")
    with hosts.laid("mine", "one", "two") as net:
        mpirun = mpirun_on(net, tmp_path, "mine", "one", "two")
        command = [*mpirun, *PROGRAM, "mpi", *script()]
        with hosts.running(command, env={**os.environ, **ROOTS}) as program:
            agents_of(program)
            net.cut("two")
            told, took = say_go(program)
    assert set(told["ends"]) == {"done", "WorkerLostError"}
    assert took < SILENT + CALLS * NAP + SPARE


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_mpi_rank(how):
    need("mpi4py", "mpirun")
    command = [*PROGRAM, "mpi", "--workers", 2, *script()]
    with hosts.running(command, env={**os.environ, **ROOTS}) as program:
        victim = min(agents_of(program).values())
        os.kill(victim, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        told, took = say_go(program)
    assert set(told["ends"]) == {"done", "WorkerLostError"}
    assert took < SILENT + CALLS * NAP + SPARE


def test_mpirun_killed():
    """What MPI has instead of a scheduler: the program ends with it, and its workers."""
    need("mpi4py", "mpirun")
    command = [*PROGRAM, "mpi", "--workers", 2, *script()]
    with hosts.running(command, env={**os.environ, **ROOTS}) as program:
        agents = agents_of(program)
        os.kill(child_named("mpirun", program.pid), signal.SIGKILL)
        await_end_of([program.pid, *agents, *agents.values()], SILENT + SPARE)


@pytest.mark.parametrize("how", ["cut off", "stopped", "killed"])
def test_c_program_with_a_node(how, tmp_path):
    if shutil.which("mpirun") is None:
        pytest.skip("no mpirun is installed")
    if not C_TESTS.exists():
        pytest.skip("build/engines is not built: scripts/engines.sh")
    test = "engine_loses_a_rank_by_another_hand"
    victim = tmp_path / "victim"
    mine = {"MPROC_TEST_ENGINE": "mpi", "MPROC_TEST_VICTIM": str(victim)}
    environment = {**os.environ, **ROOTS, **mine, "LD_LIBRARY_PATH": str(PLUGIN)}
    with hosts.laid("mine", "one") as net:
        command = [*mpirun_on(net, tmp_path, "mine", "one"), C_TESTS, test]
        with hosts.running(command, env=environment) as program:
            pid = pid_in(victim)
            if how == "cut off":
                net.cut("one")
            else:
                os.kill(pid, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
            assert f"ok 1 - {test}" in lines_until(program, "ok 1")
            if how == "stopped":
                os.kill(pid, signal.SIGKILL)
            if how != "cut off":  # there mpirun waits for its own daemon
                await_end_of([program.pid], SILENT + SPARE)


def pid_in(path):
    end = time.monotonic() + START
    while not path.exists() or not path.read_text().endswith("\n"):
        assert time.monotonic() < end, f"nobody has written {path}"
        time.sleep(0.05)
    return int(path.read_text())


def lines_until(process, text):
    lines = ""
    for line in process.stdout:
        lines += line
        if text in line:
            break
    return lines
