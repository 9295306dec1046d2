/* process.c: children of the family, as Python starts them.
 *
 * Child is what a multiprocessing Popen is made of: fork() or launch() starts it, poll() and wait() ask for
 * its end; start() of a class of processes does what fork() does, and more of it before the fork. It wraps
 * one mproc_process; its one descriptor is the sentinel (a pidfd), open until close() or the object's end.
 * Template is the process whose forks are the children of method
 * forkserver. The functions, but for getpid, are for started children: attach, child_args, child_fds,
 * template_serve.
 *
 * What a child gets is found out while its arguments are pickled, before anything is started:
 * descriptors (launch's fds), and holds on arena objects. A core process can take holds from
 * mproc_process_prepare() on, but wants its descriptors there, so hold_for() takes a hold of our
 * own, and launch() passes them all on.
 *
 * What a forked child has of its parent's reference counts is right: start() gives back before the fork
 * what a child takes anew.
 *
 * Invariants: 1. `held` are holds of this process until launch() has given them to the child, or
 * close() gives them back. 2. `code` is final once `ended`.
 */
#include "module.h"

#include <signal.h>
#include <stddef.h>
#include <structmember.h>
#include <unistd.h>

#include "blocking.h"
#include "error.h"
#include "mproc.h"

struct template {
    PyObject_HEAD mproc_template *handle; /* NULL: dropped */
};

struct child {
    PyObject_HEAD mproc_process *handle; /* NULL: not launched, or closed */
    PyObject *weak;
    void **held;
    size_t nheld;
    pid_t pid; /* once closed */
    int ended;
    int code;
};

/* ---- options, as C wants them */

/* A sequence of str, bytes or path-like as a NULL-terminated array; `keep` owns the memory. */
struct strings {
    const char **array; /* NULL for None */
    PyObject *keep;
};

static void strings_clear(struct strings *strings) {
    PyMem_Free((void *)strings->array);
    Py_CLEAR(strings->keep);
    strings->array = NULL;
}

static int strings_fill(struct strings *strings, PyObject *items) {
    Py_ssize_t n = PySequence_Fast_GET_SIZE(items);
    strings->array = PyMem_Calloc((size_t)n + 1, sizeof *strings->array);
    strings->keep = PyList_New(0);
    if (!strings->array || !strings->keep) return -1;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *bytes = NULL;
        if (!PyUnicode_FSConverter(PySequence_Fast_GET_ITEM(items, i), &bytes)) return -1;
        int r = PyList_Append(strings->keep, bytes);
        strings->array[i] = PyBytes_AS_STRING(bytes);
        Py_DECREF(bytes);
        if (r < 0) return -1;
    }
    return 0;
}

static int strings_make(struct strings *strings, PyObject *sequence) {
    *strings = (struct strings){NULL, NULL};
    if (sequence == NULL || sequence == Py_None) return 0;
    PyObject *items = PySequence_Fast(sequence, "argv and envp must be sequences");
    if (!items) return -1;
    int r = strings_fill(strings, items);
    Py_DECREF(items);
    if (r < 0) {
        if (!PyErr_Occurred()) PyErr_NoMemory();
        strings_clear(strings);
    }
    return r;
}

/* A sequence of descriptors as an array, to be freed with PyMem_Free; *n is their number. */
static int *descriptors_make(PyObject *sequence, size_t *n) {
    PyObject *items = PySequence_Fast(sequence, "fds must be a sequence of integers");
    if (!items) return NULL;
    *n = (size_t)PySequence_Fast_GET_SIZE(items);
    int *fds = PyMem_New(int, *n + 1);
    if (!fds) PyErr_NoMemory();
    for (size_t i = 0; fds && i < *n; i++) {
        fds[i] = PyObject_AsFileDescriptor(PySequence_Fast_GET_ITEM(items, (Py_ssize_t)i));
        if (fds[i] < 0) {
            PyMem_Free(fds);
            fds = NULL;
        }
    }
    Py_DECREF(items);
    return fds;
}

/* ---- Child: life */

static PyObject *child_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)args;
    (void)kwargs;
    return type->tp_alloc(type, 0);
}

static void child_give_back(struct child *self) {
    if (!self->held) return;
    for (size_t i = 0; i < self->nheld; i++) mproc_drop(self->held[i]);
    PyMem_Free(self->held);
    self->held = NULL;
    self->nheld = 0;
}

/* 0, or -EBUSY when the process still runs. */
static int child_shut(struct child *self) {
    child_give_back(self);
    if (!self->handle) return 0;
    pid_t pid = mproc_process_pid(self->handle);
    int r = mproc_process_drop(self->handle);
    if (r < 0) return r;
    self->handle = NULL;
    self->pid = pid;
    return 0;
}

static void child_dealloc(PyObject *object) {
    struct child *self = (struct child *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->weak) PyObject_ClearWeakRefs(object);
    (void)child_shut(self);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- Child: launch */

PyDoc_STRVAR(child_hold_for_doc,
             "hold_for($self, address, /)\n--\n\nGive the child-to-be a hold on the arena object "
             "at address. Until it is launched, the hold is\nthis process'.");

static PyObject *child_hold_for(PyObject *object, PyObject *address) {
    struct child *self = (struct child *)object;
    void *pointer = PyLong_AsVoidPtr(address);
    if (!pointer && PyErr_Occurred()) return NULL;
    if (!mproc_in_arena(pointer)) {
        PyErr_Format(PyExc_ValueError, "%R is no address of the family's arena", address);
        return NULL;
    }
    void **held = PyMem_Resize(self->held, void *, self->nheld + 1);
    if (!held) return PyErr_NoMemory();
    self->held = held;
    int r = mproc_hold(pointer);
    if (r < 0) return error_raise(r);
    held[self->nheld++] = pointer;
    Py_RETURN_NONE;
}

static int hold_all(struct child *self, mproc_process *handle) {
    for (size_t i = 0; i < self->nheld; i++) {
        int r = mproc_hold_for(handle, self->held[i]);
        if (r < 0) return r;
    }
    return 0;
}

/* Any str is a name; the core keeps what of it is a C string. */
static mproc_process *child_prepare(struct child *self, mproc_process_options *options,
                                    PyObject *name) {
    mproc_process *handle;
    if (self->handle || self->pid) {
        PyErr_SetString(PyExc_ValueError, "the child has been launched already");
        return NULL;
    }
    PyObject *label = PyUnicode_AsEncodedString(name, "utf-8", "backslashreplace");
    if (!label) return NULL;
    options->name = PyBytes_AS_STRING(label);
    if (PySys_Audit("mproc.launch", "is", (int)options->method, options->name) < 0) {
        Py_DECREF(label);
        return NULL;
    }
    int r = mproc_process_prepare(&handle, options);
    options->name = NULL;
    Py_DECREF(label);
    if (r == 0) {
        r = hold_all(self, handle);
        if (r < 0) (void)mproc_process_drop(handle);
    }
    if (r < 0) error_raise(r);
    return r < 0 ? NULL : handle;
}

/* ---- Child: fork
 *
 * Parent and child share their memory until one of them writes, and then the writer pays for a copy of
 * the page, three microseconds. So what the parent need not do behind the fork it does before.
 */

/* What start() takes from a process object: the popen object comes in, what is to be run goes out.
 * A child gets all of it back, and so does the parent if there is no child. */
enum { OLD_POPEN, TARGET, ARGS, KWARGS, TAKEN };

static_assert(TAKEN == MODULE_TAKEN, "their names are kept in the module's state");

/* The values, and the popen object itself; a reference to each, unless it is lent. names: NULL when nothing
 * is taken. */
struct taken {
    PyObject *const *names;
    PyObject *values[TAKEN + 1];
    unsigned lent;
    int no_kwargs; /* an empty dictionary of nobody else's: made anew, where it is needed */
};

/* By an interned name: others are looked up in no cache. */
static PyObject *attribute(PyObject *object, const char *name) {
    PyObject *interned = PyUnicode_InternFromString(name);
    PyObject *value = interned ? PyObject_GetAttr(object, interned) : NULL;
    Py_XDECREF(interned);
    return value;
}

static int give_back(struct taken *taken, PyObject *process) {
    if (taken->no_kwargs && !(taken->values[KWARGS] = PyDict_New())) return -1;
    for (size_t i = 0; i < TAKEN; i++) {
        PyObject *value = taken->values[i];
        if (value && PyObject_SetAttr(process, taken->names[i], value) < 0) return -1;
        Py_CLEAR(taken->values[i]);
    }
    return 0;
}

static void taken_clear(struct taken *taken) {
    for (size_t i = 0; i <= TAKEN; i++)
        if (!(taken->lent & 1u << i)) Py_CLEAR(taken->values[i]);
}

/* Each is there: BaseProcess.__init__() makes them. */
static int take(struct taken *taken, PyObject *process) {
    PyObject *const *names = taken->names;
    if (!names) return 0;
    for (size_t i = 0; i < TAKEN; i++) {
        taken->values[i] = PyObject_GetAttr(process, names[i]);
        if (!taken->values[i]) return -1;
    }
    for (size_t i = 0; i < TAKEN; i++) {
        PyObject *value = i == OLD_POPEN ? taken->values[TAKEN] : NULL;
        if (PyObject_SetAttr(process, names[i], value) < 0) return -1;
    }
    PyObject *kwargs = taken->values[KWARGS];
    if (PyDict_CheckExact(kwargs) && PyDict_GET_SIZE(kwargs) == 0 && Py_REFCNT(kwargs) == 1)
        Py_CLEAR(taken->values[KWARGS]);
    taken->no_kwargs = !taken->values[KWARGS];
    return 0;
}

/* A reference that is not the last one can be given back before the fork, and taken anew by a child. No
 * Python code runs in between, so what is lent stays; behind the fork the parent looks at none of it. */
static void lend(struct taken *taken) {
    for (size_t i = 0; i <= TAKEN; i++) {
        if (taken->values[i] && Py_REFCNT(taken->values[i]) > 1) {
            Py_DECREF(taken->values[i]);
            taken->lent |= 1u << i;
        }
    }
}

static void take_back(struct taken *taken) {
    for (size_t i = 0; i <= TAKEN; i++)
        if (taken->lent & 1u << i) Py_INCREF(taken->values[i]);
    taken->lent = 0;
}

/* Forks under the interpreter's hooks. Returns as mproc_process_launch(). */
static int launch_fork(struct child *self, mproc_process *handle, struct taken *taken) {
    PyOS_BeforeFork();
    self->handle = handle;
    lend(taken);
    int r = mproc_process_launch(handle, NULL, 0);
    if (r != 0) take_back(taken);
    if (r < 0)
        self->handle = NULL;
    else
        child_give_back(self);
    if (r == MPROC_IN_CHILD)
        PyOS_AfterFork_Child();
    else
        PyOS_AfterFork_Parent();
    return r;
}

static mproc_process *prepare_fork(struct child *self, PyObject *process) {
    mproc_process_options options = {.method = MPROC_FORK};
    mproc_process *handle = NULL;
    PyObject *name = attribute(process, "_name");
    PyObject *daemonic = name ? attribute(process, "daemon") : NULL;
    int daemon = daemonic ? PyObject_IsTrue(daemonic) : -1;
    if (daemon >= 0) {
        options.flags = daemon ? MPROC_ATTACHED : MPROC_DETACHED;
        handle = child_prepare(self, &options, name);
    }
    Py_XDECREF(daemonic);
    Py_XDECREF(name);
    return handle;
}

/* What a forked child does: process._bootstrap("fork"), whose result is its exit code. */
static _Noreturn void run_forked(PyObject *process, struct taken *taken) {
    PyObject *result = NULL;
    if (give_back(taken, process) == 0)
        result = PyObject_CallMethod(process, "_bootstrap", "s", "fork");
    long code = result ? PyLong_AsLong(result) : 1;
    if (code == -1 && PyErr_Occurred()) code = 1;
    _exit((int)(code & 0xff));
}

/* 0, or -1 with an exception, when start_failed() is to follow. In the child it does not return. */
static int fork_child(struct child *self, PyObject *process, struct taken *taken) {
    mproc_process *handle = prepare_fork(self, process);
    if (!handle) return -1;
    if (take(taken, process) < 0) {
        (void)mproc_process_drop(handle);
        return -1;
    }
    int r = launch_fork(self, handle, taken);
    if (r == MPROC_IN_CHILD) run_forked(process, taken);
    if (r == 0) return 0;
    (void)mproc_process_drop(handle);
    error_raise(r);
    return -1;
}

PyDoc_STRVAR(child_fork_doc,
             "fork($self, process, /)\n--\n\nStart the child as a copy of the caller. It calls "
             "process._bootstrap('fork') and exits with\nthe result; the parent returns.");

static PyObject *child_fork(PyObject *object, PyObject *process) {
    struct taken nothing = {0};
    if (fork_child((struct child *)object, process, &nothing) < 0) return NULL;
    Py_RETURN_NONE;
}

static void start_failed(PyObject *process, struct taken *taken) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (give_back(taken, process) < 0) PyErr_Clear();
    Py_XDECREF(PyObject_CallMethod(process, "_not_started", NULL));
    PyErr_Restore(type, value, traceback);
}

/* ---- Process.start() */

PyDoc_STRVAR(start_doc, "start($self, /)\n--\n\nStart the child process.");

/* Uses up the reference to cls, which _begin() has returned. */
static int start_fork(PyObject *process, PyObject *cls, struct taken *taken) {
    PyObject *module =
        PyType_Check(cls) ? PyType_GetModuleByDef((PyTypeObject *)cls, &module_definition) : NULL;
    struct module_state *state = module ? module_state(module) : NULL;
    if (!state || !PyType_IsSubtype((PyTypeObject *)cls, state->child_type)) {
        PyErr_Format(PyExc_TypeError, "%R is no class of popen objects", cls);
        Py_DECREF(cls);
        return -1;
    }
    PyObject *popen = child_new((PyTypeObject *)cls, NULL, NULL);
    Py_DECREF(cls); /* now: behind the fork it would be a page */
    if (!popen) return -1;
    taken->names = state->taken;
    taken->values[TAKEN] = popen;
    return fork_child((struct child *)popen, process, taken);
}

/* In C, so that the parent of a fork returns through no Python frame. */
static PyObject *start(PyObject *process, PyObject *unused) {
    (void)unused;
    PyObject *cls = PyObject_CallMethod(process, "_begin", "O", Py_True);
    if (!cls || cls == Py_None) return cls;
    struct taken taken = {0};
    int r = start_fork(process, cls, &taken);
    if (r < 0) start_failed(process, &taken);
    taken_clear(&taken);
    if (r < 0) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef start_method = {"start", start, METH_NOARGS, start_doc};

PyDoc_STRVAR(make_start_doc, "make_start($module, cls, /)\n--\n\nThe start() of a class of "
                             "processes, which calls _begin(True) and forks what that returns.");

static PyObject *make_start(PyObject *module, PyObject *cls) {
    (void)module;
    if (!PyType_Check(cls)) {
        PyErr_Format(PyExc_TypeError, "cls must be a class, not %.100s", Py_TYPE(cls)->tp_name);
        return NULL;
    }
    return PyDescr_NewMethod((PyTypeObject *)cls, &start_method);
}

static int add_taken_names(struct module_state *state) {
    static const char *const names[TAKEN] = {"_popen", "_target", "_args", "_kwargs"};
    for (size_t i = 0; i < TAKEN; i++)
        if (!(state->taken[i] = PyUnicode_InternFromString(names[i]))) return -1;
    return 0;
}

/* ---- Child: launch of a program */

static PyObject *child_start(struct child *self, mproc_process_options *options, PyObject *name,
                             const Py_buffer *payload) {
    int r;
    mproc_process *handle = child_prepare(self, options, name);
    if (!handle) return NULL;
    BLOCKING(r, mproc_process_launch(handle, payload->buf, (size_t)payload->len));
    if (r < 0) {
        (void)mproc_process_drop(handle);
        if (r == BLOCKING_RAISED) return NULL;
        return error_raise_for(r, options->argv ? options->argv[0] : NULL);
    }
    self->handle = handle;
    child_give_back(self);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(child_launch_doc, "launch($self, method, name, daemon, payload=b'', fds=(), "
                               "argv=None, envp=None, template=None)\n--\n\n"
                               "Start the child: method is SPAWN or FORKSERVER.\n"
                               "The child finds payload by child_args(), fds under their numbers "
                               "(SPAWN) or by child_fds() (FORKSERVER).");

static PyObject *child_launch(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"method", "name", "daemon",   "payload", "fds",
                            "argv",   "envp", "template", NULL};
    mproc_process_options options = {0};
    int method, daemon;
    Py_buffer payload = {0};
    PyObject *name, *result = NULL;
    PyObject *fds = NULL, *argv = NULL, *envp = NULL, *from = NULL;
    struct strings arguments = {NULL, NULL}, environment = {NULL, NULL};
    struct module_state *state = module_state_of(object);
    if (!state || !PyArg_ParseTupleAndKeywords(args, kwargs, "iUp|y*OOOO:launch", names, &method,
                                               &name, &daemon, &payload, &fds, &argv, &envp, &from))
        return NULL;
    int *descriptors = NULL;
    if (method == MPROC_FORK) {
        PyErr_SetString(PyExc_ValueError, "launch() does not fork: fork() does");
        goto done;
    }
    if (fds && !(descriptors = descriptors_make(fds, &options.nfds))) goto done;
    if (strings_make(&arguments, argv) < 0 || strings_make(&environment, envp) < 0) goto done;
    if (from && from != Py_None) {
        if (!PyObject_TypeCheck(from, state->template_type)) {
            PyErr_Format(PyExc_TypeError, "template must be a Template, not %.100s",
                         Py_TYPE(from)->tp_name);
            goto done;
        }
        options.from = ((struct template *)from)->handle;
    }
    options.method = (mproc_method)method;
    options.flags = daemon ? MPROC_ATTACHED : MPROC_DETACHED;
    options.fds = descriptors;
    options.argv = arguments.array;
    options.envp = environment.array;
    result = child_start((struct child *)object, &options, name, &payload);
done:
    strings_clear(&environment);
    strings_clear(&arguments);
    PyMem_Free(descriptors);
    PyBuffer_Release(&payload);
    return result;
}

/* ---- Child: its end */

static PyObject *child_returncode(PyObject *object, void *closure) {
    struct child *self = (struct child *)object;
    (void)closure;
    if (!self->ended) Py_RETURN_NONE;
    return PyLong_FromLong(self->code);
}

/* Asks for the exit code once. 1: it has ended; 0: it has not; or an error. */
static int child_ask(struct child *self) {
    if (self->ended || !self->handle) return self->ended;
    int r = mproc_process_exitcode(self->handle, &self->code);
    if (r == 0) self->ended = 1;
    return r == -EAGAIN ? 0 : r < 0 ? r : 1;
}

PyDoc_STRVAR(child_poll_doc, "poll($self, flag=os.WNOHANG, /)\n--\n\nThe exit code, or minus the "
                             "signal that ended the child; None while it runs.");

static PyObject *child_poll(PyObject *object, PyObject *const *args, Py_ssize_t nargs) {
    (void)args;
    if (nargs > 1) {
        PyErr_Format(PyExc_TypeError, "poll() takes at most 1 argument (%zd given)", nargs);
        return NULL;
    }
    int r = child_ask((struct child *)object);
    return r < 0 ? error_raise(r) : child_returncode(object, NULL);
}

PyDoc_STRVAR(child_running_doc,
             "running($self, /)\n--\n\nTrue when the child runs and the caller is "
             "its parent.");

static PyObject *child_running(PyObject *object, PyObject *unused) {
    struct child *self = (struct child *)object;
    (void)unused;
    return PyBool_FromLong(self->handle && child_ask(self) == 0);
}

PyDoc_STRVAR(child_wait_doc, "wait($self, timeout=None)\n--\n\nWait up to timeout seconds (None: "
                             "for ever) for the child's end. Returns as poll().");

static PyObject *child_wait(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"timeout", NULL};
    struct child *self = (struct child *)object;
    PyObject *seconds = NULL;
    int64_t timeout;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:wait", names, &seconds)) return NULL;
    if (blocking_timeout(seconds, &timeout) < 0) return NULL;
    int r = child_ask(self);
    if (r == 0 && self->handle && timeout != 0) {
        int64_t deadline = blocking_deadline(timeout);
        BLOCKING(r, mproc_process_join(self->handle, blocking_left(deadline)));
        if (r == BLOCKING_RAISED) return NULL;
        if (r == 0) r = child_ask(self);
    }
    return r < 0 && r != -ETIMEDOUT ? error_raise(r) : child_returncode(object, NULL);
}

PyDoc_STRVAR(child_signal_doc, "_send_signal($self, signal, /)\n--\n\nSend a signal. An ended "
                               "child gets none, nor does a process that has its pid by now.");

static PyObject *child_signal(PyObject *object, PyObject *number) {
    struct child *self = (struct child *)object;
    long signal = PyLong_AsLong(number);
    if (signal == -1 && PyErr_Occurred()) return NULL;
    if (signal < 0 || signal > SIGRTMAX) return error_raise(-EINVAL);
    int r = self->ended || !self->handle ? -ESRCH : mproc_process_signal(self->handle, (int)signal);
    if (r < 0 && r != -ESRCH) return error_raise(r);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    child_close_doc,
    "close($self, /)\n--\n\nClose the sentinel and forget the process. ValueError while it runs.");

static PyObject *child_close(PyObject *object, PyObject *unused) {
    (void)unused;
    if (child_shut((struct child *)object) < 0) {
        PyErr_SetString(PyExc_ValueError, "the child is still running");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *child_pid(PyObject *object, void *closure) {
    (void)closure;
    struct child *self = (struct child *)object;
    return PyLong_FromLong(self->handle ? mproc_process_pid(self->handle) : self->pid);
}

static PyObject *child_sentinel(PyObject *object, void *closure) {
    (void)closure;
    struct child *self = (struct child *)object;
    return PyLong_FromLong(self->handle ? mproc_process_sentinel(self->handle) : -1);
}

static PyGetSetDef child_getset[] = {
    {"pid", child_pid, NULL,
     PyDoc_STR("The process id; 0 in the child itself and before launch()."), NULL},
    {"sentinel", child_sentinel, NULL,
     PyDoc_STR("A descriptor that becomes readable when the child has ended; -1 if there is none."),
     NULL},
    {"returncode", child_returncode, NULL,
     PyDoc_STR("The exit code as last seen by poll() or wait()."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef child_methods[] = {
    {"hold_for", child_hold_for, METH_O, child_hold_for_doc},
    {"fork", child_fork, METH_O, child_fork_doc},
    {"launch", (PyCFunction)(void (*)(void))child_launch, METH_VARARGS | METH_KEYWORDS,
     child_launch_doc},
    {"poll", (PyCFunction)(void (*)(void))child_poll, METH_FASTCALL, child_poll_doc},
    {"running", child_running, METH_NOARGS, child_running_doc},
    {"wait", (PyCFunction)(void (*)(void))child_wait, METH_VARARGS | METH_KEYWORDS, child_wait_doc},
    {"_send_signal", child_signal, METH_O, child_signal_doc},
    {"close", child_close, METH_NOARGS, child_close_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef child_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct child, weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(
    child_doc,
    "Child()\n--\n\nA child process: launch() starts it, poll() and wait() ask for its end.");

static PyType_Slot child_slots[] = {
    {Py_tp_doc, (void *)child_doc},
    {Py_tp_new, (void *)child_new},
    {Py_tp_dealloc, (void *)child_dealloc},
    {Py_tp_methods, child_methods},
    {Py_tp_getset, child_getset},
    {Py_tp_members, child_members},
    {0, NULL},
};

static PyType_Spec child_spec = {
    .name = "mproc._mproc.Child",
    .basicsize = sizeof(struct child),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = child_slots,
};

/* ---- Template */

PyDoc_STRVAR(template_doc, "Template(argv, fds=(), envp=None)\n--\n\nA started template process: "
                           "argv must run into template_serve().");

static PyObject *template_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"argv", "fds", "envp", NULL};
    mproc_process_options options = {.name = "Template", .method = MPROC_SPAWN};
    PyObject *argv, *fds = NULL, *envp = NULL;
    struct template *self = NULL;
    struct strings arguments = {NULL, NULL}, environment = {NULL, NULL};
    mproc_template *handle;
    int r;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO:Template", names, &argv, &fds, &envp))
        return NULL;
    int *descriptors = NULL;
    if (fds && !(descriptors = descriptors_make(fds, &options.nfds))) return NULL;
    if (strings_make(&arguments, argv) < 0 || strings_make(&environment, envp) < 0) goto done;
    if (!(self = (struct template *)type->tp_alloc(type, 0))) goto done;
    options.fds = descriptors;
    options.argv = arguments.array;
    options.envp = environment.array;
    BLOCKING(r, mproc_template_new(&handle, &options));
    if (r == 0)
        self->handle = handle;
    else {
        Py_CLEAR(self);
        if (r != BLOCKING_RAISED) error_raise_for(r, arguments.array ? arguments.array[0] : NULL);
    }
done:
    strings_clear(&environment);
    strings_clear(&arguments);
    PyMem_Free(descriptors);
    return (PyObject *)self;
}

static PyObject *template_pid(PyObject *object, void *closure) {
    struct template *self = (struct template *)object;
    (void)closure;
    return PyLong_FromLong(self->handle ? mproc_template_pid(self->handle) : 0);
}

PyDoc_STRVAR(
    template_drop_doc,
    "drop($self, /)\n--\n\nEnd the template process and wait for it. Its children live on.");

static PyObject *template_drop(PyObject *object, PyObject *unused) {
    struct template *self = (struct template *)object;
    mproc_template *handle = self->handle;
    (void)unused;
    self->handle = NULL;
    Py_BEGIN_ALLOW_THREADS;
    mproc_template_drop(handle);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

/* A template that nobody dropped ends with this process anyway: it must not be waited for here, in
 * a forked child least of all. */
static void template_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyGetSetDef template_getset[] = {
    {"pid", template_pid, NULL, PyDoc_STR("The template's process id; 0 once it is dropped."),
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef template_methods[] = {
    {"drop", template_drop, METH_NOARGS, template_drop_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot template_slots[] = {
    {Py_tp_doc, (void *)template_doc},         {Py_tp_new, (void *)template_new},
    {Py_tp_dealloc, (void *)template_dealloc}, {Py_tp_methods, template_methods},
    {Py_tp_getset, template_getset},           {0, NULL},
};

static PyType_Spec template_spec = {
    .name = "mproc._mproc.Template",
    .basicsize = sizeof(struct template),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = template_slots,
};

/* ---- in a started child */

PyDoc_STRVAR(attach_doc, "attach($module, /)\n--\n\nBecome a member of the family. True in a "
                         "process that was started by SPAWN or as a template.");

static PyObject *attach(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    int r = mproc_attach();
    return r < 0 ? error_raise(r) : PyBool_FromLong(r);
}

PyDoc_STRVAR(own_pid_doc, "getpid($module, /)\n--\n\nos.getpid() without a system call.");

static PyObject *own_pid(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    return PyLong_FromLong(mproc_pid());
}

PyDoc_STRVAR(child_args_doc, "child_args($module, /)\n--\n\nThe payload that this process was "
                             "started with, in the arena, or None.");

static PyObject *child_args(PyObject *module, PyObject *unused) {
    size_t size;
    const void *data = mproc_child_args(&size);
    (void)module;
    (void)unused;
    if (!data) Py_RETURN_NONE;
    return PyMemoryView_FromMemory((char *)data, (Py_ssize_t)size, PyBUF_READ);
}

PyDoc_STRVAR(child_fds_doc, "child_fds($module, /)\n--\n\nThe descriptors that were passed to this "
                            "child of a template, in order.");

static PyObject *child_fds(PyObject *module, PyObject *unused) {
    size_t n = mproc_child_fds(NULL, 0);
    int *fds = PyMem_New(int, n + 1);
    (void)module;
    (void)unused;
    if (!fds) return PyErr_NoMemory();
    n = mproc_child_fds(fds, n);
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; list && i < n; i++) {
        PyObject *fd = PyLong_FromLong(fds[i]);
        if (!fd) Py_CLEAR(list);
        if (fd) PyList_SET_ITEM(list, (Py_ssize_t)i, fd);
    }
    PyMem_Free(fds);
    return list;
}

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

PyDoc_STRVAR(template_serve_doc, "template_serve($module, /)\n--\n\nFork on request. True in each "
                                 "child; False when the starter has gone.");

static PyObject *template_serve(PyObject *module, PyObject *unused) {
    PyThreadState *thread;
    mproc_fork_hooks hooks = {before_fork, after_fork_parent, after_fork_child, &thread};
    int r;
    (void)module;
    (void)unused;
    do {
        thread = PyEval_SaveThread();
        r = mproc_template_serve(&hooks);
        PyEval_RestoreThread(thread);
        if (r == -EINTR && PyErr_CheckSignals() < 0) return NULL;
    } while (r == -EINTR);
    return r < 0 ? error_raise(r) : PyBool_FromLong(r == MPROC_IN_CHILD);
}

static PyMethodDef functions[] = {
    {"attach", attach, METH_NOARGS, attach_doc},
    {"getpid", own_pid, METH_NOARGS, own_pid_doc},
    {"child_args", child_args, METH_NOARGS, child_args_doc},
    {"child_fds", child_fds, METH_NOARGS, child_fds_doc},
    {"template_serve", template_serve, METH_NOARGS, template_serve_doc},
    {"make_start", make_start, METH_O, make_start_doc},
    {NULL, NULL, 0, NULL},
};

int process_add(PyObject *module) {
    struct module_state *state = module_state(module);
    if (PyModule_AddFunctions(module, functions) < 0 || add_taken_names(state) < 0) return -1;
    if (PyModule_AddIntConstant(module, "SPAWN", MPROC_SPAWN) < 0) return -1;
    if (PyModule_AddIntConstant(module, "FORKSERVER", MPROC_FORKSERVER) < 0) return -1;
    if (module_add_type(module, &child_spec, &state->child_type, 1) < 0) return -1;
    return module_add_type(module, &template_spec, &state->template_type, 1);
}
