/*
 * wire.h - what the processes of an engine say to each other
 *
 * SPDX-License-Identifier: MIT
 *
 * Within a machine messages go through queues of the family, between machines through the
 * transport; they are the same bytes. All machines run the same file of the program, so structures
 * are sent as they are. What comes from another machine is judged before it is used: sizes, numbers
 * of pools and seats.
 */
#ifndef MPROC_WIRE_H
#define MPROC_WIRE_H

#include "process/function.h"
#include "system/base.h"

#define MPROC__WIRE_VERSION 1

enum mproc__wire_kind {
    MPROC__WIRE_HELLO = 1, /* a node is ready: `count` workers by default, `version` */
    MPROC__WIRE_BEAT,      /* a sign of life */
    MPROC__WIRE_POOL,      /* a pool begins: struct mproc__wire_pool follows */
    MPROC__WIRE_TASK,      /* a task: struct mproc__wire_task, then its bytes */
    MPROC__WIRE_KILL,      /* the task in `seat` is to end, running or not */
    MPROC__WIRE_REPLY,     /* a task's end: struct mproc__wire_reply, then its result */
    MPROC__WIRE_DROP,      /* a pool ends, and with it what it has open */
    MPROC__WIRE_LOST,      /* this node has lost its agent, and ends */
    MPROC__WIRE_QUIT       /* the engine ends */
};

struct mproc__wire {
    uint32_t kind; /* enum mproc__wire_kind */
    uint32_t version;
    uint32_t pool;
    uint32_t seat;
    uint64_t count;
};

/* What applies to a node's share of a pool. */
struct mproc__wire_pool {
    uint32_t workers;
    uint32_t method;
    uint64_t max_tasks;
    uint32_t has_init, has_exit, has_handler;
    uint32_t pad;
    struct mproc__function_ref init, exit, handler;
    char name[64];
};

struct mproc__wire_task {
    uint32_t kind; /* enum mproc__message_kind: CALL, BYTES or CHUNK */
    uint32_t pad;
    int64_t timeout;  /* ns; 0: none */
    uint64_t memory;  /* bytes; 0: no limit */
    uint64_t in_size; /* what follows is a chunk's */
    uint64_t out_size;
    uint64_t first; /* its first item */
    uint64_t n;     /* items */
    uint64_t pad_too;
    struct mproc__function_ref function; /* not of BYTES */
};

struct mproc__wire_reply {
    int32_t code;
    int32_t pid;
    int32_t exitcode;
    uint32_t pad;
    uint64_t item; /* of a chunk that failed */
    int64_t ran;
    uint64_t memory;
};

static_assert(sizeof(struct mproc__wire_task) % 16 == 0, "a chunk's items are aligned");

#endif
