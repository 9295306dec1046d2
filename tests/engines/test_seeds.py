"""Programs that people write, on Dask and Ray: the snippets with a pool or an executor.

The documents, and what their snippets leave undefined, are those of tests/python/test_seeds.py.
Nothing in them is edited: the engine is chosen by the command line.
"""

import importlib.util
import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 120
STARTS = 60  # seconds that a scheduler has for its start
DASK = """
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, scheduler_port=0, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        input()
"""


def said_address(holder):
    """What the process that holds a scheduler says first: the port is one that the system chose."""
    ready, _, _ = select.select([holder.stdout], [], [], STARTS)
    address = holder.stdout.readline().strip() if ready else ""
    assert address.startswith("tcp://"), f"no scheduler has begun within {STARTS} s: {address!r}"
    return address


def load_seeds():
    path = Path(__file__).resolve().parents[1] / "python/test_seeds.py"
    spec = importlib.util.spec_from_file_location("seeds", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


seeds = load_seeds()
NAMES = seeds.POOLS


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """The address of a scheduler of Dask that runs, with two workers."""
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("distributed is not installed")
    script = tmp_path_factory.mktemp("scheduler") / "cluster.py"
    script.write_text(DASK)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, script], **pipes) as holder:
        try:
            yield said_address(holder)
        finally:
            holder.stdin.close()
            holder.wait(timeout=60)


def run_snippet(name, folder, *engine):
    """Run it on an engine, and look at what it prints."""
    text = seeds.SNIPPETS[name]
    if absent := seeds.foreign(text):
        pytest.skip(f"there is no {', '.join(absent)} here")
    script = folder / "snippet.py"
    script.write_text(seeds.PRELUDE.get(name, "") + text)
    done = subprocess.run(
        [sys.executable, "-m", "mproc", "--engine", *engine, script],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    if name in seeds.OUTPUT:
        assert re.fullmatch(seeds.OUTPUT[name], done.stdout), done.stdout


@pytest.mark.skipif(not NAMES, reason="there are no documents: set MPROC_SEEDS")
def test_there_are_snippets():
    assert len(NAMES) >= 9


@pytest.mark.parametrize("snippet", NAMES)
def test_snippet_on_dask(scheduler, snippet, tmp_path):
    run_snippet(snippet, tmp_path, "dask", "--address", scheduler)


@pytest.mark.parametrize("snippet", NAMES if os.environ.get("ALL_SNIPPETS") else NAMES[:2])
def test_snippet_on_ray(snippet, tmp_path):
    """Each starts Ray anew, which takes seconds: ALL_SNIPPETS=1 for all of them."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    run_snippet(snippet, tmp_path, "ray", "--workers", "2")
