"""What a manager's proxies do at random is what the standard library's do."""

import os
import re
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
NUMBER = 600  # calls of a run

# Kinds of which the texts of errors are the standard library's words: the built-in types do it.
TEXTS = {"dict", "list", "array", "namespace"}


def lines_of(library, seed):
    done = subprocess.run(
        [sys.executable, os.path.join(HERE, "at_random.py"), library, str(seed), str(NUMBER)],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def comparable(line):
    _, kind, *_ = line.split(" ", 2)
    return line if kind in TEXTS else re.sub(r"( ! \w+): .*", r"\1", line)


@pytest.mark.parametrize("seed", range(8))
def test_the_same_at_random(seed):
    theirs, ours = lines_of("multiprocessing", seed), lines_of("mproc", seed)
    assert len(ours) == len(theirs) > NUMBER
    pairs = zip(theirs, ours, strict=True)
    differ = [pair for pair in pairs if comparable(pair[0]) != comparable(pair[1])]
    assert not differ
