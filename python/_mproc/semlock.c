/*
 * semlock.c - mproc._mproc.SemLock: a named semaphore of the system, as `_multiprocessing.SemLock`
 *
 * SPDX-License-Identifier: MIT
 *
 * The locks of mproc.synchronize are words of the arena, which only the family sees. This type is
 * for programs that make their semaphores by name, to share them with processes that are not of the
 * family, such as loky: a POSIX semaphore behind the interface that `_multiprocessing` has for it.
 *
 * The system's semaphore knows neither its holders nor a limit. The object knows both: how often it
 * was acquired through this object and by which thread, and the largest value that it is released
 * to. It looks at that value before it posts, as the standard library's does, so two that release
 * at once may exceed it. When a holder dies, its permits are lost.
 *
 * Waits are cut into slices, since a process that posts may die between the count and the wake-up.
 */
#include "acquire.h"
#include "threads.h"

#include <fcntl.h>
#include <semaphore.h>
#include <stdbool.h>

#define SLICE_FIRST 10000000LL /* ns; doubles up to the last */
#define SLICE_LAST 50000000LL
#define FILE_SIZE 256 /* of a file's name on /dev/shm, its 0 included */

enum { RECURSIVE_MUTEX, SEMAPHORE };

struct semlock {
    PyObject_HEAD sem_t *sem; /* NULL: not open */
    PyObject *name;           /* NULL, seen as None: unlinked from the beginning */
    int kind;
    int maxvalue;
    int count;           /* acquired through this object minus released */
    unsigned long owner; /* native id of the thread that acquired last */
};

static struct semlock *semlock_of(PyObject *self) {
    return (struct semlock *)self;
}

/* ---------------------------------------------------------------- making */

/* An object without a semaphore yet; a bad kind or maxvalue is ValueError. */
static struct semlock *make(PyTypeObject *type, int kind, int maxvalue) {
    if (kind != RECURSIVE_MUTEX && kind != SEMAPHORE) {
        PyErr_Format(PyExc_ValueError, "unrecognized kind %d", kind);
        return NULL;
    }
    if (maxvalue < 0) {
        PyErr_Format(PyExc_ValueError, "a semaphore's maxvalue is not negative: %d", maxvalue);
        return NULL;
    }
    struct semlock *self = (struct semlock *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->kind = kind;
        self->maxvalue = maxvalue;
    }
    return self;
}

/* Takes over what sem_open() gave. Steals self. */
static PyObject *open_as(struct semlock *self, sem_t *sem, const char *name) {
    if (sem == SEM_FAILED) {
        PyErr_SetFromErrnoWithFilename(PyExc_OSError, name);
        Py_DECREF(self);
        return NULL;
    }
    self->sem = sem;
    return (PyObject *)self;
}

/* SemLock(kind, value, maxvalue, name, unlink) */
static PyObject *semlock_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"kind", "value", "maxvalue", "name", "unlink", NULL};
    int kind, value, maxvalue, unlink;
    const char *name;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "iiisp:SemLock", keywords, &kind, &value,
                                     &maxvalue, &name, &unlink)) {
        return NULL;
    }
    struct semlock *self = make(type, kind, maxvalue);
    if (self == NULL) {
        return NULL;
    }
    if (value < 0 || value > maxvalue) {
        Py_DECREF(self);
        return PyErr_Format(PyExc_ValueError, "value is 0 to maxvalue (%d), not %d", maxvalue,
                            value);
    }
    if (!unlink && (self->name = PyUnicode_FromString(name)) == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    sem_t *sem = sem_open(name, O_CREAT | O_EXCL, 0600, (unsigned)value);
    if (sem != SEM_FAILED && unlink) {
        (void)sem_unlink(name);
    }
    return open_as(self, sem, name);
}

/* _rebuild(handle, kind, maxvalue, name): the handle is another process' address, so the name is
 * what counts. */
static PyObject *semlock_rebuild(PyObject *type, PyObject *args) {
    PyObject *handle, *name;
    int kind, maxvalue;
    if (!PyArg_ParseTuple(args, "OiiO:_rebuild", &handle, &kind, &maxvalue, &name)) {
        return NULL;
    }
    if (name == Py_None) {
        PyErr_SetString(PyExc_ValueError, "a semaphore without a name cannot be opened again");
        return NULL;
    }
    if (!PyUnicode_Check(name)) {
        return PyErr_Format(PyExc_TypeError, "a semaphore's name is a str, not %R", name);
    }
    const char *text = PyUnicode_AsUTF8(name);
    struct semlock *self = text == NULL ? NULL : make((PyTypeObject *)type, kind, maxvalue);
    if (self == NULL) {
        return NULL;
    }
    self->name = Py_NewRef(name);
    return open_as(self, sem_open(text, 0), text);
}

static void semlock_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    if (semlock_of(self)->sem != NULL) {
        (void)sem_close(semlock_of(self)->sem);
    }
    Py_XDECREF(semlock_of(self)->name);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---------------------------------------------------------------- acquiring */

static bool is_mine(const struct semlock *self) {
    return THREADS_LOAD(self->count) > 0 &&
           THREADS_LOAD(self->owner) == PyThread_get_thread_native_id();
}

#ifdef __GLIBC_PREREQ
#define HAS_CLOCKWAIT __GLIBC_PREREQ(2, 30)
#define FILE_PREFIX "sem."
#else /* musl */
#define HAS_CLOCKWAIT 0
#define FILE_PREFIX ""
#endif

/* 0, -ETIMEDOUT, -EINTR or another negative errno. */
#if HAS_CLOCKWAIT
static int wait_until(sem_t *sem, int64_t end) {
    struct timespec at = {end / MPROC_SEC, end % MPROC_SEC};
    return sem_clockwait(sem, CLOCK_MONOTONIC, &at) == 0 ? 0 : -errno;
}
#else
/* By the clock that may be set: the wait may end too early or late then, so its caller looks. */
static int wait_until(sem_t *sem, int64_t end) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    int64_t left = end - blocking_now();
    int64_t sum = at.tv_nsec + (left > 0 ? left : 0);
    at.tv_sec += sum / MPROC_SEC;
    at.tv_nsec = sum % MPROC_SEC;
    return sem_timedwait(sem, &at) == 0 ? 0 : -errno;
}
#endif

static int wait_in_slices(sem_t *sem, int64_t deadline) {
    int64_t slice = SLICE_FIRST;
    int r = -ETIMEDOUT;
    while (r == -ETIMEDOUT) {
        int64_t end = blocking_now() + slice;
        bool last = deadline >= 0 && deadline <= end;
        r = wait_until(sem, last ? deadline : end);
        if (last && (r != -ETIMEDOUT || blocking_now() >= deadline)) {
            return r;
        }
        slice = slice * 2 < SLICE_LAST ? slice * 2 : SLICE_LAST;
    }
    return r;
}

static int try_now(sem_t *sem) {
    return sem_trywait(sem) == 0 ? 0 : errno == EAGAIN ? -ETIMEDOUT : -errno;
}

/* The calling thread has a permit more. */
static void own(struct semlock *self) {
    Py_BEGIN_CRITICAL_SECTION((PyObject *)self);
    THREADS_STORE(self->owner, PyThread_get_thread_native_id());
    THREADS_STORE(self->count, self->kind == RECURSIVE_MUTEX ? 1 : self->count + 1);
    Py_END_CRITICAL_SECTION();
}

static PyObject *acquire(struct semlock *self, int64_t timeout) {
    if (self->kind == RECURSIVE_MUTEX && is_mine(self)) {
        THREADS_STORE(self->count, self->count + 1);
        Py_RETURN_TRUE;
    }
    int r = try_now(self->sem);
    if (r == -ETIMEDOUT && timeout != 0) {
        int64_t deadline = blocking_deadline(timeout);
        BLOCKING(r, wait_in_slices(self->sem, deadline));
    }
    if (r == 0) {
        own(self);
    }
    return acquire_result(r);
}

static PyObject *semlock_acquire(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *names) {
    int64_t timeout;
    if (acquire_timeout(args, nargs, names, &timeout) < 0) {
        return NULL;
    }
    return acquire(semlock_of(self), timeout);
}

static PyObject *semlock_enter(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return acquire(semlock_of(self), MPROC_FOREVER);
}

/* ---------------------------------------------------------------- releasing */

static int value_of(const struct semlock *self) {
    int value = 0;
    (void)sem_getvalue(self->sem, &value); /* fails for no valid semaphore */
    return value;
}

static PyObject *post(struct semlock *self) {
    int r;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)self);
    r = sem_post(self->sem);
    if (r == 0) { /* whoever takes the permit counts after this */
        THREADS_STORE(self->count, self->count - 1);
    }
    Py_END_CRITICAL_SECTION();
    return r == 0 ? Py_NewRef(Py_None) : PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *semlock_release(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct semlock *self = semlock_of(object);
    if (self->kind == SEMAPHORE) {
        return value_of(self) >= self->maxvalue ? acquire_too_many() : post(self);
    }
    if (!is_mine(self)) {
        PyErr_SetString(PyExc_AssertionError,
                        "attempt to release recursive lock not owned by thread");
        return NULL;
    }
    if (self->count > 1) {
        THREADS_STORE(self->count, self->count - 1);
        Py_RETURN_NONE;
    }
    return post(self);
}

static PyObject *semlock_exit(PyObject *self, PyObject *const *Py_UNUSED(args),
                              Py_ssize_t Py_UNUSED(nargs)) {
    return semlock_release(self, NULL);
}

/* ---------------------------------------------------------------- looking */

static PyObject *semlock_count(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyLong_FromLong(THREADS_LOAD(semlock_of(self)->count));
}

static PyObject *semlock_is_mine(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(is_mine(semlock_of(self)));
}

static PyObject *semlock_get_value(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyLong_FromLong(value_of(semlock_of(self)));
}

static PyObject *semlock_is_zero(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(value_of(semlock_of(self)) == 0);
}

static PyObject *semlock_after_fork(PyObject *self, PyObject *Py_UNUSED(unused)) {
    THREADS_STORE(semlock_of(self)->count, 0);
    Py_RETURN_NONE;
}

static PyObject *semlock_handle(PyObject *self, void *Py_UNUSED(unused)) {
    return PyLong_FromVoidPtr(semlock_of(self)->sem);
}

/* As sem_unlink(3), but the family's register of names hears of it. */
static int unlink_file(const char *name) {
    char file[FILE_SIZE];
    int n = snprintf(file, sizeof file, FILE_PREFIX "%s", name + strspn(name, "/"));
    return n < FILE_SIZE ? mproc_shm_unlink(file) : -ENAMETOOLONG;
}

/* sem_unlink(name) */
static PyObject *unlink_name(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *name;
    if (!PyArg_ParseTuple(args, "s:sem_unlink", &name)) {
        return NULL;
    }
    int r = unlink_file(name);
    if (r != 0) {
        errno = -r;
        return PyErr_SetFromErrnoWithFilename(PyExc_OSError, name);
    }
    Py_RETURN_NONE;
}

static PyMethodDef semlock_methods[] = {
    {"acquire", MODULE_METHOD(semlock_acquire), METH_FASTCALL | METH_KEYWORDS,
     "acquire($self, block=True, timeout=None)\n--\n\n"
     "Take a permit; False if there was none in time.\n\n"
     "timeout is in seconds, None for ever, negative as 0."},
    {"release", semlock_release, METH_NOARGS,
     "release($self, /)\n--\n\n"
     "Give a permit. ValueError if there are maxvalue already; for a recursive mutex\n"
     "AssertionError if the calling thread does not hold it."},
    {"_count", semlock_count, METH_NOARGS,
     "_count($self, /)\n--\n\nHow often acquired minus released by this object."},
    {"_is_mine", semlock_is_mine, METH_NOARGS,
     "_is_mine($self, /)\n--\n\nWhether the calling thread acquired it last."},
    {"_get_value", semlock_get_value, METH_NOARGS,
     "_get_value($self, /)\n--\n\nThe permits that are there at this moment."},
    {"_is_zero", semlock_is_zero, METH_NOARGS,
     "_is_zero($self, /)\n--\n\nWhether there is no permit at this moment."},
    {"_after_fork", semlock_after_fork, METH_NOARGS,
     "_after_fork($self, /)\n--\n\nForget what the parent had acquired."},
    {"_rebuild", semlock_rebuild, METH_VARARGS | METH_CLASS,
     "_rebuild($type, handle, kind, maxvalue, name, /)\n--\n\n"
     "Another object of the semaphore of that name; the handle is of no use."},
    {"__enter__", semlock_enter, METH_NOARGS, NULL},
    {"__exit__", MODULE_METHOD(semlock_exit), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef semlock_members[] = {
    {"kind", T_INT, offsetof(struct semlock, kind), READONLY, "0: recursive mutex, 1: semaphore."},
    {"maxvalue", T_INT, offsetof(struct semlock, maxvalue), READONLY, "What release() goes up to."},
    {"name", T_OBJECT, offsetof(struct semlock, name), READONLY, "None if it has no name."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef semlock_getset[] = {
    {"handle", semlock_handle, NULL, "Where this process has mapped the semaphore.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot semlock_slots[] = {
    {Py_tp_doc, "A named semaphore of the system: SemLock(kind, value, maxvalue, name, unlink)."},
    {Py_tp_new, (void *)semlock_new},
    {Py_tp_dealloc, (void *)semlock_dealloc},
    {Py_tp_methods, semlock_methods},
    {Py_tp_members, semlock_members},
    {Py_tp_getset, semlock_getset},
    {0, NULL},
};

static PyType_Spec semlock_spec = {
    .name = "mproc._mproc.SemLock",
    .basicsize = sizeof(struct semlock),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = semlock_slots,
};

static PyMethodDef functions[] = {
    {"sem_unlink", unlink_name, METH_VARARGS,
     "sem_unlink($module, name, /)\n--\n\n"
     "Remove a semaphore's name. FileNotFoundError: there is none."},
    {NULL, NULL, 0, NULL},
};

static int add_limit(PyObject *type) {
    PyObject *limit = PyLong_FromLong(SEM_VALUE_MAX);
    int r = limit == NULL ? -1 : PyObject_SetAttrString(type, "SEM_VALUE_MAX", limit);
    Py_XDECREF(limit);
    return r;
}

int semlock_add(PyObject *module) {
    PyTypeObject **type = &module_state(module)->semlock_type;
    if (module_add_type(module, &semlock_spec, type, 1) < 0 || add_limit((PyObject *)*type) < 0 ||
        PyModule_AddStringConstant(module, "semaphore_file_prefix", FILE_PREFIX) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, functions);
}
