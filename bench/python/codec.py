"""The message codec beside pickle: nanoseconds a call, and how many times faster (above 1) it is.

Usage: python bench/python/codec.py [--rounds N] [NAME...]

Rounds of the two alternate, and the best of each counts: other programs only make a round slower.
"""

import argparse
import datetime
import functools
import pickle
import timeit
from collections.abc import Callable
from typing import Any

from mproc import _mproc

RECORD = {
    "id": 123456,
    "name": "alpha-beta",
    "value": 3.14159,
    "tags": ["x", "y", "z"],
    "ok": True,
    "parent": None,
}

VALUES: dict[str, Any] = {
    "int": 7,
    "int of 64 bits": 2**62,
    "float": 3.14159,
    "text": "alpha-beta",
    "bytes 1 KiB": b"b" * 1024,
    "bytes 64 KiB": b"b" * 65536,
    "bytes 1 MiB": b"b" * (1 << 20),
    "six-key dict": RECORD,
    "task tuple": (17, "double", (21,), {}),
    "1,000 ints": list(range(1000)),
    "100 dicts": [dict(RECORD, tags=list("xyz")) for _ in range(100)],
    "a date (pickled)": datetime.date(2020, 2, 29),
    "a shared list (pickled)": [[1, 2, 3]] * 2,
}


# A partial object costs pickle less than a Python function would.
pickled = functools.partial(pickle.dumps, protocol=5)


def calls_for(function: Callable[[Any], Any], argument: Any) -> int:
    """How many calls make a round of about 20 ms."""
    timer = timeit.Timer("f(x)", globals={"f": function, "x": argument})
    number, seconds = 1, timer.timeit(1)
    while seconds < 0.002:
        number *= 10
        seconds = timer.timeit(number)
    return max(1, int(number * 0.02 / seconds))


def race(ours: tuple, theirs: tuple, rounds: int) -> tuple[float, float]:
    """The best time of a call, in nanoseconds, for each of two (function, argument)."""
    best = []
    timers = []
    for function, argument in (ours, theirs):
        timer = timeit.Timer("f(x)", globals={"f": function, "x": argument})
        timers.append((timer, calls_for(function, argument)))
        best.append(float("inf"))
    for _ in range(rounds):
        for i, (timer, number) in enumerate(timers):
            best[i] = min(best[i], timer.timeit(number) / number * 1e9)
    return best[0], best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only values whose name has this")
    options = parser.parse_args()
    columns = ("dumps", "pickle", "ratio", "loads", "pickle", "ratio")
    print(f"{'ns a call':24}" + "".join(f"{column:>10}" for column in columns))
    for name, value in VALUES.items():
        if options.names and not any(part in name for part in options.names):
            continue
        row = f"{name:24}"
        for ours, theirs in (
            ((_mproc.dumps, value), (pickled, value)),
            ((_mproc.loads, _mproc.dumps(value)), (pickle.loads, pickled(value))),
        ):
            fast, slow = race(ours, theirs, options.rounds)
            row += f"{fast:10.0f}{slow:10.0f}{slow / fast:10.2f}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
