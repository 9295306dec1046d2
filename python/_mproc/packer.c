/*
 * packer.c - plain Python values as the bytes of a message, while they are walked
 *
 * SPDX-License-Identifier: MIT
 */
#include "packer.h"

int packer_grow(struct packer *pk, size_t more) {
    packer_sync(pk);
    if (message_reserve(pk->message, more) < 0) {
        return -1;
    }
    packer_load(pk);
    return 0;
}

int packer_remember(struct packer *pk, PyObject *object) {
    for (int i = 0; i < pk->nseen; i++) {
        if (pk->seen[i] == object) {
            return PACKER_NOT_PLAIN;
        }
    }
    if (pk->nseen == PACKER_SEEN) {
        return PACKER_NOT_PLAIN;
    }
    pk->seen[pk->nseen++] = object;
    return 0;
}

int packer_large(struct packer *pk, PyObject *object, const void *data, size_t size) {
    packer_sync(pk);
    int r = message_refer(pk->message, object, data, size);
    packer_load(pk);
    return r;
}

int packer_utf8(PyObject *text, const char **data, Py_ssize_t *size) {
    *data = PyUnicode_AsUTF8AndSize(text, size);
    if (*data != NULL) {
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        return -1;
    }
    PyErr_Clear();
    return PACKER_NOT_PLAIN;
}
