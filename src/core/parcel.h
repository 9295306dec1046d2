/*
 * parcel.h - a message that takes objects along
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PARCEL_H
#define MPROC_PARCEL_H

#include "core/object.h"

/* Bytes that a message's block has before the payload. `n`: objects that it takes along; 0: it is a
 * plain message. */
size_t mproc__parcel_head(size_t n);

/* Makes a message for `size` bytes of payload in hand->unheld, which holds the n objects itself
 * (mproc__are_buffers(), or mproc__go_along()). -EINVAL: one is held by nobody; -ENOMEM. */
int mproc__parcel_make(struct mproc__hand *hand, mproc_buffer *const *buffers, size_t n,
                       size_t size);

/* Are they all buffers? As mproc__expect(). */
bool mproc__are_buffers(mproc_buffer *const *buffers, size_t n);

/* Are they all objects that a value of a container may take along? Any pointers may be asked
 * about. */
bool mproc__go_along(mproc_buffer *const *objects, size_t n);

/* Where the payload of a message begins, a plain one's or a parcel's. */
void *mproc__parcel_payload(struct mproc__object *message);

/* The object of that number, NULL: the message has no such. */
void *mproc__parcel_object(const struct mproc__object *message, size_t i);

/* The same if it is a buffer. */
mproc_buffer *mproc__parcel_buffer(const struct mproc__object *message, size_t i);

int mproc__parcel_check(const struct mproc__object *message, char *why, size_t size);

#endif
