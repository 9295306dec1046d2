/*
 * semaphore.c - mproc._mproc.Semaphore: the hot path of synchronize.Semaphore
 *
 * SPDX-License-Identifier: MIT
 */
#define OBJECT mproc_semaphore
#define TYPE_NAME "Semaphore"
#include "semaphore_methods.h"

static PyObject *not_released(int code) {
    return code == -EOVERFLOW ? acquire_too_many() : error_raise(code);
}

static PyMethodDef semaphore_methods[] = {
    SEMAPHORE_METHODS("Give a permit, whoever took it or nobody did."),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef semaphore_getset[] = {HANDLE_ADDRESS, {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot semaphore_slots[] = {
    {Py_tp_doc, TYPE_NAME SEMAPHORE_ARGUMENTS
     "A number of permits, for all threads of all processes of the family."},
    {Py_tp_new, (void *)new_handle},
    {Py_tp_init, (void *)acquire_init},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, semaphore_methods},
    {Py_tp_members, semaphore_members},
    {Py_tp_getset, semaphore_getset},
    {0, NULL},
};

static PyType_Spec semaphore_spec = {
    .name = "mproc._mproc.Semaphore",
    .basicsize = sizeof(struct acquire_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = semaphore_slots,
};

int semaphore_add(PyObject *module) {
    return module_add_type(module, &semaphore_spec, &module_state(module)->semaphore_type, 1);
}
