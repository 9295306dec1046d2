/*
 * books.c - mproc._mproc.Books: the open tasks of a pool that has its books in Python
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Tasks wait in a queue of the interpreter's, `_waiting`, or where a derived class
 * has them taken to. A task is open from when it is handed there, by a call of `put`, until what
 * has come of it is booked into its job. Each step is one call of C. The interpreter runs the
 * handlers of signals between two calls, so what one of them raises finds a task in the books and
 * with who does it, or in neither; and a result in the queue or booked.
 *
 * State, all under the interpreter's lock, or under `lock` where there is none: so nobody waits for
 * the set's own one.
 *   open     the tasks: a set.
 *   closed   no task is taken any more.
 *
 * Invariant: a task is booked at most once, by who has taken it out of the set.
 */
#include "error.h"
#include "stream.h"
#include "task.h"

#include <stdbool.h>
#include <structmember.h>

struct books {
    PyObject_HEAD PyObject *open; /* owned */
    char closed;
#ifdef Py_GIL_DISABLED
    PyMutex lock;
#endif
};

static struct books *of(PyObject *self) {
    return (struct books *)self;
}

/* ---------------------------------------------------------------- tasks come */

static int check_open(PyObject *self) {
    bool closed = THREADS_LOAD(of(self)->closed) != 0;
    if (closed) {
        PyErr_SetString(PyExc_RuntimeError, "the pool takes no more tasks");
    }
    return closed ? -1 : 0;
}

/* Whether a task was in the books, and is not any more; -1 with an exception. */
static int take_out(PyObject *self, PyObject *task) {
    THREADS_LOCK(&of(self)->lock);
    int r = PySet_Discard(of(self)->open, task);
    THREADS_UNLOCK(&of(self)->lock);
    return r;
}

/* Takes a task that could not be handed on out again; an exception is set, and stays. */
static void forget(PyObject *self, PyObject *task) {
    PyObject *error = error_take();
    if (take_out(self, task) < 0) {
        PyErr_Clear();
    }
    error_give_back(error);
}

/* In one step: who closes the books finds it in them, or it is in none. */
static int open_task(PyObject *self, PyObject *task) {
    THREADS_LOCK(&of(self)->lock);
    int r = check_open(self) < 0 ? -1 : PySet_Add(of(self)->open, task);
    THREADS_UNLOCK(&of(self)->lock);
    return r;
}

static int add(PyObject *self, PyObject *task, PyObject *put) {
    if (open_task(self, task) < 0) {
        return -1;
    }
    PyObject *r = PyObject_CallOneArg(put, task);
    if (r == NULL) {
        forget(self, task);
        return -1;
    }
    Py_DECREF(r);
    return 0;
}

static int add_call(PyObject *self, PyObject *job, PyObject *function, PyObject *arguments,
                    PyObject *put) {
    struct module_state *state = module_state_of(self);
    PyObject *task = state != NULL ? task_for_call(state, job, function, arguments) : NULL;
    int r = task != NULL ? add(self, task, put) : -1;
    Py_XDECREF(task);
    return r;
}

/* _add(job, function, arguments, put) */
static PyObject *books_add_call(PyObject *self, PyObject *args) {
    struct module_state *state = module_state_of(self);
    PyObject *job, *function, *arguments, *put;
    if (state == NULL ||
        !PyArg_ParseTuple(args, "O!OOO:_add", state->job_type, &job, &function, &arguments, &put) ||
        add_call(self, job, function, arguments, put) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* What is added by a map. */
struct map {
    PyObject *job, *function, *items; /* lent */
    int star;
    Py_ssize_t chunk;
};

static int add_map(PyObject *self, const struct map *map, PyObject *put) {
    struct module_state *state = module_state_of(self);
    if (state == NULL || check_open(self) < 0) {
        return -1;
    }
    PyObject *tasks = task_divide(state, map->job, map->star ? CALL_STARMAP : CALL_MAP,
                                  map->function, map->items, map->chunk);
    Py_ssize_t n = tasks != NULL ? PyList_GET_SIZE(tasks) : -1, i = 0;
    while (i < n && add(self, PyList_GET_ITEM(tasks, i), put) == 0) {
        i++;
    }
    if (i < n && ((struct job *)map->job)->book != NULL) {
        stream_cut((struct job *)map->job, n - i);
    }
    Py_XDECREF(tasks);
    return i == n ? 0 : -1;
}

/* _add_map(job, function, star, items, chunksize, put) */
static PyObject *books_add_map(PyObject *self, PyObject *args) {
    struct module_state *state = module_state_of(self);
    struct map map;
    PyObject *put;
    if (state == NULL ||
        !PyArg_ParseTuple(args, "O!OpO!nO:_add_map", state->job_type, &map.job, &map.function,
                          &map.star, &PyList_Type, &map.items, &map.chunk, &put) ||
        add_map(self, &map, put) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Where tasks wait unless a derived class has them elsewhere: _waiting.put. */
static PyObject *find_put(PyObject *self) {
    PyObject *waiting = PyObject_GetAttrString(self, "_waiting");
    PyObject *put = waiting != NULL ? PyObject_GetAttrString(waiting, "put") : NULL;
    Py_XDECREF(waiting);
    return put;
}

/* submit(job, function, named, arguments, options=None) */
static PyObject *books_submit(PyObject *self, PyObject *args) {
    struct module_state *state = module_state_of(self);
    PyObject *job, *function, *named, *arguments, *options;
    if (state == NULL || !PyArg_ParseTuple(args, "O!OOO|O:submit", state->job_type, &job, &function,
                                           &named, &arguments, &options)) {
        return NULL;
    }
    PyObject *put = find_put(self);
    int r = put != NULL ? add_call(self, job, function, arguments, put) : -1;
    Py_XDECREF(put);
    return r < 0 ? NULL : Py_NewRef(Py_None);
}

/* submit_map(job, function, named, star, items, chunksize, first=0, options=None, awaited=False) */
static PyObject *books_submit_map(PyObject *self, PyObject *args) {
    struct module_state *state = module_state_of(self);
    struct map map;
    PyObject *named, *first, *options, *awaited;
    if (state == NULL || !PyArg_ParseTuple(args, "O!OOpO!n|OOO:submit_map", state->job_type,
                                           &map.job, &map.function, &named, &map.star, &PyList_Type,
                                           &map.items, &map.chunk, &first, &options, &awaited)) {
        return NULL;
    }
    PyObject *put = find_put(self);
    int r = put != NULL ? add_map(self, &map, put) : -1;
    Py_XDECREF(put);
    return r < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---------------------------------------------------------------- results come */

/* Books what has come of a task, if it is in the books. */
static int book(PyObject *self, PyObject *task, int failed, PyObject *value) {
    int r = take_out(self, task);
    if (r <= 0) {
        return r;
    }
    const struct task *done = (const struct task *)task;
    PyObject *booked = PyObject_CallMethod(done->job, "_book", "niO", done->part, failed, value);
    Py_XDECREF(booked);
    return booked == NULL ? -1 : 0;
}

/* What has come of a task, as a derived class has read it. */
struct outcome {
    int failed;
    PyObject *value;     /* owned */
    PyObject *interrupt; /* owned: what was raised meanwhile, or NULL */
};

static int read_once(PyObject *read, PyObject *result, struct outcome *outcome) {
    PyObject *both = PyObject_CallObject(read, result), *value;
    int r = both != NULL && PyArg_ParseTuple(both, "pO:read", &outcome->failed, &value) ? 0 : -1;
    outcome->value = r == 0 ? Py_NewRef(value) : NULL;
    Py_XDECREF(both);
    return r;
}

/* read() handles what is wrong with a result. What it raises is a signal's handler's, which has run
 * then, so there is a second try. If that is cut short, too, the task fails with it. */
static struct outcome read_outcome(PyObject *read, PyObject *result) {
    struct outcome outcome = {0};
    if (read_once(read, result, &outcome) < 0) {
        outcome.interrupt = error_take();
        if (read_once(read, result, &outcome) < 0) {
            outcome.failed = 1;
            outcome.value = error_take();
        }
    }
    return outcome;
}

static int read_and_book(PyObject *self, PyObject *task, PyObject *result, PyObject *read) {
    struct outcome outcome = read_outcome(read, result);
    int r = book(self, task, outcome.failed, outcome.value);
    Py_DECREF(outcome.value);
    if (outcome.interrupt != NULL && r == 0) {
        error_give_back(Py_NewRef(outcome.interrupt));
        r = -1;
    }
    Py_XDECREF(outcome.interrupt);
    return r;
}

/* result: a tuple (task, failed, value); read: None, or what makes of it what is to be booked. */
static int book_result(PyObject *self, PyObject *result, PyObject *read) {
    struct module_state *state = module_state_of(self);
    PyObject *task, *value;
    int failed;
    if (state == NULL ||
        !PyArg_ParseTuple(result, "O!pO:_book", state->task_type, &task, &failed, &value)) {
        return -1;
    }
    return read == Py_None ? book(self, task, failed, value)
                           : read_and_book(self, task, result, read);
}

/* _book(task, failed, value) */
static PyObject *books_book(PyObject *self, PyObject *args) {
    return book_result(self, args, Py_None) < 0 ? NULL : Py_NewRef(Py_None);
}

/* _take_next(get, block=True, timeout=None, read=None) */
static PyObject *books_take_next(PyObject *self, PyObject *args) {
    PyObject *get, *block = Py_True, *timeout = Py_None, *read = Py_None;
    if (!PyArg_ParseTuple(args, "O|OOO:_take_next", &get, &block, &timeout, &read)) {
        return NULL;
    }
    PyObject *result = PyObject_CallFunctionObjArgs(get, block, timeout, NULL);
    if (result == NULL || result == Py_None) {
        return result;
    }
    int r = -1;
    if (PyTuple_Check(result)) {
        r = book_result(self, result, read);
    } else {
        PyErr_Format(PyExc_TypeError, "%R is no result of a task", result);
    }
    Py_DECREF(result);
    return r < 0 ? NULL : Py_NewRef(Py_None);
}

/* The exception that is set joins those before it: the first counts. */
static void keep_first(PyObject **first) {
    PyObject *error = error_take();
    if (*first == NULL) {
        *first = error;
    } else {
        Py_DECREF(error);
    }
}

/* Any task of those that are open, whose reference is the caller's; NULL: there is none, or there
 * is an exception. */
static PyObject *take_any(PyObject *self) {
    THREADS_LOCK(&of(self)->lock);
    PyObject *open = of(self)->open, *task = PySet_GET_SIZE(open) > 0 ? PySet_Pop(open) : NULL;
    THREADS_UNLOCK(&of(self)->lock);
    return task;
}

/* _fail_all(error): a callback that raises keeps no other job from its end. */
static PyObject *books_fail_all(PyObject *self, PyObject *error) {
    PyObject *task, *first = NULL;
    while ((task = take_any(self)) != NULL) {
        const struct task *open = (const struct task *)task;
        PyObject *booked = PyObject_CallMethod(open->job, "_book", "niO", open->part, 1, error);
        if (booked == NULL) {
            keep_first(&first);
        }
        Py_XDECREF(booked);
        Py_DECREF(task);
    }
    if (PyErr_Occurred()) {
        keep_first(&first);
    }
    error_give_back(first);
    return first != NULL ? NULL : Py_NewRef(Py_None);
}

/* ---------------------------------------------------------------- the type */

static PyObject *books_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                           PyObject *Py_UNUSED(kwargs)) {
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL && (of(self)->open = PySet_New(NULL)) == NULL) {
        Py_CLEAR(self);
    }
    return self;
}

static int books_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(of(self)->open);
    return 0;
}

static int books_clear(PyObject *self) {
    Py_CLEAR(of(self)->open);
    return 0;
}

static void books_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)books_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *get_open(PyObject *self, void *Py_UNUSED(unused)) {
    THREADS_LOCK(&of(self)->lock);
    Py_ssize_t n = PySet_GET_SIZE(of(self)->open);
    THREADS_UNLOCK(&of(self)->lock);
    return PyLong_FromSsize_t(n);
}

static PyObject *get_closed(PyObject *self, void *Py_UNUSED(unused)) {
    return PyBool_FromLong(THREADS_LOAD(of(self)->closed));
}

static int set_closed(PyObject *self, PyObject *value, void *Py_UNUSED(unused)) {
    int closed = value != NULL ? PyObject_IsTrue(value) : -1;
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "it cannot be deleted");
    }
    if (closed >= 0) {
        THREADS_LOCK(&of(self)->lock);
        THREADS_STORE(of(self)->closed, (char)closed);
        THREADS_UNLOCK(&of(self)->lock);
    }
    return closed < 0 ? -1 : 0;
}

static PyMethodDef books_methods[] = {
    {"submit", books_submit, METH_VARARGS,
     "submit($self, job, function, named, arguments, options=None, /)\n--\n\n"
     "Queue one call. named, options: for a pool of the core. RuntimeError: closed."},
    {"submit_map", books_submit_map, METH_VARARGS,
     "submit_map($self, job, function, named, star, items, chunksize, first=0, options=None, "
     "awaited=False, /)\n--\n\n"
     "Queue a call per item of a list, chunksize of them per task. RuntimeError: closed."},
    {"_add", books_add_call, METH_VARARGS,
     "_add($self, job, function, arguments, put, /)\n--\n\n"
     "Have put(task) take a task that is one call, (args, kwargs). RuntimeError: closed."},
    {"_add_map", books_add_map, METH_VARARGS,
     "_add_map($self, job, function, star, items, chunksize, put, /)\n--\n\n"
     "Have put(task) take tasks that are a call per item of a list, chunksize of them each. Of a\n"
     "Stream, if that raises, those before stay open. RuntimeError: closed."},
    {"_book", books_book, METH_VARARGS,
     "_book($self, task, failed, value, /)\n--\n\n"
     "Book what has come of a task, a value or an exception, if it is open, and no more then."},
    {"_take_next", books_take_next, METH_VARARGS,
     "_take_next($self, get, block=True, timeout=None, read=None, /)\n--\n\n"
     "Book what get(block, timeout) returns: (task, failed, value), or None for nothing.\n"
     "read(task, failed, value), if given, returns (failed, value) as they are to be booked. What\n"
     "it raises is the caller's, and is no reason for not booking."},
    {"_fail_all", books_fail_all, METH_O,
     "_fail_all($self, error, /)\n--\n\nFail each open task with an exception."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef books_members[] = {
    {"_open", T_OBJECT, offsetof(struct books, open), READONLY, "The open tasks."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef books_getset[] = {
    {"open", get_open, NULL, "How many tasks have not been booked.", NULL},
    {"_closed", get_closed, set_closed, "Whether no task is taken any more.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot books_slots[] = {
    {Py_tp_doc, "The open tasks of a pool that has its books in Python."},
    {Py_tp_new, (void *)books_new},
    {Py_tp_dealloc, (void *)books_dealloc},
    {Py_tp_traverse, (void *)books_traverse},
    {Py_tp_clear, (void *)books_clear},
    {Py_tp_methods, books_methods},
    {Py_tp_members, books_members},
    {Py_tp_getset, books_getset},
    {0, NULL},
};

static PyType_Spec books_spec = {
    .name = "mproc._mproc.Books",
    .basicsize = sizeof(struct books),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = books_slots,
};

int books_add(PyObject *module) {
    return module_add_type(module, &books_spec, &module_state(module)->books_type, 1);
}
