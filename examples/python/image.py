"""An image filter: processes smooth bands of an image that is in named shared memory."""

from __future__ import annotations

import mproc
from mproc.shared_memory import SharedMemory

WIDTH, HEIGHT, BANDS = 320, 240, 4


def pixels_of(segment: SharedMemory) -> memoryview[int]:
    """A segment's bytes, until it is closed."""
    assert segment.buf is not None
    return segment.buf


def smooth_band(names: tuple[str, str], band: int) -> None:
    """Each pixel becomes the mean of itself and its four neighbours, rounded down."""
    source, target = (SharedMemory(name) for name in names)
    try:
        import numpy as np

        old = np.ndarray((HEIGHT, WIDTH), dtype=np.uint8, buffer=source.buf).astype(np.uint32)
        new = np.ndarray((HEIGHT, WIDTH), dtype=np.uint8, buffer=target.buf)
        first, last = band * HEIGHT // BANDS, (band + 1) * HEIGHT // BANDS
        wide = np.pad(old, 1, mode="edge")
        total = wide[1:-1, 1:-1] + wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2]
        new[first:last] = ((total + wide[1:-1, 2:]) // 5)[first:last]
        del new
    except ImportError:
        smooth_plainly(pixels_of(source), pixels_of(target), band)
    source.close()
    target.close()


def smooth_plainly(old: memoryview[int], new: memoryview[int], band: int) -> None:
    for y in range(band * HEIGHT // BANDS, (band + 1) * HEIGHT // BANDS):
        up, here, down = max(y - 1, 0) * WIDTH, y * WIDTH, min(y + 1, HEIGHT - 1) * WIDTH
        for x in range(WIDTH):
            left, right = max(x - 1, 0), min(x + 1, WIDTH - 1)
            total = old[here + x] + old[up + x] + old[down + x] + old[here + left]
            new[here + x] = (total + old[here + right]) // 5


def checksum(pixels: memoryview[int]) -> int:
    total = 0
    for i, pixel in enumerate(pixels):
        total = (total + pixel * (i % 251 + 1)) % 1000003
    return total


def main() -> None:
    source = SharedMemory(create=True, size=WIDTH * HEIGHT)
    target = SharedMemory(create=True, size=WIDTH * HEIGHT)
    pixels = pixels_of(source)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            pixels[y * WIDTH + x] = (x * x + y * 7 + (x ^ y)) % 256
    names = (source.name, target.name)
    workers = [mproc.Process(target=smooth_band, args=(names, band)) for band in range(BANDS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(f"before: {checksum(pixels)}")
    print(f"after: {checksum(pixels_of(target))}")
    for segment in (source, target):
        segment.close()
        segment.unlink()


if __name__ == "__main__":
    main()
