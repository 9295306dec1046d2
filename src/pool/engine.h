/*
 * engine.h - a pool whose workers are an engine's, as the pool sees it
 *
 * SPDX-License-Identifier: MIT
 *
 * The pool talks to the engine's carrier, a process of this machine that sits in all the pool's
 * seats: it takes tasks as workers do, and hands in their results (engine/far.c). What else there
 * is to say goes through a queue, as orders.
 */
#ifndef MPROC_POOL_ENGINE_H
#define MPROC_POOL_ENGINE_H

#include <pthread.h>

#include "pool/inside.h"

#define MPROC__ENGINE_AHEAD 4 /* tasks that are out for each worker, so that none is idle */

enum mproc__order_kind {
    MPROC__ORDER_POOL = 1, /* serve it */
    MPROC__ORDER_DROP,     /* leave it, and say so in place->left */
    MPROC__ORDER_KILL,     /* end the task in `seat` */
    MPROC__ORDER_QUIT      /* end */
};

struct mproc__engine_order {
    uint32_t kind; /* enum mproc__order_kind */
    uint32_t pool;
    uint32_t seat;
    uint32_t seats;
    uint32_t workers;
    uint32_t method;
    mproc_workplace *place;
    char name[64];
};

struct mproc_engine {
    uint32_t handle; /* MPROC__HANDLE_ENGINE */
    pid_t owner;
    mproc_process *carrier;
    mproc_queue *orders;
    mproc_queue *news, *down, *up;
    unsigned nodes, workers;
    pthread_mutex_t lock;
    uint32_t pools; /* ever; under the lock */
    mproc_engine *next;
};

/* ---- pool.c */

/* CPUs that the process may use, by its affinity and by the quotas of its control groups. */
unsigned mproc__default_workers(void);

/* ---- engine.c */

/* May it have these options? -EINVAL, MPROC_EOTHER, MPROC_ESTRANGER. */
int mproc__engine_check(const mproc_pool_options *options);
/* How many seats a pool of so many workers has. */
unsigned mproc__engine_seats(const mproc_engine *engine, unsigned workers);
/* The carrier is to serve the pool, whose number it gives. MPROC_EENGINE: it has ended. */
int mproc__engine_begin(mproc_pool *pool);
/* The carrier is to leave it: when this returns, it has, or it is dead. */
void mproc__engine_leave(mproc_pool *pool);
/* Ends the task in that seat. */
void mproc__engine_kill(mproc_pool *pool, unsigned seat);
/* Has its carrier ended, and with it all its pools? */
bool mproc__engine_has_ended(const mproc_engine *engine, int *exitcode);
/* What died with the carrier fails so. */
void mproc__engine_book_seats(mproc_pool *pool, const mproc_task_error *why);

#endif
