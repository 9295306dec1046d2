"""The picture of three locks in a ring, which README shows: it is what `mproc graph` draws."""

import re
import subprocess
import sys
import time
from pathlib import Path

from mproc import inspect

ROOT = Path(__file__).resolve().parents[2]


def without_numbers(picture: str) -> str:
    """Pids and places are others each time."""
    return re.sub(r"\(pid \d+\)|@[0-9a-f]+", "...", picture)


def test_the_picture_is_what_the_tool_draws() -> None:
    drawn = (ROOT / "docs" / "deadlock.svg").read_text()
    with subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "ring.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as ring:
        assert ring.stdout is not None
        assert ring.stdout.readline() == "started\n"
        while inspect.family(ring.pid)["deadlocks"] == 0:
            time.sleep(0.01)
        command = [inspect.PROGRAM, "graph", "--svg", str(ring.pid)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        ring.communicate()
    assert without_numbers(told) == without_numbers(drawn)


def test_readme_shows_the_picture() -> None:
    assert "](docs/deadlock.svg)" in (ROOT / "README.md").read_text()
