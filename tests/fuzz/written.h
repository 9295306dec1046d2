/*
 * written.h - what a reader has made is written again, and read again
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_FUZZ_WRITTEN_H
#define MPROC_FUZZ_WRITTEN_H

#include <stdlib.h>
#include <string.h>

#include "embed.h"
#include "message.h"
#include "packer.h"

typedef int write_plain(PyObject *object, struct message *message);
typedef PyObject *read_plain(const void *data, size_t size);

/* The bytes of a plain object in one piece; NULL: it is not plain. */
static inline uint8_t *write_down(PyObject *object, write_plain *write, size_t *size) {
    struct message message;
    uint8_t *bytes = NULL;
    message_init(&message);
    int r = write(object, &message);
    MUST(r == 0 || r == PACKER_NOT_PLAIN);
    if (r == 0) {
        MUST(message_finish(&message, 0) == 0);
        bytes = malloc(message.size + 1);
        *size = 0;
        for (int i = 0; i < message.niov; i++) {
            memcpy(bytes + *size, message.iov[i].iov_base, message.iov[i].iov_len);
            *size += message.iov[i].iov_len;
        }
        MUST(*size == message.size);
    }
    message_clear(&message);
    return bytes;
}

/* An object that is plain is read, after it has been written, to one that is written in the same
 * bytes. */
static inline void write_and_read(PyObject *object, write_plain *write, read_plain *read) {
    size_t size, again_size;
    uint8_t *bytes = write_down(object, write, &size);
    if (bytes == NULL) {
        return;
    }
    PyObject *read_back = read(bytes, size);
    MUST(read_back != NULL && Py_TYPE(read_back) == Py_TYPE(object));
    uint8_t *again = write_down(read_back, write, &again_size);
    MUST(again != NULL && again_size == size && memcmp(bytes, again, size) == 0);
    Py_DECREF(read_back);
    free(bytes);
    free(again);
}

#endif
