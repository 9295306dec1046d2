"""Runs small programs that show faults, kind by kind, and prints a table of what is right.

usage: cases.py [--standard] [-j N] [METHOD]... [NAME]...

The programs are the files case_*.py in the directory that MPROC_CASES names, or in
../shared/cases beside the repository. Each takes a start method, runs every case that it has in a
process of its own, and prints `ok` or `BAD` with the name of the case. A NAME runs one file
(`atexit`) or one case of it (`atexit.own_handlers_run`).

What is wanted otherwise here than the program wants stands in tests/cases.toml with its reason and
the words of the documentation that say so. The exit status is 1 when a case is bad and does not
stand there, stands there although it is right, or the documentation does not have the words.
With --standard the same programs run on the standard library, and nothing is expected of them.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CASES = Path(os.environ.get("MPROC_CASES") or ROOT / "../shared/cases").resolve()
METHODS = ("fork", "spawn", "forkserver")
LINE = re.compile(r"^(ok|BAD) +(\w+)")
FILE_SECONDS = 900  # the cases have limits of their own


@dataclass
class Listed:
    """A case that is wanted otherwise, as tests/cases.toml has it."""

    case: str
    reason: str
    docs: str
    methods: list[str] = field(default_factory=lambda: list(METHODS))
    since: str = "3.0"
    until: str = "3.99"
    without: str = ""
    now_and_then: bool = False
    standard: bool = False

    def is_about(self, case: str, method: str) -> bool:
        """Whether this interpreter runs the case in the way that the list means."""
        here = sys.version_info[:2]
        return (
            case == self.case
            and method in self.methods
            and version(self.since) <= here <= version(self.until)
            and not (self.without and importlib.util.find_spec(self.without))
        )

    def missing_words(self) -> str:
        """What the documentation does not say, or nothing."""
        name, _, words = self.docs.partition(": ")
        text = " ".join((ROOT / "docs" / name).read_text().split())
        return "" if words and words in text else f"{self.case}: docs/{name} does not say: {words}"


@dataclass
class Result:
    """What one file printed under one method: the right cases, and the lines of the bad ones."""

    name: str
    method: str
    right: list[str]
    bad: dict[str, list[str]]


def version(text: str) -> tuple[int, int]:
    """The version as two numbers."""
    major, minor = text.split(".")
    return int(major), int(minor)


def run(path: Path, method: str, only: str, standard: bool) -> Result:
    """Runs a file, or one case of it, and reads what it prints."""
    command = [sys.executable, *([] if standard else ["-m", "mproc"]), path.name, method]
    scratch = tempfile.mkdtemp(prefix="cases-")
    environment = {**os.environ, "KIT_SCRATCH": scratch, "KIT_MPROC": "0" if standard else "1"}
    try:
        done = subprocess.run(
            command + ([only] if only else []),
            cwd=path.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=FILE_SECONDS,
            check=False,
        )
        output, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        output, status = bytes(late.stdout or b"").decode(errors="replace"), -1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if only:
        output = f"{'BAD' if status else 'ok'} {only}\n" + output
    return parse(path.stem.removeprefix("case_"), method, output, status)


def parse(name: str, method: str, output: str, status: int) -> Result:
    """The cases that the output tells of. A file that broke off is a bad case by itself."""
    right: list[str] = []
    bad: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in output.splitlines():
        if found := LINE.match(line):
            lines = []
            if found[1] == "ok":
                right.append(found[2])
            else:
                bad[found[2]] = lines
        lines.append(line)
    if bool(status) != bool(bad):
        bad["(the whole file)"] = [f"exit status {status}", *output.splitlines()[-20:]]
    return Result(name, method, right, bad)


def judge(result: Result, listed: list[Listed]) -> Iterator[str]:
    """Prints the row of a result, and yields what is wrong with it."""
    expected = {
        about.case.split(".")[1]: about
        for about in listed
        for case in [*result.right, *result.bad]
        if about.is_about(f"{result.name}.{case}", result.method)
    }
    surprises = [case for case in result.bad if case not in expected]
    stale = [case for case in result.right if case in expected and not expected[case].now_and_then]
    known = len(result.bad) - len(surprises)
    print(
        f"{result.name:22} {result.method:10} {len(result.right):3} ok {known:3} listed"
        f" {len(surprises):3} bad",
        flush=True,
    )
    for case in surprises:
        print("\n".join("    " + line for line in result.bad[case]), flush=True)
        yield f"{result.name}.{case} {result.method}: bad"
    for case in stale:
        yield f"{result.name}.{case} {result.method}: listed, but right"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--standard", action="store_true", help="run on the standard library")
    parser.add_argument("--list", type=Path, default=ROOT / "tests/cases.toml", help="the list")
    parser.add_argument("-j", type=int, default=1, metavar="N", help="files at a time")
    parser.add_argument("words", nargs="*", metavar="METHOD|NAME")
    return parser.parse_args()


def work_of(names: list[str]) -> list[tuple[Path, str]]:
    """The files to run, each with the only case of it that is asked for, or with an empty name."""
    files = sorted(CASES.glob("case_*.py"))
    if not files:
        sys.exit(f"cases: {CASES} has no case_*.py (MPROC_CASES names another directory)")
    work = []
    for name in names:
        file, _, only = name.removeprefix("case_").partition(".")
        work.append((CASES / f"case_{file}.py", only))
        if work[-1][0] not in files:
            sys.exit(f"cases: there is no {work[-1][0]}")
    return work or [(path, "") for path in files]


def main() -> None:
    """Run what is asked for, print the table, and exit."""
    asked = arguments()
    methods = [word for word in asked.words if word in METHODS] or list(METHODS)
    work = work_of([word for word in asked.words if word not in METHODS])
    listed = [Listed(**entry) for entry in tomllib.loads(asked.list.read_text())["case"]]
    if asked.standard:
        listed = []
    turns = [(path, method, only, asked.standard) for method in methods for path, only in work]
    wrong = [text for about in listed if (text := about.missing_words())]
    right = bad = 0
    with ThreadPoolExecutor(asked.j) as threads:
        for result in threads.map(lambda turn: run(*turn), turns):
            wrong += judge(result, listed)
            right += len(result.right)
            bad += len(result.bad)
    if wrong:
        print(*wrong, sep="\n")
    python = f"Python {sys.version_info[0]}.{sys.version_info[1]}, {' '.join(methods)}"
    print(f"{python}: {right} ok, {bad} not; wrong: {len(wrong)}")
    sys.exit(bool(wrong) and not asked.standard)


if __name__ == "__main__":
    main()
