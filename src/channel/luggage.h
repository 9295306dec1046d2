/*
 * luggage.h - buffers that messages have sent ahead, which name them
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_CHANNEL_LUGGAGE_H
#define MPROC_CHANNEL_LUGGAGE_H

#include "core/guard.h"

#define MPROC__LUGGAGE_UNDO 4

/* What its words are stands in luggage.c. */
struct mproc__luggage {
    struct mproc__guard guard;
    uint64_t first;
    uint64_t last;
    uint64_t leaving;
    uint64_t name;
    struct mproc__undo log[MPROC__LUGGAGE_UNDO];
};

void mproc__luggage_init(struct mproc__luggage *luggage);

/* Takes the parcel in hand->unheld, whose payload has MPROC__LUGGAGE_PAYLOAD bytes. Returns its
 * name. */
uint64_t mproc__luggage_add(struct mproc__luggage *luggage, struct mproc__hand *hand);

#define MPROC__LUGGAGE_PAYLOAD ((size_t)16)

/* Whether there is any parcel, as far as can be seen. */
static inline bool mproc__luggage_is_there(const struct mproc__luggage *luggage) {
    return mproc__peek64(&luggage->first) != 0;
}

/* Moves the parcel of that name into hand->message. -ENOENT. */
int mproc__luggage_take(struct mproc__luggage *luggage, struct mproc__hand *hand, uint64_t name);

/* When nobody uses it any more. */
void mproc__luggage_destroy(struct mproc__luggage *luggage, struct mproc__hand *hand);

int mproc__luggage_check(struct mproc__luggage *luggage, char *why, size_t size);

#endif
