/*
 * job.c - mproc._mproc.Job: the result of one call or map, in the making
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A job expects parts: one value, or the lists of a map's chunks. Whoever collects a
 * part's result reads it (job_read) and books it (job_take). The last part finishes the job: its
 * callback is called, or the future is settled whose result it is, and then it is ready.
 */
#include "job.h"

#include "blocking.h"
#include "codec.h"
#include "error.h"
#include "future.h"

#include <stdbool.h>
#include <structmember.h>

int job_traverse(PyObject *self, visitproc visit, void *arg) {
    struct job *job = (struct job *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(job->value);
    Py_VISIT(job->dict);
    Py_VISIT(job->future);
    Py_VISIT(job->pool);
    Py_VISIT(job->callback);
    Py_VISIT(job->error_callback);
    return 0;
}

int job_clear(PyObject *self) {
    struct job *job = (struct job *)self;
    Py_CLEAR(job->value);
    Py_CLEAR(job->dict);
    Py_CLEAR(job->future);
    Py_CLEAR(job->pool);
    Py_CLEAR(job->callback);
    Py_CLEAR(job->error_callback);
    return 0;
}

void job_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (((struct job *)self)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    (void)job_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

PyObject *job_for_future(PyTypeObject *type, PyObject *future) {
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL) {
        ((struct job *)self)->future = Py_NewRef(future);
    }
    return self;
}

/* The exception for the future. A signal handler that cuts the call short has run, so there is a
 * second try; what it has raised is kept. */
static PyObject *make_error(struct job *job, PyObject **kept) {
    for (int i = 0; i < 2; i++) {
        PyObject *error = PyObject_CallMethod((PyObject *)job, "_error", "O", job->value);
        if (error != NULL) {
            return error;
        }
        Py_XDECREF(*kept);
        *kept = error_take();
    }
    return Py_NewRef(job->value);
}

static int settle(struct job *job) {
    PyObject *kept = NULL;
    PyObject *value = job->failed ? make_error(job, &kept) : Py_NewRef(job->value);
    int r = future_settle(job->future, job->failed, value);
    Py_DECREF(value);
    if (r == 0 && kept != NULL) {
        error_give_back(Py_NewRef(kept));
        r = -1;
    }
    Py_XDECREF(kept);
    return r;
}

int job_tell(struct job *job) {
    PyObject *r = PyObject_CallMethod((PyObject *)job, "_announce", NULL);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static int announce(struct job *job) {
    THREADS_LOCK(&job->lock);
    bool tells = job_become_ready(job);
    THREADS_UNLOCK(&job->lock);
    return tells ? job_tell(job) : 0;
}

static bool is_terminated(PyObject *pool) {
    PyObject *ending = pool != NULL ? PyObject_GetAttrString(pool, "_ending") : NULL;
    int r = ending != NULL ? PyObject_IsTrue(ending) : 0;
    Py_XDECREF(ending);
    if (PyErr_Occurred()) {
        PyErr_Clear();
    }
    return r > 0;
}

/* As the standard library's, a program's callbacks are not called by a map of nothing, nor when
 * their pool is terminated. Some of ours have to be (_pool/told.py). */
static bool is_called(const struct job *job, PyObject *callback, bool empty) {
    if (callback == NULL || callback == Py_None) {
        return false;
    }
    return (!empty && !is_terminated(job->pool)) || PyObject_HasAttrString(callback, "hears_all");
}

/* What a callback raises is nobody's, and is printed; but for what is no Exception. */
static int call_back(struct job *job, bool empty) {
    PyObject *callback = job->failed ? job->error_callback : job->callback;
    if (!is_called(job, callback, empty)) {
        return 0;
    }
    Py_INCREF(callback);
    PyObject *r = PyObject_CallOneArg(callback, job->value != NULL ? job->value : Py_None);
    Py_DECREF(callback);
    Py_XDECREF(r);
    if (r == NULL && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_WriteUnraisable((PyObject *)job);
        return 0;
    }
    return r == NULL ? -1 : 0;
}

/* The callback is called before anybody can see that the job is ready. */
static int finish(struct job *job, bool empty) {
    if (job->future != NULL) {
        THREADS_STORE(job->ready, 1);
        return settle(job);
    }
    if (call_back(job, empty) < 0) {
        THREADS_STORE(job->ready, 1);
        return -1;
    }
    return announce(job);
}

int job_finish_empty(struct job *job) {
    job->finishing = 1; /* nobody else has it yet */
    return finish(job, true);
}

/* Gives a job its value, or the exception that is it: what it was before, the caller's. Under the
 * lock. */
static PyObject *replace(struct job *job, PyObject *value) {
    PyObject *before = job->value;
    job->value = Py_NewRef(value);
    return before;
}

/* Counts a part: whether the job is to be finished now. Of several threads one is told so. Under
 * the lock. */
static bool count(struct job *job) {
    THREADS_STORE(job->left, job->left - 1);
    if (job->left > 0 || job->finishing) {
        return false;
    }
    job->finishing = 1;
    return true;
}

/* Books a failure; of several, the first counts. all: it stands for all parts that are left. */
static int job_fail(struct job *job, PyObject *error, bool all) {
    PyObject *before = NULL;
    THREADS_LOCK(&job->lock);
    bool late = all && job->finishing;
    if (all && !late) {
        THREADS_STORE(job->left, 1);
    }
    if (!job->failed && !job->finishing) {
        job->failed = 1;
        before = replace(job, error);
    }
    bool finishes = !late && count(job);
    THREADS_UNLOCK(&job->lock);
    Py_XDECREF(before);
    return finishes ? finish(job, false) : 0;
}

/* Puts a map's part, a list, where it belongs. */
static int job_place(const struct job *job, PyObject *list, Py_ssize_t part, PyObject *items) {
    Py_ssize_t first = part * job->chunk;
    if (!PyList_Check(items) || list == NULL || !PyList_Check(list)) {
        PyErr_SetString(PyExc_SystemError, "a map's part is no list");
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        Py_INCREF(item);
        if (PyList_SetItem(list, first + i, item) < 0) {
            return -1;
        }
    }
    return 0;
}

/* The list of a map, a new reference, which may be NULL. False: the map has failed. */
static bool give_list(struct job *job, PyObject **list) {
    THREADS_LOCK(&job->lock);
    bool failed = job->failed != 0;
    *list = failed ? NULL : Py_XNewRef(job->value);
    THREADS_UNLOCK(&job->lock);
    return !failed;
}

static int place_part(struct job *job, Py_ssize_t part, PyObject *items) {
    PyObject *list;
    int r = give_list(job, &list) ? job_place(job, list, part, items) : 0;
    Py_XDECREF(list);
    return r;
}

static int job_book(struct job *job, Py_ssize_t part, PyObject *value) {
    PyObject *before = NULL;
    if (job->chunk != 0 && place_part(job, part, value) < 0) {
        return -1;
    }
    THREADS_LOCK(&job->lock);
    if (job->chunk == 0 && !job->failed && !job->finishing) {
        before = replace(job, value);
    }
    bool finishes = count(job);
    THREADS_UNLOCK(&job->lock);
    Py_XDECREF(before);
    return finishes ? finish(job, false) : 0;
}

/* ---------------------------------------------------------------- reading results */

/* The failure of a job whose result cannot be read: what _unreadable() makes of the error that is
 * set. A KeyboardInterrupt is the caller's all the same. */
static struct job_result take_unreadable(struct job *job) {
    struct job_result result = {.failed = 1};
    int interrupted = PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
    PyObject *error = error_take();
    result.value = PyObject_CallMethod((PyObject *)job, "_unreadable", "O", error);
    if (result.value != NULL && interrupted) {
        result.interrupt = Py_NewRef(error);
    }
    Py_DECREF(error);
    return result;
}

/* What a worker has handed in. */
struct reply {
    const void *data;
    size_t size;
    struct parts_source source;
};

static PyObject *read_value(struct module_state *state, const struct reply *reply) {
    const char *value = (const char *)reply->data + 1;
    size_t size = reply->size > 0 ? reply->size - 1 : 0;
    return codec_decode_with_parts(state, value, size, reply->source);
}

/* In the thread that runs signal handlers, what was raised while a value was read may be one's, and
 * then it is no fault of the value. Reads it once more: if that succeeds, the exception is the
 * caller's, and the job has its value all the same. NULL with the first exception if not. */
static PyObject *read_again(struct module_state *state, const struct reply *reply,
                            PyObject **interrupt) {
    PyObject *raised = error_take();
    PyObject *value = read_value(state, reply);
    if (value == NULL) {
        PyErr_Clear();
        error_give_back(raised);
    } else {
        *interrupt = raised;
    }
    return value;
}

struct job_result job_read(struct module_state *state, struct job *job, const void *data,
                           size_t size, struct parts_source source) {
    const struct reply reply = {data, size, source};
    struct job_result result = {.failed = size == 0 || *(const uint8_t *)data != RESULT_VALUE};
    result.value = read_value(state, &reply);
    if (result.value == NULL && blocking_runs_handlers()) {
        result.value = read_again(state, &reply, &result.interrupt);
    }
    return result.value != NULL ? result : take_unreadable(job);
}

static int book(struct job *job, Py_ssize_t part, int failed, PyObject *value) {
    if (failed && !PyExceptionInstance_Check(value)) {
        PyErr_Format(PyExc_SystemError, "a task failed with %R", value);
        return -1;
    }
    if (job->book != NULL) {
        return job->book(job, part, failed, value);
    }
    return failed ? job_fail(job, value, false) : job_book(job, part, value);
}

int job_take(struct job *job, Py_ssize_t part, struct job_result *owned) {
    int r = owned->value == NULL ? -1 : book(job, part, owned->failed, owned->value);
    Py_XDECREF(owned->value);
    if (owned->interrupt != NULL && r == 0) {
        PyErr_SetObject((PyObject *)Py_TYPE(owned->interrupt), owned->interrupt);
        r = -1;
    }
    Py_XDECREF(owned->interrupt);
    return r;
}

/* ---------------------------------------------------------------- for Python */

static int job_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"pool", NULL};
    PyObject *pool = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:Job", names, &pool)) {
        return -1;
    }
    Py_XINCREF(pool);
    Py_XSETREF(((struct job *)self)->pool, pool);
    return 0;
}

/* _announce(): tells the threads that sleep until the pool has news of it. */
static PyObject *announce_to_pool(PyObject *self, PyObject *Py_UNUSED(unused)) {
    PyObject *pool = ((struct job *)self)->pool;
    PyObject *pumping = pool != NULL ? PyObject_GetAttrString(pool, "_pumping") : NULL;
    if (pumping == NULL) {
        return pool != NULL ? NULL : Py_NewRef(Py_None);
    }
    PyObject *r = PyObject_CallMethod(pumping, "tell", "O", self);
    Py_DECREF(pumping);
    return r;
}

/* _unreadable(error) */
static PyObject *make_unreadable(PyObject *self, PyObject *error) {
    struct module_state *state = module_state_of(self);
    PyObject *args = Py_BuildValue("(Os)", error, "a result that cannot be unpickled");
    if (state == NULL || args == NULL) {
        Py_XDECREF(args);
        return NULL;
    }
    (void)module_raise(state, MODULE_MAYBE_ENCODING, args);
    Py_DECREF(args);
    return error_take();
}

int job_fail_all(struct job *job, PyObject *error) {
    return job_fail(job, error, true);
}

/* _fail(error): every part at once. */
static PyObject *job_fail_python(PyObject *self, PyObject *error) {
    return job_fail_all((struct job *)self, error) < 0 ? NULL : Py_NewRef(Py_None);
}

void job_begin(struct job *job, Py_ssize_t parts, Py_ssize_t chunk) {
    THREADS_STORE(job->left, parts);
    job->chunk = chunk;
}

/* _book(part, failed, value) */
static PyObject *job_book_python(PyObject *self, PyObject *args) {
    Py_ssize_t part;
    int failed;
    PyObject *value;
    if (!PyArg_ParseTuple(args, "npO:_book", &part, &failed, &value) ||
        book((struct job *)self, part, failed, value) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *job_error(PyObject *Py_UNUSED(self), PyObject *value) {
    return Py_NewRef(value);
}

/* fail_jobs(list): each is taken out of the list and fails in one step: no interrupt is between. */
static PyObject *fail_jobs(PyObject *module, PyObject *list) {
    PyTypeObject *type = module_state(module)->job_type;
    PyObject *both;
    while (PyList_Check(list) && (both = threads_pop(list)) != NULL) {
        PyObject *job, *error;
        bool failed = PyArg_ParseTuple(both, "O!O:fail_jobs", type, &job, &error) &&
                      job_fail_all((struct job *)job, error) == 0;
        Py_DECREF(both);
        if (!failed) {
            return NULL;
        }
    }
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef job_functions[] = {
    {"fail_jobs", fail_jobs, METH_O,
     "fail_jobs($module, jobs, /)\n--\n\n"
     "Take each (job, exception) out of a list, and have the job fail with the exception."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef job_methods[] = {
    {"_book", job_book_python, METH_VARARGS,
     "_book($self, part, failed, value, /)\n--\n\n"
     "Book what has come of a part: a list of values, if it is a map's, or an exception."},
    {"_error", job_error, METH_O,
     "_error($self, value, /)\n--\n\nReturn the exception of the future, for what a part has "
     "failed with."},
    {"_announce", announce_to_pool, METH_NOARGS,
     "_announce($self, /)\n--\n\nCalled when a watched job has become ready: tell who waits."},
    {"_unreadable", make_unreadable, METH_O,
     "_unreadable($self, error, /)\n--\n\n"
     "Return what a task fails with whose result cannot be unpickled."},
    {"_fail", job_fail_python, METH_O,
     "Fails the whole job with an exception, unless it is ready."},
    {NULL, NULL, 0, NULL},
};

static PyObject *get_value(PyObject *self, void *Py_UNUSED(unused)) {
    struct job *job = (struct job *)self;
    THREADS_LOCK(&job->lock);
    PyObject *value = Py_NewRef(job->value != NULL ? job->value : Py_None);
    THREADS_UNLOCK(&job->lock);
    return value;
}

/* What the collecting thread changes while others look at it. */

static PyObject *get_ready(PyObject *self, void *Py_UNUSED(unused)) {
    return PyBool_FromLong(job_is_ready((struct job *)self));
}

static PyObject *get_left(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromSsize_t(THREADS_LOAD(((struct job *)self)->left));
}

static PyObject *get_failed(PyObject *self, void *Py_UNUSED(unused)) {
    struct job *job = (struct job *)self;
    THREADS_LOCK(&job->lock);
    bool failed = job->failed != 0;
    THREADS_UNLOCK(&job->lock);
    return PyBool_FromLong(failed);
}

static PyGetSetDef job_getset[] = {
    {"_value", get_value, NULL, "The result or the exception.", NULL},
    {"_ready", get_ready, NULL, "True when all has been booked.", NULL},
    {"_failed", get_failed, NULL, "True if _value is an exception.", NULL},
    {"_left", get_left, NULL, "Parts that have not come yet.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef job_members[] = {
    {"_future", T_OBJECT, offsetof(struct job, future), READONLY, "Whose result it is, or None."},
    {"_pool", T_OBJECT, offsetof(struct job, pool), 0, "What it was made for."},
    {"_callback", T_OBJECT, offsetof(struct job, callback), 0,
     "Called with the result when all has been booked, or None."},
    {"_error_callback", T_OBJECT, offsetof(struct job, error_callback), 0,
     "Called with the exception, if it has failed, or None."},
    {"_watched", T_BOOL, offsetof(struct job, watched), 0, "Whether _announce() is to be called."},
    {"_chunksize", T_PYSSIZET, offsetof(struct job, chunk), READONLY, "Items per part; 0: no map."},
    {"__dictoffset__", T_PYSSIZET, offsetof(struct job, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct job, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot job_slots[] = {
    {Py_tp_doc, "Job(pool=None)\n--\n\nThe result of one call or map, in the making."},
    {Py_tp_init, (void *)job_init},
    {Py_tp_dealloc, (void *)job_dealloc},
    {Py_tp_traverse, (void *)job_traverse},
    {Py_tp_clear, (void *)job_clear},
    {Py_tp_methods, job_methods},
    {Py_tp_members, job_members},
    {Py_tp_getset, job_getset},
    {0, NULL},
};

static PyType_Spec job_spec = {
    .name = "mproc._mproc.Job",
    .basicsize = sizeof(struct job),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = job_slots,
};

int job_add(PyObject *module) {
    int r = module_add_type(module, &job_spec, &module_state(module)->job_type, 1);
    return r < 0 ? r : PyModule_AddFunctions(module, job_functions);
}
