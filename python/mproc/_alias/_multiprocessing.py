"""What `import _multiprocessing` gives to programs that run on mproc.

Its semaphores are the system's, so a process that uses the standard library's can have the same.
"""

from .._mproc import SemLock, sem_unlink

__all__ = ["SemLock", "flags", "sem_unlink"]

flags = {"HAVE_SEM_OPEN": 1, "HAVE_SEM_TIMEDWAIT": 1}
