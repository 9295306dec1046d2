"""Heat spreads along a rod: each process computes its part, phase by phase.

All processes read the old temperatures and write the new ones. None begins the next phase before
all have ended this one. The last to arrive counts the phase before all pass.
"""

from __future__ import annotations

import mmap

import mproc
from mproc.synchronize import Barrier

POINTS = 16
PARTS = 4
PHASES = 100
COUNT = 2 * POINTS  # where the phases are counted, after both rows of points


class CountPhase:
    def __init__(self, heat: memoryview[int]) -> None:
        self.heat = heat

    def __call__(self) -> None:
        self.heat[COUNT] += 1


def following(old: memoryview[int], i: int) -> int:
    left, right = old[max(i - 1, 0)], old[min(i + 1, POINTS - 1)]
    return (left + 2 * old[i] + right) // 4


def compute(barrier: Barrier, heat: memoryview[int], number: int) -> None:
    rows = heat[:POINTS], heat[POINTS:COUNT]
    for phase in range(PHASES):
        old, new = rows[phase % 2], rows[(phase + 1) % 2]
        for i in range(number * POINTS // PARTS, (number + 1) * POINTS // PARTS):
            new[i] = following(old, i)
        barrier.wait()


def main() -> None:
    ctx = mproc.get_context("fork")
    heat = memoryview(mmap.mmap(-1, 8 * (COUNT + 1))).cast("q")
    heat[0] = 1_000_000
    barrier = ctx.Barrier(PARTS, CountPhase(heat))
    processes = [ctx.Process(target=compute, args=(barrier, heat, i)) for i in range(PARTS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode != 0:
            raise SystemExit(1)
    last = heat[(PHASES % 2) * POINTS :][:POINTS]
    print(f"after {heat[COUNT]} phases: {' '.join(map(str, last))}")


if __name__ == "__main__":
    main()
