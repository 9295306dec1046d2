#!/usr/bin/env python3
"""What a family pays for being looked at, recorded, and called by names.

    inspection.py                               all rows, seven rounds
    inspection.py --rounds 21 queue.thr sync    the rows whose names begin so
    inspection.py --rounds 400 --seconds 0.02 queue.thr.Queue.int.2p2c
                                                many short rounds of a row that is noisy
    inspection.py --ordinary queue.thr sync     beside a looker of ordinary priority

The rows of `queue.thr` and `sync` run beside a looker that looks as often as it can, and beside the
same looker while it is stopped. `pool.map.chunk1` runs while `mproc record` records it, and while
nobody does. `lock.name` and `lock.origin` are the making and going of a lock, with a name or with
`MPROC_ORIGIN=1`, and without.

A looker is a process like any other: it takes CPU time. Where the family leaves no CPU idle, a
looker of ordinary priority takes the share of the CPUs that the scheduler gives to each process,
and the family has the rest. That is the price of one more process, whatever it does. So the looker
runs at idle priority here (SCHED_IDLE, as after `chrt -i 0 mproc top PID`): it gets the time that
the family leaves, and next to nothing where that is none. What is left is the price of looking
itself. The last column tells how many looks a second there were. `--ordinary` gives the looker the
family's own priority, so its rows have both prices in them.

So is the price of any process that runs beside the family, whether it looks at anything or not: a
CPU that is not idle pulls no work over from the other, and its caches are shared. The column
`beside a mere counter` has that alone: a process of the same priority counts numbers, and looks at
nothing.

A round has two runs without what is asked about, one with it, and one beside the mere counter where
that is told, in an order that changes. The table gives the medians of the rounds' ratios: 1.02
means that with it everything takes 2 % more time. Behind each stands an interval that has the true
median in it 95 times of 100, whatever the ratios are distributed like: it lies between two of the
sorted ratios. With eight rounds or fewer it is the range of all, and below six it is less sure than
that. It gets narrower with the square root of the rounds. The column `without, twice` is the ratio
of the two runs without it: what the machine does by itself. `pool.map.chunk1 (processor)` counts
what the processors did for the family, without the recorder.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import math
import mmap
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import rows

import mproc
from mproc import inspect

LOCKS = 20_000
TASKS = 100_000
HEAD = """\
| row | with it, against without (95 %) | beside a mere counter, against without (95 %) \
| without, twice (95 %) | rounds | looks a second |
|---|---|---|---|---|---|"""
ITEMS: dict[str, object] = {
    "int": 12345,
    "dict100": {
        "id": 123456,
        "name": "alpha-beta",
        "tags": ["x", "y", "z"],
        "ok": True,
        "up": None,
    },
    "4K": b"x" * 4096,
    "1M": b"x" * (1 << 20),
}

Numbers = tuple[float, ...]  # of a run: seconds, one for each line of the table


@dataclass
class Measure:
    """Does one run, with what is asked about or without."""

    run: Callable[[bool], Numbers]
    control: Callable[[], Numbers] | None = None  # a run beside a process that looks at nothing
    looks: Callable[[], float] | None = None  # a second, while it was looked at


Prepare = Callable[[], contextlib.AbstractContextManager[Measure]]

# ---------------------------------------------------------------- beside a looker


def look_on(pid: int, looks: ctypes.c_uint64) -> None:
    """Look at a family as often as it can, and count it."""
    library = ctypes.CDLL(f"{mproc.get_library()}/libmproc.so")
    seen = ctypes.c_void_p()
    while True:
        if library.mproc_inspect_new(ctypes.byref(seen), ctypes.c_int(pid)) == 0:
            library.mproc_inspect_drop(seen)
            looks.value += 1


def accompany(pid: int, counter: int, ordinary: bool) -> None:
    """Be the process of a Companion: look at the family of `pid`, or at nothing if it is 0."""
    if not ordinary:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    turns = ctypes.c_uint64.from_buffer(mmap.mmap(counter, 8))
    if pid != 0:
        look_on(pid, turns)
    while True:
        turns.value += 1


class Companion:
    """A process that looks at this one's family, or only counts, and is stopped in between."""

    def __init__(self, looks: bool, ordinary: bool) -> None:
        counter = os.memfd_create("looks")
        os.ftruncate(counter, 8)
        self._turns = ctypes.c_uint64.from_buffer(mmap.mmap(counter, 8))
        words = [
            sys.executable,
            __file__,
            "--accompany",
            str(os.getpid() if looks else 0),
            str(counter),
        ]
        words += ["--ordinary"] * ordinary
        self._process = subprocess.Popen(words, pass_fds=[counter])
        os.close(counter)
        self._turned = self._seconds = 0.0
        self._await_turns()
        self._rest()

    def _await_turns(self) -> None:
        before = self._turns.value
        while self._turns.value < before + 2:
            if self._process.poll() is not None:
                raise SystemExit("inspection.py: the process beside the family has ended")
            time.sleep(0.001)

    def _rest(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def turn(self) -> None:
        """Let it take two turns, and stop it."""
        self._process.send_signal(signal.SIGCONT)
        self._await_turns()
        self._rest()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self._process.send_signal(signal.SIGCONT)
        self._await_turns()
        first, began = self._turns.value, time.perf_counter()
        yield
        self._turned += self._turns.value - first
        self._seconds += time.perf_counter() - began
        self._rest()

    def rate(self) -> float:
        return self._turned / self._seconds

    def __enter__(self) -> Companion:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def beside_a_looker(run: rows.Run, ordinary: bool) -> Iterator[Measure]:
    held = mproc.Lock()  # there is a family, also before the first run
    with contextlib.ExitStack() as companions:
        looker = companions.enter_context(Companion(True, ordinary))
        counter = companions.enter_context(Companion(False, ordinary))
        n, _ = rows.settle(run, 1 << 30)

        # A looker rests after each look, so its first turns take a while, in which the CPUs cool
        # down. Every run comes after such a while: what it costs is no price of looking.
        def measure(looked_at: bool) -> Numbers:
            if not looked_at:
                looker.turn()
            with looker.running() if looked_at else contextlib.nullcontext():
                return (run(n),)

        def control() -> Numbers:
            looker.turn()
            with counter.running():
                return (run(n),)

        yield Measure(measure, control, looker.rate)
    del held


# ---------------------------------------------------------------- recorded


def processor_time(pids: list[int]) -> float:
    """Seconds for which the threads of processes have run."""
    threads = [t for pid in pids for t in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((t / "schedstat").read_text().split()[0]) for t in threads) / 1e9


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "trace.json")
        words = [inspect.PROGRAM, "record", "-o", str(file), str(os.getpid())]
        with subprocess.Popen(words, stderr=subprocess.DEVNULL) as recorder:
            while not file.exists() or file.stat().st_size == 0:
                if recorder.poll() is not None:
                    raise SystemExit("inspection.py: the recorder has ended")
                time.sleep(0.001)
            try:
                yield
            finally:
                recorder.send_signal(signal.SIGINT)


@contextlib.contextmanager
def chunk1() -> Iterator[Measure]:
    with mproc.get_context("fork").Pool(2) as pool:
        items, family = range(TASKS), [m["pid"] for m in inspect.family()["members"]]
        with recorded():  # its rings are made once
            pool.map(rows.same, items, 1)

        def measure(with_it: bool) -> Numbers:
            with recorded() if with_it else contextlib.nullcontext():
                before, began = processor_time(family), time.perf_counter()
                pool.map(rows.same, items, 1)
                took = time.perf_counter() - began
                return took, processor_time(family) - before

        yield Measure(measure)


# ---------------------------------------------------------------- names


def make_locks(**name: str) -> float:
    context = mproc.get_context("fork")
    began = time.perf_counter()
    for _ in range(LOCKS):
        context.Lock(**name)
    return time.perf_counter() - began


@contextlib.contextmanager
def names() -> Iterator[Measure]:
    yield Measure(lambda named: (make_locks(name="orders") if named else make_locks(),))


@contextlib.contextmanager
def origins() -> Iterator[Measure]:
    """A process reads the variable once, so each run has a process of its own."""

    def measure(with_it: bool) -> Numbers:
        environment = {**os.environ, "MPROC_ORIGIN": "1" if with_it else "0"}
        words = [sys.executable, __file__, "--locks"]
        return (float(subprocess.check_output(words, env=environment)),)

    yield Measure(measure)


# ---------------------------------------------------------------- the table


def streams() -> Iterator[tuple[str, rows.Run]]:
    context = mproc.get_context("fork")
    for kind in ("Queue", "SimpleQueue"):
        for item in ITEMS:
            for pairs in (1, 2):
                run = rows.stream(context, pairs, ITEMS[item], getattr(context, kind))
                yield f"queue.thr.{kind}.{item}.{pairs}p{pairs}c", run
    yield "sync.contended2.lock", rows.contend(context)


def all_rows(ordinary: bool) -> dict[str, tuple[tuple[str, ...], Prepare]]:
    """Of each row the names of its lines, and what measures it."""
    table: dict[str, tuple[tuple[str, ...], Prepare]] = {}
    for name, run in streams():
        line = f"{name} (ordinary looker)" if ordinary else name
        table[name] = (line,), functools.partial(beside_a_looker, run, ordinary)
    name = "pool.map.chunk1"
    table[name] = (name, f"{name} (processor)"), chunk1
    table["lock.name"] = ("lock.name",), names
    table["lock.origin"] = ("lock.origin",), origins
    return table


def interval(values: list[float]) -> tuple[float, float]:
    """Two of the values, between which the median of all such values is, at 95 %.

    A value is below that median as often as above it. So how many of n are below is known: it is
    the number of heads of n coins. The interval leaves out as many values at either end as are
    below with a probability of at most 2.5 %. It leaves out none where even one would be too many.
    """
    n, out, chance = len(values), 0, 0.0
    while (chance := chance + math.comb(n, out) / 2**n) <= 0.025:
        out += 1
    out = max(0, out - 1)
    ascending = sorted(values)
    return ascending[out], ascending[n - 1 - out]


def say(ratios: list[float]) -> str:
    low, high = interval(ratios)
    return f"{statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"


def order(i: int, n: int) -> list[int]:
    """The order of the n runs of round i: each begins as often as any other."""
    runs = [(i + k) % n for k in range(n)]
    return runs[::-1] if i // n % 2 else runs


def print_row(lines: tuple[str, ...], measure: Measure, rounds: int) -> None:
    without = functools.partial(measure.run, False)
    kinds = [functools.partial(measure.run, True), without, without]
    kinds += [measure.control] if measure.control else []
    done: list[list[Numbers]] = []  # of each round: with it, without, without, the control
    for i in range(rounds):
        runs: list[Numbers] = [()] * len(kinds)
        for which in order(i, len(kinds)):
            runs[which] = kinds[which]()
        done.append(runs)
    looks = f"{measure.looks():.0f}" if measure.looks else ""
    for i, line in enumerate(lines):
        asked = say([2 * a[i] / (b[i] + c[i]) for a, b, c, *_ in done])
        other = (
            say([2 * d[0][i] / (b[i] + c[i]) for _, b, c, *d in done]) if measure.control else ""
        )
        itself = say([b[i] / c[i] for _, b, c, *_ in done])
        print(f"| {line} | {asked} | {other} | {itself} | {rounds} | {looks} |", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="the beginning of rows' names")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--seconds", type=float, default=0.1, help="that a run beside a looker takes (0.1)"
    )
    parser.add_argument(
        "--ordinary", action="store_true", help="the looker has ordinary, not idle priority"
    )
    parser.add_argument("--accompany", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--locks", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: at least one round")
    if not 0 < options.seconds <= 60:
        parser.error(f"--seconds {options.seconds}: more than 0, and 60 at most")
    return options


def chosen(beginnings: list[str], ordinary: bool) -> list[tuple[tuple[str, ...], Prepare]]:
    table = all_rows(ordinary)
    for word in beginnings:
        if not any(name.startswith(word) for name in table):
            known = ", ".join(table)
            raise SystemExit(f"inspection.py: no row begins with {word!r}; the rows are {known}")
    wanted = tuple(beginnings) or ("",)
    return [row for name, row in table.items() if name.startswith(wanted)]


def main() -> None:
    options = arguments()
    if options.accompany:
        accompany(*options.accompany, options.ordinary)
    elif options.locks:
        print(make_locks())
    else:
        rows.SHORTEST = options.seconds
        rows_of_table = chosen(options.rows, options.ordinary)
        print(HEAD)
        for lines, prepare in rows_of_table:
            with prepare() as measure:
                print_row(lines, measure, options.rounds)


if __name__ == "__main__":
    main()
