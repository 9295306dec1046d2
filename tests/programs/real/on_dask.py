"""dask: a bag computed by the scheduler "processes"."""

import dask.bag


def add_one(x):
    return x + 1


if __name__ == "__main__":
    bag = dask.bag.from_sequence(range(20), npartitions=4).map(add_one)
    print(bag.compute(scheduler="processes", num_workers=2))
