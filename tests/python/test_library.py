"""mproc.get_include() and mproc.get_library(): programs in C by what the package brings."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

import mproc
from mproc import _library

ROOT = Path(__file__).resolve().parents[2]
CODE = re.search(r"```c\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def build(folder: Path, compiler: str, *words: str) -> Path:
    """Compiles words against the header and library of the package; the program."""
    include, library = mproc.get_include(), mproc.get_library()
    program = folder / "hello"
    command = [*compiler.split(), *words, f"-I{include}", f"-L{library}", "-lmproc"]
    linked = ["-Wl,--build-id", f"-Wl,-rpath,{library}", "-o", str(program)]
    done = subprocess.run([*command, *linked], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return program


def test_the_program_of_the_readme(tmp_path: Path) -> None:
    assert CODE is not None
    source = tmp_path / "hello.c"
    source.write_text(CODE.group(1))
    program = build(tmp_path, os.environ.get("CC", "cc"), "-std=c11", "-Wall", str(source))
    done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[0, 1, 4, 9, 16]\nhello from child\n"


def test_a_program_finds_the_looker_of_the_package(tmp_path: Path) -> None:
    source, trace = tmp_path / "lock.c", tmp_path / "trace.json"
    source.write_text(
        "#include <mproc.h>\n"
        "int main(int argc, char **argv) {\n"
        "    mproc_lock *lock;\n"
        "    return mproc_init(argc, argv) || mproc_lock_new(&lock, 0) ||\n"
        "           mproc_lock_acquire(lock, 0) || mproc_lock_release(lock);\n"
        "}\n"
    )
    program = build(tmp_path, os.environ.get("CC", "cc"), "-std=c11", str(source))
    environment = {**os.environ, "PATH": "", "MPROC_WATCHDOG": "3600", "MPROC_TRACE": str(trace)}
    # Who reads stderr to its end waits for the looker, too.
    done = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(trace.read_text())["traceEvents"]


def test_a_program_opens_the_library_again(tmp_path: Path) -> None:
    """Closed in between it stays in memory, and its family: no arena is made a second time."""
    source, program = tmp_path / "opens.c", tmp_path / "opens"
    source.write_text(
        "#include <dlfcn.h>\n"
        "#include <mproc.h>\n"
        "#include <unistd.h>\n"
        "static int next_descriptor(void) { int fd = dup(0); close(fd); return fd; }\n"
        "static int use(const char *path) {\n"
        "    int (*make)(mproc_lock **, unsigned), (*drop)(void *);\n"
        "    void *library = dlopen(path, RTLD_NOW);\n"
        "    mproc_lock *lock;\n"
        "    if (!library) return 1;\n"
        '    *(void **)&make = dlsym(library, "mproc_lock_new");\n'
        '    *(void **)&drop = dlsym(library, "mproc_drop");\n'
        "    return make(&lock, 0) || drop(lock) || dlclose(library);\n"
        "}\n"
        "int main(int argc, char **argv) {\n"
        "    if (argc < 2 || use(argv[1])) return 2;\n"
        "    int next = next_descriptor();\n"
        "    return use(argv[1]) || next_descriptor() != next;\n"
        "}\n"
    )
    compiler = os.environ.get("CC", "cc").split()
    words = [str(source), f"-I{mproc.get_include()}", "-ldl", "-o", str(program)]
    subprocess.run([*compiler, *words], check=True)
    library = Path(mproc.get_library(), "libmproc.so")
    done = subprocess.run([program, library], stdin=subprocess.DEVNULL, check=False, timeout=60)
    assert done.returncode == 0


def test_a_program_in_cpp(tmp_path: Path) -> None:
    source = tmp_path / "hello.cpp"
    source.write_text(
        "#include <mproc.hpp>\n"
        "int main(int argc, char **argv) {\n"
        "    mproc::init(argc, argv);\n"
        "    mproc::process child([] { return 7; });\n"
        "    child.join();\n"
        "    return *child.exitcode();\n"
        "}\n"
    )
    program = build(tmp_path, os.environ.get("CXX", "c++"), "-std=c++17", str(source))
    done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_the_library_is_of_this_version() -> None:
    header = Path(mproc.get_include(), "mproc.h").read_text()
    numbers = re.findall(r"#define MPROC_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header)
    assert ".".join(numbers) == mproc.__version__


def test_a_package_that_came_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_library, "__file__", str(tmp_path / "_library.py"))
    for function, file in ((mproc.get_include, "mproc.h"), (mproc.get_library, "libmproc.so")):
        with pytest.raises(FileNotFoundError, match=file):
            function()
