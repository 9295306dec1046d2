"""Holders of received arrays killed at random: a short run of chaos_views.py."""

import time

import pytest

pytest.importorskip("numpy", reason="numpy is not installed")

import chaos_views  # it imports numpy

SEED = int(time.time())


def test_the_arena_is_back_to_where_it_was():
    print(f"seed {SEED}")
    chaos = chaos_views.Chaos(SEED)
    chaos.run(0.5)
    print(chaos)
    assert chaos.wrong == []
    assert chaos.kills > 0
