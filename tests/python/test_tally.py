"""scripts/tally.py: the sum of several runners fails whenever one of them did."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TALLY = Path(__file__).parents[2] / "scripts" / "tally.py"
TWO = '<testcase classname="t" name="one"/><testcase classname="t" name="two"/>'
GREEN = f"<testsuite>{TWO}</testsuite>"
RED = '<testsuite><testcase classname="t" name="one"><failure message="no"/></testcase></testsuite>'
MESON = {"name": "test_queue", "result": "OK", "stdout": "3 passed, 0 failed\n", "returncode": 0}


def tally(result: Path) -> tuple[int, list[str]]:
    """The exit status, and the lines that were printed."""
    ran = subprocess.run(
        [sys.executable, TALLY, f"python={result}"], capture_output=True, text=True, check=False
    )
    assert ran.stderr == ""
    return ran.returncode, ran.stdout.splitlines()


def leave(folder: Path, name: str, text: str, status: object) -> Path:
    """What a runner leaves: its result, and beside it its exit status."""
    result = folder / name
    result.write_text(text)
    output = result if result.suffix == ".log" else result.with_suffix(".log")
    Path(f"{output}.exit").write_text(f"{status}\n")
    return result


def test_all_passed(tmp_path: Path) -> None:
    assert tally(leave(tmp_path, "python.xml", GREEN, 0)) == (0, ["2 passed, 0 failed"])


# Interrupted, an internal error, a wrong call, nothing collected, a limit of time, a signal.
@pytest.mark.parametrize("status", [2, 3, 4, 5, 124, 137, 139])
def test_a_runner_that_broke_off_after_a_green_result(tmp_path: Path, status: int) -> None:
    code, lines = tally(leave(tmp_path, "python.xml", GREEN, status))
    assert code == 1
    assert lines[-1] == "2 passed, 1 failed"
    assert f"exit status {status}" in lines[0]


def test_a_failure_that_the_result_does_not_name(tmp_path: Path) -> None:
    code, lines = tally(leave(tmp_path, "python.xml", GREEN, 1))
    assert (code, lines[-1]) == (1, "2 passed, 1 failed")


def test_a_failed_test_counts_once(tmp_path: Path) -> None:
    code, lines = tally(leave(tmp_path, "python.xml", RED, 1))
    assert code == 1
    assert lines == ["FAILED   python: t.one: no", "0 passed, 1 failed"]


def test_a_failed_test_before_the_end(tmp_path: Path) -> None:
    assert tally(leave(tmp_path, "python.xml", RED, 139))[1][-1] == "0 passed, 2 failed"


def test_what_the_runner_said_is_shown(tmp_path: Path) -> None:
    result = leave(tmp_path, "python.xml", GREEN, 1)
    result.with_suffix(".log").write_text("Fatal Python error: Segmentation fault\n")
    assert "    | Fatal Python error: Segmentation fault" in tally(result)[1]


@pytest.mark.parametrize("name", ["python.xml", "python.json", "python.log"])
def test_a_result_without_a_status(tmp_path: Path, name: str) -> None:
    result = leave(tmp_path, name, GREEN, 0)
    result.with_name("python.log.exit").unlink()
    code, lines = tally(result)
    assert code == 1
    assert "left no readable result" in lines[0]


def test_mesons_result(tmp_path: Path) -> None:
    result = leave(tmp_path, "python.json", json.dumps(MESON) + "\n", 0)
    assert tally(result) == (0, ["3 passed, 0 failed"])


def test_meson_that_broke_off(tmp_path: Path) -> None:
    result = leave(tmp_path, "python.json", json.dumps(MESON) + "\n", 124)
    assert tally(result)[1][-1] == "3 passed, 1 failed"


def test_an_output(tmp_path: Path) -> None:
    assert tally(leave(tmp_path, "python.log", "4 passed, 0 failed\n", 0))[0] == 0
    assert tally(leave(tmp_path, "python.log", "4 passed, 0 failed\n", 139))[0] == 1


def test_nothing_ran(tmp_path: Path) -> None:
    code, lines = tally(leave(tmp_path, "python.xml", "<testsuite/>", 0))
    assert (code, lines) == (1, ["FAILED   no test ran", "0 passed, 0 failed"])
