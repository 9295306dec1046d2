"""Runs the test files of one suite on the standard library and on mproc, and compares.

usage: suites.py --path DIR --results DIR NAME FILE…

FILE is a path, or the name of a module that is installed. Each file is a process of its own on each
side, for many suites choose a start method for the process. A test that differs runs again on both
sides, alone: what fails twice on mproc and not there is a difference, the rest came from a busy
machine. `--path` holds the package mproc alone.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

OF_TEST = 120  # seconds
OF_FILE = 1500
SIDES = ("standard library", "mproc")
GOOD = ("passed", "skipped")


class Side:
    """One of the two: how its tests are run, and what came of each."""

    def __init__(self, name: str, path: Path, results: Path) -> None:
        self.name = name
        self._path, self._results = path, results

    def run(self, file: str, only: str | None = None) -> dict[str, str]:
        """Run the tests of a file, or one of them; return the outcome of each by its name."""
        label = re.sub(r"\W+", "_", f"{self.name} {only or file}")[:150]
        report, log = self._results / f"{label}.xml", self._results / f"{label}.log"
        report.unlink(missing_ok=True)
        code = self._start([*self._command(file, only), f"--junitxml={report}"], log)
        if not report.exists():
            return {f"{file} as a whole": f"no report, exit code {code}"}
        found = dict(_outcomes(report, file))
        return found or {f"{file} as a whole": f"no tests, exit code {code}"}

    def _command(self, file: str, only: str | None) -> list[str]:
        by = ["-m", "mproc"] if self.name == "mproc" else []
        options = ["-p", "no:cacheprovider", f"--timeout={OF_TEST}", "-o", "junit_family=xunit1"]
        target = [file] if file.endswith(".py") else ["--pyargs", file]
        names = ["-k", only] if only else []
        return [sys.executable, *by, "-m", "pytest", "-q", *options, *target, *names]

    def _start(self, command: list[str], log: Path) -> int | None:
        environ = {**os.environ, "PYTHONPATH": str(self._path), "PYTHONDONTWRITEBYTECODE": "1"}
        with log.open("wb") as output:
            child = subprocess.Popen(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                return child.wait(OF_FILE)
            except subprocess.TimeoutExpired:
                return None
            finally:
                _end_session(child)


def _end_session(child: subprocess.Popen[bytes]) -> None:
    """Kill what a run has left in its process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _outcomes(report: Path, file: str) -> Iterator[tuple[str, str]]:
    for case in ElementTree.parse(report).iter("testcase"):
        outcome = "passed"
        for child in case:
            if child.tag in ("failure", "error"):
                outcome = "failed"
            elif child.tag == "skipped" and outcome == "passed":
                outcome = "skipped"
        yield f"{file}::{case.get('classname', '').split('.')[-1]}::{case.get('name')}", outcome


def _expanded(files: list[str]) -> list[str]:
    return [name for file in files for name in (sorted(glob.glob(file)) or [file])]


def _word(test: str) -> str:
    """Return what pytest's -k finds a test by: its name without parameters."""
    return test.rsplit("::", 1)[-1].split("[")[0]


def _is_good(outcomes: dict[str, str], test: str) -> bool:
    return outcomes.get(test, "missing") in GOOD


def _run_again(sides: list[Side], file: str, test: str) -> tuple[bool, bool]:
    """Return whether a test is good on each side, on its own."""
    good = [_is_good(side.run(file, _word(test)), test) for side in sides]
    return good[0], good[1]


def _counts(outcomes: dict[str, str]) -> str:
    passed = sum(outcome == "passed" for outcome in outcomes.values())
    skipped = sum(outcome == "skipped" for outcome in outcomes.values())
    failed = len(outcomes) - passed - skipped
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def main() -> int:
    """Run a suite; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("name")
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    sides = [Side(name, args.path, args.results) for name in SIDES]
    sums: list[dict[str, str]] = [{}, {}]
    lines, worse = [], False
    for file in _expanded(args.files):
        there, here = (side.run(file) for side in sides)
        sums[0] |= there
        sums[1] |= here
        for test in sorted(there | here):
            if _is_good(there, test) == _is_good(here, test):
                continue
            again = _run_again(sides, file, test)
            only = "mproc" if _is_good(there, test) else "the standard library"
            if only == "mproc" and again == (True, False):
                worse = True
                lines.append(f"    fails on mproc only: {test}")
            else:
                result = " and ".join("good" if good else "fails" for good in again)
                lines.append(f"    failed once on {only} only: {test}; again: {result}")
    named = zip(SIDES, sums, strict=True)
    columns = "; ".join(f"{name} {_counts(outcomes)}" for name, outcomes in named)
    print(f"{args.name}: {columns}", *lines, sep="\n", flush=True)
    return worse


if __name__ == "__main__":
    sys.exit(main())
