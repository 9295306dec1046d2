/*
 * acquire.c - what all types with acquire() share: arguments, results, errors
 *
 * SPDX-License-Identifier: MIT
 */
#include "acquire.h"

#include "arguments.h"

int acquire_block_timeout(PyObject *block, PyObject *seconds, int64_t *timeout) {
    int blocks = block == NULL ? 1 : PyObject_IsTrue(block);
    if (blocks <= 0) {
        *timeout = 0;
        return blocks;
    }
    return blocking_timeout(seconds, timeout);
}

int acquire_parse(PyObject *const *args, Py_ssize_t nargs, PyObject *names, int64_t *timeout) {
    static const char *const keywords[] = {"block", "timeout"};
    PyObject *values[2];
    if (arguments_spread("acquire", keywords, values, 2, args, nargs, names) < 0) {
        return -1;
    }
    return acquire_block_timeout(values[0], values[1], timeout);
}

int acquire_wait_parse(PyObject *const *args, Py_ssize_t nargs, PyObject *names, int64_t *timeout) {
    static const char *const keywords[] = {"timeout"};
    PyObject *seconds;
    if (arguments_spread("wait", keywords, &seconds, 1, args, nargs, names) < 0) {
        return -1;
    }
    return blocking_timeout(seconds, timeout);
}

/* ---------------------------------------------------------------- constructors */

static int is_text(PyObject *object, const char *text) {
    return PyUnicode_Check(object) && PyUnicode_CompareWithASCIIString(object, text) == 0;
}

/* Is it the context of fork? Its `_name` says so; NULL and None are no context. */
static int find_context(PyTypeObject *type, PyObject *ctx, char *is_fork) {
    *is_fork = 0;
    if (ctx == NULL || ctx == Py_None) {
        return 0;
    }
    PyObject *module = PyType_GetModuleByDef(type, &module_definition);
    PyObject *name = module == NULL ? NULL : PyObject_GetAttr(ctx, module_state(module)->ctx_name);
    if (name == NULL) {
        return -1;
    }
    *is_fork = (char)is_text(name, "fork");
    Py_DECREF(name);
    return 0;
}

static int find_recover(PyObject *on_owner_death, char *recover) {
    *recover = on_owner_death != NULL && is_text(on_owner_death, "recover");
    if (on_owner_death == NULL || *recover || is_text(on_owner_death, "raise")) {
        return 0;
    }
    PyErr_Format(PyExc_ValueError, "on_owner_death is 'raise' or 'recover', not %R",
                 on_owner_death);
    return -1;
}

/* The arguments of a constructor. A subclass that has an __init__() of its own may take others: it
 * hands over to its base's what the object is to be made of, and is an object of the usual kind
 * until then. */
static int spread(PyTypeObject *type, const char *const *names, PyObject **values, Py_ssize_t n,
                  Py_ssize_t positional, PyObject *args, PyObject *keywords) {
    if (type->tp_init != acquire_init) {
        memset(values, 0, (size_t)n * sizeof *values);
        return 0;
    }
    return arguments_spread_new(type->tp_name, names, values, n, positional, args, keywords);
}

/* Takes what another handle is made of, which is as one that was never initialised then. */
static int take_over(struct acquire_handle *self, struct acquire_handle *made) {
    void *object = made->handle.object;
    made->handle.object = NULL;
    if (handle_replace((PyObject *)self, object) < 0) {
        return -1;
    }
    THREADS_STORE(self->options.recover, made->options.recover);
    THREADS_STORE(self->options.is_fork_ctx, made->options.is_fork_ctx);
    return 0;
}

int acquire_init(PyObject *self, PyObject *args, PyObject *keywords) {
    PyTypeObject *base = Py_TYPE(self);
    if (base->tp_init == acquire_init) { /* it was made of the same arguments */
        return 0;
    }
    while (base->tp_init != acquire_init) {
        base = base->tp_base;
    }
    PyObject *made = base->tp_new(base, args, keywords);
    if (made == NULL) {
        return -1;
    }
    int r = take_over((struct acquire_handle *)self, (struct acquire_handle *)made);
    Py_DECREF(made);
    return r;
}

int acquire_new_event(PyTypeObject *type, PyObject *args, PyObject *keywords,
                      struct acquire_options *options) {
    static const char *const names[] = {"ctx"};
    PyObject *ctx;
    *options = (struct acquire_options){0};
    if (spread(type, names, &ctx, 1, 0, args, keywords) < 0) {
        return -1;
    }
    return find_context(type, ctx, &options->is_fork_ctx);
}

int acquire_new_lock(PyTypeObject *type, PyObject *args, PyObject *keywords,
                     struct acquire_options *options) {
    static const char *const names[] = {"ctx", "on_owner_death"};
    PyObject *values[2];
    if (spread(type, names, values, 2, 0, args, keywords) < 0 ||
        find_recover(values[1], &options->recover) < 0) {
        return -1;
    }
    return find_context(type, values[0], &options->is_fork_ctx);
}

int acquire_new_semaphore(PyTypeObject *type, PyObject *args, PyObject *keywords, PyObject **value,
                          struct acquire_options *options) {
    static const char *const names[] = {"value", "ctx"};
    PyObject *values[2];
    *options = (struct acquire_options){0};
    if (spread(type, names, values, 2, 1, args, keywords) < 0) {
        return -1;
    }
    *value = values[0];
    return find_context(type, values[1], &options->is_fork_ctx);
}

PyObject *acquire_new(PyTypeObject *type, const struct acquire_options *options, int code,
                      void *owned) {
    PyObject *self = handle_new(type, code, owned);
    if (self != NULL) {
        *acquire_options_of(self) = *options;
    }
    return self;
}

/* ---------------------------------------------------------------- results */

PyObject *acquire_result(int code) {
    switch (code) {
    case 0: Py_RETURN_TRUE;
    case -ETIMEDOUT: Py_RETURN_FALSE;
    case BLOCKING_RAISED: return NULL;
    default: return error_raise(code);
    }
}

PyObject *acquire_too_many(void) {
    PyErr_SetString(PyExc_ValueError, "semaphore or lock released too many times");
    return NULL;
}

PyObject *acquire_owner_died(const mproc_lock_holder *dead) {
    PyObject *module = PyImport_ImportModule("mproc.context");
    if (module == NULL) {
        return NULL;
    }
    PyObject *error = PyObject_CallMethod(module, "_owner_died", "ii", dead->pid, dead->tid);
    Py_DECREF(module);
    if (error != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
    return NULL;
}
