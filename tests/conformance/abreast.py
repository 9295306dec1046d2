"""Runs a job for each of several keys at the same time, each in a forked process of its own.

The tests of the suite sleep for most of their time, so that three start methods at a time need not
much more of the machine than one. A process that fails takes nothing from the others. It is forked
by hand because a tripwire lies over the standard package by then (isolation.py).
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from trial import termination

PR_SET_PDEATHSIG = 1


def answer(job: Callable[[str], Any], key: str, write: int) -> None:
    """What the process does: the job, and a word about it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    try:
        said = pickle.dumps((job(key), ""))
    except Exception:
        said = pickle.dumps((None, traceback.format_exc()))
    with os.fdopen(write, "wb") as stream:
        stream.write(said)


def start(job: Callable[[str], Any], key: str) -> tuple[int, int]:
    """The process and the descriptor to read its answer from."""
    read, write = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, read
    code = 1
    try:
        termination.resume()
        os.close(read)
        answer(job, key, write)
        code = 0
    finally:  # also on the exit that SIGTERM asks for: what the parent has to do is not ours
        sys.stdout.flush()
        os._exit(code)


def abreast(job: Callable[[str], Any], keys: list[str]) -> Iterator[tuple[str, Any, str]]:
    """Yields key, answer and, if the job failed, why (an empty text otherwise), in the keys' order.

    When the caller leaves early, the processes are ended, and end what they have started.
    """
    running: dict[int, int] = {}
    try:
        for key in keys:
            termination.deferred = True  # an exception here would lose the new process
            try:
                pid, read = start(job, key)
                running[pid] = read
            finally:
                termination.resume()
        for key, (pid, read) in zip(keys, list(running.items()), strict=True):
            with open(read, "rb", closefd=False) as stream:
                said = stream.read()
            _, status = os.waitpid(pid, 0)
            os.close(running.pop(pid))
            code = os.waitstatus_to_exitcode(status)
            ended = (None, f"its process ended with exit code {code}")
            yield key, *(pickle.loads(said) if said else ended)
    finally:
        for pid, read in running.items():
            os.close(read)
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
