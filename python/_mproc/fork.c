/*
 * fork.c - children of method fork: Child.fork(), and start() of a class of processes
 *
 * SPDX-License-Identifier: MIT
 *
 * Parent and child share their memory until one of them writes, and the writer then pays three
 * microseconds for a copy of the page. So the parent does before the fork what it need not do after
 * it. Child.fork() forks the caller. start() does the same, but takes from the process object what
 * is to be run, and puts the popen object in its place, before the fork: the values stand in a C
 * frame meanwhile. A child gets them back, and so does the parent if there is no child.
 *
 * References. A reference that is not the last one to its object is given back before the fork, and
 * a child takes it anew; so the child's reference counts are right, and the parent need not touch
 * the object's page after the fork. No Python code runs in between, so the objects stay.
 */
#include "process.h"

#include "error.h"
#include "interrupt.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

/* Attributes that start() takes from a process object. */
enum { POPEN, TARGET, ARGS, KWARGS, TAKEN };

static_assert(TAKEN == MODULE_TAKEN, "their names are kept in the module's state");

struct taken {
    PyObject *const *names;      /* NULL: nothing is taken */
    PyObject *values[TAKEN + 1]; /* what the attributes were, and the popen object */
    unsigned given_back;         /* bits: values to which there is no reference of ours */
    int no_kwargs;               /* an empty dictionary that nobody else has is not kept: a new one
                                    is made where it is needed */
};

/* By an interned name: the type cache knows no others. */
static PyObject *attribute(PyObject *object, const char *name) {
    PyObject *interned = PyUnicode_InternFromString(name);
    PyObject *value = interned != NULL ? PyObject_GetAttr(object, interned) : NULL;
    Py_XDECREF(interned);
    return value;
}

/* ---------------------------------------------------------------- what is taken */

static int take_values(struct taken *taken, PyObject *process) {
    for (size_t i = 0; i < TAKEN; i++) { /* each is there: BaseProcess.__init__() makes them */
        taken->values[i] = PyObject_GetAttr(process, taken->names[i]);
        if (taken->values[i] == NULL) {
            return -1;
        }
    }
    for (size_t i = 0; i < TAKEN; i++) {
        PyObject *value = i == POPEN ? taken->values[TAKEN] : NULL;
        if (PyObject_SetAttr(process, taken->names[i], value) < 0) {
            return -1;
        }
    }
    return 0;
}

static int take(struct taken *taken, PyObject *process) {
    if (taken->names == NULL) {
        return 0;
    }
    if (take_values(taken, process) < 0) {
        return -1;
    }
    PyObject *kwargs = taken->values[KWARGS];
    if (PyDict_CheckExact(kwargs) && PyDict_GET_SIZE(kwargs) == 0 && Py_REFCNT(kwargs) == 1) {
        Py_CLEAR(taken->values[KWARGS]);
    }
    taken->no_kwargs = taken->values[KWARGS] == NULL;
    return 0;
}

/* Puts the values back into the process object. */
static int restore(struct taken *taken, PyObject *process) {
    if (taken->no_kwargs) {
        taken->values[KWARGS] = PyDict_New();
        if (taken->values[KWARGS] == NULL) {
            return -1;
        }
    }
    for (size_t i = 0; i < TAKEN; i++) {
        PyObject *value = taken->values[i];
        if (value != NULL && PyObject_SetAttr(process, taken->names[i], value) < 0) {
            return -1;
        }
        Py_CLEAR(taken->values[i]);
    }
    return 0;
}

static void give_references_back(struct taken *taken) {
    for (size_t i = 0; i <= TAKEN; i++) {
        if (taken->values[i] != NULL && Py_REFCNT(taken->values[i]) > 1) {
            Py_DECREF(taken->values[i]);
            taken->given_back |= 1U << i;
        }
    }
}

static void take_references_again(struct taken *taken) {
    for (size_t i = 0; i <= TAKEN; i++) {
        if ((taken->given_back & 1U << i) != 0) {
            Py_INCREF(taken->values[i]);
        }
    }
    taken->given_back = 0;
}

static void taken_clear(struct taken *taken) {
    for (size_t i = 0; i <= TAKEN; i++) {
        if ((taken->given_back & 1U << i) == 0) {
            Py_CLEAR(taken->values[i]);
        }
    }
}

/* ---------------------------------------------------------------- the fork */

/* The core's maker->fork: `context` is a function that forks as os.fork() does, runs the
 * interpreter's hooks itself, and may be Python's. */
static pid_t fork_by(void *context) {
    PyObject *pid = PyObject_CallNoArgs(context);
    long r = pid != NULL ? PyLong_AsLong(pid) : -1;
    Py_XDECREF(pid);
    if (PyErr_Occurred()) {
        return -ECANCELED;
    }
    return r >= 0 && r <= INT_MAX ? (pid_t)r : -EINVAL;
}

static mproc_process *prepare(struct child *self, PyObject *process,
                              const mproc_process_maker *maker) {
    mproc_process_options options = {.method = MPROC_FORK, .maker = maker};
    mproc_process *handle = NULL;
    PyObject *name = attribute(process, "_name");
    PyObject *daemonic = name != NULL ? attribute(process, "daemon") : NULL;
    int daemon = daemonic != NULL ? PyObject_IsTrue(daemonic) : -1;
    if (daemon >= 0) {
        options.flags = daemon ? MPROC_ATTACHED : MPROC_DETACHED;
        handle = child_prepare(self, &options, name);
    }
    Py_XDECREF(daemonic);
    Py_XDECREF(name);
    return handle;
}

/* A child that a sub-interpreter has forked ends with a fatal error. */
static int refuse_sub_interpreter(void) {
    if (PyInterpreterState_Get() == PyInterpreterState_Main()) {
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError,
                    "a sub-interpreter cannot fork: choose the start method 'spawn' or "
                    "'forkserver'");
    return -1;
}

/* In a child: threads of the parent that were starting processes meet at these streams, which each
 * start flushes, and the child flushes them in the end. One may have been given a stream's mutex,
 * and is not there to give it back. */
#ifdef Py_GIL_DISABLED
static void free_streams(void) {
    static const char *const names[] = {"stdout", "stderr"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        PyObject *stream = PySys_GetObject(names[i]);
        if (stream != NULL) {
            stream->ob_mutex = (PyMutex){0};
        }
    }
}
#else
static void free_streams(void) {
}
#endif

/* Forks under the interpreter's hooks. Returns as mproc_process_launch(); -ECANCELED with an
 * exception: what a signal's handler has raised before, or that there is no fork here. */
static int launch(struct child *self, mproc_process *handle, struct taken *taken) {
    struct interrupt_delay delay;
    if (refuse_sub_interpreter() < 0 || interrupt_delay(&delay) < 0) {
        return -ECANCELED;
    }
    PyOS_BeforeFork();
    THREADS_STORE(self->handle, handle);
    give_references_back(taken);
    int r = mproc_process_launch(handle, NULL, 0);
    if (r != 0) {
        take_references_again(taken);
    }
    if (r < 0) {
        THREADS_STORE(self->handle, NULL);
    } else {
        child_drop_held(self);
    }
    if (r == MPROC_IN_CHILD) {
        interrupt_forget();
        PyOS_AfterFork_Child();
        free_streams();
    } else {
        PyOS_AfterFork_Parent();
    }
    interrupt_resume(&delay);
    return r;
}

/* The same, where a function of the program forks: the interpreter's hooks are its own affair. */
static int launch_by(struct child *self, mproc_process *handle) {
    THREADS_STORE(self->handle, handle);
    int r = mproc_process_launch(handle, NULL, 0);
    if (r < 0) {
        THREADS_STORE(self->handle, NULL);
    } else {
        child_drop_held(self);
    }
    return r;
}

/* The child's life: process._bootstrap(), whose result is its exit code. The name is interned, and
 * there is no bound method: either would be pages to copy. */
static _Noreturn void run(PyObject *process, PyObject *bootstrap, struct taken *taken) {
    PyObject *result = NULL;
    if (restore(taken, process) == 0) {
        result = PyObject_CallMethodNoArgs(process, bootstrap);
    }
    long code = result != NULL ? PyLong_AsLong(result) : 1;
    if (code == -1 && PyErr_Occurred()) {
        code = 1;
    }
    mproc_child_exits((int)(code & 0xff));
    _exit((int)(code & 0xff));
}

/* 0, or -1 with an exception; what is taken has not been put back then. In the child this does not
 * return. maker: NULL, or what forks. */
static int fork_child(struct child *self, PyObject *process, struct taken *taken,
                      const mproc_process_maker *maker) {
    struct module_state *state = module_state_of((PyObject *)self);
    mproc_process *handle = state != NULL ? prepare(self, process, maker) : NULL;
    if (handle == NULL) {
        return -1;
    }
    if (take(taken, process) < 0) {
        (void)mproc_process_drop(handle);
        return -1;
    }
    int r = maker != NULL ? launch_by(self, handle) : launch(self, handle, taken);
    if (r == MPROC_IN_CHILD) {
        run(process, state->bootstrap_name, taken);
    }
    if (r == 0) {
        return 0;
    }
    (void)mproc_process_drop(handle);
    if (!PyErr_Occurred()) {
        error_raise(r);
    }
    return -1;
}

PyObject *child_fork(PyObject *self, PyObject *args) {
    struct taken nothing = {0};
    PyObject *process, *by = Py_None;
    if (!PyArg_ParseTuple(args, "O|O:fork", &process, &by)) {
        return NULL;
    }
    mproc_process_maker maker = {.fork = fork_by, .context = by};
    if (fork_child(child_of(self), process, &nothing, by != Py_None ? &maker : NULL) < 0) {
        return NULL;
    }
    /* Here, since a signal's handler may raise as soon as Python goes on: the child must be known
     * by then. */
    if (PyObject_SetAttrString(process, "_popen", self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- start() */

/* The popen object's class as what it must be, a subclass of Child; NULL with TypeError. */
static struct module_state *state_of_popen(PyObject *cls) {
    PyObject *module =
        PyType_Check(cls) ? PyType_GetModuleByDef((PyTypeObject *)cls, &module_definition) : NULL;
    struct module_state *state = module != NULL ? module_state(module) : NULL;
    if (state == NULL || !PyType_IsSubtype((PyTypeObject *)cls, state->child_type)) {
        PyErr_Format(PyExc_TypeError, "%R is no class of popen objects", cls);
        return NULL;
    }
    return state;
}

/* Uses up the reference to cls, which _begin() has returned. */
static int start_popen(PyObject *process, PyObject *cls, struct taken *taken) {
    struct module_state *state = state_of_popen(cls);
    PyTypeObject *type = (PyTypeObject *)cls;
    PyObject *popen = state != NULL ? type->tp_alloc(type, 0) : NULL;
    Py_DECREF(cls); /* now: after the fork it would be a page */
    if (popen == NULL) {
        return -1;
    }
    taken->names = state->taken;
    taken->values[TAKEN] = popen;
    return fork_child(child_of(popen), process, taken, NULL);
}

/* Keeps the exception that is set. */
static void start_failed(PyObject *process, struct taken *taken) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (restore(taken, process) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(PyObject_CallMethod(process, "_not_started", NULL));
    PyErr_Restore(type, value, traceback);
}

/* In C, so that the parent of a fork returns through no Python frame. */
static PyObject *start(PyObject *process, PyObject *Py_UNUSED(unused)) {
    PyObject *cls = PyObject_CallMethod(process, "_begin", "O", Py_True);
    if (cls == NULL || cls == Py_None) {
        return cls;
    }
    struct taken taken = {0};
    int r = start_popen(process, cls, &taken);
    if (r < 0) {
        start_failed(process, &taken);
    }
    taken_clear(&taken);
    if (r < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef start_method = {"start", start, METH_NOARGS,
                                   "start($self, /)\n--\n\nStart the child process."};

static PyObject *make_start(PyObject *Py_UNUSED(module), PyObject *cls) {
    if (!PyType_Check(cls)) {
        PyErr_Format(PyExc_TypeError, "cls must be a class, not %.100s", Py_TYPE(cls)->tp_name);
        return NULL;
    }
    return PyDescr_NewMethod((PyTypeObject *)cls, &start_method);
}

static PyMethodDef functions[] = {
    {"make_start", make_start, METH_O,
     "make_start($module, cls, /)\n--\n\n"
     "The start() of a class of processes, which calls _begin(True) and forks what that returns."},
    {NULL, NULL, 0, NULL},
};

int fork_add(PyObject *module) {
    static const char *const names[TAKEN] = {"_popen", "_target", "_args", "_kwargs"};
    struct module_state *state = module_state(module);
    for (size_t i = 0; i < TAKEN; i++) {
        state->taken[i] = PyUnicode_InternFromString(names[i]);
        if (state->taken[i] == NULL) {
            return -1;
        }
    }
    state->bootstrap_name = PyUnicode_InternFromString("_bootstrap");
    return state->bootstrap_name != NULL ? PyModule_AddFunctions(module, functions) : -1;
}
