/*
 * lock_methods.h - what Lock and RLock have in common
 *
 * SPDX-License-Identifier: MIT
 *
 * Included once by the file of each, which defines OBJECT before, its type of the core,
 * and not_released(): see acquire_methods.h.
 */
#include "acquire_methods.h"

/* Behind the names of the types. */
#define LOCK_ARGUMENTS "(*, ctx=None, on_owner_death='raise')\n--\n\n"

/* The holder died and the caller has the lock: it is released again, and the caller gets an error
 * that names the dead holder. */
static PyObject *owner_died(PyObject *self, OBJECT *object) {
    mproc_lock_holder dead;
    if (acquire_recovers(self)) {
        Py_RETURN_TRUE;
    }
    OBJECT_DO(dead_owner)(object, &dead);
    (void)OBJECT_DO(release)(object);
    return acquire_owner_died(&dead);
}

static PyObject *acquired(PyObject *self, OBJECT *object, int code) {
    return code == -EOWNERDEAD ? owner_died(self, object) : acquire_result(code);
}

static PyObject *locked_method(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_lock_holder holder;
    OBJECT_DO(owner)(object_of(self), &holder);
    return PyBool_FromLong(holder.serial != 0);
}

static PyObject *owner_method(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_lock_holder holder;
    OBJECT_DO(owner)(object_of(self), &holder);
    if (holder.serial == 0) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(ii)", holder.pid, holder.tid);
}

static PyMemberDef lock_members[] = {ACQUIRE_RECOVER, ACQUIRE_IS_FORK_CTX, {NULL, 0, 0, 0, NULL}};
static PyGetSetDef lock_getset[] = {HANDLE_ADDRESS, {NULL, NULL, NULL, NULL, NULL}};

/* The entries of a type's methods that are the same for both. */
#define LOCK_METHODS(release_doc)                                                                  \
    ACQUIRE_METHODS("Take the lock; False if it could not be had in time. OwnerDiedError: the\n"   \
                    "process that held the lock died; the lock is free then.",                     \
                    release_doc),                                                                  \
        {"locked", locked_method, METH_NOARGS,                                                     \
         "locked($self, /)\n--\n\nTrue while anybody holds the lock."},                            \
        {"_owner", owner_method, METH_NOARGS,                                                      \
         "_owner($self, /)\n--\n\n(pid, native thread id) of the holder, or None."},               \
        HANDLE_ADOPT
