/*
 * bsemaphore.c - mproc._mproc.BoundedSemaphore: the hot path of synchronize.BoundedSemaphore
 *
 * SPDX-License-Identifier: MIT
 */
#define OBJECT mproc_bsemaphore
#define TYPE_NAME "BoundedSemaphore"
#include "semaphore_methods.h"

static PyObject *not_released(int code) {
    return code == MPROC_ENOTHELD ? acquire_too_many() : error_raise(code);
}

static PyObject *bsemaphore_bound(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromUnsignedLong(mproc_bsemaphore_bound(object_of(self)));
}

static PyMethodDef bsemaphore_methods[] = {
    SEMAPHORE_METHODS("Give a permit back, whoever took it. ValueError if all are there."),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef bsemaphore_getset[] = {
    {"maxvalue", bsemaphore_bound, NULL, "The permits that there are in all.", NULL},
    HANDLE_ADDRESS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot bsemaphore_slots[] = {
    {Py_tp_doc, TYPE_NAME SEMAPHORE_ARGUMENTS "A number of permits that come back from the dead."},
    {Py_tp_new, (void *)new_handle},
    {Py_tp_init, (void *)acquire_init},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, bsemaphore_methods},
    {Py_tp_members, semaphore_members},
    {Py_tp_getset, bsemaphore_getset},
    {0, NULL},
};

static PyType_Spec bsemaphore_spec = {
    .name = "mproc._mproc.BoundedSemaphore",
    .basicsize = sizeof(struct acquire_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = bsemaphore_slots,
};

int bsemaphore_add(PyObject *module) {
    return module_add_type(module, &bsemaphore_spec, &module_state(module)->bsemaphore_type, 1);
}
