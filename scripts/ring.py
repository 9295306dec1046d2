"""Three processes that wait for each other's locks: for the picture in README.md."""

from __future__ import annotations

import sys
from typing import Any

import mproc

NAMES = ["reader", "parser", "writer"]


def take_two(mine: Any, theirs: Any, barrier: Any) -> None:
    with mine:
        barrier.wait()
        theirs.acquire()


def pose(children: list[Any]) -> None:
    """Have the processes run until the picture is taken, which ends the standard input."""
    for child in children:
        child.start()
    print("started", flush=True)
    sys.stdin.read()  # until the picture is taken
    for child in children:
        child.kill()


def main() -> None:
    context = mproc.get_context("fork")
    locks = [context.Lock() for _ in NAMES]
    barrier = context.Barrier(len(NAMES))
    children = [
        context.Process(
            target=take_two, args=(locks[i], locks[(i + 1) % 3], barrier), name=name, daemon=True
        )
        for i, name in enumerate(NAMES)
    ]
    pose(children)


if __name__ == "__main__":
    main()
