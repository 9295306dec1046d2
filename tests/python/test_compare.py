"""bench/python/compare.py: every row can be measured, and what cannot be says why."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "bench" / "python"
sys.path.insert(0, str(FOLDER))
import compare  # noqa: E402
import rows  # noqa: E402

sys.path.remove(str(FOLDER))


ONCE = """
import sys, rows
rows.SHORTEST, rows.RUNS, rows.LIBRARY = 0, 1, sys.argv[1]
print(rows.measure(sys.argv[2], "fork"))
"""


@pytest.mark.parametrize("library", ["mproc", "multiprocessing"])
@pytest.mark.parametrize("name", rows.ROWS)
def test_every_row(name: str, library: str) -> None:
    command = [sys.executable, "-c", ONCE, library, name]
    done = subprocess.run(
        command, cwd=FOLDER, capture_output=True, text=True, timeout=120, check=True
    )
    assert 0 < float(done.stdout) < math.inf
    assert done.stderr == ""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / "compare.py"), "--rounds", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_table() -> None:
    done = run("--method", "spawn", "process.is_alive")
    assert done.returncode == 0
    head, rule, line = done.stdout.splitlines()
    assert head == "| work | multiprocessing | mproc | times better (range) |"
    assert rule == "|---|---|---|---|"
    assert line.startswith("| `Process.is_alive()` | ")
    assert line.count("|") == head.count("|")


def test_a_row_that_is_not_there() -> None:
    done = run("nonsense")
    assert done.returncode == 1
    assert "no row begins with 'nonsense'" in done.stderr


def test_no_rounds() -> None:
    done = run("--rounds", "0", "lock")
    assert done.returncode == 2
    assert "at least one round" in done.stderr


def test_a_library_that_is_not_there() -> None:
    done = run("--library", "nonsense", "lock.two")
    assert done.returncode == 1
    assert "No module named 'nonsense'" in done.stdout


def test_a_library_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleeper.py").write_text("import time\ntime.sleep(1000)\n")
    monkeypatch.setattr(compare, "TOO_LONG", 2)
    with pytest.raises(compare.Failed, match="did not end within 2 s"):
        compare.measure(f"sleeper@{tmp_path}", "fork", "lock")


def test_a_build_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("raise SystemExit('this is the one')\n")
    with pytest.raises(compare.Failed, match="this is the one"):
        compare.measure(f"other@{tmp_path}", "fork", "lock")


@pytest.mark.parametrize(
    ("number", "rate", "text"),
    [
        (12345.6, True, "12.3 k/s"),
        (2.5e6, True, "2.5 M/s"),
        (3.2e-5, False, "32 us"),
        (4e-10, False, "0.4 ns"),
    ],
)
def test_units(number: float, rate: bool, text: str) -> None:
    assert compare.with_unit(number, rate) == text


def test_a_ratio_says_how_many_times_better() -> None:
    assert "2 (2 to 2)" in compare.line("lock", [(4.0, 2.0)])  # seconds: less is better
    assert "0.5 (0.5 to 0.5)" in compare.line("queue.int", [(4.0, 2.0)])  # a rate
