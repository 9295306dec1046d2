# mypy: disable-error-code="import-not-found,import-untyped,no-any-return,unused-ignore"
"""The engine "mpi": the ranks of an MPI job. Rank 0 is the program, each other one is a node.

`python -m mproc --engine mpi --workers 2 script.py` starts mpirun; under mpirun or srun the same
command, or a set_engine("mpi") in the program, has the other ranks serve and never return.

How it works. In each rank one thread does all that concerns MPI, since not every MPI lets two. It
looks for messages, and sleeps for a moment when there is none: a rank that waits in MPI itself uses
a whole core. A message is a number and the bytes of a request or an answer; an empty one is a sign
of life.

MPI itself does not say that a rank is lost; it ends the job, or lets the others wait. A rank that
gives no sign of life for SILENCE seconds is lost, and its tasks are. MPI_Finalize() would wait for
it. So where a job goes on without a rank, nobody waits longer than SILENCE seconds for that, and
rank 0 does without it if it knows of a loss: the job is ended by whoever has started mpirun here
(mpirun.py), and by rank 0 if others have. Elsewhere a job with a loss ends by MPI_Abort(), which
in the former case ends only who calls it.
"""

from __future__ import annotations

import atexit
import os
import socket
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from . import missing
from .cluster import Cluster, NodeInfo
from .errors import EngineError
from .mpi_rank import MERCY, PROGRAM, RANKS, end_mpirun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["MPICluster", "connect", "enter"]

LIMIT = (1 << 31) - (1 << 20)  # bytes that fit into a message, whose length is an int
LANES = 2
NUMBER = 8  # bytes of a message's number
STOP = b"stop"
SIGN = 1.0  # seconds between two signs of life
SILENCE = 20.0  # seconds without one, after which a node is lost
LONG_SILENCE = 60.0  # the same for rank 0, whose program may keep the interpreter's lock
START = 120.0  # seconds that all ranks have for their start, where MPI waits for a lost one
IDLE = (0.00005, 0.001)  # seconds of a nap between two looks for messages: the first, the longest

RECOVERY = "OMPI_MCA_orte_enable_recovery"

# For Open MPI, if mpirun is started here: there may be more ranks than cores; the agent of a rank
# may use every core; a rank that is lost does not end the job, since this module sees to that.
_MCA = {
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    RECOVERY: "1",
}


def _goes_on() -> bool:
    """Return whether mpirun lets the job go on without a rank that is lost."""
    return os.environ.get(RECOVERY, "").strip().lower() in ("1", "true", "yes", "enabled", "t", "y")


def _mpi() -> Any:
    try:
        import mpi4py

        if _goes_on():
            mpi4py.rc.finalize = False
        from mpi4py import MPI
    except ImportError as error:
        raise missing("mpi", "mpi4py", error) from None
    except RuntimeError as error:
        raise EngineError(f"mpi4py finds no library of MPI ({error})") from None
    return MPI


# ---- messages


class _Mail:
    """A rank's messages: the thread that calls run() sends and receives."""

    def __init__(self, mpi: Any, receive: Callable[[int, bytes], None], others: list[int]) -> None:
        self._mpi = mpi
        self._comm = mpi.COMM_WORLD
        self._receive = receive
        self._others = others
        self._outgoing: deque[tuple[int, bytes]] = deque()
        self._under_way: list[tuple[Any, bytes]] = []
        self._over = False
        self._signed = 0.0
        self.heard = dict.fromkeys(others, time.monotonic())

    def send(self, rank: int, message: bytes) -> None:
        """Have a message sent, from any thread."""
        self._outgoing.append((rank, message))

    def stop(self) -> None:
        """End run() when all is sent."""
        self._over = True

    def run(self) -> None:
        """Send and receive until stop()."""
        nap = IDLE[0]
        while not self._over or self._outgoing or self._under_way:
            if self._step():
                nap = IDLE[0]
            else:
                time.sleep(nap)
                nap = min(2 * nap, IDLE[1])

    def _step(self) -> bool:
        now = time.monotonic()
        if now - self._signed > SIGN and not self._over:
            self._signed = now
            for rank in self._others:
                self._outgoing.append((rank, b""))
        busy = bool(self._outgoing)
        while self._outgoing:
            self._send_one(*self._outgoing.popleft())
        self._under_way = [one for one in self._under_way if not one[0].Test()]
        return self._receive_all(now) or busy

    def _send_one(self, rank: int, message: bytes) -> None:
        request = self._comm.Isend([message, self._mpi.BYTE], rank)
        self._under_way.append((request, message))

    def _receive_all(self, now: float) -> bool:
        status = self._mpi.Status()
        found = False
        while self._comm.Iprobe(status=status):
            found = True
            rank = status.Get_source()
            message = bytearray(status.Get_count(self._mpi.BYTE))
            self._comm.Recv([message, self._mpi.BYTE], rank, status.Get_tag())
            self.heard[rank] = now
            if message:
                self._receive(rank, bytes(message))
        return found


# ---- rank 0


class MPICluster(Cluster):
    """The other ranks of this job."""

    name = "mpi"
    limit = LIMIT
    ahead = 0.05

    def __init__(self, mpi: Any, infos: dict[int, NodeInfo]) -> None:
        self._mpi = mpi
        self._infos = infos
        self._futures: dict[bytes, Future[bytes]] = {}
        self._number = 0
        self._lock = threading.RLock()  # a finalizer may run a call under it
        self._mail = _Mail(mpi, self._take, list(infos))
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="mproc-mpi", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._mail.run()
        if _goes_on() and not _lost:
            self._mpi.Finalize()

    def nodes(self) -> Mapping[int, NodeInfo]:
        """Return the ranks that have given a sign of life."""
        now = time.monotonic()
        with self._lock:
            for rank in [r for r in self._infos if now - self._mail.heard[r] > SILENCE]:
                del self._infos[rank]
                _lost.add(rank)
            infos = self._infos.copy()  # each pool has a thread that goes over them
        if not infos:
            raise EngineError(f"all ranks of MPI are lost: no sign of life for {SILENCE:g} s")
        return infos

    def call(self, key: int, message: bytes) -> Future[bytes]:
        """Send an exchange to a rank."""
        future: Future[bytes] = Future()
        with self._lock:
            self._number += 1
            number = self._number.to_bytes(NUMBER, "little")
            self._futures[number] = future
        self._mail.send(key, number + message)
        return future

    def _take(self, rank: int, message: bytes) -> None:
        with self._lock:
            future = self._futures.pop(message[:NUMBER], None)
        if future is not None:
            how, value = message[NUMBER : NUMBER + 1], message[NUMBER + 1 :]
            if how == b"+":
                future.set_result(value)
            else:
                future.set_exception(EngineError(value.decode()))

    def home(self) -> str:
        """Return an address of this machine; that of itself, where all ranks are here."""
        mine = socket.gethostname()
        if all(info.host == mine for info in [*self._infos.values()]):
            return "127.0.0.1"
        return socket.gethostbyname(mine)

    def close(self) -> None:
        """Let the other ranks end."""
        if self._closed:
            return
        self._closed = True
        for rank in [*self._infos]:
            self._mail.send(rank, STOP)
        self._mail.stop()
        self._thread.join(SILENCE)
        if (_lost or self._thread.is_alive()) and not _is_told_of:
            sys.stdout.flush()
            sys.stderr.flush()
            _end_job(self._mpi)


def _end_job(mpi: Any) -> None:
    """End the job without MPI's own end, and this process, which is rank 0."""
    mpirun = os.getppid()
    with open(f"/proc/{mpirun}/comm") as file:
        name = file.read().strip()
    if _goes_on() and name in ("mpirun", "mpiexec", "orterun"):
        end_mpirun(mpirun)  # which ends this process, too
        time.sleep(2 * MERCY)
    mpi.COMM_WORLD.Abort(1)


_lost: set[int] = set()  # ranks for which the end of MPI would wait for ever


# ---- the other ranks


def _serve(mpi: Any) -> None:
    """Do what rank 0 asks for, until it is done or lost."""
    from .node import exchange

    workers = ThreadPoolExecutor(LANES + 2)

    def answer(rank: int, number: bytes, message: bytes) -> None:
        try:
            mail.send(rank, number + b"+" + exchange(message))
        except BaseException as error:
            mail.send(rank, number + b"-" + f"{type(error).__name__}: {error}".encode())

    def receive(rank: int, message: bytes) -> None:
        if message == STOP:
            mail.stop()
        else:
            workers.submit(answer, rank, message[:NUMBER], message[NUMBER:])

    mail = _Mail(mpi, receive, [0])
    threading.Thread(target=_watch, args=(mail,), daemon=True).start()
    mail.run()
    if _goes_on():
        threading.Thread(target=_end_late, daemon=True).start()
        mpi.Finalize()


def _end_late() -> None:
    """End this process if MPI's end waits for a rank that is lost."""
    time.sleep(SILENCE)
    os._exit(1)


def _watch(mail: _Mail) -> None:
    """End this process if rank 0 is lost."""
    while time.monotonic() - mail.heard[0] < LONG_SILENCE:
        time.sleep(SIGN)
    os._exit(1)


# ---- the beginning


def enter(command: list[str], workers: int | None) -> None:
    """Start the job, if mpirun has not; or join it, which the ranks that serve do not survive.

    Whoever starts it does not return either, but ends as rank 0 does.
    """
    global _is_told_of
    _mpi_is_there()
    if any(name in os.environ for name in RANKS):
        _is_told_of = os.environ.pop(PROGRAM, None) is not None
        connect(None, workers)
        return
    import shutil

    from .mpirun import run

    mpirun = shutil.which("mpirun") or shutil.which("mpiexec")
    if mpirun is None:
        raise ImportError('the engine "mpi" needs an MPI, and there is no mpirun on PATH')
    number = (workers or 1) + 1
    os.environ.update({name: os.environ.get(name, value) for name, value in _MCA.items()})
    run([mpirun, "-n", str(number)], [sys.executable, *command[1:]])


_is_told_of = False  # whoever has started mpirun will hear how this process ends


def _mpi_is_there() -> None:
    import importlib.util

    if importlib.util.find_spec("mpi4py") is None:
        raise missing("mpi", "mpi4py", ModuleNotFoundError(name="mpi4py"))


_joined: MPICluster | None = None


def connect(address: str | None, workers: int | None) -> MPICluster:
    """Join the job: return the engine in rank 0; another rank serves, and exits.

    EngineError: there is no other rank.
    """
    global _joined
    if _joined is not None:
        return _joined
    begun = threading.Event()
    if _goes_on():
        threading.Thread(target=_give_up, args=(begun,), daemon=True).start()
    mpi = _mpi()
    comm = mpi.COMM_WORLD
    if comm.Get_size() < 2:
        raise EngineError(
            "this MPI job has one process and needs two: start the program by"
            " `python -m mproc --engine mpi --workers N script.py`, or by mpirun with -n N+1"
        )
    homes = comm.allgather(_home())
    begun.set()
    if comm.Get_rank() != 0:
        _serve(mpi)
        raise SystemExit
    _joined = MPICluster(mpi, _infos(homes))
    atexit.register(_joined.close)
    return _joined


def _give_up(begun: threading.Event) -> None:
    """End this process if not all ranks are there in time."""
    if not begun.wait(START):
        sys.stderr.write(f"mproc: not all ranks of this MPI job have begun within {START:g} s\n")
        sys.stderr.flush()
        os._exit(1)


def _home() -> tuple[str, int, int]:
    """Return this rank's host, that one's CPUs, and how many of them it may use."""
    return socket.gethostname(), os.cpu_count() or 1, len(os.sched_getaffinity(0))


def _infos(homes: list[tuple[str, int, int]]) -> dict[int, NodeInfo]:
    infos = {}
    for rank, (host, cpus, mine) in enumerate(homes[1:], 1):
        sharing = sum(other[0] == host for other in homes[1:]) if mine == cpus else 1
        infos[rank] = NodeInfo(host, max(1, mine // sharing), LANES)
    return infos
