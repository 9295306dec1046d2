/*
 * outside.h - a family's arena, read by a process that is no member
 *
 * SPDX-License-Identifier: MIT
 *
 * The arena's file is opened by the descriptor of a member, and read by copies. So the looker takes
 * no lock, delays nobody, writes nothing, and can be killed at any instruction. It maps nothing
 * either: a look at a page that was never touched would give it memory, and one that is cut off
 * would be SIGBUS. What a copy says may be torn, or rubbish of a broken program: an address out of
 * it is good for mproc__outside_read() only, which knows the arena's bounds.
 */
#ifndef MPROC_OUTSIDE_H
#define MPROC_OUTSIDE_H

#include "core/family.h"

#define MPROC__ARENA_NAME "mproc" /* of the arena's file, see family.c */

struct mproc__outside {
    int fd;
    uint64_t inode; /* of the arena: which family it is */
    uint64_t base;
    uint64_t span;
};

/* Opens the arena of the family that the process is a member of. -ESRCH: no such process; -EACCES:
 * another user's; -ENOENT: it is in no family; -EXDEV: it counts pids in another namespace than the
 * caller; MPROC_EARENA: no member has its descriptor any more;
 * MPROC_EBUILD: a family of another version of the library; MPROC_ECORRUPT: what is there is no
 * arena; -EMFILE, -ENFILE, -EIO. */
int mproc__outside_open(pid_t pid, struct mproc__outside *out);
void mproc__outside_close(struct mproc__outside *arena);

/* What mproc__outside_open() does once it has the file. */
int mproc__outside_check(struct mproc__outside *arena);

/* Copies bytes out of the arena. -EFAULT: they are not all in it; -EIO. */
int mproc__outside_read(const struct mproc__outside *arena, uint64_t address, void *out,
                        size_t size);

/* What stands in a row of the family's names of functions (core/trace.h), "" if nothing does: in
 * `out`, which is returned. */
const char *mproc__outside_function(const struct mproc__outside *arena, unsigned number,
                                    char out[MPROC__TRACE_TEXT]);

/* One pid of each family of which this user may see a member, at most `cap`; how many there are.
 * The errors of mproc__os_processes(). */
int mproc__outside_families(pid_t *out, int cap);

/* What a failure of these functions means, for a person. */
const char *mproc__outside_explain(int code);

#endif
