"""How far a map is, on standard error, and where it failed.

A program for mproc alone: the standard pool has no progress=, and does not say which item failed.
"""

from __future__ import annotations

import mproc


def halve(n: int) -> int:
    """Half of an even number."""
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n // 2


def main() -> None:
    """Maps twice; the second map fails."""
    with mproc.Pool(2) as pool:
        halves = pool.map(halve, range(0, 2000, 2), progress=True)
        print(f"{len(halves)} halves, the last is {halves[-1]}")
        try:
            pool.map(halve, [2, 4, 5, 6], 2, progress=True)
        except ValueError as error:
            print(f"{error}: {error.__notes__[0]}")


if __name__ == "__main__":
    main()
