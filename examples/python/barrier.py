"""Heat spreads along a rod: each process computes its part, phase by phase.

All read the old temperatures and write the new ones; nobody begins the next phase before all have
ended this one. The last to come counts the phase, before all pass.
"""

import mmap

import mproc

CELLS = 16
PARTS = 4
PHASES = 100
COUNT = 2 * CELLS  # where the phases are counted, behind both rows of cells


class CountPhase:
    def __init__(self, cells):
        self.cells = cells

    def __call__(self):
        self.cells[COUNT] += 1


def following(old, i):
    left, right = old[max(i - 1, 0)], old[min(i + 1, CELLS - 1)]
    return (left + 2 * old[i] + right) // 4


def compute(barrier, cells, number):
    rows = cells[:CELLS], cells[CELLS:COUNT]
    for phase in range(PHASES):
        old, new = rows[phase % 2], rows[(phase + 1) % 2]
        for i in range(number * CELLS // PARTS, (number + 1) * CELLS // PARTS):
            new[i] = following(old, i)
        barrier.wait()


def main():
    ctx = mproc.get_context("fork")
    cells = memoryview(mmap.mmap(-1, 8 * (COUNT + 1))).cast("q")
    cells[0] = 1_000_000
    barrier = ctx.Barrier(PARTS, CountPhase(cells))
    processes = [ctx.Process(target=compute, args=(barrier, cells, i)) for i in range(PARTS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode != 0:
            raise SystemExit(1)
    last = cells[(PHASES % 2) * CELLS :][:CELLS]
    print(f"after {cells[COUNT]} phases: {' '.join(map(str, last))}")


if __name__ == "__main__":
    main()
