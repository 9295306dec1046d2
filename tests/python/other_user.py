"""For tests of the looker: a user other than the family's, and the program as all may run it."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

from mproc import inspect

NOBODY = 65534


@contextlib.contextmanager
def program_for_all(mode: int = 0o755) -> Iterator[str]:
    """A copy of the program, which each user may run, in a directory of that mode."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        os.chmod(place, mode)
        program = shutil.copy(inspect.PROGRAM, place)
        os.chmod(program, 0o755)
        yield program


def as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
