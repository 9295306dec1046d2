"""What a signal's handler raises at any place of a call leaves no task open; see interrupted.py."""

import random
import time

import interrupted
import pytest

SEED = int(time.time())

CASES = [
    pytest.param(face, operation, id=f"{face.__name__}-{operation.__name__}")
    for face, operations in interrupted.FACES.items()
    for operation in operations
]


@pytest.mark.parametrize(("face", "operation"), CASES)
def test_an_interrupt_leaves_no_task_open(face, operation):
    if face is interrupted.joblib:
        pytest.importorskip("joblib", reason="joblib is not installed")
    print(f"seed {SEED}")
    assert interrupted.run(face, operation, interrupted.sample(random.Random(SEED))) > 0
