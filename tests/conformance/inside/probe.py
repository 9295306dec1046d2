"""Prints, as JSON, what the suite needs and the package under test lacks.

Run once per shadow, before it is used. The suite's file names some modules and attributes when it
is imported; what the package lacks of these is filled with placeholders while that file is
executed (see absent.py). `_multiprocessing` is the module that programs get by that name when they
run on the package; `_posixshmem` offers what its extension offers under the same names.
"""

import importlib
import json

PUBLIC = (
    "Array AuthenticationError Barrier BoundedSemaphore BufferTooShort Condition Event"
    " JoinableQueue Lock Manager Pipe Pool Process ProcessError Queue RLock RawArray RawValue"
    " Semaphore SimpleQueue TimeoutError Value active_children current_process parent_process"
    " set_executable"
)
DUMMY = (
    "Process active_children current_process Pool Pipe Queue JoinableQueue Lock RLock Semaphore"
    " BoundedSemaphore Condition Event Barrier Value Array connection"
)
NEEDED = {
    "": PUBLIC.split(),
    "connection": ["wait"],
    "dummy": DUMMY.split(),
    "heap": [],
    "managers": ["BaseManager", "BaseProxy", "RemoteError"],
    "pool": [],
    "process": [],
    "queues": [],
    "resource_tracker": [],
    "synchronize": ["Lock"],
    "util": ["SUBWARNING"],
}
EXTENSION = {
    "_multiprocessing": ("mproc._alias._multiprocessing", ["SemLock", "sem_unlink", "flags"]),
    "_posixshmem": ("mproc._mproc", ["shm_open", "shm_unlink"]),
}


def load(name):
    """The module, or None where there is none of that name; other errors are the package's."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def missing():
    modules, names = [], []
    for part, wanted in NEEDED.items():
        module = load(f"mproc.{part}" if part else "mproc")
        if module is None:
            modules.append(part)
            continue
        names += [[part, name] for name in wanted if not hasattr(module, name)]
    return {"modules": modules, "names": names}


def offered():
    return {
        alias: [source, [name for name in names if hasattr(load(source), name)]]
        for alias, (source, names) in EXTENSION.items()
    }


if __name__ == "__main__":
    print(json.dumps({"absent": missing(), "extension": offered()}))
