/*
 * program.c - the arguments of programs of their own: plain values, and objects of the family
 *
 * SPDX-License-Identifier: MIT
 *
 * The arguments are a tuple of the format of plain values (docs/value_format.md). An object is its
 * address and that of its lock; which objects these are, and who holds them, is Python's affair
 * (mproc.program).
 */
#include "error.h"
#include "module.h"

/* Of the tuple: an ext 32 whose payload is an array 32. */
#define HEAD 11
#define HEAD_OF_EXT 6

static void store_big(unsigned char *at, uint32_t v) {
    for (int i = 3; i >= 0; i--) {
        at[i] = (unsigned char)v;
        v >>= 8;
    }
}

/* 0, or -1 with an exception. */
static int add_object(struct message *m, PyObject *place) {
    unsigned char ext[] = {0xd8, MPROC_EXT_OBJECT};
    Py_ssize_t addresses[2];
    if (!PyArg_ParseTuple(place, "nn", &addresses[0], &addresses[1])) {
        return -1;
    }
    if (mproc_value_object((void *)addresses[0], (void *)addresses[1]) == 0) {
        PyErr_Format(PyExc_ValueError, "%R is no object of this family", place);
        return -1;
    }
    return message_copy(m, ext, sizeof ext) < 0 ? -1 : message_copy(m, addresses, sizeof addresses);
}

static int add_value(struct message *m, PyObject *value, Py_ssize_t i) {
    int r = msgpack_write(value, m);
    if (r == PACKER_NOT_PLAIN) {
        PyErr_Format(PyExc_TypeError,
                     "args[%zd]: a program can be given plain values and objects of the family, "
                     "each by itself, and this %s is neither",
                     i, Py_TYPE(value)->tp_name);
        return -1;
    }
    return r;
}

static int add_all(struct message *m, PyObject *values, PyObject *places) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(values); i++) {
        PyObject *place = PyTuple_GET_ITEM(places, i);
        int r =
            place == Py_None ? add_value(m, PyTuple_GET_ITEM(values, i), i) : add_object(m, place);
        if (r < 0) {
            return -1;
        }
    }
    return 0;
}

static int finish(struct message *m, Py_ssize_t n) {
    size_t length = m->used + m->referred - HEAD_OF_EXT;
    if (n > UINT32_MAX || length > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "arguments of 4 GiB and more");
        return -1;
    }
    m->buffer[0] = 0xc9;
    store_big(m->buffer + 1, (uint32_t)length);
    m->buffer[5] = MPROC_EXT_TUPLE;
    m->buffer[6] = 0xdd;
    store_big(m->buffer + 7, (uint32_t)n);
    return message_finish(m, 0);
}

static PyObject *dump_arguments(PyObject *module, PyObject *args) {
    struct message m;
    PyObject *values, *places, *bytes = NULL;
    if (!PyArg_ParseTuple(args, "O!O!:dump_arguments", &PyTuple_Type, &values, &PyTuple_Type,
                          &places)) {
        return NULL;
    }
    if (PyTuple_GET_SIZE(values) != PyTuple_GET_SIZE(places)) {
        PyErr_SetString(PyExc_ValueError, "as many places as values are wanted");
        return NULL;
    }
    message_init(&m);
    m.parts.arrays = module_state(module);
    m.used = HEAD;
    if (add_all(&m, values, places) == 0 && finish(&m, PyTuple_GET_SIZE(values)) == 0) {
        bytes = message_bytes(&m);
    }
    message_clear(&m);
    return bytes;
}

static PyObject *load_arguments(PyObject *module, PyObject *adopt) {
    struct msgpack_beside beside = {.adopt = adopt};
    size_t size;
    const void *data = mproc_child_args(&size);
    if (data == NULL || size == 0) {
        Py_RETURN_NONE;
    }
    return msgpack_read(module_state(module), data, size, &beside);
}

static PyMethodDef functions[] = {
    {"dump_arguments", dump_arguments, METH_VARARGS,
     "dump_arguments($module, values, places, /)\n--\n\n"
     "The arguments of a program as bytes. places: for each value None, or the addresses of the\n"
     "object that it stands for and of its lock. TypeError: a value that is not plain."},
    {"load_arguments", load_arguments, METH_O,
     "load_arguments($module, adopt, /)\n--\n\n"
     "The arguments that this process was started with, or None. adopt(kind, address,\n"
     "lock_kind, lock) makes an object of one among them. ValueError: what was given are no "
     "arguments."},
    {NULL, NULL, 0, NULL},
};

int program_add(PyObject *module) {
    return PyModule_AddFunctions(module, functions);
}
