/*
 * workplace.c - mproc._mproc.Workplace: what a pool shares with its workers, as a worker has it
 *
 * SPDX-License-Identifier: MIT
 *
 * A handle of the core's workplace. The owner makes it of its pool's; a worker serves there: it
 * takes tasks (mproc_worker_take) and does them (work.c).
 */
#include "blocking.h"
#include "error.h"
#include "handle.h"
#include "work.h"

static PyObject *workplace_of(PyObject *type, PyObject *address) {
    void *place = PyLong_AsVoidPtr(address);
    if (place == NULL && PyErr_Occurred()) {
        return NULL;
    }
    int r = mproc_in_arena(place) ? mproc_hold(place) : -EINVAL;
    return handle_new((PyTypeObject *)type, r, place);
}

static int hand_in(void *worker, const struct iovec *lent, int n) {
    return mproc_worker_finish(worker, 0, lent, n);
}

static int hand_in_with(void *worker, const struct iovec *lent, int n, const struct parts *parts) {
    return mproc_worker_finish_with(worker, lent, n, parts->buffers, parts->nbuffers);
}

static int is_traced(const void *worker) {
    return mproc_worker_is_traced(worker);
}

static void runs(void *worker, const char *function) {
    mproc_worker_runs(worker, function);
}

static void fails(void *worker) {
    mproc_worker_fails(worker);
}

static int take(mproc_worker *worker, const void **task, size_t *size) {
    int r = mproc_worker_take(worker, task, size, 0);
    if (r == -ETIMEDOUT) {
        BLOCKING(r, mproc_worker_take(worker, task, size, MPROC_FOREVER));
    }
    return r;
}

/* 1: did one; 0: there will be none; -1: exception. */
static int serve_one(struct work *work) {
    const void *task;
    size_t size;
    int r = take(work->worker, &task, &size);
    if (r == MPROC_ECLOSED) {
        return 0;
    }
    if (r != 0) {
        if (r != BLOCKING_RAISED) {
            error_raise(r);
        }
        return -1;
    }
    r = work_do(work, task, size);
    return r < 0 || PyErr_CheckSignals() < 0 ? -1 : 1;
}

/* serve(seat, limit, describe, excuse, everything=False) */
static PyObject *workplace_serve(PyObject *self, PyObject *args) {
    struct work work = {.state = module_state_of(self),
                        .first = -1,
                        .hand_in = hand_in,
                        .hand_in_with = hand_in_with,
                        .is_traced = is_traced,
                        .runs = runs,
                        .fails = fails};
    unsigned seat;
    Py_ssize_t limit, done = 0;
    if (work.state == NULL || !PyArg_ParseTuple(args, "InOO|p:serve", &seat, &limit, &work.describe,
                                                &work.excuse, &work.everything)) {
        return NULL;
    }
    mproc_worker *worker = NULL;
    int r = mproc_worker_join(&worker, handle_object(self), seat);
    if (r != 0) {
        return error_raise(r);
    }
    work.worker = worker;
    work.source = parts_of_worker(worker);
    work.known = PyDict_New();
    r = work.known == NULL ? -1 : 1;
    while (r == 1 && (limit == 0 || done < limit)) {
        r = serve_one(&work);
        done += r == 1;
    }
    Py_XDECREF(work.known);
    Py_XDECREF(work.told);
    Py_XDECREF(work.told_name);
    mproc_worker_drop(worker);
    return r < 0 ? NULL : PyLong_FromSsize_t(done);
}

static PyMethodDef workplace_methods[] = {
    {"of", workplace_of, METH_O | METH_CLASS,
     "of($type, address, /)\n--\n\nA handle of a pool's workplace, with a hold of its own."},
    {"serve", workplace_serve, METH_VARARGS,
     "serve($self, seat, limit, describe, excuse, everything=False, /)\n--\n\n"
     "Do tasks until there are no more, or limit are done (0: no limit). Returns how many."},
    HANDLE_ADOPT,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef workplace_getset[] = {
    HANDLE_ADDRESS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot workplace_slots[] = {
    {Py_tp_doc, "What a pool shares with its workers."},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, workplace_methods},
    {Py_tp_getset, workplace_getset},
    {0, NULL},
};

static PyType_Spec workplace_spec = {
    .name = "mproc._mproc.Workplace",
    .basicsize = sizeof(struct handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = workplace_slots,
};

int workplace_add(PyObject *module) {
    return module_add_type(module, &workplace_spec, &module_state(module)->workplace_type, 1);
}
