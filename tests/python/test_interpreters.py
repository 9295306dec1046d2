"""How scripts find the interpreter of a version: a free-threaded build is another one."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
NUMBER = "{}.{}".format(*sys.version_info)
OWN, OTHER = (NUMBER + "t", NUMBER) if FREE_THREADED else (NUMBER, NUMBER + "t")


def find(version, path):
    """What the script finds on a PATH that has nothing but the system's tools and a directory."""
    environment = {**os.environ, "PATH": f"{path}:/usr/bin:/bin", "PYENV_ROOT": str(path)}
    script = SCRIPTS / "find-python.sh"
    return subprocess.run(
        [script, version], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def named(tmp_path):
    """Names of the interpreter that runs this test, in a directory of their own."""

    def name(version):
        base = Path(sys._base_executable)
        script = tmp_path / f"python{version}"
        script.write_text(f'#!/bin/sh\nexec "{base}" "$@"\n', encoding="utf-8")
        script.chmod(0o755)
        return tmp_path

    return name


def test_own_version_is_found(named):
    found = find(OWN, named(OWN))
    assert (found.returncode, found.stderr) == (0, "")
    assert Path(found.stdout.strip()).samefile(sys._base_executable)


def test_other_build_of_the_version_is_refused(named):
    """An interpreter with the GIL is no free-threaded one, whatever its name says."""
    found = find(OTHER, named(OTHER)).stdout.strip()
    assert not found or not Path(found).samefile(sys._base_executable)


def test_only_a_free_threaded_version_is_compiled():
    made = subprocess.run(
        [SCRIPTS / "make-python.sh", NUMBER],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert made.returncode == 1
    assert f"{NUMBER} is no free-threaded version" in made.stderr
