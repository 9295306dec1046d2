"""Proves that the parent and every kind of child see the package under test, and nothing else.

Usage: -m mproc_conformance.selfcheck DIRECTORY METHOD...
Each witness writes a file in that directory; what is wrong is printed.
"""

import os
import subprocess
import sys

from mproc_conformance import found

WITNESS = "from mproc_conformance.selfcheck import testify; testify({!r})"
TIMEOUT = 60


def home(name):
    return os.path.join(os.path.dirname(os.__file__), name) + os.sep


def stands_beside_os(module):
    return os.path.dirname(module.__file__) == os.path.dirname(os.__file__)


def complaint():
    """What is wrong with this process' idea of multiprocessing, or an empty string."""
    import _multiprocessing
    import multiprocessing.process

    module = sys.modules["multiprocessing.process"]
    if not module.__file__.startswith(home(found.PACKAGE)):
        return f"multiprocessing.process is {module.__file__}"
    if multiprocessing.process is not module:
        return "multiprocessing.process is not the module in sys.modules"
    if sys.modules[f"{found.PACKAGE}.process"] is not module:
        return f"multiprocessing.process is a second copy of {found.PACKAGE}.process"
    if found.PACKAGE == "mproc" and not stands_beside_os(_multiprocessing):
        return f"_multiprocessing is {_multiprocessing.__file__}"
    return ""


def testify(path):
    with open(path, "w") as file:
        file.write(complaint() or "fine")


def started(method, path):
    import multiprocessing

    process = multiprocessing.get_context(method).Process(target=testify, args=(path,))
    process.start()
    process.join(TIMEOUT)
    if process.exitcode is None:
        process.terminate()
        process.join()
        return f"did not end within {TIMEOUT} s"
    return f"exit code {process.exitcode}" if process.exitcode else ""


def executed(flags, path):
    command = [sys.executable, *flags, "-c", WITNESS.format(path)]
    result = subprocess.run(command, timeout=TIMEOUT, capture_output=True, text=True)
    return f"exit code {result.returncode}: {result.stderr}" if result.returncode else ""


def verdict(name, problem, path):
    """One line for a witness that failed or saw something else."""
    if not problem and not os.path.exists(path):
        problem = "said nothing"
    if not problem:
        with open(path) as file:
            seen = file.read()
        problem = "" if seen == "fine" else seen
    return f"{name}: {problem}" if problem else ""


def witnesses(methods):
    """Name and way of starting of every kind of process that can run the suite's code."""
    yield "parent", testify
    for method in methods:
        yield f"{method} child", lambda path, method=method: started(method, path)
    for flags in (["-I"], ["-E", "-S", "-O"]):
        yield f"{' '.join(flags)} child", lambda path, flags=flags: executed(flags, path)


def main(directory, *methods):
    if "multiprocessing" in sys.modules:
        print("parent: multiprocessing is imported at start-up")
    for name, start in witnesses(methods):
        path = os.path.join(directory, name.replace(" ", "_"))
        try:
            problem = start(path) or ""
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        line = verdict(name, problem, path)
        if line:
            print(line, flush=True)


if __name__ == "__main__":
    from mproc_conformance import selfcheck  # children look for its functions by this name

    selfcheck.main(*sys.argv[1:])
