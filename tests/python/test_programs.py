"""Unedited programs: each of tests/programs on the standard library and on mproc does the same.

The programs are small ones in the style of real ones. What is compared: what they print, what they
print on stderr but for the frames of tracebacks, their exit code, and that no process and no file
is left.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import METHODS, wait_until

PROGRAMS = Path(__file__).parents[1] / "programs"
# Packages that programs need, and that may not be to be had.
NEEDS = {"torch_together": ("torch", "joblib", "sklearn", "loky"), "torch_workers": ("torch",)}


def runs_of(path):
    """The runs of a program: one with each start method if it takes one."""
    takes_method = "main(sys.argv[1])" in path.read_text()
    missing = [name for name in NEEDS.get(path.stem, ()) if importlib.util.find_spec(name) is None]
    marks = pytest.mark.skipif(bool(missing), reason=f"not to be had: {', '.join(missing)}")
    for method in METHODS if takes_method else (None,):
        name = f"{path.stem}-{method}" if method else path.stem
        yield pytest.param(path, method, id=name, marks=marks)


RUNS = [run for path in sorted(PROGRAMS.glob("*.py")) for run in runs_of(path)]


def process_group_is_gone(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


# What the module traceback imports when it tells of an error, by version of Python.
LATE = {"3.13": "tokenize", "3.15": "_colorize"}


def on_standard_library(program, name):
    """The environment in which the standard library bears a program.

    A worker that may read no files ends when it tells of an exception and has to import for that,
    and its pool waits for ever.
    """
    late = LATE.get(sysconfig.get_python_version())
    if late is None or name != "confined_workers":
        return {}
    early = program.write("early/sitecustomize.py", f"import {late}\n").parent
    return {"PYTHONPATH": os.pathsep.join((str(early), program.env["PYTHONPATH"]))}


def run(program, folder, *command, **environment):
    """Run a program as a process group of its own; return what came of it."""
    folder.mkdir()
    environment = {**program.env, **environment, "TMPDIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=program.folder,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=600)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    gone = wait_until(lambda: process_group_is_gone(process.pid))
    said = [line for line in err.splitlines() if not line.startswith("  ")]
    return {
        "printed": out,
        "said": said,
        "exit code": process.returncode,
        "files left": os.listdir(folder),
        "processes left": not gone,
    }


@pytest.mark.parametrize(("path", "method"), RUNS)
def test_a_program_does_the_same(program, tmp_path, path, method):
    arguments = [str(path)] if method is None else [str(path), method]
    needed = on_standard_library(program, path.stem)
    on_standard = run(program, tmp_path / "standard", *arguments, **needed)
    on_mproc = run(program, tmp_path / "mproc", "-m", "mproc", *arguments)
    if path.stem in NEEDS:  # threads of the standard library that lose a killed process say so
        del on_standard["said"], on_mproc["said"]
    assert on_mproc == on_standard
    assert on_standard["exit code"] == 0
    assert not on_standard["files left"] and not on_standard["processes left"]
