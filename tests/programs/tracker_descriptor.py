"""A program that starts interpreters itself and passes them the resource tracker's descriptor."""

import multiprocessing.resource_tracker as resource_tracker
import os
import subprocess
import sys
from multiprocessing import shared_memory

CHILD = """
import os, sys
from multiprocessing import resource_tracker
tracker = resource_tracker._resource_tracker
tracker._fd, tracker._pid = int(sys.argv[1]), int(sys.argv[2])
print("child:", tracker._check_alive(), tracker._pid == int(sys.argv[2]))
"""


def main():
    tracker = resource_tracker._resource_tracker
    print("at first:", tracker._fd, tracker._pid)
    tracker.ensure_running()
    fd, pid = tracker._fd, tracker._pid
    os.kill(pid, 0)
    os.set_inheritable(fd, True)
    command = [sys.executable, "-c", CHILD, str(fd), str(pid)]
    done = subprocess.run(command, pass_fds=[fd], capture_output=True, text=True, check=False)
    print(done.stdout, done.returncode)
    segment = shared_memory.SharedMemory(create=True, size=100)
    segment.close()
    segment.unlink()
    resource_tracker.ensure_running()
    print("the same:", tracker._fd == fd, tracker._pid == pid, resource_tracker.getfd() == fd)


if __name__ == "__main__":
    main()
