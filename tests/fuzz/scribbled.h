/*
 * scribbled.h - a looker sees the family's arena with some words changed
 *
 * SPDX-License-Identifier: MIT
 *
 * A target that includes this is linked with --wrap for mproc__os_read_at(): what the looker reads
 * of the arena is what stands there, but for the words of `changed`. The system's clock is the
 * best one, so that no counter's speed is measured.
 */
#ifndef SCRIBBLED_H
#define SCRIBBLED_H

#include <string.h>

#include "core/family.h"
#include "system/os.h"

#define WORDS_MAX 64

static struct { uint64_t offset, value; } changed[WORDS_MAX];
static size_t nchanged;

ssize_t __wrap_mproc__os_read_at(int fd, void *out, size_t size, uint64_t offset);
int __wrap_mproc__os_process_see(pid_t pid, struct mproc__os_seen *out);

bool __wrap_mproc__os_ticks_steady(void);

bool __wrap_mproc__os_ticks_steady(void) {
    return false;
}

/* The fuzzer need not follow it: what the looker makes of the words is what counts. */
__attribute__((no_sanitize("coverage"))) ssize_t
__wrap_mproc__os_read_at(int fd, void *out, size_t size, uint64_t offset) {
    uint64_t span = mproc__family->span;
    (void)fd;
    if (offset >= span) {
        return 0;
    }
    size = size < span - offset ? size : (size_t)(span - offset);
    memcpy(out, (const char *)mproc__family + offset, size);
    for (size_t i = 0; i < nchanged; i++) {
        uint64_t at = changed[i].offset - offset;
        if (at < size && size - at >= sizeof changed[i].value) {
            memcpy((char *)out + at, &changed[i].value, sizeof changed[i].value);
        }
    }
    return (ssize_t)size;
}

#endif
