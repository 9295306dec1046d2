/*
 * scalar.c - numbers in memory, by their typecodes, as Python's
 *
 * SPDX-License-Identifier: MIT
 *
 * A number in shared memory is read in one step (mproc_atomic_load()), for another process may
 * change it without a lock. The conversion of a Python object may run Python code, so it writes to
 * private memory, and the caller moves the number from there to shared memory in one step.
 */
#include "scalar.h"

#include <string.h>

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

__attribute__((cold, noinline)) static PyObject *bad_address(const char *at) {
    return PyErr_Format(PyExc_SystemError, "no number can stand at %p", at);
}

/* The number that stands at an address as a Python object, by way of v. */
#define NUMBER_AT(at, v, make)                                                                     \
    (mproc_atomic_load(sizeof(v), (at), &(v)) == 0 ? make(v) : bad_address(at))

PyObject *scalar_load(int code, const char *at) {
    switch (code) {
#define X(c, type, ctype, make)                                                                    \
    case c: {                                                                                      \
        ctype v;                                                                                   \
        return NUMBER_AT(at, v, make);                                                             \
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
            PyObject *number = NUMBER_AT(at + i * stride, v, make);                                \
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

static int convert_float(int code, char *out, PyObject *value) {
    double number = PyFloat_AsDouble(value);
    float narrow = (float)number;
    if (number == -1. && PyErr_Occurred()) {
        return -1;
    }
    if (code == 'd') {
        memcpy(out, &number, sizeof number);
    } else {
        memcpy(out, &narrow, sizeof narrow);
    }
    return 0;
}

static void write_bits(size_t size, char *out, uint64_t bits) {
    uint8_t bits8 = (uint8_t)bits;
    uint16_t bits16 = (uint16_t)bits;
    uint32_t bits32 = (uint32_t)bits;
    switch (size) {
    case 1: memcpy(out, &bits8, sizeof bits8); break;
    case 2: memcpy(out, &bits16, sizeof bits16); break;
    case 4: memcpy(out, &bits32, sizeof bits32); break;
    default: memcpy(out, &bits, sizeof bits); break;
    }
}

int scalar_convert(int code, size_t size, char *out, PyObject *value) {
    if (code == 'd' || code == 'f') {
        return convert_float(code, out, value);
    }
    if (code == '?') {
        int truth = PyObject_IsTrue(value);
        if (truth >= 0) {
            *out = (char)truth;
        }
        return truth < 0 ? -1 : 0;
    }
    unsigned long long bits = PyLong_AsUnsignedLongLongMask(value);
    if (bits == (unsigned long long)-1 && PyErr_Occurred()) {
        return -1;
    }
    write_bits(size, out, bits);
    return 0;
}
