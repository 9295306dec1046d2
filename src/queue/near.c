/*
 * near.c - producers of large messages that stay near the consumers on their CPU
 *
 * SPDX-License-Identifier: MIT
 *
 * On one CPU only one side runs at a time. A producer that runs until its slice ends, or the queue
 * is full, writes more bytes than the CPU's own cache holds, and the consumer reads each of them
 * from farther away. So a producer that is half of that cache ahead of a consumer on its CPU naps
 * until the consumer has taken half of those bytes: what goes through the queue stays in the cache.
 * It does not yield: a scheduler that counts a yield as CPU time used would let strangers on that
 * CPU go before it.
 *
 * Naps cost changes of context. They pay where that cache is large, CACHE_LEAST bytes or more, and
 * the next one is slow (Intel's servers: a stream of 64 KiB messages is half again as fast). Where
 * it is small, naps are many, and bytes leave it all the same (AMD's, 512 KiB: 10.8 GB/s with naps
 * at 1 MiB, 8.6 with naps at 512 KiB, 15.3 with none). There nobody naps.
 *
 * A nap is a hint, and no put depends on it. It ends by itself, also when the consumers are
 * stopped, dead, or were never on this CPU, and a thread takes no second one before a message has
 * been taken. So `near` needs no fence between the head's ticket and the look at its sleepers, and
 * a member that is killed in a nap costs one idle wake. A thread that has taken the last message
 * itself does not nap: it may be its own consumer, which would sleep as well.
 *
 * Consumers may wait for something else than a message, as for the word that a whole batch has been
 * put. So a thread naps less and less often while no message is taken in its naps.
 */
#include "queue/near.h"

#include "system/os.h"

#define CACHE_LEAST ((uint64_t)2 << 20) /* bytes of the second level */
#define MESSAGES_LEAST 4                /* fewer of them make no stream of what fits the cache */
#define VAIN_MOST 8                     /* after so many vain naps 1 of 256 is taken */
#define NAP ((int64_t)1000 * 1000) /* ns at most: a consumer on the same CPU takes many meanwhile */

/* The head's ticket that the last nap of this thread saw no message taken at. If it is another
 * queue's by chance, one nap is left out. At ticket 0 nobody has taken anything yet. */
static MPROC__THREAD uint64_t stood;

/* The head's ticket after the last large message that this thread has taken. The same holds. */
static MPROC__THREAD uint64_t took;

/* How many naps of this thread, the last of all, have been in vain; and how many it leaves out. */
static MPROC__THREAD unsigned vain, left_out;

uint64_t mproc__queue_near = MPROC__NEAR_UNKNOWN;

/* The system is asked once in a process, or by two threads at once, which get the same answer. */
static uint64_t near_bytes(void) {
    uint64_t bytes = mproc__peek64(&mproc__queue_near);
    if (mproc__unlikely(bytes == MPROC__NEAR_UNKNOWN)) {
        uint64_t cache = mproc__os_cache_own();
        bytes = cache >= CACHE_LEAST ? cache / 2 : 0;
        mproc__poke64(&mproc__queue_near, bytes);
    }
    return bytes;
}

/* So many messages of that size may producers be ahead. What takes its bytes along elsewhere has
 * none. */
static uint64_t near_of(size_t size) {
    return size != 0 ? near_bytes() / size : UINT64_MAX;
}

/* Of a nap that was taken at a ticket of the head. */
static void learn(uint64_t head, bool was_vain) {
    stood = was_vain ? head : 0;
    vain = !was_vain ? 0 : vain < VAIN_MOST ? vain + 1 : VAIN_MOST;
    left_out = (1U << vain) - 1;
}

void mproc__queue_stay_near(mproc_queue *queue, size_t size, int64_t timeout) {
    uint64_t most = near_of(size), head = mproc__queue_head_ticket(queue);
    if (most < MESSAGES_LEAST || timeout == 0 || head == stood || head == took ||
        mproc__queue_inside(queue) < most || !mproc__queue_is_here(&queue->consumer_cpu)) {
        return;
    }
    if (left_out > 0) {
        left_out--;
        stood = head;
        return;
    }
    uint32_t seen = mproc__eventcount_announce(&queue->near);
    if (mproc__queue_inside(queue) >= most) {
        int64_t slice = timeout > 0 && timeout < NAP ? timeout : NAP;
        (void)mproc__eventcount_sleep(&queue->near, seen, slice);
    }
    learn(head, mproc__queue_head_ticket(queue) == head);
}

void mproc__queue_came_near(mproc_queue *queue, size_t size) {
    took = mproc__queue_head_ticket(queue);
    if (mproc__eventcount_awaited(&queue->near) &&
        mproc__queue_inside(queue) <= near_of(size) / 2) {
        mproc__eventcount_wake_sleepers(&queue->near);
    }
}
