/*
 * pieces.h - bytes that lie in several places
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_SYSTEM_PIECES_H
#define MPROC_SYSTEM_PIECES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "system/os.h"

/* Bytes of all pieces together; SIZE_MAX: more than there can be. */
static inline size_t mproc__pieces_size(const struct iovec *pieces, int n) {
    size_t size = 0;
    for (int i = 0; i < n; i++) {
        if (__builtin_add_overflow(size, pieces[i].iov_len, &size)) {
            return SIZE_MAX;
        }
    }
    return size;
}

/* Copies them, one behind the other. A piece of no bytes needs no address. */
static inline void mproc__pieces_copy(void *to, const struct iovec *pieces, int n) {
    char *at = to;
    for (int i = 0; i < n; i++) {
        if (pieces[i].iov_len > 0) {
            mproc__os_memory_copy(at, pieces[i].iov_base, pieces[i].iov_len);
            at += pieces[i].iov_len;
        }
    }
}

#endif
