"""scripts/cases.py: what small programs print, beside the list of what is wanted otherwise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/cases.py"
CASE = """
import os, sys
print("ok   good 0.1s")
if os.environ["KIT_MPROC"] == "1" and sys.argv[1] == "fork":
    print("BAD  odd rc=1 0.1s")
    print("     | bad: what was got")
    sys.exit(1)
print("ok   odd 0.1s")
"""
ENTRY = """
[[case]]
case = "{case}"
reason = "so it is"
docs = "programs.md: {words}"
{more}
"""


def run(tmp_path, *words, listed="case = []", program=CASE):
    (tmp_path / "case_some.py").write_text(program)
    (tmp_path / "list.toml").write_text(listed)
    done = subprocess.run(
        [sys.executable, SCRIPT, "--list", tmp_path / "list.toml", *words],
        env={**os.environ, "MPROC_CASES": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def entry(case="some.odd", words="numpy", more='methods = ["fork"]'):
    return ENTRY.format(case=case, words=words, more=more)


def test_a_bad_case_is_shown(tmp_path):
    status, output = run(tmp_path)
    assert status == 1
    assert "bad: what was got" in output
    assert "some.odd fork: bad" in output
    assert "5 ok, 1 not; wrong: 1" in output


def test_a_listed_case_is_no_fault(tmp_path):
    status, output = run(tmp_path, listed=entry())
    assert status == 0, output
    assert "5 ok, 1 not; wrong: 0" in output


@pytest.mark.parametrize(
    "more", ['methods = ["spawn"]', 'until = "3.1"', 'since = "4.0"', 'without = "os"']
)
def test_the_list_means_some_runs_only(tmp_path, more):
    status, output = run(tmp_path, "fork", listed=entry(more=more))
    assert status == 1
    assert "some.odd fork: bad" in output


def test_a_listed_case_that_is_right_is_a_fault(tmp_path):
    status, output = run(tmp_path, "spawn", listed=entry(more=""))
    assert status == 1
    assert "some.odd spawn: listed, but right" in output
    status, output = run(tmp_path, "spawn", listed=entry(more="now_and_then = true"))
    assert status == 0, output


def test_the_documentation_has_to_say_it(tmp_path):
    status, output = run(tmp_path, listed=entry(words="no such words"))
    assert status == 1
    assert "some.odd: docs/programs.md does not say: no such words" in output


def test_the_standard_library_is_not_judged(tmp_path):
    status, output = run(tmp_path, "--standard", "fork")
    assert status == 0, output
    assert "2 ok, 0 not" in output


def test_a_program_that_breaks_off_is_bad(tmp_path):
    status, output = run(tmp_path, "fork", program="raise SystemExit('no such thing')")
    assert status == 1
    assert "no such thing" in output
    assert "some.(the whole file) fork: bad" in output


def test_what_is_not_there(tmp_path):
    status, output = run(tmp_path, "other")
    assert status == 1
    assert "case_other.py" in output
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, SCRIPT],
        env={**os.environ, "MPROC_CASES": str(tmp_path / "empty")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "MPROC_CASES" in done.stderr
