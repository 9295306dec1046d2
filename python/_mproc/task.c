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
#include "task.h"

#include "module.h"
#include "stream.h"
#include "work.h"

#include <structmember.h>

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

PyObject *task_for_call(struct module_state *state, PyObject *job, PyObject *function,
                        PyObject *arguments) {
    job_begin((struct job *)job, 1, 0);
    return make(state->task_type, job, 0, CALL_ONCE, function, Py_NewRef(arguments));
}

/* Task(job, function, arguments) */
static PyObject *task_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    PyObject *job, *function, *arguments;
    struct module_state *state = PyType_GetModuleState(type);
    if (state == NULL ||
        !PyArg_ParseTuple(args, "O!OO:Task", state->job_type, &job, &function, &arguments)) {
        return NULL;
    }
    return task_for_call(state, job, function, arguments);
}

/* Items of a list, which another thread may change meanwhile. */
static PyObject *take_slice(PyObject *items, Py_ssize_t at, Py_ssize_t n) {
    PyObject *slice = PyList_GetSlice(items, at, at + n);
    if (slice != NULL && PyList_GET_SIZE(slice) != n) {
        PyErr_SetString(PyExc_RuntimeError, "the list became shorter while it was mapped");
        Py_CLEAR(slice);
    }
    return slice;
}

/* The parts of a job that has been divided, from `begin` on: of n items. */
static PyObject *make_parts(PyTypeObject *type, PyObject *job, Py_ssize_t begin,
                            enum call_kind kind, PyObject *function, PyObject *items, Py_ssize_t n,
                            Py_ssize_t chunk) {
    PyObject *tasks = PyList_New(0);
    Py_ssize_t part = begin;
    for (Py_ssize_t at = 0; tasks != NULL && at < n; at += chunk, part++) {
        chunk = chunk < n - at ? chunk : n - at;
        PyObject *task = make(type, job, part, kind, function, take_slice(items, at, chunk));
        if (task == NULL || PyList_Append(tasks, task) < 0) {
            Py_CLEAR(tasks);
        }
        Py_XDECREF(task);
    }
    return tasks;
}

PyObject *task_divide(struct module_state *state, PyObject *job, enum call_kind kind,
                      PyObject *function, PyObject *items, Py_ssize_t chunk) {
    Py_ssize_t n = PyList_GET_SIZE(items), parts; /* once: a program's list may change */
    Py_ssize_t begin = call_divide((struct job *)job, n, chunk, &parts);
    if (begin < 0) {
        return NULL;
    }
    PyObject *tasks = make_parts(state->task_type, job, begin, kind, function, items, n, chunk);
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
    {Py_tp_doc, "Task(job, function, arguments, /)\n--\n\n"
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
