#!/usr/bin/env python3
"""Runs the interpreters' own multiprocessing tests on mproc.

    make conformance [PY=3.11] [METHOD=spawn] [ONLY=_TestProcess,TestWait.test_wait]
    tests/conformance/run.py --python 3.11 --method spawn --only _TestProcess [--stock] [-v]

For each interpreter: build the package for it, make a shadow prefix in which it is
`multiprocessing` (shadow.py, inside/), prove that all kinds of processes see it, list the tests,
and run every class in a process group of its own (trial.py), the start methods side by side
(abreast.py). classes.txt says what is run, unless --only does; expected.toml lists tests of a
mechanism that mproc does not have. It is a failure, too, when children or /dev/shm entries are left
behind, or code of the standard package is executed.

The last line is `N passed, N failed, N skipped`; the exit code is 1 if anything failed or nothing
was run. --stock runs the same selection on the standard library, as a control.
"""

from __future__ import annotations

import argparse
import fcntl
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import interpreter
import isolation
import trial
from abreast import abreast
from interpreter import Interpreter
from report import Report
from selection import (
    BadSelection,
    Case,
    Selector,
    choose,
    parse_selector,
    read_classes,
    read_expected,
)
from shadow import METHODS, BadShadow, Shadow

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILDER = ROOT / "scripts" / "build-python.sh"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run CPython's multiprocessing tests on mproc.")
    add = parser.add_argument
    add("--python", default="", help="versions or paths of interpreters, comma-separated")
    add("--method", default="", help="start methods, comma-separated")
    add("--only", default="", help="selectors, comma-separated (see selection.py)")
    add("--package", type=Path, help="a folder with mproc/ in it, instead of building one")
    add("--stock", action="store_true", help="test the standard library, as a control")
    add("--timeout", type=float, default=120.0, help="seconds a process may report nothing")
    add("--shadow", type=Path, default=ROOT / ".shadow", help="where to build")
    add("--suite", type=Path, help="another file in place of _test_multiprocessing.py")
    add("--classes", type=Path, default=HERE / "classes.txt")
    add("--expected", type=Path, default=HERE / "expected.toml")
    add("-v", "--verbose", action="store_true", help="name the skipped tests and why")
    options = parser.parse_args()
    if options.stock and options.package:
        parser.error("--stock and --package exclude each other")
    return options


def items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def interpreters(wanted: str) -> list[Interpreter]:
    """Those asked for, or all that there are; prints which are missing."""
    if items(wanted):
        return [interpreter.find(item) for item in items(wanted)]
    there = []
    for version in interpreter.VERSIONS:
        try:
            there.append(interpreter.find(version))
        except interpreter.NotFound as error:
            print(f"left out: {error}")
    return there


def methods(wanted: str) -> list[str]:
    bad = [item for item in items(wanted) if item not in METHODS]
    if bad:
        raise BadSelection(f"no such start method: {', '.join(bad)} (of {', '.join(METHODS)})")
    return items(wanted) or list(METHODS)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One run at a time in a folder of shadows."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadShadow(f"another run is using {folder} (--shadow takes another)") from None
        yield


def built(python: Interpreter, options: argparse.Namespace) -> Path:
    """A folder with the package for this interpreter."""
    if options.package:
        return Path(options.package.resolve())
    if not BUILDER.exists():
        raise BadShadow(f"{BUILDER} is missing: give --package or --stock")
    folder = Path(options.shadow.resolve(), f"package-{python.version}")
    print(f"{python.version}: building the package", flush=True)
    result = subprocess.run([BUILDER, python.binary, folder], capture_output=True, text=True)
    if result.returncode:
        raise BadShadow(f"{BUILDER.name} failed:\n{result.stdout}{result.stderr}")
    return folder


def prepared(python: Interpreter, options: argparse.Namespace) -> Shadow:
    kind = "stock" if options.stock else "mproc"
    root = options.shadow / f"{python.version}-{kind}"
    shadow = Shadow(python, root, options.suite, interpreter.futures_tests(python.version))
    shadow.build(None if options.stock else built(python, options))
    return shadow


def check(shadow: Shadow) -> None:
    """The self-check, and a line about what is going to be tested."""
    trial.self_check(shadow)
    what = "mproc" if shadow.package else "the standard library"
    release = shadow.interpreter.release
    print(f"{release}: parent, {', '.join(METHODS)}, -I and -E -S -O children see {what}")
    if shadow.absent:
        print(f"{release}: the package lacks {', '.join(shadow.absent)}; tests of these fail")


def run_methods(
    shadow: Shadow,
    chosen: list[str],
    options: argparse.Namespace,
    listed: list[Selector],
    report: Report,
) -> list[Case]:
    """Runs the selection under each of the start methods, all at a time."""

    def run_one(method: str) -> tuple[Report, list[Case]]:
        isolation.enter()  # its own /dev/shm: what a test leaves there is that test's
        own = Report(report.expected, report.verbose, report.command)
        cases = run_method(shadow, method, options, listed, own)
        return own, cases

    if len(chosen) == 1:
        return run_method(shadow, chosen[0], options, listed, report)
    cases: list[Case] = []
    for method, result, why in abreast(run_one, chosen):
        if why:
            report.fail(f"{shadow.interpreter.version} {method}: not run to the end", why)
        else:
            report.take_in(result[0])
            cases += result[1]
    return cases


def run_method(
    shadow: Shadow,
    method: str,
    options: argparse.Namespace,
    listed: list[Selector],
    report: Report,
) -> list[Case]:
    """Runs the selection under one interpreter and start method; returns all classes there are."""
    python = shadow.interpreter.version
    wanted = [parse_selector(text) for text in items(options.only)] or listed
    modules = {selector.module for selector in wanted if selector.module}
    modules.add(f"test_multiprocessing_{method}")
    try:
        rows = trial.list_cases(shadow, method, sorted(modules))
    except RuntimeError as error:
        report.fail(f"{python} {method}: the suite cannot be imported", str(error))
        return []
    cases = [Case(module, name, tuple(tests)) for module, name, tests in rows]
    logs = shadow.root / "log"
    logs.mkdir(exist_ok=True)
    for picked in choose(cases, wanted, listed):
        case, limit = picked.case, picked.timeout or options.timeout
        log = logs / f"{method}-{case.name}.txt"
        place = (case.module, case.name)
        outcomes, altered = trial.run_case(shadow, method, place, picked.tests, limit, log)
        report.add(python, method, case, outcomes)
        if altered:
            print(f"    the suite says its environment was altered, see {log}")
        for test, reason in picked.excluded:
            print(f"    left out {test}: {reason}")
    return cases


def check_names(wanted: list[Selector], cases: list[Case], report: Report) -> None:
    """A selector that selects no test of any interpreter is a mistake."""
    for selector in wanted:
        known = (selector.matches(case, test) for case in cases for test in case.tests)
        if not (selector.exclude or selector.optional or any(known)):
            report.fail(f"selector {selector.text}", "no test of these interpreters answers to it")


def check_expected(cases: list[Case], report: Report) -> None:
    """For whole runs: entries about tests that are not there are stale."""
    for entry in report.expected:
        matches = (entry.selector.matches(case, test) for case in cases for test in case.tests)
        if not any(matches):
            report.fail(f"expected.toml: {entry.selector.text}", "there is no such test")


def run(options: argparse.Namespace) -> int:
    pythons, chosen = interpreters(options.python), methods(options.method)
    expected = [] if options.stock else read_expected(options.expected)
    listed = read_classes(options.classes)
    report = Report(expected, options.verbose, again_command(options))
    shadows = [prepared(python, options) for python in pythons]
    if lack := isolation.enter():
        print(lack)
    cases: list[Case] = []
    for shadow in shadows:
        if shadow.package and not lack:
            isolation.lay_wires(shadow.wires, shadow.standard)
        check(shadow)
        cases += run_methods(shadow, chosen, options, listed, report)
    only = [parse_selector(text) for text in items(options.only)]
    check_names(only, cases, report)
    if not (only or options.python or options.method):
        check_names(listed, cases, report)
        check_expected(cases, report)
    return report.close()


def again_command(options: argparse.Namespace) -> str:
    words = ["tests/conformance/run.py"]
    words += ["--stock"] if options.stock else []
    words += ["--package", str(options.package)] if options.package else []
    return " ".join(words)


def main() -> int:
    options = parse_arguments()
    signal.signal(signal.SIGTERM, trial.termination.handle)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    try:
        with locked(options.shadow):
            return run(options)
    except (BadShadow, BadSelection, interpreter.NotFound) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
