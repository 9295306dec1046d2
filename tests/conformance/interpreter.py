"""Finds the interpreters whose own test suite is to be run, and asks each what it is."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
FETCHED = Path(__file__).resolve().parents[2] / ".pythons"  # by scripts/fetch-python.sh

FACTS = """
import json, os, sys, sysconfig
print(json.dumps({
    "version": "%d.%d" % sys.version_info[:2],
    "release": ".".join(map(str, sys.version_info[:3])),
    "binary": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "stdlib": os.path.realpath(sysconfig.get_path("stdlib")),
    "platlibdir": sys.platlibdir,
}))
"""


class NotFound(Exception):
    """There is no interpreter as asked for."""


@dataclass(frozen=True)
class Interpreter:
    version: str
    release: str
    binary: str
    stdlib: str
    platlibdir: str

    @property
    def suite(self) -> Path:
        return Path(self.stdlib, "test", "_test_multiprocessing.py")


def ask(program: str) -> Interpreter | None:
    """What the program says of itself; None if it is not a working Python."""
    try:
        result = subprocess.run(
            [program, "-I", "-c", FACTS], capture_output=True, text=True, timeout=60
        )
        return Interpreter(**json.loads(result.stdout)) if result.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def candidates(version: str) -> Iterator[str]:
    """Programs that may be a Python of that version: on the path, pyenv's, then fetched."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        program = Path(folder or ".", f"python{version}")
        if os.access(program, os.X_OK):
            yield str(program)
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for program in sorted(root.glob(f"versions/{version}*/bin/python{version}")):
        yield str(program)
    if (program := FETCHED / version / "usr" / "bin" / f"python{version}").exists():
        yield str(program)


def find(wanted: str) -> Interpreter:
    """The first interpreter of that version (or the one at that path) that has a test suite."""
    by_path = os.sep in wanted
    seen = []
    for program in [wanted] if by_path else candidates(wanted):
        known = ask(program)
        if known is None or not (by_path or known.version == wanted):
            continue
        if known.suite.exists():
            return known
        seen.append(program)
    if seen:
        raise NotFound(f"{wanted}: no test/_test_multiprocessing.py beside {', '.join(seen)}")
    raise NotFound(f"{wanted}: no such interpreter")


def futures_tests(wanted: str) -> Path | None:
    """test_concurrent_futures as a package, of the nearest version that has it: newer ones first.

    Tests of a much newer version ask for things that the wanted one never had.
    """
    at = VERSIONS.index(wanted) if wanted in VERSIONS else 0
    for version in VERSIONS[at:] + VERSIONS[:at][::-1]:
        for program in candidates(version):
            known = ask(program)
            package = Path(known.stdlib if known else "", "test", "test_concurrent_futures")
            if known and package.is_dir():
                return package
    return None
