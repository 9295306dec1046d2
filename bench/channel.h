/*
 * channel.h - one face for everything that carries messages between two processes
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CHANNEL_H
#define CHANNEL_H

#include "bench.h"

#define CHANNEL_UP 0   /* child to parent */
#define CHANNEL_DOWN 1 /* parent to child */
#define CHANNEL_DEPTH 1024
#define CHANNEL_DEPTH_MIDDLE 64 /* of messages above 16 KiB */
#define CHANNEL_DEPTH_LARGE 16  /* of messages above 64 KiB */

#ifdef __cplusplus
extern "C" {
#endif

struct channel {
    const char *name;
    const char *(*open)(size_t size); /* before the fork; NULL, or why it cannot be done */
    void (*enter)(bool child);        /* after the fork, in both; may be NULL */
    void (*put)(int way, const void *lent, size_t size);
    void (*get)(int way, void *room, size_t size);
    void (*leave)(bool child); /* may be NULL */
    void (*close)(void);       /* parent, after the child's end */
    /* instead of enter, where each of several producers and consumers needs an end of its own */
    void (*enter_crowd)(bool producer, unsigned index, unsigned consumers);
};

static inline size_t channel_depth(size_t size) {
    return size > 65536 ? CHANNEL_DEPTH_LARGE : size > 16384 ? CHANNEL_DEPTH_MIDDLE : CHANNEL_DEPTH;
}

extern const struct channel channel_mproc, channel_mq, channel_datagram, channel_stream,
    channel_zmq, channel_zmq_mesh, channel_nng, channel_nng_mesh, channel_boost;

/* A process that has used it must not fork: each run has processes of its own. */
static inline bool channel_apart(const struct channel *channel) {
    return channel == &channel_nng && channel->put != NULL;
}

#ifdef __cplusplus
}
#endif
#endif
