/*
 * watcher_main.c - the program that outlives a family, or a parent
 *
 * SPDX-License-Identifier: MIT
 *
 * It is carried in the library as bytes and executed from memory (watcher_bare.c), with the arena
 * as its standard input. It has no C library (bare.h): every family that makes a named segment has
 * one, so it is to be small and to begin at once.
 *
 * With something else as its standard input it is a follower (follower_run.c).
 */
#include <sys/mman.h>
#include <unistd.h>

#include "core/family.h"
#include "watcher/bare.h"
#include "watcher/watcher.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

struct mproc__family *mproc__family;
struct mproc__table *mproc__table;

/* The arena says itself where it belongs: its first words. */
struct head {
    uint64_t magic, base, span, mapped;
};

static_assert(offsetof(struct mproc__family, mapped) == offsetof(struct head, mapped),
              "the first words");

/* NULL: that is no arena. A program without a C library is loaded far from the addresses of one. */
static struct mproc__family *map_arena(int fd) {
    struct head head = {0};
    long n = bare_call(SYS_pread64, fd, BARE_ARG(&head), sizeof head, 0, 0, 0);
    if (n != sizeof head || head.magic != MPROC__MAGIC) {
        return NULL;
    }
    long r = bare_call(SYS_mmap, (long)head.base, (long)head.mapped, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd, 0);
    (void)bare_call(SYS_close, fd, 0, 0, 0, 0, 0);
    return r == (long)head.base ? (struct mproc__family *)(uintptr_t)r : NULL;
}

int main(void) {
    mproc__family = map_arena(STDIN_FILENO);
    if (mproc__family == NULL) {
        mproc__follower_run();
        return 0;
    }
    mproc__table = &mproc__family->table;
    mproc__watcher_run();
    return 0;
}
