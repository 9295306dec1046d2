/*
 * taskq.h - the inside of task queues, for pools
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_TASKQ_H
#define MPROC_TASKQ_H

#include "core/hand.h"
#include "queue.h"
#include "system/base.h"

/* READY: set by the worker when it is about to take its first task. KNOWN: the owner has seen
 * that. */
enum mproc__worker_state { MPROC__WORKER_NEW = 0, MPROC__WORKER_READY, MPROC__WORKER_KNOWN };

/* One worker's line. */
struct mproc__seat {
    _Alignas(MPROC__LINE) uint64_t claim; /* ticket + 1 of the task that it has, 0: none */
    uint64_t token;                       /* the worker, 0: the seat is free */
    uint64_t item;   /* of a map's chunk: the item that the worker is at; the worker's */
    uint32_t state;  /* enum mproc__worker_state; for pools only */
    uint32_t name;   /* of the function that its task runs: a row of core/trace.h; 0: not known */
    uint64_t noted;  /* when the owner has seen first that it has this task; see below */
    uint64_t failed; /* how many tasks have failed in this seat; see below */
};

/* `noted` is one word, so that whoever looks from outside sees the time of one task and not of the
 * next: ms of mproc__os_now(), rounded up, above the last bits of the claim that was seen. `failed`
 * is one word, so that a worker that dies has counted its task or has not: the number above the
 * last bits of the claim that was counted last. */
#define MPROC__SEAT_CLAIM UINT64_C(0xffffff)
#define MPROC__SEAT_CLAIM_BITS 24

/* The owner looks at a worker. A task that is done sooner than the owner looks again costs nothing.
 */
static inline void mproc__seat_note(struct mproc__seat *seat, int64_t now) {
    uint64_t claim = mproc__peek64(&seat->claim) & MPROC__SEAT_CLAIM;
    if (claim != 0 && (mproc__peek64(&seat->noted) & MPROC__SEAT_CLAIM) != claim) {
        mproc__poke64(&seat->noted,
                      (uint64_t)(now / MPROC_MSEC + 1) << MPROC__SEAT_CLAIM_BITS | claim);
    }
}

struct mproc__seat *mproc__taskq_seat(mproc_taskq *tasks, unsigned seat);

/* A task queue inside another object, made into *word; it goes with its owner. */
int mproc__taskq_make(struct mproc__hand *hand, unsigned seats, uint64_t *word);

/* As mproc_taskq_put and mproc_taskq_finish, with buffers that go along; the
 * caller is known to have the seat. */
int mproc__taskq_put(mproc_taskq *tasks, const struct mproc__load *load, uint64_t *ticket);
int mproc__taskq_finish(mproc_taskq *tasks, unsigned seat, const struct mproc__load *load);

/* As mproc_taskq_put() for messages of `head` and a piece each: at least the first of n, which is
 * not 0, and at most all; *put says how many, *ticket which number the first one has. */
int mproc__taskq_put_many(mproc_taskq *tasks, const struct iovec *head, const struct iovec *lent,
                          size_t n, size_t *put, uint64_t *ticket);

/* As mproc_taskq_collect(), for as many as are there, n at most: *got messages, and their tickets.
 * Notices are left out: 0 results may come. *noticed: there was one. As in mproc_queue_get_many()
 * the first message may come without fitting into its room. */
int mproc__taskq_collect_many(mproc_taskq *tasks, mproc_message *messages, uint64_t *tickets,
                              size_t n, size_t *got, bool *noticed, int64_t timeout);

/* The task that a seat's worker has, or had when it died, fails: those who look from outside are
 * told how many have. Of several calls for one task the first counts. For the worker, or for the
 * owner when the worker is dead and reaped. */
void mproc__taskq_count_failure(mproc_taskq *tasks, unsigned seat, uint64_t ticket);

/* Results that nobody has collected. */
uint64_t mproc__taskq_results(const mproc_taskq *tasks);

/* Throws the tasks away that no worker has taken. */
void mproc__taskq_discard(mproc_taskq *tasks);

#endif
