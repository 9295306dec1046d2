/*
 * witness.c - a forked child shows that it is there before it has said so
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Between fork() and the first step of the child nothing in memory tells that there
 * is a child: its parent does not know the pid yet, and may end at once, as the process in the
 * middle of a daemon's double fork does. The kernel knows, by what a child inherits. So the parent
 * opens the arena's file once more before fork(), and locks a byte of it for that opening
 * (F_OFD_SETLK): the one whose number is the child's serial. The child inherits the opening. The
 * parent closes its descriptor when fork() has returned, and the child when it has adopted its
 * slot. The lock goes with the last of these descriptors, however the processes end.
 *
 * Shared state: none in memory. The locks are the kernel's, and no byte of the file is touched.
 *
 * Invariants.
 *   W1  A child that is there, and has not adopted its slot, has its witness, if there is one.
 *   W2  No byte is locked twice: a serial is given once.
 *
 * If a member dies here: the kernel closes its descriptors.
 *
 * What it does not do. Without /proc, without a free descriptor, or after the program has closed
 * the arena's, there is no witness, or none is seen; then a child whose parent ends first may find
 * that its slot was given away, and has no family. A process that was made by clone() without the
 * handlers of fork() keeps the witnesses that stood at that moment for as long as it lives.
 */
#include "core/witness.h"

#include <errno.h>

static int file = -1;
static struct mproc__os_mark mark; /* the program may close the number, and use it again */

void mproc__witness_enter(int fd) {
    file = fd;
    mark = fd >= 0 ? mproc__os_descriptor_mark(fd) : (struct mproc__os_mark){0, 0};
}

static bool has_file(void) {
    return file >= 0 && mproc__os_descriptor_is(file, mark, 0);
}

static uint64_t byte_of(uint64_t token) {
    return token >> 32;
}

int mproc__witness_new(uint64_t token) {
    return has_file() ? mproc__os_file_lock(file, byte_of(token)) : -EBADF;
}

/* The number may be another file's: a handler of the program's has run first, and may have closed
 * what is not its own. */
void mproc__witness_leave(int witness) {
    if (witness >= 0 && mproc__os_descriptor_is(witness, mark, 0)) {
        mproc__os_close(witness);
    }
}

bool mproc__witness_stands(uint64_t token) {
    return has_file() && mproc__os_file_locked(file, byte_of(token));
}
