"""A process class that starts interpreters by itself, and queues that pickle their own parts."""

import _multiprocessing
import io
import os
import pickle
import subprocess
import sys
from multiprocessing import active_children, current_process
from multiprocessing.context import BaseContext, assert_spawning, set_spawning_popen
from multiprocessing.managers import SyncManager
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue, SimpleQueue
from multiprocessing.reduction import ForkingPickler


class Lock:
    """A semaphore of the system, which is opened by its name."""

    made = 0

    def __init__(self, value=1, most=1):
        Lock.made += 1
        name = f"/foreign-{os.getpid()}-{Lock.made}"
        self._semlock = _multiprocessing.SemLock(1, value, most, name, False)

    def acquire(self, block=True, timeout=None):
        return self._semlock.acquire(block, timeout)

    def release(self):
        self._semlock.release()

    def get_value(self):
        return self._semlock._get_value()

    __enter__ = acquire

    def __exit__(self, *exc_info):
        self.release()

    def __getstate__(self):
        assert_spawning(self)
        semlock = self._semlock
        return semlock.handle, semlock.kind, semlock.maxvalue, semlock.name

    def __setstate__(self, state):
        self._semlock = _multiprocessing.SemLock._rebuild(*state)


class Context(BaseContext):
    _name = "foreign"

    def Lock(self):
        return Lock()

    def BoundedSemaphore(self, value):
        return Lock(value, value)


class OwnQueue(Queue):
    def __getstate__(self):
        assert_spawning(self)
        parts = (self._ignore_epipe, self._maxsize, self._reader, self._writer)
        return (*parts, self._rlock, self._wlock, self._sem, self._opid)

    def __setstate__(self, state):
        self._ignore_epipe, self._maxsize, self._reader, self._writer = state[:4]
        self._rlock, self._wlock, self._sem, self._opid = state[4:]
        self._reset()


class OwnSimpleQueue(SimpleQueue):
    def __getstate__(self):
        assert_spawning(self)
        return self._reader, self._writer, self._rlock, self._wlock

    def __setstate__(self, state):
        self._reader, self._writer, self._rlock, self._wlock = state

    def put(self, obj):
        data = pickle.dumps(obj)
        with self._wlock:
            self._writer.send_bytes(data)


class DupFd:
    def __init__(self, fd):
        self.fd = fd

    def detach(self):
        return self.fd


class Popen:
    DupFd = DupFd

    def __init__(self, process):
        self.fds = []
        message = io.BytesIO()
        set_spawning_popen(self)
        try:
            ForkingPickler(message).dump(process)
        finally:
            set_spawning_popen(None)
        command = [sys.executable, __file__, "child"]
        self.started = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=self.fds)
        self.pid = self.started.pid
        self.sentinel = os.pidfd_open(self.pid)
        self.started.stdin.write(message.getbuffer())
        self.started.stdin.close()

    def duplicate_for_child(self, fd):
        self.fds.append(fd)
        return fd

    def poll(self):
        return self.started.poll()

    def wait(self, timeout=None):
        try:
            return self.started.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self):
        self.started.terminate()


class Process(BaseProcess):
    _start_method = None

    @staticmethod
    def _Popen(process):
        return Popen(process)


def work(tasks, results):
    for number in iter(tasks.get, None):
        results.put((number, number * number))
    results.put(current_process().name)


class ContextOfProcesses(Context):
    Process = Process


def tell(event, numbers):
    numbers.append(current_process().name)
    event.set()


def use_manager():
    """Its server is such a process, too, and so is who uses its objects."""
    with SyncManager(ctx=ContextOfProcesses()) as manager:
        event, numbers = manager.Event(), manager.list([1])
        process = Process(target=tell, args=(event, numbers), name="teller")
        process.start()
        print(event.wait(60), list(numbers))
        process.join()


def main():
    use_manager()
    ctx = Context()
    tasks, results = OwnQueue(3, ctx=ctx), OwnSimpleQueue(ctx=ctx)
    process = Process(target=work, args=(tasks, results), name="worker")
    process.start()
    print(process.is_alive(), active_children() == [process])
    for item in [*range(10), None]:
        tasks.put(item)
    print([results.get() for _ in range(11)])
    process.join()
    print(process.is_alive(), process.exitcode, active_children(), tasks.empty(), results.empty())
    tasks.close()
    tasks.join_thread()
    for lock in (tasks._rlock, tasks._wlock, tasks._sem, results._rlock, results._wlock):
        _multiprocessing.sem_unlink(lock._semlock.name)


if __name__ == "__main__":
    if sys.argv[1:] == ["child"]:
        sys.modules["__mp_main__"] = sys.modules["__main__"]
        sys.exit(pickle.load(sys.stdin.buffer)._bootstrap())
    main()
