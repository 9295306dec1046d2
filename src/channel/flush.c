/*
 * flush.c - what is in a ring is written to a descriptor
 *
 * SPDX-License-Identifier: MIT
 *
 * If a member dies here. A socket takes a ring as one buffer, whole or not at all. A pipe takes it
 * page by page, and less than all when there is no memory for a page. A member can be killed then,
 * above all by the system, for want of memory. The next owner of `senders` asks the pipe how much
 * it has, and goes on (channel/way.c).
 */
#include "channel/flush.h"

#include <sys/uio.h>

#include "channel/ring.h"

static ssize_t write_once(const struct mproc__way *way, int fd, const struct iovec *pieces) {
    return way->socket ? mproc__os_write_now(fd, pieces, 2) : mproc__os_write_quiet(fd, pieces, 2);
}

int mproc__flush_ring(const struct mproc__way *way, int fd, size_t done) {
    size_t size = (size_t)(way->tail - way->head), begin = done;
    if (size > MPROC__RING) {
        return MPROC_EEOF;
    }
    while (done < size) {
        size_t first = MPROC__RING - (way->head + done) % MPROC__RING;
        first = size - done < first ? size - done : first;
        struct iovec pieces[2] = {{mproc__ring_at(way, way->head + done), first},
                                  {mproc__ring_at(way, 0), size - done - first}};
        ssize_t n = write_once(way, fd, pieces);
        if (n == -EPIPE || n == -ECONNRESET) {
            return MPROC_EEOF;
        }
        if (n < 0 && n != -EINTR && done == begin) {
            return (int)n;
        }
        done += n > 0 ? (size_t)n : 0; /* the kernel has no memory for the rest yet */
    }
    return 0;
}
