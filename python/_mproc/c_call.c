/*
 * c_call.c - calling a function of a shared library: bytes go in, and bytes come out
 *
 * SPDX-License-Identifier: MIT
 *
 * The function gets struct mproc_call of mproc.h. Other threads of Python run meanwhile.
 */
#include "error.h"
#include "module.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 256

struct c_call {
    mproc_call call; /* first: it is what the function has */
    char *bytes;
    size_t used, room;
};

static int write_result(mproc_call *call, const void *lent, size_t size) {
    struct c_call *c = (struct c_call *)call;
    if (size > c->room - c->used) {
        size_t room = 2 * c->room < FIRST_ROOM ? FIRST_ROOM : 2 * c->room;
        room = size > SIZE_MAX - c->used ? SIZE_MAX : room < c->used + size ? c->used + size : room;
        char *bytes = room <= PY_SSIZE_T_MAX ? realloc(c->bytes, room) : NULL;
        if (bytes == NULL) {
            return -ENOMEM;
        }
        c->bytes = bytes;
        c->room = room;
    }
    if (size > 0) {
        memcpy(c->bytes + c->used, lent, size);
        c->used += size;
    }
    return 0;
}

static PyObject *call_c(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *address;
    Py_buffer in;
    int code;
    if (!PyArg_ParseTuple(args, "Oy*:call_c", &address, &in)) {
        return NULL;
    }
    struct c_call c = {.call = {in.buf, (size_t)in.len, write_result}};
    mproc_call_fn function = (mproc_call_fn)PyLong_AsVoidPtr(address);
    if (function == NULL) {
        PyBuffer_Release(&in);
        return PyErr_Occurred() ? NULL : error_raise(-EINVAL);
    }
    Py_BEGIN_ALLOW_THREADS;
    code = function(&c.call);
    Py_END_ALLOW_THREADS;
    PyBuffer_Release(&in);
    PyObject *result =
        Py_BuildValue("(iy#)", code, c.bytes != NULL ? c.bytes : "", (Py_ssize_t)c.used);
    free(c.bytes);
    return result;
}

static PyMethodDef functions[] = {
    {"call_c", call_c, METH_VARARGS,
     "call_c($module, address, data, /)\n--\n\n"
     "Call the mproc_call_fn at an address with bytes; what it returned, and what it wrote."},
    {NULL, NULL, 0, NULL},
};

int c_call_add(PyObject *module) {
    return PyModule_AddFunctions(module, functions);
}
