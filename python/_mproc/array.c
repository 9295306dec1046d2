/*
 * array.c - mproc._mproc.Memory: a shared array of numbers as a buffer
 *
 * SPDX-License-Identifier: MIT
 *
 * A ctypes object or a numpy array over the buffer has a reference to the Memory. So the array
 * stays while any process has an object over it, and goes with the last.
 */
#include "error.h"
#include "handle.h"
#include "scalar.h"

/* Memory(code, n): n numbers of a typecode, all 0. */
static PyObject *memory_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    int code;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "Cn:Memory", &code, &n)) {
        return NULL;
    }
    mproc_type number = scalar_type(code);
    if (number == 0) {
        return PyErr_Format(PyExc_ValueError, "no numbers have the typecode '%c'", code);
    }
    if (n < 0) {
        return PyErr_Format(PyExc_ValueError, "negative size: %zd", n);
    }
    mproc_array *array = NULL;
    int r = mproc_array_new_raw(&array, number, (size_t)n);
    return handle_new(type, r, array);
}

static int memory_getbuffer(PyObject *self, Py_buffer *view, int flags) {
    mproc_array *array = handle_object(self);
    size_t size = mproc_array_count(array) * mproc_type_size(mproc_array_type(array));
    return PyBuffer_FillInfo(view, self, mproc_array_data(array), (Py_ssize_t)size, 0, flags);
}

static PyObject *memory_code(PyObject *self, void *Py_UNUSED(unused)) {
    static const char codes[] = "?bBhHiIqQfd"; /* in the order of mproc_type */
    return PyUnicode_FromStringAndSize(codes + mproc_array_type(handle_object(self)), 1);
}

static PyMethodDef memory_methods[] = {HANDLE_ADOPT, {NULL, NULL, 0, NULL}};
static PyGetSetDef memory_getset[] = {
    HANDLE_ADDRESS,
    {"code", memory_code, NULL, "The typecode of its numbers.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot memory_slots[] = {
    {Py_tp_doc, "Memory(code, n): n numbers that all processes of the family share; a buffer."},
    {Py_tp_new, (void *)memory_new},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, memory_methods},
    {Py_tp_getset, memory_getset},
    {Py_bf_getbuffer, (void *)memory_getbuffer},
    {0, NULL},
};

static PyType_Spec memory_spec = {
    .name = "mproc._mproc.Memory",
    .basicsize = sizeof(struct handle),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = memory_slots,
};

int array_add(PyObject *module) {
    return module_add_type(module, &memory_spec, &module_state(module)->memory_type, 1);
}
