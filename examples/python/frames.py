"""Frames of a camera: one process fills them, others look at them, and none is copied.

The frames are made once, in shared memory. They go round: the camera fills one that is free and
puts it into a queue, a viewer looks at it and gives it back.
"""

from typing import Any

import numpy

import mproc
from mproc.queues import Queue

Picture = tuple[int, Any]  # a number, and an array of pixels

FRAMES = 4
HEIGHT, WIDTH = 480, 640
PICTURES = 40
VIEWERS = 2


def camera(free: Queue[Picture], full: Queue[Picture | None]) -> None:
    for number in range(PICTURES):
        _, frame = free.get()
        frame[...] = number  # as a driver would write into it
        full.put((number, frame))
    for _ in range(VIEWERS):
        full.put(None)


def viewer(
    free: Queue[Picture], full: Queue[Picture | None], results: Queue[tuple[int, int]]
) -> None:
    while (picture := full.get()) is not None:
        number, frame = picture
        results.put((number, int(frame.sum(dtype=numpy.int64))))
        free.put(picture)


def main() -> None:
    free, full, results = mproc.Queue(), mproc.Queue(), mproc.Queue()
    for number in range(FRAMES):
        free.put((number, mproc.empty((HEIGHT, WIDTH), numpy.uint8)))
    processes = [mproc.Process(target=camera, args=(free, full))]
    for _ in range(VIEWERS):
        processes.append(mproc.Process(target=viewer, args=(free, full, results)))
    for process in processes:
        process.start()
    sums = dict(results.get() for _ in range(PICTURES))
    for process in processes:
        process.join()
    print(f"{len(sums)} pictures of {HEIGHT} x {WIDTH} went through {FRAMES} frames")
    print(f"picture 7: {sums[7]}")
    print(f"all: {sum(sums.values())}")


if __name__ == "__main__":
    main()
