/*
 * call.c - the tasks of pools: calls of Python functions as messages
 *
 * SPDX-License-Identifier: MIT
 */
#include "call.h"

#include "codec.h"

#include <stdbool.h>
#include <string.h>

struct function {
    const char *data; /* its message */
    Py_ssize_t size;
    int named;
};

/* What all parts of a submission have in common. */
struct submission {
    call_put put;
    enum call_kind kind;
    struct function function;
    PyObject *job;
    PyObject *options;
};

/* A task that is begun anew is to find its arguments as they were, so none of them is the worker's
 * own to write to. The books of Tasks take no buffers along. */
static enum parts_allowed parts_for(PyObject *self, const struct module_state *state,
                                    PyObject *options) {
    if (!PyObject_TypeCheck(self, state->pool_type)) {
        return PARTS_NONE;
    }
    bool once = !PyTuple_Check(options) || PyTuple_GET_SIZE(options) < 3 ||
                PyObject_Not(PyTuple_GET_ITEM(options, 2)) == 1;
    return once ? PARTS_ALL : PARTS_SHARED;
}

/* The head, the function's message, the arguments' message. */
static int put_part(PyObject *self, const struct submission *s, PyObject *arguments,
                    Py_ssize_t part, Py_ssize_t first) {
    struct call call;
    struct module_state *state = module_state_of(self);
    if (state == NULL || codec_encode_with_parts(state, arguments, &call.arguments,
                                                 parts_for(self, state, s->options)) < 0) {
        return -1;
    }
    const struct function *function = &s->function;
    call.head = (struct call_head){(uint8_t)s->kind,
                                   function->named ? CALL_NAMED : 0,
                                   {0, 0},
                                   (uint32_t)function->size,
                                   (uint64_t)first};
    call.pieces[0] = (struct iovec){&call.head, sizeof call.head};
    call.pieces[1] = (struct iovec){(void *)(uintptr_t)function->data, (size_t)function->size};
    call.n = call.arguments.niov + 2;
    memcpy(call.pieces + 2, call.arguments.iov, (size_t)call.arguments.niov * sizeof *call.pieces);
    int r = s->put(self, &call, (struct job *)s->job, part, s->options);
    message_clear(&call.arguments);
    return r;
}

PyObject *call_submit(PyObject *self, PyObject *args, call_put put) {
    struct module_state *state = module_state_of(self);
    struct submission s = {.put = put, .kind = CALL_ONCE, .options = Py_None};
    PyObject *arguments;
    if (state == NULL ||
        !PyArg_ParseTuple(args, "O!y#pO|O:submit", state->job_type, &s.job, &s.function.data,
                          &s.function.size, &s.function.named, &arguments, &s.options)) {
        return NULL;
    }
    job_begin((struct job *)s.job, 1, 0);
    return put_part(self, &s, arguments, 0, 0) < 0 ? NULL : Py_NewRef(Py_None);
}

static int put_parts(PyObject *self, const struct submission *s, PyObject *items, Py_ssize_t chunk,
                     Py_ssize_t first) {
    Py_ssize_t n = PyList_GET_SIZE(items);
    for (Py_ssize_t part = 0; part * chunk < n; part++) {
        Py_ssize_t end = (part + 1) * chunk;
        PyObject *slice = PyList_GetSlice(items, part * chunk, end < n ? end : n);
        int r = slice == NULL ? -1 : put_part(self, s, slice, part, first + part * chunk);
        Py_XDECREF(slice);
        if (r < 0) {
            return -1;
        }
    }
    return 0;
}

/* The job expects a list of n results. */
static int begin_map(struct job *job, Py_ssize_t n, Py_ssize_t chunk) {
    PyObject *results = PyList_New(n);
    if (results == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_INCREF(Py_None);
        PyList_SET_ITEM(results, i, Py_None);
    }
    Py_XSETREF(job->value, results);
    job_begin(job, (n + chunk - 1) / chunk, chunk);
    return 0;
}

/* Without any items the job is ready at once. If an item cannot be sent, the exception is raised,
 * and the job fails. */
PyObject *call_submit_map(PyObject *self, PyObject *args, call_put put) {
    struct module_state *state = module_state_of(self);
    struct submission s = {.put = put, .options = Py_None};
    PyObject *items;
    Py_ssize_t chunk, first = 0;
    int star, r;
    if (state == NULL ||
        !PyArg_ParseTuple(args, "O!y#ppO!n|nO:submit_map", state->job_type, &s.job,
                          &s.function.data, &s.function.size, &s.function.named, &star,
                          &PyList_Type, &items, &chunk, &first, &s.options)) {
        return NULL;
    }
    Py_ssize_t n = PyList_GET_SIZE(items);
    if (chunk < 1) {
        PyErr_Format(PyExc_ValueError, "chunksize %zd for %zd items", chunk, n);
        return NULL;
    }
    s.kind = star ? CALL_STARMAP : CALL_MAP;
    r = begin_map((struct job *)s.job, n, chunk);
    if (r == 0) {
        r = n == 0 ? job_finish((struct job *)s.job) : put_parts(self, &s, items, chunk, first);
    }
    return r < 0 ? NULL : Py_NewRef(Py_None);
}
