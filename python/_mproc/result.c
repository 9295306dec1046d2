/*
 * result.c - mproc.pool.AsyncResult: a job whose result a program waits for
 *
 * SPDX-License-Identifier: MIT
 *
 * A program that waits has its pool collect results until this one is there.
 */
#include "engine.h"
#include "job.h"

static struct job *job_of(PyObject *self) {
    return (struct job *)self;
}

static PyObject *pool_of(PyObject *self) {
    return job_of(self)->pool != NULL ? job_of(self)->pool : Py_None;
}

/* 0; -1 with an exception. */
static int await(PyObject *self, PyObject *timeout) {
    if (job_is_ready(job_of(self))) {
        return 0;
    }
    return engine_wait(pool_of(self), job_of(self), timeout);
}

static PyObject *result_ready(PyObject *self, PyObject *Py_UNUSED(unused)) {
    if (!job_is_ready(job_of(self))) {
        PyObject *r = PyObject_CallMethod(pool_of(self), "_collect", NULL);
        if (r == NULL) {
            return NULL;
        }
        Py_DECREF(r);
    }
    return PyBool_FromLong(job_is_ready(job_of(self)));
}

/* A subclass may have a ready() of its own. */
static PyObject *result_successful(PyObject *self, PyObject *Py_UNUSED(unused)) {
    PyObject *r = PyObject_CallMethod(self, "ready", NULL);
    int ready = r != NULL ? PyObject_IsTrue(r) : -1;
    Py_XDECREF(r);
    if (ready == 0) {
        PyErr_Format(PyExc_ValueError, "%R not ready", self);
    }
    return ready <= 0 ? NULL : PyBool_FromLong(!job_of(self)->failed);
}

static int parse_timeout(PyObject *args, PyObject *kwargs, const char *format, PyObject **timeout) {
    static char *names[] = {"timeout", NULL};
    *timeout = Py_None;
    return PyArg_ParseTupleAndKeywords(args, kwargs, format, names, timeout) ? 0 : -1;
}

static PyObject *result_wait(PyObject *self, PyObject *args, PyObject *kwargs) {
    PyObject *timeout;
    if (parse_timeout(args, kwargs, "|O:wait", &timeout) < 0 || await(self, timeout) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *result_get(PyObject *self, PyObject *args, PyObject *kwargs) {
    PyObject *timeout;
    if (parse_timeout(args, kwargs, "|O:get", &timeout) < 0 || await(self, timeout) < 0) {
        return NULL;
    }
    const struct job *job = job_of(self);
    if (!job_is_ready(job)) {
        return module_raise(module_state_of(self), MODULE_TIMEOUT, Py_None);
    }
    if (job->failed) {
        PyErr_SetObject((PyObject *)Py_TYPE(job->value), job->value);
        return NULL;
    }
    return Py_NewRef(job->value != NULL ? job->value : Py_None);
}

static PyObject *get_number_left(PyObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromSsize_t(job_is_ready(job_of(self)) ? 0 : THREADS_LOAD(job_of(self)->left));
}

static PyMethodDef result_methods[] = {
    {"ready", result_ready, METH_NOARGS,
     "ready($self, /)\n--\n\nReturn whether the result has come."},
    {"successful", result_successful, METH_NOARGS,
     "successful($self, /)\n--\n\n"
     "Return whether the call has returned and not raised. ValueError: it is not ready."},
    {"wait", (PyCFunction)(void (*)(void))result_wait, METH_VARARGS | METH_KEYWORDS,
     "wait($self, /, timeout=None)\n--\n\n"
     "Wait until the result has come, or for that many seconds."},
    {"get", (PyCFunction)(void (*)(void))result_get, METH_VARARGS | METH_KEYWORDS,
     "get($self, /, timeout=None)\n--\n\n"
     "Return the result, or raise what the call raised. multiprocessing.TimeoutError."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS,
     "__class_getitem__($type, item, /)\n--\n\nSee PEP 585."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef result_getset[] = {
    {"_number_left", get_number_left, NULL, "How many tasks of it are open.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot result_slots[] = {
    {Py_tp_doc, (void *)"AsyncResult(pool=None)\n--\n\n"
                        "The result of one call, or of a map, when it has come."},
    {Py_tp_dealloc, (void *)job_dealloc},
    {Py_tp_traverse, (void *)job_traverse},
    {Py_tp_clear, (void *)job_clear},
    {Py_tp_methods, result_methods},
    {Py_tp_getset, result_getset},
    {0, NULL},
};

static PyType_Spec result_spec = {
    .name = "mproc.pool.AsyncResult",
    .basicsize = sizeof(struct job),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = result_slots,
};

int result_add(PyObject *module) {
    PyObject *base = (PyObject *)module_state(module)->job_type;
    return module_derive_type(module, &result_spec, base, &module_state(module)->result_type);
}
