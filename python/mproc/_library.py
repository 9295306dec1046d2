"""Where the package keeps the C library and its headers: get_include(), get_library()."""

from __future__ import annotations

import os

__all__ = ["get_include", "get_library"]


def get_include() -> str:
    """The folder of mproc.h and mproc.hpp, for a C or C++ compiler's -I."""
    return _folder_of("include", "mproc.h")


def get_library() -> str:
    """The folder of libmproc.so, for a linker's -L and its -rpath.

    The library is the one of `make install`. It has no version in its name: a program that was
    linked with it runs with this installation of the package.
    """
    return _folder_of("lib", "libmproc.so")


def _folder_of(folder: str, file: str) -> str:
    """The package's folder; FileNotFoundError if it came without the file."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), folder)
    if not os.path.isfile(os.path.join(path, file)):
        raise FileNotFoundError(f"this mproc has no {file} in {path}: install mproc from a wheel")
    return path
