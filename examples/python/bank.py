"""Money moves between accounts that several processes share; none is made or lost.

Each account has a lock. A transfer takes both locks, that of the lower number first, so that no two
clerks wait for each other for ever.
"""

from __future__ import annotations

import mmap
import struct

import mproc
from mproc.synchronize import Lock

ACCOUNTS = 5
CLERKS = 4
TRANSFERS = 1000
OPENING = 100


def transfer(
    locks: list[Lock], balances: memoryview[int], origin: int, target: int, amount: int
) -> None:
    low, high = sorted((origin, target))
    with locks[low], locks[high]:
        balances[origin] -= amount
        balances[target] += amount


def work(locks: list[Lock], balances: memoryview[int], number: int) -> None:
    """All clerks' transfers add up to the same in any order."""
    for i in range(TRANSFERS):
        origin = (number + i) % ACCOUNTS
        transfer(locks, balances, origin, (origin + 1 + i % 3) % ACCOUNTS, 1 + i % 7)


def main() -> None:
    ctx = mproc.get_context("fork")
    locks = [ctx.Lock() for _ in range(ACCOUNTS)]
    balances = memoryview(mmap.mmap(-1, ACCOUNTS * struct.calcsize("q"))).cast("q")
    for i in range(ACCOUNTS):
        balances[i] = OPENING
    clerks = [ctx.Process(target=work, args=(locks, balances, i)) for i in range(CLERKS)]
    for clerk in clerks:
        clerk.start()
    for clerk in clerks:
        clerk.join()
        if clerk.exitcode != 0:
            raise SystemExit(1)
    for i in range(ACCOUNTS):
        print(f"account {i}: {balances[i]}")
    print(f"total after {CLERKS * TRANSFERS} transfers: {sum(balances)}")


if __name__ == "__main__":
    main()
