"""A rank of an MPI job that mproc has started; run by path, without the rest of the package.

usage: mpi_rank.py PROGRAM ARGUMENT…

mpirun starts this in each rank. It becomes the program, but in rank 0: there it starts the program
as its child, and tells the starter (mpirun.py) how the child has ended, which mpirun does not tell
where a job goes on without a rank. They talk by a socket with an abstract name, a message a number:
the starter sends signals for the child, and is sent the child's exit code, negative for a signal.

If the starter dies, the socket closes: this kills the child, and ends mpirun. If this dies, the
starter ends the job, and MPI the child with it. A starter on another machine is told nothing.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["MERCY", "NUMBER", "PROGRAM", "RANKS", "STARTER", "end_mpirun", "wake_up_by"]

STARTER = "MPROC_MPI_STARTER"  # host name and name of the starter's socket
PROGRAM = "MPROC_MPI_PROGRAM"  # set for a child whose exit code is told to a starter
RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")
NUMBER = struct.Struct("i")
MERCY = 5  # seconds that mpirun has for its end

# Those of a rank that mpirun sends to the whole group, of which the child is.
_CHILDS_OWN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)  # by an interpreter, and its program is not to

_KILL_LATER = """
for second in $(seq "$1"); do sleep 1; kill -0 "$0" 2>/dev/null || exit 0; done
kill -KILL "$0"
"""


def end_mpirun(pid: int) -> None:
    """End mpirun, and so the job with all its ranks.

    mpirun itself waits for a host that is cut off: it is killed, if it has not ended after a while.
    """
    import subprocess

    words = ["sh", "-c", _KILL_LATER, str(pid), str(MERCY)]
    subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    os.kill(pid, signal.SIGTERM)


def wake_up_by(*numbers: int) -> socket.socket:
    """Have these signals do nothing, but for their numbers, which can be read from a socket."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, _do_nothing)
    return reader


def _do_nothing(number: int, frame: object) -> None:
    pass


def _main(command: list[str]) -> NoReturn:
    host, _, name = os.environ.pop(STARTER, "").partition(":")
    rank = next((os.environ[name] for name in RANKS if name in os.environ), "")
    if rank != "0" or host != socket.gethostname():
        os.execv(command[0], command)
    mpirun = os.getppid()
    starter = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        starter.connect(f"\0{name}")
    except OSError:
        _end_job(mpirun)
    os.environ[PROGRAM] = "1"
    wakeups = wake_up_by(signal.SIGCHLD, *_CHILDS_OWN)
    child = os.posix_spawn(command[0], command, os.environ, setsigdef=_IGNORED)
    sys.exit(_follow(child, starter, wakeups, mpirun))


def _follow(child: int, starter: socket.socket, wakeups: socket.socket, mpirun: int) -> int:
    """Wait for the child's end, tell the starter, and return an exit status."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return _tell(starter, os.waitstatus_to_exitcode(status), mpirun)
        ready, _, _ = select.select([wakeups, starter], [], [])
        if wakeups in ready:
            wakeups.recv(4096)
        if starter in ready:
            number = _number_from(starter)
            os.kill(child, number or signal.SIGKILL)
            if not number:
                _end_job(mpirun)


def _tell(starter: socket.socket, ending: int, mpirun: int) -> int:
    try:
        starter.send(NUMBER.pack(ending))
    except ConnectionError:
        _end_job(mpirun)
    return 0


def _number_from(starter: socket.socket) -> int:
    """Return the signal that the starter has sent; 0: it has gone."""
    try:
        message = starter.recv(NUMBER.size)
    except ConnectionError:
        return 0
    return int(NUMBER.unpack(message)[0]) if message else 0


def _end_job(mpirun: int) -> NoReturn:
    """End what has lost its starter."""
    if os.getppid() == mpirun:
        end_mpirun(mpirun)
    sys.exit(1)


if __name__ == "__main__":
    _main(sys.argv[1:])
