"""Runs tests of one class in a process of their own and says what became of each.

The process leads a group, and its orphans become children of this process (a child subreaper), so
none is lost. When a process reports nothing for longer than its timeout, it is asked for its
tracebacks (SIGABRT, faulthandler) and ended with its whole group. Tests that follow one that hung
or crashed run in a new process, so that none goes without a result.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import isolation
import processes
from shadow import METHODS, BadShadow, Shadow

GRACE = 5.0  # s for helpers that end with their parent (forkserver, tracker) to end
HELPER_TIME = 300.0  # s for listing the tests and for the self-check
TAIL = 4000  # characters of output shown of a process that died


@dataclass
class Outcome:
    """What became of a test, or, named `(class)` and the like, of what surrounds the tests."""

    test: str
    status: str  # passed, failed, skipped
    detail: str = ""


@dataclass
class Trial:
    """One process: what it reported and how it ended."""

    outcomes: list[Outcome] = field(default_factory=list)
    running: str = ""  # the test that had begun and not ended
    whole: list[Outcome] = field(default_factory=list)  # about the class or its module
    done: bool = False
    altered: bool = False
    end: str = ""  # how it ended, if not well
    left: list[str] = field(default_factory=list)


def clean_environment(tmp: Path) -> dict[str, str]:
    """This environment without variables that steer Python, with a place for temporary files."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return kept | {"TMPDIR": str(tmp)}


def list_cases(shadow: Shadow, method: str, modules: list[str]) -> list[tuple[str, str, list[str]]]:
    """Module, name and tests of every class; raises RuntimeError with Python's message."""
    with tempfile.TemporaryDirectory(prefix="mpc") as name:
        command: list[str | Path] = [
            shadow.python,
            "-m",
            "mproc_conformance",
            "list",
            method,
            *modules,
        ]
        code, out, err = answer(command, Path(name))
    if code:
        raise RuntimeError((err or f"exit code {code}") + shadow.tripped())
    rows: list[tuple[str, str, list[str]]] = json.loads(out.splitlines()[-1])
    return rows


def self_check(shadow: Shadow) -> None:
    """Raises BadShadow unless parent and all kinds of children see the package under test."""
    with tempfile.TemporaryDirectory(prefix="mpc") as name:
        command: list[str | Path] = [
            shadow.python,
            "-m",
            "mproc_conformance.selfcheck",
            name,
            *METHODS,
        ]
        code, out, err = answer(command, Path(name))
    wrong = out + shadow.tripped()
    if code or wrong:
        raise BadShadow(f"self-check of {shadow.python}:\n{wrong}{err}".rstrip())


def answer(command: list[str | Path], folder: Path) -> tuple[int, str, str]:
    """Exit code, output and errors of a helper that is to end soon."""
    out, err = folder / "out", folder / "err"
    with (
        out.open("wb") as output,
        err.open("wb") as errors,
        started(
            command, stdout=output, stderr=errors, env=clean_environment(folder), cwd=folder
        ) as process,
    ):
        in_time = processes.exited(process, HELPER_TIME)
        if not in_time:
            processes.ask_for_tracebacks(process, GRACE)
        processes.end_all(process.pid, GRACE if in_time else 0.0)
        process.wait()
    late = "" if in_time else f"no answer within {HELPER_TIME:.0f} s\n"
    return process.returncode, out.read_text(), late + err.read_text()


def wait_while_it_talks(process: subprocess.Popen[bytes], events: Path, timeout: float) -> bool:
    """Waits for the end, without reaping; False if nothing was reported for `timeout` seconds."""
    size, since = -1, time.monotonic()
    while not processes.exited(process, min(1.0, timeout)):
        now = events.stat().st_size
        if now != size:
            size, since = now, time.monotonic()
        if time.monotonic() - since >= timeout:
            return False
    return True


class Termination:
    """SIGTERM as an exception, so that what was started is ended on the way out.

    Within Popen() the signal only leaves a note: an exception there would lose the new process.
    """

    def __init__(self) -> None:
        self.deferred = False
        self.number = 0

    def handle(self, number: int, frame: object) -> None:
        self.number = number
        if not self.deferred:
            sys.exit(128 + number)

    def resume(self) -> None:
        self.deferred = False
        if self.number:
            sys.exit(128 + self.number)


termination = Termination()


@contextmanager
def started(command: list[str | Path], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a group of its own; after the context the whole group is gone."""
    termination.deferred = True
    try:
        process = subprocess.Popen(command, process_group=0, stdin=subprocess.DEVNULL, **options)
    except BaseException:
        termination.resume()
        raise
    try:
        termination.resume()
        yield process
    finally:
        if process.returncode is None:
            if not processes.exited(process, 0.0):
                process.kill()
                processes.exited(process, GRACE)
            processes.end_all(process.pid, 0.0)
            process.wait()


def read_events(events: Path, trial: Trial) -> None:
    for line in events.read_text().splitlines():
        fact = json.loads(line)
        match fact["event"]:
            case "start":
                trial.running = fact["test"]
            case "end":
                trial.running = ""
                trial.outcomes.append(Outcome(fact["test"], fact["status"], fact["detail"]))
            case "whole":
                trial.whole.append(Outcome("(class)", fact["status"], fact["detail"]))
            case "stray":
                trial.whole.append(Outcome("(stray child)", "failed", fact["detail"]))
            case "done":
                trial.done, trial.altered = True, fact["altered"]
                for name in fact["strangers"]:
                    trial.whole.append(Outcome("(standard library)", "failed", name))


def ending(process: subprocess.Popen[bytes], in_time: bool, timeout: float) -> str:
    if not in_time:
        return f"hung: nothing happened for {timeout:.0f} s"
    code = process.returncode
    if code < 0:
        return f"died of {signal.Signals(-code).name}"
    return f"ended with exit code {code}" if code else ""


def attempt(
    shadow: Shadow, method: str, case: tuple[str, str], tests: list[str], timeout: float, log: Path
) -> Trial:
    """One process for these tests."""
    tmp = Path(tempfile.mkdtemp(prefix="mpc"))  # short: AF_UNIX addresses are made in it
    cwd = tmp / "cwd"
    cwd.mkdir()
    events = tmp / "events"
    events.touch()
    shm = isolation.shm_names()
    command: list[str | Path] = [
        shadow.python,
        "-m",
        "mproc_conformance",
        "run",
        method,
        *case,
        events,
        *tests,
    ]
    surroundings = {"env": clean_environment(tmp), "cwd": cwd}
    trial = Trial()
    try:
        with (
            log.open("ab") as output,
            started(command, stdout=output, stderr=output, **surroundings) as process,
        ):
            in_time = wait_while_it_talks(process, events, timeout)
            if not in_time:
                processes.ask_for_tracebacks(process, GRACE)
            trial.left = processes.end_all(process.pid, GRACE if in_time else 0.0)
            process.wait()
            trial.end = ending(process, in_time, timeout)
        trial.left += [f"/dev/shm/{name}" for name in sorted(isolation.shm_names() - shm)]
        read_events(events, trial)
        return trial
    finally:
        shutil.rmtree(tmp, ignore_errors=True)


def tail(log: Path) -> str:
    text = log.read_text(errors="replace")[-TAIL:]
    return f"\nthe end of its output ({log}):\n{text}" if text else ""


def unfinished(trial: Trial, tests: list[str], log: Path) -> list[Outcome]:
    """Outcomes for tests that got none, when the process has ended or reported no start."""
    told = {outcome.test for outcome in trial.outcomes}
    rest = [test for test in tests if test not in told]
    skips = [outcome for outcome in trial.whole if outcome.status == "skipped"]
    if skips and trial.done and not any(o.status == "failed" for o in trial.whole):
        return [Outcome(test, "skipped", skips[0].detail) for test in rest]
    why = f"not run: the process {trial.end}{tail(log)}" if trial.end else "not run, see (class)"
    return [Outcome(test, "failed", why) for test in rest]


def judge(trial: Trial) -> list[Outcome]:
    """Outcomes of what surrounds the tests: fixtures, and what the process left behind."""
    found = [outcome for outcome in trial.whole if outcome.status == "failed"]
    if trial.left:
        found.append(Outcome("(left behind)", "failed", "\n".join(trial.left)))
    return found


def run_case(
    shadow: Shadow, method: str, case: tuple[str, str], tests: list[str], timeout: float, log: Path
) -> tuple[list[Outcome], bool]:
    """Runs the tests, in as many processes as it takes.

    Returns the outcomes of the tests and of what surrounds them, and whether the suite saw its
    environment altered.
    """
    log.unlink(missing_ok=True)
    outcomes: list[Outcome] = []
    todo, altered = tests, False
    while todo:
        trial = attempt(shadow, method, case, todo, timeout, log)
        altered |= trial.altered
        if trial.running:
            why = f"the process {trial.end or 'ended'} in this test{tail(log)}"
            trial.outcomes.append(Outcome(trial.running, "failed", why))
        elif trial.done and trial.end:
            trial.whole.append(Outcome("(exit)", "failed", trial.end + tail(log)))
        if trial.done or not trial.outcomes:
            trial.outcomes += unfinished(trial, todo, log)
        outcomes += trial.outcomes + judge(trial)
        if tripped := shadow.tripped():
            outcomes.append(Outcome("(tripwire)", "failed", tripped))
        told = {outcome.test for outcome in trial.outcomes}
        todo = [test for test in todo if test not in told]
    return outcomes, altered
