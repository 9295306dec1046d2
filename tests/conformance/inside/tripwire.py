"""Ends a process that executes the standard library's multiprocessing, and logs it."""

import os

LOG = "@LOG@"


def trip(culprit):
    line = f"pid {os.getpid()} executed the standard library's {culprit}\n"
    os.write(2, f"conformance tripwire: {line}".encode())
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.write(log, line.encode())
    os._exit(70)
