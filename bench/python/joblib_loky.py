"""What loky, joblib's own backend, and the backend mproc cost for the same calls: two tables.

usage: joblib_loky.py [--rounds N] [--jobs N] [WORD ...]

The two take turns, and the one that begins changes with each round. Both have their workers, and
these have imported what the calls need, before a clock runs. The first table has elapsed time, the
second processor time of this program and of its workers, which depends less on what else the
machine does. WORD: only cases whose names contain one of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy
import sklearn
from joblib import Parallel, delayed, parallel_config
from sklearn.datasets import make_classification, make_regression
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

import mproc
import mproc.joblib

BACKENDS = ("loky", "mproc")
ITEMS = 1_000_000  # of an array of 8 MB
TICKS = os.sysconf("SC_CLK_TCK")


def first(array: Any) -> float:
    """Read little of an array, for what counts is its way."""
    return float(array[0])


def made(number: int) -> Any:
    """Return a new array."""
    return numpy.full(ITEMS, float(number))


def changed(array: Any) -> Any:
    """Return a new array of the size of another."""
    return array + 1


class Case:
    """A call: its name, and how what it needs is made, which is not measured."""

    def __init__(self, name: str, make: Callable[[], Callable[[int], Any]]) -> None:
        self.name, self._make = name, make

    def measure(self, backend: str, jobs: int) -> tuple[float, float, float]:
        """Return the seconds that passed, and the processor time of the program and the workers."""
        call = self._make()
        with parallel_config(backend=backend, n_jobs=jobs):
            Parallel()(delayed(first)(numpy.zeros(2)) for _ in range(4 * jobs))
            call(0)
            own, workers, began = time.process_time(), of_workers(), time.perf_counter()
            call(1)
            passed = time.perf_counter() - began
            return passed, time.process_time() - own, of_workers() - workers


def of_workers() -> float:
    """Return the processor time that living descendants of this process have used, in seconds."""
    parents, used = {}, {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        parents[int(directory.name)] = int(fields[1])
        used[int(directory.name)] = sum(map(int, fields[11:15])) / TICKS
    return sum(used[pid] for pid in parents if is_descendant(pid, parents))


def is_descendant(pid: int, parents: dict[int, int]) -> bool:
    """Return whether a process is a child of this one, or a child's."""
    while pid in parents:
        pid = parents[pid]
        if pid == os.getpid():
            return True
    return False


def same_array() -> Callable[[int], Any]:
    """One array for all calls."""
    array = made(1)
    return lambda _round: Parallel()(delayed(first)(array) for _ in range(200))


def own_arrays() -> Callable[[int], Any]:
    """An array for each call, none of which has been sent before."""
    arrays = [[made(i) for i in range(20)] for _ in range(2)]
    return lambda turn: Parallel()(delayed(first)(array) for array in arrays[turn])


def results() -> Callable[[int], Any]:
    """A result of each call."""
    return lambda _round: Parallel()(delayed(made)(i) for i in range(20))


def both() -> Callable[[int], Any]:
    """An array there, and one back."""
    arrays = [[made(i) for i in range(20)] for _ in range(2)]
    return lambda turn: Parallel()(delayed(changed)(array) for array in arrays[turn])


def svc() -> Callable[[int], Any]:
    """Many short fits of a small data set."""
    x, y = make_classification(600, 20, random_state=0)
    grid = {"C": [0.1, 1, 10, 100], "gamma": [0.01, 0.1, 1]}
    return lambda _round: GridSearchCV(SVC(), grid, cv=5).fit(x, y)


def ridge() -> Callable[[int], Any]:
    """Fits of 8 MB."""
    x, y = make_regression(5000, 200, random_state=0)
    return lambda _round: GridSearchCV(Ridge(), {"alpha": numpy.logspace(-2, 3, 6)}, cv=5).fit(x, y)


def small() -> Callable[[int], Any]:
    """Calls that do nothing."""
    return lambda _round: Parallel()(delayed(abs)(i) for i in range(5000))


CASES = (
    Case("200 calls with the same array of 8 MB", same_array),
    Case("20 calls with an array of 8 MB each", own_arrays),
    Case("20 calls with a result of 8 MB each", results),
    Case("20 calls with an array and a result of 8 MB each", both),
    Case("GridSearchCV, SVC, 600 x 20, 12 candidates, 5 folds", svc),
    Case("GridSearchCV, Ridge, 5,000 x 200 (8 MB), 6 candidates, 5 folds", ridge),
    Case("5,000 calls of `abs`", small),
)


def spread(seconds: list[float]) -> str:
    """Return the median in milliseconds, and behind it the least and the most."""
    ms = [1000 * s for s in seconds]
    return f"{statistics.median(ms):,.0f} ms ({min(ms):,.0f} to {max(ms):,.0f})"


def print_elapsed(found: dict[str, dict[str, list[tuple[float, float, float]]]]) -> None:
    """Print elapsed times; the last column has the median of the rounds' ratios."""
    print("\n| elapsed | loky | mproc | |\n|---|---|---|---|")
    for name, by in found.items():
        loky, own = ([passed for passed, _, _ in by[backend]] for backend in BACKENDS)
        ratio = statistics.median(a / b for a, b in zip(loky, own, strict=True))
        print(f"| {name} | {spread(loky)} | {spread(own)} | {ratio:.2f} x |")


def print_processor(found: dict[str, dict[str, list[tuple[float, float, float]]]]) -> None:
    """Print medians of processor time: of this program, and of its workers."""
    print("\n| processor time, ms | loky | mproc | |\n|---|---|---|---|")
    for name, by in found.items():
        cells, sums = [], []
        for backend in BACKENDS:
            own = 1000 * statistics.median(own for _, own, _ in by[backend])
            workers = 1000 * statistics.median(workers for _, _, workers in by[backend])
            cells.append(f"{own:,.0f} + {workers:,.0f}")
            sums.append(own + workers)
        ratio = f"{sums[0] / sums[1]:.1f} x" if sums[1] > 0 else ""
        print(f"| {name} | {cells[0]} | {cells[1]} | {ratio} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("words", nargs="*", metavar="WORD")
    chosen = parser.parse_args()
    cases = [c for c in CASES if not chosen.words or any(w in c.name for w in chosen.words)]
    if not cases:
        parser.error(f"no case has {' or '.join(chosen.words)} in its name")
    if chosen.rounds < 1 or chosen.jobs < 2:
        parser.error("it takes a round, and two jobs, at least")
    warnings.simplefilter("ignore", UserWarning)
    mproc.joblib.register()
    found: dict[str, dict[str, list[tuple[float, float, float]]]] = {
        c.name: {backend: [] for backend in BACKENDS} for c in cases
    }
    for turn in range(chosen.rounds):
        for case in cases:
            for backend in BACKENDS if turn % 2 == 0 else BACKENDS[::-1]:
                found[case.name][backend].append(case.measure(backend, chosen.jobs))
    print(
        f"joblib {joblib.__version__}, scikit-learn {sklearn.__version__}, "
        f"mproc {mproc.__version__}, n_jobs={chosen.jobs}, {chosen.rounds} rounds in turns, "
        f"load {os.getloadavg()[0]:.0f} at the end"
    )
    print_elapsed(found)
    print_processor(found)
    mproc.joblib.shutdown()


if __name__ == "__main__":
    main()
