"""bench/python/inspection.py: every row can be measured, and what cannot be says why."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "bench" / "python" / "inspection.py"

SHORT = """
import sys
sys.path.insert(0, sys.argv[1])
import inspection
inspection.LONG, inspection.LOCKS, inspection.TASKS = 0.001, 20, 100
sys.argv = ["inspection.py", "--rounds", "1", *sys.argv[2:]]
inspection.main()
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SHORT, str(PROGRAM.parent), *arguments]
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
    assert head == "| row | with it, against without (range) | without, twice (range) |"
    assert rule == "|---|---|---|"
    assert [line.split(" | ")[0] for line in table] == [f"| {name}" for name in lines]


def test_what_it_does_not_take() -> None:
    assert "no row begins with 'nonsense'" in run("nonsense").stderr
    done = run("--rounds", "0")
    assert done.returncode == 2
    assert "at least one round" in done.stderr
