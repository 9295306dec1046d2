#!/usr/bin/env python3
"""What a small task costs on Dask, Ray and MPI: through mproc, and by the engine's own interface.

    engines.py                    all three, five rounds
    engines.py --rounds 3 dask    one of them

Each engine is started on this machine with two workers of one process each. In every round
`Pool.map` with its default chunks is beside what the engine itself offers for one task, `submit` or
`remote`, both with the same trivial function and awaited to the last result. With Dask and Ray both
use the same workers and take turns in one process. mproc and mpi4py.futures each want all ranks of
a job, so with MPI each has jobs of its own, which take turns. Starting is not timed.

The table gives the medians in us for each task, and the median and the range of the rounds' ratios.
An engine that is not installed leaves a line with the reason. The exit status is 1 if `Pool.map` is
not at least ten times as fast as the engine's own way for one task.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

WORKERS = 2
ASKED = 10  # times
ITEMS = 20_000  # of a map
TASKS = 1_000  # by the engine's own way
TOO_LONG = 600  # seconds for one program
ROOTS = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
SPREAD = {"OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_hwloc_base_binding_policy": "none"}
PACKAGES = {"dask": "distributed", "ray": "ray", "mpi": "mpi4py"}


class Row(NamedTuple):
    """One of an engine's own ways, beside `Pool.map`."""

    own: str
    is_asked: bool  # it is the way of one task, of which the ratio is asked


ROWS = {
    "dask": [Row("client.submit", True), Row("client.map", False)],
    "ray": [Row("function.remote", True), Row("actor.method.remote", False)],
    "mpi": [Row("MPIPoolExecutor.submit", True), Row("MPIPoolExecutor.map", False)],
}


def same(x: int) -> int:
    """Do next to nothing: the task of all."""
    return x


def seconds_each(function: Callable[[int], list[int]], n: int) -> float:
    """Return what each of n tasks takes; the results have to be right."""
    began = time.perf_counter()
    results = function(n)
    took = time.perf_counter() - began
    if results != list(range(n)):
        raise SystemExit("the results are wrong")
    return took / n


def tell(**figures: float) -> None:
    """Print figures for the program that draws the table."""
    print("figures", json.dumps(figures), flush=True)


# ---- programs on an engine


def mapped(pool: Any) -> float:
    """Return what an item of Pool.map takes."""
    return seconds_each(lambda n: pool.map(same, range(n)), ITEMS)


def beside(pool: Any, owns: list[Callable[[int], list[int]]], rounds: int) -> None:
    """Have both take turns; the round before the first counts for nothing."""
    for number in range(rounds + 1):
        ours = mapped(pool)
        figures = {row: seconds_each(own, TASKS) for row, own in zip("01", owns, strict=True)}
        if number > 0:
            tell(ours=ours, **figures)


def run_dask(rounds: int) -> None:
    """Measure on a scheduler of Dask in a process of its own."""
    import distributed

    import mproc
    from mproc.engines import Choice

    starter = subprocess.Popen(
        [sys.executable, __file__, "--program", "dask-cluster"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with starter as held:
        assert held.stdin is not None
        assert held.stdout is not None
        address = held.stdout.readline().strip()
        choice = Choice("dask", address)
        with distributed.Client(address) as client, mproc.Pool(engine=choice) as pool:

            def submit(n: int) -> list[int]:
                return client.gather([client.submit(same, i, pure=False) for i in range(n)])

            def map_(n: int) -> list[int]:
                return client.gather(client.map(same, range(n), pure=False))

            beside(pool, [submit, map_], rounds)
        held.stdin.close()


def hold_dask() -> None:
    """Be a scheduler of Dask with workers until stdin ends; say where."""
    import distributed

    with distributed.LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, scheduler_port=0, dashboard_address=None
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


def run_ray(rounds: int) -> None:
    """Measure on Ray, where two of its own tasks run at a time, too, beside the pool's."""
    import ray

    import mproc
    from mproc.engines import Choice

    ray.init(
        address="local",
        num_cpus=WORKERS,
        resources={"own": WORKERS, "actor": WORKERS},
        include_dashboard=False,
        logging_level="error",
    )
    choice = Choice("ray", workers=WORKERS)
    by_function = ray.remote(num_cpus=0, resources={"own": 1})(same)

    class Own:
        def same(self, x: int) -> int:
            return x

    kind = ray.remote(num_cpus=0, resources={"actor": 1})(Own)
    actors = [kind.remote() for _ in range(WORKERS)]

    def remote(n: int) -> list[int]:
        return ray.get([by_function.remote(i) for i in range(n)])

    def call(n: int) -> list[int]:
        return ray.get([actors[i % WORKERS].same.remote(i) for i in range(n)])

    with mproc.Pool(engine=choice) as pool:
        beside(pool, [remote, call], rounds)
    ray.shutdown()


def run_mpi() -> None:
    """Measure mproc's half of a round, in a job of MPI."""
    import mproc

    with mproc.Pool(WORKERS) as pool:
        mapped(pool)
        tell(ours=mapped(pool))


def run_mpi_itself() -> None:
    """Measure the other half: the program of rank 0 under `-m mpi4py.futures`."""
    from mpi4py.futures import MPIPoolExecutor

    with MPIPoolExecutor() as executor:

        def submit(n: int) -> list[int]:
            return [future.result() for future in [executor.submit(same, i) for i in range(n)]]

        def map_(n: int) -> list[int]:
            return list(executor.map(same, range(n)))

        submit(TASKS)
        tell(**{"0": seconds_each(submit, TASKS), "1": seconds_each(map_, TASKS)})


# ---- the table


def figures_of(command: list[str], **environment: str) -> list[dict[str, float]]:
    """Run a program and return what it has told."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TOO_LONG,
        check=False,
    )
    lines = [line.split(" ", 1)[1] for line in done.stdout.splitlines() if line[:7] == "figures"]
    if done.returncode != 0 or not lines:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return [json.loads(line) for line in lines]


def rounds_of(engine: str, rounds: int) -> Iterator[dict[str, float]]:
    """Yield the figures of each round, in seconds for each task."""
    program = [sys.executable, __file__, "--rounds", str(rounds), "--program", engine]
    if engine != "mpi":
        yield from figures_of(program)
        return
    ours = [sys.executable, "-m", "mproc", "--engine", "mpi", "--workers", str(WORKERS)]
    own = ["mpirun", "-n", str(WORKERS + 1), sys.executable, "-m", "mpi4py.futures"]
    for _ in range(rounds):
        (one,) = figures_of([*ours, *program[1:]], **ROOTS)
        (two,) = figures_of([*own, __file__, "--program", "mpi-itself"], **ROOTS, **SPREAD)
        yield {**one, **two}


def lacks(engine: str) -> str:
    """Return what is not installed for an engine; "": nothing."""
    if importlib.util.find_spec(PACKAGES[engine]) is None:
        return f"{PACKAGES[engine]} is not installed"
    return "" if engine != "mpi" or shutil.which("mpirun") else "no mpirun is installed"


def show(engine: str, rounds: list[dict[str, float]]) -> bool:
    """Print an engine's rows. False: one that is asked for is not reached."""
    reached = True
    ours = 1e6 * statistics.median(figures["ours"] for figures in rounds)
    for key, row in zip("01", ROWS[engine], strict=True):
        own = 1e6 * statistics.median(figures[key] for figures in rounds)
        ratios = [figures[key] / figures["ours"] for figures in rounds]
        ratio = statistics.median(ratios)
        span = f"{ratio:.0f} ({min(ratios):.0f} to {max(ratios):.0f})"
        asked = f"{ASKED}" if row.is_asked else ""
        print(
            f"| {engine} | `{row.own}` | {own:,.0f} | {ours:.2f} | {span} | {asked} |", flush=True
        )
        reached = reached and (ratio >= ASKED or not row.is_asked)
    return reached


def draw(engines: list[str], rounds: int) -> int:
    """Measure engines and print the table; return the exit status."""
    print("| engine | its own way | us | `Pool.map`, us | times better (range) | asked |")
    print("|---|---|---|---|---|---|")
    reached = True
    for engine in engines:
        if missing := lacks(engine):
            print(f"| {engine} | {missing} | | | | |")
            continue
        reached = show(engine, list(rounds_of(engine, rounds))) and reached
    return 0 if reached else 1


def main() -> int:
    """Draw the table, or be one of the programs that it needs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--program", help=argparse.SUPPRESS)
    parser.add_argument("engines", nargs="*", help="of " + ", ".join(ROWS))
    given = parser.parse_args()
    if given.program is None:
        if unknown := set(given.engines) - set(ROWS):
            parser.error(f"no such engine: {', '.join(unknown)}; there are {', '.join(ROWS)}")
        return draw(given.engines or list(ROWS), given.rounds)
    programs: dict[str, Callable[[], None]] = {
        "dask": lambda: run_dask(given.rounds),
        "dask-cluster": hold_dask,
        "ray": lambda: run_ray(given.rounds),
        "mpi": run_mpi,
        "mpi-itself": run_mpi_itself,
    }
    with contextlib.suppress(KeyboardInterrupt):
        programs[given.program]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
