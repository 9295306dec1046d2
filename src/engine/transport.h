/*
 * transport.h - how a node of an engine reaches the others: what a plugin has to offer
 *
 * SPDX-License-Identifier: MIT
 *
 * The library libmproc_NAME.so has one function for others, mproc_transport(). It is loaded, and
 * all of its functions are called, by one thread of one process on each machine (carrier.c), which
 * does nothing else. So it may use a library that minds fork() or threads.
 */
#ifndef MPROC_TRANSPORT_H
#define MPROC_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#define MPROC__TRANSPORT_VERSION 1

struct mproc__transport_place {
    unsigned rank;  /* of this process */
    unsigned ranks; /* in all */
    unsigned here;  /* of them on this machine */
};

struct mproc__transport {
    unsigned version; /* MPROC__TRANSPORT_VERSION */
    /* Joins the others. A negative code, and `why` in words: it cannot. */
    int (*open)(struct mproc__transport_place *out, char *why, size_t size);
    /* Sends one message; the pieces are lent until it returns. It does not wait for the receiver.
     * Messages between two ranks arrive whole, once, in order. -ENOMEM: nothing was sent, for want
     * of memory. Another negative code: that rank is lost. */
    int (*send)(unsigned to, const struct iovec *pieces, int n);
    /* 1: a message has come, `*bytes` are the caller's, to be given to free(). 0: none has. It does
     * not wait. A negative code: nothing will come any more. */
    int (*receive)(unsigned *from, void **bytes, size_t *size);
    /* Leaves. `graceful`: all ranks do. Otherwise some are lost, and it must not wait for them. */
    void (*close)(bool graceful);
};

typedef const struct mproc__transport *(*mproc__transport_fn)(void);

#endif
