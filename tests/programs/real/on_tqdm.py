"""tqdm: process_map."""

import os

from tqdm.contrib.concurrent import process_map


def square(x):
    return x * x


if __name__ == "__main__":
    with open(os.devnull, "w") as nowhere:
        print(process_map(square, range(50), max_workers=2, chunksize=5, file=nowhere))
