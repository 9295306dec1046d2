"""rich: a progress bar that follows an executor."""

from concurrent.futures import ProcessPoolExecutor, as_completed

from rich.progress import Progress


def double(x):
    return x * 2


if __name__ == "__main__":
    results = []
    with Progress(transient=True) as progress, ProcessPoolExecutor(2) as executor:
        task = progress.add_task("doubling", total=10)
        for future in as_completed([executor.submit(double, x) for x in range(10)]):
            results.append(future.result())
            progress.advance(task)
    print(sorted(results))
