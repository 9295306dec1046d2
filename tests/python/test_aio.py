"""Waiting in asyncio programs: queues, locks, semaphores, events, processes, pools."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import threading
import time

import pytest

import mproc
from mproc import aio
from mproc.pool import ThreadPool

METHODS = ["fork", "spawn", "forkserver"]


async def settle() -> None:
    """Let the coroutines that were started come to where they wait."""
    for _ in range(5):
        await asyncio.sleep(0)


def put_all(queue, items) -> None:
    for item in items:
        queue.put(item)


# ---- queues


def test_get_of_what_is_there():
    queue = mproc.Queue()
    queue.put(1)
    assert asyncio.run(queue.aget()) == 1


@pytest.mark.parametrize("method", METHODS)
def test_get_of_what_another_process_puts(method):
    ctx = mproc.get_context(method)
    queue = ctx.Queue()

    async def main():
        process = ctx.Process(target=put_all, args=(queue, range(5)))
        getting = [asyncio.create_task(queue.aget()) for _ in range(5)]
        await settle()
        process.start()
        items = await asyncio.gather(*getting)
        await process.ajoin()
        assert process.exitcode == 0
        return items

    assert asyncio.run(main()) == list(range(5))


def test_simple_queue():
    queue = mproc.SimpleQueue()

    async def main():
        getting = asyncio.create_task(queue.aget())
        await settle()
        await queue.aput("x")
        return await getting

    assert asyncio.run(main()) == "x"


def test_put_waits_for_room():
    queue = mproc.Queue(1)

    async def main():
        await queue.aput(1)
        putting = asyncio.create_task(queue.aput(2))
        await settle()
        assert not putting.done()
        assert queue.get() == 1
        await putting
        assert queue.get() == 2

    asyncio.run(main())


def test_put_waits_for_room_of_bytes():
    queue = mproc.Queue(maxbytes=100)

    async def main():
        await queue.aput(b"x" * 200)
        putting = asyncio.create_task(queue.aput(b"y"))
        await settle()
        assert not putting.done()
        queue.get()
        await putting

    asyncio.run(main())
    assert queue.get() == b"y"


def test_join():
    queue = mproc.JoinableQueue()
    queue.put(1)

    async def main():
        joining = asyncio.create_task(queue.ajoin())
        await settle()
        assert not joining.done()
        await queue.aget()
        queue.task_done()
        await joining

    asyncio.run(main())


def test_waiters_of_a_loop_come_in_order():
    queue = mproc.Queue()

    async def main():
        getting = [asyncio.create_task(queue.aget()) for _ in range(10)]
        await settle()
        for number in range(10):
            queue.put(number)
        return await asyncio.gather(*getting)

    assert asyncio.run(main()) == list(range(10))


def test_a_cancelled_get_takes_nothing():
    queue = mproc.Queue()

    async def main():
        getting = asyncio.create_task(queue.aget())
        await settle()
        getting.cancel()
        await settle()
        queue.put(1)
        assert await queue.aget() == 1

    asyncio.run(main())


def test_a_get_that_is_cancelled_when_it_was_told_tells_the_next():
    queue = mproc.Queue()

    async def main():
        first, second = (asyncio.create_task(queue.aget()) for _ in range(2))
        await settle()
        place = next(iter(aio._hub_of(asyncio.get_running_loop()).places.values()))
        queue.put("x")
        place.told()
        first.cancel()
        assert await second == "x"
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())


def test_a_timeout_loses_nothing():
    queue = mproc.Queue()

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(queue.aget(), 0.01)
        queue.put(1)
        assert await asyncio.wait_for(queue.aget(), 60) == 1

    asyncio.run(main())


def test_what_cannot_be_sent_is_an_error_of_put():
    async def main():
        with pytest.raises(Exception, match=r"pickle|local"):
            await mproc.Queue(1).aput(lambda: None)

    asyncio.run(main())


def test_a_closed_queue_raises():
    queue = mproc.Queue()
    queue.close()

    async def main():
        with pytest.raises(ValueError, match="closed"):
            await queue.aget()

    asyncio.run(main())


@pytest.mark.parametrize("immediate", [False, True])
def test_shutdown_ends_what_is_awaited(immediate):
    from mproc.queues import ShutDown

    queue, full = mproc.JoinableQueue(), mproc.Queue(1)
    full.put(1)
    undone = mproc.JoinableQueue()
    undone.put(1)

    async def main():
        waiting = [queue.aget(), queue.aget(), full.aput(2)]
        waiting = [asyncio.create_task(one) for one in waiting]
        joining = asyncio.create_task(undone.ajoin())
        await settle()
        queue.shutdown(immediate)
        full.shutdown(immediate)
        for one in waiting:
            with pytest.raises(ShutDown):
                await one
        undone.shutdown(immediate=True)
        await joining

    asyncio.run(main())


def put_randomly(queues, numbers) -> None:
    for number in numbers:
        random.choice(queues).put(number)


def test_a_thousand_coroutines_at_a_hundred_queues_and_a_storm_of_cancellations():
    """No thread, and no item is lost."""
    queues = [mproc.Queue() for _ in range(100)]
    count = 20000
    got: list[int] = []

    async def take(queue) -> None:
        while True:
            got.append(await queue.aget())

    async def main():
        ctx = mproc.get_context("fork")
        threads = threading.active_count()
        process = ctx.Process(target=put_randomly, args=(queues, range(count)))
        takers = [asyncio.create_task(take(queues[i % 100])) for i in range(1000)]
        await settle()
        process.start()
        while len(got) < count:
            await asyncio.sleep(0.001)
            for _ in range(50):
                which = random.randrange(1000)
                takers[which].cancel()
                takers[which] = asyncio.create_task(take(queues[which % 100]))
            assert threading.active_count() == threads
        await process.ajoin()
        for taker in takers:
            taker.cancel()
        await asyncio.gather(*takers, return_exceptions=True)

    asyncio.run(main())
    assert sorted(got) == list(range(count))
    assert all(queue.empty() for queue in queues)


def take_until_none(queue, results) -> None:
    async def main():
        while (item := await queue.aget()) is not None:
            await results.aput(item)

    asyncio.run(main())


def test_loops_of_several_processes_share_a_queue():
    queue, results = mproc.Queue(), mproc.Queue(3)
    ctx = mproc.get_context("fork")
    processes = [ctx.Process(target=take_until_none, args=(queue, results)) for _ in range(3)]
    for process in processes:
        process.start()

    async def main():
        for number in range(300):
            queue.put(number)
        got = [await results.aget() for _ in range(300)]
        put_all(queue, [None] * 3)
        await asyncio.gather(*(process.ajoin() for process in processes))
        return got

    assert sorted(asyncio.run(main())) == list(range(300))


def wait_to_be_killed(queue, ready) -> None:
    async def main():
        getting = asyncio.create_task(queue.aget())
        await settle()
        ready.set()
        await getting

    asyncio.run(main())


def test_a_killed_waiter_takes_nothing_along():
    queue, ready = mproc.Queue(), mproc.Event()
    process = mproc.get_context("fork").Process(target=wait_to_be_killed, args=(queue, ready))
    process.start()
    ready.wait()
    process.kill()

    async def main():
        getting = asyncio.create_task(queue.aget())
        await process.ajoin()
        queue.put("x")
        assert await getting == "x"

    asyncio.run(main())


def test_loops_in_threads():
    queue = mproc.Queue()
    got = []

    async def main():
        got.append(await queue.aget())

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    put_all(queue, range(4))
    for thread in threads:
        thread.join()
    assert sorted(got) == [0, 1, 2, 3]


def test_a_loop_that_is_closed_with_waiters():
    queue = mproc.Queue()
    loop = asyncio.new_event_loop()
    getting = loop.create_task(queue.aget())
    loop.run_until_complete(settle())
    getting._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    queue.put(1)
    del getting, loop
    gc.collect()
    assert queue.get() == 1


def fork_and_use(queue) -> int:
    async def main():
        return await queue.aget()

    return asyncio.run(main())


def test_fork_while_a_loop_runs():
    queue, answers = mproc.Queue(), mproc.Queue()

    async def main():
        getting = asyncio.create_task(queue.aget())
        await settle()
        pid = os.fork()
        if pid == 0:
            try:
                asyncio._set_running_loop(None)
                answers.put(fork_and_use(queue))
            finally:
                os._exit(0)
        queue.put("one")
        queue.put("two")
        one = await getting
        two = await answers.aget()
        os.waitpid(pid, 0)
        assert sorted([one, two]) == ["one", "two"]

    asyncio.run(main())


def test_ctrl_c():
    queue = mproc.Queue()

    async def main():
        getting = asyncio.create_task(queue.aget())
        await settle()
        os.kill(os.getpid(), signal.SIGINT)
        await getting

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    queue.put(1)
    assert queue.get() == 1


# ---- synchronisation


def test_event():
    event = mproc.Event()

    async def main():
        waiting = [asyncio.create_task(event.await_()) for _ in range(3)]
        await settle()
        event.set()
        event.clear()  # who waited goes on all the same
        assert await asyncio.gather(*waiting) == [True] * 3
        event.set()
        assert await event.await_()

    asyncio.run(main())


def test_event_that_comes_and_goes_before_the_waiting_is_armed(monkeypatch):
    event = mproc.Event()
    arm = aio._Place.arm

    def late(place) -> None:
        event.set()
        event.clear()
        arm(place)

    monkeypatch.setattr(aio._Place, "arm", late)
    assert asyncio.run(asyncio.wait_for(event.await_(), 10))


def hold(lock, held, release) -> None:
    with lock:
        held.set()
        release.wait()


@pytest.mark.parametrize(
    "make", [mproc.Lock, mproc.Semaphore, mproc.BoundedSemaphore], ids=lambda make: make.__name__
)
def test_lock_of_another_process(make):
    lock, held, release = make(), mproc.Event(), mproc.Event()
    process = mproc.get_context("fork").Process(target=hold, args=(lock, held, release))
    process.start()

    async def take():
        async with lock:
            assert not lock.acquire(False)

    async def main():
        await held.await_()
        taking = [asyncio.create_task(take()) for _ in range(3)]
        await settle()
        taking[1].cancel()
        release.set()
        await taking[0]
        await taking[2]
        await process.ajoin()

    asyncio.run(main())
    assert lock.acquire(False)
    lock.release()


def test_a_cancelled_lock_is_not_held():
    lock = mproc.Lock()

    async def main():
        await lock.aacquire()
        taking = asyncio.create_task(lock.aacquire())
        await settle()
        taking.cancel()
        await settle()
        lock.release()
        assert not lock.locked()

    asyncio.run(main())


def die_with(lock, held) -> None:
    lock.acquire()
    held.set()
    time.sleep(600)


@pytest.mark.parametrize("recover", [False, True])
def test_the_holder_dies(recover):
    lock = mproc.Lock(on_owner_death="recover" if recover else "raise")
    held = mproc.Event()
    process = mproc.get_context("fork").Process(target=die_with, args=(lock, held))
    process.start()

    async def main():
        await held.await_()
        taking = asyncio.create_task(lock.aacquire())
        await settle()
        process.kill()
        if recover:
            assert await taking
            lock.release()
        else:
            with pytest.raises(mproc.OwnerDiedError):
                await taking

    asyncio.run(main())
    process.join()


def test_permits_of_the_dead_come_back():
    permits, held = mproc.BoundedSemaphore(1), mproc.Event()
    process = mproc.get_context("fork").Process(target=die_with, args=(permits, held))
    process.start()

    async def main():
        await held.await_()
        taking = asyncio.create_task(permits.aacquire())
        await settle()
        process.kill()
        assert await taking
        permits.release()

    asyncio.run(main())
    process.join()


# ---- processes, pools


def test_process_join_is_awaited_by_several():
    release = mproc.Event()
    process = mproc.get_context("fork").Process(target=release.wait)
    process.start()

    async def main():
        joining = [asyncio.create_task(process.ajoin()) for _ in range(3)]
        await settle()
        joining[0].cancel()
        release.set()
        await asyncio.gather(*joining[1:])
        assert process.exitcode == 0

    asyncio.run(main())


def square(x: int) -> int:
    if x < 0:
        raise ValueError(x)
    return x * x


def test_pool():
    async def main():
        with mproc.get_context("fork").Pool(2) as pool:
            assert await pool.aapply(square, (3,)) == 9
            assert await pool.amap(square, range(10)) == [x * x for x in range(10)]
            assert [x async for x in pool.aimap(square, range(50), 3)] == [x * x for x in range(50)]
            squares = {x async for x in pool.aimap_unordered(square, range(50))}
            assert squares == {x * x for x in range(50)}
            with pytest.raises(ValueError, match="-1"):
                await pool.aapply(square, (-1,))

    asyncio.run(main())


def test_imap_goes_on_behind_an_error():
    async def main():
        with mproc.get_context("fork").Pool(1) as pool:
            results = pool.aimap(square, [1, -1, 2])
            assert await anext(results) == 1
            with pytest.raises(ValueError, match="-1"):
                await anext(results)
            assert await anext(results) == 4
            with pytest.raises(StopAsyncIteration):
                await anext(results)
            with pytest.raises(ValueError, match="Chunksize"):
                pool.aimap(square, [], 0)

    asyncio.run(main())


@pytest.mark.parametrize("threads", [False, True])
def test_a_map_of_nothing(threads):
    async def main():
        make = ThreadPool if threads else mproc.get_context("fork").Pool
        with make(1) as pool:
            assert await asyncio.wait_for(pool.amap(square, []), 60) == []

    asyncio.run(main())


def test_a_pool_that_is_terminated_fails_what_is_awaited():
    async def main():
        with mproc.get_context("fork").Pool(1) as pool:
            waiting = asyncio.create_task(pool.aapply(time.sleep, (600,)))
            await settle()
            pool.terminate()
            with pytest.raises(mproc.ProcessError, match="terminated"):
                await asyncio.wait_for(waiting, 60)

    asyncio.run(main())


def test_imap_reads_its_items_as_it_goes():
    read = []

    def items():
        for i in range(1000):
            read.append(i)
            yield i

    async def main():
        with mproc.get_context("fork").Pool(1) as pool:
            results = pool.aimap(square, items())
            assert await anext(results) == 0
            assert len(read) < 20

    asyncio.run(main())


def test_imap_raises_what_its_items_raise_in_its_place():
    def items():
        yield from range(3)
        raise LookupError("the items")

    async def main(kind):
        with mproc.get_context("fork").Pool(2) as pool:
            results, got = getattr(pool, kind)(square, items()), []
            with pytest.raises(LookupError, match="the items"):
                async for x in results:
                    got.append(x)
            assert sorted(got) == [0, 1, 4]
            with pytest.raises(StopAsyncIteration):
                await anext(results)

    asyncio.run(main("aimap"))
    asyncio.run(main("aimap_unordered"))


def test_imap_of_a_pool_that_is_closed_meanwhile():
    async def main():
        with mproc.get_context("fork").Pool(1) as pool:
            results, got = pool.aimap(square, range(99)), []
            with pytest.raises(ValueError, match="Pool not running"):
                async for x in results:
                    got.append(x)
                    pool.close()
            assert got == [x * x for x in range(len(got))]
            assert 1 < len(got) < 99

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["aimap", "aimap_unordered"])
def test_who_takes_no_more_of_an_imap_hears_no_more_of_it(kind):
    complaints = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
        with mproc.get_context("fork").Pool(1) as pool:
            results = getattr(pool, kind)(square, [1, -1, 2, -1, 3])
            assert await anext(results) == 1
            running = list(results._running)
        await asyncio.wait(running)
        del results, running
        gc.collect()

    asyncio.run(main())
    assert complaints == []


@pytest.mark.parametrize("kind", ["aimap", "aimap_unordered"])
@pytest.mark.parametrize("chunksize", [1, 7])
def test_coroutines_share_the_results_of_an_imap(kind, chunksize):
    async def take(results, got):
        async for x in results:
            got.append(x)

    async def main():
        with mproc.get_context("fork").Pool(2) as pool:
            results, got = getattr(pool, kind)(square, range(100), chunksize), []
            await asyncio.gather(*(take(results, got) for _ in range(5)))
            assert sorted(got) == [x * x for x in range(100)]

    asyncio.run(main())


def stop():
    raise StopIteration(3)


@pytest.mark.parametrize("threads", [False, True])
def test_a_stop_iteration_of_a_task_is_an_error(threads):
    async def main():
        make = ThreadPool if threads else mproc.get_context("fork").Pool
        with make(1) as pool:
            with pytest.raises(RuntimeError, match="a task raised StopIteration") as caught:
                await asyncio.wait_for(pool.aapply(stop), 60)
            assert caught.value.__cause__.value == 3

    asyncio.run(main())


# ---- conditions


def notify_when_waiting(condition, waiters: int, n: int) -> None:
    while condition._waiting() < waiters:
        time.sleep(0.001)
    with condition:
        condition.notify(n)


async def wait_at(condition, done: list, i: int) -> None:
    async with condition:
        assert await condition.await_()
        assert condition._lock.locked()
        done.append(i)


@pytest.mark.parametrize("method", METHODS)
def test_condition_that_another_process_notifies(method):
    ctx = mproc.get_context(method)
    condition = ctx.Condition(ctx.Lock())
    done: list[int] = []

    async def main():
        process = ctx.Process(target=notify_when_waiting, args=(condition, 3, 2))
        process.start()
        waiting = [asyncio.create_task(wait_at(condition, done, i)) for i in range(3)]
        await asyncio.wait(waiting[:2])
        assert done == [0, 1]  # those that came first
        assert condition._waiting() == 1
        async with condition:
            condition.notify_all()
        await asyncio.gather(*waiting)
        await process.ajoin()
        assert process.exitcode == 0

    asyncio.run(main())
    assert condition._waiting() == 0


def test_condition_and_a_thread_that_waits():
    condition = mproc.Condition(mproc.Lock())
    done: list[int] = []

    def block():
        with condition:
            condition.wait()
            done.append(0)

    async def main():
        thread = threading.Thread(target=block)
        thread.start()
        while condition._waiting() < 1:
            await asyncio.sleep(0.001)
        waiting = asyncio.create_task(wait_at(condition, done, 1))
        await settle()
        for count in (1, 2):
            async with condition:
                condition.notify()
            while len(done) < count:
                await asyncio.sleep(0.001)
        await waiting
        thread.join()

    asyncio.run(main())
    assert done == [0, 1]


def test_a_cancelled_condition_consumes_no_notification():
    condition = mproc.Condition(mproc.Lock())
    done: list[int] = []

    async def main():
        waiting = [asyncio.create_task(wait_at(condition, done, i)) for i in range(3)]
        await settle()
        waiting[0].cancel()  # before the notification
        await asyncio.wait(waiting[:1])
        async with condition:
            condition.notify()
            await settle()
            waiting[1].cancel()  # it was notified, and waits for the lock
            await settle()
            assert not waiting[1].done()
        await asyncio.wait(waiting)
        assert [task.cancelled() for task in waiting] == [True, True, False]

    asyncio.run(main())
    assert done == [2]
    assert condition._waiting() == 0
    assert not condition._lock.locked()


def test_a_timeout_at_a_condition_has_the_lock_again():
    condition = mproc.Condition(mproc.Lock())

    async def main():
        async with condition:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(condition.await_(), 0.01)
            assert condition._lock._is_mine()

    asyncio.run(main())
    assert condition._waiting() == 0


def test_await_for():
    condition = mproc.Condition(mproc.Lock())
    shown: list[int] = []

    async def show():
        for i in range(3):
            async with condition:
                shown.append(i)
                condition.notify_all()
            await asyncio.sleep(0)

    async def main():
        showing = asyncio.create_task(show())
        async with condition:
            assert await condition.await_for(lambda: len(shown) == 3 and "all") == "all"
            assert await aio.wait_for(condition, lambda: 7) == 7
        await showing

    asyncio.run(main())


def test_condition_over_an_rlock_says_what_to_do():
    condition = mproc.Condition()

    async def main():
        with pytest.raises(TypeError, match=r"RLock .* use a Lock, or Condition\(Lock\(\)\)"):
            await condition.aacquire()
        with condition, pytest.raises(TypeError, match="RLock"):
            await condition.await_()

    asyncio.run(main())
    assert condition._waiting() == 0


def test_condition_that_is_not_acquired():
    condition = mproc.Condition(mproc.Lock())
    with pytest.raises(AssertionError, match="must acquire"):
        asyncio.run(aio.wait(condition))


def wait_for_ever(condition) -> None:
    async def main():
        async with condition:
            await condition.await_()

    asyncio.run(main())


def test_the_notification_of_a_killed_coroutine_goes_on():
    condition = mproc.Condition(mproc.Lock())
    done: list[int] = []
    process = mproc.get_context("fork").Process(target=wait_for_ever, args=(condition,))
    process.start()
    while condition._waiting() < 1:
        time.sleep(0.001)

    async def main():
        waiting = asyncio.create_task(wait_at(condition, done, 1))
        await settle()
        os.kill(process.pid, signal.SIGSTOP)
        async with condition:
            condition.notify()
        process.kill()
        await waiting

    asyncio.run(main())
    process.join()
    assert done == [1]


def die_with_the_lock(condition) -> None:
    condition.acquire()
    condition.notify()
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_notifier_dies_with_the_lock():
    condition = mproc.Condition(mproc.Lock())
    process = mproc.get_context("fork").Process(target=die_with_the_lock, args=(condition,))

    async def main():
        async with condition:
            process.start()
            with pytest.raises(mproc.OwnerDiedError):
                await condition.await_()
            assert condition._lock._is_mine()

    asyncio.run(main())
    process.join()
    assert not condition._lock.locked()


def test_conditions_of_loops_in_threads():
    condition = mproc.Condition(mproc.Lock())
    done: list[int] = []
    threads = [
        threading.Thread(target=lambda i=i: asyncio.run(wait_at(condition, done, i)))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for count in range(1, 5):
        while condition._waiting() != 5 - count:
            time.sleep(0.001)
        with condition:
            condition.notify()
        while len(done) != count:
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 1, 2, 3]


def test_a_storm_of_cancellations_at_a_condition_loses_no_notification():
    condition = mproc.Condition(mproc.Lock())
    rng = random.Random(5)
    done: list[int] = []

    async def main():
        waiting = {asyncio.create_task(wait_at(condition, done, i)) for i in range(60)}
        given = 0
        while True:
            await asyncio.sleep(0.001)
            waiting = {task for task in waiting if not task.done()}
            if not waiting:
                break
            if len(waiting) > 20:
                rng.choice(sorted(waiting, key=id)).cancel()
            async with condition:
                before = condition._waiting()
                condition.notify()
                given += before > 0
        return given

    given = asyncio.run(asyncio.wait_for(main(), 60))
    assert len(done) <= given
    assert condition._waiting() == 0
    assert not condition._lock.locked()


# ---- barriers


def pass_in_process(barrier, index) -> None:
    index.put(barrier.wait())


@pytest.mark.parametrize("method", METHODS)
def test_barrier_with_another_process(method):
    ctx = mproc.get_context(method)
    barrier, index = ctx.Barrier(3), ctx.Queue()

    async def main():
        process = ctx.Process(target=pass_in_process, args=(barrier, index))
        process.start()
        mine = await asyncio.gather(barrier.await_(), barrier.await_())
        assert sorted([*mine, await index.aget()]) == [0, 1, 2]
        await process.ajoin()

    asyncio.run(main())


def test_a_cancelled_party_has_not_come():
    barrier = mproc.Barrier(2)

    async def main():
        first = asyncio.create_task(barrier.await_())
        await settle()
        assert barrier.n_waiting == 1
        first.cancel()
        await asyncio.wait([first])
        assert barrier.n_waiting == 0
        assert not barrier.broken
        assert sorted(await asyncio.gather(barrier.await_(), barrier.await_())) == [0, 1]

    asyncio.run(main())


def test_action_of_a_barrier():
    ran: list[int] = []
    barrier = mproc.Barrier(3, action=lambda: ran.append(1))

    async def main():
        for _ in range(5):
            await asyncio.gather(*[barrier.await_() for _ in range(3)])

    asyncio.run(main())
    assert ran == [1] * 5


def test_action_that_fails_breaks_the_barrier():
    barrier = mproc.Barrier(2, action=lambda: 1 / 0)

    async def main():
        return await asyncio.gather(barrier.await_(), barrier.await_(), return_exceptions=True)

    results = asyncio.run(main())
    assert [type(e) for e in results] == [threading.BrokenBarrierError, ZeroDivisionError]
    assert barrier.broken


def test_a_barriers_own_timeout_breaks_it():
    barrier = mproc.Barrier(2, timeout=0.01)
    with pytest.raises(threading.BrokenBarrierError):
        asyncio.run(aio.wait(barrier))
    assert barrier.broken


@pytest.mark.parametrize("end", ["abort", "reset"])
def test_abort_and_reset_end_what_is_awaited(end):
    barrier = mproc.Barrier(2)

    async def main():
        first = asyncio.create_task(barrier.await_())
        await settle()
        getattr(barrier, end)()
        with pytest.raises(threading.BrokenBarrierError):
            await first

    asyncio.run(main())
    assert barrier.broken == (end == "abort")


def await_barrier(barrier) -> None:
    asyncio.run(aio.wait(barrier))


def test_a_killed_party_breaks_the_barrier():
    barrier = mproc.Barrier(3)
    process = mproc.get_context("fork").Process(target=await_barrier, args=(barrier,))
    process.start()
    while barrier.n_waiting < 1:
        time.sleep(0.001)

    async def main():
        mine = asyncio.create_task(barrier.await_())
        await settle()
        process.kill()
        with pytest.raises(threading.BrokenBarrierError):
            await mine

    asyncio.run(main())
    process.join()


def test_tickets_are_not_made_of_other_things():
    condition, barrier = mproc.Condition(mproc.Lock()), mproc.Barrier(2)
    for call in (condition._notified, condition._end, barrier._try, barrier._end):
        with pytest.raises(TypeError, match="ticket"):
            call(b"x" * 32)
