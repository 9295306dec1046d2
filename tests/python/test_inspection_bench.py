"""bench/python/inspection.py: every row can be measured, and what cannot be says why."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "bench" / "python" / "inspection.py"

SHORT = """
import sys
sys.path.insert(0, sys.argv[1])
import inspection
inspection.LOCKS, inspection.TASKS = 20, 100
sys.argv = ["inspection.py", "--rounds", "1", "--seconds", "0.001", *sys.argv[2:]]
inspection.main()
"""

PRIORITIES = SHORT.replace(
    "inspection.main()",
    """
running = inspection.Companion.running
def running_and_told(self):
    print(inspection.os.sched_getscheduler(self._process.pid))
    return running(self)
inspection.Companion.running = running_and_told
inspection.main()
""",
)

INTERVAL = """
import sys
sys.path.insert(0, sys.argv[1])
import inspection
print(inspection.interval(list(range(int(sys.argv[2])))))
"""


def run(*arguments: str, code: str = SHORT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, str(PROGRAM.parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("row", "lines"),
    [
        ("queue.thr.SimpleQueue.int.2p2c", ["queue.thr.SimpleQueue.int.2p2c"]),
        ("queue.thr.Queue.1M.1", ["queue.thr.Queue.1M.1p1c"]),
        ("sync.contended2", ["sync.contended2.lock"]),
        ("pool.map", ["pool.map.chunk1", "pool.map.chunk1 (processor)"]),
        ("lock", ["lock.name", "lock.origin"]),
    ],
)
def test_rows(row: str, lines: list[str]) -> None:
    done = run(row)
    assert (done.returncode, done.stderr) == (0, "")
    head, rule, *table = done.stdout.splitlines()
    assert head.split(" | ") == [
        "| row",
        "with it, against without (95 %)",
        "beside a mere counter, against without (95 %)",
        "without, twice (95 %)",
        "rounds",
        "looks a second |",
    ]
    assert rule == "|---|---|---|---|---|---|"
    assert [line.split(" | ")[0] for line in table] == [f"| {name}" for name in lines]
    assert all(line.split(" | ")[4] == "1" for line in table)


@pytest.mark.parametrize("options", [[], ["--ordinary"]])
def test_priority_of_the_looker(options: list[str]) -> None:
    """It has the priority that is asked for. At idle priority it may get no time to look."""
    words = ["--rounds", "2", "--seconds", "0.2", *options]
    done = run(*words, "sync.contended2", code=PRIORITIES)
    assert done.stderr == ""
    *policies, line = done.stdout.splitlines()[2:]
    assert set(policies) == {str(os.SCHED_OTHER if options else os.SCHED_IDLE)}
    name, *_, looks = line.strip("| ").split(" | ")
    assert name == "sync.contended2.lock" + (" (ordinary looker)" if options else "")
    assert int(looks) > 0 if options else looks.isdigit()


@pytest.mark.parametrize(
    ("rounds", "left_out"), [(1, 0), (5, 0), (8, 0), (9, 1), (20, 5), (100, 39)]
)
def test_interval_of_the_median(rounds: int, left_out: int) -> None:
    """The numbers are those of the binomial table: of 20 coins at most 5 are heads in 2.1 %."""
    done = run(str(rounds), code=INTERVAL)
    assert done.stdout == f"({left_out}, {rounds - 1 - left_out})\n"


def test_what_it_does_not_take() -> None:
    assert "no row begins with 'nonsense'" in run("nonsense").stderr
    for words, why in [
        (("--rounds", "0"), "at least one round"),
        (("--seconds", "0"), "more than 0"),
        (("--seconds", "nan"), "more than 0"),
    ]:
        done = run(*words)
        assert done.returncode == 2
        assert why in done.stderr
