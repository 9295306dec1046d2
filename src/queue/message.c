/*
 * message.c - a message that a receiver has got
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/parcel.h"
#include "queue/record.h"

void mproc_message_drop(mproc_message *message) {
    mproc_drop(message->block);
    message->block = NULL;
    message->data = NULL;
    message->size = 0;
}

mproc_buffer *mproc_message_buffer(const mproc_message *message, size_t i) {
    return message->block != NULL ? mproc__parcel_buffer(message->block, i) : NULL;
}

void *mproc_message_object(const mproc_message *message, size_t i) {
    return message->block != NULL ? mproc__parcel_object(message->block, i) : NULL;
}
