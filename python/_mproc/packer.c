/*
 * packer.c - plain Python values as the bytes of a message, while they are walked
 *
 * SPDX-License-Identifier: MIT
 */
#include "packer.h"

#include <string.h>

int packer_grow(struct packer *pk, size_t more) {
    packer_sync(pk);
    if (message_reserve(pk->message, more) < 0) {
        return -1;
    }
    packer_load(pk);
    return 0;
}

int packer_meet(struct packer *pk, PyObject *object) {
    if (Py_REFCNT(object) == 1) {
        return 0;
    }
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

int packer_data(struct packer *pk, PyObject *object, const void *data, size_t size) {
    if (size < MESSAGE_REFER) {
        if (packer_reserve(pk, size) < 0) {
            return -1;
        }
        memcpy(pk->at, data, size);
        pk->at += size;
        return 0;
    }
    packer_sync(pk);
    int r = message_refer(pk->message, object, data, size);
    packer_load(pk);
    return r;
}

int packer_text(PyObject *text, const char **data, Py_ssize_t *size) {
    if (PyUnicode_IS_COMPACT_ASCII(text)) {
        *data = (const char *)PyUnicode_1BYTE_DATA(text);
        *size = PyUnicode_GET_LENGTH(text);
        return 0;
    }
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
