/*
 * task.c - mproc._mproc.Task: a task of a pool that has its books in Python
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A pool of threads, or one with queues of its own, hands its tasks on as they are:
 * the function itself and what it is called with, and no message (call.c). A task belongs to a part
 * of a job. What runs it, how a map is divided into parts, and how the job books what has come of
 * one is the same as for the core's pools.
 */
#include "call.h"
#include "job.h"
#include "module.h"
#include "stream.h"
#include "work.h"

#include <structmember.h>

struct task {
    PyObject_HEAD PyObject *job; /* owned, as the others are */
    Py_ssize_t part;
    PyObject *work; /* (kind, function, arguments), see run() */
};

static struct task *task_of(PyObject *self) {
    return (struct task *)self;
}

/* ---------------------------------------------------------------- making */

/* owned: `arguments`, NULL with an exception. */
static PyObject *make(PyTypeObject *type, PyObject *job, Py_ssize_t part, enum call_kind kind,
                      PyObject *function, PyObject *owned) {
    PyObject *work = owned != NULL ? Py_BuildValue("(iON)", (int)kind, function, owned) : NULL;
    PyObject *self = work != NULL ? type->tp_alloc(type, 0) : NULL;
    if (self == NULL) {
        Py_XDECREF(work);
        return NULL;
    }
    *task_of(self) = (struct task){task_of(self)->ob_base, Py_NewRef(job), part, work};
    return self;
}

/* Task(job, function, arguments) */
static PyObject *task_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    PyObject *job, *function, *arguments;
    struct module_state *state = PyType_GetModuleState(type);
    if (state == NULL ||
        !PyArg_ParseTuple(args, "O!OO:Task", state->job_type, &job, &function, &arguments)) {
        return NULL;
    }
    job_begin((struct job *)job, 1, 0);
    return make(type, job, 0, CALL_ONCE, function, Py_NewRef(arguments));
}

/* A job that has been divided: its parts, from `begin` on, in a list. */
static PyObject *make_parts(PyTypeObject *type, PyObject *job, Py_ssize_t begin,
                            enum call_kind kind, PyObject *function, PyObject *items,
                            Py_ssize_t chunk) {
    PyObject *tasks = PyList_New(0);
    Py_ssize_t n = PyList_GET_SIZE(items), part = begin;
    for (Py_ssize_t at = 0; tasks != NULL && at < n; at += chunk, part++) {
        chunk = chunk < n - at ? chunk : n - at;
        PyObject *task =
            make(type, job, part, kind, function, PyList_GetSlice(items, at, at + chunk));
        if (task == NULL || PyList_Append(tasks, task) < 0) {
            Py_CLEAR(tasks);
        }
        Py_XDECREF(task);
    }
    return tasks;
}

/* divide(job, function, star, items, chunksize) */
static PyObject *task_divide(PyObject *type, PyObject *args) {
    struct module_state *state = PyType_GetModuleState((PyTypeObject *)type);
    PyObject *job, *function, *items;
    Py_ssize_t chunk;
    int star;
    if (state == NULL || !PyArg_ParseTuple(args, "O!OpO!n:divide", state->job_type, &job, &function,
                                           &star, &PyList_Type, &items, &chunk)) {
        return NULL;
    }
    enum call_kind kind = star ? CALL_STARMAP : CALL_MAP;
    Py_ssize_t parts, begin;
    begin = call_divide((struct job *)job, PyList_GET_SIZE(items), chunk, &parts);
    if (begin < 0) {
        return NULL;
    }
    PyObject *tasks = make_parts((PyTypeObject *)type, job, begin, kind, function, items, chunk);
    if (tasks == NULL && ((struct job *)job)->book != NULL) {
        stream_cut((struct job *)job, parts);
    }
    return tasks;
}

/* ---------------------------------------------------------------- using */

static PyObject *run_work(PyObject *Py_UNUSED(module), PyObject *work) {
    int kind;
    PyObject *function, *arguments;
    Py_ssize_t failed;
    if (!PyArg_ParseTuple(work, "iOO:run", &kind, &function, &arguments)) {
        return NULL;
    }
    if (kind == CALL_ONCE ? !PyTuple_Check(arguments) : !PyList_Check(arguments)) {
        PyErr_Format(PyExc_TypeError, "a task has %R for its arguments", arguments);
        return NULL;
    }
    return work_call((enum call_kind)kind, function, arguments, &failed);
}

static PyObject *task_run(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return run_work(NULL, task_of(self)->work);
}

/* ---------------------------------------------------------------- booking */

/* Books a result, (task, failed, value), if the task is in the books. */
static PyObject *book_result(struct module_state *state, PyObject *result, PyObject *books) {
    PyObject *task, *value;
    int failed;
    if (!PyArg_ParseTuple(result, "O!pO:book_next", state->task_type, &task, &failed, &value)) {
        return NULL;
    }
    int r = PySet_Discard(books, task);
    if (r <= 0) {
        return r < 0 ? NULL : Py_NewRef(Py_None);
    }
    return PyObject_CallMethod(task_of(task)->job, "_book", "niO", task_of(task)->part, failed,
                               value);
}

/* book_next(get, block, timeout, books): one call, so what a signal's handler raises comes before a
 * result is taken or after it is booked, but for its callbacks. */
static PyObject *task_book_next(PyObject *type, PyObject *args) {
    struct module_state *state = PyType_GetModuleState((PyTypeObject *)type);
    PyObject *get, *block, *timeout, *books;
    if (state == NULL ||
        !PyArg_ParseTuple(args, "OOOO!:book_next", &get, &block, &timeout, &PySet_Type, &books)) {
        return NULL;
    }
    PyObject *result = PyObject_CallFunctionObjArgs(get, block, timeout, NULL);
    if (result == NULL || result == Py_None) {
        return result;
    }
    PyObject *booked = book_result(state, result, books);
    Py_DECREF(result);
    return booked;
}

/* ---------------------------------------------------------------- the type */

static int task_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(task_of(self)->job);
    Py_VISIT(task_of(self)->work);
    return 0;
}

static int task_clear(PyObject *self) {
    Py_CLEAR(task_of(self)->job);
    Py_CLEAR(task_of(self)->work);
    return 0;
}

static void task_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)task_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef task_methods[] = {
    {"divide", task_divide, METH_VARARGS | METH_CLASS,
     "divide($type, job, function, star, items, chunksize, /)\n--\n\n"
     "Have a job expect a call per item of a list, chunksize of them per part; return the tasks."},
    {"book_next", task_book_next, METH_VARARGS | METH_CLASS,
     "book_next($type, get, block, timeout, books, /)\n--\n\n"
     "Take a result by get(block, timeout), (task, failed, value) or None, and have the job book\n"
     "it if the task is in the set `books`, and no more then."},
    {"run", task_run, METH_NOARGS, "run($self, /)\n--\n\nMake the call, or those of the part."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef task_members[] = {
    {"job", T_OBJECT, offsetof(struct task, job), READONLY, "Whose part it is."},
    {"part", T_PYSSIZET, offsetof(struct task, part), READONLY, "Which part: its number."},
    {"work", T_OBJECT, offsetof(struct task, work), READONLY, "What run() takes: a tuple."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot task_slots[] = {
    {Py_tp_doc, "Task(job, function, arguments)\n--\n\n"
                "A task of a pool that has its books in Python; arguments: (args, kwargs)."},
    {Py_tp_new, (void *)task_new},
    {Py_tp_dealloc, (void *)task_dealloc},
    {Py_tp_traverse, (void *)task_traverse},
    {Py_tp_clear, (void *)task_clear},
    {Py_tp_methods, task_methods},
    {Py_tp_members, task_members},
    {0, NULL},
};

static PyType_Spec task_spec = {
    .name = "mproc._mproc.Task",
    .basicsize = sizeof(struct task),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = task_slots,
};

static PyMethodDef functions[] = {
    {"run", run_work, METH_VARARGS,
     "run($module, /, *work)\n--\n\nDo a task's work where only that is, in another process."},
    {NULL, NULL, 0, NULL},
};

int task_add(PyObject *module) {
    int r = module_add_type(module, &task_spec, &module_state(module)->task_type, 1);
    return r < 0 ? r : PyModule_AddFunctions(module, functions);
}
