"""Sums the results of several test runners into one line, `N passed, N failed[, N skipped]`.

usage: tally.py NAME=RESULT…

RESULT is a file that a runner left, and its suffix says the format: `.json` is meson's
testlog.json, `.xml` is JUnit's form (pytest), anything else is the output of a program. Of an
output the last line of the form `N passed, N failed[, N skipped]` counts. A test program under
meson may end with such a line, too, and then counts for as many tests.

Beside each result stands the runner's exit status: in `<RESULT>.exit` of an output, in
`NAME.log.exit` of `NAME.json` and `NAME.xml`. A runner that ends badly has failed, even when all
that it wrote down has passed.

Failed and skipped tests are named. The exit status is 1 when a test failed, when a runner left
nothing readable, or when nothing ran at all.
"""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LINE = re.compile(r"^(?:\w+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped.*)?$", re.MULTILINE)
# The C harness prints `ok 3 - queue_keeps_order # SKIP`, scripts print `SKIP what`.
SKIP_LINE = re.compile(r"^(?:ok \d+ - (\S+).*# SKIP.*|SKIP (.+))$", re.MULTILINE)
FAIL_LINE = re.compile(r"^(?:not ok \d+ - |FAILED +)(.+)$", re.MULTILINE)
TAIL_LINES = 30
PYTEST_FAILED = 1  # pytest's exit status when tests failed; a greater one: it broke off


@dataclass
class Sum:
    """Counts, and the names of the tests that failed or were skipped."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)

    def add(self, other: Sum) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.failures += other.failures
        self.skips += other.skips

    def fail(self, why: str) -> None:
        self.failed += 1
        self.failures.append(why)

    def skip(self, what: str) -> None:
        self.skipped += 1
        self.skips.append(what)

    def line(self) -> str:
        text = f"{self.passed} passed, {self.failed} failed"
        return f"{text}, {self.skipped} skipped" if self.skipped else text


def tail(text: str) -> str:
    return "".join(f"\n    | {line}" for line in text.rstrip().splitlines()[-TAIL_LINES:])


def of_output(name: str, text: str, status: int) -> Sum:
    """The counts of a program's last line; with a bad exit status it has failed in any case."""
    total = Sum()
    lines = list(LINE.finditer(text))
    if lines:
        passed, failed, skipped = (int(n or 0) for n in lines[-1].groups())
        total.passed, total.failed, total.skipped = passed, failed, skipped
        total.skips = [f"{name}: {tap or plain}" for tap, plain in SKIP_LINE.findall(text)]
        if failed:
            names = FAIL_LINE.findall(text)
            total.failures = [f"{name}: {what}" for what in names]
            total.failures.append(f"{name}: {failed} failed, its output ends{tail(text)}")
    elif status == 0:
        total.fail(f"{name}: no line `N passed, N failed`{tail(text)}")
    if status != 0 and total.failed == 0:
        total.fail(f"{name}: exit status {status}{tail(text)}")
    return total


def of_meson_test(name: str, test: dict[str, object]) -> Sum:
    """One executable: as many tests as its last line says, otherwise one."""
    result = test["result"]
    text = f"{test.get('stdout') or ''}{test.get('stderr') or ''}"
    total = Sum()
    if result in ("SKIP", "IGNORED"):
        total.skip(f"{name}: {text.strip().splitlines()[-1] if text.strip() else 'skipped'}")
    elif result == "OK" and not LINE.search(text):
        total.passed = 1
    elif result == "OK":
        total = of_output(name, text, 0)
    else:
        total = of_output(name, text, int(str(test.get("returncode") or 1)))
        if result == "TIMEOUT":
            total.failures.append(f"{name}: ended by its watchdog")
    return total


def log_of(path: Path) -> Path:
    """What the runner printed, beside its result."""
    return path.with_suffix(".log")


def said(path: Path) -> str:
    log = log_of(path)
    return tail(log.read_text(errors="replace")) if log.exists() else ""


def exit_status(output: Path) -> int:
    return int(Path(f"{output}.exit").read_text() or 1)


def judge(name: str, path: Path, status: int, total: Sum) -> Sum:
    """Counts a runner that ended badly although no test of its result failed."""
    if status != 0 and total.failed == 0:
        total.fail(f"{name}: exit status {status}, and no test failed in {path.name}{said(path)}")
    return total


def of_meson(name: str, path: Path) -> Sum:
    status = exit_status(log_of(path))
    total = Sum()
    for line in path.read_text(errors="replace").splitlines():
        test = json.loads(line)
        total.add(of_meson_test(f"{name}: {test['name']}", test))
    return judge(name, path, status, total)


def of_junit(name: str, path: Path) -> Sum:
    status = exit_status(log_of(path))
    total = Sum()
    for case in ElementTree.parse(path).iter("testcase"):
        label = f"{name}: {case.get('classname')}.{case.get('name')}"
        broken = case.find("failure")
        broken = case.find("error") if broken is None else broken
        skipped = case.find("skipped")
        if broken is not None:
            total.fail(f"{label}: {broken.get('message', '')[:300]}")
        elif skipped is not None:
            total.skip(f"{label}: {skipped.get('message', '')}")
        else:
            total.passed += 1
    if status > PYTEST_FAILED:
        total.fail(f"{name}: exit status {status} of pytest, which did not come to its end")
    return judge(name, path, status, total)


def of_program(name: str, path: Path) -> Sum:
    return of_output(name, path.read_text(errors="replace"), exit_status(path))


def sums(results: list[str]) -> Iterator[Sum]:
    readers = {".json": of_meson, ".xml": of_junit}
    for result in results:
        name, _, path = result.partition("=")
        reader = readers.get(Path(path).suffix, of_program)
        try:
            yield reader(name, Path(path))
        except (OSError, ValueError, ElementTree.ParseError) as error:
            why = f"{name}: left no readable result ({error}){said(Path(path))}"
            yield Sum(failed=1, failures=[why])


def main(results: list[str]) -> int:
    total = Sum()
    for part in sums(results):
        total.add(part)
    for skip in total.skips:
        print(f"skipped  {skip}")
    for failure in total.failures:
        print(f"FAILED   {failure}")
    if total.passed + total.failed == 0:
        print("FAILED   no test ran")
    print(total.line())
    return 0 if total.passed and not total.failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
