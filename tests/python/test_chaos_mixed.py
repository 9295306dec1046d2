"""C and Python members on the same objects, killed at random: a short run of chaos_mixed.py."""

import time

import chaos_mixed

SEED = int(time.time())


def test_every_message_is_accounted_for():
    print(f"seed {SEED}")
    chaos = chaos_mixed.Chaos(SEED)
    chaos.run(0.5)
    print(chaos)
    assert chaos.wrong == []
