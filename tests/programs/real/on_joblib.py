"""joblib: large arrays, and calls inside calls, on the backend that the command line names."""

import sys

import numpy
from joblib import Parallel, delayed


def add(array, number):
    return float(array.sum()) + number, type(array).__name__


def powers(x):
    return sum(Parallel(n_jobs=2)(delayed(pow)(x, i) for i in range(3)))


if __name__ == "__main__":
    array, backend = numpy.arange(300_000.0), sys.argv[1]
    print(Parallel(n_jobs=2, backend=backend)(delayed(add)(array, i) for i in range(6)))
    print(Parallel(n_jobs=2, backend=backend)(delayed(powers)(i) for i in range(4)))
