/*
 * share.c - mproc._mproc.Share: a shared object on its way into a container, or out of it
 *
 * SPDX-License-Identifier: MIT
 *
 * A value of a container may name shared objects: a dict in a dict, a lock in a list. A pickle has
 * no place for such a one, but for buffers that go beside it (PEP 574). So a handle is pickled as a
 * PickleBuffer of a Share. The sender's parts (parts.c) know it and have the message hold the
 * object. A reader of the value gets another Share there, of which mproc.reduction makes the
 * handle.
 *
 * The buffer that it exports is a byte of its own that means nothing, since pickle asks for one
 * that can be written to.
 */
#include "share.h"

#include "error.h"
#include "handle.h"

struct share {
    struct handle handle;
    char byte;
};

PyObject *share_new(struct module_state *state, void *lent) {
    if (state->share_type == NULL) {
        PyErr_SetString(PyExc_ValueError, "corrupt message: an object where there are none");
        return NULL;
    }
    int r = mproc_hold(lent);
    return handle_new(state->share_type, r, lent);
}

void *share_object(struct module_state *state, PyObject *object) {
    return module_is_a(object, state->share_type) ? handle_object(object) : NULL;
}

static PyObject *new_of_address(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *address;
    if (!PyArg_ParseTuple(args, "O:Share", &address) || (kwargs != NULL && PyDict_Size(kwargs))) {
        return PyErr_Occurred() != NULL
                   ? NULL
                   : PyErr_Format(PyExc_TypeError, "Share() takes no keywords");
    }
    struct module_state *state = module_state(PyType_GetModule(type));
    void *object = handle_object_at(address);
    return object != NULL ? share_new(state, object) : NULL;
}

static int getbuffer(PyObject *self, Py_buffer *view, int flags) {
    return PyBuffer_FillInfo(view, self, &((struct share *)self)->byte, 1, 0, flags);
}

static PyGetSetDef share_getset[] = {HANDLE_ADDRESS, {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot share_slots[] = {
    {Py_tp_doc, "Share(address)\n--\n\nWhat stands for a shared object in the pickle of a value."},
    {Py_tp_new, (void *)new_of_address},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_getset, share_getset},
    {Py_bf_getbuffer, (void *)getbuffer},
    {0, NULL},
};

static PyType_Spec share_spec = {
    .name = "mproc._mproc.Share",
    .basicsize = sizeof(struct share),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = share_slots,
};

int share_add(PyObject *module) {
    return module_add_type(module, &share_spec, &module_state(module)->share_type, 1);
}
