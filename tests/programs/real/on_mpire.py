"""mpire: its pool by each start method, with and without shared objects."""

from mpire import WorkerPool


def double(x):
    return x * 2


def shift(shared, x):
    return shared[0] + x


if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with WorkerPool(n_jobs=2, start_method=method) as pool:
            print(method, pool.map(double, range(10)), sum(pool.imap_unordered(double, range(20))))
        with WorkerPool(n_jobs=2, start_method=method, shared_objects=[5]) as pool:
            print(pool.map(shift, range(5), progress_bar=False))
