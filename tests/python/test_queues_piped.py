"""Queues over a pipe: what subclasses get that work on the parts of one."""

import os
import pickle
import queue
import subprocess
import sys

import pytest

import mproc
from mproc import context, queues, reduction
from mproc._queues import piped


class OwnQueue(queues.Queue):
    def _start_thread(self):
        self.started = True
        super()._start_thread()


class OwnJoinableQueue(queues.JoinableQueue):
    def room(self):
        return self._sem.get_value()


class OwnSimpleQueue(queues.SimpleQueue):
    def put(self, obj):
        with self._wlock:
            self._writer.send(obj)


class Unpicklable:
    def __reduce__(self):
        raise TypeError("cannot be sent")


def end(*used):
    for each in used:
        each.close()
        each.join_thread()
        each._reader.close()
        each._writer.close()


def test_a_queue_over_a_pipe_is_neither_shut_down_nor_awaited(fork):
    own = OwnQueue(ctx=fork)
    with pytest.raises(NotImplementedError, match="pipe"):
        own.shutdown()
    with pytest.raises(TypeError, match="pipe"):
        own.aget().send(None)
    end(own)


@pytest.fixture
def fork():
    return mproc.get_context("fork")


def test_subclasses_that_name_no_part_stay_in_the_arena():
    class Watching(queues.Queue):
        def fileno(self):
            return self._reader.fileno()

    class Telling(queues.Queue):
        def _on_queue_feeder_error(self, error, obj):
            pass

    assert not issubclass(Watching, piped.PipedQueue) and not issubclass(Telling, piped.PipedQueue)
    assert issubclass(OwnQueue, piped.PipedQueue) and issubclass(OwnQueue, queues.Queue)
    assert issubclass(OwnJoinableQueue, piped.PipedJoinableQueue)
    assert issubclass(OwnSimpleQueue, piped.PipedSimpleQueue)


def test_a_class_derived_from_such_a_one_changes_nothing(fork):
    class Further(OwnQueue):
        def _start_thread(self):
            super()._start_thread()

    further = Further(ctx=fork)
    further.put(1)
    assert further.get() == 1 and further.started
    end(further)


def test_bound_and_order(fork):
    own = OwnQueue(2, ctx=fork)
    own.put(1)
    own.put(2)
    assert own.full() and own.qsize() == 2
    for put in (own.put_nowait, lambda obj: own.put(obj, timeout=0.01)):
        with pytest.raises(queue.Full):
            put(3)
    assert [own.get(), own.get(timeout=60)] == [1, 2]
    assert own.empty() and own.qsize() == 0
    for get in (own.get_nowait, lambda: own.get(timeout=0.01)):
        with pytest.raises(queue.Empty):
            get()
    end(own)


def test_a_reader_that_waits_lets_no_other_wait_for_longer_than_it_wants(fork):
    own = OwnQueue(ctx=fork)
    with own._rlock, pytest.raises(queue.Empty):
        own.get(timeout=0.01)
    end(own)


def test_many(fork):
    own = OwnQueue(ctx=fork)
    own.put_many(range(5))
    taken = []
    while len(taken) < 5:
        taken += own.get_many(3)
    assert taken == list(range(5)) and own.get_many(0) == []
    end(own)


def test_what_cannot_be_sent_is_told_and_takes_no_room(fork, capsys):
    own = OwnQueue(1, ctx=fork)
    own.put(Unpicklable())
    own.put("next", timeout=30)
    assert own.get() == "next"
    assert "cannot be sent" in capsys.readouterr().err
    end(own)


def test_after_close(fork):
    own = OwnQueue(ctx=fork)
    with pytest.raises(AssertionError):
        own.join_thread()
    own.put("sent before")
    own.close()
    own.join_thread()
    for call in (lambda: own.put(1), own.get, own.get_nowait):
        with pytest.raises(ValueError):
            call()
    assert pickle.loads(own._reader.recv_bytes()) == "sent before"
    end(own)


def test_join_waits_until_all_is_done(fork):
    own = OwnJoinableQueue(ctx=fork)
    with pytest.raises(ValueError):
        own.task_done()
    own.put(1)
    own.get()
    own.task_done()
    own.join()
    end(own)


def test_a_broken_queue_is_given_up_although_the_pipe_is_full(fork):
    own = OwnQueue(ctx=fork)
    own._ignore_epipe = True
    own.put(bytes(10 << 20))
    own._terminate_broken()
    end(own)


def test_only_children_get_it(fork):
    own, simple = OwnQueue(ctx=fork), OwnSimpleQueue(ctx=fork)
    for each in (own, simple):
        with pytest.raises(RuntimeError, match="inheritance"):
            pickle.dumps(each)
    simple.put([1])
    assert not simple.empty() and simple.get() == [1] and simple.empty()
    simple.close()
    end(own)


def _echo(own, simple):
    while (item := own.get()) is not None:
        simple.put(item)


def test_between_processes(ctx):
    own, simple = OwnQueue(ctx=ctx), OwnSimpleQueue(ctx=ctx)
    child = ctx.Process(target=_echo, args=(own, simple))
    child.start()
    for item in ("a", bytes(200_000), None):
        own.put(item)
    assert [simple.get(), simple.get()] == ["a", bytes(200_000)]
    child.join()
    assert child.exitcode == 0
    child.close()
    simple.close()
    end(own)


def _put_and_leave(own):
    own.put(bytes(1 << 20))


def test_a_child_ends_when_what_it_has_put_is_sent(ctx):
    own = OwnQueue(ctx=ctx)
    child = ctx.Process(target=_put_and_leave, args=(own,))
    child.start()
    assert own.get() == bytes(1 << 20)
    child.join()
    assert child.exitcode == 0
    child.close()
    end(own)


def _put_and_go(own):
    own.cancel_join_thread()
    own.put(bytes(1 << 20))
    own.cancel_join_thread()


def test_a_child_does_not_wait_if_it_was_told_not_to(ctx):
    own = OwnQueue(ctx=ctx)
    child = ctx.Process(target=_put_and_go, args=(own,))
    child.start()
    child.join()
    assert child.exitcode == 0
    child.close()
    end(own)


# ---- children that mproc does not start


class ForeignPopen:
    """Offers what reduction needs of the standard library's."""

    def duplicate_for_child(self, fd):
        return fd


def pickled_for(popen, obj):
    context.set_spawning_popen(popen)
    try:
        return bytes(reduction.ForkingPickler.dumps(obj))
    finally:
        context.set_spawning_popen(None)


SPAWN = mproc.get_context("spawn")


@pytest.mark.parametrize("make", [SPAWN.Lock, SPAWN.Queue, lambda: SPAWN.Value("i", 3)])
def test_an_object_lives_until_a_child_of_others_has_taken_it(make):
    popen = ForeignPopen()
    message = pickled_for(popen, make())
    first, second = pickle.loads(message), pickle.loads(message)
    assert type(first) is type(second)
    del popen, second
    if hasattr(first, "acquire"):
        assert first.acquire(timeout=1)
        first.release()


def test_a_program_that_mproc_has_not_started_is_told_what_it_lacks():
    message = pickled_for(ForeignPopen(), SPAWN.Lock())
    program = "import pickle, sys; pickle.load(sys.stdin.buffer)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=message,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(mproc.__file__))},
    )
    assert b"RuntimeError: an object in shared memory cannot be sent to a program" in done.stderr
