"""Starts an MPI job by mpirun, and ends as the program does, which is the job's rank 0.

mpirun's own exit status says nothing about the program where a job goes on without a rank: it is 0
then. So the process that starts mpirun stays, and rank 0 tells it how the program has ended; see
mpi_rank.py, which is between mpirun and the program.

Signals that this process gets are the program's: they go to rank 0, and from there to the program,
since mpirun would answer Ctrl-C by SIGTERM to all. So mpirun, which a terminal sends SIGINT as
well, does not get that. Before the program has begun, a signal ends mpirun.

When the program has ended, mpirun has MERCY seconds for its own end; then it gets SIGTERM, and at
last SIGKILL. If mpirun ends first, the program is ended with it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from time import monotonic

from .mpi_rank import MERCY, NUMBER, STARTER, wake_up_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["run"]

SOON = 1.0  # seconds for which what a killed program has printed may be on its way
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def run(mpirun: list[str], command: list[str]) -> NoReturn:
    """Run a command in the ranks that mpirun starts, and end as the command does in rank 0."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        name = f"mproc-mpi-{os.urandom(16).hex()}"
        listener.bind(f"\0{name}")
        listener.listen()
        os.environ[STARTER] = f"{socket.gethostname()}:{name}"
        rank = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mpi_rank.py")
        words = [*mpirun, sys.executable, "-I", "-S", rank, *command]
        ending = _Job(words, listener).follow()
    _end_by(ending)


class _Job:
    """A job that was started, and what is known of its end."""

    def __init__(self, words: list[str], listener: socket.socket) -> None:
        heeded = [n for n in _PASSED_ON if signal.getsignal(n) is not signal.SIG_IGN]
        self._wakeups = wake_up_by(signal.SIGCHLD, *heeded)
        self._listener: socket.socket | None = listener
        self._rank: socket.socket | None = None
        self._signal = 0  # the last one that has ended mpirun, since nobody else was there
        self._ending: int | None = None  # the program's exit code
        self._orders: list[tuple[float, int]] = []  # signals for mpirun, and when
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self._mpirun = subprocess.Popen(words)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def follow(self) -> int:
        """Wait for the job's end, and return the program's exit code, negative for a signal."""
        while self._mpirun.poll() is None:
            self._step(self._next_order())
        while self._step(0):
            pass  # rank 0 has said it before
        if self._ending is None and self._rank is not None:
            self._part()
        if self._signal:
            return -self._signal
        return self._mpirun.returncode if self._ending is None else self._ending

    def _next_order(self) -> float | None:
        """Give mpirun the signals that are due; return the seconds until the next one."""
        while self._orders and self._orders[0][0] <= monotonic():
            self._mpirun.send_signal(self._orders.pop(0)[1])
        return max(self._orders[0][0] - monotonic(), 0.0) if self._orders else None

    def _end_mpirun(self, seconds: float) -> None:
        now = monotonic() + seconds
        self._orders = [(now, signal.SIGTERM), (now + MERCY, signal.SIGKILL)]

    def _step(self, seconds: float | None) -> bool:
        """Wait so long for news, and act on it; return whether there was any."""
        sources = [one for one in (self._wakeups, self._listener, self._rank) if one is not None]
        ready, _, _ = select.select(sources, [], [], seconds)
        if self._listener in ready:
            self._welcome()
        if self._rank in ready:
            self._hear()
        if self._wakeups in ready:
            for number in self._wakeups.recv(4096):
                if number != signal.SIGCHLD:
                    self._pass_on(number)
        return bool(ready)

    def _welcome(self) -> None:
        """Take the connection of rank 0, which is of the same user."""
        assert self._listener is not None
        rank, _ = self._listener.accept()
        peer = rank.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", peer)[1] != os.geteuid():
            rank.close()
            return
        self._rank, self._listener = rank, None

    def _hear(self) -> None:
        """Learn how the program has ended; or that rank 0 was killed, and cannot say it."""
        assert self._rank is not None
        message = b""
        with contextlib.suppress(ConnectionError):
            message = self._rank.recv(NUMBER.size)
        if message:
            self._ending = NUMBER.unpack(message)[0]
        elif self._ending is None:
            self._ending = -signal.SIGKILL
        self._rank.close()
        self._rank = None
        self._end_mpirun(SOON if self._ending < 0 else MERCY)

    def _pass_on(self, number: int) -> None:
        with contextlib.suppress(ConnectionError):
            if self._rank is not None:
                self._rank.send(NUMBER.pack(number))
                return
        if self._ending is None:
            self._signal = number
            self._end_mpirun(0)

    def _part(self) -> None:
        """Have the program end that has lost mpirun; it may have ended by itself."""
        assert self._rank is not None
        self._rank.shutdown(socket.SHUT_WR)
        if select.select([self._rank], [], [], MERCY)[0]:
            with contextlib.suppress(ConnectionError):
                if message := self._rank.recv(NUMBER.size):
                    self._ending = NUMBER.unpack(message)[0]


def _end_by(ending: int) -> NoReturn:
    """End with an exit status, or by a signal, as another process did."""
    if ending >= 0:
        sys.exit(ending)
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):  # SIGKILL has no action that could be set
        signal.signal(-ending, signal.SIG_DFL)
    os.kill(os.getpid(), -ending)
    sys.exit(128 - ending)
