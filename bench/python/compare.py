#!/usr/bin/env python3
"""Compares two packages with the interface of `multiprocessing` on this machine, row by row.

    compare.py                                 mproc beside the standard library
    compare.py --method spawn queue process    the rows whose names begin so, started by spawn
    compare.py --peer mproc@FOLDER             a build of mproc in FOLDER beside the installed one

The two take turns, round after round and each time in a new process, so that other work of the
machine hits both. The table gives the medians, and the median and the range of the rounds' ratios:
2.0 means that the second is twice as good.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import rows

HERE = Path(__file__).resolve().parent
PREFIXES = ((1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))
TOO_LONG = 300  # seconds for one number: a library that hangs becomes an error message


class Failed(Exception):
    """A row could not be measured with one of the libraries."""


def measure(library: str, method: str, name: str) -> float:
    """One number, from a new process.

    `library` is a package's name, or PACKAGE@FOLDER where the folder has the package.
    """
    package, _, folder = library.partition("@")
    environ = dict(os.environ)
    if folder:
        environ["PYTHONPATH"] = os.path.abspath(folder)
    command = [sys.executable, str(HERE / "rows.py"), package, method, name]
    try:
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=TOO_LONG, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{library} did not end within {TOO_LONG} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Failed(f"{library}: {said[-1]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def alternate(
    libraries: tuple[str, str], method: str, name: str, rounds: int
) -> list[tuple[float, float]]:
    """The pairs of numbers of all rounds; every other round begins with the second library."""
    pairs = []
    for i in range(rounds):
        numbers = [0.0, 0.0]
        for which in (0, 1) if i % 2 == 0 else (1, 0):
            numbers[which] = measure(libraries[which], method, name)
        pairs.append((numbers[0], numbers[1]))
    return pairs


def with_unit(number: float, rate: bool) -> str:
    """Three digits and a unit: `12.3 k/s`, `45.6 us`."""
    size, prefix = next((p for p in PREFIXES if number >= p[0]), PREFIXES[-1])
    return f"{number / size:.3g} {prefix}{'/s' if rate else 's'}"


def line(name: str, pairs: list[tuple[float, float]]) -> str:
    entry = rows.ROWS[name]
    ratios = [b / a if entry.rate else a / b for a, b in pairs]
    cells = [
        entry.title,
        *(with_unit(statistics.median(column), entry.rate) for column in zip(*pairs, strict=True)),
        f"{statistics.median(ratios):.3g} ({min(ratios):.3g} to {max(ratios):.3g})",
    ]
    return "| " + " | ".join(cells) + " |"


def chosen(beginnings: list[str]) -> list[str]:
    """The rows whose names begin with one of the words; a word that fits no row is an error."""
    for word in beginnings:
        if not any(name.startswith(word) for name in rows.ROWS):
            raise SystemExit(
                f"compare.py: no row begins with {word!r}; the rows are {', '.join(rows.ROWS)}"
            )
    return [name for name in rows.ROWS if not beginnings or name.startswith(tuple(beginnings))]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help="the beginning of rows' names; all rows without any"
    )
    parser.add_argument(
        "--peer", default="multiprocessing", help="the first package, or PACKAGE@FOLDER"
    )
    parser.add_argument("--library", default="mproc", help="the second package, or PACKAGE@FOLDER")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", default="fork", choices=["fork", "spawn", "forkserver"])
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: at least one round")
    return options


def main() -> int:
    options = arguments()
    libraries = (options.peer, options.library)
    failures = 0
    print(
        f"| work | {options.peer} | {options.library} | times better (range) |\n|---|---|---|---|"
    )
    for name in chosen(options.rows):
        try:
            pairs = alternate(libraries, options.method, name, options.rounds)
            print(line(name, pairs), flush=True)
        except Failed as e:
            failures += 1
            print(f"| {rows.ROWS[name].title} | {e} |", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
