/*
 * process.c - mproc._mproc.Child: a child of the family, as Python starts it
 *
 * SPDX-License-Identifier: MIT
 *
 * Child is what a multiprocessing Popen is made of: fork() (see fork.c) or launch() starts it,
 * poll() and wait() ask for its end. It wraps one mproc_process. Its one descriptor is the
 * sentinel, a pidfd, open until close() or the end of the object.
 *
 * Holds. While the child's arguments are pickled, before anything is started, it turns out which
 * descriptors and which objects of the arena it gets. The core takes holds for a child from
 * mproc_process_prepare() on, but wants the descriptors there. So hold_for() takes a hold of this
 * process, and child_prepare() takes the child's once the descriptors are known.
 *
 * Threads. One may close the child while another waits for its end. So a thread uses the handle
 * between child_use() and child_leave(), and a handle that others use is dropped by the last one.
 *
 * Invariants: 1. `held` are holds of this process until the child is started, or close() gives them
 * back. 2. `code` is final once `ended`.
 */
#include "process.h"

#include "arguments.h"
#include "blocking.h"
#include "error.h"
#include "interrupt.h"
#include "options.h"
#include "template.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <structmember.h>

/* ---------------------------------------------------------------- life */

static PyObject *child_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                           PyObject *Py_UNUSED(kwargs)) {
    return type->tp_alloc(type, 0);
}

void child_drop_held(struct child *self) {
    THREADS_LOCK(&self->lock);
    void **held = self->held;
    size_t n = self->nheld;
    self->held = NULL;
    self->nheld = 0;
    THREADS_UNLOCK(&self->lock);
    for (size_t i = 0; i < n; i++) {
        mproc_drop(held[i]);
    }
    PyMem_Free(held);
}

/* ---------------------------------------------------------------- the handle */

/* The handle, until child_leave(); NULL: there is none, and there is nothing to leave. */
static mproc_process *child_use(struct child *self) {
    THREADS_LOCK(&self->lock);
    mproc_process *handle = self->handle;
    self->users += handle != NULL;
    THREADS_UNLOCK(&self->lock);
    return handle;
}

static void child_leave(struct child *self) {
    mproc_process *closed = NULL;
    THREADS_LOCK(&self->lock);
    if (--self->users == 0) {
        closed = self->closed;
        self->closed = NULL;
    }
    THREADS_UNLOCK(&self->lock);
    (void)mproc_process_drop(closed);
}

/* Nobody begins to use the handle any more: what the caller is to drop. Under the lock. */
static mproc_process *child_forget(struct child *self, mproc_process *owned) {
    if (self->users == 0) {
        return owned;
    }
    self->closed = owned;
    return NULL;
}

int child_lend(struct child *self, mproc_process **out) {
    THREADS_LOCK(&self->lock);
    int r = self->handle == NULL || self->lent ? -ESRCH : 0;
    if (r == 0) {
        self->lent = 1;
        *out = self->handle;
    }
    THREADS_UNLOCK(&self->lock);
    return r;
}

/* It was closed meanwhile, or is the child's alone again. */
void child_take_back(struct child *self, mproc_process *owned) {
    THREADS_LOCK(&self->lock);
    bool closed = self->handle != owned;
    mproc_process *dropped = closed ? child_forget(self, owned) : NULL;
    self->lent = closed ? self->lent : 0;
    THREADS_UNLOCK(&self->lock);
    (void)mproc_process_drop(dropped);
}

/* Asks for the exit code once. 1: it has ended; 0: it has not; or an error. */
static int ask(struct child *self, mproc_process *handle) {
    int code, r = mproc_process_exitcode(handle, &code);
    if (r == 0) {
        THREADS_STORE(self->code, code);
        THREADS_STORE(self->ended, 1);
    }
    return r == -EAGAIN ? 0 : r < 0 ? r : 1;
}

static bool has_ended(const struct child *self) {
    return THREADS_LOAD(self->ended) != 0;
}

static int child_ask(struct child *self) {
    mproc_process *handle = has_ended(self) ? NULL : child_use(self);
    if (handle == NULL) {
        return has_ended(self);
    }
    int r = ask(self, handle);
    child_leave(self);
    return r;
}

/* Takes the handle away from a child that has ended: what the caller is to drop, or NULL. A pool
 * that has it, too, drops it itself. Under the lock. */
static mproc_process *child_part(struct child *self) {
    mproc_process *handle = self->handle;
    self->pid = handle != NULL ? mproc_process_pid(handle) : self->pid;
    self->handle = NULL;
    bool lent = self->lent != 0;
    self->lent = 0;
    return lent || handle == NULL ? NULL : child_forget(self, handle);
}

/* 0, or -EBUSY when the process still runs. */
static int child_shut(struct child *self) {
    child_drop_held(self);
    mproc_process *handle = child_use(self);
    if (handle == NULL) {
        return 0;
    }
    int r = ask(self, handle);
    child_leave(self);
    if (r != 1 && r != MPROC_ESTRANGER) { /* a forked child's copy is only memory */
        return -EBUSY;
    }
    THREADS_LOCK(&self->lock);
    handle = child_part(self);
    THREADS_UNLOCK(&self->lock);
    (void)mproc_process_drop(handle);
    return 0;
}

static void child_dealloc(PyObject *object) {
    struct child *self = child_of(object);
    PyTypeObject *type = Py_TYPE(object);
    if (self->weak != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    (void)child_shut(self);
    (void)mproc_process_drop(self->closed); /* of a forked child, which has none of the users */
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---------------------------------------------------------------- holds, and the place in the
 * family */

/* Under the lock. */
static int hold(struct child *self, void *object) {
    void **held = PyMem_Realloc(self->held, (self->nheld + 1) * sizeof *held);
    if (held == NULL) {
        return -ENOMEM;
    }
    self->held = held;
    int r = mproc_hold(object);
    if (r == 0) {
        held[self->nheld++] = object;
    }
    return r;
}

static PyObject *child_hold_for(PyObject *object, PyObject *address) {
    struct child *self = child_of(object);
    void *pointer = PyLong_AsVoidPtr(address);
    if (pointer == NULL && PyErr_Occurred()) {
        return NULL;
    }
    if (!mproc_in_arena(pointer)) {
        PyErr_Format(PyExc_ValueError, "%R is no address of the family's arena", address);
        return NULL;
    }
    THREADS_LOCK(&self->lock);
    int r = hold(self, pointer);
    THREADS_UNLOCK(&self->lock);
    return r < 0 ? error_raise(r) : Py_NewRef(Py_None);
}

static int hold_all(struct child *self, mproc_process *handle) {
    for (size_t i = 0; i < self->nheld; i++) {
        int r = mproc_hold_for(handle, self->held[i]);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static mproc_process *prepare_held(struct child *self, const mproc_process_options *options) {
    mproc_process *handle;
    int r = mproc_process_prepare(&handle, options);
    if (r == 0) {
        r = hold_all(self, handle);
        if (r < 0) {
            (void)mproc_process_drop(handle);
        }
    }
    if (r < 0) {
        error_raise(r);
        return NULL;
    }
    return handle;
}

/* Any str is a name; the core keeps what of it is a C string. */
mproc_process *child_prepare(struct child *self, mproc_process_options *options, PyObject *name) {
    mproc_process *handle = NULL;
    if (THREADS_LOAD(self->handle) != NULL || self->pid != 0) {
        PyErr_SetString(PyExc_ValueError, "the child has been launched already");
        return NULL;
    }
    PyObject *label = PyUnicode_AsEncodedString(name, "utf-8", "backslashreplace");
    if (label == NULL) {
        return NULL;
    }
    options->name = PyBytes_AS_STRING(label);
    if (PySys_Audit("mproc.launch", "is", (int)options->method, options->name) == 0) {
        handle = prepare_held(self, options);
    }
    options->name = NULL;
    Py_DECREF(label);
    return handle;
}

/* ---------------------------------------------------------------- launch of a program */

/* quiet: a program begins with SIGINT blocked. */
static int launch_handle(mproc_process *handle, const Py_buffer *payload, int quiet) {
    sigset_t before;
    if (!quiet) {
        return mproc_process_launch(handle, payload->buf, (size_t)payload->len);
    }
    interrupt_hold(&before);
    int r = mproc_process_launch(handle, payload->buf, (size_t)payload->len);
    interrupt_restore(&before);
    return r;
}

static PyObject *launch(struct child *self, struct options *options, PyObject *name,
                        const Py_buffer *payload, int quiet, PyObject *process) {
    int r;
    mproc_process *handle = child_prepare(self, &options->core, name);
    if (handle == NULL) {
        return NULL;
    }
    BLOCKING(r, launch_handle(handle, payload, quiet));
    if (r < 0) {
        (void)mproc_process_drop(handle);
        return r == BLOCKING_RAISED ? NULL : options_raise(options, r);
    }
    THREADS_STORE(self->handle, handle);
    child_drop_held(self);
    /* Here, as child_fork() does: the child must be known before Python goes on. */
    if (process != Py_None && PyObject_SetAttrString(process, "_popen", (PyObject *)self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* 0, or -1 with an exception: a method that does not launch a program, or a bad template. */
static int set_method(struct options *options, struct module_state *state, int method,
                      PyObject *template) {
    options->core.method = (mproc_method)method;
    if (method == MPROC_FORK) {
        PyErr_SetString(PyExc_ValueError, "launch() does not fork: fork() does");
        return -1;
    }
    if (template != NULL && template != Py_None) {
        options->core.from = template_handle(state, template);
        return options->core.from == NULL ? -1 : 0;
    }
    return 0;
}

static PyObject *child_launch(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"method",   "name", "daemon", "payload", "fds",     "argv", "envp",
                            "template", "by",   "quiet",  "program", "process", NULL};
    struct options options = {0};
    int method, daemon, quiet = 0, program = 0;
    Py_buffer payload = {0};
    PyObject *name, *fds = NULL, *argv = NULL, *envp = NULL, *template = NULL, *by = NULL;
    PyObject *process = Py_None, *result = NULL;
    struct module_state *state = module_state_of(object);
    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "iUp|y*OOOOOppO:launch", names, &method, &name,
                                     &daemon, &payload, &fds, &argv, &envp, &template, &by, &quiet,
                                     &program, &process)) {
        return NULL;
    }
    options.core.flags = daemon ? MPROC_ATTACHED | MPROC_JOINS : MPROC_DETACHED;
    if (program) { /* it need not join, and then does not follow its parent by itself */
        options.core.flags &= ~(unsigned)MPROC_JOINS;
    } else if (method == MPROC_SPAWN && argv != NULL && argv != Py_None) {
        options.core.flags |= MPROC_WRAPPED;
    }
    options_start_by(&options, by);
    if (set_method(&options, state, method, template) == 0 &&
        options_fill(&options, fds, argv, envp) == 0) {
        result = launch(child_of(object), &options, name, &payload, quiet, process);
    }
    options_clear(&options);
    PyBuffer_Release(&payload);
    return result;
}

/* ---------------------------------------------------------------- the child's end */

static PyObject *child_returncode(PyObject *object, void *Py_UNUSED(unused)) {
    struct child *self = child_of(object);
    if (!has_ended(self)) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLong(THREADS_LOAD(self->code));
}

static PyObject *child_poll(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *names) {
    static const char *const keywords[] = {"flag"};
    PyObject *flag;
    if (arguments_spread("poll", keywords, &flag, 1, args, nargs, names) < 0) {
        return NULL;
    }
    int r = child_ask(child_of(object));
    return r < 0 ? error_raise(r) : child_returncode(object, NULL);
}

static PyObject *child_running(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct child *self = child_of(object);
    return PyBool_FromLong(THREADS_LOAD(self->handle) != NULL && child_ask(self) == 0);
}

/* As child_ask(), or BLOCKING_RAISED. */
static int await_end(struct child *self, mproc_process *handle, int64_t timeout) {
    int r;
    int64_t deadline = blocking_deadline(timeout);
    BLOCKING(r, mproc_process_join(handle, blocking_left(deadline)));
    return r == 0 ? ask(self, handle) : r;
}

static PyObject *child_wait(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"timeout", NULL};
    struct child *self = child_of(object);
    PyObject *seconds = NULL;
    int64_t timeout;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:wait", names, &seconds)) {
        return NULL;
    }
    if (blocking_timeout(seconds, &timeout) < 0) {
        return NULL;
    }
    int r = child_ask(self);
    mproc_process *handle = r == 0 && timeout != 0 ? child_use(self) : NULL;
    if (handle != NULL) {
        r = await_end(self, handle, timeout);
        child_leave(self);
    }
    if (r == BLOCKING_RAISED) {
        return NULL;
    }
    return r < 0 && r != -ETIMEDOUT ? error_raise(r) : child_returncode(object, NULL);
}

static PyObject *send(struct child *self, int signal) {
    mproc_process *handle = has_ended(self) ? NULL : child_use(self);
    if (handle != NULL) {
        int r = mproc_process_signal(handle, signal);
        child_leave(self);
        if (r < 0 && r != -ESRCH) {
            return error_raise(r);
        }
    }
    Py_RETURN_NONE;
}

static PyObject *child_signal(PyObject *object, PyObject *number) {
    long signal = PyLong_AsLong(number);
    if (signal == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (signal < 0 || signal > SIGRTMAX) {
        return error_raise(-EINVAL);
    }
    return send(child_of(object), (int)signal);
}

static PyObject *child_terminate(PyObject *object, PyObject *Py_UNUSED(unused)) {
    return send(child_of(object), SIGTERM);
}

static PyObject *child_kill(PyObject *object, PyObject *Py_UNUSED(unused)) {
    return send(child_of(object), SIGKILL);
}

static PyObject *child_interrupt(PyObject *object, PyObject *Py_UNUSED(unused)) {
    return send(child_of(object), SIGINT);
}

static PyObject *child_close(PyObject *object, PyObject *Py_UNUSED(unused)) {
    if (child_shut(child_of(object)) < 0) {
        PyErr_SetString(PyExc_ValueError, "the child is still running");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *child_pid(PyObject *object, void *Py_UNUSED(unused)) {
    struct child *self = child_of(object);
    mproc_process *handle = child_use(self);
    if (handle == NULL) {
        return PyLong_FromLong(self->pid);
    }
    pid_t pid = mproc_process_pid(handle);
    child_leave(self);
    return PyLong_FromLong(pid);
}

static PyObject *child_sentinel(PyObject *object, void *Py_UNUSED(unused)) {
    struct child *self = child_of(object);
    mproc_process *handle = child_use(self);
    int sentinel = -1;
    if (handle != NULL) {
        sentinel = mproc_process_sentinel(handle);
        child_leave(self);
    }
    return PyLong_FromLong(sentinel);
}

static PyMethodDef child_methods[] = {
    {"hold_for", child_hold_for, METH_O,
     "hold_for($self, address, /)\n--\n\n"
     "Give the child that is to be started a hold on the arena's object at that address. Until\n"
     "then the hold is this process'."},
    {"fork", child_fork, METH_VARARGS,
     "fork($self, process, by=None, /)\n--\n\n"
     "Start the child as a copy of the caller. It calls process._bootstrap() and exits with\n"
     "the result; the parent returns. by: what forks, instead of the core; called as os.fork()."},
    {"launch", MODULE_METHOD(child_launch), METH_VARARGS | METH_KEYWORDS,
     "launch($self, method, name, daemon, payload=b'', fds=(), argv=None, envp=None,\n"
     "template=None, by=None, quiet=False, program=False, process=None)\n--\n\n"
     "Start the child: method is SPAWN or FORKSERVER. The child finds payload by child_args(), "
     "fds\n"
     "under their numbers (SPAWN) or by child_fds() (FORKSERVER). by(path, argv, envp, fds): what\n"
     "starts the program of SPAWN instead of the core; strings are bytes, the result is the pid.\n"
     "quiet: a program begins with SIGINT blocked; hold_interrupts(False) lets it in.\n"
     "program: it is no interpreter of mproc, and need not become a member.\n"
     "process: what gets this object as its _popen as soon as the child runs."},
    {"poll", MODULE_METHOD(child_poll), METH_FASTCALL | METH_KEYWORDS,
     "poll($self, flag=os.WNOHANG)\n--\n\n"
     "The exit code, or minus the signal that ended the child; None while it runs."},
    {"running", child_running, METH_NOARGS,
     "running($self, /)\n--\n\nTrue when the child runs and the caller is its parent."},
    {"wait", MODULE_METHOD(child_wait), METH_VARARGS | METH_KEYWORDS,
     "wait($self, timeout=None)\n--\n\n"
     "Wait up to timeout seconds (None: for ever) for the child's end. Returns as poll()."},
    {"_send_signal", child_signal, METH_O,
     "_send_signal($self, signal, /)\n--\n\n"
     "Send a signal. An ended child gets none, nor does a process that has its pid by now."},
    {"terminate", child_terminate, METH_NOARGS,
     "terminate($self, /)\n--\n\nSend SIGTERM, unless the child has ended."},
    {"kill", child_kill, METH_NOARGS,
     "kill($self, /)\n--\n\nSend SIGKILL, unless the child has ended."},
    {"interrupt", child_interrupt, METH_NOARGS,
     "interrupt($self, /)\n--\n\nSend SIGINT, unless the child has ended."},
    {"close", child_close, METH_NOARGS,
     "close($self, /)\n--\n\n"
     "Close the sentinel and forget the process. ValueError while it runs."},
    {NULL, NULL, 0, NULL},
};

static PyObject *child_joined(PyObject *object, void *Py_UNUSED(unused)) {
    struct child *self = child_of(object);
    mproc_process *handle = child_use(self);
    int joined = 0;
    if (handle != NULL) {
        joined = mproc_process_joined(handle);
        child_leave(self);
    }
    return PyBool_FromLong(joined);
}

static PyMemberDef child_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct child, weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef child_getset[] = {
    {"pid", child_pid, NULL, "The process id; 0 in the child itself and before the start.", NULL},
    {"sentinel", child_sentinel, NULL,
     "A descriptor that becomes readable when the child has ended; -1 if there is none.", NULL},
    {"joined", child_joined, NULL, "Whether the child has become a member of the family.", NULL},
    {"returncode", child_returncode, NULL, "The exit code as last seen by poll() or wait().", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot child_slots[] = {
    {Py_tp_doc,
     "Child()\n--\n\n"
     "A child process: fork() or launch() starts it, poll() and wait() ask for its end."},
    {Py_tp_new, (void *)child_new},
    {Py_tp_dealloc, (void *)child_dealloc},
    {Py_tp_methods, child_methods},
    {Py_tp_members, child_members},
    {Py_tp_getset, child_getset},
    {0, NULL},
};

static PyType_Spec child_spec = {
    .name = "mproc._mproc.Child",
    .basicsize = sizeof(struct child),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = child_slots,
};

int process_add(PyObject *module) {
    if (PyModule_AddIntConstant(module, "SPAWN", MPROC_SPAWN) < 0 ||
        PyModule_AddIntConstant(module, "FORKSERVER", MPROC_FORKSERVER) < 0) {
        return -1;
    }
    return module_add_type(module, &child_spec, &module_state(module)->child_type, 1);
}
