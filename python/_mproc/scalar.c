/*
 * scalar.c - numbers in memory, by their typecodes, as Python's
 *
 * SPDX-License-Identifier: MIT
 *
 * Each number is one load or one store, so that whoever dies or looks without a lock leaves and finds
 * none that is half written.
 */
#include "scalar.h"

/* X(code, core's type, C type, how it becomes a Python number) */
#define SCALARS(X)                                                                                 \
    X('b', MPROC_INT8, signed char, PyLong_FromLong)                                               \
    X('B', MPROC_UINT8, unsigned char, PyLong_FromLong)                                            \
    X('h', MPROC_INT16, short, PyLong_FromLong)                                                    \
    X('H', MPROC_UINT16, unsigned short, PyLong_FromLong)                                          \
    X('i', MPROC_INT32, int, PyLong_FromLong)                                                      \
    X('I', MPROC_UINT32, unsigned, PyLong_FromUnsignedLong)                                        \
    X('l', MPROC_INT64, long, PyLong_FromLong)                                                     \
    X('L', MPROC_UINT64, unsigned long, PyLong_FromUnsignedLong)                                   \
    X('q', MPROC_INT64, long long, PyLong_FromLongLong)                                            \
    X('Q', MPROC_UINT64, unsigned long long, PyLong_FromUnsignedLongLong)                          \
    X('f', MPROC_FLOAT, float, PyFloat_FromDouble)                                                 \
    X('d', MPROC_DOUBLE, double, PyFloat_FromDouble)                                               \
    X('?', MPROC_UINT8, unsigned char, PyBool_FromLong)

_Static_assert(sizeof(long) == 8 && sizeof(int) == 4, "the typecodes' sizes");

static const struct {
    char code;
    mproc_type type;
} types[] = {
#define X(c, type, ctype, make) {c, type},
    SCALARS(X)
#undef X
        {'c', MPROC_UINT8},
};

mproc_type scalar_type(int code) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].code == code) {
            return types[i].type;
        }
    }
    return (mproc_type)0;
}

size_t scalar_size(int code) {
    return code == 'c' ? 0 : mproc_type_size(scalar_type(code));
}

PyObject *scalar_load(int code, const char *at) {
    switch (code) {
#define X(c, type, ctype, make)                                                                    \
    case c: {                                                                                      \
        ctype v;                                                                                   \
        __atomic_load((const ctype *)(const void *)at, &v, __ATOMIC_ACQUIRE);                      \
        return make(v);                                                                            \
    }
        SCALARS(X)
#undef X
    default: return PyErr_Format(PyExc_SystemError, "no number: '%c'", code);
    }
}

/* One loop for each typecode: asking for it at each number would be a tenth of the work. */
int scalar_load_all(int code, const char *at, Py_ssize_t stride, PyObject *list) {
    Py_ssize_t n = PyList_GET_SIZE(list);
    switch (code) {
#define X(c, type, ctype, make)                                                                    \
    case c:                                                                                        \
        for (Py_ssize_t i = 0; i < n; i++) {                                                       \
            ctype v;                                                                               \
            __atomic_load((const ctype *)(const void *)(at + i * stride), &v, __ATOMIC_ACQUIRE);   \
            PyObject *number = make(v);                                                            \
            if (number == NULL) {                                                                  \
                return -1;                                                                         \
            }                                                                                      \
            PyList_SET_ITEM(list, i, number);                                                      \
        }                                                                                          \
        return 0;
        SCALARS(X)
#undef X
    default: PyErr_Format(PyExc_SystemError, "no number: '%c'", code); return -1;
    }
}

static void put(size_t size, char *at, unsigned long long bits) {
    switch (size) {
    case 1: __atomic_store_n((uint8_t *)at, (uint8_t)bits, __ATOMIC_RELEASE); break;
    case 2: __atomic_store_n((uint16_t *)(void *)at, (uint16_t)bits, __ATOMIC_RELEASE); break;
    case 4: __atomic_store_n((uint32_t *)(void *)at, (uint32_t)bits, __ATOMIC_RELEASE); break;
    default: __atomic_store_n((uint64_t *)(void *)at, (uint64_t)bits, __ATOMIC_RELEASE); break;
    }
}

static int put_double(int code, char *at, PyObject *value) {
    double number = PyFloat_AsDouble(value);
    float half = (float)number;
    if (number == -1. && PyErr_Occurred()) {
        return -1;
    }
    if (code == 'd') {
        __atomic_store((double *)(void *)at, &number, __ATOMIC_RELEASE);
    } else {
        __atomic_store((float *)(void *)at, &half, __ATOMIC_RELEASE);
    }
    return 0;
}

int scalar_store(int code, char *at, PyObject *value) {
    if (code == 'd' || code == 'f') {
        return put_double(code, at, value);
    }
    if (code == '?') {
        int truth = PyObject_IsTrue(value);
        if (truth >= 0) {
            put(1, at, (unsigned long long)truth);
        }
        return truth < 0 ? -1 : 0;
    }
    unsigned long long bits = PyLong_AsUnsignedLongLongMask(value);
    if (bits == (unsigned long long)-1 && PyErr_Occurred()) {
        return -1;
    }
    put(scalar_size(code), at, bits);
    return 0;
}
