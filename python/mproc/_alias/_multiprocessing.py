"""The module that programs on mproc get by `import _multiprocessing`.

Its semaphores are the system's, so a process that uses the standard library can share them.
"""

from .._mproc import SemLock, sem_unlink

__all__ = ["SemLock", "flags", "sem_unlink"]

flags = {"HAVE_SEM_OPEN": 1, "HAVE_SEM_TIMEDWAIT": 1}
