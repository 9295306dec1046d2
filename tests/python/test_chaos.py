"""Each task ends once, with its result or a true error, while the workers are killed at random.

A short run of chaos.py, which runs as long as you like.
"""

import time

import chaos
import pytest

import mproc

SEED = int(time.time())


@pytest.mark.parametrize("face", chaos.FACES)
@pytest.mark.parametrize("method", ("fork", "forkserver"))
def test_each_task_ends_once_whatever_is_killed(face, method):
    print(f"seed {SEED}")
    with chaos.few_descriptors():
        account = chaos.try_face(face, mproc.get_context(method), 8, 2.0, 500, SEED)
    assert account.wrong == []
    assert account.total() >= 500
    assert account.kills > 0
