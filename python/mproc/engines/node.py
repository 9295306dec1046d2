"""A node's side: what runs in an engine's worker process.

`exchange()` takes tasks for a pool and returns results of tasks, whichever are done. The tasks are
carried out by an agent, a process of its own with a pool of mproc, so that what a task does to its
process does no harm to the engine's worker. Tasks and results pass through as bytes: only the
processes of the pool need the program's modules.

How it works. An exchange that brings tasks hands them to the agent; a thread takes what the agent
sends back into the box of the session. An exchange then waits until there is something in the box,
for as long as its caller says; another exchange of the session that comes meanwhile sends it home.
So there is always one that waits, and what it brings back is all that was done in between.

Shared state. _sessions, under _lock: a session for each pool that uses this node. A session's
fields, under its _news.

If the agent dies: its tasks are reported as lost, and the next tasks start another one. If the
engine's worker dies, the agent finds its socket closed and ends. If the pool's owner is gone, no
exchange comes for LEASE seconds, and the session ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from .. import _mproc
from .._mproc import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["exchange", "versions"]

LEASE = 120.0  # seconds without any exchange, after which a session ends
DONE, RAISED, DIED = range(3)  # what a result is: see agent.py
BEGUN, UNKNOWN, UNFIT = range(3)  # how an exchange begins


def versions() -> tuple[str, str]:
    """Return what owner and node must have in common."""
    return _mproc.version, ".".join(map(str, sys.version_info[:2]))


def exchange(message: bytes) -> bytes:
    """Give tasks to a session's agent, and return the results that are there.

    The message: (session, versions, what the agent is to be told or None, tasks, seconds, end). The
    answer: (how, what, host, pid, results, open), where how is BEGUN, UNKNOWN: the session has to
    be told first, or UNFIT: what says why, and the result may be an exception.
    """
    name, theirs, told, tasks, seconds, end = _mproc.loads(message)
    if tuple(theirs) != versions():
        return _answer(UNFIT, _mismatch(theirs))
    session = _session(name, told)
    if session is None:
        return _answer(UNKNOWN, "")
    if end:
        _end(name, session)
        return _answer(BEGUN, "")
    results, still_open = session.exchange(tasks, seconds)
    if session.unfit is not None:
        what, error = session.unfit
        return _answer(UNFIT, what, [] if error is None else [error])
    return _answer(BEGUN, "", results, still_open)


def _answer(how: int, what: str, results: Any = (), still_open: int = 0) -> bytes:
    return _mproc.dumps((how, what, socket.gethostname(), os.getpid(), list(results), still_open))


def _mismatch(theirs: Any) -> str:
    mine = versions()
    return (
        f"the program has mproc {theirs[0]} on Python {theirs[1]}, and the worker on"
        f" {socket.gethostname()} has mproc {mine[0]} on Python {mine[1]}: install the same there"
    )


class _Session:
    """A pool's agent at this node, and what is under way there."""

    def __init__(self, told: bytes) -> None:
        self._told = told
        self._news = threading.Condition()
        self._open: set[int] = set()
        self._box: list[Any] = []
        self._agent: _Agent | None = None
        self._visits = 0
        self.unfit: tuple[str, bytes | None] | None = None  # why there can be no pool here
        self.last = time.monotonic()
        self.visitors = 0

    def exchange(self, tasks: list[Any], seconds: float) -> tuple[list[Any], int]:
        """Hand tasks to the agent; return results, and how many tasks are open."""
        with self._news:
            self.visitors += 1
            self._visits = visit = self._visits + 1
            self._news.notify_all()
            try:
                if tasks and self.unfit is None:
                    self._give(tasks)
                self._news.wait_for(lambda: self._is_worth_leaving(visit), seconds)
                results, self._box = self._box, []
                return results, len(self._open)
            finally:
                self.visitors -= 1
                self.last = time.monotonic()

    def _is_worth_leaving(self, visit: int) -> bool:
        return bool(self._box) or visit != self._visits or not self._open

    def _give(self, tasks: list[Any]) -> None:
        if self._agent is None:
            self._agent = _Agent(self._told, self)
        self._open.update(task[0] for task in tasks)
        self._agent.send(tasks)

    def take(self, results: list[Any]) -> None:
        """Take results that an agent has sent."""
        with self._news:
            self._open.difference_update(result[0] for result in results)
            self._box += results
            self._news.notify_all()

    def lose(self, agent: _Agent, why: str) -> None:
        """Report the tasks of an agent that has ended."""
        with self._news:
            if agent is not self._agent:
                return
            self._agent = None
            self._box += [
                (number, DIED, (agent.pid, agent.exitcode(), why)) for number in self._open
            ]
            self._open.clear()
            self._news.notify_all()

    def give_up(self, why: tuple[str, bytes | None]) -> None:
        """End the agent because its pool's workers cannot begin."""
        self.unfit = why
        self.end()

    def end(self) -> None:
        """End the agent; nobody wants results any more."""
        with self._news:
            agent, self._agent = self._agent, None
            self._open.clear()
            self._news.notify_all()
        if agent is not None:
            agent.end()


class _Agent:
    """The process with a node's pool, and the thread that listens to it."""

    def __init__(self, told: bytes, session: _Session) -> None:
        from .tether import command

        mine, its = socket.socketpair()
        self._room = tempfile.mkdtemp(prefix="mproc-")
        with its:
            self._process = subprocess.Popen(
                command("mproc.engines.agent", str(its.fileno()), self._room),
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a signal to the worker's group is not for the tasks
            )
        self.pid = self._process.pid
        self._connection = Connection(mine.detach())
        self._connection.send_bytes(told)
        self._session = session
        threading.Thread(target=self._listen, name="mproc-node", daemon=True).start()

    def send(self, tasks: list[Any]) -> None:
        """Send tasks. If the agent has ended, the thread that listens notices."""
        try:
            self._connection.send_bytes(_mproc.dumps(tasks))
        except OSError:
            return

    def _listen(self) -> None:
        why = "its agent has ended"
        try:
            while (results := _mproc.loads(self._connection.recv_bytes())) is not None:
                if isinstance(results, str):
                    why = results
                elif isinstance(results, tuple):
                    self._session.give_up(results)
                else:
                    self._session.take(results)
        except (EOFError, OSError):
            pass
        self.exitcode()
        self._session.lose(self, why)

    def exitcode(self) -> int:
        """Wait for the process to end, and return how it did."""
        try:
            return self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            shutil.rmtree(self._room, ignore_errors=True)

    def end(self) -> None:
        """End the process, and with it its pool."""
        with contextlib.suppress(OSError):
            socket.fromfd(self._connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM).shutdown(
                socket.SHUT_RDWR
            )
        self.exitcode()


# ---- the sessions of this process

_lock = threading.Lock()
_sessions: dict[bytes, _Session] = {}


def _session(name: bytes, told: bytes | None) -> _Session | None:
    with _lock:
        _end_forgotten()
        session = _sessions.get(name)
        if session is None and told is not None:
            session = _sessions[name] = _Session(told)
        return session


def _end_forgotten() -> None:
    now = time.monotonic()
    for name, session in list(_sessions.items()):
        if not session.visitors and now - session.last > LEASE:
            del _sessions[name]
            session.end()


def _end(name: bytes, session: _Session) -> None:
    with _lock:
        _sessions.pop(name, None)
    session.end()
