/*
 * family.h - the arena's first bytes: what all members share
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_FAMILY_H
#define MPROC_FAMILY_H

#include "core/bell.h"
#include "core/heap.h"
#include "core/label.h"
#include "core/object.h"
#include "core/reaper.h"
#include "core/shm_register.h"
#include "core/trace.h"

/* A child learns of its family by this environment variable: "fd:base:span:token:starter:pid:
 * mapped", all hex. It is removed on attaching, and means nothing to a process whose reservation is
 * not there. */
#define MPROC__ENV "MPROC_FAMILY"
#define MPROC__ENV_MAX 160

#define MPROC__MAGIC UINT64_C(0x3130636f72706d00) /* "\0mproc01" in memory order */

struct mproc__family {
    uint64_t magic;
    uint64_t base;   /* address of this structure */
    uint64_t span;   /* bytes of the file */
    uint64_t mapped; /* bytes that a newcomer maps from it; falls with the chunks' room */
    uint64_t layout; /* mproc__layout of who made it: members of another build are refused */
    struct mproc__registry registry;
    struct mproc__members members;
    struct mproc__chunks chunks;
    struct mproc__shms shms;
    struct mproc__labels labels;
    _Alignas(MPROC__LINE) struct mproc__heap heap;
    _Alignas(MPROC__LINE) struct mproc__bells bells;
    _Alignas(MPROC__LINE) struct mproc__table table;
    _Alignas(MPROC__LINE) struct mproc__trace trace;
    /* followed by one struct mproc__chunk per chunk, then, chunk-aligned, the chunks */
};

extern struct mproc__family *mproc__family; /* NULL: no member yet */

extern const uint64_t mproc__layout; /* of this build: layout.py makes it of the sources */

/* Makes the process a member: of its starter's family if the environment names one, of a new one
 * otherwise. 1: came as a started child; 0; or an error. Not in a member. -ESRCH: came as a child
 * whose starter has died meanwhile; MPROC_EARENA: as one without the arena's descriptor. Such a
 * process should end. */
int mproc__family_begin(void);

/* The process was started to become a member, and says so: it may come by way of a wrapper. */
void mproc__family_attaching(void);

/* The arena's descriptor, to be passed to a spawned child. MPROC_EARENA: the program has closed it;
 * another file may have its number by now. */
int mproc__family_fd(void);

/* Forgets the family and unmaps the arena: mproc__family_leave() of join.h. */
void mproc__family_forget(void);

/* The process is about to have no more than that many bytes of address space. Gives up the end of
 * the mapping if that leaves the process less than it should; the family will use no more than what
 * is left. */
void mproc__family_fit(uint64_t space);

/* Words "MPROC_FAMILY=..." for a child. */
void mproc__family_describe(uint64_t token, char out[MPROC__ENV_MAX]);

#endif
