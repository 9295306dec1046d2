"""A signal that comes at any instruction of a wait ends it, and of a call loses nothing.

A small sample of what interrupts.py tries; run that file for more.
"""

import platform
import time

import interrupts
import pytest

import mproc

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="reads registers of x86-64")

SEED = int(time.time())


@pytest.fixture
def choice():
    print(f"seed {SEED}")
    return interrupts.Choice(SEED, sample=2, delicate=2)


@pytest.mark.parametrize("make", interrupts.WAITS, ids=lambda make: make.__name__)
def test_no_signal_is_lost_in_a_wait(make, choice):
    if make.__name__.startswith("pool"):  # a hundred thousand instructions to the sleep
        choice = interrupts.Choice(SEED, sample=1, delicate=1)
    points, count, failures = interrupts.run_wait(make, mproc.get_context("fork"), choice)
    assert failures == []
    assert 0 < points <= count


@pytest.mark.parametrize("make", interrupts.STEPS, ids=lambda make: make.__name__)
def test_nothing_is_lost_by_a_handler_that_raises(make, choice):
    points, count, failures = interrupts.run_step(make, mproc.get_context("fork"), choice)
    assert failures == []
    assert 0 < points <= count
