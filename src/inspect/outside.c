/*
 * outside.c - a family's arena, read by a process that is no member
 *
 * SPDX-License-Identifier: MIT
 */
#include "inspect/outside.h"

#include <stdlib.h>

#include "system/os.h"

#define PROCESSES 65536
#define FAMILIES 1024

/* ---------------------------------------------------------------- reading */

int mproc__outside_read(const struct mproc__outside *arena, uint64_t address, void *out,
                        size_t size) {
    uint64_t offset = address - arena->base;
    if (offset > arena->span || size > arena->span - offset) {
        return -EFAULT;
    }
    for (size_t done = 0; done < size;) {
        ssize_t n = mproc__os_read_at(arena->fd, (char *)out + done, size - done, offset + done);
        if (n <= 0) {
            return n == 0 ? -EFAULT : -EIO;
        }
        done += (size_t)n;
    }
    return 0;
}

const char *mproc__outside_function(const struct mproc__outside *arena, unsigned number,
                                    char out[MPROC__TRACE_TEXT]) {
    uint64_t at = arena->base + offsetof(struct mproc__family, trace) +
                  offsetof(struct mproc__trace, names) +
                  number * (uint64_t)sizeof(struct mproc__trace_name) +
                  offsetof(struct mproc__trace_name, text);
    if (number == 0 || number >= MPROC__TRACE_NAMES ||
        mproc__outside_read(arena, at, out, MPROC__TRACE_TEXT) != 0) {
        out[0] = 0;
    }
    out[MPROC__TRACE_TEXT - 1] = 0;
    return out;
}

/* ---------------------------------------------------------------- opening */

/* The words that say what the arena is. */
struct head {
    uint64_t magic, base, span, mapped, layout;
};

static_assert(offsetof(struct mproc__family, layout) == offsetof(struct head, layout),
              "the arena's first words");

int mproc__outside_check(struct mproc__outside *arena) {
    struct head head;
    arena->base = 0;
    arena->span = sizeof head;
    int r = mproc__outside_read(arena, 0, &head, sizeof head);
    if (r != 0) {
        return r == -EFAULT ? MPROC_ECORRUPT : r;
    }
    if (head.magic != MPROC__MAGIC) {
        return MPROC_ECORRUPT;
    }
    if (head.layout != mproc__layout) {
        return MPROC_EBUILD;
    }
    bool good = head.base % MPROC__CHUNK == 0 && head.span >= sizeof(struct mproc__family) &&
                head.base + head.span > head.base;
    arena->base = head.base;
    arena->span = head.span;
    /* A span that the file does not have would make all walks long. */
    char last;
    return good && mproc__outside_read(arena, head.base + head.span - 1, &last, 1) == 0
               ? 0
               : MPROC_ECORRUPT;
}

/* A program may have closed its own descriptor: another member's does as well. */
static int open_by_another(uint64_t inode) {
    pid_t *pids = malloc(PROCESSES * sizeof *pids);
    int n = pids != NULL ? mproc__os_processes(pids, PROCESSES) : 0;
    int fd = MPROC_EARENA;
    for (int i = 0; i < n && i < PROCESSES && fd < 0; i++) {
        uint64_t its;
        if (mproc__os_memory_mapped(pids[i], MPROC__ARENA_NAME, &its) == 0 && its == inode) {
            fd = mproc__os_memory_open(pids[i], inode);
        }
    }
    free(pids);
    return fd >= 0 ? fd : MPROC_EARENA;
}

int mproc__outside_open(pid_t pid, struct mproc__outside *out) {
    int r = mproc__os_memory_mapped(pid, MPROC__ARENA_NAME, &out->inode);
    if (r == 0 && !mproc__os_same_pids(pid)) {
        r = -EXDEV; /* the pids that its arena has are other processes' here */
    }
    if (r != 0) {
        return r;
    }
    out->fd = mproc__os_memory_open(pid, out->inode);
    out->fd = out->fd == -EBADF ? open_by_another(out->inode) : out->fd;
    if (out->fd < 0) {
        return out->fd;
    }
    r = mproc__outside_check(out);
    if (r != 0) {
        mproc__os_close(out->fd);
    }
    return r;
}

void mproc__outside_close(struct mproc__outside *arena) {
    mproc__os_close(arena->fd);
}

/* ---------------------------------------------------------------- finding */

static bool seen_before(const uint64_t *inodes, int n, uint64_t inode) {
    for (int i = 0; i < n; i++) {
        if (inodes[i] == inode) {
            return true;
        }
    }
    return false;
}

static int pick(const pid_t *pids, int n, pid_t *out, int cap) {
    uint64_t inodes[FAMILIES], inode;
    int found = 0;
    for (int i = 0; i < n && found < FAMILIES; i++) {
        if (mproc__os_memory_mapped(pids[i], MPROC__ARENA_NAME, &inode) == 0 &&
            !seen_before(inodes, found, inode)) {
            if (found < cap) {
                out[found] = pids[i];
            }
            inodes[found++] = inode;
        }
    }
    return found;
}

int mproc__outside_families(pid_t *out, int cap) {
    pid_t *pids = malloc(PROCESSES * sizeof *pids);
    if (pids == NULL) {
        return -ENOMEM;
    }
    int n = mproc__os_processes(pids, PROCESSES);
    n = n < 0 ? n : pick(pids, n < PROCESSES ? n : PROCESSES, out, cap);
    free(pids);
    return n;
}

const char *mproc__outside_explain(int code) {
    switch (code) {
    case -ESRCH: return "there is no such process";
    case -EACCES:
    case -EPERM: return "this user may not look at the process";
    case -ENOENT: return "the process is in no family of mproc";
    case -EXDEV:
        return "the process counts pids in a namespace of its own, as a container does: look from "
               "inside of it (nsenter --target PID --pid --mount mproc ...)";
    case -ENODEV: return "no /proc is mounted here, in which processes are seen";
    case -EBUSY: return "the family has a watchdog already, which tells on its standard error";
    case -ESPIPE: return "this is no file to go back in: a recording needs a regular one";
    case MPROC_EARENA: return "no member has the descriptor of the arena any more";
    case MPROC_EBUILD: return "the family runs on another version of mproc than this program";
    case MPROC_ECORRUPT: return "the beginning of its arena is overwritten";
    default: return mproc_strerror(code);
    }
}
