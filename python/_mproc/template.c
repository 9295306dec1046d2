/*
 * template.c - mproc._mproc.Template: the process whose forks are the children of method forkserver
 *
 * SPDX-License-Identifier: MIT
 *
 * Template is the starter's end, over one mproc_template. template_serve() is the template's own
 * end: the loop in which it forks on request, under the interpreter's hooks for a fork.
 */
#include "template.h"

#include "blocking.h"
#include "error.h"
#include "interrupt.h"
#include "options.h"
#include "threads.h"

struct template {
    PyObject_HEAD mproc_template *handle; /* NULL: dropped */
};

static struct template *template_of(PyObject *self) {
    return (struct template *)self;
}

mproc_template *template_handle(struct module_state *state, PyObject *object) {
    if (!module_is_a(object, state->template_type)) {
        PyErr_Format(PyExc_TypeError, "template must be a Template, not %.100s",
                     Py_TYPE(object)->tp_name);
        return NULL;
    }
    if (template_of(object)->handle == NULL) {
        PyErr_SetString(PyExc_ValueError, "the template has been dropped");
    }
    return template_of(object)->handle;
}

/* ---------------------------------------------------------------- the starter's end */

/* The template begins with SIGINT blocked, until it ignores it; so do its children, until they know
 * how they take it. */
static int new_template(mproc_template **handle, const mproc_process_options *options) {
    sigset_t before;
    interrupt_hold(&before);
    int r = mproc_template_new(handle, options);
    interrupt_restore(&before);
    return r;
}

static PyObject *start(PyTypeObject *type, struct options *options) {
    struct template *self = template_of(type->tp_alloc(type, 0));
    int r;
    if (self == NULL) {
        return NULL;
    }
    options->core.name = "Template";
    options->core.method = MPROC_SPAWN;
    options->core.flags = MPROC_WRAPPED;
    BLOCKING(r, new_template(&self->handle, &options->core));
    if (r != 0) {
        Py_DECREF(self);
        return r == BLOCKING_RAISED ? NULL : options_raise(options, r);
    }
    return (PyObject *)self;
}

static PyObject *template_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"argv", "fds", "envp", "by", NULL};
    struct options options = {0};
    PyObject *argv, *fds = NULL, *envp = NULL, *by = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OOO:Template", names, &argv, &fds, &envp,
                                     &by)) {
        return NULL;
    }
    options_start_by(&options, by);
    PyObject *self = options_fill(&options, fds, argv, envp) < 0 ? NULL : start(type, &options);
    options_clear(&options);
    return self;
}

static PyObject *template_pid(PyObject *self, void *Py_UNUSED(unused)) {
    pid_t pid;
    Py_BEGIN_CRITICAL_SECTION(self);
    mproc_template *handle = template_of(self)->handle;
    pid = handle != NULL ? mproc_template_pid(handle) : 0;
    Py_END_CRITICAL_SECTION();
    return PyLong_FromLong(pid);
}

/* Of several threads one drops it. None may be starting a child from it: the lock of whoever has
 * the template (forkserver.py) sees to that. */
static PyObject *template_drop(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_template *handle;
    Py_BEGIN_CRITICAL_SECTION(self);
    handle = template_of(self)->handle;
    template_of(self)->handle = NULL;
    Py_END_CRITICAL_SECTION();
    Py_BEGIN_ALLOW_THREADS;
    mproc_template_drop(handle);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

/* A template that nobody dropped ends with this process anyway. To wait for its end here would be
 * wrong, most of all in a forked child. */
static void template_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef template_methods[] = {
    {"drop", template_drop, METH_NOARGS,
     "drop($self, /)\n--\n\n"
     "End the template process and wait for it. Its children live on."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef template_getset[] = {
    {"pid", template_pid, NULL, "The template's process id; 0 once it is dropped.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot template_slots[] = {
    {Py_tp_doc, "Template(argv, fds=(), envp=None, by=None)\n--\n\n"
                "A started template process: argv must run into template_serve(). by: as in\n"
                "Child.launch()."},
    {Py_tp_new, (void *)template_new},
    {Py_tp_dealloc, (void *)template_dealloc},
    {Py_tp_methods, template_methods},
    {Py_tp_getset, template_getset},
    {0, NULL},
};

static PyType_Spec template_spec = {
    .name = "mproc._mproc.Template",
    .basicsize = sizeof(struct template),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = template_slots,
};

/* ---------------------------------------------------------------- the template's end */

/* The core serves without the interpreter's lock, and its hooks run on the serving thread, whose
 * state `arg` points to. */
static void before_fork(void *arg) {
    PyEval_RestoreThread(*(PyThreadState **)arg);
    PyOS_BeforeFork();
}

static void after_fork_parent(void *arg) {
    PyOS_AfterFork_Parent();
    *(PyThreadState **)arg = PyEval_SaveThread();
}

static void after_fork_child(void *arg) {
    PyOS_AfterFork_Child();
    *(PyThreadState **)arg = PyEval_SaveThread();
}

static PyObject *template_serve(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused)) {
    PyThreadState *thread;
    mproc_fork_hooks hooks = {before_fork, after_fork_parent, after_fork_child, &thread};
    int r;
    do {
        thread = PyEval_SaveThread();
        r = mproc_template_serve(&hooks);
        PyEval_RestoreThread(thread);
        if (r == -EINTR && PyErr_CheckSignals() < 0) {
            return NULL;
        }
    } while (r == -EINTR);
    return r < 0 ? error_raise(r) : PyBool_FromLong(r == MPROC_IN_CHILD);
}

static PyMethodDef functions[] = {
    {"template_serve", template_serve, METH_NOARGS,
     "template_serve($module, /)\n--\n\n"
     "Fork on request. True in each child; False when the starter has gone."},
    {NULL, NULL, 0, NULL},
};

int template_add(PyObject *module) {
    return PyModule_AddFunctions(module, functions);
}

int template_type_add(PyObject *module) {
    return module_add_type(module, &template_spec, &module_state(module)->template_type, 1);
}
